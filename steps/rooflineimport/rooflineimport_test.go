package rooflineimport

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"pipeline/internal/digest"
	"pipeline/internal/roofline"
	"pipeline/lake/perf"
	"pipeline/steps"
	"pipeline/steps/stepstest"
)

func TestContract(t *testing.T) { stepstest.Check(t, Kind()) }

func manifest() roofline.Manifest {
	return roofline.Manifest{
		Hardware: "H200", Model: roofline.Model{Name: "zai-org/GLM-5-FP8", Shape: "glm-5.1-fp8"}, TensorParallel: 8, KVCacheDtype: "auto", Quant: "fp8",
		CacheMode: roofline.Cold, Engine: roofline.Engine{Name: "vllm", Version: "0.15.1"},
		Sweeps: roofline.Sweeps{Decode: &roofline.DecodeSweep{C: []int{64, 128}, ISL: 1024, OSL: 128}},
	}
}

func decodeCell() roofline.Cell {
	return roofline.Cell{Kind: roofline.Decode, TP: 8, C: 64, ISL: 1024, OSL: 128, NumPrompts: 640, Trial: 1, Node: "gpu-07", GPUUUIDs: []string{"GPU-1", "GPU-2"},
		StartNS: 1_795_342_500_000_000_000, EndNS: 1_795_342_623_552_492_037}
}

// bundle writes one with one cell.
func bundle(t *testing.T, m roofline.Manifest, c roofline.Cell, files map[string][]byte) string {
	t.Helper()
	w := roofline.NewWriter(t.TempDir())
	if err := w.PutCell(c, files); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(m); err != nil {
		t.Fatal(err)
	}
	return w.Dir()
}

type file struct{ *bytes.Buffer }

func (file) Close() error { return nil }

func run(t *testing.T, s *Step, in ...steps.Input) (*roofline.Sweep, error) {
	t.Helper()
	if err := s.Check(); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	env := &steps.Env{
		Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler), In: map[string][]steps.Input{"bundle": in},
		Create:   func(string) (io.WriteCloser, error) { out.Reset(); return file{&out}, nil },
		Doubt:    func(string, ...any) {},
		Progress: func(steps.Progress) {},
		Resolve:  func(path string) string { return path },
	}
	if err := s.Run(t.Context(), env); err != nil {
		return nil, err
	}
	return roofline.ReadSweep(out.Bytes())
}

func step(dir string) *Step {
	s := Kind().New().(*Step)
	s.Bundle, s.Hardware, s.TensorParallel, s.CacheMode = steps.File(dir), "h200_sm90", 8, "cold"
	return s
}

// A result of InferenceX, as its tool wrote it: 663.04 output tok/s at a median
// TPOT of 87.86 ms are a batch of 58.3. Of two concurrencies asked for, one is
// not there.
func TestInferenceX(t *testing.T) {
	bench, err := os.ReadFile("../../internal/vllmbench/testdata/inferencex.json")
	if err != nil {
		t.Fatal(err)
	}
	sweep, err := run(t, step(bundle(t, manifest(), decodeCell(), map[string][]byte{roofline.BenchFile: bench})))
	if err != nil {
		t.Fatal(err)
	}
	if len(sweep.Points) != 2 || sweep.CeilingKey != "h200_sm90" || sweep.Hardware != "H200" || sweep.Ceilings["h200_sm90.hbm3e_tbps"] != 4.8 || sweep.Simulated {
		t.Errorf("sweep %+v", sweep)
	}
	p := sweep.Points[0]
	if p.Analysis == nil {
		t.Fatalf("no analysis: %s", p.NotAnalysed)
	}
	if math.Abs(p.Analysis.BEff-663.0380225369481*0.08786178177119944) > 1e-6 || p.Analysis.GPUs != 8 || !strings.Contains(p.Analysis.RateBasis, "median TPOT stands for the mean") {
		t.Errorf("analysis %+v", p.Analysis)
	}
	m := p.Measurement
	for field, want := range map[string]string{
		"tp": "8", "gpu_count": "8", "hardware": "H200", "model_shape": "glm-5.1-fp8", "engine_version": "0.15.1", "cache_mode": "cold",
		"node": "gpu-07", "concurrency": "64", "num_prompts": "640", "bench_backend": "inferencex-bench", "parallel_strategy": "tp8", "image": perf.Unknown,
	} {
		if m.Setting[field] != want {
			t.Errorf("setting %s is %q, want %q", field, m.Setting[field], want)
		}
	}
	if !m.Start.Equal(time.Unix(1_795_342_500, 0)) || p.NoDCGM == "" {
		t.Errorf("start %s, no DCGM: %q", m.Start, p.NoDCGM)
	}
	if lost := sweep.Points[1]; lost.C != 128 || lost.Measurement != nil || !strings.Contains(lost.Reason, "the bundle does not have it") {
		t.Errorf("the cell that is not there: %+v", lost)
	}
}

