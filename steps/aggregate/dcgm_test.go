package aggregate_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"pipeline/internal/dcgm"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// seen is what DCGM saw of one GPU whose memory was active a share of the time.
func seen(dram float64, change func(*dcgm.Report)) *dcgm.Report {
	v := func(f float64) *float64 { return &f }
	mask := int64(0x4)
	stat := func(f dcgm.Field, mean float64) dcgm.Stat {
		return dcgm.Stat{Field: f, Mean: mean, P50: mean, P95: mean, Min: mean, Max: mean, N: 40, From: "gauge"}
	}
	r := &dcgm.Report{
		Schema: dcgm.ReportSchema, Source: dcgm.Source{Kind: dcgm.FromPrometheus}, FrozenDigest: strings.Repeat("ab", 32),
		GPUs:    []dcgm.GPUReport{{GPU: dcgm.GPU{UUID: "GPU-a", Node: "gpu-07"}}},
		Mean:    map[string]dcgm.Stat{"dram": stat(dcgm.DRAM, dram), "tensor": stat(dcgm.Tensor, 0.2), "sm": stat(dcgm.SM, 0.9), "gr": stat(dcgm.GR, 0.97), "power_w": stat(dcgm.Power, 600), "sm_clock_mhz": stat(dcgm.SMClock, 1980)},
		EnergyJ: v(33600), JPerOutputToken: v(2.4), ThrottleMask: &mask, TempMaxC: v(70), NEffMin: 40, Quality: dcgm.QualityOK, Rigor: dcgm.RigorL3,
		Checks: []dcgm.Check{{Code: "DC03", Status: dcgm.Pass, Text: "1 of 1 GPUs"}, {Code: "DC07", Status: dcgm.NotChecked, Text: "aggregate checks it"}},
	}
	if change != nil {
		change(r)
	}
	return r
}

func dcgmInput(t *testing.T, c, trial int, r *dcgm.Report, doubts ...string) steps.Input {
	t.Helper()
	files := map[string][]byte{}
	gap := "skipped: the cell failed"
	if r != nil {
		text, err := r.JSON()
		if err != nil {
			t.Fatal(err)
		}
		files[dcgm.ReportFile], gap = text, ""
	}
	in := input(c, trial, gap, files)
	in.Step, in.Doubts = "dcgm", doubts
	return in
}

