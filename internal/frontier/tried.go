package frontier

import (
	"fmt"
	"slices"

	"pipeline/internal/stat"
	"pipeline/lake/perf"
)

// A toggle tells rows with a lever from rows without: in which fields of the
// setting they may differ, and which of the two has it.
type toggle struct {
	fields []string
	on     func(perf.Setting) bool
}

// apart names a setting without the fields of the toggle: rows of one name
// differ in the lever alone.
func (t toggle) apart(s perf.Setting) string {
	rest := make(perf.Setting, len(s))
	for name, value := range s {
		if !slices.Contains(t.fields, name) && !slices.Contains(drawn, name) {
			rest[name] = value
		}
	}
	return rest.String()
}

func is(field string, values ...string) func(perf.Setting) bool {
	return func(s perf.Setting) bool { return slices.Contains(values, s[field]) }
}

func isNot(field string, values ...string) func(perf.Setting) bool {
	return func(s perf.Setting) bool { return !slices.Contains(values, s[field]) }
}

// drawn are the fields in which any two measurements may differ: the arguments
// of a server repeat its other fields, and each cell draws its own prompts.
var drawn = []string{"serve_args", "trial", "random_seed", "seed", "dataset_digest", "started_at"}

// A trial is what was found where a lever was tried.
type trial struct {
	Tried
	without string // row_uid of the cell that had not the lever; "" if elsewhere
}

// triedHere finds pairs of cells that differ in the lever alone, and what it
// gave there: the ratio of output tok/s/GPU, by Welch's interval over trials.
func triedHere(l lever, cells []*cell, values map[string][]float64) []trial {
	if l.tried.on == nil {
		return nil
	}
	with, without := map[string][]*cell{}, []*cell{}
	for _, c := range cells {
		if l.tried.on(c.setting) {
			key := l.tried.apart(c.setting)
			with[key] = append(with[key], c)
		} else {
			without = append(without, c)
		}
	}
	var out []trial
	if len(with) == 0 {
		return nil
	}
	for _, a := range without {
		for _, b := range with[l.tried.apart(a.setting)] {
			ratio, ok := stat.RatioOf(values[b.Text("row_uid")], values[a.Text("row_uid")], 0.95)
			if !ok {
				continue
			}
			out = append(out, trial{without: a.Text("row_uid"), Tried: Tried{
				Lever: l.id, Config: a.Text("config"), Ratio: ratio.Value, Low: ratio.Low, High: ratio.High,
				Trials:   min(len(values[b.Text("row_uid")]), len(values[a.Text("row_uid")])),
				Evidence: fmt.Sprintf("cells %s and %s of this campaign", a.Text("cell_id"), b.Text("cell_id")),
				Why: fmt.Sprintf("%s: memory %.2f to %.2f ms, TPOT %.2f to %.2f ms", l.component,
					a.verdict.MemoryMS, b.verdict.MemoryMS, a.verdict.TPOTms, b.verdict.TPOTms),
			}})
		}
	}
	return out
}

// trialValues returns the output tok/s/GPU of the trials behind each row: those
// of its mean, so none that was excluded.
func trialValues(rows []perf.Row) map[string][]float64 {
	values := map[string][]float64{}
	bySetting := map[string][]float64{}
	for _, r := range rows {
		v, ok := r.Float("output_tps_per_gpu")
		if excluded, _ := r.Bool("excluded"); excluded {
			continue
		}
		if ok && r.Text("agg") == "trial" && r.Text("status") == string(perf.Full) {
			bySetting[settingOf(r)] = append(bySetting[settingOf(r)], v)
			values[r.Text("row_uid")] = []float64{v}
		}
	}
	for _, r := range rows {
		if r.Text("agg") == "mean" {
			values[r.Text("row_uid")] = bySetting[settingOf(r)]
		}
	}
	return values
}

// refuted reports whether a lever that was tried gave nothing: with three
// trials and more, the whole interval lies below the least that counts.
func (t Tried) refuted(c *Config) bool { return t.Trials >= 3 && t.High < c.Levers.LeastUnlock }

// text prints what was found.
func (t Tried) text() string {
	return fmt.Sprintf("%.3fx (95 %% interval %.3f to %.3f, n=%d): %s; %s", t.Ratio, t.Low, t.High, t.Trials, t.Why, t.Evidence)
}
