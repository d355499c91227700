package vllmsim

import (
	"sync"
	"time"
)

// An engine owns all scheduling state. One goroutine runs it; handlers speak
// to it through the inbox, and it speaks to them through outlets.
type engine struct {
	sched   *scheduler
	pricing pricing
	metrics *metrics
	log     *logger
	inbox   inbox
	born    time.Time
	quit    chan struct{}
	stopped chan struct{}

	parts []part // of the step under way; reused
	step  Step
}

// An inbox holds what handlers ask of the engine until the next step.
type inbox struct {
	mu    sync.Mutex
	adds  []*sequence
	calls []func(*engine)
	dead  bool
	wake  chan struct{}
}

// submit hands a sequence to the engine; false if the engine is dead.
func (e *engine) submit(seq *sequence) bool {
	e.inbox.mu.Lock()
	defer e.inbox.mu.Unlock()
	if e.inbox.dead {
		return false
	}
	// Stamped under the lock, so that the queue is in order of arrival.
	seq.arrival = e.now()
	e.inbox.adds = append(e.inbox.adds, seq)
	e.inbox.signal()
	return true
}

// do runs f on the engine's goroutine at the next step boundary.
func (e *engine) do(f func(*engine)) {
	e.inbox.mu.Lock()
	defer e.inbox.mu.Unlock()
	e.inbox.calls = append(e.inbox.calls, f)
	e.inbox.signal()
}

func (in *inbox) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// alive is false after a crash.
func (e *engine) alive() bool {
	e.inbox.mu.Lock()
	defer e.inbox.mu.Unlock()
	return !e.inbox.dead
}

func (e *engine) now() instant { return time.Since(e.born) }

// run is the loop of the engine's goroutine. free is when the GPUs are free:
// a step starts then, and not when the machine got round to it, so that late
// sleeps do not add up.
func (e *engine) run() {
	defer close(e.stopped)
	free := instant(0)
	for {
		e.drain()
		if !e.sched.busy() {
			e.metrics.idle(e.sched)
			select {
			case <-e.quit:
				return
			case <-e.inbox.wake:
			}
			free = max(free, e.now())
			continue
		}
		if !e.begin(free) {
			free = e.sched.waiting[0].arrival
			continue
		}
		if !sleepUntil(e.born.Add(e.step.Due), e.quit) {
			return
		}
		free = e.step.Due
		e.end(e.now() - free)
	}
}

// drain takes what handlers asked for.
func (e *engine) drain() {
	e.inbox.mu.Lock()
	adds, calls := e.inbox.adds, e.inbox.calls
	e.inbox.adds, e.inbox.calls = nil, nil
	e.inbox.mu.Unlock()
	for _, seq := range adds {
		e.sched.add(seq)
	}
	for _, call := range calls {
		call(e)
	}
}

// begin plans and prices a step that starts at start; false if no sequence
// has arrived by then.
func (e *engine) begin(start instant) bool {
	e.parts = e.sched.plan(start, e.parts[:0])
	if len(e.parts) == 0 {
		return false
	}
	e.step = e.pricing.price(e.parts, start)
	e.metrics.began(e.step)
	return true
}

// end hands out the tokens of the step under way, which ended late by lag.
func (e *engine) end(lag time.Duration) {
	e.metrics.mu.Lock()
	defer e.metrics.mu.Unlock()
	e.sched.finish(e.parts, e.step.Due, e.emit)
	e.metrics.observeStep(e.step, e.sched, lag)
	e.metrics.done, e.metrics.underWay = e.metrics.done.plus(e.pricing.work(e.step, 1)), Step{}
	e.log.stats(e.step.Due, &e.metrics.totals)
}

// emit counts a token and hands it to the stream.
func (e *engine) emit(seq *sequence, em emission) {
	e.metrics.observeToken(seq, em)
	seq.out.push(em, seq.cached)
}

// abort takes a sequence out at the next step boundary.
func (e *engine) abort(seq *sequence) {
	e.do(func(e *engine) {
		if !seq.gone {
			e.sched.abort(seq)
			e.metrics.aborted()
		}
	})
}

// crash kills the engine: every stream learns it, and nothing is taken any
// more. The goroutine stays and idles until Close.
func (e *engine) crash() {
	e.inbox.mu.Lock()
	if e.inbox.dead {
		e.inbox.mu.Unlock()
		return
	}
	e.inbox.dead = true
	e.inbox.mu.Unlock()
	e.log.crash()
	e.do(func(e *engine) {
		lost := append(append([]*sequence(nil), e.sched.running...), e.sched.waiting...)
		for _, seq := range lost {
			e.sched.abort(seq)
			seq.out.kill()
		}
	})
}
