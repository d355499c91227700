package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"pipeline/internal/digest"
	"pipeline/internal/roofline"
	"pipeline/internal/sol"
	"pipeline/lake/perf"
)

// sweptSample is the roofline sweep of two candidates, GLM-5.1 FP8 on 8 and on
// 4 GPUs: decode at six concurrencies and prefill at four input lengths, three
// trials each. Times are the floors of the model over 0.7, and a fixed cost a
// step; only the sweep on 8 GPUs has counters. One cell failed.
func sweptSample(t *testing.T) []perf.Row {
	t.Helper()
	lib, err := sol.BuiltinLibrary()
	if err != nil {
		t.Fatal(err)
	}
	var rows []perf.Row
	for _, tp := range []int{8, 4} {
		setting := perf.Setting{
			"model": "zai-org/GLM-5.1-FP8", "model_shape": "glm-5.1-fp8", "hardware": "B200", "ceiling_key": "b200_sm100", "quant": "fp8", "kv_cache_dtype": "fp8",
			"tp": fmt.Sprint(tp), "dp": "1", "pp": "1", "gpu_count": fmt.Sprint(tp), "cache_mode": "cold",
		}
		d, _, err := lib.Deployment(setting)
		if err != nil {
			t.Fatal(err)
		}
		for trial := 1; trial <= 3; trial++ {
			for _, c := range []int{1, 4, 16, 64, 128, 256} {
				rows = append(rows, sweptSampleRow(t, lib, d, setting, tp, roofline.Cell{Kind: roofline.Decode, C: c, ISL: 1024, OSL: 512, Trial: trial}))
			}
			for _, isl := range []int{1024, 4096, 8192, 16384} {
				rows = append(rows, sweptSampleRow(t, lib, d, setting, tp, roofline.Cell{Kind: roofline.Prefill, C: 1, ISL: isl, OSL: 1, Trial: trial}))
			}
		}
	}
	return rows
}

