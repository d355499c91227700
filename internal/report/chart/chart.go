// Package chart draws small charts as SVG: points with error bars and labels,
// joined by straight segments, on linear or logarithmic axes.
//
// A chart is data. SVG draws it for a given width, so that one chart can be
// drawn for a wide page and again for a phone, with letters of one size.
// Colours are the CSS variables --s0 to --s7, --ink, --dim and --grid of the
// page, so that a chart follows the page into the dark. The same chart gives
// the same bytes.
package chart

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// A Chart is what is drawn.
type Chart struct {
	ID     string // unique on the page: names the title for screen readers
	Title  string // for screen readers; the page prints its own
	X, Y   Axis
	Series []Series
	Stamp  string // printed large and pale behind the points; "" is none
}

// An Axis is one direction of a chart.
type Axis struct {
	Label string    // with its unit
	Log   bool      // logarithmic; all values must be above zero
	Ticks []float64 // where to put ticks; nil finds round values
}

// A Series is a set of points of one colour and mark.
type Series struct {
	Name     string
	Points   []Point
	Frontier bool // join the points that no other beats in both X and Y; else all, by X
	// Bound draws a dashed line without marks: what could be, and not what was
	// measured. Its colour is that of the series at Of.
	Bound bool
	Of    int
	Loose bool // join none
}

// A Point is one mark.
type Point struct {
	X, Y       float64
	XErr, YErr float64 // half lengths of error bars; 0 is none
	Label      string  // beside the mark
	Tip        string  // shown on hover
	Hollow     bool
}

// Frontier returns the points that no other point beats in both X and Y
// (larger is better), by X.
func Frontier(points []Point) []Point {
	sorted := slices.Clone(points)
	slices.SortStableFunc(sorted, func(a, b Point) int {
		return cmp.Or(cmp.Compare(b.X, a.X), cmp.Compare(b.Y, a.Y))
	})
	var front []Point
	best := math.Inf(-1)
	for _, p := range sorted {
		if p.Y > best {
			best = p.Y
			front = append(front, p)
		}
	}
	slices.Reverse(front)
	return front
}

const (
	letter = 12.0 // px
	mark   = 4.5  // px, radius
)

// textWidth guesses how wide a text is in a sans-serif face: enough to keep
// labels apart, since the face of the reader is not known.
func textWidth(s string, size float64) float64 {
	w := 0.0
	for _, r := range s {
		switch {
		case strings.ContainsRune("iljtf.,:;|' ()[]", r):
			w += 0.33
		case strings.ContainsRune("mwMW@%", r):
			w += 0.88
		case r >= 'A' && r <= 'Z':
			w += 0.68
		default:
			w += 0.57
		}
	}
	return w * size
}

// canvas is one drawing of a chart.
type canvas struct {
	strings.Builder
	c          *Chart
	w, h       float64
	x, y       scale
	plot       rect
	taken      []rect    // marks, error bars and labels that stand
	lines      []segment // joins, for labels to keep away from
	legendRows []legendRow
}

type segment struct{ x1, y1, x2, y2 float64 }

type legendRow struct{ first, last int }

// SVG draws the chart w by h pixels.
func (c Chart) SVG(w, h int) string {
	d := &canvas{c: &c, w: float64(w), h: float64(h)}
	d.layout()
	fmt.Fprintf(d, `<svg class="chart" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="%s-%d">`, w, h, w, h, esc(c.ID), w)
	fmt.Fprintf(d, `<title id="%s-%d">%s</title>`, esc(c.ID), w, esc(c.Title))
	d.legend()
	d.axes()
	if c.Stamp != "" {
		size := min(64, d.plot.width()/textWidth(c.Stamp, 1)*0.8)
		fmt.Fprintf(d, `<text class="stamp" x="%s" y="%s" font-size="%s" text-anchor="middle">%s</text>`,
			px(d.plot.x1+d.plot.width()/2), px(d.plot.y1+d.plot.height()/2+size/3), px(size), esc(c.Stamp))
	}
	d.joins()
	d.bars()
	d.marks()
	d.labels()
	d.WriteString("</svg>")
	return d.String()
}

func esc(s string) string { return html.EscapeString(s) }

// px prints a length to a tenth of a pixel.
func px(v float64) string { return fmt.Sprintf("%.1f", v) }

