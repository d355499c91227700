package tool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"pipeline/internal/redact"
)

// A Run is one call of a program, with all that the program starts.
type Run struct {
	Path    string
	Args    []string
	Env     []string      // NAME=value, beside those of this process that are not foreign
	Dir     string        // its working folder
	Log     io.Writer     // gets what it writes, without secrets; nil is nowhere
	Secrets []string      // values that reach neither Log, nor Line, nor End
	Line    func(string)  // is told each line, without colours, also those that a progress bar writes over; nil is nobody
	Limit   time.Duration // longest it may take; 0 is no limit
	Grace   time.Duration // what it has between SIGTERM and SIGKILL
}

// An End is how a Run ended.
type End struct {
	Code  int    // exit code; -1 if a signal ended it
	Cut   error  // why it was ended before it ended itself; nil if it was not
	Tail  string // the last lines that it wrote
	Usage Usage
}

// ErrLimit is the cause of a run that was cut at its Limit.
var ErrLimit = errors.New("it ran into its time limit")

// Do runs the program to its end. An error means that it was not started; that
// it failed, or was cut, is in the End.
func (r *Run) Do(ctx context.Context) (End, error) {
	if r.Limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, r.Limit, ErrLimit)
		defer cancel()
	}
	type result struct {
		end End
		err error
	}
	done := make(chan result, 1)
	go func() {
		// The kernel kills the child when the thread that made it ends, so the
		// thread is kept until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		end, err := r.do(ctx)
		done <- result{end, err}
	}()
	x := <-done
	return x.end, x.err
}

// foreign reports whether a variable of this process is kept from a program: it
// may hold a secret, which the program could send or print, or it may change
// what a tool does, unseen by the key.
func foreign(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	for _, settings := range []string{"AIPERF_", "VLLM_"} {
		if strings.HasPrefix(name, settings) {
			return true
		}
	}
	return redact.IsSecretName(name)
}

func (r *Run) do(ctx context.Context) (End, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return End{}, err
	}
	defer out.Close()
	cmd := exec.Command(r.Path, r.Args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = r.Dir, in, in, ownGroup()
	cmd.Env = append(slices.DeleteFunc(cmd.Environ(), foreign), r.Env...)
	err = cmd.Start()
	in.Close()
	if err != nil {
		return End{}, fmt.Errorf("start %s: %w", r.Path, err)
	}
	group := -cmd.Process.Pid
	release, err := guard(cmd.Process.Pid)
	if err != nil {
		_ = syscall.Kill(group, syscall.SIGKILL)
		_ = cmd.Wait()
		return End{}, err
	}
	defer release()
	var end End
	read := make(chan struct{})
	go func() {
		defer close(read)
		end.Tail = r.read(out)
	}()
	watched := watchUsage(cmd.Process.Pid)
	ended := make(chan struct{})
	waited := make(chan error, 1)
	go func() {
		waited <- r.endGroup(ctx, group, ended)
	}()
	err = cmd.Wait()
	close(ended)
	end.Cut = <-waited
	// What is left of the group has had its time.
	_ = syscall.Kill(group, syscall.SIGKILL)
	end.Usage = watched.stop()
	// A process that left the group may hold the pipe open.
	_ = out.SetReadDeadline(time.Now().Add(time.Second))
	<-read
	end.Code = cmd.ProcessState.ExitCode()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return end, fmt.Errorf("wait for %s: %w", r.Path, err)
	}
	return end, nil
}

// endGroup ends the group when ctx ends, and returns why. It returns nil when
// the program has ended by itself.
func (r *Run) endGroup(ctx context.Context, group int, ended <-chan struct{}) error {
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	_ = syscall.Kill(group, syscall.SIGTERM)
	grace := time.NewTimer(r.Grace)
	defer grace.Stop()
	select {
	case <-ended:
	case <-grace.C:
		_ = syscall.Kill(group, syscall.SIGKILL)
	}
	return context.Cause(ctx)
}

// guard starts a shell that kills the group when this process is gone, however
// that came: it waits for the end of a pipe whose other end only this process
// has. release ends the shell.
func guard(group int) (release func(), err error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/bin/sh", "-c", fmt.Sprintf("trap '' INT TERM HUP; read _; kill -KILL -%d", group))
	cmd.Stdin = out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a signal to our group does not reach it
	err = cmd.Start()
	out.Close()
	if err != nil {
		in.Close()
		return nil, fmt.Errorf("start the guard of the tool: %w", err)
	}
	return func() {
		_ = cmd.Process.Kill() // before the pipe closes, which would have it kill a group that is gone
		_ = cmd.Wait()
		in.Close()
	}, nil
}

const (
	tailLines = 200
	lineBytes = 16 << 10 // longer lines are cut
)

var colourRE = regexp.MustCompile(`\x1b\[[0-9;?]*[ -/]*[@-~]`)

// read takes what the program writes, until it has ended, and returns the last
// lines. What a progress bar writes over is no line of the log.
func (r *Run) read(from io.Reader) string {
	var secrets []string
	for _, s := range r.Secrets {
		if s != "" {
			secrets = append(secrets, s, "[redacted]")
		}
	}
	hide := strings.NewReplacer(secrets...)
	var tail []string
	in := bufio.NewReaderSize(from, 64<<10)
	for {
		raw, end, err := readLine(in)
		line := hide.Replace(strings.ToValidUTF8(colourRE.ReplaceAllString(string(raw), ""), "?"))
		if r.Line != nil && (line != "" || end == '\n') {
			r.Line(line)
		}
		if end == '\n' || line != "" && err != nil {
			if r.Log != nil {
				fmt.Fprintln(r.Log, line)
			}
			tail = append(tail, line)
			if len(tail) > 2*tailLines {
				tail = append(tail[:0], tail[len(tail)-tailLines:]...)
			}
		}
		if err != nil {
			return strings.Join(tail[max(0, len(tail)-tailLines):], "\n")
		}
	}
}

// readLine reads up to the end of a line, or to where it will be written over,
// and returns it with the byte that ended it.
func readLine(in *bufio.Reader) (line []byte, end byte, err error) {
	for {
		c, err := in.ReadByte()
		switch {
		case err != nil:
			return line, 0, err
		case c == '\r':
			if next, err := in.Peek(1); err == nil && next[0] == '\n' {
				continue
			}
			return line, c, nil
		case c == '\n':
			return line, c, nil
		case len(line) < lineBytes:
			line = append(line, c)
		}
	}
}
