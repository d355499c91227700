package perf

import (
	"errors"
	"iter"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// looked is the first pass over requests.
func looked(requests []Request) *look {
	l := newLook()
	for i := range requests {
		l.add(&requests[i])
	}
	return l
}

// randomRun is a run with everything in it that a summary treats apart.
func randomRun(rng *rand.Rand) ([]Request, Workload) {
	streams, each := 1+rng.IntN(8), rng.IntN(30)
	w := Workload{Arrival: Closed, Concurrency: streams, NumPrompts: streams * each, ISL: 64, OSL: 8, TTFTSLOms: 30, TPOTSLOms: 12}
	if rng.IntN(2) == 0 {
		w.Arrival, w.RequestRate = Poisson, 100
	}
	var requests []Request
	for k := range streams {
		at := int64(k) * ms / 3
		for i := range each {
			r := Request{Index: len(requests), IntendedNS: at, SentNS: at + rng.Int64N(2*ms), FirstNS: Never, LastNS: Never,
				ISL: 60 + rng.IntN(8), OSL: 8, Turn: rng.IntN(2), TokenSource: "usage", Finish: []string{"length", "stop"}[rng.IntN(2)]}
			r.Warmup = i == 0 && k%2 == 0
			r.EndNS = r.SentNS + ms
			switch rng.IntN(12) {
			case 0:
				r.Error = &RequestError{Phase: "headers", Status: 500, Message: "no\nmore"}
			case 1:
				r.SentNS, r.Error = Never, &RequestError{Phase: "connect", Message: "refused"}
			case 2: // in one piece
				r.FirstNS = r.SentNS + 20*ms
				r.LastNS, r.EndNS = r.FirstNS, r.FirstNS+ms
			default:
				r.FirstNS = r.SentNS + 15*ms + rng.Int64N(30*ms)
				r.LastNS = r.FirstNS
				for range 1 + rng.IntN(8) {
					r.ChunkNS = append(r.ChunkNS, r.LastNS)
					r.LastNS += rng.Int64N(20 * ms)
				}
				r.ChunkNS = append(r.ChunkNS, r.LastNS)
				r.EndNS = r.LastNS + rng.Int64N(ms)
			}
			if rng.IntN(3) == 0 {
				cached := rng.IntN(64)
				r.Cached = &cached
			}
			at = r.EndNS + rng.Int64N(ms/2)
			requests = append(requests, r)
		}
	}
	return requests, w
}

// streamed gives requests as a file would: one at a time in the same memory,
// and without the times of chunks where they are not asked.
func streamed(requests []Request) Stream {
	return func(chunks bool) iter.Seq2[*Request, error] {
		return func(yield func(*Request, error) bool) {
			var r Request
			for i := range requests {
				times := slices.Clone(requests[i].ChunkNS)
				r = requests[i]
				r.ChunkNS = nil
				if chunks {
					r.ChunkNS = times
				}
				more := yield(&r, nil)
				clear(times)
				if !more {
					return
				}
			}
		}
	}
}

// Streaming, in memory, and by definition: the same numbers.
func TestAssessStream(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for range 300 {
		requests, w := randomRun(rng)
		want := Assess(requests, w, nil)
		got, err := AssessStream(streamed(requests), w, nil)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("streamed %+v, %v\nin memory %+v", got, err, want)
		}
		if plain := summarizePlainly(requests, Whole(requests), w); !reflect.DeepEqual(got.Summary, plain) {
			t.Fatalf("whole run:\n%+v\nby definition:\n%+v", got.Summary, plain)
		}
		if got.Steady != nil {
			if plain := summarizePlainly(requests, *got.Window, w); !reflect.DeepEqual(*got.Steady, plain) {
				t.Fatalf("window:\n%+v\nby definition:\n%+v", *got.Steady, plain)
			}
		}
	}
}

