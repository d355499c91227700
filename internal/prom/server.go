package prom

import (
	"math"

	"pipeline/lake/perf"
)

// server returns what the run's snapshots say. Each field that no metric
// answered for stands in Missing, with the reason where it is another one than
// that no known metric was there.
func (r *Run) server() *perf.Server {
	s := &perf.Server{Samples: r.samples, Names: map[string]string{}, Before: r.before, After: r.after}
	s.PromptTokens = r.difference(s, "prompt_tokens")
	s.GenerationTokens = r.difference(s, "generation_tokens")
	s.RequestsOK = r.difference(s, "requests_ok")
	s.Preemptions = r.difference(s, "preemptions")
	s.PrefixHitRate = r.hitRate(s)

	_, s.KVUsageMax = r.gauge(s, "kv_usage", "kv_usage_max")
	s.RunningMean, s.RunningMax = r.gauge(s, "running", "running_mean", "running_max")
	s.WaitingMean, s.WaitingMax = r.gauge(s, "waiting", "waiting_mean", "waiting_max")
	if r.gauges["generation_rate"] != nil { // of V0 alone: that V1 has none is nothing missing
		s.GenerationTold, _ = r.gauge(s, "generation_rate", "generation_tps_told")
	}
	return s
}

func (r *Run) difference(s *perf.Server, field string) *float64 {
	c := r.counters[field]
	switch {
	case c == nil:
		s.Missing = append(s.Missing, field)
		return nil
	case r.restart:
		s.Missing = append(s.Missing, field+": the server was restarted during the run")
		return nil
	case !finite(c.last - c.first):
		s.Missing = append(s.Missing, field+": "+c.name+" is not a finite number")
		return nil
	}
	s.Names[field] = c.name
	v := c.last - c.first
	return &v
}

// hitRate is hits over queries during the run, both in tokens. Without
// queries there is no rate, which is another thing than a rate of 0.
func (r *Run) hitRate(s *perf.Server) *float64 {
	const field = "prefix_hit_rate"
	hits, queries := r.counters["prefix_hits"], r.counters["prefix_queries"]
	if hits == nil || queries == nil {
		if g := r.gauges[field]; g != nil && finite(g.max) {
			s.Names[field] = g.name + " (since the start of the server)"
			return &g.max
		}
		s.Missing = append(s.Missing, field)
		return nil
	}
	if r.restart {
		s.Missing = append(s.Missing, field+": the server was restarted during the run")
		return nil
	}
	v := (hits.last - hits.first) / (queries.last - queries.first)
	if !finite(v) {
		s.Missing = append(s.Missing, field+": no queries during the run")
		return nil
	}
	s.Names[field] = hits.name + " / " + queries.name
	return &v
}

func (r *Run) gauge(s *perf.Server, metric string, fields ...string) (mean, top *float64) {
	g := r.gauges[metric]
	for _, f := range fields {
		switch {
		case g != nil && finite(g.sum):
			s.Names[f] = g.name
		case r.samples == 0:
			s.Missing = append(s.Missing, f+": no scrape during the run")
		default:
			s.Missing = append(s.Missing, f)
		}
	}
	if g == nil || !finite(g.sum) {
		return nil, nil
	}
	m, t := g.sum/float64(g.n), g.max
	return &m, &t
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
