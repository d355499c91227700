package perf

import (
	"math"
	"slices"
)

// TTFT returns the milliseconds from sending to the first content, and false
// if there was none.
func (r *Request) TTFT() (ms float64, ok bool) { return span(r.SentNS, r.FirstNS) }

// E2E returns the milliseconds from sending to the last content.
func (r *Request) E2E() (ms float64, ok bool) { return span(r.SentNS, r.LastNS) }

// TPOT returns the milliseconds an output token after the first:
// (last - first)/(OSL-1), the inter_token_latency of AIPerf and the TPOT of
// vllm bench. It is false for one token, and where all tokens came at one
// instant: a server that does not stream shows no time a token.
func (r *Request) TPOT() (ms float64, ok bool) {
	decode, ok := span(r.FirstNS, r.LastNS)
	if !ok || r.OSL < 2 || decode == 0 {
		return 0, false
	}
	return decode / float64(r.OSL-1), true
}

// span returns the milliseconds between two offsets, and false if one of them is Never.
func span(from, to int64) (ms float64, ok bool) {
	if from < 0 || to < 0 {
		return 0, false
	}
	return float64(to-from) / 1e6, true
}

// Whole returns the span of all measured requests: from the first one sent (or
// due, for one that never left) to the end of the last.
func Whole(requests []Request) Window {
	l := newLook()
	for i := range requests {
		l.add(&requests[i])
	}
	return l.whole()
}

// holds reports whether an instant is in the window: after its beginning, up
// to and with its end.
func (w Window) holds(ns int64) bool { return ns > w.FromNS && ns <= w.ToNS }

// DurationS returns the length of the window in seconds.
func (w Window) DurationS() float64 { return float64(w.ToNS-w.FromNS) / 1e9 }

// Summarize returns what follows from the requests for one span of a run.
// Warm-up requests are left out.
//
// Latencies and counts are over the requests that were sent and ended inside
// the window: those that a closed loop sends all at once at its start are
// outside of its steady window. What is counted a second is counted by tokens:
// output tokens where they arrived (see tokensInside), and of a request, and of
// its input tokens, the share that its output tokens inside are of all its
// output tokens. Counting ends instead would lose the requests under way at the
// edges. The intended latencies of an open loop count a failed
// request as +Inf, since the user it stands for is still waiting. A quantity
// that cannot be had is nil.
func Summarize(requests []Request, window Window, workload Workload) Summary {
	t := tally{window: window, workload: workload}
	for i := range requests {
		t.add(&requests[i])
	}
	return t.summary()
}

// A tally gathers what of the requests of a run belongs to one window.
type tally struct {
	window   Window
	workload Workload

	requests, failed int
	inputTokens      int64
	outputTokens     float64

	ttft, e2e, ttftIntended, e2eIntended []float64
	tpot, isl, osl                       []float64
	itl                                  gaps

	share       float64 // requests, by the share of their tokens inside
	shareInput  float64 // their input tokens
	shareGood   float64 // requests that met every limit
	known       int64   // input tokens of requests that told their cached ones
	cached      int64
	chunks      int64
	chunkTokens int64
	finish      map[string]int
}

// expect makes room for the values of n requests at once.
func (t *tally) expect(n int) *tally {
	list := func(of *[]float64) { *of = make([]float64, 0, n) }
	list(&t.ttft)
	list(&t.e2e)
	list(&t.tpot)
	list(&t.isl)
	list(&t.osl)
	if t.workload.open() {
		list(&t.ttftIntended)
		list(&t.e2eIntended)
	}
	return t
}

func (t *tally) add(r *Request) {
	if r.Warmup {
		return
	}
	if r.OK() {
		t.inside(r)
	}
	if !t.window.holds(r.EndNS) || r.SentNS >= 0 && r.SentNS < t.window.FromNS {
		return
	}
	if !r.OK() {
		t.failed++
		return
	}
	t.requests++
	t.inputTokens += int64(r.ISL)
	t.values(r)
}

