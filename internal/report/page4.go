package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"

	"pipeline/internal/report/chart"
	"pipeline/internal/sol"
	"pipeline/lake/perf"
)

//go:embed page4.html
var page4Text string

// A page4 is the Speed-of-Light summary.
type page4 struct {
	Workload  []workloadRow
	Ceilings  []string // shared by all rows
	Achieved  []string // the rates that pct_achievable is of
	Rows      []solRow
	Bars      []bar
	Profiles  []bar
	NoProfile string
	Clocked   bool // a row has a share of the clocked bandwidth
	Figures   []figure
	Caveats   []string
	Withheld  []string
}

// A workloadRow is the best of a configuration beside its ceiling.
type workloadRow struct {
	Config, What, Measured, Ceiling, Share, Shape, Footprint, Key, Achievable, Rigor, N string
}

type solRow struct {
	Shape, Status                                   string
	Batch, TPOT, TPOTFloor, PerGPU, Decode, Serving string
	ShareTPOT, ShareDecode, ShareServing, ShareTTFT string
	Footprint, Bound, AI, Ridge, Clocked, Reached   string
	Capacity, Rigor, Key, Row                       string
	Notes                                           []string
}

// A bar is one line of parts that add up.
type bar struct {
	Name, Note string
	Parts      []barPart
}

type barPart struct {
	Name  string
	Text  string
	Width string // percent of the longest bar
	Hue   int
}

// Style is where and in which colour the part stands.
func (p barPart) Style() template.CSS {
	return template.CSS(fmt.Sprintf("width:%s%%;background:var(--b%d)", p.Width, p.Hue))
}

// pageSoL makes page 4, or says why there is none.
func (v *view) pageSoL() (*page4, string) {
	rows := v.solRows()
	if !slices.ContainsFunc(rows, hasFloors) {
		why := "no cell that was measured has floors"
		for _, r := range rows {
			if text := absentOf(r, "group:sol"); text != "" {
				return nil, why + ": " + text
			}
		}
		return nil, why
	}
	p := &page4{Caveats: sol.Caveats(), Workload: v.workload()}
	keys, reached := map[string]int{}, []string{}
	for _, r := range rows {
		keys[ceilingText(r)]++
		if s := r.Text("achievable_source"); s != "" && !slices.Contains(reached, s) {
			reached = append(reached, s)
		}
	}
	p.Achieved = reached
	one := len(keys) == 1
	for _, r := range rows {
		row := newSoLRow(r)
		if one {
			p.Ceilings, row.Key = []string{row.Key}, ""
		}
		p.Rows = append(p.Rows, row)
		p.Clocked = p.Clocked || !r.IsNull("pct_sol_clocked")
		if s := suspect(r); s != "" {
			p.Withheld = append(p.Withheld, withoutTrial(r)+": "+s)
		}
	}
	p.Bars = timeBars(rows)
	if p.Profiles = profileBars(rows); p.Profiles == nil {
		p.NoProfile = noProfile
	}
	p.Figures = v.solFigures(rows)
	return p, ""
}

const (
	noProfile  = "time by kernel category is not shown: no profile stands behind these rows"
	getProfile = "wire an import_profile or zymtrace_query step to the port profile of aggregate"
)

func newSoLRow(r perf.Row) solRow {
	row := solRow{
		Shape: shortShape(r), Status: r.Text("status"), Row: r.Text("row_uid"),
		Batch: withSpread(r, "sol_batch"), TPOT: withSpread(r, "headline_tpot_ms"), TPOTFloor: withSpread(r, "tpot_floor_ms"),
		PerGPU: withSpread(r, "output_tps_per_gpu"), Decode: withSpread(r, "ceiling_output_tps_per_gpu_decode"), Serving: withSpread(r, "ceiling_output_tps_per_gpu_agg"),
		ShareTPOT: share(r, "pct_sol_tpot"), ShareDecode: share(r, "pct_sol_tps_decode"), ShareServing: share(r, "pct_sol_tps_agg"), ShareTTFT: share(r, "pct_sol_ttft"),
		Footprint: withSpread(r, "footprint_gb_per_token"), Bound: r.Text("bound"), AI: withSpread(r, "ai_flop_per_byte"), Ridge: withSpread(r, "ridge"),
		Clocked: share(r, "pct_sol_clocked"), Reached: share(r, "pct_achievable"), Rigor: r.Text("sol_rigor"), Key: ceilingText(r),
		Capacity: "–", Notes: r.List("sol_notes"),
	}
	if n, ok := r.Int("kv_capacity_tokens"); ok {
		row.Capacity = thousands(strconv.FormatInt(n, 10))
	}
	return row
}

// workload is what a campaign reached at best, configuration by configuration,
// beside the ceiling of that very cell.
func (v *view) workload() []workloadRow {
	var out []workloadRow
	for _, name := range configsOf(v.points) {
		var best perf.Row
		found := false
		for _, r := range v.points {
			value, ok := r.Float("output_tps_per_gpu")
			if r.Text("config") != name || !ok || suspect(r) != "" {
				continue
			}
			if have, _ := bestOf(best, found); !found || value > have {
				best, found = r, true
			}
		}
		if !found {
			continue
		}
		ceiling := withSpread(best, "ceiling_output_tps_per_gpu_"+cmpOr(best.Text("pct_sol_kind"), "decode"))
		out = append(out, workloadRow{
			Config: name, What: "highest output tok/s/GPU", Measured: withSpread(best, "output_tps_per_gpu"), Ceiling: ceiling, Share: solText(best),
			Shape: shortShape(best), Footprint: withSpread(best, "footprint_gb_per_token"), Key: ceilingText(best), Achievable: share(best, "pct_achievable"),
			Rigor: best.Text("sol_rigor"), N: fmt.Sprint(trials(best)),
		})
	}
	return out
}

