// Package rooflinesweep is the kind roofline_sweep: it measures one endpoint
// over concurrency (decode) and over the input length (prefill), and packs what
// came back as a roofline bundle.
//
// A cell of a sweep is a cell: it is measured by the kind that measures cells,
// which whoever lists the kinds hands to Kind. So it is measured by the same
// drivers, judged by the same rules, and looked at as closely.
//
//	cell.go   runs that kind for one cell, in a world of its own
//	dmon.go   stamps the lines of dcgmi dmon beside it
//	sweep.go  goes over the cells and writes the bundle
package rooflinesweep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"pipeline/internal/roofline"
	"pipeline/steps"
)

const (
	bundleFile      = "roofline-bundle.tar.zst"
	identityFile    = "identity.json"
	measurementFile = "measurement.json"
)

// protocol is the number of the way of sweeping. That of measuring a cell adds
// to it.
const protocol = 1

// Kind is the kind roofline_sweep, which measures cells with cell.
func Kind(cell steps.Kind) steps.Kind {
	return steps.Kind{
		Name:    "roofline_sweep",
		Summary: "measure an endpoint over concurrency and input length, and pack a roofline bundle",
		Doc:     doc,
		Version: protocol - 1 + cell.Version,
		Effect:  steps.Measure,
		Pool:    cell.Pool,
		Ports:   ports(cell),
		Outputs: []steps.Output{{Name: bundleFile, Doc: "The bundle (roofline-bundle/v1), for import_roofline_sweep; it unpacks with tar --zstd -xf."}},
		New: func() steps.Step {
			return &Step{
				Decode:  DecodeSweep{ISL: 1024, OSL: 512, PromptsPerStream: 4, MinPrompts: 16},
				Prefill: PrefillSweep{Concurrency: 1, Prompts: 8},
				Trials:  1, CacheMode: roofline.Cold, Driver: "native", API: "completions", Attempts: 2,
				Dmon: Dmon{Delay: steps.Duration(500 * time.Millisecond), Fields: []int{1001, 1002, 1003, 1004, 1005, 1009, 1010, 1011, 1012, 100, 101, 112, 155, 150}},
				cell: cell,
			}
		},
	}
}

// ports are those of a cell, but for recorded conversations: a sweep has its own
// lengths.
func ports(cell steps.Kind) []steps.Port {
	return slices.DeleteFunc(slices.Clone(cell.Ports), func(p steps.Port) bool { return p.Name == "dataset" })
}

const doc = `Wire it to import_roofline_sweep: the rows of its cells and page 7 of the report come from
there. One sweep is of one deployment; candidates (tensor parallelism, KV cache format) are
a matrix over server, setup and this step, and page 7 lays them over each other.

    - id: sweep
      uses: roofline_sweep
      in: {server: server, setup: setup}
      matrix: {like: server}
      with:
        decode: {concurrency: [1, 4, 16, 64, 256], isl: 1024, osl: 512}
        prefill: {isl: [1024, 4096, 16384]}
        trials: 3
    - id: roofline
      uses: import_roofline_sweep
      in: {bundle: sweep}
      matrix: {like: server}
      with: {hardware: B200, tensor_parallel: '${{ cell.config.tp }}', cache_mode: cold}

Each cell is measured as cell_run measures it, with fresh prompts if the sweep is cold.
Decode wants answers of 512 tokens and more, so that prefill is a small part of the time,
and four prompts a stream, so that the ramp is a small part of the run. Prefill cells have
answers of one token.

GPU counters come from the exporter that the endpoint names, if it names one, or from
dmon.command, a dcgmi dmon on the node that serves, whose lines are stamped as they come:

    dmon: {capture: true, command: [kubectl, exec, vllm-0, --, dcgmi, dmon]}

to which -e with the field ids and -d with the delay are added. Without either the sweep is
as good, and whether decode reaches 75 % of the memory bandwidth is not measured.

A cell that is not FULL is measured again, up to attempts times; if it still is not, the
bundle holds what there is, with the reason, the step ends as a part, and the next run
sweeps again.
`

