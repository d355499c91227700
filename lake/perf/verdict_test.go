package perf

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pipeline/internal/digest"
)

// goodTrial is a trial that passes every gate: measured on hardware, in a full
// context, over a minute of a steady window. scale is how fast it is.
func goodTrial(config string, concurrency, trial int, scale float64, change func(m *Measurement)) Row {
	c := float64(concurrency)
	tpot := (10 + c/16) / scale
	dist := func(v float64) *Dist {
		return &Dist{N: 700, Mean: v, Std: v / 10, Min: v / 2, P50: v, P90: v, P95: v, P99: v, Max: v}
	}
	tps := 1000 * c / tpot
	summary := Summary{
		DurationS: 70, Requests: 20 * concurrency, InputTokens: int64(1000 * 20 * concurrency), OutputTokens: tps * 70,
		RequestThroughput: ptr(tps / 100), OutputThroughput: ptr(tps), TotalThroughput: ptr(11 * tps), PerUserThroughput: ptr(1000 / tpot),
		TTFT: dist(50 + c), TPOT: dist(tpot), ITL: dist(tpot), E2E: dist(50 + c + 100*tpot), ISL: dist(1000), OSL: dist(100), EffectiveBatch: ptr(c),
	}
	steady := summary
	start := time.Date(2026, 11, 23, 10, 0, trial, 0, time.UTC)
	m := &Measurement{
		Schema: MeasurementSchema, Status: Full, Start: start, End: start.Add(70 * time.Second),
		Setting: Setting{
			"model": "glm", "model_hf_path": "zai-org/GLM-5.1", "hardware": "B200", "ceiling_key": "b200_sm100", "gpu_count": "8", "quant": "fp8", "kv_cache_dtype": "fp8",
			"tp": "8", "dp": "1", "pp": "1", "ep": "1", "parallel_strategy": "tp8", "max_num_seqs": "256", "max_num_batched_tokens": "8192", "max_model_len": "32768",
			"gpu_memory_utilization": "0.9", "cudagraph_mode": "FULL_AND_PIECEWISE", "enforce_eager": "false", "async_scheduling": "true", "prefix_caching": "true",
			"dataset": "synthetic", "isl": "1000", "osl": "100", "concurrency": fmt.Sprint(concurrency), "num_prompts": fmt.Sprint(20 * concurrency), "cache_mode": "cold",
			"image": "vllm/vllm-openai:v0.15.1", "engine": "vllm", "engine_version": "0.15.1", "engine_version_observed": "0.15.1+cu129",
			"node": "gpu-07", "gpu_uuids": "GPU-a,GPU-b", "trial": fmt.Sprint(trial), "random_seed": fmt.Sprint(trial),
		},
		Driver:  Driver{Name: "native", Version: "1"},
		Asked:   Workload{API: "chat", Concurrency: concurrency, Arrival: Closed, NumPrompts: 20 * concurrency, ISL: 1000, OSL: 100, Dataset: "synthetic"},
		Summary: summary, Steady: &steady, Window: &Window{FromNS: 2e9, ToNS: 68e9, Method: "all streams busy", Share: 0.9},
		Server: &Server{PrefixHitRate: ptr(0.01)},
	}
	if change != nil {
		change(m)
	}
	o := Origin{Source: "measurement.json", Artifacts: map[string]digest.Digest{"measurement.json": digest.Of(fmt.Appendf(nil, "%s %d %d", config, concurrency, trial))},
		Cell: []Coord{{"config", config}, {"concurrency", fmt.Sprint(concurrency)}, {"trial", fmt.Sprint(trial)}}}
	r := RowOf(o, m)
	r.SetText("steady_class", Flat)
	r.SetInt("throttle_mask", 0)
	r.SetFloat("pct_sol_tpot", 42)
	return r
}

// goodTrials are trials 1 to n of one cell, whose speeds differ by a percent.
func goodTrials(config string, concurrency, n int, scale float64, change func(m *Measurement)) []Row {
	var rows []Row
	for trial := 1; trial <= n; trial++ {
		wobble := 1 + 0.005*float64([]int{0, 1, -1, 2, -2, 0}[(trial-1)%6])
		rows = append(rows, goodTrial(config, concurrency, trial, scale*wobble, change))
	}
	return rows
}

