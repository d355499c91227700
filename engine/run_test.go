package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pipeline/engine/journal"
	"pipeline/engine/store"
	"pipeline/pipelines"
	"pipeline/steps"
)

func TestRunTwice(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	plan := w.campaign(t, "1", "2")
	want(t, "forecast", forecastOf(t, e, plan, Selection{}),
		"setup:run(R17) cells[n=1]:unknown(R24) cells[n=2]:unknown(R24) atlas:unknown(R24) report:unknown(R24) lake:unknown(R24)")
	out := mustRun(t, e, plan, Options{})
	want(t, "first", states(plan, out), "setup:done cells[n=1]:done cells[n=2]:done atlas:done report:done lake:done")
	want(t, "counts", counts(out), "complete 6: 6 executed 0 reused 0 failed 0 skipped")
	want(t, "did", w.took(), "agg, cell 1, cell 2, probe, publish, render")
	e = w.engine(t, e.Store.Home())
	want(t, "forecast", forecastOf(t, e, plan, Selection{}),
		"setup:run(R23) cells[n=1]:hit cells[n=2]:hit atlas:hit report:hit lake:hit")
	out = mustRun(t, e, plan, Options{})
	want(t, "second", states(plan, out), "setup:hit cells[n=1]:hit cells[n=2]:hit atlas:hit report:hit lake:hit")
	want(t, "counts", counts(out), "complete 6: 0 executed 6 reused 0 failed 0 skipped")
	want(t, "did", w.took(), "probe")
}

