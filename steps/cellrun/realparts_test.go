package cellrun

import (
	"errors"
	"net/http"
	"testing"

	"pipeline/internal/endpoint"
	"pipeline/internal/realparts"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// Servers that we did not write, with their quirks: what they lack is a doubt
// or unknown, and the cell is measured.
func TestRealServers(t *testing.T) {
	for _, c := range []struct {
		name  string
		start func(t *testing.T) string
		model string
		api   string
	}{
		{"guidellm mock-server", func(t *testing.T) string { return realparts.GuideLLMMock(t) }, realparts.GuideLLMModel, "chat"},
		{"llama.cpp", func(t *testing.T) string { url, _ := realparts.TinyLlama(t); return url }, "tiny-random-llama", "completions"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, http.NotFoundHandler())
			b.step.API, b.step.Concurrency, b.step.NumPrompts, b.step.ISL, b.step.OSL = c.api, 2, 20, 32, 8
			b.setup(t, endpoint.Access{URL: c.start(t)}, nil)
			m, err := b.run(t)
			var failed *steps.Failed
			if err != nil && !(errors.As(err, &failed) && failed.Partial) {
				t.Fatal(err)
			}
			t.Logf("%s %q, doubts %q", m.Status, m.Reasons, m.Doubts)
			// llama.cpp closes connections between requests, and no request may be lost to that.
			if m.Summary.Requests != 20 || m.Summary.TTFT == nil || m.Summary.TPOT == nil || m.Simulated {
				t.Errorf("summary %+v, simulated %v", m.Summary, m.Simulated)
			}
			if m.Setting["model"] != c.model || m.Setting["engine_version"] != perf.Unknown || m.Setting["tp"] != perf.Unknown {
				t.Errorf("setting %s", m.Setting)
			}
			for _, want := range []string{"no_metrics", "cache_not_reset"} {
				if !has(m.Doubts, want) {
					t.Errorf("no doubt %s in %q", want, m.Doubts)
				}
			}
		})
	}
}
