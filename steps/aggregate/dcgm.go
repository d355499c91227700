package aggregate

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pipeline/internal/dcgm"
	"pipeline/internal/sol"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// dcgmPort takes what DCGM saw of cells.
func dcgmPort() steps.Port {
	return steps.Port{Name: "dcgm", Doc: "DCGM reports of cells (dcgm_correlate), joined by their coordinates", Gaps: true, Reads: []string{dcgm.ReportFile}}
}

// addDCGM puts what DCGM saw beside the rows of its cells, and raises
// sol_rigor to L3 where the samples suffice. It comes after the floors: the
// traffic that was measured is held against the one that the model must cause.
func addDCGM(env *steps.Env, lib *sol.Library, rows []perf.Row) error {
	byCell := map[string]perf.Row{}
	for _, r := range rows {
		if r.Text("agg") == "trial" {
			byCell[r.Text("cell_id")] = r
		}
	}
	for i := range env.In["dcgm"] {
		in := &env.In["dcgm"][i]
		r, ok := byCell[cellOf(in.Cell)]
		if !ok {
			env.Doubt("dcgm_of_nothing: the DCGM report of step %s at %s belongs to no row: give that step the axes of the cells", in.Step, cellOf(in.Cell))
			continue
		}
		if err := dcgmRow(in, lib, r); err != nil {
			return err
		}
	}
	return nil
}

func dcgmRow(in *steps.Input, lib *sol.Library, r perf.Row) error {
	if _, ok := in.Artifact(dcgm.ReportFile); !ok {
		setAbsent(r, "group:dcgm", cmp.Or(in.Gap, fmt.Sprintf("step %s gave no %s", in.Step, dcgm.ReportFile)))
		return nil
	}
	text, err := in.ReadAll(dcgm.ReportFile)
	if err != nil {
		return fmt.Errorf("read %s of step %s: %w", dcgm.ReportFile, in.Step, err)
	}
	report, err := dcgm.ReadReport(text)
	if err != nil {
		return fmt.Errorf("step %s: %w", in.Step, err)
	}
	for _, d := range in.Doubts {
		addDoubt(r, d)
	}
	if c := physics(report, lib, r); c.Status != dcgm.NotChecked {
		report.Settle(c)
		if c.Status != dcgm.Pass {
			addDoubt(r, c.Code+": "+c.Text)
		}
	}
	r.SetText("dcgm_quality", report.Quality)
	r.SetBool("dcgm_grounded", report.Rigor == dcgm.RigorL3)
	r.SetText("frozen_digest", report.FrozenDigest)
	r.SetInt("dcgm_n_eff_min", int64(report.NEffMin))
	r.SetText("sol_rigor", higherRigor(r.Text("sol_rigor"), report.Rigor))
	setAbsent(r, "group:dcgm", report.Gap)
	dcgmDevices(r, report)
	if report.Rigor == dcgm.RigorL3 {
		dcgmProfile(r, report)
		dcgmPlace(r, report)
	}
	kept := dcgmSummary(report)
	if report.Rigor == dcgm.RigorL3 {
		kept["shares"] = dcgmShares(report, lib, r)
	}
	mergeExtra(r, "dcgm", kept)
	return nil
}

// dcgmShares are the means as shares of peaks, each with the path of the peak.
// FLOP/s stand there only as the bound that they are, and only where all
// matrix products of the model have one input type.
func dcgmShares(report *dcgm.Report, lib *sol.Library, r perf.Row) map[string]any {
	out := map[string]any{}
	peaks, err := dcgm.PeaksOf(lib.Ceilings, r.Text("ceiling_key"))
	if err != nil {
		out["absent"] = err.Error()
		return out
	}
	shares := peaks.SharesOf(report)
	for _, s := range []struct {
		name  string
		value *float64
		path  string
	}{
		{"hbm_gbps", shares.HBMGBps, peaks.BandwidthPath}, {"nvlink_pct_dir", shares.NVLinkPctDir, peaks.LinkDirPath}, {"pcie_pct_dir", shares.PCIePctDir, peaks.PCIeDirPath},
	} {
		if s.value != nil {
			out[s.name], out[s.name+"_key"] = *s.value, s.path
		}
	}
	setting := r.SettingOf()
	if n, ok := r.Int("gpu_count"); ok && setting != nil {
		setting["gpu_count"] = strconv.FormatInt(n, 10)
	}
	d, _, err := lib.Deployment(setting)
	if err != nil {
		out["tensor_tflops_upper_absent"] = err.Error()
		return out
	}
	flops, path, err := dcgm.TensorUpper(report, d.GPU, mathDTypes(d))
	if err != nil {
		out["tensor_tflops_upper_absent"] = err.Error()
		return out
	}
	out["tensor_tflops_upper"], out["tensor_tflops_upper_key"] = flops/1e12, path
	return out
}

