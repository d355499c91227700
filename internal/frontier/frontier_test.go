package frontier

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"pipeline/internal/digest"
	"pipeline/internal/sol"
	"pipeline/lake/perf"
)

// llama70 is Llama-3.1-70B in bf16 on 4 H200 (worked vector V2a): at 64
// sequences of 1024/1024 a step reads 139.0061 GB of weights and 32.2123 GB of
// KV, in 8.9176 ms at least.
func llama70() perf.Setting {
	return perf.Setting{
		"hardware": "H200", "model_shape": "llama-3.1-70b", "quant": "bf16", "kv_cache_dtype": "bfloat16", "tp": "4", "pp": "1", "dp": "1", "gpu_count": "4",
		"concurrency": "64", "isl": "1024", "osl": "1024", "gpu_memory_utilization": "0.9", "enforce_eager": "false", "max_num_seqs": "1024",
	}
}

// glm is GLM-5.1 in NVFP4 on 8 B200 (V5): at one sequence of 4096/512 a step
// reads 50.2026 GB, 32.764 GB of them bf16 matrices.
func glm() perf.Setting {
	return perf.Setting{
		"hardware": "B200", "model_shape": "glm-5.1-nvfp4", "quant": "nvfp4", "kv_cache_dtype": "fp8", "tp": "8", "pp": "1", "dp": "1", "gpu_count": "8",
		"concurrency": "1", "isl": "4096", "osl": "512", "gpu_memory_utilization": "0.9",
	}
}

// row makes a row as aggregate does, with numbers set over it.
func row(config string, trial int, s perf.Setting, batch, tpot float64, set map[string]float64) perf.Row {
	cell := []perf.Coord{{Axis: "config", Value: config}, {Axis: "concurrency", Value: s["concurrency"]}, {Axis: "trial", Value: fmt.Sprint(trial)}}
	o := perf.Origin{Cell: cell, Source: "m", Artifacts: map[string]digest.Digest{"m": digest.Of(fmt.Appendf(nil, "%s %d %s", config, trial, s))}}
	r := perf.RowOf(o, &perf.Measurement{Schema: perf.MeasurementSchema, Status: perf.Full, Setting: s, Asked: perf.Workload{Arrival: perf.Closed}})
	gpus, _ := r.Int("gpu_count")
	input, _ := r.Int("isl")
	output, _ := r.Int("osl")
	for name, v := range map[string]float64{
		"headline_tpot_ms": tpot, "headline_ttft_ms": 40, "sol_batch": batch, "sol_input_tokens": float64(input), "sol_output_tokens": float64(output), "sol_cached_share": 0,
		"pct_sol": 50, "pct_achievable": 60, "output_tps_per_gpu": batch / tpot * 1e3 / float64(gpus), "t_prefill_ms": 0, "waiting_mean": 0, "duration_s": 60,
	} {
		r.SetFloat(name, v)
	}
	r.SetText("achievable_source", "a tool")
	for name, v := range set {
		switch {
		case name == "kv_capacity_tokens":
			r.SetInt(name, int64(v))
		case name == "dcgm_grounded":
			r.SetBool(name, v > 0)
		case math.IsNaN(v):
			r.Clear(name)
		default:
			r.SetFloat(name, v)
		}
	}
	return r
}

func build(t *testing.T, own string, rows ...perf.Row) *Frontier {
	t.Helper()
	lib, err := sol.BuiltinLibrary()
	if err != nil {
		t.Fatal(err)
	}
	var src []byte
	if own != "" {
		src = []byte(own)
	}
	c, err := ParseConfig("own.yaml", src)
	if err != nil {
		t.Fatal(err)
	}
	return Build(rows, lib, c)
}

func find(f *Frontier, id string) (Lever, bool) {
	i := slices.IndexFunc(f.Levers, func(l Lever) bool { return l.ID == id })
	if i < 0 {
		return Lever{}, false
	}
	return f.Levers[i], true
}