func withMeans(rows []Row) []Row { return append(rows, MeanRows(rows)...) }

func codesOf(refusals []Refusal) []string {
	var out []string
	for _, f := range refusals {
		out = append(out, f.Code)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Every gate has a change of a good campaign that trips it, and the same
// campaign without it passes all.
func TestGates(t *testing.T) {
	base := func() []Row { return append(goodTrials("fp8", 16, 3, 1, nil), goodTrials("fp8", 64, 3, 1, nil)...) }
	named := Terms{Baseline: Baseline{Name: "fp8", Config: "fp8"}}
	if r := ReviewRows(withMeans(base()), named); r.Tier != TierVerdict || len(r.Refusals) > 0 || len(r.Cells) != 2 {
		t.Fatalf("the good campaign is %s: %v", r.Tier, r.Refusals)
	}
	set := func(change func(r Row)) func([]Row) ([]Row, Terms) {
		return func(rows []Row) ([]Row, Terms) { change(rows[0]); return rows, named }
	}
	tripped := map[string]bool{"V04": true, "V14": true} // of claims: see TestClaims
	for _, c := range []struct {
		name, code, text string
		trip             func([]Row) ([]Row, Terms)
	}{
		{"simulated", "V00", "the endpoint is simulated", set(func(r Row) { r.SetBool("simulated", true) })},
		{"two trials", "V01", "2 FULL trials (need 3 on the same GPUs)", func(rows []Row) ([]Row, Terms) { return rows[1:], named }},
		{"another node", "V02", "trials ran on gpu-07 GPU-a,GPU-b (3) and gpu-11 GPU-a,GPU-b (1); GPUs of one kind differ by 8 %", func(rows []Row) ([]Row, Terms) {
			return append(rows, goodTrial("fp8", 16, 4, 1, func(m *Measurement) { m.Setting["node"] = "gpu-11" })), named
		}},
		{"a node unknown", "V02", "the node is unknown", set(func(r Row) { r.Clear("node") })},
		{"TPOT varies", "V03", "median TPOT, ms has a CV of", set(func(r Row) { r.SetFloat("headline_tpot_ms", 12.5) })},
		{"throughput varies", "V03", "output tok/s/GPU has a CV of", set(func(r Row) { r.SetFloat("output_tps_per_gpu", 160) })},
		{"few prompts", "V05", "num_prompts 20 < 2c = 32", func(rows []Row) ([]Row, Terms) {
			for _, r := range rows[:3] {
				r.SetInt("num_prompts", 20)
			}
			return rows, named
		}},
		{"a short window", "V05", "steady window 21 s < 60 s", set(func(r Row) { r.SetFloat("steady_s", 21) })},
		{"no window", "V05", "there is no steady window", set(func(r Row) { r.SetText("headline_window", "full") })},
		{"a small window", "V05", "50 % of the requests", set(func(r Row) { r.SetFloat("steady_share", 0.5) })},
		{"a window of an unknown share", "V05", "what share of the requests ended inside the steady window is not known", set(func(r Row) { r.Clear("steady_share") })},
		{"errors unknown", "V08", "trial 1: whether requests failed is not known", set(func(r Row) { r.Clear("error_rate"); r.Clear("completed") })},
		{"drift", "V06", "trial 1: output throughput still rose (drift)", set(func(r Row) { r.SetText("steady_class", Drift) })},
		{"slowdown", "V06", "fell", set(func(r Row) { r.SetText("steady_class", Slowdown) })},
		{"steadiness unknown", "V06", "trial 1: whether throughput was steady is not known", set(func(r Row) { r.SetText("steady_class", "") })},
		{"throttled", "V07", "trial 1: throttled (reasons 0x40)", set(func(r Row) { r.SetInt("throttle_mask", 0x40) })},
		{"XID", "V07", "trial 1: DC13: gpu-07/3: XID 79", set(func(r Row) {
			r.SetJSON("extra_json", map[string]any{"dcgm": map[string]any{"no_verdict": []string{"DC13: gpu-07/3: XID 79"}}})
		})},
		{"a neighbour", "V07", "foreign_traffic", set(func(r Row) { r.addDoubt("foreign_traffic: the server was working on 3 requests before the load") })},
		{"errors", "V08", "1.5 % of the requests failed", set(func(r Row) { r.SetFloat("error_rate", 0.015) })},
		{"short outputs", "V08", "outputs are 12 %", set(func(r Row) { r.SetFloat("osl_mismatch_pct", 12) })},
		{"not all prompts", "V08", "100 of 320 prompts were sent", set(func(r Row) { r.SetInt("completed", 100) })},
		{"a trial that failed", "V08", "trial 4 is FAILED: CUDA out of memory", func(rows []Row) ([]Row, Terms) {
			return append(rows, goodTrial("fp8", 16, 4, 1, func(m *Measurement) { m.Status, m.Failure = Failed, "CUDA out of memory" })), named
		}},
		{"no baseline", "V09", "no baseline is named", func(rows []Row) ([]Row, Terms) { return rows, Terms{} }},
		{"a baseline that is not there", "V09", "the baseline bf16 has no FULL cell", func(rows []Row) ([]Row, Terms) {
			return rows, Terms{Baseline: Baseline{Name: "bf16", Config: "bf16"}}
		}},
		{"an eager baseline", "V09", "the baseline prod/eager runs enforce_eager=true / cudagraph_mode=NONE; an eager strawman is not a baseline", func(rows []Row) ([]Row, Terms) {
			eager := goodTrials("eager", 16, 3, 1, func(m *Measurement) { m.Setting["enforce_eager"], m.Setting["cudagraph_mode"] = "true", "NONE" })
			return rows, Terms{Baseline: Baseline{Name: "prod/eager", Config: "eager", Rows: eager}}
		}},
		{"a baseline not known to use graphs", "V09", "is unknown", func(rows []Row) ([]Row, Terms) {
			dark := goodTrials("dark", 16, 3, 1, func(m *Measurement) { m.Setting["enforce_eager"], m.Setting["cudagraph_mode"] = Unknown, Unknown })
			return rows, Terms{Baseline: Baseline{Name: "prod/dark", Config: "dark", Rows: dark}}
		}},
		{"a simulated baseline", "V09", "is simulated", func(rows []Row) ([]Row, Terms) {
			sim := goodTrials("sim", 16, 3, 1, func(m *Measurement) { m.Simulated = true })
			return rows, Terms{Baseline: Baseline{Name: "prod/sim", Config: "sim", Rows: sim}}
		}},
		{"context missing", "V10", "the context lacks quant, gpu_uuids", set(func(r Row) { r.Clear("quant"); r.Clear("gpu_uuids") })},
		{"another version ran", "V11", "declared vllm 0.15.1, the server says 0.13.0", set(func(r Row) { r.SetText("engine_version_observed", "0.13.0") })},
		{"another image ran", "V11", "declared image vllm/vllm-openai:v0.13.0, the server says 0.15.1+cu129", set(func(r Row) { r.SetText("image", "vllm/vllm-openai:v0.13.0") })},
		{"a mismatch was allowed", "V11", "quant is declared as nvfp4", set(func(r Row) { r.addDoubt("mismatch: quant is declared as nvfp4, but GET /server_info says fp8") })},
		{"above the ceiling", "V12", "SOL_OVER: pct_sol_tpot 131 % of the ceilings of b200_sm100 at B_eff=16", set(func(r Row) { r.SetFloat("pct_sol_tpot", 131) })},
		{"above the ceiling, and withheld", "V12", "SOL_OVER: TPOT", set(func(r Row) {
			r.Clear("pct_sol_tpot")
			r.SetList("sol_notes", []string{"SOL_OVER: TPOT is below its floor"})
		})},
		{"not cold", "V13", "declared cold, but 40 % of the input tokens", set(func(r Row) { r.SetFloat("prefix_hit_rate", 0.4) })},
		{"not cold, as the driver found", "V13", "declared cold, but 30% of the input tokens", set(func(r Row) { r.addDoubt("not_cold: 30% of the input tokens were in the prefix cache") })},
		{"not warm", "V13", "declared warm, but 1 % of the input tokens", set(func(r Row) { r.SetText("cache_mode", "warm") })},
		{"warm, and nobody knows", "V13", "nothing tells", set(func(r Row) { r.SetText("cache_mode", "warm"); r.Clear("prefix_hit_rate") })},
		{"faster with more streams", "V15", "TPOT at c=64 (5.61 ms) is 0.51x TPOT at c=16 (11 ms) in the same configuration", func(rows []Row) ([]Row, Terms) {
			for _, r := range rows[3:] {
				r.SetFloat("headline_tpot_ms", 5.61)
			}
			return rows, named
		}},
	} {
		tripped[c.code] = true
		t.Run(c.name, func(t *testing.T) {
			rows, terms := c.trip(base())
			rows = withMeans(rows)
			review := ReviewRows(rows, terms)
			if review.Tier != TierDraft {
				t.Error("it is still a verdict")
			}
			i := slices.IndexFunc(review.Refusals, func(f Refusal) bool { return f.Code == c.code && strings.Contains(f.Text, c.text) })
			if i < 0 {
				t.Fatalf("no %s says %q: %v", c.code, c.text, review.Refusals)
			}
			if review.Refusals[i].Do == "" {
				t.Error("it does not say what to do")
			}
			review.Mark(rows)
			told := 0
			for _, r := range rows {
				if strings.Contains(r.Text("verdict_refusals"), `"code":"`+c.code+`"`) && r.Text("verdict_tier") == "draft" {
					told++
				}
			}
			if told == 0 {
				t.Error("no row tells of it")
			}
		})
	}
	for _, g := range Gates() {
		if !tripped[g.Code] {
			t.Errorf("nothing trips %s", g.Code)
		}
	}
}

// What a gate has nothing to go by is listed, and refuses nothing.
func TestUnchecked(t *testing.T) {
	rows := goodTrials("fp8", 16, 3, 1, func(m *Measurement) { m.Server, m.Setting["engine_version_observed"] = nil, Unknown })
	for _, r := range rows {
		r.Clear("throttle_mask")
		r.Clear("pct_sol_tpot")
	}
	review := ReviewRows(withMeans(rows), Terms{Baseline: Baseline{Name: "fp8", Config: "fp8"}})
	if review.Tier != TierVerdict {
		t.Errorf("it is refused: %v", review.Refusals)
	}
	var codes []string
	for _, u := range review.Cells[0].Unchecked {
		codes = append(codes, u[:3])
	}
	if want := []string{"V07", "V11", "V12", "V13"}; !slices.Equal(codes, want) {
		t.Errorf("unchecked are %v, want %v", codes, want)
	}
}

// A column that a gate asks for and that is not there is named.
func TestUncheckedColumns(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(r Row)
		want   []string
	}{
		{"all is there", func(Row) {}, nil},
		{"no TPOT", func(r Row) { r.Clear("headline_tpot_ms") }, []string{"V03: not every trial has median TPOT, ms", "V15: not every trial has median TPOT, ms"}},
		{"no TTFT", func(r Row) { r.Clear("headline_ttft_ms") }, []string{"V03: not every trial has median TTFT, ms"}},
		{"no error rate", func(r Row) { r.Clear("error_rate") }, []string{"V08: nothing tells what share of the requests failed"}},
		{"no count, no lengths", func(r Row) { r.Clear("completed"); r.Clear("osl_mismatch_pct") }, []string{"V08: nothing tells whether all prompts were answered, nor whether outputs are as long as asked"}},
		{"DCGM without the reasons of clocks", func(r Row) {
			r.Clear("throttle_mask")
			r.SetJSON("extra_json", map[string]any{"dcgm": map[string]any{"checks": map[string]any{"DC01": "pass", "DC12": "not checked"}}})
		}, []string{"V07: no DCGM samples tell of throttling, XIDs or neighbours"}},
		{"DCGM with them", func(r Row) {
			r.Clear("throttle_mask")
			r.SetJSON("extra_json", map[string]any{"dcgm": map[string]any{"checks": map[string]any{"DC12": "pass"}}})
		}, nil},
	} {
		rows := goodTrials("fp8", 16, 3, 1, nil)
		c.change(rows[1])
		review := ReviewRows(withMeans(rows), Terms{Baseline: Baseline{Name: "fp8", Config: "fp8"}})
		if got := review.Cells[0].Unchecked; !slices.Equal(got, c.want) {
			t.Errorf("%s: unchecked are %q, want %q", c.name, got, c.want)
		}
		if review.Tier != TierVerdict {
			t.Errorf("%s: it is refused: %v", c.name, review.Refusals)
		}
	}
}

func TestClaims(t *testing.T) {
	// nvfp4 is 30 % faster in decode at low load, and slower at high load.
	campaign := func(trials int, streams ...int) []Row {
		var rows []Row
		for _, c := range streams {
			faster := 1.3
			if c >= 64 {
				faster = 0.9
			}
			rows = append(rows, goodTrials("fp8", c, trials, 1, nil)...)
			rows = append(rows, goodTrials("nvfp4", c, trials, faster, func(m *Measurement) { m.Setting["quant"], m.Setting["model"] = "nvfp4", "glm-nvfp4" })...)
		}
		return withMeans(rows)
	}
	beats := Claim{About: AboutDecodeLatency, Config: "nvfp4", Over: "fp8", Across: []string{"quant"}}
	level := Claim{About: AboutThroughput, Config: "fp8"}
	review := func(rows []Row, claims ...Claim) *Review {
		return ReviewRows(rows, Terms{Baseline: Baseline{Name: "fp8", Config: "fp8"}, Claims: claims})
	}

	r := review(campaign(4, 1, 16, 64, 256), beats, level)
	for _, c := range r.Claims {
		if c.Tier != TierVerdict {
			t.Errorf("%s is refused: %v", c.Text, c.Refusals)
		}
	}
	if want := "nvfp4 at c=1, c=16; fp8 at c=64, c=256"; r.Claims[0].Outcome != want {
		t.Errorf("the outcome is %q, want %q", r.Claims[0].Outcome, want)
	}
	if r.Claims[0].Status != ClaimPartly || r.Claims[1].Status != ClaimUpheld {
		t.Errorf("the claims are %s and %s", r.Claims[0].Status, r.Claims[1].Status)
	}
	if !strings.Contains(r.Claims[1].Outcome, "(n=4) at c=1, ISL 1000, OSL 100") {
		t.Errorf("the levels are %q", r.Claims[1].Outcome)
	}

	for _, c := range []struct {
		name, code, text string
		rows             []Row
		claim            Claim
	}{
		{"three trials do not beat", "V01", "it needs 4 trials on each side", campaign(3, 1, 16, 64, 256), beats},
		{"one cell is no matrix", "V14", "it has 2 of 8 (configuration x concurrency) cells", campaign(4, 1), beats},
		{"decode latency from throughput", "V04", "it cites output tok/s/GPU at num_prompts=20 (20c): TTFT-dominated; use median TPOT, ms", campaign(4, 1, 16, 64, 256),
			Claim{About: AboutDecodeLatency, Metric: "output_tps_per_gpu", Config: "fp8"}},
		{"TTFT from TPOT", "V04", "it cites median TPOT, ms, which is about decode latency; use median TTFT, ms", campaign(4, 1, 16, 64, 256), Claim{About: AboutTTFT, Metric: "headline_tpot_ms", Config: "fp8"}},
		{"an undeclared difference", "V10", "settings differ in model, quant", campaign(4, 1, 16, 64, 256), Claim{About: AboutDecodeLatency, Config: "nvfp4", Over: "fp8"}},
		{"a level that no number stands behind", "V01", "no number of goodput, requests/s stands behind it at c=1, ISL 1000, OSL 100; c=16", campaign(4, 1, 16, 64, 256), Claim{About: AboutGoodput, Config: "fp8"}},
		{"a comparison that no number stands behind", "V01", "goodput, requests/s can't be compared at c=1, ISL 1000, OSL 100: not measured on both sides", campaign(4, 1, 16, 64, 256),
			Claim{About: AboutGoodput, Config: "nvfp4", Over: "fp8", Across: []string{"quant"}}},
		{"no such configuration", "V01", "there is no configuration int8", campaign(4, 1, 16, 64, 256), Claim{About: AboutThroughput, Config: "int8"}},
	} {
		r := review(c.rows, c.claim)
		claim := r.Claims[0]
		if claim.Tier != TierDraft || r.Tier != TierDraft {
			t.Errorf("%s: it is a verdict", c.name)
		}
		if !slices.ContainsFunc(claim.Refusals, func(f Refusal) bool { return f.Code == c.code && strings.Contains(f.Text, c.text) }) {
			t.Errorf("%s: no %s says %q: %v", c.name, c.code, c.text, claim.Refusals)
		}
	}
	if r := review(campaign(3, 1, 16, 64, 256), level); r.Tier != TierVerdict {
		t.Errorf("three trials are not enough for a level: %v", r.Refusals)
	}
}

// A claim that is false is not stamped as true, however good its evidence.
func TestClaimStatus(t *testing.T) {
	for _, c := range []struct {
		name   string
		faster map[int]float64 // of A, by concurrency
		want   ClaimStatus
	}{
		{"wins everywhere", map[int]float64{1: 1.3, 16: 1.3}, ClaimUpheld},
		{"wins, and ties", map[int]float64{1: 1.3, 16: 1}, ClaimPartly},
		{"wins, and loses", map[int]float64{1: 1.3, 16: 0.8}, ClaimPartly},
		{"loses everywhere", map[int]float64{1: 0.8, 16: 0.8}, ClaimRefuted},
		{"ties, and loses", map[int]float64{1: 1, 16: 0.8}, ClaimRefuted},
		{"ties", map[int]float64{1: 1, 16: 1}, ClaimTie},
	} {
		var rows []Row
		for n, faster := range c.faster {
			rows = append(rows, goodTrials("fast", n, 4, faster, func(m *Measurement) { m.Setting["max_num_seqs"] = "512" })...)
			rows = append(rows, goodTrials("slow", n, 4, 1, nil)...)
		}
		r := ReviewRows(withMeans(rows), Terms{Baseline: Baseline{Name: "slow", Config: "slow"}, Claims: []Claim{{About: AboutThroughput, Config: "fast", Over: "slow", Across: []string{"max_num_seqs"}}}})
		if got := r.Claims[0]; got.Status != c.want || got.Tier != TierVerdict {
			t.Errorf("%s: it is %s (%s), want %s: %v", c.name, got.Status, got.Tier, c.want, got.Refusals)
		}
	}
	none := ReviewRows(withMeans(goodTrials("fp8", 16, 3, 1, nil)), Terms{Claims: []Claim{{About: AboutGoodput, Config: "fp8"}}})
	if got := none.Claims[0].Status; got != ClaimUntested {
		t.Errorf("a claim without a number is %s", got)
	}
}

// A cell of the matrix that failed is named with the root cause of its worker.
func TestMatrixNamesRootCause(t *testing.T) {
	var rows []Row
	for _, c := range []int{1, 16, 64, 256} {
		rows = append(rows, goodTrials("fp8", c, 4, 1, nil)...)
		rows = append(rows, goodTrials("nvfp4", c, 4, 1.2, func(m *Measurement) {
			m.Setting["quant"] = "nvfp4"
			if m.Asked.Concurrency == 256 {
				m.Status, m.Failure = Failed, "(EngineCore pid=4242) RuntimeError: no kernel for cutlass fp4; shut down"
			}
		})...)
	}
	r := ReviewRows(withMeans(rows), Terms{Claims: []Claim{{About: AboutThroughput, Config: "nvfp4", Over: "fp8", Across: []string{"quant"}}}})
	want := "7 of 8 (configuration x concurrency) cells; required: all configurations x {1, 16, 64, 256}; missing: nvfp4 at c=256 ((EngineCore pid=4242) RuntimeError: no kernel for cutlass fp4)"
	if !slices.ContainsFunc(r.Claims[0].Refusals, func(f Refusal) bool { return f.Code == "V14" && strings.Contains(f.Text, want) }) {
		t.Errorf("V14 does not say %q: %v", want, r.Claims[0].Refusals)
	}
}

func TestOutliersAreExcludedWithACauseOnly(t *testing.T) {
	rows := goodTrials("fp8", 16, 4, 1, nil)
	rows[3].SetFloat("output_tps_per_gpu", 120) // of about 181
	FlagOutliers(rows)
	if got := rows[3].Text("outlier"); !strings.Contains(got, "from the median") || !strings.Contains(got, "no physical cause is recorded, so it counts") {
		t.Errorf("the outlier is %q", got)
	}
	if m := MeanRows(rows); len(m) != 1 || trialsN(m[0]) != 4 {
		t.Error("an outlier without a cause is not in the mean")
	}
	rows = goodTrials("fp8", 16, 4, 1, nil)
	rows[3].SetFloat("output_tps_per_gpu", 120)
	rows[3].SetInt("throttle_mask", 0x20)
	FlagOutliers(rows)
	m := MeanRows(rows)
	if len(m) != 1 || trialsN(m[0]) != 3 || !strings.Contains(m[0].Text("status_reason"), "3 of 4 trials") {
		t.Fatalf("an outlier with a cause is in the mean, or nobody says that it is not: %v", m)
	}
	if got := rows[3].Text("outlier"); !strings.Contains(got, "excluded: throttled (reasons 0x20)") {
		t.Errorf("the outlier is %q", got)
	}
	if r := ReviewRows(append(rows, m...), Terms{Baseline: Baseline{Name: "fp8", Config: "fp8"}}); r.Tier != TierVerdict {
		t.Errorf("the three trials that are left are refused: %v", r.Refusals)
	} else if got := r.Cells[0].Excluded; len(got) != 1 || !strings.HasPrefix(got[0], "trial 4: ") || !strings.Contains(got[0], "excluded: throttled (reasons 0x20)") {
		t.Errorf("a verdict does not name the trial that was left out: %q", got)
	}
	all := append(rows, m...)
	x := Compare(SideOf("fp8", "fp8", Cells(all)), SideOf("again", "fp8", Cells(withMeans(goodTrials("fp8", 16, 4, 1, nil)))), CompareOptions{})
	if len(x.Excluded) != 1 || !strings.HasPrefix(x.Excluded[0], "fp8 at c=16, ISL 1000, OSL 100: trial 4: ") {
		t.Errorf("a comparison does not name the trial that was left out: %q", x.Excluded)
	}
}

func trialsN(r Row) int64 { n, _ := r.Int("trials_n"); return n }

func TestReviewRoundTrip(t *testing.T) {
	r := ReviewRows(goodTrials("fp8", 16, 2, 1, nil), Terms{Claims: []Claim{{About: AboutTTFT, Config: "fp8"}}})
	text, err := digest.Canonical(r)
	if err != nil {
		t.Fatal(err)
	}
	back, err := ReadReview(text)
	if err != nil || back.Tier != r.Tier || len(back.Refusals) != len(r.Refusals) || back.Claims[0].Text != r.Claims[0].Text {
		t.Errorf("read back %+v, %v", back, err)
	}
	for _, bad := range []string{`{`, `{"schema":"x"}`, `{"schema":"verdict/v1","tier":"gold"}`, `{"schema":"verdict/v1","tier":"verdict","refusals":[{"code":"V01"}]}`} {
		if _, err := ReadReview([]byte(bad)); err == nil {
			t.Errorf("%s is read", bad)
		}
	}
	if m := MergeReviews(r, &Review{Tier: TierVerdict}); m.Tier != TierDraft || len(m.Cells) != len(r.Cells) {
		t.Error("a draft and a verdict are a verdict together")
	}
	if MergeReviews().Tier != TierDraft {
		t.Error("nothing is a verdict")
	}
}

// What is refused in the same words is told once, numbers apart.
func TestGroupRefusals(t *testing.T) {
	groups := GroupRefusals([]Refusal{
		{Code: "V05", Cell: "a", Text: "steady window 7 s < 60 s"}, {Code: "V01", Cell: "a", Text: "1 FULL trial"}, {Code: "V05", Cell: "b", Text: "steady window 0.2 s < 60 s"},
		{Code: "V05", Cell: "c", Text: "steady window 7 s < 60 s"}, {Code: "V09", Text: "no baseline is named"},
	})
	var got []string
	for _, g := range groups {
		got = append(got, g.String())
	}
	want := []string{
		"V01: cell a: 1 FULL trial",
		"V05: 3 cells, a and 2 more: steady window 7 s < 60 s (the first of them; the others are alike, with numbers of their own)",
		"V09: no baseline is named",
	}
	if !slices.Equal(got, want) {
		t.Errorf("groups are %q, want %q", got, want)
	}
}
