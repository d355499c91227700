package perf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Matrix sets configurations side by side at every load, and names the best
// of each load for each metric.
type Matrix struct {
	Configs []string
	Loads   []MatrixLoad
	Metrics []MatrixMetric
	Regimes []RegimeWinner
	Differs []string // fields of the setting in which configurations differ
	Tests   int      // that p values are corrected for
}

// A MatrixLoad is a column of the matrix.
type MatrixLoad struct {
	Text        string
	Concurrency int64
	Regime      string
	cell        *Cell // one of them
}

// A MatrixMetric is the matrix of one metric: rows by configuration, columns
// by load.
type MatrixMetric struct {
	Metric Metric
	Cells  [][]MatrixCell
	Best   []MatrixBest // by load
}

// A MatrixCell is one configuration at one load.
type MatrixCell struct {
	Level   *Level // nil: there is no number to trust
	Invalid string // why
	Mark    Mark
	Row     string // row_uid
	Draft   bool
}

// A Mark says how a cell stands at its load.
type Mark string

// The marks.
const (
	MarkNone  Mark = ""
	MarkWins  Mark = "winner" // beats every other
	MarkTies  Mark = "tie"    // the best, or not to be told from it
	MarkLeads Mark = "leads"  // the best, with too few trials to test
)

// A MatrixBest is who is best at a load.
type MatrixBest struct {
	Mark    Mark
	Configs []string // one, or those that tie
	Why     string
}

// String prints who is best.
func (b MatrixBest) String() string {
	switch b.Mark {
	case MarkWins:
		return b.Configs[0]
	case MarkTies:
		return "tie: " + strings.Join(b.Configs, " = ")
	case MarkLeads:
		return b.Configs[0] + " (not significance-tested)"
	}
	return "no comparison"
}

// MatrixOf compares all configurations of a review's rows. Cells of roofline
// sweeps are left out, and cells that are suspect are invalid.
func MatrixOf(rows []Row, review *Review, metrics []Metric) *Matrix {
	cells := slices.DeleteFunc(Cells(rows), func(c Cell) bool { return c.Swept() })
	m := &Matrix{}
	for i := range cells {
		m.Configs = unique(m.Configs, []string{cells[i].Config})
	}
	for _, measured := range []bool{true, false} { // a cell that has its whole load names the load
		for i := range cells {
			if (len(cells[i].Trials) > 0) == measured {
				m.addLoad(&cells[i])
			}
		}
	}
	slices.SortStableFunc(m.Loads, func(a, b MatrixLoad) int {
		return cmp.Or(cmp.Compare(a.Concurrency, b.Concurrency), cmp.Compare(a.Text, b.Text))
	})
	m.fields(cells)
	at := func(config string, load MatrixLoad) *Cell {
		i := slices.IndexFunc(cells, func(c Cell) bool { return c.Config == config && sameLoad(&c, load.cell) })
		if i < 0 {
			return nil
		}
		return &cells[i]
	}
	m.nameRegimes(at)
	var duels []*duel
	for _, metric := range metrics {
		mm := MatrixMetric{Metric: metric}
		for _, config := range m.Configs {
			var line []MatrixCell
			for _, load := range m.Loads {
				line = append(line, matrixCell(metric, at(config, load), review))
			}
			mm.Cells = append(mm.Cells, line)
		}
		duels = append(duels, m.duels(&mm, at)...)
		m.Metrics = append(m.Metrics, mm)
	}
	m.decide(duels)
	return m
}

func (m *Matrix) addLoad(c *Cell) {
	if !slices.ContainsFunc(m.Loads, func(o MatrixLoad) bool { return sameLoad(o.cell, c) }) {
		m.Loads = append(m.Loads, MatrixLoad{Text: loadText(c), Concurrency: c.concurrency(), cell: c})
	}
}

// fields finds in which fields configurations differ, loads apart.
func (m *Matrix) fields(cells []Cell) {
	var first Setting
	for i := range cells {
		if len(cells[i].Trials) == 0 {
			continue
		}
		s := settingOfCell(&cells[i])
		for _, f := range append(slices.Clone(loadFields), "num_prompts", "warmup_requests") {
			delete(s, f)
		}
		if first == nil {
			first = s
		}
		m.Differs = unique(m.Differs, Residue([]Setting{first, s}))
	}
	m.Differs = sorted(m.Differs)
}

func (m *Matrix) nameRegimes(at func(string, MatrixLoad) *Cell) {
	var curve []curvePoint
	for _, l := range m.Loads {
		sum, n := 0.0, 0
		for _, config := range m.Configs {
			if c := at(config, l); c != nil {
				if v, ok := c.mean("output_tps_per_gpu"); ok {
					sum, n = sum+v, n+1
				}
			}
		}
		if n == len(m.Configs) && l.Concurrency > 0 {
			curve = append(curve, curvePoint{l.Concurrency, sum})
		}
	}
	knee := kneeOf(curve)
	for i := range m.Loads {
		m.Loads[i].Regime = regimeOf(m.Loads[i].Concurrency, knee)
	}
}

