package aiperf

import (
	"fmt"
	"iter"
	"math"

	"pipeline/lake/perf"
)

// Measurement turns the run into what all drivers give, judged against the
// workload that was asked. The requests behind it are Records.Stream. What the
// caller knows better, such as the server's own counters, it may replace.
func (r *Run) Measurement(asked perf.Workload, setting perf.Setting) (perf.Measurement, error) {
	m, err := r.measurement(asked)
	if err != nil {
		return perf.Measurement{}, fmt.Errorf("%s: %w", r.Dir, err)
	}
	m.Setting = setting
	return m, nil
}

func (r *Run) measurement(asked perf.Workload) (perf.Measurement, error) {
	inputs, err := r.Inputs()
	if err != nil {
		return perf.Measurement{}, err
	}
	if inputs != nil && asked.DatasetDigest == "" {
		asked.DatasetDigest = inputs.Digest.String()
	}
	report := r.Report()
	chunks := chunkTally{}
	if report.Requests != nil {
		report.Requests = chunks.count(report.Requests)
	}
	m, err := report.Measure(asked)
	if err != nil {
		return m, err
	}
	if m.Evidence, err = r.evidence(); err != nil {
		return m, err
	}
	m.Simulated = r.Simulated
	if m.Status == perf.Failed {
		if cause := r.failure(); cause != "" {
			m.Failure, m.Reasons = cause, append([]string{cause}, m.Reasons[1:]...)
		}
		return m, nil
	}
	if r.Records == nil {
		r.summaryTokens(&m)
	}
	m.Doubts = append(m.Doubts, chunks.doubts(r)...)
	m.Doubts = append(m.Doubts, r.promptDoubts(inputs)...)
	r.addServer(&m)
	return m, nil
}

// summaryTokens says what counted the tokens of a summary without records:
// AIPerf's tokenizer, unless it was told to take the server's count.
func (r *Run) summaryTokens(m *perf.Measurement) {
	if r.Summary.config.usage {
		m.TokenSource = "usage"
		return
	}
	m.TokenSource = "tokenizer"
	m.Doubts = append(m.Doubts, perf.ClientTokens)
}

// failure is the cause of a run without an answer where there are no records
// to tell it.
func (r *Run) failure() string {
	if r.Records != nil || r.Summary == nil {
		return ""
	}
	return r.Summary.Failure()
}

// promptDoubts says that prompts came more than once: AIPerf makes a hundred
// of them unless it is told otherwise, and takes turns at them.
func (r *Run) promptDoubts(inputs *Inputs) []string {
	if inputs == nil || r.Records == nil || inputs.Distinct == 0 {
		return nil
	}
	requests := r.Records.Warmup + r.Records.Measured
	per := float64(inputs.Prompts) / float64(inputs.Sessions)
	if most := int(math.Ceil(per * float64(inputs.Distinct))); requests > most {
		return []string{fmt.Sprintf("prompts_repeat: %d requests, warm-up included, took turns at %d different prompts; what the server had cached of one made its next answer faster", requests, most)}
	}
	return nil
}

// addServer takes what AIPerf saw of the server's counters, if it is of this
// run: AIPerf looks every third of a second, so that of a short run it may have
// seen a part.
func (r *Run) addServer(m *perf.Measurement) {
	m.Server = r.Server()
	rs := r.Records
	if m.Server == nil || rs == nil {
		return
	}
	var tokens float64
	for _, row := range rs.all() {
		if !row.is(isWarmup | hasError) {
			_, osl, _ := row.lengths()
			tokens += float64(osl)
		}
	}
	answered := float64(rs.Measured - rs.Failed)
	for _, count := range []struct {
		what   string
		served *float64
		ours   float64
	}{{"answers", m.Server.RequestsOK, answered}, {"output tokens", m.Server.GenerationTokens, tokens}} {
		if count.served != nil && *count.served < (1-perf.MaxCountDiffer)*count.ours {
			dropCounters(m.Server, fmt.Sprintf("AIPerf's looks at the server do not span the run: they counted %.0f of %.0f %s", *count.served, count.ours, count.what))
		}
	}
	m.Doubts = append(m.Doubts, perf.ReconcileCounts(answered, tokens, m.Server)...)
}

func dropCounters(s *perf.Server, why string) {
	for _, counter := range []struct {
		name string
		of   **float64
	}{{"prompt_tokens", &s.PromptTokens}, {"generation_tokens", &s.GenerationTokens}, {"requests_ok", &s.RequestsOK}, {"preemptions", &s.Preemptions}, {"prefix_hit_rate", &s.PrefixHitRate}} {
		if *counter.of != nil {
			*counter.of = nil
			delete(s.Names, counter.name)
			s.Missing = append(s.Missing, counter.name+": "+why)
		}
	}
}

// A chunkTally counts what only the pass over the times of chunks sees.
type chunkTally struct {
	chunks, coalesced  int
	gapsNS, decodingNS int64
	gaps               int
}

func (t *chunkTally) count(stream perf.Stream) perf.Stream {
	return func(chunks bool) iter.Seq2[*perf.Request, error] {
		if !chunks {
			return stream(false)
		}
		return func(yield func(*perf.Request, error) bool) {
			for r, err := range stream(true) {
				if err == nil && !r.Warmup && r.OK() && len(r.ChunkNS) > 0 {
					t.add(r)
				}
				if !yield(r, err) {
					return
				}
			}
		}
	}
}

func (t *chunkTally) add(r *perf.Request) {
	t.chunks += len(r.ChunkNS)
	t.gaps += len(r.ChunkNS) - 1
	t.coalesced += r.Coalesced
	t.gapsNS += r.ChunkNS[len(r.ChunkNS)-1] - r.ChunkNS[0]
	t.decodingNS += r.LastNS - r.FirstNS
}

func (t *chunkTally) doubts(r *Run) []string {
	if t.chunks == 0 {
		return nil
	}
	var doubts []string
	doubt := func(format string, a ...any) { doubts = append(doubts, fmt.Sprintf(format, a...)) }
	if share := float64(t.coalesced) / float64(t.chunks); share > perf.MaxCoalesced {
		doubt("coalesced: itl_ms_*: %.1f%% of content events arrived in one read with the one before; median ITL is not the server's", 100*share)
	}
	if math.Abs(float64(t.gapsNS-t.decodingNS)) > maxDiffer*float64(t.decodingNS) {
		doubt("chunks_differ: itl_ms_*, output_tps_steady: the gaps between chunks add up to %.4g s, and request_latency less time_to_first_token to %.4g s", float64(t.gapsNS)/1e9, float64(t.decodingNS)/1e9)
	}
	if r.Summary != nil {
		c := checker{s: r.Summary}
		if f, ok := r.Summary.Metrics["inter_chunk_latency"]; ok && f.Unit == "ms" && t.gaps > 0 {
			c.compare("inter_chunk_latency.avg", "itl_ms_mean", f.Avg, 1, float64(t.gapsNS)/float64(t.gaps)/1e6)
		}
		doubts = append(doubts, c.doubts...)
	}
	return doubts
}
