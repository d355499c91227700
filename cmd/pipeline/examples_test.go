package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite golden files")

// The measured: times, rates and sizes differ from run to run.
var measured = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`(?m)^run +\S+`), "run      #"},
	{regexp.MustCompile(`\b\d{8}-\d{6}\.\d{3}-[0-9a-f]{8}\b`), "#"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "#"},
	{regexp.MustCompile(`\b\d+m\d\ds\b|\b\d[\d,]*(\.\d+)?(ms|s)\b`), "#"},
	{regexp.MustCompile(`\b\d[\d,]*(\.\d+)?( ?(ms|tok/s|req/s|%))`), "#$2"},
	{regexp.MustCompile(`, \d+ doubts?|  \d+ doubts?`), ""},
	{regexp.MustCompile(`(?m); client_bound: .*`), ""}, // beside the reason that the example is about
	{regexp.MustCompile(`(?m)^(open|closed|running|retry|warning).*\n`), ""},
}

// TestExamples runs every example as its reader would, and compares what it
// prints with its want.txt. Doubts are left out: they depend on the machine.
func TestExamples(t *testing.T) {
	specs, err := filepath.Glob("../../examples/*/spec.yaml")
	if err != nil || len(specs) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, spec := range specs {
		from := filepath.Dir(spec)
		t.Run(filepath.Base(from), func(t *testing.T) {
			root := t.TempDir()
			copyTemplates(t, root)
			dir := filepath.Join(root, "examples", filepath.Base(from))
			if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
				t.Fatal(err)
			}
			cmd := pipelineIn(dir, "run", "spec.yaml", "--jobs", "1")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			got := string(out)
			for _, m := range measured {
				got = m.re.ReplaceAllString(got, m.to)
			}
			got += "exit code " + strings.TrimPrefix(cmd.ProcessState.String(), "exit status ") + "\n"
			if stderr.Len() > 0 {
				t.Logf("stderr:\n%s", stderr.String())
			}
			golden(t, filepath.Join(from, "want.txt"), inOrder(got))
		})
	}
}

var doneRE = regexp.MustCompile(`^done +(\w+)\[`)

// inOrder sorts consecutive cells of one step: one that is tried again comes
// after those that were not, and which are depends on the machine.
func inOrder(text string) string {
	lines := strings.Split(text, "\n")
	step := func(i int) string {
		if m := doneRE.FindStringSubmatch(lines[i]); m != nil {
			return m[1]
		}
		return ""
	}
	for from := 0; from < len(lines); {
		to := from + 1
		for to < len(lines) && step(from) != "" && step(to) == step(from) {
			to++
		}
		slices.Sort(lines[from:to])
		from = to
	}
	return strings.Join(lines, "\n")
}

// copyTemplates copies the specs that others extend to where they expect them.
func copyTemplates(t *testing.T, root string) {
	t.Helper()
	templates, err := filepath.Glob("../../pipelines/*.yaml")
	if err != nil || len(templates) == 0 {
		t.Fatalf("no templates: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(root, "pipelines"), 0o777); err != nil {
		t.Fatal(err)
	}
	for _, from := range templates {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "pipelines", filepath.Base(from)), text, 0o666); err != nil {
			t.Fatal(err)
		}
	}
}
