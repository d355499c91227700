package chart

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// A scale maps values to pixels.
type scale struct {
	log      bool
	low      float64 // ends of the axis, in values
	high     float64
	from, to float64 // and in pixels
	ticks    []float64
}

// newScale finds ends and ticks for values. About n ticks are wanted. A linear
// axis begins at zero unless values are below it.
func newScale(a Axis, values []float64, n float64) scale {
	if len(values) == 0 {
		values = []float64{1}
	}
	low, high := slices.Min(values), slices.Max(values)
	s := scale{log: a.Log, low: low, high: high}
	if a.Log {
		s.low, s.high = low/1.25, high*1.25
		s.ticks = logTicks(s.low, s.high)
	} else {
		s.low = min(0, low)
		s.high = high + (high-s.low)*0.06
		if s.high <= s.low {
			s.high = s.low + 1
		}
		s.ticks = linearTicks(s.low, s.high, n)
	}
	if a.Ticks != nil {
		s.ticks = a.Ticks
	}
	return s
}

// at returns the pixel of a value, kept within the axis.
func (s scale) at(v float64) float64 {
	low, high := s.low, s.high
	if s.log {
		v, low, high = math.Log(max(v, s.low)), math.Log(low), math.Log(high)
	}
	part := (v - low) / (high - low)
	return s.from + min(1, max(0, part))*(s.to-s.from)
}

// linearTicks returns round values: steps of 1, 2 or 5 times a power of ten.
func linearTicks(low, high, n float64) []float64 {
	raw := (high - low) / max(2, n)
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	step := 10 * power
	for _, m := range []float64{1, 2, 5} {
		if m*power >= raw {
			step = m * power
			break
		}
	}
	var ticks []float64
	for i := math.Ceil(low / step); i*step <= high; i++ {
		ticks = append(ticks, i*step)
	}
	return ticks
}

// logTicks returns 1, 2, 5 of each power of ten, or powers of ten alone where
// that would be many.
func logTicks(low, high float64) []float64 {
	steps := []float64{1, 2, 5}
	if math.Log10(high/low) > 3 {
		steps = steps[:1]
	}
	var ticks []float64
	for e := math.Floor(math.Log10(low)); e <= math.Log10(high); e++ {
		for _, m := range steps {
			if t := m * math.Pow(10, e); t >= low && t <= high {
				ticks = append(ticks, t)
			}
		}
	}
	return ticks
}

// tickText prints a tick: 0.05, 20, 1,500.
func tickText(v float64) string {
	if v = math.Round(v*1e9) / 1e9; v == 0 {
		v = 0 // a negative zero prints a minus
	}
	text := strconv.FormatFloat(v, 'f', -1, 64)
	whole, rest, dot := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if dot {
		return whole + "." + rest
	}
	return whole
}
