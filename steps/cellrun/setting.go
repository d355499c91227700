package cellrun

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"pipeline/internal/digest"
	"pipeline/internal/endpoint"
	"pipeline/lake/perf"
)

// setting is everything the numbers depend on: each column of atlas_v1 that is
// part of a Setting is there, by its value, as unknown, or empty where it does
// not apply.
func (c *cell) setting(asked perf.Workload, by perf.Driver) perf.Setting {
	s := perf.Setting{}
	for _, name := range perf.Atlas().InGroup(perf.GroupIdentity, perf.GroupParallelism, perf.GroupServing,
		perf.GroupWorkload, perf.GroupRegime, perf.GroupStack, perf.GroupPlace) {
		s[name] = perf.Unknown
	}
	c.identitySetting(s)
	c.workloadSetting(s, asked)
	c.recordedSetting(s)
	s["bench_backend"], s["bench_version"] = by.Name, by.Version
	s["cache_mode"] = c.step.CacheRegime
	s["trial"] = strconv.Itoa(c.step.Trial)
	delete(s, "focus") // of the campaign: publish adds it
	return s
}

func (c *cell) identitySetting(s perf.Setting) {
	args := map[string]any{}
	for _, field := range slices.Sorted(maps.Keys(c.identity.Values)) {
		value := c.identity.Values[field]
		if name, isArg := strings.CutPrefix(field, "args."); isArg {
			args[name] = value
		} else {
			s[field] = value
		}
	}
	for _, field := range endpoint.Fields() {
		s[field] = c.identity.Value(field)
	}
	if c.identity.Sources[endpoint.EngineVersion] != endpoint.Declared {
		s["engine_version_observed"] = c.identity.Value(endpoint.EngineVersion)
	}
	if declared, differs := c.identity.Differs[endpoint.EngineVersion]; differs {
		s["engine_version"] = declared
	}
	for _, field := range []string{endpoint.ModelRoot, endpoint.Model} {
		if v := c.identity.Values[field]; s["model_hf_path"] == perf.Unknown && perf.IsRepository(v) {
			s["model_hf_path"] = v
		}
	}
	s["parallel_strategy"] = s.ParallelStrategy()
	if text, err := digest.Canonical(args); err == nil && len(args) > 0 {
		s["serve_args"] = string(text)
	}
}

func (c *cell) workloadSetting(s perf.Setting, w perf.Workload) {
	optional := func(n int) string {
		if n == 0 {
			return ""
		}
		return strconv.Itoa(n)
	}
	number := func(f float64) string {
		if f == 0 {
			return ""
		}
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	maps.Copy(s, perf.Setting{
		"api": w.API, "dataset": w.Dataset, "dataset_revision": "", "split": "", "dataset_digest": w.DatasetDigest,
		"isl": strconv.Itoa(w.ISL), "osl": strconv.Itoa(w.OSL), "range_ratio": "0",
		"concurrency": optional(w.Concurrency), "request_rate": number(w.RequestRate), "arrival": w.Arrival,
		"num_prompts": strconv.Itoa(w.NumPrompts), "warmup_requests": strconv.Itoa(w.Warmup),
		"random_seed": strconv.FormatInt(w.Seed, 10), "ignore_eos": strconv.FormatBool(w.IgnoreEOS),
		"multi_turn": strconv.FormatBool(w.Turns > 1), "turns": strconv.Itoa(max(1, w.Turns)),
		"shared_prefix": strconv.Itoa(w.SharedPrefix), "request_timeout_s": number(w.RequestTimeoutS),
		"temperature": "", "slo": "", "ramp_up_s": "",
	})
	if w.Arrival == perf.Closed { // an open loop has no ramp
		s["ramp_up_s"] = strconv.FormatFloat(w.RampUpS, 'g', -1, 64)
	}
	if w.Temperature != nil {
		s["temperature"] = strconv.FormatFloat(*w.Temperature, 'g', -1, 64)
	}
	slo := map[string]any{}
	for name, limit := range map[string]float64{"ttft_ms": w.TTFTSLOms, "tpot_ms": w.TPOTSLOms, "e2e_ms": w.E2ESLOms} {
		if limit > 0 {
			slo[name] = limit
		}
	}
	if text, err := digest.Canonical(slo); err == nil && len(slo) > 0 {
		s["slo"] = string(text)
	}
	if w.DatasetDigest == "" {
		s["dataset_digest"] = perf.Unknown
	}
}
