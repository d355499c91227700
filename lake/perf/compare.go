package perf

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"pipeline/internal/stat"
)

// What a difference needs to be called one.
const (
	CompareAlpha  = 0.05 // of being wrong once among all tests of a comparison
	ComparePower  = 0.8  // for the smallest effect that would be found
	LeastEffect   = 0.02 // a smaller difference is a tie, however certain
	EffectSpreads = 2    // and so is one within this many CVs of the noisier side
)

// A Side is one of two things that are compared: the cells of a configuration.
type Side struct {
	Name  string
	Cells []Cell
}

// SideOf returns the cells of a configuration.
func SideOf(name, config string, cells []Cell) Side {
	return Side{name, slices.DeleteFunc(slices.Clone(cells), func(c Cell) bool { return c.Config != config })}
}

// CompareOptions say what is compared.
type CompareOptions struct {
	Across       []string // fields of the setting in which the sides differ on purpose
	AllowResidue bool     // compare although they differ in others too; these are printed
	Metrics      []Metric // nil: LevelMetrics
	Tests        int      // of the whole family that this is a part of; 0: the tests of this comparison
	Matrix       []Cell   // of all configurations that were declared; nil: those of the two sides
}

// ComparisonSchema names the shape of a Comparison.
const ComparisonSchema = "comparison/v1"

// A Comparison is what two sides differ in, load by load.
type Comparison struct {
	Schema    string         `json:"schema"`
	A         string         `json:"a"`
	B         string         `json:"b"`
	Simulated bool           `json:"simulated"`
	Across    []string       `json:"across"`            // compared on purpose, with what follows from it
	Residue   []string       `json:"residue"`           // other fields that differ
	Unknown   []string       `json:"unknown"`           // mandatory fields that neither side knows, and that may differ
	Refused   string         `json:"refused,omitempty"` // why nothing was compared
	Tests     int            `json:"tests"`             // that p values are corrected for
	Pairs     []Pair         `json:"pairs"`
	Gaps      []string       `json:"gaps"`               // loads that only one side has
	Excluded  []string       `json:"excluded,omitempty"` // trials that are left out, and why
	Regimes   []RegimeWinner `json:"regimes"`
	Crossings []string       `json:"crossings"` // where the winner changes with the load
	Tier      Tier           `json:"tier"`      // of "A beats B", and of the levels of both
	Refusals  []Refusal      `json:"refusals"`

	own []Refusal // that are of no cell
}

// A Pair is one load on both sides.
type Pair struct {
	Load        string               `json:"load"` // c=16, ISL 1024, OSL 64
	Concurrency int64                `json:"concurrency,omitempty"`
	Regime      string               `json:"regime"`
	CellA       string               `json:"cell_a"`
	CellB       string               `json:"cell_b"`
	Setting     Setting              `json:"setting"` // that both have
	Differs     map[string][2]string `json:"differs"` // field: what A and B have
	Findings    []Finding            `json:"findings"`
	a, b        *Cell

	reviewA, reviewB CellReview
}

// A Level is a metric over the trials of one cell.
type Level struct {
	Mean float64  `json:"mean"`
	Std  *float64 `json:"std,omitempty"` // nil for one trial
	N    int      `json:"n"`
	// PctSoL is the share of Speed of Light that belongs to the metric, over
	// the trials; nil: there is none, or it was withheld.
	PctSoL *float64 `json:"pct_sol,omitempty"`
}

// A Finding is one metric at one load.
type Finding struct {
	Metric     string   `json:"metric"`
	Name       string   `json:"name"`
	A          *Level   `json:"a"` // nil: not measured
	B          *Level   `json:"b"`
	Effect     *float64 `json:"effect_pct,omitempty"`      // of A over B, from geometric means
	Low        *float64 `json:"effect_low_pct,omitempty"`  // 95 % interval, of this test alone
	High       *float64 `json:"effect_high_pct,omitempty"` //
	P          *float64 `json:"p,omitempty"`               // Welch's test on logarithms
	PHolm      *float64 `json:"p_holm,omitempty"`          // corrected over all tests; CompareTrials a side or more
	PRank      *float64 `json:"p_rank_sum,omitempty"`      // exact rank-sum test, beside it
	Detectable *float64 `json:"detectable_pct,omitempty"`  // smallest effect that these trials would find, corrected
	Needed     float64  `json:"needed_pct"`                // smallest effect that counts
	Outcome    Outcome  `json:"outcome"`
	Why        string   `json:"why"`

	ratio stat.Ratio // where P is known
}

