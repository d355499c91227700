package perf

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipeline/internal/digest"
)

// Missing is the status of a row for a cell that has no measurement at all.
const Missing Status = "MISSING"

// A Coord is one coordinate of a cell.
type Coord struct{ Axis, Value string }

// An Origin says where a row comes from.
type Origin struct {
	Cell      []Coord                  // its coordinates, in the order of its name
	Artifacts map[string]digest.Digest // what stands behind it, by name
	Source    string                   // which of them is the measurement
	Doubts    []string                 // beside those of the measurement
	Gap       string                   // why the cell is no full answer, as the engine tells it
}

// CellID prints coordinates by axis: concurrency=16,config=fp8-tp8,trial=1.
// The order in which a spec has its axes is not in it.
func CellID(cell []Coord) string {
	parts := make([]string, len(cell))
	for i, c := range byAxis(cell) {
		parts[i] = c.Axis + "=" + c.Value
	}
	return cmp.Or(strings.Join(parts, ","), "cell")
}

func byAxis(cell []Coord) []Coord {
	sorted := slices.Clone(cell)
	slices.SortStableFunc(sorted, func(a, b Coord) int { return cmp.Compare(a.Axis, b.Axis) })
	return sorted
}

func (o Origin) newRow() Row {
	r := NewRow(Atlas())
	axes := make(map[string]any, len(o.Cell))
	var config, other []string
	for _, c := range byAxis(o.Cell) {
		axes[c.Axis] = c.Value
		switch c.Axis {
		case "config":
			config = append(config, c.Value)
		case "trial":
			if n, err := strconv.ParseInt(c.Value, 10, 64); err == nil {
				r.SetInt("trial", n)
			}
		case "concurrency", "request_rate", "rate":
		default:
			other = append(other, c.Axis+"="+c.Value)
		}
	}
	r.SetText("cell_id", CellID(o.Cell))
	r.SetText("agg", "trial")
	r.SetJSON("axes", axes)
	r.SetText("config", cmp.Or(strings.Join(append(config, other...), " "), "default"))
	r.SetBool("plot_ready", false)
	r.SetText("verdict_tier", "draft")
	r.SetText("sol_rigor", "none")
	r.setUID(o.Artifacts[o.Source].String())
	return r
}

func (r Row) setUID(sources ...string) {
	text := r.Text("cell_id") + "\n" + r.Text("agg") + "\n" + strings.Join(sources, "\n")
	r.SetText("row_uid", digest.Of([]byte(text)).String())
}

// RowOfGap returns the row of a cell that has no measurement: no number, and
// the reason.
func RowOfGap(o Origin) Row {
	r := o.newRow()
	r.SetText("status", string(Missing))
	r.SetText("status_reason", cmp.Or(o.Gap, "no measurement, and no reason was given"))
	r.SetList("doubts", slices.Clone(o.Doubts))
	for _, c := range o.Cell { // so that the row stands beside its neighbours
		switch c.Axis {
		case "concurrency", "isl", "osl", "num_prompts":
			if n, err := strconv.ParseInt(c.Value, 10, 64); err == nil {
				r.SetInt(c.Axis, n)
			}
		}
	}
	return r
}

// RowOf returns the row of a measurement. What the measurement does not tell
// is NULL with its reason in extra_json.absent, and what makes a number
// doubtful is in doubts.
func RowOf(o Origin, m *Measurement) Row {
	b := &rowBuilder{Row: o.newRow(), absent: map[string]any{}, derived: map[string]any{}}
	b.SetText("status", string(m.Status))
	reasons := m.Reasons
	if m.Failure != "" {
		reasons = append(slices.Clone(reasons), m.Failure)
	}
	told := func(reason string) bool { return reason != "" && strings.Contains(o.Gap, reason) }
	if o.Gap != "" && !slices.ContainsFunc(reasons, told) { // the engine's text mostly is the measurement's own
		reasons = append(slices.Clone(reasons), o.Gap)
	}
	b.SetText("status_reason", strings.Join(reasons, "; "))
	b.SetBool("simulated", m.Simulated)
	b.SetText("token_source", m.TokenSource)
	b.setting(m)
	b.workload(&m.Asked)
	b.tier()
	b.times(m)
	b.summary("", &m.Summary, m.Asked.OSL)
	if m.Steady != nil {
		b.summary("_steady", m.Steady, m.Asked.OSL)
	} else {
		b.absent["group:steady"] = "the measurement has no steady-state window"
	}
	b.headline(m)
	b.client(m.Client)
	b.server(m.Server)
	b.provenance(o, m)
	if m.Source != nil {
		b.untold(&m.Summary)
	}

	ready := m.Status == Full && !b.IsNull("headline_ttft_ms") && !b.IsNull("headline_request_throughput_rps")
	b.SetBool("plot_ready", ready)
	b.SetList("doubts", unique(m.Doubts, o.Doubts, b.doubts))
	b.finish(o, m)
	return b.Row
}

