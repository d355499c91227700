package tool

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// readyFile is written last: without it, or with another list in it, the
// environment is made again. One can't be made elsewhere and renamed, since
// its scripts hold its path.
const readyFile = "ready"

// mark names the list that an environment was made from.
func (t Tool) mark() string { return fmt.Sprintf("%x\n", sha256.Sum256([]byte(t.list))) }

// Install makes a virtual environment for the tool in the home, unless it is
// there, and returns the tool in it. say is told each step.
func (t Tool) Install(ctx context.Context, home string, say func(string)) (Found, error) {
	if !t.Installable() {
		return Found{}, fmt.Errorf("%s cannot be installed from here: %s", t.Name, t.advice)
	}
	dir, err := filepath.Abs(t.dir(home))
	if err != nil {
		return Found{}, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o777); err != nil {
		return Found{}, err
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return Found{}, fmt.Errorf("lock %s: %w", dir, err)
	}
	defer unlock()
	found := Found{t, filepath.Join(dir, "bin", t.program), InHome}
	if t.installed(home) {
		return found, nil
	}
	if err := t.make(ctx, dir, say); err != nil {
		return Found{}, fmt.Errorf("install %s %s: %w", t.Name, t.Version, err)
	}
	version, err := found.Ask(ctx)
	if err != nil {
		return Found{}, err
	}
	if version != t.Version {
		return Found{}, fmt.Errorf("installed %s %s, and it says that it is %s", t.Name, t.Version, version)
	}
	return found, os.WriteFile(filepath.Join(dir, readyFile), []byte(t.mark()), 0o666)
}

func (t Tool) make(ctx context.Context, dir string, say func(string)) error {
	interpreter, err := findPython(ctx)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	say("making a virtual environment with " + interpreter + " in " + dir)
	if err := output(ctx, interpreter, "-m", "venv", dir); err != nil {
		return fmt.Errorf("%w\nDebian keeps this module apart: apt-get install -y python3-venv", err)
	}
	list := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(list, []byte(t.list), 0o666); err != nil {
		return err
	}
	say(fmt.Sprintf("installing %s %s from PyPI, with all that it needs", t.Name, t.Version))
	// The list is complete, so --no-deps. Python compiles what it imports, so
	// --no-compile.
	err = output(ctx, filepath.Join(dir, "bin", "python"), "-m", "pip", "install",
		"--no-deps", "--no-compile", "--no-input", "--disable-pip-version-check", "--quiet", "-r", list)
	if err != nil {
		return fmt.Errorf("%w\nit needs PyPI or a mirror of it (pip reads PIP_INDEX_URL)", err)
	}
	return nil
}

// pythonCheck is what an interpreter must pass: the lists are for these.
const pythonCheck = `import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))`

// findPython returns an interpreter that the lists are for.
func findPython(ctx context.Context) (string, error) {
	for _, name := range []string{"python3.11", "python3.12", "python3.13", "python3"} {
		path, err := exec.LookPath(name)
		if err == nil && exec.CommandContext(ctx, path, "-c", pythonCheck).Run() == nil {
			return path, nil
		}
	}
	return "", errors.Join(ctx.Err(), errors.New("no Python 3.11, 3.12 or 3.13 with the module venv is on the PATH: apt-get install -y python3 python3-venv"))
}

// output runs a command to its end; the error holds what it said.
func output(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = ownGroup()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// lock waits for the lock file at path, until unlock or the death of this process.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
