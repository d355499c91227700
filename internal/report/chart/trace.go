package chart

import (
	"fmt"
	"math"
	"strings"
)

// A Trace is a small chart of lines over time, without marks: one of several
// that stand side by side over the same span.
type Trace struct {
	ID       string // unique on the page
	Title    string // with the unit; printed above the plot
	From, To float64
	Lines    []TraceLine
	Shade    [2]float64 // the span that counts; none if empty
	Top      float64    // end of the vertical axis; 0 finds a round value
	Alarms   []float64  // times of what should not have been
	Stamp    string
}

// A TraceLine is one line. A NaN is a gap.
type TraceLine struct {
	Name string
	X, Y []float64
	Out  []bool // points that do not count: crosses
}

const (
	traceLetter = 10.0
	crossSize   = 1.8
)

// SVG draws the trace w by h pixels.
func (t Trace) SVG(w, h int) string {
	var all []float64
	for _, l := range t.Lines {
		for _, y := range l.Y {
			if !math.IsNaN(y) {
				all = append(all, y)
			}
		}
	}
	y := newScale(Axis{}, all, float64(h)/42)
	if t.Top > 0 {
		y.low, y.high, y.ticks = 0, t.Top, linearTicks(0, t.Top, 3)
	}
	widest := 0.0
	for _, v := range y.ticks {
		widest = max(widest, textWidth(short(v), traceLetter))
	}
	plot := rect{widest + 9, 20, float64(w) - 8, float64(h) - 16}
	y.from, y.to = plot.y2, plot.y1
	x := scale{low: t.From, high: t.To, from: plot.x1, to: plot.x2, ticks: linearTicks(t.From, t.To, float64(w)/75)}

	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="chart trace" viewBox="0 0 %d %d" role="img" aria-labelledby="%s"><title id="%s">%s</title>`, w, h, esc(t.ID), esc(t.ID), esc(t.Title))
	fmt.Fprintf(&b, `<text class="ink" font-size="11" x="2" y="11">%s</text>`, esc(t.Title))
	if t.Shade[1] > t.Shade[0] {
		from, to := x.at(t.Shade[0]), x.at(t.Shade[1])
		fmt.Fprintf(&b, `<rect class="kept" x="%s" y="%s" width="%s" height="%s"/>`, px(from), px(plot.y1), px(to-from), px(plot.height()))
	}
	for _, v := range y.ticks {
		fmt.Fprintf(&b, `<path class="grid" d="M%s %sH%s"/><text class="dim" font-size="%g" x="%s" y="%s" text-anchor="end">%s</text>`,
			px(plot.x1), px(y.at(v)), px(plot.x2), traceLetter, px(plot.x1-4), px(y.at(v)+3.5), short(v))
	}
	for _, v := range x.ticks {
		fmt.Fprintf(&b, `<text class="dim" font-size="%g" x="%s" y="%s" text-anchor="middle">%s</text>`, traceLetter, px(x.at(v)), px(plot.y2+12), tickText(v))
	}
	fmt.Fprintf(&b, `<path class="axis" d="M%s %sV%sH%s"/>`, px(plot.x1), px(plot.y1), px(plot.y2), px(plot.x2))
	if t.Stamp != "" {
		size := min(30, plot.width()/textWidth(t.Stamp, 1)*0.7)
		fmt.Fprintf(&b, `<text class="stamp" x="%s" y="%s" font-size="%s" text-anchor="middle">%s</text>`, px(plot.x1+plot.width()/2), px(plot.y1+plot.height()/2+size/3), px(size), esc(t.Stamp))
	}
	for i, l := range t.Lines {
		l.draw(&b, i, x, y)
	}
	for _, at := range t.Alarms {
		fmt.Fprintf(&b, `<path class="alarm" d="M%s %sl-3.5 -6h7z"/>`, px(x.at(at)), px(plot.y1+6))
	}
	b.WriteString("</svg>")
	return b.String()
}

func (l TraceLine) draw(b *strings.Builder, hue int, x, y scale) {
	var path, crosses strings.Builder
	pen := false
	for i := range l.X {
		if math.IsNaN(l.Y[i]) {
			pen = false
			continue
		}
		px1, py1 := px(x.at(l.X[i])), px(y.at(l.Y[i]))
		op := "L"
		if !pen {
			op = "M"
		}
		path.WriteString(op + px1 + " " + py1)
		pen = true
		if i < len(l.Out) && l.Out[i] {
			fmt.Fprintf(&crosses, "M%s %sl%g %gm0 %gl%g %g", px(x.at(l.X[i])-crossSize), px(y.at(l.Y[i])-crossSize), 2*crossSize, 2*crossSize, -2*crossSize, -2*crossSize, 2*crossSize)
		}
	}
	fmt.Fprintf(b, `<path class="join" style="stroke:var(--s%d)" d="%s"><title>%s</title></path>`, hue%8, path.String(), esc(l.Name))
	if crosses.Len() > 0 {
		fmt.Fprintf(b, `<path class="cross" style="stroke:var(--s%d)" d="%s"/>`, hue%8, crosses.String())
	}
}

// short prints a tick in little room: 0.5, 40, 1.2k, 200G.
func short(v float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e4, "k"}} {
		if math.Abs(v) >= u.size {
			if u.name == "k" {
				u.size = 1e3
			}
			return tickText(v/u.size) + u.name
		}
	}
	return tickText(v)
}
