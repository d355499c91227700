package cellrun

import (
	"context"
	"fmt"
	"sync"
	"time"

	"pipeline/internal/prom"
)

// A watch ends a load in which nothing moves any more. What moves is a request
// that ends, content that arrives, and the server's counts of tokens.
type watch struct {
	limit time.Duration // longest that nothing may move; 0 is no limit
	blind time.Duration // added while the server does not tell its counts
	cut   context.CancelCauseFunc

	mu      sync.Mutex
	last    time.Time     // something moved
	lenient time.Duration // in place of the limit, for phases of a tool in which nothing need move; 0 is none
	done    int
	pulse   prom.Pulse
	quit    chan struct{}
}

// A stalled is the cause of a load that a watch ended.
type stalled struct {
	limit time.Duration
	told  bool // the server's counts were looked at too
}

func (e *stalled) Error() string {
	what := "no request ended and no token came"
	if e.told {
		what += ", by the server's counters as well"
	}
	return fmt.Sprintf("stalled: %s for %s; raise stall_timeout if the server may take that long", what, e.limit)
}

// newWatch returns the watch of a load that ctx is of.
func newWatch(ctx context.Context, limit time.Duration) (*watch, context.Context) {
	w := &watch{limit: limit}
	ctx, w.cut = context.WithCancelCause(ctx)
	return w, ctx
}

// begin starts the watch: the load is on.
func (w *watch) begin() {
	w.moved()
	if w.limit <= 0 {
		return
	}
	w.quit = make(chan struct{})
	go w.look()
}

// end stops the watch; it may not have begun.
func (w *watch) end() {
	if w.quit != nil {
		close(w.quit)
	}
	w.cut(nil)
}

func (w *watch) look() {
	tick := time.NewTicker(max(time.Millisecond, min(w.limit/4, time.Second)))
	defer tick.Stop()
	for {
		select {
		case <-w.quit:
			return
		case now := <-tick.C:
			if err := w.late(now); err != nil {
				w.cut(err)
				return
			}
		}
	}
}

func (w *watch) late(now time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	limit := w.limit
	if !w.pulse.Known {
		limit += w.blind
	}
	if w.lenient > 0 {
		limit = w.lenient
	}
	if now.Sub(w.last) <= limit {
		return nil
	}
	return &stalled{limit, w.pulse.Known}
}

// moved says that something moves.
func (w *watch) moved() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = time.Now()
}

// said takes that a tool says something: that it works, if nothing else need
// move now.
func (w *watch) said() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lenient > 0 {
		w.last = time.Now()
	}
}

// ended says how many requests have ended so far.
func (w *watch) ended(done int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if done != w.done {
		w.done, w.last = done, time.Now()
	}
}

// allow gives a phase of a tool another limit; 0 is the usual one.
func (w *watch) allow(limit time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lenient, w.last = limit, time.Now()
}

// scraped takes what the server tells of itself.
func (w *watch) scraped(p prom.Pulse) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.Tokens != w.pulse.Tokens {
		w.last = time.Now()
	}
	w.pulse = p
}

// waitingNow is how many requests wait in the server's queue, -1 if it does not tell.
func (w *watch) waitingNow() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.pulse.Known {
		return -1
	}
	return int(w.pulse.Waiting)
}
