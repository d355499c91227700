package perf

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Limits of a FULL measurement.
const (
	MaxErrorShare    = 0.01 // of requests that failed: above it, the load was another one than asked
	MaxOSLShort      = 0.05 // of the output tokens asked that are missing on average: less work was measured than asked
	MaxISLDiffer     = 0.05 // of the input tokens asked, either way
	MaxOneTokenShare = 0.01 // of answers of one token where more were asked: rejections that look like successes
	MaxCoalesced     = 0.05 // of content events that shared a read: above it, ITL is partly the network's or the client's
	MaxCountDiffer   = 0.01 // between the server's counters and the client's: above it, there is foreign traffic or loss
)

// A Judgement says how much of an answer the requests of a run are.
type Judgement struct {
	Status  Status
	Reasons []string // why Status is not FULL
	Doubts  []string // what travels with the numbers and does not lower Status
	Failure string   // the root cause, if FAILED
}

// judge returns the status of a run with the reasons for it.
//
// FAILED: nothing was answered. PARTIAL: errors above MaxErrorShare, fewer
// requests than asked, answers shorter than asked, answers of one token, a
// client that may have set the numbers, or no TTFT or throughput. FULL: none
// of these.
func (l *look) judge(asked Workload, client *Client) Judgement {
	c := &l.counts
	if c.answered == 0 {
		cause := "no request was sent"
		if len(c.causes) > 0 {
			cause = c.commonest()
		}
		return Judgement{Status: Failed, Reasons: []string{cause}, Failure: cause}
	}
	v := Judgement{Status: Full}
	against := func(format string, args ...any) { v.Reasons = append(v.Reasons, fmt.Sprintf(format, args...)) }
	doubt := func(format string, args ...any) { v.Doubts = append(v.Doubts, fmt.Sprintf(format, args...)) }

	failed := c.measured - c.answered
	if share := float64(failed) / float64(c.measured); share > MaxErrorShare {
		against("errors: %d of %d requests failed (%.1f%%, limit %.0f%%); %s", failed, c.measured, 100*share, 100*MaxErrorShare, c.commonest())
	} else if failed > 0 {
		doubt("errors: %d of %d requests failed; %s", failed, c.measured, c.commonest())
	}
	if c.measured < asked.NumPrompts {
		against("incomplete: %d of %d requests were sent", c.measured, asked.NumPrompts)
	}
	if short := c.oneToken - asked.OneToken; asked.OSL > 1 && float64(short)/float64(c.answered) > MaxOneTokenShare {
		against("one_token: %d of %d answers have one token or none where %d were asked", short, c.answered, asked.OSL)
	}
	c.judgeLengths(asked, against, doubt)
	if client != nil && client.Bound {
		against("client_bound: %s", client.Why)
	}
	if client != nil && client.Coalesced != nil && *client.Coalesced > MaxCoalesced {
		doubt("coalesced: %.1f%% of content events arrived in one read with the one before; median ITL is not the server's", 100**client.Coalesced)
	}
	if !c.firsts {
		against("no_ttft: no answered request tells when its first content came")
	}
	if w := l.whole(); w.DurationS() <= 0 {
		against("no_throughput: the run has no duration")
	}
	if len(v.Reasons) > 0 {
		v.Status = Partial
	}
	return v
}

// ClientTokens is the doubt of a run whose output tokens no server counted.
const ClientTokens = "client_tokens: osl, output_tps, tpot_ms_*: no answer has usage; output tokens are counted by the client's tokenizer, which may not be the server's"

// tokenSource joins what counted the output tokens, "" if none is told.
func (c *counts) tokenSource() string {
	return strings.Join(slices.Sorted(maps.Keys(c.sources)), "+")
}

// counts are what judge weighs.
type counts struct {
	measured, answered, oneToken int
	byChunks                     int             // answered requests whose tokens are counted by events
	sources                      map[string]bool // TokenSource of the answered requests
	firsts                       bool
	oslSum                       float64
	islSum                       float64
	islCount                     int // first turns: later ones hold their history too
	causes                       map[string]int
}

// maxCauses is how many different errors are told apart: a server may put the
// number of the request in each.
const maxCauses = 1000

func (c *counts) add(r *Request) {
	if r.Warmup {
		return
	}
	c.measured++
	if !r.OK() {
		why := cause(r)
		if _, known := c.causes[why]; !known && len(c.causes) >= maxCauses {
			why = "many different causes"
		}
		c.causes[why]++
		return
	}
	c.answered++
	c.oslSum += float64(r.OSL)
	if r.OSL <= 1 {
		c.oneToken++
	}
	if r.Turn == 0 && r.ISL > 0 {
		c.islSum += float64(r.ISL)
		c.islCount++
	}
	if r.TokenSource == "chunks" {
		c.byChunks++
	}
	if r.TokenSource != "" {
		c.sources[r.TokenSource] = true
	}
	if _, ok := r.TTFT(); ok {
		c.firsts = true
	}
}

