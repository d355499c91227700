package perf

import (
	"math"
	"testing"
)

const ms = int64(1e6)

// answered is a request with tokens at the given ms; it ended with the last one.
func answered(index int, sent int64, chunks ...int64) Request {
	r := Request{Index: index, Session: index, IntendedNS: sent * ms, SentNS: sent * ms, ISL: 10, OSL: len(chunks), TokenSource: "usage", Finish: "length"}
	for _, c := range chunks {
		r.ChunkNS = append(r.ChunkNS, c*ms)
	}
	r.FirstNS, r.LastNS, r.EndNS = chunks[0]*ms, chunks[len(chunks)-1]*ms, chunks[len(chunks)-1]*ms
	return r
}

func value(t *testing.T, name string, got *float64, want float64) {
	t.Helper()
	if got == nil || !near(*got, want) {
		if got != nil {
			t.Errorf("%s = %v, want %v", name, *got, want)
			return
		}
		t.Errorf("%s is nil, want %v", name, want)
	}
}

func TestSummarize(t *testing.T) {
	// A: sent 0, tokens at 100 110 120 130 ms. TTFT 100, E2E 130, TPOT 30/3 = 10.
	// B: sent 50, tokens at 250, 290 ms, 5 tokens by usage. TTFT 200, E2E 240,
	//    TPOT 40/4 = 10, not 40/1.
	// The window is 0 to 1000 ms: all 9 tokens, 2 requests, 20 input tokens.
	a := answered(0, 0, 100, 110, 120, 130)
	b := answered(1, 50, 250, 290)
	b.OSL = 5
	cached := 4
	b.Cached = &cached
	warm := answered(0, 0, 500)
	warm.Warmup = true
	s := Summarize([]Request{warm, a, b}, Window{ToNS: 1000 * ms}, Workload{Arrival: Closed})
	if s.Requests != 2 || s.Errors != 0 || s.InputTokens != 20 || s.OutputTokens != 9 || s.DurationS != 1 {
		t.Errorf("requests %d, errors %d, input %d, output %v, duration %v", s.Requests, s.Errors, s.InputTokens, s.OutputTokens, s.DurationS)
	}
	value(t, "request throughput", s.RequestThroughput, 2)
	value(t, "output throughput", s.OutputThroughput, 9)
	value(t, "total throughput", s.TotalThroughput, 29)
	value(t, "TTFT p50", &s.TTFT.P50, 150) // (100+200)/2
	value(t, "E2E mean", &s.E2E.Mean, 185) // (130+240)/2
	value(t, "TPOT mean", &s.TPOT.Mean, 10)
	value(t, "ITL mean", &s.ITL.Mean, 17.5)             // (10+10+10+40)/4
	value(t, "per user", s.PerUserThroughput, 100)      // 1/10 ms
	value(t, "b_eff", s.EffectiveBatch, 0.09)           // 9 tok/s · 0.010 s
	value(t, "prefix hits", s.PrefixHitRate, 0.4)       // 4 of B's 10; A does not tell
	value(t, "tokens a chunk", s.TokensPerChunk, 9.0/6) // 4+5 tokens in 4+2 events
	if s.FinishReasons["length"] != 2 || s.Goodput != nil || s.TTFTIntended != nil {
		t.Errorf("finish %v, goodput %v, intended %v", s.FinishReasons, s.Goodput, s.TTFTIntended)
	}
}

func TestTokensInside(t *testing.T) {
	// Events at 100, 200, 300 ms carry 2 tokens each (6 by usage). The first is
	// at its instant, the others over the 100 ms before them.
	r := answered(0, 0, 100, 200, 300)
	r.OSL = 6
	for _, c := range []struct {
		from, to int64
		want     float64
	}{
		{0, 300, 6},
		{100, 300, 4},   // the instant of the first is the excluded edge
		{99, 100, 2},    // the first alone
		{150, 250, 2},   // half of the second, half of the third
		{125, 150, 0.5}, // a quarter of the second
		{300, 400, 0},
	} {
		if got := tokensInside(&r, Window{FromNS: c.from * ms, ToNS: c.to * ms}); !near(got, c.want) {
			t.Errorf("%d to %d ms: %v tokens, want %v", c.from, c.to, got, c.want)
		}
	}
	// Without event times: 1 token at 100 ms, 5 evenly over 100 to 300 ms.
	r.ChunkNS = nil
	if got := tokensInside(&r, Window{FromNS: 0, ToNS: 200 * ms}); !near(got, 3.5) { // 1 + 5/2
		t.Errorf("spread: %v tokens, want 3.5", got)
	}
	// Two events in one read: the second has no gap, its share is an instant.
	two := answered(1, 0, 100, 100)
	if got := tokensInside(&two, Window{FromNS: 0, ToNS: 100 * ms}); got != 2 {
		t.Errorf("coalesced: %v tokens, want 2", got)
	}
}

