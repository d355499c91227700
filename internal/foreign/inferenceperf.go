package foreign

import (
	"fmt"
	"io"
	"math"

	"pipeline/internal/pyjson"
	"pipeline/lake/perf"
)

// InferencePerf is a stage or summary report of kubernetes-sigs/inference-perf.
const InferencePerf = "inference-perf-json"

var inferencePerfTable = []Quantity{
	{Column: "ttft_ms", Field: "successes.latency.time_to_first_token", Unit: "s", Factor: 1000},
	{Column: "tpot_ms", Field: "successes.latency.time_per_output_token", Unit: "s", Factor: 1000,
		Note: "older versions divide by events instead of tokens; held against latency, TTFT and output length"},
	{Column: "itl_ms", Field: "successes.latency.inter_token_latency", Unit: "s", Factor: 1000, Doubt: true,
		Note: "tokens of one event are counted 0 ms apart, in older versions events that were read together"},
	{Column: "e2el_ms", Field: "successes.latency.request_latency", Unit: "s", Factor: 1000, Doubt: true,
		Note: "to the end of the response, not to the last token"},
	{Column: "request_throughput_rps", Field: "successes.throughput.requests_per_sec", Unit: "1/s", Factor: 1},
	{Column: "output_tps", Field: "successes.throughput.output_tokens_per_sec", Unit: "tok/s", Factor: 1},
	{Column: "total_tps", Field: "successes.throughput.total_tokens_per_sec", Unit: "tok/s", Factor: 1},
	{Column: "goodput_rps", Field: "successes.goodput_metrics.request_goodput", Unit: "1/s", Factor: 1},
	{Column: "input_tokens", Field: "successes.prompt_len", Unit: "tokens", Factor: 1},
	{Column: "input_tokens", Field: "successes.prompt_tokens", Unit: "tokens", Factor: 1, Note: "in versions that have no prompt_len"},
	{Column: "output_tokens", Field: "successes.output_len", Unit: "tokens", Factor: 1},
}

var inferencePerfStats = stats{mean: "mean", min: "min", max: "max", p50: "median", p90: "p90", p95: "p95", p99: "p99"}

func isInferencePerf(o pyjson.Object) bool {
	return o.Has("load_summary", "successes", "failures") && o.Object("successes").Has("latency")
}

// isInferencePerfServer reports whether an object is what inference-perf has
// from Prometheus: numbers of the server, and none of a client.
func isInferencePerfServer(o pyjson.Object) bool {
	return o.Has("load_summary", "successes") && !o.Object("successes").Has("latency")
}

// ofAllStages reports whether an object sums up stages of different loads.
func ofAllStages(o pyjson.Object) bool {
	load := o.Object("load_summary")
	return !load.Has("requested_rate") && !load.Has("concurrency")
}

// readInferencePerf returns the run in a report.
func readInferencePerf(r io.Reader) ([]Cell, error) {
	objects, err := pyjson.Read(r)
	if err != nil {
		return nil, err
	}
	var cells []Cell
	for i, o := range objects {
		if !isInferencePerf(o) {
			return nil, fmt.Errorf("JSON value %d has no successes.latency: this is no lifecycle report of inference-perf", i+1)
		}
		report := inferencePerfReport(o)
		if err := o.Err(); err != nil {
			return nil, err
		}
		cells = append(cells, Cell{Report: report, Name: fmt.Sprintf("report %d", i+1)})
	}
	return cells, nil
}

func inferencePerfReport(o pyjson.Object) perf.Report {
	r := perf.Report{Format: InferencePerf, Driver: perf.Driver{Name: "inference-perf"}, Told: perf.Setting{}}
	load, good := o.Object("load_summary"), o.Object("successes")
	s := &r.Summary
	s.Requests, s.Errors = perf.Untold, perf.Untold
	if n, ok := good.Count("count"); ok {
		s.Requests = n
	}
	if n, ok := o.Object("failures").Count("count"); ok {
		s.Errors = n
	}
	inferencePerfLoad(load, &r)
	if ofAllStages(o) {
		r.Doubts = append(r.Doubts, "mixed_stages: concurrency, request_rate: the report sums up all stages of a run, which may have had different loads")
	}
	fill(&r, o, inferencePerfTable, inferencePerfStats, s.Requests)
	// send_duration ends when the last request is sent, and is no duration of the run.
	if v := o.Float("benchmark_time_seconds"); v != nil && *v > 0 {
		s.DurationS = *v
	} else if s.RequestThroughput != nil && *s.RequestThroughput > 0 && s.Requests > 0 {
		s.DurationS = float64(s.Requests) / *s.RequestThroughput
	}
	s.InputTokens, s.OutputTokens = perf.Untold, perf.Untold
	if s.Requests > 0 && s.ISL != nil && !math.IsNaN(s.ISL.Mean) {
		s.InputTokens = int64(math.Round(s.ISL.Mean * float64(s.Requests)))
	}
	if s.Requests > 0 && s.OSL != nil && !math.IsNaN(s.OSL.Mean) {
		s.OutputTokens = s.OSL.Mean * float64(s.Requests)
	}
	labels := o.Object("failures", "by_label")
	for _, label := range labels.Names() {
		if n, ok := labels.Object(label).Count("count"); ok && n > 0 {
			r.Doubts = append(r.Doubts, fmt.Sprintf("errors: %d requests failed with %.80s", n, label))
		}
	}
	return r
}

func inferencePerfLoad(load pyjson.Object, r *perf.Report) {
	if n, ok := load.Count("count"); ok {
		tellCount(r, "num_prompts", n, &r.Asked.NumPrompts)
	}
	if n, ok := load.Count("concurrency"); ok && n > 0 {
		tellConcurrency(r, n)
	} else if rate := load.Float("requested_rate"); rate != nil {
		tellRate(r, *rate)
	}
	lag := load.Object("schedule_delay").Float("p99")
	if lag != nil && *lag > maxLagS {
		r.Doubts = append(r.Doubts, fmt.Sprintf("client_lag: ttft_ms_*, e2el_ms_*: requests were sent up to %.0f ms (p99) after they were due, and latencies count from sending", 1000**lag))
	}
}

// maxLagS is how late requests may be sent, at the 99th percentile, before that
// is a doubt.
const maxLagS = 0.01