func (c *counts) judgeLengths(asked Workload, against, doubt func(string, ...any)) {
	if c.sources["tokenizer"] && !c.sources["usage"] {
		doubt(ClientTokens)
	}
	if c.byChunks > 0 {
		doubt("chunk_tokens: %d of %d answers came without usage; their tokens are counted by events, a lower bound", c.byChunks, c.answered)
	}
	if asked.OSL > 0 {
		mean := c.oslSum / float64(c.answered)
		want := float64(asked.OSL)
		switch {
		case mean < (1-MaxOSLShort)*want:
			against("osl_short: answers have %.1f tokens on average, %.1f%% short of the %d asked%s", mean, 100*(1-mean/want), asked.OSL, c.shortHint(asked))
		case mean > (1+MaxOSLShort)*want:
			doubt("osl_differs: answers have %.1f tokens on average, %d were asked", mean, asked.OSL)
		}
	}
	if asked.ISL > 0 && c.islCount > 0 {
		mean := c.islSum / float64(c.islCount)
		if want := float64(asked.ISL); math.Abs(mean-want) > MaxISLDiffer*want {
			doubt("isl_differs: prompts have %.1f tokens on average by the server's count, %d were asked", mean, asked.ISL)
		}
	}
}

// shortHint says what makes answers short.
func (c *counts) shortHint(asked Workload) string {
	switch {
	case c.byChunks > 0:
		return " (counted by events)"
	case !asked.IgnoreEOS:
		return " (ask ignore_eos for answers of full length)"
	}
	return ""
}

// cause is the error of a request on one line, the same for equal errors.
func cause(r *Request) string {
	if r.Error == nil {
		return "stream: the answer has no content"
	}
	head, _, _ := strings.Cut(strings.TrimSpace(r.Error.Message), "\n")
	if r.Error.Status != 0 {
		return fmt.Sprintf("%s: HTTP %d: %s", r.Error.Phase, r.Error.Status, head)
	}
	return r.Error.Phase + ": " + head
}

// commonest returns the most common error with its count.
func (c *counts) commonest() string {
	names := slices.SortedFunc(maps.Keys(c.causes), func(a, b string) int {
		return cmp.Or(cmp.Compare(c.causes[b], c.causes[a]), cmp.Compare(a, b))
	})
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d requests: %s", c.causes[names[0]], c.measured, names[0])
}

func edgesDoubt(whole, steady Summary) []string {
	if whole.OutputThroughput == nil || steady.OutputThroughput == nil {
		return nil
	}
	differ := *steady.OutputThroughput / *whole.OutputThroughput - 1
	if math.Abs(differ) <= FullSteadyDiffer {
		return nil
	}
	return []string{fmt.Sprintf("edges: the steady window gives %.1f output tok/s, the whole run %.1f (%+.1f%%)",
		*steady.OutputThroughput, *whole.OutputThroughput, 100*differ)}
}

// SampleDoubts names the percentiles of a summary that rest on too few
// requests to be claimed at ClaimConfidence.
func SampleDoubts(s Summary) []string {
	if s.TTFT == nil || s.TTFT.N == Untold {
		return nil
	}
	var doubts []string
	for _, p := range []float64{90, 99} {
		if need := MinSamples(p, ClaimConfidence); s.TTFT.N < need {
			doubts = append(doubts, fmt.Sprintf("p%.0f_unfounded: %d requests; a p%.0f at %.0f%% confidence needs %d",
				p, s.TTFT.N, p, 100*ClaimConfidence, need))
		}
	}
	return doubts
}

// ReconcileCounts compares the client's counts with the server's counters over
// the same span and returns what differs by more than MaxCountDiffer, as doubts:
// foreign traffic, or lost requests. The counts must be of all that was sent in
// that span, warm-up included if the span has it.
func ReconcileCounts(answered, outputTokens float64, server *Server) []string {
	if server == nil {
		return nil
	}
	var doubts []string
	check := func(what string, ours float64, theirs *float64) {
		if theirs == nil {
			return
		}
		if math.Abs(*theirs-ours) > MaxCountDiffer*ours {
			doubts = append(doubts, fmt.Sprintf("counts_differ: the client saw %.0f %s, the server counted %.0f; other traffic or lost requests", ours, what, *theirs))
		}
	}
	check("answered requests", answered, server.RequestsOK)
	check("output tokens", outputTokens, server.GenerationTokens)
	return doubts
}