func bestOf(r perf.Row, have bool) (float64, bool) {
	if !have {
		return 0, false
	}
	return r.Float("output_tps_per_gpu")
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func configsOf(rows []perf.Row) []string {
	var names []string
	for _, r := range rows {
		if n := r.Text("config"); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// timeBars shows where a TPOT goes. The parts are floors, so that what is left
// is unexplained, and not the fault of anything.
func timeBars(rows []perf.Row) []bar {
	longest := 0.0
	for _, r := range rows {
		tpot, _ := r.Float("headline_tpot_ms")
		longest = max(longest, tpot)
	}
	var bars []bar
	for _, r := range rows {
		tpot, ok := r.Float("headline_tpot_ms")
		if _, shown := r.Float("pct_sol_tpot"); !ok || !shown {
			continue
		}
		get := func(name string) float64 { v, _ := r.Float(name); return v }
		floor, name := get("t_mem_ms"), "memory"
		if f := get("t_flop_ms"); f > floor {
			floor, name = f, "compute"
		}
		if accepted := get("acceptance_length"); accepted > 1 && r.Text("spec_method") != "" {
			floor /= accepted
		}
		left := tpot
		b := bar{Name: fmt.Sprintf("%s, %s", r.Text("config"), load(r)), Note: number(tpot) + " ms"}
		for i, part := range []struct {
			name string
			ms   float64
		}{{name, floor}, {"communication", get("t_comm_ms")}, {"prefill", get("t_prefill_ms")}, {"unexplained", tpot}} {
			ms := min(part.ms, left)
			left -= ms
			b.Parts = append(b.Parts, barPart{Name: part.name, Text: fmt.Sprintf("%s %s ms (%.0f %%)", part.name, number(ms), 100*ms/tpot), Width: width(ms / longest), Hue: i})
		}
		bars = append(bars, b)
	}
	return bars
}

func width(share float64) string { return strconv.FormatFloat(100*share, 'f', 2, 64) }

// profileBars shows the time of the GPUs by category, where a profiler told it.
func profileBars(rows []perf.Row) []bar {
	var bars []bar
	var names []string // of all bars, so that a category has one colour
	var shares []map[string]float64
	for _, r := range rows {
		profile, _ := r.Extra()["profile"].(map[string]any)
		time, _ := profile["gpu_time"].(map[string]any)
		list, _ := time["categories"].([]any)
		if len(list) == 0 {
			continue
		}
		source, _ := time["source"].(string)
		of, _ := profile["of"].(string)
		b := bar{Name: fmt.Sprintf("%s, %s", r.Text("config"), load(r)), Note: source}
		if of != "" {
			b.Note += ", of " + of
		}
		own := map[string]float64{}
		for _, e := range list {
			c, _ := e.(map[string]any)
			name, _ := c["name"].(string)
			own[name], _ = c["share"].(float64)
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		bars, shares = append(bars, b), append(shares, own)
	}
	for i := range bars {
		for hue, name := range names {
			part := shares[i][name]
			bars[i].Parts = append(bars[i].Parts, barPart{Name: name, Text: fmt.Sprintf("%s %.0f %%", name, 100*part), Width: width(part), Hue: hue % 8})
		}
	}
	return bars
}

// solFigures draws shares against the effective batch. What was withheld is not
// drawn.
func (v *view) solFigures(rows []perf.Row) []figure {
	rows = slices.DeleteFunc(slices.Clone(rows), func(r perf.Row) bool {
		ready, _ := r.Bool("plot_ready")
		return r.IsNull("pct_sol") || r.IsNull("sol_batch") || !ready
	})
	if len(rows) == 0 {
		return nil
	}
	x := chart.Axis{Label: "effective batch, sequences that decode at once", Log: wide(rows, of("sol_batch"), 4)}
	s := series(rows, of("sol_batch"), of("pct_sol"), "", "pct_sol", "% of Speed of Light")
	c := chart.Chart{ID: "sol", Title: "Share of Speed of Light against the effective batch", X: x, Y: chart.Axis{Label: "% of Speed of Light"}, Series: s}
	note := "Of the ceiling with prefill and decode on the same GPUs, unless the row says decode. " + strings.Join(sharedCeilings(rows), "; ") + "."
	figures := []figure{v.figure(c, 640, v.notes(note, rows))}
	ready := slices.DeleteFunc(slices.Clone(rows), func(r perf.Row) bool { return r.IsNull("footprint_gb_per_token") })
	if len(ready) > 0 {
		f := chart.Chart{ID: "footprint", Title: "Bytes moved for an output token", X: x,
			Y:      chart.Axis{Label: "GB/token", Log: wide(ready, of("footprint_gb_per_token"), 4)},
			Series: series(ready, of("sol_batch"), of("footprint_gb_per_token"), "", "footprint_gb_per_token", "GB/token")}
		figures = append(figures, v.figure(f, 640, "Computed, over all GPUs of a replica: no constant of a model, but of its batch, context and layout."))
	}
	return figures
}

func sharedCeilings(rows []perf.Row) []string {
	var keys []string
	for _, r := range rows {
		if k := ceilingText(r); k != "" && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
}
