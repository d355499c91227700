package perf

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// side makes a side with trials of given output tok/s/GPU at each concurrency.
func side(t *testing.T, config string, change func(*Measurement), levels map[int][]float64) Side {
	t.Helper()
	var rows []Row
	for c, values := range levels {
		for i, v := range values {
			r := goodTrial(config, c, i+1, 1, change)
			r.SetFloat("output_tps_per_gpu", v)
			r.SetFloat("headline_tpot_ms", 1000*float64(c)/v)
			rows = append(rows, r)
		}
	}
	return SideOf(config, config, Cells(withMeans(rows)))
}

func nvfp4(m *Measurement) { m.Setting["quant"] = "nvfp4" }

var onQuant = CompareOptions{Across: []string{"quant"}, Metrics: LevelMetrics()[:1]}

func TestOutcomes(t *testing.T) {
	base := []float64{100, 101, 99, 100}
	for _, c := range []struct {
		name    string
		a, b    []float64
		outcome Outcome
		why     string
	}{
		{"clearly more", []float64{110, 111, 109, 110}, base, WinsA, "after correction"},
		{"clearly less", []float64{90, 91, 89, 90}, base, WinsB, "after correction"},
		{"certain, and too small to count", []float64{101.4, 101.5, 101.6, 101.5}, []float64{100, 100.1, 99.9, 100}, Tie, "the effect is within 2.0 %"},
		{"noisy", []float64{95, 118, 91, 120}, base, Tie, "the effect is within"},
		{"three trials, apart", []float64{110, 111, 109}, []float64{100, 101, 99}, LeadsA, "n=3: a winner needs 4 trials a side"},
		{"three trials, within noise", []float64{101, 99, 102}, []float64{100, 101, 99}, Tie, "within noise"},
		{"one trial", []float64{110}, []float64{100}, LeadsA, "n=1: one trial shows no variation"},
		{"no variation", []float64{110, 110, 110, 110}, []float64{100, 100, 100, 100}, LeadsA, "do not vary"},
	} {
		x := Compare(side(t, "nvfp4", nvfp4, map[int][]float64{16: c.a}), side(t, "fp8", nil, map[int][]float64{16: c.b}), onQuant)
		if x.Refused != "" || len(x.Pairs) != 1 {
			t.Fatalf("%s: %+v", c.name, x)
		}
		f := x.Pairs[0].Findings[0]
		if f.Outcome != c.outcome || !strings.Contains(f.Why, c.why) {
			t.Errorf("%s: it is %q (%s), want %q (%s)", c.name, f.Outcome, f.Why, c.outcome, c.why)
		}
	}
}

// The numbers of one finding, as SciPy has them (see internal/stat/testdata).
func TestFinding(t *testing.T) {
	a, b := []float64{100.1, 101.3, 99.2, 100.8}, []float64{110.2, 112.1, 108.9, 111.0}
	x := Compare(side(t, "nvfp4", nvfp4, map[int][]float64{16: a, 64: a}), side(t, "fp8", nil, map[int][]float64{16: b, 64: b}), onQuant)
	f := x.Pairs[0].Findings[0]
	for name, c := range map[string][2]float64{
		"effect": {*f.Effect, -9.224340}, "low": {*f.Low, -10.931862}, "high": {*f.High, -7.484083}, "p": {*f.P, 2.58465e-5},
		"p after Holm, the smaller of two": {*f.PHolm, 2 * 2.58465e-5}, "rank sum": {*f.PRank, 2.0 / 70}, "needed": {f.Needed, 2 * 1.219211}, // the CV of fp8
	} {
		if math.Abs(c[0]-c[1]) > 1e-5*math.Max(1, math.Abs(c[1])) {
			t.Errorf("%s is %v, want %v", name, c[0], c[1])
		}
	}
	// MDE at 0.05/2 by hand: (t(0.9875, 5.546) + t(0.8, 5.546)) * 0.0076066 = (3.0388 + 0.9145) * 0.0076066, as exp - 1.
	if math.Abs(*f.Detectable-3.05) > 0.02 {
		t.Errorf("detectable is %v %%", *f.Detectable)
	}
}

