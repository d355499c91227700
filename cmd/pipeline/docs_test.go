package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pipeline/engine"
	"pipeline/pipelines"
	"pipeline/steps"
)

// TestDocs runs every pipeline command that README.md and docs/*.md show in a
// ```sh block, as typed and in order, in one copy of specs and examples. A
// command is to end well; "# exit N" behind it names another code.
func TestDocs(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"specs", "examples", "configs"} {
		if err := os.CopyFS(filepath.Join(dir, d), os.DirFS(filepath.Join("../..", d))); err != nil {
			t.Fatal(err)
		}
	}
	copyTemplates(t, dir)
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, file := range append([]string{"../../README.md"}, files...) {
		for _, line := range shellLines(t, file) {
			shown++
			runShown(t, dir, filepath.Base(file), line)
		}
	}
	if shown == 0 {
		t.Error("the docs show no command")
	}
}

// shellLines returns the commands of a file's sh blocks that call pipeline.
func shellLines(t *testing.T, file string) []string {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, m := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(string(b), -1) {
		block := strings.ReplaceAll(m[1], "\\\n", " ")
		for line := range strings.Lines(block) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "pipeline ") {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

var exitNote = regexp.MustCompile(`# exit (\d+)`)

func runShown(t *testing.T, dir, file, line string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CI=true")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	want := "0"
	if m := exitNote.FindStringSubmatch(line); m != nil {
		want = m[1]
	}
	got := strings.TrimPrefix(cmd.ProcessState.String(), "exit status ")
	if got == "2" && strings.Contains(out.String(), "client_bound") {
		t.Logf("%q had gaps because this machine was busy:\n%s", line, out.String())
		return
	}
	if got != want {
		t.Errorf("%s shows %q: exit code %s, want %s: %v\n%s", file, line, got, want, err, out.String())
	}
}

// TestStepReference keeps docs/steps.md what the kinds say of themselves.
func TestStepReference(t *testing.T) {
	a := &app{home: t.TempDir()}
	reg, err := a.registry()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "../../docs/steps.md", stepReference(t, reg))
}

func stepReference(t *testing.T, reg steps.Registry) string {
	var b strings.Builder
	b.WriteString("# Steps\n\nMade from the kinds themselves: `go test ./cmd/pipeline -run TestStepReference -update`.\n")
	for _, name := range reg.Names() {
		text, err := kindDoc(reg[name])
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n" + text)
	}
	return b.String()
}

// golden compares text with a file, or rewrites the file with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: -update rewrites it. Got\n%s\nwant\n%s", file, got, want)
	}
}

// TestSpecReference keeps the tables of docs/spec.md what the schema says.
func TestSpecReference(t *testing.T) {
	a := &app{home: t.TempDir()}
	reg, err := a.registry()
	if err != nil {
		t.Fatal(err)
	}
	text, err := pipelines.Schema(reg)
	if err != nil {
		t.Fatal(err)
	}
	type fields map[string]struct{ Description string }
	var schema struct {
		Properties fields
		Defs       struct{ Step struct{ Properties fields } } `json:"$defs"`
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, part := range []struct {
		title string
		order string
		fields
	}{
		{"Fields of a spec", "campaign extends focus labels params steps", schema.Properties},
		{"Fields of a step", "id uses with in after matrix when timeout retry max_age pools phase", schema.Defs.Step.Properties},
	} {
		names := strings.Fields(part.order)
		if len(names) != len(part.fields) {
			t.Errorf("%s: the schema has %d, the list here %d", part.title, len(part.fields), len(names))
		}
		b.WriteString("\n## " + part.title + "\n\n| field | what |\n|---|---|\n")
		for _, n := range names {
			if part.fields[n].Description == "" {
				t.Errorf("%s: %s has no description", part.title, n)
			}
			b.WriteString("| `" + n + "` | " + part.fields[n].Description + " |\n")
		}
	}
	goldenPart(t, "../../docs/spec.md", "fields", b.String())
}

// goldenPart is golden for what stands between <!-- name --> and <!-- end -->.
func goldenPart(t *testing.T, file, name, got string) {
	t.Helper()
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	mark := "<!-- " + name + " -->"
	head, rest, _ := strings.Cut(string(doc), mark)
	_, tail, ok := strings.Cut(rest, "<!-- end -->")
	if !ok {
		t.Fatalf("%s has lost its marks %s and <!-- end -->", file, mark)
	}
	golden(t, file, head+mark+"\n"+got+"\n<!-- end -->"+tail)
}

// TestReasonReference keeps the list of docs/events.md what the engine gives.
func TestReasonReference(t *testing.T) {
	var b strings.Builder
	b.WriteString("| code | name | meaning |\n|---|---|---|\n")
	for _, r := range engine.Reasons() {
		b.WriteString("| " + string(r) + " | `" + r.Name() + "` | " + r.Text() + " |\n")
	}
	goldenPart(t, "../../docs/events.md", "reasons", "\n"+b.String())
}
