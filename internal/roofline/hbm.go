package roofline

import (
	"fmt"
	"math"
	"strings"

	"pipeline/internal/stat"
)

// HBMThreshold is the share of the memory interface's time that decode is asked
// to reach.
const HBMThreshold = 0.75

// The answers to whether decode reaches it.
const (
	Yes           = "YES"
	No            = "NO"
	Indeterminate = "INDETERMINATE"
	NotMeasured   = "not measured"
)

// An HBMAnswer is the answer at one concurrency.
type HBMAnswer struct {
	C       int
	Answer  string
	Mean    float64 // of DRAM active, 0 to 1, over GPUs and trials; NaN if not measured
	Low     float64 // of its 95 % interval; NaN if there is none
	High    float64
	N       int    // values that the interval rests on
	Over    string // trials, or collections of one trial
	Trials  int    // with counters
	Missing int    // trials without
}

// HBM answers for each concurrency of a candidate: YES if the whole 95 %
// interval of the mean lies at 75 % or above, NO if it lies below, else
// INDETERMINATE. The interval is over trials; where there is one trial, over
// its collections, which share its luck.
func (c Curve) HBM() []HBMAnswer {
	var out []HBMAnswer
	for _, s := range c.spots() {
		out = append(out, s.hbm())
	}
	return out
}

func (s spot) hbm() HBMAnswer {
	a := HBMAnswer{C: s.c, Answer: NotMeasured, Mean: math.NaN(), Low: math.NaN(), High: math.NaN()}
	var means []float64
	var last *Gauge
	for _, t := range s.trials {
		if t.DRAM == nil {
			a.Missing++
			continue
		}
		means, last = append(means, t.DRAM.Mean), t.DRAM
	}
	if len(means) == 0 {
		return a
	}
	a.Trials, a.Mean, a.Answer = len(means), stat.Mean(means), Indeterminate
	half := stat.HalfWidth(means, confidence)
	a.N, a.Over = len(means), "trials"
	if len(means) == 1 {
		a.N, a.Over = last.N, "collections of one trial"
		half = math.NaN()
		if last.N > 1 {
			half = stat.QuantileT(1-(1-confidence)/2, float64(last.N-1)) * last.Sd / math.Sqrt(float64(last.N))
		}
	}
	if math.IsNaN(half) {
		return a
	}
	a.Low, a.High = a.Mean-half, a.Mean+half
	switch {
	case a.Low >= HBMThreshold:
		a.Answer = Yes
	case a.High < HBMThreshold:
		a.Answer = No
	}
	return a
}

// Text says the answer with its numbers.
func (a HBMAnswer) Text() string {
	if a.Answer == NotMeasured {
		return fmt.Sprintf("C=%d: %s", a.C, NotMeasured)
	}
	if math.IsNaN(a.Low) {
		return fmt.Sprintf("C=%d: %s (%.1f%%, one value: no interval)", a.C, a.Answer, 100*a.Mean)
	}
	return fmt.Sprintf("C=%d: %s (%.1f%%, 95%% interval %.1f to %.1f%% over %d %s)", a.C, a.Answer, 100*a.Mean, 100*a.Low, 100*a.High, a.N, a.Over)
}

// HBMText sums the answers of a candidate up: where YES, where NO, where not.
func HBMText(answers []HBMAnswer) string {
	byAnswer := map[string][]int{}
	for _, a := range answers {
		byAnswer[a.Answer] = append(byAnswer[a.Answer], a.C)
	}
	var parts []string
	for _, answer := range []string{Yes, No, Indeterminate, NotMeasured} {
		if c := byAnswer[answer]; len(c) > 0 {
			parts = append(parts, fmt.Sprintf("%s at C = %s", answer, list(c)))
		}
	}
	if len(parts) == 0 {
		return "not measured: there is no decode cell"
	}
	return strings.Join(parts, "; ")
}
