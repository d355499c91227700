package engine

import (
	"errors"
	"slices"

	"pipeline/pipelines"
	"pipeline/steps"
)

// selected is a Selection worked out for a plan.
type selected struct {
	in     []bool // by NodeID: the run is about it
	feeds  []bool // it is not selected, but something selected reads it, directly or through others that are not
	gaps   []bool // whatever reads it takes gaps, as far as that counts
	again  []bool // run although there may be a record
	by     string
	forces bool
}

func (s *selected) forced(n *pipelines.Node) bool { return s.forces && s.again[n.ID] }

func choose(plan *pipelines.Plan, sel Selection) (*selected, error) {
	n := len(plan.Nodes)
	s := &selected{in: make([]bool, n), feeds: make([]bool, n), gaps: make([]bool, n), again: make([]bool, n), by: sel.By}
	all := len(sel.Only)+len(sel.From) == 0
	from := make([]bool, n)
	some := false
	for i := range plan.Nodes {
		node := &plan.Nodes[i]
		from[i] = matches(sel.From, node.ID) ||
			slices.ContainsFunc(node.Deps, func(d pipelines.Edge) bool { return from[d.From] })
		s.in[i] = all || from[i] || matches(sel.Only, node.ID)
		s.again[i] = matches(sel.Force, node.ID) || from[i] && node.Kind.Effect != steps.Measure
		s.forces = s.forces || s.again[i]
		some = some || s.in[i]
	}
	if len(sel.Until) > 0 {
		some = s.until(plan, sel.Until)
	}
	if !some && n > 0 {
		return nil, errors.New("the selection takes in no node of this plan")
	}
	s.upstream(plan)
	return s, nil
}

func matches(any []Selector, id pipelines.NodeID) bool {
	return slices.ContainsFunc(any, func(s Selector) bool { return s(id) })
}

// until drops what is not an ancestor of a match, nor one itself.
func (s *selected) until(plan *pipelines.Plan, until []Selector) (some bool) {
	keep := newBelow(plan, func(n *pipelines.Node) bool { return matches(until, n.ID) })
	for i := range plan.Nodes {
		s.in[i] = s.in[i] && (keep[i] || matches(until, pipelines.NodeID(i)))
		some = some || s.in[i]
	}
	return some
}

// upstream takes in the Holds that something selected is wired to, and finds
// what else is read.
func (s *selected) upstream(plan *pipelines.Plan) {
	for i := range s.gaps {
		s.gaps[i] = true
	}
	for i := len(plan.Nodes) - 1; i >= 0; i-- {
		n := &plan.Nodes[i]
		if !s.in[i] && !s.feeds[i] {
			continue
		}
		for _, d := range n.Deps {
			if port, ok := n.Kind.Port(d.Port); !ok || !port.Takes(true) {
				s.gaps[d.From] = false
			}
			if s.in[d.From] {
				continue
			}
			if s.in[i] && plan.Nodes[d.From].Kind.Effect == steps.Hold {
				s.in[d.From] = true
			} else {
				s.feeds[d.From] = true
			}
		}
	}
}
