package roofline

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"pipeline/internal/stat"
)

// A ShardingAnswer says which candidate gives the most tokens a GPU at equal
// speed of a user, and at equal concurrency a GPU.
type ShardingAnswer struct {
	Low, High float64   // speeds, tok/s/user, that every candidate was measured around
	Targets   []Target  // between them
	Crossings []float64 // speeds at which another candidate takes the lead
	Regions   []Region  // who leads where, between Low and High
	EqualLoad []Target  // at equal concurrency a GPU, where two candidates were measured there
	Text      string
}

// A Target is one point of comparison.
type Target struct {
	At      float64    // tok/s/user, or sequences a GPU
	Winner  string     // "" if no two candidates were measured there
	Margin  float64    // of the winner over the next, as a share of the next
	SE2     float64    // twice the pooled standard error of that margin, as a share; NaN if a trial is not repeated
	Tested  bool       // every value rests on repeated trials
	Beyond  bool       // Margin is beyond SE2
	Entries []Standing // best first
}

// A Standing is one candidate at a Target.
type Standing struct {
	Name      string
	TPSPerGPU float64
	seLog     float64 // standard error of its logarithm; NaN for one trial
}

// A Region is a span of speeds in which one candidate leads.
type Region struct {
	Low, High float64
	Leader    string
}

// A knot is a measured cell of a candidate: speed of a user, and the logarithm
// of tokens a GPU.
type knot struct{ x, y, se float64 }

// A line is a candidate as straight segments between its knots.
type line struct {
	name  string
	knots []knot
}

// Sharding compares candidates at equal speed of a user. Between the two
// measured cells that bracket a speed, the logarithm of tok/s/GPU is taken as
// straight in the speed; beyond the cells of a candidate nothing is said of it.
func Sharding(curves []Curve) ShardingAnswer {
	var lines []line
	for _, c := range curves {
		if l := c.line(); len(l.knots) > 0 {
			lines = append(lines, l)
		}
	}
	a := ShardingAnswer{EqualLoad: equalLoad(curves)}
	if len(lines) < 2 {
		a.Text = "not answered: fewer than two candidates have decode cells"
		return a
	}
	a.Low, a.High = math.Inf(-1), math.Inf(1)
	for _, l := range lines {
		a.Low, a.High = max(a.Low, l.knots[0].x), min(a.High, l.knots[len(l.knots)-1].x)
	}
	if a.Low > a.High {
		a.Text = fmt.Sprintf("not answered: there is no speed of a user that every candidate was measured around (%s): measure more concurrencies", spans(lines))
		return a
	}
	for _, x := range targets(a.Low, a.High) {
		a.Targets = append(a.Targets, compare(lines, x))
	}
	a.Regions = regions(lines, a.Low, a.High)
	for _, r := range a.Regions[1:] {
		a.Crossings = append(a.Crossings, r.Low)
	}
	a.Text = a.text()
	return a
}

func spans(lines []line) string {
	var parts []string
	for _, l := range lines {
		parts = append(parts, fmt.Sprintf("%s: %s to %s tok/s/user", l.name, digits(l.knots[0].x), digits(l.knots[len(l.knots)-1].x)))
	}
	return strings.Join(parts, "; ")
}

// line is the candidate by speed of a user, the slowest first. Of two cells of
// one speed the better one counts.
func (c Curve) line() line {
	l := line{name: c.Name}
	for _, s := range c.spots() {
		x, okX := s.mean(func(t Trial) float64 { return t.TPSPerUser })
		v := s.values(func(t Trial) float64 { return t.TPSPerGPU })
		if !okX || v == nil {
			continue
		}
		mean := stat.Mean(v)
		l.knots = append(l.knots, knot{x, math.Log(mean), stat.Std(v) / math.Sqrt(float64(len(v))) / mean})
	}
	slices.SortFunc(l.knots, func(a, b knot) int { return cmp.Or(cmp.Compare(a.x, b.x), cmp.Compare(b.y, a.y)) })
	l.knots = slices.CompactFunc(l.knots, func(a, b knot) bool { return a.x == b.x })
	return l
}

// at interpolates; false beyond the cells.
func (l line) at(x float64) (y, se float64, ok bool) {
	i, exact := slices.BinarySearchFunc(l.knots, x, func(k knot, x float64) int { return cmp.Compare(k.x, x) })
	switch {
	case exact:
		return l.knots[i].y, l.knots[i].se, true
	case i == 0 || i == len(l.knots):
		return 0, 0, false
	}
	a, b := l.knots[i-1], l.knots[i]
	w := (x - a.x) / (b.x - a.x)
	return (1-w)*a.y + w*b.y, math.Hypot((1-w)*a.se, w*b.se), true
}

func compare(lines []line, x float64) Target {
	t := Target{At: x}
	for _, l := range lines {
		if y, se, ok := l.at(x); ok {
			t.Entries = append(t.Entries, Standing{l.name, math.Exp(y), se})
		}
	}
	t.judge()
	return t
}

// judge ranks the candidates and weighs the lead of the first. The margin is
// held against twice the pooled standard error of the two, in logarithms.
func (t *Target) judge() {
	slices.SortStableFunc(t.Entries, func(a, b Standing) int { return cmp.Compare(b.TPSPerGPU, a.TPSPerGPU) })
	if len(t.Entries) < 2 {
		return
	}
	first, second := t.Entries[0], t.Entries[1]
	lead := math.Log(first.TPSPerGPU / second.TPSPerGPU)
	pooled := math.Hypot(first.seLog, second.seLog)
	t.Winner, t.Margin, t.SE2 = first.Name, math.Exp(lead)-1, math.NaN()
	if t.Tested = !math.IsNaN(pooled); t.Tested {
		t.SE2, t.Beyond = math.Exp(2*pooled)-1, lead > 2*pooled
	}
}

