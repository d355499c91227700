package aiperf

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pipeline/lake/perf"
)

// What is cut off, mixed, empty or hostile gives an error that names the file
// and the field, never a blank and never a number.
func TestHostile(t *testing.T) {
	const line = `{"metadata":{"session_num":0,`
	for _, c := range []struct {
		name, file string
		old, now   string // "" for old: the whole file
		want       []string
	}{
		{"summary empty", summaryJSON, "", "", []string{summaryJSON, "empty"}},
		{"summary blank", summaryJSON, "", " \n", []string{summaryJSON, "empty"}},
		{"summary of nothing", summaryJSON, "", "{}", []string{summaryJSON, "no metric"}},
		{"summary null", summaryJSON, "", "null", []string{summaryJSON, "null"}},
		{"summary a list", summaryJSON, "", "[1]", []string{summaryJSON, "object"}},
		{"summary of another tool", summaryJSON, "", `{"metrics":{"a":1}}`, []string{summaryJSON, "no summary of AIPerf"}},
		{"text in a number", summaryJSON, `"avg": 12.0`, `"avg": "12"`, []string{summaryJSON, "avg", "number"}},
		{"another unit", summaryJSON, `"unit": "requests/sec"`, `"unit": "furlongs"`, []string{summaryJSON, "unit", "furlongs"}},
		{"two shapes", summaryJSON, `"was_cancelled"`, `"records": {"ttft": {"unit": "ms", "avg": 1}}, "was_cancelled"`, []string{summaryJSON, "records", "two versions"}},
		{"negative count of errors", summaryJSON, "\"error_summary\": [],\n \"start_time\"", `"error_summary": [{"error_details": {"type": "X"}, "count": -4}], "start_time"`, []string{summaryJSON, "error_summary[0].count"}},
		{"version a number", summaryJSON, `"aiperf_version": "0.13.0"`, `"aiperf_version": 13`, []string{summaryJSON, "aiperf_version"}},
		{"phases a text", summaryJSON, `"phases": [`, `"phases": "none", "phasen": [`, []string{summaryJSON, "input_config"}},
		{"another run's server", serverJSON, `"benchmark_id": "`, `"benchmark_id": "other`, []string{serverJSON, summaryJSON, "benchmark_id", "two runs"}},
		{"another version's server", serverJSON, `"aiperf_version": "0.13.0"`, `"aiperf_version": "0.8.0"`, []string{"aiperf_version", "0.8.0", "0.13.0"}},
		{"server without metrics", serverJSON, "", `{"summary":{}}`, []string{serverJSON, "metrics"}},
		{"server with a text", serverJSON, `"avg": `, `"avg": "x", "y": `, []string{serverJSON, "avg"}},
		{"records empty", recordsFile, "", "", []string{recordsFile, "empty"}},
		{"records blank", recordsFile, "", "\n\n \n", []string{recordsFile, "no record"}},
		{"records no JSON", recordsFile, "", "Metric,avg\n", []string{recordsFile, "line 1"}},
		{"a list in a line", recordsFile, line, `[` + line, []string{recordsFile, "line 2", "object"}},
		{"no metadata", recordsFile, `"metadata":{`, `"metadata":7,"m":{`, []string{recordsFile, "line 1", "metadata"}},
		{"no start", recordsFile, `"request_start_ns"`, `"request_started_ns"`, []string{recordsFile, "line 1", "metadata.request_start_ns", "missing"}},
		{"start in seconds", recordsFile, `"request_start_ns":17`, `"request_start_ns":17.`, []string{recordsFile, "metadata.request_start_ns"}},
		{"start a text", recordsFile, `"request_start_ns":`, `"request_start_ns":"now","n":`, []string{recordsFile, "metadata.request_start_ns"}},
		{"end before start", recordsFile, `"request_end_ns":17`, `"request_end_ns":16`, []string{recordsFile, "metadata.request_end_ns", "before"}},
		{"end after years", recordsFile, `"request_end_ns":17`, `"request_end_ns":18`, []string{recordsFile, "metadata.request_end_ns", "hundred days"}},
		{"negative latency", recordsFile, `"request_latency":{"value":`, `"request_latency":{"value":-`, []string{recordsFile, "metrics.request_latency"}},
		{"endless latency", recordsFile, `"request_latency":{"value":`, `"request_latency":{"value":1e300,"v":`, []string{recordsFile, "metrics.request_latency"}},
		{"latency no number", recordsFile, `"request_latency":{"value":`, `"request_latency":{"value":NaN,"v":`, []string{recordsFile, "metrics.request_latency"}},
		{"first token after the last", recordsFile, `"time_to_first_token":{"value":`, `"time_to_first_token":{"value":9`, []string{recordsFile, "metrics.time_to_first_token", "longer"}},
		{"latency without a unit", recordsFile, `"request_latency":{"value":`, `"request_latency":{"unit":"","value":`, nil}, // the last unit counts
		{"tokens in ms", recordsFile, `"output_sequence_length":{"value":8,"unit":"tokens"`, `"output_sequence_length":{"value":8,"unit":"ms"`, []string{recordsFile, "metrics.output_sequence_length", "tokens"}},
		{"half a token", recordsFile, `"output_sequence_length":{"value":8`, `"output_sequence_length":{"value":8.5`, []string{recordsFile, "metrics.output_sequence_length"}},
		{"very many tokens", recordsFile, `"usage_completion_tokens":{"value":8`, `"usage_completion_tokens":{"value":8e30`, []string{recordsFile, "metrics.usage_completion_tokens"}},
		{"more cached than sent", recordsFile, `"usage_prompt_cache_read_tokens":{"value":`, `"usage_prompt_cache_read_tokens":{"value":9999`, []string{recordsFile, "usage_prompt_cache_read_tokens"}},
		{"gaps in seconds", recordsFile, `],"unit":"ms"`, `],"unit":"sec"`, []string{recordsFile, "metrics.inter_chunk_latency"}},
		{"a text in the gaps", recordsFile, `"inter_chunk_latency":{"value":[`, `"inter_chunk_latency":{"value":["x",`, []string{recordsFile, "metrics.inter_chunk_latency"}},
		{"a negative gap", recordsFile, `"inter_chunk_latency":{"value":[`, `"inter_chunk_latency":{"value":[-1,`, []string{recordsFile, "metrics.inter_chunk_latency"}},
		{"an endless gap", recordsFile, `"inter_chunk_latency":{"value":[`, `"inter_chunk_latency":{"value":[9e99,`, []string{recordsFile, "metrics.inter_chunk_latency"}},
		{"gaps of a year", recordsFile, `"inter_chunk_latency":{"value":[`, `"inter_chunk_latency":{"value":[8e9,8e9,`, []string{recordsFile, "metrics.inter_chunk_latency", "hundred days"}},
		{"gaps no list", recordsFile, `"inter_chunk_latency":{"value":[`, `"inter_chunk_latency":{"value":7,"v":[`, []string{recordsFile, "metrics.inter_chunk_latency"}},
		{"error a text", recordsFile, `}}}` + "\n", `}},"error":"boom"}` + "\n", []string{recordsFile, "line 1", "error"}},
		{"inputs cut off", inputsFile, `"data"`, `"data": [{"session_id": "a", "payloads": [`, []string{inputsFile, "data[0]"}},
		{"inputs without data", inputsFile, "", `{"sessions": []}`, []string{inputsFile, "data"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := copyRun(t, "v013_stream")
			if c.old == "" {
				if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.now), 0o644); err != nil {
					t.Fatal(err)
				}
			} else {
				edit(t, dir, c.file, c.old, c.now)
			}
			run, err := Read(dir)
			if err == nil {
				_, err = run.Measurement(run.Asked, nil)
			}
			if c.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil {
				t.Fatal("it is taken")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v\nwant %q in it", err, part)
				}
			}
		})
	}
}

