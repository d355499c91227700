package main

import (
	"fmt"
	"regexp"

	"pipeline/engine"
	"pipeline/pipelines"
)

var doubtCode = regexp.MustCompile(`^[a-z][a-z0-9_]*: `)

// groupWarnings puts the doubts of a fan-out together: thirty cells with the
// same doubt are one line. What is not the doubt of a node stands as it is.
func groupWarnings(plan *pipelines.Plan, o *engine.Outcome) []string {
	type group struct {
		step  int
		first string // the name of the node
		text  string
		n     int // nodes that have it
		last  int // the last of them
	}
	groups := map[string]*group{}
	var order []string
	grouped := map[string]bool{}
	for i, n := range o.Nodes {
		node := &plan.Nodes[i]
		seen := map[string]int{}
		for _, d := range n.Doubts {
			grouped[node.Name+": "+d] = true
			key := fmt.Sprint(node.Step, " ", d)
			if code := doubtCode.FindString(d); code != "" {
				seen[code]++ // a node may have two of one sort, which are two lines
				key = fmt.Sprint(node.Step, " ", code, seen[code])
			}
			g := groups[key]
			if g == nil {
				g = &group{step: node.Step, first: node.Name, text: d, last: -1}
				groups[key] = g
				order = append(order, key)
			}
			if g.last != i {
				g.n, g.last = g.n+1, i
			}
		}
	}
	var out []string
	for _, w := range o.Warnings {
		if !grouped[w] {
			out = append(out, w)
		}
	}
	for _, key := range order {
		g := groups[key]
		if g.n == 1 {
			out = append(out, g.first+": "+g.text)
			continue
		}
		step := &plan.Steps[g.step]
		out = append(out, fmt.Sprintf("%s, %d of %d: %s (%s)", step.ID, g.n, len(step.Nodes), g.text, g.first))
	}
	return out
}
