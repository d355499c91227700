package importbench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pipeline/internal/dcgm"
	"pipeline/internal/foreign"
	"pipeline/lake/perf"
	"pipeline/steps"
	"pipeline/steps/stepstest"
)

func Test(t *testing.T) { stepstest.Run(t, Kind(), os.DirFS("testdata")) }

// An import is one run of the step.
type imported struct {
	out    map[string]*bytes.Buffer
	doubts []string
	err    error
}

func run(t *testing.T, from string, set func(*Step)) imported {
	t.Helper()
	s := Kind().New().(*Step)
	s.From = steps.File(from)
	if set != nil {
		set(s)
	}
	s.Complete()
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	got := imported{out: map[string]*bytes.Buffer{}}
	env := &steps.Env{
		Create: func(name string) (io.WriteCloser, error) {
			got.out[name] = &bytes.Buffer{}
			return closer{got.out[name]}, nil
		},
		Log: slog.New(slog.DiscardHandler), Progress: func(steps.Progress) {},
		Doubt:   func(format string, a ...any) { got.doubts = append(got.doubts, fmt.Sprintf(format, a...)) },
		Resolve: func(path string) string { return path },
	}
	got.err = s.Run(context.Background(), env)
	return got
}

type closer struct{ io.Writer }

func (closer) Close() error { return nil }

func (i imported) one(t *testing.T) *perf.Measurement {
	t.Helper()
	if i.out[measurementFile] == nil {
		t.Fatalf("no %s: %v", measurementFile, i.err)
	}
	m, err := perf.ReadMeasurement(i.out[measurementFile].Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (i imported) many(t *testing.T) map[string]*perf.Measurement {
	t.Helper()
	if i.out[measurementsFile] == nil {
		t.Fatalf("no %s: %v", measurementsFile, i.err)
	}
	cells, err := perf.ReadCells(i.out[measurementsFile])
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*perf.Measurement{}
	for _, c := range cells {
		out[perf.CellID(c.Cell)] = c.Measurement
	}
	if len(out) != len(cells) {
		t.Errorf("%d cells have %d names", len(cells), len(out))
	}
	return out
}

func wantDoubt(t *testing.T, doubts []string, starts ...string) {
	t.Helper()
	for _, start := range starts {
		if !slices.ContainsFunc(doubts, func(d string) bool { return strings.HasPrefix(d, start) }) {
			t.Errorf("no doubt begins with %q:\n%s", start, strings.Join(doubts, "\n"))
		}
	}
}

func put(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, []byte(text), 0o666)); err != nil {
		t.Fatal(err)
	}
	return path
}

func value(v any) steps.Value { return steps.Value{V: v} }

// result is a result file of vllm bench serve at a concurrency.
func result(concurrency int, medianTTFT string) string {
	return fmt.Sprintf(`{"endpoint_type":"openai","backend":"openai","model_id":"acme/big","num_prompts":%d,"request_rate":"inf","max_concurrency":%d,
"duration":10.0,"completed":%d,"failed":0,"total_input_tokens":%d,"total_output_tokens":%d,"request_throughput":%g,"output_throughput":%g%s,"mean_tpot_ms":10.0,"median_tpot_ms":10.0}`,
		10*concurrency, concurrency, 10*concurrency, 1000*concurrency, 500*concurrency, float64(concurrency), 50*float64(concurrency), medianTTFT)
}

const ttft100 = `,"mean_ttft_ms":110.0,"median_ttft_ms":100.0`

