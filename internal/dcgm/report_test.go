package dcgm

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"pipeline/internal/digest"
	"pipeline/internal/sol"
)

// One GPU, collected every 10 s and scraped every 5, worked through by hand.
// The load runs from 0 to 100 s, the steady window is the whole of it, and 2 s
// are given up at both ends: kept are collections first seen at t with
// t-20 >= 2 and t <= 98.
//
//	scrape  0    5    10   15   20   25   30   35   40   45   50   55 … 90   95   100
//	value   .10  .10  .20  .20  .30  .30  .40  .40  .50  .50  .60  .60  .60  .60  .70
//
// First seen at 30 and later: .40 (30), .50 (40), .60 (50). Then .60 repeats:
// 55 is 5 s after 50 and so the same collection; 60 is 10 s after it, within
// 1.5 intervals, the same; 65 is not. So 65, 80 and 95 are collections too.
func TestAssessByHand(t *testing.T) {
	t0 := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	at := func(s float64) time.Time { return t0.Add(time.Duration(s * 1e9)) }
	values := map[int]float64{0: .1, 5: .1, 10: .2, 15: .2, 20: .3, 25: .3, 30: .4, 35: .4, 40: .5, 45: .5, 100: .7}
	var s Samples
	labels := map[string]string{"UUID": "GPU-a", "gpu": "0", "Hostname": "n"}
	for sec := 0; sec <= 100; sec += 5 {
		v, ok := values[sec]
		if !ok {
			v = .6
		}
		ms := at(float64(sec)).UnixMilli()
		for _, name := range []string{"DCGM_FI_PROF_DRAM_ACTIVE", "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_PROF_SM_UTIL_RATIO", "DCGM_FI_PROF_TENSOR_UTIL_RATIO"} {
			s.Add(name, labels, ms, v)
		}
		s.Add("DCGM_FI_DEV_POWER_USAGE", labels, ms, 500)
		s.Add("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", labels, ms, float64(sec)*500e3)
	}
	f := &Frozen{Source: Source{Kind: FromPrometheus, CollectS: 10}}
	f.GPUs, f.Neighbours, f.Selected = Selection{}.Choose(&s)
	f.Freeze(&s)
	tokens, in := 5000.0, 20000.0
	w := NewWindow(at(0), at(100))
	r, err := Assess(f, digest.Digest{}, Cell{ID: "c", GPUs: 1, Full: w, Steady: w, OutputTokens: &tokens, InputTokens: &in})
	if err != nil {
		t.Fatal(err)
	}
	// Weights: 10 s to the collection before for 30, 40 and 50; 15 s, the most
	// that one may stand for, for 65, 80 and 95.
	mean := (.4*10 + .5*10 + .6*10 + .6*15*3) / (30 + 45)
	m := r.Mean["dram"]
	if m.N != 6 || math.Abs(m.Mean-mean) > 1e-12 || m.P50 != .6 || math.Abs(m.P95-.6) > 1e-12 || m.Min != .4 || m.Max != .6 {
		t.Errorf("%+v, want a mean of %v over 6", m, mean)
	}
	// Deviation about the weighted mean, n-1: sqrt(((.4-m)²+(.5-m)²+4(.6-m)²)/5).
	if want := math.Sqrt((sq(.4-mean) + sq(.5-mean) + 4*sq(.6-mean)) / 5); math.Abs(m.Std-want) > 1e-12 {
		t.Errorf("sd %v, want %v", m.Std, want)
	}
	// 500 W over 100 s are 50,000 J: 10 J an output token, 2 J a token.
	if r.EnergyJ == nil || math.Abs(*r.EnergyJ-50_000) > 1e-6 || r.EnergyFrom != "counter" || math.Abs(*r.JPerOutputToken-10) > 1e-9 || math.Abs(*r.JPerTotalToken-2) > 1e-9 {
		t.Errorf("energy %v from %s", r.EnergyJ, r.EnergyFrom)
	}
	if r.Dropped.Repeated != 11 || r.Dropped.Outside != 4 || r.Dropped.Samples != 21*6 {
		t.Errorf("dropped: %+v", r.Dropped)
	}
	if r.Kept.Start.Sub(t0) != 2*time.Second || r.Kept.End.Sub(t0) != 98*time.Second {
		t.Errorf("kept %v", r.Kept)
	}
}

func sq(v float64) float64 { return v * v }

// Nothing that was collected partly outside of the window reaches the means:
// the exporter's figures at the edges mix load and idleness.
func TestEdgesDoNotReachTheMeans(t *testing.T) {
	for _, c := range []struct{ collect, scrape float64 }{{1, 0.5}, {1, 1}, {2, 0.3}, {5, 1}} {
		w := healthy()
		w.collect, w.scrape, w.lead = c.collect, c.scrape, 20
		w.cell = func(cell *Cell) { cell.Steady = cell.Full }
		w.seen = func(f Field, g int, t, busy float64) float64 {
			if f == DRAM && busy == 1 {
				return 0.6 + 0.001*math.Mod(t, 3)
			}
			return truth(f, g, t, busy)
		}
		r := w.assess(t)
		if m := r.Mean["dram"]; m.Min < 0.6 {
			t.Errorf("%+v: a collection with %v of memory activity was kept", c, m.Min)
		}
	}
}

