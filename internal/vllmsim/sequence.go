package vllmsim

import (
	"strings"
	"sync"
	"time"
)

// An instant is a time since the server started, on its monotonic clock.
type instant = time.Duration

// A sequence is one request in the engine. After submission only the engine
// touches it, except for its outlet.
type sequence struct {
	// What the request asks for.
	tokens    []int32 // prompt, then answer
	promptLen int
	maxTokens int // of the answer
	minTokens int
	ends      int    // natural length of the answer; 0: none
	answer    uint64 // seed of the answer
	stops     []string
	stopIDs   []int32
	arrival   instant
	out       *outlet

	// Where the engine is with it.
	hashes    []uint64 // of full blocks, as far as known
	published int      // blocks published to the prefix cache
	blocks    []int32
	computed  int // tokens in the KV cache
	cached    int // prompt tokens that were found there
	admitted  bool
	gone      bool // finished, aborted or lost; not in the scheduler

	// Its times, for the metrics.
	scheduled, firstToken, previous instant

	text []byte // answer so far, kept only to find stop strings
}

// A finish says why an answer ended; "" while it goes on.
type finish string

const (
	finishStop   finish = "stop"
	finishLength finish = "length"
	finishAbort  finish = "abort"
)

// An emission is one token on its way to the client.
type emission struct {
	due    instant
	token  int32
	finish finish
	// stopped is the stop string or token that ended the answer, and cut how
	// many bytes of this token's text it removes.
	stopped   string
	stoppedID int32 // -1: none
	cut       int
}

// generatedLen is the length of the answer so far.
func (s *sequence) generatedLen() int { return len(s.tokens) - s.promptLen }

// sample appends the next token of the answer and decides whether it ends.
func (s *sequence) sample(due instant) emission {
	position := s.generatedLen()
	e := emission{due: due, token: generated(s.answer, position), stoppedID: -1}
	s.tokens = append(s.tokens, e.token)
	if position == 0 {
		s.firstToken = due
	}
	count := position + 1
	if count >= s.minTokens {
		s.checkStops(&e)
	}
	switch {
	case e.finish != "":
	case s.ends > 0 && count >= max(s.ends, s.minTokens):
		e.finish = finishStop
	case count >= s.maxTokens:
		e.finish = finishLength
	}
	return e
}

// checkStops ends the answer at a stop token or string. A string is cut from
// the token that completes it; what earlier tokens sent of it stays sent.
func (s *sequence) checkStops(e *emission) {
	for _, id := range s.stopIDs {
		if id == e.token {
			e.finish, e.stoppedID = finishStop, id
			return
		}
	}
	if len(s.stops) == 0 {
		return
	}
	before := len(s.text)
	s.text = appendText(s.text, e.token)
	for _, stop := range s.stops {
		from := max(0, before-len(stop)+1)
		if i := strings.Index(string(s.text[from:]), stop); i >= 0 {
			e.finish, e.stopped = finishStop, stop
			e.cut = len(s.text) - max(before, from+i)
			return
		}
	}
}

// An outlet carries a sequence's tokens from the engine to its handler. The
// engine never waits for a slow client: what is not taken stays pending.
type outlet struct {
	mu      sync.Mutex
	pending []emission
	cached  int
	dead    bool          // the engine died
	ready   func()        // called when there is something to take, if set
	wake    chan struct{} // else this is signalled
}

func newOutlet() *outlet { return &outlet{wake: make(chan struct{}, 1)} }

func (o *outlet) push(e emission, cached int) {
	o.mu.Lock()
	o.pending = append(o.pending, e)
	o.cached = cached
	ready := o.ready
	o.mu.Unlock()
	o.signal(ready)
}

// kill tells the handler that no more will come.
func (o *outlet) kill() {
	o.mu.Lock()
	o.dead = true
	ready := o.ready
	o.mu.Unlock()
	o.signal(ready)
}

// notify has ready called for what is pending and for what comes. It must not
// block.
func (o *outlet) notify(ready func()) {
	o.mu.Lock()
	o.ready = ready
	o.mu.Unlock()
	ready()
}

func (o *outlet) signal(ready func()) {
	if ready != nil {
		ready()
		return
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take returns what is pending and keeps buf for what comes next; the two
// buffers of a stream change places and nothing is allocated for a token.
func (o *outlet) take(buf []emission) (pending []emission, cached int, dead bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	pending, o.pending = o.pending, buf[:0]
	return pending, o.cached, o.dead
}
