package tool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// asParent makes the test binary a program that runs a tool until it is killed.
const asParent = "TOOL_TEST_PARENT"

func TestMain(m *testing.M) {
	if script := os.Getenv(asParent); script != "" {
		_, err := shell(script).Do(context.Background())
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func shell(script string) *Run {
	return &Run{Path: "/bin/sh", Args: []string{"-c", script}, Grace: 100 * time.Millisecond}
}

func do(t *testing.T, r *Run) End {
	t.Helper()
	end, err := r.Do(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return end
}

func TestRunTellsWhatWasWritten(t *testing.T) {
	var log strings.Builder
	var lines []string
	r := shell(`echo one; printf 'a\rb\rthe key is %s\033[31m!\033[0m\r\n' "$KEY" >&2; printf last; exit 3`)
	r.Env, r.Secrets, r.Log = []string{"KEY=sk-1"}, []string{"", "sk-1"}, &log
	r.Line = func(s string) { lines = append(lines, s) }
	end := do(t, r)
	want := "one\nthe key is [redacted]!\nlast"
	told := "one\na\nb\nthe key is [redacted]!\nlast"
	if end.Code != 3 || end.Cut != nil || end.Tail != want || strings.Join(lines, "\n") != told || log.String() != want+"\n" {
		t.Errorf("end %+v, lines %q, log %q", end, lines, log.String())
	}
}

// A tool gets no key of ours and no setting that the key does not name, but
// what it is handed.
func TestRunKeepsTheEnvironment(t *testing.T) {
	for _, name := range []string{"OPENAI_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "AIPERF_HTTP_CONNECTION_LIMIT", "VLLM_USE_V1", "TOOL_TEST_HOME"} {
		t.Setenv(name, "ours")
	}
	var log strings.Builder
	r := shell("env")
	r.Env, r.Log = []string{"OPENAI_API_KEY=handed", "AIPERF_X=1"}, &log
	do(t, r)
	var got []string
	for line := range strings.Lines(log.String()) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), "="); value == "ours" || value == "handed" || name == "AIPERF_X" {
			got = append(got, name+"="+value)
		}
	}
	slices.Sort(got)
	if want := []string{"AIPERF_X=1", "OPENAI_API_KEY=handed", "TOOL_TEST_HOME=ours"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRunBoundsWhatItKeeps(t *testing.T) {
	r := shell(`i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done; head -c 100000 /dev/zero | tr '\0' x`)
	tail := strings.Split(do(t, r).Tail, "\n")
	if last := tail[len(tail)-1]; len(tail) != tailLines || tail[len(tail)-2] != "line 999" || len(last) != lineBytes {
		t.Errorf("%d lines, the last of %d bytes", len(tail), len(last))
	}
}

// stubborn starts a child that does not heed SIGTERM, and writes its id.
func stubborn(pidFile string) string {
	return fmt.Sprintf("trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & echo $! >%s.new; mv %s.new %s; while :; do sleep 1; done", pidFile, pidFile, pidFile)
}

func TestRunIsCut(t *testing.T) {
	reason := errors.New("nothing moves")
	for _, c := range []struct {
		name string
		cut  func(r *Run, cancel context.CancelCauseFunc)
		want error
	}{
		{"at its limit", func(r *Run, _ context.CancelCauseFunc) { r.Limit = time.Millisecond }, ErrLimit},
		{"by its caller", func(_ *Run, cancel context.CancelCauseFunc) { cancel(reason) }, reason},
	} {
		t.Run(c.name, func(t *testing.T) {
			pidFile := filepath.Join(t.TempDir(), "pid")
			r := shell("echo up; " + stubborn(pidFile))
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			started := make(chan struct{})
			r.Line = func(string) { close(started) }
			if c.want != ErrLimit {
				go func() {
					<-started
					readPID(t, pidFile)
					c.cut(r, cancel)
				}()
			} else {
				c.cut(r, cancel)
			}
			end, err := r.Do(ctx)
			if err != nil || !errors.Is(end.Cut, c.want) || end.Code != -1 {
				t.Errorf("end %+v, error %v", end, err)
			}
			if pid, err := os.ReadFile(pidFile); err == nil {
				await(t, "the end of the child", func() bool { return !lives(strings.TrimSpace(string(pid))) })
			}
		})
	}
}

// A kill -9 of this program leaves nothing behind.
func TestRunEndsWithThisProcess(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(self)
	parent.Env = append(os.Environ(), asParent+"="+stubborn(pidFile))
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	pid := readPID(t, pidFile)
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	await(t, "the end of the child", func() bool { return !lives(pid) })
}

func TestRunIsNotThere(t *testing.T) {
	_, err := (&Run{Path: filepath.Join(t.TempDir(), "none")}).Do(t.Context())
	if err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("error %v", err)
	}
}

func TestUsage(t *testing.T) {
	r := shell(`(i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done) & i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; wait; sleep 0.3`)
	began := time.Now()
	end := do(t, r)
	all, busiest, ok := end.Usage.Between(began, time.Now())
	if !ok || all <= 0 || busiest <= 0 || end.Usage.Total() <= 0 {
		t.Errorf("all %v, busiest %v, %v; total %v", all, busiest, ok, end.Usage.Total())
	}
}

func TestUsageBetween(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	s := time.Second
	u := Usage{[]look{
		{at(0), map[int]time.Duration{1: s}},
		{at(10), map[int]time.Duration{1: 2 * s, 2: 0}},
		{at(20), map[int]time.Duration{1: 3 * s, 2: 9 * s}},
		{at(30), map[int]time.Duration{1: 4 * s, 2: 9 * s}},
	}}
	if _, busiest, ok := u.Between(at(11), at(19)); !ok || busiest != 0.9 {
		t.Errorf("busiest %v, %v; want 0.9", busiest, ok)
	}
	if _, busiest, ok := u.Between(at(0), at(99)); !ok || busiest != 0.3 {
		t.Errorf("busiest %v, %v; want 0.3", busiest, ok)
	}
	if _, _, ok := (Usage{}).Between(at(0), at(1)); ok {
		t.Error("nothing was seen, and there is a share")
	}
	if got := u.Total(); got != 13*s {
		t.Errorf("total %v, want 13s", got)
	}
}

func readPID(t *testing.T, file string) string {
	var pid string
	await(t, file, func() bool {
		text, err := os.ReadFile(file)
		pid = strings.TrimSpace(string(text))
		return err == nil
	})
	if _, err := strconv.Atoi(pid); err != nil {
		t.Errorf("%s: %v", file, err)
	}
	return pid
}

// lives reports whether a process runs. One that only waits to be reaped does not.
func lives(pid string) bool {
	f, err := os.Open("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	defer f.Close()
	line, _ := bufio.NewReader(f).ReadString('\n')
	return !strings.Contains(line, ") Z ")
}

// await waits for a condition, within the time limit of the test binary.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !cond() {
		select {
		case <-t.Context().Done():
			t.Errorf("waited for %s", what)
			return
		case <-again.C:
		}
	}
}
