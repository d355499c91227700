package pipelines_test

import (
	"context"
	"errors"

	"pipeline/steps"
)

// The kinds of the tests have the names and parameters of the real ones and
// run nothing.

type endpoint struct {
	Kind string           `json:"kind" key:"yes" required:"true" enum:"sim,url,kubernetes" doc:"Where the server is."`
	URL  string           `json:"url" key:"no" doc:"Of kind url."`
	Slow float64          `json:"slow" key:"yes" min:"0" doc:"Factor by which the simulation is slower."`
	Args map[string]int64 `json:"args" key:"yes" doc:"Of kind sim."`
}

type model struct {
	Name  string `json:"name" key:"yes" required:"true" doc:"As the server has it."`
	Shape string `json:"shape" key:"yes" doc:"Folder of configs/models."`
}

type ran struct{}

func (ran) Run(context.Context, *steps.Env) error { return nil }

type held struct{}

func (held) Open(context.Context, *steps.Env) (steps.Live, error) { return nil, nil }
func (held) Close(context.Context, string) error                  { return nil }
func (held) Standing() bool                                       { return false }

type serve struct {
	held
	Endpoint       endpoint `json:"endpoint" key:"yes" doc:"What serves."`
	Model          model    `json:"model" key:"yes" required:"true" doc:"What is served."`
	Hardware       string   `json:"hardware" key:"yes" doc:"A key of the ceilings."`
	TensorParallel int      `json:"tensor_parallel" key:"yes" min:"1" max:"64" doc:"GPUs of one replica."`
}

type initStep struct {
	ran
	Endpoint endpoint `json:"endpoint" key:"yes" doc:"What serves."`
	Model    model    `json:"model" key:"yes" doc:"What is served."`
	Hardware string   `json:"hardware" key:"yes" doc:"A key of the ceilings."`

	TensorParallel *int `json:"tensor_parallel" key:"yes" doc:"What the endpoint should have."`
}

type cellRun struct {
	ran
	Driver      string         `json:"driver" key:"yes" enum:"native,aiperf,vllm-bench" doc:"What makes the load."`
	Concurrency int            `json:"concurrency" key:"yes" required:"true" min:"1" doc:"Streams kept busy at once."`
	NumPrompts  int            `json:"num_prompts" key:"yes" min:"1" doc:"Requests in all."`
	ISL         int            `json:"isl" key:"yes" min:"1" doc:"Tokens in."`
	OSL         int            `json:"osl" key:"yes" min:"1" doc:"Tokens out."`
	Rate        *float64       `json:"rate" key:"yes" min:"0" doc:"Requests a second; open loop."`
	Trial       int            `json:"trial" key:"yes" doc:"Repetition."`
	Warmup      steps.Duration `json:"warmup" key:"yes" min:"0s" max:"1h" doc:"Before the measurement."`
	Token       steps.EnvName  `json:"token" key:"no" doc:"Bearer token."`
	Dataset     steps.File     `json:"dataset" key:"yes" doc:"Prompts."`
	Title       string         `json:"title" key:"no" doc:"Of the log."`
	SLO         []slo          `json:"slo" key:"yes" doc:"Goodput limits."`
	Extra       steps.Value    `json:"extra" key:"yes" doc:"Sent with each request."`
}

type slo struct {
	Metric string  `json:"metric" key:"yes" required:"true" enum:"ttft_ms,tpot_ms" doc:"What is limited."`
	Limit  float64 `json:"limit" key:"yes" min:"0" doc:"At most."`
}

func (c *cellRun) Check() error {
	if c.NumPrompts < c.Concurrency {
		return &steps.ParamError{Param: "num_prompts", Err: errors.New("there are fewer prompts than streams")}
	}
	return nil
}

type titled struct {
	ran
	Title string `json:"title" key:"yes" doc:"Of the page."`
}

type publish struct {
	ran
	Strict bool `json:"strict" key:"yes" doc:"Refuse gaps."`
}

type execStep struct {
	ran
	Command []string          `json:"command" key:"yes" required:"true" doc:"Program and arguments."`
	Env     map[string]string `json:"env" key:"yes" doc:"Environment."`
	Files   []steps.File      `json:"files" key:"yes" doc:"Inputs."`
}

func testKinds() steps.Registry {
	out := func(name string) []steps.Output { return []steps.Output{{Name: name, Doc: "What it writes."}} }
	return steps.NewRegistry(
		steps.Kind{Name: "serve", Summary: "Hold an endpoint.", Version: 1, Effect: steps.Hold, Pool: "server",
			New: func() steps.Step { return &serve{TensorParallel: 1, Endpoint: endpoint{Kind: "sim", Slow: 1}} }},
		steps.Kind{Name: "init", Summary: "Look at the endpoint.", Version: 1, Effect: steps.Observe, Outputs: out("campaign.json"),
			Ports: []steps.Port{{Name: "server", Doc: "What to look at."}},
			New:   func() steps.Step { return &initStep{} }},
		steps.Kind{Name: "cell_run", Summary: "Measure one cell.", Version: 3, Effect: steps.Measure, Pool: "endpoint", Outputs: out("measurement.json"),
			Ports: []steps.Port{{Name: "setup", Doc: "The endpoint.", Required: true}, {Name: "server", Doc: "What is held open."}},
			New:   func() steps.Step { return &cellRun{Driver: "native", NumPrompts: 100, ISL: 1024, OSL: 128} }},
		steps.Kind{Name: "aggregate", Summary: "Make the atlas.", Version: 1, Effect: steps.Pure, Outputs: out("atlas.parquet"),
			Ports: []steps.Port{{Name: "cells", Doc: "Measurements.", Required: true, Gaps: true}},
			New:   func() steps.Step { return &titled{} }},
		steps.Kind{Name: "render", Summary: "Make the page.", Version: 1, Effect: steps.Pure, Outputs: out("report.html"),
			Ports: []steps.Port{{Name: "atlas", Doc: "What to show.", Required: true}},
			New:   func() steps.Step { return &titled{Title: "Report"} }},
		steps.Kind{Name: "publish", Summary: "Write the lake.", Version: 1, Effect: steps.Publish,
			Ports: []steps.Port{{Name: "atlas", Doc: "Rows.", Required: true}, {Name: "report", Doc: "Page."}},
			New:   func() steps.Step { return &publish{} }},
		steps.Kind{Name: "exec", Summary: "Run a program.", Version: 1, AnyPort: true, Effect: steps.Pure, Outputs: out("stdout.txt"),
			Ports: []steps.Port{{Name: "in", Doc: "Files to read."}},
			New:   func() steps.Step { return &execStep{} }},
	)
}
