package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"pipeline/internal/report/chart"
	"pipeline/internal/roofline"
	"pipeline/internal/stat"
	"pipeline/lake/perf"
)

// A page7 shows the roofline sweeps, candidate over candidate, and answers
// what they were made for.
type page7 struct {
	Bundles     []string
	Ceilings    []string
	Candidates  int
	Peak        []page7Answer
	HBM         []page7Answer
	HBMNotes    []string
	Sharding    []page7Answer // one of each group of candidates that are alike
	Targets     []targetRow
	EqualLoad   []targetRow
	Roofline    []figure
	Utilisation []figure
	Prefill     []figure
	Interactive []figure
	Decodes     []decodeRow
	Prefills    []prefillRow
	Left        []string // cells that are in no answer, and why
	Notes       []string
	Shared      []field
	AlikeDoubts []string
	Cells       []cellRow // every trial
	Simulated   bool
	Goodput     bool // for the head of the table of cells: sweeps ask for none
}

// An answer is what is said of a candidate.
type page7Answer struct{ Of, Text string }

type targetRow struct {
	Of, At, Outcome string
	Entries         []string
}

type decodeRow struct {
	Candidate, Shape             string
	C, N, BEff, PerGPU, PerUser  string
	TFLOPs, AI, HBM, Predicted   string
	HBMAnswer, Tensor, SM, Bound string
	Rigor                        string
}

type prefillRow struct {
	Candidate, ISL, C, N, TTFT, PerGPU, TFLOPs, MFU, Predicted, Bound, Floor string
}

// sweptAxis is the coordinate by which rows of sweeps are known.
const sweptAxis = "roofline"

// A sweptRow is a row of a sweep, with what it keeps of its analysis.
type sweptRow struct {
	perf.Row
	roofline.RowExtra
	candidate string
	group     string // what it may be compared within
}

func axesOfRow(r perf.Row) map[string]string {
	axes := map[string]string{}
	_ = json.Unmarshal([]byte(r.Text("axes")), &axes) // canonical JSON of text by construction
	return axes
}

// isSwept reports whether a row is of a roofline sweep: it has a page of its
// own, and no place beside cells of another workload.
func isSwept(r perf.Row) bool { _, ok := axesOfRow(r)[sweptAxis]; return ok }

// getRoofline says how to come by page 7.
const getRoofline = "add a roofline_sweep step, or a bundle of a sweep, and wire import_roofline_sweep to the port roofline of aggregate"

// withoutSwept leaves out the rows of roofline sweeps, unless there are no
// others.
func withoutSwept(rows []perf.Row) []perf.Row {
	rest := slices.DeleteFunc(slices.Clone(rows), isSwept)
	if len(rest) == 0 {
		return rows
	}
	return rest
}

// sweptRows are the trials of all sweeps.
func sweptRows(rows []perf.Row) []sweptRow {
	var out []sweptRow
	for _, r := range rows {
		axes := axesOfRow(r)
		if _, ok := axes[sweptAxis]; !ok || r.Text("agg") != "trial" {
			continue
		}
		s := sweptRow{Row: r}
		if raw, err := json.Marshal(r.Extra()[sweptAxis]); err == nil {
			_ = json.Unmarshal(raw, &s.RowExtra) // a row without it has no analysis
		}
		s.candidate = candidateOf(axes, s.RowExtra)
		out = append(out, s)
	}
	for _, kind := range []string{roofline.Decode, roofline.Prefill} {
		tellApart(out, kind)
	}
	return out
}

// candidateOf names the deployment of a row: by the coordinates that the sweep
// itself does not have, or else by its parallelism and cache format.
func candidateOf(axes map[string]string, x roofline.RowExtra) string {
	var parts []string
	for _, axis := range slices.Sorted(maps.Keys(axes)) {
		switch axis {
		case sweptAxis, "concurrency", "isl", "osl", "trial":
		case "config":
			parts = append(parts, axes[axis])
		default:
			parts = append(parts, axis+"="+axes[axis])
		}
	}
	if len(parts) == 0 {
		parts = append(parts, fmt.Sprintf("tp%d", x.TensorParallel))
		if x.KVCacheDtype != "" {
			parts = append(parts, "kv "+x.KVCacheDtype)
		}
	}
	return strings.Join(parts, " ")
}

// alike are the fields in which candidates must agree to be compared: the work,
// and what it ran on. Which deployment does the work best is the question.
var alike = []string{"model", "hardware", "cache_mode", "api", "dataset", "shared_prefix", "range_ratio", "isl", "osl"}

