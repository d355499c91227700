package dcgm

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// A healthy node passes every check that can be made of it.
func TestHealthyNodePasses(t *testing.T) {
	r := healthy().assess(t)
	for _, c := range r.Checks {
		want := Pass
		if slices.Contains([]string{"DC02", "DC06", "DC07"}, c.Code) { // no file, no pods and no neighbours, no model
			want = NotChecked
		}
		if c.Status != want || c.NoVerdict {
			t.Errorf("%s is %s: %s", c.Code, c.Status, c.Text)
		}
	}
	if len(r.Checks) != 15 || r.Rigor != RigorL3 || r.Quality != QualityOK || r.Gap != "" || r.Close != nil {
		t.Errorf("%d checks, rigor %s, quality %s, gap %q, %v", len(r.Checks), r.Rigor, r.Quality, r.Gap, r.Close)
	}
}

// Each check is tripped by what it is for, and says the numbers.
func TestChecksTrip(t *testing.T) {
	worse := func(change func(f Field, gpu int, t, busy, v float64) float64) func(*world) {
		return func(w *world) {
			w.seen = func(f Field, gpu int, t, busy float64) float64 {
				return change(f, gpu, t, busy, truth(f, gpu, t, busy))
			}
		}
	}
	for _, c := range []struct {
		name      string
		change    func(*world)
		code      string
		status    string
		text      string // a part of what it says
		noVerdict bool
		rigor     string
	}{
		{"no SM and no NVLink fields", func(w *world) {
			w.skip = func(f Field, _ int, _ float64) bool { return f == SM || f == NVLinkTx || f == NVLinkRx }
		}, "DC01", Fail, "0 samples for DCGM_FI_PROF_SM_ACTIVE on node gpu-07 in 14:02:12-14:03:08Z; the source has 3 of 6 required fields (missing 1002 DCGM_FI_PROF_SM_ACTIVE: commented out in default-counters.csv; 1011 DCGM_FI_PROF_NVLINK_TX_BYTES: not in default-counters.csv; 1012", false, RigorNone},
		{"one GPU without memory activity", func(w *world) { w.skip = func(f Field, g int, _ float64) bool { return f == DRAM && g == 2 } },
			"DC01", Fail, "1005 DCGM_FI_PROF_DRAM_ACTIVE: samples of some GPUs only", false, RigorNone},
		{"nothing matches", func(w *world) { w.selection.Node = "gpu-99" }, "DC01", Fail, "0 samples: no series matches node gpu-99", false, RigorNone},
		{"empty file", func(w *world) {
			w.frozen = func(f *Frozen) {
				f.Source = Source{Kind: FromAIPerf, File: "gpu_telemetry_export.jsonl"}
				f.GPUs = nil
			}
		}, "DC02", Fail, "telemetry file gpu_telemetry_export.jsonl is there and empty (0 bytes)", false, RigorNone},
		{"half of the GPUs", func(w *world) { w.skip = func(_ Field, g int, _ float64) bool { return g >= 2 } },
			"DC03", Fail, "cell uses 4 GPUs, series found for 2", false, RigorNone},
		{"more GPUs than the cell's", func(w *world) { w.cell = func(c *Cell) { c.GPUs = 2 } },
			"DC03", Fail, "cell uses 2 GPUs, series found for 4 (all that the source shows); name the cell's with gpus (UUIDs)", false, RigorNone},
		{"idle GPUs", worse(func(f Field, _ int, _, _, v float64) float64 {
			if f == GR {
				return 0.001
			}
			return v
		}), "DC04", Fail, "GPUs idle during the window (graphics engine active at most 0.1 %) while the bench reports 1000 tok/s", false, RigorNone},
		{"load before", worse(func(f Field, g int, t, busy, v float64) float64 {
			if t < 0 {
				return truth(f, g, t, 0.8)
			}
			return v
		}), "DC05", Warn, "load existed before the bench: co-tenant or previous cell (gr 0.7", true, RigorL3},
		{"another pod", func(w *world) {
			w.labels = map[string]string{"pod": "someone-0"}
			w.frozen = func(f *Frozen) { f.Workload.Pods = []string{"vllm-0"} }
		}, "DC06", Fail, "GPU 0 of gpu-07 is used by pod someone-0, which does not serve the cell (vllm-0 does)", true, RigorNone},
		{"busy neighbour", func(w *world) {
			w.others = 2
			worse(func(f Field, g int, t, busy, v float64) float64 {
				if g == 5 {
					return truth(f, g, t, 0.5)
				}
				return v
			})(w)
		}, "DC06", Warn, "co-tenant on GPU 5 of gpu-07 (4", true, RigorL3},
		{"stale exporter", worse(func(f Field, g int, _, busy, v float64) float64 {
			if f.Profiling() {
				return truth(f, g, 5, 1)
			}
			return v
		}), "DC08", Fail, "GPU 0 of gpu-07 shows the same figures in all of", false, RigorNone},
		{"percent", worse(func(f Field, _ int, _, _, v float64) float64 {
			if info, _ := f.Info(); info.Unit == Ratio && f.Profiling() {
				return 100 * max(v, 0.02)
			}
			return v
		}), "DC09", Fail, "the source seems to scale ratios to percent; if so, declare it with ratios_in_percent: true", false, RigorNone},
		{"sentinels", worse(func(f Field, g int, t, _, v float64) float64 {
			if f.Profiling() && int(t)%10 == g {
				return 9223372036854775794
			}
			return v
		}), "DC09", Fail, `samples of 1001 DCGM_FI_PROF_GR_ENGINE_ACTIVE (10 %) are DCGM's sentinel for "not available": more than 5 %`, false, RigorNone},
		{"clock", func(w *world) { w.frozen = func(f *Frozen) { f.Source.SkewS = -7.2 } },
			"DC10", Fail, "the clock of prometheus is -7.2 s off the one of the measurement (at most 5 s)", false, RigorNone},
		{"gap", func(w *world) { w.skip = func(_ Field, g int, t float64) bool { return g == 1 && t > 20 && t < 24.6 } },
			"DC11", Fail, "6.00 s without a collection of GPU 1 of gpu-07: more than 3 × the collect interval of 1 s", false, RigorNone},
		{"gap at the end", func(w *world) { w.skip = func(_ Field, _ int, t float64) bool { return t > 50 } },
			"DC11", Fail, "s without a collection of GPU 0", false, RigorNone},
		{"thermal", worse(func(f Field, g int, t, _, v float64) float64 {
			if f == ClockReasons && g == 3 && t > 30 && t < 31.5 {
				return reasonHWThermal
			}
			return v
		}), "DC12", Warn, "THROTTLED: GPU 3 of gpu-07: 0x40, hardware thermal slowdown", true, RigorL3},
		{"thermal counter", worse(func(f Field, g int, t, _, v float64) float64 {
			if f == ThermalViolation && g == 0 && t > 30 {
				return 2.5e8
			}
			return v
		}), "DC12", Warn, "THROTTLED: GPU 0 of gpu-07: 0.25 s below the clock for heat", true, RigorL3},
		{"xid", worse(func(f Field, g int, t, _, v float64) float64 {
			if f == XID && g == 1 && t > 30 {
				return 79
			}
			return v
		}), "DC13", Fail, "GPU 1 of gpu-07: XID 79", true, RigorNone},
		{"ecc", worse(func(f Field, g int, t, _, v float64) float64 {
			if f == ECCDoubleBit && g == 1 {
				return 3 + map[bool]float64{true: 1}[t > 1]
			}
			return v
		}), "DC13", Fail, "GPU 1 of gpu-07: 311 DCGM_FI_DEV_ECC_DBE_VOL_TOTAL went from 3 to 4", true, RigorNone},
		{"energy", worse(func(f Field, _ int, _, energy, v float64) float64 {
			if f == Energy {
				return math.Floor(1.2 * energy)
			}
			return v
		}), "DC14", Warn, "(16.7 % apart)", false, RigorL3},
		{"straggler", worse(func(f Field, g int, _, _, v float64) float64 {
			if f == DRAM && g == 3 {
				return 0.8 * v
			}
			return v
		}), "DC15", Warn, "a straggler holds up the others", false, RigorL3},
	} {
		w := healthy()
		c.change(w)
		r := w.assess(t)
		got, ok := r.Check(c.code)
		if !ok || got.Status != c.status || !strings.Contains(got.Text, c.text) || got.NoVerdict != c.noVerdict || r.Rigor != c.rigor {
			t.Errorf("%s: %s is %s (no verdict: %v), rigor %s: %s\nwant %s, %v, %s: …%s…", c.name, c.code, got.Status, got.NoVerdict, r.Rigor, got.Text, c.status, c.noVerdict, c.rigor, c.text)
		}
		if r.Rigor == RigorNone && (r.Gap == "" || !strings.Contains(r.Gap, c.code) && r.Quality != QualityThin) {
			t.Errorf("%s: the gap does not name %s: %q", c.name, c.code, r.Gap)
		}
		if c.noVerdict && len(r.NoVerdict()) == 0 {
			t.Errorf("%s: no verdict: %q", c.name, r.NoVerdict())
		}
	}
}

