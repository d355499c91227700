package aggregate_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"pipeline/internal/roofline"
	"pipeline/lake/perf"
	"pipeline/steps"
)

func sweepInput(t *testing.T, cell ...steps.Coord) steps.Input {
	t.Helper()
	p := func(v float64) *float64 { return &v }
	dist := func(v float64) *perf.Dist {
		return &perf.Dist{N: 2, Mean: v, Min: v, P50: v, P90: v, P95: v, P99: v, Max: v}
	}
	start := time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)
	m := func(c, osl int) *perf.Measurement {
		return &perf.Measurement{
			Schema: perf.MeasurementSchema, Status: perf.Full, Simulated: true, Start: start, End: start.Add(time.Second),
			Setting: perf.Setting{"model": "m", "tp": "8", "pp": "1", "dp": "1"}, Driver: perf.Driver{Name: "native", Version: "1"},
			Asked:   perf.Workload{API: "completions", Concurrency: c, Arrival: "closed", NumPrompts: 2 * c, ISL: 1024, OSL: osl, Dataset: "synthetic"},
			Summary: perf.Summary{DurationS: 1, Requests: 2 * c, RequestThroughput: p(4), OutputThroughput: p(800), TTFT: dist(20), TPOT: dist(10)},
		}
	}
	s := &roofline.Sweep{
		Schema: roofline.SweepSchema, Bundle: "sha256:ab", Hardware: "B200", CeilingKey: "b200_sm100", Ceilings: map[string]float64{"b200_sm100.hbm3e_tbps": 8},
		TensorParallel: 8, KVCacheDtype: "fp8", CacheMode: "cold", Simulated: true,
		Points: []roofline.Point{
			{Cell: "d-64", Kind: roofline.Decode, C: 64, ISL: 1024, OSL: 512, Trial: 1, Measurement: m(64, 512), Analysis: &roofline.Analysis{BEff: 61, TFLOPsPerGPU: 118.4, Bound: "memory"},
				DCGM: &roofline.DCGM{DRAM: p(0.71), NEff: 58, Quality: "ok", Rigor: "L3"}},
			{Cell: "d-128", Kind: roofline.Decode, C: 128, ISL: 1024, OSL: 512, Trial: 1, Reason: "the sweep asks for this cell, and the bundle does not have it"},
			{Cell: "p-1", Kind: roofline.Prefill, C: 1, ISL: 1024, OSL: 1, Trial: 1, Measurement: m(1, 1), NotAnalysed: "no shape", NoDCGM: "no dmon.tsv"},
		},
	}
	text, err := s.JSON()
	if err != nil {
		t.Fatal(err)
	}
	in := input(0, 0, "", map[string][]byte{"roofline.json": text})
	in.Step, in.Cell = "roofline", cell
	return in
}

func TestRooflineRows(t *testing.T) {
	w, err := runPorts(t, map[string][]steps.Input{"cells": cells(t), "roofline": {sweepInput(t, at("config", "fp8-tp8"))}})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := perf.DecodeRows(perf.Atlas(), w.out["atlas.json"].Bytes())
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]perf.Row{}
	for _, r := range rows {
		byName[r.Text("agg")+" "+r.Text("cell_id")] = r
	}
	r, ok := byName["trial concurrency=64,config=fp8-tp8,isl=1024,osl=512,roofline=decode,trial=1"]
	if !ok {
		t.Fatal("there is no row of the decode cell")
	}
	if v, _ := r.Float("dcgm_dram"); v != 0.71 || r.Text("sol_rigor") != "L3" || r.Text("source_format") != "roofline-bundle/v1" || r.Text("evidence_bundle") != "sha256:ab" {
		t.Errorf("row: dram %g, rigor %s, format %s", v, r.Text("sol_rigor"), r.Text("source_format"))
	}
	// The form of extra_json is one that others read.
	var extra struct {
		Roofline struct {
			Kind   string  `json:"kind"`
			BEff   float64 `json:"b_eff"`
			TFLOPs float64 `json:"model_tflops_per_gpu"`
			Bound  string  `json:"bound"`
			Bundle string  `json:"bundle"`
			Cell   string  `json:"cell"`
			DCGM   struct {
				DRAM    float64 `json:"dram"`
				NEff    int     `json:"n_eff"`
				Quality string  `json:"quality"`
			} `json:"dcgm"`
		} `json:"roofline"`
	}
	if err := json.Unmarshal([]byte(r.Text("extra_json")), &extra); err != nil {
		t.Fatal(err)
	}
	if x := extra.Roofline; x.Kind != "decode" || x.BEff != 61 || x.TFLOPs != 118.4 || x.Bound != "memory" || x.Bundle != "sha256:ab" || x.Cell != "d-64" || x.DCGM.DRAM != 0.71 || x.DCGM.NEff != 58 || x.DCGM.Quality != "ok" {
		t.Errorf("extra_json.roofline is %+v", x)
	}
	lost := byName["trial concurrency=128,config=fp8-tp8,isl=1024,osl=512,roofline=decode,trial=1"]
	if lost.Text("status") != "MISSING" || !strings.Contains(lost.Text("status_reason"), "the bundle does not have it") {
		t.Errorf("the lost cell is %s: %s", lost.Text("status"), lost.Text("status_reason"))
	}
	prefill := byName["trial concurrency=1,config=fp8-tp8,isl=1024,osl=1,roofline=prefill,trial=1"]
	if prefill.Text("sol_rigor") != "none" || !prefill.IsNull("dcgm_dram") {
		t.Error("a prefill cell without counters has rigor")
	}
	want := []string{
		"roofline_cell: cell concurrency=128,config=fp8-tp8,isl=1024,osl=512,roofline=decode,trial=1 of a roofline sweep is MISSING",
		"roofline_no_dcgm: 2 of 3 cells",
	}
	for i, d := range w.doubts {
		if i >= len(want) || !strings.HasPrefix(d, want[i]) {
			t.Errorf("doubt %q", d)
		}
	}
}

func TestRooflineGap(t *testing.T) {
	gap := input(0, 0, "failed: ROOF_FLAG_MISMATCH", nil)
	gap.Step = "roofline"
	w, err := runPorts(t, map[string][]steps.Input{"cells": cells(t), "roofline": {gap}})
	if err != nil || len(w.doubts) != 1 || !strings.Contains(w.doubts[0], "ROOF_FLAG_MISMATCH") {
		t.Errorf("doubts %q, error %v", w.doubts, err)
	}
	bad := input(0, 0, "", map[string][]byte{"roofline.json": []byte("{}")})
	bad.Step = "roofline"
	if _, err := runPorts(t, map[string][]steps.Input{"cells": cells(t), "roofline": {bad}}); err == nil || errors.Is(err, steps.ErrPermanent) {
		t.Errorf("error %v", err)
	}
}