func TestSummarizeWindow(t *testing.T) {
	// Three requests; the window is 100 to 300 ms.
	// A ended at 100 ms, the edge: before the window. B has both tokens inside. C
	// has tokens at 150 and 350, and ends outside: of its 2nd token counts
	// (300-150)/(350-150) = 0.75, and its 1st, at 150. By tokens that is one
	// request and 1.75/2 of one. All were sent before, so none has a latency here.
	a, b, c := answered(0, 0, 50, 100), answered(1, 0, 120, 200), answered(2, 0, 150, 350)
	s := Summarize([]Request{a, b, c}, Window{FromNS: 100 * ms, ToNS: 300 * ms}, Workload{Arrival: Closed})
	if s.Requests != 0 || s.TTFT != nil || !near(s.OutputTokens, 2+1.75) {
		t.Errorf("requests %d, tokens %v; want none, 3.75", s.Requests, s.OutputTokens)
	}
	value(t, "output throughput", s.OutputThroughput, 3.75/0.2)
	value(t, "request throughput", s.RequestThroughput, (1+0.875)/0.2)
}

func TestSummarizeNothing(t *testing.T) {
	failed := Request{SentNS: 0, FirstNS: Never, LastNS: Never, EndNS: 10 * ms, Error: &RequestError{Phase: "headers", Status: 500}}
	s := Summarize([]Request{failed}, Window{ToNS: 1000 * ms}, Workload{Arrival: Poisson, TTFTSLOms: 1})
	if s.Errors != 1 || s.Requests != 0 {
		t.Errorf("errors %d, requests %d", s.Errors, s.Requests)
	}
	if s.RequestThroughput != nil || s.OutputThroughput != nil || s.TTFT != nil || s.TPOT != nil || s.Goodput != nil || s.TTFTIntended != nil {
		t.Errorf("a run without answers has numbers: %+v", s)
	}
}

func TestTPOT(t *testing.T) {
	one := answered(0, 0, 100)
	if _, ok := one.TPOT(); ok {
		t.Error("an answer of one token has a TPOT")
	}
	burst := answered(0, 0, 100)
	burst.OSL = 50 // a server that does not stream
	if _, ok := burst.TPOT(); ok {
		t.Error("tokens that all came at one instant have a TPOT (of zero)")
	}
}

func TestOpenLoop(t *testing.T) {
	// Due at 0, sent at 40 (a slot was busy), first token 100, last 120:
	// TTFT 60 from sending, 100 from the intended time. One more failed: it
	// stands at infinity, so the p50 of 2 values is infinite.
	r := answered(0, 40, 100, 120)
	r.IntendedNS = 0
	failed := Request{Index: 1, IntendedNS: 10 * ms, SentNS: 10 * ms, FirstNS: Never, LastNS: Never, EndNS: 20 * ms, Error: &RequestError{Phase: "stream"}}
	w := Workload{Arrival: Constant, TTFTSLOms: 80}
	s := Summarize([]Request{r, failed}, Window{ToNS: 1000 * ms}, w)
	if s.TTFT.P50 != 60 || s.TTFT.N != 1 {
		t.Errorf("TTFT %+v", s.TTFT)
	}
	if d := s.TTFTIntended; d.Min != 100 || d.N != 2 || d.Unanswered != 1 || !math.IsInf(d.P50, 1) {
		t.Errorf("TTFT intended %+v", d)
	}
	value(t, "goodput", s.Goodput, 0) // 100 ms from the intended time is over 80, though 60 from sending is not
}

func TestGoodput(t *testing.T) {
	// A: TTFT 100, TPOT 10, E2E 130. B: TTFT 100, TPOT 40, E2E 140. One second.
	a, b := answered(0, 0, 100, 110, 120, 130), answered(1, 0, 100, 140)
	window := Window{ToNS: 1000 * ms}
	for _, c := range []struct {
		name string
		w    Workload
		want float64
	}{
		{"both", Workload{TTFTSLOms: 100}, 2}, // at the limit is within it
		{"ttft", Workload{TTFTSLOms: 99}, 0},
		{"tpot", Workload{TPOTSLOms: 20}, 1},
		{"e2e", Workload{E2ESLOms: 135}, 1},
		{"all", Workload{TTFTSLOms: 200, TPOTSLOms: 50, E2ESLOms: 150}, 2},
	} {
		c.w.Arrival = Closed
		s := Summarize([]Request{a, b}, window, c.w)
		value(t, c.name, s.Goodput, c.want)
	}
	// One token asked: a limit on TPOT says nothing about it. More asked: not met.
	one := answered(0, 0, 100)
	value(t, "one asked", Summarize([]Request{one}, window, Workload{Arrival: Closed, OSL: 1, TPOTSLOms: 5}).Goodput, 1)
	value(t, "more asked", Summarize([]Request{one}, window, Workload{Arrival: Closed, OSL: 9, TPOTSLOms: 5}).Goodput, 0)
}
