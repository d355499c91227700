package perf

import (
	"fmt"
	"math"
	"strings"

	"pipeline/internal/stat"
)

// A Steadiness says whether output throughput had one level through the
// steady window, second by second.
type Steadiness struct {
	Class   string    `json:"class"`
	Seconds int       `json:"seconds"`              // of the window, whole ones
	WarmupS int       `json:"warmup_s"`             // at its beginning, as MSER-5 cuts them off
	LevelsS []int     `json:"levels_at_s"`          // where each level begins
	Levels  []float64 `json:"levels_tps,omitempty"` // output tok/s of each level
}

// The classes of a Steadiness.
const (
	Flat     = "flat"     // one level, or several within SteadyLevels of the first
	Drift    = "drift"    // levels that only rise: still warming up
	Slowdown = "slowdown" // levels that only fall
	NoLevel  = "none"     // levels go up and down
	Short    = "short"    // fewer than SteadySeconds: it can't be told
)

// What a class needs.
const (
	SteadySeconds  = 20   // of the window: four batches of MSER-5
	SteadyLevels   = 0.03 // of the first level: levels closer than that are one
	steadySegments = 5    // seconds that a level lasts at least
)

// SteadinessOf classifies the output tokens of each second of a window: the
// warm-up is cut off by MSER-5, and what is left is split at its changepoints.
// A warm-up that moves the mean of the window is a level too, since the
// numbers of the window hold it.
func SteadinessOf(tokens []float64) Steadiness {
	s := Steadiness{Class: Short, Seconds: len(tokens), LevelsS: []int{}}
	if len(tokens) < SteadySeconds {
		return s
	}
	if warmup, ok := stat.Truncation(tokens); ok {
		s.WarmupS = warmup
	}
	rest := tokens[s.WarmupS:]
	if all := stat.Mean(tokens); math.Abs(stat.Mean(rest)-all) > SteadyLevels*all {
		s.level(tokens, 0, s.WarmupS)
	}
	from := 0
	for _, to := range append(stat.Changepoints(rest, steadySegments), len(rest)) {
		s.level(tokens, s.WarmupS+from, s.WarmupS+to)
		from = to
	}
	s.Class = classOf(s.Levels)
	return s
}

func (s *Steadiness) level(tokens []float64, from, to int) {
	s.LevelsS = append(s.LevelsS, from)
	s.Levels = append(s.Levels, math.Round(10*stat.Mean(tokens[from:to]))/10)
}

func classOf(levels []float64) string {
	up, down := 0.0, 0.0 // the largest step either way from a level before
	flat := true
	for i, v := range levels {
		if math.Abs(v-levels[0]) > SteadyLevels*levels[0] {
			flat = false
		}
		for _, before := range levels[:i] {
			up, down = max(up, v-before), max(down, before-v)
		}
	}
	limit := SteadyLevels * levels[0]
	switch {
	case flat:
		return Flat
	case down <= limit:
		return Drift
	case up <= limit:
		return Slowdown
	}
	return NoLevel
}

// doubts names a class other than flat.
func (s Steadiness) doubts() []string {
	var levels []string
	for i, v := range s.Levels {
		levels = append(levels, fmt.Sprintf("%.1f tok/s from second %d", v, s.LevelsS[i]))
	}
	text := strings.Join(levels, ", ")
	switch s.Class {
	case Drift:
		return []string{"drift: output throughput rose through the steady window: " + text}
	case Slowdown:
		return []string{"slowdown: output throughput fell through the steady window: " + text}
	case NoLevel:
		return []string{"no_level: output throughput has no one level in the steady window: " + text}
	}
	return nil
}

// A pace gathers the output tokens of each whole second of a window.
type pace struct {
	from   int64
	tokens []float64
	told   bool // the times of some tokens are known
}

func newPace(w Window) *pace {
	return &pace{from: w.FromNS, tokens: make([]float64, (w.ToNS-w.FromNS)/1e9)}
}

func (p *pace) add(r *Request) {
	if r.Warmup || !r.OK() {
		return
	}
	if len(r.ChunkNS) > 0 {
		share := float64(r.OSL) / float64(len(r.ChunkNS))
		for _, at := range r.ChunkNS {
			p.put(at, share)
		}
		p.told = true
		return
	}
	if r.LastNS < r.FirstNS || r.OSL == 0 {
		return
	}
	// Only the first and the last token are timed: the others came evenly.
	p.told = true
	p.put(r.FirstNS, 1)
	for n := 1; n < r.OSL; n++ {
		p.put(r.FirstNS+int64(float64(n)/float64(r.OSL-1)*float64(r.LastNS-r.FirstNS)), 1)
	}
}

func (p *pace) put(at int64, tokens float64) {
	if second := (at - p.from) / 1e9; at > p.from && second < int64(len(p.tokens)) {
		p.tokens[second] += tokens
	}
}

// steadiness is nil where no token has a time.
func (p *pace) steadiness() *Steadiness {
	if !p.told {
		return nil
	}
	s := SteadinessOf(p.tokens)
	return &s
}
