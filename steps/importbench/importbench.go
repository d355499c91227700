// Package importbench is the kind import_perf_bench: it takes measurements
// that other tools made, and gives them the shape of our own.
//
//	sources      which reports are there: files, AIPerf folders
//	cells        what runs are in them, and their coordinates
//	context      what the report tells of the setting, what the path tells,
//	             what the spec gives; they may not contradict each other
//	judge        lake/perf says what the numbers amount to
//
// It is Pure: the content of the files is its key, so that what is unchanged
// is a reuse, and neither the time nor the place of the import is in what it
// writes.
package importbench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"pipeline/lake/perf"
	"pipeline/steps"
)

const (
	measurementFile  = "measurement.json"
	measurementsFile = "measurements.jsonl"
	requestsFile     = "requests.jsonl"
	telemetryFile    = "gpu_telemetry_export.jsonl"
)

// version is that of the kind, and of the importer in the rows.
const version = 1

// Kind is the kind import_perf_bench.
func Kind() steps.Kind {
	return steps.Kind{
		Name:    "import_perf_bench",
		Summary: "take measurements that other tools made",
		Doc:     doc,
		Version: version,
		Effect:  steps.Pure,
		Outputs: []steps.Output{
			{Name: measurementFile, Doc: "The measurement, if there is one (measurement/v1).", Optional: true},
			{Name: requestsFile, Doc: "One line a request, if there is one measurement and its report keeps records of requests.", Optional: true},
			{Name: telemetryFile, Doc: "What AIPerf saw of the GPUs, for dcgm_correlate, if there is one measurement and it has samples.", Optional: true},
			{Name: measurementsFile, Doc: "A line a cell, `{\"cell\": {axis: value}, \"measurement\": …}`, if there are several.", Optional: true},
		},
		New: func() steps.Step { return &Step{Format: auto, KeepRequests: true} },
	}
}

const doc = `Reads AIPerf artifact folders, result files and logs of vllm bench serve, reports of guidellm, genai-bench and
inference-perf, and a table that you fill in ([docs/imports.md](imports.md) has the formats and what they call our
numbers). What it writes is read by aggregate as what cell_run writes.

    - id: measured
      uses: import_perf_bench
      with:
        from: results/                    # a report, or a folder of many
        path: '{config}/c{concurrency}_run{trial}.json'
        context: {model: zai-org/GLM-5.1-FP8, hardware: b200_sm100, quant: fp8, tp: 8, engine: vllm}
    - {id: atlas, uses: aggregate, in: {cells: measured}}

A cell is a file, a result in it, a block of a log, a row of a table, or an AIPerf folder. Several cells of one step have the
coordinates that ` + "`path`" + ` finds in their paths, and the load that their reports tell; those that are alike in all of them are
told apart by their source, and are no trials of one another. A step with a matrix over files has a cell a node.

A field of the setting may be told by the report, by the path, and by the context: where two differ, the import is refused,
unless allow_differ names the field. What nobody tells is unknown, and a doubt on the cell.

A FULL cell without a median TTFT or a request throughput gives no point in the charts, and a line that begins with
WARNING. A run in which all requests failed is FAILED, whatever its file says of its latency.
`

// auto is the format that follows from the content.
const auto = "auto"

// Step imports.
type Step struct {
	From         steps.File             `json:"from" key:"yes" required:"true" doc:"A report, or a folder of them."`
	Name         string                 `json:"name" key:"yes" doc:"What rows call the report, if from is one file. Not set is the name of the file."`
	Format       string                 `json:"format" key:"yes" enum:"auto,aiperf-artifacts,vllm-bench-json,guidellm-json,genai-bench-json,inference-perf-json,vllm-bench-log,csv" doc:"Format of the reports. auto finds it from what they hold."`
	Path         string                 `json:"path" key:"yes" doc:"How the path of a report, below from, tells coordinates: {config}/c{concurrency}.json. {name} is a part without /, * any such part, ** any part."`
	Context      map[string]steps.Value `json:"context" key:"yes" doc:"Fields of the setting, by their columns in atlas_v1: model, hardware, quant, tp, engine."`
	AllowDiffer  []string               `json:"allow_differ" key:"yes" doc:"Fields in which the context may differ from what a report tells. The context stands, and the difference is a doubt."`
	Simulated    bool                   `json:"simulated" key:"yes" doc:"The endpoint was a simulation."`
	KeepRequests bool                   `json:"keep_requests" key:"yes" doc:"Write requests.jsonl."`
}

// Complete implements steps.Completer: what rows call a report is part of the
// key, as a file's place is not.
func (s *Step) Complete() {
	if s.Name == "" {
		s.Name = path.Base(filepath.ToSlash(string(s.From)))
	}
}

// Check refuses what is no pattern and no field of a setting.
func (s *Step) Check() error {
	if _, err := newPattern(s.Path); err != nil {
		return &steps.ParamError{Param: "path", Err: err}
	}
	for _, name := range sortedNames(s.Context) {
		if err := checkField(name, s.Context[name].V); err != nil {
			return &steps.ParamError{Param: "context." + name, Err: err}
		}
	}
	for _, name := range s.AllowDiffer {
		if err := checkField(name, ""); err != nil {
			return &steps.ParamError{Param: "allow_differ", Err: err}
		}
	}
	return nil
}

