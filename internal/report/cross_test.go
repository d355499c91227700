package report

import (
	"testing"

	"pipeline/lake/perf"
)

func TestCrossText(t *testing.T) {
	tps, ms := 500.0, 12.5
	m := &perf.Measurement{Status: perf.Full, Driver: perf.Driver{Name: "native"}, Summary: perf.Summary{OutputThroughput: &tps, TTFT: &perf.Dist{P50: ms}}}
	other := &perf.Measurement{Status: perf.Partial, Driver: perf.Driver{Name: "aiperf", Version: "0.13.0"}, Summary: perf.Summary{OutputThroughput: &ms, TTFT: &perf.Dist{P50: ms}}}
	if got := crossText(perf.RowOf(perf.Origin{Source: "m"}, m)); got != "" {
		t.Errorf("without a cross-check: %q", got)
	}
	m.CheckBy(other)
	if got, want := crossText(perf.RowOf(perf.Origin{Source: "m"}, m)), "cross-check by aiperf 0.13.0 (PARTIAL): TTFT +0.0%, output tok/s -97.5%"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	m.CheckBy(&perf.Measurement{Status: perf.Failed, Driver: other.Driver})
	if got, want := crossText(perf.RowOf(perf.Origin{Source: "m"}, m)), "cross-check by aiperf 0.13.0 (FAILED): no figure of both"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