// What is usual must trip nothing.
func TestChecksLetPass(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*world)
		code   string
		text   string
	}{
		{"idle neighbours and the cell's own pod", func(w *world) {
			w.others, w.labels = 4, map[string]string{"pod": "exporter-x", "exported_pod": "vllm-0"}
			w.frozen = func(f *Frozen) { f.Workload.Pods = []string{"vllm-0"} }
		}, "DC06", "4 other GPUs of the node idle"},
		{"power cap", func(w *world) {
			w.seen = func(f Field, g int, t, b float64) float64 {
				if f == ClockReasons {
					return reasonPowerCap
				}
				return truth(f, g, t, b)
			}
		}, "DC12", "software power cap on GPU 0"},
		{"a file with samples", func(w *world) {
			w.frozen = func(f *Frozen) {
				f.Source.File, f.Source.Size, f.Lines = "dcgm-samples.json", 4000, make([]seriesLine, 1)
			}
		}, "DC02", ""},
		{"a graphics engine that is always busy", func(w *world) {
			w.seen = func(f Field, g int, t, b float64) float64 {
				if f == GR {
					return b
				}
				return truth(f, g, t, b)
			}
		}, "DC08", "figures vary"},
		{"percent, and declared", func(w *world) {
			w.percent = true
			w.seen = func(f Field, g int, t, b float64) float64 {
				if info, _ := f.Info(); info.Unit == Ratio {
					return 100 * truth(f, g, t, b)
				}
				return truth(f, g, t, b)
			}
		}, "DC09", "none out of range"},
	} {
		w := healthy()
		c.change(w)
		r := w.assess(t)
		got, _ := r.Check(c.code)
		if got.Status != Pass || !strings.Contains(got.Text, c.text) {
			t.Errorf("%s: %s is %s: %s", c.name, c.code, got.Status, got.Text)
		}
		if r.Rigor != RigorL3 && c.code != "DC02" {
			t.Errorf("%s: rigor %s: %s", c.name, r.Rigor, r.Gap)
		}
	}
}

