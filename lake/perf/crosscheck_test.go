package perf

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
)

func checked(ttft, tps float64) *Measurement {
	s := Summary{TTFT: &Dist{P50: ttft}, OutputThroughput: &tps, OSL: &Dist{Mean: 32}, TPOT: &Dist{P50: 10}}
	return &Measurement{Status: Full, Driver: Driver{Name: "native", Version: "protocol 1"}, Summary: s, Steady: &s}
}

func TestCrossCheck(t *testing.T) {
	first, second := checked(100, 500), checked(110, 490)
	second.Driver = Driver{Name: "aiperf", Version: "0.13.0"}
	first.CheckBy(second)
	x := first.CrossCheck
	want := []Agreement{{"ttft_ms_median", 100, 110, 0.1}, {"tpot_ms_median", 10, 10, 0}, {"output_tps", 500, 490, -0.02}, {"output_tokens_mean", 32, 32, 0}}
	same := slices.EqualFunc(x.Figures, want, func(a, b Agreement) bool {
		return a.Name == b.Name && a.First == b.First && a.Second == b.Second && math.Abs(a.Differ-b.Differ) < 1e-12
	})
	if !same || x.Span != "steady" {
		t.Errorf("%s: %+v", x.Span, x.Figures)
	}
	if len(first.Doubts) != 1 || first.Doubts[0] != "drivers_differ: ttft_ms_median: native has 100, aiperf 110 (+10.0%)" {
		t.Errorf("doubts %q", first.Doubts)
	}
	// Windows are compared with windows, and runs with runs.
	second.Steady = nil
	if x := CompareDrivers(first, second); x.Span != "full" {
		t.Errorf("span %s", x.Span)
	}
}

func TestCrossCheckFails(t *testing.T) {
	first := checked(100, 500)
	first.CheckBy(&Measurement{Status: Failed, Driver: Driver{Name: "aiperf"}, Reasons: []string{"no tokenizer"}})
	if len(first.CrossCheck.Figures) != 0 || first.Status != Full || !strings.HasPrefix(first.Doubts[0], "cross_check_failed: aiperf measured nothing: no tokenizer") {
		t.Errorf("%+v, doubts %q", first.CrossCheck, first.Doubts)
	}
}

func TestCrossCheckOfTrials(t *testing.T) {
	row := func(second *Measurement) Row {
		m := checked(100, 500)
		m.CheckBy(second)
		return RowOf(Origin{Source: "measurement.json"}, m)
	}
	other := checked(120, 500)
	other.Driver.Name = "aiperf"
	rows := []Row{row(checked(110, 500)), row(checked(100, 500))}
	x := meanCrossCheck(rows)
	if got := x["differ"].(map[string]any)["ttft_ms_median"].(float64); math.Abs(got-0.05) > 1e-12 || x["driver"] != "native" {
		t.Errorf("%v", x)
	}
	if x := meanCrossCheck(append(rows, row(other))); x != nil {
		t.Errorf("trials that two drivers checked have the mean %v", x)
	}
	if x := meanCrossCheck([]Row{RowOf(Origin{Source: "measurement.json"}, checked(1, 1))}); x != nil {
		t.Errorf("a trial that none checked has %v", x)
	}
}

// What a tool does not tell of itself is NULL, and no zero.
func TestClientOfATool(t *testing.T) {
	m, busy := checked(100, 500), 0.4
	m.Client = &Client{CPUShare: new(0.3), BusiestShare: &busy}
	r := RowOf(Origin{Source: "measurement.json"}, m)
	if v, ok := r.Float("client_busiest_share"); !ok || v != 0.4 {
		t.Errorf("client_busiest_share %v, %v", v, ok)
	}
	if text, err := json.Marshal(m.Client); err != nil || strings.Contains(string(text), "coalesced") || strings.Contains(string(text), "lag") {
		t.Errorf("%s, %v", text, err)
	}
	for _, name := range []string{"client_lag_p50_ms", "client_gc_pause_max_ms", "client_load_average", "client_coalesced_share"} {
		if v, ok := r.Float(name); ok {
			t.Errorf("%s is %v", name, v)
		}
	}
}
