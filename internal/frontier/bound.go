package frontier

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"pipeline/internal/sol"
	"pipeline/lake/perf"
)

// A cell is a row that has floors, with what made them.
type cell struct {
	perf.Row
	d       *sol.Deployment
	setting perf.Setting
	load    sol.Load
	floors  sol.Floors
	tpot    float64 // seconds, measured
	dcgm    bool
	config  *Config
	verdict Cell
}

// cellsOf returns the rows that have floors: means, and trials of which there
// is no mean.
func cellsOf(rows []perf.Row, lib *sol.Library, config *Config) []*cell {
	means := map[string]bool{}
	for _, r := range rows {
		if r.Text("agg") == "mean" {
			means[settingOf(r)] = true
		}
	}
	var cells []*cell
	for _, r := range rows {
		if r.Text("agg") != "mean" && means[settingOf(r)] {
			continue
		}
		if c, ok := newCell(r, lib, config); ok {
			cells = append(cells, c)
		}
	}
	slices.SortStableFunc(cells, func(a, b *cell) int {
		x, _ := a.Int("concurrency")
		y, _ := b.Int("concurrency")
		return cmp.Or(cmp.Compare(a.Text("config"), b.Text("config")), cmp.Compare(x, y), cmp.Compare(a.Text("cell_id"), b.Text("cell_id")))
	})
	return cells
}

func settingOf(r perf.Row) string { return cellName(r) + " " + r.Text("setting_sha256") }

