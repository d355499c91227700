package perf

import (
	"cmp"
	"slices"
)

// Regimes of concurrency. A winner is named for each of them, and never over
// all: what wins at one stream mostly loses at a hundred.
const (
	RegimeLatency    = "low latency" // up to LatencyStreams
	RegimeKnee       = "knee"        // where throughput begins to saturate
	RegimeThroughput = "throughput"  // from ThroughputStreams
	RegimeBetween    = "between"     // none of them
)

// The bounds of the regimes.
const (
	LatencyStreams    = 4
	KneeStreams       = 16 // where the curve shows no knee
	ThroughputStreams = 64
	kneeBend          = 0.05 // of the height of the curve, above its chord: less is no bend
)

// regimeOf returns the regime of a closed loop, given where the knee is.
func regimeOf(concurrency, knee int64) string {
	switch {
	case concurrency <= 0:
		return RegimeBetween
	case concurrency <= LatencyStreams:
		return RegimeLatency
	case concurrency >= ThroughputStreams:
		return RegimeThroughput
	case concurrency == knee:
		return RegimeKnee
	}
	return RegimeBetween
}

// LatencyTier names the load of a closed loop: latency, throughput or mixed.
func LatencyTier(concurrency int64) string {
	switch regimeOf(concurrency, 0) {
	case RegimeLatency:
		return "latency"
	case RegimeThroughput:
		return "throughput"
	}
	return "mixed"
}

// deciding is the metric that decides a regime: a user's speed where few wait,
// and tokens a GPU where many do.
func deciding(regime string) string {
	if regime == RegimeLatency {
		return "headline_tpot_ms"
	}
	return "output_tps_per_gpu"
}

// A curvePoint is the throughput at a concurrency.
type curvePoint struct {
	concurrency int64
	throughput  float64
}

// kneeOf returns the concurrency between the other regimes at which the curve
// of throughput is furthest above its chord, both axes scaled to one: there
// it bends most (Satopää et al. 2011). Without a bend it is KneeStreams if that
// was measured, else 0.
func kneeOf(curve []curvePoint) int64 {
	slices.SortFunc(curve, func(a, b curvePoint) int { return cmp.Compare(a.concurrency, b.concurrency) })
	knee, bend := int64(0), kneeBend
	if n := len(curve); n >= 4 {
		first, last := curve[0], curve[n-1]
		for _, p := range curve {
			if p.concurrency <= LatencyStreams || p.concurrency >= ThroughputStreams || last.throughput <= first.throughput {
				continue
			}
			x := float64(p.concurrency-first.concurrency) / float64(last.concurrency-first.concurrency)
			y := (p.throughput - first.throughput) / (last.throughput - first.throughput)
			if y-x > bend {
				knee, bend = p.concurrency, y-x
			}
		}
	}
	if knee == 0 && slices.ContainsFunc(curve, func(p curvePoint) bool { return p.concurrency == KneeStreams }) {
		return KneeStreams
	}
	return knee
}
