package pipelines

import (
	"container/heap"
	"slices"
	"sort"
	"strings"

	"pipeline/internal/yaml"
)

// order sorts the steps so that each comes after those it is wired to, and
// otherwise as the file has them. Since wires go between steps only, the nodes
// step by step are in order too, and the cells of a step, and of a held
// server, stand together. It returns nil, and names the circle, if there is one.
func (p *planning) order() []int {
	waits := make([]int, len(p.steps))
	next := make([][]int, len(p.steps))
	for _, s := range p.steps {
		for _, w := range slices.Concat(s.wires, s.after) {
			waits[s.index]++
			next[w.from.index] = append(next[w.from.index], s.index)
		}
	}
	var order []int
	ready := &firstOf{}
	for i, n := range waits {
		if n == 0 {
			heap.Push(ready, i)
		}
	}
	for ready.Len() > 0 {
		i := heap.Pop(ready).(int)
		order = append(order, i)
		for _, j := range next[i] {
			if waits[j]--; waits[j] == 0 {
				heap.Push(ready, j)
			}
		}
	}
	if len(order) == len(p.steps) {
		return order
	}
	p.reportCircles(waits)
	return nil
}

// A firstOf is a heap of steps: the one that comes first in the file is first.
type firstOf struct{ sort.IntSlice }

func (f *firstOf) Push(x any) { f.IntSlice = append(f.IntSlice, x.(int)) }

func (f *firstOf) Pop() any {
	last := f.IntSlice[len(f.IntSlice)-1]
	f.IntSlice = f.IntSlice[:len(f.IntSlice)-1]
	return last
}

// reportCircles names one circle for each group of steps that wait for each
// other, with the places of its wires.
func (p *planning) reportCircles(waits []int) {
	state := make([]int, len(p.steps)) // 0 new, 1 on the path, 2 done
	var path []*wire                   // path[i] leads from a step to the one it waits for
	var visit func(s *planStep)
	visit = func(s *planStep) {
		state[s.index] = 1
		for _, w := range slices.Concat(s.wires, s.after) {
			switch {
			case waits[w.from.index] == 0 || state[w.from.index] == 2:
			case state[w.from.index] == 1:
				p.reportCircle(append(slices.Clone(path), w))
			default:
				path = append(path, w)
				visit(w.from)
				path = path[:len(path)-1]
			}
		}
		state[s.index] = 2
	}
	for _, s := range p.steps {
		if waits[s.index] > 0 && state[s.index] == 0 {
			visit(s)
		}
	}
}

func (p *planning) reportCircle(path []*wire) {
	last := path[len(path)-1]
	start := 0
	for i, w := range path[:len(path)-1] {
		if w.from == last.from {
			start = i + 1
		}
	}
	names := []string{last.from.d.id}
	var places []string
	for _, w := range path[start:] {
		names = append(names, w.from.d.id)
		places = append(places, yaml.Pos{File: w.at.Pos.File, Line: w.at.Pos.Line, Col: w.at.Pos.Col}.String())
	}
	p.fail(last.at, "steps", "remove one of the wires at "+joinAnd(places), "steps wait for one another in a circle: %s", strings.Join(names, " -> "))
}