// cellName is the name of a cell without its trial.
func cellName(r perf.Row) string {
	var kept []string
	for part := range strings.SplitSeq(r.Text("cell_id"), ",") {
		if !strings.HasPrefix(part, "trial=") {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, ",")
}

// newCell takes a row whose shares of Speed of Light stand. A row of which they
// were withheld says nothing of where time goes.
func newCell(r perf.Row, lib *sol.Library, config *Config) (*cell, bool) {
	tpot, okT := r.Float("headline_tpot_ms")
	batch, okB := r.Float("sol_batch")
	if _, ok := r.Float("pct_sol"); !ok || !okT || !okB {
		return nil, false
	}
	setting := r.SettingOf()
	if n, ok := r.Int("gpu_count"); ok && setting != nil {
		setting["gpu_count"] = fmt.Sprint(n)
	}
	d, _, err := lib.Deployment(setting)
	if err != nil {
		return nil, false
	}
	c := &cell{Row: r, d: d, setting: setting, tpot: tpot / 1e3, config: config}
	c.load = sol.Load{Batch: batch, Input: c.number("sol_input_tokens"), Output: c.number("sol_output_tokens"), Cached: c.number("sol_cached_share"), Accepted: 1}
	if n, ok := r.Int("spec_tokens"); ok && r.Text("spec_method") != "" {
		c.load.Drafted, c.load.Accepted = int(n), c.number("acceptance_length")
	}
	if c.floors, err = d.Floors(c.load); err != nil {
		return nil, false
	}
	c.dcgm, _ = r.Bool("dcgm_grounded")
	c.judge()
	return c, true
}

// number returns a DOUBLE column, 0 for NULL.
func (c *cell) number(name string) float64 { v, _ := c.Float(name); return v }

// measured returns a column that DCGM fills, if its samples stand behind the row.
func (c *cell) measured(name string) (float64, bool) {
	v, ok := c.Float(name)
	return v, ok && c.dcgm
}

func (c *cell) judge() {
	v := &c.verdict
	*v = Cell{
		Cell: c.Text("cell_id"), Row: c.Text("row_uid"), Shape: shape(c.Row), Confidence: "timing only",
		TPOTms: c.tpot * 1e3, MemoryMS: c.floors.Step.MemSeconds * 1e3, ComputeMS: c.floors.Step.MathSeconds * 1e3, CommMS: c.floors.Comm * 1e3,
		PrefillMS: c.number("t_prefill_ms"), PctSoL: c.pointer("pct_sol"), PctAchievable: c.pointer("pct_achievable"),
	}
	if c.dcgm {
		v.Confidence = "DCGM"
	}
	known := max(v.MemoryMS, v.ComputeMS) + v.CommMS + v.PrefillMS
	if busy, ok := c.measured("dcgm_gr"); ok {
		host := max(0, 1-busy) * v.TPOTms
		v.HostMS = &host
		known += host
	}
	v.UnexplainedMS = max(0, v.TPOTms-known)
	for _, test := range []func() (string, string){c.queue, c.prefill, c.host, c.communication, c.memory, c.compute} {
		if bound, why := test(); bound != "" {
			v.Bound, v.Why = bound, why
			return
		}
	}
	if c.dcgm {
		v.Bound, v.Why = "kernel", fmt.Sprintf("the GPUs are busy and neither memory nor tensor pipes are: low-efficiency kernels or small batches; %.2f of %.2f ms are unexplained", v.UnexplainedMS, v.TPOTms)
		return
	}
	v.Bound, v.Why = "unknown", fmt.Sprintf("needs L3: by timing alone, memory takes at least %.0f %% of TPOT and compute %.0f %%; host and kernels cannot be told apart", 100*v.MemoryMS/v.TPOTms, 100*v.ComputeMS/v.TPOTms)
}

func (c *cell) pointer(name string) *float64 {
	if v, ok := c.Float(name); ok {
		return &v
	}
	return nil
}

func shape(r perf.Row) string {
	text := r.Text("config")
	for _, f := range []struct{ name, column string }{{"c", "concurrency"}, {"ISL", "isl"}, {"OSL", "osl"}} {
		if n, ok := r.Int(f.column); ok {
			text += fmt.Sprintf(", %s=%d", f.name, n)
		}
	}
	return text
}

// queue: requests wait for a place. TTFT alone is no queue where the server
// says that nothing waited: then they were in prefill.
func (c *cell) queue() (string, string) {
	b := c.config.Bounds
	waiting, told := c.Float("waiting_mean")
	ttft, floor := c.number("headline_ttft_ms"), c.floors.TTFT*1e3
	late := ttft-floor > b.QueueTTFT*floor
	asked, closed := c.Int("concurrency")
	thin := closed && c.load.Batch < b.QueueBatch*float64(asked)
	if told && waiting <= b.QueueWaiting || !told && !(late && thin) {
		return "", ""
	}
	why := fmt.Sprintf("B_eff %.1f of %d asked, TTFT %.0f ms on a floor of %.0f ms", c.load.Batch, asked, ttft, floor)
	if told {
		why += fmt.Sprintf(", %.1f sequences waiting on average", waiting)
	}
	limit, okLimit := c.Int("max_num_seqs")
	running, okRunning := c.Float("running_max")
	full, okFull := c.Float("kv_usage_max")
	switch {
	case okFull && full >= b.KVFull:
		return "queue (kv)", why + fmt.Sprintf(", KV blocks in use up to %.0f %%", 100*full)
	case okLimit && okRunning && running >= float64(limit):
		return "queue (max_num_seqs)", why + fmt.Sprintf(", %.0f running of %d allowed", running, limit)
	}
	return "queue (scheduler)", why
}

// prefillShare is the part of the time in which the GPUs prefill, with matrix
// products as efficient as tools have found them.
func (c *cell) prefillShare() (share, efficiency float64) {
	efficiency = 1
	if reached, _, ok := c.d.Reached(); ok && c.d.PeakUnknown() == nil {
		efficiency = reached.Peak() / c.d.Peak()
	}
	return min(1, c.number("t_prefill_ms")/1e3/c.tpot/efficiency), efficiency
}

func (c *cell) prefill() (string, string) {
	share, efficiency := c.prefillShare()
	if share <= c.config.Bounds.Prefill {
		return "", ""
	}
	return "prefill", fmt.Sprintf("prefill takes %.0f %% of the time at %.0f %% of the peak, and decode waits for it", 100*share, 100*efficiency)
}

func (c *cell) host() (string, string) {
	busy, ok := c.measured("dcgm_gr")
	if !ok {
		c.verdict.Unknown = append(c.verdict.Unknown, "host: needs L3 (dcgm_gr)")
		return "", ""
	}
	if busy >= c.config.Bounds.Host {
		return "", ""
	}
	return "host", fmt.Sprintf("the GPUs idle %.0f %% of the window", 100*(1-busy))
}

func (c *cell) communication() (string, string) {
	b := c.config.Bounds
	if out, ok := c.measured("nvlink_tx_bps"); ok && !math.IsNaN(c.d.GPU.LinkBandwidth) {
		in, _ := c.measured("nvlink_rx_bps")
		if share := max(out, in) / c.d.GPU.LinkBandwidth; share > b.Link {
			return "communication", fmt.Sprintf("links are busy %.0f %% in one direction", 100*share)
		}
	}
	if share := c.floors.Comm / c.tpot; share > b.Communication {
		return "communication", fmt.Sprintf("collectives take at least %.0f %% of TPOT", 100*share)
	}
	return "", ""
}

func (c *cell) memory() (string, string) {
	return c.pipe("memory", "dcgm_dram", "the memory interface", c.floors.Step.MemSeconds, c.config.Bounds.Memory)
}

func (c *cell) compute() (string, string) {
	return c.pipe("compute", "dcgm_tensor", "the tensor pipe", c.floors.Step.MathSeconds, c.config.Bounds.Compute)
}

func (c *cell) pipe(bound, column, what string, floor, limit float64) (string, string) {
	if active, ok := c.measured(column); ok {
		if active < limit {
			return "", ""
		}
		return bound, fmt.Sprintf("%s is active %.0f %% of the window", what, 100*active)
	}
	if share := floor / c.tpot; share >= limit {
		return bound, fmt.Sprintf("%s takes at least %.0f %% of TPOT", bound, 100*share)
	}
	c.verdict.Unknown = append(c.verdict.Unknown, bound+": needs L3 ("+column+")")
	return "", ""
}
