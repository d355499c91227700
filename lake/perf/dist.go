package perf

import (
	"encoding/json"
	"math"
	"slices"
)

// A Dist describes the values of one quantity. Percentiles are exact, by
// linear interpolation between order statistics (numpy's default), but for a
// quantity with very many values: see RelativeError.
//
// Where requests without an answer count as +Inf (the *_intended_ms of a
// Summary), a percentile that falls among them is +Inf, and so is the mean.
// A statistic that the report of another tool does not tell is NaN. JSON has
// neither: it holds null there.
type Dist struct {
	N          int     `json:"n"`                    // Untold if a report does not say how many
	Unanswered int     `json:"unanswered,omitempty"` // of N: no value, counted as +Inf
	Mean       float64 `json:"mean"`
	Std        float64 `json:"std"` // sample deviation (n-1); 0 for one value
	Min        float64 `json:"min"`
	P50        float64 `json:"p50"`
	P90        float64 `json:"p90"`
	P95        float64 `json:"p95"`
	P99        float64 `json:"p99"`
	Max        float64 `json:"max"`

	// RelativeError is the share by which P50 to P99 may be off: they were read
	// from a histogram, since the values were too many to keep (see ExactGaps).
	// 0: they are exact.
	RelativeError float64 `json:"relative_error,omitempty"`

	// Intervals that hold the true percentile at IntervalConfidence, from
	// order statistics. Nil where the sample is too small to bound it, and for
	// quantities whose values are not independent (ITL).
	P50CI *Interval `json:"p50_ci95,omitempty"`
	P90CI *Interval `json:"p90_ci95,omitempty"`
	P99CI *Interval `json:"p99_ci95,omitempty"`
}

// An Interval holds an estimate, both ends included.
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// IntervalConfidence is the confidence of the intervals of a Dist.
const IntervalConfidence = 0.95

// Describe returns the description of values, which need not be sorted, or nil
// if there are none. Its intervals are nil: see DescribeSample.
func Describe(values []float64) *Dist {
	v := slices.Clone(values)
	slices.Sort(v)
	return describeSorted(v)
}

// DescribeSample describes values that are independent of each other, one a
// request or a trial, with intervals for their percentiles.
func DescribeSample(values []float64) *Dist {
	v := slices.Clone(values)
	slices.Sort(v)
	return describeSortedSample(v)
}

func describeSortedSample(sorted []float64) *Dist {
	d := describeSorted(sorted)
	if d == nil {
		return nil
	}
	d.P50CI = PercentileInterval(sorted, 50, IntervalConfidence)
	d.P90CI = PercentileInterval(sorted, 90, IntervalConfidence)
	d.P99CI = PercentileInterval(sorted, 99, IntervalConfidence)
	return d
}

func describeSorted(v []float64) *Dist {
	if len(v) == 0 {
		return nil
	}
	d := &Dist{
		N: len(v), Min: v[0], Max: v[len(v)-1],
		P50: Percentile(v, 50), P90: Percentile(v, 90), P95: Percentile(v, 95), P99: Percentile(v, 99),
	}
	d.Mean, d.Std = meanStd(v)
	return d
}

// meanStd returns the mean and the sample deviation of values, in two passes.
func meanStd(values []float64) (mean, std float64) {
	for _, x := range values {
		mean += x
	}
	mean /= float64(len(values))
	if len(values) < 2 {
		return mean, 0
	}
	if math.IsInf(mean, 0) {
		return mean, math.Inf(1)
	}
	var squares float64
	for _, x := range values {
		squares += (x - mean) * (x - mean)
	}
	return mean, math.Sqrt(squares / float64(len(values)-1))
}

// Percentile returns the p-th percentile (0 to 100) of sorted values, by
// linear interpolation between the two order statistics around position
// p/100·(n-1), as numpy.percentile does. It is NaN for no values.
func Percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := p / 100 * float64(len(sorted)-1)
	i := int(math.Floor(at))
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	low, high, part := sorted[i], sorted[i+1], at-float64(i)
	if part == 0 || low == high {
		return low // also keeps Inf-Inf away
	}
	return low + part*(high-low)
}

// PercentileInterval returns an interval between two order statistics of the
// sorted values that holds the true p-th percentile with at least the given
// confidence, whatever the distribution (each tail has at most half of the
// rest, by the binomial law of how many values lie below it). It is nil if
// the values are too few for one.
func PercentileInterval(sorted []float64, p, confidence float64) *Interval {
	n, q, tail := len(sorted), p/100, (1-confidence)/2
	if n == 0 || q <= 0 || q >= 1 {
		return nil
	}
	// X is how many of n values lie below the percentile. The low end is order
	// statistic l with P(X <= l-1) <= tail, the high end is u with P(X >= u) <= tail.
	l := countWithin(n, q, tail)
	u := n + 1 - countWithin(n, 1-q, tail)
	if l < 1 || u > n {
		return nil
	}
	return &Interval{Low: sorted[l-1], High: sorted[u-1]}
}