// Each case changes something between two runs of the campaign with cells 1
// and 2, and says what the second forecasts and does.
func TestChanges(t *testing.T) {
	set := func(plan *pipelines.Plan, name, arg string) {
		for i := range plan.Nodes {
			if plan.Nodes[i].Name == name {
				plan.Nodes[i].Params.(*toy).Arg = arg
			}
		}
	}
	cases := []struct {
		name     string
		change   func(w *world, e *Engine, p *pipelines.Plan)
		sel      func(p *pipelines.Plan) Selection
		forecast string
		did      string
		counts   string
	}{
		{name: "one cell edited", change: func(w *world, e *Engine, p *pipelines.Plan) { set(p, "cells[n=2]", "3") },
			forecast: "setup:run(R23) cells[n=1]:hit cells[n=2]:run(R18) atlas:unknown(R24) report:unknown(R24) lake:unknown(R24)",
			did:      "agg, cell 3, probe, publish, render", counts: "complete 6: 4 executed 2 reused 0 failed 0 skipped"},
		{name: "edited, with the same outcome: the wave stops", change: func(w *world, e *Engine, p *pipelines.Plan) {
			set(p, "cells[n=2]", "3")
			w.output["cell 3"] = `cell(2 :{"version":"v1"})`
		}, did: "cell 3, probe", counts: "complete 6: 1 executed 5 reused 0 failed 0 skipped"},
		{name: "the endpoint changed", change: func(w *world, e *Engine, p *pipelines.Plan) { w.identity = "v2" },
			forecast: "setup:run(R23) cells[n=1]:hit cells[n=2]:hit atlas:hit report:hit lake:hit",
			did:      "agg, cell 1, cell 2, probe, publish, render", counts: "complete 6: 6 executed 0 reused 0 failed 0 skipped"},
		{name: "the endpoint is gone and nothing is to be measured", change: func(w *world, e *Engine, p *pipelines.Plan) { w.identity = "" },
			did: "probe", counts: "complete 6: 0 executed 6 reused 0 failed 0 skipped"},
		{name: "the endpoint is gone and something is to be measured", change: func(w *world, e *Engine, p *pipelines.Plan) {
			w.identity = ""
			set(p, "cells[n=2]", "3")
		}, did: "agg, probe, publish, render", counts: "failed 6: 3 executed 0 reused 1 failed 2 skipped"},
		{name: "only a title", change: func(w *world, e *Engine, p *pipelines.Plan) { p.Nodes[4].Params.(*toy).Title = "x" },
			did: "probe", counts: "complete 6: 0 executed 6 reused 0 failed 0 skipped"},
		{name: "the report alone", change: func(w *world, e *Engine, p *pipelines.Plan) { set(p, "report", "new"); w.identity = "" },
			sel:      func(p *pipelines.Plan) Selection { return Selection{Only: selectName(p, "report")} },
			forecast: "setup:not-selected cells[n=1]:not-selected cells[n=2]:not-selected atlas:not-selected report:run(R18) lake:not-selected",
			did:      "render new", counts: "complete 1: 1 executed 0 reused 0 failed 0 skipped"},
		{name: "from atlas", sel: func(p *pipelines.Plan) Selection { return Selection{From: selectName(p, "atlas")} },
			forecast: "setup:not-selected cells[n=1]:not-selected cells[n=2]:not-selected atlas:run(R15) report:run(R15) lake:run(R15)",
			change:   func(w *world, e *Engine, p *pipelines.Plan) { w.identity = "" },
			did:      "agg, publish, render", counts: "complete 3: 3 executed 0 reused 0 failed 0 skipped"},
		{name: "from cells measures nothing again", sel: func(p *pipelines.Plan) Selection { return Selection{From: selectName(p, "cells")} },
			did: "agg, publish, render", counts: "complete 5: 3 executed 2 reused 0 failed 0 skipped"},
		{name: "until atlas", sel: func(p *pipelines.Plan) Selection { return Selection{Until: selectName(p, "atlas")} },
			did: "probe", counts: "complete 4: 0 executed 4 reused 0 failed 0 skipped"},
		{name: "force a cell", sel: func(p *pipelines.Plan) Selection { return Selection{Force: selectName(p, "cells[n=1]")} },
			forecast: "setup:run(R23) cells[n=1]:run(R15) cells[n=2]:hit atlas:unknown(R24) report:unknown(R24) lake:unknown(R24)",
			did:      "cell 1, probe", counts: "complete 6: 1 executed 5 reused 0 failed 0 skipped"},
		{name: "too old", change: func(w *world, e *Engine, p *pipelines.Plan) {
			p.Nodes[1].MaxAge = time.Hour
			e.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
		}, forecast: "setup:run(R23) cells[n=1]:run(R06) cells[n=2]:hit atlas:unknown(R24) report:unknown(R24) lake:unknown(R24)",
			did: "cell 1, probe", counts: "complete 6: 1 executed 5 reused 0 failed 0 skipped"},
		{name: "a higher version", change: func(w *world, e *Engine, p *pipelines.Plan) { p.Nodes[3].Kind.Version++ },
			forecast: "setup:run(R23) cells[n=1]:hit cells[n=2]:hit atlas:run(R09) report:unknown(R24) lake:unknown(R24)",
			did:      "agg, probe", counts: "complete 6: 1 executed 5 reused 0 failed 0 skipped"},
		{name: "no longer published", change: func(w *world, e *Engine, p *pipelines.Plan) { w.landed = false },
			did: "probe, publish", counts: "complete 6: 1 executed 5 reused 0 failed 0 skipped"},
		{name: "a renamed campaign", change: func(w *world, e *Engine, p *pipelines.Plan) { p.Name = "other" },
			did: "probe", counts: "complete 6: 0 executed 6 reused 0 failed 0 skipped"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			e := w.engine(t, newHome(t))
			plan := w.campaign(t, "1", "2")
			mustRun(t, e, plan, Options{})
			w.took()
			e = w.engine(t, e.Store.Home())
			if c.change != nil {
				c.change(w, e, plan)
			}
			var sel Selection
			if c.sel != nil {
				sel = c.sel(plan)
			}
			if c.forecast != "" {
				want(t, "forecast", forecastOf(t, e, plan, sel), c.forecast)
			}
			out := mustRun(t, e, plan, Options{Selection: sel})
			want(t, "counts", counts(out), c.counts)
			want(t, "did", w.took(), c.did)
		})
	}
}

