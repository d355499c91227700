package rooflineimport

import (
	"maps"
	"strconv"
	"strings"

	"pipeline/internal/roofline"
	"pipeline/lake/perf"
)

// complete gives the measurement of another tool its setting: what the
// manifest and the cell tell, then what the tool tells besides, and unknown for
// the rest.
func (im *importing) complete(f roofline.Found, m *perf.Measurement, told perf.Setting) {
	if m.Start.IsZero() {
		m.Start = f.Cell.Started()
	}
	if m.End.IsZero() {
		m.End = f.Cell.Ended()
	}
	s := perf.Setting{}
	for _, name := range perf.Atlas().InGroup(perf.GroupIdentity, perf.GroupParallelism, perf.GroupServing,
		perf.GroupWorkload, perf.GroupRegime, perf.GroupStack, perf.GroupPlace) {
		s[name] = perf.Unknown
	}
	delete(s, "focus") // of the campaign
	maps.Copy(s, im.b.Manifest.Setting)
	for name, v := range told {
		if v != "" {
			s[name] = v
		}
	}
	for name, v := range im.manifestSetting() {
		if v != "" {
			s[name] = v
		}
	}
	for name, v := range cellSetting(f.Cell, m) {
		if v != "" {
			s[name] = v
		}
	}
	m.Setting = s
}

func (im *importing) manifestSetting() perf.Setting {
	m := &im.b.Manifest
	tp, pp, dp, ep := m.TensorParallel, max(1, m.PipelineParallel), max(1, m.DataParallel), m.ExpertParallel
	strategy := "tp" + strconv.Itoa(tp)
	for _, p := range []struct {
		name string
		n    int
	}{{"pp", pp}, {"dp", dp}, {"ep", ep}} {
		if p.n > 1 {
			strategy += "-" + p.name + strconv.Itoa(p.n)
		}
	}
	s := perf.Setting{
		"model": m.Model.Name, "model_shape": m.Model.Shape, "model_revision": m.Model.Revision,
		"hardware": im.out.Hardware, "ceiling_key": im.gpu.Key, "quant": m.Quant, "kv_cache_dtype": m.KVCacheDtype,
		"tp": strconv.Itoa(tp), "pp": strconv.Itoa(pp), "dp": strconv.Itoa(dp), "gpu_count": strconv.Itoa(tp * pp * dp),
		"parallel_strategy": strategy, "cache_mode": m.CacheMode,
		"engine": m.Engine.Name, "engine_version": m.Engine.Version, "image": m.Engine.Image, "image_digest": m.Engine.ImageDigest,
	}
	if ep > 0 {
		s["ep"] = strconv.Itoa(ep)
	}
	if strings.Count(m.Model.Name, "/") == 1 {
		s["model_hf_path"] = m.Model.Name
	}
	return s
}

func cellSetting(c roofline.Cell, m *perf.Measurement) perf.Setting {
	s := perf.Setting{
		"concurrency": strconv.Itoa(c.C), "isl": strconv.Itoa(c.ISL), "osl": strconv.Itoa(c.OSL), "arrival": perf.Closed,
		"node": c.Node, "gpu_uuids": strings.Join(c.GPUUUIDs, ","), "trial": strconv.Itoa(max(1, c.Trial)), "request_rate": "",
		"bench_backend": m.Driver.Name, "bench_version": m.Driver.Version,
	}
	if c.NumPrompts > 0 {
		s["num_prompts"] = strconv.Itoa(c.NumPrompts)
	}
	return s
}
