package aiperf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"pipeline/lake/perf"
)

// maxSummary is the longest summary that is read. Real ones have less than a
// megabyte.
const maxSummary = 256 << 20

// A Summary is AIPerf's own account of a run. Three shapes of it exist: metrics
// below "records" (until October 2025), metrics at the top, and the same with a
// schema_version (1.0 and on).
type Summary struct {
	Schema      string                 // schema_version; "" before there was one
	Version     string                 // aiperf_version; "" before there was one
	BenchmarkID string                 // "" before there was one
	Metrics     map[string]perf.Figure // by tag, of the measured requests
	Warmup      map[string]perf.Figure // by tag, of the warm-up
	Errors      []ErrorCount           // what requests failed of
	Cancelled   bool                   // the run was stopped before its end
	Incomplete  string                 // why the run is not whole; "" if it is
	Command     string                 // as AIPerf recorded it, secrets taken out
	Start, End  string                 // wall clock where AIPerf ran, without a zone

	config  config
	gpus    map[string]map[string]perf.Figure // by UUID, then by metric
	extra   map[string]json.RawMessage
	faulty  map[string]string // by tag, what stands where a metric that we take should
	decimal bool              // from CSV: two decimals, and no names but the ones printed
}

// An ErrorCount is one cause of failed requests.
type ErrorCount struct {
	Code    int // HTTP status, or 499 for a cancellation that was asked for; 0 if none
	Type    string
	Message string
	Count   int
}

// String puts an error on one line.
func (e ErrorCount) String() string {
	text, _, _ := strings.Cut(strings.TrimSpace(e.Message), "\n")
	switch {
	case text == "":
		text = e.Type
	case e.Type != "" && !strings.Contains(text, e.Type):
		text = e.Type + ": " + text
	}
	if e.Code >= 400 && e.Code != cancelledCode {
		text = fmt.Sprintf("HTTP %d: %s", e.Code, text)
	}
	if text == "" {
		text = "an error without a text"
	}
	return text
}

// oldTags are names of the first shape, and what they are called now.
var oldTags = map[string]string{"ttft": "time_to_first_token", "ttst": "time_to_second_token"}

func readSummary(f *folder) (*Summary, error) {
	name := f.files[summaryJSON]
	text, err := readSmall(f.path(summaryJSON), maxSummary)
	if err != nil {
		return nil, err
	}
	s, err := parseSummary(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// readSmall reads a file that is expected to be small.
func readSmall(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read an artifact of AIPerf: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read an artifact of AIPerf: %w", err)
	case int64(len(text)) > most:
		return nil, fmt.Errorf("%s: longer than %d MB, which no run of AIPerf gives", path, most>>20)
	case len(bytes.TrimSpace(text)) == 0:
		return nil, fmt.Errorf("%s: the file is empty", path)
	}
	return text, nil
}

func parseSummary(text []byte) (*Summary, error) {
	fields, err := object(text)
	if err != nil {
		return nil, err
	}
	s := &Summary{Metrics: map[string]perf.Figure{}, extra: map[string]json.RawMessage{}, faulty: map[string]string{}}
	for _, field := range []struct {
		name string
		to   any
	}{
		{"schema_version", &s.Schema}, {"aiperf_version", &s.Version}, {"benchmark_id", &s.BenchmarkID},
		{"was_cancelled", &s.Cancelled}, {"incomplete_reason", &s.Incomplete}, {"start_time", &s.Start}, {"end_time", &s.End},
	} {
		if err := take(fields, field.name, field.to); err != nil {
			return nil, err
		}
	}
	complete := true
	if err := take(fields, "is_complete", &complete); err != nil {
		return nil, err
	}
	if !complete && s.Incomplete == "" {
		s.Incomplete = "AIPerf gives no reason"
	}
	if err := s.errors(fields); err != nil {
		return nil, err
	}
	if err := s.context(fields); err != nil {
		return nil, err
	}
	if err := s.telemetry(fields); err != nil {
		return nil, err
	}
	if err := s.metrics(fields); err != nil {
		return nil, err
	}
	return s, s.badUnits()
}

// object splits a JSON object into its fields.
func object(text []byte) (map[string]json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("cut off or no JSON: byte %d of %d: %w", syntax.Offset, len(text), err)
		}
		return nil, fmt.Errorf("no JSON object: %w", err)
	}
	if fields == nil {
		return nil, errors.New("no JSON object: null")
	}
	return fields, nil
}

