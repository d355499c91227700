package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pipeline/internal/dcgm"
	"pipeline/internal/report/chart"
	"pipeline/lake/perf"
)

// A page6b holds what DCGM measured against what the Speed-of-Light model
// predicts.
type page6b struct {
	Rows     []groundedRow
	Figures  []figure
	Checks   []checkName
	Problems []checkProblem
	Gaps     []groundedGap
}

// A checkProblem is a check that some cells do not pass, and what it says of
// the first of them.
type checkProblem struct{ Code, Cells, All, Text string }

// A groundedRow is one cell. Numbers are text; a dash was not measured.
type groundedRow struct {
	Name, Shape, Status, Row                       string
	Parts                                          []string
	Simulated                                      bool
	Predicted, HBM, Tensor, SM, GR, Link, Apart    string
	Traffic, LinkShare                             string // beside HBM and Link
	Power, JPerToken, NEff, Quality, Rigor, Frozen string
	Checks                                         []checkMark
}

// A checkMark is the outcome of one check on one cell.
type checkMark struct{ Code, Mark, Class, Text string }

type checkName struct{ Code, Title string }

// A groundedGap is why cells have no L3, and how to get it.
type groundedGap struct {
	Cells []string
	Why   string
	Close []string
}

// checksOf reads the outcomes that aggregate left in a row.
func checksOf(r perf.Row) []dcgm.Check {
	extra, _ := r.Extra()["dcgm"].(map[string]any)
	status, _ := extra["checks"].(map[string]any)
	texts, _ := extra["texts"].(map[string]any)
	var out []dcgm.Check
	for _, c := range dcgm.CheckNames() {
		s, ok := status[c.Code].(string)
		if !ok {
			continue
		}
		text, _ := texts[c.Code].(string)
		out = append(out, dcgm.Check{Code: c.Code, Title: c.Title, Status: s, Text: text})
	}
	return out
}

// pageGrounded makes page 6b, or says why there is none.
func (v *view) pageGrounded() (*page6b, string) {
	p := &page6b{}
	gaps := map[string]*groundedGap{}
	for _, r := range withoutSwept(v.rows) {
		if r.Text("agg") != "trial" || r.IsNull("dcgm_quality") {
			continue
		}
		p.Rows = append(p.Rows, groundedOf(r))
		if ok, _ := r.Bool("dcgm_grounded"); ok {
			continue
		}
		extra, _ := r.Extra()["dcgm"].(map[string]any)
		why := cmp.Or(absentIn(r, "group:dcgm"), "no reason was given")
		if gaps[why] == nil {
			gaps[why] = &groundedGap{Why: why}
			if list, ok := extra["close"].([]any); ok {
				for _, c := range list {
					gaps[why].Close = append(gaps[why].Close, fmt.Sprint(c))
				}
			}
		}
		gaps[why].Cells = append(gaps[why].Cells, r.Text("cell_id"))
	}
	if len(p.Rows) == 0 {
		return nil, v.noDCGM()
	}
	for _, g := range gaps {
		p.Gaps = append(p.Gaps, *g)
	}
	slices.SortFunc(p.Gaps, func(a, b groundedGap) int { return cmp.Compare(a.Cells[0], b.Cells[0]) })
	for _, c := range dcgm.CheckNames() {
		p.Checks = append(p.Checks, checkName{c.Code, c.Title})
	}
	p.Problems = v.checkProblems()
	p.Figures = v.predictedAgainstMeasured()
	return p, ""
}

// checkProblems lists, for each check in order, the cells that it warns about
// or fails.
func (v *view) checkProblems() []checkProblem {
	var out []checkProblem
	for _, name := range dcgm.CheckNames() {
		var cells []string
		text := ""
		for _, r := range withoutSwept(v.rows) {
			if r.Text("agg") != "trial" {
				continue
			}
			for _, c := range checksOf(r) {
				if c.Code == name.Code && (c.Status == dcgm.Warn || c.Status == dcgm.Fail) {
					cells = append(cells, r.Text("cell_id"))
					text = cmp.Or(text, c.Text)
				}
			}
		}
		if len(cells) > 0 {
			of := cells[0]
			if len(cells) > 1 {
				of = fmt.Sprintf("%d cells, first %s", len(cells), of)
			}
			out = append(out, checkProblem{name.Code, of, strings.Join(cells, "\n"), text})
		}
	}
	return out
}

func absentIn(r perf.Row, name string) string {
	absent, _ := r.Extra()["absent"].(map[string]any)
	text, _ := absent[name].(string)
	return text
}