// An Outcome is who wins.
type Outcome string

// The outcomes.
const (
	WinsA    Outcome = "A"
	WinsB    Outcome = "B"
	Tie      Outcome = "tie"
	LeadsA   Outcome = "A, not significance-tested" // fewer than CompareTrials trials
	LeadsB   Outcome = "B, not significance-tested"
	Untested Outcome = "not comparable"
)

// A RegimeWinner is the winner of a regime, by the metric that decides it.
type RegimeWinner struct {
	Regime  string  `json:"regime"`
	Metric  string  `json:"metric"`
	Outcome Outcome `json:"outcome"`
	Text    string  `json:"text"`
}

// Compare compares two sides load by load. Loads are never pooled.
func Compare(a, b Side, o CompareOptions) *Comparison {
	if o.Metrics == nil {
		o.Metrics = LevelMetrics()
	}
	c := &Comparison{
		Schema: ComparisonSchema, A: a.Name, B: b.Name, Across: acrossWith(o.Across),
		Residue: []string{}, Unknown: []string{}, Pairs: []Pair{}, Gaps: []string{}, Regimes: []RegimeWinner{}, Crossings: []string{}, Refusals: []Refusal{},
	}
	if o.Matrix == nil {
		o.Matrix = slices.Concat(a.Cells, b.Cells)
	}
	c.match(a, b)
	for i := range c.Pairs {
		p := &c.Pairs[i]
		p.reviewA, p.reviewB = reviewCell(p.a, a.Cells), reviewCell(p.b, b.Cells)
		for _, text := range p.reviewA.Excluded {
			c.Excluded = append(c.Excluded, fmt.Sprintf("%s at %s: %s", c.A, p.Load, text))
		}
		for _, text := range p.reviewB.Excluded {
			c.Excluded = append(c.Excluded, fmt.Sprintf("%s at %s: %s", c.B, p.Load, text))
		}
	}
	c.compare(o)
	c.judge(a, b, o)
	return c
}

// compare fills the findings, unless it refuses.
func (c *Comparison) compare(o CompareOptions) {
	if len(c.Pairs) == 0 {
		c.Refused = fmt.Sprintf("%s and %s have no load in common at which both are FULL", c.A, c.B)
		return
	}
	if len(c.Residue) > 0 && !o.AllowResidue {
		c.Refused = "settings differ in " + strings.Join(c.Residue, ", ") + ", which is not what is compared"
		return
	}
	c.Tests = max(o.Tests, len(c.Pairs)*len(o.Metrics))
	for i := range c.Pairs {
		for _, m := range o.Metrics {
			c.Pairs[i].Findings = append(c.Pairs[i].Findings, c.Pairs[i].finding(m))
		}
	}
	c.conclude()
	c.regimes(o.Metrics)
}

// placeFields name the place of a process, and nothing that makes it faster.
// The focus is of the campaign.
var placeFields = []string{"pod", "namespace", "focus", "latency_tier"}

// loadFields are what loads are matched by. All else may not differ.
var loadFields = []string{"concurrency", "request_rate", "isl", "osl", "turns", "shared_prefix", "dataset", "split"}

