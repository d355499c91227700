package aggregate

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"pipeline/internal/profile"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// profilePort takes what profilers say of cells.
func profilePort() steps.Port {
	return steps.Port{Name: "profile", Doc: "profiles of cells (import_profile, zymtrace_query), joined by their coordinates", Gaps: true, Reads: []string{"profile.json"}}
}

const profileFile = "profile.json"

// addProfiles puts what profilers say beside the rows of their cells, as
// extra_json.profile, and raises sol_rigor where a profile is of just that
// cell: all its coordinates, trial apart. A profile of fewer coordinates is of
// other loads as well.
func addProfiles(env *steps.Env, rows []perf.Row) error {
	for i := range env.In["profile"] {
		in := &env.In["profile"][i]
		p, gap, err := readProfile(in)
		if err != nil {
			return err
		}
		matched := false
		for _, r := range rows {
			axes := axesOf(r)
			if !covers(in.Cell, axes) {
				continue
			}
			matched = true
			if gap != "" {
				setAbsent(r, "profile", gap)
				continue
			}
			of, own := scope(in.Cell, axes)
			mergeExtra(r, "profile", summary(p, of))
			if own {
				r.SetText("sol_rigor", higherRigor(r.Text("sol_rigor"), p.Rigor()))
			}
			for _, d := range in.Doubts {
				addDoubt(r, d)
			}
		}
		if !matched {
			env.Doubt("profile_of_nothing: the profile of step %s at %s belongs to no row: its matrix names other cells", in.Step, cellOf(in.Cell))
		}
	}
	return nil
}

// readProfile reads a profile, or why there is none.
func readProfile(in *steps.Input) (p *profile.Profile, gap string, err error) {
	if _, ok := in.Artifact(profileFile); !ok {
		return nil, cmp.Or(in.Gap, fmt.Sprintf("step %s gave no %s", in.Step, profileFile)), nil
	}
	text, err := in.ReadAll(profileFile)
	if err != nil {
		return nil, "", fmt.Errorf("read %s of step %s: %w", profileFile, in.Step, err)
	}
	if p, err = profile.Read(text); err != nil {
		return nil, "", fmt.Errorf("step %s: %w", in.Step, err)
	}
	if p.Rigor() == "" {
		return nil, strings.Join(p.Gaps, "; "), nil
	}
	return p, "", nil
}

func cellOf(cell []steps.Coord) string {
	coords := make([]perf.Coord, len(cell))
	for i, c := range cell {
		coords[i] = perf.Coord{Axis: c.Axis, Value: c.Value}
	}
	return perf.CellID(coords)
}

func axesOf(r perf.Row) map[string]string {
	axes := map[string]string{}
	_ = json.Unmarshal([]byte(r.Text("axes")), &axes) // canonical JSON of text by construction
	return axes
}

// covers reports whether a row lies at all of the coordinates; the trial of
// neither counts, since a profile is of a setting.
func covers(cell []steps.Coord, axes map[string]string) bool {
	for _, c := range cell {
		if v, ok := axes[c.Axis]; c.Axis != "trial" && (!ok || v != c.Value) {
			return false
		}
	}
	return true
}

// scope says which cells the coordinates stand for, and whether they are just
// the one of the row.
func scope(cell []steps.Coord, axes map[string]string) (of string, own bool) {
	given := map[string]bool{"trial": true}
	var named []steps.Coord
	for _, c := range cell {
		given[c.Axis] = true
		if c.Axis != "trial" {
			named = append(named, c)
		}
	}
	own = true
	for axis := range axes {
		own = own && given[axis]
	}
	if len(named) == 0 {
		return "all cells", own
	}
	return cellOf(named), own
}

// summary is what a row keeps of a profile; profile.json has the kernels.
func summary(p *profile.Profile, of string) map[string]any {
	s := map[string]any{"rigor": p.Rigor(), "of": of}
	if g := p.GPUTime; g != nil {
		s["gpu_time"] = map[string]any{"source": g.Source, "unit": g.Unit, "total": g.Total, "categories": plainShares(g.Categories), "sha256": g.SHA256}
	}
	if c := p.Counters; c != nil {
		var categories []any
		for _, k := range c.Categories {
			categories = append(categories, map[string]any{"name": k.Name, "share": k.Share, "launches": k.Launches, "peaks": k.Peaks})
		}
		s["counters"] = map[string]any{
			"source": c.Source, "launches": c.Launches, "duration_ns": c.DurationNS, "peaks": c.Peaks,
			"tensor_ops": c.TensorOps, "categories": categories, "sha256": c.SHA256,
		}
	}
	if len(p.Gaps) > 0 {
		s["gaps"] = p.Gaps
	}
	return s
}

func plainShares(list []profile.Share) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = map[string]any{"name": s.Name, "share": s.Share, "amount": s.Amount}
	}
	return out
}

// rigorLevels are the levels of evidence, the least first.
var rigorLevels = []string{"none", "L1", "L3", "L4"}

// higherRigor returns the higher of two levels of evidence.
func higherRigor(a, b string) string {
	rank := func(level string) int {
		for i, l := range rigorLevels {
			if l == level {
				return i
			}
		}
		return 0
	}
	if rank(b) > rank(a) {
		return b
	}
	return cmp.Or(a, "none")
}

// lowestRigor returns the lowest of some levels of evidence: a mean is no
// better founded than the least of its trials.
func lowestRigor(levels []string) string {
	lowest := ""
	for _, l := range levels {
		if l = cmp.Or(l, "none"); lowest == "" || higherRigor(l, lowest) == lowest {
			lowest = l
		}
	}
	return cmp.Or(lowest, "none")
}

// mergeExtra sets a member of extra_json.
func mergeExtra(r perf.Row, name string, v any) {
	extra := r.Extra()
	extra[name] = v
	r.SetJSON("extra_json", extra)
}

// setAbsent records why something is not there; "" takes that back.
func setAbsent(r perf.Row, name, why string) {
	extra := r.Extra()
	absent, _ := extra["absent"].(map[string]any)
	if absent == nil {
		absent = map[string]any{}
	}
	absent[name] = why
	if why == "" {
		delete(absent, name)
	}
	extra["absent"] = absent
	r.SetJSON("extra_json", extra)
}

func addDoubt(r perf.Row, doubt string) {
	doubts := r.List("doubts")
	for _, d := range doubts {
		if d == doubt {
			return
		}
	}
	r.SetList("doubts", append(doubts, doubt))
}
