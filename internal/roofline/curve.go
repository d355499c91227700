package roofline

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pipeline/internal/stat"
)

// A Curve is the decode sweep of one candidate: a deployment that could serve
// the model. Only trials that are a full answer are in it.
type Curve struct {
	Name   string
	GPUs   int
	Trials []Trial
}

// A Trial is one measured decode cell. A zero is what was not measured.
type Trial struct {
	C          int
	TFLOPs     float64 // of the model, per GPU
	TPSPerGPU  float64 // output tok/s/GPU
	TPSPerUser float64 // median over requests of 1/TPOT
	BEff       float64
	DRAM       *Gauge // nil if no counters were kept
}

// A Gauge is a mean over the GPUs of a cell, and its deviation over the
// collections that were kept.
type Gauge struct {
	Mean, Sd float64
	N        int // collections
}

// A spot is what the trials at one concurrency say.
type spot struct {
	c      int
	trials []Trial
}

// spots groups the trials by concurrency, the least first.
func (c Curve) spots() []spot {
	var out []spot
	for _, t := range c.Trials {
		i := slices.IndexFunc(out, func(s spot) bool { return s.c == t.C })
		if i < 0 {
			i = len(out)
			out = append(out, spot{c: t.C})
		}
		out[i].trials = append(out[i].trials, t)
	}
	slices.SortFunc(out, func(a, b spot) int { return cmp.Compare(a.c, b.c) })
	return out
}

// values returns a number of each trial, nil if a trial lacks it.
func (s spot) values(of func(Trial) float64) []float64 {
	out := make([]float64, 0, len(s.trials))
	for _, t := range s.trials {
		v := of(t)
		if v <= 0 {
			return nil
		}
		out = append(out, v)
	}
	return out
}

// mean is that of the trials; false if one lacks the number.
func (s spot) mean(of func(Trial) float64) (float64, bool) {
	v := s.values(of)
	if len(v) == 0 {
		return 0, false
	}
	return stat.Mean(v), true
}

// Left says which concurrencies are in no answer on a quantity, since some of
// their trials lack it.
func (c Curve) Left() []string {
	var out []string
	for _, what := range []struct {
		name, answer string
		of           func(Trial) float64
	}{
		{"model FLOP/s", "the concurrency that maxes the TFLOPs", func(t Trial) float64 { return t.TFLOPs }},
		{"effective batch", "whether requests wait", func(t Trial) float64 { return t.BEff }},
		{"output tok/s/GPU", "the sharding degree", func(t Trial) float64 { return t.TPSPerGPU }},
		{"speed of a user", "the sharding degree at equal speed", func(t Trial) float64 { return t.TPSPerUser }},
	} {
		for _, s := range c.spots() {
			lacking := 0
			for _, t := range s.trials {
				if what.of(t) <= 0 {
					lacking++
				}
			}
			if lacking > 0 {
				out = append(out, fmt.Sprintf("C=%d is not in the answer on %s: %d of %d trials have no %s", s.c, what.answer, lacking, len(s.trials), what.name))
			}
		}
	}
	return out
}

// confidence of all intervals here.
const confidence = 0.95

// list prints whole numbers: 1, 4 and 16.
func list(numbers []int) string {
	texts := make([]string, len(numbers))
	for i, n := range numbers {
		texts[i] = strconv.Itoa(n)
	}
	if len(texts) < 2 {
		return strings.Join(texts, "")
	}
	return strings.Join(texts[:len(texts)-1], ", ") + " and " + texts[len(texts)-1]
}
