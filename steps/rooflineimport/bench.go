package rooflineimport

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"pipeline/internal/aiperf"
	"pipeline/internal/pyjson"
	"pipeline/internal/roofline"
	"pipeline/internal/vllmbench"
	"pipeline/lake/perf"
)

// measurement reads the benchmark's result, whichever tool wrote it.
func (im *importing) measurement(f roofline.Found) (*perf.Measurement, error) {
	text, err := im.b.ReadFile(f, roofline.BenchFile)
	if err != nil {
		return nil, err
	}
	var head struct {
		Schema string `json:"schema"`
	}
	if json.Unmarshal(text, &head) == nil && head.Schema == perf.MeasurementSchema {
		return im.native(f, text)
	}
	objects, err := pyjson.Read(bytes.NewReader(text))
	if err == nil && len(objects) == 1 && vllmbench.IsResult(objects[0]) {
		return im.vllm(f, text)
	}
	m, err := im.aiperf(f)
	if err != nil {
		return nil, fmt.Errorf("%s is no result of this program, of vllm bench serve, or of AIPerf: %w", roofline.BenchFile, err)
	}
	return m, nil
}

// native reads a measurement of this program. What it was asked must be what
// the cell says.
func (im *importing) native(f roofline.Found, text []byte) (*perf.Measurement, error) {
	m, err := perf.ReadMeasurement(text)
	if err != nil {
		return nil, err
	}
	for _, field := range []struct {
		name       string
		have, want int
	}{{"concurrency", m.Asked.Concurrency, f.Cell.C}, {"isl", m.Asked.ISL, f.Cell.ISL}, {"osl", m.Asked.OSL, f.Cell.OSL}} {
		if field.have != field.want {
			return nil, fmt.Errorf("ROOF_FLAG_MISMATCH: %s of the measurement is %d, and %s says %d", field.name, field.have, roofline.CellFile, field.want)
		}
	}
	return m, nil
}

// asked is the workload of a cell, as its cell.yaml tells it.
func asked(c roofline.Cell) perf.Workload {
	return perf.Workload{
		API: "completions", Concurrency: c.C, Arrival: perf.Closed, NumPrompts: c.NumPrompts, ISL: c.ISL, OSL: c.OSL,
		IgnoreEOS: true, Turns: 1, Dataset: "random",
	}
}

func (im *importing) vllm(f roofline.Found, text []byte) (*perf.Measurement, error) {
	reports, err := vllmbench.ReadResults(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", roofline.BenchFile, err)
	}
	r := &reports[0]
	m, err := r.Measure(asked(f.Cell))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", roofline.BenchFile, err)
	}
	im.complete(f, &m, r.Told)
	return &m, nil
}

// aiperf reads a result of AIPerf, which has its own names for its files.
func (im *importing) aiperf(f roofline.Found) (*perf.Measurement, error) {
	dir, err := os.MkdirTemp(im.env.Dir, "aiperf-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for name, as := range map[string]string{roofline.BenchFile: "profile_export_aiperf.json", roofline.RequestsFile: "profile_export.jsonl"} {
		if !f.Has(name) {
			continue
		}
		text, err := im.b.ReadFile(f, name)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, as), text, 0o644); err != nil {
			return nil, err
		}
	}
	run, err := aiperf.Read(dir)
	if err != nil {
		return nil, err
	}
	m, err := run.Measurement(asked(f.Cell), nil)
	if err != nil {
		return nil, err
	}
	im.complete(f, &m, run.Report().Told)
	return &m, nil
}
