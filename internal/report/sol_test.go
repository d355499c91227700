package report

import (
	"bytes"

	"slices"
	"strings"
	"testing"

	"pipeline/internal/frontier"
	"pipeline/lake/perf"
)

// withFloors puts Speed of Light beside sample rows, in numbers that are easy
// to find on a page. The cells of 8 streams are above it, and withheld.
func withFloors(rows []perf.Row) []perf.Row {
	for _, r := range rows {
		c, ok := r.Int("concurrency")
		if !ok || r.IsNull("output_tps_per_gpu") {
			continue
		}
		r.SetText("sol_bandwidth_key", "b200_sm100.hbm3e_tbps")
		r.SetFloat("sol_bandwidth_tbps", 8)
		r.SetText("sol_compute_key", "b200_sm100.dense_tflops.fp8")
		r.SetFloat("sol_compute_tflops", 4500)
		r.SetText("bound", "memory")
		r.SetText("pct_sol_kind", "agg")
		r.SetText("achievable_source", "5.87 TB/s by a tool (its source)")
		tpot, _ := r.Float("headline_tpot_ms")
		tps, _ := r.Float("output_tps_per_gpu")
		for name, v := range map[string]float64{
			"sol_batch": float64(c) * 0.9, "tpot_floor_ms": tpot / 2, "t_mem_ms": tpot / 2, "t_flop_ms": tpot / 10, "t_comm_ms": tpot / 20, "t_prefill_ms": tpot / 4,
			"footprint_gb_per_token": 50 / float64(c), "ceiling_output_tps_per_gpu_decode": 2 * tps, "ceiling_output_tps_per_gpu_agg": tps / 0.6125, "ttft_floor_ms": 10,
			"pct_sol": 61.25, "pct_sol_tpot": 50, "pct_sol_tps_decode": 50, "pct_sol_tps_agg": 61.25, "pct_sol_ttft": 12.5, "pct_achievable": 83.5, "ridge": 562.5, "ai_flop_per_byte": 4.25,
		} {
			r.SetFloat(name, v)
		}
		r.SetInt("kv_capacity_tokens", 1655926)
		r.SetList("sol_notes", []string{})
		if c == 8 {
			why := "SOL_OVER: 131 % of ceiling b200_sm100.hbm3e_tbps at B_eff=7 (pct_sol_tpot): footprint, quant map or batch is wrong; %SoL is withheld"
			r.SetList("sol_notes", []string{why})
			for _, name := range []string{"pct_sol", "pct_sol_tpot", "pct_sol_tps_decode", "pct_sol_tps_agg", "pct_achievable"} {
				r.Clear(name)
			}
		}
	}
	return rows
}

func sampleFrontier() *frontier.Frontier {
	lever := frontier.Lever{
		ID: "kv_fp8", Name: "KV cache in fp8", Component: "memory", Status: frontier.StatusOpen, Low: 1, High: 1.21, Basis: "floor: memory takes 10 ms of 20 ms", Gate: "the same cell with kv_cache_dtype=fp8",
		GPUHours: 6, Risk: "flag", Cost: 6, Gains: []frontier.Gain{{Cell: "concurrency=64,config=fp8-tp8", Low: 1, High: 1.21}},
		Value: map[frontier.Focus]float64{frontier.Mixed: 0.1, frontier.Latency: 0, frontier.Throughput: 0.2}, Score: map[frontier.Focus]float64{frontier.Mixed: 0.017, frontier.Latency: 0, frontier.Throughput: 0.034},
	}
	first := lever
	first.ID, first.Name, first.Status, first.First = "kernels", "other kernels", frontier.StatusMeasureFirst, "run dcgm_correlate"
	refuted := lever
	refuted.ID, refuted.Name, refuted.Status, refuted.Evidence = "allreduce", "fused all-reduce", frontier.StatusRefuted, "1.003x (95 % interval 0.998 to 1.008, n=4): links stayed at 9 %"
	return &frontier.Frontier{
		Schema: frontier.Schema, State: frontier.Open, Text: "1 levers are open, 1 wait for evidence, 1 are refuted", Levers: []frontier.Lever{lever, first}, Refuted: []frontier.Lever{refuted},
		Cells: []frontier.Cell{{Shape: "fp8-tp8, c=64", Bound: "unknown", Why: "needs L3", Confidence: "timing only", Unknown: []string{"host: needs L3 (dcgm_gr)"}}},
	}
}

