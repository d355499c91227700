package vllmsim

import (
	"os"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// families parses /metrics with Prometheus' own parser.
func families(t *testing.T, url string) map[string]*dto.MetricFamily {
	t.Helper()
	_, _, body := call(t, "GET", url+"/metrics", "")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	parsed, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatalf("%v in\n%s", err, body)
	}
	return parsed
}

func value(t *testing.T, parsed map[string]*dto.MetricFamily, name string) float64 {
	t.Helper()
	family, ok := parsed[name]
	if !ok {
		t.Fatalf("no family %s", name)
	}
	m := family.GetMetric()[0]
	switch family.GetType() {
	case dto.MetricType_COUNTER:
		return m.GetCounter().GetValue()
	case dto.MetricType_HISTOGRAM:
		return float64(m.GetHistogram().GetSampleCount())
	}
	return m.GetGauge().GetValue()
}

// All families of a real vLLM v0.26.0 are there with their types.
func TestMetricFamilies(t *testing.T) {
	_, url := start(t, nil)
	parsed := families(t, url)
	list, err := os.ReadFile("testdata/vllm_metric_families_v0.26.0.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(list)), "\n") {
		name, kind, ok := strings.Cut(line, " ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		if family := parsed[name]; family == nil || !strings.EqualFold(family.GetType().String(), kind) {
			t.Errorf("%s %s: %v", name, kind, family)
		}
	}
	labels := map[string]string{}
	for _, l := range parsed["pipeline_sim_info"].GetMetric()[0].GetLabel() {
		labels[l.GetName()] = l.GetValue()
	}
	if labels["hardware"] != "h100_sm90" || labels["simulated"] != "true" || labels["model_shape"] != "llama-3.1-8b" {
		t.Errorf("pipeline_sim_info: %v", labels)
	}
}

func TestMetricsCountWhatWasServed(t *testing.T) {
	_, url := start(t, nil)
	for range 3 {
		call(t, "POST", url+"/v1/completions", `{"prompt":"`+strings.Repeat("abc ", 50)+`","max_tokens":10,"ignore_eos":true}`)
	}
	parsed := families(t, url)
	for name, want := range map[string]float64{
		"vllm:prompt_tokens_total": 3 * 51, "vllm:generation_tokens_total": 30, "vllm:time_to_first_token_seconds": 3,
		"vllm:inter_token_latency_seconds": 27, "vllm:request_generation_tokens": 3, "vllm:num_requests_running": 0,
		"vllm:prefix_cache_queries_total": 3 * 51, "vllm:prefix_cache_hits_total": 2 * 48, "vllm:kv_cache_usage_perc": 0,
		"vllm:prompt_tokens_cached_total": 2 * 48,
	} {
		if got := value(t, parsed, name); got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
}
