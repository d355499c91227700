package aggregate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pipeline/internal/digest"
	"pipeline/lake/perf"
	"pipeline/steps"
	"pipeline/steps/aggregate"
	"pipeline/steps/stepstest"
)

var update = flag.Bool("update", false, "write the golden files")

// writeText stands where lake.WriteParquet does: the kind may not know the
// lake. Its bytes are those of the rows, so canonical if the kind is.
func writeText(_ context.Context, path string, schema *perf.Schema, rows []perf.Row) (digest.Digest, error) {
	text, err := perf.EncodeRows(schema, rows)
	if err != nil {
		return digest.Digest{}, err
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return digest.Digest{}, err
	}
	return perf.RowsDigest(schema, rows)
}

type world struct {
	env    *steps.Env
	out    map[string]*bytes.Buffer
	doubts []string
}

type file struct{ *bytes.Buffer }

func (file) Close() error { return nil }

func newWorld(t *testing.T, inputs []steps.Input) *world {
	w := &world{out: map[string]*bytes.Buffer{}}
	w.env = &steps.Env{
		In: map[string][]steps.Input{"cells": inputs}, Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Create: func(name string) (io.WriteCloser, error) {
			w.out[name] = &bytes.Buffer{}
			return file{w.out[name]}, nil
		},
		Doubt: func(format string, a ...any) { w.doubts = append(w.doubts, fmt.Sprintf(format, a...)) },
	}
	return w
}

func run(t *testing.T, inputs []steps.Input) (*world, error) {
	t.Helper()
	return runPorts(t, map[string][]steps.Input{"cells": inputs})
}

func runPorts(t *testing.T, in map[string][]steps.Input) (*world, error) {
	t.Helper()
	w := newWorld(t, nil)
	w.env.In = in
	kind := aggregate.Kind(writeText)
	return w, kind.New().(steps.Runner).Run(t.Context(), w.env)
}

func input(c, trial int, gap string, artifacts map[string][]byte) steps.Input {
	in := steps.Input{
		Step: "cells", Gap: gap,
		Cell: []steps.Coord{{Axis: "config", Value: "fp8-tp8"}, {Axis: "concurrency", Value: fmt.Sprint(c)}, {Axis: "trial", Value: fmt.Sprint(trial)}},
		Open: func(name string) (io.ReadCloser, error) {
			b, ok := artifacts[name]
			if !ok {
				return nil, fs.ErrNotExist
			}
			return io.NopCloser(bytes.NewReader(b)), nil
		},
	}
	for name, b := range artifacts {
		in.Artifacts = append(in.Artifacts, steps.Artifact{Name: name, Digest: digest.Of(b), Size: int64(len(b))})
	}
	return in
}

