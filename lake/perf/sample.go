package perf

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipeline/internal/stat"
)

// A Metric is a number of a row that a claim may rest on.
type Metric struct {
	Column string  // of atlas_v1
	Name   string  // as people read it, with its unit: median TPOT, ms
	Higher bool    // more is better
	MaxCV  float64 // over trials: above it, the mean says too little
	About  string  // what a claim on it is about
}

// What claims are about. Each is shown by metrics that nothing else sets.
const (
	AboutThroughput    = "throughput"
	AboutDecodeLatency = "decode_latency"
	AboutTTFT          = "ttft"
	AboutGoodput       = "goodput"
)

// Metrics returns the metrics, the ones that claims rest on by default first
// of those about the same thing. A request rate varies as the tokens do.
func Metrics() []Metric {
	return []Metric{
		{"output_tps_per_gpu", "output tok/s/GPU", true, 0.05, AboutThroughput},
		{"headline_tpot_ms", "median TPOT, ms", false, 0.03, AboutDecodeLatency},
		{"headline_ttft_ms", "median TTFT, ms", false, 0.10, AboutTTFT},
		{"headline_output_tps", "output tok/s", true, 0.05, AboutThroughput},
		{"headline_request_throughput_rps", "requests/s", true, 0.05, AboutThroughput},
		{"headline_tps_per_user", "median tok/s/user", true, 0.03, AboutDecodeLatency},
		{"headline_goodput_rps", "goodput, requests/s", true, 0.05, AboutGoodput},
		{"headline_ttft_p99_ms", "p99 TTFT, ms", false, 0.10, AboutTTFT},
		{"total_tps_per_gpu", "input+output tok/s/GPU", true, 0.05, AboutThroughput},
	}
}

// LevelMetrics are the metrics whose level each cell claims.
func LevelMetrics() []Metric { return Metrics()[:3] }

// MetricOf returns the metric of a column.
func MetricOf(column string) (Metric, bool) {
	all := Metrics()
	if i := slices.IndexFunc(all, func(m Metric) bool { return m.Column == column }); i >= 0 {
		return all[i], true
	}
	return Metric{}, false
}

// Better reports whether a is better than b.
func (m Metric) Better(a, b float64) bool { return a != b && (a > b) == m.Higher }

// A Sample is the repeated measurement of one metric in one Setting, a value a
// trial. It cannot be made without its Setting: a number without one is no
// result, and two of them cannot be compared.
type Sample struct {
	metric  Metric
	setting Setting
	values  []float64
}

// NewSample makes a sample. Its setting must not be empty, and its values must
// be numbers.
func NewSample(m Metric, s Setting, values ...float64) (Sample, error) {
	switch {
	case m.Column == "":
		return Sample{}, errors.New("a sample needs a metric")
	case len(s) == 0:
		return Sample{}, fmt.Errorf("a sample of %s needs the setting in which it was measured", m.Name)
	case len(values) == 0:
		return Sample{}, fmt.Errorf("a sample of %s needs a value", m.Name)
	case slices.ContainsFunc(values, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }):
		return Sample{}, fmt.Errorf("a sample of %s has a value that is no number: %v", m.Name, values)
	}
	return Sample{m, maps.Clone(s), slices.Clone(values)}, nil
}

// SampleOf makes a sample from trial rows. They must have one Setting, apart
// from the fields in which trials may differ, and all of them the metric.
func SampleOf(m Metric, trials []Row) (Sample, error) {
	setting, err := settingOfTrials(trials)
	if err != nil {
		return Sample{}, err
	}
	return sampleOf(m, setting, trials)
}

func sampleOf(m Metric, setting Setting, trials []Row) (Sample, error) {
	var values []float64
	for _, r := range trials {
		v, ok := r.Float(m.Column)
		if !ok {
			return Sample{}, fmt.Errorf("row %s has no %s", r.Text("cell_id"), m.Name)
		}
		values = append(values, v)
	}
	return NewSample(m, setting, values...)
}

// settingOfTrials is the one setting of trials, without what may differ
// between them.
func settingOfTrials(trials []Row) (Setting, error) {
	if len(trials) == 0 {
		return nil, errors.New("a sample needs a trial")
	}
	var settings []Setting
	for _, r := range trials {
		s := r.Fields()
		if s == nil {
			return nil, fmt.Errorf("row %s has no setting: its numbers are no result", r.Text("cell_id"))
		}
		for _, f := range replicateFieldsOf(s) {
			delete(s, f)
		}
		settings = append(settings, s)
	}
	if fields := Residue(settings); len(fields) > 0 {
		return nil, fmt.Errorf("trials of %s ran in unlike settings (%s differ)", cellWithoutTrial(trials[0]), strings.Join(fields, ", "))
	}
	return settings[0], nil
}

// Setting returns the setting of all values.
func (s Sample) Setting() Setting { return maps.Clone(s.setting) }

// N returns the number of trials.
func (s Sample) N() int { return len(s.values) }

// Mean returns the mean over the trials.
func (s Sample) Mean() float64 { return stat.Mean(s.values) }

// Std returns the deviation over the trials; NaN for one.
func (s Sample) Std() float64 { return stat.Std(s.values) }

// CV returns deviation over mean; NaN for one trial.
func (s Sample) CV() float64 { return stat.CV(s.values) }

// replicateFieldsOf returns the fields in which the trials of one setting may
// differ: a repetition may draw other prompts.
func replicateFieldsOf(s Setting) []string {
	fields := []string{"trial", "random_seed", "seed"}
	if s["dataset"] == "synthetic" {
		fields = append(fields, "dataset_digest")
	}
	return fields
}

// Fields returns every field of the setting of an atlas row: what the driver
// gave, and what columns know besides. It is nil for a row without a setting.
func (r Row) Fields() Setting {
	s := r.SettingOf()
	if s == nil {
		return nil
	}
	for _, c := range r.schema.Columns {
		if v, ok := s[c.Name]; (!ok || v == Unknown) && c.Group.IsSetting() && !r.IsNull(c.Name) {
			s[c.Name] = r.columnText(c)
		}
	}
	return s
}

func (r Row) columnText(c Column) string {
	switch c.Type {
	case Bigint:
		v, _ := r.Int(c.Name)
		return strconv.FormatInt(v, 10)
	case Double:
		v, _ := r.Float(c.Name)
		return strconv.FormatFloat(v, 'g', -1, 64)
	case Boolean:
		v, _ := r.Bool(c.Name)
		return strconv.FormatBool(v)
	case Timestamp:
		return r.Time(c.Name).Format(time.RFC3339)
	case List:
		return strings.Join(r.List(c.Name), ", ")
	}
	return r.Text(c.Name)
}
