// Package aggregate is the step that makes the rows of atlas_v1 from the
// measurements of cells: a row a cell, and a row for the mean of the trials of
// each setting. A cell without a measurement is a row too, with its reason, so
// that nothing is left out in silence.
//
// The rows name no campaign: they are the same for every campaign that has
// these cells. publish adds its name.
package aggregate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pipeline/internal/digest"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// A ParquetWriter writes rows to a new Parquet file at path, canonically, and
// returns the digest of what they say. lake.WriteParquet is one.
type ParquetWriter func(ctx context.Context, path string, schema *perf.Schema, rows []perf.Row) (digest.Digest, error)

// Kind returns the kind "aggregate", which writes Parquet with write.
func Kind(write ParquetWriter) steps.Kind {
	return steps.Kind{
		Name:    "aggregate",
		Summary: "make the rows of atlas_v1 from measured cells",
		Doc: `Reads the measurement of each cell and writes the rows of atlas_v1: one a cell
(agg = trial), and one for the mean of the FULL trials of each setting (agg = mean,
with deviation and 95 % interval). Trials that ran in unlike settings are never
averaged together.

A cell that failed or is missing is a row with its reason. Each FULL cell that
cannot be plotted, for want of a median TTFT or a request throughput, is warned
about by name, and so is an atlas in which no cell can.

A number that was not measured is NULL, never zero; extra_json.absent says why.

Beside each row stands the Speed of Light of its setting, at the batch that was
effective: floors of TPOT and TTFT, ceilings of throughput, and the shares of them
that were reached, with the path of each ceiling in configs/sol-ceilings.yaml
(docs/sol.md has the formulas). A share that cannot be right is withheld. What would
bring the campaign nearer is ranked in frontier.json.

Every cell passes the gates of a verdict (V00 to V15, docs/verdict.md), and so does
each claim that is declared. What fails is in verdict_refusals of the row and in
verdict.json, with what would lift it; the row is a draft then. A trial that stands
apart from its repetitions is flagged, and left out of the mean only if a physical
cause is recorded.

    - id: atlas
      uses: aggregate
      in: {cells: cells}
      with:
        baseline: fp8-tp8
        claims:
          - {about: decode_latency, config: nvfp4-tp8, over: fp8-tp8, across: [quant]}
`,
		Version: 2,
		Effect:  steps.Pure,
		Ports: []steps.Port{
			{Name: "cells", Doc: "cells with an artifact measurement.json, or several in one measurements.jsonl", Required: true, Gaps: true, Reads: []string{"measurement.json"}},
			rooflinePort(),
			profilePort(),
			dcgmPort(),
			baselinePort(),
		},
		Outputs: []steps.Output{
			{Name: "atlas.parquet", Doc: "the rows of atlas_v1, for any Parquet engine"},
			{Name: "atlas.json", Doc: "the same rows as canonical JSON"},
			{Name: frontierFile, Doc: "what to try next: where each cell's time goes, levers with their bounds, gates and costs (frontier-result/v1)"},
			{Name: "verdict.json", Doc: "which cells and claims are verdicts, and why others are not (verdict/v1)"},
		},
		Show: true,
		New: func() steps.Step {
			return &Step{Means: true, BuiltinCeilings: builtinCeilings(), BuiltinConfigs: builtinConfigs(), write: write}
		},
	}
}

// Step holds the parameters of one run.
type Step struct {
	Means           bool       `json:"means" key:"yes" doc:"Add a row for the mean over the trials of each setting."`
	Ceilings        steps.File `json:"ceilings" key:"yes" doc:"File of ceilings of your own, in the form of configs/sol-ceilings.yaml: its keys are added to those, or replace them."`
	ModelConfig     steps.File `json:"model_config" key:"yes" doc:"The model's config.json, or its folder, for cells whose setting names no model_shape."`
	BuiltinCeilings string     `json:"builtin_ceilings" key:"yes" doc:"Digest of the ceilings in this program, so that rows made with others are made again. Leave it out."`
	Frontier        steps.File `json:"frontier" key:"yes" doc:"File of thresholds for next levers, and of levers that were tried, in the form of configs/frontier.yaml: it is laid over that."`
	BuiltinConfigs  string     `json:"builtin_configs" key:"yes" doc:"Digest of the model shapes and thresholds in this program. Leave it out."`
	Baseline        string     `json:"baseline" key:"yes" doc:"Configuration that results are compared with: one of these cells, or of what the port baseline brings."`
	Claims          []Claim    `json:"claims" key:"yes" doc:"What the campaign sets out to show, written before it runs: p values are corrected over all of it."`

	write ParquetWriter
}