// targets are round speeds between two ends: 1, 2 and 5 times powers of ten.
// Where fewer than two lie between, the ends are taken as well.
func targets(low, high float64) []float64 {
	var out []float64
	for e := math.Floor(math.Log10(low)); e <= math.Log10(high); e++ {
		for _, m := range []float64{1, 2, 5} {
			if x := m * math.Pow(10, e); x >= low && x <= high {
				out = append(out, x)
			}
		}
	}
	if len(out) < 2 {
		out = append(out, low, high)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// regions finds who leads where. Candidates are straight between their knots,
// so the lead changes at knots or where two segments cross.
func regions(lines []line, low, high float64) []Region {
	cuts := []float64{low, high}
	for _, l := range lines {
		for _, k := range l.knots {
			if k.x > low && k.x < high {
				cuts = append(cuts, k.x)
			}
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	fine := slices.Clone(cuts)
	for i := range cuts[1:] {
		fine = append(fine, crossings(lines, cuts[i], cuts[i+1])...)
	}
	slices.Sort(fine)
	// Crossings that rounding alone sets apart are one.
	fine = slices.CompactFunc(fine, func(a, b float64) bool { return math.Abs(b-a) <= 1e-9*math.Abs(b) })
	if len(fine) == 1 { // every candidate was measured at one common speed
		return []Region{{low, high, leader(lines, low)}}
	}
	var out []Region
	for i := range fine[1:] {
		a, b := fine[i], fine[i+1]
		name := leader(lines, (a+b)/2)
		if n := len(out); n > 0 && out[n-1].Leader == name {
			out[n-1].High = b
			continue
		}
		out = append(out, Region{a, b, name})
	}
	return out
}

// crossings are the speeds between two ends, with no knot between them, at
// which two candidates are equal.
func crossings(lines []line, a, b float64) []float64 {
	var out []float64
	for i, l := range lines {
		for _, m := range lines[i+1:] {
			la, _, ok1 := l.at(a)
			lb, _, ok2 := l.at(b)
			ma, _, ok3 := m.at(a)
			mb, _, ok4 := m.at(b)
			da, db := la-ma, lb-mb
			if ok1 && ok2 && ok3 && ok4 && da*db < 0 {
				out = append(out, a+(b-a)*da/(da-db))
			}
		}
	}
	return out
}

func leader(lines []line, x float64) string {
	best, name := math.Inf(-1), ""
	for _, l := range lines {
		if y, _, ok := l.at(x); ok && y > best {
			best, name = y, l.name
		}
	}
	return name
}

// equalLoad compares candidates that were measured at the same concurrency a
// GPU. Nothing is interpolated.
func equalLoad(curves []Curve) []Target {
	at := map[float64]*Target{}
	for _, c := range curves {
		for _, s := range c.spots() {
			v := s.values(func(t Trial) float64 { return t.TPSPerGPU })
			if v == nil || c.GPUs < 1 {
				continue
			}
			load := float64(s.c) / float64(c.GPUs)
			if at[load] == nil {
				at[load] = &Target{At: load}
			}
			mean := stat.Mean(v)
			at[load].Entries = append(at[load].Entries, Standing{c.Name, mean, stat.Std(v) / math.Sqrt(float64(len(v))) / mean})
		}
	}
	var out []Target
	for _, t := range at {
		if t.judge(); t.Winner != "" {
			out = append(out, *t)
		}
	}
	slices.SortFunc(out, func(a, b Target) int { return cmp.Compare(a.At, b.At) })
	return out
}

func (a ShardingAnswer) text() string {
	if len(a.Regions) == 1 {
		return fmt.Sprintf("%s from %s to %s tok/s/user, all that was measured of every candidate", a.Regions[0].Leader, digits(a.Low), digits(a.High))
	}
	var parts []string
	for i, r := range a.Regions {
		switch i {
		case 0:
			parts = append(parts, fmt.Sprintf("%s below %s tok/s/user", r.Leader, digits(r.High)))
		case len(a.Regions) - 1:
			parts = append(parts, fmt.Sprintf("%s above %s", r.Leader, digits(r.Low)))
		default:
			parts = append(parts, fmt.Sprintf("%s from %s to %s", r.Leader, digits(r.Low), digits(r.High)))
		}
	}
	return strings.Join(parts, ", ") + fmt.Sprintf(": no single answer (compared from %s to %s tok/s/user)", digits(a.Low), digits(a.High))
}

// Text says the comparison with its numbers.
func (t Target) Text() string {
	if t.Winner == "" {
		return "no two candidates were measured there"
	}
	switch {
	case !t.Tested:
		return fmt.Sprintf("%s +%.1f%% (not tested: a trial was not repeated)", t.Winner, 100*t.Margin)
	case t.Beyond:
		return fmt.Sprintf("%s +%.1f%% (beyond 2 standard errors, %.1f%%)", t.Winner, 100*t.Margin, 100*t.SE2)
	}
	return fmt.Sprintf("tie: %s +%.1f%% is within 2 standard errors, %.1f%%", t.Winner, 100*t.Margin, 100*t.SE2)
}
