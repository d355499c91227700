package report

import (
	"fmt"
	"slices"
	"strings"

	"pipeline/lake/perf"
)

// suspectNotes begin the notes of a row whose numbers cannot be what they seem.
var suspectNotes = []string{"SOL_OVER: ", "TPOT_NON_MONOTONE: "}

// suspect returns why a row is no achievement, "" if nothing is against it.
func suspect(r perf.Row) string {
	for _, n := range r.List("sol_notes") {
		for _, code := range suspectNotes {
			if strings.HasPrefix(n, code) {
				return n
			}
		}
	}
	return ""
}

// share prints a share of Speed of Light.
func share(r perf.Row, column string) string {
	v, ok := r.Float(column)
	if !ok {
		return "–"
	}
	if _, has := r.Schema().Column(column + "_std"); has {
		if std, ok := r.Float(column + "_std"); ok {
			return number(v) + " ± " + spread(std, v) + " %"
		}
	}
	return number(v) + " %"
}

// solText is the share of Speed of Light of a row with what it is a share of,
// or why there is none, as short as it goes.
func solText(r perf.Row) string {
	if r.Text("status") == string(perf.Missing) {
		return "–"
	}
	if r.IsNull("pct_sol") {
		return whyNoSoL(r)
	}
	return share(r, "pct_sol") + " " + kindText(r)
}

func kindText(r perf.Row) string {
	if r.Text("pct_sol_kind") == "agg" {
		return "(prefill and decode)"
	}
	return "(decode)"
}

// whyNoSoL is the name of the reason; the notes of page 4 have it in full.
func whyNoSoL(r perf.Row) string {
	if s := suspect(r); s != "" {
		code, _, _ := strings.Cut(s, ":")
		return "withheld: " + code
	}
	for _, name := range []string{"group:sol", "pct_sol"} {
		if why := absentOf(r, name); why != "" {
			if code, _, ok := strings.Cut(why, ":"); ok && code == strings.ToUpper(code) {
				return "none: " + code
			}
			return "not computed"
		}
	}
	return "not computed"
}

func absentOf(r perf.Row, name string) string {
	absent, _ := r.Extra()["absent"].(map[string]any)
	why, _ := absent[name].(string)
	return why
}

// ceilingText cites the ceilings of a row by their paths.
func ceilingText(r perf.Row) string {
	var parts []string
	for _, c := range []struct{ key, value, unit string }{
		{"sol_bandwidth_key", "sol_bandwidth_tbps", "TB/s"}, {"sol_compute_key", "sol_compute_tflops", "TFLOP/s"},
	} {
		if key := r.Text(c.key); key != "" {
			parts = append(parts, fmt.Sprintf("%s = %s %s", key, withSpread(r, c.value), c.unit))
		}
	}
	return strings.Join(parts, ", ")
}

// solRows are the rows that Speed of Light is told of: one a setting, FULL or
// with a share in spite of a gap.
func (v *view) solRows() []perf.Row {
	var rows []perf.Row
	for _, r := range withoutSwept(v.rows) {
		if r.Text("agg") == "trial" && v.means[settingOf(r)] || !measuredRow(r) {
			continue
		}
		rows = append(rows, r)
	}
	return rows
}

func measuredRow(r perf.Row) bool {
	return slices.Contains([]string{string(perf.Full), string(perf.Partial)}, r.Text("status"))
}

// hasFloors reports whether a row has anything of Speed of Light.
func hasFloors(r perf.Row) bool { return !r.IsNull("tpot_floor_ms") || !r.IsNull("ttft_floor_ms") }

// A SoLStatus counts, for whoever asks whether the record is complete.
type SoLStatus struct {
	Cells int      `json:"cells"` // FULL settings whose ceiling is known
	Shown int      `json:"shown"` // of them on page 4
	None  []string `json:"none"`  // FULL settings without, and why
}

func (v *view) solStatus() *SoLStatus {
	s := &SoLStatus{None: []string{}}
	for _, r := range v.solRows() {
		switch {
		case r.Text("status") != string(perf.Full) && r.Text("agg") == "trial":
		case hasFloors(r):
			s.Cells++
			s.Shown++
		default:
			s.None = append(s.None, fmt.Sprintf("%s: %s", withoutTrial(r), absentOf(r, "group:sol")))
		}
	}
	return s
}
