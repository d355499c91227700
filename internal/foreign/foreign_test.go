package foreign

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pipeline/internal/vllmbench"
	"pipeline/lake/perf"
)

func cellsOf(t *testing.T, path string) []Cell {
	t.Helper()
	found, err := Scan(path, filepath.Base(path), "")
	if err != nil {
		t.Fatal(err)
	}
	var all []Cell
	for _, s := range found.Sources {
		cells, err := s.Read()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, cells...)
	}
	return all
}

func measured(t *testing.T, c Cell) perf.Measurement {
	t.Helper()
	m, err := c.Measure(c.Asked)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if !(math.Abs(got-want) <= 1e-6*math.Abs(want)) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func wantDoubt(t *testing.T, doubts []string, starts ...string) {
	t.Helper()
	for _, start := range starts {
		if !slices.ContainsFunc(doubts, func(d string) bool { return strings.HasPrefix(d, start) }) {
			t.Errorf("no doubt begins with %q:\n%s", start, strings.Join(doubts, "\n"))
		}
	}
}

// Values of the report itself, by its own words.
func TestGuideLLM(t *testing.T) {
	cells := cellsOf(t, "testdata/guidellm.json")
	if len(cells) != 2 {
		t.Fatalf("%d cells, want one a benchmark: 2", len(cells))
	}
	c := cells[0]
	m := measured(t, c)
	s := m.Summary
	if m.Status != perf.Full || m.Driver.Name != "guidellm" || m.Driver.Version != "0.8.0.dev18" {
		t.Errorf("%s %v %+v", m.Status, m.Reasons, m.Driver)
	}
	// Their inter-token latency is our TPOT; their TPOT, 2.376 ms, has the first token in it.
	near(t, "TPOT", s.TPOT.P50, 1.0459763663155692)
	near(t, "TTFT", s.TTFT.P50, 11.276006698608398)
	near(t, "latency", s.E2E.P50, 19.269227981567383)
	near(t, "requests/s", *s.RequestThroughput, 0.39843430656414264)
	near(t, "duration", s.DurationS, 5.01964807510376)
	// 20.5 is the population deviation of 51 and 92: √2 · 20.5 = 41/√2 is of a sample.
	near(t, "ISL std", s.ISL.Std, 41/math.Sqrt2)
	// Its TPOT is of 14 tokens, not of 2 requests.
	near(t, "TPOT std", s.TPOT.Std, 0.10487011500767296*math.Sqrt(14.0/13))
	if s.Requests != 2 || s.Errors != 0 || s.InputTokens != 143 || s.OutputTokens != 16 || s.ITL != nil {
		t.Errorf("%+v", s)
	}
	want := perf.Setting{"arrival": "constant", "request_rate": "2", "model": "e2e-mock-model", "api": "chat", "num_prompts": "2",
		"random_seed": "42", "isl": "32", "osl": "8", "turns": "2", "dataset": "synthetic_text"}
	if c.Told.String() != want.String() {
		t.Errorf("told %s\nwant %s", c.Told, want)
	}
	wantDoubt(t, m.Doubts, "definition: tpot_ms_*: guidellm weighs", "definition: e2el_ms_*: to the end of the response", "no_steady_window", "isl_differs")
	if m.Start.Unix() != 1786678148 {
		t.Errorf("start: %v", m.Start)
	}
}

// A real report with its records: what we compute from them is what guidellm
// says, and where it weighs by tokens that is the same for equal lengths.
func TestGuideLLMReal(t *testing.T) {
	c := cellsOf(t, "testdata/guidellm-records.json")[0]
	m := measured(t, c)
	s, theirs := m.Summary, c.Summary
	if m.Status != perf.Full || s.Requests != 24 || s.OutputTokens != 480 || c.Told["concurrency"] != "4" || m.Driver.Version != "0.8.1" {
		t.Errorf("%s %v %+v told %s", m.Status, m.Reasons, s, c.Told)
	}
	for what, pair := range map[string][2]float64{
		"mean TTFT": {s.TTFT.Mean, theirs.TTFT.Mean}, "mean TPOT": {s.TPOT.Mean, theirs.TPOT.Mean}, "max TTFT": {s.TTFT.Max, theirs.TTFT.Max}, "mean ISL": {s.ISL.Mean, theirs.ISL.Mean},
	} {
		if math.Abs(pair[0]-pair[1]) > 1e-3*pair[1] {
			t.Errorf("%s: %v from the records, the report has %v", what, pair[0], pair[1])
		}
	}
	// To the last token, and not to the end of the response.
	if s.E2E.Mean >= theirs.E2E.Mean || s.E2E.Mean < 0.8*theirs.E2E.Mean {
		t.Errorf("latency: %v from the records, the report has %v", s.E2E.Mean, theirs.E2E.Mean)
	}
}

// A report that keeps its records is judged by them: two streams, 100 ms to
// the first of 5 tokens, 10 ms between them.
func TestGuideLLMRecords(t *testing.T) {
	record := func(start string, first, last, end string, failed string) string {
		return `{"info":{"error":` + failed + `,"timings":{"request_start":` + start + `,"first_token_iteration":` + first + `,"last_token_iteration":` + last +
			`,"request_end":` + end + `}},"prompt_tokens":10,"output_tokens":5,"input_metrics":{"cached_tokens":4}}`
	}
	good := []string{record("1000", "1000.1", "1000.14", "1000.15", "null"), record("1000", "1000.1", "1000.14", "1000.15", "null"),
		record("1000.15", "1000.25", "1000.29", "1000.3", "null"), record("1000.15", "1000.25", "1000.29", "1000.3", "null")}
	report := `{"metadata":{"version":2,"guidellm_version":"0.8.1"},"config":{},"benchmarks":[{"config":{"strategy":{"type_":"concurrent","streams":2}},
"metrics":{"request_totals":{"successful":4,"errored":1,"incomplete":1}},"duration":0.3,
"requests":{"successful":[` + strings.Join(good, ",") + `],"errored":[` + record("1000.3", "null", "null", "1000.31", `"HTTP 503"`) + `]}}]}`
	cells, err := readGuideLLM(strings.NewReader(report))
	if err != nil {
		t.Fatal(err)
	}
	m := measured(t, cells[0])
	near(t, "TTFT", m.Summary.TTFT.P50, 100)
	near(t, "TPOT", m.Summary.TPOT.P50, 10)
	near(t, "latency", m.Summary.E2E.P50, 140)
	near(t, "prefix hits", *m.Summary.PrefixHitRate, 0.4)
	if m.Status != perf.Partial || m.Summary.Errors != 1 || !strings.Contains(m.Reasons[0], "HTTP 503") {
		t.Errorf("%s %v", m.Status, m.Reasons)
	}
	wantDoubt(t, m.Doubts, "cut_off: 1 requests were under way")
	cut := strings.Replace(report, good[0]+",", "", 1)
	if cells, err = readGuideLLM(strings.NewReader(cut)); err != nil || cells[0].Requests != nil {
		t.Errorf("records that are not all there are used: %v", err)
	}
	wantDoubt(t, cells[0].Doubts, "records_unused: the report keeps 4 of 5 records")
}

// genai-bench against the simulator: the records hold what its summary says.
func TestGenAIBench(t *testing.T) {
	cells := cellsOf(t, "testdata/genai-bench")
	if len(cells) != 2 {
		t.Fatalf("%d cells", len(cells))
	}
	c := cells[0]
	m := measured(t, c)
	s := m.Summary
	if m.Status != perf.Full || s.Requests != 44 || s.Errors != 0 || s.InputTokens != 7307 || s.OutputTokens != 880 {
		t.Errorf("%s %v %+v", m.Status, m.Reasons, s)
	}
	near(t, "requests/s", *s.RequestThroughput, 39.95293)
	near(t, "duration", s.DurationS, 1.10129595)
	near(t, "median TPOT", s.TPOT.P50, 1.47704771)
	near(t, "mean TPOT", s.TPOT.Mean, 1.47648056)
	// Their deviation is of a population; the tokens of 2 of the 44 were read at once.
	near(t, "TPOT std", s.TPOT.Std, 0.153512*math.Sqrt(42.0/41))
	if s.TTFT.P50CI == nil || s.ITL != nil {
		t.Errorf("%+v %+v", s.TTFT, s.ITL)
	}
	want := perf.Setting{"arrival": "closed", "concurrency": "2", "dataset": "genai-bench D(100,20)", "isl": "100", "osl": "20", "api": "chat",
		"engine": "vllm", "engine_version": "0.25.1", "gpu_count": "8", "hardware": "B200", "model": "tiny"}
	if c.Told.String() != want.String() || c.Driver.Version != "0.0.5" {
		t.Errorf("told %s by %+v\nwant %s", c.Told, c.Driver, want)
	}
	wantDoubt(t, m.Doubts, "isl_differs: prompts have", "definition: output_tps: genai-bench leaves", "read_late: ttft_ms_*, e2el_ms_*: of 2 requests")
}

// In an older version the TPOT is over all output tokens. Milliseconds are
// told by the file. Where nothing was answered, the tool counts no error.
func TestGenAIBenchVersions(t *testing.T) {
	stat := func(v string) string { return `{"mean":` + v + `,"p50":` + v + `,"stddev":0}` }
	run := `{"_time_unit":"ms","aggregated_metrics":{"scenario":"N(480,240)/(300,150)","num_concurrency":1,"num_completed_requests":2,"num_error_requests":0,
"requests_per_minute":60,"mean_output_throughput_tokens_per_s":11,"stats":{"ttft":` + stat("100") + `,"tpot":` + stat("9.0909") + `,"e2e_latency":` + stat("200") + `,"num_output_tokens":{"mean":11,"sum":22}}},
"individual_request_metrics":[{"ttft":100,"tpot":9.0909,"e2e_latency":200,"output_latency":100,"num_output_tokens":11,"num_input_tokens":7},{"ttft":100,"e2e_latency":200,"output_latency":100,"num_output_tokens":11,"num_input_tokens":7}]}`
	cells, err := readGenAIBench(strings.NewReader(run))
	if err != nil {
		t.Fatal(err)
	}
	m := measured(t, cells[0])
	near(t, "TPOT", m.Summary.TPOT.P50, 10) // 100 ms over 11 - 1 tokens
	near(t, "TTFT", m.Summary.TTFT.P50, 100)
	near(t, "requests/s", *m.Summary.RequestThroughput, 1)
	near(t, "duration", m.Summary.DurationS, 2)
	if cells[0].Told["isl"] != "480" || cells[0].Told["osl"] != "300" {
		t.Errorf("told %s", cells[0].Told)
	}
	failed := `{"aggregated_metrics":{"num_completed_requests":0,"num_error_requests":0,"error_codes_frequency":{"404":223},"requests_per_second":0,"stats":{"ttft":{"mean":null}}}}`
	if cells, err = readGenAIBench(strings.NewReader(failed)); err != nil {
		t.Fatal(err)
	}
	m = measured(t, cells[0])
	if m.Status != perf.Failed || m.Failure != "no request was answered: 223 failed" {
		t.Errorf("%s %q", m.Status, m.Failure)
	}
	wantDoubt(t, m.Doubts, "errors: 223 requests failed with code 404")
}

// The stage of a folder is a cell, the sum of the stages and what Prometheus
// told are not.
func TestInferencePerf(t *testing.T) {
	found, err := Scan("testdata/inference-perf", "", "")
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Sources) != 1 || found.Sources[0].Path != "stage_0_lifecycle_metrics.json" || len(found.Skipped) != 2 {
		t.Fatalf("%+v", found)
	}
	c := cellsOf(t, "testdata/inference-perf")[0]
	m := measured(t, c)
	s := m.Summary
	if m.Status != perf.Full || s.Requests != 60 || s.Errors != 0 || s.InputTokens != 12041 || s.TTFT.N != 60 || !math.IsNaN(s.TTFT.Std) {
		t.Errorf("%s %v %+v", m.Status, m.Reasons, s)
	}
	near(t, "TTFT", s.TTFT.P50, 32.918093027547)
	near(t, "latency p99", s.E2E.P99, 493.34994919016023)
	near(t, "requests/s", *s.RequestThroughput, 0.996850670841712)
	// The run took 60/0.9969 s; the 59.7 s of send_duration are to the last request sent.
	near(t, "duration", s.DurationS, 60/0.996850670841712)
	// It divides by events: (483.2 - 33.3)/(62.35 - 1) is 7.33 ms.
	wantDoubt(t, m.Doubts, "inconsistent: tpot_ms_*: the mean is 3.478 ms, and (mean latency - mean TTFT)/(mean OSL - 1) is 7.333 ms", "definition: itl_ms_*")
	if c.Told.String() != "num_prompts=60 request_rate=1" {
		t.Errorf("told %s", c.Told)
	}
	sum := cellsOf(t, "testdata/inference-perf/summary_lifecycle_metrics.json")[0]
	wantDoubt(t, sum.Doubts, "mixed_stages: concurrency, request_rate", "client_lag: ttft_ms_*, e2el_ms_*: requests were sent up to 52453 ms (p99)")
}

