package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"pipeline/engine/journal"
	"pipeline/engine/store"
	"pipeline/pipelines"
	"pipeline/steps"
)

// A message is what other goroutines send to the loop.
type message struct {
	id       pipelines.NodeID
	progress *steps.Progress
	doubt    string
	phase    string  // that a node is in now
	result   *result // of a try; ends one busy
	opened   *opening
	closed   *closing
	again    bool // the pause before a retry is over; ends one busy
}

// loop starts what can start, waits for one message, and goes round again.
// Every decision of a run is made here or in what this calls.
//
// A node is decided when all upstream nodes have settled: it is skipped, or a
// hit, or it has to run. To run it needs its Holds open, no other node that is
// finding the same answer, and a slot of each of its pools, in this order. A
// Hold counts as settled for those below it as soon as its parameters are
// known; it settles for itself when the last of them has.
func (r *run) loop(ctx context.Context) {
	interrupt, done := r.o.Interrupt, ctx.Done()
	for {
		for r.ready.Len() > 0 && !r.stopping() {
			r.decide(r.ready.pop())
		}
		if err := r.flush(); err != nil {
			r.halt("the journal cannot be written", err)
		}
		if r.busy == 0 {
			if r.settled == len(r.nodes) {
				return
			}
			if !r.stopping() {
				r.deadlock()
			}
			if !r.closeAll() {
				return
			}
		}
		select {
		case m := <-r.msgs:
			r.receive(m)
		case _, open := <-interrupt:
			if !open {
				interrupt = nil
			}
			if !r.stopping() {
				r.halt("interrupted", nil)
			} else {
				r.cancel(errInterrupted)
			}
		case <-done:
			done = nil
			r.halt("interrupted", nil)
			r.cancel(errInterrupted)
		}
	}
}

var errInterrupted = errors.New("interrupted")

func (r *run) stopping() bool { return r.stop != "" }

// halt sees to it that nothing more is started.
func (r *run) halt(why string, err error) {
	if r.stopping() {
		return
	}
	r.stop, r.stopErr = why, err
	r.stopWait()
	r.notify(Event{Kind: Stopping, Node: -1, Text: why})
}

// flush hands the journal to the kernel when a step is about to run or to be
// waited for. A run of nothing but hits is written once, at its end.
func (r *run) flush() error {
	if r.busy == 0 {
		return nil
	}
	return r.j.Flush()
}

func (r *run) receive(m message) {
	switch {
	case m.progress != nil:
		r.notify(Event{Kind: Progressed, Node: m.id, State: Running, Progress: m.progress})
	case m.doubt != "":
		r.doubt(m.id, m.doubt)
	case m.phase != "":
		r.phased(m.id, m.phase)
	case m.result != nil:
		r.busy--
		r.tried(m.id, m.result)
	case m.opened != nil:
		r.busy--
		r.holdOpened(m.id, m.opened)
	case m.closed != nil:
		r.busy--
		r.holdClosed(m.id, m.closed)
	case m.again:
		r.busy--
		switch {
		case r.nodes[m.id].state.Settled(): // a Hold that nobody needs any more
		case r.stopping():
			r.settle(m.id, Failed)
		default:
			r.launch(m.id)
		}
	}
}

// phased notes that a node has come to a phase of the spec.
func (r *run) phased(id pipelines.NodeID, phase string) {
	r.j.Add(journal.Entry{Time: r.e.Now(), Event: journal.Phase, Node: r.plan.Nodes[id].Name, Text: phase})
	r.notify(Event{Kind: Phased, Node: id, State: Running, Text: phase})
}

func (r *run) give(id pipelines.NodeID) *given { return &r.nodes[id].gives }

// decide finds out what becomes of a node whose upstream nodes have settled.
func (r *run) decide(id pipelines.NodeID) {
	n, s, p := &r.plan.Nodes[id], &r.nodes[id], &r.fc.Nodes[id]
	if !r.fc.sel.in[id] {
		r.leave(id)
		return
	}
	asForecast := !p.Key.IsZero()
	for _, d := range n.Deps {
		asForecast = asForecast && r.nodes[d.From].same
	}
	if asForecast && p.Verdict == WillHit && r.unlanded(n) == nil {
		s.key = p.Key
		r.hit(id, p.Record)
		return
	}
	in := r.fc.keys.feeds(n, r.give)
	if _, blocked := survey(n, in); blocked != nil {
		r.skip(id, blocked.edge.From, blocked.given)
		return
	}
	text, err := r.fc.keys.manifest(n, in)
	if err != nil {
		r.fail(id, err)
		return
	}
	s.key = keyOf(text)
	if s.hold != nil {
		r.arm(id)
		return
	}
	if old, ok := r.spent[id]; ok && old.key == s.key {
		s.rec, s.gives, s.err, s.doubts = old.rec, givenOf(old.rec), old.err, old.doubts
		r.settle(id, old.state)
		return
	}
	rec, reason := r.answer(n, s.key, p, asForecast, in)
	if rec != nil && r.unlanded(n) == nil {
		r.hit(id, rec)
		return
	}
	s.reason, s.rec = reason, rec
	r.want(id)
}

