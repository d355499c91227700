package report

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"

	"pipeline/internal/dcgm"
	"pipeline/internal/report/chart"
	"pipeline/lake/perf"
)

// A page6 is what DCGM saw over time, of some cells.
type page6 struct {
	Cells []tracedCell
	Other []string // cells that have samples and are not drawn
}

// A tracedCell is one cell with a chart for each quantity.
type tracedCell struct {
	Name, Shape, Rigor, Of string
	Simulated, Open        bool
	Problem                string // checks that do not pass
	Traces                 []template.HTML
	Note                   string
	GPUs                   []traceKey
}

// A traceKey is a GPU and its colour.
type traceKey struct {
	Name string
	Hue  int
}

// Style is the colour of the key.
func (k traceKey) Style() template.CSS {
	return template.CSS(fmt.Sprintf("background:var(--s%d)", k.Hue%8))
}

// dcgmPages makes pages 6 and 6b, each rendered or omitted.
func (v *view) dcgmPages() []Page {
	page := func(id, title, why, how string) Page {
		if why == "" {
			return Page{ID: id, Title: title, Status: Rendered}
		}
		return Page{ID: id, Title: title, Status: Omitted, Why: why, HowToGet: how}
	}
	var overTime, against string
	v.dcgm, overTime = v.pageDCGM()
	v.grounded, against = v.pageGrounded()
	return []Page{
		page("6", "DCGM over time", overTime, "add a step dcgm_correlate with the axes of the cells, and wire it to render too (in: {atlas: atlas, dcgm: dcgm})"),
		page("6b", "DCGM against Speed of Light", against, "add a step dcgm_correlate with the axes of the cells, and wire it to aggregate (in: {cells: cells, dcgm: dcgm})"),
	}
}

// noDCGM says why there is nothing to draw.
func (v *view) noDCGM() string {
	for _, r := range v.rows {
		if why := absentIn(r, "group:dcgm"); why != "" && r.IsNull("dcgm_quality") {
			return why
		}
	}
	return "no DCGM samples were brought to this report"
}

// mostTraced is how many cells are drawn: of each configuration the one with
// the highest throughput, and those on which a check does not pass.
const mostTraced = 8

// traced is a report and the row of its cell.
type traced struct {
	report *dcgm.Report
	row    perf.Row
	best   bool // the highest throughput of its configuration
}

// pageDCGM makes page 6, or says why there is none.
func (v *view) pageDCGM() (*page6, string) {
	all := v.traced()
	if len(all) == 0 {
		return nil, v.noDCGM()
	}
	p := &page6{}
	for _, t := range all {
		if len(p.Cells) < mostTraced && (t.best || problems(t.row) != "") {
			cell := v.trace(t)
			cell.Open = len(p.Cells) == 0
			p.Cells = append(p.Cells, cell)
		} else {
			p.Other = append(p.Other, t.row.Text("cell_id"))
		}
	}
	return p, ""
}

