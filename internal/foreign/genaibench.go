package foreign

import (
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"pipeline/internal/pyjson"
	"pipeline/lake/perf"
)

// GenAIBench is the JSON of one run of genai-bench.
const GenAIBench = "genai-bench-json"

var genaiTable = []Quantity{
	{Column: "ttft_ms", Field: "stats.ttft", Unit: "s", Factor: 1000},
	{Column: "tpot_ms", Field: "stats.tpot", Unit: "s", Factor: 1000, Note: "by version over the output tokens or one less; worked out anew from the records of requests, where they are there"},
	{Column: "e2el_ms", Field: "stats.e2e_latency", Unit: "s", Factor: 1000},
	{Column: "request_throughput_rps", Field: "requests_per_second", Unit: "1/s", Factor: 1},
	{Column: "request_throughput_rps", Field: "requests_per_minute", Unit: "1/min", Factor: 1.0 / 60, Note: "in versions that have no requests_per_second"},
	{Column: "output_tps", Field: "mean_output_throughput_tokens_per_s", Unit: "tok/s", Factor: 1, Doubt: true,
		Note: "genai-bench leaves the requests of its warm-up and cool-down, and in older versions those of more than 1000 tok/s, out of the tokens but not out of the time"},
	{Column: "total_tps", Field: "mean_total_tokens_throughput_tokens_per_s", Unit: "tok/s", Factor: 1, Note: "as output_tps"},
	{Column: "input_tokens", Field: "stats.num_input_tokens", Unit: "tokens", Factor: 1},
	{Column: "output_tokens", Field: "stats.num_output_tokens", Unit: "tokens", Factor: 1},
}

var genaiStats = stats{mean: "mean", std: "stddev", min: "min", max: "max", p50: "p50", p90: "p90", p95: "p95", p99: "p99", populationStd: true}

func isGenAIBench(o pyjson.Object) bool { return o.Has("aggregated_metrics") }

// isGenAIExperiment reports whether an object describes an experiment of
// genai-bench, which is the context of the runs beside it.
func isGenAIExperiment(o pyjson.Object) bool {
	return o.Has("experiment_folder_name") && (o.Has("traffic_scenario") || o.Has("num_concurrency"))
}

// readGenAIBench returns the run in a file.
func readGenAIBench(r io.Reader) ([]Cell, error) {
	objects, err := pyjson.Read(r)
	if err != nil {
		return nil, err
	}
	var cells []Cell
	for i, o := range objects {
		report := genaiReport(o)
		if err := o.Err(); err != nil {
			return nil, err
		}
		cells = append(cells, Cell{Report: report, Name: fmt.Sprintf("run %d", i+1)})
	}
	return cells, nil
}

func genaiReport(o pyjson.Object) perf.Report {
	r := perf.Report{Format: GenAIBench, Driver: perf.Driver{Name: "genai-bench"}, Told: perf.Setting{}}
	unit := 1.0
	switch u := o.Text("_time_unit"); u {
	case "", "s":
	case "ms":
		unit = 1.0 / 1000
	default:
		o.Fault("_time_unit", "%.20q is neither s nor ms", u)
	}
	a := o.Object("aggregated_metrics")
	genaiWorkload(a, &r)
	s := &r.Summary
	s.Requests, s.Errors = perf.Untold, perf.Untold
	if n, ok := a.Count("num_completed_requests"); ok {
		s.Requests = n
	}
	if n, ok := a.Count("num_error_requests"); ok {
		s.Errors = n
	}
	s.Errors = max(s.Errors, genaiErrors(a, &r)) // it is 0 where no request was answered
	table := genaiTable
	if unit != 1 {
		table = nil
		for _, q := range genaiTable {
			if q.Unit == "s" {
				q.Factor *= unit
			}
			table = append(table, q)
		}
	}
	fill(&r, a, table, genaiStats, s.Requests)
	if v := a.Float("run_duration"); v != nil {
		s.DurationS = *v // never converted by the tool
	} else if s.RequestThroughput != nil && *s.RequestThroughput > 0 && s.Requests > 0 {
		s.DurationS = float64(s.Requests) / *s.RequestThroughput
	}
	s.InputTokens = int64(total(a.Object("stats", "num_input_tokens").Float("sum")))
	s.OutputTokens = total(a.Object("stats", "num_output_tokens").Float("sum"))
	genaiRecords(o, unit*1000, &r)
	return r
}