func with(s perf.Setting, pairs ...string) perf.Setting {
	out := maps.Clone(s)
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

// Each bound has a row that it rules and is one number away from another.
func TestBounds(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		name string
		set  map[string]float64
		tpot float64
		want string
		why  string
	}{
		{"memory by timing", nil, 12, "memory", "memory takes at least 74 % of TPOT"},
		{"nothing by timing", nil, 20, "unknown", "needs L3"},
		{"waiting, KV full", map[string]float64{"waiting_mean": 3, "kv_usage_max": 0.99}, 12, "queue (kv)", "3.0 sequences waiting on average, KV blocks in use up to 99 %"},
		{"waiting, KV free, as many run as may", map[string]float64{"waiting_mean": 3, "kv_usage_max": 0.5, "running_max": 1024}, 12, "queue (max_num_seqs)", "1024 running of 1024 allowed"},
		{"waiting, nothing full", map[string]float64{"waiting_mean": 3, "kv_usage_max": 0.5, "running_max": 64}, 12, "queue (scheduler)", ""},
		{"late, and the server does not tell", map[string]float64{"waiting_mean": nan, "headline_ttft_ms": 400, "sol_batch": 20}, 12, "queue (scheduler)", "B_eff 20.0 of 64 asked, TTFT 400 ms on a floor of 36 ms"},
		{"late, and nobody waits", map[string]float64{"headline_ttft_ms": 400, "sol_batch": 50}, 12, "memory", ""},
		{"prefill", map[string]float64{"t_prefill_ms": 6}, 12, "prefill", "prefill takes 62 % of the time at 80 % of the peak"},
		{"little prefill", map[string]float64{"t_prefill_ms": 2.5}, 12, "memory", ""},
		{"host", map[string]float64{"dcgm_grounded": 1, "dcgm_gr": 0.7, "dcgm_dram": 0.7, "dcgm_tensor": 0.1}, 12, "host", "the GPUs idle 30 %"},
		{"busy host", map[string]float64{"dcgm_grounded": 1, "dcgm_gr": 0.95, "dcgm_dram": 0.7, "dcgm_tensor": 0.1}, 12, "memory", "the memory interface is active 70 %"},
		{"links", map[string]float64{"dcgm_grounded": 1, "dcgm_gr": 0.95, "dcgm_dram": 0.7, "dcgm_tensor": 0.1, "nvlink_tx_bps": 300e9}, 12, "communication", "links are busy 67 %"},
		{"compute", map[string]float64{"dcgm_grounded": 1, "dcgm_gr": 0.95, "dcgm_dram": 0.3, "dcgm_tensor": 0.65}, 12, "compute", "the tensor pipe is active 65 %"},
		{"kernels", map[string]float64{"dcgm_grounded": 1, "dcgm_gr": 0.99, "dcgm_dram": 0.3, "dcgm_tensor": 0.2}, 12, "kernel", "low-efficiency kernels"},
		{"numbers of DCGM that do not stand", map[string]float64{"dcgm_gr": 0.7, "dcgm_dram": 0.1}, 12, "memory", ""},
	} {
		f := build(t, "", row("a", 1, llama70(), 64, c.tpot, c.set))
		if len(f.Cells) != 1 || f.Cells[0].Bound != c.want || !strings.Contains(f.Cells[0].Why, c.why) {
			t.Errorf("%s: %+v, want %s: %s", c.name, f.Cells, c.want, c.why)
		}
		want := "timing only"
		if c.set["dcgm_grounded"] > 0 {
			want = "DCGM"
		}
		if f.Cells[0].Confidence != want {
			t.Errorf("%s: confidence %s, want %s", c.name, f.Cells[0].Confidence, want)
		}
	}
}

// A row whose share of Speed of Light was withheld says nothing.
func TestSuspectRowsAreLeftOut(t *testing.T) {
	f := build(t, "", row("a", 1, llama70(), 64, 12, map[string]float64{"pct_sol": math.NaN()}))
	if len(f.Cells) != 0 || f.State != Required || !strings.HasPrefix(f.Text, "FRONTIER_REQUIRED: no cell has floors") {
		t.Errorf("%+v", f)
	}
}