func (c *Comparison) match(a, b Side) {
	taken := map[*Cell]bool{}
	for i := range a.Cells {
		x := &a.Cells[i]
		if j := slices.IndexFunc(a.Cells[:i], func(o Cell) bool { return sameLoad(&o, x) }); j >= 0 {
			c.Gaps = append(c.Gaps, fmt.Sprintf("%s: %s has several cells of this load; the first was compared", loadText(x), a.Name))
			continue
		}
		var others []*Cell
		for j := range b.Cells {
			if sameLoad(x, &b.Cells[j]) {
				others = append(others, &b.Cells[j])
				taken[&b.Cells[j]] = true
			}
		}
		switch {
		case len(others) == 0:
			c.Gaps = append(c.Gaps, fmt.Sprintf("%s: %s has no such cell", loadText(x), b.Name))
			continue
		case len(others) > 1:
			c.Gaps = append(c.Gaps, fmt.Sprintf("%s: %s has several cells of this load; the first was compared", loadText(x), b.Name))
		}
		c.pair(x, others[0])
	}
	for i := range b.Cells {
		if x := &b.Cells[i]; !taken[x] {
			c.Gaps = append(c.Gaps, fmt.Sprintf("%s: %s has no such cell", loadText(x), a.Name))
		}
	}
	slices.SortStableFunc(c.Pairs, func(x, y Pair) int {
		return cmp.Or(cmp.Compare(x.Concurrency, y.Concurrency), cmp.Compare(x.Load, y.Load))
	})
	slices.Sort(c.Gaps)
}

// pair adds two cells of one load.
func (c *Comparison) pair(x, y *Cell) {
	for _, cell := range []*Cell{x, y} {
		if len(cell.Trials) == 0 {
			r := cell.Row()
			c.Gaps = append(c.Gaps, fmt.Sprintf("%s: cell %s is %s: %s", loadText(cell), cell.ID, r.Text("status"), cmp.Or(r.Text("status_reason"), "no reason was given")))
			return
		}
	}
	p := Pair{Load: loadText(x), Concurrency: x.concurrency(), CellA: x.ID, CellB: y.ID, Findings: []Finding{}, a: x, b: y}
	var unknown []string
	p.Setting, p.Differs, unknown = matchSettings(settingOfCell(x), settingOfCell(y))
	c.Unknown = sorted(unique(c.Unknown, unknown))
	for _, f := range slices.Sorted(maps.Keys(p.Differs)) {
		if !slices.Contains(c.Across, f) {
			c.Residue = sorted(unique(c.Residue, []string{f}))
		}
	}
	for _, r := range slices.Concat(x.Trials, y.Trials) {
		s, _ := r.Bool("simulated")
		c.Simulated = c.Simulated || s
	}
	c.Pairs = append(c.Pairs, p)
}

func sorted(s []string) []string { slices.Sort(s); return s }

// settingOfCell is the setting of a cell's trials, without what may differ
// between repetitions, and with the arguments of the server field by field.
func settingOfCell(c *Cell) Setting {
	s := Setting{}
	if shared, err := c.setting(); err == nil {
		s = maps.Clone(shared)
	} else if own := c.Trials[0].Fields(); own != nil {
		s = own
	}
	for _, f := range slices.Concat(replicateFieldsOf(s), placeFields) {
		delete(s, f)
	}
	var args map[string]any
	if json.Unmarshal([]byte(s["serve_args"]), &args) == nil {
		delete(s, "serve_args")
		for name, v := range args {
			s["serve_args."+name] = fmt.Sprint(v)
		}
	}
	return s
}

// matchSettings splits two settings into what both have, what differs, and the
// mandatory fields that neither knows.
func matchSettings(a, b Setting) (both Setting, differs map[string][2]string, unknown []string) {
	both, differs = Setting{}, map[string][2]string{}
	for _, f := range unique(a.Names(), b.Names()) {
		x, y := cmp.Or(a[f], "-"), cmp.Or(b[f], "-")
		switch {
		case x != y:
			differs[f] = [2]string{x, y}
		case x == Unknown:
			if slices.ContainsFunc(mandatory, func(any []string) bool { return any[0] == f }) {
				unknown = append(unknown, f)
			}
		case x != "-":
			both[f] = x
		}
	}
	return both, differs, unknown
}

