package roofline

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func decode(c int, tflops float64) Trial {
	return Trial{C: c, TFLOPs: tflops, BEff: float64(c), TPSPerGPU: tflops, TPSPerUser: 1}
}

func TestPeak(t *testing.T) {
	for _, c := range []struct {
		name      string
		trials    []Trial
		c, knee   int
		bracketed bool
		text      string
	}{
		{"bracketed", []Trial{decode(1, 10), decode(4, 35), decode(16, 120), decode(64, 100)}, 16, 16, true, "highest at C=16: 120 TFLOP/s/GPU (n=1)"},
		{"knee within 2 %", []Trial{decode(64, 100), decode(1, 10), decode(16, 99), decode(4, 35), decode(256, 70)}, 64, 16, true, "highest at C=64: 100 TFLOP/s/GPU (n=1); C=16 does as well (99.0% of it)"},
		{"still rising", []Trial{decode(128, 100), decode(256, 109)}, 256, 256, false,
			"highest at C=256: 109 TFLOP/s/GPU (n=1); not bracketed: still rising at C=256 (+9.0% over C=128), so extend the sweep"},
		{"one concurrency", []Trial{decode(8, 3)}, 8, 8, false, "highest at C=8: 3.00 TFLOP/s/GPU (n=1); not bracketed: it is the only concurrency measured, so extend the sweep"},
		// 90, 100, 110 have the interval 100 ± 4.303·10/√3 = 100 ± 24.8, in which 80 lies.
		{"knee within the interval", []Trial{decode(4, 80), decode(8, 90), decode(8, 100), decode(8, 110), decode(16, 60)}, 8, 4, true,
			"highest at C=8: 100 TFLOP/s/GPU ± 10.0 (n=3); C=4 does as well (80.0% of it)"},
	} {
		a := Curve{Trials: c.trials}.Peak()
		if !a.Known || a.C != c.c || a.Knee != c.knee || a.Bracketed != c.bracketed || a.Text != c.text {
			t.Errorf("%s: %+v\nwant %q", c.name, a, c.text)
		}
	}
	if a := (Curve{Trials: []Trial{{C: 1}}}).Peak(); a.Known || !strings.HasPrefix(a.Text, "not known: ") {
		t.Errorf("without FLOPs: %+v", a)
	}
}

// GLM-5 at 16k input on 8 GPUs: the effective batch stays at 12 to 13 from
// C=16 to C=64 (public decode sweep). Here it follows up to C=8.
func TestPeakSaturates(t *testing.T) {
	trials := []Trial{decode(8, 5), decode(16, 6), decode(32, 6.1), decode(64, 6.1)}
	for i, b := range []float64{7.9, 12.0, 12.2, 12.7} {
		trials[i].BEff = b
	}
	a := Curve{Trials: trials}.Peak()
	if a.Saturated != 8 || !strings.HasSuffix(a.Text, "above C=8 the effective batch no longer follows the concurrency: requests wait") {
		t.Errorf("%+v", a)
	}
}

// A concurrency of which one trial lacks a number is in no answer on it, and is
// told.
func TestLeft(t *testing.T) {
	whole, lacks := decode(16, 50), decode(64, 90)
	lacks.TFLOPs, lacks.BEff = 0, 0
	c := Curve{Trials: []Trial{whole, decode(64, 90), lacks}}
	want := []string{
		"C=64 is not in the answer on the concurrency that maxes the TFLOPs: 1 of 2 trials have no model FLOP/s",
		"C=64 is not in the answer on whether requests wait: 1 of 2 trials have no effective batch",
	}
	if got := c.Left(); !slices.Equal(got, want) || c.Peak().C != 16 {
		t.Errorf("left %q, peak %+v", got, c.Peak())
	}
	if got := (Curve{Trials: []Trial{whole}}).Left(); len(got) != 0 {
		t.Errorf("left %q of a whole trial", got)
	}
}

func dram(c int, mean, sd float64, n int) Trial {
	return Trial{C: c, DRAM: &Gauge{mean, sd, n}}
}

