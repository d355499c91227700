package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"pipeline/internal/digest"
	"pipeline/lake"
	"pipeline/lake/perf"
)

// rows TABLE ATLAS.json [CAMPAIGN] makes the rows of an atlas from a table of
// trials, a line each: configuration, concurrency, trial, output tok/s/GPU,
// TPOT and TTFT in ms, and field=value of its setting. With a campaign they are
// published to the lake too.
func scriptRows(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: rows table atlas.json [campaign]")
	}
	var rows []perf.Row
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if f := strings.Fields(line); len(f) >= 6 && f[0] != "#" {
			rows = append(rows, tableRow(ts, f))
		}
	}
	rows = append(rows, perf.MeanRows(rows)...)
	perf.ReviewRows(rows, perf.Terms{}).Mark(rows)
	text, err := perf.EncodeRows(perf.Atlas(), rows)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), text, 0o644))
	if len(args) < 3 {
		return
	}
	for _, r := range rows {
		r.SetText("campaign", args[2])
	}
	_, err = lake.Lake{Dir: ts.MkAbs(".pipeline/lake")}.Publish(context.Background(), perf.Atlas(), args[2], rows, digest.Of(text))
	ts.Check(err)
}

func tableRow(ts *testscript.TestScript, f []string) perf.Row {
	number := func(s string) float64 {
		v, err := strconv.ParseFloat(s, 64)
		ts.Check(err)
		return v
	}
	c, trial := int(number(f[1])), int(number(f[2]))
	setting := perf.Setting{
		"model": "glm", "model_hf_path": "zai-org/GLM-5.1", "hardware": "B200", "ceiling_key": "b200_sm100", "gpu_count": "8", "quant": "fp8", "kv_cache_dtype": "fp8",
		"tp": "8", "dp": "1", "pp": "1", "ep": "1", "parallel_strategy": "tp8", "max_num_seqs": "256", "max_num_batched_tokens": "8192", "max_model_len": "32768",
		"gpu_memory_utilization": "0.9", "cudagraph_mode": "FULL_AND_PIECEWISE", "enforce_eager": "false", "async_scheduling": "true", "prefix_caching": "true",
		"dataset": "synthetic", "cache_mode": "cold", "image": "vllm/vllm-openai:v0.15.1", "engine": "vllm", "engine_version": "0.15.1", "engine_version_observed": "0.15.1",
		"node": "gpu-07", "gpu_uuids": "GPU-a,GPU-b", "isl": "1024", "osl": "256", "concurrency": f[1], "num_prompts": strconv.Itoa(20 * c), "trial": f[2],
	}
	for _, kv := range f[6:] {
		name, value, _ := strings.Cut(kv, "=")
		setting[name] = value
	}
	at := func(s string) *perf.Dist {
		if s == "-" {
			return nil
		}
		v := number(s)
		return &perf.Dist{N: 700, Mean: v, Min: v, P50: v, P90: v, P95: v, P99: v, Max: v}
	}
	tps := 8 * number(f[3])
	rps, total, user := tps/256, 5*tps, 1000/number(f[4])
	summary := perf.Summary{DurationS: 70, Requests: 20 * c, OutputTokens: 70 * tps, RequestThroughput: &rps, OutputThroughput: &tps, TotalThroughput: &total, PerUserThroughput: &user, TTFT: at(f[5]), TPOT: at(f[4])}
	steady := summary
	start := time.Date(2026, 11, 23, 10, trial, 0, 0, time.UTC)
	hit := 0.01
	m := &perf.Measurement{
		Schema: perf.MeasurementSchema, Status: perf.Full, Start: start, End: start.Add(time.Minute), Setting: setting, Driver: perf.Driver{Name: "native", Version: "1"},
		Asked:   perf.Workload{API: "chat", Concurrency: c, Arrival: perf.Closed, NumPrompts: 20 * c, ISL: 1024, OSL: 256, Dataset: "synthetic"},
		Summary: summary, Steady: &steady, Window: &perf.Window{FromNS: 1e9, ToNS: 66e9, Method: "all streams busy", Share: 0.9},
		Steadiness: &perf.Steadiness{Class: perf.Flat}, Server: &perf.Server{PrefixHitRate: &hit},
	}
	return perf.RowOf(perf.Origin{
		Source: "measurement.json", Artifacts: map[string]digest.Digest{"measurement.json": digest.Of(fmt.Append(nil, f))},
		Cell: []perf.Coord{{Axis: "config", Value: f[0]}, {Axis: "concurrency", Value: f[1]}, {Axis: "trial", Value: f[2]}},
	}, m)
}