// deploying are the fields that make another candidate, where names by
// coordinates do not tell them apart; deployingAlso are looked at only if none
// of those differ, since they follow from them.
var (
	deploying = []string{
		"model_shape", "model_revision", "quant", "kv_cache_dtype", "mma_dtype", "spec_method", "spec_tokens",
		"tp", "dp", "pp", "ep", "dcp", "pcp", "dp_attention", "disagg", "prefill_gpus", "prefill_tp", "prefill_dp", "prefill_ep", "prefill_workers",
		"decode_gpus", "decode_tp", "decode_dp", "decode_ep", "decode_workers", "kv_transfer",
		"max_num_seqs", "max_num_batched_tokens", "max_model_len", "gpu_memory_utilization", "cudagraph_mode", "enforce_eager", "async_scheduling",
		"prefix_caching", "chunked_prefill", "block_size", "attention_backend", "moe_backend", "all2all_backend", "stream_interval", "scheduler", "kv_offload",
		"engine", "engine_version", "engine_commit", "bench_backend",
	}
	deployingAlso = []string{"gpu_count", "node_count", "quant_map", "config_sha256", "image_digest", "image", "serve_args", "engine_version_observed", "cuda", "driver", "nccl", "torch"}
)

// tellApart gives each row of a kind its group, and puts into its name the
// fields of the setting in which rows of one name differ.
func tellApart(rows []sweptRow, kind string) {
	var own []*sweptRow
	byName := map[string][]perf.Setting{}
	var all []perf.Setting
	for i := range rows {
		r := &rows[i]
		if r.Kind != kind {
			continue
		}
		own = append(own, r)
		if r.valid() { // others may not have learned their setting
			s := r.Fields()
			all = append(all, s)
			byName[r.candidate] = append(byName[r.candidate], s)
		}
	}
	grouping := differing(all, alike)
	if slices.Contains(grouping, "isl") != slices.Contains(grouping, "osl") { // a shape is both
		grouping = slices.DeleteFunc(grouping, func(f string) bool { return f == "isl" || f == "osl" })
		grouping = append(grouping, "isl", "osl")
	}
	if kind == roofline.Prefill { // compared by input length, along an axis
		grouping = slices.DeleteFunc(grouping, func(f string) bool { return f == "isl" || f == "osl" })
	}
	for _, r := range own {
		fields, settings := r.Fields(), byName[r.candidate]
		apart := differing(settings, deploying)
		if len(apart) == 0 {
			apart = differing(settings, deployingAlso)
		}
		r.group = named(fields, grouping, " ", ", ")
		if d := named(fields, apart, "=", " "); d != "" {
			r.candidate += " " + d
		}
		if kind == roofline.Prefill && r.group != "" {
			r.candidate += ", " + r.group
		}
	}
}

// differing are those fields that are not the same in all settings.
func differing(settings []perf.Setting, fields []string) []string {
	var out []string
	for _, f := range fields {
		if slices.ContainsFunc(settings, func(s perf.Setting) bool { return s[f] != settings[0][f] }) {
			out = append(out, f)
		}
	}
	return out
}

// named prints fields with their values.
func named(of map[string]string, fields []string, is, between string) string {
	parts := make([]string, len(fields))
	for i, f := range fields {
		name := f
		if f == "isl" || f == "osl" {
			name = strings.ToUpper(f)
		}
		parts[i] = name + is + cmp.Or(of[f], perf.Unknown)
	}
	return strings.Join(parts, between)
}

// valid reports whether a row may stand in an answer.
func (s sweptRow) valid() bool { return s.leftOut() == "" }

// leftOut says why a row is in no answer.
func (s sweptRow) leftOut() string {
	switch status := s.Text("status"); {
	case status != string(perf.Full):
		return cmp.Or(s.Text("status_reason"), "it is "+status)
	case s.over() != "":
		return s.over()
	}
	return ""
}

func (s sweptRow) over() string {
	for _, d := range s.List("doubts") {
		if strings.HasPrefix(d, "SOL_OVER") {
			return d
		}
	}
	return ""
}

// grounded are the counters of a row, if they count.
func (s sweptRow) grounded() *roofline.DCGM {
	if s.DCGM == nil || s.DCGM.Rigor != "L3" {
		return nil
	}
	return s.DCGM
}

// A candidate is the sweep of one deployment at one group of decode cells.
type candidate struct {
	name  string // with its group, if there are several
	group string
	rows  []sweptRow // decode, valid
	curve roofline.Curve
}