func dcgmRows(t *testing.T, reports ...steps.Input) (*world, map[string]perf.Row) {
	t.Helper()
	var cells []steps.Input
	for trial := 1; trial <= 3; trial++ {
		cells = append(cells, measured(t, 64, trial, llama(64, 14.7304, nil)))
	}
	w, err := runPorts(t, map[string][]steps.Input{"cells": cells, "dcgm": reports})
	if err != nil {
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
	return w, by
}

const dcgmCell = "concurrency=64,config=fp8-tp8"

// 4344.76 tok/s at 0.3855 GB a token are 1.675 TB/s at least; h100_sm90 moves
// 3.352 TB/s at its memory clock, so that memory must be active half of the time.
func TestDCGMFillsItsColumns(t *testing.T) {
	_, rows := dcgmRows(t, dcgmInput(t, 64, 1, seen(0.55, nil)), dcgmInput(t, 64, 2, seen(0.57, nil)), dcgmInput(t, 64, 3, seen(0.56, nil)))
	r := rows["trial "+dcgmCell+",trial=1"]
	wantNumbers(t, r, map[string]float64{"dcgm_dram": 0.55, "dcgm_tensor": 0.2, "dcgm_sm": 0.9, "dcgm_gr": 0.97, "avg_power_w": 600, "sm_clock_mhz_p50": 1980,
		"energy_j": 33600, "j_per_output_token": 2.4, "gpu_temp_c_max": 70})
	mask, _ := r.Int("throttle_mask")
	n, _ := r.Int("dcgm_n_eff_min")
	grounded, _ := r.Bool("dcgm_grounded")
	if mask != 4 || n != 40 || !grounded || r.Text("dcgm_quality") != "ok" || r.Text("sol_rigor") != "L3" || r.Text("frozen_digest") != strings.Repeat("ab", 32) {
		t.Errorf("%d %d %v %s %s", mask, n, grounded, r.Text("dcgm_quality"), r.Text("sol_rigor"))
	}
	if r.Text("node") != "gpu-07" || !slices.Equal(r.List("gpu_uuids"), []string{"GPU-a"}) {
		t.Errorf("place: %s %v", r.Text("node"), r.List("gpu_uuids"))
	}
	if absent := strings.Join(r.Absent(), "\n"); strings.Contains(absent, "group:dcgm") || strings.Contains(absent, "gpu_uuids") {
		t.Errorf("absent:\n%s", absent)
	}
	extra, _ := r.Extra()["dcgm"].(map[string]any)
	checks, _ := extra["checks"].(map[string]any)
	if checks["DC07"] != "pass" || checks["DC03"] != "pass" {
		t.Errorf("checks: %v", checks)
	}
	// 0.55 of 3.352 TB/s; 0.2 of the dense peak of the one input type, bf16.
	shares, _ := extra["shares"].(map[string]any)
	if v, _ := shares["hbm_gbps"].(float64); math.Abs(v-1843.6) > 1e-6 || shares["hbm_gbps_key"] != "h100_sm90.hbm_tbps_clocked" {
		t.Errorf("shares: %v", shares)
	}
	if v, _ := shares["tensor_tflops_upper"].(float64); math.Abs(v-0.2*989.4) > 1e-6 || shares["tensor_tflops_upper_key"] != "h100_sm90.dense_tflops.bf16" {
		t.Errorf("shares: %v", shares)
	}
	mean := rows["mean "+dcgmCell]
	wantNumbers(t, mean, map[string]float64{"dcgm_dram": 0.56, "energy_j": 33600})
	if mean.Text("sol_rigor") != "L3" || mean.Text("node") != "gpu-07" {
		t.Errorf("the mean has rigor %s on %q", mean.Text("sol_rigor"), mean.Text("node"))
	}
}

// What speaks against the samples keeps their figures out of the row, and is
// said; a mean is as well founded as the least of its trials.
func TestDCGMIsWithheld(t *testing.T) {
	failed := func(r *dcgm.Report) {
		r.Quality, r.Rigor, r.Gap = dcgm.QualityFailed, dcgm.RigorNone, "DC04: GPUs idle during the window"
		r.Checks = append(r.Checks, dcgm.Check{Code: "DC04", Status: dcgm.Fail, Text: "GPUs idle during the window"})
	}
	missing := func(r *dcgm.Report) {
		r.Quality, r.Rigor, r.Gap = dcgm.QualityThin, dcgm.RigorNone, "DC01: 0 samples for DCGM_FI_PROF_SM_ACTIVE"
		r.Checks = append(r.Checks, dcgm.Check{Code: "DC01", Status: dcgm.Fail, Text: "0 samples"})
		r.NEffMin = 0
	}
	w, rows := dcgmRows(t, dcgmInput(t, 64, 1, seen(0.55, failed), "no_l3: DC04: GPUs idle during the window"), dcgmInput(t, 64, 2, seen(0.55, missing)),
		dcgmInput(t, 64, 3, seen(0.3, nil)), dcgmInput(t, 32, 1, seen(0.5, nil)))
	for trial, want := range map[string]struct {
		quality, absent, doubt string
		power                  bool
	}{
		"1": {"failed", "group:dcgm: DC04: GPUs idle", "no_l3: DC04", false},
		"2": {"thin", "group:dcgm: DC01: 0 samples", "", true},
		"3": {"failed", "group:dcgm: DC07: measured 1006 GB/s a GPU, the model's minimum is 1675 GB/s (0.39 GB a token × 4345 tok/s ÷ 1 GPUs): measured traffic is below", "DC07: measured 1006", false},
	} {
		r := rows["trial "+dcgmCell+",trial="+trial]
		if r.Text("dcgm_quality") != want.quality || !strings.Contains(strings.Join(r.Absent(), "\n"), want.absent) || r.Text("sol_rigor") != "none" || !r.IsNull("dcgm_dram") || r.IsNull("avg_power_w") == want.power {
			t.Errorf("trial %s: %s, rigor %s, power %v, absent\n%s", trial, r.Text("dcgm_quality"), r.Text("sol_rigor"), !r.IsNull("avg_power_w"), strings.Join(r.Absent(), "\n"))
		}
		if want.doubt != "" && !slices.ContainsFunc(r.List("doubts"), func(d string) bool { return strings.HasPrefix(d, want.doubt) }) {
			t.Errorf("trial %s: doubts %q", trial, r.List("doubts"))
		}
	}
	if len(w.doubts) == 0 || !slices.ContainsFunc(w.doubts, func(d string) bool {
		return strings.HasPrefix(d, "dcgm_of_nothing: ") && strings.Contains(d, "concurrency=32")
	}) {
		t.Errorf("doubts: %q", w.doubts)
	}
	_, rows = dcgmRows(t, dcgmInput(t, 64, 1, seen(0.55, nil)), dcgmInput(t, 64, 2, seen(0.55, nil)), dcgmInput(t, 64, 3, nil))
	if got := rows["mean "+dcgmCell].Text("sol_rigor"); got != "none" {
		t.Errorf("a mean of two trials with L3 and one without has rigor %s", got)
	}
	if absent := strings.Join(rows["trial "+dcgmCell+",trial=3"].Absent(), "\n"); !strings.Contains(absent, "group:dcgm: skipped: the cell failed") {
		t.Errorf("absent\n%s", absent)
	}
}

// Throttling keeps the numbers and bars the verdict (gate V07).
func TestDCGMThrottlingBarsAVerdict(t *testing.T) {
	hot := func(r *dcgm.Report) {
		mask := int64(0x40)
		r.ThrottleMask = &mask
		r.Checks = append(r.Checks, dcgm.Check{Code: "DC12", Status: dcgm.Warn, NoVerdict: true, Text: "THROTTLED: GPU 0 of gpu-07: 0x40, hardware thermal slowdown"})
	}
	_, rows := dcgmRows(t, dcgmInput(t, 64, 1, seen(0.55, nil)), dcgmInput(t, 64, 2, seen(0.55, hot), "DC12: THROTTLED: GPU 0 of gpu-07: 0x40, hardware thermal slowdown"), dcgmInput(t, 64, 3, seen(0.55, nil)))
	r := rows["trial "+dcgmCell+",trial=2"]
	if v, _ := r.Float("dcgm_dram"); math.Abs(v-0.55) > 1e-9 || r.Text("sol_rigor") != "L3" {
		t.Errorf("memory active %v, rigor %s", v, r.Text("sol_rigor"))
	}
	if refusals := rows["mean "+dcgmCell].Text("verdict_refusals"); !strings.Contains(refusals, "V07") || !strings.Contains(refusals, "THROTTLED") {
		t.Errorf("refusals: %s", refusals)
	}
}
