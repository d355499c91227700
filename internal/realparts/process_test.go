package realparts

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shell is a server that a line of shell starts. $0 is its port.
func shell(script string) Process {
	return Process{
		Name:  "shell",
		Args:  func(port int) []string { return []string{"sh", "-c", script, fmt.Sprint(port)} },
		Ready: "/",
	}
}

// TestStartEndsTheGroup starts a server with a child that would outlive it and
// does not heed SIGTERM.
func TestStartEndsTheGroup(t *testing.T) {
	skipShort(t, "python3")
	pidFile := filepath.Join(t.TempDir(), "pid")
	var url string
	t.Run("test", func(t *testing.T) {
		url = Start(t, shell("(trap '' TERM; exec sleep 1000) & echo $! >"+pidFile+"; exec python3 -m http.server --bind 127.0.0.1 $0"))
		checkGet(t, url+"/", 200, "<")
	})
	if _, err := http.Get(url); err == nil {
		t.Errorf("%s answers after its test has ended", url)
	}
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the end of the child", func() bool { return !lives(strings.TrimSpace(string(pid))) })
}

func TestStartFailures(t *testing.T) {
	for _, test := range []struct {
		name, script string
		within       time.Duration
		want         string
	}{
		{"ends with an error", "echo broken; exit 3", time.Minute, "ended before it answered: exit status 3"},
		{"ends well", "exit 0", time.Minute, "ended before it answered: exit status 0"},
		{"never answers", "exec sleep 1000", 50 * time.Millisecond, "no answer from http://127.0.0.1:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			port, err := takePort(t)
			if err != nil {
				t.Fatal(err)
			}
			s, err := start(shell(test.script), port, filepath.Join(t.TempDir(), "log"))
			if err != nil {
				t.Fatal(err)
			}
			defer s.stop()
			wantError(t, s.await(t.Context(), fmt.Sprintf("http://127.0.0.1:%d/", port), test.within), test.want)
		})
	}
}

func TestStartNotInstalled(t *testing.T) {
	_, err := start(Process{
		Args:    func(int) []string { return []string{"no-such-program"} },
		Install: "apt-get install -y no-such-package",
	}, 0, filepath.Join(t.TempDir(), "log"))
	wantError(t, err, "no-such-program", "install it: apt-get install -y no-such-package")
}

func TestPortsDiffer(t *testing.T) {
	seen := make(map[int]bool)
	for range 50 {
		port, err := takePort(t)
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] {
			t.Fatalf("port %d was handed out twice", port)
		}
		seen[port] = true
	}
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, strings.Repeat("x", logTail)+"end")
	if got := tail(path); len(got) != logTail || !strings.HasSuffix(got, "xend") {
		t.Errorf("%d bytes that end in %q", len(got), got[len(got)-4:])
	}
}

// lives reports whether a process runs. One that only waits to be reaped does not.
func lives(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// await waits for a condition, within the time limit of the test binary.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	limit := time.After(10 * time.Second)
	for !cond() {
		select {
		case <-again.C:
		case <-limit:
			t.Fatalf("waited 10 s for %s", what)
		}
	}
}