func TestCheckPhysics(t *testing.T) {
	// 8 GPUs at 60 % of 8 TB/s move 4.8 TB/s each; 7.2 GB a token at 5,000 tok/s
	// over 8 GPUs is 4.5 TB/s each.
	for _, c := range []struct {
		dram, footprint float64
		want, text      string
	}{
		{0.6, 7.2e9, Pass, "measured 4800 GB/s a GPU, the model's minimum is 4500 GB/s (7.20 GB a token × 5000 tok/s ÷ 8 GPUs)"},
		{0.5, 7.2e9, Fail, "below the model's minimum: wrong GPUs, wrong batch, or wrong quant map"},
		{0.6, 2.0e9, Warn, "more than three times that"},
		{0.6, 0, NotChecked, "not known"},
		{math.NaN(), 7.2e9, NotChecked, "not known"},
	} {
		if got := CheckPhysics(c.dram, 8e12, c.footprint, 5000, 8); got.Status != c.want || !strings.Contains(got.Text, c.text) || got.Code != "DC07" {
			t.Errorf("%v %v: %+v", c.dram, c.footprint, got)
		}
	}
	r := healthy().assess(t)
	r.Settle(CheckPhysics(0.6, 8e12, 7.2e9, 5000, 8))
	if got, _ := r.Check("DC07"); got.Status != Pass || r.Rigor != RigorL3 {
		t.Errorf("%+v, %s", got, r.Rigor)
	}
	r.Settle(CheckPhysics(0.1, 8e12, 7.2e9, 5000, 8))
	if r.Rigor != RigorNone || r.Quality != QualityFailed || !strings.HasPrefix(r.Gap, "DC07: ") {
		t.Errorf("%s, %s, %q", r.Rigor, r.Quality, r.Gap)
	}
}

