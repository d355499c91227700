package pipelines_test

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"pipeline/internal/yaml"
	"pipeline/pipelines"
)

// facts are what keys are made of: for each node its kind, parameters and
// inputs, the inputs again by what they are, and not by names or order.
func facts(t *testing.T, p *pipelines.Plan) []string {
	t.Helper()
	of := make([]string, len(p.Nodes))
	for i, n := range p.Nodes {
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s [%s]", n.Kind.Name, paramText(t, n), pipelines.CellString(n.Cell))
		for _, d := range n.Deps {
			if d.From >= n.ID {
				t.Fatalf("%s stands before %s, which it needs", n.Name, p.Nodes[d.From].Name)
			}
			fmt.Fprintf(&b, " %s(%s)", d.Port, of[d.From])
		}
		for _, a := range n.After {
			if a >= n.ID {
				t.Fatalf("%s stands before %s, which it waits for", n.Name, p.Nodes[a].Name)
			}
		}
		of[i] = b.String()
	}
	slices.Sort(of)
	return of
}

func golden(t *testing.T, name string) map[string]string {
	t.Helper()
	a, err := txtar.ParseFile("testdata/plan/" + name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range a.Files {
		files[f.Name] = string(f.Data)
	}
	return files
}

// stepTexts cuts a spec into what stands before its steps, and its steps.
func stepTexts(spec string) (head string, list []string) {
	head, rest, _ := strings.Cut(spec, "\nsteps:\n")
	for line := range strings.Lines(rest) {
		if strings.HasPrefix(line, "  - ") {
			list = append(list, "")
		}
		list[len(list)-1] += line
	}
	return head, list
}

// TestOrderOfSteps: the order of the steps in the file, and the name of the
// campaign, change no parameter, cell or input of any node.
func TestOrderOfSteps(t *testing.T) {
	for _, name := range []string{"campaign", "matrix", "order"} {
		spec := golden(t, name)["spec.yaml"]
		p, err := planOf(spec)
		if err != nil {
			t.Fatal(err)
		}
		want := facts(t, p)
		head, list := stepTexts(spec)
		r := rand.New(rand.NewSource(1))
		for range 20 {
			r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			_, rest, _ := strings.Cut(head, "\n")
			p, err := planOf("campaign: other\n" + rest + "\nsteps:\n" + strings.Join(list, ""))
			if err != nil {
				t.Fatal(err)
			}
			if got := facts(t, p); !slices.Equal(got, want) {
				t.Fatalf("%s: got\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
}

// TestOrderOfValues: the order of axes and of their values changes the order
// of nodes only; inputs stay in canonical order.
func TestOrderOfValues(t *testing.T) {
	spec := func(matrix string) string {
		return "campaign: v\nsteps:\n  - {id: setup, uses: init}\n  - {id: cells, uses: cell_run, in: {setup: setup}, matrix: " + matrix +
			", with: {concurrency: '${{ cell.concurrency }}', trial: '${{ cell.trial }}'}}\n  - {id: atlas, uses: aggregate, in: {cells: cells}}\n"
	}
	inputs := func(text string) string {
		p, err := planOf(text)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		last := p.Nodes[len(p.Nodes)-1]
		for _, d := range last.Deps {
			cell := slices.Clone(p.Nodes[d.From].Cell)
			if cell[0].Axis != "concurrency" {
				cell[0], cell[1] = cell[1], cell[0]
			}
			b.WriteString(pipelines.CellString(cell) + "\n")
		}
		return b.String()
	}
	want := inputs(spec("{concurrency: [1, 2, 10], trial: [1, 2]}"))
	if !strings.HasPrefix(want, "concurrency=1,trial=1\nconcurrency=1,trial=2\nconcurrency=10,trial=1\n") {
		t.Errorf("not in byte order of the texts:\n%s", want)
	}
	for _, m := range []string{"{trial: [2, 1], concurrency: [10, 1, 2]}", "{concurrency: [2, 10, 1], trial: [1, 2]}"} {
		if got := inputs(spec(m)); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", m, got, want)
		}
	}
}

// TestSamePlan: the same spec gives the same plan, node for node.
func TestSamePlan(t *testing.T) {
	for _, name := range []string{"campaign", "matrix", "templates"} {
		spec := golden(t, name)["spec.yaml"]
		var want string
		for range 5 {
			p, err := planOf(spec)
			if err != nil {
				t.Fatal(err)
			}
			got := printPlan(t, p) + p.DOT() + p.Mermaid()
			if want == "" {
				want = got
			}
			if got != want {
				t.Fatalf("%s: got\n%s\nwant\n%s", name, got, want)
			}
		}
	}
}

// TestNodesAreTheirOwn: no two nodes share the struct of their parameters.
func TestNodesAreTheirOwn(t *testing.T) {
	p, err := planOf(golden(t, "campaign")["spec.yaml"])
	if err != nil {
		t.Fatal(err)
	}
	seen := map[any]bool{}
	for _, n := range p.Nodes {
		if seen[n.Params] {
			t.Errorf("%s shares its parameters", n.Name)
		}
		seen[n.Params] = true
	}
}

func TestNew(t *testing.T) {
	p, err := planOf(string(pipelines.New("my-campaign", testKinds())))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Nodes) != 2+2+15+3 || len(p.Warnings) != 0 || p.Name != "my-campaign" {
		t.Errorf("%d nodes, warnings %v", len(p.Nodes), p.Warnings)
	}
}

func TestSpecSum(t *testing.T) {
	load := func(files map[string]string) *pipelines.Campaign {
		c, err := pipelines.Load(reader(files), "dir/spec.yaml")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	spec := "campaign: a\nextends: ../base.yaml\n"
	one := load(map[string]string{"dir/spec.yaml": spec, "base.yaml": "steps: []\n"})
	two := load(map[string]string{"dir/spec.yaml": spec, "base.yaml": "steps: [] \n"})
	if one.SpecSum == two.SpecSum {
		t.Error("a change of the base does not change the sum")
	}
	if one.Dir != "dir" || one.File != "dir/spec.yaml" {
		t.Error(one.Dir, one.File)
	}
}

// TestLimits: what a spec cannot ask for.
func TestLimits(t *testing.T) {
	many := func(n int, f func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(f(i))
		}
		return b.String()
	}
	axis := func(n int) string { return "[" + many(n, func(i int) string { return fmt.Sprint(i, ", ") }) + "]" }
	step := "steps: [{id: a, uses: exec, with: {command: [a]}}]\n"
	for what, c := range map[string]struct{ spec, want string }{
		"cells": {"campaign: a\nsteps: [{id: a, uses: init, matrix: {x: " + axis(600) + ", y: " + axis(600) + "}}]", "more than 200000 cells"},
		"nodes": {"campaign: a\nsteps: [" + many(3, func(i int) string {
			return fmt.Sprintf("{id: a%d, uses: init, matrix: {x: %s, y: %s}},", i, axis(300), axis(300))
		}) + "]", "more than 200000 nodes"},
		"axes":      {"campaign: a\nsteps: [{id: a, uses: init, matrix: {" + many(33, func(i int) string { return fmt.Sprintf("x%d: [1], ", i) }) + "}}]", "more than the limit of 32"},
		"params":    {"campaign: a\nparams:\n" + many(2100, func(i int) string { return fmt.Sprintf("  x%d: 1\n", i) }) + step, "more than 2000 parameters"},
		"templates": {"campaign: a\nsteps:\n- id: a\n  uses: exec\n  with:\n    command:\n" + many(3100, func(i int) string { return fmt.Sprintf("    - ${{ %d }}\n", i) }), "more than 3000 different templates"},
		"faults":    {"campaign: a\nsteps:\n- id: a\n  uses: exec\n  with:\n    command:\n" + many(3000, func(i int) string { return "    - ${{ nope }}\n" }), "unknown name nope"},
		"work": {"campaign: a\nsteps:\n- {id: s, uses: init}\n- id: a\n  uses: cell_run\n  in: {setup: s}\n  matrix: {x: " + axis(400) + ", y: " + axis(400) + "}\n" +
			"  with: {concurrency: '${{ count(1..20000, # > cell.x + cell.y) }}', num_prompts: 1000000}\n", "take too much work"},
		"exclusions": {"campaign: a\nsteps:\n- id: a\n  uses: init\n  matrix:\n    x: " + axis(400) + "\n    y: " + axis(400) + "\n    exclude:\n" +
			many(2000, func(i int) string { return fmt.Sprintf("    - {x: %d, y: 3}\n", i) }), "too many cells and exclusions"},
		"edges": {"campaign: a\nsteps:\n- {id: s, uses: init, matrix: {x: " + axis(2100) + "}, with: {hardware: 'h${{ cell.x }}'}}\n" +
			"- {id: c, uses: cell_run, in: {setup: s}, matrix: {y: " + axis(2100) + "}, with: {concurrency: '${{ cell.y + 1 }}', num_prompts: 9999}}\n", "more than 4000000 edges"},
	} {
		_, err := planOf(c.spec)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %.300v", what, err)
			continue
		}
		if n := len(err.(yaml.Errors)); n > 100 {
			t.Errorf("%s: %d errors", what, n)
		}
	}
}
