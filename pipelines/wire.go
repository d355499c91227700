package pipelines

import (
	"slices"
	"strings"

	"pipeline/internal/yaml"
	"pipeline/steps"
)

const maxEdges = 4_000_000 // of a plan

// A wire joins the cells of a step with those of another.
type wire struct {
	port string // "" of after
	at   *yaml.Node
	from *planStep

	shared [][2]int            // axes that both have: here, there
	match  [][]int32           // beside shared: for a value here the same value there, -1 if there is none
	groups map[string][]NodeID // nodes of from by their values on the shared axes, in canonical order
	key    []byte
}

// connect finds the steps that the wires of s name, and checks its ports.
func (p *planning) connect(s *planStep) {
	wired := map[string]bool{}
	for _, w := range s.d.wires {
		name := w.port.Text
		wired[name] = len(w.steps) > 0
		if s.kind != nil {
			if _, ok := s.kind.Port(name); !ok {
				hint := yaml.Nearest(name, portNames(s.kind))
				if len(s.kind.Ports) == 0 {
					hint = "it takes no inputs; to order steps use after"
				}
				p.fail(w.port, s.d.path("in"), hint, "%s has no port %s", s.kind.Name, name)
			}
		}
		for _, n := range w.steps {
			if from := p.wireTo(s, n, "in."+name); from != nil {
				if k := from.kind; k != nil && len(k.Outputs) == 0 && k.Effect != steps.Hold {
					p.fail(n, s.d.path("in."+name), "to order steps use after", "%s is a %s, which gives nothing that could be wired", n.Text, k.Name)
				}
				p.checkPort(s, n, name, from.kind)
				s.wires = append(s.wires, &wire{port: name, at: n, from: from})
			}
		}
	}
	for _, n := range s.d.after {
		if from := p.wireTo(s, n, "after"); from != nil {
			s.after = append(s.after, &wire{at: n, from: from})
		}
	}
	slices.SortStableFunc(s.wires, func(a, b *wire) int {
		if c := strings.Compare(a.port, b.port); c != 0 {
			return c
		}
		return strings.Compare(a.from.d.id, b.from.d.id)
	})
	for i, w := range s.wires {
		if i > 0 && s.wires[i-1].port == w.port && s.wires[i-1].from == w.from {
			p.fail(w.at, s.d.path("in."+w.port), "remove one of them", "%s is wired to this port twice", w.from.d.id)
		}
	}
	if s.kind == nil {
		return
	}
	for _, port := range s.kind.Ports {
		if port.Required && !wired[port.Name] {
			p.fail(s.d.idNode, s.d.path("in"), "add in: {"+port.Name+": step}", "the port %s of %s is not wired", port.Name, s.kind.Name)
		}
	}
}

// checkPort sees to it that a step of kind from gives what the port reads.
func (p *planning) checkPort(s *planStep, n *yaml.Node, name string, from *steps.Kind) {
	if s.kind == nil || from == nil {
		return
	}
	port, _ := s.kind.Port(name)
	path := s.d.path("in." + name)
	if port.Hold && from.Effect != steps.Hold {
		p.fail(n, path, "wire a step that holds something open", "the port %s of %s takes a hold, and %s is a %s", name, s.kind.Name, n.Text, from.Name)
		return
	}
	for _, artifact := range port.Reads {
		if !slices.ContainsFunc(from.Outputs, func(o steps.Output) bool { return o.Name == artifact }) {
			p.fail(n, path, "see: pipeline steps doc "+s.kind.Name, "the port %s of %s reads %s, which a %s does not write", name, s.kind.Name, artifact, from.Name)
		}
	}
}

func portNames(k *steps.Kind) []string {
	names := make([]string, len(k.Ports))
	for i, p := range k.Ports {
		names[i] = p.Name
	}
	return names
}

func (p *planning) wireTo(s *planStep, n *yaml.Node, part string) *planStep {
	i := p.step(n.Text)
	if i < 0 {
		p.fail(n, s.d.path(part), yaml.Nearest(n.Text, p.ids()), "there is no step %s", n.Text)
		return nil
	}
	return p.steps[i]
}

// join finds the axes that both steps have, and groups the nodes of the other
// one by them.
func (w *wire) join(s *planStep) {
	for here, a := range s.matrix.axes {
		there := w.from.matrix.axis(a.name)
		if there < 0 {
			continue
		}
		match := make([]int32, len(a.values))
		for i, v := range a.values {
			match[i] = -1
			if j, ok := w.from.matrix.axes[there].byText[v.text]; ok {
				match[i] = j
			}
		}
		w.shared, w.match = append(w.shared, [2]int{here, there}), append(w.match, match)
	}
	order := w.from.canonical()
	w.groups = map[string][]NodeID{}
	for _, i := range order {
		row := w.from.matrix.row(int(i))
		w.key = w.key[:0]
		for _, sh := range w.shared {
			w.key = appendIndex(w.key, row[sh[1]])
		}
		w.groups[string(w.key)] = append(w.groups[string(w.key)], w.from.nodes[i])
	}
}

func appendIndex(b []byte, v int32) []byte {
	return append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
}

// feeds returns the nodes that this wire brings to a cell.
func (w *wire) feeds(row []int32) []NodeID {
	w.key = w.key[:0]
	for i, sh := range w.shared {
		j := w.match[i][row[sh[0]]]
		if j < 0 {
			return nil
		}
		w.key = appendIndex(w.key, j)
	}
	return w.groups[string(w.key)]
}

// canonical returns the cells of a step in canonical order: by the texts of
// their values, byte for byte, axes in the order of their names. It does not
// depend on how the spec orders axes and values.
func (s *planStep) canonical() []int32 {
	if s.rank != nil {
		return s.rank
	}
	axes := indices(len(s.matrix.axes))
	slices.SortFunc(axes, func(a, b int32) int {
		return strings.Compare(s.matrix.axes[a].name, s.matrix.axes[b].name)
	})
	ranks := make([][]int32, len(axes)) // of each value of an axis
	for i, a := range axes {
		ranks[i] = textRanks(s.matrix.axes[a])
	}
	compare := func(x, y int32) int {
		rx, ry := s.matrix.row(int(x)), s.matrix.row(int(y))
		for i, a := range axes {
			if d := ranks[i][rx[a]] - ranks[i][ry[a]]; d != 0 {
				return int(d)
			}
		}
		return 0
	}
	s.rank = indices(s.matrix.count)
	if !slices.IsSortedFunc(s.rank, compare) {
		slices.SortFunc(s.rank, compare)
	}
	return s.rank
}

func textRanks(a *axis) []int32 {
	order := indices(len(a.values))
	slices.SortFunc(order, func(i, j int32) int { return strings.Compare(a.values[i].text, a.values[j].text) })
	ranks := make([]int32, len(order))
	for r, i := range order {
		ranks[i] = int32(r)
	}
	return ranks
}

// compareCells orders the cells of different steps.
func compareCells(a, b []steps.Coord) int {
	return slices.CompareFunc(sortedCell(a), sortedCell(b), func(x, y steps.Coord) int {
		if c := strings.Compare(x.Axis, y.Axis); c != 0 {
			return c
		}
		return strings.Compare(x.Value, y.Value)
	})
}

func sortedCell(cell []steps.Coord) []steps.Coord {
	byAxis := func(x, y steps.Coord) int { return strings.Compare(x.Axis, y.Axis) }
	if slices.IsSortedFunc(cell, byAxis) {
		return cell
	}
	cell = slices.Clone(cell)
	slices.SortFunc(cell, byAxis)
	return cell
}