// The reference's own example: at a collect interval of 30 s, a steady window
// must have 7 × 30 s, and what clocks take at its ends.
func TestTooFewCollections(t *testing.T) {
	w := healthy()
	w.collect, w.scrape, w.load, w.lead = 30, 15, 120, 90
	r := w.assess(t)
	want := "n_eff is 1 for 1001 DCGM_FI_PROF_GR_ENGINE_ACTIVE of GPU 0 of gpu-07, and 5 are needed: the steady window has 116.0 s, and at a collect interval of 30 s it takes 214.0 s (7 × the interval, and 2 s at both ends)"
	if r.Rigor != RigorNone || r.Quality != QualityThin || r.Gap != want || r.NEffMin != 1 {
		t.Errorf("rigor %s, quality %s, n_eff %d\n%s\nwant\n%s", r.Rigor, r.Quality, r.NEffMin, r.Gap, want)
	}
	if len(r.Close) != 1 || !strings.HasSuffix(r.Close[0], "dcgm-exporter -c 10000") {
		t.Errorf("close: %q", r.Close)
	}
	// What it says is enough is enough; 3 or 4 are little.
	for load, quality := range map[float64]string{218 + 4: QualityOK, 186 + 4: QualityLow} {
		w.load = load
		if r := w.assess(t); r.Rigor != RigorL3 || r.Quality != quality {
			t.Errorf("load %v s: rigor %s, quality %s, n_eff %d: %s", load, r.Rigor, r.Quality, r.NEffMin, r.Gap)
		}
	}
}

func TestIntervalIsEstimated(t *testing.T) {
	for _, c := range []struct{ collect, scrape, want float64 }{{1, 0.5, 1}, {1, 0.25, 1}, {1, 1, 1}, {1, 5, 5}, {30, 15, 30}} {
		w := healthy()
		w.collect, w.scrape, w.declared, w.load, w.lead = c.collect, c.scrape, false, 300, 60
		r := w.assess(t)
		if r.IntervalS == nil || math.Abs(*r.IntervalS-c.want) > 0.01 || !r.Estimated || r.Rigor != RigorL3 {
			t.Errorf("%+v: %v, rigor %s %s", c, r.IntervalS, r.Rigor, r.Gap)
		}
	}
	if r := healthy().assess(t); r.Estimated || *r.IntervalS != 1 {
		t.Error("a declared interval was estimated")
	}
}

// Two exporters' worth of faults at once are all there.
func TestSeveralFailures(t *testing.T) {
	w := healthy()
	w.skip = func(f Field, g int, _ float64) bool { return f == SM || g == 3 }
	r := w.assess(t)
	if !strings.Contains(r.Gap, "DC01: ") || !strings.Contains(r.Gap, "DC03: ") || len(r.Close) == 0 || !strings.Contains(fmt.Sprint(r.Close), "DCGM_FI_PROF_SM_ACTIVE") {
		t.Errorf("%s\n%q", r.Gap, r.Close)
	}
}
