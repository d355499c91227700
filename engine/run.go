package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"pipeline/engine/journal"
	"pipeline/engine/store"
	"pipeline/internal/command"
	"pipeline/pipelines"
	"pipeline/steps"
)

// Run runs what the selection takes in and is not in the store. The error is
// about the run as a whole (nothing could be started, the store broke); what
// became of nodes is in the Outcome, which is nil only if nothing was started.
func (e *Engine) Run(ctx context.Context, plan *pipelines.Plan, o Options) (*Outcome, error) {
	if err := e.Store.Writable(); err != nil {
		return nil, fmt.Errorf("run %s: %w", plan.Name, err)
	}
	busy, err := e.Store.Share(store.BusyLock)
	if err != nil {
		return nil, fmt.Errorf("run %s: the store is being collected, try again in a moment: %w", plan.Name, err)
	}
	defer busy.Leave()
	said, err := e.Recover(ctx)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", plan.Name, err)
	}
	f := o.Forecast
	if f == nil || len(f.Nodes) != len(plan.Nodes) || len(said) > 0 {
		if f, err = e.Forecast(ctx, plan, o.Selection); err != nil {
			return nil, err
		}
	}
	r, err := newRun(e, plan, o)
	if err != nil {
		return nil, err
	}
	for _, s := range append(slices.Clone(e.Store.Mended()), said...) {
		r.doubt(-1, s)
	}
	runErr := r.passes(ctx, f)
	return r.end(runErr)
}

// A run is the state of one run. All of it belongs to the goroutine of Run.
type run struct {
	e     *Engine
	plan  *pipelines.Plan
	o     Options
	id    string
	began time.Time
	lock  *store.Lock // tells others that this run lives
	j     *journal.Writer

	commands *command.Recorder // that its steps run

	fc       *Forecast
	nodes    []node
	children [][]pipelines.NodeID // by NodeID: below it by data or order, once an edge
	ready    idHeap               // all they wait for is there
	pools    map[string]*pool
	asking   map[store.Key]pipelines.NodeID // which node is finding the answer
	made     map[store.Key]*store.Record    // answers that this run gave
	msgs     chan message
	over     chan struct{} // closed when nobody reads msgs any more
	busy     int           // messages that are sure to come
	settled  int

	stop     string          // why nothing more is started; "" if it is
	stopErr  error           // that stopped it, if it was a fault
	steps    context.Context // of running steps
	cancel   context.CancelCauseFunc
	waits    context.Context // of waiting for locks of other processes
	stopWait context.CancelFunc

	executed []bool // in any pass
	spent    map[pipelines.NodeID]spent
	lost     map[pipelines.NodeID]bool // what they wrote turned out to be corrupt
	leaked   bool                      // a lease could not be released
	warnings []string                  // of the run itself; those of a node are with it
}

// A node is the state of one node in a run.
type node struct {
	state     State
	waitsFor  int // upstream nodes that have not settled, by data or order
	key       store.Key
	gives     given
	same      bool // gives what the forecast took it to give
	rec       *store.Record
	reason    Reason
	err       error
	took      time.Duration
	tries     int
	doubts    []string
	followers []pipelines.NodeID // with the same key, waiting for this one's answer
	hold      *hold
	holds     int // Holds it needs that are not open yet
}

func newRun(e *Engine, plan *pipelines.Plan, o Options) (*run, error) {
	now := e.Now()
	r := &run{e: e, plan: plan, o: o, id: journal.NewRunID(now), began: now, executed: make([]bool, len(plan.Nodes)),
		spent: make(map[pipelines.NodeID]spent)}
	var err error
	if r.lock, err = e.Store.TryLock(runLock(r.id)); err != nil {
		return nil, fmt.Errorf("run %s: %w", plan.Name, err)
	}
	if r.j, err = journal.Create(e.Store.Path("runs", r.id), e.Fault); err != nil {
		r.lock.Unlock()
		return nil, fmt.Errorf("run %s: %w", plan.Name, err)
	}
	r.commands = command.NewRecorder(filepath.Join(e.Store.Path("runs", r.id), journal.CommandsDir), e.Now, 1)
	r.j.Add(journal.Entry{Time: now, Event: journal.RunStart, Start: &journal.Start{
		Run: r.id, Campaign: plan.Name, Spec: plan.File, SpecSum: plan.SpecSum, Args: o.Args,
		Selection: o.Selection.Text, Nodes: len(plan.Nodes), Host: e.Host.Name, PID: e.Host.PID}})
	r.notify(Event{Kind: RunStarted, Node: -1, Text: r.id})
	r.children = make([][]pipelines.NodeID, len(plan.Nodes))
	for i := range plan.Nodes {
		n := &plan.Nodes[i]
		for _, d := range n.Deps {
			r.children[d.From] = append(r.children[d.From], n.ID)
		}
		for _, a := range n.After {
			r.children[a] = append(r.children[a], n.ID)
		}
	}
	return r, nil
}

// spent is what an earlier pass made of a node that failed for good: it is
// not tried again only because some blob was corrupt.
type spent struct {
	key    store.Key
	rec    *store.Record
	err    error
	state  State
	doubts []string
}

// endOfCommands is how long a run waits for the records of commands that were
// just ended: a server that was let go of is still being waited for.
const endOfCommands = 2 * time.Second

func runLock(id string) string { return "run-" + id }

