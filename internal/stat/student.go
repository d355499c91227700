package stat

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// TwoSidedT returns the chance that Student's t with df degrees of freedom
// (which need not be whole) is at least as far from 0 as t:
// I(df/(df+t²); df/2, 1/2), Abramowitz and Stegun 26.7.1.
func TwoSidedT(t, df float64) float64 {
	if math.IsNaN(t) || !(df > 0) {
		return math.NaN()
	}
	if math.IsInf(t, 0) {
		return 0
	}
	return mathext.RegIncBeta(df/2, 0.5, df/(df+t*t))
}

// QuantileT returns the p-th quantile (0 < p < 1) of Student's t with df
// degrees of freedom.
func QuantileT(p, df float64) float64 {
	if !(p > 0 && p < 1 && df > 0) {
		return math.NaN()
	}
	tail := 2 * min(p, 1-p)
	x := mathext.InvRegIncBeta(df/2, 0.5, tail)
	t := math.Sqrt(df * (1 - x) / x)
	if p < 0.5 {
		return -t
	}
	return t
}