// Holm's correction is over all loads and metrics: what one test alone would
// call a winner is a tie among many.
func TestCorrectionIsOverTheFamily(t *testing.T) {
	a, b := []float64{104, 107, 103, 106}, []float64{100, 102, 99, 103}
	alone := Compare(side(t, "nvfp4", nvfp4, map[int][]float64{16: a}), side(t, "fp8", nil, map[int][]float64{16: b}), onQuant)
	if got := alone.Pairs[0].Findings[0]; got.Outcome != WinsA {
		t.Fatalf("alone it is %q (%s)", got.Outcome, got.Why)
	}
	o := onQuant
	o.Tests = 12
	if got := Compare(side(t, "nvfp4", nvfp4, map[int][]float64{16: a}), side(t, "fp8", nil, map[int][]float64{16: b}), o).Pairs[0].Findings[0]; got.Outcome != Tie || *got.PHolm < CompareAlpha {
		t.Errorf("among 12 it is %q (%s)", got.Outcome, got.Why)
	}
}

func TestResidueIsRefusedOrTold(t *testing.T) {
	a := side(t, "nvfp4", func(m *Measurement) { nvfp4(m); m.Setting["max_num_seqs"], m.Setting["pod"] = "512", "p-1" }, map[int][]float64{16: {1, 2, 3, 4}})
	b := side(t, "fp8", nil, map[int][]float64{16: {1, 2, 3, 4}})
	x := Compare(a, b, onQuant)
	if x.Refused != "settings differ in max_num_seqs, which is not what is compared" || len(x.Pairs[0].Findings) > 0 || len(x.Regimes) > 0 {
		t.Errorf("it is not refused: %q, %+v", x.Refused, x.Pairs[0].Findings)
	}
	if x.Pairs[0].Differs["max_num_seqs"] != [2]string{"512", "256"} {
		t.Errorf("the difference is not told: %v", x.Pairs[0].Differs)
	}
	o := onQuant
	o.AllowResidue = true
	if x := Compare(a, b, o); x.Refused != "" || !slices.Equal(x.Residue, []string{"max_num_seqs"}) || len(x.Pairs[0].Findings) != 1 {
		t.Errorf("it is refused or silent: %+v", x)
	}
	// What was allowed is no verdict, and the whole matrix is asked for what differs.
	x = Compare(a, b, CompareOptions{AllowResidue: true})
	codes := codesOf(x.Refusals)
	if x.Tier != TierDraft || !slices.Contains(codes, "V10") || !slices.Contains(codes, "V14") {
		t.Errorf("a comparison with a residue is a %s: %v", x.Tier, codes)
	}
	// What follows from the parallelism is compared with it.
	tp4 := side(t, "tp4", func(m *Measurement) {
		m.Setting["tp"], m.Setting["gpu_count"], m.Setting["parallel_strategy"], m.Setting["gpu_uuids"] = "4", "4", "tp4", "GPU-a"
	}, map[int][]float64{16: {1, 2, 3, 4}})
	if x := Compare(tp4, b, CompareOptions{Across: []string{"tp"}}); x.Refused != "" {
		t.Errorf("comparing tp is refused: %s", x.Refused)
	}
	if x := Compare(a, side(t, "fp8", nil, map[int][]float64{64: {1, 2}}), onQuant); !strings.Contains(x.Refused, "no load in common") {
		t.Errorf("different loads are compared: %q", x.Refused)
	}
}