func TestOneFile(t *testing.T) {
	path := put(t, t.TempDir(), "c16.json", result(16, ttft100))
	got := run(t, path, func(s *Step) {
		s.Context = map[string]steps.Value{"hardware": value("b200_sm100"), "tp": value(int64(8)), "quant": value("fp8"), "concurrency": value(int64(16)), "engine": value("vllm")}
	})
	if got.err != nil {
		t.Fatal(got.err)
	}
	m := got.one(t)
	if m.Status != perf.Full || m.Summary.TTFT.P50 != 100 || m.Asked.Concurrency != 16 || m.Asked.NumPrompts != 160 || m.Simulated {
		t.Errorf("%s %+v %+v", m.Status, m.Summary, m.Asked)
	}
	for name, want := range map[string]string{"model": "acme/big", "model_hf_path": "acme/big", "hardware": "B200", "ceiling_key": "b200_sm100", "tp": "8",
		"parallel_strategy": "tp8", "concurrency": "16", "arrival": "closed", "request_rate": "", "bench_backend": "vllm-bench", "bench_version": "unknown", "kv_cache_dtype": "unknown"} {
		if m.Setting[name] != want {
			t.Errorf("setting %s is %q, want %q", name, m.Setting[name], want)
		}
	}
	wantDoubt(t, m.Doubts, "context_unknown: neither the report nor the context tells: kv_cache_dtype, dp, pp")
	wantDoubt(t, got.doubts, "context_unknown", "no_steady_window")
	if m.Source.Format != "vllm-bench-json" || m.Source.Path != "c16.json" || m.Source.Importer != "import_perf_bench 1" || m.Source.SHA256.IsZero() {
		t.Errorf("source: %+v", m.Source)
	}
	row := perf.RowOf(perf.Origin{Source: "measurement.json"}, m)
	for column, want := range map[string]string{"bench_backend": "vllm-bench", "bench_version": "", "source_format": "vllm-bench-json", "source_path": "c16.json",
		"source_sha256": m.Source.SHA256.String(), "importer_version": "import_perf_bench 1"} {
		if row.Text(column) != want {
			t.Errorf("column %s is %q, want %q", column, row.Text(column), want)
		}
	}
	if ready, _ := row.Bool("plot_ready"); !ready {
		t.Error("the row is not ready to be plotted")
	}
	if !row.IsNull("ttft_ms_p99") || !row.IsNull("itl_ms_median") {
		t.Error("what is not told has a number")
	}
	wantAbsent := []string{"bench_version: could not be learned", "itl_ms_*: the report does not tell it", "ttft_ms_p99: the report does not tell it"}
	for _, want := range wantAbsent {
		if !slices.Contains(row.Absent(), want) {
			t.Errorf("no reason %q in %q", want, row.Absent())
		}
	}
}

// The line is the one that people who know the tool look for.
func TestWarning(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "c4.json", result(4, ""))
	put(t, dir, "c8.json", strings.Replace(result(8, ""), `"request_throughput":8`, `"request_throughput":null`, 1))
	put(t, dir, "c16.json", result(16, ttft100))
	got := run(t, dir, nil)
	if got.err != nil {
		t.Fatal(got.err)
	}
	wantDoubt(t, got.doubts, "WARNING: c4.json: the cell is FULL but lacks `Median TTFT (ms)`: it gives no scatter point",
		"WARNING: c8.json: the cell is FULL but lacks `Median TTFT (ms)` and `Request throughput (req/s)`")
	if slices.ContainsFunc(got.doubts, func(d string) bool { return strings.Contains(d, "c16.json") && strings.HasPrefix(d, "WARNING") }) {
		t.Errorf("c16 is whole: %q", got.doubts)
	}
	cells := got.many(t)
	if len(cells) != 3 || cells["concurrency=4"] == nil || cells["concurrency=16"].Status != perf.Full {
		t.Errorf("cells: %v", sortedNames(cells))
	}
}