func measured(t testing.TB, c, trial int, change func(*perf.Measurement)) steps.Input {
	t.Helper()
	p := func(v float64) *float64 { return &v }
	dist := func(v float64) *perf.Dist {
		return &perf.Dist{N: 2, Mean: v, Min: v, P50: v, P90: v, P95: v, P99: v, Max: v}
	}
	start := time.Date(2026, 11, 23, 10, c, trial, 0, time.UTC)
	m := &perf.Measurement{
		Schema: perf.MeasurementSchema, Status: perf.Full, Simulated: true, Start: start, End: start.Add(time.Second),
		Setting: perf.Setting{"model": "m", "tp": "8", "pp": "1", "dp": "1", "image": perf.Unknown},
		Driver:  perf.Driver{Name: "native", Version: "1", Command: []string{"x"}},
		Asked:   perf.Workload{API: "chat", Concurrency: c, Arrival: "closed", NumPrompts: 2 * c, ISL: 8, OSL: 4, Dataset: "synthetic", Seed: int64(trial)},
		Summary: perf.Summary{
			DurationS: 1, Requests: 2 * c, InputTokens: int64(16 * c), OutputTokens: float64(8 * c), RequestThroughput: p(float64(2 * c)),
			OutputThroughput: p(float64(8*c + trial)), TotalThroughput: p(float64(24 * c)), PerUserThroughput: p(50), TTFT: dist(20), TPOT: dist(20),
		},
	}
	if change != nil {
		change(m)
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return input(c, trial, "", map[string][]byte{"measurement.json": text})
}

func cells(t *testing.T) []steps.Input {
	return []steps.Input{
		measured(t, 1, 1, nil), measured(t, 1, 2, nil), measured(t, 16, 1, nil),
		measured(t, 16, 2, func(m *perf.Measurement) {
			m.Status, m.Failure, m.Summary = perf.Failed, "(EngineCore pid=7) CUDA error", perf.Summary{Errors: 32}
		}),
		input(2, 1, "failed: connection refused", nil),
	}
}

func TestContract(t *testing.T) {
	stepstest.Run(t, aggregate.Kind(writeText), os.DirFS("testdata"))
}

func TestGolden(t *testing.T) {
	w, err := run(t, cells(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "atlas.json")
	if *update {
		if err := os.WriteFile(path, w.out["atlas.json"].Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(w.out["atlas.json"].Bytes(), want) {
		t.Errorf("atlas.json differs from %s; run with -update and look at the diff", path)
	}
}

// Whatever order nodes come in, the bytes are the same.
func TestOrderDoesNotCount(t *testing.T) {
	inputs := cells(t)
	first, err := run(t, inputs)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(5) {
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(inputs), func(i, j int) { inputs[i], inputs[j] = inputs[j], inputs[i] })
		for i := range inputs {
			slices.Reverse(inputs[i].Cell)
		}
		w, err := run(t, inputs)
		if err != nil {
			t.Fatal(err)
		}
		for name, b := range first.out {
			if !bytes.Equal(b.Bytes(), w.out[name].Bytes()) {
				t.Fatalf("%s depends on the order of nodes", name)
			}
		}
	}
}

func TestGapsAreRows(t *testing.T) {
	w, err := run(t, cells(t))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := perf.DecodeRows(perf.Atlas(), w.out["atlas.json"].Bytes())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, r := range rows {
		got[r.Text("agg")+" "+r.Text("cell_id")] = r.Text("status") + " " + r.Text("status_reason")
	}
	for cell, want := range map[string]string{
		"trial concurrency=2,config=fp8-tp8,trial=1":  "MISSING failed: connection refused",
		"trial concurrency=16,config=fp8-tp8,trial=2": "FAILED (EngineCore pid=7) CUDA error",
		"mean concurrency=16,config=fp8-tp8":          "PARTIAL mean of 1 of 2 trials: the others are not FULL, of another setting, or excluded as outliers",
		"mean concurrency=1,config=fp8-tp8":           "FULL ",
	} {
		if got[cell] != want {
			t.Errorf("%s is %q, want %q", cell, got[cell], want)
		}
	}
	if len(rows) != 7 {
		t.Errorf("%d rows, want 5 cells and 2 means", len(rows))
	}
}

// A failed node may have left evidence; its gap stands with it.
func TestGapWithMeasurement(t *testing.T) {
	in := measured(t, 4, 1, func(m *perf.Measurement) { m.Status, m.Reasons = perf.Partial, []string{"client_bound"} })
	in.Gap, in.Doubts = "partial: client_bound", []string{"the generator lagged"}
	w, err := run(t, []steps.Input{in})
	if err != nil {
		t.Fatal(err)
	}
	rows, _ := perf.DecodeRows(perf.Atlas(), w.out["atlas.json"].Bytes())
	if r := rows[0]; r.Text("status") != "PARTIAL" || r.Text("status_reason") != "client_bound" || r.IsNull("output_tps") || !slices.Contains(r.List("doubts"), "the generator lagged") {
		t.Errorf("row is %s %q %q", r.Text("status"), r.Text("status_reason"), r.List("doubts"))
	}
}

func TestWarnsByName(t *testing.T) {
	noTTFT := func(m *perf.Measurement) { m.Summary.TTFT = nil }
	noRate := func(m *perf.Measurement) { m.Summary.RequestThroughput, m.Summary.TTFT = nil, nil }
	w, err := run(t, []steps.Input{measured(t, 1, 1, noTTFT), measured(t, 1, 2, noRate)})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"cell concurrency=1,config=fp8-tp8,trial=1 is FULL but cannot be plotted: it has no median TTFT",
		"cell concurrency=1,config=fp8-tp8,trial=2 is FULL but cannot be plotted: it has no median TTFT and no request throughput",
		"no cell of 2 can be plotted: the charts will be empty",
	}
	if !slices.Equal(w.doubts, want) {
		t.Errorf("doubts are\n%q, want\n%q", w.doubts, want)
	}
	if w, _ := run(t, cells(t)); len(w.doubts) != 0 {
		t.Errorf("doubts without a cause: %q", w.doubts)
	}
}

func TestBadMeasurement(t *testing.T) {
	for text, want := range map[string]string{
		`{"schema":"x"}`:                         `cell concurrency=4,config=fp8-tp8,trial=1: measurement: field schema is "x"`,
		`{"summary":{"ttft_ms":{"p50":"fast"}}}`: "cell concurrency=4,config=fp8-tp8,trial=1: measurement: field summary",
		`<html>`:                                 "cell concurrency=4,config=fp8-tp8,trial=1: measurement: invalid character",
	} {
		_, err := run(t, []steps.Input{input(4, 1, "", map[string][]byte{"measurement.json": []byte(text)})})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q in it", text, err, want)
		}
	}
	if _, err := run(t, nil); err == nil {
		t.Error("no cells are no error")
	}
}
