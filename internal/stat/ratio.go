package stat

import "math"

// A Ratio is how much larger one quantity is than another, from a sample of
// each: the ratio of their geometric means, with an interval and the test of
// "they are the same". It is Welch's test on the logarithms: deviations need
// not be equal, and the interval of a ratio stays above zero.
type Ratio struct {
	Value     float64 // a over b; 1 is no difference
	Low, High float64 // interval at the confidence asked
	P         float64 // two-sided
	StdErr    float64 // of the logarithm
	DF        float64 // Welch and Satterthwaite
}

// RatioOf compares two samples of positive values, two values or more each.
// It is false where there is nothing to tell chance by: too few values, a
// value that is not positive, or no variation at all in either sample.
func RatioOf(a, b []float64, confidence float64) (Ratio, bool) {
	x, okA := logs(a)
	y, okB := logs(b)
	if !okA || !okB || len(x) < 2 || len(y) < 2 {
		return Ratio{}, false
	}
	n, m := float64(len(x)), float64(len(y))
	vx, vy := Std(x)*Std(x)/n, Std(y)*Std(y)/m
	se := math.Sqrt(vx + vy)
	diff := Mean(x) - Mean(y)
	if se <= 1e-12*max(1, math.Abs(Mean(x))) { // alike to the last digit: rounding, and not chance, is what is left
		return Ratio{}, false
	}
	df := (vx + vy) * (vx + vy) / (vx*vx/(n-1) + vy*vy/(m-1))
	half := QuantileT((1+confidence)/2, df) * se
	return Ratio{
		Value: math.Exp(diff), Low: math.Exp(diff - half), High: math.Exp(diff + half),
		P: TwoSidedT(diff/se, df), StdErr: se, DF: df,
	}, true
}

// Detectable returns the smallest difference, as a share, that a comparison as
// precise as this one finds with the given power when it is tested at alpha:
// exp((t(1-alpha/2) + t(power)) · StdErr) - 1. It is the usual approximation
// by two quantiles of t to the noncentral t.
func (r Ratio) Detectable(alpha, power float64) float64 {
	return math.Expm1((QuantileT(1-alpha/2, r.DF) + QuantileT(power, r.DF)) * r.StdErr)
}

func logs(values []float64) ([]float64, bool) {
	out := make([]float64, len(values))
	for i, v := range values {
		if !(v > 0) || math.IsInf(v, 1) {
			return nil, false
		}
		out[i] = math.Log(v)
	}
	return out, true
}
