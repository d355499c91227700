package perf

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A Claim is what a campaign sets out to show, declared before it runs: the
// level of a configuration, or that it beats another.
type Claim struct {
	About  string   `json:"about"`            // throughput, decode_latency, ttft or goodput
	Metric string   `json:"metric"`           // column that it cites; "" is the metric that About rests on
	Config string   `json:"config"`           //
	Over   string   `json:"over,omitempty"`   // configuration that it beats; "" is a claim on the level
	Across []string `json:"across,omitempty"` // fields of the setting that are compared
}

// Abouts lists what a claim may be about.
func Abouts() []string {
	return []string{AboutThroughput, AboutDecodeLatency, AboutTTFT, AboutGoodput}
}

// Cites returns the metric of the claim.
func (c Claim) Cites() (Metric, bool) {
	if c.Metric != "" {
		return MetricOf(c.Metric)
	}
	all := Metrics()
	if i := slices.IndexFunc(all, func(m Metric) bool { return m.About == c.About }); i >= 0 {
		return all[i], true
	}
	return Metric{}, false
}

func (c Claim) String() string {
	m, _ := c.Cites()
	if c.Over == "" {
		return fmt.Sprintf("the %s of %s (%s)", strings.ReplaceAll(c.About, "_", " "), c.Config, m.Name)
	}
	return fmt.Sprintf("%s beats %s in %s (%s)", c.Config, c.Over, strings.ReplaceAll(c.About, "_", " "), m.Name)
}

// A ClaimReview is the outcome of all gates for one claim.
type ClaimReview struct {
	Claim
	Text       string      `json:"text"`
	Tier       Tier        `json:"tier"`
	Outcome    string      `json:"outcome"` // what was found, load by load
	Refusals   []Refusal   `json:"refusals"`
	Comparison *Comparison `json:"comparison,omitempty"`

	own []Refusal // those that are of the claim alone
}

// reviewClaim passes a claim through its gates. What was found about its cells
// holds for the claim too.
func reviewClaim(claim Claim, tests int, cells []Cell, r *Review) ClaimReview {
	out := ClaimReview{Claim: claim, Text: claim.String(), Tier: TierVerdict, Refusals: []Refusal{}}
	m, ok := claim.Cites()
	if !ok {
		out.own = []Refusal{{Code: "V04", Text: fmt.Sprintf("%s: no metric %q", out.Text, claim.Metric), Do: "cite a column of atlas_v1 that is a metric"}}
	}
	out.Metric = m.Column
	add := func(code, do, format string, args ...any) {
		out.own = append(out.own, Refusal{Code: code, Metric: m.Column, Text: out.Text + ": " + fmt.Sprintf(format, args...), Do: do})
	}
	a := SideOf(claim.Config, claim.Config, cells)
	isolation(claim, m, a, add)
	sides := []string{claim.Config}
	if claim.Over == "" {
		out.Refusals = append(out.Refusals, ofCampaign(r.Refusals)...)
		out.Outcome = levels(a, m)
	} else {
		sides = append(sides, claim.Over)
		b := SideOf(claim.Over, claim.Over, cells)
		out.Comparison = Compare(a, b, CompareOptions{Across: claim.Across, Metrics: []Metric{m}, Tests: tests})
		out.Outcome = outcomes(out.Comparison)
		comparisonGates(out.Comparison, add)
		matrixBehind(claim, cells, add)
		for _, f := range baselineRefusals(Baseline{Name: claim.Over, Config: claim.Over}, cells) {
			add(f.Code, f.Do, "%s", f.Text)
		}
	}
	for _, c := range cells {
		if slices.Contains(sides, c.Config) {
			out.Refusals = append(out.Refusals, ofCell(r, &c, m.Column)...)
		}
	}
	if len(a.Cells) == 0 {
		add("V01", "name a configuration of the matrix", "there is no configuration %s", claim.Config)
	}
	out.Refusals = append(out.Refusals, out.own...)
	if len(out.Refusals) > 0 {
		out.Tier = TierDraft
	}
	return out
}

func ofCampaign(refusals []Refusal) []Refusal {
	return slices.DeleteFunc(slices.Clone(refusals), func(f Refusal) bool { return f.Cell != "" || f.Code != "V09" })
}

// ofCell returns the refusals of a cell that hold for a metric.
func ofCell(r *Review, c *Cell, metric string) []Refusal {
	var out []Refusal
	for _, review := range r.Cells {
		if review.Cell == c.ID && review.Campaign == c.Campaign && (review.Setting == "" || len(c.Trials) > 0 && review.Setting == c.Trials[0].Text("setting_sha256")) {
			for _, f := range review.Refusals {
				if f.Metric == "" || f.Metric == metric {
					out = append(out, f)
				}
			}
		}
	}
	return out
}

// isolation is V04: the metric is set by what the claim is about, and by
// nothing else.
func isolation(claim Claim, m Metric, side Side, add func(code, do, format string, args ...any)) {
	if m.About == claim.About || m.Column == "" {
		return
	}
	right, _ := Claim{About: claim.About}.Cites()
	do := "cite " + right.Name
	if claim.About != AboutDecodeLatency || m.About != AboutThroughput {
		add("V04", do, "it cites %s, which is about %s; use %s", m.Name, strings.ReplaceAll(m.About, "_", " "), right.Name)
		return
	}
	for _, c := range side.Cells {
		if n, ok := c.Row().Int("num_prompts"); ok && c.concurrency() > 0 {
			add("V04", do, "it cites %s at num_prompts=%d (%.3gc): TTFT-dominated; use %s", m.Name, n, float64(n)/float64(c.concurrency()), right.Name)
			return
		}
	}
	add("V04", do, "it cites %s, which TTFT and the queue set too; use %s", m.Name, right.Name)
}