// rowBuilder collects, beside the columns, why others are NULL.
type rowBuilder struct {
	Row
	absent, derived map[string]any
	doubts          []string
}

func (b *rowBuilder) finish(o Origin, m *Measurement) {
	b.absent["group:sol"] = "no Speed-of-Light model was applied to this row"
	b.absent["group:dcgm"] = "no DCGM samples were correlated with this row"
	artifacts := make(map[string]any, len(o.Artifacts))
	for name, d := range o.Artifacts {
		artifacts[name] = d.String()
	}
	extra := map[string]any{"absent": b.absent, "artifacts": artifacts}
	if len(m.Summary.FinishReasons) > 0 {
		extra["finish_reasons"] = m.Summary.FinishReasons
	}
	if len(b.derived) > 0 {
		extra["derived"] = b.derived
	}
	if m.CrossCheck != nil {
		extra["cross_check"] = m.CrossCheck.row()
	}
	b.SetJSON("extra_json", extra)
}

func unique(lists ...[]string) []string {
	out := []string{}
	for _, list := range lists {
		for _, s := range list {
			if s != "" && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}

func (b *rowBuilder) setting(m *Measurement) {
	all := make(map[string]any, len(m.Setting))
	for _, name := range m.Setting.Names() {
		text := m.Setting[name]
		all[name] = text
		c, ok := b.schema.Column(name)
		switch {
		case !ok || !c.Group.IsSetting(): // kept in the column setting
		case text == "":
			b.absent[name] = "does not apply"
		case text == Unknown:
			b.absent[name] = "could not be learned"
		default:
			if err := b.ParseText(name, text); err != nil {
				b.absent[name] = err.Error()
				b.doubt("setting %s: %v; the column is NULL", name, err)
			}
		}
	}
	b.SetJSON("setting", all)
	b.SetText("setting_sha256", settingGroup(m.Setting).String())
}

func (b *rowBuilder) doubt(format string, a ...any) {
	b.doubts = append(b.doubts, fmt.Sprintf(format, a...))
}

func settingGroup(s Setting) digest.Digest {
	rest := make(map[string]any, len(s))
	for n, v := range s {
		if slices.Contains(replicateFieldsOf(s), n) {
			continue
		}
		rest[n] = v
	}
	text, err := digest.Canonical(rest)
	if err != nil { // not UTF-8: the printed form tells settings apart as well
		text = []byte(s.String())
	}
	return digest.Of(text)
}

// workload sets what was asked. A field of the Setting that says the same in
// its own column stays.
func (b *rowBuilder) workload(w *Workload) {
	text := func(name, v string) {
		if b.IsNull(name) {
			b.SetText(name, v)
		}
	}
	count := func(name string, v int, zeroIsNull bool) {
		if b.IsNull(name) && (v != 0 || !zeroIsNull) {
			b.SetInt(name, int64(v))
		}
	}
	text("api", w.API)
	text("arrival", w.Arrival)
	text("dataset", w.Dataset)
	text("dataset_digest", w.DatasetDigest)
	count("isl", w.ISL, true)
	count("osl", w.OSL, true)
	count("concurrency", w.Concurrency, true)
	count("num_prompts", w.NumPrompts, true)
	count("warmup_requests", w.Warmup, false)
	count("shared_prefix", w.SharedPrefix, false)
	count("turns", max(w.Turns, 1), false)
	if w.RequestRate != 0 {
		b.SetFloat("request_rate", w.RequestRate)
	}
	if b.IsNull("random_seed") {
		b.SetInt("random_seed", w.Seed)
	}
	b.SetBool("ignore_eos", w.IgnoreEOS)
	b.SetBool("multi_turn", w.Turns > 1)
	b.SetFloatOf("temperature", w.Temperature)
	if w.RampUpS > 0 {
		b.SetFloat("ramp_up_s", w.RampUpS)
	}
	if w.RequestTimeoutS > 0 {
		b.SetFloat("request_timeout_s", w.RequestTimeoutS)
	}
	slo := map[string]any{}
	for name, v := range map[string]float64{"ttft_ms": w.TTFTSLOms, "tpot_ms": w.TPOTSLOms, "e2e_ms": w.E2ESLOms} {
		if v > 0 {
			slo[name] = v
		}
	}
	if len(slo) > 0 {
		b.SetJSON("slo", slo)
	} else {
		b.absent["goodput_rps"] = "no limit was asked"
	}
}

// tier names the load of a closed loop whose setting does not.
func (b *rowBuilder) tier() {
	if n, ok := b.Int("concurrency"); ok && n > 0 && b.IsNull("latency_tier") {
		b.SetText("latency_tier", LatencyTier(n))
		delete(b.absent, "latency_tier")
		b.derived["latency_tier"] = "by concurrency: latency up to 4, throughput from 64"
	}
}

func (b *rowBuilder) times(m *Measurement) {
	b.SetTime("started_at", m.Start)
	b.SetTime("ended_at", m.End)
	if m.Window == nil || m.Steady == nil {
		return
	}
	b.SetTime("steady_start", m.Start.Add(time.Duration(m.Window.FromNS)))
	b.SetTime("steady_end", m.Start.Add(time.Duration(m.Window.ToNS)))
	b.SetFloat("steady_s", float64(m.Window.ToNS-m.Window.FromNS)/1e9)
	b.SetFloat("steady_share", m.Window.Share)
	b.SetText("trim_method", m.Window.Method)
	if m.Steadiness != nil {
		b.SetText("steady_class", m.Steadiness.Class)
	}
}

func (b *rowBuilder) summary(suffix string, s *Summary, osl int) {
	if suffix == "" && s.DurationS > 0 {
		b.SetFloat("duration_s", s.DurationS)
	}
	b.counts(suffix, s)
	b.SetFloatOf("request_throughput_rps"+suffix, s.RequestThroughput)
	b.SetFloatOf("output_tps"+suffix, s.OutputThroughput)
	b.SetFloatOf("total_tps"+suffix, s.TotalThroughput)
	if s.TotalThroughput != nil && s.OutputThroughput != nil {
		b.SetFloat("input_tps"+suffix, *s.TotalThroughput-*s.OutputThroughput)
	}
	b.SetFloatOf("goodput_rps"+suffix, s.Goodput)
	b.SetFloatOf("tps_per_user_median"+suffix, s.PerUserThroughput)
	for _, d := range distFields {
		dist := d.of(s)
		if dist == nil || dist.N == 0 {
			continue
		}
		for _, stat := range distStats {
			if stat.name == "std" && dist.N >= 0 && dist.N < 2 {
				continue // one value has no deviation
			}
			b.SetFloat(d.column+"_"+stat.name+suffix, stat.of(dist))
			if math.IsNaN(stat.of(dist)) {
				b.absent[d.column+"_"+stat.name+suffix] = untold
			}
		}
		if dist.Unanswered > 0 {
			b.absent[d.column+"_*"+suffix] = fmt.Sprintf("%d of %d requests had no answer and count as endless: what falls among them is NULL", dist.Unanswered, dist.N)
		}
	}
	b.SetFloatOf("tokens_per_chunk"+suffix, s.TokensPerChunk)
	b.lengths("input_tokens"+suffix, s.ISL)
	b.lengths("output_tokens"+suffix, s.OSL)
	if s.OSL != nil && s.OSL.N > 0 && osl > 0 {
		b.SetFloat("osl_mismatch_pct"+suffix, 100*math.Abs(s.OSL.Mean-float64(osl))/float64(osl))
	}
	b.SetFloatOf("b_eff"+suffix, s.EffectiveBatch)
	b.SetFloatOf("client_prefix_hit_rate"+suffix, s.PrefixHitRate)
}

// untold is why a column is NULL that the report of another tool lacks.
const untold = "the report does not tell it"

// untold says of quantities that are wholly absent why.
func (b *rowBuilder) untold(s *Summary) {
	for _, d := range distFields {
		if d.of(s) == nil {
			b.absent[d.column+"_*"] = untold
		}
	}
	for _, c := range []string{"request_throughput_rps", "output_tps", "input_tps", "total_tps", "tps_per_user_median", "goodput_rps", "duration_s"} {
		if _, said := b.absent[c]; b.IsNull(c) && !said {
			b.absent[c] = untold
		}
	}
}

func (b *rowBuilder) counts(suffix string, s *Summary) {
	told := func(column string, known bool) bool {
		if !known {
			b.absent[column+suffix] = untold
		}
		return known
	}
	requests, errors := s.Requests != Untold, s.Errors != Untold
	if requests && errors && s.Requests+s.Errors == 0 {
		return // nothing ended in the span, and all is NULL
	}
	if told("completed", requests) {
		b.SetInt("completed"+suffix, int64(s.Requests))
	}
	if told("failed", errors) {
		b.SetInt("failed"+suffix, int64(s.Errors))
	}
	if told("error_rate", requests && errors) {
		b.SetFloat("error_rate"+suffix, float64(s.Errors)/float64(s.Requests+s.Errors))
	}
	if s.Requests == 0 {
		return
	}
	if told("input_tokens", s.InputTokens != Untold) {
		b.SetInt("input_tokens"+suffix, s.InputTokens)
	}
	if told("output_tokens", s.OutputTokens != Untold) {
		b.SetFloat("output_tokens"+suffix, s.OutputTokens)
	}
}

func (b *rowBuilder) lengths(name string, d *Dist) {
	if d == nil || d.N == 0 {
		return
	}
	b.SetFloat("mean_"+name, d.Mean)
	if d.N != 1 {
		b.SetFloat("std_"+name, d.Std)
	}
}

// headline takes the numbers that charts show from one span, so that a point
// never mixes two.
func (b *rowBuilder) headline(m *Measurement) {
	s, window, suffix := &m.Summary, "full", ""
	if m.Steady != nil && m.Steady.OutputThroughput != nil {
		s, window, suffix = m.Steady, "steady", "_steady"
	}
	if s.OutputThroughput != nil || s.TTFT != nil {
		b.SetText("headline_window", window)
	}
	b.SetFloatOf("headline_request_throughput_rps", s.RequestThroughput)
	b.SetFloatOf("headline_output_tps", s.OutputThroughput)
	b.SetFloatOf("headline_tps_per_user", s.PerUserThroughput)
	b.SetFloatOf("headline_goodput_rps", s.Goodput)
	for column, dist := range map[string]string{"headline_ttft_ms": "ttft_ms_median", "headline_ttft_p99_ms": "ttft_ms_p99", "headline_tpot_ms": "tpot_ms_median"} {
		if v, ok := b.Float(dist + suffix); ok {
			b.SetFloat(column, v)
		}
	}
	gpus, ok := b.gpus()
	if !ok {
		why := "gpu_count is unknown, and cannot be worked out without tp, pp and dp"
		for _, c := range []string{"output_tps_per_gpu", "input_tps_per_gpu", "total_tps_per_gpu"} {
			b.absent[c] = why
		}
		if s.OutputThroughput != nil {
			b.doubt("tok/s/GPU is not computed: %s", why)
		}
		return
	}
	for column, v := range map[string]string{"output_tps_per_gpu": "output_tps", "input_tps_per_gpu": "input_tps", "total_tps_per_gpu": "total_tps"} {
		if tps, ok := b.Float(v + suffix); ok {
			b.SetFloat(column, tps/float64(gpus))
		}
	}
}

// gpus returns the GPUs of the cell. A server that is not disaggregated and
// tells its parallelism has tp·pp·dp of them; expert parallelism shares them.
func (b *rowBuilder) gpus() (int64, bool) {
	if n, ok := b.Int("gpu_count"); ok {
		return n, n > 0
	}
	tp, okT := b.Int("tp")
	pp, okP := b.Int("pp")
	dp, okD := b.Int("dp")
	if disagg, _ := b.Bool("disagg"); disagg || !okT || !okP || !okD || tp*pp*dp <= 0 {
		return 0, false
	}
	b.SetInt("gpu_count", tp*pp*dp)
	delete(b.absent, "gpu_count")
	b.derived["gpu_count"] = "tp * pp * dp"
	return tp * pp * dp, true
}

func (b *rowBuilder) client(c *Client) {
	if c == nil {
		b.absent["group:client"] = "the driver does not tell the health of its generator"
		return
	}
	b.SetBool("client_bound", c.Bound)
	b.SetText("client_why", c.Why)
	if c.GOMAXPROCS == 0 {
		b.toolClient(c)
		return
	}
	b.SetFloatOf("client_lag_p50_ms", c.LagP50ms)
	b.SetFloatOf("client_lag_p99_ms", c.LagP99ms)
	b.SetFloatOf("client_lag_max_ms", c.LagMaxms)
	b.SetFloatOf("client_cpu_share", c.CPUShare)
	b.SetFloat("client_gc_pause_max_ms", c.GCPauseMaxms)
	b.SetInt("client_gomaxprocs", int64(c.GOMAXPROCS))
	b.SetFloat("client_load_average", c.LoadAverage)
	b.SetInt("client_new_conns", int64(c.NewConns))
	b.SetInt("client_reused_conns", int64(c.ReusedConns))
	b.SetFloatOf("client_coalesced_share", c.Coalesced)
	b.SetInt("client_predialled_conns", int64(c.Predialled))
	b.SetFloatOf("client_steal_share", c.StealShare)
	b.SetFloatOf("client_clock_error_ms", c.ClockErrorMS)
	for column, v := range map[string]float64{"client_events_per_read": c.EventsARead, "client_request_cost_us": c.RequestCostUS, "client_events_max_per_s": c.EventsMaxRate} {
		if v > 0 { // 0 is "not told" here
			b.SetFloat(column, v)
		}
	}
	if c.AchievedRate > 0 {
		b.SetFloat("client_achieved_rps", c.AchievedRate)
	}
}

// toolClient is client for a generator that is no part of this program, of
// which less is known.
func (b *rowBuilder) toolClient(c *Client) {
	b.absent["group:client"] = "the tool does not tell more of the health of its generator"
	b.SetFloatOf("client_cpu_share", c.CPUShare)
	b.SetFloatOf("client_busiest_share", c.BusiestShare)
	b.SetFloatOf("client_lag_p50_ms", c.LagP50ms)
	b.SetFloatOf("client_lag_p99_ms", c.LagP99ms)
	b.SetFloatOf("client_lag_max_ms", c.LagMaxms)
}

func (b *rowBuilder) server(s *Server) {
	if s == nil {
		b.absent["group:server"] = "the server has no counters, or none that could be read"
		return
	}
	b.SetFloatOf("server_prompt_tokens", s.PromptTokens)
	b.SetFloatOf("server_generation_tokens", s.GenerationTokens)
	b.SetFloatOf("server_generation_tps", s.GenerationTPS)
	b.SetFloatOf("server_requests_ok", s.RequestsOK)
	if s.Preemptions != nil {
		b.SetInt("preemptions", int64(math.Round(*s.Preemptions)))
	}
	b.SetFloatOf("prefix_hit_rate", s.PrefixHitRate)
	b.SetFloatOf("kv_usage_max", s.KVUsageMax)
	b.SetFloatOf("running_mean", s.RunningMean)
	b.SetFloatOf("running_max", s.RunningMax)
	b.SetFloatOf("waiting_mean", s.WaitingMean)
	b.SetFloatOf("waiting_max", s.WaitingMax)
	b.SetInt("server_samples", int64(s.Samples))
	b.SetList("server_missing", s.Missing)
	b.absent["kv_usage_mean"] = "the measurement keeps the largest value only"
}

func (b *rowBuilder) provenance(o Origin, m *Measurement) {
	b.SetText("bench_backend", m.Driver.Name)
	b.SetText("bench_version", m.Driver.Version)
	b.SetText("tool_version", m.Driver.Version)
	b.SetText("source_format", m.Schema)
	b.SetText("source_path", o.Source)
	if d, ok := o.Artifacts[o.Source]; ok {
		b.SetText("source_sha256", d.String())
	}
	if src := m.Source; src != nil {
		b.SetText("source_format", src.Format)
		b.SetText("source_path", src.Path)
		b.SetText("source_sha256", src.SHA256.String())
		b.SetText("importer_version", src.Importer)
	}
	if m.Driver.Command != nil {
		command := make([]any, len(m.Driver.Command))
		for i, word := range m.Driver.Command {
			command[i] = strings.ToValidUTF8(word, "\uFFFD")
		}
		b.SetJSON("command", command)
	}
}

// Absent returns why columns and groups of an atlas row are NULL, from its
// extra_json: sorted lines "name: reason".
func (r Row) Absent() []string {
	absent, _ := r.Extra()["absent"].(map[string]any)
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(absent)) {
		lines = append(lines, fmt.Sprintf("%s: %v", name, absent[name]))
	}
	return lines
}