// Step sweeps one endpoint.
type Step struct {
	Decode         DecodeSweep    `json:"decode" key:"yes" doc:"The sweep over concurrency."`
	Prefill        PrefillSweep   `json:"prefill" key:"yes" doc:"The sweep over the input length."`
	Trials         int            `json:"trials" key:"yes" min:"1" max:"100" doc:"How often each cell is measured. Trials go round the cells, so that a drift of the machine reaches all of them."`
	CacheMode      string         `json:"cache_mode" key:"yes" enum:"cold,warm" doc:"State of the prefix cache."`
	Driver         string         `json:"driver" key:"yes" doc:"What measures: a driver of cell_run."`
	API            string         `json:"api" key:"yes" enum:"chat,completions" doc:"Which API is asked. completions has no chat template, so that prompts share nothing."`
	Warmup         int            `json:"warmup" key:"yes" min:"0" doc:"Requests before each cell, not measured."`
	Seed           int            `json:"seed" key:"yes" doc:"Seed of prompts."`
	Attempts       int            `json:"attempts" key:"no" min:"1" max:"10" doc:"How often a cell is measured until it is FULL."`
	RequestTimeout steps.Duration `json:"request_timeout" key:"yes" min:"0s" doc:"Longest a request may take; 0 is as cell_run has it."`
	Dmon           Dmon           `json:"dmon" key:"yes" doc:"Capture of GPU counters by dcgmi dmon."`

	cell steps.Kind
}

// A DecodeSweep goes over concurrency.
type DecodeSweep struct {
	Concurrency      []int `json:"concurrency" key:"yes" min:"1" doc:"Streams kept busy; none leaves the sweep out."`
	ISL              int   `json:"isl" key:"yes" min:"1" doc:"Input tokens."`
	OSL              int   `json:"osl" key:"yes" min:"2" doc:"Output tokens."`
	PromptsPerStream int   `json:"prompts_per_stream" key:"yes" min:"1" doc:"Requests of a cell, times its concurrency."`
	MinPrompts       int   `json:"min_prompts" key:"yes" min:"1" doc:"Requests of a cell at least."`
}

// A PrefillSweep goes over the input length.
type PrefillSweep struct {
	ISL         []int `json:"isl" key:"yes" min:"1" doc:"Input tokens; none leaves the sweep out."`
	Concurrency int   `json:"concurrency" key:"yes" min:"1" doc:"Prompts at once."`
	Prompts     int   `json:"prompts" key:"yes" min:"1" doc:"Requests of a cell."`
}

// Check implements steps.Checker.
func (s *Step) Check() error {
	if len(s.Decode.Concurrency)+len(s.Prefill.ISL) == 0 {
		return &steps.ParamError{Param: "decode.concurrency", Err: errors.New("give concurrencies, or input lengths in prefill.isl: there is nothing to sweep")}
	}
	for param, values := range map[string][]int{"decode.concurrency": s.Decode.Concurrency, "prefill.isl": s.Prefill.ISL} {
		sorted := slices.Sorted(slices.Values(values))
		if len(slices.Compact(sorted)) < len(values) {
			return &steps.ParamError{Param: param, Err: fmt.Errorf("%v has a value twice: to repeat cells, raise trials", values)}
		}
	}
	if err := s.Dmon.check(); err != nil {
		return err
	}
	for _, c := range s.cells(0) {
		if _, err := s.stepOf(c); err != nil {
			var param *steps.ParamError
			if errors.As(err, &param) {
				return param
			}
			return err
		}
	}
	return nil
}

// cells lists those of one deployment, trial by trial.
func (s *Step) cells(tp int) []roofline.Cell {
	var cells []roofline.Cell
	for trial := range s.Trials {
		for _, c := range s.Decode.Concurrency {
			cells = append(cells, roofline.Cell{
				Kind: roofline.Decode, TP: tp, C: c, ISL: s.Decode.ISL, OSL: s.Decode.OSL,
				NumPrompts: max(s.Decode.MinPrompts, c*s.Decode.PromptsPerStream), CacheMode: s.CacheMode, Trial: trial + 1,
			})
		}
		for _, isl := range s.Prefill.ISL {
			cells = append(cells, roofline.Cell{
				Kind: roofline.Prefill, TP: tp, C: s.Prefill.Concurrency, ISL: isl, OSL: 1,
				NumPrompts: s.Prefill.Prompts, CacheMode: s.CacheMode, Trial: trial + 1,
			})
		}
	}
	return cells
}

// Run implements steps.Runner.
func (s *Step) Run(ctx context.Context, env *steps.Env) error {
	w, err := s.newSweep(env)
	if err != nil {
		return err
	}
	return w.run(ctx)
}
