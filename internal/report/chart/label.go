package chart

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

type rect struct{ x1, y1, x2, y2 float64 }

func (r rect) width() float64  { return r.x2 - r.x1 }
func (r rect) height() float64 { return r.y2 - r.y1 }

// overlap is the area that two rectangles share.
func (r rect) overlap(o rect) float64 {
	w := min(r.x2, o.x2) - max(r.x1, o.x1)
	h := min(r.y2, o.y2) - max(r.y1, o.y1)
	if w <= 0 || h <= 0 {
		return 0
	}
	return w * h
}

// crosses reports whether a segment passes through the rectangle, by clipping
// it to each side (Liang and Barsky, 1984).
func (r rect) crosses(s segment) bool {
	from, to := 0.0, 1.0
	dx, dy := s.x2-s.x1, s.y2-s.y1
	for _, side := range [4][2]float64{{-dx, s.x1 - r.x1}, {dx, r.x2 - s.x1}, {-dy, s.y1 - r.y1}, {dy, r.y2 - s.y1}} {
		p, q := side[0], side[1]
		switch {
		case p == 0 && q < 0:
			return false
		case p < 0:
			from = max(from, q/p)
		case p > 0:
			to = min(to, q/p)
		}
	}
	return from <= to
}

// labels puts the label of each point where it covers least: it tries places
// around the point, near before far, and draws a thin line to a label that had
// to go far. Labels in the way of nothing come first, by X.
func (d *canvas) labels() {
	type todo struct {
		series int
		p      Point
	}
	var all []todo
	for i, s := range d.c.Series {
		for _, p := range s.Points {
			if p.Label != "" {
				all = append(all, todo{i, p})
			}
		}
	}
	if len(all) > mostLabels {
		return
	}
	slices.SortStableFunc(all, func(a, b todo) int { return cmp.Compare(a.p.X, b.p.X) })
	for _, t := range all {
		x, y := d.x.at(t.p.X), d.y.at(t.p.Y)
		box, far := d.place(t.p.Label, x, y)
		if far {
			fmt.Fprintf(d, `<path class="leader" d="M%s %sL%s %s"/>`, px(x), px(y),
				px(min(max(x, box.x1), box.x2)), px(min(max(y, box.y1), box.y2)))
		}
		fmt.Fprintf(d, `<text class="label" style="fill:var(--s%d)" x="%s" y="%s">%s</text>`, t.series%8, px(box.x1+1), px(box.y2-3), esc(t.p.Label))
		d.taken = append(d.taken, box)
	}
}

const (
	labelLetter = 11.0
	mostLabels  = 150 // of more, none could be read
)

func (d *canvas) place(text string, x, y float64) (best rect, far bool) {
	w, h := textWidth(text, labelLetter)+2, labelLetter+2
	least := math.Inf(1)
	for ring, gap := range []float64{mark + 3, mark + 12, mark + 24} {
		for turn := range 8 {
			a := float64(turn)*math.Pi/4 - math.Pi/4 // from the upper right, clockwise
			cx, cy := x+math.Cos(a)*(gap+w/2), y+math.Sin(a)*(gap+h/2)
			box := rect{cx - w/2, cy - h/2, cx + w/2, cy + h/2}
			if cost := d.cost(box) + float64(ring)*25 + float64(turn)*0.2; cost < least {
				least, best, far = cost, box, ring > 0
			}
		}
	}
	return best, far
}

func (d *canvas) cost(box rect) float64 {
	cost := 0.0
	for _, t := range d.taken {
		cost += 4 * box.overlap(t)
	}
	for _, s := range d.lines {
		if box.crosses(s) {
			cost += 45
		}
	}
	outside := box.width()*box.height() - box.overlap(d.plot)
	return cost + 20*outside
}