func matrixCell(metric Metric, c *Cell, review *Review) MatrixCell {
	if c == nil {
		return MatrixCell{Invalid: "not in the matrix"}
	}
	out := MatrixCell{Row: c.Row().Text("row_uid"), Draft: true}
	for _, r := range review.Cells {
		if r.Cell == c.ID && r.Campaign == c.Campaign && (r.Setting == "" || len(c.Trials) > 0 && r.Setting == c.Trials[0].Text("setting_sha256")) {
			out.Draft = r.Tier != TierVerdict
			out.Invalid = r.suspect(metric)
		}
	}
	if len(c.Trials) == 0 {
		out.Invalid = fmt.Sprintf("%s: %s", c.Row().Text("status"), cmp.Or(c.Row().Text("status_reason"), "no reason was given"))
		return out
	}
	s, ok := c.Sample(metric)
	if !ok && out.Invalid == "" {
		out.Invalid = "not measured in every trial"
	}
	if out.Invalid == "" {
		out.Level = levelOf(c, metric, s, ok)
	}
	return out
}

// A duel is the best of a load against another.
type duel struct {
	metric, load int
	best, other  int // rows of the matrix
	finding      Finding
}

// duels compares the best of each load with all others, and does not decide.
func (m *Matrix) duels(mm *MatrixMetric, at func(string, MatrixLoad) *Cell) []*duel {
	var out []*duel
	for l, load := range m.Loads {
		best := -1
		for i := range m.Configs {
			if mm.Cells[i][l].Level != nil && (best < 0 || mm.Metric.Better(mm.Cells[i][l].Level.Mean, mm.Cells[best][l].Level.Mean)) {
				best = i
			}
		}
		for i := range m.Configs {
			if i != best && best >= 0 && mm.Cells[i][l].Level != nil {
				d := &duel{metric: len(m.Metrics), load: l, best: best, other: i}
				d.finding = findingOf(mm.Metric, at(m.Configs[best], load), at(m.Configs[i], load))
				out = append(out, d)
			}
		}
	}
	return out
}

// decide corrects all p values at once and marks the cells.
func (m *Matrix) decide(duels []*duel) {
	m.Tests = len(duels)
	findings := make([]*Finding, len(duels))
	for i, d := range duels {
		findings[i] = &d.finding
	}
	concludeAll(findings, m.Tests)
	for k := range m.Metrics {
		mm := &m.Metrics[k]
		mm.Best = make([]MatrixBest, len(m.Loads))
		for l := range m.Loads {
			var of []*duel
			for _, d := range duels {
				if d.metric == k && d.load == l {
					of = append(of, d)
				}
			}
			mm.Best[l] = m.mark(mm, l, of)
		}
		m.regimes(mm)
	}
	order := []string{RegimeLatency, RegimeKnee, RegimeThroughput}
	slices.SortStableFunc(m.Regimes, func(a, b RegimeWinner) int {
		return cmp.Compare(slices.Index(order, a.Regime), slices.Index(order, b.Regime))
	})
}

// mark marks the cells of one load.
func (m *Matrix) mark(mm *MatrixMetric, l int, duels []*duel) MatrixBest {
	if len(duels) == 0 {
		return MatrixBest{Why: "fewer than two configurations have a number here"}
	}
	best := MatrixBest{Mark: MarkWins, Configs: []string{m.Configs[duels[0].best]}}
	var why []string
	for _, d := range duels {
		if d.finding.Effect == nil {
			why = append(why, fmt.Sprintf("against %s: %s", m.Configs[d.other], d.finding.Why))
			best.Mark = MarkLeads
			continue
		}
		text := fmt.Sprintf("against %s %+.1f %%, %s", m.Configs[d.other], *d.finding.Effect, d.finding.Why)
		if d.finding.Outcome == Tie && d.finding.Detectable != nil {
			text += fmt.Sprintf(", %.2g %% would have been found", *d.finding.Detectable)
		}
		why = append(why, text)
		switch d.finding.Outcome {
		case Tie:
			best.Mark = MarkTies
			best.Configs = append(best.Configs, m.Configs[d.other])
			mm.Cells[d.other][l].Mark = MarkTies
		case WinsA:
		default:
			if best.Mark == MarkWins {
				best.Mark = MarkLeads
			}
		}
	}
	best.Why = strings.Join(why, "; ")
	mm.Cells[duels[0].best][l].Mark = best.Mark
	return best
}

// regimes names the winner of the regimes that this metric decides.
func (m *Matrix) regimes(mm *MatrixMetric) {
	for _, regime := range []string{RegimeLatency, RegimeKnee, RegimeThroughput} {
		if deciding(regime) != mm.Metric.Column {
			continue
		}
		var parts, said []string
		for l, load := range m.Loads {
			if load.Regime == regime && mm.Best[l].Mark != MarkNone {
				said = unique(said, []string{mm.Best[l].String()})
				parts = append(parts, mm.Best[l].String()+" at "+strings.SplitN(load.Text, ",", 2)[0])
			}
		}
		w := RegimeWinner{Regime: regime, Metric: mm.Metric.Column}
		switch len(said) {
		case 0:
			continue
		case 1:
			w.Text = said[0]
		default:
			w.Text = "no one winner: " + strings.Join(parts, ", ")
		}
		m.Regimes = append(m.Regimes, w)
	}
}
