package pipelines_test

import (
	"strings"
	"testing"
	"time"

	"pipeline/internal/yaml"
	"pipeline/pipelines"
)

// insideOf fails if a fault has no place within one of the files.
func insideOf(t *testing.T, files map[string]string, err error) {
	t.Helper()
	errs, ok := err.(yaml.Errors)
	if !ok {
		return
	}
	for _, e := range errs {
		text, known := files[e.Pos.File]
		lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
		if !known || e.Msg == "" || e.Pos.Line < 1 || e.Pos.Line > len(lines) || e.Pos.Col < 1 || e.Pos.Col > len([]rune(lines[e.Pos.Line-1]))+1 {
			t.Fatalf("a fault outside of its file: %v", e)
		}
	}
}

// bounded fails if f takes longer than anything of its size may. The bound is
// far above what a slow machine needs; it catches what does not end.
func bounded(t *testing.T, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > 20*time.Second {
		t.Fatalf("took %v", took)
	}
}

// FuzzSpec: no panic, every fault has its place, and what plans has a sound
// order and prints.
func FuzzSpec(f *testing.F) {
	f.Add([]byte("campaign: a\nsteps: [{id: a, uses: exec, with: {command: ['${{ 1 }}']}}]\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		files := map[string]string{"spec.yaml": string(src)}
		bounded(t, func() {
			c, err := pipelines.Load(reader(files), "spec.yaml")
			if err != nil {
				insideOf(t, files, err)
				return
			}
			p, err := c.Plan(testKinds(), pipelines.PlanOptions{})
			if err != nil {
				insideOf(t, files, err)
				if strings.Contains(err.Error(), "the planner failed") {
					t.Fatal(err)
				}
				return
			}
			if len(p.Nodes) < 200 {
				facts(t, p)
				p.DOT()
				p.Mermaid()
			}
		})
	})
}

// FuzzTemplate: any text may be a value; it is rendered, or a fault at its
// place.
func FuzzTemplate(f *testing.F) {
	f.Add("a ${{ params.n }} b")
	f.Fuzz(func(t *testing.T, text string) {
		bounded(t, func() {
			_, err := evaluate(t, text)
			errs, ok := err.(yaml.Errors)
			if err != nil && (!ok || len(errs) == 0) {
				t.Fatal(err)
			}
			for _, e := range errs {
				if e.Pos.Line != 4 || strings.Contains(e.Msg, "the planner failed") {
					t.Fatalf("%q: %v", text, e)
				}
			}
			if err != nil && !strings.Contains(text, "${{") && !strings.Contains(err.Error(), "control character") && !strings.Contains(err.Error(), "bytes") {
				t.Fatalf("%q has no template: %v", text, err)
			}
		})
	})
}

// FuzzSelector: no panic; a selector that parses prints as one that parses to
// the same, and picks the same nodes by Select and by Match.
func FuzzSelector(f *testing.F) {
	f.Add("cells[config=fp8-tp8,concurrency=16..64,trial=1]")
	p, err := planOf(string(pipelines.New("a", testKinds())))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := pipelines.ParseSelector(text)
		if err != nil {
			return
		}
		again, err := pipelines.ParseSelector(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q prints as %q: %v", text, s, err)
		}
		if selected(p, text) != selected(p, s.String()) {
			t.Fatalf("%q and %q select different nodes", text, s)
		}
	})
}
