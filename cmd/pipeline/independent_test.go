package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pipeline/engine/store"
	"pipeline/internal/realparts"
	"pipeline/lake/perf"
	"pipeline/steps"
)

const independentSpec = `campaign: independent
params: {url: '', model: '', declare: {}}
steps:
  - {id: server, uses: serve, with: {endpoint: {kind: url, url: '${{ params.url }}'}, model: {name: '${{ params.model }}'}}}
  - {id: setup, uses: init, in: {server: server}, with: {model: {name: '${{ params.model }}'}, declare: '${{ params.declare }}', ready_timeout: 30s}}
  - id: cells
    uses: cell_run
    in: {server: server, setup: setup}
    matrix: {api: [chat, completions], concurrency: [1, 4]}
    with: {api: '${{ cell.api }}', concurrency: '${{ cell.concurrency }}', num_prompts: '${{ 10 * cell.concurrency }}', isl: 97, osl: 12, trial: 1}
    retry: {max: 5, backoff: 1s} # a busy machine can make a cell client_bound
  - {id: atlas, uses: aggregate, in: {cells: cells}}
  - {id: report, uses: render, in: {atlas: atlas}}
  - {id: lake, uses: publish, in: {atlas: atlas, report: report}}
`

// TestIndependent runs one campaign against servers that we did not write.
// What they lack is a doubt, never a crash, and what they do is measured.
func TestIndependent(t *testing.T) {
	t.Run("guidellm", func(t *testing.T) {
		const ttft, itl = 20.0, 4.0 // ms, as the server is told
		url := realparts.GuideLLMMock(t, "--ttft-ms", "20", "--itl-ms", "4", "--ttft-ms-std", "0", "--itl-ms-std", "0")
		for _, m := range independent(t, url, realparts.GuideLLMModel) {
			// A sleeping server is never early, so these bounds always hold.
			if m.Summary.TTFT.P50 < ttft || m.Summary.TPOT.P50 < itl*0.9 {
				t.Errorf("%s: TTFT %.2f ms and TPOT %.2f ms, below the %v and %v that the server waits",
					m.Asked.API, m.Summary.TTFT.P50, m.Summary.TPOT.P50, ttft, itl)
			}
			wantDoubt(t, m, "server_metrics", "no_metrics", "metrics")
		}
	})
	t.Run("llama.cpp", func(t *testing.T) {
		url, model := realparts.TinyLlama(t)
		for _, m := range independent(t, url, model) {
			if m.Summary.OSL.P50 != 12 || m.Summary.TTFT.P50 <= 0 {
				t.Errorf("%s: OSL %v, TTFT %v", m.Asked.API, m.Summary.OSL.P50, m.Summary.TTFT.P50)
			}
		}
	})
}

// independent runs the campaign and returns its measurements.
func independent(t *testing.T, url, model string) []perf.Measurement {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "spec.yaml"), []byte(independentSpec), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := pipelineIn(dir, "run", "spec.yaml", "--set", "url="+url, "--set", "model="+model)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != exitGaps) {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	s, err := store.Open(filepath.Join(dir, ".pipeline"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var all []perf.Measurement
	for _, r := range s.All() {
		if r.Kind != "cell_run" || r.Status == store.Failed {
			continue
		}
		i := slices.IndexFunc(r.Artifacts, func(a steps.Artifact) bool { return a.Name == "measurement.json" })
		if i < 0 {
			continue
		}
		b, err := s.Get(r.Artifacts[i].Digest)
		if err != nil {
			t.Fatal(err)
		}
		var m perf.Measurement
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		if r.Status != store.Complete {
			t.Logf("%s is %s: %v", r.Node, r.Status, m.Reasons)
			continue
		}
		if m.Simulated {
			t.Errorf("%s is marked as simulated by our own server", r.Node)
		}
		if m.Asked.API == "completions" && m.Summary.ISL.P50 != 97 {
			t.Errorf("%s: prompts of %v tokens by the server's own count, 97 were asked", r.Node, m.Summary.ISL.P50)
		}
		all = append(all, m)
	}
	if len(all) < 4 {
		t.Errorf("%d cells are FULL, want 4\n%s", len(all), out)
	}
	return all
}

func wantDoubt(t *testing.T, m perf.Measurement, any ...string) {
	t.Helper()
	for _, d := range m.Doubts {
		for _, word := range any {
			if strings.Contains(d, word) {
				return
			}
		}
	}
	t.Errorf("%s: no doubt mentions one of %v: %q", m.Asked.API, any, m.Doubts)
}
