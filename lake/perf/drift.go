package perf

import (
	"fmt"
	"math"
)

// What makes a steady window drift.
const (
	DriftBins   = 15   // whole seconds that a window needs before it can be told
	DriftShare  = 0.03 // of throughput, between the first and the last third
	DriftErrors = 3    // standard errors of that difference it must pass too
)

// DriftDoubts returns a doubt if output throughput went up or down through the
// window: the server was still warming up, or slowed down, and no one number
// tells what it does. It compares the seconds of the first third with those of
// the last. A window shorter than DriftBins seconds cannot be told.
func DriftDoubts(requests []Request, w Window) []string {
	d := newDrift(w)
	for i := range requests {
		d.add(&requests[i])
	}
	return d.doubts()
}

// A drift gathers the output tokens of each second of a window.
type drift struct {
	from int64
	bins []float64
}

func newDrift(w Window) *drift {
	return &drift{w.FromNS, make([]float64, (w.ToNS-w.FromNS)/1e9)}
}

func (d *drift) add(r *Request) {
	if len(d.bins) < DriftBins || r.Warmup || !r.OK() || len(r.ChunkNS) == 0 {
		return
	}
	share := float64(r.OSL) / float64(len(r.ChunkNS))
	for _, at := range r.ChunkNS {
		if bin := (at - d.from) / 1e9; at > d.from && bin < int64(len(d.bins)) {
			d.bins[bin] += share
		}
	}
}

func (d *drift) doubts() []string {
	bins := d.bins
	if len(bins) < DriftBins {
		return nil
	}
	third := len(bins) / 3
	first, firstStd := meanStd(bins[:third])
	last, lastStd := meanStd(bins[len(bins)-third:])
	mean, _ := meanStd(bins)
	n := float64(third)
	standardError := math.Sqrt(firstStd*firstStd/n + lastStd*lastStd/n)
	change := last - first
	if mean == 0 || math.Abs(change) <= DriftShare*mean || math.Abs(change) <= DriftErrors*standardError {
		return nil
	}
	return []string{fmt.Sprintf("drift: output throughput went from %.1f tok/s in the first third of the steady window to %.1f in the last (%+.1f%%)",
		first, last, 100*change/first)}
}
