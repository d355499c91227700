package perf

import (
	"fmt"
	"math"
	"time"
)

// A Report is what another tool tells of one run: in our units, by our
// definitions, and not judged yet. Measure judges it, once the workload is
// known.
//
// What the tool does not tell is absent: a nil Dist or number, NaN in a Dist,
// a count that is Untold, a duration or time of 0.
type Report struct {
	Format   string // of what was read: vllm-bench-json
	Driver   Driver
	Told     Setting   // the fields of a Setting that it tells; others are not in it
	Asked    Workload  // as far as it tells
	Start    time.Time // zero if it tells no instant
	End      time.Time
	Summary  Summary  // as the tool computed it
	Requests Stream   // its records of requests, nil if it keeps none
	Reasons  []string // why it can't be a full answer: it is truncated
	Doubts   []string // on what can't be brought to our definitions; each names its columns
}

// UntoldDist is a Dist of n values (or Untold) of which nothing more is known.
func UntoldDist(n int) *Dist {
	nan := math.NaN()
	return &Dist{N: n, Mean: nan, Std: nan, Min: nan, P50: nan, P90: nan, P95: nan, P99: nan, Max: nan}
}

// SampleStd returns the sample deviation (n-1) for a population deviation (n),
// and NaN if n does not allow one.
func SampleStd(population float64, n int) float64 {
	if n < 2 {
		return math.NaN()
	}
	return population * math.Sqrt(float64(n)/float64(n-1))
}

// What the numbers of one report may differ by, before they contradict.
const (
	MaxReportDiffer = 0.02 // between a rate and its count over its duration, and between the tool's numbers and ours
	MaxSumDiffer    = 0.25 // between mean latency and mean TTFT + (mean OSL - 1) × mean TPOT, which is exact for equal lengths only
)

// Measure judges a report of the workload asked. Records of requests are judged
// as those of any driver are, see Assess; the tool's own summary is then held
// against ours. Without them the tool's numbers stand, and there is no steady
// window.
func (r *Report) Measure(asked Workload) (Measurement, error) {
	m := r.assessSummary(asked)
	if r.Requests != nil {
		var err error
		if m, err = AssessStream(r.Requests, asked, nil); err != nil {
			return m, err
		}
		if m.Status != Failed {
			m.Doubts = append(m.Doubts, differDoubts(&r.Summary, &m.Summary)...)
		}
	}
	m.Driver, m.Start, m.End = r.Driver, r.Start, r.End
	m.Doubts = append(m.Doubts, r.Doubts...)
	m.Reasons = append(m.Reasons, r.Reasons...)
	if len(r.Reasons) > 0 && m.Status == Full {
		m.Status = Partial
	}
	return m, nil
}

func (r *Report) assessSummary(asked Workload) Measurement {
	m := Measurement{Schema: MeasurementSchema, Status: Full, Asked: asked, Summary: r.Summary}
	s := &m.Summary
	if s.Requests == 0 {
		cause := "no request was answered"
		if s.Errors > 0 {
			cause = fmt.Sprintf("no request was answered: %d failed", s.Errors)
		}
		m.Status, m.Failure, m.Reasons = Failed, cause, []string{cause}
		// What the tool has for latencies and rates are zeros that measure nothing.
		m.Summary = Summary{DurationS: s.DurationS, Errors: s.Errors}
		return m
	}
	j := reportJudge{m: &m, asked: asked}
	j.dropZeros()
	j.errors()
	j.lengths()
	j.consistent()
	j.derive()
	if asked.Arrival == Closed && asked.Concurrency > 0 && s.Requests != Untold {
		m.Doubts = append(m.Doubts, rampDoubts(s.Requests+max(s.Errors, 0), asked.Concurrency)...)
	}
	j.doubt("no_steady_window: the report has no records of requests, so ramp and drain are in all of its numbers")
	m.Doubts = append(m.Doubts, SampleDoubts(*s)...)
	return m
}

// reportJudge weighs the summary of a tool.
type reportJudge struct {
	m     *Measurement
	asked Workload
}

func (j *reportJudge) doubt(format string, a ...any) {
	j.m.Doubts = append(j.m.Doubts, fmt.Sprintf(format, a...))
}

func (j *reportJudge) against(format string, a ...any) {
	j.m.Status = Partial
	j.m.Reasons = append(j.m.Reasons, fmt.Sprintf(format, a...))
}

// dropZeros takes out latencies and rates of zero: tools write them where they
// have no value.
func (j *reportJudge) dropZeros() {
	s := &j.m.Summary
	for _, d := range []struct {
		column string
		dist   **Dist
	}{{"ttft_ms", &s.TTFT}, {"tpot_ms", &s.TPOT}, {"itl_ms", &s.ITL}, {"e2el_ms", &s.E2E}} {
		if *d.dist == nil || (*d.dist).Mean > 0 || (*d.dist).P50 > 0 || (*d.dist).P99 > 0 {
			continue
		}
		*d.dist = nil
		j.doubt("zeros: %s_*: the report has 0 for it, which stands for no value", d.column)
	}
	for _, d := range []struct {
		column string
		rate   **float64
	}{
		{"request_throughput_rps", &s.RequestThroughput}, {"output_tps", &s.OutputThroughput}, {"total_tps", &s.TotalThroughput},
	} {
		if *d.rate != nil && **d.rate <= 0 {
			*d.rate = nil
			j.doubt("zeros: %s: the report has 0 for it, which stands for no value", d.column)
		}
	}
}