func TestFlagMismatch(t *testing.T) {
	dir := bundle(t, manifest(), decodeCell(), nil)
	for want, change := range map[string]func(*Step){
		"ROOF_FLAG_MISMATCH: tensor_parallel is 4, and the manifest says 8":     func(s *Step) { s.TensorParallel = 4 },
		"ROOF_FLAG_MISMATCH: hardware is B200, and the manifest says H200":      func(s *Step) { s.Hardware = "B200" },
		"ROOF_FLAG_MISMATCH: cache_mode is warm, and the manifest says cold":    func(s *Step) { s.CacheMode = "warm" },
		"ROOF_FLAG_MISMATCH: kv_cache_dtype is fp8, and the manifest says auto": func(s *Step) { s.KVCacheDtype = "fp8" },
		"CEIL_UNKNOWN": func(s *Step) { s.Hardware = "B200X" },
		"it is ":       func(s *Step) { s.BuiltinModels = "0" },
		"there is a bundle on the port and one in the parameter": nil,
		"port bundle has 0 inputs":                               func(s *Step) { s.Bundle = "" },
		"no such file":                                           func(s *Step) { s.Bundle += "/nowhere" },
	} {
		s, in := step(dir), []steps.Input(nil)
		if change == nil {
			in = append(in, steps.Input{})
		} else {
			change(s)
		}
		_, err := run(t, s, in...)
		var param *steps.ParamError
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, steps.ErrPermanent) && !errors.As(err, &param) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
	// The token and the key of the same GPU are the same hardware.
	s := step(dir)
	s.Hardware = "H200"
	if _, err := run(t, s); err != nil {
		t.Error(err)
	}
}

func measurement(change func(*perf.Measurement)) []byte {
	rate, rps := 6400.0, 25.0
	d := func(v float64) *perf.Dist {
		return &perf.Dist{N: 9, Mean: v, Min: v, P50: v, P90: v, P95: v, P99: v, Max: v}
	}
	m := &perf.Measurement{
		Schema: perf.MeasurementSchema, Status: perf.Full, Setting: perf.Setting{"hardware": "H100", "model_shape": "llama-3.1-8b", "tp": "1", "kv_cache_dtype": "bf16", "gpu_count": "1"},
		Driver: perf.Driver{Name: "native", Version: "1"}, Asked: perf.Workload{Concurrency: 64, ISL: 1024, OSL: 256, Arrival: perf.Closed, NumPrompts: 256},
		Start: time.Unix(1_795_342_500, 0), End: time.Unix(1_795_342_560, 0),
		Summary: perf.Summary{DurationS: 60, Requests: 256, OutputThroughput: &rate, RequestThroughput: &rps, TPOT: d(10), TTFT: d(50), ISL: d(1024), OSL: d(256)},
	}
	if change != nil {
		change(m)
	}
	text, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return text
}

func llama() roofline.Manifest {
	m := manifest()
	m.Hardware, m.TensorParallel, m.Model = "H100", 1, roofline.Model{Name: "llama", Shape: "llama-3.1-8b"}
	m.Sweeps.Decode = &roofline.DecodeSweep{C: []int{64}, ISL: 1024, OSL: 256}
	return m
}

func llamaCell() roofline.Cell {
	return roofline.Cell{Kind: roofline.Decode, TP: 1, C: 64, ISL: 1024, OSL: 256, NumPrompts: 256, Trial: 1}
}

func importLlama(t *testing.T, files map[string][]byte) (roofline.Point, *roofline.Sweep, error) {
	t.Helper()
	s := step(bundle(t, llama(), llamaCell(), files))
	s.Hardware, s.TensorParallel = "H100", 1
	sweep, err := run(t, s)
	if err != nil {
		return roofline.Point{}, nil, err
	}
	return sweep.Points[0], sweep, nil
}