// values adds the values of an answered request.
func (t *tally) values(r *Request) {
	put := func(to *[]float64, ms float64, ok bool) {
		if ok {
			*to = append(*to, ms)
		}
	}
	ttft, ok := r.TTFT()
	put(&t.ttft, ttft, ok)
	e2e, ok := r.E2E()
	put(&t.e2e, e2e, ok)
	if t.workload.open() {
		ms, ok := span(r.IntendedNS, r.FirstNS)
		put(&t.ttftIntended, ms, ok)
		ms, ok = span(r.IntendedNS, r.LastNS)
		put(&t.e2eIntended, ms, ok)
	}
	tpot, ok := r.TPOT()
	put(&t.tpot, tpot, ok)
	t.itl.add(r.ChunkNS)
	t.isl = append(t.isl, float64(r.ISL))
	t.osl = append(t.osl, float64(r.OSL))
	if r.Cached != nil {
		t.known += int64(r.ISL)
		t.cached += int64(*r.Cached)
	}
	if len(r.ChunkNS) > 0 {
		t.chunks += int64(len(r.ChunkNS))
		t.chunkTokens += int64(r.OSL)
	}
	if t.finish == nil {
		t.finish = map[string]int{}
	}
	t.finish[r.Finish]++
}

// inside adds what of an answered request is inside the window.
func (t *tally) inside(r *Request) {
	tokens, share := tokensInside(r, t.window), 0.0
	switch {
	case t.window.holds(r.EndNS) && (r.OSL == 0 || r.SentNS >= t.window.FromNS):
		share = 1
	case r.OSL > 0:
		share = tokens / float64(r.OSL)
	}
	t.outputTokens += tokens
	t.share += share
	t.shareInput += share * float64(r.ISL)
	if t.workload.meets(r) {
		t.shareGood += share
	}
}

// summary returns what was gathered. It sorts the values in place: a tally
// gives one summary.
func (t *tally) summary() Summary {
	s := Summary{
		DurationS: t.window.DurationS(), Requests: t.requests, Errors: t.failed,
		InputTokens: t.inputTokens, OutputTokens: t.outputTokens, FinishReasons: t.finish,
	}
	for _, list := range [][]float64{t.ttft, t.e2e, t.tpot, t.isl, t.osl} {
		slices.Sort(list)
	}
	s.TTFT, s.E2E = describeSortedSample(t.ttft), describeSortedSample(t.e2e)
	s.TPOT, s.ITL = describeSortedSample(t.tpot), t.itl.describe()
	s.ISL, s.OSL = describeSorted(t.isl), describeSorted(t.osl)
	if t.workload.open() {
		s.TTFTIntended = describeWithFailed(t.ttftIntended, t.failed)
		s.E2EIntended = describeWithFailed(t.e2eIntended, t.failed)
	}
	t.rates(&s)
	return s
}

// describeWithFailed describes values together with failed ones at +Inf. It is
// nil when nothing was answered: there is no number then.
func describeWithFailed(values []float64, failed int) *Dist {
	if len(values) == 0 {
		return nil
	}
	all := slices.Clone(values)
	for range failed {
		all = append(all, math.Inf(1))
	}
	d := DescribeSample(all)
	d.Unanswered = failed
	return d
}

