package cellrun

import (
	"strings"
	"testing"

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
