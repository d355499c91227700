package loadgen

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"pipeline/lake/perf"
)

// A part of a run is its warm-up or its measured requests.
type part struct {
	warmup   bool
	requests int
}

// A job is one conversation, ready to be sent: the JSON of its first request
// is made ahead, so that no slot waits for it.
type job struct {
	session int
	conv    Conversation
	turns   int // to play
	body    []byte
}

// bodiesAhead bounds the bytes of request bodies made ahead.
const bodiesAhead = 256 << 20

// jobs gives the conversations of a part in order. As many as ahead are made
// before it returns, so that making them is not part of the load. The channel
// closes after the last, or when ctx ends.
func (r *run) jobs(ctx context.Context, p part, ahead int) <-chan job {
	made, left := 0, p.requests
	next := func() job {
		j := r.job(p, made, left)
		made++
		left -= j.turns
		return j
	}
	first := next()
	out := make(chan job, max(1, min(ahead, bodiesAhead/(len(first.body)+1))))
	out <- first
	for len(out) < cap(out) && left > 0 {
		out <- next()
	}
	go func() {
		defer close(out)
		for left > 0 {
			select {
			case out <- next():
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// job makes conversation i of a part, of at most left turns.
func (r *run) job(p part, i, left int) job {
	j := job{session: i}
	if p.warmup {
		j.conv = r.prompts.warmup(i)
	} else {
		j.conv = r.prompts.measured(i)
	}
	j.turns = min(r.conf.turnsOf(j.conv), left)
	j.body = r.conf.body(history(j.conv, nil), j.conv.Turns[0].Tokens, r.osl(j.conv.Turns[0]), r.extras)
	return j
}

func (r *run) osl(t Turn) int {
	if t.OSL > 0 {
		return t.OSL
	}
	return r.conf.Workload.OSL
}

// history returns the messages of the next request of a conversation, when
// answers have been received to the turns before.
func history(conv Conversation, answers []string) []message {
	var messages []message
	if conv.System != "" {
		messages = append(messages, message{"system", conv.System})
	}
	for i, answer := range answers {
		if recorded := conv.Turns[i].Assistant; recorded != "" {
			answer = recorded
		}
		messages = append(messages, message{"user", conv.Turns[i].User}, message{"assistant", answer})
	}
	return append(messages, message{"user", conv.Turns[len(answers)].User})
}

// converse plays a conversation in one slot, turn after turn. due is when it
// should have begun, acquired when its slot was free. It returns when it ended,
// and whether to go on.
func (r *run) converse(ctx context.Context, s *slot, p part, j job, due, acquired int64) (end int64, ok bool) {
	var answers []string
	body := j.body
	for t := range j.turns {
		turn := j.conv.Turns[t]
		if t > 0 {
			body = r.conf.body(history(j.conv, answers), nil, r.osl(turn), r.extras)
		}
		rec := perf.Request{
			Index: r.index(p, j, t), Warmup: p.warmup, Session: j.session, Turn: t, IntendedNS: due, AcquiredNS: acquired,
		}
		keep := t+1 < j.turns && turn.Assistant == ""
		answers = append(answers, r.do(ctx, s, call{body, r.knownISL(turn, t), keep}, &rec))
		if ctx.Err() != nil && !errors.Is(context.Cause(ctx), errGaveUp) {
			return rec.EndNS, false // cut off by the caller: no outcome of the server
		}
		if !r.record(rec) {
			return rec.EndNS, false
		}
		due, acquired = rec.EndNS, rec.EndNS
		if !rec.OK() {
			r.abandon(p, j, t+1, due)
			return due, true
		}
	}
	return due, true
}

// abandon records the turns of a conversation that cannot be sent, since one
// before them has no answer. They say nothing of the endpoint, so that they
// do not count among the failures in a row that end a run.
func (r *run) abandon(p part, j job, from int, due int64) {
	for t := from; t < j.turns; t++ {
		rec := perf.Request{
			Index: r.index(p, j, t), Warmup: p.warmup, Session: j.session, Turn: t, IntendedNS: due, AcquiredNS: due,
			SentNS: perf.Never, WroteNS: perf.Never, ByteNS: perf.Never, EventNS: perf.Never, FirstNS: perf.Never,
			LastNS: perf.Never, DoneNS: perf.Never, EndNS: due, TokenSource: sourceChunks,
			Error: &perf.RequestError{Phase: phaseSend, Message: "not sent: an earlier turn of its conversation failed"},
		}
		r.keep(rec)
	}
}

// index numbers requests in the order of sending: for single requests that is
// the order of the prompts.
func (r *run) index(p part, j job, turn int) int {
	if r.single {
		return j.session
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.sent
	r.sent++
	return n
}

// knownISL is the length of a prompt as far as the client knows, 0 if it does not.
func (r *run) knownISL(t Turn, turn int) int {
	switch {
	case t.Tokens != nil:
		return len(t.Tokens)
	case r.conf.Conversations == nil && turn == 0:
		return r.conf.Workload.ISL
	}
	return 0
}

// closed plays a part with streams that each send their next request when the
// one before has ended. The streams start evenly over ramp.
func (r *run) closed(ctx context.Context, p part, streams int, ramp time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	jobs := r.begin(ctx, p, streams)
	begin := r.clock.now()
	var wg sync.WaitGroup
	for i := range streams {
		wg.Go(func() {
			free := begin + int64(ramp)*int64(i)/int64(streams)
			if !r.clock.sleepUntil(ctx, free) {
				return
			}
			s := new(slot)
			for j := range jobs {
				if ctx.Err() != nil {
					return
				}
				var ok bool
				if free, ok = r.converse(ctx, s, p, j, free, free); !ok {
					cancel(errGaveUp)
					return
				}
			}
		})
	}
	wg.Wait()
	return r.over(ctx)
}

// begin resets the counts of a part and makes its first jobs.
func (r *run) begin(ctx context.Context, p part, ahead int) <-chan job {
	r.mu.Lock()
	r.ended, r.failed, r.sent = 0, 0, 0
	r.mu.Unlock()
	return r.jobs(ctx, p, ahead)
}

// over returns the error of a part that has ended: the caller's, or none. A
// part given up is a doubt, since its requests tell why.
func (r *run) over(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	if errors.Is(context.Cause(ctx), errGaveUp) {
		r.doubt("gave_up: %d requests in a row failed; the rest was not sent", r.failures.Load())
		return nil
	}
	return context.Cause(ctx)
}

// arrivals returns the n instants, in ns from the beginning, at which an open
// loop of a rate intends to send. For poisson the distances are exponential,
// drawn from the seed (inverse transform); the first is at 0.
func arrivals(seed int64, n int, rate float64, arrival string) []int64 {
	at := make([]int64, n)
	random := newRandom(seed, streamArrival, 0)
	var seconds float64
	for i := range at {
		at[i] = int64(seconds * 1e9)
		if arrival == perf.Poisson {
			seconds += -math.Log1p(-random.float()) / rate
		} else {
			seconds = float64(i+1) / rate
		}
	}
	return at
}

// openLoop sends by a schedule, whatever the server does. If the workload
// limits the concurrency, a request waits for a slot, and its intended latency
// holds that wait. Conversations arrive by the schedule; their later turns
// follow the turn before.
func (r *run) openLoop(ctx context.Context, p part) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &r.conf.Workload
	sessions := r.prompts.sessions(p.requests)
	schedule := arrivals(w.Seed, sessions, w.RequestRate*float64(sessions)/float64(p.requests), w.Arrival)
	jobs := r.begin(ctx, p, 256)
	var limit chan struct{}
	if w.Concurrency > 0 {
		limit = make(chan struct{}, w.Concurrency)
	}
	slots := sync.Pool{New: func() any { return new(slot) }}
	begin := r.clock.now()
	var wg sync.WaitGroup
	for j := range jobs {
		due := begin + schedule[j.session]
		if !r.clock.sleepUntil(ctx, due) {
			break
		}
		wg.Go(func() {
			acquired, ok := r.acquire(ctx, limit, due)
			if !ok {
				return
			}
			if limit != nil {
				defer func() { <-limit }()
			}
			s := slots.Get().(*slot)
			defer slots.Put(s)
			if _, ok := r.converse(ctx, s, p, j, due, acquired); !ok {
				cancel(errGaveUp)
			}
		})
	}
	wg.Wait()
	return r.over(ctx)
}

// acquire takes a slot of a limited open loop and returns when it was free:
// now if there was a wait for it, else when the request was due, so that a
// late dispatcher counts as the client's lag. It is false if ctx ended first.
func (r *run) acquire(ctx context.Context, limit chan struct{}, due int64) (acquired int64, ok bool) {
	if limit == nil {
		return due, true
	}
	select {
	case limit <- struct{}{}:
		return due, true
	default:
	}
	select {
	case limit <- struct{}{}:
		return max(due, r.clock.now()), true
	case <-ctx.Done():
		return due, false
	}
}