func TestSpeedOfLight(t *testing.T) {
	made, err := Render(Input{Title: "t", Focus: "throughput", Rows: withFloors(sampleRows()), Frontier: sampleFrontier()})
	if err != nil {
		t.Fatal(err)
	}
	page := string(made.HTML)
	for _, want := range []string{
		`<section id="page-4">`, "b200_sm100.hbm3e_tbps = 8.00 TB/s, b200_sm100.dense_tflops.fp8 = 4,500 TFLOP/s", "61.2 %", "83.5 %", "1,655,926", "5.87 TB/s by a tool (its source)",
		"experts are taken as routed uniformly", "memory", "unexplained", "withheld: SOL_OVER", "SOL_OVER: 131 %", "Speed of Light of decode", `class="join bound"`,
		`<section id="page-9">`, "KV cache in fp8", "up to 1.21x (no evidence below that)", "run dcgm_correlate", "1.003x (95 % interval 0.998 to 1.008, n=4)", "<b>Next lever.</b> KV cache in fp8",
		"Not drawn: concurrency=8,config=fp8-tp8 (SOL_OVER",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not hold %q", want)
		}
	}
	if strings.Contains(page, "NaN") || strings.Contains(page, "%!") {
		t.Error("a number or a format went wrong")
	}
	status := map[string]Page{}
	for _, p := range made.Status.Pages {
		status[p.ID] = p
	}
	if status["4"].Status != Rendered || status["9"].Status != Rendered || !strings.Contains(status["4"].Why, "no profile") || status["4"].HowToGet == "" {
		t.Errorf("pages %+v %+v", status["4"], status["9"])
	}
	if !made.Status.SoLComplete() {
		t.Error("the record is not complete")
	}
	for _, h := range made.Status.Headline {
		if h.PctSoL == nil || *h.PctSoL != 61.25 || h.CeilingKey != "b200_sm100.hbm3e_tbps" || h.Rigor != "none" || strings.Contains(h.Cell, "concurrency=8,") {
			t.Errorf("headline %+v", h)
		}
	}
	text := string(made.Summary)
	for _, want := range []string{
		"# Speed of Light: t\n", "**SIMULATED.**", "\n## Workload\n\n| configuration | highest output tok/s/GPU | ceiling | %SoL |", "| 61.2 % (prefill and decode) | 83.5 % |", "b200_sm100.hbm3e_tbps = 8.00 TB/s",
		"Withheld: concurrency=8,config=fp8-tp8: SOL_OVER", "\n## Next lever\n\nKV cache in fp8: up to 1.21x",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("sol-summary.md does not hold %q:\n%s", want, text)
		}
	}
}

// What cannot be shown says why, in the table, on the page of completeness, and
// in the summary.
func TestNoSpeedOfLight(t *testing.T) {
	rows := sampleRows()
	for _, r := range rows {
		extra := r.Extra()
		extra["absent"] = map[string]any{"group:sol": "SOL_NO_SHAPE: the setting names no model_shape"}
		r.SetJSON("extra_json", extra)
	}
	made, err := Render(Input{Title: "t", Rows: rows})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"none: SOL_NO_SHAPE", "no cell that was measured has floors: SOL_NO_SHAPE: the setting names no model_shape"} {
		if !strings.Contains(string(made.HTML), want) {
			t.Errorf("the page does not hold %q", want)
		}
	}
	if made.Status.SoLComplete() || len(made.Status.SoL.None) == 0 || strings.Contains(string(made.HTML), `id="page-4"`) {
		t.Errorf("complete %t, %+v", made.Status.SoLComplete(), made.Status.SoL)
	}
	if !bytes.Contains(made.Summary, []byte("No share of Speed of Light: no cell that was measured has floors: SOL_NO_SHAPE")) || !bytes.Contains(made.Summary, []byte("Not ranked")) {
		t.Errorf("summary:\n%s", made.Summary)
	}
}

// A complete record is one that says of everything whether it is there.
func TestSoLComplete(t *testing.T) {
	good := func() Status {
		return Status{SoL: &SoLStatus{Cells: 2, Shown: 2}, Pages: []Page{
			{ID: "4", Status: Rendered}, {ID: "6", Status: Omitted, Why: "a", HowToGet: "b"}, {ID: "6b", Status: Rendered}, {ID: "completeness", Status: Rendered},
		}}
	}
	if !good().SoLComplete() {
		t.Error("the good one is not complete")
	}
	for name, change := range map[string]func(*Status){
		"a cell is not shown":         func(s *Status) { s.SoL.Shown = 1 },
		"no cell has a ceiling":       func(s *Status) { s.SoL = &SoLStatus{} },
		"page 4 is left out":          func(s *Status) { s.Pages[0] = Page{ID: "4", Status: Omitted, Why: "a", HowToGet: "b"} },
		"page 6 goes without a word":  func(s *Status) { s.Pages[1].Why = "" },
		"page 6b is not listed":       func(s *Status) { s.Pages = slices.Delete(s.Pages, 2, 3) },
		"there is no list of pages":   func(s *Status) { s.Pages = s.Pages[:3] },
		"an older report is no proof": func(s *Status) { s.SoL = nil },
	} {
		s := good()
		if change(&s); s.SoLComplete() {
			t.Error(name + ", and the record is complete")
		}
	}
}

// The time of the GPUs by category stands on page 4 where a profiler told it.
func TestProfileBars(t *testing.T) {
	rows := withFloors(sampleRows())
	for _, r := range rows {
		extra := r.Extra()
		extra["profile"] = map[string]any{"of": "all cells", "gpu_time": map[string]any{"source": "zymtrace", "categories": []any{
			map[string]any{"name": "attention", "share": 0.25}, map[string]any{"name": "gemm", "share": 0.75},
		}}}
		r.SetJSON("extra_json", extra)
	}
	made, err := Render(Input{Title: "t", Rows: rows})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Time of the GPUs by category", "attention 25 %", "zymtrace, of all cells"} {
		if !strings.Contains(string(made.HTML), want) {
			t.Errorf("the page does not hold %q", want)
		}
	}
	if i := slices.IndexFunc(made.Status.Pages, func(p Page) bool { return p.ID == "4" }); made.Status.Pages[i].Why != "" {
		t.Error("a profile is there, and missed")
	}
}
