package perf

import (
	"fmt"
	"math"
	"slices"
)

// What a steady window and a trustworthy run need.
const (
	SteadyInFlight   = 0.95 // of the concurrency asked, in flight all through the window (AIPerf's and InferenceX's practice)
	DipShare         = 0.05 // of the median latency: a shorter dip is the turn-round of a slot, not a drain
	RampFactor       = 2    // fewer prompts than this × concurrency: ramp and drain are most of the run
	SettledFactor    = 10   // fewer than this × concurrency: the edges still weigh (the field runs 10 × concurrency)
	SteadyShare      = 0.6  // of the answered requests should end inside the window
	OpenMinRequests  = 10   // completions that an open loop's window needs
	GrowthLimit      = 1.25 // in flight in the second half over the first: above it, an open loop is overloaded
	ClaimConfidence  = 0.99 // for MinSamples
	FullSteadyDiffer = 0.05 // of throughput between window and whole run: above it, the edges set the whole-run number
)

// A flight is what the search for a window needs of a request that was sent.
type flight struct {
	intended, sent, end int64
	latency             int64 // sent to last content, Never if that is not known
	answered            bool
}

// steadyWindow returns the span of a run in which the load asked was in place,
// or nil if there is none, and the doubts about it.
//
// Closed loop: the longest span with at least SteadyInFlight of the concurrency
// in flight, in which at least concurrency requests were sent and ended: the
// ones that all start at once when the loop starts do not count. Open loop: from the
// first arrival plus the 90th percentile of latency (the queue has filled by
// then) to the last arrival.
func steadyWindow(measured []flight, workload Workload) (*Window, []string) {
	if len(measured) == 0 {
		return nil, []string{"no_steady_window: no request was sent"}
	}
	if workload.open() {
		return openWindow(measured)
	}
	w, doubts := closedWindow(measured, workload.Concurrency)
	return w, append(rampDoubts(len(measured), workload.Concurrency), doubts...)
}

// rampDoubts says how much of a closed loop is its edges.
func rampDoubts(n, concurrency int) []string {
	switch {
	case n < RampFactor*concurrency:
		return []string{fmt.Sprintf("ramp_dominated: %d requests are fewer than %d × %d streams, so most of the run is ramp and drain; ask at least %d",
			n, RampFactor, concurrency, SettledFactor*concurrency)}
	case n < SettledFactor*concurrency:
		return []string{fmt.Sprintf("few_prompts: %d requests are fewer than %d × %d streams; the edges of the run still weigh", n, SettledFactor, concurrency)}
	}
	return nil
}

func closedWindow(measured []flight, concurrency int) (*Window, []string) {
	if concurrency < 1 {
		return nil, []string{"no_steady_window: the concurrency asked is not known"}
	}
	need := int(math.Ceil(SteadyInFlight * float64(concurrency)))
	dip := int64(DipShare * 1e6 * medianLatencyMS(measured))
	var best Window
	for _, w := range busySpans(measured, need, dip) {
		if w.ToNS-w.FromNS > best.ToNS-best.FromNS {
			best = w
		}
	}
	ended, share := endedInside(measured, best)
	if ended < concurrency || best.ToNS <= best.FromNS {
		return nil, []string{fmt.Sprintf("no_steady_window: with at least %d of %d streams in flight, %d requests were sent and ended; %d are needed; with 4 × %d prompts or more there is such a span",
			need, concurrency, ended, concurrency, concurrency)}
	}
	best.Share = share
	best.Method = fmt.Sprintf("longest span with at least %d of %d streams in flight", need, concurrency)
	return &best, windowDoubts(best)
}