// A file that ends anywhere is an error, or has whole records only.
func TestTruncated(t *testing.T) {
	for _, file := range []string{summaryJSON, recordsFile, serverJSON, inputsFile} {
		text, err := os.ReadFile(filepath.Join("testdata/v013_stream", file))
		if err != nil {
			t.Fatal(err)
		}
		dir := copyRun(t, "v013_stream")
		for cut := 1; cut < len(text)-2; cut += 1 + len(text)/150 {
			if err := os.WriteFile(filepath.Join(dir, file), text[:cut], 0o644); err != nil {
				t.Fatal(err)
			}
			run, err := Read(dir)
			var m perf.Measurement
			if err == nil {
				m, err = run.Measurement(run.Asked, nil)
			}
			whole := file == recordsFile && bytes.HasSuffix(bytes.TrimRight(text[:cut], "\n"), []byte("}}}"))
			switch {
			case err == nil && whole && m.Status != perf.Full && has(m.Reasons, "records_differ"):
			case err == nil:
				t.Errorf("%s, cut at %d: taken as %s %q", file, cut, m.Status, m.Reasons)
			case !strings.Contains(err.Error(), file):
				t.Errorf("%s, cut at %d: %v", file, cut, err)
			}
		}
	}
}

func TestLongLine(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, recordsFile)
	if err := os.WriteFile(path, bytes.Repeat([]byte("a"), maxLine+2*blockSize), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), recordsFile+": line 1") {
		t.Errorf("error %v", err)
	}
}