func groundedOf(r perf.Row) groundedRow {
	pct := func(column string) string {
		if f, ok := r.Float(column); ok {
			return number(100 * f)
		}
		return "–"
	}
	plain := func(column string) string {
		if f, ok := r.Float(column); ok {
			return number(f)
		}
		return "–"
	}
	out := groundedRow{
		Name: r.Text("cell_id"), Parts: strings.Split(r.Text("cell_id"), ","), Shape: shortShape(r), Status: r.Text("status"), Row: r.Text("row_uid"), Simulated: simulated(r),
		Predicted: plain("hbm_pct_pred"), HBM: pct("dcgm_dram"), Tensor: pct("dcgm_tensor"), SM: pct("dcgm_sm"), GR: pct("dcgm_gr"),
		Link: "–", Apart: "–", Power: plain("avg_power_w"), JPerToken: plain("j_per_output_token"),
		Quality: r.Text("dcgm_quality"), Rigor: cmp.Or(r.Text("sol_rigor"), "none"), Frozen: r.Text("frozen_digest"), NEff: "–",
	}
	if n, ok := r.Int("dcgm_n_eff_min"); ok {
		out.NEff = strconv.FormatInt(n, 10)
	}
	tx, okT := r.Float("nvlink_tx_bps")
	rx, okR := r.Float("nvlink_rx_bps")
	if okT && okR {
		out.Link = number((tx + rx) / 1e9)
	}
	extra, _ := r.Extra()["dcgm"].(map[string]any)
	shares, _ := extra["shares"].(map[string]any)
	if v, ok := shares["hbm_gbps"].(float64); ok {
		out.Traffic = number(v) + " GB/s"
	}
	if v, ok := shares["nvlink_pct_dir"].(float64); ok {
		out.LinkShare = number(v) + " % of a direction"
	}
	if apart, ok := extra["imbalance"].(float64); ok && !r.IsNull("dcgm_dram") {
		out.Apart = number(100 * apart)
	}
	for _, c := range checksOf(r) {
		out.Checks = append(out.Checks, markOf(c))
	}
	return out
}

func markOf(c dcgm.Check) checkMark {
	m := checkMark{Code: c.Code, Text: c.Code + " " + c.Title + ": " + c.Status}
	if c.Text != "" {
		m.Text += ". " + c.Text
	}
	switch c.Status {
	case dcgm.Pass:
		m.Mark, m.Class = "✓", "pass"
	case dcgm.Warn:
		m.Mark, m.Class = "!", "warn"
	case dcgm.Fail:
		m.Mark, m.Class = "✗", "fail"
	default:
		m.Mark, m.Class = "·", "none"
	}
	return m
}

// predictedAgainstMeasured is a point a cell: the share of the bandwidth that
// decode must take, and the one that was measured.
func (v *view) predictedAgainstMeasured() []figure {
	var out []chart.Series
	most := 0.0
	for _, r := range withoutSwept(v.rows) {
		predicted, ok := r.Float("hbm_pct_pred")
		measured, okM := r.Float("dcgm_dram")
		if !ok || !okM || r.Text("agg") != "trial" {
			continue
		}
		measured *= 100
		most = max(most, predicted, measured)
		i := slices.IndexFunc(out, func(s chart.Series) bool { return s.Name == r.Text("config") })
		if i < 0 {
			i = len(out)
			out = append(out, chart.Series{Name: r.Text("config"), Loose: true})
		}
		label := ""
		if n, ok := r.Int("trial"); !ok || n == 1 {
			label = load(r)
		}
		out[i].Points = append(out[i].Points, chart.Point{X: predicted, Y: measured, Label: label, Tip: tip(r, "hbm_pct_pred", "% predicted")})
	}
	if len(out) == 0 {
		return nil
	}
	out = append(out, chart.Series{Name: "measured = predicted", Bound: true, Of: len(out), Points: []chart.Point{{}, {X: most, Y: most}}})
	c := chart.Chart{
		ID: "hbm", Title: "Memory activity: predicted by the model, and measured",
		X:      chart.Axis{Label: "predicted: least that decode must move, % of the bandwidth"},
		Y:      chart.Axis{Label: "measured: memory active, %"},
		Series: out,
	}
	return []figure{v.figure(c, 640, "A point a trial. On the dashed line all traffic is what decode must move at least; above it there is prefill and what the model leaves out. Below it the samples are of other GPUs, or the batch or the number formats are others (DC07).")}
}
