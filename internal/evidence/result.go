package evidence

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"pipeline/internal/frontier"
	"pipeline/lake/perf"
)

// CellsOf returns the numbers of an atlas.json, means before trials.
func CellsOf(atlas []byte) ([]Cell, error) {
	rows, err := perf.DecodeRows(perf.Atlas(), atlas)
	if err != nil {
		return nil, err
	}
	number := func(r perf.Row, column string) string {
		if v, ok := r.Float(column); ok {
			return strconv.FormatFloat(v, 'g', 5, 64)
		}
		return ""
	}
	var cells []Cell
	for _, r := range rows {
		simulated, _ := r.Bool("simulated")
		setting := ""
		if s := r.SettingOf(); s != nil {
			setting = s.String()
		}
		id := r.Text("cell_id")
		if r.Text("agg") == "mean" {
			trials, _ := r.Int("trials_n")
			id += fmt.Sprintf(" (mean of %d)", trials)
		}
		cells = append(cells, Cell{
			ID: id, Status: r.Text("status"), Reason: r.Text("status_reason"), Simulated: simulated, Setting: setting,
			Numbers: []string{number(r, "headline_ttft_ms"), number(r, "headline_tpot_ms"), number(r, "headline_output_tps"), number(r, "output_tps_per_gpu"),
				number(r, "headline_request_throughput_rps"), r.Text("headline_window"), number(r, "pct_sol_tps_agg"), number(r, "pct_sol_tpot"), r.Text("sol_rigor")},
		})
	}
	return cells, nil
}

// NextOf returns the levers of a frontier.json, the best first.
func NextOf(text []byte, focus string) ([]string, error) {
	var f frontier.Frontier
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, err
	}
	levers := slices.Clone(f.Levers)
	slices.SortStableFunc(levers, func(a, b frontier.Lever) int {
		return cmp.Compare(b.Score[frontier.Focus(focus)], a.Score[frontier.Focus(focus)])
	})
	var out []string
	for _, l := range levers {
		text := fmt.Sprintf("%s (%s): unlocks %.3g to %.3g times the cells it applies to (%s). Gate: %s", l.Name, l.Status, l.Low, l.High, l.Basis, l.Gate)
		if l.First != "" {
			text += " Measure first: " + l.First
		}
		out = append(out, text)
	}
	if len(out) == 0 && f.Text != "" {
		out = append(out, f.Text)
	}
	return out, nil
}
