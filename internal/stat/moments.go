package stat

import "math"

// Mean returns the mean of values, NaN for none.
func Mean(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sum := 0.0
	for _, x := range values {
		sum += x
	}
	return sum / float64(len(values))
}

// Std returns the sample deviation (n-1), in two passes; NaN for fewer than
// two values.
func Std(values []float64) float64 {
	if len(values) < 2 {
		return math.NaN()
	}
	mean, sum := Mean(values), 0.0
	for _, x := range values {
		sum += (x - mean) * (x - mean)
	}
	return math.Sqrt(sum / float64(len(values)-1))
}

// CV returns the coefficient of variation, deviation over mean; NaN for fewer
// than two values or a mean of zero.
func CV(values []float64) float64 {
	mean := Mean(values)
	if mean == 0 {
		return math.NaN()
	}
	return Std(values) / math.Abs(mean)
}

// HalfWidth returns half the width of the t-interval of the mean at the given
// confidence; NaN for fewer than two values.
func HalfWidth(values []float64, confidence float64) float64 {
	n := float64(len(values))
	return QuantileT((1+confidence)/2, n-1) * Std(values) / math.Sqrt(n)
}