// followers are the fields that follow from one that is compared: to compare
// tensor parallelism is to compare numbers of GPUs too.
func followers() map[string][]string {
	parallel := []string{"gpu_count", "node_count", "parallel_strategy", "gpu_uuids"}
	weights := []string{"model", "model_hf_path", "model_root", "model_revision", "model_shape", "config_sha256", "quant", "quant_map", "mma_dtype", "serve_args.dtype", "serve_args.quantization"}
	stack := []string{"image", "image_digest", "engine", "engine_version", "engine_version_observed", "engine_commit", "cuda", "torch", "nccl", "serve_args.sim_version"}
	return map[string][]string{
		"tp": append(parallel, "serve_args.tensor_parallel_size"), "pp": append(parallel, "serve_args.pipeline_parallel_size"),
		"dp": append(parallel, "serve_args.data_parallel_size", "dp_attention"), "ep": append(parallel, "serve_args.enable_expert_parallel"),
		"parallel_strategy": append(parallel, "tp", "pp", "dp", "ep", "serve_args.tensor_parallel_size", "serve_args.pipeline_parallel_size", "serve_args.data_parallel_size", "serve_args.enable_expert_parallel"),
		"quant":             weights, "model": weights,
		"hardware": {"ceiling_key", "gpu_type", "node", "gpu_uuids", "driver", "cluster"},
		"image":    stack, "engine_version": stack, "engine": append(stack, "attention_backend", "moe_backend", "all2all_backend"),
		"enforce_eager": {"cudagraph_mode"}, "cudagraph_mode": {"enforce_eager"},
		"bench_backend":  {"bench_version", "api"},
		"kv_cache_dtype": {"serve_args.kv_cache_dtype"},
		"spec_method":    {"spec_tokens", "acceptance_length", "serve_args.speculative_method", "serve_args.num_speculative_tokens"},
	}
}

// acrossWith returns the fields compared, with those that follow from them.
func acrossWith(across []string) []string {
	follow := followers()
	out := slices.Clone(across)
	for _, f := range across {
		out = append(out, follow[f]...)
	}
	return sorted(unique(out))
}

// IsField reports whether a setting may have a field of that name.
func IsField(name string) bool {
	c, ok := Atlas().Column(name)
	return ok && c.Group.IsSetting() || strings.HasPrefix(name, "serve_args.")
}

// sameLoad reports whether two cells were loaded alike. One that was never
// measured has some of its load only, in its coordinates.
func sameLoad(a, b *Cell) bool {
	x, y := a.Row(), b.Row()
	measured := !x.IsNull("setting") && !y.IsNull("setting")
	if !measured && (x.IsNull("concurrency") || y.IsNull("concurrency")) {
		return a.ID == b.ID
	}
	for _, f := range loadFields {
		col, _ := x.schema.Column(f)
		if !measured && (x.IsNull(f) || y.IsNull(f)) {
			continue
		}
		if x.columnText(col) != y.columnText(col) {
			return false
		}
	}
	return true
}

func loadText(c *Cell) string {
	r := c.Row()
	text := "load unknown"
	if n, ok := r.Int("concurrency"); ok && n > 0 {
		text = fmt.Sprintf("c=%d", n)
	} else if f, ok := r.Float("request_rate"); ok {
		text = fmt.Sprintf("%g req/s", f)
	}
	for _, f := range []struct{ column, name string }{{"isl", "ISL"}, {"osl", "OSL"}} {
		if n, ok := r.Int(f.column); ok {
			text += fmt.Sprintf(", %s %d", f.name, n)
		}
	}
	return text
}

// finding is that of a metric, unless one of its levels is not physical.
func (p *Pair) finding(m Metric) Finding {
	f := findingOf(m, p.a, p.b)
	for _, side := range []struct{ name, why string }{{"A", p.reviewA.suspect(m)}, {"B", p.reviewB.suspect(m)}} {
		if side.why != "" {
			return Finding{Metric: f.Metric, Name: f.Name, A: f.A, B: f.B, Outcome: Untested, Why: side.name + " is suspect, and can win nothing: " + side.why}
		}
	}
	return f
}

