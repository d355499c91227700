package main

import (
	"slices"
	"testing"

	"pipeline/engine"
	"pipeline/pipelines"
)

// A doubt is counted by the nodes that have it, however often each says it.
func TestWarningsOfANode(t *testing.T) {
	plan := &pipelines.Plan{
		Steps: []pipelines.PlanStep{{ID: "measured"}, {ID: "cells"}},
		Nodes: []pipelines.Node{{Name: "measured", Step: 0}, {Name: "cells[c=1]", Step: 1}, {Name: "cells[c=2]", Step: 1}},
	}
	plan.Steps[0].Nodes = []pipelines.NodeID{0}
	plan.Steps[1].Nodes = []pipelines.NodeID{1, 2}
	o := &engine.Outcome{Nodes: make([]engine.NodeOutcome, 3)}
	o.Nodes[0].Doubts = []string{"said four times", "said four times", "said four times", "said four times"}
	o.Nodes[1].Doubts = []string{"edges: a"}
	o.Nodes[2].Doubts = []string{"edges: b", "odd", "odd"}
	want := []string{"measured: said four times", "cells, 2 of 2: edges: a (cells[c=1])", "cells[c=2]: odd"}
	if got := groupWarnings(plan, o); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