// Half widths are t(0.975, n-1)·s/√n with the t of the usual tables: 4.303 for
// 3 trials, 2.131 for 16 collections.
func TestHBM(t *testing.T) {
	for _, c := range []struct {
		name      string
		trials    []Trial
		answer    string
		low, high float64
		text      string
	}{
		{"yes", []Trial{dram(64, 0.80, 0, 9), dram(64, 0.82, 0, 9), dram(64, 0.78, 0, 9)}, Yes, 0.8 - 4.303*0.02/math.Sqrt(3), 0.8 + 4.303*0.02/math.Sqrt(3),
			"C=64: YES (80.0%, 95% interval 75.0 to 85.0% over 3 trials)"},
		{"across", []Trial{dram(64, 0.70, 0, 9), dram(64, 0.74, 0, 9), dram(64, 0.78, 0, 9)}, Indeterminate, 0.74 - 4.303*0.04/math.Sqrt(3), 0.74 + 4.303*0.04/math.Sqrt(3), ""},
		{"no, one trial", []Trial{dram(64, 0.72, 0.02, 16)}, No, 0.72 - 2.131*0.02/4, 0.72 + 2.131*0.02/4,
			"C=64: NO (72.0%, 95% interval 70.9 to 73.1% over 16 collections of one trial)"},
		{"one collection", []Trial{dram(64, 0.9, 0, 1)}, Indeterminate, math.NaN(), math.NaN(), "C=64: INDETERMINATE (90.0%, one value: no interval)"},
		{"none", []Trial{{C: 64}}, NotMeasured, math.NaN(), math.NaN(), "C=64: not measured"},
	} {
		a := Curve{Trials: c.trials}.HBM()[0]
		if a.Answer != c.answer || !near(a.Low, c.low, 1e-4) || !near(a.High, c.high, 1e-4) || c.text != "" && a.Text() != c.text {
			t.Errorf("%s: %+v: %s", c.name, a, a.Text())
		}
	}
}

func near(a, b, within float64) bool {
	return math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) <= within
}

