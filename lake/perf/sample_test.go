package perf

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestSampleNeedsItsSetting(t *testing.T) {
	m := LevelMetrics()[0]
	for _, c := range []struct {
		name    string
		metric  Metric
		setting Setting
		values  []float64
	}{
		{"no setting", m, nil, []float64{1}},
		{"no value", m, Setting{"tp": "8"}, nil},
		{"no number", m, Setting{"tp": "8"}, []float64{1, math.NaN()}},
		{"no metric", Metric{}, Setting{"tp": "8"}, []float64{1}},
	} {
		if _, err := NewSample(c.metric, c.setting, c.values...); err == nil {
			t.Errorf("%s: a sample is made", c.name)
		}
	}
	s, err := NewSample(m, Setting{"tp": "8"}, 100, 102, 98)
	if err != nil || s.Mean() != 100 || s.Std() != 2 || s.CV() != 0.02 || s.N() != 3 {
		t.Errorf("mean %v, std %v, cv %v: %v", s.Mean(), s.Std(), s.CV(), err)
	}
	s.Setting()["tp"] = "4"
	if s.Setting()["tp"] != "8" {
		t.Error("a sample can be changed from outside")
	}
}

func TestSampleOfRows(t *testing.T) {
	m := LevelMetrics()[0]
	rows := goodTrials("fp8", 16, 3, 1, nil)
	s, err := SampleOf(m, rows)
	if err != nil || s.N() != 3 || s.Setting()["tp"] != "8" || s.Setting()["trial"] != "" {
		t.Errorf("a sample of three trials: %v, setting %v", err, s.Setting())
	}
	other := goodTrial("fp8", 16, 4, 1, func(m *Measurement) { m.Setting["tp"] = "4" })
	if _, err := SampleOf(m, append(rows, other)); err == nil || !strings.Contains(err.Error(), "tp differ") {
		t.Errorf("trials in unlike settings are one sample: %v", err)
	}
	rows[1].Clear(m.Column)
	if _, err := SampleOf(m, rows); err == nil {
		t.Error("a trial without the number is in the sample")
	}
	bare := NewRow(Atlas())
	bare.SetFloat(m.Column, 1)
	if _, err := SampleOf(m, []Row{bare}); err == nil || !strings.Contains(err.Error(), "no setting") {
		t.Errorf("a row without a setting gives a sample: %v", err)
	}
}

func TestMissingContext(t *testing.T) {
	r := goodTrial("fp8", 16, 1, 1, nil)
	if got := MissingContext(r); len(got) > 0 {
		t.Errorf("a full context lacks %v", got)
	}
	r.Clear("image")
	r.Clear("concurrency")
	r.Clear("kv_cache_dtype")
	if want, got := []string{"kv_cache_dtype", "concurrency or request_rate", "image or engine_commit"}, MissingContext(r); !slices.Equal(got, want) {
		t.Errorf("missing are %v, want %v", got, want)
	}
	r.SetText("engine_commit", "abc")
	r.SetFloat("request_rate", 2)
	if want, got := []string{"kv_cache_dtype"}, MissingContext(r); !slices.Equal(got, want) {
		t.Errorf("missing are %v, want %v", got, want)
	}
	for _, any := range mandatory {
		for _, c := range any {
			if _, ok := Atlas().Column(c); !ok {
				t.Errorf("%s is mandatory and no column", c)
			}
		}
	}
}

// Tokens count in the second in which they arrived, whether each is timed or
// only the first and the last.
func TestPace(t *testing.T) {
	p := newPace(Window{FromNS: 1e9, ToNS: 4.5e9})
	p.add(&Request{OSL: 4, FirstNS: 5e8, LastNS: 3.5e9, ChunkNS: []int64{5e8, 1.5e9, 2.5e9, 3.5e9}})
	p.add(&Request{OSL: 9, FirstNS: 1.2e9, LastNS: 2.8e9})
	p.add(&Request{OSL: 100, FirstNS: 1.2e9, LastNS: 2.8e9, Warmup: true})
	p.add(&Request{OSL: 100, FirstNS: 1.2e9, LastNS: 2.8e9, Error: &RequestError{}})
	if want := []float64{1 + 4, 1 + 5, 1}; !slices.Equal(p.tokens, want) {
		t.Errorf("tokens a second are %v, want %v", p.tokens, want)
	}
	if newPace(Window{ToNS: 3e9}).steadiness() != nil {
		t.Error("no token has a time, and there is a class")
	}
}

func TestSteadiness(t *testing.T) {
	series := func(parts ...float64) []float64 { // level, seconds, level, seconds
		var out []float64
		for i := 0; i < len(parts); i += 2 {
			for s := range int(parts[i+1]) {
				out = append(out, parts[i]+[]float64{-1, 1, 0, 1, -1}[s%5]) // noise of one in a hundred
			}
		}
		return out
	}
	for _, c := range []struct {
		name   string
		tokens []float64
		class  string
		levels []float64
	}{
		{"one level", series(100, 60), Flat, []float64{100}},
		{"a change below 3 %", series(100, 30, 102, 30), Flat, []float64{100, 102}},
		{"a warm-up that weighs little", series(60, 2, 100, 60), Flat, []float64{100}},
		{"a warm-up that weighs", series(50, 10, 100, 60), Drift, []float64{50, 100}},
		{"up", series(100, 30, 110, 30), Drift, nil},
		{"down", series(100, 40, 90, 20), Slowdown, nil},
		{"up and down", series(100, 20, 120, 20, 100, 20), NoLevel, nil},
		{"short", series(100, 19), Short, nil},
		{"nothing", nil, Short, nil},
	} {
		got := SteadinessOf(c.tokens)
		if got.Class != c.class || c.levels != nil && !slices.Equal(got.Levels, c.levels) || got.Seconds != len(c.tokens) {
			t.Errorf("%s: it is %+v, want %s %v", c.name, got, c.class, c.levels)
		}
		if told := len(got.doubts()) == 1; told != (c.class == Drift || c.class == Slowdown || c.class == NoLevel) {
			t.Errorf("%s: the doubts are %q", c.name, got.doubts())
		}
	}
}