// The bounds are Amdahl's, worked by hand from the vectors.
func TestLevers(t *testing.T) {
	kvFull := map[string]float64{"kv_capacity_tokens": 100}
	for _, c := range []struct {
		name, lever string
		row         perf.Row
		high        float64 // 0: does not apply
		basis       string
	}{
		// 171.2184 GB become 155.1122: 12/(12 - 8.9176*0.094068).
		{"KV of 19 % of the bytes", "kv_fp8", row("a", 1, llama70(), 64, 12, kvFull), 1.0752, "a step reads 171.22 GB, and 155.11 GB with KV in fp8"},
		{"as DCGM saw memory", "kv_fp8", row("a", 1, llama70(), 64, 12, map[string]float64{"dcgm_grounded": 1, "dcgm_gr": 1, "dcgm_dram": 0.9, "dcgm_tensor": 0.1}), 12 / (12 - 0.9*12*0.094068), "DCGM: memory active 90 %"},
		{"KV that is fp8 already", "kv_fp8", row("a", 1, with(llama70(), "kv_cache_dtype", "fp8"), 64, 12, kvFull), 0, ""},
		{"KV of 4 % of the bytes", "kv_fp8", row("a", 1, llama70(), 8, 12, kvFull), 0, ""},
		// 32.7634 GB of matrices at 0.28125 of their bytes: 50.2026 GB become 26.6539.
		{"bf16 beside NVFP4", "quantise_rest", row("a", 1, glm(), 1, 1.5, nil), 1.5 / (1.5 - 0.78442*0.46907), "a step reads 50.20 GB, and 26.65 GB with those in nvfp4"},
		{"little bf16 beside many experts", "quantise_rest", row("a", 1, with(glm(), "concurrency", "256"), 256, 20, nil), 0, ""},
		{"all in bf16", "quantise_rest", row("a", 1, llama70(), 64, 12, kvFull), 1.0 / (1 - 8.9176/12*(0.5*136.9023/171.2184)), "in fp8"},
		// 128 sequences read 32.2123 GB more: 1.67773 ms.
		{"room for twice the streams", "more_concurrency", row("a", 1, llama70(), 64, 12, map[string]float64{"kv_capacity_tokens": 1e6}), 2 * 12 / (12 + 1.67773), "a step of 128 sequences takes at least 1.68 ms longer"},
		{"no room", "more_concurrency", row("a", 1, llama70(), 64, 12, kvFull), 0, ""},
		{"no leave", "more_concurrency", row("a", 1, with(llama70(), "max_num_seqs", "100"), 64, 12, map[string]float64{"kv_capacity_tokens": 1e6}), 0, ""},
		{"few streams may speculate", "speculation", row("a", 1, with(llama70(), "concurrency", "1"), 1, 10, nil), 3, "the acceptance length is not measured"},
		{"many may not", "speculation", row("a", 1, llama70(), 64, 12, nil), 0, ""},
		{"prefill in the way", "disaggregate", row("a", 1, llama70(), 64, 12, map[string]float64{"t_prefill_ms": 6}), 1 / (1 - 0.5*989.4/794.5), "prefill takes 62 %"},
		{"little prefill", "disaggregate", row("a", 1, llama70(), 64, 12, map[string]float64{"t_prefill_ms": 2}), 0, ""},
		{"an idle GPU", "cuda_graphs", row("a", 1, llama70(), 64, 12, map[string]float64{"dcgm_grounded": 1, "dcgm_gr": 0.8, "dcgm_dram": 0.6, "dcgm_tensor": 0.1}), 1.25, "DCGM: the GPUs idle 20 %"},
		{"a busy GPU", "cuda_graphs", row("a", 1, llama70(), 64, 30, map[string]float64{"dcgm_grounded": 1, "dcgm_gr": 0.95, "dcgm_dram": 0.2, "dcgm_tensor": 0.1}), 0, ""},
		{"nobody knows", "cuda_graphs", row("a", 1, llama70(), 64, 30, nil), 30 / (8.9176 + 0.55924), "the host may be what waits"},
		{"all is on", "cuda_graphs", row("a", 1, with(llama70(), "async_scheduling", "true", "cudagraph_mode", "FULL_AND_PIECEWISE"), 64, 30, nil), 0, ""},
		{"slow kernels", "kernels", row("a", 1, llama70(), 64, 30, map[string]float64{"dcgm_grounded": 1, "dcgm_gr": 1, "dcgm_dram": 0.2, "dcgm_tensor": 0.1}), 30 / (8.9176 + 0.55924), "the floor is what kernels could reach"},
		{"fast kernels", "kernels", row("a", 1, llama70(), 64, 12, nil), 0, ""},
		{"links that bind", "allreduce", row("a", 1, llama70(), 64, 12, map[string]float64{"dcgm_grounded": 1, "dcgm_gr": 1, "dcgm_dram": 0.2, "dcgm_tensor": 0.1, "nvlink_rx_bps": 1, "nvlink_tx_bps": 300e9}), 12 / (12 - 0.55924/2), "collectives take at least 0.56 ms"},
		{"links that do not", "allreduce", row("a", 1, llama70(), 64, 12, nil), 0, ""},
		{"a prefix that the cache missed", "prefix_cache", row("a", 1, with(llama70(), "shared_prefix", "512"), 64, 12, map[string]float64{"t_prefill_ms": 6}), 1 / (1 - 0.5*989.4/794.5*0.5), "prompts share 50 % of their tokens, of which the cache found 0 %"},
		{"a prefix that it found", "prefix_cache", row("a", 1, with(llama70(), "shared_prefix", "512"), 64, 12, map[string]float64{"t_prefill_ms": 6, "sol_cached_share": 0.5}), 0, ""},
	} {
		l, ok := find(build(t, "", c.row), c.lever)
		switch {
		case ok != (c.high > 0):
			t.Errorf("%s: %s applies: %t", c.name, c.lever, ok)
		case ok && (math.Abs(l.High/c.high-1) > 2e-4 || l.Low != 1 || !strings.Contains(l.Basis, c.basis)):
			t.Errorf("%s: %s unlocks %.5f to %.5f by %q, want up to %.5f by %q", c.name, c.lever, l.Low, l.High, l.Basis, c.high, c.basis)
		}
	}
}

