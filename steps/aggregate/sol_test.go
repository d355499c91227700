package aggregate_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pipeline/configs"
	"pipeline/internal/digest"
	"pipeline/lake/perf"
	"pipeline/steps"
	"pipeline/steps/aggregate"
)

// llama is a measurement of Llama-3.1-8B on one H100, 1024 tokens in and 256
// out, that decodes at half of the floor of 64 sequences: 2 x 7.3652 ms.
func llama(c int, tpot float64, change func(*perf.Measurement)) func(*perf.Measurement) {
	return func(m *perf.Measurement) {
		m.Setting = perf.Setting{
			"model": "m", "hardware": "H100", "ceiling_key": "h100_sm90", "model_shape": "llama-3.1-8b", "quant": "bf16", "kv_cache_dtype": "auto",
			"tp": "1", "pp": "1", "dp": "1", "ep": "1", "gpu_count": "1", "gpu_memory_utilization": "0.9", "prefix_caching": "true", "cache_mode": "cold",
		}
		p := func(v float64) *float64 { return &v }
		m.Asked.ISL, m.Asked.OSL, m.Asked.Concurrency = 1024, 256, c
		s := &m.Summary
		s.TPOT, s.TTFT, s.ISL, s.OSL = flat(tpot), flat(29.453), flat(1024), flat(256)
		s.OutputThroughput, s.EffectiveBatch = p(float64(c)/tpot*1e3), p(float64(c))
		s.RequestThroughput = p(*s.OutputThroughput / 256)
		if change != nil {
			change(m)
		}
	}
}

func flat(v float64) *perf.Dist {
	return &perf.Dist{N: 2, Mean: v, Min: v, P50: v, P90: v, P95: v, P99: v, Max: v}
}

func rowsOf(t *testing.T, inputs []steps.Input, set func(*aggregate.Step)) map[string]perf.Row {
	t.Helper()
	w := newWorld(t, inputs)
	w.env.Resolve = func(path string) string { return path }
	step := aggregate.Kind(writeText).New().(*aggregate.Step)
	if set != nil {
		set(step)
	}
	if err := step.Check(); err != nil {
		t.Fatal(err)
	}
	if err := step.Run(t.Context(), w.env); err != nil {
		t.Fatal(err)
	}
	rows, err := perf.DecodeRows(perf.Atlas(), w.out["atlas.json"].Bytes())
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]perf.Row{}
	for _, r := range rows {
		by[r.Text("agg")+" "+r.Text("cell_id")] = r
	}
	return by
}

func wantNumbers(t *testing.T, r perf.Row, want map[string]float64) {
	t.Helper()
	for name, v := range want {
		if got, ok := r.Float(name); !ok || math.Abs(got-v) > 5e-4*math.Abs(v) {
			t.Errorf("%s = %v %t, want %v (%s)", name, got, ok, v, strings.Join(r.Absent(), "; "))
		}
	}
}

// The numbers are those of the worked vectors V1 and S1 at a batch of 64, and
// what follows from them by hand: 64/14.7304 ms are 4344.76 tok/s, half of the
// decode ceiling of 8689.5 and 74.80 % of the ceiling with prefill, 5808.6.
func TestFloors(t *testing.T) {
	rows := rowsOf(t, []steps.Input{measured(t, 64, 1, llama(64, 14.7304, nil)), measured(t, 64, 2, llama(64, 14.7304, nil))}, nil)
	for _, name := range []string{"trial concurrency=64,config=fp8-tp8,trial=1", "mean concurrency=64,config=fp8-tp8"} {
		r := rows[name]
		wantNumbers(t, r, map[string]float64{
			"sol_batch": 64, "sol_input_tokens": 1024, "sol_output_tokens": 256, "sol_bandwidth_tbps": 3.35, "sol_compute_tflops": 989.4,
			"footprint_gb_per_token": 0.3855, "tpot_floor_ms": 7.3652, "t_mem_ms": 7.3652, "t_flop_ms": 1.0100, "ttft_floor_ms": 14.7265,
			"ceiling_output_tps_per_gpu_decode": 8689.5, "ceiling_output_tps_per_gpu_agg": 5808.63, "prefill_share": 0.33414,
			"pct_sol_tpot": 50, "pct_sol_tps_decode": 50, "pct_sol_tps_agg": 74.798, "pct_sol": 74.798, "pct_sol_ttft": 50, "hbm_pct_pred": 50,
			"ridge": 295.343, "ai_flop_per_byte": 40.505, "model_tflops_per_gpu": 67.84,
			"t_prefill_ms":    14.7304 * 0.0147265 * 4344.76 / 256, // prefill of a request, times requests a second
			"pct_sol_clocked": 74.76,                               // memory 3.352 TB/s: 29.3283 ms of decode a request
		})
		if r.Text("sol_bandwidth_key") != "h100_sm90.hbm3_tbps" || r.Text("sol_compute_key") != "h100_sm90.dense_tflops.bf16" || r.Text("bound") != "memory" || r.Text("pct_sol_kind") != "agg" || r.Text("footprint_kind") != "computed" {
			t.Errorf("%s: %s %s %s %s", name, r.Text("sol_bandwidth_key"), r.Text("sol_compute_key"), r.Text("bound"), r.Text("pct_sol_kind"))
		}
		if v, ok := r.Float("t_comm_ms"); v != 0 || !ok {
			t.Errorf("one GPU exchanges for %v ms", v)
		}
		// 80 GB x 0.9 less 16.0605 GB of weights, at 131,072 B a token.
		if n, _ := r.Int("kv_capacity_tokens"); n != 426784 {
			t.Errorf("the cache holds %d tokens, want 426784", n)
		}
		if r.Text("ceilings_digest") != digest.Of(configs.Ceilings()).String() {
			t.Error("the row does not name its ceilings")
		}
		if absent := strings.Join(r.Absent(), "\n"); strings.Contains(absent, "group:sol") {
			t.Errorf("%s: absent\n%s", name, absent)
		}
	}
}

