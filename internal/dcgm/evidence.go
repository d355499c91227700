package dcgm

import (
	"maps"
	"math"
	"slices"
	"time"
)

// A Cell is what must be known of a measurement to read samples for it.
type Cell struct {
	ID        string
	GPUs      int    // that served it; 0 is not known
	Links     bool   // it used NVLink, so that its fields are needed
	Simulated bool   // the endpoint was a simulation
	Full      Window // from the first request sent to the last one ended
	Steady    Window // what the numbers are over
	Trim      string // how Steady was found
	// What the measurement says of the steady window; nil is not known.
	OutputTPS, OutputTokens, InputTokens *float64
}

// Trimmed is the window where no requests tell of a steady one: the full one
// less 5 s or a tenth at both ends, whichever is more.
func Trimmed(full Window) (w Window, method string) {
	cut := time.Duration(max(5, full.Seconds()/10) * 1e9)
	return NewWindow(full.Start.Add(cut), full.End.Add(-cut)), "fixed"
}

// What a sample is worth.
const (
	enough      = 5   // collections for L3
	Few         = 3   // for L3 of low quality
	duplicateOf = 1.5 // collect intervals within which an equal scrape is the same collection
	widestGap   = 3   // collect intervals
	windowNeeds = 7   // collect intervals of steady window for enough, since the first two tell of the time before
)

// A collection is what DCGM collected of one GPU at one time.
type collection struct {
	at     int64   // when it was first scraped, unix ms
	weight float64 // seconds that it stands for
	values map[Field]float64
}

// A gpuEvidence is what is known of one GPU.
type gpuEvidence struct {
	GPU
	pods []string
	all  []collection // each once, in order of time
	kept []collection // those wholly within the steady window, less eps at both ends
	Dropped
}

// Dropped counts samples that were not used, and why.
type Dropped struct {
	Samples    int `json:"samples"`      // of all fields, in the steady window
	Blank      int `json:"blank"`        // DCGM's sentinels, and NaN
	OutOfRange int `json:"out_of_range"` // ratios that are none
	Repeated   int `json:"repeated"`     // scrapes that saw the collection of the one before
	Outside    int `json:"outside"`      // collections that tell of time outside of the window
}

func (d *Dropped) add(o Dropped) {
	d.Samples += o.Samples
	d.Blank += o.Blank
	d.OutOfRange += o.OutOfRange
	d.Repeated += o.Repeated
	d.Outside += o.Outside
}

// evidence is what checks look at.
type evidence struct {
	frozen     *Frozen
	cell       Cell
	interval   float64 // collect interval, s; NaN if it cannot be known
	estimated  bool    // it was not declared
	eps        float64
	kept       Window // the steady window less eps
	gpus       []gpuEvidence
	neighbours []gpuEvidence
	tally      map[Field]tally
}

// A tally counts the samples of one field over the GPUs, in the steady window.
type tally struct {
	all, blank, inRange int
	highest             float64 // out of range
}

// newEvidence reads the frozen samples for a cell.
func newEvidence(f *Frozen, cell Cell) (*evidence, error) {
	samples, err := f.Samples()
	if err != nil {
		return nil, err
	}
	e := &evidence{frozen: f, cell: cell, eps: f.Source.eps(), tally: map[Field]tally{}}
	eps := time.Duration(e.eps * 1e9)
	e.kept = NewWindow(cell.Steady.Start.Add(eps), cell.Steady.End.Add(-eps))
	rows := map[string]map[int64]map[Field]float64{}
	counts := map[string]*Dropped{}
	for _, s := range samples.Series() {
		key := s.GPU.Key()
		if rows[key] == nil {
			rows[key], counts[key] = map[int64]map[Field]float64{}, &Dropped{}
		}
		e.read(s, rows[key], counts[key])
	}
	e.interval = f.Source.CollectS
	if e.interval <= 0 {
		e.interval, e.estimated = estimate(rows), true
	}
	pods := podsOf(samples)
	each := func(gpus []GPU) []gpuEvidence {
		var out []gpuEvidence
		for _, g := range gpus {
			one := gpuEvidence{GPU: g, pods: pods[g.Key()]}
			if c := counts[g.Key()]; c != nil {
				one.Dropped = *c
			}
			one.collect(rows[g.Key()], e)
			out = append(out, one)
		}
		return out
	}
	e.gpus, e.neighbours = each(f.GPUs), each(f.Neighbours)
	return e, nil
}

// read puts the samples of a series into rows by time, less those that are no
// values.
func (e *evidence) read(s *Series, rows map[int64]map[Field]float64, count *Dropped) {
	info, known := s.Field.Info()
	if !known {
		return
	}
	n := e.tally[s.Field]
	defer func() { e.tally[s.Field] = n }()
	for i, t := range s.T {
		v := s.V[i]
		one := 0
		if e.inside(t, t) {
			one = 1
		}
		n.all, count.Samples = n.all+one, count.Samples+one
		if math.IsNaN(v) || math.IsInf(v, 0) || info.blank(v) {
			n.blank, count.Blank = n.blank+one, count.Blank+one
			continue
		}
		if info.Unit == Ratio {
			if e.frozen.Source.Percent {
				v /= 100
			}
			if v < ratioLow || v > ratioHigh {
				count.OutOfRange += one
				n.highest = max(n.highest, v)
				continue
			}
			v = min(1, max(0, v))
			if v > 0 { // 0 is 0 in percent too
				n.inRange += one
			}
		}
		if rows[t] == nil {
			rows[t] = map[Field]float64{}
		}
		rows[t][s.Field] = v
	}
}

