package dcgm

import (
	"fmt"
	"slices"
	"strings"
)

// A Selection says which GPUs are the cell's.
type Selection struct {
	UUIDs    []string
	Node     string
	Indices  []int // on Node; none are all of it
	Pods     []string
	MIG      bool // MIG instances, and not whole GPUs
	Expected int  // how many; 0 is not known
}

// Choose finds the GPUs among those that a source shows, and their neighbours
// on the same nodes; how says by what. By UUID if there are any, else by node
// and index, else by the pod in the labels, else all.
func (s Selection) Choose(samples *Samples) (chosen, neighbours []GPU, how string) {
	var shown []GPU
	for _, g := range samples.GPUs() {
		if (g.MIG != "") == s.MIG {
			shown = append(shown, g)
		}
	}
	pods := podsOf(samples)
	served := func(g GPU) bool {
		return slices.ContainsFunc(pods[g.Key()], func(p string) bool { return slices.Contains(s.Pods, p) })
	}
	take := func(text string, is func(GPU) bool) {
		if len(chosen) > 0 {
			return
		}
		how = text
		for _, g := range shown {
			if is(g) {
				chosen = append(chosen, g)
			}
		}
	}
	switch {
	case len(s.UUIDs) > 0:
		take(fmt.Sprintf("%d UUIDs", len(s.UUIDs)), func(g GPU) bool { return slices.Contains(s.UUIDs, g.UUID) })
	case s.Node != "" && len(s.Indices) > 0:
		take(fmt.Sprintf("GPUs %v of node %s", s.Indices, s.Node), func(g GPU) bool { return sameNode(g.Node, s.Node) && slices.Contains(s.Indices, g.Index) })
	case s.Node != "":
		take("node "+s.Node, func(g GPU) bool { return sameNode(g.Node, s.Node) })
		// More than the cell used: those of its pods, where labels tell.
		if mine := slices.DeleteFunc(slices.Clone(chosen), func(g GPU) bool { return !served(g) }); len(chosen) > s.Expected && len(mine) > 0 {
			chosen, how = mine, how+", pods "+strings.Join(s.Pods, ", ")
		}
	case len(s.Pods) > 0:
		take("pods "+strings.Join(s.Pods, ", "), served)
	default:
		take("all that the source shows", func(GPU) bool { return true })
	}
	for _, g := range shown {
		mate := func(c GPU) bool { return c.Node == g.Node }
		if !slices.Contains(chosen, g) && slices.ContainsFunc(chosen, mate) {
			neighbours = append(neighbours, g)
		}
	}
	return chosen, neighbours, how
}

// sameNode compares host names, of which one may have its domain.
func sameNode(a, b string) bool {
	if a == b {
		return true
	}
	short, _, dotA := strings.Cut(a, ".")
	other, _, dotB := strings.Cut(b, ".")
	return short != "" && short == other && dotA != dotB
}

// podsOf returns the pods in the labels of each GPU's series.
func podsOf(samples *Samples) map[string][]string {
	pods := map[string][]string{}
	for _, s := range samples.Series() {
		p := s.Labels["pod"]
		if p != "" && !slices.Contains(pods[s.GPU.Key()], p) {
			pods[s.GPU.Key()] = append(pods[s.GPU.Key()], p)
		}
	}
	return pods
}
