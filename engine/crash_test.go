package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pipeline/engine/journal"
	"pipeline/engine/store"
	"pipeline/internal/digest"
	"pipeline/pipelines"
	"pipeline/steps"
)

// A disk fails all writes from the n-th on, as it looks to a process that
// dies there: nothing that it does later reaches the disk.
type disk struct {
	mu    sync.Mutex
	after int
	ops   []string
}

var errDead = errors.New("the disk is gone")

func (d *disk) fault(op string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.after >= 0 && len(d.ops) >= d.after {
		return errDead
	}
	d.ops = append(d.ops, op)
	return nil
}

func (w *world) faultyEngine(t *testing.T, home string, d *disk) *Engine {
	t.Helper()
	s, err := store.Open(home, store.Options{Fault: d.fault})
	if err != nil {
		t.Fatal(err)
	}
	return &Engine{Store: s, Kinds: w.kinds(), Jobs: 1, Now: time.Now, CloseLimit: time.Minute, Fault: d.fault}
}

// artifacts returns what the nodes of a plan came to, as digests.
func artifacts(plan *pipelines.Plan, out *Outcome) string {
	var b strings.Builder
	for i := range plan.Nodes {
		b.WriteString(plan.Nodes[i].Name)
		if r := out.Nodes[i].Record; r != nil {
			for _, a := range r.Artifacts {
				fmt.Fprintf(&b, " %s=%s", a.Name, a.Digest.Short())
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// A clean run equals one that died at any write, and was run again: the same
// artifacts, nothing measured twice that was recorded, every hold released,
// and a store that verifies.
func TestDieAtEveryWrite(t *testing.T) {
	clean := newWorld()
	d := &disk{after: -1}
	e := clean.faultyEngine(t, newHome(t), d)
	plan := clean.held(t, "1", "2")
	wantArtifacts := artifacts(plan, mustRun(t, e, plan, Options{}))
	total := len(d.ops)
	if total < 60 {
		t.Fatalf("a run made only %d writes: %v", total, d.ops)
	}
	for n := range total {
		w := newWorld()
		home := newHome(t)
		d := &disk{after: n}
		e := w.faultyEngine(t, home, d)
		plan := w.held(t, "1", "2")
		_, err := e.Run(context.Background(), plan, Options{})
		if err == nil {
			t.Fatalf("write %d of %d failed and nobody noticed", n, total)
		}
		w.mu.Lock()
		recorded := map[string]bool{}
		for _, r := range e.Store.All() {
			if _, err := os.Stat(e.Store.Path("records", r.Key.String()[:2], r.Key.String()+"."+r.ID+".json")); err == nil && r.Status == store.Complete {
				recorded[r.Node] = true
			}
		}
		w.log = nil
		w.mu.Unlock()
		again := w.engine(t, home)
		out := mustRun(t, again, plan, Options{})
		if got := artifacts(plan, out); got != wantArtifacts || out.Status != Complete {
			t.Errorf("died at write %d (%s), run again: %s\n%s\nwant\n%s", n, opAt(n, d), out.Status, got, wantArtifacts)
		}
		did := w.took()
		for i, c := range []string{"cell 1", "cell 2"} {
			if recorded[fmt.Sprintf("cells[n=%d]", i+1)] && strings.Contains(did, c) {
				t.Errorf("died at write %d (%s): %s was recorded and is measured again", n, opAt(n, d), c)
			}
		}
		rep, err := again.Store.Verify()
		if err != nil || len(rep.Faults) > 0 {
			t.Errorf("died at write %d (%s): %v %v", n, opAt(n, d), err, rep.Faults)
		}
		checkAllReleased(t, w, again)
	}
}

func opAt(n int, d *disk) string { return d.ops[max(0, min(n, len(d.ops))-1)] }

// Losing any one blob re-runs the node that wrote it, and no other
// measurement. A blob that is gone is missed at once; one that is corrupt is
// found by who reads it, here a node that is forced. (A probe looks again and writes its blob anew.)
func TestLoseAnyBlob(t *testing.T) {
	nodes := []struct{ name, does, reader string }{
		{"setup", "probe", "cells[n=1]"}, {"cells[n=1]", "cell 1", "atlas"}, {"cells[n=2]", "cell 2", "atlas"},
		{"atlas", "agg", "report"}, {"report", "render", "lake"}, {"lake", "publish", ""},
	}
	w := newWorld()
	home := newHome(t)
	plan := w.campaign(t, "1", "2")
	out := mustRun(t, w.engine(t, home), plan, Options{})
	for i, n := range nodes {
		for _, corrupt := range []bool{false, true} {
			if corrupt && n.reader == "" {
				continue
			}
			w.took()
			d := out.Nodes[i].Record.Artifacts[0].Digest.String()
			path := filepath.Join(home, "blobs", d[:2], d)
			err := os.Remove(path)
			var sel Selection
			if corrupt {
				err = errors.Join(err, os.WriteFile(path, []byte("rot"), 0o644))
				sel.Force = selectName(plan, n.reader)
			}
			if err != nil {
				t.Fatal(err)
			}
			out = mustRun(t, w.engine(t, home), plan, Options{Selection: sel})
			did := strings.Split(w.took(), ", ")
			if out.Status != Complete || !slices.Contains(did, n.does) {
				t.Errorf("%s, corrupt %v: %s, did %v", n.name, corrupt, out.Status, did)
			}
			for _, other := range nodes[1:3] {
				if slices.Contains(did, other.does) && other.name != n.name && !(corrupt && other.name == n.reader) {
					t.Errorf("%s, corrupt %v: %s was measured again", n.name, corrupt, other.name)
				}
			}
			if said := strings.Join(out.Warnings, "\n"); corrupt && n.name != "setup" && !strings.Contains(said, "is corrupt and was set aside") {
				t.Errorf("%s: nobody said that a blob was corrupt: %s", n.name, said)
			}
			again := mustRun(t, w.engine(t, home), plan, Options{})
			want(t, "then", counts(again), "complete 6: 0 executed 6 reused 0 failed 0 skipped")
		}
	}
	if rep, err := w.engine(t, home).Store.Verify(); err != nil || len(rep.Faults) > 0 {
		t.Errorf("verify: %v %v", err, rep.Faults)
	}
}

// A corrupt blob makes the run go through the plan again; a cell that failed in
// the same run is not measured again for that.
func TestFailedOnceAPass(t *testing.T) {
	w := newWorld()
	home := newHome(t)
	plan := w.campaign(t, "1", "2")
	out := mustRun(t, w.engine(t, home), plan, Options{})
	w.took()
	d := out.Nodes[1].Record.Artifacts[0].Digest.String()
	path := filepath.Join(home, "blobs", d[:2], d)
	if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte("rot"), 0o644)); err != nil {
		t.Fatal(err)
	}
	w.fail["cell 2"] = errors.New("boom")
	out = mustRun(t, w.engine(t, home), plan, Options{Selection: Selection{Force: selectName(plan, "cells[n=2]")}})
	want(t, "counts", counts(out), "failed 6: 4 executed 1 reused 1 failed 0 skipped")
	if did := w.took(); strings.Count(did, "cell 2") != 1 || strings.Count(did, "cell 1") != 1 {
		t.Errorf("did %s", did)
	}
}

// rot overwrites a blob with other bytes.
func rot(t *testing.T, e *Engine, d digest.Digest) {
	t.Helper()
	path := e.Store.Path("blobs", d.String()[:2], d.String())
	if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte("rot"), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// The doubts of a cell that gave a part are told, also if the plan is gone
// through again.
func TestDoubtsOutliveAPass(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	plan := w.campaign(t, "1", "2")
	w.fail["cell 2"] = &steps.Failed{Partial: true, Reason: "some"}
	w.doubts["cell 2"] = "the clock jumped"
	out := mustRun(t, e, plan, Options{})
	rot(t, e, out.Nodes[1].Record.Artifacts[0].Digest)
	out = mustRun(t, w.engine(t, e.Store.Home()), plan, Options{Selection: Selection{Force: selectName(plan, "atlas")}})
	want(t, "cell", out.Nodes[2].State.String()+" "+strings.Join(out.Nodes[2].Doubts, ";"), "partial the clock jumped")
	if !slices.Contains(out.Warnings, "cells[n=2]: the clock jumped") {
		t.Errorf("warnings: %q", out.Warnings)
	}
}

// A blob that rots in the run that wrote it is written again in that run.
func TestLoseABlobOfThisRun(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	plan := w.campaign(t, "1")
	rotten := false
	out := mustRun(t, e, plan, Options{Notify: func(ev Event) {
		if ev.Kind == NodeState && ev.State == Done && ev.Name == "cells[n=1]" && !rotten {
			rotten = true
			rot(t, e, e.Store.OfNode("cells[n=1]")[0].Artifacts[0].Digest)
		}
	}})
	want(t, "counts", counts(out), "complete 5: 5 executed 0 reused 0 failed 0 skipped")
	want(t, "did", w.took(), "agg, agg, cell 1, cell 1, probe, publish, render") // the first agg could not read it
}

// Two runs want the same new cells of an endpoint that was looked at before:
// the one that comes second takes what the first has measured, also what that
// one recorded before it launched its own.
func TestSecondRunTakesWhatTheFirstMeasured(t *testing.T) {
	home := newHome(t)
	w := newWorld()
	mustRun(t, w.engine(t, home), w.campaign(t, "0"), Options{})
	first, second := w.engine(t, home), w.engine(t, home)
	plan := w.campaign(t, numbers(4)...)
	f, err := second.Forecast(context.Background(), plan, Selection{})
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, first, plan, Options{})
	if err := second.Store.Refresh(); err != nil {
		t.Fatal(err)
	}
	w.took()
	out := mustRun(t, second, plan, Options{Forecast: f})
	want(t, "did", w.took(), "probe")
	want(t, "counts", counts(out), "complete 8: 0 executed 8 reused 0 failed 0 skipped")
}

// Two processes run one campaign at the same time: each cell is measured once,
// and never two at a time.
func TestTwoProcesses(t *testing.T) {
	home, log := newHome(t), filepath.Join(t.TempDir(), "log")
	var cmds []*exec.Cmd
	for range 2 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
		cmd.Env = append(os.Environ(), "ENGINE_CHILD_HOME="+home, "ENGINE_CHILD_LOG="+log)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Errorf("child: %v", err)
		}
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	measured := map[string]int{}
	inside := ""
	for _, l := range lines {
		what, edge, ok := strings.Cut(l, " | ")
		if !ok || !strings.HasPrefix(what, "cell") {
			continue
		}
		switch {
		case edge == "begin" && inside != "":
			t.Errorf("%s began inside %s", what, inside)
		case edge == "begin":
			inside = what
			measured[what]++
		default:
			inside = ""
		}
	}
	for i := range 8 {
		if n := measured[fmt.Sprintf("cell %d", i+1)]; n != 1 {
			t.Errorf("cell %d was measured %d times", i+1, n)
		}
	}
}

// TestChild is the process of TestTwoProcesses and TestKill.
func TestChild(t *testing.T) {
	home := os.Getenv("ENGINE_CHILD_HOME")
	if home == "" {
		t.Skip("only as a child of other tests")
	}
	w := newWorld()
	log := os.Getenv("ENGINE_CHILD_LOG")
	w.gate = func(_ context.Context, what string) error {
		appendLine(log, what+" | begin")
		appendLine(log, what+" | end")
		return nil
	}
	plan := w.held(t, numbers(8)...)
	out := mustRun(t, w.engine(t, home), plan, Options{})
	want(t, "status", string(out.Status), "complete")
}

// kill -9 in the middle: what was recorded is kept, what was held is released.
func TestKill(t *testing.T) {
	home, log := newHome(t), filepath.Join(t.TempDir(), "log")
	for i := range 6 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
		cmd.Env = append(os.Environ(), "ENGINE_CHILD_HOME="+home, "ENGINE_CHILD_LOG="+log)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitForLines(t, log, 4*i+3, cmd)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	w := newWorld()
	plan := w.held(t, numbers(8)...)
	e := w.engine(t, home)
	before := map[string]bool{}
	for _, r := range e.Store.All() {
		if r.Status == store.Complete {
			before[r.Node] = true
		}
	}
	out := mustRun(t, e, plan, Options{})
	want(t, "status", string(out.Status), "complete")
	did := w.took()
	for i := range 8 {
		if before[fmt.Sprintf("cells[n=%d]", i+1)] && strings.Contains(did, fmt.Sprintf("cell %d", i+1)) {
			t.Errorf("cell %d was recorded before and is measured again", i+1)
		}
	}
	if rep, err := e.Store.Verify(); err != nil || len(rep.Faults) > 0 {
		t.Errorf("verify: %v %v", err, rep.Faults)
	}
	checkAllReleased(t, w, e)
}

// checkAllReleased checks that no journal has an open lease.
func checkAllReleased(t *testing.T, w *world, e *Engine) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.open) > 0 {
		t.Errorf("still open: %v", w.open)
	}
	runs, err := os.ReadDir(e.Store.Path("runs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range runs {
		entries, _, err := journal.Read(e.Store.Path("runs", r.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil || len(journal.OpenLeases(entries)) > 0 {
			t.Errorf("run %s: %v, open leases %v", r.Name(), err, journal.OpenLeases(entries))
		}
	}
}

// waitForLines waits until the child's log has n lines, or the child has ended.
func waitForLines(t *testing.T, path string, n int, cmd *exec.Cmd) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		b, _ := os.ReadFile(path)
		if strings.Count(string(b), "\n") >= n {
			return
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid)); err != nil {
			return
		}
		time.Sleep(200 * time.Microsecond)
	}
	t.Fatalf("no %d lines in %s", n, path)
}
