package vllmbench

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"pipeline/lake/perf"
)

// fields are what a block and a result file have in common, in the tool's
// terms: what is not there is nil, or missing in told.
type fields struct {
	driver, format            string
	told                      map[string]string // its arguments, by their names
	completed, failed         *float64
	durationS                 *float64
	inputTokens, outputTokens *float64
	requestRPS, goodputRPS    *float64
	outputTPS, totalTPS       *float64
	acceptance                *float64
	latencyMS                 func(metric, stat string) *float64 // ttft, tpot, itl, e2el; mean, median, std, p99
}

// report brings the fields to our terms.
func (f *fields) report() perf.Report {
	r := perf.Report{Format: f.format, Driver: perf.Driver{Name: f.driver}, Told: perf.Setting{}}
	f.workload(&r)
	s := &r.Summary
	s.Requests, s.Errors = count(f.completed), count(f.failed)
	if s.Errors == perf.Untold && s.Requests >= 0 && r.Asked.NumPrompts >= s.Requests && r.Asked.NumPrompts > 0 {
		s.Errors = r.Asked.NumPrompts - s.Requests
	}
	s.InputTokens, s.OutputTokens = int64(count(f.inputTokens)), float64(count(f.outputTokens))
	if f.durationS != nil {
		s.DurationS = *f.durationS
	}
	s.RequestThroughput, s.OutputThroughput, s.TotalThroughput, s.Goodput = f.requestRPS, f.outputTPS, f.totalTPS, f.goodputRPS
	if s.TotalThroughput == nil && s.DurationS > 0 && s.InputTokens >= 0 && s.OutputTokens >= 0 {
		total := (float64(s.InputTokens) + s.OutputTokens) / s.DurationS
		s.TotalThroughput = &total
	}
	s.ISL, s.OSL = lengths(s.Requests, f.inputTokens), lengths(s.Requests, f.outputTokens)
	s.TTFT, s.TPOT, s.E2E = f.dist("ttft", s.Requests), f.dist("tpot", s.Requests), f.dist("e2el", s.Requests)
	if s.ITL = f.dist("itl", perf.Untold); s.ITL != nil {
		r.Doubts = append(r.Doubts, "definition: itl_ms_*: the gap between events of the stream, not between tokens; with several tokens an event it is no TPOT")
		if std := f.latencyMS("itl", "std"); std != nil && *std > 0 {
			s.ITL.Std = *std
			r.Doubts = append(r.Doubts, "definition: itl_ms_std: of a population (n); the number of gaps is not told, so it is not brought to a sample (n-1)")
		}
	}
	if r.Asked.API == chat && s.TTFT != nil {
		r.Doubts = append(r.Doubts, "definition: ttft_ms_*: to the first event with choices, which with the chat API may hold a role and no content")
	}
	if f.acceptance != nil {
		r.Told["acceptance_length"] = number(*f.acceptance)
	}
	return r
}

// dist returns what is told of a latency over n values, nil if that is nothing.
func (f *fields) dist(metric string, n int) *perf.Dist {
	d, any := perf.UntoldDist(n), false
	for stat, to := range map[string]*float64{"mean": &d.Mean, "p50": &d.P50, "p90": &d.P90, "p95": &d.P95, "p99": &d.P99, "min": &d.Min, "max": &d.Max} {
		if v := f.latencyMS(metric, stat); v != nil {
			*to, any = *v, true
		}
	}
	if v := f.latencyMS(metric, "median"); v != nil {
		d.P50, any = *v, true
	}
	if v := f.latencyMS(metric, "std"); v != nil {
		d.Std = perf.SampleStd(*v, n)
	}
	if !any {
		return nil
	}
	return d
}

// lengths is what a total over n requests tells of each.
func lengths(n int, total *float64) *perf.Dist {
	if n < 1 || total == nil {
		return nil
	}
	d := perf.UntoldDist(n)
	d.Mean = *total / float64(n)
	return d
}

func count(v *float64) int {
	if v == nil || !(*v >= 0 && *v < 1<<53) {
		return perf.Untold
	}
	return int(*v)
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// The APIs of a Workload.
const (
	chat        = "chat"
	completions = "completions"
)

// workload brings the tool's arguments to a Workload and the fields of a Setting.
func (f *fields) workload(r *perf.Report) {
	w := &r.Asked
	whole := func(name, column string, to *int) {
		text, ok := f.told[name]
		if !ok || text == "None" {
			return
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil || v < 0 || v > 1<<40 || v != math.Trunc(v) {
			return
		}
		*to = int(v)
		r.Told[column] = strconv.Itoa(*to)
	}
	whole("num_prompts", "num_prompts", &w.NumPrompts)
	whole("max_concurrency", "concurrency", &w.Concurrency)
	whole("random_input_len", "isl", &w.ISL)
	whole("random_output_len", "osl", &w.OSL)
	whole("num_warmups", "warmup_requests", &w.Warmup)
	var seed int
	whole("seed", "random_seed", &seed)
	w.Seed = int64(seed)
	f.arrival(r)
	backend := f.told["backend"] + " " + f.told["endpoint_type"] + " " + f.told["endpoint"]
	switch {
	case strings.Contains(backend, "chat"):
		w.API = chat
	case strings.Contains(backend, "openai"), strings.Contains(backend, "vllm"), strings.Contains(backend, "completions"):
		w.API = completions
	}
	if w.API != "" {
		r.Told["api"] = w.API
	}
	switch model := f.told["model"]; {
	case perf.IsRepository(model):
		r.Told["model_hf_path"] = model
	case model != "":
		r.Told["model"] = model
	}
	if name := f.told["dataset_name"]; name != "" {
		w.Dataset, r.Told["dataset"] = name, name
	}
	if text := strings.ToLower(f.told["ignore_eos"]); text == "true" || text == "false" {
		w.IgnoreEOS, r.Told["ignore_eos"] = text == "true", text
	}
	if t, err := strconv.ParseFloat(f.told["temperature"], 64); err == nil {
		w.Temperature, r.Told["temperature"] = &t, number(t)
	}
	if ratio, ok := f.told["random_range_ratio"]; ok {
		r.Told["range_ratio"] = ratio
	}
}

// arrival says when the tool sent its requests: the rate inf is a closed loop,
// of all requests at once where no concurrency is set.
func (f *fields) arrival(r *perf.Report) {
	w := &r.Asked
	text, told := f.told["request_rate"]
	rate, err := strconv.ParseFloat(text, 64)
	switch {
	case told && err == nil && rate > 0 && !math.IsInf(rate, 0):
		w.RequestRate, w.Arrival = rate, perf.Poisson
		r.Told["request_rate"] = number(rate)
		if b, err := strconv.ParseFloat(f.told["burstiness"], 64); err == nil && b != 1 {
			w.Arrival = "gamma"
		}
	case w.Concurrency > 0:
		w.Arrival = perf.Closed
	case told && w.NumPrompts > 0:
		w.Concurrency, w.Arrival = w.NumPrompts, perf.Closed
		r.Told["concurrency"] = strconv.Itoa(w.NumPrompts)
		r.Doubts = append(r.Doubts, fmt.Sprintf("burst: concurrency: no limit was set and all %d requests were sent at once", w.NumPrompts))
	}
	if w.Arrival != "" {
		r.Told["arrival"] = w.Arrival
	}
}