// traced are the reports that have samples and belong to a row, the best of
// each configuration first.
func (v *view) traced() []traced {
	byCell := map[string]perf.Row{}
	for _, r := range v.rows {
		if r.Text("agg") == "trial" {
			byCell[r.Text("cell_id")] = r
		}
	}
	var all []traced
	best := map[string]float64{}
	for _, report := range v.in.DCGM {
		r, ok := byCell[report.CellID]
		if !ok || report.Timeline == nil {
			continue
		}
		all = append(all, traced{report: report, row: r})
		if tps, ok := r.Float("output_tps_per_gpu"); ok {
			best[r.Text("config")] = max(best[r.Text("config")], tps)
		}
	}
	for i := range all {
		tps, ok := all[i].row.Float("output_tps_per_gpu")
		all[i].best = ok && tps == best[all[i].row.Text("config")]
	}
	slices.SortStableFunc(all, func(a, b traced) int {
		rank := func(t traced) int {
			if t.best {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(rank(a), rank(b)), byLoad(a.row, b.row))
	})
	return all
}

// problems lists the checks of a row that fail or warn.
func problems(r perf.Row) string {
	var codes []string
	for _, c := range checksOf(r) {
		if c.Status == dcgm.Fail || c.Status == dcgm.Warn {
			codes = append(codes, c.Code)
		}
	}
	return strings.Join(codes, ", ")
}

// quantities are the charts of a cell. Links are the sum of what is sent and
// received.
var quantities = []struct {
	title  string
	keys   []dcgm.Field
	factor float64
	top    float64
}{
	{"graphics engine active, %", []dcgm.Field{dcgm.GR}, 100, 100},
	{"SM active, %", []dcgm.Field{dcgm.SM}, 100, 100},
	{"memory active, %", []dcgm.Field{dcgm.DRAM}, 100, 100},
	{"tensor pipes active, %", []dcgm.Field{dcgm.Tensor}, 100, 0},
	{"NVLink sent + received, GB/s", []dcgm.Field{dcgm.NVLinkTx, dcgm.NVLinkRx}, 1e-9, 0},
	{"power, W", []dcgm.Field{dcgm.Power}, 1, 0},
	{"SM clock, MHz", []dcgm.Field{dcgm.SMClock}, 1, 0},
}

func (v *view) trace(t traced) tracedCell {
	r, line := t.report, t.report.Timeline
	c := tracedCell{
		Name: t.row.Text("cell_id"), Shape: shortShape(t.row), Rigor: cmp.Or(t.row.Text("sol_rigor"), "none"), Simulated: r.Simulated, Problem: problems(t.row),
		Of: sourceName(r.Source.Kind),
	}
	for i, g := range line.GPUs {
		c.GPUs = append(c.GPUs, traceKey{gpuName(g), i})
	}
	zero := line.T0MS
	if r.Full != nil {
		zero = r.Full.Start.UnixMilli()
	}
	from, to := math.Inf(1), math.Inf(-1)
	var alarms []float64
	for _, g := range line.GPUs {
		for i, at := range g.AtMS {
			second := float64(line.T0MS+at-zero) / 1e3
			from, to = min(from, second), max(to, second)
			if i < len(g.Mask) && g.Mask[i]&dcgm.Throttling != 0 {
				alarms = append(alarms, second)
			}
		}
	}
	slices.Sort(alarms)
	for n, q := range quantities {
		tr := chart.Trace{
			ID: fmt.Sprintf("dcgm-%.8s-%d", t.row.Text("row_uid"), n), Title: q.title, From: from, To: to, Top: q.top, Alarms: slices.Compact(alarms),
			Shade: shade(r, zero),
		}
		if r.Simulated {
			tr.Stamp = "SIMULATED"
		}
		for _, g := range line.GPUs {
			if l, ok := traceLine(g, q.keys, q.factor, line.T0MS, zero); ok {
				tr.Lines = append(tr.Lines, l)
			}
		}
		if len(tr.Lines) > 0 {
			// The text of an SVG is escaped by the package that draws it.
			c.Traces = append(c.Traces, template.HTML(tr.SVG(400, 170)))
		}
	}
	c.Note = traceNote(r, len(alarms) > 0)
	return c
}

// shade is the span of which collections count: they tell of the time before
// their stamp.
func shade(r *dcgm.Report, zero int64) [2]float64 {
	if r.Kept == nil {
		return [2]float64{}
	}
	return [2]float64{float64(r.Kept.Start.UnixMilli()-zero) / 1e3, float64(r.Kept.End.UnixMilli()-zero) / 1e3}
}

func traceLine(g dcgm.GPUTimeline, keys []dcgm.Field, factor float64, t0, zero int64) (chart.TraceLine, bool) {
	l := chart.TraceLine{Name: gpuName(g)}
	any := false
	for i, at := range g.AtMS {
		sum := 0.0
		for _, f := range keys {
			series := g.V[f.Key()]
			if i >= len(series) || series[i] == nil {
				sum = math.NaN()
				break
			}
			sum += float64(*series[i])
		}
		any = any || !math.IsNaN(sum)
		l.X, l.Y, l.Out = append(l.X, float64(t0+at-zero)/1e3), append(l.Y, sum*factor), append(l.Out, !g.Kept[i])
	}
	return l, any
}

func gpuName(g dcgm.GPUTimeline) string {
	name := "GPU"
	if g.Index >= 0 {
		name = fmt.Sprintf("GPU %d", g.Index)
	}
	if g.Node != "" {
		name += " of " + g.Node
	}
	return name
}

// traceNote says how to read the charts of a cell.
func traceNote(r *dcgm.Report, alarms bool) string {
	text := "Seconds since the load began; a point is the mean over the collect interval before it"
	if r.IntervalS != nil {
		text += fmt.Sprintf(" (%s s", number(*r.IntervalS))
		if r.Estimated {
			text += ", worked out from the samples"
		}
		text += ")"
	}
	text += fmt.Sprintf(". Shaded: the steady window, less what clocks make uncertain; crosses are collections that reach outside of it and do not count. n_eff is %d at least (%s).", r.NEffMin, r.NEffWhere)
	if alarms {
		text += " Red marks: a clock was lowered by heat, a slowdown or the power brake."
	}
	return text
}

func sourceName(kind string) string {
	switch kind {
	case dcgm.FromPrometheus:
		return "Prometheus"
	case dcgm.FromScrape:
		return "dcgm-exporter, scraped during the cell"
	case dcgm.FromDmon:
		return "dcgmi dmon"
	case dcgm.FromAIPerf:
		return "AIPerf's telemetry"
	}
	return kind
}
