package realparts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// needsPython is the check that a Python interpreter must pass: the pinned
// wheels need 3.11. It prints what makes two interpreters different, because a
// virtual environment belongs to one of them.
const needsPython = `import sys, platform
assert sys.version_info >= (3, 11), "found " + sys.version
print(sys.executable, sys.version, platform.machine())`

// Venv returns the directory of a Python virtual environment that holds what
// tools/python/<requirements>.txt lists, and nothing else. It is made on first
// use and kept in the user's cache directory under a name that changes with
// the list and with the interpreter; deleting that directory is always safe
// while no test runs.
func Venv(t testing.TB, requirements string) string {
	t.Helper()
	skipShort(t, "a Python environment with "+requirements)
	list, err := toolsPython(requirements + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := makeVenv(t.Context(), cache, list)
	if err != nil {
		t.Fatalf("make a Python environment from %s: %v", list, err)
	}
	return dir
}

// skipShort skips the test under -short.
func skipShort(t testing.TB, what string) {
	t.Helper()
	if testing.Short() {
		t.Skipf("-short: this test needs %s; run it without -short", what)
	}
}

// venvDir says where under cache the environment of the list belongs.
func venvDir(ctx context.Context, cache, list string) (string, error) {
	wanted, err := os.ReadFile(list)
	if err != nil {
		return "", err
	}
	python, err := output(ctx, "python3", "-c", needsPython)
	if err != nil {
		return "", fmt.Errorf("%w\nPython 3.11 or later is needed as python3: apt-get install -y python3 python3-venv", err)
	}
	name := strings.TrimSuffix(filepath.Base(list), ".txt")
	sum := sha256.Sum256(append([]byte(python), wanted...))
	return filepath.Join(cache, fmt.Sprintf("%s-%x", name, sum[:8])), nil
}

// makeVenv makes the environment of the list under cache, unless it is there.
func makeVenv(ctx context.Context, cache, list string) (dir string, err error) {
	dir, err = venvDir(ctx, cache, list)
	if err != nil {
		return "", err
	}
	unlock, err := flock(dir+".lock", syscall.LOCK_EX)
	if err != nil {
		return "", err
	}
	defer unlock()
	ready := filepath.Join(dir, "ready")
	if _, err := os.Stat(ready); err == nil {
		return dir, nil
	}
	// An environment can't be made elsewhere and renamed: its scripts hold its
	// path. So the file "ready" comes last, and without it all is made again.
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if _, err := output(ctx, "python3", "-m", "venv", dir); err != nil {
		return "", fmt.Errorf("%w\nDebian keeps this module apart: apt-get install -y python3-venv", err)
	}
	// The list is complete, so --no-deps. Compiling everything to byte code
	// would take longer than the download; Python compiles what it imports.
	_, err = output(ctx, filepath.Join(dir, "bin", "python"), "-m", "pip", "install",
		"--no-deps", "--no-compile", "--no-input", "--disable-pip-version-check", "--quiet", "-r", list)
	if err != nil {
		return "", fmt.Errorf("%w\nthe test needs PyPI or a mirror of it; try by hand:\n"+
			"  python3 -m venv /tmp/v && /tmp/v/bin/pip install --no-deps -r %s", err, list)
	}
	return dir, os.WriteFile(ready, nil, 0o644)
}

// output runs a command to its end and returns what it wrote to stdout. Its
// error holds the command line and what it wrote to stderr.
func output(ctx context.Context, name string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = ownGroup()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

// cacheDir is where environments, models and locks are kept.
func cacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "pipeline-realparts"), nil
}

// toolsPython returns the path of a file of tools/python, which it finds from
// the test's working directory upward.
func toolsPython(name string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		path := filepath.Join(dir, "tools", "python", name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no tools/python/%s in the working directory or above it", name)
		}
		dir = up
	}
}
