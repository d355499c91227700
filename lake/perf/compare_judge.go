package perf

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// judge is what "A beats B" needs: what its cells need, and beyond that trials,
// one place, settings that differ only in what is compared, a production-like
// B, and for number formats and backends the whole matrix.
func (c *Comparison) judge(a, b Side, o CompareOptions) {
	add := func(code, do, format string, args ...any) {
		c.own = append(c.own, Refusal{Code: code, Text: fmt.Sprintf(format, args...), Do: do})
	}
	c.gates(add)
	matrixBehind(c.compared(o.Across), o.Matrix, add)
	c.own = append(c.own, c.untested()...)
	config := ""
	if len(b.Cells) > 0 {
		config = b.Cells[0].Config
	}
	c.own = append(c.own, baselineRefusals(Baseline{Name: b.Name, Config: config}, b.Cells)...)
	for _, p := range c.Pairs {
		c.cellRefusals(a.Name, p.reviewA, p.Load, o.Metrics)
		c.cellRefusals(b.Name, p.reviewB, p.Load, o.Metrics)
	}
	c.Refusals = append(c.Refusals, c.own...)
	slices.SortFunc(c.Refusals, func(x, y Refusal) int {
		return cmp.Or(cmp.Compare(x.Code, y.Code), cmp.Compare(x.Cell, y.Cell), cmp.Compare(x.Text, y.Text))
	})
	if c.Tier = TierVerdict; len(c.Refusals) > 0 {
		c.Tier = TierDraft
	}
}

// cellRefusals adds what a cell lacks for a level of the metrics.
func (c *Comparison) cellRefusals(side string, review CellReview, load string, metrics []Metric) {
	for _, f := range review.Refusals {
		if f.Metric == "" || slices.ContainsFunc(metrics, func(m Metric) bool { return m.Column == f.Metric }) {
			f.Cell = side + " at " + load
			c.Refusals = append(c.Refusals, f)
		}
	}
}

func (c *Comparison) gates(add func(code, do, format string, args ...any)) {
	if c.Refused != "" {
		do := "declare it under across, or make the settings alike"
		if len(c.Pairs) == 0 {
			do = "measure both at the same loads"
		}
		add("V10", do, "%s", c.Refused)
	}
	if c.Refused == "" && len(c.Residue) > 0 {
		add("V10", "declare it under across, or make the settings alike",
			"settings differ in %s too, which is not what is compared; that was allowed, and what wins may win by it", strings.Join(c.Residue, ", "))
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

// compared returns the fields that the comparison is on: what was declared, and
// what differs.
func (c *Comparison) compared(across []string) []string {
	fields := slices.Clone(across)
	for _, p := range c.Pairs {
		fields = unique(fields, slices.Sorted(maps.Keys(p.Differs)))
	}
	return fields
}

// untested refuses what has no number behind it.
func (c *Comparison) untested() []Refusal {
	var out []Refusal
	for _, p := range c.Pairs {
		for _, f := range p.Findings {
			if f.Outcome == Untested {
				out = append(out, Refusal{Code: "V01", Metric: f.Metric, Text: fmt.Sprintf("%s can't be compared at %s: %s", f.Name, p.Load, f.Why), Do: "measure it on both sides, in every trial"})
			}
		}
	}
	return out
}

// matrixFields are those whose winner is known to change with the load, so
// that one cell of a comparison says nothing in general.
func matrixFields() []string {
	return []string{"quant", "quantization", "quant_map", "kv_cache_dtype", "dtype", "mma_dtype", "model", "engine", "attention_backend", "moe_backend", "all2all_backend"}
}

// MatrixStreams are the concurrencies that a claim on a number format or a
// backend needs.
func MatrixStreams() []int64 { return []int64{1, 16, 64, 256} }

var rootCause = regexp.MustCompile(`\(EngineCore[^)]*pid=\d+\)[^;\n]*`)

// matrixBehind is V14.
func matrixBehind(compared []string, cells []Cell, add func(code, do, format string, args ...any)) {
	if !slices.ContainsFunc(compared, func(f string) bool { return slices.Contains(matrixFields(), strings.TrimPrefix(f, "serve_args.")) }) {
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
