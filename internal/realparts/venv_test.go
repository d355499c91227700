package realparts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestVenv asks for one environment from several goroutines at once, which the
// lock treats as it treats several processes, and counts how often it is made.
// A killed test has left half of it behind. The list is empty, so nothing is
// downloaded.
func TestVenv(t *testing.T) {
	skipShort(t, "python3")
	made := countVenvs(t)
	cache := t.TempDir()
	list := filepath.Join(t.TempDir(), "empty.txt")
	write(t, list, "# nothing\n")
	want, err := venvDir(t.Context(), cache, list)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(want, 0o755); err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(want, "half")
	write(t, half, "")

	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if dir, err := makeVenv(t.Context(), cache, list); err != nil || dir != want {
				t.Errorf("made %q, %v; want %s", dir, err, want)
			}
		})
	}
	wg.Wait()
	if got := made(); got != 1 {
		t.Errorf("made %d times, want once", got)
	}
	if _, err := output(t.Context(), filepath.Join(want, "bin", "python"), "-c", "import pip"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(half); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", half, err)
	}
}

// countVenvs puts a python3 first in PATH that notes each call for a new
// environment before it hands over to the real one.
func countVenvs(t *testing.T) (made func() int) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	notes := filepath.Join(bin, "notes")
	script := fmt.Sprintf("#!/bin/sh\n[ \"$2\" = venv ] && echo made >>'%s'\nexec '%s' \"$@\"\n", notes, python)
	if err := os.WriteFile(filepath.Join(bin, "python3"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	return func() int {
		b, err := os.ReadFile(notes)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), "made\n")
	}
}

// TestVenvNotFound shows what the reader of a failed installation learns.
func TestVenvNotFound(t *testing.T) {
	skipShort(t, "python3")
	t.Parallel()
	list := filepath.Join(t.TempDir(), "odd.txt")
	write(t, list, "./no-such-file.whl\n")
	_, err := makeVenv(t.Context(), t.TempDir(), list)
	wantError(t, err, "no-such-file.whl", "bin/pip install --no-deps -r "+list)
}

func TestVenvWithoutPython(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	list := filepath.Join(t.TempDir(), "empty.txt")
	write(t, list, "")
	_, err := makeVenv(t.Context(), t.TempDir(), list)
	wantError(t, err, "apt-get install -y python3 python3-venv")
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error does not say %q:\n%v", p, err)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