func TestCountersStandForGauges(t *testing.T) {
	w := healthy()
	f, cell := w.freeze()
	s, err := f.Samples()
	if err != nil {
		t.Fatal(err)
	}
	// SM cycles at 1.98 GHz, of which 80 % are active while the gauge says 90 %.
	for _, one := range s.Series() {
		if one.Field != SM {
			continue
		}
		for _, at := range one.T {
			cycles := float64(at-began.UnixMilli()+10_000) * 1.98e6
			s.add(SMCyclesElapsed, one.GPU, one.Labels, at, cycles)
			s.add(SMCyclesActive, one.GPU, one.Labels, at, 0.8*cycles)
		}
	}
	f.Freeze(s)
	r, err := Assess(f, digest.Digest{}, cell)
	if err != nil {
		t.Fatal(err)
	}
	if m := r.Mean["sm"]; math.Abs(m.Mean-0.8) > 1e-9 || m.From != "counters" || r.Rigor != RigorL3 {
		t.Errorf("%+v, rigor %s", m, r.Rigor)
	}
	if len(r.Notes) != 4 || !strings.Contains(r.Notes[0], "the gauge 1002 DCGM_FI_PROF_SM_ACTIVE has a mean of 0.9") || !strings.Contains(r.Notes[0], "its counters give 0.800") {
		t.Errorf("notes: %q", r.Notes)
	}
}

func TestReportRoundTrip(t *testing.T) {
	r := healthy().assess(t)
	text, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadReport(text)
	if err != nil {
		t.Fatal(err)
	}
	again, err := got.JSON()
	if err != nil || !bytes.Equal(again, text) {
		t.Errorf("read and written again it is another text (%v)", err)
	}
	if _, err := ReadReport([]byte(`{"schema":"dcgm/v9"}`)); err == nil || !strings.Contains(err.Error(), `the schema is "dcgm/v9"`) {
		t.Error(err)
	}
	if len(text) > 40_000 {
		t.Errorf("a report of 4 GPUs and a minute has %d bytes", len(text))
	}
}

func TestTimelineIsThinned(t *testing.T) {
	w := healthy()
	w.load, w.scrape = 900, 1
	r := w.assess(t)
	line := r.Timeline.GPUs[0]
	if len(line.AtMS) > mostDrawn || len(line.AtMS) < mostDrawn/2 || len(line.V["dram"]) != len(line.AtMS) || len(line.Kept) != len(line.AtMS) {
		t.Errorf("%d points of %d", len(line.AtMS), len(line.V["dram"]))
	}
	if line.Kept[0] || !line.Kept[len(line.Kept)/2] || r.Timeline.Keys["dram"] != 1005 {
		t.Errorf("kept: %v", line.Kept)
	}
	text, err := json.Marshal(line.V["dram"][len(line.AtMS)/2])
	if err != nil || len(text) > 7 {
		t.Errorf("a point is written %s", text)
	}
}

func TestNoSamples(t *testing.T) {
	r := NoSamples(Cell{ID: "c"}, Source{Kind: FromPrometheus}, "no answer", "start it")
	if r.Quality != QualityNone || r.Rigor != RigorNone || r.Gap != "no answer" || r.Close[0] != "start it" {
		t.Errorf("%+v", r)
	}
}

func TestTrimmed(t *testing.T) {
	at := func(s float64) time.Time { return began.Add(time.Duration(s * 1e9)) }
	for _, c := range []struct{ length, from, to float64 }{{20, 5, 15}, {200, 20, 180}, {8, 5, 3}} {
		w, how := Trimmed(NewWindow(at(0), at(c.length)))
		if w != NewWindow(at(c.from), at(c.to)) || how != "fixed" {
			t.Errorf("%v s: %v", c.length, w)
		}
	}
}

// Figures of h100_sm90 in configs/sol-ceilings.yaml: 5120 bit at 2619 MHz are
// 3.352 TB/s, 450 GB/s of NVLink and 64 GB/s of PCIe a direction.
func TestShares(t *testing.T) {
	ceilings, err := sol.BuiltinCeilings()
	if err != nil {
		t.Fatal(err)
	}
	p, err := PeaksOf(ceilings, "h100_sm90")
	if err != nil || p.BandwidthPath != "h100_sm90.hbm_tbps_clocked" {
		t.Fatalf("%+v, %v", p, err)
	}
	r := &Report{Mean: map[string]Stat{"dram": {Mean: 0.5}, "nvlink_tx_bps": {Mean: 90e9}, "nvlink_rx_bps": {Mean: 45e9}, "tensor": {Mean: 0.25}}}
	s := p.SharesOf(r)
	if *s.HBMPct != 50 || math.Abs(*s.HBMGBps-1676) > 1e-9 || *s.NVLinkPctDir != 20 || *s.TensorPct != 25 || s.SMPct != nil || s.PCIePctDir != nil {
		t.Errorf("%+v", s)
	}
	gpu, err := ceilings.GPU("h100_sm90")
	if err != nil {
		t.Fatal(err)
	}
	flops, path, err := TensorUpper(r, gpu, []string{"bf16"})
	if err != nil || math.Abs(flops-0.25*989.4e12) > 1 || path != "h100_sm90.dense_tflops.bf16" {
		t.Errorf("%v %s %v", flops, path, err)
	}
	if _, _, err := TensorUpper(r, gpu, []string{"bf16", "fp8"}); err == nil || !strings.Contains(err.Error(), "2 input types") {
		t.Error(err)
	}
	if p, err := PeaksOf(ceilings, "a100_sm80"); err != nil || p.BandwidthPath != "a100_sm80.hbm2e_tbps" || math.Abs(p.Bandwidth-2.039e12) > 1 {
		t.Errorf("%+v, %v", p, err)
	}
}
