package perf

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"pipeline/internal/digest"
	"pipeline/internal/stat"
)

// Extra returns the object in extra_json, empty for NULL.
func (r Row) Extra() map[string]any {
	m := map[string]any{}
	if text := r.Text("extra_json"); text != "" {
		_ = json.Unmarshal([]byte(text), &m) // the column holds canonical JSON by construction
	}
	return m
}

// SettingOf returns the whole Setting of an atlas row, nil if it has none.
func (r Row) SettingOf() Setting {
	text := r.Text("setting")
	if text == "" {
		return nil
	}
	var s Setting
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return nil
	}
	return s
}

// MeanRows returns, for each setting among the trial rows, a row with
// agg = 'mean' over its FULL trials, in canonical order. Only trials of one
// cell (apart from the axis trial) and one Setting are averaged. A cell whose
// trials ran in unlike settings gives a mean for each, and a doubt on each
// that names the fields. Cells without a FULL trial give none.
func MeanRows(trials []Row) []Row {
	cells := map[string][]Row{}
	for _, r := range trials {
		id := cellWithoutTrial(r)
		cells[id] = append(cells[id], r)
	}
	var out []Row
	for id, rows := range cells {
		groups := map[string][]Row{}
		full := 0
		for _, r := range rows {
			if inMean(r) {
				groups[r.group()] = append(groups[r.group()], r)
				full++
			}
		}
		for _, group := range groups {
			SortRows(group)
			m := meanRow(id, group, len(rows))
			if len(group) < full {
				m.addDoubt(unlikeDoubt(group, rows))
			}
			out = append(out, m)
		}
	}
	SortRows(out)
	return out
}

// cellWithoutTrial is the name of a trial's cell without the axis trial.
func cellWithoutTrial(r Row) string {
	var kept []string
	for part := range strings.SplitSeq(r.Text("cell_id"), ",") {
		if !strings.HasPrefix(part, "trial=") {
			kept = append(kept, part)
		}
	}
	return cmp.Or(strings.Join(kept, ","), "cell")
}

func unlikeDoubt(group, all []Row) string {
	var settings []Setting
	for _, r := range all {
		if r.Text("status") == string(Full) {
			settings = append(settings, r.SettingOf())
		}
	}
	fields := Residue(settings, replicateFieldsOf(group[0].SettingOf())...)
	return fmt.Sprintf("other trials of this cell ran in another setting (%s differ) and are not in this mean of %d",
		cmp.Or(strings.Join(fields, ", "), "driver"), len(group))
}

func (r Row) addDoubt(s string) { r.SetList("doubts", unique(r.List("doubts"), []string{s})) }

// sumColumns are counts: a mean row has their sum.
var sumColumns = []string{"completed", "failed", "input_tokens", "output_tokens", "completed_steady", "failed_steady", "input_tokens_steady", "output_tokens_steady", "preemptions"}

// meanRow averages the trials, which are of one setting and not empty. asked
// is how many trials the cell has, FULL or not.
func meanRow(id string, trials []Row, asked int) Row {
	m := trials[0].Clone()
	absent := map[string]any{}
	for i, c := range m.schema.Columns {
		switch {
		case slices.Contains(sumColumns, c.Name):
			m.values[i] = sumOf(c.Name, trials)
		case averaged(c):
			m.values[i] = nil
			if v, have := valuesOf(c.Name, trials); have == len(trials) {
				m.SetFloat(c.Name, stat.Mean(v))
			} else if have > 0 {
				absent[c.Name] = fmt.Sprintf("only %d of %d trials have it", have, len(trials))
			}
		case !sameIn(i, trials):
			m.values[i] = nil // a start time, a seed, a digest: of a trial, not of the mean
		}
	}
	m.SetText("cell_id", id)
	m.SetText("agg", "mean")
	m.Clear("trial")
	m.SetJSON("axes", sharedObject("axes", trials))
	m.SetJSON("setting", sharedObject("setting", trials))
	m.spread(trials)
	m.SetTime("started_at", trials[0].Time("started_at"))
	m.SetTime("ended_at", trials[0].Time("ended_at"))
	var sources, doubts []string
	for _, t := range trials {
		if s := t.Time("started_at"); s.Before(m.Time("started_at")) {
			m.SetTime("started_at", s)
		}
		if e := t.Time("ended_at"); e.After(m.Time("ended_at")) {
			m.SetTime("ended_at", e)
		}
		sources = append(sources, t.Text("row_uid"))
		doubts = unique(doubts, t.List("doubts"))
	}
	m.finishMean(trials, asked, sources, doubts, absent)
	return m
}

