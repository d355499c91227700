package prom

import (
	"math"
	"slices"
	"strings"

	"pipeline/lake/perf"
)

// A metric is one figure of a server: how its samples become one number, and
// the names under which versions of servers have it, the newest first.
type metric struct {
	field string // of perf.Server in JSON, or of a part of it
	names []string
	fold  func([]Sample) float64
	keep  func(Sample) bool // nil keeps all
	added bool              // fold adds the engines of a server up
}

// The names of vLLM today and before (V0 and the reference document).
func counters() []metric {
	return []metric{
		{field: "prompt_tokens", names: []string{"vllm:prompt_tokens_total", "vllm:prompt_tokens"}, fold: sum},
		{field: "generation_tokens", names: []string{"vllm:generation_tokens_total", "vllm:generation_tokens"}, fold: sum},
		{field: "requests_ok", names: []string{"vllm:request_success_total", "vllm:request_success"}, fold: sum, keep: finished},
		{field: "preemptions", names: []string{"vllm:num_preemptions_total", "vllm:num_preemptions"}, fold: sum},
		{field: "prefix_queries", names: []string{"vllm:prefix_cache_queries_total", "vllm:prefix_cache_queries",
			"vllm:gpu_prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries"}, fold: sum},
		{field: "prefix_hits", names: []string{"vllm:prefix_cache_hits_total", "vllm:prefix_cache_hits",
			"vllm:gpu_prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits"}, fold: sum},
	}
}

func gauges() []metric {
	return []metric{
		{field: "kv_usage", names: []string{"vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"}, fold: maximum},
		{field: "running", names: []string{"vllm:num_requests_running"}, fold: sum, added: true},
		{field: "waiting", names: []string{"vllm:num_requests_waiting"}, fold: sum, added: true},
		// Gone with V1, whose counter of tokens gives the rate of any span.
		{field: "generation_rate", names: []string{"vllm:avg_generation_throughput_toks_per_s"}, fold: sum},
		// A rate since the server's start, not over the run: used only where there are no counters.
		{field: "prefix_hit_rate", names: []string{"vllm:prefix_cache_hit_rate", "vllm:gpu_prefix_cache_hit_rate"}, fold: maximum,
			keep: func(s Sample) bool { return s.Value >= 0 }}, // V0 says -1 for "not known"
	}
}

// startTime is reset by a restart even where no counter goes back.
const startTime = "process_start_time_seconds"

// finished drops requests that vLLM counts as a success although they were
// aborted or ended in an error.
func finished(s Sample) bool {
	r := s.Labels["finished_reason"]
	return r != "abort" && r != "error"
}

func sum(samples []Sample) float64 {
	var v float64
	for _, s := range samples {
		v += s.Value
	}
	return v
}

func maximum(samples []Sample) float64 {
	v := math.Inf(-1)
	for _, s := range samples {
		v = max(v, s.Value)
	}
	return v
}

// A Run gathers the snapshots of one measurement. Begin makes one.
type Run struct {
	counters map[string]*counter
	looks    []map[string]look  // the gauges of each sample, by field
	start    map[string]float64 // process_start_time_seconds by labels
	before   map[string]float64 // see states
	after    map[string]float64
	restart  bool

	gauges  map[string]*gauge // what the looks say, at the end
	samples int               // looks
}

// A look is a gauge in one sample.
type look struct {
	name  string
	value float64
}

type counter struct {
	name        string
	first, last float64
	seen        map[string]float64 // last value by labels, to notice a reset of one engine of many
}

type gauge struct {
	name     string
	n        int
	sum, max float64
}

// Begin takes the snapshot before the load.
func Begin(before Snapshot) *Run {
	r := &Run{counters: map[string]*counter{}, start: byLabels(before.samples[startTime]), before: states(before)}
	for _, m := range counters() {
		if v, ok := m.read(before); ok {
			r.counters[m.field] = &counter{name: v.name, first: v.value, last: v.value, seen: v.parts}
		}
	}
	return r
}

// Sample takes a snapshot during the load.
func (r *Run) Sample(s Snapshot) {
	r.count(s)
	looks := map[string]look{}
	for _, m := range gauges() {
		if v, ok := m.read(s); ok && finite(v.value) {
			looks[m.field] = look{v.name, v.value}
		}
	}
	r.looks = append(r.looks, looks)
}

// Trim forgets the gauges of the samples before the server had the first
// request, and after it had the last: a tool takes its time before and after
// the load.
func (r *Run) Trim() {
	idle := func(looks map[string]look) bool {
		running, told := looks["running"]
		return told && running.value == 0 && looks["waiting"].value == 0
	}
	for len(r.looks) > 0 && idle(r.looks[0]) {
		r.looks = r.looks[1:]
	}
	for len(r.looks) > 0 && idle(r.looks[len(r.looks)-1]) {
		r.looks = r.looks[:len(r.looks)-1]
	}
}

// End takes the snapshot after the load, and returns what all of them say.
func (r *Run) End(after Snapshot) *perf.Server {
	r.count(after)
	r.after = states(after)
	r.gauges, r.samples = map[string]*gauge{}, len(r.looks)
	for _, looks := range r.looks {
		for field, v := range looks {
			g := r.gauges[field]
			if g == nil {
				g = &gauge{name: v.name, max: math.Inf(-1)}
				r.gauges[field] = g
			}
			g.n++
			g.sum += v.value
			g.max = max(g.max, v.value)
		}
	}
	return r.server()
}

// Restarted reports whether a counter or the start time of the process says
// that the server was restarted during the run.
func (r *Run) Restarted() bool { return r.restart }

func (r *Run) count(s Snapshot) {
	for _, m := range counters() {
		v, ok := m.read(s)
		c := r.counters[m.field]
		if c == nil && !ok {
			continue
		}
		if c == nil {
			// A series that was not there before the load counts from zero:
			// vLLM makes some of them at their first event.
			c = &counter{name: v.name}
			r.counters[m.field] = c
		}
		for labels, was := range c.seen {
			if now, ok := v.parts[labels]; !ok || now < was {
				r.restart = true
			}
		}
		c.last, c.seen = v.value, v.parts
	}
	for labels, now := range byLabels(s.samples[startTime]) {
		if was, ok := r.start[labels]; ok && was != now {
			r.restart = true
		}
	}
}

// states are what the metrics of a snapshot stand at, by the names that the
// server has for them.
func states(s Snapshot) map[string]float64 {
	out := map[string]float64{}
	for _, m := range slices.Concat(counters(), gauges()) {
		if v, ok := m.read(s); ok && finite(v.value) {
			out[v.name] = v.value
		}
	}
	return out
}

// A reading is a metric in one snapshot.
type reading struct {
	name  string
	value float64
	parts map[string]float64
}

func (m metric) read(s Snapshot) (reading, bool) {
	samples, name := s.Find(m.names...)
	if m.keep != nil {
		kept := make([]Sample, 0, len(samples))
		for _, x := range samples {
			if m.keep(x) {
				kept = append(kept, x)
			}
		}
		samples = kept
	}
	if name == "" {
		return reading{}, false
	}
	return reading{name, m.fold(samples), byLabels(samples)}, true
}

func byLabels(samples []Sample) map[string]float64 {
	m := make(map[string]float64, len(samples))
	for _, s := range samples {
		pairs := make([]string, 0, len(s.Labels))
		for k, v := range s.Labels {
			pairs = append(pairs, k+"\x00"+v)
		}
		slices.Sort(pairs)
		m[strings.Join(pairs, "\x01")] += s.Value
	}
	return m
}
