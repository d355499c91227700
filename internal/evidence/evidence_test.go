package evidence

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pipeline/internal/command"
)

var began = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

func create(t *testing.T, home string) *Bundle {
	t.Helper()
	b, err := Create(t.TempDir(), About{Family: "fam", Intent: "see | what", Campaign: "c", Run: "20260801-120000.000-00000000", Home: home,
		Spec: "a.yaml", Program: "pipeline 1", Args: []string{"pipeline", "run", "a.yaml"}, Began: began}, []byte("key: xyzzy-secret\n"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func read(t *testing.T, b *Bundle, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(b.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func finish(t *testing.T, b *Bundle, r Result) {
	t.Helper()
	if _, err := b.Finish(r); err != nil {
		t.Fatal(err)
	}
}

// Numbers stand beside their setting, what failed is open, and who wrote in a
// file keeps it.
func TestFinish(t *testing.T) {
	b := create(t, "")
	if err := os.WriteFile(filepath.Join(b.Dir, HandoffFile), []byte("mine\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	b, err := Open(b.Dir) // as another process would
	if err != nil {
		t.Fatal(err)
	}
	b.Hide("xyzzy-secret")
	finish(t, b, Result{Status: "gaps", Ended: began.Add(time.Minute), ExitCode: 2, Counts: "2 nodes.",
		Nodes:    []Node{{Name: "cells[c=4]", State: "failed", Took: 1500 * time.Millisecond, Why: "with xyzzy-secret\nin two lines"}},
		Warnings: []string{"cells: ramp_dominated"},
		Cells: []Cell{{ID: "c=4", Status: "FULL", Simulated: true, Numbers: slices.Repeat([]string{"1"}, len(Columns)), Setting: "tp=8"},
			{ID: "c=8", Status: "FULL", Numbers: slices.Repeat([]string{""}, len(Columns)), Setting: "tp=4"},
			{ID: "c=16", Status: "FULL", Numbers: slices.Repeat([]string{"2"}, len(Columns)), Setting: "tp=8"}},
		Secrets: []string{"HF_TOKEN"}})
	for name, wants := range map[string][]string{
		SourceFile: {"- intent: see | what", "- perf-lake: campaign=c, rows of campaign_v1 with run_id=20260801-120000.000-00000000", "HF_TOKEN",
			"- ended: 2026-08-01 12:01:00 UTC", "Nothing was created."},
		SummaryFile: {"c: gaps, exit code 2. 2 nodes.", "| c=4 | FULL SIMULATED | 1 |", "| c=8 | FULL | – |", "| S2 |", "- S1: tp=8", "- S2: tp=4",
			"| cells[c=4] | failed | 1.5s | with [redacted] in two lines |", "- cells: ramp_dominated"},
		HandoffFile: {"mine"},
		SpecFile:    {"key: [redacted]"},
	} {
		for _, want := range wants {
			if text := read(t, b, name); !strings.Contains(text, want) {
				t.Errorf("%s has no %q:\n%s", name, want, text)
			}
		}
	}
	if n := strings.Count(read(t, b, SummaryFile), "- S"); n != 2 {
		t.Errorf("%d settings are listed, want 2", n)
	}
	c, err := Verify(b.Dir)
	if err != nil || !c.Whole() || c.Files != 4 {
		t.Errorf("%+v %v", c, err)
	}
	if _, err := Open(b.Dir); err == nil || !strings.Contains(err.Error(), "is finished") {
		t.Errorf("a finished bundle can be opened: %v", err)
	}
	if _, err := Create(filepath.Dir(filepath.Dir(b.Dir)), b.About, nil); err == nil {
		t.Error("a bundle is made over another")
	}
}

// Commands of the run are taken in without secrets; one that did not end says
// so; what was left behind is named.
func TestCommands(t *testing.T) {
	b := create(t, "/home")
	if len(Unfinished(filepath.Dir(filepath.Dir(b.Dir)), "fam")) != 1 {
		t.Error("it is not found")
	}
	from := t.TempDir()
	recorder := command.NewRecorder(from, time.Now, 1)
	plain := func(s string) string { return s }
	r := recorder.Begin("a", []string{"one", "hf_abcdefghijklmnopqrst"}, plain)
	if _, err := r.Stdout.Write([]byte("xyzzy-secret\n")); err != nil {
		t.Fatal(err)
	}
	r.End(0, nil)
	recorder.Begin("a", []string{"two"}, plain) // killed
	b.Hide("xyzzy-secret")
	finish(t, b, Result{Status: "interrupted", Commands: from, Opened: []Lease{{Node: "server", Kind: "serve", Name: "l-1"}}})
	if text := read(t, b, SourceFile); !strings.Contains(text, "| l-1 | server | serve | LEFT BEHIND") {
		t.Errorf("what was left behind is not said:\n%s", text)
	}
	if text := read(t, b, HandoffFile); !strings.Contains(text, "- server (serve) was left behind: lease l-1") {
		t.Errorf("%s", text)
	}
	for name, want := range map[string]string{"0001-a.command": "one '[redacted]'\n", "0001-a.stdout": "[redacted]\n", "0002-a.stderr": ""} {
		if text := read(t, b, "commands/"+name); text != want {
			t.Errorf("%s: %q", name, text)
		}
	}
	if text := read(t, b, "commands/0002-a.exit"); !strings.Contains(text, "it did not end") {
		t.Errorf("%q", text)
	}
	if c, err := Verify(b.Dir); err != nil || c.Files != 12 {
		t.Errorf("%+v %v", c, err)
	}
}

func TestVerify(t *testing.T) {
	b := create(t, "")
	if _, err := Verify(b.Dir); !errors.Is(err, ErrUnfinished) {
		t.Errorf("unfinished: %v", err)
	}
	finish(t, b, Result{})
	manifest := read(t, b, ManifestFile)
	line := strings.SplitAfter(manifest, "\n")[0]
	for text, want := range map[string]string{
		"":                                      "it lists no file",
		"x":                                     "line 1 is not DIGEST",
		manifest + line:                         "a second time",
		strings.Replace(line, "  ", "  ../", 1): "line 1 is not DIGEST",
		strings.Replace(line, "  ", "  /", 1):   "line 1 is not DIGEST",
		line[2:]:                                "line 1 is not DIGEST",
	} {
		if err := os.WriteFile(filepath.Join(b.Dir, ManifestFile), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(b.Dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if err := os.WriteFile(filepath.Join(b.Dir, ManifestFile), []byte(manifest), 0o666); err != nil {
		t.Fatal(err)
	}
	// A link is no file, wherever it leads.
	if err := errors.Join(os.Rename(filepath.Join(b.Dir, SpecFile), filepath.Join(t.TempDir(), "x")), os.Symlink("/etc/passwd", filepath.Join(b.Dir, SpecFile))); err != nil {
		t.Fatal(err)
	}
	if c, err := Verify(b.Dir); err != nil || !slices.Equal(c.Differ, []string{SpecFile}) {
		t.Errorf("%+v %v", c, err)
	}
}

func FuzzReadManifest(f *testing.F) {
	f.Add([]byte(strings.Repeat("0", 64) + "  a/b\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		listed, err := readManifest(text)
		if (err == nil) != (len(listed) > 0) {
			t.Fatal(listed, err)
		}
		for name := range listed {
			if !filepath.IsLocal(name) {
				t.Fatalf("%q leads out of the bundle", name)
			}
		}
	})
}