func TestSeveralRuns(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.jsonl", "b.jsonl"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "a, b") {
		t.Errorf("error %v", err)
	}
	if _, err := Read(t.TempDir()); err == nil || !strings.Contains(err.Error(), "neither profile_export_aiperf.json nor profile_export.jsonl is there") {
		t.Errorf("error %v", err)
	}
}

// madeRecord is a line with known gaps.
func madeRecord(start int64, ttft int64, gaps []int64) string {
	ms := func(ns int64) string { return strconv.FormatFloat(float64(ns)*1e-6, 'f', -1, 64) }
	latency := ttft
	var list []string
	for _, gap := range gaps {
		latency += gap
		list = append(list, ms(gap))
	}
	return fmt.Sprintf(`{"metadata":{"request_start_ns":%d,"request_end_ns":%d,"benchmark_phase":"profiling"},"metrics":{"time_to_first_token":{"value":%s,"unit":"ms"},`+
		`"inter_chunk_latency":{"value":[%s],"unit":"ms"},"request_latency":{"value":%s,"unit":"ms"},"output_sequence_length":{"value":%d,"unit":"tokens"}}}`,
		start, start+latency, ms(ttft), strings.Join(list, ","), ms(latency), len(gaps)+1)
}

// Many blocks, lines longer than a block, blank lines and no end of line at the
// end: every nanosecond comes through, in order, whatever the workers.
func TestStream(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	dir := t.TempDir()
	var text bytes.Buffer
	type request struct{ start, ttft int64 }
	var requests []request
	var times [][]int64
	const base = 1795649646_000000000
	for i := range 900 {
		chunks := rng.IntN(300)
		if i == 444 {
			chunks = 200_000 // two megabytes and more
		}
		if i%97 == 5 {
			text.WriteString("\n  \r\n")
		}
		r := request{base + int64(rng.IntN(1e9)), rng.Int64N(5e8)}
		at := r.start + r.ttft
		list := []int64{at}
		gaps := make([]int64, chunks)
		for k := range gaps {
			gaps[k] = rng.Int64N(3e7)
			at += gaps[k]
			list = append(list, at)
		}
		if chunks == 0 {
			list = nil // one chunk: AIPerf has no gap, and no list
		}
		requests, times = append(requests, r), append(times, list)
		if i > 0 {
			text.WriteByte('\n')
		}
		text.WriteString(madeRecord(r.start, r.ttft, gaps))
	}
	if err := os.WriteFile(filepath.Join(dir, recordsFile), text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	var first perf.Measurement
	for _, workers := range []int{1, 2, 5} {
		before := runtime.GOMAXPROCS(workers)
		run, err := Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		for r, err := range run.Records.Stream(true) {
			if err != nil {
				t.Fatal(err)
			}
			want := slices.Clone(times[i])
			for k := range want {
				want[k] -= run.Records.base
			}
			if r.SentNS != requests[i].start-run.Records.base || r.FirstNS != r.SentNS+requests[i].ttft || !slices.Equal(r.ChunkNS, want) {
				t.Fatalf("request %d differs: %d chunks, want %d", i, len(r.ChunkNS), len(want))
			}
			i++
		}
		m, err := run.Measurement(perf.Workload{Arrival: perf.Closed, Concurrency: 4}, nil)
		if err != nil || i != len(requests) {
			t.Fatalf("%d requests, %v", i, err)
		}
		if workers == 1 {
			first = m
		} else if !reflect.DeepEqual(m, first) {
			t.Errorf("%d workers give another measurement than one", workers)
		}
		runtime.GOMAXPROCS(before)
	}
	run, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, recordsFile), append(text.Bytes(), '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, err := range run.Records.Stream(true) {
		if err == nil || !strings.Contains(err.Error(), "changed") {
			t.Errorf("a file that changed meanwhile: %v", err)
		}
	}
}

