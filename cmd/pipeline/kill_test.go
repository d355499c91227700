package main

import (
	"bytes"
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pipeline/engine/journal"
	"pipeline/engine/store"
	"pipeline/lake"
)

var kills = flag.Int("kills", 200, "how many runs TestKill kills")

const (
	killCells = 3
	killSpec  = `campaign: kill
steps:
  - id: server
    uses: serve
    with: {endpoint: {kind: sim, sim: {time_scale: 0.02}}, model: {name: tiny, shape: llama-3.1-8b}, hardware: h100_sm90, tensor_parallel: 1}
  - {id: setup, uses: init, in: {server: server}, with: {model: {name: tiny}, hardware: h100_sm90, tensor_parallel: 1}}
  - id: cells
    uses: cell_run
    in: {server: server, setup: setup}
    matrix: {trial: [1, 2, 3]}
    with: {concurrency: 2, num_prompts: 6, isl: 32, osl: 8, trial: '${{ cell.trial }}'}
    retry: {max: 5, backoff: 500ms} # a busy machine can make a cell client_bound
  - {id: atlas, uses: aggregate, in: {cells: cells}}
  - {id: report, uses: render, in: {atlas: atlas}}
  - {id: lake, uses: publish, in: {atlas: atlas, report: report}}
`
)

// TestKill kills runs with SIGKILL at random instants and runs them again. No
// finished cell is lost or measured twice, every server is ended, the store
// verifies, and the lake holds every row and no torn file.
func TestKill(t *testing.T) {
	n := *kills
	if testing.Short() {
		n = min(n, 10)
	}
	whole := cleanRun(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("a whole run takes %v; seed %d", whole, seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	at := make([]time.Duration, n)
	for i := range at { // one in each n-th of the run, so that no phase is missed
		at[i] = time.Duration((float64(i) + rnd.Float64()) / float64(n) * float64(whole))
	}
	var held atomic.Int32
	t.Run("at", func(t *testing.T) {
		for _, d := range at {
			t.Run(d.Round(time.Microsecond).String(), func(t *testing.T) {
				t.Parallel()
				if killedAfter(t, d) {
					held.Add(1)
				}
			})
		}
	})
	t.Logf("%d of %d runs were killed while they held a server open", held.Load(), n)
	if n >= 50 && held.Load() < int32(n/10) {
		t.Error("too few runs held a server when they were killed: what this test says of leases is worth little")
	}
}

func cleanRun(t *testing.T) time.Duration {
	dir := killFolder(t)
	began := time.Now()
	if out, err := pipelineIn(dir, "run", "kill.yaml").CombinedOutput(); err != nil {
		t.Fatalf("a run that nobody kills: %v\n%s", err, out)
	}
	took := time.Since(began)
	checkAfter(t, dir)
	return took
}

func killFolder(t *testing.T) string {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kill.yaml"), []byte(killSpec), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// pipelineIn is the program, working in a folder.
func pipelineIn(dir string, args ...string) *exec.Cmd {
	exe, err := exec.LookPath("pipeline") // where testscript.Main put it
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CI=true")
	return cmd
}

// killedAfter reports whether the run held a server open when it was killed.
func killedAfter(t *testing.T, d time.Duration) (held bool) {
	dir := killFolder(t)
	first := pipelineIn(dir, "run", "kill.yaml")
	// Not a pipe: the server that outlives the run would keep it open.
	log, err := os.Create(filepath.Join(dir, "first.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	first.Stdout, first.Stderr = log, log
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(d, func() {
		if err := first.Process.Signal(syscall.SIGKILL); err != nil {
			t.Logf("it had ended before it was killed: %v", err)
		}
	})
	defer timer.Stop()
	_ = first.Wait() // killed, mostly; what counts is what the next run makes of it
	held = openLeases(t, filepath.Join(dir, ".pipeline")) > 0
	out, err := pipelineIn(dir, "run", "kill.yaml", "--output", "json").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte(`"status":"complete"`)) {
		t.Fatalf("killed after %v, the next run: %v\n%s", d, err, out)
	}
	checkAfter(t, dir)
	return held
}

func openLeases(t *testing.T, home string) (n int) {
	runs, err := filepath.Glob(filepath.Join(home, "runs", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range runs {
		if entries, _, err := journal.Read(run); err == nil {
			n += len(journal.OpenLeases(entries))
		}
	}
	return n
}

func checkAfter(t *testing.T, dir string) {
	home := filepath.Join(dir, ".pipeline")
	s, err := store.Open(home, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	report, err := s.Verify()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Faults {
		t.Errorf("the store: %s", f)
	}
	measured := map[string]int{}
	for _, r := range s.All() {
		if r.Kind == "cell_run" && r.Status == store.Complete {
			measured[r.Node]++
		}
	}
	if len(measured) != killCells {
		t.Errorf("complete measurements of %d cells, want %d: %v", len(measured), killCells, measured)
	}
	for node, n := range measured {
		if n != 1 {
			t.Errorf("%s has %d complete measurements, want 1", node, n)
		}
	}
	checkLeases(t, home)
	checkLake(t, home)
}

// checkLeases wants every lease of every run released, and no process to have one.
func checkLeases(t *testing.T, home string) {
	runs, err := filepath.Glob(filepath.Join(home, "runs", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range runs {
		entries, _, err := journal.Read(run)
		if err != nil {
			continue // killed before its first line was written
		}
		for _, e := range journal.OpenLeases(entries) {
			t.Errorf("%s: the lease %s of %s was not released", filepath.Base(run), e.Lease, e.Node)
		}
	}
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		b, err := os.ReadFile(p)
		if err != nil {
			continue
		}
		for _, run := range runs {
			if strings.Contains(string(b), filepath.Base(run)) {
				t.Errorf("a server outlived its lease: %s", strings.ReplaceAll(string(b), "\x00", " "))
			}
		}
	}
}

func checkLake(t *testing.T, home string) {
	table, err := lake.Lake{Dir: filepath.Join(home, "lake")}.Query(context.Background(),
		"SELECT count(*) FILTER (agg = 'trial'), count(DISTINCT cell_id) FILTER (agg = 'trial') FROM atlas_v1")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range table.Doubts {
		t.Errorf("the lake: %s", d)
	}
	if got := table.Rows[0][0]; got != int64(killCells) {
		t.Errorf("the lake has %v rows of trials, want %d", got, killCells)
	}
}
