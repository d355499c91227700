package prom

import (
	"math"

	"pipeline/lake/perf"
)

// A Total is what another tool says of one series over a run: by how much a
// counter grew, or between what a gauge was. NaN is not told.
type Total struct {
	Name     string // with or without _total
	Labels   map[string]string
	Increase float64 // of a counter
	Mean     float64 // of a gauge
	Max      float64
}

// Totals returns what the totals of a run say, as End does for snapshots.
// samples is how many times the tool looked.
func Totals(totals []Total, samples int) *perf.Server {
	r := &Run{counters: map[string]*counter{}, gauges: map[string]*gauge{}, samples: samples}
	for _, m := range counters() {
		if name, found := m.among(totals); name != "" {
			r.counters[m.field] = &counter{name: name, last: m.fold(values(found, func(t Total) float64 { return t.Increase }))}
		}
	}
	for _, m := range gauges() {
		name, found := m.among(totals)
		if name == "" {
			continue
		}
		g := &gauge{name: name, n: 1, sum: m.fold(values(found, func(t Total) float64 { return t.Mean }))}
		g.max = m.fold(values(found, func(t Total) float64 { return t.Max }))
		if m.added && len(found) > 1 {
			g.max = math.NaN() // the engines need not have been at their most at one time
		}
		r.gauges[m.field] = g
	}
	s := r.server()
	for _, field := range []struct {
		name string
		of   **float64
	}{{"kv_usage_max", &s.KVUsageMax}, {"running_max", &s.RunningMax}, {"waiting_max", &s.WaitingMax}} {
		if *field.of != nil && !finite(**field.of) {
			*field.of = nil
			delete(s.Names, field.name)
			s.Missing = append(s.Missing, field.name+": it is told for each engine, and not for all together")
		}
	}
	return s
}

// among returns the totals of the newest name that is there.
func (m metric) among(totals []Total) (name string, found []Total) {
	for _, name := range m.names {
		known := false
		for _, t := range totals {
			if t.Name != name {
				continue
			}
			known = true
			if m.keep == nil || m.keep(Sample{Labels: t.Labels, Value: t.Mean}) {
				found = append(found, t)
			}
		}
		if known {
			return name, found
		}
	}
	return "", nil
}

func values(totals []Total, of func(Total) float64) []Sample {
	samples := make([]Sample, len(totals))
	for i, t := range totals {
		samples[i] = Sample{Labels: t.Labels, Value: of(t)}
	}
	return samples
}