func sweptSampleRow(t *testing.T, lib *sol.Library, d *sol.Deployment, setting perf.Setting, tp int, c roofline.Cell) perf.Row {
	t.Helper()
	wobble := 1 + 0.01*math.Sin(float64(3*tp+7*c.C+c.ISL+13*c.Trial))
	p := func(v float64) *float64 { return &v }
	dist := func(v float64) *perf.Dist {
		return &perf.Dist{N: 4 * c.C, Mean: v, Min: v, P50: v, P90: v, P95: v, P99: v, Max: v}
	}
	load := sol.Load{Batch: float64(c.C), Input: float64(c.ISL), Output: float64(c.OSL)}
	f, err := d.Floors(load)
	if err != nil {
		t.Fatal(err)
	}
	tpot := (1000*f.Step.Floor()/0.7 + 0.8) * wobble
	ttft := (1000*f.TTFT/0.7 + 1.2) * wobble
	s := perf.Summary{DurationS: 60, Requests: 4 * c.C, TTFT: dist(ttft), ISL: dist(float64(c.ISL)), OSL: dist(float64(c.OSL)), RequestThroughput: p(1000 / ttft)}
	x := &roofline.DCGM{Quality: "ok", Rigor: "L3", NEff: 58, GPUs: tp, Source: "dcgmi-dmon"}
	if c.Kind == roofline.Decode {
		s.OutputThroughput, s.TPOT, s.PerUserThroughput = p(1000*float64(c.C)/tpot), dist(tpot), p(1000/tpot)
		s.RequestThroughput = p(*s.OutputThroughput / float64(c.OSL))
		share := 1000 * f.Step.MemSeconds / tpot
		x.DRAM, x.DRAMSd, x.Tensor, x.SM = p(share*1.07), p(0.012), p(0.05+0.0008*float64(c.C)), p(0.9)
	}
	m := &perf.Measurement{
		Schema: perf.MeasurementSchema, Status: perf.Full, Simulated: true, Setting: setting, Driver: perf.Driver{Name: "native", Version: "1"},
		Start: time.Date(2026, 11, 23, 12, 0, tp, 0, time.UTC), End: time.Date(2026, 11, 23, 12, 1, tp, 0, time.UTC),
		Asked:   perf.Workload{API: "completions", Concurrency: c.C, Arrival: "closed", NumPrompts: 4 * c.C, ISL: c.ISL, OSL: c.OSL, Dataset: "synthetic"},
		Summary: s, Steady: &s, Window: &perf.Window{ToNS: 60e9, Method: "all streams busy", Share: 1},
		Doubts: []string{"image: the endpoint does not tell it"},
	}
	o := perf.Origin{Source: "roofline.json", Artifacts: map[string]digest.Digest{"roofline.json": digest.Of(fmt.Appendf(nil, "%d", tp))}}
	for _, axis := range []perf.Coord{
		{Axis: "config", Value: fmt.Sprintf("fp8-tp%d", tp)}, {Axis: "roofline", Value: c.Kind}, {Axis: "concurrency", Value: fmt.Sprint(c.C)},
		{Axis: "isl", Value: fmt.Sprint(c.ISL)}, {Axis: "osl", Value: fmt.Sprint(c.OSL)}, {Axis: "trial", Value: fmt.Sprint(c.Trial)},
	} {
		o.Cell = append(o.Cell, axis)
	}
	if tp == 4 && c.C == 256 && c.Trial == 2 {
		m.Status, m.Failure, m.Reasons = perf.Failed, "(EngineCore pid=7) CUDA out of memory", []string{"(EngineCore pid=7) CUDA out of memory"}
	}
	r := perf.RowOf(o, m)
	sweep := &roofline.Sweep{Bundle: "sha256:0123456789abcdef", Hardware: "B200", ComputeCap: "10.0", TensorParallel: tp, KVCacheDtype: "fp8", Ceilings: map[string]float64{}}
	for _, path := range []string{"hbm3e_tbps", "hbm_tbps_clocked", "dense_tflops.bf16", "dense_tflops.fp8", "dense_tflops.fp4"} {
		if sweep.Ceilings["b200_sm100."+path], err = lib.Ceilings.Lookup("b200_sm100." + path); err != nil {
			t.Fatal(err)
		}
	}
	point := &roofline.Point{Cell: roofline.CellID(c), Kind: c.Kind, Measurement: m, DCGM: x}
	if m.Status == perf.Full {
		if point.Analyse(d); point.Analysis == nil {
			t.Fatal(point.NotAnalysed)
		}
	}
	if tp == 4 || c.Kind == roofline.Prefill {
		point.DCGM, point.NoDCGM = nil, "the bundle has no GPU counters of this cell"
	}
	extra := r.Extra()
	raw, err := json.Marshal(sweep.Extra(point))
	if err != nil {
		t.Fatal(err)
	}
	extra["roofline"] = json.RawMessage(raw)
	r.SetJSON("extra_json", extra)
	return r
}

func sweptInput(t *testing.T) Input {
	in := sample()
	in.Rows = append(in.Rows, sweptSample(t)...)
	return in
}

// section returns what stands on a page, from its head to the next section.
func section(t *testing.T, page []byte, id string) string {
	t.Helper()
	_, rest, ok := strings.Cut(string(page), `<section id="`+id+`">`)
	if !ok {
		t.Fatalf("there is no section %s", id)
	}
	body, _, _ := strings.Cut(rest, "</section>")
	return visible([]byte(body))
}

