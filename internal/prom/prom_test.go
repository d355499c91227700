package prom

import (
	"bytes"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

func parse(t *testing.T, text string) Snapshot {
	t.Helper()
	s, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatalf("Parse: %v\n%s", err, text)
	}
	return s
}

func load(t *testing.T, name string) Snapshot {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(b))
}

func TestParseRejects(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"no value", "vllm:x{a=\"b\"}\n", "line 1"},
		{"not a number", "# TYPE x gauge\nx fast\n", "line 2"},
		{"html", "<html><body>404</body></html>", "line 1"},
		{"too long", strings.Repeat("# a comment\n", maxBytes/10), "longer than 16 MB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(strings.NewReader(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestParseReadsEveryType(t *testing.T) {
	s := parse(t, `# TYPE c counter
c{k="1"} 2
# TYPE g gauge
g -1.5
# TYPE h histogram
h_bucket{le="1"} 1
h_bucket{le="+Inf"} 3
h_sum 7.5
h_count 3
# TYPE q summary
q{quantile="0.5"} 1
q_sum 4
q_count 2
untyped 9`)
	for name, want := range map[string]float64{"c": 2, "g": -1.5, "h_sum": 7.5, "h_count": 3, "q_sum": 4, "q_count": 2, "untyped": 9} {
		got, _ := s.Find(name)
		if len(got) != 1 || got[0].Value != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	if want := []string{"c", "g", "h_count", "h_sum", "q_count", "q_sum", "untyped"}; !slices.Equal(s.Names(), want) {
		t.Errorf("Names = %v, want %v", s.Names(), want)
	}
}

// The files hold the counters of vLLM of today with two engines, written by
// hand so that the differences can be worked out in the head.
func TestServerOfTwoEngines(t *testing.T) {
	r := Begin(load(t, "v1_before.txt"))
	r.Sample(load(t, "v1_during.txt"))
	r.Sample(load(t, "v1_before.txt"))
	s := r.End(load(t, "v1_after.txt"))
	for _, c := range []struct {
		name string
		got  *float64
		want float64
	}{
		{"prompt_tokens", s.PromptTokens, 1500},        // (1100-100) + (700-200)
		{"generation_tokens", s.GenerationTokens, 300}, // 200 + 100
		{"requests_ok", s.RequestsOK, 6},               // stop 2 + length 4; the 3 aborted are not ok
		{"preemptions", s.Preemptions, 1},
		{"prefix_hit_rate", s.PrefixHitRate, 0.25}, // 250 of 1000 tokens
		{"kv_usage_max", s.KVUsageMax, 0.75},       // the fuller engine
		{"running_mean", s.RunningMean, 6},         // 12 and 0
		{"running_max", s.RunningMax, 12},          // 8 + 4
		{"waiting_mean", s.WaitingMean, 2.5},       // 5 and 0; by_reason is another metric
		{"waiting_max", s.WaitingMax, 5},
	} {
		if c.got == nil || *c.got != c.want {
			t.Errorf("%s = %v, want %v", c.name, deref(c.got), c.want)
		}
	}
	if s.Samples != 2 || len(s.Missing) != 0 || r.Restarted() {
		t.Errorf("samples %d, missing %v, restarted %v", s.Samples, s.Missing, r.Restarted())
	}
	if got := s.Names["kv_usage_max"]; got != "vllm:kv_cache_usage_perc" {
		t.Errorf("kv_usage_max was answered by %q", got)
	}
	if got := load(t, "v1_before.txt").Values("vllm:", "engine"); !slices.Equal(got, []string{"0", "1"}) {
		t.Errorf("engines %v", got)
	}
}

func TestOldNames(t *testing.T) {
	old := parse(t, `vllm:gpu_cache_usage_perc{model_name="m"} 0.5
vllm:gpu_prefix_cache_hit_rate{model_name="m"} 0.75
vllm:num_requests_running{model_name="m"} 3
vllm:avg_generation_throughput_toks_per_s{model_name="m"} 120.5
`)
	r := Begin(old)
	r.Sample(old)
	s := r.End(old)
	if s.KVUsageMax == nil || *s.KVUsageMax != 0.5 || s.Names["kv_usage_max"] != "vllm:gpu_cache_usage_perc" {
		t.Errorf("kv usage %v by %q", deref(s.KVUsageMax), s.Names["kv_usage_max"])
	}
	if s.PrefixHitRate == nil || *s.PrefixHitRate != 0.75 || !strings.Contains(s.Names["prefix_hit_rate"], "since the start") {
		t.Errorf("hit rate %v by %q", deref(s.PrefixHitRate), s.Names["prefix_hit_rate"])
	}
	if s.GenerationTold == nil || *s.GenerationTold != 120.5 || s.Names["generation_tps_told"] != "vllm:avg_generation_throughput_toks_per_s" {
		t.Errorf("generation rate %v by %q", deref(s.GenerationTold), s.Names["generation_tps_told"])
	}
	// The four metrics of the reference, as they stood.
	for _, states := range []map[string]float64{s.Before, s.After} {
		if want := map[string]float64{"vllm:gpu_cache_usage_perc": 0.5, "vllm:gpu_prefix_cache_hit_rate": 0.75, "vllm:num_requests_running": 3, "vllm:avg_generation_throughput_toks_per_s": 120.5}; !maps.Equal(states, want) {
			t.Errorf("states %v, want %v", states, want)
		}
	}
	want := []string{"prompt_tokens", "generation_tokens", "requests_ok", "preemptions", "waiting_mean", "waiting_max"}
	if !slices.Equal(s.Missing, want) {
		t.Errorf("missing %v, want %v", s.Missing, want)
	}
}

func TestMissingIsNeverZero(t *testing.T) {
	const before = "vllm:prompt_tokens_total{engine=\"0\"} 100\nvllm:prompt_tokens_total{engine=\"1\"} 100\nprocess_start_time_seconds 7\n"
	for _, c := range []struct{ name, before, after, missing string }{
		{"a counter went back", before, "vllm:prompt_tokens_total{engine=\"0\"} 900\nvllm:prompt_tokens_total{engine=\"1\"} 5\n", "prompt_tokens: the server was restarted"},
		{"an engine is gone", before, "vllm:prompt_tokens_total{engine=\"0\"} 900\n", "prompt_tokens: the server was restarted"},
		{"the process is another", before, strings.Replace(before, "seconds 7", "seconds 8", 1), "prompt_tokens: the server was restarted"},
		{"not a number", "vllm:prompt_tokens_total 1\n", "vllm:prompt_tokens_total NaN\n", "is not a finite number"},
		{"no queries", "vllm:prefix_cache_queries_total 5\nvllm:prefix_cache_hits_total 1\n", "vllm:prefix_cache_queries_total 5\nvllm:prefix_cache_hits_total 1\n", "prefix_hit_rate: no queries"},
		{"hit rate not known", "vllm:gpu_prefix_cache_hit_rate -1\n", "vllm:gpu_prefix_cache_hit_rate -1\n", "prefix_hit_rate"},
		{"no scrape between", "vllm:num_requests_running 1\n", "vllm:num_requests_running 1\n", "running_mean: no scrape"},
		{"nothing known", "up 1\n", "up 1\n", "kv_usage_max"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Begin(parse(t, c.before)).End(parse(t, c.after))
			if !slices.ContainsFunc(s.Missing, func(m string) bool { return strings.Contains(m, c.missing) }) {
				t.Errorf("missing %q, want one with %q", s.Missing, c.missing)
			}
			if s.PromptTokens != nil || s.PrefixHitRate != nil || s.RunningMean != nil || s.KVUsageMax != nil {
				t.Errorf("a missing field has a value: %+v", s)
			}
		})
	}
}

