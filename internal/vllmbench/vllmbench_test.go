package vllmbench

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pipeline/lake/perf"
)

func readLog(t *testing.T, name string) []Block {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	blocks, err := ReadLog(f)
	if err != nil {
		t.Fatal(err)
	}
	return blocks
}

func measured(t *testing.T, r perf.Report) perf.Measurement {
	t.Helper()
	m, err := r.Measure(r.Asked)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The block as the guide of vllm-ascend prints it, in the older wording.
func TestLogOfAGuide(t *testing.T) {
	blocks := readLog(t, "ascend.txt")
	if len(blocks) != 1 || len(blocks[0].Faults) != 0 {
		t.Fatalf("blocks: %+v", blocks)
	}
	r := blocks[0].Report()
	m := measured(t, r)
	s := m.Summary
	if m.Status != perf.Full || s.Requests != 10 || s.Errors != 0 || s.InputTokens != 1374 || s.OutputTokens != 2663 || s.DurationS != 19.92 {
		t.Errorf("%s %+v", m.Status, s)
	}
	if s.TTFT.P50 != 136.29 || s.TTFT.Mean != 127.10 || s.TTFT.P99 != 137.83 || !math.IsNaN(s.TTFT.P90) || !math.IsNaN(s.TTFT.Std) {
		t.Errorf("ttft: %+v", s.TTFT)
	}
	if s.TPOT.P50 != 25.78 || s.ITL.P50 != 25.74 || s.ITL.N != perf.Untold || s.E2E != nil {
		t.Errorf("tpot %+v itl %+v e2e %+v", s.TPOT, s.ITL, s.E2E)
	}
	if *s.RequestThroughput != 0.5 || *s.OutputThroughput != 133.67 || *s.TotalThroughput != 202.64 {
		t.Errorf("rates: %v %v %v", *s.RequestThroughput, *s.OutputThroughput, *s.TotalThroughput)
	}
}

// One log with five runs: a progress bar, commented lines, time stamps and
// colours, the prefix of a container, and a cut in the middle.
func TestNoisyLog(t *testing.T) {
	blocks := readLog(t, "noisy.log")
	var medians, requests []float64
	for _, b := range blocks {
		medians = append(medians, b.Values["median ttft (ms)"])
		requests = append(requests, b.Values["successful requests"])
	}
	if want := []float64{30, 60, 90, 120, 0}; !slices.Equal(medians, want) {
		t.Errorf("median TTFT: %v, want %v", medians, want)
	}
	if want := []float64{40, 20, 10, 8, 4}; !slices.Equal(requests, want) {
		t.Errorf("requests: %v, want %v", requests, want)
	}
	for i, b := range blocks[:4] {
		r := b.Report()
		m := measured(t, r)
		if m.Status != perf.Full {
			t.Errorf("block %d is %s: %v", i, m.Status, m.Reasons)
		}
		if !math.IsNaN(m.Summary.ITL.P99) || m.Summary.E2E == nil {
			t.Errorf("block %d: itl %+v, e2e %+v", i, m.Summary.ITL, m.Summary.E2E)
		}
	}
	r := blocks[4].Report()
	m := measured(t, r)
	if m.Status != perf.Partial || len(m.Reasons) != 1 || !strings.HasPrefix(m.Reasons[0], "truncated_block: the log ends inside the block (it begins at line") {
		t.Errorf("the block that is cut: %s %q", m.Status, m.Reasons)
	}
	if m.Summary.TPOT != nil || m.Summary.TTFT == nil {
		t.Errorf("the block that is cut: %+v", m.Summary)
	}
	told := blocks[0].Report()
	want := perf.Setting{"model_hf_path": "acme/tiny-llm", "api": "chat", "dataset": "random", "num_prompts": "40", "concurrency": "4",
		"arrival": "closed", "random_seed": "7", "isl": "100", "osl": "50", "ignore_eos": "true"}
	if told.Told.String() != want.String() {
		t.Errorf("told: %s\nwant: %s", told.Told, want)
	}
	if len(blocks[1].Before) != 0 {
		t.Errorf("the second block has what was said before the first: %v", blocks[1].Before)
	}
	if !slices.ContainsFunc(told.Doubts, func(d string) bool { return strings.HasPrefix(d, "definition: ttft_ms_*") }) {
		t.Errorf("no doubt about the TTFT of the chat API: %q", told.Doubts)
	}
}

// A logger puts its level and another time before each line.
func TestLogOfALogger(t *testing.T) {
	var log strings.Builder
	for i, line := range []string{"============ Serving Benchmark Result ============", "Successful requests:                     5", "---------------Time to First Token----------------",
		"Median TTFT (ms):                        9.50", strings.Repeat("=", 50)} {
		fmt.Fprintf(&log, "INFO 08-01 12:00:%02d [serve.py:1021] %s\n", i, line)
	}
	blocks, err := ReadLog(strings.NewReader(log.String()))
	if err != nil || len(blocks) != 1 || len(blocks[0].Faults) > 0 || blocks[0].Values["median ttft (ms)"] != 9.5 || blocks[0].Values["successful requests"] != 5 {
		t.Errorf("%+v %v", blocks, err)
	}
}

func TestLogFaults(t *testing.T) {
	banner, footer := "============ Serving Benchmark Result ============\n", strings.Repeat("=", 50)+"\n"
	for name, c := range map[string]struct{ log, want string }{
		"no number":        {banner + "Successful requests: 5\nMedian TTFT (ms): abc\n" + footer, `unreadable_row: Median TTFT (ms): "abc" is no number`},
		"noise in the row": {banner + "Successful requests: 5\nMedian TTFT (ms):    30.0 100%|###| 4/4\n" + footer, "unreadable_row: Median TTFT (ms)"},
		"twice":            {banner + "Successful requests: 5\nSuccessful requests: 6\n" + footer, "repeated_row: Successful requests is 5 and 6"},
		"no end":           {banner + "Successful requests: 5\n" + banner + "Successful requests: 6\n" + footer, "truncated_block: another block begins inside it (it begins at line 1)"},
	} {
		blocks, err := ReadLog(strings.NewReader(c.log))
		if err != nil || len(blocks[0].Faults) != 1 || !strings.Contains(blocks[0].Faults[0], c.want) {
			t.Errorf("%s: %v, %+v; want %q", name, err, blocks, c.want)
		}
		r := blocks[0].Report()
		if m := measured(t, r); m.Status != perf.Partial {
			t.Errorf("%s: status is %s", name, m.Status)
		}
	}
	for _, text := range []string{"", "hello\n", strings.Repeat("x", 300<<10), strings.Repeat("\r", 300<<10)} {
		if _, err := ReadLog(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "Serving Benchmark Result") {
			t.Errorf("%.10q: error is %v", text, err)
		}
	}
}

// The fork of InferenceX writes seconds, and no unit into its names.
func TestInferenceX(t *testing.T) {
	text, err := os.ReadFile("testdata/inferencex.json")
	if err != nil {
		t.Fatal(err)
	}
	results, err := ReadResults(strings.NewReader(string(text)))
	if err != nil || len(results) != 1 {
		t.Fatal(results, err)
	}
	r := results[0]
	m := measured(t, r)
	s := m.Summary
	if r.Format != FormatInferenceX || m.Status != perf.Full || s.Requests != 640 || s.Errors != 0 {
		t.Errorf("%s %s %+v %v", r.Format, m.Status, s, m.Reasons)
	}
	near(t, "median TTFT", s.TTFT.P50, 901.5302835032344)
	near(t, "P99 E2EL", s.E2E.P99, 17524.58966325969)
	near(t, "median TPOT", s.TPOT.P50, 87.86178177119944)
	near(t, "tok/s/user", *s.PerUserThroughput, 1000/87.86178177119944)
	near(t, "mean ISL", s.ISL.Mean, 1024)
	near(t, "total tok/s", *s.TotalThroughput, (655360+81920)/123.5524920374155)
	if !math.IsNaN(s.TTFT.Mean) || s.ITL != nil {
		t.Errorf("what it does not tell: %+v %+v", s.TTFT, s.ITL)
	}
	if r.Told["concurrency"] != "64" || r.Told["arrival"] != "closed" || r.Told["model_hf_path"] != "zai-org/GLM-5-FP8" || r.Told["num_prompts"] != "640" {
		t.Errorf("told: %s", r.Told)
	}
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-9*math.Abs(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

const plain = `{"date":"20260801-120000","endpoint_type":"openai","backend":"openai","label":null,"model_id":"acme/tiny-llm","tokenizer_id":"acme/tiny-llm",
"num_prompts":5,"tp":"8","request_rate":"inf","burstiness":1.0,"max_concurrency":2,"duration":2.0,"completed":5,"failed":0,
"total_input_tokens":500,"total_output_tokens":250,"request_throughput":2.5,"request_goodput":null,"output_throughput":125.0,"total_token_throughput":375.0,
"mean_ttft_ms":20.0,"median_ttft_ms":20.0,"std_ttft_ms":4.0,"p99_ttft_ms":29.0,
"mean_tpot_ms":10.0,"median_tpot_ms":10.0,"std_tpot_ms":0.0,"p99_tpot_ms":10.0,"mean_itl_ms":10.0,"median_itl_ms":10.0,"std_itl_ms":1.0,"p99_itl_ms":12.0}`

func TestPlainResult(t *testing.T) {
	results, err := ReadResults(strings.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	r := results[0]
	m := measured(t, r)
	s := m.Summary
	if m.Status != perf.Full || r.Told["tp"] != "8" || r.Told["api"] != "completions" {
		t.Errorf("%s %v, told %s", m.Status, m.Reasons, r.Told)
	}
	// numpy's deviation of n = 5 values is of a population: 4·√(5/4).
	near(t, "std TTFT", s.TTFT.Std, 4*math.Sqrt(1.25))
	near(t, "std ITL", s.ITL.Std, 1)
	for _, want := range []string{"definition: itl_ms_std: of a population", "time_untold: started_at", "few_prompts", "no_steady_window", "p99_unfounded"} {
		if !slices.ContainsFunc(m.Doubts, func(d string) bool { return strings.HasPrefix(d, want) }) {
			t.Errorf("no doubt %q in %q", want, m.Doubts)
		}
	}
}

// Where all requests failed the tool writes zeros, and ends with 0.
func TestAllFailed(t *testing.T) {
	zeros := `{"completed":0,"failed":8,"num_prompts":8,"duration":0.5,"total_input_tokens":0,"total_output_tokens":0,"request_throughput":0.0,"output_throughput":0.0,
"total_token_throughput":0.0,"request_rate":"inf","max_concurrency":4,"mean_ttft_ms":0.0,"median_ttft_ms":0.0,"std_ttft_ms":0.0,"p99_ttft_ms":0.0,"mean_tpot_ms":0.0,"median_tpot_ms":0.0}`
	detail := strings.TrimSuffix(zeros, "}") + `,"ttfts":[0,0],"itls":[[],[]],"start_times":[5,6],"input_lens":[3,3],"output_lens":[0,0],"errors":["Connection refused","Connection refused"]}`
	for _, text := range []string{zeros, detail} {
		results, err := ReadResults(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		m := measured(t, results[0])
		if m.Status != perf.Failed || m.Failure == "" || m.Summary.TTFT != nil || m.Summary.RequestThroughput != nil || m.Summary.TPOT != nil {
			t.Errorf("%s %q %+v", m.Status, m.Failure, m.Summary)
		}
	}
}

// Two streams, 100 ms to the first of 5 tokens, 10 ms between them.
func TestDetailedResult(t *testing.T) {
	text := `{"completed":4,"failed":1,"num_prompts":5,"duration":0.6,"total_input_tokens":40,"total_output_tokens":20,"request_throughput":6.67,"output_throughput":33.3,
"request_rate":"inf","max_concurrency":2,"median_ttft_ms":150.0,"endpoint_type":"openai",
"input_lens":[10,10,10,10,7],"output_lens":[5,5,5,5,0],"start_times":[1000.14,1000.0,1000.0,1000.14,1000.28],
"ttfts":[0.1,0.1,0.1,0.1,0.0],"itls":[[0.01,0.01,0.01,0.01],[0.01,0.01,0.01,0.01],[0.01,0.01,0.01,0.01],[0.01,0.01,0.01,0.01],[]],
"errors":["","","","","HTTP 503"],"generated_texts":["a","b","c","d",""]}`
	results, err := ReadResults(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	r := results[0]
	var requests []perf.Request
	for q := range r.Requests(true) {
		requests = append(requests, *q)
	}
	if len(requests) != 5 || requests[0].SentNS != 0 || requests[2].SentNS != 140e6 || requests[4].Error.Message != "HTTP 503" {
		t.Fatalf("requests: %+v", requests)
	}
	m := measured(t, r)
	near(t, "TTFT", m.Summary.TTFT.P50, 100)
	near(t, "TPOT", m.Summary.TPOT.P50, 10)
	near(t, "E2E", m.Summary.E2E.P50, 140)
	near(t, "duration", m.Summary.DurationS, 0.28)
	near(t, "tok/s", *m.Summary.OutputThroughput, 20/0.28)
	if m.Status != perf.Partial || m.Summary.Errors != 1 {
		t.Errorf("%s %v", m.Status, m.Reasons)
	}
	for _, want := range []string{"summary_differs: ttft_ms_median: the tool reports 150, and its records of requests give 100", "summary_differs: output_tps"} {
		if !slices.ContainsFunc(m.Doubts, func(d string) bool { return strings.HasPrefix(d, want) }) {
			t.Errorf("no doubt %q in %q", want, m.Doubts)
		}
	}
}

// One run as its log and as its detailed result have it: what we compute from
// the records is what the tool printed, to its two places.
func TestRealRun(t *testing.T) {
	log := readLog(t, "real/detailed.log")
	text, err := os.ReadFile("testdata/real/detailed.json")
	if err != nil {
		t.Fatal(err)
	}
	results, err := ReadResults(strings.NewReader(string(text)))
	if err != nil || len(log) != 1 || len(results) != 1 {
		t.Fatal(log, results, err)
	}
	ours, printed := measured(t, results[0]), log[0].Values
	if ours.Status != perf.Full || ours.Steady == nil || ours.Summary.Requests != 24 {
		t.Errorf("%s %v", ours.Status, ours.Reasons)
	}
	s := ours.Summary
	for label, got := range map[string]float64{
		"median ttft (ms)": s.TTFT.P50, "p99 ttft (ms)": s.TTFT.P99, "mean tpot (ms)": s.TPOT.Mean, "median tpot (ms)": s.TPOT.P50,
		"median itl (ms)": s.ITL.P50, "p95 itl (ms)": s.ITL.P95, "median e2el (ms)": s.E2E.P50, "p90 e2el (ms)": s.E2E.P90,
	} {
		if want := printed[label]; math.Abs(got-want) > 0.0051 {
			t.Errorf("%s: %v from the records, printed is %v", label, got, want)
		}
	}
	if slices.ContainsFunc(ours.Doubts, func(d string) bool { return strings.HasPrefix(d, "summary_differs") }) {
		t.Errorf("%q", ours.Doubts)
	}
	told := log[0].Report().Told
	want := perf.Setting{"model": "tiny", "api": "completions", "dataset": "random", "num_prompts": "24", "concurrency": "4", "arrival": "closed",
		"random_seed": "3", "isl": "100", "osl": "20", "ignore_eos": "true", "warmup_requests": "0", "range_ratio": "0.0"}
	if told.String() != want.String() {
		t.Errorf("told %s\nwant %s", told, want)
	}
	if told := results[0].Told; told["tp"] != "1" || told["quant"] != "bf16" {
		t.Errorf("told %s", told)
	}
	if text, err = os.ReadFile("testdata/real/plain.json"); err != nil {
		t.Fatal(err)
	}
	if results, err = ReadResults(strings.NewReader(string(text))); err != nil {
		t.Fatal(err)
	}
	if m := measured(t, results[0]); m.Summary.E2E == nil || m.Summary.E2E.N != 24 || results[0].Requests != nil {
		t.Errorf("the latencies of a plain result are not taken: %+v", m.Summary.E2E)
	}
}

func TestAppendedAndSwept(t *testing.T) {
	line := strings.ReplaceAll(plain, "\n", "")
	for _, text := range []string{line + "\n" + line + "\n", "[" + line + "," + line + "]"} {
		results, err := ReadResults(strings.NewReader(text))
		if err != nil || len(results) != 2 {
			t.Errorf("%d results, %v", len(results), err)
		}
	}
}

func TestResultFaults(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"cut off":     {`,"std_itl_ms":1.0,"p99_itl_ms":12.0}`, `,"std_it`, "JSON value 1 is cut off: the file ends inside it"},
		"no result":   {`"completed":5,`, ``, "result 1: field completed is missing"},
		"text":        {`"median_ttft_ms":20.0`, `"median_ttft_ms":"fast"`, `field median_ttft_ms: "fast" is no number`},
		"object":      {`"model_id":"acme/tiny-llm"`, `"model_id":{}`, "field model_id: an object, want a text"},
		"huge":        {`"duration":2.0`, `"duration":1e999`, "field duration"},
		"short list":  {`"burstiness":1.0`, `"ttfts":[1],"itls":[],"start_times":[1],"input_lens":[1],"output_lens":[1]`, "field itls: it has 0 entries, and ttfts has 1"},
		"negative":    {`"burstiness":1.0`, `"ttfts":[-1],"itls":[[]],"start_times":[1],"input_lens":[1],"output_lens":[1]`, "field ttfts[0]: ttfts has -1 s there"},
		"no span":     {`"burstiness":1.0`, `"ttfts":[NaN],"itls":[[]],"start_times":[1],"input_lens":[1],"output_lens":[1]`, "field ttfts[0]: ttfts has NaN s there"},
		"not a list":  {`"burstiness":1.0`, `"ttfts":"x"`, "field ttfts: a JSON string does not fit"},
		"not JSON":    {`{"date"`, `date`, "JSON value 1 is none from byte 1 on"},
		"not a count": {`"burstiness":1.0`, `"ttfts":[1],"itls":[[]],"start_times":[1],"input_lens":[1.5],"output_lens":[1]`, "input_lens has 1.5 there, which is no count"},
	} {
		text := strings.Replace(plain, c.from, c.to, 1)
		if text == plain {
			t.Fatalf("%s: %q is not there", name, c.from)
		}
		if _, err := ReadResults(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want %q", name, err, c.want)
		}
	}
	if _, err := ReadResults(strings.NewReader(" \n")); err == nil || err.Error() != "it holds no JSON object" {
		t.Errorf("empty: %v", err)
	}
}

func FuzzReadLog(f *testing.F) {
	// Short ones: the fuzzer spends its time on making long ones shorter.
	for _, text := range []string{
		"= Serving Benchmark Result =\nSuccessful requests: 4\nMedian TTFT (ms): 9.5\n" + strings.Repeat("=", 40),
		"Namespace(model='a/b', num_prompts=4)\n# = Serving Benchmark Result =\n# Total generated tokens: nan\r# ----x----\n",
		"2026-08-01T00:00:00Z \x1b[1m== Serving Benchmark Result ==\nSuccessful requests: 0",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		blocks, err := ReadLog(strings.NewReader(string(text)))
		if (err == nil) != (len(blocks) > 0) {
			t.Fatalf("%d blocks and error %v", len(blocks), err)
		}
		for _, b := range blocks {
			measure(t, b.Report())
		}
	})
}

func FuzzReadResults(f *testing.F) {
	f.Add([]byte(`{"completed":4,"failed":1,"duration":2,"request_throughput":2,"median_ttft":0.1,"p99_tpot":0.01,"request_rate":"inf","max_concurrency":2}`))
	f.Add([]byte(`{"completed":1,"duration":NaN,"request_throughput":-Infinity,"ttfts":[0.1],"itls":[[0.1,null]],"start_times":[1e300],"input_lens":[1],"output_lens":[1]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		results, err := ReadResults(strings.NewReader(string(text)))
		if err != nil {
			return
		}
		for _, r := range results {
			measure(t, r)
		}
	})
}

// Whatever is read can be judged, and a failed run has no latency.
func measure(t *testing.T, r perf.Report) {
	t.Helper()
	m := measured(t, r)
	if m.Status == perf.Failed && (m.Summary.TTFT != nil || m.Summary.OutputThroughput != nil) {
		t.Fatalf("a failed run has numbers: %+v", m.Summary)
	}
	if m.Status != perf.Full && len(m.Reasons) == 0 {
		t.Fatalf("%s without a reason", m.Status)
	}
}
