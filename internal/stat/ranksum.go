package stat

import (
	"cmp"
	"math"
	"slices"
)

// exactRanks is up to how many values in both samples the rank-sum test counts
// every arrangement.
const exactRanks = 100

// RankSum returns the two-sided p of the rank-sum test of Wilcoxon, Mann and
// Whitney: twice the chance of a rank sum as far out as the one seen, over all
// ways to deal the values into two samples of these sizes. Equal values share
// the mean of their ranks, and the count is exact with them too. Beyond
// exactRanks values it is the normal approximation. NaN if a sample is empty.
func RankSum(a, b []float64) float64 {
	if len(a) == 0 || len(b) == 0 {
		return math.NaN()
	}
	ranks, sum, ties := ranksOf(a, b)
	if len(ranks) > exactRanks {
		return rankSumNormal(len(a), len(b), float64(sum)/2, ties)
	}
	ways := deals(ranks, len(a))
	var below, above, all float64
	for s, w := range ways {
		all += w
		if s <= sum {
			below += w
		}
		if s >= sum {
			above += w
		}
	}
	return min(1, 2*min(below, above)/all)
}

// RankSumLeast returns the smallest p that RankSum can give for samples of n
// and m different values: 2 / (n+m choose n).
func RankSumLeast(n, m int) float64 {
	ln := func(x int) float64 { v, _ := math.Lgamma(float64(x) + 1); return v }
	return min(1, 2*math.Exp(ln(n)+ln(m)-ln(n+m)))
}

// ranksOf returns twice the ranks of all values, so that shared ones are
// whole; twice the rank sum of a; and the sum of t³-t over groups of t equals.
func ranksOf(a, b []float64) (ranks []int, sumA int, ties float64) {
	type value struct {
		v   float64
		isA bool
	}
	all := make([]value, 0, len(a)+len(b))
	for _, v := range a {
		all = append(all, value{v, true})
	}
	for _, v := range b {
		all = append(all, value{v, false})
	}
	slices.SortFunc(all, func(x, y value) int { return cmp.Compare(x.v, y.v) })
	for from := 0; from < len(all); {
		to := from + 1
		for to < len(all) && all[to].v == all[from].v {
			to++
		}
		for i := from; i < to; i++ {
			ranks = append(ranks, from+1+to)
			if all[i].isA {
				sumA += from + 1 + to
			}
		}
		t := float64(to - from)
		ties += t*t*t - t
		from = to
	}
	return ranks, sumA, ties
}

// deals returns in how many ways k of the ranks add up to each sum.
func deals(ranks []int, k int) []float64 {
	total := 0
	for _, r := range ranks {
		total += r
	}
	ways := make([][]float64, k+1)
	for i := range ways {
		ways[i] = make([]float64, total+1)
	}
	ways[0][0] = 1
	for _, r := range ranks {
		for i := k; i >= 1; i-- {
			for s := total; s >= r; s-- {
				ways[i][s] += ways[i-1][s-r]
			}
		}
	}
	return ways[k]
}

func rankSumNormal(n, m int, sum, ties float64) float64 {
	fn, fm := float64(n), float64(m)
	all := fn + fm
	mean := fn * (all + 1) / 2
	variance := fn * fm / 12 * ((all + 1) - ties/(all*(all-1)))
	if variance <= 0 {
		return 1
	}
	z := max(0, math.Abs(sum-mean)-0.5) / math.Sqrt(variance)
	return math.Erfc(z / math.Sqrt2)
}
