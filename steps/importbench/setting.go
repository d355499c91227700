package importbench

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pipeline/internal/digest"
	"pipeline/internal/sol"
	"pipeline/internal/yaml"
	"pipeline/lake/perf"
)

// fields are the columns of atlas_v1 that are part of a Setting. focus is of
// the campaign, and setting_* are computed.
func fields() []string {
	names := perf.Atlas().InGroup(perf.GroupIdentity, perf.GroupParallelism, perf.GroupServing,
		perf.GroupWorkload, perf.GroupRegime, perf.GroupStack, perf.GroupPlace)
	return slices.DeleteFunc(names, func(n string) bool { return n == "focus" })
}

// checkField refuses what is no field of a setting, or no value of it.
func checkField(name string, value any) error {
	known := fields()
	if !slices.Contains(known, name) {
		return fmt.Errorf("it is no field of a setting; %s", orElse(yaml.Nearest(name, known), "docs/imports.md lists them"))
	}
	text, err := textOf(value)
	if err != nil || text == "" {
		return err
	}
	row := perf.NewRow(perf.Atlas())
	return row.ParseText(name, text)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// textOf is a value of a spec as a Setting holds it.
func textOf(v any) (string, error) {
	switch x := v.(type) {
	case nil:
		return "", nil
	case string:
		return x, nil
	case bool:
		return strconv.FormatBool(x), nil
	case int64:
		return strconv.FormatInt(x, 10), nil
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64), nil
	}
	text, err := digest.Canonical(v)
	return string(text), err
}

// A teller is who tells fields of a setting.
type teller struct {
	name  string
	tells perf.Setting
}

// setting puts together what the report, its path and the context tell of a
// cell. Where two of them differ it is refused, or a doubt where that is
// allowed; what nobody tells is unknown.
func (s *Step) setting(c *cell) (perf.Setting, []string, error) {
	given := perf.Setting{}
	for name, v := range s.Context {
		text, err := textOf(v.V)
		if err != nil {
			return nil, nil, fmt.Errorf("context.%s: %w", name, err)
		}
		given[name] = text
	}
	out := perf.Setting{}
	for _, name := range fields() {
		out[name] = perf.Unknown
	}
	told := perf.Setting{}
	for name, v := range c.told {
		told[name] = v
	}
	if c.driver.Name != "" {
		told["bench_backend"] = c.driver.Name
	}
	if c.driver.Version != "" {
		told["bench_version"] = c.driver.Version
	}
	var doubts []string
	by := map[string]string{}
	for _, t := range []teller{{"the report", told}, {"its path", c.byPath}, {"the context", given}} {
		for _, name := range sortedNames(t.tells) {
			value := t.tells[name]
			if name == "config" || value == "" || value == perf.Unknown {
				continue
			}
			was, before := out[name], by[name]
			if before != "" && !same(name, was, value) {
				if !slices.Contains(s.AllowDiffer, name) {
					return nil, nil, fmt.Errorf("%s: %s has %q, and %s has %q: correct the one that is wrong, or name the field in allow_differ", name, t.name, value, before, was)
				}
				doubts = append(doubts, fmt.Sprintf("context_differs: %s: %s has %q, and %s has %q", name, t.name, value, before, was))
			}
			if out[name] = value; before == "" {
				by[name] = t.name
			}
		}
	}
	if err := nameHardware(out); err != nil {
		return nil, nil, err
	}
	if out["model"] == perf.Unknown {
		out["model"] = out["model_hf_path"]
	}
	if out["parallel_strategy"] == perf.Unknown {
		out["parallel_strategy"] = out.ParallelStrategy()
	}
	if _, told := by["trial"]; !told {
		delete(out, "trial")
	}
	closeLoad(out)
	return out, append(doubts, unknownDoubt(out)...), nil
}

