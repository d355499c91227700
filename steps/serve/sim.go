package serve

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"pipeline/internal/endpoint"
	"pipeline/steps"
)

const (
	logName   = "server.log"
	leaseFlag = "--lease"
)

// A child is a started server.
type child struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when the process has ended
	err  error         // how it ended; to be read after done
}

// openSim starts the simulated endpoint and waits for its address and its model.
func (s *Step) openSim(ctx context.Context, env *steps.Env) (steps.Live, error) {
	key := ""
	if name := s.Endpoint.APIKeyEnv; name != "" {
		var err error
		if key, err = env.Secret(string(name)); err != nil {
			return nil, fmt.Errorf("endpoint.api_key_env: %w", err)
		}
	}
	c, err := s.start(env)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.ReadyTimeout))
	defer cancel()
	// A child that dies ends the waiting.
	go func() {
		select {
		case <-c.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	access := endpoint.Access{APIKey: key, Log: c.log}
	if access.URL, err = c.address(ctx); err == nil {
		err = s.ready(ctx, access)
	}
	if err != nil {
		return nil, c.explain(err, access)
	}
	access.DCGM = access.URL + "/dcgm/metrics"
	env.Log.Info("endpoint is ready", "url", access.URL, "pid", c.cmd.Process.Pid, "log", c.log)
	return access.Live(string(s.Endpoint.APIKeyEnv)), nil
}

func (s *Step) start(env *steps.Env) (*child, error) {
	c := &child{log: filepath.Join(env.Dir, logName), done: make(chan struct{})}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("log of the simulated endpoint: %w", err)
	}
	defer log.Close()
	args := append(append([]string{}, s.launcher.Args...), s.config().Args()...)
	args = append(args, "--port", "0", leaseFlag, env.Lease)
	// Not CommandContext: the process outlives Open, and Close ends it.
	c.cmd = exec.Command(s.launcher.Program, args...)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	// A group of its own: Ctrl-C on the terminal is ours to handle, and the
	// group is what Close ends.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the simulated endpoint: %w", err)
	}
	env.Log.Info("started", "command", strings.Join(c.cmd.Args, " "), "pid", c.cmd.Process.Pid)
	record := env.Command(c.cmd.Args...)
	// The scratch folder may be gone when the server ends, what is open is not.
	printed, err := os.Open(c.log)
	if err != nil {
		env.Log.Warn("what the server prints is not recorded", "error", err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
		if printed != nil {
			_, _ = io.Copy(record.Stdout, printed)
			printed.Close()
		}
		code, how := c.cmd.ProcessState.ExitCode(), c.err
		if code >= 0 {
			how = nil // the code says it
		}
		record.End(code, how)
	}()
	return c, nil
}

// addressRE finds where the server listens in its log: vLLM's and uvicorn's
// "… on http://127.0.0.1:8000". Port 0 is what was asked and no address.
var addressRE = regexp.MustCompile(`\bhttp://(?:127\.0\.0\.1|localhost|\[::1\]):[1-9][0-9]*`)

// address reads the log until it says where the server listens.
func (c *child) address(ctx context.Context) (string, error) {
	log, err := os.Open(c.log)
	if err != nil {
		return "", err
	}
	defer log.Close()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	in, line := bufio.NewReader(log), ""
	for {
		part, err := in.ReadString('\n')
		line += part
		if err == nil {
			if url := addressRE.FindString(line); url != "" {
				return url, nil
			}
			line = ""
			continue
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("wait until the simulated endpoint says where it listens: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

func (s *Step) ready(ctx context.Context, access endpoint.Access) error {
	client, err := endpoint.NewClient(access)
	if err != nil {
		return err
	}
	defer client.Close()
	return endpoint.Ready(ctx, client, endpoint.Options{ReadyTimeout: time.Duration(s.ReadyTimeout), Poll: 20 * time.Millisecond})
}

// explain adds to an error of the start what the server's log says.
func (c *child) explain(err error, access endpoint.Access) error {
	select {
	case <-c.done:
		err = fmt.Errorf("the simulated endpoint ended before it was ready (%v)", c.err)
	default:
	}
	if cause := access.Cause(); cause != "" {
		return fmt.Errorf("%w: %s", err, cause)
	}
	return err
}