func TestNative(t *testing.T) {
	p, _, err := importLlama(t, map[string][]byte{roofline.BenchFile: measurement(nil)})
	if err != nil || p.Analysis == nil || math.Abs(p.Analysis.HBMPctPred-73.652) > 0.01 {
		t.Errorf("point %+v, error %v", p, err)
	}
	if _, _, err := importLlama(t, map[string][]byte{roofline.BenchFile: measurement(func(m *perf.Measurement) { m.Asked.Concurrency = 32 })}); err == nil ||
		!strings.Contains(err.Error(), "ROOF_FLAG_MISMATCH: concurrency of the measurement is 32, and cell.yaml says 64") {
		t.Errorf("error %v", err)
	}
	for _, text := range []string{"{}", "[]", "<html>", `{"schema":"measurement/v1"}`} {
		if _, _, err := importLlama(t, map[string][]byte{roofline.BenchFile: []byte(text)}); err == nil || !strings.Contains(err.Error(), "cell d-tp1-c064") {
			t.Errorf("%s: error %v", text, err)
		}
	}
}

// A scaled simulation has no place beside ceilings of real time.
func TestTimeScale(t *testing.T) {
	p, sweep, err := importLlama(t, map[string][]byte{roofline.BenchFile: measurement(func(m *perf.Measurement) {
		m.Simulated, m.Setting["serve_args"] = true, `{"sim_time_scale":"0.05"}`
	})})
	if err != nil || p.Analysis != nil || !strings.HasPrefix(p.NotAnalysed, "SOL_TIME_SCALE") || !sweep.Simulated {
		t.Errorf("point %+v, error %v", p, err)
	}
}

func scrapes(preHits, preQueries, hits, queries int) []byte {
	one := func(h, q int) string {
		return fmt.Sprintf("vllm:prefix_cache_queries_total %d\nvllm:prefix_cache_hits_total %d\nvllm:generation_tokens_total 5\n", q, h)
	}
	return []byte("# scrape pre 1\n" + one(preHits, preQueries) + "# scrape post 2\n" + one(hits, queries))
}

func TestNotCold(t *testing.T) {
	bench := measurement(nil)
	for _, c := range []struct {
		name    string
		metrics []byte
		status  perf.Status
		says    string
	}{
		{"cold", scrapes(500, 1000, 500, 263144), perf.Full, ""},
		{"template", scrapes(0, 0, 4096, 262144), perf.Full, "template_hits: 1.6% of the input tokens (16 of a prompt)"},
		{"seen before", scrapes(0, 0, 131072, 262144), perf.Partial, "ROOF_NOT_COLD: 50.0% of the input tokens (512 of a prompt) were in the prefix cache, by the server's counters"},
		{"nothing told", nil, perf.Full, "cold_unknown: "},
		{"one scrape", []byte("# scrape pre\nvllm:prefix_cache_queries_total 1\n"), perf.Full, "no_metrics: "},
	} {
		files := map[string][]byte{roofline.BenchFile: bench}
		if c.metrics != nil {
			files[roofline.MetricsFile] = c.metrics
		}
		p, _, err := importLlama(t, files)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if said := strings.Join(append(p.Measurement.Reasons, p.Measurement.Doubts...), "\n"); p.Measurement.Status != c.status || !strings.Contains(said, c.says) {
			t.Errorf("%s: %s\n%s", c.name, p.Measurement.Status, said)
		}
	}
	if _, _, err := importLlama(t, map[string][]byte{roofline.BenchFile: bench, roofline.MetricsFile: []byte("# scrape pre\n{{\n# scrape post\na 1\n")}); err == nil {
		t.Error("rubbish is taken for metrics")
	}
}

// A cell that ended badly keeps what it left, and is no answer.
func TestBadEnd(t *testing.T) {
	c := llamaCell()
	c.ExitCode, c.Error = 1, "CUDA out of memory"
	s := step(bundle(t, llama(), c, map[string][]byte{roofline.BenchFile: measurement(nil)}))
	s.Hardware, s.TensorParallel = "H100", 1
	sweep, err := run(t, s)
	if err != nil || sweep.Points[0].Measurement.Status != perf.Partial || sweep.Points[0].Measurement.Reasons[0] != "CUDA out of memory" {
		t.Errorf("%+v, %v", sweep, err)
	}
}

