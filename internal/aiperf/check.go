package aiperf

import (
	"fmt"
	"math"
	"slices"

	"pipeline/lake/perf"
)

// maxDiffer is by how much AIPerf's summary may differ from what its records
// give by AIPerf's own definitions. Some versions estimate percentiles.
const maxDiffer = 0.005

// crossCheck holds AIPerf's summary against its records.
func (r *Run) crossCheck() (reasons, doubts []string) {
	s, rs := r.Summary, r.Records
	switch {
	case s != nil:
	case rs.Measured == rs.Failed: // AIPerf sums up no run in which all failed
		return nil, nil
	default:
		return []string{fmt.Sprintf("incomplete: AIPerf wrote no summary, as it does at the end of a run: it was stopped before, after %d measured requests, or %s is missing beside its records", rs.Measured, summaryJSON)}, nil
	}
	s.count("request_count", func(n float64) {
		if answered := rs.Measured - rs.Failed; int(n) != answered {
			reasons = append(reasons, fmt.Sprintf("records_differ: %s counts %.0f answered requests and %s has %d: records are missing, or of another run",
				r.summaryName(), n, rs.file, answered))
		}
	})
	if failed, ok := s.value("error_request_count", "requests"); ok && int(failed) != rs.Failed {
		doubts = append(doubts, fmt.Sprintf("summary_differs: error_request_count: AIPerf says %.0f, and its records have %d", failed, rs.Failed))
	}
	c := checker{s: s, c: rs.columns()}
	c.dist("time_to_first_token", "ttft_ms", c.c.ttft)
	c.dist("request_latency", "e2el_ms", c.c.latency)
	c.dist("inter_token_latency", "tpot_ms", c.c.tpot)
	c.mean("input_sequence_length", "isl", c.c.isl)
	c.mean("output_sequence_length", "osl", c.c.osl)
	c.duration()
	return reasons, append(doubts, c.doubts...)
}

// A checker compares numbers of a summary with those of its records.
type checker struct {
	s      *Summary
	c      columns
	doubts []string
}

// columns are the numbers of all answered requests, by AIPerf's definitions.
type columns struct {
	ttft, latency, tpot, isl, osl []float64
	spanS                         float64 // first request to last content
}

func (rs *Records) columns() columns {
	var c columns
	first, last := int64(math.MaxInt64), int64(0)
	for _, r := range rs.all() {
		if r.is(isWarmup) || r.is(hasError) || r.latency < 0 {
			continue
		}
		first, last = min(first, r.start), max(last, r.start+r.latency)
		c.latency = append(c.latency, float64(r.latency)/1e6)
		if r.ttft >= 0 {
			c.ttft = append(c.ttft, float64(r.ttft)/1e6)
		}
		if r.ttft >= 0 && r.osl >= 2 {
			c.tpot = append(c.tpot, float64(r.latency-r.ttft)/1e6/float64(r.osl-1))
		}
		if r.isl >= 0 {
			c.isl = append(c.isl, float64(r.isl))
		}
		if r.osl >= 0 {
			c.osl = append(c.osl, float64(r.osl))
		}
	}
	if last > first {
		c.spanS = float64(last-first) / 1e9
	}
	return c
}

func (c *checker) dist(tag, column string, values []float64) {
	f, ok := c.s.Metrics[tag]
	factor, err := convert(f.Unit, "ms")
	if !ok || err != nil || len(values) == 0 {
		return
	}
	slices.Sort(values)
	c.compare(tag+".avg", column+"_mean", f.Avg, factor, mean(values))
	for _, p := range []struct {
		name, column string
		told         *float64
		p            float64
	}{{"p50", "_median", f.P50, 50}, {"p90", "_p90", f.P90, 90}, {"p99", "_p99", f.P99, 99}} {
		c.compare(tag+"."+p.name, column+p.column, p.told, factor, perf.Percentile(values, p.p))
	}
}

func (c *checker) mean(tag, column string, values []float64) {
	if f, ok := c.s.Metrics[tag]; ok && f.Unit == "tokens" && len(values) > 0 {
		c.compare(tag+".avg", column+"_mean", f.Avg, 1, mean(values))
	}
}

