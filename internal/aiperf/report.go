package aiperf

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"pipeline/lake/perf"
)

// Report is the run as any tool's, not judged yet. Where there are records,
// they are what it tells; AIPerf's summary has been held against them.
func (r *Run) Report() *perf.Report {
	report := &perf.Report{
		Format: "aiperf-artifacts", Driver: perf.Driver{Name: "aiperf", Version: r.Version, Command: r.Command},
		Told: r.told(), Asked: r.Asked,
	}
	report.Summary = perf.Summary{Requests: perf.Untold, Errors: perf.Untold, InputTokens: perf.Untold, OutputTokens: perf.Untold}
	if s := r.Summary; s != nil {
		report.Reasons = s.reasons()
		if len(s.faulty) > 0 {
			report.Doubts = append(report.Doubts, fmt.Sprintf("not_read: %s has no metric with a unit where it has %s", r.summaryName(), strings.Join(slices.Sorted(maps.Keys(s.faulty)), ", ")))
		}
	}
	if rs := r.Records; rs != nil {
		report.Requests, report.Start, report.End = rs.Stream, rs.Start, rs.End
		reasons, doubts := r.crossCheck()
		report.Reasons = append(report.Reasons, reasons...)
		report.Doubts = slices.Concat(report.Doubts, doubts, rs.doubts())
		return report
	}
	s := r.Summary
	report.Summary = s.summary()
	if start, ok := when(s.Start); ok {
		report.Start = start
		report.End, _ = when(s.End)
		report.Doubts = append(report.Doubts, "no_zone: start, end: AIPerf wrote them in the time of its machine without a zone; they are taken for UTC")
	}
	report.Doubts = append(report.Doubts, "not_ours: all percentiles are AIPerf's own: there are no records of requests")
	if s.decimal {
		report.Doubts = append(report.Doubts, fmt.Sprintf("rounded: only %s is there, which has two decimals", r.summaryName()))
	}
	return report
}

// told are the fields of a setting that the artifacts tell.
func (r *Run) told() perf.Setting {
	told := perf.Setting{}
	switch {
	case len(r.Models) != 1:
	case strings.Count(r.Models[0], "/") == 1 && !strings.HasPrefix(r.Models[0], "/"):
		told["model_hf_path"] = r.Models[0]
	default:
		told["model"] = r.Models[0]
	}
	w := &r.Asked
	values := map[string]string{
		"api": w.API, "arrival": w.Arrival, "concurrency": strconv.Itoa(w.Concurrency), "request_rate": strconv.FormatFloat(w.RequestRate, 'g', -1, 64),
		"num_prompts": strconv.Itoa(w.NumPrompts), "warmup_requests": strconv.Itoa(w.Warmup), "isl": strconv.Itoa(w.ISL), "osl": strconv.Itoa(w.OSL),
		"turns": strconv.Itoa(w.Turns), "ignore_eos": strconv.FormatBool(w.IgnoreEOS), "dataset": w.Dataset, "random_seed": strconv.FormatInt(w.Seed, 10),
	}
	if w.Temperature != nil {
		values["temperature"] = strconv.FormatFloat(*w.Temperature, 'g', -1, 64)
	}
	for _, name := range r.Told {
		if value, ok := values[name]; ok {
			told[name] = value
		}
	}
	return told
}

// reasons say why a run is no full answer.
func (s *Summary) reasons() []string {
	var reasons []string
	if s.Cancelled {
		reasons = append(reasons, "cut_short: AIPerf was stopped before its end")
	}
	if s.Incomplete != "" {
		reasons = append(reasons, "cut_short: AIPerf says that the run is not complete: "+s.Incomplete)
	}
	return reasons
}

// Failure is what most of the failed requests failed of, "" if AIPerf tells none.
func (s *Summary) Failure() string {
	if len(s.Errors) == 0 {
		return ""
	}
	all := 0
	most := s.Errors[0]
	for _, e := range s.Errors {
		all += e.Count
		if e.Count > most.Count {
			most = e
		}
	}
	return fmt.Sprintf("%d of %d failed requests: %s", most.Count, all, most)
}