// summarizePlainly says what Summarize is, in as many passes as it takes.
func summarizePlainly(requests []Request, window Window, w Workload) Summary {
	s := Summary{DurationS: window.DurationS()}
	var share, shareInput, shareGood float64
	for i := range requests {
		r := &requests[i]
		if r.Warmup || !r.OK() {
			continue
		}
		tokens, part := tokensInside(r, window), 0.0
		switch {
		case window.holds(r.EndNS) && (r.OSL == 0 || r.SentNS >= window.FromNS):
			part = 1
		case r.OSL > 0:
			part = tokens / float64(r.OSL)
		}
		s.OutputTokens += tokens
		share += part
		shareInput += part * float64(r.ISL)
		if w.meets(r) {
			shareGood += part
		}
	}
	all := slices.DeleteFunc(slices.Clone(requests), func(r Request) bool {
		return r.Warmup || !window.holds(r.EndNS) || r.SentNS >= 0 && r.SentNS < window.FromNS
	})
	ok := slices.DeleteFunc(slices.Clone(all), func(r Request) bool { return !r.OK() })
	s.Requests, s.Errors = len(ok), len(all)-len(ok)
	collect := func(value func(*Request) (float64, bool)) []float64 {
		var list []float64
		for i := range ok {
			if v, has := value(&ok[i]); has {
				list = append(list, v)
			}
		}
		return list
	}
	var itl, perUser []float64
	var known, cached, chunks, chunkTokens float64
	for i := range ok {
		r := &ok[i]
		s.InputTokens += int64(r.ISL)
		for j := 1; j < len(r.ChunkNS); j++ {
			itl = append(itl, float64(r.ChunkNS[j]-r.ChunkNS[j-1])/1e6)
		}
		if tpot, has := r.TPOT(); has {
			perUser = append(perUser, 1000/tpot)
		}
		if r.Cached != nil {
			known, cached = known+float64(r.ISL), cached+float64(*r.Cached)
		}
		if len(r.ChunkNS) > 0 {
			chunks, chunkTokens = chunks+float64(len(r.ChunkNS)), chunkTokens+float64(r.OSL)
		}
		if s.FinishReasons == nil {
			s.FinishReasons = map[string]int{}
		}
		s.FinishReasons[r.Finish]++
	}
	s.TTFT, s.E2E = DescribeSample(collect((*Request).TTFT)), DescribeSample(collect((*Request).E2E))
	s.TPOT, s.ITL = DescribeSample(collect((*Request).TPOT)), Describe(itl)
	s.ISL = Describe(collect(func(r *Request) (float64, bool) { return float64(r.ISL), true }))
	s.OSL = Describe(collect(func(r *Request) (float64, bool) { return float64(r.OSL), true }))
	if w.open() {
		s.TTFTIntended = describeWithFailed(collect(func(r *Request) (float64, bool) { return span(r.IntendedNS, r.FirstNS) }), s.Errors)
		s.E2EIntended = describeWithFailed(collect(func(r *Request) (float64, bool) { return span(r.IntendedNS, r.LastNS) }), s.Errors)
	}
	if s.DurationS > 0 && share > 0 {
		s.RequestThroughput = quotient(share, s.DurationS)
		s.TotalThroughput = quotient(shareInput+s.OutputTokens, s.DurationS)
		s.Goodput = quotient(shareGood, s.DurationS)
	}
	if s.DurationS > 0 && s.OutputTokens > 0 {
		s.OutputThroughput = quotient(s.OutputTokens, s.DurationS)
	}
	if d := Describe(perUser); d != nil {
		s.PerUserThroughput = &d.P50
	}
	if s.OutputThroughput != nil && s.TPOT != nil {
		b := *s.OutputThroughput * s.TPOT.Mean / 1000
		s.EffectiveBatch = &b
	}
	if known > 0 {
		s.PrefixHitRate = quotient(cached, known)
	}
	if chunks > 0 {
		s.TokensPerChunk = quotient(chunkTokens, chunks)
	}
	return s
}

func TestAssessStreamError(t *testing.T) {
	broken := errors.New("line 2 is no record")
	for _, failing := range []bool{false, true} { // in the first pass, in the second
		source := func(chunks bool) iter.Seq2[*Request, error] {
			return func(yield func(*Request, error) bool) {
				r := answered(0, 0, 10, 20)
				if yield(&r, nil) && chunks == failing {
					yield(nil, broken)
				}
			}
		}
		if _, err := AssessStream(source, Workload{Arrival: Closed, Concurrency: 1}, nil); !errors.Is(err, broken) {
			t.Errorf("pass with chunks %v: error %v", failing, err)
		}
	}
}

func TestGapBuckets(t *testing.T) {
	// Every value lies in its bucket, buckets ascend, and none is wider than GapError says.
	last := -1
	for ns := int64(0); ns < math.MaxInt64/3; ns += 1 + ns/1999 {
		bucket := gapBucket(ns)
		if bucket < last {
			t.Fatalf("%d ns is in bucket %d, after %d", ns, bucket, last)
		}
		last = bucket
		if off := math.Abs(gapMiddle(bucket) - float64(ns)); off > GapError*float64(ns) {
			t.Fatalf("%d ns: the middle of its bucket, %v, is off by %v", ns, gapMiddle(bucket), off/float64(ns))
		}
	}
}

func TestGapsHistogram(t *testing.T) {
	// More gaps than are kept: log-normal, with a tail of pauses.
	rng := rand.New(rand.NewPCG(1, 2))
	var g gaps
	values := make([]float64, 0, ExactGaps+100_000)
	for range cap(values) {
		ns := int64(8e6 * math.Exp(0.3*rng.NormFloat64()))
		if rng.IntN(1000) == 0 {
			ns *= 100
		}
		g.put(ns)
		values = append(values, float64(ns)/1e6)
	}
	got, want := g.describe(), Describe(values)
	if got.RelativeError != GapError || got.N != want.N || got.Min != want.Min || got.Max != want.Max {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, pair := range [][2]float64{{got.Mean, want.Mean}, {got.Std, want.Std}} {
		if math.Abs(pair[0]-pair[1]) > 1e-9*pair[1] {
			t.Errorf("moment %v, want %v", pair[0], pair[1])
		}
	}
	for _, pair := range [][2]float64{{got.P50, want.P50}, {got.P90, want.P90}, {got.P95, want.P95}, {got.P99, want.P99}} {
		if math.Abs(pair[0]-pair[1]) > GapError*pair[1] {
			t.Errorf("percentile %v, exact %v: off by %v", pair[0], pair[1], pair[0]/pair[1]-1)
		}
	}
	if GapError > 0.001 {
		t.Errorf("the error stated, %v, is above a thousandth", GapError)
	}
}