// What cannot be known is NULL with its reason; what cannot be right is
// withheld; each with the name of its refusal in the notes.
func TestFloorsWithheld(t *testing.T) {
	setting := func(name, value string) func(*perf.Measurement) {
		return func(m *perf.Measurement) { m.Setting[name] = value }
	}
	for _, c := range []struct {
		name   string
		tpot   float64
		change func(*perf.Measurement)
		note   string // begins one
		floor  bool   // stands
		share  bool   // stands
	}{
		{"as it is", 14.7304, nil, "", true, true},
		{"no shape", 14.7304, setting("model_shape", perf.Unknown), "SOL_NO_SHAPE", false, false},
		{"no hardware", 14.7304, func(m *perf.Measurement) { delete(m.Setting, "hardware"); delete(m.Setting, "ceiling_key") }, "CEIL_UNKNOWN", false, false},
		{"other hardware", 14.7304, func(m *perf.Measurement) {
			m.Setting["hardware"], m.Setting["ceiling_key"] = "B200X", ""
		}, `CEIL_UNKNOWN: hardware "B200X"`, false, false},
		{"inlined", 14.7304, setting("hbm_tbps", "8.2"), "CEIL_INLINE: the setting sets hbm_tbps=8.2", false, false},
		{"scaled time", 14.7304, setting("serve_args", `{"sim_time_scale":"0.1"}`), "SOL_TIME_SCALE: the simulation ran at time_scale 0.1", false, false},
		{"real time", 14.7304, setting("serve_args", `{"sim_time_scale":"1"}`), "", true, true},
		{"faster than light", 7.0, nil, "SOL_OVER: 105 % of ceiling h100_sm90.hbm3_tbps at B_eff=64", true, false},
		// 640 tok/s are half of what decode allows, and 80 prompts a second of 16,000
		// tokens, each of which takes 240 TFLOP and more of the 989 TFLOP/s.
		{"more prompts than light", 100, func(m *perf.Measurement) {
			m.Summary.ISL, m.Summary.OSL, m.Summary.TTFT = flat(16000), flat(8), flat(4000)
		}, "SOL_OVER: ", true, false},
		{"as fast as light", 7.3653, nil, "AGG_OVERLAP", true, true},
		{"faster than any tool", 7.3653, nil, "ABOVE_ACHIEVABLE: 132 % of what tools reached (2.54 TB/s by dcgmproftester", true, true},
		{"a first token too soon", 14.7304, func(m *perf.Measurement) { m.Summary.TTFT = flat(10) }, "SOL_OVER_TTFT", true, true},
		{"no TPOT", 14.7304, func(m *perf.Measurement) { m.Summary.TPOT, m.Summary.EffectiveBatch = nil, nil }, "SOL_NO_BATCH", false, false},
		{"speculation without its success", 14.7304, setting("spec_method", "eagle"), "SOL_SPECULATION", false, false},
		{"more running than ran", 14.7304, func(m *perf.Measurement) {
			r := 32.0
			m.Server = &perf.Server{RunningMax: &r}
		}, "B_EFF_ABOVE_RUNNING", true, true},
		{"half of them waited", 14.7304, func(m *perf.Measurement) {
			b := 30.0
			m.Summary.EffectiveBatch, m.Summary.TTFT = &b, flat(400)
		}, "B_EFF_LOW: 30.0 sequences decoded at once where 64 were asked (47 %)", true, true},
		{"more than the cache holds", 14.7304, func(m *perf.Measurement) { m.Asked.Concurrency = 512; m.Setting["concurrency"] = "512" }, "KV_CAPPED: 512 streams were asked, and the KV cache holds 370", true, true},
		{"an unknown share of the cache", 14.7304, setting("cache_mode", "warm"), "the share of the input that was cached is unknown", true, true},
		{"failed", 14.7304, func(m *perf.Measurement) {
			m.Status, m.Failure, m.Summary = perf.Failed, "dead", perf.Summary{Errors: 1}
		}, "SOL_NO_NUMBERS: the cell is FAILED", false, false},
	} {
		rows := rowsOf(t, []steps.Input{measured(t, 64, 1, llama(64, c.tpot, c.change))}, nil)
		r := rows["trial concurrency=64,config=fp8-tp8,trial=1"]
		notes := r.List("sol_notes")
		found := c.note == "" && len(notes) == 0
		for _, n := range notes {
			found = found || c.note != "" && strings.HasPrefix(n, c.note)
		}
		if !found {
			t.Errorf("%s: notes %q, want %q", c.name, notes, c.note)
		}
		if got := !r.IsNull("tpot_floor_ms"); got != c.floor {
			t.Errorf("%s: a floor stands: %t", c.name, got)
		}
		for _, name := range []string{"pct_sol", "pct_sol_tpot", "pct_achievable"} {
			if got := !r.IsNull(name); got != c.share {
				t.Errorf("%s: %s stands: %t", c.name, name, got)
			}
		}
		if absent := strings.Join(r.Absent(), "\n"); !c.share && !strings.Contains(absent, c.note) {
			t.Errorf("%s: no reason for the missing share:\n%s", c.name, absent)
		}
		if strings.HasPrefix(c.note, "SOL_OVER: ") {
			if m := rows["mean concurrency=64,config=fp8-tp8"]; !m.IsNull("pct_sol") || !strings.Contains(strings.Join(r.List("doubts"), " "), "SOL_OVER") {
				t.Errorf("%s: the mean has a share of %t, doubts %q", c.name, !m.IsNull("pct_sol"), r.List("doubts"))
			}
		}
	}
}

