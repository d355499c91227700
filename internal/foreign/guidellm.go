package foreign

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"

	"pipeline/internal/pyjson"
	"pipeline/internal/vllmbench"
	"pipeline/lake/perf"
)

// GuideLLM is the JSON report of guidellm, version 2 (guidellm 0.7 and later).
const GuideLLM = "guidellm-json"

// guidellmTable: what is a distribution is so for the requests that succeeded.
var guidellmTable = []Quantity{
	{Column: "ttft_ms", Field: "metrics.time_to_first_token_ms.successful", Unit: "ms", Factor: 1},
	{Column: "tpot_ms", Field: "metrics.inter_token_latency_ms.successful", Unit: "ms", Factor: 1, Doubt: true,
		Note: "guidellm weighs each request by its output tokens, not by one; its time_per_output_token_ms, which includes the first token, is not taken"},
	{Column: "e2el_ms", Field: "metrics.request_latency.successful", Unit: "s", Factor: 1000, Doubt: true,
		Note: "to the end of the response, not to the last token"},
	{Column: "request_throughput_rps", Field: "metrics.requests_per_second.successful.mean", Unit: "1/s", Factor: 1, Note: "the mean of a distribution of rates"},
	{Column: "output_tps", Field: "metrics.output_tokens_per_second.successful.mean", Unit: "tok/s", Factor: 1, Note: "the mean of a distribution of rates"},
	{Column: "total_tps", Field: "metrics.tokens_per_second.successful.mean", Unit: "tok/s", Factor: 1, Note: "the mean of a distribution of rates"},
	{Column: "input_tokens", Field: "metrics.prompt_token_count.successful", Unit: "tokens", Factor: 1},
	{Column: "output_tokens", Field: "metrics.output_token_count.successful", Unit: "tokens", Factor: 1},
}

var guidellmStats = stats{count: "count", mean: "mean", std: "std_dev", min: "min", max: "max", percentiles: "percentiles",
	p50: "p50", p90: "p90", p95: "p95", p99: "p99", populationStd: true}

func isGuideLLM(o pyjson.Object) bool { return o.Has("benchmarks", "metadata") }

// readGuideLLM returns a cell for each benchmark of a report.
func readGuideLLM(r io.Reader) ([]Cell, error) {
	objects, err := pyjson.Read(r)
	if err != nil {
		return nil, err
	}
	var cells []Cell
	for _, o := range objects {
		meta := o.Object("metadata")
		if v := meta.Text("version"); v != "2" {
			return nil, fmt.Errorf("field metadata.version is %.20q, and this reads 2 (guidellm 0.7 and later)", v)
		}
		benchmarks := o.Objects("benchmarks")
		for i, b := range benchmarks {
			report := guidellmReport(o, b)
			report.Driver.Version = meta.Text("guidellm_version")
			cells = append(cells, Cell{Report: report, Name: fmt.Sprintf("benchmark %d", i+1)})
		}
		if err := o.Err(); err != nil {
			return nil, err
		}
		if len(benchmarks) == 0 {
			return nil, fmt.Errorf("field benchmarks is empty: the report has no run")
		}
	}
	return cells, nil
}

func guidellmReport(o, b pyjson.Object) perf.Report {
	r := perf.Report{Format: GuideLLM, Driver: perf.Driver{Name: "guidellm"}, Told: perf.Setting{}}
	guidellmWorkload(o, b, &r)
	totals := b.Object("metrics", "request_totals")
	s := &r.Summary
	s.Requests, s.Errors = perf.Untold, perf.Untold
	if n, ok := totals.Count("successful"); ok {
		s.Requests = n
	}
	if n, ok := totals.Count("errored"); ok {
		s.Errors = n
	}
	if n, ok := totals.Count("incomplete"); ok && n > 0 {
		r.Doubts = append(r.Doubts, fmt.Sprintf("cut_off: %d requests were under way when the run ended, and are in no number", n))
	}
	if v := b.Float("duration"); v != nil {
		s.DurationS = *v
	}
	r.Start, r.End = instant(b.Float("start_time")), instant(b.Float("end_time"))
	fill(&r, b, guidellmTable, guidellmStats, s.Requests)
	s.InputTokens = int64(total(b.Object("metrics", "prompt_token_count", "successful").Float("total_sum")))
	s.OutputTokens = total(b.Object("metrics", "output_token_count", "successful").Float("total_sum"))
	guidellmRequests(b, &r)
	return r
}

