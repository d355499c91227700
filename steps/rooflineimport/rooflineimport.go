// Package rooflineimport is the kind import_roofline_sweep: it reads the bundle
// of a roofline sweep, checks it against what the spec says it is, judges each
// cell as any driver's is judged, and sets it beside what the model must
// compute and move.
//
//	open    the bundle, from a file or a wire; every digest must fit
//	agree   hardware, parallelism and cache mode must be those of the spec
//	cell    the benchmark's result gives a measurement (bench.go, setting.go),
//	        the server's counters say whether the cache was cold (metrics.go),
//	        the GPU counters are cut to the steady window (dcgm.go)
//	sweep   the analysis of package roofline
package rooflineimport

import (
	"context"
	"fmt"
	"strings"

	"pipeline/internal/roofline"
	"pipeline/internal/sol"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// bundleFile is the artifact of the step that makes bundles.
const bundleFile = "roofline-bundle.tar.zst"

// Kind is the kind import_roofline_sweep.
func Kind() steps.Kind {
	return steps.Kind{
		Name:    "import_roofline_sweep",
		Summary: "read the bundle of a roofline sweep over concurrency and input length",
		Doc:     doc,
		Version: 1,
		Effect:  steps.Pure,
		Ports: []steps.Port{
			{Name: "bundle", Doc: "a roofline_sweep step; or give the parameter bundle", Partial: true, Reads: []string{bundleFile}},
		},
		Outputs: []steps.Output{{Name: "roofline.json", Doc: "Each cell with its measurement, GPU counters and analysis, or the reason why it has none (roofline/v1)."}},
		New: func() steps.Step {
			s := &Step{}
			s.BuiltinCeilings, s.BuiltinModels = sol.BuiltinDigests()
			return s
		},
	}
}

const doc = `Wire it to the port roofline of aggregate: each cell becomes a row of atlas_v1, and page 7
of the report is made from them. Several bundles (tensor parallelism, KV cache format) are a
matrix, and page 7 lays them over each other.

    - id: roofline
      uses: import_roofline_sweep
      matrix: {config: [{id: tp8, tp: 8}, {id: tp4, tp: 4}]}
      with: {bundle: 'bundles/${{ cell.config.id }}', hardware: GB300, tensor_parallel: '${{ cell.config.tp }}', cache_mode: cold}
    - {id: atlas, uses: aggregate, in: {cells: cells, roofline: roofline}}

A bundle is a folder or a tar (roofline-bundle/v1, see docs/roofline.md): manifest.yaml with the
digest of every file, and a folder a cell with the result of vllm bench serve, AIPerf or
this program, the stamped lines of dcgmi dmon, and the server's metrics.

What the spec says must be what the manifest says, else the import is refused with
ROOF_FLAG_MISMATCH. A cell that failed or is missing is a row with its reason. A cell of
a cold sweep for which the server found its prompts in the prefix cache is PARTIAL, with
ROOF_NOT_COLD, and in no answer.

Without GPU counters the page still shows throughput and the predicted roofline, and says
that HBM activity was not measured.
`

// Step holds the parameters of one run.
type Step struct {
	Bundle          steps.File `json:"bundle" key:"yes" doc:"Folder, tar or tar.zst of the bundle; or wire the port bundle."`
	Hardware        string     `json:"hardware" key:"yes" required:"true" doc:"The exact token (GB300) or the key (gb300_sm103) of the GPU; it must be the manifest's."`
	TensorParallel  int        `json:"tensor_parallel" key:"yes" required:"true" min:"1" doc:"Tensor parallelism; it must be the manifest's."`
	CacheMode       string     `json:"cache_mode" key:"yes" required:"true" enum:"cold,warm" doc:"State of the prefix cache; it must be the manifest's."`
	KVCacheDtype    string     `json:"kv_cache_dtype" key:"yes" doc:"Format of the KV cache; if given, it must be the manifest's."`
	Ceilings        steps.File `json:"ceilings" key:"yes" doc:"File of ceilings of your own, in the form of configs/sol-ceilings.yaml."`
	BuiltinCeilings string     `json:"builtin_ceilings" key:"yes" doc:"Digest of the ceilings in this program. Leave it out."`
	BuiltinModels   string     `json:"builtin_models" key:"yes" doc:"Digest of the model shapes in this program. Leave it out."`
}

// Check implements steps.Checker.
func (s *Step) Check() error {
	ceilings, models := sol.BuiltinDigests()
	for _, p := range []struct{ name, have, want string }{{"builtin_ceilings", s.BuiltinCeilings, ceilings}, {"builtin_models", s.BuiltinModels, models}} {
		if p.have != p.want {
			return &steps.ParamError{Param: p.name, Err: fmt.Errorf("it is %s in this program; leave it out", p.want)}
		}
	}
	if s.Ceilings == "" {
		c, err := sol.BuiltinCeilings()
		if err != nil {
			return err
		}
		if _, err := c.Find(s.Hardware); err != nil {
			return &steps.ParamError{Param: "hardware", Err: err}
		}
	}
	return nil
}

// Run implements steps.Runner.
func (s *Step) Run(ctx context.Context, env *steps.Env) error {
	lib, err := s.library(env)
	if err != nil {
		return err
	}
	b, err := s.open(env)
	if err != nil {
		return err
	}
	gpu, err := s.agree(lib, &b.Manifest)
	if err != nil {
		return fmt.Errorf("%w: %w", err, steps.ErrPermanent)
	}
	if lib.Own, err = ownShape(b); err != nil {
		return fmt.Errorf("%w: %w", err, steps.ErrPermanent)
	}
	sweep, err := newImport(env, b, lib, gpu).sweep(ctx)
	if err != nil {
		return err
	}
	text, err := sweep.JSON()
	if err != nil {
		return err
	}
	return env.Put("roofline.json", text)
}

func (s *Step) library(env *steps.Env) (*sol.Library, error) {
	path := string(s.Ceilings)
	if path != "" {
		path = env.Resolve(path)
	}
	c, err := sol.ReadCeilings(string(s.Ceilings), path)
	if err != nil {
		return nil, fmt.Errorf("ceilings: %w: %w", err, steps.ErrPermanent)
	}
	return &sol.Library{Ceilings: c}, nil
}

// open opens the bundle of the port or of the parameter.
func (s *Step) open(env *steps.Env) (*roofline.Bundle, error) {
	in := env.In["bundle"]
	switch {
	case s.Bundle != "" && len(in) > 0:
		return nil, fmt.Errorf("there is a bundle on the port and one in the parameter: leave one out: %w", steps.ErrPermanent)
	case s.Bundle != "":
		b, err := roofline.OpenPath(env.Resolve(string(s.Bundle)), env.Dir)
		if err != nil {
			return nil, fmt.Errorf("bundle %s: %w: %w", s.Bundle, err, steps.ErrPermanent)
		}
		return b, nil
	case len(in) != 1:
		return nil, fmt.Errorf("port bundle has %d inputs, and one bundle is read: give the parameter bundle, or give this step the axes of the step wired there: %w", len(in), steps.ErrPermanent)
	}
	if _, ok := in[0].Artifact(bundleFile); !ok {
		return nil, fmt.Errorf("step %s made no bundle (%s): %w", in[0].Step, in[0].Gap, steps.ErrPermanent)
	}
	r, err := in[0].Open(bundleFile)
	if err != nil {
		return nil, fmt.Errorf("read %s of step %s: %w", bundleFile, in[0].Step, err)
	}
	defer r.Close()
	b, err := roofline.OpenPacked(r, env.Dir)
	if err != nil {
		return nil, fmt.Errorf("step %s: %w: %w", in[0].Step, err, steps.ErrPermanent)
	}
	return b, nil
}

// agree refuses a bundle that is not of what the spec says.
func (s *Step) agree(lib *sol.Library, m *roofline.Manifest) (sol.GPU, error) {
	asked, err := lib.Ceilings.Find(s.Hardware)
	if err != nil {
		return sol.GPU{}, err
	}
	gpu, err := lib.Ceilings.Find(m.Hardware)
	if err != nil {
		return sol.GPU{}, fmt.Errorf("manifest: %w", err)
	}
	mismatch := func(param string, spec, manifest any) error {
		return fmt.Errorf("ROOF_FLAG_MISMATCH: %s is %v, and the manifest says %v", param, spec, manifest)
	}
	switch {
	case asked.Key != gpu.Key:
		return gpu, mismatch("hardware", s.Hardware, m.Hardware)
	case s.TensorParallel != m.TensorParallel:
		return gpu, mismatch("tensor_parallel", s.TensorParallel, m.TensorParallel)
	case s.CacheMode != m.CacheMode:
		return gpu, mismatch("cache_mode", s.CacheMode, m.CacheMode)
	case s.KVCacheDtype != "" && s.KVCacheDtype != m.KVCacheDtype:
		return gpu, mismatch("kv_cache_dtype", s.KVCacheDtype, m.KVCacheDtype)
	}
	return gpu, nil
}

// ownShape is the shape of the model's own config.json, nil if the bundle has
// none.
func ownShape(b *roofline.Bundle) (*sol.Shape, error) {
	config, ok, err := b.ReadOther("server/config.json")
	if err != nil || !ok {
		return nil, err
	}
	var quant []byte
	for _, name := range []string{b.Manifest.Model.QuantMap, "server/hf_quant_config.json"} {
		text, ok, err := b.ReadOther(name)
		if err != nil {
			return nil, err
		}
		if ok {
			quant = text
			break
		}
	}
	shape, err := sol.ParseShape(b.Manifest.Model.Name, config, quant)
	if err != nil {
		return nil, fmt.Errorf("server/config.json of the bundle: %w", err)
	}
	return shape, nil
}

// An importing is one bundle under way.
type importing struct {
	env *steps.Env
	b   *roofline.Bundle
	lib *sol.Library
	gpu sol.GPU
	out *roofline.Sweep
}

func newImport(env *steps.Env, b *roofline.Bundle, lib *sol.Library, gpu sol.GPU) *importing {
	m := &b.Manifest
	s := &roofline.Sweep{
		Schema: roofline.SweepSchema, Bundle: "sha256:" + b.Digest.String(), Hardware: gpu.Key, CeilingKey: gpu.Key,
		CeilingsSHA256: lib.Ceilings.Digest().String(), ComputeCap: gpu.ComputeCapability, Ceilings: map[string]float64{},
		TensorParallel: m.TensorParallel, KVCacheDtype: m.KVCacheDtype, CacheMode: m.CacheMode, Simulated: m.Simulated,
	}
	if len(gpu.Tokens) > 0 {
		s.Hardware = gpu.Tokens[0]
	}
	return &importing{env: env, b: b, lib: lib, gpu: gpu, out: s}
}

func (im *importing) sweep(ctx context.Context) (*roofline.Sweep, error) {
	im.ceilings()
	for i, f := range im.b.Cells {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p, err := im.point(f)
		if err != nil {
			return nil, fmt.Errorf("cell %s: %w", f.ID, err)
		}
		im.out.Points = append(im.out.Points, p)
		im.env.Progress(steps.Progress{Done: i + 1, Total: len(im.b.Cells), Unit: "cells"})
	}
	return im.out, nil
}

// ceilings keeps the figures that page 7 draws, by key path. One that sources
// dispute is left out, and noted; one that the file does not have is no figure
// of this GPU.
func (im *importing) ceilings() {
	paths := []string{im.gpu.BandwidthPath, im.gpu.Key + ".hbm_tbps_clocked"}
	for _, dtype := range []string{"bf16", "fp8", "fp4"} {
		paths = append(paths, im.gpu.Key+".dense_tflops."+dtype)
	}
	for _, path := range paths {
		v, err := im.lib.Ceilings.Lookup(path)
		switch {
		case err == nil:
			im.out.Ceilings[path] = v
		case strings.HasPrefix(err.Error(), "CEIL_NULL"):
			im.note(err.Error())
		}
	}
}

// point judges one cell. An error is a fault of the bundle, of which nothing
// should be believed then.
func (im *importing) point(f roofline.Found) (roofline.Point, error) {
	c := f.Cell
	p := roofline.Point{Cell: f.ID, Kind: c.Kind, C: c.C, ISL: c.ISL, OSL: c.OSL, Trial: max(1, c.Trial), Reason: f.Reason}
	if !f.Has(roofline.BenchFile) {
		return p, nil
	}
	m, err := im.measurement(f)
	if err != nil {
		return p, err
	}
	if f.Reason != "" { // it ended badly, and left something
		if m.Status == perf.Full {
			m.Status = perf.Partial
		}
		m.Reasons = append([]string{f.Reason}, m.Reasons...)
		p.Reason = ""
	}
	m.Simulated = m.Simulated || im.out.Simulated
	im.out.Simulated = im.out.Simulated || m.Simulated
	if err := im.judgeCache(f, m); err != nil {
		return p, err
	}
	p.Measurement = m
	im.analyse(&p)
	if p.DCGM, p.NoDCGM, err = im.counters(f, &p); err != nil {
		return p, err
	}
	return p, nil
}

func (im *importing) analyse(p *roofline.Point) {
	m := p.Measurement
	if m.Status == perf.Failed {
		p.NotAnalysed = "the cell is FAILED"
		return
	}
	if scale := sol.TimeScale(m.Setting); scale != "" && scale != "1" {
		p.NotAnalysed = fmt.Sprintf("SOL_TIME_SCALE: the simulation ran at time_scale %s, and floors are of real time", scale)
		return
	}
	d, notes, err := im.lib.Deployment(m.Setting)
	if err != nil {
		p.NotAnalysed = err.Error()
		return
	}
	for _, n := range notes {
		im.note(n)
	}
	p.Analyse(d)
}

func (im *importing) note(text string) {
	for _, n := range im.out.Notes {
		if n == text {
			return
		}
	}
	im.out.Notes = append(im.out.Notes, text)
}
