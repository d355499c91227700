package report

import (
	"fmt"
	"math"
	"time"

	"pipeline/internal/digest"
	"pipeline/lake/perf"
)

// sampleRows is a campaign of 2 configurations, 6 concurrencies and 3 trials,
// with a cell that failed, one that is partial, and one that is missing. The
// numbers follow a closed loop with a fixed cost a step, so that throughput
// saturates as it does on real servers.
func sampleRows() []perf.Row {
	var rows []perf.Row
	for _, tp := range []int{8, 4} {
		for _, c := range []int{1, 4, 8, 16, 32, 64} {
			for trial := 1; trial <= 3; trial++ {
				rows = append(rows, sampleRow(tp, c, trial))
			}
		}
	}
	return append(rows, perf.MeanRows(rows)...)
}

func sampleRow(tp, c, trial int) perf.Row {
	cell := []perf.Coord{
		{Axis: "config", Value: fmt.Sprintf("fp8-tp%d", tp)}, {Axis: "concurrency", Value: fmt.Sprint(c)}, {Axis: "trial", Value: fmt.Sprint(trial)},
	}
	o := perf.Origin{Cell: cell, Source: "measurement.json", Artifacts: map[string]digest.Digest{}}
	if tp == 4 && c == 64 && trial == 3 {
		o.Gap = "skipped: the run was interrupted before this cell began"
		return perf.RowOfGap(o)
	}
	m := sampleMeasurement(tp, c, trial)
	o.Artifacts["measurement.json"] = digest.Of(fmt.Appendf(nil, "%d %d %d", tp, c, trial))
	return perf.RowOf(o, m)
}

func sampleMeasurement(tp, c, trial int) *perf.Measurement {
	wobble := 1 + 0.015*math.Sin(float64(7*tp+3*c+11*trial))
	tpot := (6 + 40/float64(tp) + 0.11*float64(c)*8/float64(tp)) * wobble // ms
	ttft := (60 + 480/float64(tp) + 9*float64(c)) * wobble
	e2e := ttft + 511*tpot
	rps := float64(c) / e2e * 1000
	summary := func(share float64) *perf.Summary {
		n := max(16, 2*c)
		dist := func(v, rel float64) *perf.Dist {
			return &perf.Dist{N: n, Mean: v * 1.02, Std: v * rel, Min: v * (1 - rel), P50: v, P90: v * (1 + rel), P95: v * (1 + 1.4*rel), P99: v * (1 + 2*rel), Max: v * (1 + 3*rel)}
		}
		p := func(v float64) *float64 { return &v }
		return &perf.Summary{
			DurationS: float64(n) / rps / 1000 * 1000 / share, Requests: n, InputTokens: int64(4096 * n), OutputTokens: float64(512 * n),
			RequestThroughput: p(rps * share), OutputThroughput: p(512 * rps * share), TotalThroughput: p(4608 * rps * share), PerUserThroughput: p(1000 / tpot),
			Goodput: p(rps * share * 0.9), TTFT: dist(ttft, 0.2), ITL: dist(tpot, 0.3), TPOT: dist(tpot, 0.05), E2E: dist(e2e, 0.08), ISL: dist(4096, 0), OSL: dist(512, 0),
			EffectiveBatch: p(512 * rps * share * tpot / 1000),
		}
	}
	start := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC).Add(time.Duration(100*tp+10*c+trial) * time.Second)
	m := &perf.Measurement{
		Schema: perf.MeasurementSchema, Status: perf.Full, Simulated: true, Start: start, End: start.Add(9 * time.Second),
		Setting: perf.Setting{
			"model": "zai-org/GLM-5.1-FP8", "model_shape": "glm-5.1-fp8", "hardware": "B200", "ceiling_key": "b200_sm100", "quant": "fp8", "kv_cache_dtype": "fp8",
			"tp": fmt.Sprint(tp), "dp": "1", "pp": "1", "ep": "1", "max_num_seqs": "256", "max_num_batched_tokens": "8192", "max_model_len": "32768",
			"prefix_caching": "true", "engine": "vllm-sim", "engine_version": "0.15.1", "image": perf.Unknown, "cudagraph_mode": perf.Unknown,
			"node": perf.Unknown, "dataset": "synthetic", "cache_mode": "cold",
		},
		Driver: perf.Driver{Name: "native", Version: "1", Command: []string{"concurrency=" + fmt.Sprint(c)}},
		Asked: perf.Workload{
			API: "completions", Concurrency: c, Arrival: "closed", NumPrompts: max(16, 2*c), Warmup: 2, ISL: 4096, OSL: 512, IgnoreEOS: true,
			Dataset: "synthetic", Seed: int64(trial), TTFTSLOms: 2000,
		},
		Summary: *summary(0.9), Steady: summary(1), Window: &perf.Window{FromNS: 1e9, ToNS: 8e9, Method: "all streams busy", Share: 0.8},
		Client: &perf.Client{GOMAXPROCS: 2, CPUShare: new(0.3)},
		Doubts: []string{"image: the endpoint does not tell it"},
	}
	switch {
	case tp == 4 && c == 32 && trial == 2:
		m.Status, m.Steady, m.Window, m.Summary = perf.Failed, nil, nil, perf.Summary{Errors: 64}
		m.Reasons = []string{"64 of 64 requests failed"}
		m.Failure = "(EngineCore pid=4242) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
	case tp == 8 && c == 64 && trial == 1:
		m.Status, m.Reasons = perf.Partial, []string{"client_bound: the generator lagged by 48 ms (p99)"}
		m.Doubts = append(m.Doubts, "client_bound: lag p99 48 ms > 10 ms <b>&")
	case c == 1:
		m.Steady, m.Window = nil, nil
		m.Doubts = append(m.Doubts, "ramp_dominated: num_prompts 16 leaves no window in which all streams are busy")
	}
	return m
}
