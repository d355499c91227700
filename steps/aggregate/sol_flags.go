package aggregate

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pipeline/internal/sol"
	"pipeline/lake/perf"
)

// flagTPOT withholds the shares of cells whose TPOT is well below that of the
// same configuration under less load: such numbers come of a client that did
// not keep its streams busy, of failed requests, or of unlike statistics.
func flagTPOT(rows []perf.Row) {
	type cell struct {
		concurrency int64
		rows        []perf.Row
		tpot        float64 // mean over its trials
	}
	groups := map[string]map[int64]*cell{}
	for _, r := range rows {
		c, closed := r.Int("concurrency")
		tpot, ok := r.Float("headline_tpot_ms")
		if !closed || !ok || r.Text("agg") != "trial" || r.Text("arrival") != perf.Closed || r.Text("status") != string(perf.Full) {
			continue
		}
		key := apartFromLoad(r)
		if groups[key] == nil {
			groups[key] = map[int64]*cell{}
		}
		at := groups[key][c]
		if at == nil {
			at = &cell{concurrency: c}
			groups[key][c] = at
		}
		at.rows = append(at.rows, r)
		at.tpot += (tpot - at.tpot) / float64(len(at.rows))
	}
	for _, byLoad := range groups {
		slowest := &cell{}
		for _, c := range slices.Sorted(maps.Keys(byLoad)) {
			at := byLoad[c]
			if at.tpot < perf.MonotoneTPOT*slowest.tpot {
				why := fmt.Sprintf("TPOT_NON_MONOTONE: TPOT at c=%d (%.2f ms) is %.2fx TPOT at c=%d (%.2f ms), same config: not physical for a closed loop; check client cap, failed requests, mean/median mix. The cell is suspect, and %%SoL is withheld",
					at.concurrency, at.tpot, at.tpot/slowest.tpot, slowest.concurrency, slowest.tpot)
				for _, r := range at.rows {
					suspect(r, why)
				}
			}
			if at.tpot > slowest.tpot {
				slowest = at
			}
		}
	}
}

// loadFields are those in which cells of one configuration differ by load.
var loadFields = []string{
	"concurrency", "request_rate", "num_prompts", "warmup_requests", "ramp_up_s", "trial", "random_seed", "seed", "dataset_digest", "latency_tier",
}

// apartFromLoad names the configuration and the workload of a row.
func apartFromLoad(r perf.Row) string {
	s := r.SettingOf()
	for _, name := range loadFields {
		delete(s, name)
	}
	return r.Text("config") + " " + r.Text("bench_backend") + " " + s.String()
}

// suspect withholds the shares of a row that has its floors.
func suspect(r perf.Row, why string) {
	f := &floorRow{Row: r, absent: map[string]string{}}
	f.withholdShares(why)
	setAbsents(r, f.absent)
	if notes := r.List("sol_notes"); !slices.Contains(notes, why) {
		r.SetList("sol_notes", append(notes, why))
	}
	addDoubt(r, why)
}

// withheld returns why the shares of a row were taken back, "" if they stand.
func withheld(r perf.Row) string {
	for _, n := range r.List("sol_notes") {
		if strings.HasPrefix(n, "SOL_OVER: ") || strings.HasPrefix(n, "TPOT_NON_MONOTONE: ") {
			return n
		}
	}
	return ""
}

// addMeanFloors puts floors beside means: those of the mean batch and lengths,
// so that each share is what the row itself gives. A mean of which a trial is
// suspect is suspect.
func addMeanFloors(lib *sol.Library, trials, means []perf.Row) {
	addFloors(lib, means)
	byUID := map[string]perf.Row{}
	for _, r := range trials {
		byUID[r.Text("row_uid")] = r
	}
	for _, m := range means {
		var rigor []string
		for _, uid := range trialsOf(m) {
			r, ok := byUID[uid]
			if !ok {
				continue
			}
			if why := withheld(r); why != "" {
				suspect(m, why)
			}
			rigor = append(rigor, r.Text("sol_rigor"))
		}
		m.SetText("sol_rigor", lowestRigor(rigor))
		if m.IsNull("pct_sol") {
			m.Clear("pct_sol_std")
			m.Clear("pct_sol_ci95")
		}
	}
}

// trialsOf returns the row_uid of the trials behind a mean.
func trialsOf(m perf.Row) []string {
	var extra struct {
		Trials []string `json:"trials"`
	}
	_ = json.Unmarshal([]byte(m.Text("extra_json")), &extra) // canonical JSON by construction
	return extra.Trials
}