// genaiErrors counts the errors by code, and says which there were.
func genaiErrors(a pyjson.Object, r *perf.Report) int {
	codes, sum := a.Object("error_codes_frequency"), 0
	for _, code := range codes.Names() {
		if n, ok := codes.Count(code); ok && n > 0 {
			sum += n
			r.Doubts = append(r.Doubts, fmt.Sprintf("errors: %d requests failed with code %.40s", n, code))
		}
	}
	return sum
}

var (
	fixedRE  = regexp.MustCompile(`^D\((\d{1,9}),\s*(\d{1,9})\)$`)
	normalRE = regexp.MustCompile(`^N\((\d{1,9}),\s*\d+\)/\((\d{1,9}),\s*\d+\)$`)
)

func genaiWorkload(a pyjson.Object, r *perf.Report) {
	scenario := a.Text("scenario")
	m := fixedRE.FindStringSubmatch(scenario)
	if m == nil {
		m = normalRE.FindStringSubmatch(scenario)
	}
	if m != nil {
		isl, _ := strconv.Atoi(m[1])
		osl, _ := strconv.Atoi(m[2])
		tellCount(r, "isl", isl, &r.Asked.ISL)
		tellCount(r, "osl", osl, &r.Asked.OSL)
	}
	if scenario != "" {
		r.Asked.Dataset = "genai-bench " + scenario
		tell(r, "dataset", r.Asked.Dataset)
	}
	if n, ok := a.Count("num_concurrency"); ok && n > 0 {
		tellConcurrency(r, n)
	}
}

// genaiRecords takes the distributions from the records of requests, if all
// are there: all percentiles, sample deviations, and the TPOT by our
// definition. The records have no instants, so there is no window.
func genaiRecords(o pyjson.Object, toMS float64, r *perf.Report) {
	var ttft, tpot, e2e, isl, osl []float64
	answered, atOnce := 0, 0
	for _, q := range o.Objects("individual_request_metrics") {
		if code := q.Text("error_code"); code != "" && code != "0" && code != "200" {
			continue
		}
		answered++
		put := func(name string, factor float64, to *[]float64) {
			if v := q.Float(name); v != nil && *v > 0 {
				*to = append(*to, *v*factor)
			}
		}
		put("ttft", toMS, &ttft)
		put("e2e_latency", toMS, &e2e)
		put("num_input_tokens", 1, &isl)
		put("num_output_tokens", 1, &osl)
		n, decode := q.Float("num_output_tokens"), q.Float("output_latency")
		switch {
		case n == nil || decode == nil || *n <= 1 || *decode <= 0:
		case !q.Has("tpot"):
			atOnce++
		default:
			tpot = append(tpot, *decode*toMS/(*n-1))
		}
	}
	s := &r.Summary
	if answered == 0 || answered != s.Requests || len(ttft) != answered || len(e2e) != answered {
		return
	}
	if s.E2E != nil && differ(perf.Describe(e2e).Mean, s.E2E.Mean) {
		return // the summary leaves some out, as warm-up
	}
	if atOnce > 0 {
		r.Doubts = append(r.Doubts, fmt.Sprintf("read_late: ttft_ms_*, e2el_ms_*: of %d requests the tool read all tokens at once, late; it leaves them out of the TPOT", atOnce))
	}
	s.TTFT, s.E2E, s.TPOT = perf.DescribeSample(ttft), perf.DescribeSample(e2e), perf.DescribeSample(tpot)
	s.ISL, s.OSL = perf.Describe(isl), perf.Describe(osl)
}

func differ(a, b float64) bool { return math.Abs(a-b) > 1e-6*math.Abs(b) }

// tellGenAIExperiment adds what the description of an experiment tells of each
// of its runs.
func tellGenAIExperiment(r *perf.Report, o pyjson.Object) {
	tellModel(r, o.Text("model"))
	tell(r, "engine", strings.ToLower(o.Text("server_engine")))
	tell(r, "engine_version", strings.TrimPrefix(o.Text("server_version"), "v"))
	tell(r, "hardware", o.Text("server_gpu_type"))
	tell(r, "gpu_count", o.Text("server_gpu_count"))
	switch o.Text("api_backend") {
	case "openai", "vllm", "sglang":
		r.Asked.API = "chat"
		tell(r, "api", r.Asked.API)
	}
	if r.Driver.Version == "" {
		r.Driver.Version = o.Text("benchmark_version")
	}
}
