package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"pipeline/engine/journal"
	"pipeline/engine/store"
	"pipeline/pipelines"
	"pipeline/steps"
)

// tried takes in the result of a try.
func (r *run) tried(id pipelines.NodeID, res *result) {
	n, s := &r.plan.Nodes[id], &r.nodes[id]
	s.took = res.took
	entry := journal.Entry{Time: r.e.Now(), Event: journal.Tried, Node: n.Name, Number: s.tries, Took: res.took,
		Text: textOf(res.err), State: Done.String()}
	if res.rec != nil {
		entry.Record, entry.State = res.rec.ID, string(res.rec.Status)
	} else if res.err != nil {
		entry.State = Failed.String()
	}
	r.j.Add(entry)
	if res.notLanded {
		s.reason = NotLanded
	}
	r.giveBack(id)
	var blob *store.BlobError
	switch {
	case res.storeErr != nil:
		r.halt("the store cannot be written", res.storeErr)
		r.fail(id, res.storeErr)
	case errors.As(res.err, &blob) && res.lostInput:
		r.lose(id, blob, res.err)
	case res.err == nil:
		r.succeeded(id, res)
	case r.retries(n, s, res):
		r.retry(id, res)
	default:
		r.failedTry(id, res)
	}
}

// lose notes that a blob of an input was set aside.
func (r *run) lose(id pipelines.NodeID, blob *store.BlobError, err error) {
	maps.DeleteFunc(r.made, func(_ store.Key, rec *store.Record) bool {
		return slices.ContainsFunc(rec.Artifacts, func(a steps.Artifact) bool { return a.Digest == blob.Digest })
	})
	if r.lost == nil {
		r.lost = make(map[pipelines.NodeID]bool)
	}
	r.lost[id] = true
	// Of the run: the node's own doubts are forgotten when the plan starts over.
	r.doubt(-1, r.plan.Nodes[id].Name+": "+err.Error()+"; what wrote it runs again")
	r.fail(id, err)
}

func (r *run) succeeded(id pipelines.NodeID, res *result) {
	n, s := &r.plan.Nodes[id], &r.nodes[id]
	if res.reused {
		s.reason = None
		r.hit(id, res.rec)
		return
	}
	s.rec, s.gives = res.rec, givenOf(res.rec)
	r.made[s.key] = res.rec
	last := r.fc.gives[id]
	if n.Kind.Effect == steps.Observe && s.reason == LooksAgain && last.known && s.gives.same(&last) {
		r.settle(id, Hit) // it saw what the last one saw
		return
	}
	r.executed[id] = true
	r.settle(id, Done)
}

func (r *run) retries(n *pipelines.Node, s *node, res *result) bool {
	return s.tries <= n.Retry.Max && !res.final && !isPermanent(res.err) && !r.stopping()
}

func (r *run) retry(id pipelines.NodeID, res *result) {
	n, s := &r.plan.Nodes[id], &r.nodes[id]
	s.doubts = nil // they stay with the record of that try
	const most = 5 * time.Minute
	pause := n.Retry.Backoff
	for range s.tries - 1 {
		if pause = 2 * pause; pause > most {
			break
		}
	}
	pause = min(pause, most)
	s.state, s.err = Waiting, res.err
	s.gives = given{known: true, gap: "failed", why: res.err.Error()}
	if res.rec != nil {
		s.rec, s.gives = res.rec, givenOf(res.rec)
	}
	r.notify(Event{Kind: Retrying, Node: id, Attempt: s.tries, Text: res.err.Error(), Took: pause})
	r.busy++
	msgs, waits := r.msgs, r.waits
	timer := time.NewTimer(pause)
	go func() {
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-waits.Done():
		}
		msgs <- message{id: id, again: true}
	}()
}

// failedTry settles a node whose last try gave no answer.
func (r *run) failedTry(id pipelines.NodeID, res *result) {
	s := &r.nodes[id]
	if errors.Is(res.err, steps.ErrUnreachable) && r.lastServes(id) {
		rec := r.fc.Nodes[id].Record
		r.doubt(id, fmt.Sprintf("could not look again (%v); what was seen %s ago serves, as nothing new is measured",
			res.err, r.fc.At.Sub(rec.Began).Round(time.Second)))
		s.reason = None
		r.hit(id, rec)
		return
	}
	s.err = res.err
	if res.rec == nil {
		r.fail(id, res.err)
		return
	}
	to := Failed
	if res.rec.Status == store.Partial {
		r.executed[id] = true
		to = Partial
	}
	s.rec, s.gives = res.rec, givenOf(res.rec)
	r.spent[id] = spent{s.key, res.rec, res.err, to, s.doubts}
	r.settle(id, to)
}

// lastServes reports whether an observation that saw nothing can be replaced
// by the last one: it was a hit but for looking again, and all that is measured
// below is a hit under it.
func (r *run) lastServes(id pipelines.NodeID) bool {
	p := &r.fc.Nodes[id]
	if p.Reason != LooksAgain || p.Record == nil || r.nodes[id].key != p.Key || r.stopping() {
		return false
	}
	below := make([]bool, len(r.nodes))
	below[id] = true
	for i := int(id) + 1; i < len(r.nodes); i++ {
		n := &r.plan.Nodes[i]
		for _, d := range n.Deps {
			below[i] = below[i] || below[d.From]
		}
		v := r.fc.Nodes[i].Verdict
		if below[i] && n.Kind.Effect == steps.Measure && (v == WillRun || v == Unknown) {
			return false
		}
	}
	return true
}
