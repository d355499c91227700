package report

import (
	_ "embed"
	"fmt"
	"strings"

	"pipeline/internal/frontier"
)

//go:embed page9.html
var page9Text string

// A page9 is what to try next.
type page9 struct {
	Text, Focus string
	State       frontier.State
	Levers      []leverRow
	Refuted     []leverRow
	Cells       []boundRow
}

type leverRow struct {
	Rank                                                             int
	Name, Status, Unlock, Component, Value, Cost, Score, Basis, Gate string
	First, Evidence, Risk, Hours                                     string
	Cells                                                            []string
}

type boundRow struct {
	Cell, Bound, Why, Confidence string
	Unknown                      string
}

// pageFrontier makes page 9, or says why there is none.
func (v *view) pageFrontier() (*page9, string) {
	f := v.in.Frontier
	if f == nil {
		return nil, "the atlas brought no frontier.json"
	}
	focus := v.focus()
	p := &page9{Text: f.Text, State: f.State, Focus: string(focus)}
	for i, l := range f.Ranked(focus) {
		p.Levers = append(p.Levers, newLeverRow(i+1, l, focus))
	}
	for _, l := range f.Refuted {
		p.Refuted = append(p.Refuted, newLeverRow(0, l, focus))
	}
	for _, c := range f.Cells {
		p.Cells = append(p.Cells, boundRow{Cell: c.Shape, Bound: c.Bound, Why: c.Why, Confidence: c.Confidence, Unknown: strings.Join(c.Unknown, "; ")})
	}
	return p, ""
}

func (v *view) focus() frontier.Focus {
	for _, f := range frontier.Focuses() {
		if string(f) == v.in.Focus {
			return f
		}
	}
	return frontier.Mixed
}

func newLeverRow(rank int, l frontier.Lever, focus frontier.Focus) leverRow {
	row := leverRow{
		Rank: rank, Name: l.Name, Status: l.Status, Component: l.Component, Basis: l.Basis, Gate: l.Gate, First: l.First, Evidence: l.Evidence, Risk: l.Risk,
		Value: number(l.Value[focus]), Cost: number(l.Cost), Score: number(l.Score[focus]), Hours: number(l.GPUHours), Unlock: frontier.Unlock(l.Low, l.High),
	}
	for _, g := range l.Gains {
		row.Cells = append(row.Cells, fmt.Sprintf("%s: %s", g.Cell, frontier.Unlock(g.Low, g.High)))
	}
	return row
}

// NextLever is what to do next, in a sentence, for the cover and the summary.
func (v *view) nextLever() string {
	f := v.in.Frontier
	if f == nil {
		return ""
	}
	l, ok := f.Next(v.focus())
	if !ok {
		return f.Text
	}
	text := fmt.Sprintf("%s: %s of TPOT or throughput (%s); gate: %s", l.Name, frontier.Unlock(l.Low, l.High), l.Basis, l.Gate)
	if l.First != "" {
		text = l.First + "; then " + text
	}
	return text
}