// Where a lever's evidence needs DCGM, it waits for it.
func TestMeasureFirst(t *testing.T) {
	f := build(t, "", row("a", 1, with(llama70(), "concurrency", "63"), 63, 30, map[string]float64{"kv_capacity_tokens": 1}))
	l, ok := find(f, "kernels")
	if !ok || l.Status != StatusMeasureFirst || !strings.Contains(l.First, "run dcgm_correlate") {
		t.Errorf("%+v", l)
	}
	ranked := f.Ranked(Mixed)
	if last := ranked[len(ranked)-1]; last.Status != StatusMeasureFirst {
		t.Errorf("the last of the ranking is %s", last.ID)
	}
}

// Data-parallel attention saves the copies of the latent, and costs copies of
// attention: it pays with many sequences only (vector V4).
func TestDPAttention(t *testing.T) {
	dsv3 := perf.Setting{"hardware": "H200", "model_shape": "deepseek-v3", "quant": "fp8", "kv_cache_dtype": "bfloat16", "tp": "8", "pp": "1", "dp": "1", "gpu_count": "8", "isl": "1024", "osl": "1024"}
	if _, ok := find(build(t, "", row("a", 1, with(dsv3, "concurrency", "64"), 64, 40, nil)), "dp_attention"); ok {
		t.Error("it pays at 64 sequences, where copies of the cache are 8 % of the bytes")
	}
	l, ok := find(build(t, "", row("a", 1, with(dsv3, "concurrency", "512"), 512, 60, nil)), "dp_attention")
	// TP8 at 512: 671.297 GB of weights (all experts) and 8 copies of 55.264 GB; DP8: 1.5751 GB a token.
	if !ok || !strings.Contains(l.Basis, "with one copy of the cache 21.00 ms") || l.High < 1.05 || l.High > 1.3 {
		t.Errorf("%t %+v", ok, l)
	}
}