// What never changes is looked at once.
func TestFixedIsNotLookedAtAgain(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	plan := func(name string) *pipelines.Plan {
		p := w.campaign(t, "1")
		p.Nodes[0].Params.(*toy).fixed = true
		p.Nodes[0].Params.(*toy).Arg = name
		return p
	}
	mustRun(t, e, plan("a"), Options{})
	w.took()
	want(t, "forecast", forecastOf(t, e, plan("a"), Selection{}), "setup:hit cells[n=1]:hit atlas:hit report:hit lake:hit")
	mustRun(t, e, plan("a"), Options{})
	want(t, "did", w.took(), "")
	// Also where the key is known only on the way: another name is another thing.
	mustRun(t, e, plan("b"), Options{})
	want(t, "did", w.took(), "probe b")
}

func TestOfflineSaysHowOld(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	plan := w.campaign(t, "1")
	mustRun(t, e, plan, Options{})
	w.identity = ""
	e.Now = func() time.Time { return time.Now().Add(3 * time.Hour) }
	out := mustRun(t, e, plan, Options{})
	if text := strings.Join(out.Warnings, "\n"); !strings.Contains(text, "setup: could not look again (connection refused: nothing was seen); what was seen 3h0m0s ago serves") {
		t.Errorf("warnings: %s", text)
	}
}

// An observation that saw what it should not, or only a part, stands: what was
// seen last serves no longer, so neither do the cells below.
func TestWhatIsSeenStands(t *testing.T) {
	for becomes, err := range map[string]error{
		"setup:failed cells[n=1]:skipped atlas:done":  fmt.Errorf("not what the spec declares: %w", steps.ErrPermanent),
		"setup:partial cells[n=1]:skipped atlas:done": &steps.Failed{Partial: true, Reason: "identity_unresolved: max_num_seqs"},
	} {
		w := newWorld()
		e := w.engine(t, newHome(t))
		b := w.build(t)
		b.node("setup", "probe", "")
		b.node("cells[n=1]", "cell", "1", "setup=setup")
		b.node("atlas", "agg", "", "cells=cells")
		mustRun(t, e, b.plan, Options{})
		w.identity, w.fail["probe"] = "v2", err
		out := mustRun(t, e, b.plan, Options{})
		want(t, err.Error(), states(b.plan, out), becomes)
		want(t, "status", string(out.Status), "failed")
	}
}

// What a step wrote before its time was over is kept, as what it says it is.
func TestTimeoutKeepsWhatWasWritten(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	plan := w.campaign(t, "1")
	plan.Nodes[1].Timeout = time.Millisecond
	w.fail["cell 1"] = &steps.Failed{Partial: true, Reason: "3 of 8 requests"}
	w.gate = func(ctx context.Context, what string) error {
		if what == "cell 1" {
			<-ctx.Done()
		}
		return nil
	}
	rec := mustRun(t, e, plan, Options{}).Nodes[1].Record
	want(t, "record", fmt.Sprintf("%s %s %d", rec.Status, rec.Reason, len(rec.Artifacts)), "partial it took longer than its time-out of 1ms: 3 of 8 requests 1")
}

// A publication that is gone is made again, also in a second try, and the
// outcome says why.
func TestNotLandedIsSaid(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	plan := w.campaign(t, "1")
	mustRun(t, e, plan, Options{})
	w.took()
	w.landed = false
	plan.Nodes[4].Retry = pipelines.Retry{Max: 1, Backoff: time.Microsecond}
	tries := 0
	w.gate = func(_ context.Context, what string) error {
		if tries++; what == "publish" && tries < 3 { // the probe is the first
			return errors.New("the bucket is away")
		}
		return nil
	}
	out := mustRun(t, e, plan, Options{})
	want(t, "did", w.took(), "probe, publish, publish")
	want(t, "lake", out.Nodes[4].State.String()+" "+string(out.Nodes[4].Reason), "done R22")
}