// The newer shape: concurrency, the time of the run, prompt_tokens, labels.
func TestInferencePerfNewer(t *testing.T) {
	report := `{"benchmark_time_seconds":4.0,"load_summary":{"count":10,"requested_rate":5,"concurrency":2},"successes":{"count":0,"latency":{"request_latency":null},"throughput":{"requests_per_sec":0.0}},
"failures":{"count":10,"by_label":{"503 - Service Unavailable":{"count":10}}}}`
	cells, err := readInferencePerf(strings.NewReader(report))
	if err != nil {
		t.Fatal(err)
	}
	m := measured(t, cells[0])
	if m.Status != perf.Failed || m.Summary.RequestThroughput != nil || m.Summary.DurationS != 4 || cells[0].Told["concurrency"] != "2" {
		t.Errorf("%s %+v, told %s", m.Status, m.Summary, cells[0].Told)
	}
	wantDoubt(t, m.Doubts, "errors: 10 requests failed with 503 - Service Unavailable")
}

const table = `# measured by hand
config,trial,model,tp,concurrency,bench_backend,started_at,duration_s,completed,failed,output_tokens,request_throughput_rps,output_tps,ttft_ms_median,ttft_ms_std,tpot_ms_median
fp8-tp8, 1, acme/big, 8, 16, mybench 2, 2026-08-01T12:00:00Z, 10, 100, 0, 10000, 10, 1000, 85.5, 12, 9.5
fp8-tp8,2,acme/big,8,16,mybench 2,,10,100,0,10000,10,1000,86,,
`