// The score is value over cost, by focus; the cells of a focus are those with
// few streams, or with many.
func TestRank(t *testing.T) {
	room := map[string]float64{"kv_capacity_tokens": 1e6}
	f := build(t, "", row("a", 1, with(llama70(), "concurrency", "1"), 1, 10, room), row("a", 1, llama70(), 64, 12, room))
	if next, _ := f.Next(Latency); next.ID != "speculation" {
		t.Errorf("for latency %s is next", next.ID)
	}
	if next, _ := f.Next(Throughput); next.ID != "more_concurrency" {
		t.Errorf("for throughput %s is next", next.ID)
	}
	more, _ := find(f, "more_concurrency")
	// 3 trials of 600 + 60 s on 4 GPUs are 2.2 GPU-hours, risk flag (1); the one cell of the focus gives ln(1.7547)/2.
	if math.Abs(more.GPUHours-2.2) > 1e-9 || more.Cost != more.GPUHours || math.Abs(more.Value[Throughput]-math.Log(2*12/(12+1.67773))/2) > 1e-5 || more.Value[Latency] != 0 {
		t.Errorf("%+v", more)
	}
	if math.Abs(more.Value[Mixed]-more.Value[Throughput]/2) > 1e-12 {
		t.Errorf("over both cells the value is %g, want half of %g", more.Value[Mixed], more.Value[Throughput])
	}
	spec, _ := find(f, "speculation")
	if spec.Cost != 2*spec.GPUHours || !strings.Contains(spec.Gate, "the measured acceptance length") {
		t.Errorf("risk image doubles the cost: %+v", spec)
	}
}

// A lever that was tried stays with what it gave: with three trials and an
// interval below what counts it is refuted; else it is the least that is known.
func TestTriedHere(t *testing.T) {
	room := map[string]float64{"kv_capacity_tokens": 1}
	trials := func(config, kv string, tpots ...float64) (rows []perf.Row) {
		for i, tpot := range tpots {
			rows = append(rows, row(config, i+1, with(llama70(), "kv_cache_dtype", kv), 64, tpot, room))
		}
		means := perf.MeanRows(rows)
		return append(rows, means...)
	}
	other := row("c", 1, with(llama70(), "tp", "8", "gpu_count", "8"), 64, 9, room)

	f := build(t, "", append(append(trials("a", "bfloat16", 12.0, 12.1, 12.2), trials("b", "fp8", 12.0, 12.1, 12.15)...), other)...)
	if len(f.Refuted) != 1 || f.Refuted[0].ID != "kv_fp8" || !strings.Contains(f.Refuted[0].Evidence, "n=3") || !strings.Contains(f.Refuted[0].Evidence, "memory 8.92 to 8.08 ms") {
		t.Errorf("refuted: %+v", f.Refuted)
	}
	if l, ok := find(f, "kv_fp8"); !ok || len(l.Gains) != 1 || !strings.Contains(l.Gains[0].Cell, "config=c") || l.Gains[0].Low != 1 {
		t.Errorf("where it was not tried it is open, without evidence: %+v", l)
	}

	f = build(t, "", append(append(trials("a", "bfloat16", 12.0, 12.1, 12.2), trials("b", "fp8", 11.4, 11.5, 11.6)...), other)...)
	l, ok := find(f, "kv_fp8")
	if len(f.Refuted) != 0 || !ok || len(l.Gains) != 1 || l.Gains[0].Low < 1.02 || l.Gains[0].Low > 12.1/11.5 {
		t.Errorf("what it gave at a is the least it may give at c: %+v, refuted %+v", l.Gains, f.Refuted)
	}

	// Two trials refute nothing.
	f = build(t, "", append(trials("a", "bfloat16", 12.0, 12.2), trials("b", "fp8", 12.0, 12.15)...)...)
	if len(f.Refuted) != 0 {
		t.Errorf("refuted by two trials: %+v", f.Refuted)
	}
	// Cells that differ otherwise too are no evidence.
	b := trials("b", "fp8", 12.0, 12.1, 12.15)
	for _, r := range b {
		s := r.SettingOf()
		s["max_num_seqs"] = "8"
		r.SetJSON("setting", map[string]string(s))
	}
	if f = build(t, "", append(trials("a", "bfloat16", 12.0, 12.1, 12.2), b...)...); len(f.Refuted) != 0 {
		t.Errorf("refuted by another setting: %+v", f.Refuted)
	}
}

