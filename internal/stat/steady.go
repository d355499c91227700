package stat

import (
	"math"
	"slices"
)

// mserBatch is the 5 of MSER-5.
const mserBatch = 5

// Truncation returns how many values at the beginning of a series are its
// warm-up, by MSER-5 (White 1997): of all cuts in the first half, the one after
// which the mean of what is left has the smallest standard error, on means of
// five values. It is false if the last of those cuts is the best, since then
// the warm-up may well go on, or if there are fewer than four batches.
func Truncation(series []float64) (int, bool) {
	n := len(series) / mserBatch
	if n < 4 {
		return 0, false
	}
	batches := make([]float64, n)
	for i := range batches {
		batches[i] = Mean(series[i*mserBatch : (i+1)*mserBatch])
	}
	best, at := math.Inf(1), 0
	for cut := range n/2 + 1 {
		left := batches[cut:]
		mean, squares := Mean(left), 0.0
		for _, x := range left {
			squares += (x - mean) * (x - mean)
		}
		if error := squares / float64(len(left)*len(left)); error < best {
			best, at = error, cut
		}
	}
	return at * mserBatch, at < n/2
}

// Changepoints returns where the level of a series changes: the first index of
// each segment after the first. It is the optimal partition by squared error,
// each change costing 3·ln(n) times the variance of the noise, which is
// estimated by half the mean square of first differences; segments have
// minSegment values or more. The search is PELT (Killick et al. 2012), which
// prunes and gives the same answer as trying all.
func Changepoints(series []float64, minSegment int) []int {
	n := len(series)
	if n < 2*minSegment || minSegment < 1 {
		return nil
	}
	noise := 0.0
	for i := 1; i < n; i++ {
		noise += (series[i] - series[i-1]) * (series[i] - series[i-1])
	}
	noise /= 2 * float64(n-1)
	penalty := 3 * math.Log(float64(n)) * noise
	cost := segmentCost(series)
	best := make([]float64, n+1) // of the first t values
	last := make([]int, n+1)     // where their last segment begins
	best[0] = -penalty
	starts := []int{0}
	for t := minSegment; t <= n; t++ {
		if s := t - minSegment; s >= minSegment {
			starts = append(starts, s)
			// One that cannot beat a cut at s will not beat it later either.
			starts = slices.DeleteFunc(starts, func(r int) bool {
				return r < s && best[r]+cost(r, s) > best[s]
			})
		}
		best[t] = math.Inf(1)
		for _, s := range starts {
			if c := best[s] + cost(s, t) + penalty; c < best[t] {
				best[t], last[t] = c, s
			}
		}
	}
	var points []int
	for t := last[n]; t > 0; t = last[t] {
		points = append(points, t)
	}
	slices.Reverse(points)
	return points
}

// segmentCost returns the squared error of series[from:to] about its mean.
func segmentCost(series []float64) func(from, to int) float64 {
	level := Mean(series)
	sum, squares := make([]float64, len(series)+1), make([]float64, len(series)+1)
	for i, v := range series {
		x := v - level
		sum[i+1], squares[i+1] = sum[i]+x, squares[i]+x*x
	}
	return func(from, to int) float64 {
		s := sum[to] - sum[from]
		return max(0, squares[to]-squares[from]-s*s/float64(to-from))
	}
}
