package prom

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Limits of one scrape. A real vLLM server answers with about 0.2 MB and
// 1,500 samples an engine.
const (
	maxBytes   = 16 << 20
	maxSamples = 200_000
)

// A Snapshot is one scrape.
type Snapshot struct {
	samples map[string][]Sample // by name of the series
}

// A Sample is one line of a scrape. Of a histogram or a summary there are the
// series _sum and _count; buckets are not kept.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// Parse reads one scrape in the Prometheus text format. Text that is too long
// or malformed is an error that names the line.
func Parse(r io.Reader) (Snapshot, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return Snapshot{}, fmt.Errorf("read metrics: %w", err)
	}
	if len(text) > maxBytes {
		return Snapshot{}, fmt.Errorf("metrics are longer than %d MB", maxBytes>>20)
	}
	// The parser refuses a last line without its end, which some servers send.
	if n := len(text); n > 0 && text[n-1] != '\n' {
		text = append(text, '\n')
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return Snapshot{}, fmt.Errorf("metrics: %w", err)
	}
	s := Snapshot{samples: make(map[string][]Sample, len(families))}
	count := 0
	for name, f := range families {
		if count += len(f.GetMetric()); count > maxSamples {
			return Snapshot{}, fmt.Errorf("metrics have more than %d samples", maxSamples)
		}
		for _, m := range f.GetMetric() {
			s.add(name, f.GetType(), m)
		}
	}
	return s, nil
}

func (s *Snapshot) add(name string, t dto.MetricType, m *dto.Metric) {
	labels := make(map[string]string, len(m.GetLabel()))
	for _, l := range m.GetLabel() {
		labels[l.GetName()] = l.GetValue()
	}
	put := func(name string, v float64) {
		s.samples[name] = append(s.samples[name], Sample{labels, v})
	}
	switch t {
	case dto.MetricType_COUNTER:
		put(name, m.GetCounter().GetValue())
	case dto.MetricType_GAUGE:
		put(name, m.GetGauge().GetValue())
	case dto.MetricType_SUMMARY:
		put(name+"_sum", m.GetSummary().GetSampleSum())
		put(name+"_count", float64(m.GetSummary().GetSampleCount()))
	case dto.MetricType_HISTOGRAM:
		h := m.GetHistogram()
		count := float64(h.GetSampleCount())
		if h.SampleCountFloat != nil {
			count = h.GetSampleCountFloat()
		}
		put(name+"_sum", h.GetSampleSum())
		put(name+"_count", count)
	default:
		put(name, m.GetUntyped().GetValue())
	}
}

// Find returns the samples of the first of the names that the scrape has, and
// that name; "" if it has none of them.
func (s Snapshot) Find(names ...string) (samples []Sample, name string) {
	for _, n := range names {
		if len(s.samples[n]) > 0 {
			return s.samples[n], n
		}
	}
	return nil, ""
}

// Names returns the names of all series, sorted.
func (s Snapshot) Names() []string {
	names := make([]string, 0, len(s.samples))
	for n := range s.samples {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Values returns the distinct values of a label over all series whose name
// begins with prefix, sorted: Values("vllm:", "engine") are its engines.
func (s Snapshot) Values(prefix, label string) []string {
	seen := map[string]bool{}
	for n, samples := range s.samples {
		if !strings.HasPrefix(n, prefix) {
			continue
		}
		for _, x := range samples {
			if v, ok := x.Labels[label]; ok {
				seen[v] = true
			}
		}
	}
	values := make([]string, 0, len(seen))
	for v := range seen {
		values = append(values, v)
	}
	slices.Sort(values)
	return values
}