// The bundle of a wire is the same as that of a file.
func TestWire(t *testing.T) {
	dir := bundle(t, llama(), llamaCell(), map[string][]byte{roofline.BenchFile: measurement(nil)})
	var packed bytes.Buffer
	if err := roofline.Pack(&packed, dir); err != nil {
		t.Fatal(err)
	}
	in := steps.Input{Step: "sweep", Artifacts: []steps.Artifact{{Name: bundleFile, Digest: digest.Of(packed.Bytes())}},
		Open: func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil }}
	s := step("")
	s.Hardware, s.TensorParallel = "H100", 1
	wired, err := run(t, s, in)
	if err != nil {
		t.Fatal(err)
	}
	s.Bundle = steps.File(dir)
	filed, err := run(t, s)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := wired.JSON()
	b, _ := filed.JSON()
	if !bytes.Equal(a, b) {
		t.Errorf("by wire\n%s\nby file\n%s", a, b)
	}
	lost := steps.Input{Step: "sweep", Gap: "failed: endpoint died"}
	s.Bundle = ""
	if _, err := run(t, s, lost); err == nil || !strings.Contains(err.Error(), "step sweep made no bundle (failed: endpoint died)") {
		t.Errorf("error %v", err)
	}
}

// The model's own config.json stands in for a shape by name.
func TestOwnShape(t *testing.T) {
	config, err := os.ReadFile("../../configs/models/llama-3.1-8b/config.json")
	if err != nil {
		t.Fatal(err)
	}
	w := roofline.NewWriter(t.TempDir())
	if err := w.PutCell(llamaCell(), map[string][]byte{roofline.BenchFile: measurement(func(m *perf.Measurement) { delete(m.Setting, "model_shape") })}); err != nil {
		t.Fatal(err)
	}
	if err := w.Put("server/config.json", config); err != nil {
		t.Fatal(err)
	}
	m := llama()
	m.Model.Shape = ""
	if err := w.Finish(m); err != nil {
		t.Fatal(err)
	}
	s := step(w.Dir())
	s.Hardware, s.TensorParallel = "H100", 1
	sweep, err := run(t, s)
	if err != nil || sweep.Points[0].Analysis == nil || math.Abs(sweep.Points[0].Analysis.HBMPctPred-73.652) > 0.01 {
		t.Errorf("%+v, %v", sweep, err)
	}
}

// dmon writes what the capture of `dcgmi dmon -e 1001,1002,1004,1005 -d 500`
// on one GPU would be: idle, then a minute of load at the given memory
// activity, then idle.
func dmon(level float64) []byte {
	var b bytes.Buffer
	for i := range 140 {
		ms := int64(1_795_342_500_000) - 5000 + int64(i)*500
		if i%14 == 0 {
			fmt.Fprintf(&b, "%d\t#Entity   GRACT        SMACT        TENSO        DRAMA        \n%d\tID\n", ms, ms)
		}
		busy, wobble := 1.0, 0.01*float64(i%5-2) // of mean 0 over five lines
		if i < 12 || i > 130 {
			busy = 0.01
		}
		if i == 0 {
			fmt.Fprintf(&b, "%d\tGPU 0     N/A          N/A          N/A          N/A          \n", ms)
			continue
		}
		fmt.Fprintf(&b, "%d\tGPU 0     %.3f        %.3f        %.3f        %.3f        \n", ms, 0.98*busy, (0.9+wobble)*busy, (0.2+wobble)*busy, (level+wobble)*busy)
	}
	return b.Bytes()
}