// A step that was left behind writes on: that is no fault of the store.
func TestWriteAfterTheEnd(t *testing.T) {
	w := newWorld()
	plan := w.campaign(t, "1")
	tr := &try{e: w.engine(t, newHome(t)), n: &plan.Nodes[1], outputs: make(map[string]*output)}
	out, err := tr.create("out")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.takeOutputs(); err == nil {
		t.Error("an output that was not closed was taken")
	}
	if _, err := out.Write([]byte("late")); err == nil {
		t.Error("a late write went somewhere")
	}
	if tr.storeErr != nil {
		t.Errorf("the store is said to be broken: %v", tr.storeErr)
	}
}

func TestOnlySaysWhatIsMissing(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	plan := w.campaign(t, "1", "2")
	mustRun(t, e, plan, Options{Selection: Selection{Until: selectName(plan, "setup")}})
	w.took()
	_, err := e.Run(context.Background(), plan, Options{Selection: Selection{Only: selectName(plan, "report"), Text: "--only report"}})
	var missing *MissingError
	if !errors.As(err, &missing) {
		t.Fatalf("got %v", err)
	}
	want(t, "error", err.Error(), `--only report needs 2 node(s) that the store has no complete record of:
  cells[n=1]: never run before
  cells[n=2]: never run before
run the campaign without the selection, or from there, first`)
	want(t, "did", w.took(), "")
	if _, err := e.Forecast(context.Background(), plan, Selection{Only: selectName(plan, "nothing")}); err == nil {
		t.Error("an empty selection was taken")
	}
}

func TestOnlyReportAfterAFailedCell(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	plan := w.campaign(t, "1", "2")
	w.fail["cell 2"] = errors.New("out of memory")
	out := mustRun(t, e, plan, Options{})
	want(t, "first", states(plan, out), "setup:done cells[n=1]:done cells[n=2]:failed atlas:done report:done lake:done")
	want(t, "counts", counts(out), "failed 6: 5 executed 0 reused 1 failed 0 skipped")
	w.took()
	plan.Nodes[4].Params.(*toy).Arg = "new"
	out = mustRun(t, e, plan, Options{Selection: Selection{Only: selectName(plan, "report")}})
	want(t, "did", w.took(), "render new")
	want(t, "counts", counts(out), "complete 1: 1 executed 0 reused 0 failed 0 skipped")
}