// same reports whether two scrapes saw one collection: all profiling fields
// are equal to the bit. A source without any is compared by all its fields.
func same(a, b map[Field]float64) bool {
	inA, equal := 0, true
	for f, v := range a {
		if f.Profiling() {
			w, ok := b[f]
			inA++
			equal = equal && ok && v == w
		}
	}
	inB := 0
	for f := range b {
		if f.Profiling() {
			inB++
		}
	}
	if inA+inB == 0 {
		return maps.Equal(a, b)
	}
	return equal && inA == inB
}

// estimate finds the collect interval: the median time between two changes of
// what a GPU shows. Where scrapes are rarer than collections, or nothing
// changes, it is the time between scrapes, which is what there is to know.
func estimate(rows map[string]map[int64]map[Field]float64) float64 {
	var spans, scrapes []float64
	for _, byTime := range rows {
		times := slices.Sorted(maps.Keys(byTime))
		changed := int64(0)
		for i := 1; i < len(times); i++ {
			scrapes = append(scrapes, float64(times[i]-times[i-1])/1e3)
			if same(byTime[times[i]], byTime[times[i-1]]) {
				continue
			}
			if changed != 0 {
				spans = append(spans, float64(times[i]-changed)/1e3)
			}
			changed = times[i]
		}
	}
	if len(spans) == 0 {
		spans = scrapes
	}
	if len(spans) == 0 {
		return math.NaN()
	}
	slices.Sort(spans)
	return spans[len(spans)/2]
}

// collect makes collections of rows: repeated scrapes become one.
func (g *gpuEvidence) collect(rows map[int64]map[Field]float64, e *evidence) {
	for _, t := range slices.Sorted(maps.Keys(rows)) {
		row := rows[t]
		if n := len(g.all); n > 0 {
			last := &g.all[n-1]
			if float64(t-last.at)/1e3 < duplicateOf*e.interval && same(row, last.values) {
				last.alarm(row)
				if e.inside(last.at, t) {
					g.Repeated++
				}
				continue
			}
		}
		c := collection{at: t, values: row, weight: e.interval}
		if n := len(g.all); n > 0 {
			c.weight = min(float64(t-g.all[n-1].at)/1e3, duplicateOf*e.interval)
		}
		g.all = append(g.all, c)
	}
	lag, avg := e.frozen.Source.coverage()
	for _, c := range g.all {
		from := c.at - int64((lag+avg)*e.interval*1e3)
		switch {
		case math.IsNaN(e.interval):
		case from >= e.kept.Start.UnixMilli() && c.at <= e.kept.End.UnixMilli():
			g.kept = append(g.kept, c)
		case e.inside(c.at, c.at):
			g.Outside++
		}
	}
}

func (e *evidence) inside(from, to int64) bool {
	return from >= e.cell.Steady.Start.UnixMilli() && to <= e.cell.Steady.End.UnixMilli()
}

// alarm keeps what a repeated scrape says of throttling and errors, which are
// instants and not means.
func (c *collection) alarm(row map[Field]float64) {
	if v, ok := row[ClockReasons]; ok {
		c.values[ClockReasons] = float64(int64(c.values[ClockReasons]) | int64(v))
	}
	for _, f := range []Field{XID, ECCDoubleBit, RemappedRows, RemapFailure, ThermalViolation} {
		if v, ok := row[f]; ok {
			c.values[f] = max(v, c.values[f])
		}
	}
}

// values are those of a field in the collections that have it, with the
// seconds that each stands for.
func (g *gpuEvidence) values(f Field) (v, weights []float64) {
	for _, c := range g.kept {
		if x, ok := c.values[f]; ok {
			v, weights = append(v, x), append(weights, c.weight)
		}
	}
	return v, weights
}

// mean is weighted by time; false if there is no value.
func (g *gpuEvidence) mean(f Field) (float64, bool) {
	v, w := g.values(f)
	return weighted(v, w)
}

func weighted(v, w []float64) (float64, bool) {
	sum, all := 0.0, 0.0
	for i := range v {
		sum += v[i] * w[i]
		all += w[i]
	}
	return sum / all, all > 0
}

// has reports whether the GPU has any value of the field in the steady window,
// kept or not.
func (g *gpuEvidence) has(f Field, e *evidence) bool {
	return slices.ContainsFunc(g.all, func(c collection) bool {
		_, ok := c.values[f]
		return ok && e.inside(c.at, c.at)
	})
}

// ends returns the first and the last kept value of a counter and the span
// between them in ms.
func (g *gpuEvidence) ends(f Field) (first, last float64, from, to int64, ok bool) {
	for _, c := range g.kept {
		v, has := c.values[f]
		if !has {
			continue
		}
		if from == 0 {
			first, from = v, c.at
		}
		last, to = v, c.at
	}
	return first, last, from, to, to > from && last >= first
}
