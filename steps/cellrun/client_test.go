package cellrun

import (
	"strings"
	"testing"

	"pipeline/internal/tool"
	"pipeline/lake/perf"
)

// A tool that sends late is the bound where it has no CPU left, and only there:
// of short answers its own turns are a large share.
func TestToolBound(t *testing.T) {
	for _, c := range []struct {
		name             string
		all, busiest     float64
		lagMS, latencyMS float64
		want             string
	}{
		{"idle and prompt", 0.1, 0.1, 0.2, 1000, ""},
		{"idle, short answers", 0.1, 0.2, 1.5, 107, ""},
		{"idle and late", 0.1, 0.2, 50, 107, ""},
		{"busy and prompt", 0.4, 0.7, 1.5, 107, ""},
		{"busy and late", 0.4, 0.7, 50, 107, "after they were due"},
		{"busy, and late by less than a turn", 0.4, 0.7, 4, 20, ""},
		{"no CPU left", 0.5, 0.95, 0.2, 1000, "95% of a core"},
		{"no core left", 0.95, 0.5, 0.2, 1000, "95% of all cores"},
	} {
		got := toolBound("aiperf", &perf.Client{CPUShare: &c.all, BusiestShare: &c.busiest, LagP50ms: &c.lagMS}, &perf.Dist{P50: c.latencyMS})
		if !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	got, doubts := toolClient(&perf.Measurement{}, tool.Usage{}, nil)
	if got.Bound || got.CPUShare != nil || got.LagP50ms != nil || got.Coalesced != nil || len(doubts) != 1 {
		t.Errorf("what is not known: %+v, doubts %q", got, doubts)
	}
}
