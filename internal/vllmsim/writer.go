package vllmsim

import (
	"sync"
	"time"
)

// A writer writes the tokens of all healthy streams, one stream after the
// other. All tokens of a step are due at one instant: if each stream's own
// goroutine wrote them, on few cores they would all run before any client
// could read, and the clients' clocks would measure that. One after the other,
// a client on another core reads while the next stream is written. Real vLLM
// does the same, since one event loop writes all its streams.
//
// A client that does not read must not hold up the others: if the writing
// goroutine makes no progress for a while, another one takes over the queue,
// and the stuck one ends when its write does.
type writer struct {
	mu      sync.Mutex
	queue   []*stream
	working bool
	turn    uint64 // of the goroutine that may take from the queue
	written uint64 // streams written so far
	seen    uint64 // written, when it was last looked at
	watched bool   // rescue will look again
}

// streamState is where a stream is with the writer.
type streamState int

const (
	streamIdle streamState = iota
	streamQueued
	streamWriting
)

// stuckAfter is how long a single write may take, and twice that at most,
// before others are not made to wait for it.
const stuckAfter = 20 * time.Millisecond

// After breathEvery streams in a row the writer sleeps for a breath. On two
// cores shared with 1,024 clients that lets them catch up: the median time from
// written to read falls from 0.6 ms to 0.05 ms (BenchmarkStreams1024), for 2 to
// 4 ms more until the last stream of a step is written.
const (
	breathEvery = 32
	breath      = 20 * time.Microsecond
)

// attach has the writer write the stream from now on.
func (w *writer) attach(s *stream) {
	s.seq.out.notify(func() { w.ready(s) })
}

// ready puts a stream with pending tokens into the queue.
func (w *writer) ready(s *stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case s.detached || s.state == streamQueued:
		return
	case s.state == streamWriting:
		s.again = true
		return
	}
	s.state = streamQueued
	w.queue = append(w.queue, s)
	if !w.working {
		w.start()
	}
}

// start lets a new goroutine take from the queue; w.mu is held.
func (w *writer) start() {
	w.working = true
	w.turn++
	go w.work(w.turn)
	if !w.watched {
		w.watched = true
		w.seen = w.written
		time.AfterFunc(stuckAfter, w.rescue)
	}
}

// work writes streams until none is ready, or another goroutine took over.
func (w *writer) work(turn uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for row := 1; w.turn == turn; row++ {
		if len(w.queue) == 0 {
			w.working = false
			return
		}
		if row%breathEvery == 0 {
			w.mu.Unlock()
			sleepExactly(breath)
			w.mu.Lock()
			continue // another may have taken over
		}
		s := w.queue[0]
		w.queue = w.queue[1:]
		if s.detached {
			continue
		}
		s.state, s.again = streamWriting, false
		w.mu.Unlock()
		finished, err := s.advance()
		w.mu.Lock()
		w.written++
		w.settle(s, finished, err)
	}
}

// settle puts a stream where it belongs after a write; w.mu is held.
func (w *writer) settle(s *stream, finished bool, err error) {
	s.state = streamIdle
	switch {
	case s.detached:
		close(s.released)
	case finished || err != nil:
		s.detached = true
		close(s.released)
		s.done <- err
	case s.again:
		s.state = streamQueued
		w.queue = append(w.queue, s)
		if !w.working {
			w.start()
		}
	}
}

// rescue lets another goroutine take over from one that is stuck, and looks
// again later as long as there is work.
func (w *writer) rescue() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.working {
		w.watched = false
		return
	}
	if w.written == w.seen && len(w.queue) > 0 {
		w.start()
	}
	w.seen = w.written
	time.AfterFunc(stuckAfter, w.rescue)
}

// detach takes a stream out before its end, and waits until no write to it
// is under way, because its response writer is about to become invalid.
func (w *writer) detach(s *stream) {
	w.mu.Lock()
	writing := s.state == streamWriting
	s.detached = true
	w.mu.Unlock()
	if writing {
		// Ends a write that waits for a client. A response writer that has
		// no deadlines does not wait for clients either.
		_ = s.control.SetWriteDeadline(time.Now())
		<-s.released
	}
}
