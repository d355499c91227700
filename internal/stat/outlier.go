package stat

import (
	"math"
	"slices"
)

// What makes a value an outlier among its repetitions.
const (
	OutlierMADs  = 3.5    // deviations about the median, the deviation being MADScale · MAD (Iglewicz and Hoaglin 1993)
	MADScale     = 1.4826 // makes the median absolute deviation an estimate of the deviation of a normal law
	OutlierFew   = 5      // fewer values than this say too little of their spread
	OutlierShare = 0.10   // and are outliers when further than this share from the median
)

// Median returns the median of values, NaN for none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Clone(values)
	slices.Sort(v)
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

// Outliers reports which of the repetitions of one measurement stand apart
// from the others.
func Outliers(values []float64) []bool {
	out := make([]bool, len(values))
	if len(values) < 3 {
		return out // of two, nobody can say which
	}
	median := Median(values)
	apart := make([]float64, len(values))
	for i, v := range values {
		apart[i] = math.Abs(v - median)
	}
	limit := OutlierShare * math.Abs(median)
	if len(values) >= OutlierFew {
		limit = OutlierMADs * MADScale * Median(apart)
	}
	for i := range values {
		out[i] = apart[i] > limit
	}
	return out
}
