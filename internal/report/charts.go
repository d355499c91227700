package report

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"

	"pipeline/internal/report/chart"
	"pipeline/lake/perf"
)

// A figure is a chart of the page: drawn wide, and again for a phone.
type figure struct {
	Title, Note  string
	Wide, Narrow template.HTML
}

func (v *view) figure(c chart.Chart, width int, note string) figure {
	if v.status.Simulated {
		c.Stamp = "SIMULATED"
	}
	// The text of an SVG is escaped by the package that draws it.
	return figure{Title: c.Title, Note: note, Wide: template.HTML(c.SVG(width, 430)), Narrow: template.HTML(c.SVG(360, 380))}
}

// both returns the points that have the two numbers.
func (v *view) both(x, y func(perf.Row) (float64, bool)) []perf.Row {
	return slices.DeleteFunc(slices.Clone(v.points), func(r perf.Row) bool {
		_, okX := x(r)
		_, okY := y(r)
		return !okX || !okY
	})
}

func of(column string) func(perf.Row) (float64, bool) {
	return func(r perf.Row) (float64, bool) { return r.Float(column) }
}

// loadOf is the concurrency of a closed loop, else the rate offered.
func loadOf(r perf.Row) (float64, bool) {
	if n, ok := r.Int("concurrency"); ok && n > 0 {
		return float64(n), true
	}
	f, ok := r.Float("request_rate")
	return f, ok && f > 0
}

func (v *view) loadPoints() []perf.Row { return v.both(loadOf, of("headline_ttft_ms")) }

// paretoPoints are what was achieved: a cell whose numbers cannot be what they
// seem is not among them.
func (v *view) paretoPoints() []perf.Row {
	return slices.DeleteFunc(v.both(of("headline_tps_per_user"), of("output_tps_per_gpu")), func(r perf.Row) bool { return suspect(r) != "" })
}

// series makes a series for each configuration, in the order of rows.
func series(rows []perf.Row, x, y func(perf.Row) (float64, bool), xColumn, yColumn, yUnit string) []chart.Series {
	var out []chart.Series
	for _, r := range rows {
		name := r.Text("config")
		i := slices.IndexFunc(out, func(s chart.Series) bool { return s.Name == name })
		if i < 0 {
			i = len(out)
			out = append(out, chart.Series{Name: name})
		}
		p := chart.Point{Hollow: r.Text("headline_window") != "steady"}
		p.X, _ = x(r)
		p.Y, _ = y(r)
		if xColumn != "" {
			p.XErr = deviation(r, xColumn)
		}
		p.YErr = deviation(r, yColumn)
		if xColumn != "" { // else X is the load
			p.Label = load(r)
		}
		p.Tip = tip(r, yColumn, yUnit)
		out[i].Points = append(out[i].Points, p)
	}
	return out
}

// deviation of a column over trials, 0 where none is kept.
func deviation(r perf.Row, column string) float64 {
	if _, has := r.Schema().Column(column + "_std"); !has {
		return 0
	}
	v, _ := r.Float(column + "_std")
	return v
}

// tip is the text on hover: the numbers with their exact setting.
func tip(r perf.Row, column, unit string) string {
	s := ""
	if simulated(r) {
		s = "SIMULATED\n"
	}
	s += fmt.Sprintf("%s\n%s %s, %s\nmedian TTFT %s ms, %s tok/s/user, window: %s, n=%d\nrow %.12s\n%s", r.Text("cell_id"), withSpread(r, column), unit, shortShape(r),
		withSpread(r, "headline_ttft_ms"), withSpread(r, "headline_tps_per_user"), r.Text("headline_window"), trials(r), r.Text("row_uid"), shape(r))
	for _, d := range r.List("doubts") {
		s += "\ndoubt: " + d
	}
	return s
}

const (
	barsNote   = "Bars are ± one deviation over trials."
	hollowNote = " Hollow marks are over the whole run, ramp and drain included, for want of a steady-state window."
)

func (v *view) notes(text string, rows []perf.Row) string {
	if slices.ContainsFunc(rows, func(r perf.Row) bool { return trials(r) > 1 }) {
		text += " " + barsNote
	}
	if slices.ContainsFunc(rows, func(r perf.Row) bool { return r.Text("headline_window") != "steady" }) {
		text += hollowNote
	}
	return text
}