func (m Row) finishMean(trials []Row, asked int, sources, doubts []string, absent map[string]any) {
	m.SetInt("trials_n", int64(len(trials)))
	m.SetText("status", string(Full))
	m.Clear("status_reason")
	if len(trials) < asked {
		m.SetText("status", string(Partial))
		m.SetText("status_reason", fmt.Sprintf("mean of %d of %d trials: the others are not FULL, of another setting, or excluded as outliers", len(trials), asked))
	}
	ready := !slices.ContainsFunc(trials, func(r Row) bool { ok, _ := r.Bool("plot_ready"); return !ok })
	m.SetBool("plot_ready", ready)
	if !sameIn(m.at("headline_window"), trials) {
		doubts = unique(doubts, []string{"trials mix the steady-state window and the full run: the mean has no headline numbers"})
		for _, c := range m.schema.Columns {
			if strings.HasPrefix(c.Name, "headline_") || strings.Contains(c.Name, "_per_gpu") {
				m.Clear(c.Name)
			}
		}
		m.SetBool("plot_ready", false)
	}
	m.SetList("doubts", unique(doubts))
	m.SetText("inputs_digest", digest.Of([]byte(strings.Join(sources, "\n"))).String())
	m.setUID(sources...)
	shared, _ := trials[0].Extra()["absent"].(map[string]any)
	for name, why := range shared {
		if _, ok := absent[name]; !ok {
			absent[name] = why
		}
	}
	extra := map[string]any{"absent": absent, "trials": sources}
	if x := meanCrossCheck(trials); x != nil {
		extra["cross_check"] = x
	}
	m.SetJSON("extra_json", extra)
}

// averaged reports whether a column is a measured number.
func averaged(c Column) bool {
	if c.Type != Double {
		return false
	}
	switch c.Group {
	case GroupMetrics, GroupSteady, GroupServer, GroupClient, GroupSoL, GroupDCGM:
		return true
	}
	return c.Name == "steady_s"
}

// sharedObject returns the members of a JSON column that are the same in all
// rows: a mean has the coordinates and the settings that its trials share.
func sharedObject(name string, rows []Row) map[string]any {
	var shared map[string]any
	for i, r := range rows {
		var m map[string]any
		if json.Unmarshal([]byte(r.Text(name)), &m) != nil {
			return nil
		}
		if i == 0 {
			shared = m
			continue
		}
		maps.DeleteFunc(shared, func(k string, v any) bool {
			other, ok := m[k]
			return !ok || !reflect.DeepEqual(v, other)
		})
	}
	delete(shared, "trial")
	return shared
}

func sameIn(i int, rows []Row) bool {
	return !slices.ContainsFunc(rows, func(r Row) bool { return compareValues(r.values[i], rows[0].values[i]) != 0 })
}

// valuesOf returns the values of a DOUBLE column, and how many there are.
func valuesOf(name string, rows []Row) ([]float64, int) {
	var v []float64
	for _, r := range rows {
		if f, ok := r.Float(name); ok {
			v = append(v, f)
		}
	}
	return v, len(v)
}

// sumOf adds up a count; NULL if a trial has none.
func sumOf(name string, rows []Row) any {
	var whole int64
	var part float64
	isFloat := false
	for _, r := range rows {
		switch v := r.values[r.at(name)].(type) {
		case int64:
			whole += v
		case float64:
			part += v
			isFloat = true
		default:
			return nil
		}
	}
	if isFloat {
		return part
	}
	return whole
}

func (m Row) spread(trials []Row) {
	for _, name := range spreadOf {
		m.Clear(name + "_std")
		m.Clear(name + "_ci95")
		v, have := valuesOf(name, trials)
		if have != len(trials) || have < 2 {
			continue
		}
		m.SetFloat(name+"_std", stat.Std(v))
		m.SetFloat(name+"_ci95", stat.HalfWidth(v, 0.95))
	}
}
