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
	w := Window{FromNS: math.MaxInt64, ToNS: math.MinInt64, Method: "first request sent to last one ended", Share: 1}
	for i := range requests {
		r := &requests[i]
		if r.Warmup {
			continue
		}
		from := r.SentNS
		if from < 0 {
			from = r.IntendedNS
		}
		w.FromNS, w.ToNS = min(w.FromNS, from), max(w.ToNS, r.EndNS)
	}
	if w.FromNS > w.ToNS {
		return Window{Method: "no request", Share: 0}
	}
	return w
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
	s := Summary{DurationS: window.DurationS()}
	var v samples
	for i := range requests {
		r := &requests[i]
		if r.Warmup {
			continue
		}
		if r.OK() {
			v.inside(r, &s, window, workload)
		}
		if !window.holds(r.EndNS) || r.SentNS >= 0 && r.SentNS < window.FromNS {
			continue
		}
		if !r.OK() {
			s.Errors++
			v.failed++
			continue
		}
		s.Requests++
		s.InputTokens += int64(r.ISL)
		v.add(r, workload)
	}
	v.describe(&s, workload)
	rates(&s, &v, workload)
	return s
}

// samples are the values of the requests of one window.
type samples struct {
	ttft, e2e, ttftIntended, e2eIntended []float64
	itl, tpot, perUser, isl, osl         []float64

	failed      int
	share       float64 // requests, by the share of their tokens inside
	shareInput  float64 // their input tokens
	shareGood   float64 // requests that met every limit
	known       int64   // input tokens of requests that told their cached ones
	cached      int64
	chunks      int64
	chunkTokens int64
	finish      map[string]int
}

func (v *samples) add(r *Request, w Workload) {
	put := func(to *[]float64, ms float64, ok bool) {
		if ok {
			*to = append(*to, ms)
		}
	}
	ttft, ok := r.TTFT()
	put(&v.ttft, ttft, ok)
	e2e, ok := r.E2E()
	put(&v.e2e, e2e, ok)
	if w.open() {
		ms, ok := span(r.IntendedNS, r.FirstNS)
		put(&v.ttftIntended, ms, ok)
		ms, ok = span(r.IntendedNS, r.LastNS)
		put(&v.e2eIntended, ms, ok)
	}
	if tpot, ok := r.TPOT(); ok {
		v.tpot = append(v.tpot, tpot)
		v.perUser = append(v.perUser, 1000/tpot)
	}
	for i := 1; i < len(r.ChunkNS); i++ {
		v.itl = append(v.itl, float64(r.ChunkNS[i]-r.ChunkNS[i-1])/1e6)
	}
	v.isl = append(v.isl, float64(r.ISL))
	v.osl = append(v.osl, float64(r.OSL))
	if r.Cached != nil {
		v.known += int64(r.ISL)
		v.cached += int64(*r.Cached)
	}
	if len(r.ChunkNS) > 0 {
		v.chunks += int64(len(r.ChunkNS))
		v.chunkTokens += int64(r.OSL)
	}
	if v.finish == nil {
		v.finish = map[string]int{}
	}
	v.finish[r.Finish]++
}

// inside adds what of an answered request is inside the window.
func (v *samples) inside(r *Request, s *Summary, window Window, w Workload) {
	tokens, share := tokensInside(r, window), 0.0
	switch {
	case window.holds(r.EndNS) && (r.OSL == 0 || r.SentNS >= window.FromNS):
		share = 1
	case r.OSL > 0:
		share = tokens / float64(r.OSL)
	}
	s.OutputTokens += tokens
	v.share += share
	v.shareInput += share * float64(r.ISL)
	if w.meets(r) {
		v.shareGood += share
	}
}

func (v *samples) describe(s *Summary, w Workload) {
	s.TTFT, s.E2E = DescribeSample(v.ttft), DescribeSample(v.e2e)
	s.TPOT, s.ITL = DescribeSample(v.tpot), Describe(v.itl)
	s.ISL, s.OSL = Describe(v.isl), Describe(v.osl)
	if w.open() {
		s.TTFTIntended = describeWithFailed(v.ttftIntended, v.failed)
		s.E2EIntended = describeWithFailed(v.e2eIntended, v.failed)
	}
	s.FinishReasons = v.finish
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

// rates fills what is a quotient.
func rates(s *Summary, v *samples, w Workload) {
	if s.DurationS > 0 && v.share > 0 {
		s.RequestThroughput = quotient(v.share, s.DurationS)
		s.TotalThroughput = quotient(v.shareInput+s.OutputTokens, s.DurationS)
		if w.limited() {
			s.Goodput = quotient(v.shareGood, s.DurationS)
		}
	}
	if s.DurationS > 0 && s.OutputTokens > 0 {
		s.OutputThroughput = quotient(s.OutputTokens, s.DurationS)
	}
	if d := Describe(v.perUser); d != nil {
		s.PerUserThroughput = &d.P50
	}
	if s.OutputThroughput != nil && s.TPOT != nil {
		// Little's law: tokens a second times seconds a token of one stream is
		// the mean number of streams that decode.
		b := *s.OutputThroughput * s.TPOT.Mean / 1000
		s.EffectiveBatch = &b
	}
	if v.known > 0 {
		s.PrefixHitRate = quotient(float64(v.cached), float64(v.known))
	}
	if v.chunks > 0 {
		s.TokensPerChunk = quotient(float64(v.chunkTokens), float64(v.chunks))
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

func (w Workload) open() bool { return w.Arrival == Constant || w.Arrival == Poisson }

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