// A cell that is not physical wins nothing, and what rests on it is a draft.
func TestSuspectWinsNothing(t *testing.T) {
	a := append(goodTrials("a", 16, 4, 1.3, nvfp4), goodTrials("a", 64, 4, 1.3, nvfp4)...)
	b := append(goodTrials("b", 16, 4, 1, nil), goodTrials("b", 64, 4, 1, nil)...)
	for _, r := range a[4:] {
		r.SetFloat("pct_sol_tpot", 131)
	}
	compare := func() *Comparison {
		return Compare(SideOf("a", "a", Cells(withMeans(a))), SideOf("b", "b", Cells(withMeans(b))), CompareOptions{Across: []string{"quant"}})
	}
	x := compare()
	for _, f := range x.Pairs[0].Findings[:2] {
		if f.Outcome != WinsA {
			t.Errorf("at c=16 %s is %q (%s)", f.Name, f.Outcome, f.Why)
		}
	}
	for _, f := range x.Pairs[1].Findings {
		if f.Outcome != Untested || f.Effect != nil || !strings.Contains(f.Why, "A is suspect, and can win nothing: V12: SOL_OVER") {
			t.Errorf("at c=64 %s is %q (%s)", f.Name, f.Outcome, f.Why)
		}
	}
	for _, r := range x.Regimes {
		if r.Regime == RegimeThroughput && r.Outcome != Untested {
			t.Errorf("a suspect cell wins a regime: %+v", r)
		}
	}

	// A TTFT below its floor says nothing of the decode.
	for _, r := range a[4:] {
		r.Clear("pct_sol_tpot")
		r.SetFloat("pct_sol_tpot", 42)
		r.SetList("sol_notes", []string{"SOL_OVER_TTFT: the TTFT floor, 90 ms, is above the median TTFT, 50 ms"})
	}
	x = compare()
	for _, f := range x.Pairs[1].Findings {
		if suspect := f.Outcome == Untested; suspect != (f.Metric == "headline_ttft_ms") {
			t.Errorf("with a TTFT below its floor %s is %q (%s)", f.Name, f.Outcome, f.Why)
		}
	}
	review := ReviewRows(withMeans(a), Terms{})
	if i := slices.IndexFunc(review.Refusals, func(f Refusal) bool { return f.Code == "V12" }); i < 0 || review.Refusals[i].Metric != "headline_ttft_ms" || review.Cells[1].Suspect {
		t.Errorf("the TTFT alone is not refused: %v", review.Refusals)
	}
}

// With trials that give the least of degrees of freedom, what would have been
// found has no bound, and is not written as one.
func TestDetectableIsANumber(t *testing.T) {
	o := onQuant
	o.Tests = 100
	x := Compare(side(t, "nvfp4", nvfp4, map[int][]float64{16: {100, 400}}), side(t, "fp8", nil, map[int][]float64{16: {100, 100.001}}), o)
	if d := x.Pairs[0].Findings[0].Detectable; d != nil {
		t.Errorf("detectable is %v %%", *d)
	}
	if _, err := json.Marshal(x); err != nil {
		t.Errorf("the comparison has no JSON: %v", err)
	}
}

// A trial of nothing has no ratio to another, and the reason says so.
func TestAboveZero(t *testing.T) {
	x := Compare(side(t, "nvfp4", nvfp4, map[int][]float64{16: {0, 111, 109, 110}}), side(t, "fp8", nil, map[int][]float64{16: {100, 101, 99, 100}}), onQuant)
	if f := x.Pairs[0].Findings[0]; f.Outcome != Untested || f.Why != "a trial has 0, and ratios are of what is above zero" {
		t.Errorf("it is %q (%s)", f.Outcome, f.Why)
	}
}

// Tolerances are held against what was measured, whichever metrics are shown,
// and what could not be is named.
func TestRegressions(t *testing.T) {
	slower, base := goodTrials("a", 16, 4, 0.9, nvfp4), goodTrials("b", 16, 4, 1, nil)
	regressions := func(o CompareOptions, tol Tolerances) (worse, untested []string) {
		o.Across = []string{"quant"}
		return Compare(SideOf("a", "a", Cells(withMeans(slower))), SideOf("b", "b", Cells(withMeans(base))), o).Regressions(tol)
	}
	tpot, _ := MetricOf("headline_tpot_ms")
	worse, untested := regressions(CompareOptions{Metrics: []Metric{tpot}}, DefaultTolerances())
	if len(worse) != 1 || !strings.Contains(worse[0], "output tok/s/GPU is -10.0 % (tolerance 3 %)") || len(untested) > 0 {
		t.Errorf("worse are %q, untested %q", worse, untested)
	}
	for _, r := range slower {
		r.Clear("output_tps_per_gpu")
		r.Clear("prefix_hit_rate")
	}
	worse, untested = regressions(CompareOptions{}, DefaultTolerances())
	want := []string{"c=16, ISL 1000, OSL 100: output tok/s/GPU: not measured on both sides", "c=16, ISL 1000, OSL 100: prefix hit rate: not measured on both sides"}
	if len(worse) > 0 || !slices.Equal(untested, want) {
		t.Errorf("worse are %q, untested %q, want %q", worse, untested, want)
	}
	off, err := ParseTolerances("throughput=off,prefix_hit=off")
	if err != nil {
		t.Fatal(err)
	}
	if worse, untested = regressions(CompareOptions{}, off); len(worse)+len(untested) > 0 {
		t.Errorf("what is off is tested: %q, %q", worse, untested)
	}
}