func TestHBMText(t *testing.T) {
	c := Curve{Trials: []Trial{dram(1, 0.2, 0.01, 9), dram(4, 0.3, 0.01, 9), dram(16, 0.75, 0.05, 9), dram(64, 0.9, 0.01, 9), {C: 256}}}
	if got, want := HBMText(c.HBM()), "YES at C = 64; NO at C = 1 and 4; INDETERMINATE at C = 16; not measured at C = 256"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func cell(c int, user, gpu float64) Trial { return Trial{C: c, TPSPerUser: user, TPSPerGPU: gpu} }

// By hand: at 50 tok/s/user a lies at 400^0.625 · 100^0.375 = 237.8 and b at
// 200; at 100, a at 100 and b at 200^(2/3) · 50^(1/3) = 126.0. They cross at
// 50 + 50·0.1733/(0.1733+0.2310) = 71.4.
func TestSharding(t *testing.T) {
	a := Curve{Name: "tp4", GPUs: 4, Trials: []Trial{cell(64, 20, 400), cell(4, 100, 100)}}
	b := Curve{Name: "tp8", GPUs: 8, Trials: []Trial{cell(128, 10, 500), cell(32, 50, 200), cell(1, 200, 50)}}
	got := Sharding([]Curve{a, b})
	if got.Low != 20 || got.High != 100 {
		t.Errorf("compared from %g to %g", got.Low, got.High)
	}
	want := []struct {
		at     float64
		winner string
		best   float64
		margin float64
	}{{20, "tp4", 400, 400/397.63 - 1}, {50, "tp4", 237.84, 237.84/200 - 1}, {100, "tp8", 125.99, 0.2599}}
	if len(got.Targets) != len(want) {
		t.Fatalf("targets %+v", got.Targets)
	}
	for i, w := range want {
		g := got.Targets[i]
		if g.At != w.at || g.Winner != w.winner || !near(g.Entries[0].TPSPerGPU, w.best, 0.02) || !near(g.Margin, w.margin, 1e-3) || g.Verdict != Untested {
			t.Errorf("target %+v, want %+v", g, w)
		}
	}
	if len(got.Crossings) != 1 || !near(got.Crossings[0], 71.43, 0.01) {
		t.Errorf("crossings %v", got.Crossings)
	}
	if got.Text != "tp4 ahead (not significance-tested) below 71.4 tok/s/user, tp8 ahead (not significance-tested) above 71.4: no single answer (compared from 20.0 to 100 tok/s/user)" {
		t.Errorf("text %q", got.Text)
	}
	// 64 sequences on 4 GPUs are 16 a GPU, as 128 are on 8.
	if len(got.EqualLoad) != 1 || got.EqualLoad[0].At != 16 || got.EqualLoad[0].Winner != "tp8" || !near(got.EqualLoad[0].Margin, 0.25, 1e-9) {
		t.Errorf("at equal load %+v", got.EqualLoad)
	}
}

// repeat is a candidate measured at two speeds, with trials that lie evenly
// about the means: 4 of them at -3, -1, 1 and 3 times 2/√5 have the deviation
// 2·√(4/3), and the mean of 100 the relative error 0.01155.
func repeat(name string, trials int, slow, fast float64) Curve {
	c := Curve{Name: name, GPUs: 1}
	for i := range trials {
		off := float64(2*i-trials+1) * 2 / math.Sqrt(5)
		c.Trials = append(c.Trials, cell(8, 10, slow+off), cell(1, 50, fast+off))
	}
	return c
}

// A lead counts if it is told from chance by Welch's test, with p corrected
// for all that are tested together. At 10, 20 and 50 tok/s/user, 103 against
// 100 is t = 0.0296/√(0.01155² + 0.01121²) = 1.84 with 6 degrees of freedom:
// p = 0.116. 130 and 100 against 100 and 101 cross at 10 + 40·ln 1.3/(ln 1.3 + ln 1.01) = 48.54.
func TestShardingVerdicts(t *testing.T) {
	for name, c := range map[string]struct {
		curves   []Curve
		verdicts []Verdict
		text     string
	}{
		"tie": {[]Curve{repeat("a", 4, 100, 100), repeat("b", 4, 103, 103)}, []Verdict{Tie, Tie, Tie},
			"a tie (b ahead by no more than chance) from 10.0 to 50.0 tok/s/user, all that was measured of every candidate"},
		"leads": {[]Curve{repeat("a", 4, 100, 100), repeat("b", 4, 120, 120)}, []Verdict{Leads, Leads, Leads},
			"b from 10.0 to 50.0 tok/s/user, all that was measured of every candidate"},
		"three trials": {[]Curve{repeat("a", 3, 100, 100), repeat("b", 4, 120, 120)}, []Verdict{Untested, Untested, Untested},
			"b ahead (not significance-tested) from 10.0 to 50.0 tok/s/user, all that was measured of every candidate"},
		"in part": {[]Curve{repeat("a", 4, 100, 100), repeat("b", 4, 130, 101)}, []Verdict{Leads, Leads, Tie},
			"b (not told from chance at 50.0) from 10.0 to 50.0 tok/s/user, all that was measured of every candidate"},
		"a crossing of no weight": {[]Curve{repeat("a", 4, 100, 101), repeat("b", 4, 130, 100)}, []Verdict{Leads, Leads, Tie},
			"b below 48.5 tok/s/user, a tie (a ahead by no more than chance) above 48.5: no single answer (compared from 10.0 to 50.0 tok/s/user)"},
	} {
		got := Sharding(c.curves)
		var verdicts []Verdict
		for _, target := range got.Targets {
			verdicts = append(verdicts, target.Verdict)
		}
		if !slices.Equal(verdicts, c.verdicts) || got.Text != c.text {
			t.Errorf("%s: %v, %s\n%+v", name, verdicts, got.Text, got.Targets)
		}
	}
}

// A lead that one test would call beyond chance is none among several: 4.2 %
// are p = 0.041 alone, and 0.08 beside a speed that has a lesser one.
func TestShardingCorrects(t *testing.T) {
	got := Sharding([]Curve{repeat("a", 4, 100, 100), repeat("b", 4, 104.2, 104.2)})
	for _, i := range []int{0, 2} { // as measured: between them, interpolation averages
		target := got.Targets[i]
		if len(target.raw) != 1 || !near(target.raw[0], 0.041, 0.003) || !near(target.P, 2*target.raw[0], 1e-9) || target.Verdict != Tie {
			t.Errorf("%+v: %s", target, target.Text())
		}
	}
	if len(got.EqualLoad) != 2 || got.EqualLoad[0].Verdict != Tie {
		t.Errorf("at equal load %+v", got.EqualLoad)
	}
}

func TestShardingRefuses(t *testing.T) {
	one := Curve{Name: "a", GPUs: 1, Trials: []Trial{cell(1, 10, 5)}}
	apart := Curve{Name: "b", GPUs: 1, Trials: []Trial{cell(1, 20, 5), cell(2, 30, 5)}}
	for want, curves := range map[string][]Curve{
		"fewer than two candidates": {one, {Name: "empty"}},
		"no speed of a user that every candidate was measured around (a: 10.0 to 10.0 tok/s/user; b: 20.0 to 30.0 tok/s/user)": {one, apart},
	} {
		if a := Sharding(curves); len(a.Targets) != 0 || !strings.Contains(a.Text, want) {
			t.Errorf("%+v, want %q", a, want)
		}
	}
}

// Three candidates, each ahead somewhere; no leader is named beyond what all
// were measured for.
func TestShardingRegions(t *testing.T) {
	a := Curve{Name: "a", GPUs: 1, Trials: []Trial{cell(9, 1, 100), cell(8, 100, 1)}}
	b := Curve{Name: "b", GPUs: 1, Trials: []Trial{cell(9, 1, 10), cell(8, 100, 10)}}
	c := Curve{Name: "c", GPUs: 1, Trials: []Trial{cell(9, 1, 1), cell(8, 100, 100)}}
	got := Sharding([]Curve{a, b, c})
	// a and c cross at the middle, 50.5, where all are equal to b: 10.
	if len(got.Regions) != 2 || got.Regions[0].Leader != "a" || got.Regions[1].Leader != "c" || !near(got.Regions[1].Low, 50.5, 1e-9) {
		t.Errorf("regions %+v", got.Regions)
	}
}
