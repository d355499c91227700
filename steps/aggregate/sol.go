package aggregate

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"pipeline/configs"
	"pipeline/internal/digest"
	"pipeline/internal/sol"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// builtinCeilings is the digest of the ceilings that ship with the program. It
// is the default of a key parameter, so that rows made with other ceilings are
// never served from the store.
func builtinCeilings() string {
	ceilings, _ := sol.BuiltinDigests()
	return ceilings
}

// builtinConfigs is the digest of the other files that rows depend on: the
// shapes of models, and the thresholds of the frontier.
func builtinConfigs() string {
	_, models := sol.BuiltinDigests()
	return digest.Of(fmt.Appendf(nil, "models %s\nfrontier %s\n", models, digest.Of(configs.Frontier()))).String()
}

// Check refuses a digest that is not that of this program, and claims that no
// rows could show.
func (s *Step) Check() error {
	for _, p := range []struct{ name, have, want string }{
		{"builtin_ceilings", s.BuiltinCeilings, builtinCeilings()}, {"builtin_configs", s.BuiltinConfigs, builtinConfigs()},
	} {
		if p.have != p.want {
			return &steps.ParamError{Param: p.name, Err: fmt.Errorf("it is %s in this program; leave it out", p.want)}
		}
	}
	return checkClaims(s.Claims)
}

// library reads what floors are made of.
func (s *Step) library(env *steps.Env) (*sol.Library, error) {
	path := string(s.Ceilings)
	if path != "" {
		path = env.Resolve(path)
	}
	c, err := sol.ReadCeilings(string(s.Ceilings), path)
	if err != nil {
		return nil, fmt.Errorf("ceilings: %w: %w", err, steps.ErrPermanent)
	}
	lib := &sol.Library{Ceilings: c}
	if s.ModelConfig != "" {
		if lib.Own, err = sol.ReadShape(env.Resolve(string(s.ModelConfig))); err != nil {
			return nil, fmt.Errorf("model_config: %w: %w", err, steps.ErrPermanent)
		}
	}
	return lib, nil
}

// addFloors puts the Speed of Light beside the numbers of each row.
func addFloors(lib *sol.Library, rows []perf.Row) {
	for _, r := range rows {
		f := &floorRow{Row: r, lib: lib, absent: map[string]string{"group:sol": ""}}
		for _, name := range solColumns() {
			f.Clear(name)
			f.absent[name] = ""
		}
		if err := f.fill(); err != nil {
			f.withhold(err.Error())
		}
		r.SetList("sol_notes", append([]string{}, f.notes...))
		setAbsents(r, f.absent)
	}
}

// setAbsents says why columns are NULL; "" takes back what was said.
func setAbsents(r perf.Row, why map[string]string) {
	extra := r.Extra()
	absent, _ := extra["absent"].(map[string]any)
	if absent == nil {
		absent = map[string]any{}
	}
	for name, text := range why {
		if text == "" {
			delete(absent, name)
			continue
		}
		absent[name] = text
	}
	extra["absent"] = absent
	r.SetJSON("extra_json", extra)
}

// solColumns are what addFloors fills. sol_rigor is of what was measured
// beside, and loaded_weight_ratio of the server's log.
func solColumns() []string {
	var names []string
	for _, name := range perf.Atlas().InGroup(perf.GroupSoL) {
		if name != "sol_rigor" && name != "sol_notes" {
			names = append(names, name)
		}
	}
	return names
}

// A floorRow is a row that gets its floors.
type floorRow struct {
	perf.Row
	lib    *sol.Library
	notes  []string
	absent map[string]string // why a column is NULL
}

func (f *floorRow) note(format string, a ...any) {
	f.notes = append(f.notes, fmt.Sprintf(format, a...))
}

// withhold leaves all of the group NULL, and says why.
func (f *floorRow) withhold(why string) {
	for _, name := range solColumns() {
		f.Clear(name)
	}
	f.absent = map[string]string{"group:sol": why}
	f.note("%s", why)
}