// answer returns the record that serves n, or why it has to run.
func (r *run) answer(n *pipelines.Node, key store.Key, p *Prospect, asForecast bool, in []feed) (*store.Record, Reason) {
	if rec := r.made[key]; rec != nil {
		return rec, None
	}
	if r.fc.sel.forced(n) && !r.executed[n.ID] {
		return nil, Forced
	}
	if asForecast && p.Verdict == WillRun && !r.executed[n.ID] {
		return nil, p.Reason
	}
	rec, reason, _ := r.e.lookup(n, key, r.fc.At, in)
	switch {
	case reason == Aged:
		return nil, Aged
	case rec == nil && reason == New && !asForecast && r.e.Store.OfNode(n.Name) != nil:
		return nil, InputsChanged
	case rec != nil && n.Kind.Effect == steps.Observe && !r.executed[n.ID] && !fixed(n):
		return nil, LooksAgain
	}
	return rec, reason
}

// unlanded returns the step if it is one that has to be asked whether what it
// published is still there.
func (r *run) unlanded(n *pipelines.Node) steps.Landed {
	if r.executed[n.ID] || n.Kind.Effect != steps.Publish {
		return nil
	}
	l, _ := n.Params.(steps.Landed)
	return l
}

// leave settles a node that the run is not about.
func (r *run) leave(id pipelines.NodeID) {
	s, p := &r.nodes[id], &r.fc.Nodes[id]
	s.key, s.rec, s.gives, s.same = p.Key, p.Record, r.fc.gives[id], true
	if p.Record != nil {
		s.state = Hit
	} else {
		s.state = Idle
	}
	r.release(id)
}

func (r *run) hit(id pipelines.NodeID, rec *store.Record) {
	s := &r.nodes[id]
	s.rec, s.gives = rec, givenOf(rec)
	s.doubts = append(s.doubts, rec.Doubts...)
	s.took = rec.Took
	r.settle(id, Hit)
}

// skipGiven is what is below a gap that is not taken.
func skipGiven(up *pipelines.Node, g *given) given {
	if g.gap == "skipped" { // the root cause stays the same all the way down
		return given{known: true, gap: "skipped", why: g.why}
	}
	return given{known: true, gap: "skipped", why: "needs " + up.Name + ", which " + gapVerb(g.gap)}
}

func gapVerb(class string) string {
	if class == string(store.Partial) {
		return "gave only a part"
	}
	return class
}

func (r *run) skip(id, from pipelines.NodeID, g *given) {
	s := &r.nodes[id]
	s.gives = skipGiven(&r.plan.Nodes[from], g)
	root := r.nodes[from].err
	var sk *SkipError
	if root == nil {
		root = errors.New(g.why)
	}
	if !errors.As(root, &sk) {
		sk = &SkipError{Root: r.plan.Nodes[from].Name, Err: root}
	}
	s.err = sk
	r.settle(id, Skipped)
}

// A SkipError says that a node could not run because of another.
type SkipError struct {
	Root string // the node that failed
	Err  error  // how
}

func (e *SkipError) Error() string { return fmt.Sprintf("needs %s, which failed: %v", e.Root, e.Err) }
func (e *SkipError) Unwrap() error { return e.Err }

func (r *run) fail(id pipelines.NodeID, err error) {
	s := &r.nodes[id]
	s.err = err
	if !s.gives.known || s.gives.gap == "" {
		s.gives = given{known: true, gap: "failed", why: err.Error(), hold: s.gives.hold}
	}
	r.settle(id, Failed)
}

// want makes a node run as soon as it can: its Holds first, then the question
// whether another node is finding the same answer, then the pools.
func (r *run) want(id pipelines.NodeID) {
	n, s := &r.plan.Nodes[id], &r.nodes[id]
	if rec := r.made[s.key]; rec != nil && s.hold == nil {
		r.hit(id, rec)
		return
	}
	if leader, ok := r.asking[s.key]; ok && leader != id && s.hold == nil {
		r.nodes[leader].followers = append(r.nodes[leader].followers, id)
		return
	}
	s.holds = 0
	for _, d := range n.Deps {
		h := r.nodes[d.From].hold
		if h == nil || h.phase == holdOpen {
			continue
		}
		if h.phase == holdBroken {
			r.skipHold(id, d.From)
			return
		}
		s.holds++
		h.waiters = append(h.waiters, id)
	}
	if s.hold == nil {
		r.asking[s.key] = id
	}
	if s.holds == 0 {
		r.launch(id)
		return
	}
	for _, d := range n.Deps {
		if h := r.nodes[d.From].hold; h != nil && h.phase == holdClosed {
			h.phase = holdWanted
			r.want(d.From)
		}
	}
}