// take moves a field into a variable. A field that is not there, or null,
// leaves it as it is.
func take(fields map[string]json.RawMessage, name string, to any) error {
	raw, ok := fields[name]
	if !ok {
		return nil
	}
	delete(fields, name)
	if err := json.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("field %s: %w", name, err)
	}
	return nil
}

func (s *Summary) errors(fields map[string]json.RawMessage) error {
	var list []struct {
		Details struct {
			Code    *int   `json:"code"`
			Type    string `json:"type"`
			Message string `json:"message"`
		} `json:"error_details"`
		Count int `json:"count"`
	}
	if err := take(fields, "error_summary", &list); err != nil {
		return err
	}
	for i, e := range list {
		if e.Count < 0 {
			return fmt.Errorf("field error_summary[%d].count: %d is below zero", i, e.Count)
		}
		count := ErrorCount{Type: e.Details.Type, Message: e.Details.Message, Count: e.Count}
		if e.Details.Code != nil {
			count.Code = *e.Details.Code
		}
		s.Errors = append(s.Errors, count)
	}
	return nil
}

// context takes what says how the run was set up.
func (s *Summary) context(fields map[string]json.RawMessage) error {
	var info struct {
		Command string `json:"cli_command"`
	}
	if raw, ok := fields["run_info"]; ok {
		if err := json.Unmarshal(raw, &info); err != nil {
			return fmt.Errorf("field run_info: %w", err)
		}
	}
	if raw, ok := fields["input_config"]; ok {
		if err := s.config.read(raw); err != nil {
			return fmt.Errorf("field input_config: %w", err)
		}
	}
	s.Command = redactCommand(info.Command)
	if s.Command == "" {
		s.Command = redactCommand(s.config.command)
	}
	// They may hold headers and keys, so that they are not kept as they stand.
	delete(fields, "run_info")
	delete(fields, "input_config")
	return nil
}

// telemetry takes AIPerf's summary of the GPUs, each GPU once.
func (s *Summary) telemetry(fields map[string]json.RawMessage) error {
	var data struct {
		Endpoints map[string]struct {
			GPUs map[string]struct {
				UUID    string          `json:"gpu_uuid"`
				Metrics json.RawMessage `json:"metrics"`
			} `json:"gpus"`
		} `json:"endpoints"`
	}
	if err := take(fields, "telemetry_data", &data); err != nil {
		return err
	}
	s.gpus = map[string]map[string]perf.Figure{}
	for _, endpoint := range slices.Sorted(maps.Keys(data.Endpoints)) {
		for name, gpu := range data.Endpoints[endpoint].GPUs {
			if _, seen := s.gpus[gpu.UUID]; seen || gpu.Metrics == nil {
				continue
			}
			figures, err := readFigures(gpu.Metrics, nil)
			if err != nil {
				return fmt.Errorf("field telemetry_data.endpoints.%s.gpus.%s.metrics%w", endpoint, name, err)
			}
			s.gpus[gpu.UUID] = figures
		}
	}
	return nil
}

