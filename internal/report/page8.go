package report

import (
	"fmt"
	"slices"
	"strings"

	"pipeline/lake/perf"
)

// page8 is the comparison of configurations as the template prints it.
type page8 struct {
	Regimes []regimeLine
	Metrics []matrixTable
	Differs string
	Tests   int
	Drafts  bool     // at least one number is of a draft
	Invalid []string // cells without a number to trust, and why

	Simulated bool
}

type regimeLine struct{ Regime, Metric, Winner string }

// A matrixTable is one metric: configurations against loads.
type matrixTable struct {
	Title, Better string
	Regimes       []span
	Loads         []loadHead
	Lines         []matrixLine
	Best          []bestCell
}

type span struct {
	Name string
	Wide int
}

type matrixLine struct {
	Config, Own string
	Cells       []matrixCell
}

type matrixCell struct {
	Value, N, Class, Title, Cause string
}

type bestCell struct{ Text, Why string }

// comparison is nil if fewer than two configurations have numbers at one load.
func (v *view) comparison() *page8 {
	m := perf.MatrixOf(v.in.Rows, v.in.Review, perf.LevelMetrics())
	if !compares(m) {
		return nil
	}
	p := &page8{Differs: strings.Join(m.Differs, ", "), Tests: m.Tests, Simulated: v.status.Simulated}
	for _, r := range m.Regimes {
		metric, _ := perf.MetricOf(r.Metric)
		p.Regimes = append(p.Regimes, regimeLine{r.Regime, metric.Name, r.Text})
	}
	for _, mm := range m.Metrics {
		p.Metrics = append(p.Metrics, v.matrixTable(m, mm, p))
	}
	return p
}

func compares(m *perf.Matrix) bool {
	return slices.ContainsFunc(m.Metrics, func(mm perf.MatrixMetric) bool {
		return slices.ContainsFunc(mm.Best, func(b perf.MatrixBest) bool { return b.Mark != perf.MarkNone })
	})
}

func (v *view) matrixTable(m *perf.Matrix, mm perf.MatrixMetric, p *page8) matrixTable {
	t := matrixTable{Title: mm.Metric.Name, Better: "less is better"}
	if mm.Metric.Higher {
		t.Better = "more is better"
	}
	for i, l := range m.Loads {
		if i == 0 || m.Loads[i-1].Regime != l.Regime {
			t.Regimes = append(t.Regimes, span{Name: l.Regime})
		}
		t.Regimes[len(t.Regimes)-1].Wide++
		t.Loads = append(t.Loads, headOf(l.Text))
		t.Best = append(t.Best, bestCell{mm.Best[i].String(), mm.Best[i].Why})
	}
	for i, config := range m.Configs {
		line := matrixLine{Config: config, Own: v.ownOf(config, m.Differs)}
		for j, c := range mm.Cells[i] {
			line.Cells = append(line.Cells, cellOf(c))
			if c.Level == nil {
				p.invalid(fmt.Sprintf("%s at %s: %s", config, m.Loads[j].Text, c.Invalid))
			}
			p.Drafts = p.Drafts || c.Level != nil && c.Draft
		}
		t.Lines = append(t.Lines, line)
	}
	return t
}

func (p *page8) invalid(line string) {
	if !slices.Contains(p.Invalid, line) {
		p.Invalid = append(p.Invalid, line)
	}
}

// A loadHead is a load: what varies most, and the rest.
type loadHead struct{ Load, Rest string }

func headOf(text string) loadHead {
	load, rest, _ := strings.Cut(text, ", ")
	return loadHead{load, rest}
}

func cellOf(c perf.MatrixCell) matrixCell {
	if c.Level == nil {
		cause, _, _ := strings.Cut(c.Invalid, ":")
		return matrixCell{Class: "invalid", Cause: cause, Title: c.Invalid}
	}
	out := matrixCell{Value: number(c.Level.Mean), N: fmt.Sprintf("n=%d", c.Level.N), Class: strings.ReplaceAll(string(c.Mark), " ", "-"), Title: "row " + c.Row}
	if c.Level.Std != nil {
		out.Value += " ± " + spread(*c.Level.Std, c.Level.Mean)
	}
	if c.Level.PctSoL != nil {
		out.N += ", " + number(*c.Level.PctSoL) + " % of SoL"
	}
	return out
}

// ownOf lists the fields in which a configuration differs from others, where
// they are one over all its loads.
func (v *view) ownOf(config string, differs []string) string {
	values := map[string]string{}
	for _, r := range withoutSwept(v.rows) {
		fields := fieldsOf(r)
		if r.Text("config") != config || fields == nil {
			continue
		}
		for _, f := range differs {
			switch old, seen := values[f]; {
			case !seen:
				values[f] = fields[f]
			case old != fields[f]:
				values[f] = "varies"
			}
		}
	}
	var parts []string
	for _, f := range differs {
		if values[f] != "" {
			parts = append(parts, f+"="+values[f])
		}
	}
	return strings.Join(parts, ", ")
}

// page8Status makes the page, and says whether it is there, and why not.
func (v *view) page8Status() Page {
	v.compared = v.comparison()
	p := Page{ID: "8", Title: "Comparison and winner by concurrency", Status: Rendered}
	switch {
	case v.configs() < 2:
		p.Status, p.Why, p.HowToGet = Omitted, "there is one configuration: nothing to compare it with", "add a value to the axis config of the spec, or run pipeline compare against another campaign"
	case v.compared == nil:
		p.Status, p.Why, p.HowToGet = Omitted, "no two configurations have numbers at one load", "measure them at the same loads"
	}
	return p
}
