package aiperf

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"pipeline/internal/prom"
	"pipeline/lake/perf"
)

// A server export is what AIPerf summed up of the server's /metrics.
type serverExport struct {
	Version     string `json:"aiperf_version"`
	BenchmarkID string `json:"benchmark_id"`
	Summary     struct {
		Configured []string `json:"endpoints_configured"`
		Info       map[string]struct {
			Fetches  float64 `json:"total_fetches"`
			FirstNS  float64 `json:"first_fetch_ns"`
			LastNS   float64 `json:"last_fetch_ns"`
			Duration float64 `json:"duration_seconds"`
		} `json:"endpoint_info"`
		Phases map[string]struct {
			StartNS float64 `json:"start_ns"`
			EndNS   float64 `json:"end_ns"`
		} `json:"phase_time_ranges"`
	} `json:"summary"`
	Metrics map[string]struct {
		Type   string `json:"type"`
		Series []struct {
			Endpoint string            `json:"endpoint_url"`
			Labels   map[string]string `json:"labels"`
			Stats    struct {
				Total *float64 `json:"total"`
				Avg   *float64 `json:"avg"`
				Max   *float64 `json:"max"`
			} `json:"stats"`
		} `json:"series"`
	} `json:"metrics"`
}

// simulationMetric is there where the endpoint is a simulation of this project.
const simulationMetric = "pipeline_sim_info"

func readServer(f *folder) (*serverExport, error) {
	text, err := readSmall(f.path(serverJSON), maxSummary)
	if err != nil {
		return nil, err
	}
	e, err := parseServer(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.files[serverJSON], err)
	}
	return e, nil
}

func parseServer(text []byte) (*serverExport, error) {
	fields, err := object(text)
	if err != nil {
		return nil, err
	}
	if _, ok := fields["metrics"]; !ok {
		return nil, fmt.Errorf("field metrics: it is missing")
	}
	var e serverExport
	if err := json.Unmarshal(text, &e); err != nil {
		var mismatch *json.UnmarshalTypeError
		if errors.As(err, &mismatch) {
			return nil, fmt.Errorf("field %s: a %s is wanted, not a %s", mismatch.Field, mismatch.Type, mismatch.Value)
		}
		return nil, err
	}
	return &e, nil
}

// server brings the totals to the fields of package perf.
func (e *serverExport) server() *perf.Server {
	var totals []prom.Total
	told := func(v *float64) float64 {
		if v == nil {
			return math.NaN()
		}
		return *v
	}
	for name, m := range e.Metrics {
		if m.Type == "histogram" {
			continue
		}
		for _, s := range m.Series {
			totals = append(totals, prom.Total{Name: name, Labels: s.Labels, Increase: told(s.Stats.Total), Mean: told(s.Stats.Avg), Max: told(s.Stats.Max)})
		}
	}
	samples := e.samples()
	s := prom.Totals(totals, samples)
	if samples > 0 {
		return s
	}
	// A gauge of the moments around a run says nothing of the run.
	for _, gauge := range []struct {
		name string
		of   **float64
	}{{"kv_usage_max", &s.KVUsageMax}, {"running_mean", &s.RunningMean}, {"running_max", &s.RunningMax}, {"waiting_mean", &s.WaitingMean}, {"waiting_max", &s.WaitingMax}} {
		if *gauge.of != nil {
			*gauge.of = nil
			delete(s.Names, gauge.name)
			s.Missing = append(s.Missing, gauge.name+": the run was shorter than the time between two looks of AIPerf at the server")
		}
	}
	return s
}

// samples is how often each endpoint was looked at during the measured phase:
// AIPerf tells it for its whole life, evenly spread.
func (e *serverExport) samples() int {
	least := math.Inf(1)
	for _, info := range e.Summary.Info {
		n := info.Fetches
		if p, ok := e.Summary.Phases["profiling"]; ok && info.LastNS > info.FirstNS {
			n = math.Floor(info.Fetches * (p.EndNS - p.StartNS) / (info.LastNS - info.FirstNS))
		}
		least = min(least, n)
	}
	if math.IsInf(least, 1) || !(least > 0) || least > math.MaxInt32 {
		return 0
	}
	return int(least)
}

// simulated reports whether the endpoint says of itself that it is a simulation.
func (e *serverExport) simulated() bool {
	for name := range e.Metrics {
		if strings.TrimSuffix(name, "_total") == simulationMetric {
			return true
		}
	}
	return false
}
