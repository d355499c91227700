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
	P       float64    // that the lead is chance, corrected for all that were tested with it; NaN if not tested
	Verdict Verdict    // on the lead of the winner over each of the others
	Entries []Standing // best first

	raw []float64 // of the first over each of the others, before correction
}

// A Verdict says what a lead is worth.
type Verdict int

const (
	Untested Verdict = iota // too few trials to tell it from chance
	Tie                     // the trials do not tell it from chance
	Leads
)

// A lead is tested with leastTrials on each side and more, at the level alpha.
const (
	leastTrials = 4
	alpha       = 1 - confidence
)

// A Standing is one candidate at a Target.
type Standing struct {
	Name      string
	TPSPerGPU float64
	err       stderr
}

// A stderr is the standard error of a logarithm, the degrees of freedom it
// rests on, and the least number of trials behind it.
type stderr struct {
	se, df float64
	trials int
}

// stderrOf is that of the mean of trials; se is NaN for one.
func stderrOf(values []float64) stderr {
	n := len(values)
	return stderr{stat.Std(values) / math.Sqrt(float64(n)) / stat.Mean(values), float64(n - 1), n}
}

// plus adds independent errors, with the degrees of freedom of Welch and
// Satterthwaite.
func (a stderr) plus(b stderr) stderr {
	va, vb := a.se*a.se, b.se*b.se
	sum := stderr{math.Hypot(a.se, b.se), 0, min(a.trials, b.trials)}
	sum.df = (va + vb) * (va + vb) / (va*va/a.df + vb*vb/b.df)
	if va+vb == 0 {
		sum.df = a.df + b.df
	}
	return sum
}

func (a stderr) times(w float64) stderr { return stderr{w * a.se, a.df, a.trials} }

// A Region is a span of speeds in which one candidate is ahead.
type Region struct {
	Low, High float64
	Leader    string
	Verdict   Verdict   // Leads if it does at any Target of the region
	Ties      []float64 // the Targets at which it does not, if it leads at others
}

// A knot is a measured cell of a candidate: speed of a user, and the logarithm
// of tokens a GPU.
type knot struct {
	x, y float64
	err  stderr
}

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
	a.Regions = regions(lines, a.Low, a.High)
	for _, r := range a.Regions[1:] {
		a.Crossings = append(a.Crossings, r.Low)
	}
	for _, x := range a.speeds() {
		a.Targets = append(a.Targets, compare(lines, x))
	}
	correct(a.Targets)
	for i := range a.Regions {
		a.Regions[i].judge(a.Targets)
	}
	a.Text = a.text()
	return a
}

// speeds are the round ones, and the middle of each region that has none.
func (a ShardingAnswer) speeds() []float64 {
	out := targets(a.Low, a.High)
	for _, r := range a.Regions {
		if !slices.ContainsFunc(out, r.holds) {
			out = append(out, (r.Low+r.High)/2)
		}
	}
	slices.Sort(out)
	return out
}

func (r Region) holds(x float64) bool { return x >= r.Low && x <= r.High }

// judge takes the verdict of a region from the targets in it. At its ends
// another candidate may be ahead: there the two are equal.
func (r *Region) judge(targets []Target) {
	r.Verdict = Untested
	for _, t := range targets {
		if !r.holds(t.At) {
			continue
		}
		v := t.Verdict
		if v == Leads && t.Winner != r.Leader {
			v = Tie
		}
		r.Verdict = max(r.Verdict, v)
		if v != Leads {
			r.Ties = append(r.Ties, t.At)
		}
	}
	if r.Verdict != Leads {
		r.Ties = nil
	}
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
		l.knots = append(l.knots, knot{x, math.Log(stat.Mean(v)), stderrOf(v)})
	}
	slices.SortFunc(l.knots, func(a, b knot) int { return cmp.Or(cmp.Compare(a.x, b.x), cmp.Compare(b.y, a.y)) })
	l.knots = slices.CompactFunc(l.knots, func(a, b knot) bool { return a.x == b.x })
	return l
}

// at interpolates; false beyond the cells.
func (l line) at(x float64) (y float64, err stderr, ok bool) {
	i, exact := slices.BinarySearchFunc(l.knots, x, func(k knot, x float64) int { return cmp.Compare(k.x, x) })
	switch {
	case exact:
		return l.knots[i].y, l.knots[i].err, true
	case i == 0 || i == len(l.knots):
		return 0, stderr{}, false
	}
	a, b := l.knots[i-1], l.knots[i]
	w := (x - a.x) / (b.x - a.x)
	return (1-w)*a.y + w*b.y, a.err.times(1 - w).plus(b.err.times(w)), true
}

func compare(lines []line, x float64) Target {
	t := Target{At: x}
	for _, l := range lines {
		if y, err, ok := l.at(x); ok {
			t.Entries = append(t.Entries, Standing{l.name, math.Exp(y), err})
		}
	}
	t.rank()
	return t
}