func (d *canvas) layout() {
	d.legendRows = d.packLegend()
	var xs, ys []float64
	for _, s := range d.c.Series {
		for _, p := range s.Points {
			xs = append(xs, reach(p.X, p.XErr, d.c.X.Log)...)
			ys = append(ys, reach(p.Y, p.YErr, d.c.Y.Log)...)
		}
	}
	d.x, d.y = newScale(d.c.X, xs, d.w/70), newScale(d.c.Y, ys, d.h/60)
	widest := 0.0
	for _, t := range d.y.ticks {
		widest = max(widest, textWidth(tickText(t), letter))
	}
	d.plot = rect{x1: 26 + widest + 8, y1: float64(len(d.legendRows))*20 + 14, x2: d.w - 18, y2: d.h - 46}
	d.x.from, d.x.to = d.plot.x1, d.plot.x2
	d.y.from, d.y.to = d.plot.y2, d.plot.y1
}

// reach lists the ends of an error bar that the axis must show.
func reach(v, err float64, log bool) []float64 {
	if log && v-err <= 0 {
		return []float64{v, v + err}
	}
	return []float64{v - err, v, v + err}
}

func (d *canvas) packLegend() []legendRow {
	var rows []legendRow
	x := math.Inf(1)
	for i, s := range d.c.Series {
		if s.Bound && s.Name == "" { // one entry speaks for all
			continue
		}
		w := 24 + textWidth(s.Name, letter) + 14
		if x+w > d.w-20 {
			rows = append(rows, legendRow{i, i})
			x = 20
		}
		x += w
		rows[len(rows)-1].last = i
	}
	return rows
}

func (d *canvas) legend() {
	for r, row := range d.legendRows {
		x, y := 20.0, 14+float64(r)*20
		for i := row.first; i <= row.last; i++ {
			if s := d.c.Series[i]; s.Bound && s.Name == "" {
				continue
			} else if s.Bound {
				fmt.Fprintf(d, `<path class="join bound" style="stroke:var(--ink)" d="M%s %sh14"/>`, px(x-1), px(y-4))
			} else {
				d.mark(i, x+6, y-4, false, "")
			}
			fmt.Fprintf(d, `<text class="ink" x="%s" y="%s">%s</text>`, px(x+18), px(y), esc(d.c.Series[i].Name))
			x += 24 + textWidth(d.c.Series[i].Name, letter) + 14
		}
	}
}

func (d *canvas) axes() {
	p := d.plot
	for _, t := range d.x.ticks {
		x := d.x.at(t)
		fmt.Fprintf(d, `<path class="grid" d="M%s %sV%s"/>`, px(x), px(p.y1), px(p.y2))
	}
	for _, t := range d.y.ticks {
		y := d.y.at(t)
		fmt.Fprintf(d, `<path class="grid" d="M%s %sH%s"/>`, px(p.x1), px(y), px(p.x2))
		fmt.Fprintf(d, `<text class="dim" x="%s" y="%s" text-anchor="end">%s</text>`, px(p.x1-7), px(y+4), tickText(t))
	}
	right := math.Inf(-1)
	for _, t := range d.x.ticks {
		x, half := d.x.at(t), textWidth(tickText(t), letter)/2
		if x-half < right+6 { // no room beside the one before
			continue
		}
		right = x + half
		fmt.Fprintf(d, `<text class="dim" x="%s" y="%s" text-anchor="middle">%s</text>`, px(x), px(p.y2+17), tickText(t))
	}
	fmt.Fprintf(d, `<path class="axis" d="M%s %sV%sH%s"/>`, px(p.x1), px(p.y1), px(p.y2), px(p.x2))
	fmt.Fprintf(d, `<text class="ink" x="%s" y="%s" text-anchor="middle">%s</text>`, px((p.x1+p.x2)/2), px(d.h-8), esc(d.c.X.name()))
	cy := (p.y1 + p.y2) / 2
	fmt.Fprintf(d, `<text class="ink" x="15" y="%s" text-anchor="middle" transform="rotate(-90 15 %s)">%s</text>`, px(cy), px(cy), esc(d.c.Y.name()))
}

func (a Axis) name() string {
	if a.Log {
		return a.Label + " · log scale"
	}
	return a.Label
}