func TestRegimes(t *testing.T) {
	around := func(v float64) []float64 { return []float64{v, v * 1.004, v * 0.996, v} }
	fast, slow := map[int][]float64{}, map[int][]float64{}
	for c, v := range map[int]float64{1: 100, 4: 350, 8: 600, 16: 900, 32: 960, 64: 1000, 128: 1010} {
		slow[c] = around(v)
		switch {
		case c <= 4:
			fast[c] = around(1.2 * v)
		case c == 16:
			fast[c] = around(v)
		case c == 64:
			fast[c] = around(0.9 * v)
		case c == 128:
			fast[c] = around(1.005 * v)
		default:
			fast[c] = around(v)
		}
	}
	delete(slow, 8)
	x := Compare(side(t, "nvfp4", nvfp4, fast), side(t, "fp8", nil, slow), CompareOptions{Across: []string{"quant"}, Metrics: LevelMetrics()[:2]})
	var got []string
	for _, r := range x.Regimes {
		got = append(got, fmt.Sprintf("%s by %s: %s", r.Regime, r.Metric, r.Text))
	}
	want := []string{
		"low latency by headline_tpot_ms: nvfp4",
		"knee by output_tps_per_gpu: tie",
		"throughput by output_tps_per_gpu: no one winner: fp8 at c=64, tie at c=128",
	}
	if !slices.Equal(got, want) {
		t.Errorf("regimes are %q, want %q", got, want)
	}
	if want := []string{"c=8, ISL 1000, OSL 100: fp8 has no such cell"}; !slices.Equal(x.Gaps, want) {
		t.Errorf("gaps are %q", x.Gaps)
	}
	if len(x.Crossings) == 0 || !strings.Contains(x.Crossings[0], "nvfp4 wins up to c=4, ISL 1000, OSL 100, fp8 from c=64") {
		t.Errorf("crossings are %q", x.Crossings)
	}
}

func TestKnee(t *testing.T) {
	for _, c := range []struct {
		name  string
		curve []curvePoint
		want  int64
	}{
		{"bends at 16", []curvePoint{{1, 100}, {4, 350}, {16, 900}, {32, 960}, {64, 1000}}, 16},
		{"bends at 32", []curvePoint{{1, 100}, {16, 700}, {32, 1350}, {64, 1400}, {128, 1450}}, 32},
		{"straight: 16 by convention", []curvePoint{{1, 10}, {16, 160}, {32, 320}, {64, 640}}, 16},
		{"straight, without 16", []curvePoint{{1, 10}, {8, 80}, {32, 320}, {64, 640}}, 0},
		{"too few", []curvePoint{{1, 10}, {64, 100}}, 0},
	} {
		if got := kneeOf(c.curve); got != c.want {
			t.Errorf("%s: the knee is %d, want %d", c.name, got, c.want)
		}
	}
}

// Beside each level stands the share of Speed of Light that belongs to its
// metric, if every trial has it.
func TestLevelsHaveShares(t *testing.T) {
	shares := func(s Side, values ...float64) Side {
		for _, c := range s.Cells {
			for i, r := range c.Trials {
				r.SetFloat("pct_sol", values[i])
				r.SetFloat("pct_sol_tpot", 2*values[i])
			}
		}
		return s
	}
	a := shares(side(t, "nvfp4", nvfp4, map[int][]float64{16: {110, 111}}), 40, 42)
	b := side(t, "fp8", nil, map[int][]float64{16: {100, 101}})
	b.Cells[0].Trials[0].Clear("pct_sol")
	b.Cells[0].Trials[0].Clear("pct_sol_tpot")
	x := Compare(a, b, CompareOptions{Across: []string{"quant"}})
	for _, f := range x.Pairs[0].Findings {
		want := map[string]float64{"output_tps_per_gpu": 41, "headline_tpot_ms": 82}[f.Metric]
		if want > 0 && (f.A.PctSoL == nil || *f.A.PctSoL != want) || f.B != nil && f.B.PctSoL != nil && want > 0 {
			t.Errorf("%s: A %+v, B %+v, want a share of %g and none", f.Metric, f.A, f.B, want)
		}
	}
}