func TestContradictions(t *testing.T) {
	dir := t.TempDir()
	path := put(t, dir, "tp8/c16.json", result(16, ttft100))
	for name, c := range map[string]struct {
		set  func(*Step)
		from string
		want string
	}{
		"report and context": {func(s *Step) { s.Context = map[string]steps.Value{"concurrency": value(int64(32))} }, path,
			`c16.json: concurrency: the context has "32", and the report has "16": correct the one that is wrong, or name the field in allow_differ`},
		"path and report": {func(s *Step) { s.Path = "tp8/c1{concurrency}.json" }, dir, `concurrency: its path has "6", and the report has "16"`},
		"path and context": {func(s *Step) {
			s.Path = "tp{tp}/c{concurrency}.json"
			s.Context = map[string]steps.Value{"tp": value(int64(4))}
		}, dir, `tp: the context has "4", and its path has "8"`},
		"path does not fit": {func(s *Step) { s.Path = "{config}.json" }, dir, `from: tp8/c16.json does not fit the path "{config}.json"`},
		"path, no number":   {func(s *Step) { s.Path = "{tp}/c{concurrency}.json" }, dir, "tp8/c16.json: {tp}:"},
	} {
		got := run(t, c.from, c.set)
		if got.err == nil || !strings.Contains(got.err.Error(), c.want) || !errors.Is(got.err, steps.ErrPermanent) {
			t.Errorf("%s: %v, want %q", name, got.err, c.want)
		}
		if len(got.out) > 0 {
			t.Errorf("%s: it wrote something", name)
		}
	}
	got := run(t, path, func(s *Step) {
		s.Context, s.AllowDiffer = map[string]steps.Value{"concurrency": value(int64(32)), "model_hf_path": value("acme/big")}, []string{"concurrency"}
	})
	m := got.one(t)
	if m.Setting["concurrency"] != "32" || m.Asked.Concurrency != 32 {
		t.Errorf("the context does not stand: %s", m.Setting["concurrency"])
	}
	wantDoubt(t, m.Doubts, `context_differs: concurrency: the context has "32", and the report has "16"`)
	// A GPU by its key and by its token is one GPU.
	exp := put(t, dir, "ga/experiment_metadata.json", `{"experiment_folder_name":"x","num_concurrency":[1],"server_gpu_type":"B200","benchmark_version":"0.0.5"}`)
	put(t, dir, "ga/run.json", `{"aggregated_metrics":{"num_concurrency":1,"num_completed_requests":4,"num_error_requests":0,"requests_per_second":1,"stats":{"ttft":{"p50":0.1,"mean":0.1}}}}`)
	got = run(t, filepath.Dir(exp), func(s *Step) { s.Context = map[string]steps.Value{"hardware": value("b200_sm100")} })
	if got.err != nil || got.one(t).Setting["hardware"] != "B200" {
		t.Errorf("%v", got.err)
	}
}