func (d *canvas) joins() {
	for i, s := range d.c.Series {
		points := slices.Clone(s.Points)
		slices.SortStableFunc(points, func(a, b Point) int { return cmp.Compare(a.X, b.X) })
		if s.Frontier {
			points = Frontier(points)
		}
		if len(points) < 2 || s.Loose {
			continue
		}
		var path strings.Builder
		for j, p := range points {
			x, y := d.x.at(p.X), d.y.at(p.Y)
			op := "L"
			if j == 0 {
				op = "M"
			} else {
				q := points[j-1]
				d.lines = append(d.lines, segment{d.x.at(q.X), d.y.at(q.Y), x, y})
			}
			path.WriteString(op + px(x) + " " + px(y))
		}
		class, hue := "join", i
		if s.Bound {
			class, hue = "join bound", s.Of
		}
		fmt.Fprintf(d, `<path class="%s" style="stroke:var(--s%d)" d="%s"/>`, class, hue%8, path.String())
	}
}

func (d *canvas) bars() {
	for i, s := range d.c.Series {
		for _, p := range s.Points {
			x, y := d.x.at(p.X), d.y.at(p.Y)
			if p.YErr > 0 {
				lo, hi := d.y.at(p.Y-p.YErr), d.y.at(p.Y+p.YErr)
				fmt.Fprintf(d, `<path class="bar" style="stroke:var(--s%d)" d="M%s %sV%sM%s %sh7M%s %sh7"/>`, i%8,
					px(x), px(lo), px(hi), px(x-3.5), px(lo), px(x-3.5), px(hi))
				d.taken = append(d.taken, rect{x - 4, hi, x + 4, lo})
			}
			if p.XErr > 0 {
				lo, hi := d.x.at(p.X-p.XErr), d.x.at(p.X+p.XErr)
				fmt.Fprintf(d, `<path class="bar" style="stroke:var(--s%d)" d="M%s %sH%sM%s %sv7M%s %sv7"/>`, i%8,
					px(lo), px(y), px(hi), px(lo), px(y-3.5), px(hi), px(y-3.5))
				d.taken = append(d.taken, rect{lo, y - 4, hi, y + 4})
			}
		}
	}
}

func (d *canvas) marks() {
	for i, s := range d.c.Series {
		if s.Bound {
			continue
		}
		for _, p := range s.Points {
			x, y := d.x.at(p.X), d.y.at(p.Y)
			d.mark(i, x, y, p.Hollow, p.Tip)
			d.taken = append(d.taken, rect{x - mark - 1, y - mark - 1, x + mark + 1, y + mark + 1})
		}
	}
}

// mark draws the mark of a series. Its shape tells series apart where colour
// does not.
func (d *canvas) mark(series int, x, y float64, hollow bool, tip string) {
	fill := fmt.Sprintf("var(--s%d)", series%8)
	style := fmt.Sprintf("fill:%s;stroke:%s", fill, fill)
	if hollow {
		style = "fill:var(--paper);stroke:" + fill
	}
	r := mark
	var shape string
	switch series % 4 {
	case 0:
		shape = fmt.Sprintf(`M%s %sa%s %s 0 1 0 %s 0a%s %s 0 1 0 %s 0z`, px(x-r), px(y), px(r), px(r), px(2*r), px(r), px(r), px(-2*r))
	case 1:
		r = mark * 0.9
		shape = fmt.Sprintf("M%s %sh%sv%sh%sz", px(x-r), px(y-r), px(2*r), px(2*r), px(-2*r))
	case 2:
		r = mark * 1.2
		shape = fmt.Sprintf("M%s %sL%s %sL%s %sz", px(x), px(y-r), px(x+r), px(y+r*0.8), px(x-r), px(y+r*0.8))
	default:
		r = mark * 1.25
		shape = fmt.Sprintf("M%s %sL%s %sL%s %sL%s %sz", px(x), px(y-r), px(x+r), px(y), px(x), px(y+r), px(x-r), px(y))
	}
	fmt.Fprintf(d, `<path class="mark" style="%s" d="%s">`, style, shape)
	if tip != "" {
		fmt.Fprintf(d, "<title>%s</title>", esc(tip))
	}
	d.WriteString("</path>")
}
