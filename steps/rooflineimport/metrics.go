package rooflineimport

import (
	"bytes"
	"fmt"
	"regexp"

	"pipeline/internal/prom"
	"pipeline/internal/roofline"
	"pipeline/lake/perf"
)

// scrapeRE finds the lines that separate the scrapes of server_metrics.prom.
var scrapeRE = regexp.MustCompile(`(?m)^# scrape (pre|post)\b.*\n`)

// What a cold cell may find in the prefix cache: the tokens that the chat
// template puts before every prompt, and of the block in which they end. More
// of them is a prompt that the server had seen.
const (
	templateTokens = 64   // of a request
	templateShare  = 0.05 // of the input
)

// judgeCache holds a cold cell against the server's counters, or else against
// what its answers said they found.
func (im *importing) judgeCache(f roofline.Found, m *perf.Measurement) error {
	if err := im.serverMetrics(f, m); err != nil {
		return err
	}
	if im.b.Manifest.CacheMode != roofline.Cold || m.Status == perf.Failed {
		return nil
	}
	rate, by := m.Summary.PrefixHitRate, "the usage of its answers"
	if m.Server != nil && m.Server.PrefixHitRate != nil {
		rate, by = m.Server.PrefixHitRate, "the server's counters"
	}
	isl := float64(f.Cell.ISL)
	switch {
	case rate == nil:
		m.Doubts = append(m.Doubts, "cold_unknown: nothing tells what the server found in its prefix cache, so that the cell is cold by its word alone")
	case *rate*isl > templateTokens || *rate > max(templateShare, 16/isl):
		if m.Status == perf.Full {
			m.Status = perf.Partial
		}
		m.Reasons = append(m.Reasons, fmt.Sprintf("ROOF_NOT_COLD: %.1f%% of the input tokens (%.0f of a prompt) were in the prefix cache, by %s: send prompts that the server has not seen, or turn the cache off", 100**rate, *rate*isl, by))
	case *rate > 0:
		m.Doubts = append(m.Doubts, fmt.Sprintf("template_hits: %.1f%% of the input tokens (%.0f of a prompt) were in the prefix cache, by %s: as much as a chat template has before every prompt", 100**rate, *rate*isl, by))
	}
	return nil
}

// serverMetrics takes the server's counters from the scrapes before and after.
// A measurement that has its own, with samples in between, keeps them.
func (im *importing) serverMetrics(f roofline.Found, m *perf.Measurement) error {
	if m.Server != nil || !f.Has(roofline.MetricsFile) {
		return nil
	}
	text, err := im.b.ReadFile(f, roofline.MetricsFile)
	if err != nil {
		return err
	}
	pre, post, ok := splitScrapes(text)
	if !ok {
		m.Doubts = append(m.Doubts, fmt.Sprintf("no_metrics: %s has no scrape before and after (lines \"# scrape pre\" and \"# scrape post\")", roofline.MetricsFile))
		return nil
	}
	before, err := prom.Parse(bytes.NewReader(pre))
	if err != nil {
		return fmt.Errorf("%s: before: %w", roofline.MetricsFile, err)
	}
	after, err := prom.Parse(bytes.NewReader(post))
	if err != nil {
		return fmt.Errorf("%s: after: %w", roofline.MetricsFile, err)
	}
	run := prom.Begin(before)
	m.Server = run.End(after)
	if run.Restarted() {
		m.Server = nil
		m.Doubts = append(m.Doubts, "server_restarted: the server's counters went back during the cell")
	}
	return nil
}

func splitScrapes(text []byte) (pre, post []byte, ok bool) {
	at := scrapeRE.FindAllSubmatchIndex(text, -1)
	parts := map[string][]byte{}
	for i, m := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		parts[string(text[m[2]:m[3]])] = text[m[1]:end]
	}
	pre, okPre := parts["pre"]
	post, okPost := parts["post"]
	return pre, post, okPre && okPost
}
