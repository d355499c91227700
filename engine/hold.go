package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"pipeline/engine/journal"
	"pipeline/engine/store"
	"pipeline/pipelines"
	"pipeline/steps"
)

// A hold is the state of a Hold node. It is opened when the first node wired
// to it has to run, and closed when the last has settled, whatever came of it.
type hold struct {
	phase      holdPhase
	armed      bool // its parameters are known: those below may go on
	dependents int  // edges to nodes that have not settled
	waiters    []pipelines.NodeID
	lease      string
	live       steps.Live
	locks      []*store.Lock // slots that other processes respect
	dir        string        // its scratch
	letGo      context.CancelCauseFunc
}

type holdPhase int

const (
	holdClosed  holdPhase = iota // nobody has needed it yet
	holdWanted                   // it waits for Holds of its own, or for a slot
	holdOpening                  // Open or, after a failed one, Close is running
	holdOpen
	holdClosing
	holdOver   // closed for good
	holdBroken // it could not be opened
)

// An opening is what came of Open, and of the Close that follows a failed one.
type opening struct {
	live     steps.Live
	locks    []*store.Lock
	err      error
	closeErr error
	doubts   []string
	took     time.Duration
	touched  bool // Open was called
	letGo    context.CancelCauseFunc
}

// A closing is what came of Close.
type closing struct{ err error }

// arm lets those below a Hold go on: its part of their keys is known.
func (r *run) arm(id pipelines.NodeID) {
	s := &r.nodes[id]
	s.hold.armed = true
	s.gives = given{known: true, hold: s.key.Manifest()}
	s.same = r.fc.gives[id].known && s.gives.same(&r.fc.gives[id])
	for _, c := range r.dataChildren(id) {
		r.countOff(c)
	}
	if s.hold.dependents == 0 {
		s.hold.phase = holdOver
		r.settle(id, Idle)
	}
}

// dataChildren returns, once an edge, the nodes that are wired to id.
func (r *run) dataChildren(id pipelines.NodeID) []pipelines.NodeID {
	var out []pipelines.NodeID
	for i, c := range r.children[id] {
		if i > 0 && r.children[id][i-1] == c {
			continue // all edges of c are counted at its first
		}
		for _, d := range r.plan.Nodes[c].Deps {
			if d.From == id {
				out = append(out, c)
			}
		}
	}
	return out
}

// releaseOrdered counts a settled Hold off for the nodes that come after it
// without being wired to it.
func (r *run) releaseOrdered(id pipelines.NodeID) {
	for i, c := range r.children[id] {
		if i > 0 && r.children[id][i-1] == c {
			continue
		}
		for _, a := range r.plan.Nodes[c].After {
			if a == id {
				r.countOff(c)
			}
		}
	}
}

// holdLeft notes that one edge to a node below a Hold has settled.
func (r *run) holdLeft(id pipelines.NodeID) {
	s := &r.nodes[id]
	if s.hold.dependents--; s.hold.dependents > 0 || !s.hold.armed || s.state.Settled() {
		return
	}
	switch s.hold.phase {
	case holdOpen:
		r.closeHold(id)
	case holdClosed, holdWanted:
		s.hold.phase = holdOver
		r.settle(id, Idle)
	}
}

// openHold journals the lease, and then opens the Hold elsewhere. Its pool
// slots are taken.
func (r *run) openHold(id pipelines.NodeID) {
	n, s := &r.plan.Nodes[id], &r.nodes[id]
	s.tries++
	s.reason = Needed
	h := s.hold
	h.phase = holdOpening
	h.lease = fmt.Sprintf("%s-%d-%d", r.id, id, s.tries)
	params, err := json.Marshal(n.Params)
	if err == nil {
		r.j.Add(journal.Entry{Time: r.e.Now(), Event: journal.Lease, Node: n.Name, Kind: n.Kind.Name,
			Lease: h.lease, Params: params})
		err = r.j.Sync()
	}
	if err != nil {
		r.halt("the journal cannot be written", err)
		r.breakHold(id, err)
		return
	}
	s.state = Running
	r.notify(Event{Kind: NodeState, Node: id, State: Running, Reason: Needed, Attempt: s.tries})
	r.notify(Event{Kind: Leased, Node: id, Text: h.lease})
	r.busy++
	t := r.newTry(id)
	if phases := t.phases(); len(phases) == 1 {
		r.phased(id, phases[0].String())
	}
	h.dir = t.dir
	go t.open(h.lease)
}