func (f *floorRow) fill() error {
	if perf.Status(f.Text("status")) != perf.Full && perf.Status(f.Text("status")) != perf.Partial {
		return fmt.Errorf("SOL_NO_NUMBERS: the cell is %s", f.Text("status"))
	}
	setting := f.SettingOf()
	if n, ok := f.Int("gpu_count"); ok && setting != nil {
		setting["gpu_count"] = fmt.Sprint(n)
	}
	if scale := sol.TimeScale(setting); scale != "" && scale != "1" {
		return fmt.Errorf("SOL_TIME_SCALE: the simulation ran at time_scale %s, and floors are of real time", scale)
	}
	d, notes, err := f.lib.Deployment(setting)
	if err != nil {
		return err
	}
	f.notes = append(f.notes, notes...)
	f.SetText("ceilings_digest", f.lib.Ceilings.Digest().String())
	f.ceilings(d)
	f.capacity(d)
	load, err := f.load()
	if err != nil {
		return f.prefillOnly(d, load, err)
	}
	floors, err := d.Floors(load)
	if err != nil {
		return err
	}
	f.floors(d, load, floors)
	f.shares(d, load, floors)
	f.judge(d, load)
	return nil
}

func (f *floorRow) ceilings(d *sol.Deployment) {
	bandwidth, compute := d.CeilingPaths()
	f.SetText("sol_bandwidth_key", bandwidth)
	f.SetFloat("sol_bandwidth_tbps", d.GPU.Bandwidth/1e12)
	if err := d.PeakUnknown(); err != nil {
		for _, name := range []string{"sol_compute_key", "sol_compute_tflops", "ridge", "t_flop_ms", "ceiling_output_tps_per_gpu_agg", "ceiling_output_tps_per_gpu_overlap", "pct_sol_tps_agg", "t_prefill_ms", "prefill_share"} {
			f.absent[name] = err.Error()
		}
		return
	}
	f.SetText("sol_compute_key", compute)
	f.SetFloat("sol_compute_tflops", d.Peak()/1e12)
	f.SetFloat("ridge", d.Peak()/d.GPU.Bandwidth)
}

// capacity is that of the KV cache over all replicas.
func (f *floorRow) capacity(d *sol.Deployment) {
	share, ok := f.Float("gpu_memory_utilization")
	if !ok {
		f.absent["kv_capacity_tokens"] = "gpu_memory_utilization is unknown"
		return
	}
	tokens := d.KVCapacityTokens(share, 0) * float64(d.Replicas)
	if tokens <= 0 {
		f.note("KV_NO_ROOM: the weights alone are larger than %g of the memory of %d %s; shape, quant or layout is wrong", share, d.GPUs, d.GPU.Key)
		return
	}
	f.SetInt("kv_capacity_tokens", int64(tokens))
}

// suffix of the columns of the span that the row puts first.
func (f *floorRow) suffix() string {
	if f.Text("headline_window") == "steady" {
		return "_steady"
	}
	return ""
}

// load is what the row was measured under.
func (f *floorRow) load() (sol.Load, error) {
	l := sol.Load{Accepted: 1}
	var ok bool
	if l.Input, ok = f.first("mean_input_tokens"+f.suffix(), "isl"); !ok {
		return l, fmt.Errorf("SOL_LOAD: the row has no input length")
	}
	if l.Output, ok = f.first("mean_output_tokens"+f.suffix(), "osl"); !ok {
		return l, fmt.Errorf("SOL_LOAD: the row has no output length")
	}
	l.Cached = f.cached()
	if l.Batch, ok = f.Float("b_eff" + f.suffix()); !ok || l.Batch <= 0 {
		return l, fmt.Errorf("SOL_NO_BATCH: without a TPOT and an output throughput there is no effective batch")
	}
	if method := f.Text("spec_method"); method != "" {
		drafted, okD := f.Int("spec_tokens")
		accepted, okA := f.Float("acceptance_length")
		if !okD || !okA {
			return l, fmt.Errorf("SOL_SPECULATION: spec_method is %s, and spec_tokens or acceptance_length is unknown", method)
		}
		l.Drafted, l.Accepted = int(drafted), accepted
	}
	return l, nil
}

// first returns the first of the columns that has a number above zero.
func (f *floorRow) first(names ...string) (float64, bool) {
	for _, name := range names {
		column, _ := f.Schema().Column(name)
		if column.Type == perf.Bigint {
			if n, ok := f.Int(name); ok && n > 0 {
				return float64(n), true
			}
			continue
		}
		if v, ok := f.Float(name); ok && v > 0 {
			return v, true
		}
	}
	return 0, false
}

// cached is the share of the input that was in the prefix cache.
func (f *floorRow) cached() float64 {
	for _, name := range []string{"client_prefix_hit_rate" + f.suffix(), "prefix_hit_rate"} {
		if v, ok := f.Float(name); ok {
			return min(1, max(0, v))
		}
	}
	if on, known := f.Bool("prefix_caching"); f.Text("cache_mode") != "cold" && (on || !known) {
		f.note("the share of the input that was cached is unknown: taken as none")
	}
	return 0
}

