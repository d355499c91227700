package pipelines

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dominikbraun/graph"
	"github.com/dominikbraun/graph/draw"
)

// A link is a wire between two steps of a plan.
type link struct {
	from, to string
	ports    []string // none of after
}

// links returns what connects the steps, in the order of the spec.
func (p *Plan) links() []link {
	type ends struct{ from, to int }
	ports := map[ends]map[string]bool{}
	add := func(from NodeID, to int, port string) {
		e := ends{p.Nodes[from].Step, to}
		if ports[e] == nil {
			ports[e] = map[string]bool{}
		}
		ports[e][port] = true
	}
	for i := range p.Nodes {
		n := &p.Nodes[i]
		for _, d := range n.Deps {
			add(d.From, n.Step, d.Port)
		}
		for _, a := range n.After {
			add(a, n.Step, "")
		}
	}
	order := slices.SortedFunc(maps.Keys(ports), func(a, b ends) int {
		return cmp.Or(a.to-b.to, a.from-b.from)
	})
	var out []link
	for _, e := range order {
		l := link{from: p.Steps[e.from].ID, to: p.Steps[e.to].ID}
		for _, name := range slices.Sorted(maps.Keys(ports[e])) {
			if name != "" {
				l.ports = append(l.ports, name)
			}
		}
		out = append(out, l)
	}
	return out
}

// label describes a step in a drawing: its id, kind and number of cells.
func (s PlanStep) label(newline string) string {
	text := s.ID + newline + s.Kind.Name
	if len(s.Axes) > 0 {
		text += fmt.Sprintf(" × %d%s%s", len(s.Nodes), newline, strings.Join(s.Axes, ", "))
	}
	return text
}

// DOT draws the steps of the plan for Graphviz.
func (p *Plan) DOT() string {
	g := graph.New(graph.StringHash, graph.Directed(), graph.PreventCycles())
	for _, s := range p.Steps {
		must(g.AddVertex(s.ID, graph.VertexAttribute("label", s.label(`\n`)), graph.VertexAttribute("shape", shapes[s.Kind.Effect.String()])))
	}
	for _, l := range p.links() {
		style := graph.EdgeAttribute("label", strings.Join(l.ports, ", "))
		if len(l.ports) == 0 {
			style = graph.EdgeAttribute("style", "dashed")
		}
		must(g.AddEdge(l.from, l.to, style))
	}
	var b bytes.Buffer
	must(draw.DOT(g, &b))
	return sortedDOT(b.String())
}

var shapes = map[string]string{"pure": "box", "observe": "ellipse", "measure": "box3d", "hold": "house", "publish": "cylinder"}

// must stops on what cannot happen: a plan has no cycle and no step twice.
func must(err error) {
	if err != nil {
		panic("pipelines: draw a plan: " + err.Error())
	}
}

// sortedDOT sorts the statements of a drawing, which come in the order of a
// Go map.
func sortedDOT(text string) string {
	var statements []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasSuffix(line, ";") {
			statements = append(statements, "\t"+strings.Replace(line, ",  weight=", ", weight=", 1)+"\n")
		}
	}
	slices.SortFunc(statements, func(a, b string) int {
		if ea, eb := strings.Contains(a, `" -> "`), strings.Contains(b, `" -> "`); ea != eb {
			if ea {
				return 1
			}
			return -1
		}
		return strings.Compare(a, b)
	})
	return "digraph {\n" + strings.Join(statements, "") + "}\n"
}

// Mermaid draws the steps of the plan for Markdown.
func (p *Plan) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	name := map[string]string{} // ids may have characters that Mermaid does not take
	for i, s := range p.Steps {
		name[s.ID] = fmt.Sprintf("s%d", i)
		open, shut := "[", "]"
		switch s.Kind.Effect.String() {
		case "observe":
			open, shut = "([", "])"
		case "hold":
			open, shut = "[/", `\]`
		case "publish":
			open, shut = "[(", ")]"
		}
		fmt.Fprintf(&b, "    s%d%s%q%s\n", i, open, s.label("<br/>"), shut)
	}
	for _, l := range p.links() {
		if len(l.ports) == 0 {
			fmt.Fprintf(&b, "    %s -.-> %s\n", name[l.from], name[l.to])
			continue
		}
		fmt.Fprintf(&b, "    %s -->|%s| %s\n", name[l.from], strings.Join(l.ports, ", "), name[l.to])
	}
	return b.String()
}
