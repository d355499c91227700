package roofline

import (
	"fmt"
	"math"
	"strings"

	"pipeline/internal/stat"
)

// A PeakAnswer says at which concurrency the FLOP/s of the model are highest.
type PeakAnswer struct {
	Known     bool // else Text says why not
	C         int
	TFLOPs    float64 // per GPU, mean over the trials at C
	Std       float64 // over trials; NaN for one
	N         int     // trials
	Knee      int     // the least concurrency that does as well
	KneeShare float64 // of TFLOPs that it reaches
	Bracketed bool    // a larger concurrency was measured, and does less
	Rise      float64 // if not bracketed: how much C does above the one before, as a share
	Before    int     // that one; 0 if there is none
	Saturated int     // the largest concurrency that the effective batch follows, where it stops following; else 0
	Text      string
}

// Within these shares of each other, concurrencies do as well, and an effective
// batch follows the concurrency.
const (
	kneeWithin = 0.02
	followsC   = 0.9
)

// Peak answers for one candidate. The knee is the least concurrency within 2 %
// of the highest, or within the interval of its mean.
func (c Curve) Peak() PeakAnswer {
	type at struct {
		spot
		tflops []float64
		mean   float64
	}
	var spots []at
	for _, s := range c.spots() {
		if v := s.values(func(t Trial) float64 { return t.TFLOPs }); v != nil {
			spots = append(spots, at{s, v, stat.Mean(v)})
		}
	}
	if len(spots) == 0 {
		return PeakAnswer{Text: "not known: no decode cell of this sweep has an effective batch and a model to count FLOPs by"}
	}
	best := 0
	for i := range spots {
		if spots[i].mean > spots[best].mean {
			best = i
		}
	}
	top := spots[best]
	a := PeakAnswer{
		Known: true, C: top.c, TFLOPs: top.mean, Std: stat.Std(top.tflops), N: len(top.tflops),
		Knee: top.c, KneeShare: 1, Bracketed: best < len(spots)-1,
	}
	least := top.mean * (1 - kneeWithin)
	if half := stat.HalfWidth(top.tflops, confidence); !math.IsNaN(half) {
		least = min(least, top.mean-half)
	}
	for _, s := range spots[:best] {
		if s.mean >= least {
			a.Knee, a.KneeShare = s.c, s.mean/top.mean
			break
		}
	}
	if best > 0 {
		a.Before, a.Rise = spots[best-1].c, top.mean/spots[best-1].mean-1
	}
	a.Saturated = c.saturated()
	a.Text = a.text()
	return a
}

// saturated is the largest concurrency that the effective batch follows, if at
// a larger one it does not; 0 if it always does, or never.
func (c Curve) saturated() int {
	follows := 0
	for _, s := range c.spots() {
		b, ok := s.mean(func(t Trial) float64 { return t.BEff })
		if !ok {
			continue
		}
		if b < followsC*float64(s.c) {
			return follows
		}
		follows = s.c
	}
	return 0
}

func (a PeakAnswer) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "highest at C=%d: %s TFLOP/s/GPU", a.C, digits(a.TFLOPs))
	if !math.IsNaN(a.Std) {
		fmt.Fprintf(&b, " ± %s", digits(a.Std))
	}
	fmt.Fprintf(&b, " (n=%d)", a.N)
	if a.Knee < a.C {
		fmt.Fprintf(&b, "; C=%d does as well (%.1f%% of it)", a.Knee, 100*a.KneeShare)
	}
	switch {
	case a.Bracketed:
	case a.Before == 0:
		fmt.Fprintf(&b, "; not bracketed: it is the only concurrency measured, so extend the sweep")
	case a.Rise > 0:
		fmt.Fprintf(&b, "; not bracketed: still rising at C=%d (+%.1f%% over C=%d), so extend the sweep", a.C, 100*a.Rise, a.Before)
	}
	if a.Saturated > 0 {
		fmt.Fprintf(&b, "; above C=%d the effective batch no longer follows the concurrency: requests wait", a.Saturated)
	}
	return b.String()
}

// digits prints three digits that count.
func digits(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
