package journal

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// A PhaseTime is how long the nodes of a run were in one phase of its spec.
type PhaseTime struct {
	Phase string        `json:"phase"` // "5/9 run"
	Nodes int           `json:"nodes"` // that came to it
	Took  time.Duration `json:"took_ns"`
}

// Phases sums up the phases that the nodes of a run came to, in their order. A
// node that did not leave its phase was in it until the last entry.
func Phases(entries []Entry) []PhaseTime {
	var all []PhaseTime
	in := make(map[string]Entry) // by node, how it came to the phase that it is in
	been := make(map[[2]string]bool)
	leave := func(node string, at time.Time) {
		e, ok := in[node]
		if !ok {
			return
		}
		delete(in, node)
		i := slices.IndexFunc(all, func(p PhaseTime) bool { return p.Phase == e.Text })
		if i < 0 {
			all = append(all, PhaseTime{Phase: e.Text})
			i = len(all) - 1
		}
		if at := [2]string{node, e.Text}; !been[at] { // a node that is tried again comes again
			been[at] = true
			all[i].Nodes++
		}
		all[i].Took += max(0, at.Sub(e.Time))
	}
	for _, e := range entries {
		switch e.Event {
		case Phase:
			leave(e.Node, e.Time)
			in[e.Node] = e
		case Tried, Opened, Released:
			leave(e.Node, e.Time)
		}
	}
	for node := range in {
		leave(node, entries[len(entries)-1].Time)
	}
	slices.SortStableFunc(all, func(a, b PhaseTime) int { return number(a.Phase) - number(b.Phase) })
	return all
}

// number is the first number of "5/9 run".
func number(phase string) int {
	text, _, _ := strings.Cut(phase, "/")
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}
