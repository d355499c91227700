package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"pipeline/lake/perf"
)

// A view is what the template of the page reads.
type view struct {
	in       Input
	status   Status
	rows     []perf.Row // trials first, then means, in the order of the report
	points   []perf.Row // rows that charts and headlines show
	shared   map[string]string
	means    map[string]bool // settings that have a row for their mean
	compared *page8          // nil if nothing is compared

	sol        *page4
	roofline   *page7
	noRoofline string // why there is none
	frontier   *page9
	dcgm       *page6  // nil: omitted
	grounded   *page6b // nil: omitted
}

// settingOf names the cell of a row apart from its trial, and its setting.
func settingOf(r perf.Row) string { return withoutTrial(r) + " " + r.Text("setting_sha256") }

func newView(in Input) *view {
	if in.Review == nil {
		in.Review = perf.ReviewRows(in.Rows, perf.Terms{})
	}
	v := &view{in: in, rows: slices.Clone(in.Rows), means: map[string]bool{}}
	slices.SortStableFunc(v.rows, byLoad)
	v.shared = sharedFields(withoutSwept(v.rows))
	for _, r := range v.rows {
		if r.Text("agg") == "mean" {
			v.means[settingOf(r)] = true
		}
	}
	for _, r := range v.rows {
		ready, _ := r.Bool("plot_ready")
		if ready && !isSwept(r) && (r.Text("agg") == "mean" || !v.means[settingOf(r)]) {
			v.points = append(v.points, r)
		}
	}
	v.status = Status{
		Schema: StatusSchema, Title: in.Title, Tier: in.Review.Tier, Refusals: perf.GroupRefusals(in.Review.Refusals), Claims: []ClaimStatus{}, TierWhy: []string{}, Cells: Count(v.rows), Gaps: Gaps(v.rows),
		Simulated: slices.ContainsFunc(v.rows, simulated),
	}
	for _, g := range v.status.Refusals {
		v.status.TierWhy = append(v.status.TierWhy, g.String())
	}
	for _, c := range in.Review.Claims {
		v.status.Claims = append(v.status.Claims, ClaimStatus{c.Text, c.Tier, c.Status, c.Outcome, whyDraft(c)})
	}
	v.status.Headline = v.headlines()
	v.status.SoL = v.solStatus()
	v.roofline, v.noRoofline = v.pageRoofline()
	v.status.Pages = v.pages()
	return v
}

func simulated(r perf.Row) bool { s, _ := r.Bool("simulated"); return s }

// byLoad orders rows as people read them: by configuration, then by load, the
// rest of the cell, and the trial; a mean before its trials.
func byLoad(a, b perf.Row) int {
	load := func(r perf.Row) float64 {
		if n, ok := r.Int("concurrency"); ok {
			return float64(n)
		}
		f, _ := r.Float("request_rate")
		return f
	}
	trial := func(r perf.Row) int64 {
		n, ok := r.Int("trial")
		if !ok {
			return -1
		}
		return n
	}
	return cmp.Or(
		cmp.Compare(a.Text("config"), b.Text("config")),
		cmp.Compare(load(a), load(b)),
		cmp.Compare(withoutTrial(a), withoutTrial(b)),
		cmp.Compare(trial(a), trial(b)),
		cmp.Compare(a.Text("row_uid"), b.Text("row_uid")),
	)
}

func withoutTrial(r perf.Row) string {
	parts := strings.Split(r.Text("cell_id"), ",")
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return strings.HasPrefix(p, "trial=") }), ",")
}

// ownColumns are the fields that the table of cells has in columns of their
// own, or that name a trial or the load in words.
var ownColumns = []string{"concurrency", "request_rate", "isl", "osl", "num_prompts", "trial", "config", "random_seed", "seed", "latency_tier"}

// fieldsOf returns every field of the setting of a row, as text.
func fieldsOf(r perf.Row) map[string]string { return r.Fields() }