func (v *view) pareto() []figure {
	rows := v.paretoPoints()
	if len(rows) == 0 {
		return nil
	}
	s := series(rows, of("headline_tps_per_user"), of("output_tps_per_gpu"), "headline_tps_per_user", "output_tps_per_gpu", "output tok/s/GPU")
	for i := range s {
		s[i].Frontier = true
	}
	c := chart.Chart{
		ID: "pareto", Title: "Output throughput per GPU against the speed of a user",
		X:      chart.Axis{Label: "median tok/s/user", Log: wide(rows, of("headline_tps_per_user"), 20)},
		Y:      chart.Axis{Label: "output tok/s/GPU", Log: wide(rows, of("output_tps_per_gpu"), 50)},
		Series: s,
	}
	note := "Up and to the right is better. A line joins, by straight segments, the cells of a configuration that no other of its cells beats in both directions; between two of them nothing was measured. Tokens are output tokens."
	if bounds := solBounds(c.Series, rows); len(bounds) > 0 {
		c.Series = append(c.Series, bounds...)
		c.X.Log, c.Y.Log = c.X.Log || spans(c.Series, func(p chart.Point) float64 { return p.X }), c.Y.Log || spans(c.Series, func(p chart.Point) float64 { return p.Y })
		note += " Dashed: Speed of Light of decode at the batches that were measured, by " + strings.Join(sharedCeilings(rows), "; ") + "."
	}
	for _, r := range v.points {
		if why := suspect(r); why != "" {
			note += fmt.Sprintf(" Not drawn: %s (%s).", withoutTrial(r), why)
		}
	}
	return []figure{v.figure(c, 940, v.notes(note, rows))}
}

// spans reports whether bounds lie so far from what was measured that only a
// logarithmic axis shows both.
func spans(all []chart.Series, of func(chart.Point) float64) bool {
	low, high := math.Inf(1), 0.0
	for _, s := range all {
		for _, p := range s.Points {
			low, high = min(low, of(p)), max(high, of(p))
		}
	}
	return low > 0 && high > 8*low
}

// solBounds are the curves of Speed of Light, one below the series of each
// configuration: how fast a user, and how much a GPU, could be at the batches
// that were measured.
func solBounds(measured []chart.Series, rows []perf.Row) []chart.Series {
	var out []chart.Series
	for i, s := range measured {
		bound := chart.Series{Bound: true, Of: i}
		if len(out) == 0 {
			bound.Name = "Speed of Light of decode"
		}
		for _, r := range rows {
			floor, okX := r.Float("tpot_floor_ms")
			ceiling, okY := r.Float("ceiling_output_tps_per_gpu_decode")
			if r.Text("config") == s.Name && okX && okY {
				bound.Points = append(bound.Points, chart.Point{X: 1e3 / floor, Y: ceiling})
			}
		}
		if len(bound.Points) > 1 {
			out = append(out, bound)
		}
	}
	return out
}

func (v *view) againstLoad() []figure {
	rows := v.loadPoints()
	if len(rows) == 0 {
		return nil
	}
	label := "concurrency, streams"
	if slices.ContainsFunc(rows, func(r perf.Row) bool { n, ok := r.Int("concurrency"); return !ok || n == 0 }) {
		label = "load: concurrency, or requests/s offered"
	}
	x := chart.Axis{Label: label, Log: wide(rows, loadOf, 4)}
	for _, r := range rows {
		t, _ := loadOf(r)
		if !slices.Contains(x.Ticks, t) {
			x.Ticks = append(x.Ticks, t)
		}
	}
	slices.Sort(x.Ticks)
	if len(x.Ticks) > 12 {
		x.Ticks = nil
	}
	ttft := chart.Chart{
		ID: "ttft", Title: "Median TTFT against load", X: x,
		Y:      chart.Axis{Label: "median TTFT, ms", Log: wide(rows, of("headline_ttft_ms"), 10)},
		Series: series(rows, loadOf, of("headline_ttft_ms"), "", "headline_ttft_ms", "ms median TTFT"),
	}
	figures := []figure{v.figure(ttft, 640, v.notes("TTFT is from the request sent to the first content.", rows))}
	if rows = v.both(loadOf, of("headline_output_tps")); len(rows) > 0 {
		tps := chart.Chart{
			ID: "throughput", Title: "Output throughput against load", X: x,
			Y:      chart.Axis{Label: "output tok/s, whole endpoint", Log: wide(rows, of("headline_output_tps"), 100)},
			Series: series(rows, loadOf, of("headline_output_tps"), "", "headline_output_tps", "output tok/s"),
		}
		figures = append(figures, v.figure(tps, 640, v.notes("Output tokens a second over all GPUs of the endpoint.", rows)))
	}
	return figures
}

// wide reports whether values span so much that a logarithmic axis shows them
// better.
func wide(rows []perf.Row, value func(perf.Row) (float64, bool), ratio float64) bool {
	low, high := 0.0, 0.0
	for i, r := range rows {
		v, _ := value(r)
		if v <= 0 {
			return false
		}
		if i == 0 {
			low = v
		}
		low, high = min(low, v), max(high, v)
	}
	return high > ratio*low
}