func TestCheck(t *testing.T) {
	for want, set := range map[string]func(*Step){
		"path: \"c.json\" has no part":     func(s *Step) { s.Path = "c.json" },
		"path: \"{a}{a}\": {a} is no name": func(s *Step) { s.Path = "{a}{a}" },
		"path: \"{A b}\"":                  func(s *Step) { s.Path = "{A b}" },
		"context.modle: it is no field of a setting; did you mean model?": func(s *Step) { s.Context = map[string]steps.Value{"modle": value("x")} },
		"context.focus: it is no field of a setting":                      func(s *Step) { s.Context = map[string]steps.Value{"focus": value("latency")} },
		"context.tp: ": func(s *Step) { s.Context = map[string]steps.Value{"tp": value("eight")} },
		"allow_differ: it is no field of a setting": func(s *Step) { s.AllowDiffer = []string{"xyz"} },
	} {
		s := Kind().New().(*Step)
		set(s)
		if err := s.Check(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// Trials are what the path calls so. What is alike without that is told apart.
func TestCoordinates(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"fp8/c4_run1.json", "fp8/c4_run2.json", "nvfp4/c4_run1.json"} {
		put(t, dir, name, result(4, ttft100))
	}
	put(t, dir, "notes.md", "nothing")
	got := run(t, dir, func(s *Step) { s.Path = "{config}/c*_run{trial}.json" })
	cells := got.many(t)
	if want := []string{"concurrency=4,config=fp8,trial=1", "concurrency=4,config=fp8,trial=2", "concurrency=4,config=nvfp4,trial=1"}; !slices.Equal(sortedNames(cells), want) {
		t.Errorf("cells: %v", sortedNames(cells))
	}
	if cells["concurrency=4,config=fp8,trial=2"].Setting["trial"] != "2" {
		t.Error("the trial is not in the setting")
	}
	wantDoubt(t, got.doubts, "skipped: 1 files hold no run: notes.md (it is no report that is known")
	got = run(t, dir, nil)
	cells = got.many(t)
	if want := []string{"concurrency=4,source=fp8/c4_run1.json", "concurrency=4,source=fp8/c4_run2.json", "concurrency=4,source=nvfp4/c4_run1.json"}; !slices.Equal(sortedNames(cells), want) {
		t.Errorf("cells: %v", sortedNames(cells))
	}
	wantDoubt(t, got.doubts, "cells_alike: 3 of 3 reports have coordinates in common")
}

// Blocks of one log, one of which is cut off.
func TestLog(t *testing.T) {
	got := run(t, "../../internal/vllmbench/testdata/noisy.log", nil)
	var f *steps.Failed
	if !errors.As(got.err, &f) || !f.Partial || !f.Final || !strings.Contains(f.Reason, "1 of 5 cells are not FULL: noisy.log, block 5: PARTIAL: truncated_block") {
		t.Errorf("%v", got.err)
	}
	cells := got.many(t)
	if len(cells) != 5 || cells["concurrency=4,source=noisy.log:1"].Setting["isl"] != "100" || cells["concurrency=4,source=noisy.log:5"].Status != perf.Partial {
		t.Errorf("cells: %v", sortedNames(cells))
	}
}

func TestFailed(t *testing.T) {
	failed := `{"completed":0,"failed":8,"num_prompts":8,"duration":0.5,"request_throughput":0.0,"median_ttft_ms":0.0,"max_concurrency":4}`
	got := run(t, put(t, t.TempDir(), "a.json", failed), nil)
	var f *steps.Failed
	if !errors.As(got.err, &f) || f.Partial || !f.Final {
		t.Errorf("%v", got.err)
	}
	m := got.one(t)
	row := perf.RowOf(perf.Origin{Source: "measurement.json"}, m)
	if ready, _ := row.Bool("plot_ready"); ready || m.Status != perf.Failed || !row.IsNull("ttft_ms_median") || !row.IsNull("request_throughput_rps") {
		t.Errorf("a failed run can be plotted: %s %+v", m.Status, m.Summary)
	}
}

// The artifacts of AIPerf, beside a file of another tool.
func TestAIPerf(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "run"), os.DirFS("testdata/aiperf")); err != nil {
		t.Fatal(err)
	}
	atOne := func(s *Step) { s.Context = map[string]steps.Value{"concurrency": value(int64(1))} }
	if m := run(t, filepath.Join(dir, "run"), atOne).one(t); m.Status != perf.Partial {
		t.Errorf("a run that never came to its summary is %s", m.Status)
	}
	put(t, dir, "run/profile_export_aiperf.json", `{"schema_version":"1.0","request_count":{"unit":"requests","avg":10}}`)
	one := run(t, filepath.Join(dir, "run"), atOne)
	m := one.one(t)
	if m.Status != perf.Full || m.Steady == nil || m.Summary.TTFT.N != 10 || bytes.Count(one.out[requestsFile].Bytes(), []byte("\n")) != m.Summary.Requests {
		t.Errorf("%s %v %+v", m.Status, m.Reasons, m.Summary)
	}
	if m.Driver.Name != "aiperf" || m.Source.Format != aiperfFormat || m.Source.Path != "run" || m.Source.SHA256.IsZero() {
		t.Errorf("%+v %+v", m.Driver, m.Source)
	}
	put(t, dir, "c16.json", result(16, ttft100))
	cells := run(t, dir, nil).many(t)
	var formats []string
	for _, name := range sortedNames(cells) {
		formats = append(formats, cells[name].Source.Format+" "+cells[name].Source.Path)
	}
	if len(cells) != 2 || !slices.Contains(formats, "aiperf-artifacts run") || !slices.Contains(formats, "vllm-bench-json c16.json") {
		t.Errorf("%q", formats)
	}
	// The same bytes elsewhere are the same import.
	other := t.TempDir()
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if a, b := run(t, dir, nil), run(t, other, nil); !bytes.Equal(a.out[measurementsFile].Bytes(), b.out[measurementsFile].Bytes()) {
		t.Error("what is written depends on the place")
	}
}