// findingOf measures how a metric differs, and does not yet say who wins.
func findingOf(m Metric, a, b *Cell) Finding {
	f := Finding{Metric: m.Column, Name: m.Name, Outcome: Untested}
	x, okA := a.Sample(m)
	y, okB := b.Sample(m)
	f.A, f.B = levelOf(a, m, x, okA), levelOf(b, m, y, okB)
	if !okA || !okB {
		f.Why = "not measured on both sides"
		return f
	}
	f.Needed = 100 * max(LeastEffect, EffectSpreads*finite(x.CV()), EffectSpreads*finite(y.CV()))
	if v := min(slices.Min(x.values), slices.Min(y.values)); !(v > 0) {
		f.Why = fmt.Sprintf("a trial has %.4g, and ratios are of what is above zero", v)
		return f
	}
	if r, ok := stat.RatioOf(x.values, y.values, 1-CompareAlpha); ok {
		f.ratio = r
		f.Effect, f.Low, f.High, f.P = pct(r.Value-1), pct(r.Low-1), pct(r.High-1), &r.P
		rank := stat.RankSum(x.values, y.values)
		f.PRank = &rank
	} else {
		f.Effect = pct(x.Mean()/y.Mean() - 1)
	}
	return f
}

func levelOf(c *Cell, m Metric, s Sample, ok bool) *Level {
	if !ok {
		return nil
	}
	l := &Level{Mean: s.Mean(), N: s.N()}
	if share, ok := c.mean(shareColumn(m)); ok {
		l.PctSoL = &share
	}
	if std := s.Std(); !math.IsNaN(std) {
		l.Std = &std
	}
	return l
}

// shareColumn is the share of Speed of Light that stands beside a metric.
func shareColumn(m Metric) string {
	switch m.Column {
	case "headline_tpot_ms", "headline_tps_per_user":
		return "pct_sol_tpot"
	case "headline_ttft_ms":
		return "pct_sol_ttft"
	}
	return "pct_sol"
}

func finite(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return v
}

func pct(v float64) *float64 { v *= 100; return &v }

// conclude says who wins each finding.
func (c *Comparison) conclude() {
	var all []*Finding
	for i := range c.Pairs {
		for j := range c.Pairs[i].Findings {
			all = append(all, &c.Pairs[i].Findings[j])
		}
	}
	concludeAll(all, c.Tests)
}

// concludeAll corrects the p values of the findings for there being tests of
// them, and says who wins each. The smallest effect that would have been found
// is for the strictest level of Holm's.
func concludeAll(findings []*Finding, tests int) {
	p := make([]float64, len(findings))
	for i, f := range findings {
		p[i] = math.NaN()
		if f.P != nil && f.A.N >= CompareTrials && f.B.N >= CompareTrials {
			p[i] = *f.P
		}
		if f.P != nil {
			f.Detectable = detectable(f.ratio, tests)
		}
	}
	for i, adjusted := range stat.Holm(p, tests) {
		if f := findings[i]; f.A != nil && f.B != nil && f.Effect != nil {
			f.conclude(adjusted)
		}
	}
}

// detectable is nil where the trials are too few and too unlike for it to be
// told: with less than two degrees of freedom it has no bound that is of use.
func detectable(r stat.Ratio, tests int) *float64 {
	v := r.Detectable(CompareAlpha/float64(max(1, tests)), ComparePower)
	if r.DF < 2 || math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return pct(v)
}

