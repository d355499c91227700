package aiperf

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pipeline/internal/command"
	"pipeline/lake/perf"
)

func read(t *testing.T, dir string) *Run {
	t.Helper()
	run, err := Read(filepath.Join("testdata", dir))
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func measure(t *testing.T, run *Run) perf.Measurement {
	t.Helper()
	m, err := run.Measurement(run.Asked, perf.Setting{"model": "m"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func has(list []string, start string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.HasPrefix(s, start) })
}

func near(a, b, tolerance float64) bool {
	return math.Abs(a-b) <= tolerance*math.Max(math.Abs(a), math.Abs(b))
}

// What AIPerf computes of its records and what we do must be the same where
// the definitions are.
func TestRealRun(t *testing.T) {
	run := read(t, "v013_stream")
	m := measure(t, run)
	if m.Status != perf.Full || m.Summary.Requests != 12 || m.Summary.Errors != 0 {
		t.Fatalf("%s %q: %d requests, %d errors", m.Status, m.Reasons, m.Summary.Requests, m.Summary.Errors)
	}
	if has(m.Doubts, "summary_differs: ttft") || has(m.Doubts, "summary_differs: tpot") || has(m.Doubts, "summary_differs: e2el") || has(m.Doubts, "chunks_differ") {
		t.Errorf("doubts %q", m.Doubts)
	}
	for tag, d := range map[string]*perf.Dist{
		"time_to_first_token": m.Summary.TTFT, "inter_token_latency": m.Summary.TPOT, "request_latency": m.Summary.E2E, "inter_chunk_latency": m.Summary.ITL,
	} {
		f := run.Summary.Metrics[tag]
		for name, pair := range map[string][2]float64{"mean": {d.Mean, *f.Avg}, "min": {d.Min, *f.Min}, "max": {d.Max, *f.Max}, "p50": {d.P50, *f.P50}, "p90": {d.P90, *f.P90}, "p99": {d.P99, *f.P99}} {
			tolerance := 1e-9
			if tag == "inter_chunk_latency" && strings.HasPrefix(name, "p") {
				tolerance = 0.02 // AIPerf estimates them with a t-digest, coarse for 84 values
			}
			if !near(pair[0], pair[1], tolerance) {
				t.Errorf("%s %s = %v, AIPerf has %v", tag, name, pair[0], pair[1])
			}
		}
		if n := float64(d.N); !near(d.Std, *f.Std*math.Sqrt(n/(n-1)), 1e-9) {
			t.Errorf("%s std = %v of a sample, AIPerf has %v of a population of %d", tag, d.Std, *f.Std, d.N)
		}
	}
	if m.Driver.Version != "0.13.0" || !slices.Contains(m.Driver.Command, "--streaming") || m.Driver.Name != "aiperf" || m.Setting["model"] != "m" {
		t.Errorf("driver %+v, setting %v", m.Driver, m.Setting)
	}
	if !m.Simulated || m.Asked.DatasetDigest == "" || m.Start.IsZero() || !m.Start.Before(m.End) {
		t.Errorf("simulated %v, dataset %q, %v to %v", m.Simulated, m.Asked.DatasetDigest, m.Start, m.End)
	}
	if g := m.Summary.FinishReasons; len(g) != 1 || g[""] != 12 {
		t.Errorf("finish reasons %v: AIPerf tells none", g)
	}
}

func TestAsked(t *testing.T) {
	// As the command line in the artifact says: --concurrency 2 --request-count 12
	// --warmup-request-count 2 --isl 24 --osl 8 ignore_eos --random-seed 7.
	want := perf.Workload{API: "chat", Arrival: perf.Closed, Concurrency: 2, NumPrompts: 12, Warmup: 2, ISL: 24, OSL: 8, IgnoreEOS: true, Dataset: "synthetic", Seed: 7}
	run := read(t, "v013_stream")
	if run.Asked != want {
		t.Errorf("asked %+v\nwant  %+v", run.Asked, want)
	}
	if told := run.Report().Told; told["concurrency"] != "2" || told["model_hf_path"] != "meta-llama/Llama-3.1-8B" || told["random_seed"] != "7" {
		t.Errorf("told %v", told)
	}
	// The generation before: loadgen, input, endpoint.
	old := read(t, "v03_qwen").Asked
	if old.Concurrency != 1 || old.NumPrompts != 64 || old.Warmup != 1 || old.ISL != 100 || old.OSL != 200 || !old.IgnoreEOS || old.Seed != 100 || old.Arrival != perf.Closed || old.API != "chat" {
		t.Errorf("asked %+v", old)
	}
}

func TestServer(t *testing.T) {
	// From the artifact: 12 answers of 8 tokens, the sum of prompt tokens as the
	// records have it, no hit of what was queried, at most 2 requests running.
	s := measure(t, read(t, "v013_stream")).Server
	value := func(name string, got *float64, want float64) {
		t.Helper()
		if got == nil || *got != want {
			t.Errorf("%s = %v, want %v (missing: %q)", name, got, want, s.Missing)
		}
	}
	value("requests", s.RequestsOK, 12)
	value("generation tokens", s.GenerationTokens, 96)
	value("running, at most", s.RunningMax, 2)
	if s.Names["running_max"] != "vllm:num_requests_running" || s.Samples == 0 {
		t.Errorf("names %v, samples %d", s.Names, s.Samples)
	}
}

// A run that is shorter than AIPerf's looks at the server has counters of a
// part of it: they are no numbers of the run.
func TestServerOfAPart(t *testing.T) {
	run := read(t, "v013_stream")
	for i := range run.server.Metrics["vllm:request_success"].Series {
		if total := run.server.Metrics["vllm:request_success"].Series[i].Stats.Total; *total > 0 {
			*total = 7
		}
	}
	s := measure(t, run).Server
	if s.RequestsOK != nil || s.PromptTokens != nil || s.RunningMax == nil || !has(s.Missing, "requests_ok: AIPerf's looks at the server do not span the run: they counted 7 of 12 answers") {
		t.Errorf("%+v", s)
	}
}

func TestServerSample(t *testing.T) {
	// Three endpoints: running means 36.68+12.34+8.92; success 50+50+50; the
	// maxima are of different moments, so there is none of all three.
	text, err := os.ReadFile("testdata/server/server_metrics_export.json")
	if err != nil {
		t.Fatal(err)
	}
	e, err := parseServer(text)
	if err != nil {
		t.Fatal(err)
	}
	s := e.server()
	if s.RunningMean == nil || !near(*s.RunningMean, 57.94, 1e-12) || s.RequestsOK == nil || *s.RequestsOK != 150 || s.RunningMax != nil || !has(s.Missing, "running_max: ") || s.Samples != 140 {
		t.Errorf("%+v", s)
	}
}

func TestFailures(t *testing.T) {
	run := read(t, "v013_errors")
	m := measure(t, run)
	if m.Status != perf.Partial || m.Summary.Requests != 6 || m.Summary.Errors != 8 || !has(m.Reasons, "errors: 8 of 14 requests failed") {
		t.Errorf("%s %q: %d, %d", m.Status, m.Reasons, m.Summary.Requests, m.Summary.Errors)
	}
	phases := map[string]int{}
	for r, err := range run.Records.Stream(true) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Error != nil {
			phases[fmt.Sprintf("%s %d", r.Error.Phase, r.Error.Status)]++
		}
		if r.OK() != (r.Error == nil) || r.EndNS <= r.SentNS {
			t.Errorf("%+v", r)
		}
	}
	if phases["cancelled 0"] != 4 || phases["headers 500"] != 4 || len(phases) != 2 {
		t.Errorf("phases %v", phases)
	}
}

func TestTurns(t *testing.T) {
	run := read(t, "v013_turns")
	turns := map[int][]int{} // by session
	indexes := map[int]int{}
	for r, err := range run.Records.Stream(false) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Warmup {
			continue
		}
		turns[r.Session] = append(turns[r.Session], r.Turn)
		indexes[r.Index]++
	}
	for session, list := range turns {
		slices.Sort(list)
		for i, turn := range list {
			if turn != i {
				t.Errorf("session %d has the turns %v", session, list)
			}
		}
	}
	n := run.Records.Measured
	if len(turns) < 2 || len(turns) >= n || len(indexes) != n || indexes[0] != 1 || indexes[n-1] != 1 {
		t.Errorf("%d requests, sessions %v, indexes %v", n, turns, indexes)
	}
	if m := measure(t, run); has(m.Doubts, "sessions") || m.Asked.Turns != 3 {
		t.Errorf("doubts %q, asked %+v", m.Doubts, m.Asked)
	}
}