// sharedFields returns the fields that are the same in every row that has a
// setting. Only those may be stated once.
func sharedFields(rows []perf.Row) map[string]string {
	var shared map[string]string
	for _, r := range rows {
		fields := fieldsOf(r)
		if fields == nil {
			continue
		}
		if shared == nil {
			shared = fields
			continue
		}
		maps.DeleteFunc(shared, func(k, v string) bool { other, ok := fields[k]; return !ok || other != v })
	}
	return shared
}

// A field is a name and its value, for the template.
type field struct{ Name, Value string }

// Long reports whether the value needs a line of its own.
func (f field) Long() bool { return len(f.Name)+len(f.Value) > 34 }

func sortedFields(m map[string]string) []field {
	out := []field{}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, field{k, m[k]})
	}
	return out
}

// ownFields returns the fields of a row that are neither shared by all rows
// nor in columns of the table.
func (v *view) ownFields(r perf.Row) []field {
	own := fieldsOf(r)
	maps.DeleteFunc(own, func(k, value string) bool {
		shared, ok := v.shared[k]
		return ok && shared == value || slices.Contains(ownColumns, k)
	})
	return sortedFields(own)
}

// shape prints the whole setting of a row on a line, its load first.
func shape(r perf.Row) string {
	fields := fieldsOf(r)
	var parts []string
	for _, k := range []string{"isl", "osl", "concurrency", "request_rate", "num_prompts"} {
		if value, ok := fields[k]; ok {
			parts = append(parts, k+"="+value)
			delete(fields, k)
		}
	}
	for _, f := range sortedFields(fields) {
		parts = append(parts, f.Name+"="+f.Value)
	}
	return strings.Join(parts, " ")
}

// load prints what a cell was loaded with.
func load(r perf.Row) string {
	if n, ok := r.Int("concurrency"); ok {
		return "c=" + strconv.FormatInt(n, 10)
	}
	if f, ok := r.Float("request_rate"); ok {
		return number(f) + " req/s offered"
	}
	return "load unknown"
}

func whole(r perf.Row, column string) string {
	if n, ok := r.Int(column); ok {
		return strconv.FormatInt(n, 10)
	}
	return "unknown"
}

// shortShape is the load and the lengths of a row: what must stand beside any
// of its numbers, the rest being in the table of shared fields or in the row.
func shortShape(r perf.Row) string {
	return fmt.Sprintf("%s, %s, ISL %s, OSL %s, %s prompts", r.Text("config"), load(r), whole(r, "isl"), whole(r, "osl"), whole(r, "num_prompts"))
}

func trials(r perf.Row) int64 {
	if n, ok := r.Int("trials_n"); ok {
		return n
	}
	return 1
}

// headlines are the best numbers, each of one cell with its own setting.
func (v *view) headlines() []Headline {
	out := []Headline{}
	for _, want := range []struct {
		what, column, unit string
		least              bool
	}{
		{"highest output throughput per GPU", "output_tps_per_gpu", "tok/s/GPU", false},
		{"highest output throughput", "headline_output_tps", "tok/s", false},
		{"highest speed of a user", "headline_tps_per_user", "tok/s/user", false},
		{"lowest median TTFT", "headline_ttft_ms", "ms", true},
	} {
		var best *Headline
		for _, r := range v.points {
			value, ok := r.Float(want.column)
			if suspect(r) != "" || !ok || best != nil && (value <= best.Value) != want.least {
				continue
			}
			if best != nil && value == best.Value {
				continue
			}
			std, _ := r.Float(want.column + "_std")
			best = &Headline{
				What: want.what, Value: value, Unit: want.unit, Std: std, N: trials(r), Window: r.Text("headline_window"),
				Cell: r.Text("cell_id"), Row: r.Text("row_uid"), Shape: shape(r),
				SoLKind: r.Text("pct_sol_kind"), CeilingKey: r.Text("sol_bandwidth_key"), Rigor: r.Text("sol_rigor"),
			}
			if v, ok := r.Float("pct_sol"); ok {
				best.PctSoL = &v
			}
		}
		if best != nil {
			out = append(out, *best)
		}
	}
	return out
}
