package rooflinesweep

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"pipeline/internal/endpoint"
	"pipeline/internal/roofline"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// deadCells is how many cells in a row may be without an answer before the
// rest is left out: the endpoint is gone.
const deadCells = 3

// A sweep is a run of the step.
type sweep struct {
	step     *Step
	env      *steps.Env
	identity endpoint.Identity
	text     []byte // of the identity
	manifest roofline.Manifest
	bundle   *roofline.Writer
	notFull  []string // cells, with the reason
	dead     int      // cells without an answer, in a row
}

func (s *Step) newSweep(env *steps.Env) (*sweep, error) {
	setup := env.In["setup"]
	if len(setup) != 1 {
		return nil, fmt.Errorf("port setup has %d inputs, and one endpoint is swept: give this step the axes of the step wired there: %w", len(setup), steps.ErrPermanent)
	}
	w := &sweep{step: s, env: env}
	var err error
	if w.text, err = setup[0].ReadAll(identityFile); err != nil {
		return nil, fmt.Errorf("read %s of step %s: %w", identityFile, setup[0].Step, err)
	}
	if w.identity, err = endpoint.ParseIdentity(w.text); err != nil {
		return nil, fmt.Errorf("step %s: %w: %w", setup[0].Step, err, steps.ErrPermanent)
	}
	if w.manifest, err = w.describe(); err != nil {
		return nil, fmt.Errorf("step %s: %w: %w", setup[0].Step, err, steps.ErrPermanent)
	}
	dir, err := os.MkdirTemp(env.Dir, "bundle-")
	if err != nil {
		return nil, err
	}
	w.bundle = roofline.NewWriter(dir)
	return w, nil
}

// describe makes the manifest of what the endpoint is. A bundle without its
// hardware or its parallelism could not be set beside anything.
func (w *sweep) describe() (roofline.Manifest, error) {
	id, s := w.identity, w.step
	known := func(field string) string {
		if v := id.Value(field); v != perf.Unknown {
			return v
		}
		return ""
	}
	count := func(field string) int {
		n, err := strconv.Atoi(known(field))
		if err != nil {
			return 0
		}
		return n
	}
	m := roofline.Manifest{
		Campaign: w.env.Campaign.Name, CreatedAt: w.env.Now().UTC().Format(time.RFC3339), Tool: roofline.Tool{Name: "pipeline", Version: fmt.Sprintf("roofline_sweep %d", protocol-1+s.cell.Version)},
		Hardware: known(endpoint.Hardware), Model: roofline.Model{Name: known(endpoint.Model), Shape: known(endpoint.ModelShape), Revision: known(endpoint.ModelRevision)},
		Engine:         roofline.Engine{Name: known(endpoint.Engine), Version: known(endpoint.EngineVersion), ImageDigest: known(endpoint.ImageDigest)},
		TensorParallel: count(endpoint.TP), PipelineParallel: count(endpoint.PP), DataParallel: count(endpoint.DP), ExpertParallel: count(endpoint.EP),
		KVCacheDtype: known(endpoint.KVCacheDtype), Quant: known(endpoint.Quant), CacheMode: s.CacheMode, Trials: s.Trials,
		Simulated: known(endpoint.Simulated) == "true",
	}
	if m.Hardware == "" {
		m.Hardware = known(endpoint.CeilingKey)
	}
	if m.Hardware == "" {
		return m, errors.New("the endpoint does not tell its hardware, and a sweep is nothing without it: declare hardware in that step")
	}
	if m.TensorParallel == 0 {
		return m, errors.New("the endpoint does not tell its tensor parallelism: declare tensor_parallel in that step")
	}
	if c := s.Decode.Concurrency; len(c) > 0 {
		m.Sweeps.Decode = &roofline.DecodeSweep{C: c, ISL: s.Decode.ISL, OSL: s.Decode.OSL}
	}
	if isl := s.Prefill.ISL; len(isl) > 0 {
		m.Sweeps.Prefill = &roofline.PrefillSweep{ISL: isl, C: s.Prefill.Concurrency}
	}
	return m, nil
}