// rates fills what is a quotient. The values are sorted.
func (t *tally) rates(s *Summary) {
	if s.DurationS > 0 && t.share > 0 {
		s.RequestThroughput = quotient(t.share, s.DurationS)
		s.TotalThroughput = quotient(t.shareInput+s.OutputTokens, s.DurationS)
		if t.workload.limited() {
			s.Goodput = quotient(t.shareGood, s.DurationS)
		}
	}
	if s.DurationS > 0 && s.OutputTokens > 0 {
		s.OutputThroughput = quotient(s.OutputTokens, s.DurationS)
	}
	if n := len(t.tpot); n > 0 {
		// The median of 1/TPOT: in descending order of TPOT those values ascend.
		perUser := Percentile([]float64{1000 / t.tpot[n/2], 1000 / t.tpot[(n-1)/2]}, 50)
		s.PerUserThroughput = &perUser
	}
	if s.OutputThroughput != nil && s.TPOT != nil {
		// Little's law: tokens a second times seconds a token of one stream is
		// the mean number of streams that decode.
		b := *s.OutputThroughput * s.TPOT.Mean / 1000
		s.EffectiveBatch = &b
	}
	if t.known > 0 {
		s.PrefixHitRate = quotient(float64(t.cached), float64(t.known))
	}
	if t.chunks > 0 {
		s.TokensPerChunk = quotient(float64(t.chunkTokens), float64(t.chunks))
	}
}

func quotient(a, b float64) *float64 {
	q := a / b
	return &q
}

// tokensInside returns how many of the request's output tokens arrived inside
// the window. Every content event carries an equal share of OSL (so several
// tokens in one event all count); the first event's share arrived at FirstNS,
// the share of a later one evenly over the gap before it, in which the server
// made it. Without the times of events the tokens after the first are spread
// evenly from first to last.
func tokensInside(r *Request, w Window) float64 {
	times, share := r.ChunkNS, 0.0
	if len(times) > 0 {
		share = float64(r.OSL) / float64(len(times))
	} else {
		return tokensSpread(r, w)
	}
	var tokens float64
	for i, at := range times {
		if i == 0 {
			if w.holds(at) {
				tokens += share
			}
			continue
		}
		tokens += share * overlap(times[i-1], at, w)
	}
	return tokens
}

// tokensSpread is tokensInside for a request without the times of its events.
func tokensSpread(r *Request, w Window) float64 {
	var tokens float64
	if r.OSL > 0 && w.holds(r.FirstNS) {
		tokens = 1
	}
	if r.OSL > 1 {
		tokens += float64(r.OSL-1) * overlap(r.FirstNS, r.LastNS, w)
	}
	return tokens
}

// overlap returns the share of (from, to] that lies in the window. An empty
// span is its end point.
func overlap(from, to int64, w Window) float64 {
	if to <= from {
		if w.holds(to) {
			return 1
		}
		return 0
	}
	inside := min(to, w.ToNS) - max(from, w.FromNS)
	if inside <= 0 {
		return 0
	}
	return float64(inside) / float64(to-from)
}

// Arrivals of a Workload.
const (
	Closed   = "closed"   // the next request of a stream is sent when the one before has ended
	Constant = "constant" // requests are sent at equal distances, whatever the server does
	Poisson  = "poisson"  // requests are sent at exponential distances, whatever the server does
)

// open reports whether a schedule sends requests, one of the above or of
// another tool: gamma, fixed_schedule.
func (w Workload) open() bool { return w.Arrival != "" && w.Arrival != Closed }

func (w Workload) limited() bool { return w.TTFTSLOms > 0 || w.TPOTSLOms > 0 || w.E2ESLOms > 0 }

// meets reports whether a request met every limit asked. In an open loop the
// clock of TTFT and E2E runs from the intended time: that is what the user
// waits. A request whose TPOT is not known has not met a limit on it, unless
// one token was asked.
func (w Workload) meets(r *Request) bool {
	from := r.SentNS
	if w.open() {
		from = r.IntendedNS
	}
	within := func(limit, ms float64, ok bool) bool { return limit <= 0 || (ok && ms <= limit) }
	ttft, okTTFT := span(from, r.FirstNS)
	e2e, okE2E := span(from, r.LastNS)
	tpot, okTPOT := r.TPOT()
	return within(w.TTFTSLOms, ttft, okTTFT) && within(w.E2ESLOms, e2e, okE2E) &&
		(w.OSL == 1 || within(w.TPOTSLOms, tpot, okTPOT))
}