func (r *run) holdOpened(id pipelines.NodeID, o *opening) {
	n, s := &r.plan.Nodes[id], &r.nodes[id]
	h := s.hold
	s.took = o.took
	for _, d := range o.doubts {
		r.doubt(id, d)
	}
	if o.err == nil {
		h.phase, h.live, h.locks, h.letGo = holdOpen, o.live, o.locks, o.letGo
		r.j.Add(journal.Entry{Time: r.e.Now(), Event: journal.Opened, Node: n.Name, Lease: h.lease, Took: o.took})
		waiters := h.waiters
		h.waiters = nil
		for _, w := range waiters {
			if r.nodes[w].holds--; r.nodes[w].holds == 0 {
				r.launch(w)
			}
		}
		if h.dependents == 0 {
			r.closeHold(id)
		}
		return
	}
	unlockAll(o.locks)
	r.noteRelease(id, o.closeErr)
	if s.tries <= n.Retry.Max && !r.stopping() && o.closeErr == nil && !isPermanent(o.err) {
		r.giveBack(id)
		h.phase = holdWanted
		r.retry(id, &result{err: o.err})
		s.gives = given{known: true, hold: s.key.Manifest()}
		return
	}
	r.breakHold(id, o.err)
}

// breakHold settles a Hold that could not be opened, and all that wait for it.
func (r *run) breakHold(id pipelines.NodeID, err error) {
	s := &r.nodes[id]
	s.hold.phase = holdBroken
	s.err = fmt.Errorf("open: %w", err)
	waiters := s.hold.waiters
	s.hold.waiters = nil
	r.giveBack(id)
	r.settle(id, Failed)
	for _, w := range waiters {
		if !r.nodes[w].state.Settled() {
			r.skipHold(w, id)
		}
	}
}

// noteRelease journals that a lease was let go of, or warns that it was not.
func (r *run) noteRelease(id pipelines.NodeID, err error) {
	n, h := &r.plan.Nodes[id], r.nodes[id].hold
	if err != nil {
		r.leaked = true
		r.doubt(id, fmt.Sprintf("lease %s could not be released: %v; the next run tries again", h.lease, err))
		return
	}
	r.j.Add(journal.Entry{Time: r.e.Now(), Event: journal.Released, Node: n.Name, Kind: n.Kind.Name, Lease: h.lease})
	r.notify(Event{Kind: Released, Node: id, Text: h.lease})
}

// closeHold lets go of a Hold elsewhere, with a context of its own: being
// interrupted is no reason to leave things lying about.
func (r *run) closeHold(id pipelines.NodeID) {
	n, h := &r.plan.Nodes[id], r.nodes[id].hold
	h.phase = holdClosing
	r.busy++
	msgs, lease, dir, letGo, limit := r.msgs, h.lease, h.dir, h.letGo, orElse(r.e.CloseLimit, 2*time.Minute)
	holder := n.Params.(steps.Holder)
	go func() {
		err := closeHolder(holder, lease, limit)
		letGo(nil)
		os.RemoveAll(dir) // what is left of it is collected as garbage later
		msgs <- message{id: id, closed: &closing{err}}
	}()
}

// closeHolder calls Close, and does not wait for it longer than limit.
func closeHolder(h steps.Holder, lease string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("close: panic: %v", p)
			}
		}()
		done <- h.Close(ctx, lease)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("close: it took longer than %s", limit)
	}
}

func (r *run) holdClosed(id pipelines.NodeID, c *closing) {
	s := &r.nodes[id]
	s.hold.phase = holdOver
	unlockAll(s.hold.locks)
	s.hold.locks = nil
	r.noteRelease(id, c.err)
	r.giveBack(id)
	if c.err != nil {
		s.err = c.err
		r.settle(id, Failed)
		return
	}
	r.settle(id, Done)
}

// closeAll closes what is open although something below it will never settle:
// the run is being stopped, or is stuck.
func (r *run) closeAll() (some bool) {
	for i := range r.nodes {
		if h := r.nodes[i].hold; h != nil && h.phase == holdOpen {
			r.closeHold(pipelines.NodeID(i))
			some = true
		}
	}
	return some
}

func unlockAll(locks []*store.Lock) {
	for _, l := range locks {
		l.Unlock()
	}
}