func (w *sweep) run(ctx context.Context) error {
	cells := w.step.cells(w.manifest.TensorParallel)
	for i, c := range cells {
		if ctx.Err() != nil || w.dead >= deadCells {
			break
		}
		if err := w.cell(ctx, c, func(text string) {
			w.env.Progress(steps.Progress{Done: i, Total: len(cells), Unit: "cells", Text: roofline.CellID(c) + ": " + text})
		}); err != nil {
			return err
		}
	}
	w.env.Progress(steps.Progress{Done: len(cells), Total: len(cells), Unit: "cells"})
	if err := w.write(); err != nil {
		return err
	}
	w.doubt()
	switch {
	case ctx.Err() != nil:
		return &steps.Failed{Partial: true, Reason: fmt.Sprintf("cut_short: %v", context.Cause(ctx))}
	case w.dead >= deadCells:
		return &steps.Failed{Partial: true, Reason: fmt.Sprintf("endpoint_lost: %d cells in a row gave no answer, and the rest was left out; the last: %s", w.dead, w.notFull[len(w.notFull)-1])}
	case len(w.notFull) > 0:
		return &steps.Failed{Partial: true, Reason: fmt.Sprintf("%d of %d cells are not FULL: %s", len(w.notFull), len(cells), w.notFull[0])}
	}
	return nil
}

// cell measures one cell until it is FULL, and puts it into the bundle. An
// error is one of the bundle.
func (w *sweep) cell(ctx context.Context, c roofline.Cell, tell func(string)) error {
	var r result
	for range w.step.Attempts {
		c.StartNS = w.env.Now().UnixNano()
		r = w.measure(ctx, c, tell)
		c.EndNS = w.env.Now().UnixNano()
		var failed *steps.Failed
		if r.full() || ctx.Err() != nil || errors.Is(r.err, steps.ErrPermanent) || errors.As(r.err, &failed) && failed.Final {
			break
		}
	}
	if ctx.Err() != nil && r.m == nil {
		return nil // not begun, as far as the bundle goes
	}
	if w.dead++; r.m != nil && r.m.Status != perf.Failed {
		w.dead = 0
	}
	if !r.full() {
		reason := "it is not FULL"
		if r.err != nil {
			reason = r.err.Error()
		}
		w.notFull = append(w.notFull, fmt.Sprintf("%s: %s", roofline.CellID(c), reason))
		if r.m == nil {
			c.ExitCode, c.Error = 1, reason
		}
	}
	c.DP, c.EP, c.PP, c.KVCacheDtype = w.manifest.DataParallel, w.manifest.ExpertParallel, w.manifest.PipelineParallel, w.manifest.KVCacheDtype
	if node := w.identity.Value(endpoint.Node); node != perf.Unknown {
		c.Node = node
	}
	if r.m != nil {
		w.manifest.Simulated = w.manifest.Simulated || r.m.Simulated
	}
	return w.bundle.PutCell(c, r.files)
}

// write packs the bundle.
func (w *sweep) write() error {
	if err := w.bundle.Put("server/identity.json", w.text); err != nil {
		return err
	}
	if w.manifest.Simulated {
		w.manifest.Notes = append(w.manifest.Notes, "SIMULATED: the endpoint is a simulation, and its numbers say nothing of hardware")
	}
	if err := w.bundle.Finish(w.manifest); err != nil {
		return err
	}
	out, err := w.env.Create(bundleFile)
	if err != nil {
		return err
	}
	if err := roofline.Pack(out, w.bundle.Dir()); err != nil {
		return errors.Join(err, out.Close())
	}
	return out.Close()
}

// What a sweep should be for its answers to be of decode and prefill alone.
const (
	goodOSL     = 512
	goodPrompts = 2 // a stream
)

// doubt says what weakens the sweep as a whole.
func (w *sweep) doubt() {
	d := &w.step.Decode
	if len(d.Concurrency) > 0 && d.OSL < goodOSL {
		w.env.Doubt("roof_short_osl: decode cells have %d output tokens; below %d, prefill takes a part of their time that counts", d.OSL, goodOSL)
	}
	if len(d.Concurrency) > 0 && d.PromptsPerStream < goodPrompts {
		w.env.Doubt("roof_few_prompts: %d prompts a stream; below %d the ramp dominates", d.PromptsPerStream, goodPrompts)
	}
	if len(w.notFull) > 0 {
		w.env.Doubt("roof_cells: %s", strings.Join(w.notFull, "; "))
	}
}