func (f *Finding) conclude(adjusted float64) {
	m, _ := MetricOf(f.Metric)
	wins, leads := WinsB, LeadsB
	if m.Better(f.A.Mean, f.B.Mean) {
		wins, leads = WinsA, LeadsA
	}
	n := fmt.Sprintf("n=%d", f.A.N)
	if f.A.N != f.B.N {
		n = fmt.Sprintf("n=%d and %d", f.A.N, f.B.N)
	}
	switch {
	case f.P == nil && min(f.A.N, f.B.N) > 1:
		f.Outcome, f.Why = Tie, n+": the trials do not vary at all, so chance can't be told"
		if *f.Effect != 0 {
			f.Outcome = leads
		}
	case f.P == nil:
		f.Outcome, f.Why = leads, n+": one trial shows no variation"
		if *f.Effect == 0 {
			f.Outcome = Tie
		}
	case min(f.A.N, f.B.N) < CompareTrials && *f.Low <= 0 && *f.High >= 0:
		f.Outcome, f.Why = Tie, n+": within noise, the interval holds 0"
	case min(f.A.N, f.B.N) < CompareTrials:
		f.Outcome, f.Why = leads, fmt.Sprintf("%s: a winner needs %d trials a side", n, CompareTrials)
	case math.Abs(*f.Effect) <= f.Needed:
		f.PHolm = &adjusted
		f.Outcome, f.Why = Tie, fmt.Sprintf("the effect is within %.1f %%", f.Needed)
	case !(adjusted < CompareAlpha):
		f.PHolm = &adjusted
		f.Outcome, f.Why = Tie, fmt.Sprintf("p=%.2g after correction", adjusted)
	default:
		f.PHolm = &adjusted
		f.Outcome, f.Why = wins, fmt.Sprintf("p=%.2g after correction", adjusted)
	}
}

// regimes names the winners.
func (c *Comparison) regimes(metrics []Metric) {
	c.nameRegimes()
	for _, regime := range []string{RegimeLatency, RegimeKnee, RegimeThroughput} {
		m := metrics[0]
		if i := slices.IndexFunc(metrics, func(m Metric) bool { return m.Column == deciding(regime) }); i >= 0 {
			m = metrics[i]
		}
		var outcomes []Outcome
		var parts []string
		for _, p := range c.Pairs {
			if p.Regime != regime {
				continue
			}
			for _, f := range p.Findings {
				if f.Metric == m.Column {
					outcomes = append(outcomes, f.Outcome)
					parts = append(parts, fmt.Sprintf("%s at %s", c.Say(f.Outcome), strings.SplitN(p.Load, ",", 2)[0]))
				}
			}
		}
		if len(outcomes) == 0 {
			continue
		}
		w := RegimeWinner{Regime: regime, Metric: m.Column, Outcome: outcomes[0], Text: c.Say(outcomes[0])}
		if slices.ContainsFunc(outcomes, func(o Outcome) bool { return o != outcomes[0] }) {
			w.Outcome, w.Text = Untested, "no one winner: "+strings.Join(parts, ", ")
		}
		c.Regimes = append(c.Regimes, w)
	}
	for _, m := range metrics {
		c.Crossings = append(c.Crossings, c.crossings(m)...)
	}
}

// nameRegimes finds the knee from the throughput of both sides.
func (c *Comparison) nameRegimes() {
	var curve []curvePoint
	for _, p := range c.Pairs {
		a, okA := p.a.mean("output_tps_per_gpu")
		b, okB := p.b.mean("output_tps_per_gpu")
		if okA && okB && p.Concurrency > 0 {
			curve = append(curve, curvePoint{p.Concurrency, a + b})
		}
	}
	knee := kneeOf(curve)
	for i := range c.Pairs {
		c.Pairs[i].Regime = regimeOf(c.Pairs[i].Concurrency, knee)
	}
}

// crossings tells between which loads the winner of a metric changes.
func (c *Comparison) crossings(m Metric) []string {
	var out []string
	last, at := Outcome(""), ""
	for _, p := range c.Pairs {
		for _, f := range p.Findings {
			if f.Metric != m.Column || f.Outcome != WinsA && f.Outcome != WinsB {
				continue
			}
			if last != "" && f.Outcome != last {
				out = append(out, fmt.Sprintf("%s: %s wins up to %s, %s from %s", m.Name, c.Say(last), at, c.Say(f.Outcome), p.Load))
			}
			last, at = f.Outcome, p.Load
		}
	}
	return out
}

// Say names an outcome by the names of the sides.
func (c *Comparison) Say(o Outcome) string {
	switch o {
	case WinsA:
		return c.A
	case WinsB:
		return c.B
	case LeadsA:
		return c.A + " (not significance-tested)"
	case LeadsB:
		return c.B + " (not significance-tested)"
	}
	return string(o)
}