// rank orders the candidates, and tests the lead of the first over each of the
// others: Welch's test, on logarithms.
func (t *Target) rank() {
	slices.SortStableFunc(t.Entries, func(a, b Standing) int { return cmp.Compare(b.TPSPerGPU, a.TPSPerGPU) })
	t.P = math.NaN()
	if len(t.Entries) < 2 {
		return
	}
	first := t.Entries[0]
	t.Winner, t.Margin = first.Name, first.TPSPerGPU/t.Entries[1].TPSPerGPU-1
	for _, other := range t.Entries[1:] {
		t.raw = append(t.raw, first.over(other))
	}
}

// over is the chance of a lead as large without a difference; NaN where there
// is too little to tell chance by.
func (s Standing) over(other Standing) float64 {
	err := s.err.plus(other.err)
	lead := math.Log(s.TPSPerGPU / other.TPSPerGPU)
	switch {
	case err.trials < leastTrials:
		return math.NaN()
	case lead <= 1e-12: // equal but for rounding
		return 1
	case err.se <= 1e-12: // trials that do not vary tell nothing of chance
		return math.NaN()
	}
	return stat.TwoSidedT(lead/err.se, err.df)
}

// correct gives targets their verdicts. All their tests are one family: the
// winner is chosen by its being ahead, so each of the others counts.
func correct(targets []Target) {
	var raw []float64
	for _, t := range targets {
		raw = append(raw, t.raw...)
	}
	p := stat.Holm(raw, len(raw))
	for i := range targets {
		t := &targets[i]
		own := p[:len(t.raw)]
		p = p[len(t.raw):]
		t.P, t.Verdict = worst(own)
	}
}

// worst is the weakest lead of one candidate over others.
func worst(p []float64) (float64, Verdict) {
	if len(p) == 0 || slices.ContainsFunc(p, math.IsNaN) {
		return math.NaN(), Untested
	}
	top := slices.Max(p)
	if top > alpha {
		return top, Tie
	}
	return top, Leads
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
		return []Region{{Low: low, High: high, Leader: leader(lines, low)}}
	}
	var out []Region
	for i := range fine[1:] {
		a, b := fine[i], fine[i+1]
		name := leader(lines, (a+b)/2)
		if n := len(out); n > 0 && out[n-1].Leader == name {
			out[n-1].High = b
			continue
		}
		out = append(out, Region{Low: a, High: b, Leader: name})
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
			at[load].Entries = append(at[load].Entries, Standing{c.Name, stat.Mean(v), stderrOf(v)})
		}
	}
	var out []Target
	for _, t := range at {
		if t.rank(); t.Winner != "" {
			out = append(out, *t)
		}
	}
	slices.SortFunc(out, func(a, b Target) int { return cmp.Compare(a.At, b.At) })
	correct(out)
	return out
}

func (a ShardingAnswer) text() string {
	if len(a.Regions) == 1 {
		return fmt.Sprintf("%s from %s to %s tok/s/user, all that was measured of every candidate", a.Regions[0].said(), digits(a.Low), digits(a.High))
	}
	var parts []string
	for i, r := range a.Regions {
		switch i {
		case 0:
			parts = append(parts, fmt.Sprintf("%s below %s tok/s/user", r.said(), digits(r.High)))
		case len(a.Regions) - 1:
			parts = append(parts, fmt.Sprintf("%s above %s", r.said(), digits(r.Low)))
		default:
			parts = append(parts, fmt.Sprintf("%s from %s to %s", r.said(), digits(r.Low), digits(r.High)))
		}
	}
	return strings.Join(parts, ", ") + fmt.Sprintf(": no single answer (compared from %s to %s tok/s/user)", digits(a.Low), digits(a.High))
}

// said names who is ahead, with what that is worth.
func (r Region) said() string {
	switch {
	case r.Verdict == Untested:
		return r.Leader + " ahead (not significance-tested)"
	case r.Verdict == Tie:
		return "a tie (" + r.Leader + " ahead by no more than chance)"
	case len(r.Ties) > 0:
		at := make([]string, len(r.Ties))
		for i, x := range r.Ties {
			at[i] = digits(x)
		}
		return r.Leader + " (not told from chance at " + strings.Join(at, ", ") + ")"
	}
	return r.Leader
}

// Text says the comparison with its numbers.
func (t Target) Text() string {
	if t.Winner == "" {
		return "no two candidates were measured there"
	}
	lead := fmt.Sprintf("%s +%.1f%%", t.Winner, 100*t.Margin)
	switch t.Verdict {
	case Leads:
		return fmt.Sprintf("%s (beyond chance: p = %.2g, corrected)", lead, t.P)
	case Tie:
		return fmt.Sprintf("tie: %s is not told from chance (p = %.2g, corrected)", lead, t.P)
	}
	return lead + " (not significance-tested: " + t.untested() + ")"
}

// untested says why a lead was not tested.
func (t Target) untested() string {
	least := t.Entries[0].err.trials
	for _, e := range t.Entries[1:] {
		least = min(least, e.err.trials)
	}
	if least < leastTrials {
		return fmt.Sprintf("n=%d, and %d trials of each are needed", least, leastTrials)
	}
	return "the trials do not vary"
}