// What AIPerf saw of the GPUs goes on, for dcgm_correlate to read.
func TestAIPerfTelemetry(t *testing.T) {
	const fixture = "../../internal/aiperf/testdata/v013_prefix_gpu"
	one := run(t, fixture, nil)
	if one.out[telemetryFile] == nil {
		t.Fatalf("no %s: %v", telemetryFile, one.err)
	}
	// Four series of nine samples: two GPUs, and two exporters that report both.
	read, err := dcgm.ReadTelemetry(one.out[telemetryFile])
	if err != nil || read.Lines != 18 {
		t.Errorf("%v: %+v", err, read)
	}
	if run(t, fixture, func(s *Step) { s.Path = "{config}" }).out[telemetryFile] == nil {
		t.Errorf("with a path there is no %s", telemetryFile)
	}
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(fixture)); err != nil {
			t.Fatal(err)
		}
	}
	wantDoubt(t, run(t, dir, nil).doubts, "gpu_telemetry: 2 of 2 runs have samples of GPUs")
}

// What is AIPerf's is imported or refused by name, and never left out.
func TestAIPerfRefused(t *testing.T) {
	summary := `{"request_count":{"unit":"requests","avg":10},"error_summary":[],"request_throughput":{"unit":"requests/sec","avg":1}}`
	dir := t.TempDir()
	put(t, dir, "c16.json", result(16, ttft100))
	put(t, dir, "two/a.json", summary)
	put(t, dir, "two/b.json", summary)
	if got := run(t, dir, nil); got.err == nil || !strings.Contains(got.err.Error(), "two: several runs are in one folder: a, b") {
		t.Errorf("two runs in one folder: %v", got.err)
	}
	dir = t.TempDir()
	put(t, dir, "x_aiperf.json", summary)
	put(t, dir, "c16.json", result(16, ttft100))
	if got := run(t, dir, nil); got.err == nil || !strings.Contains(got.err.Error(), "c16, x_aiperf") {
		t.Errorf("a run beside another report: %v", got.err)
	}
	if got := run(t, filepath.Join(dir, "x_aiperf.json"), nil); got.err == nil || !strings.Contains(got.err.Error(), "x_aiperf.json is a file of an AIPerf run: give the folder") {
		t.Errorf("a lone file: %v", got.err)
	}
}

func TestFormats(t *testing.T) {
	params, err := steps.ParamsOf(Kind().New())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(params, func(p steps.Param) bool { return p.Name == "format" })
	want := append([]string{auto, aiperfFormat}, foreign.FormatNames()...)
	if got := params[i].Enum; !slices.Equal(got, want) {
		t.Errorf("the parameter knows %v, the readers %v", got, want)
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("{config}/c{concurrency}.json", "a/c4.json")
	f.Add("**/{x}*", "a/b/c")
	f.Fuzz(func(t *testing.T, text, path string) {
		p, err := newPattern(text)
		if err != nil {
			return
		}
		if told, err := p.match(path); err == nil && len(told) != len(p.names) {
			t.Fatalf("%v for %v", told, p.names)
		}
	})
}
