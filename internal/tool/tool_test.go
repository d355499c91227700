package tool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// program writes an executable that tells a version.
func program(t *testing.T, path, version string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho \"the tool "+version+"\"\n"), 0o777); err != nil {
		t.Fatal(err)
	}
}

func TestFindOrder(t *testing.T) {
	home, bin := t.TempDir(), t.TempDir()
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	tool := AIPerf()
	_, err := tool.Find("", home)
	var missing *NotFound
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "pipeline tools install aiperf") {
		t.Errorf("error %v", err)
	}
	given := filepath.Join(t.TempDir(), "mine")
	program(t, given, "0.12.0")
	check := func(path, want, from, version string) {
		t.Helper()
		f, err := tool.Find(path, home)
		if err != nil || f.Path != want || f.From != from {
			t.Fatalf("found %+v, %v; want %s of %s", f, err, want, from)
		}
		if v, err := f.Ask(t.Context()); err != nil || v != version {
			t.Errorf("version %q, %v; want %s", v, err, version)
		}
	}
	program(t, filepath.Join(bin, "aiperf"), "0.11.0")
	check("", filepath.Join(bin, "aiperf"), OnPath, "0.11.0")
	// An environment that is half made, or made from another list, does not count.
	inHome := tool.programIn(home)
	program(t, inHome, "0.13.0rc1+x")
	check("", filepath.Join(bin, "aiperf"), OnPath, "0.11.0")
	ready := filepath.Join(tool.dir(home), readyFile)
	for _, mark := range []string{"another list\n", tool.mark()} {
		if err := os.WriteFile(ready, []byte(mark), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	check("", inHome, InHome, "0.13.0rc1+x")
	check(given, given, Given, "0.12.0")
	if _, err := tool.Find(given+"x", home); err == nil {
		t.Error("found what is not there")
	}
}

func TestAskFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "aiperf")
	for script, want := range map[string]string{
		"echo hello":                    "tells no version",
		"echo broken >&2; exit 1":       "broken",
		"echo 'a b' >&2; kill -KILL $$": "killed",
	} {
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o777); err != nil {
			t.Fatal(err)
		}
		_, err := Found{AIPerf(), path, Given}.Ask(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", script, err, want)
		}
	}
}

// The list is what pip installs without resolving anything, so a package that
// is named twice, or without its version, is a fault of it.
func TestListIsPinned(t *testing.T) {
	seen := map[string]bool{}
	for line := range strings.Lines(AIPerf().list) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, version, ok := strings.Cut(line, "==")
		if !ok || version == "" || seen[name] {
			t.Errorf("%s: is not pinned, or twice", line)
		}
		seen[name] = true
	}
	if !strings.Contains(AIPerf().list, "\naiperf=="+AIPerf().Version+"\n") {
		t.Errorf("the list does not hold aiperf %s", AIPerf().Version)
	}
}

func TestInstallFails(t *testing.T) {
	say := func(s string) { t.Log(s) }
	if _, err := VLLM().Install(t.Context(), t.TempDir(), say); err == nil || !strings.Contains(err.Error(), "pip install vllm") {
		t.Errorf("error %v", err)
	}
	t.Run("no Python", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		_, err := AIPerf().Install(t.Context(), t.TempDir(), say)
		if err == nil || !strings.Contains(err.Error(), "apt-get install -y python3 python3-venv") {
			t.Errorf("error %v", err)
		}
	})
	if testing.Short() {
		t.Skip("-short: this test needs python3")
	}
	home, odd := t.TempDir(), AIPerf()
	odd.list = "./no-such-file.whl\n"
	if _, err := odd.Install(t.Context(), home, say); err == nil || !strings.Contains(err.Error(), "no-such-file.whl") {
		t.Errorf("error %v", err)
	}
	if odd.installed(home) {
		t.Error("what could not be installed counts as installed")
	}
}