func (j *reportJudge) errors() {
	s := &j.m.Summary
	switch {
	case s.Requests == Untold:
		j.against("incomplete: the report does not tell how many requests were answered")
		return
	case s.Errors == Untold:
		j.doubt("errors_untold: failed, error_rate: the report does not tell how many requests failed")
	case s.Errors > 0:
		all := s.Requests + s.Errors
		if share := float64(s.Errors) / float64(all); share > MaxErrorShare {
			j.against("errors: %d of %d requests failed (%.1f%%, limit %.0f%%)", s.Errors, all, 100*share, 100*MaxErrorShare)
		} else {
			j.doubt("errors: %d of %d requests failed", s.Errors, all)
		}
	}
	if n := s.Requests + max(s.Errors, 0); n < j.asked.NumPrompts && s.Errors != Untold {
		j.against("incomplete: %d of %d requests were sent", n, j.asked.NumPrompts)
	}
}

func (j *reportJudge) lengths() {
	s := &j.m.Summary
	if d := s.OSL; d != nil && j.asked.OSL > 0 && !math.IsNaN(d.Mean) {
		want := float64(j.asked.OSL)
		switch {
		case d.Mean < (1-MaxOSLShort)*want:
			j.against("osl_short: answers have %.1f tokens on average, %.1f%% short of the %d asked", d.Mean, 100*(1-d.Mean/want), j.asked.OSL)
		case d.Mean > (1+MaxOSLShort)*want:
			j.doubt("osl_differs: answers have %.1f tokens on average, %d were asked", d.Mean, j.asked.OSL)
		}
	}
	if d := s.ISL; d != nil && j.asked.ISL > 0 && !math.IsNaN(d.Mean) {
		if want := float64(j.asked.ISL); math.Abs(d.Mean-want) > MaxISLDiffer*want {
			j.doubt("isl_differs: prompts have %.1f tokens on average, %d were asked", d.Mean, j.asked.ISL)
		}
	}
}

// consistent holds the numbers of the report against each other.
func (j *reportJudge) consistent() {
	s := &j.m.Summary
	rate := func(column string, rate *float64, count float64) {
		if rate == nil || s.DurationS <= 0 || count <= 0 {
			return
		}
		if want := count / s.DurationS; math.Abs(*rate-want) > MaxReportDiffer*want+0.005 { // tools print two places
			j.doubt("inconsistent: %s: the report has %.4g, and %.6g in %.4g s are %.4g", column, *rate, count, s.DurationS, want)
		}
	}
	rate("request_throughput_rps", s.RequestThroughput, float64(s.Requests))
	rate("output_tps", s.OutputThroughput, s.OutputTokens)
	if s.TPOT == nil || s.TTFT == nil || s.E2E == nil || s.OSL == nil || s.OSL.Mean <= 1 {
		return
	}
	tpot := (s.E2E.Mean - s.TTFT.Mean) / (s.OSL.Mean - 1)
	if tpot > 0 && math.Abs(s.TPOT.Mean-tpot) > MaxSumDiffer*tpot { // false for NaN
		j.doubt("inconsistent: tpot_ms_*: the mean is %.4g ms, and (mean latency - mean TTFT)/(mean OSL - 1) is %.4g ms: it may be counted by event, or with the first token", s.TPOT.Mean, tpot)
	}
}

// derive computes what follows from the summary alone.
func (j *reportJudge) derive() {
	s := &j.m.Summary
	if s.PerUserThroughput == nil && s.TPOT != nil && s.TPOT.P50 > 0 {
		s.PerUserThroughput = quotient(1000, s.TPOT.P50) // the median of 1/x is 1 over the median of x
	}
	if s.EffectiveBatch == nil && s.OutputThroughput != nil && s.TPOT != nil && s.TPOT.Mean > 0 {
		s.EffectiveBatch = quotient(*s.OutputThroughput*s.TPOT.Mean, 1000)
	}
}

// differDoubts names the headline numbers in which the tool's summary differs
// from ours of its own records.
func differDoubts(told, ours *Summary) []string {
	var doubts []string
	check := func(column string, a, b float64) {
		if a > 0 && b > 0 && math.Abs(a-b) > MaxReportDiffer*b {
			doubts = append(doubts, fmt.Sprintf("summary_differs: %s: the tool reports %.4g, and its records of requests give %.4g, which is taken", column, a, b))
		}
	}
	median := func(column string, a, b *Dist) {
		if a != nil && b != nil {
			check(column, a.P50, b.P50)
		}
	}
	rate := func(column string, a, b *float64) {
		if a != nil && b != nil {
			check(column, *a, *b)
		}
	}
	rate("request_throughput_rps", told.RequestThroughput, ours.RequestThroughput)
	rate("output_tps", told.OutputThroughput, ours.OutputThroughput)
	median("ttft_ms_median", told.TTFT, ours.TTFT)
	median("tpot_ms_median", told.TPOT, ours.TPOT)
	median("e2el_ms_median", told.E2E, ours.E2E)
	return doubts
}