// comparisonGates is what "A beats B" needs beyond its cells: trials, one place,
// settings that differ only in what is compared.
func comparisonGates(c *Comparison, add func(code, do, format string, args ...any)) {
	if c.Refused != "" {
		do := "declare it under across, or make the settings alike"
		if len(c.Pairs) == 0 {
			do = "measure both at the same loads"
		}
		add("V10", do, "%s", c.Refused)
	}
	var few []string
	places := map[string]bool{}
	for _, p := range c.Pairs {
		if a, b := len(p.a.Trials), len(p.b.Trials); min(a, b) < CompareTrials {
			few = append(few, fmt.Sprintf("%s (%d and %d)", strings.SplitN(p.Load, ",", 2)[0], a, b))
		}
		for _, r := range slices.Concat(p.a.Trials, p.b.Trials) {
			places[r.Text("node")] = true
		}
	}
	if len(few) > 0 {
		add("V01", "give the axis trial four values or more, and interleave the configurations",
			"it needs %d trials on each side; there are fewer at %s (3 against 3 can't reach p < 0.05 by rank: the least is 0.10)", CompareTrials, strings.Join(few, ", "))
	}
	if len(places) > 1 && !slices.Contains(c.Across, "node") {
		names := []string{}
		for n := range places {
			names = append(names, cmp.Or(n, "an unknown node"))
		}
		add("V02", "run both on one node", "the sides ran on %s", strings.Join(sorted(names), " and "))
	}
	for _, g := range c.Gaps {
		add("V08", "measure the load on both sides", "it has a gap: %s", g)
	}
}

// outcomes says load by load who won.
func outcomes(c *Comparison) string {
	if c.Refused != "" {
		return "not compared: " + c.Refused
	}
	var order []string
	loads := map[string][]string{}
	for _, p := range c.Pairs {
		for _, f := range p.Findings {
			who := c.Say(f.Outcome)
			if loads[who] == nil {
				order = append(order, who)
			}
			loads[who] = append(loads[who], strings.SplitN(p.Load, ",", 2)[0])
		}
	}
	var parts []string
	for _, who := range order {
		parts = append(parts, who+" at "+strings.Join(loads[who], ", "))
	}
	return strings.Join(parts, "; ")
}

// levels says load by load what a metric is.
func levels(side Side, m Metric) string {
	var parts []string
	for i := range side.Cells {
		if s, ok := side.Cells[i].Sample(m); ok {
			text := fmt.Sprintf("%.4g", s.Mean())
			if s.N() > 1 {
				text += fmt.Sprintf(" ± %.2g", s.Std())
			}
			parts = append(parts, fmt.Sprintf("%s (n=%d) at %s", text, s.N(), loadText(&side.Cells[i])))
		}
	}
	return strings.Join(parts, "; ")
}

// declaredTests is how many tests all declared claims make together.
func declaredTests(claims []Claim, cells []Cell) int {
	n := 0
	for _, c := range claims {
		if c.Over == "" {
			continue
		}
		m, ok := c.Cites()
		if !ok {
			continue
		}
		x := Compare(SideOf(c.Config, c.Config, cells), SideOf(c.Over, c.Over, cells), CompareOptions{AllowResidue: true, Metrics: []Metric{m}})
		n += len(x.Pairs)
	}
	return n
}

// matrixFields are those whose winner is known to change with the load, so
// that one cell of a comparison says nothing in general.
func matrixFields() []string {
	return []string{"quant", "quant_map", "kv_cache_dtype", "mma_dtype", "model", "engine", "attention_backend", "moe_backend", "all2all_backend"}
}

// MatrixStreams are the concurrencies that a claim on a number format or a
// backend needs.
func MatrixStreams() []int64 { return []int64{1, 16, 64, 256} }

var rootCause = regexp.MustCompile(`\(EngineCore[^)]*pid=\d+\)[^;\n]*`)

// matrixBehind is V14.
func matrixBehind(claim Claim, cells []Cell, add func(code, do, format string, args ...any)) {
	if !slices.ContainsFunc(claim.Across, func(f string) bool { return slices.Contains(matrixFields(), f) }) {
		return
	}
	var configs, missing []string
	for _, c := range cells {
		configs = unique(configs, []string{c.Config})
	}
	have := 0
	for _, config := range configs {
		for _, n := range MatrixStreams() {
			i := slices.IndexFunc(cells, func(c Cell) bool { return c.Config == config && c.concurrency() == n })
			if i >= 0 && len(cells[i].Trials) >= LevelTrials {
				have++
				continue
			}
			missing = append(missing, fmt.Sprintf("%s at c=%d (%s)", config, n, whyMissing(cells, i)))
		}
	}
	if len(missing) > 0 {
		add("V14", "add the concurrencies to the matrix, on one node, three trials each",
			"it has %d of %d (configuration x concurrency) cells; required: all configurations x {1, 16, 64, 256}; missing: %s",
			have, len(configs)*len(MatrixStreams()), strings.Join(missing, ", "))
	}
}

func whyMissing(cells []Cell, i int) string {
	if i < 0 {
		return "not in the matrix"
	}
	for _, r := range cells[i].Others {
		if cause := rootCause.FindString(r.Text("status_reason")); cause != "" {
			return cause
		}
	}
	if n := len(cells[i].Trials); n > 0 {
		return plural(n, "trial")
	}
	r := cells[i].Others[0]
	return cmp.Or(r.Text("status_reason"), r.Text("status"))
}