// pageRoofline makes page 7, or says why there is none.
func (v *view) pageRoofline() (*page7, string) {
	rows := sweptRows(v.rows)
	if len(rows) == 0 {
		return nil, "no roofline sweep was imported"
	}
	p := &page7{Notes: sweptNotes(rows), Shared: sortedFields(sweptShared(rows)), Simulated: v.status.Simulated}
	p.cells(v, rows)
	var decodes, prefills []sweptRow
	for _, r := range rows {
		if why := r.leftOut(); why != "" {
			p.Left = append(p.Left, fmt.Sprintf("%s: %s", r.Text("cell_id"), why))
			continue
		}
		if r.Kind == roofline.Decode {
			decodes = append(decodes, r)
		} else {
			prefills = append(prefills, r)
		}
	}
	if len(decodes)+len(prefills) == 0 {
		return nil, fmt.Sprintf("none of the %d cells of the roofline sweeps is a full answer: %s", len(rows), p.Left[0])
	}
	candidates := candidatesOf(decodes)
	p.Candidates = len(candidates)
	for _, r := range rows {
		if b := fmt.Sprintf("%s %s", r.candidate, shortSum(r.Bundle)); r.Bundle != "" && !slices.Contains(p.Bundles, b) {
			p.Bundles = append(p.Bundles, b)
		}
	}
	for _, c := range candidates {
		for _, left := range c.curve.Left() {
			p.Left = append(p.Left, c.name+": "+left)
		}
	}
	p.answer(candidates)
	p.tables(candidates, prefills)
	p.Ceilings = sweptCeilingTexts(rows)
	p.Roofline = v.rooflineFigure(candidates, prefills)
	p.Utilisation = v.utilisationFigure(candidates)
	p.Prefill = v.prefillFigures(prefills)
	p.Interactive = v.interactivityFigures(candidates)
	return p, ""
}

// cells lists every trial, with the doubts that not all of them have.
func (p *page7) cells(v *view, rows []sweptRow) {
	p.AlikeDoubts = alikeDoubts(plainRows(rows))
	shared := sweptShared(rows)
	for _, r := range rows {
		c := v.cellRow(r.Row, p.AlikeDoubts)
		c.Own = slices.DeleteFunc(c.Own, func(f field) bool { return shared[f.Name] == f.Value })
		p.Cells = append(p.Cells, c)
	}
}

func plainRows(rows []sweptRow) []perf.Row {
	plain := make([]perf.Row, len(rows))
	for i, r := range rows {
		plain[i] = r.Row
	}
	return plain
}

func shortSum(bundle string) string {
	name, sum, ok := strings.Cut(bundle, ":")
	if !ok || len(sum) < 12 {
		return bundle
	}
	return name + ":" + sum[:12]
}

func sweptNotes(rows []sweptRow) []string {
	var notes []string
	add := func(n string) {
		if n != "" && !slices.Contains(notes, n) {
			notes = append(notes, n)
		}
	}
	unanalysed := map[string]int{}
	for _, r := range rows {
		for _, n := range r.Notes {
			add(n)
		}
		if r.NotAnalysed != "" {
			unanalysed[r.NotAnalysed]++
		}
	}
	for _, why := range slices.Sorted(maps.Keys(unanalysed)) {
		add(fmt.Sprintf("%d cells stand beside no model: %s", unanalysed[why], why))
	}
	return notes
}

func sweptShared(rows []sweptRow) map[string]string {
	shared := sharedFields(plainRows(rows))
	maps.DeleteFunc(shared, func(k, value string) bool { return value == "" || value == perf.Unknown || k == "trial" })
	return shared
}

// candidatesOf groups decode cells by deployment and by what they may be
// compared within, which is named where there are several.
func candidatesOf(rows []sweptRow) []candidate {
	var out []candidate
	for _, r := range rows {
		i := slices.IndexFunc(out, func(c candidate) bool { return c.curve.Name == r.candidate && c.group == r.group })
		if i < 0 {
			i = len(out)
			name := r.candidate
			if r.group != "" {
				name += ", " + r.group
			}
			out = append(out, candidate{name: name, group: r.group, curve: roofline.Curve{Name: r.candidate}})
		}
		c := &out[i]
		c.rows = append(c.rows, r)
		c.curve.GPUs = r.gpus()
		c.curve.Trials = append(c.curve.Trials, r.trial())
	}
	return out
}

// groupsOf splits candidates into those that may be compared with each other.
func groupsOf(candidates []candidate) [][]candidate {
	var out [][]candidate
	for _, c := range candidates {
		i := slices.IndexFunc(out, func(g []candidate) bool { return g[0].group == c.group })
		if i < 0 {
			i = len(out)
			out = append(out, nil)
		}
		out[i] = append(out[i], c)
	}
	return out
}

func decodeShape(r sweptRow) string {
	return fmt.Sprintf("ISL %s, OSL %s", whole(r.Row, "isl"), whole(r.Row, "osl"))
}