// TPOT at 512 streams that is a third of that at 64 is no achievement.
func TestTPOTNonMonotone(t *testing.T) {
	rows := rowsOf(t, []steps.Input{
		measured(t, 16, 1, llama(16, 12, nil)), measured(t, 64, 1, llama(64, 14.83, nil)),
		measured(t, 128, 1, llama(128, 90, nil)), measured(t, 512, 1, llama(512, 50, nil)), measured(t, 512, 2, llama(512, 52, nil)),
	}, nil)
	for name, want := range map[string]bool{"concurrency=16": false, "concurrency=64": false, "concurrency=128": false, "concurrency=512": true} {
		r := rows["trial "+name+",config=fp8-tp8,trial=1"]
		m := rows["mean "+name+",config=fp8-tp8"]
		for _, row := range []perf.Row{r, m} {
			notes := strings.Join(row.List("sol_notes"), "\n")
			if got := strings.Contains(notes, "TPOT_NON_MONOTONE"); got != want || row.IsNull("pct_sol") != want || row.IsNull("tpot_floor_ms") {
				t.Errorf("%s %s: suspect %t, want %t; a share %t\n%s", row.Text("agg"), name, got, want, !row.IsNull("pct_sol"), notes)
			}
		}
	}
	want := "TPOT_NON_MONOTONE: TPOT at c=512 (51.00 ms) is 0.57x TPOT at c=128 (90.00 ms), same config: not physical"
	if notes := rows["trial concurrency=512,config=fp8-tp8,trial=1"].List("sol_notes"); !strings.HasPrefix(notes[len(notes)-1], want) {
		t.Errorf("notes %q, want %q", notes, want)
	}
}