// passes runs the plan. If a step found that a blob it reads is corrupt, the
// plan is gone through again: the blob was set aside, so the node that wrote
// it runs, and all else that was done is a hit.
func (r *run) passes(ctx context.Context, f *Forecast) error {
	const most = 5
	for pass := 1; ; pass++ {
		r.reset(ctx, f)
		r.loop(ctx)
		r.cancel(nil)
		r.stopWait()
		close(r.over)
		if len(r.lost) == 0 || r.stopping() || pass == most {
			return nil
		}
		var err error
		if f, err = r.e.Forecast(ctx, r.plan, r.o.Selection); err != nil {
			return err
		}
	}
}

func (r *run) reset(ctx context.Context, f *Forecast) {
	r.fc = f
	r.nodes = make([]node, len(r.plan.Nodes))
	r.ready = nil
	r.pools = make(map[string]*pool)
	r.asking = make(map[store.Key]pipelines.NodeID)
	if r.made == nil {
		r.made = make(map[store.Key]*store.Record)
	}
	r.msgs, r.over = make(chan message, 256), make(chan struct{})
	r.busy, r.settled, r.lost = 0, 0, nil
	r.steps, r.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	r.waits, r.stopWait = context.WithCancel(r.steps)
	for i := range r.plan.Nodes {
		n := &r.plan.Nodes[i]
		r.nodes[i].waitsFor = len(n.Deps) + len(n.After)
		if r.nodes[i].waitsFor == 0 {
			r.ready.push(n.ID)
		}
	}
	for i := range r.plan.Nodes {
		if n := &r.plan.Nodes[i]; n.Kind.Effect == steps.Hold {
			r.nodes[i].hold = &hold{}
		}
	}
	for i := range r.plan.Nodes {
		for _, d := range r.plan.Nodes[i].Deps {
			if h := r.nodes[d.From].hold; h != nil {
				h.dependents++
			}
		}
	}
}

// end writes the views and the last line, and sums up.
func (r *run) end(runErr error) (*Outcome, error) {
	out := &Outcome{RunID: r.id, Campaign: r.plan.Name, Outputs: map[string]string{}}
	r.outcomes(out)
	views, warnings, err := r.e.views(r.plan, out.Nodes)
	for _, w := range warnings {
		r.doubt(-1, w)
	}
	if err != nil {
		r.doubt(-1, err.Error())
	}
	if err := r.commands.Settle(endOfCommands); err != nil {
		r.doubt(-1, err.Error())
	}
	out.Outputs = views
	out.Warnings = r.allDoubts()
	out.Took = r.e.Now().Sub(r.began)
	runErr = errors.Join(runErr, r.stopErr)
	switch {
	case r.stop != "" && r.stopErr == nil:
		out.Status = Interrupted
	case runErr != nil || out.Counts.Failed+out.Counts.Skipped > 0 || r.leaked:
		out.Status = Broken
	case slices.ContainsFunc(r.nodes, func(n node) bool { return n.state == Partial }):
		out.Status = Gaps
	default:
		out.Status = Complete
	}
	r.j.Add(journal.Entry{Time: r.e.Now(), Event: journal.RunEnd, Text: textOf(runErr),
		End: &journal.End{Status: string(out.Status), Counts: out.Counts, Took: out.Took}})
	jErr := r.j.Close()
	if jErr != nil && runErr == nil {
		runErr, out.Status = jErr, Broken
	}
	if r.leaked || jErr != nil {
		r.lock.Leave() // the next run finds it, and lets go of what the journal does not say was let go of
	} else {
		r.lock.Unlock()
	}
	r.notify(Event{Kind: RunEnded, Node: -1, Text: string(out.Status), Took: out.Took})
	if runErr != nil {
		runErr = fmt.Errorf("run %s: %w", r.plan.Name, runErr)
	}
	return out, runErr
}

// allDoubts are those of the run, then those of its nodes by name.
func (r *run) allDoubts() []string {
	all := append([]string{}, r.warnings...)
	for i := range r.nodes {
		for _, d := range r.nodes[i].doubts {
			all = append(all, r.plan.Nodes[i].Name+": "+d)
		}
	}
	return all
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// outcomes copies the state of the nodes and counts them.
func (r *run) outcomes(out *Outcome) {
	out.Nodes = make([]NodeOutcome, len(r.nodes))
	for i := range r.nodes {
		n := &r.nodes[i]
		selected := r.fc.sel.in[i]
		out.Nodes[i] = NodeOutcome{State: n.state, Selected: selected, Key: n.key, Record: n.rec, Reason: n.reason,
			Err: n.err, Took: n.took, Doubts: n.doubts}
		if !selected || n.hold != nil && n.state != Failed {
			continue
		}
		c := &out.Counts
		c.Total++
		switch {
		case n.state == Failed:
			c.Failed++
		case n.state == Skipped:
			c.Skipped++
		case n.state.Settled() && r.executed[i]:
			c.Executed++
		case n.state == Hit:
			c.Reused++
		}
	}
}

func (r *run) notify(ev Event) {
	if r.o.Notify == nil {
		return
	}
	ev.Time = r.e.Now()
	if ev.Node >= 0 {
		ev.Name = r.plan.Nodes[ev.Node].Name
	}
	r.o.Notify(ev)
}

// doubt tells a warning, of a node or (with -1) of the run.
func (r *run) doubt(id pipelines.NodeID, text string) {
	name := ""
	if id >= 0 {
		name = r.plan.Nodes[id].Name
		r.nodes[id].doubts = append(r.nodes[id].doubts, text)
	} else {
		r.warnings = append(r.warnings, text)
	}
	r.j.Add(journal.Entry{Time: r.e.Now(), Event: journal.Doubt, Node: name, Text: text})
	r.notify(Event{Kind: Doubted, Node: id, Text: text})
}