func TestAllFailed(t *testing.T) {
	for dir, want := range map[string]string{
		"v01_all_failed":  "5 of 5 failed requests: TimeoutError",
		"v013_all_failed": "4 of 4 requests: headers: HTTP 503: Service Unavailable",
	} {
		m := measure(t, read(t, dir))
		s := m.Summary
		if m.Status != perf.Failed || !strings.HasPrefix(m.Failure, want) || !has(m.Reasons, want) {
			t.Errorf("%s: %s %q %q", dir, m.Status, m.Failure, m.Reasons)
		}
		if s.TTFT != nil || s.TPOT != nil || s.E2E != nil || s.RequestThroughput != nil || s.OutputThroughput != nil || m.Steady != nil || s.Requests != 0 || s.Errors == 0 {
			t.Errorf("%s: a run without an answer has numbers: %+v", dir, s)
		}
	}
}

func TestNotStarted(t *testing.T) {
	_, err := Read("testdata/not_started")
	if !errors.Is(err, ErrNoRun) || !strings.Contains(err.Error(), "Failed to handle command profile_configure") {
		t.Errorf("error %v", err)
	}
	if cause := logCause("testdata/v013_all_failed/" + logFile); cause != "All 4 inference request(s) failed; no successful responses were collected." {
		t.Errorf("cause %q", cause)
	}
}