// prefillOnly fills what stands without a batch: requests of one token, for
// instance, have a TTFT and no TPOT.
func (f *floorRow) prefillOnly(d *sol.Deployment, l sol.Load, why error) error {
	if !strings.HasPrefix(why.Error(), "SOL_NO_BATCH") {
		return why
	}
	l.Batch = 1
	floors, err := d.Floors(l)
	if err != nil {
		return err
	}
	f.note("%v", why)
	for _, name := range solColumns() {
		if f.IsNull(name) && !strings.Contains(name, "ttft") && name != "kv_capacity_tokens" {
			f.absent[name] = why.Error()
		}
	}
	f.shape(l, false)
	f.ttft(floors)
	return nil
}

// shape tells what the floors are of.
func (f *floorRow) shape(l sol.Load, batch bool) {
	if batch {
		f.SetFloat("sol_batch", l.Batch)
	}
	f.SetFloat("sol_input_tokens", l.Input)
	f.SetFloat("sol_output_tokens", l.Output)
	f.SetFloat("sol_cached_share", l.Cached)
}

func (f *floorRow) floors(d *sol.Deployment, l sol.Load, v sol.Floors) {
	f.shape(l, true)
	f.SetText("footprint_kind", "computed")
	f.SetText("bound", v.Bound())
	known := d.PeakUnknown() == nil
	for _, c := range []struct {
		name  string
		value float64
		ok    bool
	}{
		{"footprint_gb_per_token", v.Footprint / 1e9, true},
		{"tpot_floor_ms", v.TPOT * 1e3, true},
		{"tpot_floor_noov_ms", v.TPOTNoOver * 1e3, true},
		{"ceiling_output_tps_per_gpu_decode", v.Decode, true},
		{"ceiling_output_tps_per_gpu_agg", v.Serving, known},
		{"ceiling_output_tps_per_gpu_overlap", v.Overlapped, known},
		{"prefill_share", v.PrefillShare, known},
		{"ai_flop_per_byte", v.AI, true},
		{"t_mem_ms", v.Step.MemSeconds * 1e3, true},
		{"t_flop_ms", v.Step.MathSeconds * 1e3, known},
		{"t_comm_ms", v.Comm * 1e3, true},
	} {
		if c.ok {
			f.SetFloat(c.name, c.value)
		}
	}
}

// shares sets what was measured over what could be.
func (f *floorRow) shares(d *sol.Deployment, l sol.Load, v sol.Floors) {
	f.ttft(v)
	if tpot, ok := f.Float("headline_tpot_ms"); ok && tpot > 0 {
		f.SetFloat("pct_sol_tpot", 100*v.TPOT*1e3/tpot)
		if rps, ok := f.Float("headline_request_throughput_rps"); ok && d.PeakUnknown() == nil {
			f.SetFloat("t_prefill_ms", tpot*min(1, v.PrefillTime*rps/float64(d.Replicas)))
		}
	}
	out, ok := f.Float("output_tps_per_gpu")
	if !ok {
		for _, name := range []string{"pct_sol", "pct_sol_tps_decode", "pct_sol_tps_agg", "hbm_pct_pred", "model_tflops_per_gpu"} {
			f.absent[name] = "tok/s/GPU is not known"
		}
		return
	}
	f.SetFloat("pct_sol_tps_decode", 100*out/v.Decode)
	f.SetFloat("hbm_pct_pred", 100*out*v.Footprint/d.GPU.Bandwidth)
	f.SetFloat("model_tflops_per_gpu", out*d.FLOPsPerToken(v.Context)/1e12)
	kind := "decode"
	if d.PeakUnknown() == nil {
		kind = "agg"
		f.SetFloat("pct_sol_tps_agg", 100*out/v.Serving)
	}
	if agg, ok := f.Float("pct_sol_tps_agg"); ok && agg > 100 {
		kind = "decode"
		f.note("AGG_OVERLAP: %.1f %% of the ceiling with prefill and decode one after the other: steps share them; the share shown is of decode alone", agg)
	}
	f.SetText("pct_sol_kind", kind)
	f.SetFloat("pct_sol", 100*out/ceilingOf(kind, v))
	f.beside(d, l, kind, out)
}

func ceilingOf(kind string, v sol.Floors) float64 {
	if kind == "agg" {
		return v.Serving
	}
	return v.Decode
}

