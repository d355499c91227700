package vllmbench

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"pipeline/internal/pyjson"
	"pipeline/lake/perf"
)

// The formats that this package reads.
const (
	FormatJSON       = "vllm-bench-json"
	FormatInferenceX = "inferencex-json" // of the fork that InferenceX runs: seconds
	FormatLog        = "vllm-bench-log"
)

// ReadResults returns the results that a file holds: one, one a line
// (--append-result), or a list (the summary of a sweep).
func ReadResults(r io.Reader) ([]perf.Report, error) {
	objects, err := pyjson.Read(r)
	if err != nil {
		return nil, err
	}
	var out []perf.Report
	for i, o := range objects {
		report, err := readResult(o)
		if err != nil {
			return nil, fmt.Errorf("result %d: %w", i+1, err)
		}
		out = append(out, report)
	}
	return out, nil
}

// IsResult reports whether a JSON object is a result of this tool.
func IsResult(o pyjson.Object) bool {
	return o.Has("completed", "duration") && (o.Has("request_throughput") || o.Has("total_input_tokens"))
}

func readResult(o pyjson.Object) (perf.Report, error) {
	if !IsResult(o) {
		for _, name := range []string{"completed", "duration", "request_throughput"} {
			if !o.Has(name) {
				return perf.Report{}, fmt.Errorf("field %s is missing: this is no result of vllm bench serve", name)
			}
		}
	}
	f := fields{driver: "vllm-bench", format: FormatJSON, told: map[string]string{}}
	unit, suffix := 1.0, "_ms"
	if inSeconds(o) {
		f.driver, f.format = "inferencex-bench", FormatInferenceX
		unit, suffix = 1000, ""
	}
	f.latencyMS = func(metric, stat string) *float64 {
		v := o.Float(stat + "_" + metric + suffix)
		if v == nil {
			return nil
		}
		ms := *v * unit
		return &ms
	}
	for arg, name := range map[string]string{
		"num_prompts": "num_prompts", "max_concurrency": "max_concurrency", "request_rate": "request_rate", "burstiness": "burstiness",
		"backend": "backend", "endpoint_type": "endpoint_type", "model": "model_id",
	} {
		if o.Has(name) {
			f.told[arg] = o.Text(name)
		}
	}
	f.completed, f.failed, f.durationS = o.Float("completed"), o.Float("failed"), o.Float("duration")
	f.inputTokens, f.outputTokens = o.Float("total_input_tokens"), o.Float("total_output_tokens")
	f.requestRPS, f.goodputRPS = o.Float("request_throughput"), o.Float("request_goodput")
	f.outputTPS, f.totalTPS = o.Float("output_throughput"), o.Float("total_token_throughput")
	f.acceptance = o.Float("spec_decode_acceptance_length")
	report := f.report()
	if report.Summary.E2E == nil {
		report.Summary.E2E = latenciesOf(o, report.Summary.Requests)
	}
	metadata(o, &report)
	if err := o.Err(); err != nil {
		return report, err
	}
	requests, doubts := requestsOf(o, &report)
	if requests != nil {
		report.Requests = perf.Slice(requests)
	}
	report.Doubts = append(report.Doubts, doubts...)
	return report, o.Err()
}

// latenciesOf describes the latencies that newer versions list even without
// --save-detailed, if they are those of the n requests that were answered.
func latenciesOf(o pyjson.Object, n int) *perf.Dist {
	var ms []float64
	for _, s := range o.Floats("latencies") {
		if s > 0 && s < MaxSeconds {
			ms = append(ms, 1000*s)
		}
	}
	if len(ms) != n {
		return nil
	}
	return perf.DescribeSample(ms)
}

// inSeconds reports whether latencies have names without a unit.
func inSeconds(o pyjson.Object) bool {
	for _, metric := range []string{"ttft", "tpot", "itl", "e2el"} {
		for _, stat := range []string{"mean", "median", "p99"} {
			if o.Has(stat+"_"+metric) && !o.Has(stat+"_"+metric+"_ms") {
				return true
			}
		}
	}
	return false
}

// metadata takes what the user wrote into the file with --metadata, and what a
// sweep did, where it is named as a field of a Setting.
func metadata(o pyjson.Object, r *perf.Report) {
	settings := perf.Atlas().InGroup(perf.GroupIdentity, perf.GroupParallelism, perf.GroupServing,
		perf.GroupWorkload, perf.GroupRegime, perf.GroupStack, perf.GroupPlace)
	for _, name := range o.Names() {
		if _, told := r.Told[name]; !told && slices.Contains(settings, name) && name != "request_rate" {
			if text := o.Text(name); text != "" {
				r.Told[name] = text
			}
		}
	}
	if o.Has("run_number") {
		r.Told["trial"] = o.Text("run_number")
	}
	if date := o.Text("date"); date != "" {
		r.Doubts = append(r.Doubts, fmt.Sprintf("time_untold: started_at, ended_at: the result says %.40s, without a time zone", date))
	}
}

// requestsOf returns the records of --save-detailed.
func requestsOf(o pyjson.Object, r *perf.Report) ([]perf.Request, []string) {
	ttfts := o.Floats("ttfts")
	if ttfts == nil {
		return nil, nil
	}
	starts, itls := o.Floats("start_times"), o.FloatLists("itls")
	if starts == nil || itls == nil {
		return nil, []string{"records_unused: ttfts has no start_times or itls beside it, so when requests ran is not known"}
	}
	d := detailed{
		starts: starts, ttfts: ttfts, itls: itls, latencies: o.Floats("latencies"),
		inputs: o.Floats("input_lens"), outputs: o.Floats("output_lens"), errors: o.Texts("errors"),
	}
	if r.Asked.RequestRate > 0 {
		d.queued = o.Floats("queue_times")
	}
	for _, list := range []struct {
		name string
		n    int
		need bool
	}{
		{"start_times", len(d.starts), true}, {"itls", len(d.itls), true}, {"input_lens", len(d.inputs), true}, {"output_lens", len(d.outputs), true},
		{"latencies", len(d.latencies), d.latencies != nil}, {"queue_times", len(d.queued), d.queued != nil}, {"errors", len(d.errors), d.errors != nil},
	} {
		if list.need && list.n != len(ttfts) {
			o.Fault(list.name, "it has %d entries, and ttfts has %d", list.n, len(ttfts))
			return nil, nil
		}
	}
	requests := make([]perf.Request, len(ttfts))
	first := d.zero()
	for i := range requests {
		var err error
		if requests[i], err = d.request(i, first); err != nil {
			o.Fault(fmt.Sprintf("ttfts[%d]", i), "%v", err)
			return nil, nil
		}
	}
	slices.SortStableFunc(requests, func(a, b perf.Request) int { return cmp.Compare(a.SentNS, b.SentNS) })
	for i := range requests {
		requests[i].Index, requests[i].Session = i, i
	}
	var doubts []string
	if r.Asked.RequestRate > 0 && d.queued == nil {
		doubts = append(doubts, "definition: ttft_intended_ms_*, e2el_intended_ms_*: from sending: the result does not tell when a request was due")
	}
	return requests, doubts
}