// same reports whether two texts name one value: 8 and 8.0, and a GPU by its
// key, its token or its name.
func same(name, a, b string) bool {
	if a == b {
		return true
	}
	x, errA := strconv.ParseFloat(a, 64)
	y, errB := strconv.ParseFloat(b, 64)
	if errA == nil && errB == nil {
		return x == y
	}
	if name != "hardware" {
		return strings.EqualFold(a, b) && (strings.EqualFold(a, "true") || strings.EqualFold(a, "false"))
	}
	ceilings, err := sol.BuiltinCeilings()
	if err != nil {
		return false
	}
	one, errA := ceilings.Find(a)
	two, errB := ceilings.Find(b)
	return errA == nil && errB == nil && one.Key == two.Key
}

// nameHardware gives the GPU its exact token, and its key in the ceilings.
func nameHardware(s perf.Setting) error {
	if s["hardware"] == perf.Unknown {
		return nil
	}
	ceilings, err := sol.BuiltinCeilings()
	if err != nil {
		return err
	}
	gpu, err := ceilings.Find(s["hardware"])
	if err != nil {
		return nil // a GPU without ceilings has a name, too
	}
	if s["ceiling_key"] == perf.Unknown {
		s["ceiling_key"] = gpu.Key
	}
	if len(gpu.Tokens) > 0 {
		s["hardware"] = gpu.Tokens[0]
	}
	return nil
}

// closeLoad empties what does not apply: a closed loop has no rate, and
// single requests no history.
func closeLoad(s perf.Setting) {
	empty := func(names ...string) {
		for _, n := range names {
			if s[n] == perf.Unknown {
				s[n] = ""
			}
		}
	}
	if s["arrival"] == perf.Closed {
		empty("request_rate")
	} else if s["request_rate"] != perf.Unknown {
		empty("concurrency", "ramp_up_s")
	}
	empty("slo")
}

// A number without these is bare: what was served, how, on what, and what was
// asked of it.
var mandatory = []string{
	"model", "hardware", "quant", "kv_cache_dtype",
	"tp", "dp", "pp",
	"max_num_seqs", "max_num_batched_tokens", "max_model_len", "gpu_memory_utilization", "prefix_caching",
	"dataset", "isl", "osl", "concurrency", "num_prompts", "cache_mode",
	"engine", "engine_version", "bench_backend", "bench_version",
}

func unknownDoubt(s perf.Setting) []string {
	var unknown []string
	for _, name := range mandatory {
		if s[name] == perf.Unknown {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return []string{"context_unknown: neither the report nor the context tells: " + strings.Join(unknown, ", ")}
}

// workload fills in what the setting tells of the load and the report does
// not.
func workload(w perf.Workload, s perf.Setting) (perf.Workload, error) {
	for name, to := range map[string]*int{
		"concurrency": &w.Concurrency, "num_prompts": &w.NumPrompts, "warmup_requests": &w.Warmup, "isl": &w.ISL, "osl": &w.OSL,
		"shared_prefix": &w.SharedPrefix, "turns": &w.Turns,
	} {
		if text := s[name]; text != "" && text != perf.Unknown {
			n, err := strconv.ParseFloat(text, 64)
			if err != nil || !(n >= 0 && n < 1<<40) {
				return w, fmt.Errorf("%s: %q is no count", name, text)
			}
			*to = int(n)
		}
	}
	if text := s["request_rate"]; text != "" && text != perf.Unknown {
		rate, err := strconv.ParseFloat(text, 64)
		if err != nil || !(rate >= 0) {
			return w, fmt.Errorf("request_rate: %q is no rate", text)
		}
		w.RequestRate = rate
	}
	for name, to := range map[string]*string{"api": &w.API, "dataset": &w.Dataset, "arrival": &w.Arrival} {
		if text := s[name]; text != "" && text != perf.Unknown {
			*to = text
		}
	}
	if w.Arrival == "" && w.Concurrency > 0 && w.RequestRate == 0 {
		w.Arrival = perf.Closed
	}
	if text := s["ignore_eos"]; text == "true" {
		w.IgnoreEOS = true
	}
	return w, nil
}
