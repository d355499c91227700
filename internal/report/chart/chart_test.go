package chart

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestFrontier(t *testing.T) {
	points := []Point{{X: 3, Y: 1}, {X: 1, Y: 5}, {X: 2, Y: 2}, {X: 2, Y: 4}, {X: 1, Y: 1}, {X: 3, Y: 0.5}, {X: 0.5, Y: 5}}
	var got []string
	for _, p := range Frontier(points) {
		got = append(got, fmt.Sprintf("%g,%g", p.X, p.Y))
	}
	if want := []string{"1,5", "2,4", "3,1"}; !slices.Equal(got, want) {
		t.Errorf("frontier is %v, want %v", got, want)
	}
	if Frontier(nil) != nil {
		t.Error("the frontier of nothing is something")
	}
}

func TestTicks(t *testing.T) {
	if got, want := linearTicks(0, 100, 5), []float64{0, 20, 40, 60, 80, 100}; !slices.Equal(got, want) {
		t.Errorf("linear ticks %v, want %v", got, want)
	}
	if got, want := logTicks(3, 250), []float64{5, 10, 20, 50, 100, 200}; !slices.Equal(got, want) {
		t.Errorf("log ticks %v, want %v", got, want)
	}
	if got, want := logTicks(1, 1e5), []float64{1, 10, 100, 1000, 1e4, 1e5}; !slices.Equal(got, want) {
		t.Errorf("log ticks %v, want %v", got, want)
	}
	for v, want := range map[float64]string{0: "0", 0.05: "0.05", 1500: "1,500", 1234567: "1,234,567", 0.1 + 0.2: "0.3", -1200: "-1,200"} {
		if got := tickText(v); got != want {
			t.Errorf("tick %v is %q, want %q", v, got, want)
		}
	}
}

func TestScale(t *testing.T) {
	s := newScale(Axis{Log: true}, []float64{1, 100}, 5)
	s.from, s.to = 0, 100
	if mid := s.at(10); math.Abs(mid-50) > 1e-9 {
		t.Errorf("10 stands at %v of a log axis from 1 to 100, want 50", mid)
	}
	if s.at(0) != 0 || s.at(1e9) != 100 {
		t.Error("a value beyond the axis is not kept within it")
	}
}

func TestCrosses(t *testing.T) {
	box := rect{10, 10, 20, 20}
	for s, want := range map[segment]bool{
		{0, 0, 30, 30}: true, {0, 15, 5, 15}: false, {0, 25, 30, 25}: false, {12, 12, 13, 13}: true, {15, 0, 15, 40}: true, {0, 19, 11, 30}: false,
	} {
		if got := box.crosses(s); got != want {
			t.Errorf("%v crosses: %t, want %t", s, got, want)
		}
	}
}

// wellFormed reads all of the SVG, as a browser must.
func wellFormed(svg string) error {
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func randomChart(r *rand.Rand) Chart {
	c := Chart{ID: "c", Title: `<"&'>`, X: Axis{Label: "x <ms>", Log: r.IntN(2) == 0}, Y: Axis{Label: "y", Log: r.IntN(2) == 0}, Stamp: "SIMULATED"}
	for i := range r.IntN(10) {
		s := Series{Name: fmt.Sprintf("</text>%d", i), Frontier: r.IntN(2) == 0}
		for range r.IntN(20) {
			s.Points = append(s.Points, Point{
				X: math.Exp(10 * r.NormFloat64()), Y: math.Exp(r.NormFloat64()), XErr: r.Float64(), YErr: r.Float64(), Label: "c=<1>", Tip: "a\n<b>&", Hollow: r.IntN(2) == 0,
			})
		}
		c.Series = append(c.Series, s)
	}
	return c
}

func TestAnyChartIsWellFormed(t *testing.T) {
	for seed := range uint64(40) {
		c := randomChart(rand.New(rand.NewPCG(seed, 0)))
		svg := c.SVG(640, 400)
		if err := wellFormed(svg); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
			t.Fatalf("seed %d: a coordinate is no number", seed)
		}
		if again := c.SVG(640, 400); again != svg {
			t.Fatalf("seed %d: the same chart is other bytes", seed)
		}
	}
}

// On a chart as campaigns have it, no label covers another, a mark, or leaves
// the plot.
func TestLabelsStayApart(t *testing.T) {
	var c Chart
	for _, cap := range []float64{90, 60} {
		s := Series{Name: "s", Frontier: true}
		for _, n := range []float64{1, 4, 8, 16, 32, 64} {
			s.Points = append(s.Points, Point{X: cap / (1 + n/50), Y: n * cap / (1 + n/50), Label: fmt.Sprintf("c=%g", n)})
		}
		c.Series = append(c.Series, s)
	}
	for _, width := range []float64{940, 360} {
		d := &canvas{c: &c, w: width, h: 400}
		d.layout()
		d.joins()
		d.marks()
		marks := len(d.taken)
		d.labels()
		for i, label := range d.taken[marks:] {
			for j, other := range d.taken {
				if j != marks+i && label.overlap(other) > 1 {
					t.Errorf("width %v: label %d overlaps %d by %.0f px²", width, i, j, label.overlap(other))
				}
			}
			if label.overlap(d.plot) < label.width()*label.height()-1 {
				t.Errorf("width %v: label %d leaves the plot", width, i)
			}
		}
	}
}