// The records in the fixture are ten of the 64 that the summary is of.
func TestMissingRecords(t *testing.T) {
	m := measure(t, read(t, "v03_qwen"))
	if m.Status != perf.Partial || !has(m.Reasons, "records_differ: profile_export_aiperf.json counts 64 answered requests and profile_export.jsonl has 10") {
		t.Errorf("%s %q", m.Status, m.Reasons)
	}
	// The first record by itself: 200 tokens, TTFT 31.742934 ms, latency
	// 3644.260102 ms, so TPOT = 3612.517168/199.
	for r := range read(t, "v03_qwen").Records.Stream(true) {
		ttft, _ := r.TTFT()
		tpot, _ := r.TPOT()
		if ttft != 31.742934 || !near(tpot, 3612.517168/199, 1e-12) || len(r.ChunkNS) != 200 || r.ChunkNS[0] != r.FirstNS || r.ChunkNS[199] != r.LastNS || r.TokenSource != "tokenizer" {
			t.Errorf("ttft %v, tpot %v, %d chunks to %d (last %d), %s", ttft, tpot, len(r.ChunkNS), r.ChunkNS[199], r.LastNS, r.TokenSource)
		}
		break
	}
}

// Records without a summary are what a killed run leaves: every answer in them
// is good, and they are not all that were asked.
func TestNoSummary(t *testing.T) {
	dir := copyRun(t, "v013_stream")
	if err := os.Remove(filepath.Join(dir, summaryJSON)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, summaryCSV)); err != nil {
		t.Fatal(err)
	}
	run, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if m := measure(t, run); m.Status != perf.Partial || !has(m.Reasons, "incomplete: AIPerf wrote no summary") || m.Summary.Requests != 12 {
		t.Errorf("%s %q", m.Status, m.Reasons)
	}
	if m := measure(t, read(t, "v013_all_failed")); m.Status != perf.Failed || has(m.Reasons, "incomplete") {
		t.Errorf("%s %q", m.Status, m.Reasons)
	}
}

