package pipelines_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"pipeline/internal/digest"
	"pipeline/internal/yaml"
	"pipeline/pipelines"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden plans the spec.yaml of each archive in testdata, with the lines
// of the file set as --set and params.yaml as the file of parameters, and
// compares the plan, or the errors, with the file want.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := planText(t, a)
			i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "want" })
			if i < 0 {
				a.Files = append(a.Files, txtar.File{Name: "want"})
				i = len(a.Files) - 1
			}
			if *update {
				a.Files[i].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(a.Files[i].Data); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// planText loads and plans an archive and prints the outcome.
func planText(t *testing.T, a *txtar.Archive) string {
	t.Helper()
	files := map[string]string{}
	for _, f := range a.Files {
		files[f.Name] = string(f.Data)
	}
	c, err := pipelines.Load(reader(files), "spec.yaml")
	if err != nil {
		return "load: " + err.Error() + "\n"
	}
	opt := pipelines.PlanOptions{Set: strings.FieldsFunc(files["set"], func(r rune) bool { return r == '\n' })}
	if text, ok := files["params.yaml"]; ok {
		if opt.Params, err = yaml.Parse("params.yaml", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	p, err := c.Plan(testKinds(), opt)
	if err != nil {
		return err.Error() + "\n"
	}
	return printPlan(t, p)
}

func reader(files map[string]string) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		text, ok := files[filepath.ToSlash(path)]
		if !ok {
			return nil, os.ErrNotExist
		}
		return []byte(text), nil
	}
}

func printPlan(t *testing.T, p *pipelines.Plan) string {
	t.Helper()
	var b strings.Builder
	for _, n := range p.Nodes {
		fmt.Fprintf(&b, "%s (%s)\n  %s\n", n.Name, n.Kind.Name, paramText(t, n))
		for _, d := range n.Deps {
			fmt.Fprintf(&b, "  %s <- %s\n", d.Port, p.Nodes[d.From].Name)
		}
		for _, id := range n.After {
			fmt.Fprintf(&b, "  after %s\n", p.Nodes[id].Name)
		}
		if n.Timeout != 0 || n.Retry.Max != 0 || n.MaxAge != 0 || len(n.Pools) != 0 {
			fmt.Fprintf(&b, "  timeout %v, retry %d after %v, max age %v, pools %v\n", n.Timeout, n.Retry.Max, n.Retry.Backoff, n.MaxAge, n.Pools)
		}
	}
	for _, s := range p.Steps {
		for _, ph := range s.Phases {
			fmt.Fprintf(&b, "phase %s: %s\n", ph, s.ID)
		}
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	return b.String()
}

func paramText(t *testing.T, n pipelines.Node) string {
	t.Helper()
	text, err := digest.Canonical(n.Params)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