func mean(values []float64) float64 {
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

func (c *checker) compare(field, column string, told *float64, factor, ours float64) {
	if told == nil {
		return
	}
	theirs, slack := *told*factor, 0.0
	if c.s.decimal {
		slack = 0.005 * factor
	}
	if math.Abs(theirs-ours) > maxDiffer*math.Abs(ours)+slack+1e-9 {
		c.doubts = append(c.doubts, fmt.Sprintf("summary_differs: %s: AIPerf's %s is %.5g, and its records give %.5g, which is taken", column, field, theirs, ours))
	}
}

// duration says where AIPerf's rates are over another span than ours. The
// newer versions divide by the length of the phase.
func (c *checker) duration() {
	rate, ok := c.s.value("request_throughput", "requests/sec")
	if !ok || c.c.spanS <= 0 || rate <= 0 {
		return
	}
	ours := float64(len(c.c.latency)) / c.c.spanS
	if math.Abs(rate-ours) <= perf.MaxReportDiffer*ours {
		return
	}
	span := float64(len(c.c.latency)) / rate
	c.doubts = append(c.doubts, fmt.Sprintf("summary_differs: request_throughput_rps, output_tps, total_tps: AIPerf divides by %.4g s, and its requests were sent and answered within %.4g s, which is taken: %.4g requests a second, not %.4g",
		span, c.c.spanS, ours, rate))
}

// doubts are what the records alone raise.
func (rs *Records) doubts() []string {
	var doubts []string
	doubt := func(format string, a ...any) { doubts = append(doubts, fmt.Sprintf(format, a...)) }
	answered := rs.Measured - rs.Failed
	switch {
	case answered == 0:
	case rs.absent.ttft == answered:
		doubt("not_streamed: ttft_ms_*: no record has a time to first token, since answers came in one piece: the time to the whole answer is taken")
	case rs.absent.ttft > 0:
		doubt("not_streamed: ttft_ms_*: %d of %d records have no time to first token: the time to the whole answer is taken", rs.absent.ttft, answered)
	}
	if n := rs.absent.usage; n > 0 && n < answered {
		doubt("tokens_mixed: osl, tpot_ms_*: %d of %d answers came without the server's count of tokens; AIPerf's is taken for them", n, answered)
	}
	if rs.phases > 0 {
		doubt("phases: %d measured phases are in one run, and are taken as one", rs.phases+1)
	}
	if rs.session != nil && rs.absent.correlation > 0 {
		doubt("sessions: %d of %d records do not tell their session; each is taken for one of its own", rs.absent.correlation, answered)
	}
	if counted, served := rs.tokenCounts(); served > 0 && math.Abs(counted-served) > perf.MaxCountDiffer*served {
		doubt("tokenizer_differs: osl, tpot_ms_*: AIPerf counted %.0f output tokens with its tokenizer, and the server %.0f, which is taken", counted, served)
	}
	if lag := rs.Lag(); lag != nil {
		if latency := perf.Describe(rs.columns().latency); latency != nil && Late(lag.P99, latency.P50) {
			doubt("client_lag: AIPerf sent requests %.1f ms after they were due in the middle, and %.1f ms at the 99th percentile, where an answer takes %.1f ms: the load was less than asked; let AIPerf have the machine to itself, or ask for longer answers, beside which its own time is short", lag.P50, lag.P99, latency.P50)
		}
	}
	return doubts
}

// Late reports whether AIPerf sends a request so late that the load is another
// one than asked: by a share of the median latency, and by more than its event
// loop needs for a turn of its own, which short answers make a large share.
func Late(lagMS, latencyMS float64) bool {
	const share, turnMS = 0.1, 5
	return lagMS > max(turnMS, share*latencyMS)
}

// tokenCounts sums the output tokens of the answers of which both counts are known.
func (rs *Records) tokenCounts() (counted, served float64) {
	for _, r := range rs.all() {
		if !r.is(isWarmup|hasError) && r.osl >= 0 && r.usageOSL >= 0 {
			counted += float64(r.osl)
			served += float64(r.usageOSL)
		}
	}
	return counted, served
}

// Lag describes how long after they were due the measured requests were sent,
// in ms. It is nil where the version of AIPerf does not tell.
func (rs *Records) Lag() *perf.Dist {
	var ms []float64
	for _, r := range rs.all() {
		if !r.is(isWarmup) && r.credit > 0 {
			ms = append(ms, float64(r.start-r.credit)/1e6)
		}
	}
	return perf.Describe(ms)
}