// A trial that was excluded from the mean is no evidence either.
func TestTriedWithoutExcluded(t *testing.T) {
	s := llama70()
	var rows []perf.Row
	for i, tpot := range []float64{12.0, 12.1, 60} {
		r := row("a", i+1, s, 64, tpot, nil)
		r.SetBool("excluded", tpot == 60)
		rows = append(rows, r)
	}
	mean := perf.MeanRows(rows[:2])[0]
	got := trialValues(append(rows, mean))[mean.Text("row_uid")]
	if len(got) != 2 || got[0] < 600 || got[1] < 600 {
		t.Errorf("values behind the mean: %v", got)
	}
}

const triedFile = `
tried:
  - {lever: kv_fp8, config: a, ratio: 1.003, low: 0.998, high: 1.008, trials: 4, evidence: campaign kv-1, why: "dram 0.71 to 0.70"}
`

func TestTriedElsewhere(t *testing.T) {
	room := map[string]float64{"kv_capacity_tokens": 1}
	rows := []perf.Row{row("a", 1, llama70(), 64, 12, room)}
	f := build(t, triedFile, rows...)
	if _, open := find(f, "kv_fp8"); open || len(f.Refuted) != 1 || f.Refuted[0].Evidence != "1.003x (95 % interval 0.998 to 1.008, n=4): dram 0.71 to 0.70; campaign kv-1" || f.Refuted[0].Basis != "configuration a" {
		t.Errorf("%t %+v", open, f.Refuted)
	}
	f = build(t, strings.Replace(triedFile, "config: a, ratio: 1.003, low: 0.998, high: 1.008", "ratio: 1.05, low: 1.03, high: 1.06", 1), rows...)
	if l, _ := find(f, "kv_fp8"); len(f.Refuted) != 0 || l.Low != 1.03 || Unlock(l.Low, l.High) != "1.03x to 1.08x" {
		t.Errorf("%+v", l)
	}
}