// beside sets the shares of other ceilings than the nominal: what the memory
// clocks, and what tools reached.
func (f *floorRow) beside(d *sol.Deployment, l sol.Load, kind string, out float64) {
	if clocked, ok := d.Clocked(); ok {
		if v, err := clocked.Floors(l); err == nil {
			f.SetFloat("pct_sol_clocked", 100*out/ceilingOf(kind, v))
		}
	} else {
		f.absent["pct_sol_clocked"] = "no clocked bandwidth of " + d.GPU.Key + " is known"
	}
	reached, source, ok := d.Reached()
	if !ok {
		f.absent["pct_achievable"] = "no tool's rate on " + d.GPU.Key + " is known"
		return
	}
	if v, err := reached.Floors(l); err == nil {
		f.SetFloat("pct_achievable", 100*out/ceilingOf(kind, v))
		f.SetText("achievable_source", source)
		if share, _ := f.Float("pct_achievable"); share > 100 {
			f.note("ABOVE_ACHIEVABLE: %.0f %% of what tools reached (%s): their rates are low, or steps share prefill and decode, which this ceiling takes one after the other", share, source)
		}
	}
}

func (f *floorRow) ttft(v sol.Floors) {
	f.SetFloat("ttft_floor_ms", v.TTFT*1e3)
	measured, ok := f.Float("headline_ttft_ms")
	if !ok || measured <= 0 {
		return
	}
	share := 100 * v.TTFT * 1e3 / measured
	if share > 100 {
		why := fmt.Sprintf("SOL_OVER_TTFT: the TTFT floor, %.3g ms, is above the median TTFT, %.3g ms: more of the input was cached than is known, or shape and quant are wrong; the share of TTFT is withheld", v.TTFT*1e3, measured)
		f.note("%s", why)
		f.absent["pct_sol_ttft"] = why
		return
	}
	f.SetFloat("pct_sol_ttft", share)
}

// judge flags what cannot be, and what limits the cell beside the roofline.
func (f *floorRow) judge(d *sol.Deployment, l sol.Load) {
	asked, closed := f.Int("concurrency")
	ttft, okTTFT := f.Float("headline_ttft_ms")
	floor, _ := f.Float("ttft_floor_ms")
	if low := l.Batch / float64(asked); closed && asked > 0 && low < 0.9 && okTTFT && ttft > 4*floor {
		f.note("B_EFF_LOW: %.1f sequences decoded at once where %d were asked (%.0f %%): the others waited or were in prefill; floors are of what decoded", l.Batch, asked, 100*low)
	}
	if running, ok := f.Float("running_max"); ok && l.Batch > 1.1*running {
		f.note("B_EFF_ABOVE_RUNNING: %.1f sequences by output tok/s times TPOT, and the server never ran more than %.0f", l.Batch, running)
	}
	if held, ok := f.Int("kv_capacity_tokens"); ok && closed {
		if fit := float64(held) / (l.Input + l.Output/2); float64(asked) > fit {
			f.note("KV_CAPPED: %d streams were asked, and the KV cache holds %.0f of their length at most", asked, fit)
		}
	}
	worst, of := 0.0, ""
	for _, name := range []string{"pct_sol_tpot", "pct_sol_tps_decode"} {
		if v, ok := f.Float(name); ok && v > worst {
			worst, of = v, name
		}
	}
	// Prefill and decode in one step, each at its own limit: nothing passes that.
	if most, ok := f.Float("ceiling_output_tps_per_gpu_overlap"); ok && most > 0 {
		if out, ok := f.Float("output_tps_per_gpu"); ok && 100*out/most > worst {
			worst, of = 100*out/most, "ceiling_output_tps_per_gpu_overlap"
		}
	}
	if worst > 100 {
		why := fmt.Sprintf("SOL_OVER: %.0f %% of ceiling %s at B_eff=%.3g (%s): footprint, quant map or batch is wrong; %%SoL is withheld",
			worst, f.Text("sol_bandwidth_key"), l.Batch, of)
		f.notes = slices.DeleteFunc(f.notes, func(n string) bool { return strings.HasPrefix(n, "AGG_OVERLAP") }) // of a share that is no more
		f.note("%s", why)
		addDoubt(f.Row, why)
		f.withholdShares(why)
	}
}

// withholdShares takes back the shares of a row. Floors and ceilings stay: they
// are not what is in doubt.
func (f *floorRow) withholdShares(why string) {
	for _, name := range shareColumns() {
		f.Clear(name)
		f.absent[name] = why
	}
}

// shareColumns are what is measured over what could be, decode's or all.
var shareColumns = sync.OnceValue(func() []string {
	return slices.DeleteFunc(slices.Clone(solColumns()), func(name string) bool {
		return !strings.HasPrefix(name, "pct_") && name != "hbm_pct_pred" || name == "pct_sol_ttft"
	})
})