// summary brings AIPerf's own figures to our words and units. What it does not
// tell stays untold.
func (s *Summary) summary() perf.Summary {
	out := perf.Summary{Requests: perf.Untold, Errors: perf.Untold, InputTokens: perf.Untold, OutputTokens: perf.Untold}
	s.count("request_count", func(n float64) { out.Requests = int(n) })
	s.count("error_request_count", func(n float64) { out.Errors = int(n) })
	if failed := s.failed(); out.Errors == perf.Untold && (failed > 0 || s.Schema != "" || s.Start != "") {
		out.Errors = failed // error_summary is always there, and its counts are of all that failed
	}
	if out.Requests == perf.Untold && out.Errors > 0 {
		out.Requests = 0 // nothing was answered: there is no metric of answers
	}
	s.count("total_isl", func(n float64) { out.InputTokens = int64(n) })
	s.count("total_osl", func(n float64) { out.OutputTokens = n })
	if v, ok := s.value("benchmark_duration", "sec"); ok {
		out.DurationS = v
	}
	out.RequestThroughput = s.rate("request_throughput", "requests/sec")
	out.OutputThroughput = s.rate("output_token_throughput", "tokens/sec")
	out.TotalThroughput = s.rate("total_token_throughput", "tokens/sec")
	out.Goodput = s.rate("goodput", "requests/sec")
	if v, ok := s.value("overall_usage_prompt_cache_read_pct", "ratio"); ok {
		out.PrefixHitRate = &v
	}
	if f := s.Metrics["output_token_throughput_per_user"]; f.Unit == "tokens/sec/user" {
		out.PerUserThroughput = f.P50
	}
	out.TTFT = s.dist("time_to_first_token", "ms", out.Requests)
	out.TPOT = s.dist("inter_token_latency", "ms", out.Requests)
	out.E2E = s.dist("request_latency", "ms", out.Requests)
	out.ITL = s.dist("inter_chunk_latency", "ms", perf.Untold)
	if f := s.Metrics["inter_chunk_latency"]; out.ITL != nil && out.ITL.N == perf.Untold && f.Std != nil {
		out.ITL.Std = *f.Std // of a population, of so many that it is the same
	}
	out.ISL = s.dist("input_sequence_length", "tokens", out.Requests)
	out.OSL = s.dist("output_sequence_length", "tokens", out.Requests)
	return out
}

func (s *Summary) failed() int {
	n := 0
	for _, e := range s.Errors {
		n += e.Count
	}
	return n
}

// value is the one number of a metric in a unit.
func (s *Summary) value(tag, unit string) (float64, bool) {
	f, ok := s.Metrics[tag]
	if !ok || f.Avg == nil {
		return 0, false
	}
	factor, err := convert(f.Unit, unit)
	return *f.Avg * factor, err == nil && *f.Avg >= 0
}

func (s *Summary) count(tag string, set func(float64)) {
	if f, ok := s.Metrics[tag]; ok && f.Avg != nil && *f.Avg >= 0 && *f.Avg < 1<<53 {
		set(math.Round(*f.Avg))
	}
}

func (s *Summary) rate(tag, unit string) *float64 {
	if v, ok := s.value(tag, unit); ok {
		return &v
	}
	return nil
}

// dist brings the statistics of a metric to a unit. AIPerf's deviation is of a
// population.
func (s *Summary) dist(tag, unit string, n int) *perf.Dist {
	f, ok := s.Metrics[tag]
	factor, err := convert(f.Unit, unit)
	if !ok || err != nil || f.Avg == nil && f.P50 == nil {
		return nil
	}
	if f.Count != nil && *f.Count >= 0 && *f.Count < math.MaxInt32 {
		n = int(*f.Count)
	}
	d := perf.UntoldDist(n)
	for _, stat := range []struct {
		to   *float64
		from *float64
	}{{&d.Mean, f.Avg}, {&d.Min, f.Min}, {&d.P50, f.P50}, {&d.P90, f.P90}, {&d.P95, f.P95}, {&d.P99, f.P99}, {&d.Max, f.Max}} {
		if stat.from != nil {
			*stat.to = *stat.from * factor
		}
	}
	if f.Std != nil {
		d.Std = perf.SampleStd(*f.Std*factor, n)
	}
	return d
}

// unitsOf are the metrics that our numbers are made of, and their units.
var unitsOf = map[string]string{
	"time_to_first_token": "ms", "inter_token_latency": "ms", "request_latency": "ms", "inter_chunk_latency": "ms",
	"benchmark_duration": "ms", "request_throughput": "requests/sec", "output_token_throughput": "tokens/sec", "total_token_throughput": "tokens/sec",
	"input_sequence_length": "tokens", "output_sequence_length": "tokens",
}

// badUnits names the metrics in a unit that AIPerf has never written them in.
func (s *Summary) badUnits() error {
	for tag, unit := range unitsOf {
		if f, ok := s.Metrics[tag]; ok {
			if _, err := convert(f.Unit, unit); err != nil {
				return fmt.Errorf("field %s.unit: %w", tag, err)
			}
		}
	}
	return nil
}