func (s sweptRow) gpus() int { n, _ := s.Int("gpu_count"); return int(n) }

func (s sweptRow) concurrency() int { n, _ := s.Int("concurrency"); return int(n) }

func (s sweptRow) trial() roofline.Trial {
	t := roofline.Trial{C: s.concurrency()}
	t.TPSPerGPU, _ = s.Float("output_tps_per_gpu")
	t.TPSPerUser, _ = s.Float("headline_tps_per_user")
	if a := s.Analysis; a != nil {
		t.TFLOPs, t.BEff = a.TFLOPsPerGPU, a.BEff
	}
	if d := s.grounded(); d != nil && d.DRAM != nil {
		t.DRAM = &roofline.Gauge{Mean: *d.DRAM, N: d.NEff}
		if d.DRAMSd != nil {
			t.DRAM.Sd = *d.DRAMSd
		}
	}
	return t
}

// practicalHBM is what NVIDIA's documentation of DCGM gives as the most that
// DRAM activity reaches in practice.
const practicalHBM = 0.8

// answer fills the three boxes.
func (p *page7) answer(candidates []candidate) {
	ampere := false
	for _, c := range candidates {
		p.Peak = append(p.Peak, page7Answer{c.name, c.curve.Peak().Text})
		text := roofline.HBMText(c.curve.HBM())
		if why := c.uncounted(); why != "" {
			text += " (" + why + ")"
		}
		p.HBM = append(p.HBM, page7Answer{c.name, text})
		ampere = ampere || slices.Contains([]string{"8.0", "8.6", "8.7"}, c.rows[0].ComputeCap)
	}
	if len(candidates) == 0 {
		none := page7Answer{Text: "not answered: no decode cell is a full answer"}
		p.Peak, p.HBM, p.Sharding = []page7Answer{none}, []page7Answer{none}, []page7Answer{none}
		return
	}
	p.HBMNotes = []string{fmt.Sprintf("NVIDIA gives about %.0f%% as the most that DRAM activity reaches in practice.", 100*practicalHBM)}
	if ampere {
		p.HBMNotes = append(p.HBMNotes, fmt.Sprintf("On Ampere the metric itself tops out there, so that %.0f%% is %.0f%% of what can be reached.", 100*roofline.HBMThreshold, 100*roofline.HBMThreshold/practicalHBM))
	}
	for _, group := range groupsOf(candidates) {
		p.shard(group)
	}
}

// shard answers for candidates that may be compared.
func (p *page7) shard(group []candidate) {
	of, curves := group[0].group, make([]roofline.Curve, len(group))
	for i, c := range group {
		curves[i] = c.curve
	}
	s := roofline.Sharding(curves)
	p.Sharding = append(p.Sharding, page7Answer{Of: of, Text: s.Text})
	for _, t := range s.Targets {
		p.Targets = append(p.Targets, newTarget(of, t, "tok/s/user"))
	}
	for _, t := range s.EqualLoad {
		p.EqualLoad = append(p.EqualLoad, newTarget(of, t, "sequences a GPU"))
	}
}

func newTarget(of string, t roofline.Target, unit string) targetRow {
	row := targetRow{Of: of, At: number(t.At) + " " + unit, Outcome: t.Text()}
	for _, e := range t.Entries {
		row.Entries = append(row.Entries, fmt.Sprintf("%s %s", e.Name, number(e.TPSPerGPU)))
	}
	return row
}

// uncounted says how many decode cells have no counters that count, and why.
func (c candidate) uncounted() string {
	missing, why := 0, ""
	for _, r := range c.rows {
		if r.grounded() != nil {
			continue
		}
		missing++
		why = r.NoDCGM
		if r.DCGM != nil {
			why = r.DCGM.Gap
		}
	}
	if missing == 0 {
		return ""
	}
	return fmt.Sprintf("no GPU counters that count in %d of %d cells: %s", missing, len(c.rows), cmp.Or(why, "none were captured"))
}

// at groups the rows of a candidate by concurrency.
func (c candidate) at() [][]sweptRow {
	return sweptGroups(c.rows, func(r sweptRow) int { return r.concurrency() })
}

func sweptGroups(rows []sweptRow, by func(sweptRow) int) [][]sweptRow {
	groups := map[int][]sweptRow{}
	for _, r := range rows {
		groups[by(r)] = append(groups[by(r)], r)
	}
	var out [][]sweptRow
	for _, k := range slices.Sorted(maps.Keys(groups)) {
		out = append(out, groups[k])
	}
	return out
}

