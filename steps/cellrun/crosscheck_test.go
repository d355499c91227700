package cellrun

import (
	"strings"
	"testing"
	"time"

	"pipeline/lake/perf"
)

// Recorded prompts are the same for both drivers: where the cache stays, the
// second finds them there.
func TestCrossCheckFindsThemCached(t *testing.T) {
	for _, c := range []struct {
		name     string
		recorded bool
		regime   string
		doubts   []string
		want     bool
	}{
		{"the cache stays", true, cold, []string{cacheNotReset + "404"}, true},
		{"it was emptied", true, cold, nil, false},
		{"prompts are made", false, cold, []string{cacheNotReset + "404"}, false},
		{"a warm cell", true, warm, nil, false},
	} {
		cell := &cell{step: &Step{CacheRegime: c.regime}}
		if c.recorded {
			cell.recorded = &recording{}
		}
		m := &perf.Measurement{Driver: perf.Driver{Name: native}}
		cell.foundCached(m, &perf.Measurement{Driver: perf.Driver{Name: aiperfName}, Doubts: c.doubts})
		if got := has(m.Doubts, "cross_check_cached: aiperf sent the conversations that native had sent before"); got != c.want {
			t.Errorf("%s: %s", c.name, strings.Join(m.Doubts, "; "))
		}
	}
}

// The rate by the server's count is of the measured load, or not known.
func TestGenerationRate(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, c := range []struct {
		name      string
		warmup    int
		warmupToo bool
		want      *float64
	}{
		{"the load alone", 2, false, new(250.0)},
		{"with its warm-up", 2, true, nil},
		{"without one", 0, true, new(250.0)},
	} {
		m := &perf.Measurement{Server: &perf.Server{GenerationTokens: new(1000.0)}}
		cell := &cell{step: &Step{Warmup: c.warmup}}
		cell.generationRate(m, &load{start: start, end: start.Add(4 * time.Second), warmupToo: c.warmupToo})
		got := m.Server.GenerationTPS
		if (got == nil) != (c.want == nil) || got != nil && *got != *c.want || (got == nil) != has(m.Server.Missing, "generation_tps") {
			t.Errorf("%s: %v, missing %q", c.name, got, m.Server.Missing)
		}
	}
}