// The floor asks for 73.65 % of the bandwidth; DRAM active at 0.78 is more, and
// at 0.4 it is less than the model must move.
func TestDmon(t *testing.T) {
	meta := roofline.DmonMeta{Command: "dcgmi dmon -e 1001,1002,1004,1005 -d 500", Fields: []int{1001, 1002, 1004, 1005}, DelayMS: 500, Host: "gpu-07", GPUs: map[string]string{"0": "GPU-1"}}
	files := func(level float64) map[string][]byte {
		return map[string][]byte{roofline.BenchFile: measurement(nil), roofline.DmonFile: dmon(level), roofline.DmonMetaFile: meta.YAML()}
	}
	p, _, err := importLlama(t, files(0.78))
	if err != nil || p.DCGM == nil {
		t.Fatalf("%+v, %v", p, err)
	}
	d := p.DCGM
	// A minute less 6 s at both ends is 48 s, and 0.2 s more at both ends for clocks.
	if d.Rigor != "L3" || d.Quality != "ok" || math.Abs(*d.DRAM-0.78) > 0.002 || math.Abs(*d.Tensor-0.2) > 0.002 || *d.DRAMSd < 0.01 || *d.DRAMSd > 0.02 || d.NEff < 90 || d.NEff > 96 || d.GPUs != 1 {
		t.Errorf("DCGM %+v, DRAM %v", d, *d.DRAM)
	}
	p, _, err = importLlama(t, files(0.4))
	if err != nil || p.DCGM.Rigor != "none" || !strings.Contains(p.DCGM.Gap, "DC07: measured") {
		t.Errorf("DCGM %+v, %v", p.DCGM, err)
	}
	// Columns that the ids do not fit.
	meta.Fields = meta.Fields[:3]
	if _, _, err := importLlama(t, files(0.78)); err == nil || !strings.Contains(err.Error(), "the header has 4 columns") {
		t.Errorf("error %v", err)
	}
	meta.Fields, meta.GPUs = nil, map[string]string{"a": "GPU-1"}
	if _, _, err := importLlama(t, files(0.78)); err == nil || !strings.Contains(err.Error(), `"a" is no index`) {
		t.Errorf("error %v", err)
	}
}

// Scrapes of an exporter, each after its time.
func TestExporter(t *testing.T) {
	var b bytes.Buffer
	for i := range 280 {
		ms := int64(1_795_342_500_000) - 5000 + int64(i)*250
		v := 0.78 + 0.01*float64(i/2%5-2)
		if i < 24 || i > 260 {
			v = 0.01
		}
		fmt.Fprintf(&b, "# scrape %d\n", ms)
		for name, share := range map[string]float64{"PROF_GR_ENGINE_ACTIVE": 1.2, "PROF_SM_ACTIVE": 1.1, "PROF_PIPE_TENSOR_ACTIVE": 0.3, "PROF_DRAM_ACTIVE": 1} {
			fmt.Fprintf(&b, "DCGM_FI_%s{gpu=\"0\",UUID=\"GPU-1\",Hostname=\"gpu-07\",modelName=\"NVIDIA H100\"} %.4f\n", name, v*share)
		}
	}
	p, _, err := importLlama(t, map[string][]byte{roofline.BenchFile: measurement(nil), roofline.ExporterFile: b.Bytes()})
	if err != nil || p.DCGM == nil || p.DCGM.Rigor != "L3" || math.Abs(*p.DCGM.DRAM-0.78) > 0.003 {
		t.Errorf("%+v, %v", p.DCGM, err)
	}
	p, _, err = importLlama(t, map[string][]byte{roofline.BenchFile: measurement(nil), roofline.ExporterFile: []byte("# nothing was scraped\n")})
	if err != nil || p.DCGM == nil || p.DCGM.Rigor != "none" {
		t.Errorf("%+v, %v", p.DCGM, err)
	}
}

// A result of AIPerf 0.13, with its records: 30.7 output tok/s at a TPOT of
// 57.7 ms are a batch of 1.77.
func TestAIPerf(t *testing.T) {
	files := map[string][]byte{}
	for name, from := range map[string]string{roofline.BenchFile: "profile_export_aiperf.json", roofline.RequestsFile: "profile_export.jsonl"} {
		text, err := os.ReadFile("../../internal/aiperf/testdata/v013_stream/" + from)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = text
	}
	m := llama()
	m.Sweeps.Decode = &roofline.DecodeSweep{C: []int{2}, ISL: 25, OSL: 8}
	s := step(bundle(t, m, roofline.Cell{Kind: roofline.Decode, TP: 1, C: 2, ISL: 25, OSL: 8, NumPrompts: 12}, files))
	s.Hardware, s.TensorParallel = "H100", 1
	sweep, err := run(t, s)
	if err != nil {
		t.Fatal(err)
	}
	p := sweep.Points[0]
	if p.Analysis == nil || p.Measurement.Driver.Name != "aiperf" || p.Measurement.Setting["tp"] != "1" {
		t.Fatalf("%+v: %s", p.Measurement, p.NotAnalysed)
	}
	if math.Abs(p.Analysis.BEff-30.696025559283573*0.057659062833333316) > 0.05 { // of the whole run; the steady window is a part of it
		t.Errorf("batch %g over %s", p.Analysis.BEff, p.Analysis.MeasuredOver)
	}
}