func TestCSV(t *testing.T) {
	cells, err := readCSV(strings.NewReader(table))
	if err != nil || len(cells) != 2 {
		t.Fatal(cells, err)
	}
	c := cells[0]
	m := measured(t, c)
	s := m.Summary
	if m.Status != perf.Full || s.Requests != 100 || s.TTFT.P50 != 85.5 || s.TTFT.Std != 12 || !math.IsNaN(s.TTFT.P99) || s.InputTokens != perf.Untold {
		t.Errorf("%s %v %+v %+v", m.Status, m.Reasons, s, s.TTFT)
	}
	near(t, "tok/s/user", *s.PerUserThroughput, 1000/9.5)
	if c.Told.String() != "concurrency=16 config=fp8-tp8 model=acme/big tp=8 trial=1" || c.Driver.Name != "mybench 2" || m.Start.Hour() != 12 {
		t.Errorf("told %s, %+v, %v", c.Told, c.Driver, m.Start)
	}
	if second := measured(t, cells[1]); second.Summary.TPOT != nil || !second.Start.IsZero() {
		t.Errorf("%+v", second)
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"column":   {"ttft_ms_median", "ttft_ms_medain", `column 14 is called "ttft_ms_medain", which is no column of atlas_v1 that a table may have; did you mean ttft_ms_median?`},
		"twice":    {"ttft_ms_std", "ttft_ms_median", "there are two columns called ttft_ms_median"},
		"number":   {"85.5", "fast", `line 3: column ttft_ms_median: "fast" is no number`},
		"infinite": {"85.5", "inf", `line 3: column ttft_ms_median: "inf" is no number`},
		"negative": {"85.5", "-1", "line 3: column ttft_ms_median: -1 is below zero"},
		"count":    {" 100, 0", " 99.5, 0", "line 3: column completed: 99.5 is no count"},
		"time":     {"2026-08-01T12:00:00Z", "yesterday", `line 3: column started_at: "yesterday" is no time`},
		"fields":   {"85.5, 12, 9.5", "85.5", "wrong number of fields"},
	} {
		if _, err := readCSV(strings.NewReader(strings.Replace(table, c.from, c.to, 1))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for text, want := range map[string]string{"": "it is empty", "model,tp\n": "it has a header and no row"} {
		if _, err := readCSV(strings.NewReader(text)); err == nil || err.Error() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	if cells, err := readCSV(strings.NewReader(CSVTemplate() + strings.Repeat(",", strings.Count(CSVTemplate(), ",")) + "\n")); err != nil || len(cells) != 1 {
		t.Errorf("the template: %v", err)
	}
}

func TestScanFaults(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct{ path, format, want string }{
		"empty":         {put("a/empty.json", ""), "", "empty.json: it is no report that is known"},
		"cut":           {put("a/cut.json", `{"completed": 4, "dur`), "", "cut.json: JSON value 1 is cut off"},
		"other":         {put("a/other.json", `{"a":1}`), "", "other.json: it is no report that is known (vllm-bench-json, guidellm-json,"},
		"other version": {put("a/v1.json", `{"metadata":{"version":1},"benchmarks":[{}]}`), "", `v1.json (guidellm-json): field metadata.version is "1", and this reads 2`},
		"other format":  {put("a/run.json", `{"aggregated_metrics":{}}`), GuideLLM, "run.json: it is genai-bench-json, not guidellm-json"},
		"no format":     {put("a/x.json", `{}`), "xml", `format "xml" is not one of vllm-bench-json`},
		"folder":        {filepath.Dir(put("b/readme.md", "hello")), "", "b: no report is there: readme.md: it is no report that is known"},
		"not there":     {filepath.Join(dir, "nothing"), "", "no such file"},
		"field":         {put("a/field.json", `{"aggregated_metrics":{"num_completed_requests":"many"}}`), "", `field.json (genai-bench-json): field aggregated_metrics.num_completed_requests: "many" is no number`},
		"unit":          {put("a/unit.json", `{"aggregated_metrics":{},"_time_unit":"h"}`), "", `field _time_unit: "h" is neither s nor ms`},
		"aiperf":        {put("a/r.jsonl", `{"metadata":{},"metrics":{},"error":null}`), "", "r.jsonl: it is an artifact of AIPerf: give the folder that AIPerf wrote"},
		"binary":        {put("a/blob", "\x00\x01\x02\xff"), "", "blob: it is no report that is known"},
		"folder, cut":   {filepath.Dir(put("c/cut.json", `[{"completed":`)), "", "cut.json: JSON value 1 is cut off"},
	} {
		found, err := Scan(c.path, filepath.Base(c.path), c.format)
		if err == nil {
			_, err = found.Sources[0].Read()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	log := put("d/server.log", "[INFO] 2026-08-01 hello\n{\"level\":\"info\"}\n== Serving Benchmark Result ==\nSuccessful requests: 1\n"+strings.Repeat("=", 50)+"\n")
	structured := put("d/structured.log", "{\"level\":\"info\"}\nhello\n"+"== Serving Benchmark Result ==\nSuccessful requests: 1\n"+strings.Repeat("=", 50)+"\n")
	for _, path := range []string{log, structured} {
		if found, err := Scan(path, filepath.Base(path), ""); err != nil || found.Sources[0].Format != vllmbench.FormatLog {
			t.Errorf("%s: %+v %v", path, found, err)
		}
	}
}

// What is too large is refused, and never cut.
func TestHugeTable(t *testing.T) {
	if _, err := readCSV(strings.NewReader("model,tp\n" + strings.Repeat("a,8\n", maxCSV/4))); err == nil || err.Error() != "it is larger than 16 MB" {
		t.Errorf("%v", err)
	}
}

func TestTables(t *testing.T) {
	for _, f := range Formats() {
		if f.Name != CSV && len(f.Table) == 0 {
			t.Errorf("%s has no table", f.Name)
		}
		for _, q := range f.Table {
			if distOf(new(perf.Summary), q.Column) == nil && rateOf(new(perf.Summary), q.Column) == nil {
				t.Errorf("%s: %s is no quantity", f.Name, q.Column)
			}
			if q.Factor == 0 || q.Unit == "" || q.Doubt && q.Note == "" {
				t.Errorf("%s: %+v", f.Name, q)
			}
		}
	}
}

func fuzz(f *testing.F, read func([]byte) ([]Cell, error), seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		cells, err := read(text)
		if err == nil && len(cells) == 0 {
			t.Fatal("no cell and no error")
		}
		for _, c := range cells {
			m, err := c.Measure(c.Asked)
			if err != nil {
				t.Fatal(err)
			}
			if m.Status == perf.Failed && (m.Summary.TTFT != nil || m.Summary.RequestThroughput != nil) {
				t.Fatalf("a failed run has numbers: %+v", m.Summary)
			}
		}
	})
}

func FuzzGuideLLM(f *testing.F) {
	fuzz(f, func(b []byte) ([]Cell, error) { return readGuideLLM(strings.NewReader(string(b))) },
		`{"metadata":{"version":2},"benchmarks":[{"metrics":{"request_totals":{"successful":1,"errored":0},"time_to_first_token_ms":{"successful":{"median":3,"percentiles":{"p99":4}}}},"requests":{"successful":[{"info":{"timings":{"request_start":5,"first_token_iteration":6}},"output_tokens":4}]}}]}`)
}

func FuzzGenAIBench(f *testing.F) {
	fuzz(f, func(b []byte) ([]Cell, error) { return readGenAIBench(strings.NewReader(string(b))) },
		`{"aggregated_metrics":{"scenario":"D(1,2)","num_completed_requests":1,"requests_per_minute":4,"stats":{"ttft":{"p50":0.1}}},"individual_request_metrics":[{"ttft":0.1,"e2e_latency":NaN}]}`)
}

func FuzzInferencePerf(f *testing.F) {
	fuzz(f, func(b []byte) ([]Cell, error) { return readInferencePerf(strings.NewReader(string(b))) },
		`{"load_summary":{"count":1,"requested_rate":1},"successes":{"count":1,"latency":{"time_to_first_token":{"median":0.1}},"throughput":{"requests_per_sec":1}},"failures":{"count":0,"by_label":{"x":{"count":1}}}}`)
}

func FuzzCSV(f *testing.F) {
	fuzz(f, func(b []byte) ([]Cell, error) { return readCSV(strings.NewReader(string(b))) }, "model,tp,completed,ttft_ms_median\na,8,4,1.5\n")
}