const source = "measurement.json"

// Run implements steps.Runner.
func (s *Step) Run(ctx context.Context, env *steps.Env) error {
	var rows []perf.Row
	for i := range env.In["cells"] {
		more, err := rowsOf(&env.In["cells"][i])
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	if len(rows) == 0 {
		return fmt.Errorf("the port cells brought no cell: wire it to a cell_run step: %w", steps.ErrPermanent)
	}
	perf.SortRows(rows)
	warn(env, rows)
	swept, err := rooflineRows(env)
	if err != nil {
		return err
	}
	rows = append(rows, swept...)
	lib, err := s.library(env)
	if err != nil {
		return err
	}
	addFloors(lib, rows)
	if err := addDCGM(env, lib, rows); err != nil {
		return err
	}
	flagTPOT(rows)
	perf.FlagOutliers(rows)
	if s.Means {
		means := perf.MeanRows(rows)
		addMeanFloors(lib, rows, means)
		rows = append(rows, means...)
	}
	if err := addProfiles(env, rows); err != nil {
		return err
	}
	review, err := s.review(env, rows)
	if err != nil {
		return err
	}
	if err := putReview(env, review); err != nil {
		return err
	}
	if err := s.putFrontier(env, lib, rows); err != nil {
		return err
	}
	text, err := perf.EncodeRows(perf.Atlas(), rows)
	if err != nil {
		return err
	}
	if err := put(env, "atlas.json", strings.NewReader(string(text))); err != nil {
		return err
	}
	return s.putParquet(ctx, env, rows)
}

func (s *Step) putParquet(ctx context.Context, env *steps.Env, rows []perf.Row) error {
	path := filepath.Join(env.Dir, "atlas.parquet")
	if _, err := s.write(ctx, path, perf.Atlas(), rows); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return put(env, "atlas.parquet", f)
}

func put(env *steps.Env, name string, r io.Reader) error {
	w, err := env.Create(name)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	if _, err := io.Copy(w, r); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), w.Close())
	}
	return w.Close()
}

// rowOf makes the row of one cell. A measurement that cannot be read is an
// error that names the cell: it is a fault of what measured, and no gap.
func rowOf(in *steps.Input) (perf.Row, error) {
	o := perf.Origin{Source: source, Gap: in.Gap, Doubts: in.Doubts, Artifacts: map[string]digest.Digest{}}
	for _, c := range in.Cell {
		o.Cell = append(o.Cell, perf.Coord{Axis: c.Axis, Value: c.Value})
	}
	for _, a := range in.Artifacts {
		if !a.Volatile { // those are in no key, so no output may tell of them
			o.Artifacts[a.Name] = a.Digest
		}
	}
	if _, ok := in.Artifact(source); !ok {
		if in.Gap == "" {
			o.Gap = fmt.Sprintf("step %s gave no artifact %s", in.Step, source)
		}
		return perf.RowOfGap(o), nil
	}
	text, err := in.ReadAll(source)
	if errors.Is(err, fs.ErrNotExist) && in.Gap != "" {
		return perf.RowOfGap(o), nil
	}
	if err != nil {
		return perf.Row{}, fmt.Errorf("read %s of cell %s: %w", source, perf.CellID(o.Cell), err)
	}
	m, err := perf.ReadMeasurement(text)
	if err != nil {
		return perf.Row{}, fmt.Errorf("cell %s: %w", perf.CellID(o.Cell), err)
	}
	return perf.RowOf(o, m), nil
}

// warn tells of cells that charts will not show.
func warn(env *steps.Env, rows []perf.Row) {
	ready := 0
	for _, r := range rows {
		if ok, _ := r.Bool("plot_ready"); ok {
			ready++
			continue
		}
		if r.Text("status") != string(perf.Full) {
			continue
		}
		var lacks []string
		for _, c := range []struct{ column, name string }{
			{"headline_ttft_ms", "median TTFT"}, {"headline_request_throughput_rps", "request throughput"},
		} {
			if r.IsNull(c.column) {
				lacks = append(lacks, c.name)
			}
		}
		env.Doubt("cell %s is FULL but cannot be plotted: it has no %s", r.Text("cell_id"), strings.Join(lacks, " and no "))
	}
	if ready == 0 {
		env.Doubt("no cell of %d can be plotted: the charts will be empty", len(rows))
	}
	if n := slices.IndexFunc(rows, func(r perf.Row) bool { v, _ := r.Bool("simulated"); return v }); n >= 0 {
		env.Log.Info("at least one cell is of a simulated endpoint", "cell", rows[n].Text("cell_id"))
	}
}
