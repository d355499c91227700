// Package exec is the kind exec: a shell command as a Pure step. It is for
// what has no kind of its own: a script that turns measurements into a plot,
// a check of a table.
//
// The command sees its inputs as files, a handful of environment variables,
// and an empty working folder. That it reads nothing else and writes the same
// each time is its author's promise: the engine reuses what it wrote.
package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"pipeline/steps"
)

// Kind describes the step to specs and to the engine.
var Kind = steps.Kind{
	Name:    "exec",
	Summary: "run a shell command",
	Doc: "Runs `run` with `/bin/sh -c` in an empty folder. What it prints is the artifact `stdout`.\n\n" +
		"Each input is a file `$PIPELINE_IN/<port>/<cell>/<artifact>`, where `<cell>` is `-` for a step without a matrix, " +
		"and else `axis=value,axis=value`. The files of `files` are copied to `$PIPELINE_FILES` under their base names.\n\n" +
		"An exit code other than 0 fails the node with the last lines that it wrote to stderr. " +
		"The environment is PATH, HOME, LANG=C, TZ=UTC and these two; nothing else reaches the command.",
	Version: 1,
	Effect:  steps.Pure,
	AnyPort: true,
	Show:    true,
	Outputs: []steps.Output{{Name: "stdout", Doc: "What the command printed."}},
	New:     func() steps.Step { return &Step{} },
}

// Step holds the parameters of one run.
type Step struct {
	Command string       `json:"run" key:"yes" required:"true" doc:"The command, for /bin/sh -c."`
	Files   []steps.File `json:"files" key:"yes" doc:"Files or folders beside the spec that it reads: scripts, tables."`
}

// Check implements steps.Checker.
func (s *Step) Check() error {
	if strings.TrimSpace(s.Command) == "" {
		return &steps.ParamError{Param: "run", Err: errors.New("it is empty: write a command")}
	}
	seen := make(map[string]bool)
	for _, f := range s.Files {
		base := filepath.Base(string(f))
		if seen[base] {
			return &steps.ParamError{Param: "files", Err: fmt.Errorf("two of them are called %s: the command sees them in one folder", base)}
		}
		seen[base] = true
	}
	return nil
}

// grace is how long a command may take to end once it was asked to.
const grace = 10 * time.Second

// Run implements steps.Runner.
func (s *Step) Run(ctx context.Context, env *steps.Env) error {
	inDir, filesDir, workDir := filepath.Join(env.Dir, "in"), filepath.Join(env.Dir, "files"), filepath.Join(env.Dir, "work")
	for _, d := range []string{inDir, filesDir, workDir} {
		if err := os.MkdirAll(d, 0o777); err != nil {
			return err
		}
	}
	if err := layOut(env, inDir); err != nil {
		return err
	}
	for _, f := range s.Files {
		if err := copyTo(env.Resolve(string(f)), filepath.Join(filesDir, filepath.Base(string(f)))); err != nil {
			return fmt.Errorf("files: %w", err)
		}
	}
	out, err := env.Create("stdout")
	if err != nil {
		return err
	}
	var last tail
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", s.Command)
	cmd.Dir = workDir
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + workDir, "LANG=C", "TZ=UTC",
		"PIPELINE_IN=" + inDir, "PIPELINE_FILES=" + filesDir}
	cmd.Stdout, cmd.Stderr = out, io.MultiWriter(&last, logWriter{env})
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that all that it starts can be ended
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	ended := env.Recorded(cmd)
	err = cmd.Run()
	ended(err)
	if cmd.Process != nil {
		// What is left of the group, if anything, has had its time.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	if err != nil {
		return s.explain(ctx, err, last.text())
	}
	return out.Close()
}

func (s *Step) explain(ctx context.Context, err error, stderr string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if stderr == "" {
		stderr = "(it wrote nothing to stderr)"
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("the command failed (%s): %s: %w", exit.ProcessState, stderr, steps.ErrPermanent)
	}
	return fmt.Errorf("run the command: %w", err)
}

// layOut writes all inputs as files below dir.
func layOut(env *steps.Env, dir string) error {
	for port, inputs := range env.In {
		for i := range inputs {
			in := &inputs[i]
			at := filepath.Join(dir, port, cellName(in.Cell))
			if err := os.MkdirAll(at, 0o777); err != nil {
				return err
			}
			for _, a := range in.Artifacts {
				if err := layOutOne(in, a.Name, filepath.Join(at, a.Name)); err != nil {
					return fmt.Errorf("input %s: %w", port, err)
				}
			}
		}
	}
	return nil
}

func layOutOne(in *steps.Input, name, path string) error {
	r, err := in.Open(name)
	if err != nil {
		return err
	}
	defer r.Close()
	return writeFile(path, r, 0o444)
}

func cellName(cell []steps.Coord) string {
	if len(cell) == 0 {
		return "-"
	}
	var parts []string
	for _, c := range cell {
		parts = append(parts, c.Axis+"="+strings.ReplaceAll(c.Value, "/", "%2f"))
	}
	return strings.Join(parts, ",")
}

// copyTo copies a file, or a folder with all in it. That a file is executable
// is kept.
func copyTo(from, to string) error {
	st, err := os.Stat(from)
	if err != nil {
		return err
	}
	if st.IsDir() {
		return os.CopyFS(to, os.DirFS(from))
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return writeFile(to, f, st.Mode().Perm())
}

func writeFile(path string, r io.Reader, perm os.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

type logWriter struct{ env *steps.Env }

func (w logWriter) Write(p []byte) (int, error) {
	w.env.Log.Info("stderr", "text", string(p))
	return len(p), nil
}

// A tail keeps the last bytes written to it.
type tail struct{ b []byte }

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > tailSize {
		t.b = append(t.b[:0], t.b[len(t.b)-tailSize:]...)
	}
	return len(p), nil
}

// text returns the last ten lines.
func (t *tail) text() string {
	lines := bytes.Split(bytes.TrimSpace(t.b), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-10):], []byte("\n")))
}