func TestFailures(t *testing.T) {
	cases := []struct {
		name   string
		change func(w *world, p *pipelines.Plan)
		states string
		counts string
		did    string
		err    string // of the first node that did not make it
	}{
		{name: "a cell fails: the rest goes on, and those that take gaps see it",
			change: func(w *world, p *pipelines.Plan) { w.fail["cell 1"] = errors.New("boom") },
			states: "setup:done cells[n=1]:failed cells[n=2]:done atlas:done report:done lake:done",
			counts: "failed 6: 5 executed 0 reused 1 failed 0 skipped", did: "agg, cell 1, cell 2, probe, publish, render", err: "boom"},
		{name: "setup fails: what takes no gap is skipped, with the root cause",
			change: func(w *world, p *pipelines.Plan) { w.identity = "" },
			states: "setup:failed cells[n=1]:skipped cells[n=2]:skipped atlas:done report:done lake:done",
			counts: "failed 6: 3 executed 0 reused 1 failed 2 skipped", did: "agg, probe, publish, render", err: "connection refused"},
		{name: "a part of an answer",
			change: func(w *world, p *pipelines.Plan) {
				w.fail["cell 1"] = &steps.Failed{Partial: true, Reason: "half of it"}
			},
			states: "setup:done cells[n=1]:partial cells[n=2]:done atlas:done report:done lake:done",
			counts: "gaps 6: 6 executed 0 reused 0 failed 0 skipped", did: "agg, cell 1, cell 2, probe, publish, render", err: "half of it"},
		{name: "evidence of a failure",
			change: func(w *world, p *pipelines.Plan) { w.fail["cell 1"] = &steps.Failed{Reason: "no token came"} },
			states: "setup:done cells[n=1]:failed cells[n=2]:done atlas:done report:done lake:done",
			counts: "failed 6: 5 executed 0 reused 1 failed 0 skipped", did: "agg, cell 1, cell 2, probe, publish, render", err: "no token came"},
		{name: "retries",
			change: func(w *world, p *pipelines.Plan) {
				w.fail["cell 1"] = errors.New("boom")
				p.Nodes[1].Retry = pipelines.Retry{Max: 2, Backoff: time.Microsecond}
			},
			states: "setup:done cells[n=1]:failed cells[n=2]:done atlas:done report:done lake:done",
			counts: "failed 6: 5 executed 0 reused 1 failed 0 skipped", did: "agg, cell 1, cell 1, cell 1, cell 2, probe, publish, render", err: "boom"},
		{name: "no retry would help",
			change: func(w *world, p *pipelines.Plan) {
				w.fail["cell 1"] = fmt.Errorf("bad argument: %w", steps.ErrPermanent)
				p.Nodes[1].Retry = pipelines.Retry{Max: 2}
			},
			states: "setup:done cells[n=1]:failed cells[n=2]:done atlas:done report:done lake:done",
			counts: "failed 6: 5 executed 0 reused 1 failed 0 skipped", did: "agg, cell 1, cell 2, probe, publish, render", err: "bad argument"},
		{name: "a retry would give the same part",
			change: func(w *world, p *pipelines.Plan) {
				w.fail["cell 1"] = &steps.Failed{Partial: true, Final: true, Reason: "half of it"}
				p.Nodes[1].Retry = pipelines.Retry{Max: 2}
			},
			states: "setup:done cells[n=1]:partial cells[n=2]:done atlas:done report:done lake:done",
			counts: "gaps 6: 6 executed 0 reused 0 failed 0 skipped", did: "agg, cell 1, cell 2, probe, publish, render", err: "half of it"},
		{name: "a panic",
			change: func(w *world, p *pipelines.Plan) {
				w.gate = func(_ context.Context, what string) error {
					if what == "cell 1" {
						panic("nil map")
					}
					return nil
				}
			},
			states: "setup:done cells[n=1]:failed cells[n=2]:done atlas:done report:done lake:done",
			counts: "failed 6: 5 executed 0 reused 1 failed 0 skipped", did: "agg, cell 1, cell 2, probe, publish, render", err: "panic: nil map"},
		{name: "a time-out",
			change: func(w *world, p *pipelines.Plan) {
				p.Nodes[1].Timeout = time.Millisecond
				w.gate = func(ctx context.Context, what string) error {
					if what == "cell 1" {
						<-ctx.Done()
						return ctx.Err()
					}
					return nil
				}
			},
			states: "setup:done cells[n=1]:failed cells[n=2]:done atlas:done report:done lake:done",
			counts: "failed 6: 5 executed 0 reused 1 failed 0 skipped", did: "agg, cell 1, cell 2, probe, publish, render",
			err: "it took longer than its time-out of 1ms"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			e := w.engine(t, newHome(t))
			plan := w.campaign(t, "1", "2")
			c.change(w, plan)
			out := mustRun(t, e, plan, Options{})
			want(t, "states", states(plan, out), c.states)
			want(t, "counts", counts(out), c.counts)
			want(t, "did", w.took(), c.did)
			for _, n := range out.Nodes {
				if n.Err != nil {
					if c.err == "" || !strings.Contains(n.Err.Error(), c.err) {
						t.Errorf("error %v, want %q", n.Err, c.err)
					}
					break
				}
			}
			// What failed is tried again, what did not is not.
			*w = *newWorld()
			for i := range plan.Nodes {
				plan.Nodes[i].Timeout = 0
			}
			again := mustRun(t, w.engine(t, e.Store.Home()), plan, Options{})
			want(t, "again", string(again.Status), "complete")
			if did := w.took(); strings.Contains(did, "cell 2") != strings.Contains(c.states, "cells[n=2]:skipped") {
				t.Errorf("the second run did %s", did)
			}
		})
	}
}

