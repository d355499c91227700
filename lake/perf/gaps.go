package perf

import (
	"math"
	"math/big"
	"math/bits"
	"slices"
)

// ExactGaps is how many gaps between content events are kept one by one. A run
// with more is described by a histogram, whose percentiles are within
// GapError of the exact ones; mean, deviation, least and largest stay exact.
const ExactGaps = 1 << 21

// GapError is half the width of a bucket, as a share of what is in it.
const GapError = 1.0 / (2 << gapBits)

// gapBits are the binary digits that a bucket keeps after the first.
const gapBits = 11

// gaps gathers the nanoseconds between content events of many requests.
type gaps struct {
	exact     []int64
	histogram []int64 // how many in each bucket; nil as long as exact holds all
	n         int64
	sum       int64
	squares   [2]uint64 // sum of squares, high and low word: exact, whatever the order
	min, max  int64
}

// add takes the gaps between the times of one request's content events.
func (g *gaps) add(times []int64) {
	for i := 1; i < len(times); i++ {
		g.put(times[i] - times[i-1])
	}
}

func (g *gaps) put(ns int64) {
	if g.n == 0 || ns < g.min {
		g.min = ns
	}
	if g.n == 0 || ns > g.max {
		g.max = ns
	}
	g.n++
	g.sum += ns
	size := uint64(max(ns, -ns))
	high, low := bits.Mul64(size, size)
	var carry uint64
	g.squares[1], carry = bits.Add64(g.squares[1], low, 0)
	g.squares[0], _ = bits.Add64(g.squares[0], high, carry)
	switch {
	case g.histogram != nil:
		g.histogram[gapBucket(ns)]++
	case len(g.exact) < ExactGaps:
		g.exact = append(g.exact, ns)
	default:
		g.histogram = make([]int64, gapBucket(math.MaxInt64)+1)
		for _, kept := range g.exact {
			g.histogram[gapBucket(kept)]++
		}
		g.exact = nil
		g.histogram[gapBucket(ns)]++
	}
}

// gapBucket numbers the buckets: each value below 2^(gapBits+1) has its own,
// above they are as wide as the digits that are left out.
func gapBucket(ns int64) int {
	v := uint64(max(ns, 0))
	drop := max(bits.Len64(v)-gapBits-1, 0)
	return drop<<gapBits + int(v>>drop)
}

// gapMiddle is the middle of what a bucket holds.
func gapMiddle(bucket int) float64 {
	drop := max(bucket>>gapBits-1, 0)
	first := float64(uint64(bucket-drop<<gapBits) << drop)
	return first + float64(uint64(1)<<drop-1)/2
}

// describe returns the gaps in milliseconds, nil if there are none.
func (g *gaps) describe() *Dist {
	if g.n == 0 {
		return nil
	}
	if g.histogram == nil {
		ms := make([]float64, len(g.exact))
		slices.Sort(g.exact)
		for i, ns := range g.exact {
			ms[i] = float64(ns) / 1e6
		}
		return describeSorted(ms)
	}
	d := &Dist{
		N: int(g.n), Min: float64(g.min) / 1e6, Max: float64(g.max) / 1e6, RelativeError: GapError,
		P50: g.percentile(50), P90: g.percentile(90), P95: g.percentile(95), P99: g.percentile(99),
	}
	d.Mean, d.Std = g.moments()
	return d
}

// percentile interpolates between two order statistics, as Percentile does,
// each taken as the middle of its bucket.
func (g *gaps) percentile(p float64) float64 {
	at := p / 100 * float64(g.n-1)
	i := int64(at)
	low := g.statistic(i)
	if i+1 >= g.n {
		return low
	}
	return low + (at-float64(i))*(g.statistic(i+1)-low)
}

// statistic is the i-th smallest gap in milliseconds, from 0.
func (g *gaps) statistic(i int64) float64 {
	for bucket, n := range g.histogram {
		if i -= n; i < 0 {
			return min(max(gapMiddle(bucket), float64(g.min)), float64(g.max)) / 1e6
		}
	}
	return float64(g.max) / 1e6
}

// moments returns the mean and the sample deviation in milliseconds.
func (g *gaps) moments() (mean, std float64) {
	n := float64(g.n)
	mean = float64(g.sum) / n / 1e6
	// n·Σx² - (Σx)² is a difference of two like numbers: in whole numbers it loses nothing.
	squares := new(big.Int).SetUint64(g.squares[0])
	squares.Lsh(squares, 64).Or(squares, new(big.Int).SetUint64(g.squares[1]))
	squares.Mul(squares, big.NewInt(g.n))
	sum := big.NewInt(g.sum)
	spread, _ := new(big.Float).SetInt(squares.Sub(squares, sum.Mul(sum, sum))).Float64()
	return mean, math.Sqrt(spread/n/(n-1)) / 1e6
}
