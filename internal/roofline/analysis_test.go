package roofline

import (
	"math"
	"strings"
	"testing"

	"pipeline/internal/sol"
	"pipeline/lake/perf"
)

func deployment(t *testing.T) *sol.Deployment {
	t.Helper()
	lib, err := sol.BuiltinLibrary()
	if err != nil {
		t.Fatal(err)
	}
	d, _, err := lib.Deployment(map[string]string{"hardware": "H100", "model_shape": "llama-3.1-8b", "kv_cache_dtype": "bfloat16", "tp": "1", "gpu_count": "1"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func dist(v float64) *perf.Dist {
	return &perf.Dist{N: 9, Mean: v, Min: v, P50: v, P90: v, P95: v, P99: v, Max: v}
}

func close(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if math.Abs(got-want) > within*math.Abs(want) {
		t.Errorf("%s is %.6g, want %.6g", what, got, want)
	}
}

// Llama-3.1-8B in bf16 on one H100, 1024 in and 256 out. At a batch of 64 the
// footprint is 0.3855 GB a token and the floor 7.3652 ms (worked vector V1). A
// token costs 2·7,504,924,672 FLOPs and attention 32·2·32·(128+128)·1152.
func TestAnalyseDecode(t *testing.T) {
	rate := 6400.0 // at a TPOT of 10 ms: 64 sequences
	m := &perf.Measurement{Asked: perf.Workload{Concurrency: 70, ISL: 1024, OSL: 256}, Summary: perf.Summary{
		OutputThroughput: &rate, TPOT: dist(10), ISL: dist(1024), OSL: dist(256)}}
	a, err := Analyse(Decode, m, deployment(t))
	if err != nil {
		t.Fatal(err)
	}
	flops := 2*7_504_924_672.0 + 32*2*32*(128+128)*1152
	close(t, "b_eff", a.BEff, 64, 1e-9)
	close(t, "context", a.Context, 1152, 1e-9)
	close(t, "footprint", a.FootprintGB, 0.3855, 2e-4)
	close(t, "floor", a.FloorMS, 7.3652, 2e-5)
	close(t, "TFLOP/s", a.TFLOPsPerGPU, 6400*flops/1e12, 1e-9)
	close(t, "HBM", a.HBMPctPred, 73.652, 2e-5) // the floor of 10 ms
	close(t, "AI", a.AI, flops/0.3855e9, 2e-4)
	close(t, "MFU", *a.MFU, 6400*flops/989.4e12, 1e-9)
	if a.Bound != "memory" || a.GPUs != 1 || a.MeasuredOver != "full" || len(a.check()) != 0 {
		t.Errorf("analysis %+v, doubts %v", a, a.check())
	}
}

// A prompt of 1024 tokens alone: 14.570 TFLOP, a floor of 14.726 ms (the same
// vectors).
func TestAnalysePrefill(t *testing.T) {
	m := &perf.Measurement{Asked: perf.Workload{Concurrency: 1, ISL: 1024, OSL: 1}, Summary: perf.Summary{TTFT: dist(20), ISL: dist(1024), OSL: dist(1)}}
	a, err := Analyse(Prefill, m, deployment(t))
	if err != nil {
		t.Fatal(err)
	}
	close(t, "tok/s/GPU", a.PrefillTPS, 51200, 1e-9)
	close(t, "TFLOP/s", a.TFLOPsPerGPU, 14.570*50, 1e-4)
	close(t, "floor", a.FloorMS, 14.726, 1e-4)
	close(t, "MFU", *a.MFU, 14.726/20, 1e-4)
	if a.Bound != "compute" || a.BEff != 0 || a.RateBasis != "1 / median TTFT over full" {
		t.Errorf("analysis %+v", a)
	}
	rps := 60.0
	m.Asked.Concurrency, m.Summary.RequestThroughput = 4, &rps
	if a, err = Analyse(Prefill, m, deployment(t)); err != nil || a.RateBasis != "requests/s over full" {
		t.Fatalf("%+v, %v", a, err)
	}
	close(t, "tok/s/GPU", a.PrefillTPS, 61440, 1e-9)
}

// The steady window is taken where there is one, and what is faster than light
// is doubted.
func TestAnalyseWindow(t *testing.T) {
	slow, fast := 10.0, 12800.0
	m := &perf.Measurement{Asked: perf.Workload{Concurrency: 64, ISL: 1024, OSL: 256}, Summary: perf.Summary{OutputThroughput: &slow, TPOT: dist(50)},
		Steady: &perf.Summary{OutputThroughput: &fast, TPOT: dist(5)}}
	a, err := Analyse(Decode, m, deployment(t))
	if err != nil || a.MeasuredOver != "steady" {
		t.Fatalf("%+v, %v", a, err)
	}
	close(t, "b_eff", a.BEff, 64, 1e-9)
	if d := a.check(); len(d) != 2 || !strings.HasPrefix(d[0], "SOL_OVER: 5 ms measured are below the floor of 7.365 ms") ||
		!strings.HasPrefix(d[1], "SOL_OVER: the bytes that the model must move are ") {
		t.Errorf("doubts %q", d)
	}
}

// Several prompts at a time wait for each other, so TTFT is above its floor
// whatever the rate: a prompt takes 14.726 ms of all that the GPU can compute,
// and 67.9 of them a second fill it.
func TestAnalysePrefillOver(t *testing.T) {
	for rate, over := range map[float64]bool{60: false, 67: false, 69: true, 120: true} {
		m := &perf.Measurement{Asked: perf.Workload{Concurrency: 4, ISL: 1024, OSL: 1}, Summary: perf.Summary{TTFT: dist(60), ISL: dist(1024), OSL: dist(1), RequestThroughput: &rate}}
		a, err := Analyse(Prefill, m, deployment(t))
		if err != nil {
			t.Fatal(err)
		}
		d := a.check()
		if over != (len(d) == 1 && strings.HasPrefix(d[0], "SOL_OVER: ") && strings.Contains(d[0], "of the dense peak")) || !over && len(d) != 0 {
			t.Errorf("%g prompts/s: MFU %g, doubts %q", rate, *a.MFU, d)
		}
	}
	// A format without a known peak leaves the bytes.
	if d := (&Analysis{HBMPctPred: 130, AI: 1}).check(); len(d) != 1 || !strings.HasPrefix(d[0], "SOL_OVER: the bytes that the model must move are 130 % of the nominal bandwidth") {
		t.Errorf("doubts %q", d)
	}
}

func TestAnalyseRefuses(t *testing.T) {
	d := deployment(t)
	rate := 10.0
	for want, s := range map[string]perf.Summary{
		"no output throughput": {},
		"no TPOT":              {OutputThroughput: &rate},
	} {
		if _, err := Analyse(Decode, &perf.Measurement{Asked: perf.Workload{ISL: 8, OSL: 8}, Summary: s}, d); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if _, err := Analyse(Prefill, &perf.Measurement{Asked: perf.Workload{ISL: 8, OSL: 1}}, d); err == nil || !strings.Contains(err.Error(), "no TTFT") {
		t.Errorf("error %v", err)
	}
}

func TestReadSweep(t *testing.T) {
	for _, text := range []string{`{}`, `[]`, `{"schema":"roofline/v1","points":[{"kind":"x"}]}`, `{"schema":"roofline/v1","points":[{"kind":"decode","c":1,"isl":1,"osl":2}]}`} {
		if _, err := ReadSweep([]byte(text)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
	s := &Sweep{Schema: SweepSchema, Points: []Point{{Kind: Decode, C: 1, ISL: 1, OSL: 2, Trial: 1, Reason: "lost", Analysis: &Analysis{BEff: 3}}}}
	text, err := s.JSON()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ReadSweep(text)
	if err != nil || back.Points[0].Analysis.BEff != 3 {
		t.Errorf("%+v, %v", back, err)
	}
}
