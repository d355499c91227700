package realparts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// A Process is a server that answers HTTP on a loopback port.
type Process struct {
	Name    string                  // what messages call it
	Args    func(port int) []string // the command line, to listen on 127.0.0.1:port
	Ready   string                  // the path that answers 200 once it serves, like /health
	Install string                  // the command that installs the program, for when it is missing
}

const (
	readyWithin = 60 * time.Second // a cold start on a busy machine, with much to spare
	endWithin   = 5 * time.Second  // from SIGTERM to SIGKILL
	logTail     = 16 << 10         // bytes of a server's log that a failure shows
)

// Start runs p on a free loopback port until the test ends and returns its
// URL, without a trailing slash. When the test fails, it shows the end of what
// p wrote.
func Start(t testing.TB, p Process) (url string) {
	t.Helper()
	skipShort(t, p.Name)
	port, err := takePort(t)
	if err != nil {
		t.Fatalf("start %s: %v", p.Name, err)
	}
	log := filepath.Join(t.TempDir(), "log")
	s, err := start(p, port, log)
	if err != nil {
		t.Fatalf("start %s: %v", p.Name, err)
	}
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("%s wrote:\n%s", p.Name, tail(log))
		}
	})
	url = fmt.Sprintf("http://127.0.0.1:%d", port)
	if err := s.await(t.Context(), url+p.Ready, readyWithin); err != nil {
		t.Fatalf("start %s: %v\n%s", p.Name, err, s.cmd)
	}
	return url
}

// A server is a process that runs.
type server struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it ended; to be read after done
}

// start runs p in a process group of its own, writing to the file log.
func start(p Process, port int, log string) (*server, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own
	args := p.Args(port)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		if p.Install != "" {
			err = fmt.Errorf("%w\ninstall it: %s", err, p.Install)
		}
		return nil, err
	}
	s := &server{cmd: cmd, done: make(chan struct{})}
	go func() {
		s.err = cmd.Wait()
		close(s.done)
	}()
	return s, nil
}

// await asks url again and again until it answers 200, the process ends, or
// the time is over.
func (s *server) await(ctx context.Context, url string, within time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("no answer from %s within %v", url, within))
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		if answers(ctx, url) {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("ended before it answered: %w", cmp.Or(s.err, errors.New("exit status 0")))
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-again.C:
		}
	}
}

// answers reports whether a GET of url gives 200. It leaves no connection
// open, since some servers close idle ones.
func answers(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// stop asks the group to end and kills what is left of it.
func (s *server) stop() {
	group := -s.cmd.Process.Pid
	syscall.Kill(group, syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(endWithin):
	}
	syscall.Kill(group, syscall.SIGKILL)
	<-s.done
}

// tail returns the end of a file, as much as a failure should show.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-logTail):])
}

// The ports that takePort hands out lie below those that the kernel picks for
// port 0 (32768 and up on Linux), so no listener of another test can slip in
// between the choice and the server's bind.
const firstPort, lastPort = 20000, 29999

// takePort returns a loopback port that nothing listens on and that no other
// test process takes until this test has ended.
func takePort(t testing.TB) (int, error) {
	cache, err := cacheDir()
	if err != nil {
		return 0, err
	}
	for _, i := range rand.Perm(lastPort - firstPort + 1) {
		port := firstPort + i
		unlock, err := flock(filepath.Join(cache, "ports", strconv.Itoa(port)), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			continue
		}
		if err != nil {
			return 0, err
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			unlock()
			continue
		}
		l.Close()
		t.Cleanup(unlock)
		return port, nil
	}
	return 0, fmt.Errorf("no free port from %d to %d on 127.0.0.1", firstPort, lastPort)
}