// Tokens that AIPerf counted itself are said to be, with records or without.
func TestClientTokens(t *testing.T) {
	dir := copyRun(t, "v03_qwen")
	for range 2 {
		run, err := Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		if m := measure(t, run); m.TokenSource != "tokenizer" || !has(m.Doubts, "client_tokens: osl, output_tps, tpot_ms_*: no answer has usage") {
			t.Errorf("%q %q", m.TokenSource, m.Doubts)
		}
		if err := os.Remove(filepath.Join(dir, recordsFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if m := measure(t, read(t, "v013_stream")); m.TokenSource != "usage" || has(m.Doubts, "client_tokens") {
		t.Errorf("%q %q", m.TokenSource, m.Doubts)
	}
}

func TestGPU(t *testing.T) {
	for dir, want := range map[string]string{"v03_qwen": "gpu_telemetry_export.jsonl", "v013_prefix_gpu": "foo_gpu_telemetry.jsonl", "v013_stream": ""} {
		if path := read(t, dir).Telemetry(); want == "" && path != "" || want != "" && filepath.Base(path) != want {
			t.Errorf("%s: samples of GPUs in %q", dir, path)
		}
	}
	if m := measure(t, read(t, "v013_prefix_gpu")); *m.Evidence.Figures["GPU-0001 nvidia_power_usage"].Avg != 501 {
		t.Errorf("figures %v", slices.Sorted(maps.Keys(m.Evidence.Figures)))
	}
}

// The server's metrics are read from one of their four files; that there are
// others is said.
func TestServerMetricsNotRead(t *testing.T) {
	for _, name := range []string{serverTable, serverLines, serverCSV} {
		dir := copyRun(t, "v013_stream")
		if err := os.Rename(filepath.Join(dir, serverJSON), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		run, err := Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		if m := measure(t, run); !slices.Contains(m.Evidence.Missing, serverJSON+": the server's metrics are in "+name+", which is not read") {
			t.Errorf("%s: missing %q", name, m.Evidence.Missing)
		}
	}
}

func TestEvidence(t *testing.T) {
	run := read(t, "v013_stream")
	m := measure(t, run)
	e := m.Evidence
	names := map[string]perf.Artifact{}
	for _, a := range e.Artifacts {
		names[a.Name] = a
	}
	if a := names["profile_export.jsonl"]; a.Bytes != 36949 || a.SHA256.IsZero() || len(names) != 5 {
		t.Errorf("artifacts %v", names)
	}
	for name := range e.Extra {
		switch strings.TrimPrefix(name, summaryJSON+" ") {
		case "metadata", "branch_stats", "pooled_spec_decode_acceptance_histogram": // known, and of no use here
		default:
			t.Errorf("unknown to us: %q", name)
		}
	}
	if !has(e.Missing, "gpu_telemetry_export.jsonl: ") {
		t.Errorf("missing %q", e.Missing)
	}
	// It survives the way through a file.
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var back perf.Measurement
	if err := json.Unmarshal(text, &back); err != nil || *back.Evidence.Figures["request_count"].Avg != 12 {
		t.Errorf("%v, %+v", err, back.Evidence)
	}
}

// A version that writes more than we know loses nothing.
func TestNewerVersion(t *testing.T) {
	dir := copyRun(t, "v013_stream")
	edit(t, dir, summaryJSON, `"was_cancelled"`, `"new_block": {"a": [1, 2]}, "was_cancelled"`)
	edit(t, dir, recordsFile, `"turn_index":0,`, `"turn_index":0,"tenant":"blue",`)
	edit(t, dir, recordsFile, `"metrics":{`, `"metrics":{"warp_factor":{"value":9.5,"unit":"c"},`)
	run, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"profile_export.jsonl metadata.tenant", "profile_export.jsonl metrics.warp_factor", "profile_export_aiperf.json new_block"}
	extra := measure(t, run).Evidence.Extra
	if string(extra[want[0]]) != `"blue"` || string(extra[want[1]]) != `{"value":9.5,"unit":"c"}` || string(extra[want[2]]) != `{"a": [1, 2]}` {
		t.Errorf("extra %s", extra)
	}
}

func copyRun(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", name))); err != nil {
		t.Fatal(err)
	}
	return dir
}

func edit(t *testing.T, dir, file, old, now string) {
	t.Helper()
	path := filepath.Join(dir, file)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s has no %q", file, old)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), old, now, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What should be a metric and is none is named, with records or without.
func TestFaultyMetric(t *testing.T) {
	dir := copyRun(t, "v013_stream")
	edit(t, dir, summaryJSON, `"request_latency":`, `"request_latency": "x", "was_latency":`)
	for range 2 {
		run, err := Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		m := measure(t, run)
		if !has(m.Doubts, "not_read: profile_export_aiperf.json has no metric with a unit where it has request_latency") ||
			!slices.Contains(m.Evidence.Missing, `profile_export_aiperf.json request_latency: it is no metric with a unit, but "x"`) {
			t.Errorf("doubts %q, missing %q", m.Doubts, m.Evidence.Missing)
		}
		if err := os.Remove(filepath.Join(dir, recordsFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if m := measure(t, read(t, "v013_stream")); has(m.Doubts, "not_read") {
		t.Errorf("%q", m.Doubts)
	}
}

// Only the CSV is left: the same numbers, to its two decimals.
func TestCSV(t *testing.T) {
	dir := copyRun(t, "v013_stream")
	whole := measure(t, read(t, "v013_stream"))
	for _, file := range []string{summaryJSON, recordsFile} {
		if err := os.Remove(filepath.Join(dir, file)); err != nil {
			t.Fatal(err)
		}
	}
	run, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := measure(t, run)
	if m.Status != perf.Full || !has(m.Doubts, "rounded: only profile_export_aiperf.csv") || !has(m.Doubts, "no_steady_window") || m.Summary.Requests != 12 {
		t.Errorf("%s %q %q, %d requests", m.Status, m.Reasons, m.Doubts, m.Summary.Requests)
	}
	for name, pair := range map[string][2]float64{
		"ttft": {m.Summary.TTFT.P50, whole.Summary.TTFT.P50}, "tpot": {m.Summary.TPOT.P99, whole.Summary.TPOT.P99}, "itl": {m.Summary.ITL.Mean, whole.Summary.ITL.Mean},
		"osl": {m.Summary.OSL.Mean, whole.Summary.OSL.Mean}, "e2e std": {m.Summary.E2E.Std, whole.Summary.E2E.Std},
	} {
		if math.Abs(pair[0]-pair[1]) > 0.0055 {
			t.Errorf("%s: %v from CSV, %v from records", name, pair[0], pair[1])
		}
	}
}

// The three shapes give one account.
func TestShapes(t *testing.T) {
	// The first shape, made of the second: metrics below "records" with a tag, a
	// header and a count, ttft under its old name.
	text, err := os.ReadFile("testdata/v03_qwen/profile_export_aiperf.json")
	if err != nil {
		t.Fatal(err)
	}
	var fields, records map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	records = map[string]any{}
	for name, value := range fields {
		figure, ok := value.(map[string]any)
		if !ok || figure["unit"] == nil {
			continue
		}
		delete(fields, name)
		figure["count"] = 1
		if figure["p50"] != nil {
			figure["count"] = 64
		}
		if name == "inter_chunk_latency" {
			figure["count"] = nil // the second shape does not count gaps
		}
		switch name {
		case "time_to_first_token":
			name = "ttft"
		case "time_to_second_token":
			name = "ttst"
		}
		figure["tag"], figure["header"] = name, "H"
		records[name] = figure
	}
	fields["records"] = records
	old, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	first, err := parseSummary(old)
	if err != nil {
		t.Fatal(err)
	}
	second, err := parseSummary(text)
	if err != nil {
		t.Fatal(err)
	}
	a, b := first.summary(), second.summary()
	textA, _ := json.Marshal(a)
	textB, _ := json.Marshal(b)
	if string(textA) != string(textB) {
		t.Errorf("%s\n%s", textA, textB)
	}
	// And what they say: 64 requests in 64/0.2504302580624667 s.
	if b.Requests != 64 || b.Errors != 0 || !near(*b.RequestThroughput, 0.2504302580624667, 1e-15) || b.TTFT.P50 != 30.668547999999998 || b.TTFT.N != 64 ||
		!near(b.TTFT.Std, 1.3745155360138603*math.Sqrt(64.0/63), 1e-12) || b.PerUserThroughput == nil {
		t.Errorf("%+v", b)
	}
	third, err := parseSummary([]byte(strings.Replace(string(text), "{", `{"schema_version":"1.5","aiperf_version":"0.12.0","is_complete":false,"incomplete_reason":"records stalled",`, 1)))
	if err != nil || third.Schema != "1.5" || third.Version != "0.12.0" || !has(third.reasons(), "cut_short: AIPerf says that the run is not complete: records stalled") {
		t.Errorf("%v %+v", err, third)
	}
}

func TestRedact(t *testing.T) {
	for line, want := range map[string]string{
		`aiperf profile --api-key sk-1234 -m m`:                        `aiperf profile --api-key '<redacted>' -m m`,
		`aiperf profile --api-key=sk-1234 -m m`:                        `aiperf profile '--api-key=<redacted>' -m m`,
		`aiperf profile -H "Authorization: Bearer x y" --url 'http:a'`: `aiperf profile -H '<redacted>' --url http:a`,
		`a "b c" '' 'it'\''s' d\ e`:                                    `a 'b c' '' 'it'\''s' 'd e'`,
	} {
		if got := redactCommand(line); got != want {
			t.Errorf("%s\ngives %s\nwant  %s", line, got, want)
		}
		if words := splitCommand(want); !slices.Equal(words, splitCommand(command.Quote(words))) {
			t.Errorf("%q is not the same after joining and splitting", words)
		}
	}
}

func TestFind(t *testing.T) {
	found, err := Find("testdata")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, dir := range found {
		names = append(names, filepath.Base(dir))
	}
	want := []string{"v013_all_failed", "v013_errors", "v013_prefix_gpu", "v013_stream", "v013_turns", "v01_all_failed", "v03_qwen"}
	if !slices.Equal(names, want) {
		t.Errorf("found %q", names)
	}
	// The first versions made a folder below the one asked for.
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "m-openai-chat-concurrency1"), os.DirFS("testdata/v03_qwen")); err != nil {
		t.Fatal(err)
	}
	if run, err := Read(dir); err != nil || run.Records == nil {
		t.Errorf("%v", err)
	}
	if _, err := Read("testdata"); err == nil || !strings.Contains(err.Error(), "7 runs are below it") {
		t.Errorf("error %v", err)
	}
	// A link is as good as a file.
	linked := t.TempDir()
	target, err := filepath.Abs("testdata/v03_qwen/profile_export.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(linked, recordsFile)); err != nil {
		t.Fatal(err)
	}
	if run, err := Read(linked); err != nil || run.Records.Measured != 10 {
		t.Errorf("%v", err)
	}
	// A file of the run is as good as its folder.
	if run, err := Read("testdata/v013_stream/profile_export_aiperf.json"); err != nil || run.Records == nil {
		t.Errorf("%v", err)
	}
}

func TestInputs(t *testing.T) {
	digestOf := func(text string) *Inputs {
		t.Helper()
		in, err := parseInputs(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	const text = `{"data":[{"session_id":"a","payloads":[{"messages":[{"role":"user","content":"hi \" there"}],"model":"m"},{"prompt":"p q"}]},
		{"session_id":"b","payloads":[{"messages":[{"role":"user","content":"hi"}]}]},{"session_id":"c","payloads":[{"messages":[{"role":"user","content":"hi"}]}]}]}`
	in := digestOf(text)
	if in.Sessions != 3 || in.Prompts != 4 || in.Distinct != 2 {
		t.Errorf("%+v", in)
	}
	// Neither indentation nor model, option and session id are in the digest; what is said is.
	for old, now := range map[string]string{`"model":"m"`: `"model":"n"`, `"session_id":"b"`: `"session_id":"z"`, "hi": "hZi", "p q": "p  q", `"user"`: `"system"`} {
		same := strings.Contains(old, ":")
		if got := digestOf(strings.Replace(text, old, now, 1)); (got.Digest == in.Digest) != same {
			t.Errorf("with %s for %s: the same digest is %v, want %v", now, old, got.Digest == in.Digest, same)
		}
	}
	indented, err := json.MarshalIndent(json.RawMessage(text), "", "    ")
	if err != nil {
		t.Fatal(err)
	}
	if got := digestOf(string(indented)); got.Digest != in.Digest {
		t.Errorf("indented: another digest")
	}
}
