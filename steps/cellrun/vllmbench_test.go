package cellrun

import (
	"net/http"
	"strings"
	"testing"

	"pipeline/internal/conversation"
	"pipeline/internal/endpoint"
	"pipeline/internal/realparts"
	"pipeline/lake/perf"
)

func vllmBenchCell(t *testing.T, h http.Handler) *bench {
	b := newBench(t, h)
	b.step.Driver, b.step.VLLMBench.Path, b.step.VLLMBench.Version = vllmBenchName, realparts.VLLM(t), realparts.VLLMVersion
	return b
}

func TestVLLMBench(t *testing.T) {
	b := vllmBenchCell(t, newSim(t, simConfig()))
	b.step.SLO.TTFTms = 1000
	b.setup(t, endpoint.Access{}, nil)
	m := b.measured(t)
	if m.Summary.Requests != 40 || m.Summary.OutputTokens != 40*16 || m.Summary.ITL == nil || m.Summary.Goodput == nil || m.Window == nil {
		t.Errorf("summary %+v, window %+v", m.Summary, m.Window)
	}
	// The server's counts are the tool's, its warm-up included.
	if m.Server == nil || *m.Server.RequestsOK != 42 || has(m.Doubts, "counts_differ") || !has(m.Doubts, "warmup_prompt") || !has(m.Doubts, "ttft_by_event") {
		t.Errorf("server %+v, doubts %q", m.Server, m.Doubts)
	}
	if m.Setting["bench_backend"] != vllmBenchName || m.Setting["bench_version"] != realparts.VLLMVersion || m.Setting["request_timeout_s"] != "" {
		t.Errorf("setting %s", m.Setting)
	}
	if m.Start.IsZero() || !m.End.After(m.Start) || has(m.Doubts, "time_untold") || m.Evidence == nil {
		t.Errorf("from %s to %s, doubts %q", m.Start, m.End, m.Doubts)
	}
	done := false
	for _, p := range b.said {
		done = done || p.Unit == "requests" && p.Done == 40 && p.Total == 40
	}
	if !done {
		t.Errorf("progress %+v", b.said)
	}
	if b.artifacts(t)["vllm-bench/vllm_bench.json"] == "" {
		t.Error("the result was not kept")
	}
}

func TestVLLMBenchReplays(t *testing.T) {
	b := vllmBenchCell(t, newSim(t, simConfig()))
	b.step.API, b.step.NumPrompts, b.step.Warmup, b.step.OSL = "completions", 3, 0, 3
	b.setup(t, endpoint.Access{}, nil)
	b.wire(t, conversation.Conversation{ID: "a", Turns: []conversation.Turn{{User: "one", Assistant: "1", OSL: 6}, {User: "two"}}},
		conversation.Conversation{ID: "b", Turns: []conversation.Turn{{User: "three"}}})
	if m := b.measured(t); m.Summary.Requests != 3 || m.Summary.OutputTokens != 6+3+3 || m.Setting["dataset"] != "own/talks" {
		t.Errorf("summary %+v", m.Summary)
	}
}

// Where all requests fail the tool ends with exit code 0 and zeros everywhere.
func TestVLLMBenchAllFailed(t *testing.T) {
	conf := simConfig()
	conf.Faults.ErrorRate = 1
	b := vllmBenchCell(t, newSim(t, conf))
	b.setup(t, endpoint.Access{}, nil)
	if m := b.fails(t, false, "40 of 40 requests"); m.Status != perf.Failed || m.Summary.TTFT != nil {
		t.Errorf("%s, failure %q, summary %+v", m.Status, m.Failure, m.Summary)
	}
}

func TestVLLMBenchSaysWhyItFails(t *testing.T) {
	b := vllmBenchCell(t, newSim(t, simConfig()))
	b.step.VLLMBench.Args = []string{"--no-such-flag"}
	b.setup(t, endpoint.Access{}, nil)
	if m := b.fails(t, false, "tool_failed: vllm-bench ended with exit code 2"); !strings.Contains(m.Failure, "--no-such-flag") {
		t.Errorf("failure %q", m.Failure)
	}
}