// mathDTypes are the input types of the model's matrix products on its GPU.
func mathDTypes(d *sol.Deployment) []string {
	parts := slices.Clone(d.Shape.Fixed)
	if d.Shape.MoE != nil {
		parts = append(parts, d.Shape.MoE.Routed...)
	}
	var types []string
	for _, c := range parts {
		if t := d.GPU.MathDType(c.Format); !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	return types
}

// physics is DC07: it needs the bytes that the model must move for a token,
// which the floors of the row know.
func physics(report *dcgm.Report, lib *sol.Library, r perf.Row) dcgm.Check {
	unknown := dcgm.Check{Code: "DC07", Status: dcgm.NotChecked}
	dram, ok := report.Mean[dcgm.DRAM.Key()]
	footprint, okF := r.Float("footprint_gb_per_token")
	gpus, okG := r.Int("gpu_count")
	tps, okT := r.Float("headline_output_tps")
	if !ok || !okF || !okG || !okT || gpus <= 0 || dram.N < dcgm.Few {
		return unknown
	}
	peaks, err := dcgm.PeaksOf(lib.Ceilings, r.Text("ceiling_key"))
	if err != nil {
		return unknown
	}
	return dcgm.CheckPhysics(dram.Mean, peaks.Bandwidth, footprint*1e9, tps, int(gpus))
}

// dcgmProfile fills the figures of the profiling module. Only L3 fills them:
// a mean over two collections, or over the wrong GPUs, is no number of the
// cell.
func dcgmProfile(r perf.Row, report *dcgm.Report) {
	for column, f := range map[string]dcgm.Field{
		"dcgm_dram": dcgm.DRAM, "dcgm_tensor": dcgm.Tensor, "dcgm_sm": dcgm.SM, "dcgm_gr": dcgm.GR, "dcgm_occ": dcgm.Occupancy,
		"nvlink_tx_bps": dcgm.NVLinkTx, "nvlink_rx_bps": dcgm.NVLinkRx, "pcie_tx_bps": dcgm.PCIeTx, "pcie_rx_bps": dcgm.PCIeRx,
	} {
		if s, ok := report.Mean[f.Key()]; ok {
			r.SetFloat(column, s.Mean)
		}
	}
}

// dcgmDevices fills energy, clocks and temperature, which need no profiling
// module. What speaks against them is any failure but a field that is missing.
func dcgmDevices(r perf.Row, report *dcgm.Report) {
	if slices.ContainsFunc(report.Checks, func(c dcgm.Check) bool { return c.Status == dcgm.Fail && c.Code != "DC01" }) {
		return
	}
	if s, ok := report.Mean[dcgm.Power.Key()]; ok {
		r.SetFloat("avg_power_w", s.Mean)
	}
	if s, ok := report.Mean[dcgm.SMClock.Key()]; ok {
		r.SetFloat("sm_clock_mhz_p50", s.P50)
	}
	if s, ok := report.Mean[dcgm.MemClock.Key()]; ok {
		r.SetFloat("mem_clock_mhz", s.Mean)
	}
	r.SetFloatOf("energy_j", report.EnergyJ)
	r.SetFloatOf("j_per_output_token", report.JPerOutputToken)
	r.SetFloatOf("j_per_total_token", report.JPerTotalToken)
	r.SetFloatOf("gpu_temp_c_max", report.TempMaxC)
	if report.ThrottleMask != nil {
		r.SetInt("throttle_mask", *report.ThrottleMask)
	}
}

// dcgmPlace names the node and the GPUs where nothing else did: the busy GPUs
// that were found are as many as the cell used.
func dcgmPlace(r perf.Row, report *dcgm.Report) {
	if c, _ := report.Check("DC03"); c.Status != dcgm.Pass {
		return
	}
	var nodes, uuids []string
	for _, g := range report.GPUs {
		if g.Node != "" && !slices.Contains(nodes, g.Node) {
			nodes = append(nodes, g.Node)
		}
		if g.UUID != "" {
			uuids = append(uuids, g.UUID)
		}
	}
	derived, _ := r.Extra()["derived"].(map[string]any)
	if derived == nil {
		derived = map[string]any{}
	}
	learned := func(column string) {
		derived[column] = "the labels of DCGM's samples"
		setAbsent(r, column, "")
	}
	if r.IsNull("node") && len(nodes) > 0 {
		r.SetText("node", strings.Join(nodes, ","))
		learned("node")
	}
	if r.IsNull("node_count") && len(nodes) > 0 {
		r.SetInt("node_count", int64(len(nodes)))
		learned("node_count")
	}
	if r.IsNull("gpu_uuids") && len(uuids) == len(report.GPUs) {
		slices.Sort(uuids)
		r.SetList("gpu_uuids", uuids)
		learned("gpu_uuids")
	}
	if len(derived) > 0 {
		mergeExtra(r, "derived", derived)
	}
}

// dcgmSummary is what a row keeps beside its columns; dcgm.json has the rest.
func dcgmSummary(report *dcgm.Report) map[string]any {
	checks, told := map[string]any{}, map[string]any{}
	for _, c := range report.Checks {
		checks[c.Code] = c.Status
		if c.Status != dcgm.Pass {
			told[c.Code] = c.Text
		}
	}
	s := map[string]any{
		"source": report.Source.Kind, "selected_by": report.SelectedBy, "rigor": report.Rigor, "checks": checks, "texts": told,
		"no_verdict": report.NoVerdict(), "simulated": report.Simulated,
	}
	if report.IntervalS != nil {
		s["collect_interval_s"] = *report.IntervalS
	}
	if report.Imbalance != nil {
		s["imbalance"] = *report.Imbalance
	}
	for _, f := range []dcgm.Field{dcgm.DRAM, dcgm.Tensor, dcgm.SM, dcgm.GR} {
		if m, ok := report.Mean[f.Key()]; ok && report.Rigor == dcgm.RigorL3 {
			s[f.Key()] = map[string]any{"sd": m.Std, "p50": m.P50, "p95": m.P95, "n_eff": m.N}
		}
	}
	if c, ok := report.Mean[dcgm.MaxSMClock.Key()]; ok {
		s["max_sm_clock_mhz"] = c.Max
	}
	if len(report.Close) > 0 {
		s["close"] = report.Close
	}
	return s
}
