package engine

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"pipeline/engine/store"
	"pipeline/internal/digest"
	"pipeline/pipelines"
	"pipeline/steps"
)

// benchStep has about as many key parameters as a cell of a real campaign.
type benchStep struct {
	Concurrency int            `json:"concurrency" key:"yes" doc:"x"`
	NumPrompts  int            `json:"num_prompts" key:"yes" doc:"x"`
	ISL         int            `json:"isl" key:"yes" doc:"x"`
	OSL         int            `json:"osl" key:"yes" doc:"x"`
	Warmup      int            `json:"warmup" key:"yes" doc:"x"`
	Seed        int            `json:"seed" key:"yes" doc:"x"`
	Trial       int            `json:"trial" key:"yes" doc:"x"`
	Driver      string         `json:"driver" key:"yes" doc:"x"`
	API         string         `json:"api" key:"yes" doc:"x"`
	Dataset     string         `json:"dataset" key:"yes" doc:"x"`
	IgnoreEOS   bool           `json:"ignore_eos" key:"yes" doc:"x"`
	SLO         float64        `json:"slo" key:"yes" doc:"x"`
	Timeout     steps.Duration `json:"timeout" key:"no" doc:"x"`
}

func (s *benchStep) Run(ctx context.Context, env *steps.Env) error {
	return write(env, "out", fmt.Sprint("measured ", s.Trial))
}

// wide is setup -> n cells -> aggregate -> report, all in the store already.
func wide(b *testing.B, n int) (home string, plan *pipelines.Plan) {
	w := newWorld()
	home = b.TempDir()
	bld := w.build(b)
	kind := *bld.kinds["cell"]
	kind.Effect, kind.Pool = steps.Pure, ""
	kind.New = func() steps.Step { return &benchStep{Driver: "native"} }
	bld.kinds["bench"] = &kind
	bld.node("setup", "pure", "x")
	setup := bld.plan.Nodes[0].ID
	var deps []pipelines.Edge
	for i := range n {
		id := pipelines.NodeID(len(bld.plan.Nodes))
		node := pipelines.Node{ID: id, Step: 1, Name: fmt.Sprintf("cells[config=fp8-tp8,concurrency=%d,trial=%d]", i/3, i%3), Kind: &kind,
			Params: &benchStep{Concurrency: i / 3, NumPrompts: 2 * i, ISL: 4096, OSL: 512, Trial: i, Driver: "native", API: "chat", Dataset: "synthetic", SLO: 12.5},
			Cell:   []steps.Coord{{Axis: "config", Value: "fp8-tp8"}, {Axis: "concurrency", Value: fmt.Sprint(i / 3)}, {Axis: "trial", Value: fmt.Sprint(i % 3)}},
			Deps:   []pipelines.Edge{{Port: "setup", From: setup}}}
		bld.plan.Nodes = append(bld.plan.Nodes, node)
		deps = append(deps, pipelines.Edge{Port: "cells", From: id})
	}
	bld.node("atlas", "agg", "")
	bld.plan.Nodes[n+1].Deps = deps
	bld.node("report", "pure", "y", "cells=atlas")
	fill(b, home, bld.plan)
	return home, bld.plan
}

// fill puts records and blobs for all nodes into the store without running
// them: running a hundred thousand takes minutes of fsyncs.
func fill(b *testing.B, home string, plan *pipelines.Plan) {
	s, err := store.Open(home, store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	k := newKeyer(plan)
	gives := make([]given, len(plan.Nodes))
	var records []store.Record
	var blobs [][]byte
	for i := range plan.Nodes {
		n := &plan.Nodes[i]
		text, err := k.manifest(n, k.feeds(n, func(id pipelines.NodeID) *given { return &gives[id] }))
		if err != nil {
			b.Fatal(err)
		}
		out, stamp := []byte("out of "+n.Name), []byte("stamp of "+n.Name)
		rec := store.Record{Key: keyOf(text), Kind: n.Kind.Name, Effect: n.Kind.Effect.String(), Node: n.Name, Campaign: plan.Name,
			Run: "20260101-000000.000-00000000", Attempt: 1, Status: store.Complete, Artifacts: []steps.Artifact{
				{Name: "out", Digest: digest.Of(out), Size: int64(len(out))}, {Name: "stamp", Digest: digest.Of(stamp), Size: int64(len(stamp)), Volatile: true}}}
		gives[i] = givenOf(&rec)
		records = append(records, rec)
		blobs = append(blobs, append([]byte(nil), text...), out, stamp)
	}
	if err := s.Import(blobs, records); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkNoOp opens the store, makes the forecast and runs a plan of which
// all is a hit: what "pipeline run" does the second time, without reading the
// spec.
func BenchmarkNoOp(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			home, plan := wide(b, n)
			w := newWorld()
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			b.ReportAllocs()
			for b.Loop() {
				e := w.engine(b, home)
				out, err := e.Run(context.Background(), plan, Options{})
				if err != nil || out.Counts.Executed != 0 || out.Counts.Reused != n+3 {
					b.Fatalf("%v: %+v", err, out)
				}
			}
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.Sys)/(1<<20), "MB-process")
		})
	}
}

// BenchmarkForecast is the part of it that makes keys and looks them up.
func BenchmarkForecast(b *testing.B) {
	home, plan := wide(b, 10_000)
	e := newWorld().engine(b, home)
	for b.Loop() {
		if _, err := e.Forecast(context.Background(), plan, Selection{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTrivialNode commits one node that does next to nothing, with all
// its fsyncs.
func BenchmarkTrivialNode(b *testing.B) {
	w := newWorld()
	e := w.engine(b, b.TempDir())
	const n = 50
	for i := 0; b.Loop(); i++ {
		bld := w.build(b)
		for j := range n {
			bld.node(fmt.Sprintf("p%d", j), "pure", fmt.Sprint(i*n+j))
		}
		mustRun(b, e, bld.plan, Options{})
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n*b.N), "us/node")
}