// An empty frontier is a result only at a documented wall, or with every lever
// that applies refuted.
func TestStates(t *testing.T) {
	none := "levers: {kv_bytes: 1, bf16_bytes: 1, unexplained: 1, speculate_below: 0}\n"
	// Tools reach 3.11 TB/s of an H200: 13.763 ms a step, and 1023 steps for 64
	// prompts, which take longer than all products. 15.80 ms are 87 % of that.
	full := map[string]float64{"kv_capacity_tokens": 1}
	for _, c := range []struct {
		name, own string
		row       perf.Row
		state     State
		text      string
	}{
		{"open", "", row("a", 1, llama70(), 64, 12, full), Open, "2 levers are open"},
		{"at a wall", none, row("a", 1, llama70(), 64, 15.8, full), Empty, "FRONTIER EMPTY: documented wall at 87 % of achievable (3.11 TB/s by dcgmproftester -t 1005"},
		{"below it", none, row("a", 1, llama70(), 64, 22.91, full), Required, "FRONTIER_REQUIRED: no lever applies, and no wall is documented: 60 % of achievable (3.11 TB/s"},
		{"no wall is known", none, row("a", 1, with(llama70(), "hardware", "MI300X"), 64, 15.8, full), Required, "what tools reach on mi300x_gfx942 is not known"},
		{"all refuted", "levers: {bf16_bytes: 1, unexplained: 1, speculate_below: 0}\n" + triedFile, row("a", 1, llama70(), 64, 22.91, full), Empty, "FRONTIER EMPTY: all 1 levers that apply are refuted"},
		{"evidence is missing", "levers: {kv_bytes: 1, bf16_bytes: 1, speculate_below: 0}\n", row("a", 1, llama70(), 64, 30, map[string]float64{"kv_capacity_tokens": 1}), Required, "FRONTIER_REQUIRED: no lever is open, and those that may help wait for evidence; measure first: run dcgm_correlate"},
	} {
		f := build(t, c.own, c.row)
		if f.State != c.state || !strings.Contains(f.Text, c.text) {
			t.Errorf("%s: %s %q, want %s %q (%d levers)", c.name, f.State, f.Text, c.state, c.text, len(f.Levers))
		}
	}
}

func TestConfigRefusals(t *testing.T) {
	for own, want := range map[string]string{
		"schema: other/v1":    `schema "other/v1"`,
		"risks: {flag: 0}":    "risks.flag is 0",
		"risks: {magic: 1}":   "risks.magic",
		"gate: {trials: 0}":   "one trial and more",
		"bounds: {quue: 1}":   "quue",
		"tried: [{lever: x}]": `no lever "x" (known: [kv_fp8`,
		"tried: [{lever: kernels, ratio: 1, low: 2, high: 1, trials: 1}]":                      "want 0 < low <= ratio <= high",
		"tried: [{lever: kernels, ratio: 1, low: 1, high: 1, trials: 3}]":                      "evidence and why stand with every lever",
		"tried: [{lever: kernels, ratio: 1, low: 1, high: 1, trials: 0, why: a, evidence: b}]": "and trials",
	} {
		if _, err := ParseConfig("own.yaml", []byte(own)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", own, err, want)
		}
	}
	c, err := ParseConfig("own.yaml", []byte("bounds: {memory: 0.5}"))
	if err != nil || c.Bounds.Memory != 0.5 || c.Bounds.Compute != 0.6 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestJSON(t *testing.T) {
	f := build(t, triedFile, row("a", 1, llama70(), 64, 30, nil))
	text, err := f.JSON()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Read(text)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := back.JSON(); err != nil || string(again) != string(text) {
		t.Errorf("read and written again it differs: %v", err)
	}
	for bad, want := range map[string]string{"{": "frontier:", `{"schema":"x"}`: `the schema is "x"`} {
		if _, err := Read([]byte(bad)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(triedFile))
	f.Add([]byte("bounds: {memory: 0.5}"))
	f.Fuzz(func(t *testing.T, own []byte) {
		if c, err := ParseConfig("own.yaml", own); err == nil && (c.Gate.Trials < 1 || !(c.Levers.LeastUnlock >= 1)) {
			t.Errorf("%+v", c)
		}
	})
}

// Rows of a roofline sweep are no cells of the campaign, unless there are no
// others.
func TestSweptRowsAreLeftOut(t *testing.T) {
	own, swept := row("a", 1, llama70(), 64, 12, nil), row("sweep", 1, llama70(), 64, 12, nil)
	swept.SetJSON("extra_json", map[string]any{"roofline": map[string]any{"kind": "decode"}})
	if f := build(t, "", own, swept); len(f.Cells) != 1 || !strings.Contains(f.Cells[0].Cell, "config=a") {
		t.Errorf("cells %+v", f.Cells)
	}
	if f := build(t, "", swept); len(f.Cells) != 1 {
		t.Errorf("cells of the sweep alone %+v", f.Cells)
	}
}
