package rooflinesweep

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"pipeline/internal/roofline"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// stepOf is the step that measures a cell.
func (s *Step) stepOf(c roofline.Cell) (steps.Runner, error) {
	params := map[string]any{
		"driver": s.Driver, "api": s.API, "concurrency": c.C, "num_prompts": c.NumPrompts, "isl": c.ISL, "osl": c.OSL,
		"warmup": s.Warmup, "seed": s.Seed, "trial": c.Trial, "cache_regime": c.CacheMode, "ignore_eos": true,
	}
	if s.RequestTimeout > 0 {
		params["request_timeout"] = s.RequestTimeout.String()
		params["stall_timeout"] = min(s.RequestTimeout, steps.Duration(2*time.Minute)).String()
	}
	text, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	step := s.cell.New()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(step); err != nil {
		return nil, fmt.Errorf("parameters of %s: %w", s.cell.Name, err)
	}
	if err := s.enums(params); err != nil {
		return nil, err
	}
	if c, ok := step.(steps.Completer); ok {
		c.Complete()
	}
	if check, ok := step.(steps.Checker); ok {
		if err := check.Check(); err != nil {
			return nil, err
		}
	}
	return step.(steps.Runner), nil // kinds that are no Hold are Runners
}

// enums refuses what the language would refuse in a spec of the kind.
func (s *Step) enums(params map[string]any) error {
	list, err := steps.ParamsOf(s.cell.New())
	if err != nil {
		return err
	}
	for _, p := range list {
		if v, ok := params[p.Name].(string); ok && len(p.Enum) > 0 && !slices.Contains(p.Enum, v) {
			return &steps.ParamError{Param: p.Name, Err: fmt.Errorf("%q is not one of %v", v, p.Enum)}
		}
	}
	return nil
}

// A result is what one measurement of a cell left.
type result struct {
	files map[string][]byte // by name in the bundle
	m     *perf.Measurement // nil if nothing could be written
	err   error             // why it is not FULL
}

func (r result) full() bool { return r.err == nil && r.m != nil && r.m.Status == perf.Full }

// renamed are the artifacts of a cell, by their names in a bundle.
var renamed = map[string]string{
	measurementFile: roofline.BenchFile, "requests.jsonl": roofline.RequestsFile, roofline.CaptureFile: roofline.CaptureFile,
}

// measure runs the step of a cell in a world of its own: it writes into the
// bundle, and tells its progress as that of the sweep.
func (w *sweep) measure(ctx context.Context, c roofline.Cell, tell func(text string)) result {
	step, err := w.step.stepOf(c)
	if err != nil {
		return result{err: err}
	}
	dir, err := os.MkdirTemp(w.env.Dir, "cell-")
	if err != nil {
		return result{err: err}
	}
	defer os.RemoveAll(dir)
	out := &steps.Memory{Kind: &w.step.cell, Files: map[string][]byte{}}
	env := *w.env
	env.Dir, env.Create = dir, out.Create
	env.Log = w.env.Log.With(slog.String("cell", roofline.CellID(c)))
	env.Doubt = func(format string, a ...any) { env.Log.Warn("doubt", "text", fmt.Sprintf(format, a...)) } // they are in the measurement
	env.Progress = func(p steps.Progress) { tell(fmt.Sprintf("%d/%d %s, %s", p.Done, p.Total, p.Unit, p.Text)) }

	dmon, err := w.step.Dmon.start(ctx, &env)
	if err != nil {
		return result{err: err}
	}
	err = step.Run(ctx, &env)
	r := result{files: map[string][]byte{}, err: err}
	for name, text := range out.Files {
		if as, ok := renamed[name]; ok {
			r.files[as] = text
		}
	}
	dmon.stop(r.files)
	if text, ok := r.files[roofline.BenchFile]; ok {
		if r.m, err = perf.ReadMeasurement(text); err != nil {
			r.err = errors.Join(r.err, err)
		}
	}
	return r
}