// A prefill-only cell has a floor of TTFT and nothing of decode.
func TestFloorsOfPrefill(t *testing.T) {
	rows := rowsOf(t, []steps.Input{measured(t, 1, 1, llama(1, 5, func(m *perf.Measurement) {
		m.Summary.TPOT, m.Summary.EffectiveBatch, m.Asked.OSL = nil, nil, 1
		m.Summary.OSL = flat(1)
	}))}, nil)
	r := rows["trial concurrency=1,config=fp8-tp8,trial=1"]
	wantNumbers(t, r, map[string]float64{"ttft_floor_ms": 14.7265, "pct_sol_ttft": 50})
	if !r.IsNull("pct_sol") || !r.IsNull("tpot_floor_ms") || !r.IsNull("sol_batch") {
		t.Error("a cell of one token has a share of decode")
	}
}

// A file of one's own replaces a key, its digest is another, and a bad one is
// refused by name.
func TestOwnFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) steps.File {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return steps.File(path)
	}
	key := `schema: sol-ceilings/v1
as_of: "2026-11-23"
keys:
  h100_sm90: {tokens: [H100], vendor: nvidia, compute_capability: "9.0", hbm3_tbps: 3.0, mem_bw_key: hbm3_tbps, mem_gb: 80, dense_tflops: {bf16: %s, fp8: 1900}, sources: [our node]}
`
	inputs := func() []steps.Input {
		return []steps.Input{measured(t, 64, 1, llama(64, 16.4490, nil))}
	}
	rows := rowsOf(t, inputs(), func(s *aggregate.Step) { s.Ceilings = write("c.yaml", fmt.Sprintf(key, "950")) })
	r := rows["trial concurrency=64,config=fp8-tp8,trial=1"]
	wantNumbers(t, r, map[string]float64{"tpot_floor_ms": 7.3652 * 3.35 / 3, "pct_sol_tpot": 50, "sol_bandwidth_tbps": 3, "sol_compute_tflops": 950})
	if r.Text("ceilings_digest") == digest.Of(configs.Ceilings()).String() {
		t.Error("the row names the ceilings that ship")
	}
	if !r.IsNull("pct_achievable") || !r.IsNull("pct_sol_clocked") {
		t.Error("a key without rates and clock has shares of them")
	}

	model, err := configs.FindModel("llama-3.1-8b")
	if err != nil {
		t.Fatal(err)
	}
	file := write("ours/config.json", string(model.Config))
	nameless := []steps.Input{measured(t, 64, 1, llama(64, 14.7304, func(m *perf.Measurement) { delete(m.Setting, "model_shape") }))}
	rows = rowsOf(t, nameless, func(s *aggregate.Step) { s.ModelConfig = file })
	wantNumbers(t, rows["trial concurrency=64,config=fp8-tp8,trial=1"], map[string]float64{"pct_sol_tpot": 50})

	for want, set := range map[string]func(*aggregate.Step){
		"CEIL_SUSPECT_SPARSE":      func(s *aggregate.Step) { s.Ceilings = write("sparse.yaml", fmt.Sprintf(key, "1979")) },
		"read ceilings: open":      func(s *aggregate.Step) { s.Ceilings = "none.yaml" },
		"model_config: read":       func(s *aggregate.Step) { s.ModelConfig = "none.json" },
		`there is no lever "warp"`: func(s *aggregate.Step) { s.Frontier = write("f.yaml", "tried: [{lever: warp}]") },
		"evidence and why stand with": func(s *aggregate.Step) {
			s.Frontier = write("f.yaml", "tried: [{lever: kv_fp8, ratio: 1, low: 1, high: 1, trials: 3}]")
		},
	} {
		w := newWorld(t, inputs())
		w.env.Resolve = func(path string) string { return path }
		step := aggregate.Kind(writeText).New().(*aggregate.Step)
		set(step)
		if err := step.Run(t.Context(), w.env); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}

// The digests of what ships with the program are key parameters, and no one
// else's: rows of other ceilings are never served from the store.
func TestBuiltinDigests(t *testing.T) {
	step := aggregate.Kind(writeText).New().(*aggregate.Step)
	if step.BuiltinCeilings != digest.Of(configs.Ceilings()).String() {
		t.Error("the key does not hold the digest of the ceilings")
	}
	params, err := steps.ParamsOf(step)
	if err != nil {
		t.Fatal(err)
	}
	keyed := 0
	for _, p := range params {
		if (p.Name == "builtin_ceilings" || p.Name == "builtin_configs" || p.Name == "ceilings" || p.Name == "model_config" || p.Name == "frontier") && p.Key {
			keyed++
		}
	}
	if keyed != 5 {
		t.Errorf("%d of 5 parameters are in the key", keyed)
	}
	step.BuiltinCeilings = "other"
	if err := step.Check(); err == nil || !strings.Contains(err.Error(), "builtin_ceilings: it is ") {
		t.Errorf("another digest: %v", err)
	}
}
