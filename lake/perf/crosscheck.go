package perf

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// A CrossCheck is what a second driver measured of the same cell, right after
// the first, held against what the first did. Both are judged alike, so what
// they differ by is the tools' doing, or the endpoint's from one time to the
// next.
type CrossCheck struct {
	Driver  Driver      `json:"driver"`
	Status  Status      `json:"status"`
	Reasons []string    `json:"reasons,omitempty"` // why Status is not FULL
	Doubts  []string    `json:"doubts,omitempty"`
	Start   time.Time   `json:"start"`
	End     time.Time   `json:"end"`
	Span    string      `json:"span,omitempty"`    // steady, if both have such a window, else full
	Figures []Agreement `json:"figures,omitempty"` // what both know
	Summary Summary     `json:"summary"`           // of the second driver, over the whole run
	Steady  *Summary    `json:"steady,omitempty"`

	Evidence *Evidence `json:"evidence,omitempty"`
}

// An Agreement is one figure of two drivers.
type Agreement struct {
	Name   string  `json:"name"` // of its column in atlas_v1
	First  float64 `json:"first"`
	Second float64 `json:"second"`
	Differ float64 `json:"differ"` // second / first - 1
}

// MaxCrossDiffer is what two drivers may differ by before it is a doubt: trials
// of one driver differ by as much.
const MaxCrossDiffer = 0.05

// CompareDrivers holds the measurement of a second driver against a first's.
func CompareDrivers(first, second *Measurement) *CrossCheck {
	x := &CrossCheck{
		Driver: second.Driver, Status: second.Status, Reasons: second.Reasons, Doubts: second.Doubts, Start: second.Start, End: second.End,
		Summary: second.Summary, Steady: second.Steady, Evidence: second.Evidence,
	}
	if first.Status == Failed || second.Status == Failed {
		return x
	}
	a, b := &first.Summary, &second.Summary
	x.Span = "full"
	if first.Steady != nil && second.Steady != nil {
		a, b, x.Span = first.Steady, second.Steady, "steady"
	}
	median := func(d *Dist) *float64 {
		if d == nil {
			return nil
		}
		return &d.P50
	}
	mean := func(d *Dist) *float64 {
		if d == nil {
			return nil
		}
		return &d.Mean
	}
	for _, f := range []struct {
		name string
		of   func(*Summary) *float64
	}{
		{"ttft_ms_median", func(s *Summary) *float64 { return median(s.TTFT) }},
		{"tpot_ms_median", func(s *Summary) *float64 { return median(s.TPOT) }},
		{"itl_ms_mean", func(s *Summary) *float64 { return mean(s.ITL) }},
		{"e2el_ms_median", func(s *Summary) *float64 { return median(s.E2E) }},
		{"request_throughput_rps", func(s *Summary) *float64 { return s.RequestThroughput }},
		{"output_tps", func(s *Summary) *float64 { return s.OutputThroughput }},
		{"input_tokens_mean", func(s *Summary) *float64 { return mean(s.ISL) }},
		{"output_tokens_mean", func(s *Summary) *float64 { return mean(s.OSL) }},
	} {
		u, v := f.of(a), f.of(b)
		if u == nil || v == nil || !(*u > 0) || math.IsNaN(*v) {
			continue
		}
		x.Figures = append(x.Figures, Agreement{f.name, *u, *v, *v / *u - 1})
	}
	return x
}

// doubts names what two drivers do not agree on.
func (x *CrossCheck) doubts(first string) []string {
	if x.Status == Failed {
		return []string{fmt.Sprintf("cross_check_failed: %s measured nothing: %s", x.Driver.Name, strings.Join(x.Reasons, "; "))}
	}
	var out []string
	for _, f := range x.Figures {
		if math.Abs(f.Differ) > MaxCrossDiffer {
			out = append(out, fmt.Sprintf("drivers_differ: %s: %s has %.4g, %s %.4g (%+.1f%%)", f.Name, first, f.First, x.Driver.Name, f.Second, 100*f.Differ))
		}
	}
	return out
}

// CheckBy adds what a second driver measured, and the doubts that it raises.
func (m *Measurement) CheckBy(second *Measurement) {
	m.CrossCheck = CompareDrivers(m, second)
	m.Doubts = append(m.Doubts, m.CrossCheck.doubts(m.Driver.Name)...)
}

// row is what of a cross-check stands in extra_json.cross_check of a row.
func (x *CrossCheck) row() map[string]any {
	differ := map[string]any{}
	for _, f := range x.Figures {
		differ[f.Name] = f.Differ
	}
	return map[string]any{"driver": x.Driver.Name, "version": x.Driver.Version, "status": string(x.Status), "span": x.Span, "differ": differ}
}

// meanCrossCheck is the mean over trials of what they differ by, nil if they
// were not all checked by the same driver.
func meanCrossCheck(trials []Row) map[string]any {
	var out map[string]any
	sum := map[string]float64{}
	count := map[string]int{}
	for _, r := range trials {
		x, ok := r.Extra()["cross_check"].(map[string]any)
		if !ok || out != nil && (out["driver"] != x["driver"] || out["version"] != x["version"] || out["span"] != x["span"]) {
			return nil
		}
		if out == nil {
			out = map[string]any{"driver": x["driver"], "version": x["version"], "span": x["span"]}
		}
		differ, _ := x["differ"].(map[string]any)
		for name, v := range differ {
			if f, ok := v.(float64); ok {
				sum[name] += f
				count[name]++
			}
		}
	}
	if out == nil {
		return nil
	}
	differ := map[string]any{}
	for name, n := range count {
		if n == len(trials) {
			differ[name] = sum[name] / float64(n)
		}
	}
	out["differ"] = differ
	return out
}