// over is the mean and the deviation over trials of what some of them have.
func sweptOver(rows []sweptRow, value func(sweptRow) (float64, bool)) (mean, std float64, ok bool) {
	var values []float64
	for _, r := range rows {
		if v, has := value(r); has {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return 0, 0, false
	}
	mean = stat.Mean(values)
	if std = stat.Std(values); math.IsNaN(std) || std < 1e-9*math.Abs(mean) { // one value, or equal but for rounding
		std = 0
	}
	return mean, std, true
}

func sweptColumn(name string) func(sweptRow) (float64, bool) {
	return func(r sweptRow) (float64, bool) { return r.Float(name) }
}

func sweptAnalysis(of func(*roofline.Analysis) float64) func(sweptRow) (float64, bool) {
	return func(r sweptRow) (float64, bool) {
		if r.Analysis == nil {
			return 0, false
		}
		return of(r.Analysis), true
	}
}

func sweptMFU(r sweptRow) (float64, bool) {
	if r.Analysis == nil || r.MFU == nil {
		return 0, false
	}
	return 100 * *r.MFU, true
}

func sweptCounter(of func(*roofline.DCGM) *float64) func(sweptRow) (float64, bool) {
	return func(r sweptRow) (float64, bool) {
		d := r.grounded()
		if d == nil || of(d) == nil {
			return 0, false
		}
		return 100 * *of(d), true
	}
}

var (
	sweptFLOPs     = sweptAnalysis(func(a *roofline.Analysis) float64 { return a.TFLOPsPerGPU })
	sweptAI        = sweptAnalysis(func(a *roofline.Analysis) float64 { return a.AI })
	sweptPredicted = sweptAnalysis(func(a *roofline.Analysis) float64 { return a.HBMPctPred })
	sweptBatch     = sweptAnalysis(func(a *roofline.Analysis) float64 { return a.BEff })
	sweptFloor     = sweptAnalysis(func(a *roofline.Analysis) float64 { return a.FloorMS })
	sweptPrefill   = sweptAnalysis(func(a *roofline.Analysis) float64 { return a.PrefillTPS })
	sweptDRAM      = sweptCounter(func(d *roofline.DCGM) *float64 { return d.DRAM })
	sweptTensor    = sweptCounter(func(d *roofline.DCGM) *float64 { return d.Tensor })
	sweptSM        = sweptCounter(func(d *roofline.DCGM) *float64 { return d.SM })
)

// said prints a mean with its deviation; a dash for what was not measured.
func sweptText(rows []sweptRow, value func(sweptRow) (float64, bool)) string {
	mean, std, ok := sweptOver(rows, value)
	if !ok {
		return "–"
	}
	if std > 0 {
		return number(mean) + " ± " + spread(std, mean)
	}
	return number(mean)
}

func sweptBound(rows []sweptRow) string {
	for _, r := range rows {
		if r.Analysis != nil {
			return r.Analysis.Bound
		}
	}
	return "–"
}

func sweptRigor(rows []sweptRow) string {
	var levels []string
	for _, r := range rows {
		if l := r.Text("sol_rigor"); !slices.Contains(levels, l) {
			levels = append(levels, l)
		}
	}
	slices.Sort(levels)
	return strings.Join(levels, ", ")
}

func (p *page7) tables(candidates []candidate, prefills []sweptRow) {
	for _, c := range candidates {
		answers := c.curve.HBM()
		for i, rows := range c.at() {
			p.Decodes = append(p.Decodes, decodeRow{
				Candidate: c.name, Shape: decodeShape(rows[0]), C: fmt.Sprint(rows[0].concurrency()), N: fmt.Sprint(len(rows)),
				BEff: sweptText(rows, sweptBatch), PerGPU: sweptText(rows, sweptColumn("output_tps_per_gpu")), PerUser: sweptText(rows, sweptColumn("headline_tps_per_user")),
				TFLOPs: sweptText(rows, sweptFLOPs), AI: sweptText(rows, sweptAI), HBM: sweptText(rows, sweptDRAM), Predicted: sweptText(rows, sweptPredicted), HBMAnswer: answers[i].Text(),
				Tensor: sweptText(rows, sweptTensor), SM: sweptText(rows, sweptSM), Bound: sweptBound(rows), Rigor: sweptRigor(rows),
			})
		}
	}
	for _, rows := range prefillGroups(prefills) {
		p.Prefills = append(p.Prefills, prefillRow{
			Candidate: rows[0].candidate, ISL: whole(rows[0].Row, "isl"), C: fmt.Sprint(rows[0].concurrency()), N: fmt.Sprint(len(rows)),
			TTFT: sweptText(rows, sweptColumn("headline_ttft_ms")), Floor: sweptText(rows, sweptFloor), PerGPU: sweptText(rows, sweptPrefill), TFLOPs: sweptText(rows, sweptFLOPs),
			MFU: sweptText(rows, sweptMFU), Predicted: sweptText(rows, sweptPredicted), Bound: sweptBound(rows),
		})
	}
}

// prefillGroups groups prefill cells by candidate, concurrency and input length.
func prefillGroups(rows []sweptRow) [][]sweptRow {
	var out [][]sweptRow
	for _, series := range prefillSeries(rows) {
		out = append(out, series.groups...)
	}
	return out
}

// A prefillRun is the prefill of a candidate at one concurrency, by input
// length.
type prefillRun struct {
	name   string // with the concurrency, if there are several
	rows   []sweptRow
	groups [][]sweptRow
}

func prefillSeries(rows []sweptRow) []prefillRun {
	several := len(sweptGroups(rows, sweptRow.concurrency)) > 1
	var out []prefillRun
	for _, name := range sweptNames(rows) {
		own := slices.DeleteFunc(slices.Clone(rows), func(r sweptRow) bool { return r.candidate != name })
		for _, at := range sweptGroups(own, sweptRow.concurrency) {
			run := prefillRun{name: name, rows: at, groups: sweptGroups(at, func(r sweptRow) int { n, _ := r.Int("isl"); return int(n) })}
			if several {
				run.name += ", " + labelC(at[0])
			}
			out = append(out, run)
		}
	}
	return out
}

func sweptNames(rows []sweptRow) []string {
	var names []string
	for _, r := range rows {
		if !slices.Contains(names, r.candidate) {
			names = append(names, r.candidate)
		}
	}
	return names
}

// ceilingsOf are the figures that the rows stand beside, by key path.
func sweptCeilings(rows []sweptRow) map[string]float64 {
	out := map[string]float64{}
	for _, r := range rows {
		maps.Copy(out, r.Ceilings)
	}
	return out
}

func sweptCeilingTexts(rows []sweptRow) []string {
	all := sweptCeilings(rows)
	var out []string
	for _, path := range slices.Sorted(maps.Keys(all)) {
		unit := "TB/s"
		if strings.Contains(path, "tflops") {
			unit = "TFLOP/s"
		}
		out = append(out, fmt.Sprintf("%s = %s %s", path, plainNumber(all[path]), unit))
	}
	return out
}

// plainNumber prints a figure as its file has it.
func plainNumber(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.4g", v), ".0") }

// sweptTip is the text on hover of a point over trials.
func sweptTip(rows []sweptRow, what string) string {
	s := ""
	if simulated(rows[0].Row) {
		s = "SIMULATED\n"
	}
	s += fmt.Sprintf("%s\n%s, n=%d, %s", rows[0].Text("cell_id"), what, len(rows), rows[0].Text("headline_window"))
	if a := rows[0].Analysis; a != nil {
		s += fmt.Sprintf("\nbound: %s, rate: %s", a.Bound, a.RateBasis)
	}
	s += fmt.Sprintf("\nrow %.12s\n%s", rows[0].Text("row_uid"), shape(rows[0].Row))
	for _, d := range rows[0].List("doubts") {
		s += "\ndoubt: " + d
	}
	return s
}

// points makes the points of groups of rows.
func sweptPoints(groups [][]sweptRow, x, y func(sweptRow) (float64, bool), label func(sweptRow) string, unit string) []chart.Point {
	var out []chart.Point
	for _, rows := range groups {
		px, _, okX := sweptOver(rows, x)
		py, std, okY := sweptOver(rows, y)
		if !okX || !okY || px <= 0 || py <= 0 {
			continue
		}
		out = append(out, chart.Point{X: px, Y: py, YErr: std, Label: label(rows[0]), Tip: sweptTip(rows, number(py)+" "+unit),
			Hollow: rows[0].Text("headline_window") != "steady" && rows[0].Kind == roofline.Decode})
	}
	return out
}

func byConcurrency(r sweptRow) (float64, bool) { return float64(r.concurrency()), true }

func byISL(r sweptRow) (float64, bool) { n, ok := r.Int("isl"); return float64(n), ok }

func labelC(r sweptRow) string { return fmt.Sprintf("c=%d", r.concurrency()) }

func labelISL(r sweptRow) string { return whole(r.Row, "isl") }

func noLabel(sweptRow) string { return "" }

// rooflineFigure draws what the model computes against how much it computes a
// byte, under the slopes of memory and the ceilings of the matrix units.
func (v *view) rooflineFigure(candidates []candidate, prefills []sweptRow) []figure {
	var all []chart.Series
	var rows []sweptRow
	for _, c := range candidates {
		if p := sweptPoints(c.at(), sweptAI, sweptFLOPs, labelC, "model TFLOP/s/GPU"); len(p) > 0 {
			all = append(all, chart.Series{Name: c.name + " decode", Points: p})
			rows = append(rows, c.rows...)
		}
	}
	for _, run := range prefillSeries(prefills) {
		if p := sweptPoints(run.groups, sweptAI, sweptFLOPs, labelISL, "model TFLOP/s/GPU"); len(p) > 0 {
			all = append(all, chart.Series{Name: run.name + " prefill, by ISL", Points: p})
			rows = append(rows, run.rows...)
		}
	}
	if len(all) == 0 {
		return nil
	}
	all = append(all, roofSeries(all, rows)...)
	c := chart.Chart{
		ID: "roofline", Title: "Roofline of the model",
		X:      chart.Axis{Label: "arithmetic intensity, FLOP/byte", Log: true},
		Y:      chart.Axis{Label: "model TFLOP/s/GPU", Log: true},
		Series: all,
	}
	note := "FLOPs and bytes are counted from the shape of the model, at the effective batch that was measured; rates are measured. Dashed: what memory and matrix units allow, by the key paths above."
	if v.status.Simulated {
		note += " SIMULATED."
	}
	return []figure{v.figure(c, 940, note+barsHint(rows))}
}

func barsHint(rows []sweptRow) string {
	seen := map[string]bool{}
	for _, r := range rows {
		id := withoutTrial(r.Row)
		if seen[id] {
			return " " + barsNote
		}
		seen[id] = true
	}
	return ""
}

// roofs are the slopes of the memory's bandwidth, nominal and clocked, and the
// ceilings of the matrix units, over the span of the points.
func roofSeries(measured []chart.Series, rows []sweptRow) []chart.Series {
	ceilings := sweptCeilings(rows)
	low, high := math.Inf(1), 0.0
	for _, s := range measured {
		for _, p := range s.Points {
			low, high = min(low, p.X), max(high, p.X)
		}
	}
	low, high = low/2, high*2
	var bandwidths, peaks []string
	for _, path := range slices.Sorted(maps.Keys(ceilings)) {
		if strings.Contains(path, "tflops") {
			peaks = append(peaks, path)
		} else {
			bandwidths = append(bandwidths, path)
		}
	}
	// Nominal first: it is the one that the others lie below.
	slices.SortStableFunc(bandwidths, func(a, b string) int { return cmp.Compare(ceilings[b], ceilings[a]) })
	top := 0.0
	for _, path := range peaks {
		top = max(top, ceilings[path])
	}
	var out []chart.Series
	add := func(from, to chart.Point) {
		roof := chart.Series{Bound: true, Of: len(measured) + len(out), Points: []chart.Point{from, to}}
		if len(out) == 0 {
			roof.Name = "ceilings of one GPU"
		}
		out = append(out, roof)
	}
	for _, path := range bandwidths {
		bw := ceilings[path] // TB/s: times FLOP/byte, TFLOP/s
		end := high
		if top > 0 {
			end = min(high, top/bw)
		}
		if end <= low {
			continue
		}
		from, to := chart.Point{X: low, Y: low * bw}, chart.Point{X: end, Y: end * bw}
		if len(out) == 0 { // the labels of slopes that nearly meet lie apart
			to.Label = lastOf(path)
		} else {
			from.Label = lastOf(path)
		}
		add(from, to)
	}
	for _, path := range peaks {
		start := low
		if len(bandwidths) > 0 {
			start = max(low, ceilings[path]/ceilings[bandwidths[0]])
		}
		if start >= high {
			continue
		}
		add(chart.Point{X: start, Y: ceilings[path]}, chart.Point{X: high, Y: ceilings[path], Label: strings.TrimPrefix(lastOf(path), "dense_tflops.")})
	}
	return out
}

// lastOf is a key path without its GPU.
func lastOf(path string) string {
	_, rest, ok := strings.Cut(path, ".")
	if !ok {
		return path
	}
	return rest
}

// utilisationFigure shows how busy memory, tensor pipes and SMs were against
// concurrency, or how busy memory must have been where nothing was counted.
func (v *view) utilisationFigure(candidates []candidate) []figure {
	var all []chart.Series
	var low, high float64
	measured, missing := false, 0
	for _, c := range candidates {
		for _, what := range []struct {
			name  string
			value func(sweptRow) (float64, bool)
		}{{"HBM", sweptDRAM}, {"tensor", sweptTensor}, {"SM", sweptSM}} {
			if p := sweptPoints(c.at(), byConcurrency, what.value, noLabel, "% "+what.name+" active"); len(p) > 0 {
				all = append(all, chart.Series{Name: c.name + " " + what.name, Points: p})
				measured = true
			}
		}
		if _, _, ok := sweptOver(c.rows, sweptDRAM); !ok {
			missing++
			if p := sweptPoints(c.at(), byConcurrency, sweptPredicted, noLabel, "% of the nominal bandwidth, predicted"); len(p) > 0 {
				for i := range p {
					p[i].Hollow = true
				}
				all = append(all, chart.Series{Name: c.name + " HBM, predicted", Points: p})
			}
		}
		for _, r := range c.rows {
			n := float64(r.concurrency())
			if low == 0 || n < low {
				low = n
			}
			high = max(high, n)
		}
	}
	if len(all) == 0 {
		return nil
	}
	line := chart.Series{Name: fmt.Sprintf("%.0f%%", 100*roofline.HBMThreshold), Bound: true, Of: 4, Points: []chart.Point{{X: low, Y: 100 * roofline.HBMThreshold}, {X: max(high, low*1.01), Y: 100 * roofline.HBMThreshold}}}
	all = append(all, line)
	c := chart.Chart{
		ID: "utilisation", Title: "How busy the GPUs are against concurrency",
		X: chart.Axis{Label: "concurrency, streams", Log: high > 4*low, Ticks: concurrencies(candidates)}, Y: chart.Axis{Label: "% of peak, mean over GPUs"}, Series: all,
	}
	note := "DCGM counters inside the steady window, mean over GPUs and trials, of rigor L3 only."
	if !measured {
		note = "HBM, tensor and SM activity were not measured."
	}
	if missing > 0 {
		note += " Hollow: the share of the nominal bandwidth that the model must have moved, where nothing was counted."
	}
	return []figure{v.figure(c, 640, note)}
}

// concurrencies are those that were measured, as ticks; nil if they are many.
func concurrencies(candidates []candidate) []float64 {
	var out []float64
	for _, c := range candidates {
		for _, r := range c.rows {
			out = append(out, float64(r.concurrency()))
		}
	}
	slices.Sort(out)
	if out = slices.Compact(out); len(out) > 12 {
		return nil
	}
	return out
}

func (v *view) prefillFigures(prefills []sweptRow) []figure {
	var out []figure
	for _, what := range []struct {
		id, title, label, unit, note string
		value                        func(sweptRow) (float64, bool)
	}{
		{"prefill", "Prefill against input length", "input tok/s/GPU", "input tok/s/GPU", "One output token, and prompts that the server had not seen.", sweptPrefill},
		{"mfu", "Use of the matrix units in prefill", "MFU, % of the dense peak", "% MFU", "FLOPs of the prompt, by the shape of the model, over the time that it took, of the dense peak of the number format that the weights are multiplied in.", sweptMFU},
	} {
		var all []chart.Series
		low, high := math.Inf(1), 0.0
		for _, run := range prefillSeries(prefills) {
			if p := sweptPoints(run.groups, byISL, what.value, noLabel, what.unit); len(p) > 0 {
				all = append(all, chart.Series{Name: run.name, Points: p})
				low, high = min(low, p[0].X), max(high, p[len(p)-1].X)
			}
		}
		if len(all) == 0 {
			continue
		}
		c := chart.Chart{ID: what.id, Title: what.title, X: chart.Axis{Label: "input tokens", Log: high > 4*low}, Y: chart.Axis{Label: what.label}, Series: all}
		out = append(out, v.figure(c, 640, what.note))
	}
	return out
}

// interactivityFigures show what sharding is chosen by, for each group of
// candidates that may be compared.
func (v *view) interactivityFigures(candidates []candidate) []figure {
	var out []figure
	for i, group := range groupsOf(candidates) {
		var all []chart.Series
		for _, c := range group {
			if p := sweptPoints(c.at(), sweptColumn("headline_tps_per_user"), sweptColumn("output_tps_per_gpu"), labelC, "output tok/s/GPU"); len(p) > 0 {
				all = append(all, chart.Series{Name: c.curve.Name, Points: p})
			}
		}
		if len(all) < 2 {
			continue
		}
		c := chart.Chart{
			ID: "sharding", Title: "Candidates at equal speed of a user",
			X: chart.Axis{Label: "median tok/s/user"}, Y: chart.Axis{Label: "output tok/s/GPU", Log: true}, Series: all,
		}
		if of := group[0].group; of != "" {
			c.ID, c.Title = fmt.Sprintf("sharding-%d", i+1), c.Title+": "+of
		}
		out = append(out, v.figure(c, 640, "Between two cells of a candidate the logarithm of tok/s/GPU is taken as straight; beyond them nothing is said."))
	}
	return out
}