// countWithin returns the largest l for which P(X <= l-1) <= tail, X binomial(n, q).
func countWithin(n int, q, tail float64) int {
	var sum float64
	for k := range n + 1 {
		if k < int(float64(n)*q-40*math.Sqrt(float64(n)*q*(1-q)))-40 {
			continue // further than 40 deviations below: no weight
		}
		sum += binomial(n, k, q)
		if sum > tail {
			return k
		}
	}
	return n
}

// binomial returns P(X = k) for X binomial(n, q).
func binomial(n, k int, q float64) float64 {
	ln := func(x int) float64 { v, _ := math.Lgamma(float64(x) + 1); return v }
	return math.Exp(ln(n) - ln(k) - ln(n-k) + float64(k)*math.Log(q) + float64(n-k)*math.Log1p(-q))
}

// MinSamples returns how many values a p-th percentile (0 to 100) needs before
// it may be claimed: the smallest n for which, if the true percentile were
// higher than the claimed one, at most one value beyond it would be seen with
// a chance of no more than 1-confidence. It is MLPerf's early-stopping bound
// with no slack: 64 for p90 and 662 for p99 at 0.99.
func MinSamples(p, confidence float64) int {
	q := p / 100
	for n := 2; ; n++ {
		none := math.Pow(q, float64(n))
		one := float64(n) * (1 - q) * math.Pow(q, float64(n-1))
		if none+one <= 1-confidence {
			return n
		}
	}
}

// number is a float64 that JSON writes as null when it is not finite, and
// reads back as +Inf.
type number float64

func (x number) MarshalJSON() ([]byte, error) {
	if f := float64(x); math.IsInf(f, 0) || math.IsNaN(f) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(x))
}

func (x *number) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*x = number(math.Inf(1))
		return nil
	}
	return json.Unmarshal(b, (*float64)(x))
}

// distJSON is a Dist as JSON holds it.
type distJSON struct {
	N          int           `json:"n"`
	Unanswered int           `json:"unanswered,omitempty"`
	Mean       number        `json:"mean"`
	Std        number        `json:"std"`
	Min        number        `json:"min"`
	P50        number        `json:"p50"`
	P90        number        `json:"p90"`
	P95        number        `json:"p95"`
	P99        number        `json:"p99"`
	Max        number        `json:"max"`
	Relative   float64       `json:"relative_error,omitempty"`
	P50CI      *intervalJSON `json:"p50_ci95,omitempty"`
	P90CI      *intervalJSON `json:"p90_ci95,omitempty"`
	P99CI      *intervalJSON `json:"p99_ci95,omitempty"`
}

type intervalJSON struct {
	Low  number `json:"low"`
	High number `json:"high"`
}

// MarshalJSON writes null for what is not finite.
func (d Dist) MarshalJSON() ([]byte, error) {
	ci := func(i *Interval) *intervalJSON {
		if i == nil {
			return nil
		}
		return &intervalJSON{number(i.Low), number(i.High)}
	}
	return json.Marshal(distJSON{
		d.N, d.Unanswered, number(d.Mean), number(d.Std), number(d.Min), number(d.P50), number(d.P90),
		number(d.P95), number(d.P99), number(d.Max), d.RelativeError, ci(d.P50CI), ci(d.P90CI), ci(d.P99CI),
	})
}

// UnmarshalJSON reads what MarshalJSON wrote. What is null where no request is
// unanswered, or is missing, is NaN.
func (d *Dist) UnmarshalJSON(b []byte) error {
	nan := number(math.NaN())
	j := distJSON{Mean: nan, Std: nan, Min: nan, P50: nan, P90: nan, P95: nan, P99: nan, Max: nan}
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	if j.Unanswered == 0 {
		for _, x := range []*number{&j.Mean, &j.Std, &j.Min, &j.P50, &j.P90, &j.P95, &j.P99, &j.Max} {
			if math.IsInf(float64(*x), 0) {
				*x = nan
			}
		}
	}
	ci := func(i *intervalJSON) *Interval {
		if i == nil {
			return nil
		}
		return &Interval{float64(i.Low), float64(i.High)}
	}
	*d = Dist{
		j.N, j.Unanswered, float64(j.Mean), float64(j.Std), float64(j.Min), float64(j.P50), float64(j.P90),
		float64(j.P95), float64(j.P99), float64(j.Max), j.Relative, ci(j.P50CI), ci(j.P90CI), ci(j.P99CI),
	}
	return nil
}