func TestEveryTryIsKept(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	plan := w.campaign(t, "1")
	w.fail["cell 1"] = &steps.Failed{Reason: "no token came"}
	plan.Nodes[1].Retry.Max = 2
	out := mustRun(t, e, plan, Options{})
	recs := e.Store.Records(out.Nodes[1].Key)
	var got []string
	for _, r := range recs {
		got = append(got, fmt.Sprintf("%d %s %s %d", r.Attempt, r.Status, r.Reason, len(r.Artifacts)))
	}
	want(t, "records", strings.Join(got, ", "), "3 failed no token came 1, 2 failed no token came 1, 1 failed no token came 1")
	w.fail = map[string]error{}
	mustRun(t, e, plan, Options{})
	mustRun(t, e, plan, Options{Selection: Selection{Force: selectName(plan, "cells"), By: "test"}})
	recs = e.Store.Records(out.Nodes[1].Key)
	if len(recs) != 5 || recs[0].Forced != "test" || recs[1].Forced != "" || recs[0].Status != store.Complete {
		t.Errorf("got %d records, the newest forced by %q", len(recs), recs[0].Forced)
	}
}

func TestSameKeyRunsOnce(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	b := w.build(t)
	b.node("a", "pure", "x")
	b.node("b", "pure", "x")
	b.node("c", "pure", "x")
	out := mustRun(t, e, b.plan, Options{})
	want(t, "did", w.took(), "pure x")
	want(t, "counts", counts(out), "complete 3: 1 executed 2 reused 0 failed 0 skipped")
}

func TestPoolsAndOrder(t *testing.T) {
	for _, jobs := range []int{1, 8} {
		w := newWorld()
		e := w.engine(t, newHome(t))
		e.Jobs, e.Limits = jobs, map[string]int{"endpoint": 2}
		plan := w.campaign(t, numbers(20)...)
		in, most := make(chan int, 1), 0
		in <- 0
		w.gate = func(_ context.Context, what string) error {
			if strings.HasPrefix(what, "cell") {
				n := <-in + 1
				most = max(most, n)
				in <- n
				in <- (<-in) - 1
			}
			return nil
		}
		out := mustRun(t, e, plan, Options{})
		want(t, "counts", counts(out), "complete 24: 24 executed 0 reused 0 failed 0 skipped")
		if n := <-in; n != 0 || most > 2 {
			t.Errorf("%d cells at once in a pool of 2, %d at the end", most, n)
		}
	}
}