func (r *run) skipHold(id, holdID pipelines.NodeID) {
	h := &r.nodes[holdID]
	r.skip(id, holdID, &given{gap: "failed", why: textOf(h.err)})
}

// launch starts a try of a node if there are slots for it.
func (r *run) launch(id pipelines.NodeID) {
	if r.nodes[id].state.Settled() || r.stopping() || !r.take(id) {
		return
	}
	if r.nodes[id].hold != nil {
		r.openHold(id)
		return
	}
	n, s := &r.plan.Nodes[id], &r.nodes[id]
	s.tries++
	s.state = Running
	r.j.Add(journal.Entry{Time: r.e.Now(), Event: journal.Attempt, Node: n.Name, Key: s.key.String(),
		Kind: n.Kind.Name, Number: s.tries, Reason: string(s.reason)})
	if err := r.j.Flush(); err != nil { // the try must be known before the world is touched
		r.giveBack(id)
		r.halt("the journal cannot be written", err)
		r.fail(id, err)
		return
	}
	r.notify(Event{Kind: NodeState, Node: id, State: Running, Reason: s.reason, Attempt: s.tries})
	r.busy++
	t := r.newTry(id)
	go t.run()
}

// settle gives a node its last state and tells those below.
func (r *run) settle(id pipelines.NodeID, to State) {
	n, s := &r.plan.Nodes[id], &r.nodes[id]
	s.state = to
	if to == Hit || to == Done {
		s.err = nil
	}
	expect := &r.fc.gives[id]
	s.same = expect.known && s.gives.same(expect)
	entry := journal.Entry{Time: r.e.Now(), Event: journal.State, Node: n.Name, State: to.String(),
		Reason: string(s.reason), Text: textOf(s.err)}
	if !s.key.IsZero() {
		entry.Key = s.key.String()
	}
	if s.rec != nil {
		entry.Record = s.rec.ID
	}
	if to != Hit {
		entry.Took = s.took
	}
	r.j.Add(entry)
	r.notify(Event{Kind: NodeState, Node: id, State: to, Reason: s.reason, Text: textOf(s.err), Took: s.took, Attempt: s.tries})
	if r.asking[s.key] == id {
		delete(r.asking, s.key)
	}
	followers := s.followers
	s.followers = nil
	r.release(id)
	for _, f := range followers {
		if !r.stopping() {
			r.want(f)
		}
	}
}

// release counts a settled node off for those that wait for it.
func (r *run) release(id pipelines.NodeID) {
	n, s := &r.plan.Nodes[id], &r.nodes[id]
	r.settled++
	if s.hold == nil || !s.hold.armed {
		for _, c := range r.children[id] {
			r.countOff(c)
		}
	} else {
		r.releaseOrdered(id)
	}
	for _, d := range n.Deps {
		if r.nodes[d.From].hold != nil {
			r.holdLeft(d.From)
		}
	}
}

func (r *run) countOff(id pipelines.NodeID) {
	if r.nodes[id].waitsFor--; r.nodes[id].waitsFor == 0 {
		r.ready.push(id)
	}
}

// deadlock says who waits for what. It cannot happen but by a fault of the
// plan's pools, such as a Hold that sits on the slot its dependents need.
func (r *run) deadlock() {
	var b strings.Builder
	shown := 0
	for i := range r.nodes {
		s := &r.nodes[i]
		if s.state.Settled() || shown == 20 {
			continue
		}
		shown++
		fmt.Fprintf(&b, "\n  %s (%s)", r.plan.Nodes[i].Name, s.state)
		for _, d := range r.plan.Nodes[i].Deps {
			if !r.nodes[d.From].state.Settled() {
				fmt.Fprintf(&b, " waits for %s;", r.plan.Nodes[d.From].Name)
			}
		}
		for _, name := range poolNames(&r.plan.Nodes[i]) {
			if p := r.pools[name]; p != nil && p.used >= p.depth {
				fmt.Fprintf(&b, " pool %q is full (%d of %d);", name, p.used, p.depth)
			}
		}
	}
	r.halt("deadlock", fmt.Errorf("%w: nothing runs and nothing can start, but %d nodes have not settled:%s",
		ErrDeadlock, len(r.nodes)-r.settled, b.String()))
}
