package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pipeline/engine/journal"
	"pipeline/engine/store"
	"pipeline/pipelines"
)

// held is a campaign whose cells need a server: serve -> setup -> cells, and
// cells are wired to serve as well.
func (w *world) held(t testing.TB, cells ...string) *pipelines.Plan {
	b := w.build(t)
	b.node("serve", "serve", "m")
	b.node("setup", "probe", "", "serve=serve")
	for _, c := range cells {
		b.node("cells[n="+c+"]", "cell", c, "setup=setup", "serve=serve")
	}
	b.node("atlas", "agg", "", "cells=cells")
	return b.plan
}

func TestHold(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	plan := w.held(t, "1", "2")
	want(t, "forecast", forecastOf(t, e, plan, Selection{}),
		"serve:run(R25) setup:run(R17) cells[n=1]:unknown(R24) cells[n=2]:unknown(R24) atlas:unknown(R24)")
	out := mustRun(t, e, plan, Options{})
	want(t, "first", states(plan, out), "serve:done setup:done cells[n=1]:done cells[n=2]:done atlas:done")
	want(t, "counts", counts(out), "complete 4: 4 executed 0 reused 0 failed 0 skipped")
	log := strings.Join(w.log, ", ")
	want(t, "order", log[:len("open m, probe, cell 1, cell 2, ")], "open m, probe, cell 1, cell 2, ")
	want(t, "did", w.took(), "agg, cell 1, cell 2, close m, open m, probe")

	want(t, "forecast", forecastOf(t, e, plan, Selection{}), "serve:idle setup:hit cells[n=1]:hit cells[n=2]:hit atlas:hit")
	out = mustRun(t, e, plan, Options{})
	want(t, "second", states(plan, out), "serve:idle setup:hit cells[n=1]:hit cells[n=2]:hit atlas:hit")
	want(t, "did", w.took(), "")

	plan.Nodes[2].Params.(*toy).Arg = "3"
	want(t, "forecast", forecastOf(t, e, plan, Selection{}),
		"serve:run(R25) setup:run(R23) cells[n=1]:run(R18) cells[n=2]:hit atlas:unknown(R24)")
	out = mustRun(t, e, plan, Options{Selection: Selection{Only: selectName(plan, "cells")}})
	want(t, "only", states(plan, out), "serve:done setup:hit cells[n=1]:done cells[n=2]:hit atlas:idle")
	want(t, "did", w.took(), "cell 3, close m, open m")
}

func TestStandingHold(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	b := w.build(t)
	b.node("url", "url", "m")
	b.node("setup", "probe", "", "serve=url")
	b.node("cells[n=1]", "cell", "1", "setup=setup", "serve=url")
	mustRun(t, e, b.plan, Options{})
	w.took()
	want(t, "forecast", forecastOf(t, e, b.plan, Selection{}), "url:run(R25) setup:run(R23) cells[n=1]:hit")
	out := mustRun(t, e, b.plan, Options{})
	want(t, "did", w.took(), "close m, open m, probe")
	want(t, "counts", counts(out), "complete 2: 0 executed 2 reused 0 failed 0 skipped")
}

// Whatever happens while a Hold is open, it is closed once, and the journal
// says so.
func TestHoldIsClosed(t *testing.T) {
	cases := []struct {
		name   string
		change func(w *world, p *pipelines.Plan)
		states string
		did    string
	}{
		{"success", func(w *world, p *pipelines.Plan) {},
			"serve:done setup:done cells[n=1]:done atlas:done", "agg, cell 1, close m, open m, probe"},
		{"failure", func(w *world, p *pipelines.Plan) { w.fail["cell 1"] = errors.New("boom") },
			"serve:done setup:done cells[n=1]:failed atlas:done", "agg, cell 1, close m, open m, probe"},
		{"panic", func(w *world, p *pipelines.Plan) {
			w.gate = func(_ context.Context, what string) error {
				if what == "cell 1" {
					panic("boom")
				}
				return nil
			}
		}, "serve:done setup:done cells[n=1]:failed atlas:done", "agg, cell 1, close m, open m, probe"},
		{"the probe fails", func(w *world, p *pipelines.Plan) { w.identity = "" },
			"serve:done setup:failed cells[n=1]:skipped atlas:done", "agg, close m, open m, probe"},
		{"open fails", func(w *world, p *pipelines.Plan) { w.fail["open m"] = errors.New("no GPU") },
			"serve:failed setup:skipped cells[n=1]:skipped atlas:done", "agg, close m, open m"},
		{"open fails twice", func(w *world, p *pipelines.Plan) {
			w.fail["open m"] = errors.New("no GPU")
			p.Nodes[0].Retry.Max = 1
		}, "serve:failed setup:skipped cells[n=1]:skipped atlas:done", "agg, close m, close m, open m, open m"},
		{"open panics", func(w *world, p *pipelines.Plan) {
			w.gate = func(_ context.Context, what string) error {
				if what == "open m" {
					panic("boom")
				}
				return nil
			}
		}, "serve:failed setup:skipped cells[n=1]:skipped atlas:done", "agg, close m, open m"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			e := w.engine(t, newHome(t))
			plan := w.held(t, "1")
			c.change(w, plan)
			out := mustRun(t, e, plan, Options{})
			want(t, "states", states(plan, out), c.states)
			want(t, "did", w.took(), c.did)
			checkReleased(t, w, e, out.RunID)
		})
	}
}