// metrics takes every metric, and keeps what is none.
func (s *Summary) metrics(fields map[string]json.RawMessage) error {
	top := 0
	for name, raw := range fields {
		figure, ok, err := readFigure(raw)
		switch {
		case err != nil:
			return fmt.Errorf("field %s%w", name, err)
		case ok:
			s.Metrics[name] = figure
			top++
		default:
			s.fault(name, raw)
		}
	}
	for name := range s.Metrics {
		delete(fields, name)
	}
	for _, group := range []struct {
		name string
		to   *map[string]perf.Figure
	}{{"records", &s.Metrics}, {"warmup_metrics", &s.Warmup}} {
		raw, ok := fields[group.name]
		if !ok || string(raw) == "null" {
			delete(fields, group.name)
			continue
		}
		delete(fields, group.name)
		if group.name == "records" && top > 0 {
			return errors.New("field records: metrics are below it and at the top: two versions of AIPerf are mixed in one file")
		}
		fault := s.fault
		if group.name != "records" {
			fault = nil
		}
		figures, err := readFigures(raw, fault)
		if err != nil {
			return fmt.Errorf("field %s%w", group.name, err)
		}
		*group.to = figures
	}
	for name, raw := range fields {
		if string(raw) != "null" {
			s.extra[name] = raw
		}
	}
	if len(s.Metrics) == 0 && len(s.Errors) == 0 {
		return errors.New("no metric and no error_summary: this is no summary of AIPerf")
	}
	return nil
}

// fault keeps what stands where a metric that we take should.
func (s *Summary) fault(name string, raw json.RawMessage) {
	if now, old := oldTags[name]; old {
		name = now
	}
	if _, ours := unitsOf[name]; (ours || name == "request_count") && string(raw) != "null" {
		s.faulty[name] = fmt.Sprintf("%.60s", raw)
	}
}

// readFigures reads metrics. What is none goes to other, if that is not nil.
func readFigures(raw json.RawMessage, other func(string, json.RawMessage)) (map[string]perf.Figure, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, fmt.Errorf(": %w", err)
	}
	figures := map[string]perf.Figure{}
	for name, raw := range fields {
		figure, ok, err := readFigure(raw)
		if err != nil {
			return nil, fmt.Errorf(".%s%w", name, err)
		}
		if !ok {
			if other != nil {
				other(name, raw)
			}
			continue
		}
		if now, old := oldTags[name]; old {
			name = now
		}
		figures[name] = figure
	}
	return figures, nil
}

// readFigure reads a metric. What has no unit is none. Where only avg is told,
// count is of the one number, which says nothing.
func readFigure(raw json.RawMessage) (figure perf.Figure, ok bool, err error) {
	if len(raw) == 0 || raw[0] != '{' || !bytes.Contains(raw, []byte(`"unit"`)) {
		return perf.Figure{}, false, nil
	}
	var unit struct {
		Unit *string `json:"unit"`
	}
	if json.Unmarshal(raw, &unit) != nil || unit.Unit == nil {
		return perf.Figure{}, false, nil
	}
	if err := json.Unmarshal(raw, &figure); err != nil {
		var mismatch *json.UnmarshalTypeError
		if errors.As(err, &mismatch) {
			return perf.Figure{}, false, fmt.Errorf(".%s: a number is wanted, not a %s", mismatch.Field, mismatch.Value)
		}
		return perf.Figure{}, false, fmt.Errorf(": %w", err)
	}
	if figure.P50 == nil && figure.Min == nil {
		figure.Count = nil
	}
	return figure, true, nil
}

// units are what AIPerf writes them in, as multiples of one of each kind.
var units = map[string]struct {
	kind   string
	factor float64
}{
	"ns": {"time", 1e-6}, "us": {"time", 1e-3}, "ms": {"time", 1}, "sec": {"time", 1e3}, "s": {"time", 1e3}, "seconds": {"time", 1e3},
	"requests": {"requests", 1}, "requests/sec": {"rate", 1}, "tokens": {"tokens", 1}, "tokens/sec": {"token rate", 1},
	"tokens/sec/user": {"user rate", 1}, "%": {"share", 0.01}, "ratio": {"share", 1},
}

// convert returns the factor from one unit to another.
func convert(from, to string) (float64, error) {
	a, known := units[from]
	b := units[to]
	if !known || a.kind != b.kind {
		return 0, fmt.Errorf("unit %q is not one of %s's", from, to)
	}
	return a.factor / b.factor, nil
}

// when reads a time that has no zone, as UTC.
func when(text string) (time.Time, bool) {
	t, err := time.Parse("2006-01-02T15:04:05.999999", text)
	return t, err == nil
}