func TestMilliseconds(t *testing.T) {
	for text, want := range map[string]int64{
		"0.0": 0, "0": 0, "18.349401999999998": 18349402, "17.868007": 17868007, "3644.2601019999997": 3644260102, "7": 7000000, "0.000001": 1, "0.0000004": 0, "0.0000005": 1, "999999999999": 999999999999_000000,
	} {
		if got, next := milliseconds([]byte(text+","), 0); got != want || next != len(text) {
			t.Errorf("%s ms = %d ns at %d, want %d", text, got, next, want)
		}
	}
	for _, text := range []string{"", "-1", "1e3", "1.5e3", "x", ".5", "1234567890123"} {
		if _, next := milliseconds([]byte(text+","), 0); next != 0 {
			t.Errorf("%q is read, to %d", text, next)
		}
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for range 100_000 {
		ns := rng.Int64N(1 << (1 + rng.IntN(50)))
		text := strconv.FormatFloat(float64(ns)*1e-6, 'f', -1, 64)
		if got, _ := milliseconds([]byte(text), 0); got != ns {
			t.Fatalf("%s ms = %d ns, want %d", text, got, ns)
		}
	}
}

// Whatever the bytes of a line: no panic, and what is taken makes sense.
func FuzzRecord(f *testing.F) {
	for _, dir := range []string{"v013_stream", "v013_errors", "v03_qwen"} {
		text, err := os.ReadFile(filepath.Join("testdata", dir, recordsFile))
		if err != nil {
			f.Fatal(err)
		}
		lines := slices.Collect(bytes.Lines(text))
		f.Add(lines[0])
		f.Add(lines[len(lines)-1])
	}
	f.Add([]byte(madeRecord(1795649646_000000000, 5, []int64{1, 2})))
	f.Add([]byte(`{"metadata":{"request_start_ns":1795649646000000000,"request_end_ns":1795649646000000001},"metrics":null,"error":{"code":null,"type":null,"message":"\ud800"}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		rd := newReader(maphash.MakeSeed())
		var r row
		if rd.read(line, &r) != nil {
			return
		}
		rs := &Records{base: r.start, index: []int32{0}, failures: map[int]*perf.RequestError{}}
		if r.credit > 0 {
			rs.base = min(rs.base, r.credit)
		}
		if rd.failure != nil {
			rs.failures[0] = rd.failure
		}
		var got perf.Request
		var cached int
		rs.request(0, &r, &got, &cached)
		if r.gapsAt > 0 {
			times, zero, err := gaps(line[r.gapsAt:], max(got.FirstNS, 0), nil)
			if err == nil && (!slices.IsSorted(times) || zero >= len(times)) {
				t.Fatalf("times %v, %d gaps of zero", times, zero)
			}
		}
		if got.SentNS < 0 || got.IntendedNS < 0 || got.EndNS <= got.SentNS || got.LastNS > got.EndNS || got.FirstNS > got.LastNS ||
			got.OK() && got.FirstNS < got.SentNS || got.ISL < 0 || got.OSL < 0 || got.Cached != nil && *got.Cached > got.ISL {
			t.Fatalf("%+v", got)
		}
	})
}

func FuzzSummaries(f *testing.F) {
	for _, text := range []string{
		`{"schema_version":"1.4","aiperf_version":"0.13.0","request_count":{"unit":"requests","avg":12.0},"time_to_first_token":{"unit":"ms","avg":1.5,"p50":1,"p99":2,"std":0.1,"count":12},
		  "benchmark_duration":{"unit":"sec","avg":1.2},"run_info":{"cli_command":"aiperf profile --api-key x"},"input_config":{"phases":[{"kind":"profiling","type":"poisson","rate":2,"requests":12}]},
		  "telemetry_data":{"endpoints":{"a":{"gpus":{"gpu_0":{"gpu_uuid":"G","metrics":{"nvidia_power_usage":{"unit":"W","avg":5}}}}}}},"error_summary":[{"error_details":{"code":500,"type":"T","message":"m"},"count":1}]}`,
		`{"records":{"ttft":{"unit":"ms","avg":1,"p50":null}},"input_config":{"input":{"extra":[["temperature",0.5],["x"]],"prompt":{"input_tokens":7}},"loadgen":{"concurrency":1}}}`,
		"Metric,avg,min,p50\nTime to First Token (ms),1.00,0.50,N/A\n\nMetric,Value\nRequest Count,12.00\n\nEndpoint,GPU_Index\n",
		`{"summary":{"endpoint_info":{"u":{"total_fetches":9,"first_fetch_ns":1,"last_fetch_ns":10}},"phase_time_ranges":{"profiling":{"start_ns":2,"end_ns":5}}},
		  "metrics":{"vllm:request_success":{"type":"counter","series":[{"labels":{"finished_reason":"stop"},"stats":{"total":3}}]},"vllm:num_requests_running":{"type":"gauge","series":[{"stats":{"avg":1,"max":2}}]}}}`,
		`{"data":[{"session_id":"a","payloads":[{"messages":[{"role":"user","content":"hi"}]},{"prompt":"p"}]}]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if s, err := parseSummary(text); err == nil {
			r := Run{Summary: s, folder: &folder{files: map[string]string{summaryJSON: summaryJSON}}}
			if _, err := r.Report().Measure(perf.Workload{}); err != nil {
				t.Fatal(err)
			}
			s.Failure()
		}
		if s, err := parseCSV(text); err == nil {
			s.summary()
		}
		if e, err := parseServer(text); err == nil {
			e.server()
		}
		if in, err := parseInputs(bytes.NewReader(text)); err == nil && in.Distinct > in.Sessions {
			t.Fatalf("%+v", in)
		}
	})
}