func checkReleased(t *testing.T, w *world, e *Engine, run string) {
	t.Helper()
	if len(w.open) > 0 {
		t.Errorf("still open: %v", w.open)
	}
	entries, torn, err := journal.Read(e.Store.Path("runs", run))
	if err != nil || torn {
		t.Fatalf("journal: %v, torn %v", err, torn)
	}
	if open := journal.OpenLeases(entries); len(open) > 0 {
		t.Errorf("the journal has open leases: %v", open)
	}
}

func TestHoldIsClosedWhenInterrupted(t *testing.T) {
	for _, twice := range []bool{false, true} {
		w := newWorld()
		e := w.engine(t, newHome(t))
		plan := w.held(t, "1", "2")
		interrupt := make(chan struct{}, 2)
		stopping := make(chan struct{})
		w.gate = func(ctx context.Context, what string) error {
			if what != "cell 1" {
				return nil
			}
			interrupt <- struct{}{}
			<-stopping
			if twice {
				interrupt <- struct{}{}
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		out := mustRun(t, e, plan, Options{Interrupt: interrupt, Notify: func(ev Event) {
			if ev.Kind == Stopping {
				close(stopping)
			}
		}})
		want(t, "status", string(out.Status), "interrupted")
		first := map[bool]string{false: "done", true: "failed"}[twice]
		want(t, "states", states(plan, out), "serve:done setup:done cells[n=1]:"+first+" cells[n=2]:waiting atlas:waiting")
		want(t, "did", w.took(), "cell 1, close m, open m, probe")
		checkReleased(t, w, e, out.RunID)
		if twice {
			want(t, "forecast", forecastOf(t, e, plan, Selection{}),
				"serve:run(R25) setup:run(R23) cells[n=1]:run(R12) cells[n=2]:run(R17) atlas:unknown(R24)")
		}
	}
}

func TestHoldThatDoesNotClose(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	plan := w.held(t, "1")
	w.fail["close m"] = errors.New("the cluster is away")
	out := mustRun(t, e, plan, Options{})
	want(t, "status", string(out.Status), "failed")
	if text := strings.Join(out.Warnings, "\n"); !strings.Contains(text, "could not be released: the cluster is away") {
		t.Errorf("warnings: %s", text)
	}
	w.fail = map[string]error{}
	w.took()
	out = mustRun(t, e, plan, Options{})
	want(t, "did", w.took(), "close m")
	if text := strings.Join(out.Warnings, "\n"); !strings.Contains(text, "left serve") || len(w.open) > 0 {
		t.Errorf("warnings: %s; open: %v", text, w.open)
	}
}

// A run that was killed left a lease and a try in its journal.
func TestRecover(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	plan := w.held(t, "1")
	mustRun(t, e, plan, Options{})
	w.took()
	f, err := e.Forecast(context.Background(), plan, Selection{})
	if err != nil {
		t.Fatal(err)
	}
	id := journal.NewRunID(time.Now())
	lock, err := e.Store.TryLock(runLock(id))
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Create(e.Store.Path("runs", id), nil)
	if err != nil {
		t.Fatal(err)
	}
	j.Add(journal.Entry{Event: journal.RunStart, Start: &journal.Start{Run: id, Campaign: "toy"}})
	j.Add(journal.Entry{Event: journal.Lease, Node: "serve", Kind: "serve", Lease: "L1", Params: json.RawMessage(`{"arg":"m","tag":"x"}`)})
	j.Add(journal.Entry{Event: journal.Attempt, Node: "cells[n=1]", Kind: "cell", Number: 1, Key: f.Nodes[2].Key.String()})
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	w.open["L1"] = true
	if said, err := e.Recover(context.Background()); err != nil || len(said) > 0 {
		t.Fatalf("a run that lives was recovered: %v %v", said, err)
	}
	lock.Leave()
	said, err := e.Recover(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	want(t, "said", strings.Join(said, "; "), "run "+id+" died and left serve (lease L1), which was released; run "+id+" died during cells[n=1]")
	want(t, "did", w.took(), "close m")
	checkReleased(t, w, e, id)
	rec := e.Store.Latest(f.Nodes[2].Key, func(*store.Record) bool { return true })
	want(t, "evidence", string(rec.Status)+" "+rec.Reason, "failed interrupted: the run died")
	if said, err := e.Recover(context.Background()); err != nil || len(said) > 0 {
		t.Errorf("recovered twice: %v %v", said, err)
	}
}

func TestDeadlockIsSaid(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	b := w.build(t)
	b.node("serve", "greedy", "m") // sits on the only slot of the pool that the cell needs
	b.node("cells[n=1]", "cell", "1", "serve=serve")
	out, err := e.Run(context.Background(), b.plan, Options{})
	if !errors.Is(err, ErrDeadlock) || !strings.Contains(err.Error(), `cells[n=1] (waiting) waits for serve; pool "endpoint" is full (1 of 1)`) {
		t.Errorf("got %v", err)
	}
	want(t, "did", w.took(), "close m, open m")
	want(t, "status", string(out.Status), "failed")
}

func TestHoldInHold(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	b := w.build(t)
	b.node("window", "greedy", "quiet")
	b.node("serve", "serve", "m", "serve=window")
	b.node("p", "pure", "1", "serve=serve")
	b.plan.Nodes[2].Kind.Ports = append(b.plan.Nodes[2].Kind.Ports, b.plan.Nodes[1].Kind.Ports...)
	after := b.node("q", "pure", "2", "after=window")
	out := mustRun(t, e, b.plan, Options{})
	want(t, "states", states(b.plan, out), "window:done serve:done p:done "+after.Name+":done")
	want(t, "order", strings.Join(w.log, ", "), "open quiet, open m, pure 1, close m, close quiet, pure 2")
	w.took()
	out = mustRun(t, e, b.plan, Options{})
	want(t, "states", states(b.plan, out), "window:idle serve:idle p:hit q:hit")
	want(t, "did", w.took(), "")
}

// A Hold that nobody needs any more while it waits to be tried again settles
// once, also when the run is then stopped.
func TestIdleDuringBackoff(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	b := w.build(t)
	b.node("a", "serve", "a").Retry = pipelines.Retry{Max: 1, Backoff: time.Hour}
	b.node("b", "serve", "b")
	b.node("cells[n=1]", "cell", "1", "serve=a", "serve=b")
	w.fail["open a"], w.fail["open b"] = errors.New("no GPU"), errors.New("no GPU")
	interrupt := make(chan struct{}, 1)
	settled := map[string]int{}
	out := mustRun(t, e, b.plan, Options{Interrupt: interrupt, Notify: func(ev Event) {
		if ev.Kind == NodeState && ev.State.Settled() {
			if settled[ev.Name]++; ev.Name == "cells[n=1]" {
				interrupt <- struct{}{}
			}
		}
	}})
	want(t, "states", states(b.plan, out), "a:idle b:failed cells[n=1]:skipped")
	want(t, "settled", fmt.Sprint(settled), "map[a:1 b:1 cells[n=1]:1]")
}

// What stands by itself takes no slot: two may be used at the same time, by
// one process or by two.
func TestStandingHoldTakesNoPool(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	other, err := e.Store.TryLock("pool-server.0") // of another process
	if err != nil {
		t.Fatal(err)
	}
	defer other.Unlock()
	b := w.build(t)
	b.node("a", "url", "a")
	b.node("b", "url", "b")
	b.node("cells[n=1]", "cell", "1", "serve=a", "serve=b")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := e.Run(ctx, b.plan, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "states", states(b.plan, out), "a:done b:done cells[n=1]:done")
}

// Who waits for a slot of a run that then dies lets go of what that run held
// before it opens its own.
func TestRecoverAfterWaiting(t *testing.T) {
	w := newWorld()
	e := w.engine(t, newHome(t))
	dead := w.engine(t, e.Store.Home())
	id := journal.NewRunID(time.Now())
	lock, err := dead.Store.TryLock(runLock(id))
	if err != nil {
		t.Fatal(err)
	}
	slot, err := dead.Store.TryLock("pool-server.0")
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Create(e.Store.Path("runs", id), nil)
	if err != nil {
		t.Fatal(err)
	}
	j.Add(journal.Entry{Event: journal.RunStart, Start: &journal.Start{Run: id, Campaign: "toy"}})
	j.Add(journal.Entry{Event: journal.Lease, Node: "serve", Kind: "serve", Lease: "L1", Params: json.RawMessage(`{"arg":"dead"}`)})
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	w.open["L1"] = true
	died := false
	out := mustRun(t, e, w.held(t, "1"), Options{Notify: func(ev Event) {
		if ev.Kind == Progressed && strings.HasPrefix(ev.Progress.Text, "waits for another process") && !died {
			died = true
			lock.Leave()
			slot.Unlock()
		}
	}})
	want(t, "order", strings.Join(w.log[:4], ", "), "close dead, open m, probe, cell 1")
	if text := strings.Join(out.Warnings, "\n"); !strings.Contains(text, "left serve (lease L1), which was released") {
		t.Errorf("warnings: %s", text)
	}
	checkAllReleased(t, w, e)
}
