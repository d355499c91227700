package evidence

import (
	"fmt"
	"strconv"
	"strings"

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
		setting := settingText(r.SettingOf())
		id := r.Text("cell_id")
		if r.Text("agg") == "mean" {
			trials, _ := r.Int("trials_n")
			id += fmt.Sprintf(" (mean of %d)", trials)
		}
		cells = append(cells, Cell{
			ID: id, Status: r.Text("status"), Reason: r.Text("status_reason"), Simulated: simulated, Setting: setting,
			Numbers: []string{number(r, "headline_ttft_ms"), number(r, "headline_tpot_ms"), number(r, "headline_output_tps"), number(r, "output_tps_per_gpu"),
				number(r, "headline_request_throughput_rps"), r.Text("headline_window"), number(r, "pct_sol"), number(r, "pct_sol_tpot"), r.Text("sol_rigor")},
		})
	}
	return cells, nil
}

// settingText names what is known of a setting, and then what is not.
func settingText(s perf.Setting) string {
	known := perf.Setting{}
	var unknown []string
	for _, name := range s.Names() {
		switch s[name] {
		case "":
		case perf.Unknown:
			unknown = append(unknown, name)
		default:
			known[name] = s[name]
		}
	}
	text := known.String()
	if len(unknown) > 0 {
		text += "; unknown: " + strings.Join(unknown, ", ")
	}
	return text
}

// NextOf returns the frontier of a frontier.json: what it says, the levers, the
// next one first, and those that are refuted, with their evidence.
func NextOf(text []byte, focus string) ([]string, error) {
	f, err := frontier.Read(text)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, l := range f.Ranked(frontier.Focus(focus)) {
		text := fmt.Sprintf("%s (%s): unlocks %s of TPOT or throughput (%s). Gate: %s", l.Name, l.Status, frontier.Unlock(l.Low, l.High), l.Basis, l.Gate)
		if l.First != "" {
			text += " Measure first: " + l.First
		}
		out = append(out, text)
	}
	if f.State != frontier.Open {
		out = append([]string{f.Text}, out...)
	}
	for _, l := range f.Refuted {
		out = append(out, fmt.Sprintf("Refuted, and not to be tried again there: %s (%s): %s", l.Name, l.Basis, l.Evidence))
	}
	return out, nil
}