func TestViews(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	plan := w.campaign(t, "1")
	view := e.Store.Path("out", "toy", "report", "out")
	out := mustRun(t, e, plan, Options{})
	want(t, "path", out.Outputs["report/out"], view)
	first, err := os.ReadFile(view)
	if err != nil {
		t.Fatal(err)
	}
	read := func() string { b, _ := os.ReadFile(view); return string(b) }

	if err := os.Remove(view); err != nil {
		t.Fatal(err)
	}
	mustRun(t, e, plan, Options{})
	want(t, "deleted", read(), string(first))

	if err := os.WriteFile(view, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	out = mustRun(t, e, plan, Options{})
	want(t, "edited", read(), string(first))
	kept, _ := os.ReadFile(view + ".edited")
	want(t, "kept", string(kept), "mine")
	if !strings.Contains(strings.Join(out.Warnings, "\n"), "was changed by hand") {
		t.Errorf("warnings: %v", out.Warnings)
	}

	plan.Nodes[3].Params.(*toy).Arg = "new"
	out = mustRun(t, e, plan, Options{})
	if read() == string(first) || len(out.Warnings) > 0 {
		t.Errorf("outdated: %q, warnings %v", read(), out.Warnings)
	}
	w.took()
}

func TestFilesAreContent(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	b := w.build(t)
	b.node("a", "pure", "x").Params.(*toy).File = "data"
	path := filepath.Join(b.plan.Dir, "data")
	if _, err := e.Forecast(context.Background(), b.plan, Selection{}); err == nil || !strings.Contains(err.Error(), "parameter file") {
		t.Errorf("a missing file gave %v", err)
	}
	write := func(s string) {
		if err := os.WriteFile(path, []byte(s), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	mustRun(t, e, b.plan, Options{})
	st, _ := os.Stat(path)
	write("one")
	want(t, "touched", forecastOf(t, e, b.plan, Selection{}), "a:hit")
	write("two") // of the same size, and with the same time
	if err := os.Chtimes(path, st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
	want(t, "edited", forecastOf(t, e, b.plan, Selection{}), "a:run(R10)")
	if err := os.Rename(path, path+"2"); err != nil {
		t.Fatal(err)
	}
	b.plan.Nodes[0].Params.(*toy).File = "data2"
	write2 := os.WriteFile(path+"2", []byte("one"), 0o666)
	want(t, "moved", forecastOf(t, e, b.plan, Selection{}), "a:hit")
	_ = write2
}

// A step that is a phase as a whole is in it from its beginning; one of
// several tells. What the spec does not name is no phase of the run.
func TestPhases(t *testing.T) {
	w := newWorld()
	w.phases = map[string][]string{"cell 1": {"pre", "pre", "load", "unnamed", "", "load"}}
	e := w.engine(t, newHome(t))
	b := w.build(t)
	b.node("server", "serve", "s")
	b.node("setup", "probe", "", "serve=server")
	b.node("cells[n=1]", "cell", "1", "setup=setup", "serve=server")
	for i, phases := range [][]pipelines.Phase{{{Name: "pod", Number: 1, Of: 4}}, {{Name: "look", Number: 2, Of: 4}}, {{Name: "pre", Number: 3, Of: 4}, {Name: "load", Number: 4, Of: 4}}} {
		b.plan.Steps[i].Phases = phases
	}
	var told []string
	out := mustRun(t, e, b.plan, Options{Notify: func(ev Event) {
		if ev.Kind == Phased {
			told = append(told, ev.Name+" "+ev.Text)
		}
	}})
	all := "server 1/4 pod, setup 2/4 look, cells[n=1] 3/4 pre, cells[n=1] 4/4 load"
	want(t, "told", strings.Join(told, ", "), all)
	entries, _, err := journal.Read(e.Store.Path("runs", out.RunID))
	if err != nil {
		t.Fatal(err)
	}
	var kept, sums []string
	for _, en := range entries {
		if en.Event == journal.Phase {
			kept = append(kept, en.Node+" "+en.Text)
		}
	}
	want(t, "kept", strings.Join(kept, ", "), all)
	for _, p := range journal.Phases(entries) {
		sums = append(sums, p.Phase)
	}
	want(t, "sums", strings.Join(sums, ", "), "1/4 pod, 2/4 look, 3/4 pre, 4/4 load")
}

func TestEvents(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	plan := w.campaign(t, "1")
	w.doubts["cell 1"] = "rather hot"
	var got []string
	mustRun(t, e, plan, Options{Notify: func(ev Event) {
		s := string(ev.Kind) + " " + ev.Name
		if ev.Kind == NodeState {
			s += " " + ev.State.String()
		}
		if ev.Kind == Doubted {
			s += " " + ev.Text
		}
		got = append(got, strings.TrimSpace(s))
	}})
	want(t, "events", strings.Join(got, ", "), "run, state setup running, state setup done, state cells[n=1] running, "+
		"doubt cells[n=1] rather hot, state cells[n=1] done, state atlas running, state atlas done, state report running, "+
		"state report done, state lake running, state lake done, end")
	out := mustRun(t, e, plan, Options{})
	want(t, "doubts travel", strings.Join(out.Warnings, "; "), "cells[n=1]: rather hot")
}