// Run imports.
func (s *Step) Run(ctx context.Context, env *steps.Env) error {
	from := env.Resolve(string(s.From))
	cells, err := s.cells(env, from)
	if err != nil {
		return fmt.Errorf("from: %w: %w", err, steps.ErrPermanent)
	}
	measured := make([]perf.Measurement, len(cells))
	for i := range cells {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		env.Progress(steps.Progress{Done: i, Total: len(cells), Unit: "cells", Text: cells[i].where})
		if measured[i], err = s.measure(&cells[i]); err != nil {
			return fmt.Errorf("%s: %w: %w", cells[i].where, err, steps.ErrPermanent)
		}
	}
	env.Progress(steps.Progress{Done: len(cells), Total: len(cells), Unit: "cells"})
	if len(cells) == 1 && s.Path == "" {
		err = s.writeOne(env, &cells[0], &measured[0])
	} else {
		err = writeMany(env, cells, measured)
	}
	if err == nil {
		err = keepTelemetry(env, cells)
	}
	if err != nil {
		return err
	}
	say(env, cells, measured)
	return outcome(cells, measured)
}

// writeOne writes the only cell as cell_run does.
func (s *Step) writeOne(env *steps.Env, c *cell, m *perf.Measurement) error {
	text, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return fmt.Errorf("write %s: %w", measurementFile, err)
	}
	if err := env.Write(measurementFile, func(w io.Writer) error { _, err := w.Write(append(text, '\n')); return err }); err != nil {
		return err
	}
	if c.requests == nil || !s.KeepRequests {
		return nil
	}
	return env.Write(requestsFile, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		for r, err := range c.requests(false) {
			if err != nil {
				return err
			}
			one := *r
			one.ChunkNS = nil
			if err := enc.Encode(&one); err != nil {
				return err
			}
		}
		return nil
	})
}

// keepTelemetry writes what was seen of the GPUs in the only run, or says that
// of many it is not kept.
func keepTelemetry(env *steps.Env, cells []cell) error {
	sampled := 0
	for i := range cells {
		if cells[i].telemetry != "" {
			sampled++
		}
	}
	switch {
	case sampled == 0:
		return nil
	case len(cells) > 1:
		env.Doubt("gpu_telemetry: %d of %d runs have samples of GPUs, which are kept of a single run only; import one a node, with a matrix, for dcgm_correlate", sampled, len(cells))
		return nil
	}
	f, err := os.Open(cells[0].telemetry)
	if err != nil {
		return err
	}
	defer f.Close()
	return env.Write(telemetryFile, func(w io.Writer) error { _, err := io.Copy(w, f); return err })
}

func writeMany(env *steps.Env, cells []cell, measured []perf.Measurement) error {
	return env.Write(measurementsFile, func(w io.Writer) error {
		for i := range cells {
			if err := perf.WriteCell(w, cells[i].coords, &measured[i]); err != nil {
				return fmt.Errorf("%s: %w", cells[i].where, err)
			}
		}
		return nil
	})
}

// The lines of a result block that a scatter point is made of.
const (
	medianTTFT = "Median TTFT (ms)"
	requestRPS = "Request throughput (req/s)"
)

// say tells people of cells that charts will not show, and of the doubts: each
// sort once, with how many cells have it.
func say(env *steps.Env, cells []cell, measured []perf.Measurement) {
	for i := range measured {
		m := &measured[i]
		var lacks []string
		if m.Summary.TTFT == nil || !(m.Summary.TTFT.P50 > 0) {
			lacks = append(lacks, "`"+medianTTFT+"`")
		}
		if m.Summary.RequestThroughput == nil {
			lacks = append(lacks, "`"+requestRPS+"`")
		}
		if m.Status == perf.Full && len(lacks) > 0 {
			env.Doubt("WARNING: %s: the cell is FULL but lacks %s: it gives no scatter point; run the benchmark again so that it prints them, and import that", cells[i].where, strings.Join(lacks, " and "))
		}
	}
	var sorts []string
	first, count := map[string]string{}, map[string]int{}
	for i := range measured {
		for _, d := range measured[i].Doubts {
			code := codeOf(d)
			if count[code]++; count[code] == 1 {
				sorts, first[code] = append(sorts, code), d
			}
		}
	}
	for _, code := range sorts {
		if count[code] == 1 || len(cells) == 1 {
			env.Doubt("%s", first[code])
		} else {
			env.Doubt("%s (and so in %d of %d cells)", first[code], count[code], len(cells))
		}
	}
}

// codeOf is what doubts of one sort begin with: their code, and for one about a
// definition its columns.
func codeOf(doubt string) string {
	parts := strings.SplitN(doubt, ": ", 3)
	if parts[0] == "definition" && len(parts) > 1 {
		return parts[0] + ": " + parts[1]
	}
	return parts[0]
}

// outcome says how much of an answer the cells are.
func outcome(cells []cell, measured []perf.Measurement) error {
	var failed, partial int
	reason := ""
	for i := range measured {
		switch measured[i].Status {
		case perf.Failed:
			failed++
		case perf.Partial:
			partial++
		default:
			continue
		}
		if reason == "" {
			reason = fmt.Sprintf("%s: %s: %s", cells[i].where, measured[i].Status, strings.Join(measured[i].Reasons, "; "))
		}
	}
	switch {
	case failed+partial == 0:
		return nil
	case len(cells) > 1:
		reason = fmt.Sprintf("%d of %d cells are not FULL: %s", failed+partial, len(cells), reason)
	}
	return &steps.Failed{Partial: failed < len(cells), Final: true, Reason: reason}
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
