package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"pipeline/pipelines"
)

// randomPlan is a plan of Pure, Measure and Hold nodes whose wires are drawn
// by chance. Some nodes have equal parameters, and so perhaps equal keys.
func (w *world) randomPlan(t testing.TB, seed uint64) *pipelines.Plan {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := w.build(t)
	var names []string
	pick := func(n int) (deps []string) {
		for range n {
			if len(names) > 0 {
				deps = append(deps, names[rng.IntN(len(names))])
			}
		}
		return deps
	}
	b.node("setup", "probe", "")
	b.node("serve", "serve", "m")
	for i := range 12 {
		name := fmt.Sprintf("s%d[n=%d]", i, i)
		switch rng.IntN(3) {
		case 0:
			deps := []string{"setup=setup"}
			if rng.IntN(2) == 0 {
				deps = append(deps, "serve=serve")
			}
			b.node(name, "cell", fmt.Sprint("m", i), deps...)
		case 1:
			var deps []string
			for _, d := range pick(rng.IntN(4)) {
				deps = append(deps, "cells="+d)
			}
			b.node(name, "agg", fmt.Sprint(rng.IntN(3)), deps...)
		case 2:
			deps := []string{"setup=setup"}
			for _, d := range pick(rng.IntN(3)) {
				deps = append(deps, "after="+d)
			}
			b.node(name, "pure", fmt.Sprint(rng.IntN(3)), deps...)
		}
		names = append(names, name)
	}
	return b.plan
}

// One worker gives what eight give, and a second run is all hits.
func TestLawsOfRandomPlans(t *testing.T) {
	for seed := range uint64(12) {
		var first string
		for _, jobs := range []int{1, 8} {
			w := newWorld()
			e := w.engine(t, newHome(t))
			e.Jobs = jobs
			e.Limits = map[string]int{"endpoint": jobs}
			plan := w.randomPlan(t, seed)
			out := mustRun(t, e, plan, Options{})
			if got := artifacts(plan, out); first == "" {
				first = got
			} else {
				want(t, fmt.Sprintf("seed %d, %d jobs", seed, jobs), got, first)
			}
			again := mustRun(t, w.engine(t, e.Store.Home()), plan, Options{})
			if again.Counts.Executed != 0 || again.Status != Complete || again.Counts.Reused != again.Counts.Total {
				t.Errorf("seed %d: the second run: %s\n%s", seed, counts(again), states(plan, again))
			}
			if len(w.open) > 0 {
				t.Errorf("seed %d: still open: %v", seed, w.open)
			}
		}
	}
}

// Editing one cell changes one key.
func TestEditingOneCellChangesOneKey(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	plan := w.campaign(t, numbers(6)...)
	mustRun(t, e, plan, Options{})
	keys := func() []string {
		f, err := e.Forecast(context.Background(), plan, Selection{})
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for i := range plan.Nodes {
			out = append(out, f.Nodes[i].Key.String())
		}
		return out
	}
	before := keys()
	for i := 1; i <= 6; i++ {
		s := plan.Nodes[i].Params.(*toy)
		old := s.Arg
		s.Arg = "edited"
		after := keys()
		for j := 1; j <= 6; j++ {
			if (before[j] != after[j]) != (i == j) {
				t.Errorf("cell %d was edited; the key of cell %d: changed %v", i, j, before[j] != after[j])
			}
		}
		s.Arg = old
	}
}