func TestRooflinePage(t *testing.T) {
	r := render(t, sweptInput(t))
	golden(t, "page7.txt", []byte(section(t, r.HTML, "page-7")))
	if *htmlFile != "" {
		if err := os.WriteFile(*htmlFile+".7.html", r.HTML, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The roofs are drawn by key path.
	for _, roof := range []string{"hbm3e_tbps", "hbm_tbps_clocked", "fp8", "bf16"} {
		if !bytes.Contains(r.HTML, []byte(">"+roof+"</text>")) {
			t.Errorf("the roof %s is not drawn", roof)
		}
	}
}

// Every cell of the sweeps is on the page, with its doubts and its reason, and
// none of them is on the pages of other cells.
func TestRooflinePageHoldsEveryCell(t *testing.T) {
	in := sweptInput(t)
	page := render(t, in).HTML
	seven := section(t, page, "page-7")
	cells := section(t, page, "page-5")
	for _, r := range sweptSample(t) {
		id := r.Text("cell_id")
		if !strings.Contains(seven, id) || strings.Contains(cells, id) {
			t.Errorf("%s is on page 7: %t, on page 5: %t", id, strings.Contains(seven, id), strings.Contains(cells, id))
		}
		for _, text := range append(r.List("doubts"), r.Text("status_reason")) {
			if !strings.Contains(seven, text) {
				t.Errorf("page 7 does not hold %q of %s", text, id)
			}
		}
	}
}

func TestRooflinePageIsCanonical(t *testing.T) {
	want := render(t, sweptInput(t))
	for seed := range uint64(3) {
		in := sweptInput(t)
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(in.Rows), func(i, j int) { in.Rows[i], in.Rows[j] = in.Rows[j], in.Rows[i] })
		if got := render(t, in); !bytes.Equal(got.HTML, want.HTML) {
			t.Fatalf("seed %d: shuffled rows give another page", seed)
		}
	}
}

// Without a sweep, or without a cell that is an answer, the page says why.
func TestRooflinePageOmitted(t *testing.T) {
	find := func(s Status) Page {
		for _, p := range s.Pages {
			if p.ID == "7" {
				return p
			}
		}
		return Page{}
	}
	if p := find(render(t, sample()).Status); p.Status != Omitted || p.Why != "no roofline sweep was imported" || !strings.Contains(p.HowToGet, "roofline_sweep") {
		t.Errorf("page 7 is %+v", p)
	}
	in := sample()
	for _, r := range sweptSample(t) {
		if r.Text("status") == string(perf.Failed) {
			in.Rows = append(in.Rows, r)
		}
	}
	if p := find(render(t, in).Status); p.Status != Omitted || !strings.Contains(p.Why, "none of the 1 cells of the roofline sweeps is a full answer") || !strings.Contains(p.Why, "CUDA out of memory") {
		t.Errorf("page 7 is %+v", p)
	}
}

// sweptPair are two decode cells on each of 8 and 4 GPUs, in settings that
// differ by what is given, with no coordinates but those of the sweep.
func sweptPair(t *testing.T, cells []roofline.Cell, differ ...[2]string) []sweptRow {
	t.Helper()
	lib, err := sol.BuiltinLibrary()
	if err != nil {
		t.Fatal(err)
	}
	if differ == nil {
		differ = [][2]string{{"dataset", "synthetic"}}
	}
	var rows []perf.Row
	for _, d := range differ {
		for _, tp := range []int{8, 4} {
			setting := perf.Setting{
				"model": "zai-org/GLM-5.1-FP8", "model_shape": "glm-5.1-fp8", "hardware": "B200", "ceiling_key": "b200_sm100", "quant": "fp8", "kv_cache_dtype": "fp8",
				"tp": fmt.Sprint(tp), "dp": "1", "pp": "1", "gpu_count": fmt.Sprint(tp), "cache_mode": "cold",
			}
			setting[d[0]] = d[1]
			for _, c := range cells {
				setting["isl"], setting["osl"] = fmt.Sprint(c.ISL), fmt.Sprint(c.OSL)
				deployment, _, err := lib.Deployment(setting)
				if err != nil {
					t.Fatal(err)
				}
				r := sweptSampleRow(t, lib, deployment, setting, tp, c)
				r.SetJSON("axes", map[string]string{"roofline": c.Kind})
				rows = append(rows, r)
			}
		}
	}
	return sweptRows(rows)
}

func decodeCells(isls ...int) (cells []roofline.Cell) {
	for _, isl := range isls {
		for _, c := range []int{4, 64} {
			cells = append(cells, roofline.Cell{Kind: roofline.Decode, C: c, ISL: isl, OSL: 512, Trial: 1})
		}
	}
	return cells
}

// Candidates are compared with each other only at one shape, and on one GPU,
// model and state of the cache.
func TestRooflineComparesAlike(t *testing.T) {
	for name, c := range map[string]struct {
		rows   []sweptRow
		groups []string
	}{
		"alike":      {sweptPair(t, decodeCells(1024)), []string{""}},
		"shape":      {sweptPair(t, decodeCells(1024, 8192)), []string{"ISL 1024, OSL 512", "ISL 8192, OSL 512"}},
		"cache mode": {sweptPair(t, decodeCells(1024), [2]string{"cache_mode", "cold"}, [2]string{"cache_mode", "warm"}), []string{"cache_mode cold", "cache_mode warm"}},
		"hardware":   {sweptPair(t, decodeCells(1024), [2]string{"hardware", "B200"}, [2]string{"hardware", "GB200"}), []string{"hardware B200", "hardware GB200"}},
		"model":      {sweptPair(t, decodeCells(1024), [2]string{"model", "a/a"}, [2]string{"model", "b/b"}), []string{"model a/a", "model b/b"}},
	} {
		p := &page7{}
		p.answer(candidatesOf(c.rows))
		var groups []string
		for _, a := range p.Sharding {
			groups = append(groups, a.Of)
		}
		if fmt.Sprint(groups) != fmt.Sprint(c.groups) {
			t.Errorf("%s: compared within %q, want %q", name, groups, c.groups)
		}
		for _, row := range append(p.Targets, p.EqualLoad...) {
			if len(row.Entries) > 2 {
				t.Errorf("%s: compares %q", name, row.Entries)
			}
		}
	}
}

// Deployments that no coordinate tells apart are told apart by their setting:
// first by what decides it, and by the rest only where that is the same.
func TestRooflineTellsDeploymentsApart(t *testing.T) {
	for field, values := range map[string][2]string{"max_num_seqs": {"64", "128"}, "serve_args": {`["-a"]`, `["-b"]`}} {
		candidates := candidatesOf(sweptPair(t, decodeCells(1024), [2]string{field, values[0]}, [2]string{field, values[1]}))
		var names []string
		for _, c := range candidates {
			names = append(names, c.name)
		}
		want := []string{"tp8 kv fp8 " + field + "=" + values[0], "tp4 kv fp8 " + field + "=" + values[0], "tp8 kv fp8 " + field + "=" + values[1], "tp4 kv fp8 " + field + "=" + values[1]}
		if fmt.Sprint(names) != fmt.Sprint(want) {
			t.Errorf("candidates %q, want %q", names, want)
		}
	}
}

// Prefill of one length at two concurrencies is two measurements.
func TestPrefillByConcurrency(t *testing.T) {
	var cells []roofline.Cell
	for _, c := range []int{1, 4} {
		for _, isl := range []int{1024, 4096} {
			cells = append(cells, roofline.Cell{Kind: roofline.Prefill, C: c, ISL: isl, OSL: 1, Trial: 1})
		}
	}
	rows := sweptPair(t, cells)
	groups := prefillGroups(rows)
	if len(groups) != 8 {
		t.Errorf("%d groups of prefill, want 8", len(groups))
	}
	if runs := prefillSeries(rows); len(runs) != 4 || runs[0].name != "tp8 kv fp8, c=1" || runs[1].name != "tp8 kv fp8, c=4" {
		t.Errorf("runs of prefill %+v", runs)
	}
}

// A concurrency that an answer cannot use is listed, with the candidate.
func TestRooflinePageTellsLeft(t *testing.T) {
	in := sweptInput(t)
	for _, r := range in.Rows {
		if id := r.Text("cell_id"); strings.Contains(id, "concurrency=64,") && strings.Contains(id, "config=fp8-tp8") && strings.Contains(id, "roofline=decode") && strings.Contains(id, "trial=2") {
			extra := r.Extra()
			kept := extra["roofline"].(map[string]any)
			delete(kept, "model_tflops_per_gpu")
			delete(kept, "b_eff")
			r.SetJSON("extra_json", extra)
		}
	}
	if page := section(t, render(t, in).HTML, "page-7"); !strings.Contains(page, "fp8-tp8: C=64 is not in the answer on the concurrency that maxes the TFLOPs: 1 of 3 trials have no model FLOP/s") {
		t.Error("page 7 does not tell that C=64 is left out")
	}
}
