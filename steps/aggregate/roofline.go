package aggregate

import (
	"cmp"
	"fmt"
	"strconv"

	"pipeline/internal/digest"
	"pipeline/internal/roofline"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// rooflinePort takes roofline sweeps.
func rooflinePort() steps.Port {
	return steps.Port{Name: "roofline", Doc: "roofline sweeps (import_roofline_sweep): each of their cells becomes a row, and page 7 is made from them", Gaps: true, Reads: []string{rooflineFile}}
}

const rooflineFile = "roofline.json"

// rooflineAxis is the coordinate by which a row of a sweep is known: decode or
// prefill.
const rooflineAxis = "roofline"

// rooflineRows makes a row for each cell of the sweeps. Their coordinates are
// those of the sweep's step, the axis roofline, and what the sweep goes over.
func rooflineRows(env *steps.Env) ([]perf.Row, error) {
	var rows []perf.Row
	for i := range env.In["roofline"] {
		in := &env.In["roofline"][i]
		a, ok := in.Artifact(rooflineFile)
		if !ok {
			env.Doubt("roofline_gap: the roofline sweep of step %s at %s is not there: %s", in.Step, cellOf(in.Cell), cmp.Or(in.Gap, "it gave no "+rooflineFile))
			continue
		}
		text, err := in.ReadAll(rooflineFile)
		if err != nil {
			return nil, fmt.Errorf("read %s of step %s: %w", rooflineFile, in.Step, err)
		}
		sweep, err := roofline.ReadSweep(text)
		if err != nil {
			return nil, fmt.Errorf("step %s: %w", in.Step, err)
		}
		for j := range sweep.Points {
			rows = append(rows, rooflineRow(in, a.Digest, sweep, &sweep.Points[j]))
		}
	}
	warnSwept(env, rows)
	return rows, nil
}

// warnSwept tells of cells of sweeps that page 7 lacks.
func warnSwept(env *steps.Env, rows []perf.Row) {
	uncounted := 0
	for _, r := range rows {
		if s := r.Text("status"); s != string(perf.Full) {
			env.Doubt("roofline_cell: cell %s of a roofline sweep is %s and in no answer of page 7: %s", r.Text("cell_id"), s, r.Text("status_reason"))
		}
		if r.IsNull("dcgm_dram") {
			uncounted++
		}
	}
	if uncounted > 0 {
		env.Doubt("roofline_no_dcgm: %d of %d cells of the roofline sweeps have no GPU counters: HBM activity is not measured there", uncounted, len(rows))
	}
}

func rooflineRow(in *steps.Input, sum digest.Digest, sweep *roofline.Sweep, p *roofline.Point) perf.Row {
	o := perf.Origin{Source: rooflineFile, Artifacts: map[string]digest.Digest{rooflineFile: sum}, Doubts: in.Doubts, Gap: p.Reason}
	for _, c := range in.Cell {
		o.Cell = append(o.Cell, perf.Coord{Axis: c.Axis, Value: c.Value})
	}
	for _, c := range []perf.Coord{
		{Axis: rooflineAxis, Value: p.Kind}, {Axis: "concurrency", Value: strconv.Itoa(p.C)},
		{Axis: "isl", Value: strconv.Itoa(p.ISL)}, {Axis: "osl", Value: strconv.Itoa(p.OSL)}, {Axis: "trial", Value: strconv.Itoa(p.Trial)},
	} {
		o.Cell = append(o.Cell, c)
	}
	if p.Measurement == nil {
		r := perf.RowOfGap(o)
		r.SetText("source_format", roofline.BundleSchema)
		mergeExtra(r, "roofline", sweep.Extra(p))
		return r
	}
	r := perf.RowOf(o, p.Measurement)
	r.SetText("source_format", roofline.BundleSchema)
	r.SetText("evidence_bundle", sweep.Bundle)
	mergeExtra(r, "roofline", sweep.Extra(p))
	rooflineCounters(r, p.DCGM)
	return r
}

// rooflineCounters fills the columns of GPU counters. Those of the profiling
// module are of rigor L3 only: a mean over two collections is no number of the
// cell.
func rooflineCounters(r perf.Row, d *roofline.DCGM) {
	if d == nil {
		return
	}
	r.SetInt("dcgm_n_eff_min", int64(d.NEff))
	r.SetText("dcgm_quality", d.Quality)
	r.SetBool("dcgm_grounded", d.Rigor == "L3")
	r.SetText("sol_rigor", higherRigor(r.Text("sol_rigor"), d.Rigor))
	setAbsent(r, "group:dcgm", d.Gap)
	if d.Rigor != "L3" {
		return
	}
	for column, v := range map[string]*float64{
		"dcgm_dram": d.DRAM, "dcgm_tensor": d.Tensor, "dcgm_sm": d.SM, "dcgm_gr": d.GR, "nvlink_tx_bps": d.NVLTx, "nvlink_rx_bps": d.NVLRx,
	} {
		r.SetFloatOf(column, v)
	}
}