// busySpans returns the spans in which at least need requests were in flight.
// Dips of at most dip ns between two spans are taken in.
func busySpans(measured []flight, need int, dip int64) []Window {
	// An edge is its instant and, in the lowest bit, whether a request ended
	// there: at one instant starts come first, so that a slot that turns round at
	// once is never free.
	edges := make([]int64, 0, 2*len(measured))
	for i := range measured {
		edges = append(edges, measured[i].sent<<1, measured[i].end<<1|1)
	}
	slices.Sort(edges)
	var spans []Window
	inFlight := 0
	for _, e := range edges {
		was, at := inFlight, e>>1
		inFlight += 1 - 2*int(e&1)
		switch {
		case was < need && inFlight >= need:
			if n := len(spans); n > 0 && at-spans[n-1].ToNS <= dip {
				continue // still open: its end is written when it next falls
			}
			spans = append(spans, Window{FromNS: at, ToNS: at})
		case was >= need && inFlight < need:
			spans[len(spans)-1].ToNS = at
		}
	}
	return spans
}

func openWindow(measured []flight) (*Window, []string) {
	first, last := measured[0].intended, measured[0].intended
	var latency []float64
	for i := range measured {
		r := &measured[i]
		first, last = min(first, r.intended), max(last, r.intended)
		if ms, ok := span(r.intended, r.end); ok && r.answered {
			latency = append(latency, ms)
		}
	}
	if len(latency) == 0 {
		return nil, []string{"no_steady_window: no request was answered"}
	}
	slices.Sort(latency)
	settle := Percentile(latency, 90)
	w := Window{FromNS: first + int64(settle*1e6), ToNS: last,
		Method: fmt.Sprintf("arrivals, less the first %.0f ms (the 90th percentile of latency)", settle)}
	ended, share := endedInside(measured, w)
	if w.ToNS <= w.FromNS || ended < OpenMinRequests {
		return nil, []string{fmt.Sprintf("no_steady_window: %d requests ended between the 90th percentile of latency after the first arrival and the last arrival; %d are needed",
			max(ended, 0), OpenMinRequests)}
	}
	w.Share = share
	doubts := windowDoubts(w)
	middle := (w.FromNS + w.ToNS) / 2
	before := meanInFlight(measured, Window{FromNS: w.FromNS, ToNS: middle})
	after := meanInFlight(measured, Window{FromNS: middle, ToNS: w.ToNS})
	if after > GrowthLimit*before && after-before > growthScatter(before, after) {
		doubts = append(doubts, fmt.Sprintf("overloaded: requests in flight grew from %.1f to %.1f within the window, so there is no steady state at this rate", before, after))
	}
	return &w, doubts
}

// growthScatter is twice what the numbers in flight of two instants differ by
// through chance alone, as Poisson arrivals scatter them.
func growthScatter(before, after float64) float64 { return 2 * math.Sqrt(before+after) }

// meanInFlight is the mean over the window of how many requests were in flight,
// counted from when they were due.
func meanInFlight(measured []flight, w Window) float64 {
	var busy int64
	for i := range measured {
		r := &measured[i]
		busy += max(0, min(r.end, w.ToNS)-max(r.intended, w.FromNS))
	}
	return float64(busy) / float64(w.ToNS-w.FromNS)
}

func windowDoubts(w Window) []string {
	if w.Share < SteadyShare {
		return []string{fmt.Sprintf("short_steady_window: %.0f%% of the requests were sent and ended inside it, fewer than %.0f%%", 100*w.Share, 100*SteadyShare)}
	}
	return nil
}

// endedInside returns how many requests were sent and answered inside the
// window, and which share of all answered ones that is.
func endedInside(measured []flight, w Window) (int, float64) {
	inside, all := 0, 0
	for i := range measured {
		if !measured[i].answered {
			continue
		}
		all++
		if w.holds(measured[i].end) && measured[i].sent >= w.FromNS {
			inside++
		}
	}
	if all == 0 {
		return 0, 0
	}
	return inside, float64(inside) / float64(all)
}

func medianLatencyMS(measured []flight) float64 {
	var ms []float64
	for i := range measured {
		if f := &measured[i]; f.answered && f.latency >= 0 {
			ms = append(ms, float64(f.latency)/1e6)
		}
	}
	if len(ms) == 0 {
		return 0
	}
	slices.Sort(ms)
	return Percentile(ms, 50)
}