func TestCounterBornDuringTheRun(t *testing.T) {
	s := Begin(parse(t, "up 1\n")).End(parse(t, "vllm:request_success_total{finished_reason=\"stop\"} 4\n"))
	if s.RequestsOK == nil || *s.RequestsOK != 4 {
		t.Errorf("requests_ok %v, want 4", deref(s.RequestsOK))
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"v1_before.txt", "v1_during.txt", "v1_after.txt"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_count NaN\n"))
	f.Add([]byte("{\"a b\",c=\"d\"} 1e400\nx{y=\"\\\"\"} +Inf 123\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(bytes.NewReader(b))
		if err != nil {
			return
		}
		r := Begin(s)
		r.Sample(s)
		out := r.End(s)
		for _, v := range []*float64{out.PromptTokens, out.GenerationTokens, out.RequestsOK, out.PrefixHitRate, out.RunningMean, out.KVUsageMax} {
			if v != nil && !finite(*v) {
				t.Errorf("a figure is %v", *v)
			}
		}
	})
}

func deref(v *float64) any {
	if v == nil {
		return nil
	}
	return *v
}

func TestPulse(t *testing.T) {
	p := parse(t, "vllm:num_requests_running{engine=\"0\"} 2\nvllm:num_requests_running{engine=\"1\"} 3\nvllm:num_requests_waiting 4\n"+
		"vllm:prompt_tokens_total 100\nvllm:generation_tokens_total 11\n").Pulse()
	if p != (Pulse{Running: 5, Waiting: 4, Tokens: 111, Known: true}) {
		t.Errorf("pulse %+v", p)
	}
	if p := parse(t, "vllm:num_requests_running 1\n").Pulse(); p.Known || p.Running != 1 {
		t.Errorf("without counts of tokens: %+v", p)
	}
}

// A tool takes its time before and after the load; what the server does then
// is not of the load.
func TestTrim(t *testing.T) {
	at := func(running, kv string) Snapshot {
		return parse(t, "vllm:num_requests_running "+running+"\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc "+kv+"\n")
	}
	r := Begin(at("0", "0"))
	for _, s := range []Snapshot{at("0", "0.9"), at("2", "0.1"), at("0", "0.1"), at("4", "0.3"), at("0", "0.8")} {
		r.Sample(s)
	}
	r.Trim()
	if s := r.End(at("0", "0")); s.Samples != 3 || *s.RunningMean != 2 || *s.KVUsageMax != 0.3 {
		t.Errorf("server %+v", s)
	}
}

func TestTotals(t *testing.T) {
	nan := math.NaN()
	reason := func(r string) map[string]string { return map[string]string{"finished_reason": r} }
	totals := []Total{
		{Name: "vllm:request_success", Labels: reason("stop"), Increase: 7, Mean: nan, Max: nan},
		{Name: "vllm:request_success", Labels: reason("length"), Increase: 5, Mean: nan, Max: nan},
		{Name: "vllm:request_success", Labels: reason("abort"), Increase: 2, Mean: nan, Max: nan},
		{Name: "vllm:prefix_cache_queries", Increase: 200, Mean: nan, Max: nan},
		{Name: "vllm:prefix_cache_hits", Increase: 50, Mean: nan, Max: nan},
		{Name: "vllm:gpu_cache_usage_perc", Labels: map[string]string{"engine": "0"}, Increase: nan, Mean: 0.2, Max: 0.4},
		{Name: "vllm:gpu_cache_usage_perc", Labels: map[string]string{"engine": "1"}, Increase: nan, Mean: 0.3, Max: 0.7},
		{Name: "vllm:num_requests_running", Labels: map[string]string{"engine": "0"}, Increase: nan, Mean: 3, Max: 8},
		{Name: "vllm:num_requests_running", Labels: map[string]string{"engine": "1"}, Increase: nan, Mean: 4, Max: 9},
		{Name: "vllm:num_requests_waiting", Increase: nan, Mean: 1, Max: 6},
	}
	s := Totals(totals, 10)
	// 7 + 5 answered, 50/200 hits; the fullest cache of two; 3 + 4 running, whose
	// maxima need not be of one moment; one engine waiting.
	for name, pair := range map[string]struct {
		got  *float64
		want float64
	}{
		"requests": {s.RequestsOK, 12}, "hit rate": {s.PrefixHitRate, 0.25}, "kv": {s.KVUsageMax, 0.7}, "running": {s.RunningMean, 7}, "waiting": {s.WaitingMean, 1}, "waiting max": {s.WaitingMax, 6},
	} {
		if pair.got == nil || *pair.got != pair.want {
			t.Errorf("%s = %v, want %v", name, pair.got, pair.want)
		}
	}
	if s.RunningMax != nil || s.PromptTokens != nil || !slices.ContainsFunc(s.Missing, func(m string) bool { return strings.HasPrefix(m, "running_max: ") }) || s.Names["kv_usage_max"] != "vllm:gpu_cache_usage_perc" {
		t.Errorf("%+v", s)
	}
}
