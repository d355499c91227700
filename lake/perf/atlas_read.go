package perf

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// ReadMeasurement reads the JSON of a Measurement and refuses what is none:
// another schema, a flag that must be said and is not, a number that can't
// be. The error names the field.
func ReadMeasurement(data []byte) (*Measurement, error) {
	var given map[string]json.RawMessage
	if err := json.Unmarshal(data, &given); err != nil {
		return nil, fmt.Errorf("measurement: %w", plainJSONError(err))
	}
	if given == nil {
		return nil, errors.New("measurement: it is null, not an object")
	}
	var m Measurement
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("measurement: %w", plainJSONError(err))
	}
	if m.Schema != MeasurementSchema {
		return nil, fmt.Errorf("measurement: field schema is %.40q, want %q", m.Schema, MeasurementSchema)
	}
	for _, name := range []string{"status", "simulated", "setting", "driver", "asked", "summary"} {
		if v, ok := given[name]; !ok || string(v) == "null" {
			return nil, fmt.Errorf("measurement: field %s is missing", name)
		}
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("measurement: %w", err)
	}
	return &m, nil
}

func plainJSONError(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		field := wrong.Field
		if field == "" {
			return fmt.Errorf("it is a JSON %s, not an object", wrong.Value)
		}
		return fmt.Errorf("field %s: a JSON %s does not fit (byte %d)", field, wrong.Value, wrong.Offset)
	}
	return err
}

// Check refuses numbers that can't be. The error names the field.
func (m *Measurement) Check() error {
	if !slices.Contains([]Status{Full, Partial, Failed}, m.Status) {
		return fmt.Errorf("field status is %.40q, want FULL, PARTIAL or FAILED", string(m.Status))
	}
	for name, t := range map[string]time.Time{"start": m.Start, "end": m.End} {
		if y := t.Year(); !t.IsZero() && (y < 1970 || y > 9999) {
			return fmt.Errorf("field %s: the year %d can't be", name, y)
		}
	}
	for n, v := range m.Setting {
		if strings.TrimSpace(n) == "" {
			return fmt.Errorf("field setting: a name is empty (its value is %.40q)", v)
		}
	}
	if w := m.Window; w != nil && (w.FromNS < 0 || w.ToNS < w.FromNS) {
		return fmt.Errorf("field window: it runs from %d ns to %d ns", w.FromNS, w.ToNS)
	}
	if err := m.Summary.check("summary"); err != nil {
		return err
	}
	if m.Steady != nil {
		if err := m.Steady.check("steady"); err != nil {
			return err
		}
	}
	if s := m.Server; s != nil {
		return firstNegative("server", map[string]*float64{
			"prompt_tokens": s.PromptTokens, "generation_tokens": s.GenerationTokens, "requests_ok": s.RequestsOK,
			"preemptions": s.Preemptions, "prefix_hit_rate": s.PrefixHitRate, "kv_usage_max": s.KVUsageMax,
			"running_mean": s.RunningMean, "running_max": s.RunningMax, "waiting_mean": s.WaitingMean, "waiting_max": s.WaitingMax,
		})
	}
	return nil
}

func (s *Summary) check(path string) error {
	requests, errs, input, output := float64(s.Requests), float64(s.Errors), float64(s.InputTokens), s.OutputTokens
	for _, count := range []*float64{&requests, &errs, &input, &output} {
		if *count == Untold {
			*count = 0
		}
	}
	if err := firstNegative(path, map[string]*float64{
		"duration_s": &s.DurationS, "requests": &requests, "errors": &errs, "input_tokens": &input, "output_tokens": &output,
		"request_throughput_rps": s.RequestThroughput, "output_throughput_tps": s.OutputThroughput, "total_throughput_tps": s.TotalThroughput,
		"per_user_tps": s.PerUserThroughput, "goodput_rps": s.Goodput, "b_eff": s.EffectiveBatch, "prefix_hit_rate": s.PrefixHitRate,
	}); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		dist *Dist
	}{
		{"ttft_ms", s.TTFT}, {"ttft_intended_ms", s.TTFTIntended}, {"itl_ms", s.ITL}, {"tpot_ms", s.TPOT},
		{"e2e_ms", s.E2E}, {"e2e_intended_ms", s.E2EIntended}, {"isl", s.ISL}, {"osl", s.OSL},
	} {
		if err := f.dist.check(path + "." + f.name); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dist) check(path string) error {
	switch {
	case d == nil || d.N == 0:
		return nil
	case d.N < 0 && d.N != Untold:
		return fmt.Errorf("field %s.n is %d", path, d.N)
	case d.Min < 0 || d.Std < 0:
		return fmt.Errorf("field %s: a value or a deviation is below zero (min %g, std %g)", path, d.Min, d.Std)
	}
	order := slices.DeleteFunc([]float64{d.Min, d.P50, d.P90, d.P95, d.P99, d.Max}, math.IsNaN)
	if len(order) == 0 {
		return nil
	}
	for i := range order[1:] {
		if order[i+1] < order[i]*(1-1e-9) { // an interpolated percentile may be off by a rounding
			return fmt.Errorf("field %s: min, p50, p90, p95, p99, max do not rise: %v", path, order)
		}
	}
	return nil
}

func firstNegative(path string, values map[string]*float64) error {
	var bad []string
	for name, v := range values {
		if v != nil && *v < 0 {
			bad = append(bad, fmt.Sprintf("field %s.%s is below zero: %g", path, name, *v))
		}
	}
	if len(bad) == 0 {
		return nil
	}
	slices.Sort(bad)
	return errors.New(bad[0])
}