func guidellmWorkload(o, b pyjson.Object, r *perf.Report) {
	strategy := b.Object("config", "strategy")
	limit, limited := strategy.Count("max_concurrency")
	switch kind := strategy.Text("type_"); kind {
	case "constant", "poisson":
		tellArrival(r, kind)
		if rate := strategy.Float("rate"); rate != nil {
			tellRate(r, *rate)
		}
	case "synchronous":
		tellConcurrency(r, 1)
	case "concurrent":
		if n, ok := strategy.Count("streams"); ok {
			tellConcurrency(r, n)
		}
	case "throughput":
		if limited {
			tellConcurrency(r, limit)
		}
	default:
		tell(r, "arrival", kind)
	}
	backend := b.Object("config", "backend")
	tellModel(r, backend.Text("model"))
	switch backend.Text("request_format") {
	case "/v1/chat/completions", "chat_completions":
		r.Asked.API = "chat"
	case "/v1/completions", "text_completions":
		r.Asked.API = "completions"
	}
	tell(r, "api", r.Asked.API)
	spec := o.Object("config", "spec")
	if seed, ok := spec.Object("seed").Count("value"); ok {
		r.Asked.Seed = int64(seed)
		tellCount(r, "random_seed", seed, nil)
	}
	if n, ok := b.Object("config", "constraints", "max_requests", "args").Count("count"); ok {
		tellCount(r, "num_prompts", n, &r.Asked.NumPrompts)
	}
	data := spec.Objects("data")
	if len(data) != 1 {
		return
	}
	r.Asked.Dataset = data[0].Text("kind")
	tell(r, "dataset", r.Asked.Dataset)
	for name, column := range map[string]string{"prompt_tokens": "isl", "output_tokens": "osl", "turns": "turns"} {
		if n, ok := data[0].Count(name); ok {
			tellCount(r, column, n, map[string]*int{"isl": &r.Asked.ISL, "osl": &r.Asked.OSL, "turns": &r.Asked.Turns}[column])
		}
	}
}

// guidellmRequests takes the records of requests, if all of them were kept.
func guidellmRequests(b pyjson.Object, r *perf.Report) {
	kept := b.Object("requests")
	good, bad := kept.Objects("successful"), kept.Objects("errored")
	if len(good) == 0 && len(bad) == 0 {
		return
	}
	if len(good) != r.Summary.Requests || len(bad) != r.Summary.Errors {
		r.Doubts = append(r.Doubts, fmt.Sprintf("records_unused: the report keeps %d of %d records of requests", len(good)+len(bad), r.Summary.Requests+r.Summary.Errors))
		return
	}
	zero := math.Inf(1)
	for _, q := range slices.Concat(good, bad) {
		t := q.Object("info", "timings")
		for _, name := range []string{"targeted_start", "request_start", "resolve_start"} {
			if at := t.Float(name); at != nil && *at > 0 {
				zero = min(zero, *at)
			}
		}
	}
	if math.IsInf(zero, 0) {
		r.Doubts = append(r.Doubts, "records_unused: no record tells when its request was sent")
		return
	}
	var requests []perf.Request
	for i, q := range slices.Concat(good, bad) {
		requests = append(requests, guidellmRequest(q, zero, i >= len(good), r))
	}
	slices.SortStableFunc(requests, func(a, b perf.Request) int { return cmp.Compare(a.SentNS, b.SentNS) })
	for i := range requests {
		requests[i].Index, requests[i].Session = i, i
	}
	r.Start = instant(&zero)
	r.Requests = perf.Slice(requests)
	r.Doubts = slices.DeleteFunc(r.Doubts, func(d string) bool {
		return slices.ContainsFunc(guidellmTable, func(q Quantity) bool { return q.doubt() == d })
	})
}

func guidellmRequest(q pyjson.Object, zero float64, failed bool, r *perf.Report) perf.Request {
	t := q.Object("info", "timings")
	at := func(names ...string) int64 {
		for _, name := range names {
			if v := t.Float(name); v != nil && *v > 0 {
				if s := *v - zero; s >= 0 && s < vllmbench.MaxSeconds {
					return int64(math.Round(s * 1e9))
				}
				q.Fault("info.timings."+name, "%v is not within the run", *v)
			}
		}
		return perf.Never
	}
	out := perf.Request{
		IntendedNS: at("targeted_start", "request_start", "resolve_start"), SentNS: at("request_start", "resolve_start"),
		WroteNS: perf.Never, ByteNS: perf.Never, EventNS: at("first_request_iteration"), FirstNS: at("first_token_iteration"),
		LastNS: at("last_token_iteration"), DoneNS: perf.Never, EndNS: at("request_end", "resolve_end"), TokenSource: "guidellm",
	}
	out.AcquiredNS = out.SentNS
	if r.Asked.Arrival == perf.Closed {
		out.IntendedNS = out.SentNS
	}
	out.ISL, _ = q.Count("prompt_tokens")
	out.OSL, _ = q.Count("output_tokens")
	if n, ok := q.Object("input_metrics").Count("cached_tokens"); ok {
		out.Cached = &n
	}
	if failed || out.FirstNS < 0 {
		message := cmp.Or(q.Object("info").Text("error"), "the record has no time of a first token")
		out.Error = &perf.RequestError{Phase: "stream", Message: message}
	}
	return out
}
