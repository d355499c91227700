// Package serve is the kind serve: it holds an endpoint open while cells are
// measured against it.
//
// Of kind sim, the endpoint is a process of this program (pipeline sim) on a
// free port of loopback, in a process group of its own. Its lease stands in
// its command line, so that Close finds it by the lease alone: also from
// another process, after this one was killed.
//
// Of kind url, the endpoint is someone else's and stands by itself: Open and
// Close touch nothing.
package serve

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pipeline/internal/endpoint"
	"pipeline/internal/sol"
	"pipeline/internal/vllmsim"
	"pipeline/steps"
)

// A Launcher says how to start the simulated endpoint: the program and what
// stands before the arguments of the simulation.
type Launcher struct {
	Program string   // path of an executable
	Args    []string // {"sim"} for pipeline itself
}

// Kind returns the kind serve. The launcher is for endpoints of kind sim.
func Kind(l Launcher) steps.Kind {
	return steps.Kind{
		Name:    "serve",
		Summary: "hold an endpoint open: start a simulated one, or name one that is there",
		Doc:     doc,
		Version: 1,
		Effect:  steps.Hold,
		Pool:    "serve",
		New: func() steps.Step {
			d := vllmsim.Defaults()
			return &Step{
				launcher: l,
				Endpoint: Endpoint{Kind: "sim", Sim: Sim{
					Efficiency: d.Efficiency, StepOverhead: steps.Duration(d.StepOverhead), CollectiveLatency: steps.Duration(d.CollectiveLatency),
					TimeScale: d.TimeScale, MeanOutputTokens: d.MeanOutputTokens,
				}},
				ReadyTimeout: steps.Duration(2 * time.Minute),
			}
		},
	}
}

const doc = `The steps wired to it get the address. The endpoint is opened only if one of them has to
run, and it is closed when all of them have settled, also after a crash.

    - id: server
      uses: serve
      with: {endpoint: {kind: sim}, model: {name: zai-org/GLM-5.1-FP8, shape: glm-5.1-fp8}, hardware: b200_sm100, tensor_parallel: 8}

With kind url the address is no part of any key: what is measured depends on
what the endpoint is (see the kind init), and not on where it is.
`

// Step holds an endpoint open.
type Step struct {
	Endpoint       Endpoint           `json:"endpoint" key:"yes" doc:"Which endpoint."`
	Model          endpoint.ModelSpec `json:"model" key:"yes" doc:"The model it serves."`
	Hardware       string             `json:"hardware" key:"yes" doc:"GPU: a key of configs/sol-ceilings.yaml, or, of an endpoint that is there, of ceilings."`
	Ceilings       steps.File         `json:"ceilings" key:"no" doc:"File of ceilings of your own, if hardware is a key of it; init checks it."`
	TensorParallel int                `json:"tensor_parallel" key:"yes" min:"0" doc:"Tensor parallelism; 0 is not declared (sim: 8)."`
	Args           endpoint.Args      `json:"args" key:"yes" doc:"Arguments of the server."`
	ReadyTimeout   steps.Duration     `json:"ready_timeout" key:"no" min:"1s" doc:"How long a server that was started may take until it lists its model."`

	launcher Launcher
}

// Endpoint says which endpoint.
type Endpoint struct {
	Kind      string        `json:"kind" key:"yes" enum:"sim,url,kubernetes" doc:"sim: start a simulated one. url: one that is there."`
	URL       string        `json:"url" key:"no" doc:"Address of an endpoint of kind url: http://host:8000."`
	APIKeyEnv steps.EnvName `json:"api_key_env" key:"no" doc:"Environment variable that holds the endpoint's API key."`
	CAFile    steps.File    `json:"ca_file" key:"no" doc:"PEM file of certificates to trust beside the system's, for https."`
	Insecure  bool          `json:"insecure_skip_verify" key:"no" doc:"Trust any certificate."`
	Log       steps.File    `json:"log" key:"no" doc:"The log of an endpoint of kind url, if it is on this machine: its start-up lines tell what HTTP does not, and its end why it died."`
	DCGM      []string      `json:"dcgm_urls" key:"no" doc:"Pages of dcgm-exporter on the nodes that serve: http://node:9400/metrics. Cells keep what they show under the load, for dcgm_correlate."`
	Sim       Sim           `json:"sim" key:"yes" doc:"How an endpoint of kind sim simulates."`
}

// Sim are the knobs of the simulation.
type Sim struct {
	Efficiency        float64        `json:"efficiency" key:"yes" min:"0" max:"1" doc:"Share of the roofline that kernels reach."`
	StepOverhead      steps.Duration `json:"step_overhead" key:"yes" min:"0s" doc:"Time added to each step of the engine."`
	CollectiveLatency steps.Duration `json:"collective_latency" key:"yes" min:"0s" doc:"Fixed time of one all-reduce."`
	TimeScale         float64        `json:"time_scale" key:"yes" min:"0" doc:"Factor on every step time; 0.1 is ten times faster than the GPU."`
	MeanOutputTokens  int            `json:"mean_output_tokens" key:"yes" min:"1" doc:"Mean length of an answer that may end by itself."`
	Seed              int            `json:"seed" key:"yes" doc:"Seed of texts, lengths and faults."`
	Faults            Faults         `json:"faults" key:"yes" doc:"What goes wrong, for trying out."`
}

// Faults are what the simulation does wrong on request.
type Faults struct {
	ErrorRate      float64        `json:"error_rate" key:"yes" min:"0" max:"1" doc:"Share of requests answered with an error."`
	StallRate      float64        `json:"stall_rate" key:"yes" min:"0" max:"1" doc:"Share of streams that pause."`
	Stall          steps.Duration `json:"stall" key:"yes" min:"0s" doc:"Length of the pause."`
	ResetRate      float64        `json:"reset_rate" key:"yes" min:"0" max:"1" doc:"Share of streams that are cut."`
	SlowStart      steps.Duration `json:"slow_start" key:"yes" min:"0s" doc:"Time before the model is listed."`
	CoalesceTokens int            `json:"coalesce_tokens" key:"yes" min:"0" doc:"Tokens in one event; 0 and 1 are one."`
	CrashAfter     int            `json:"crash_after" key:"yes" min:"0" doc:"Requests after which the engine dies; 0 is never."`
	NoUsage        bool           `json:"no_usage" key:"yes" doc:"Answers come without usage."`
	NoTokenize     bool           `json:"no_tokenize" key:"yes" doc:"There is no /tokenize."`
	NoMetrics      bool           `json:"no_metrics" key:"yes" doc:"There is no /metrics."`
	NoServerInfo   bool           `json:"no_server_info" key:"yes" doc:"There is no /server_info, as with vLLM outside of development mode."`
	DCGM           string         `json:"dcgm" key:"yes" doc:"What is wrong with the GPU counters: thermal, idle, co_tenant, … (pipeline sim --help lists all), separated by commas."`
}

// Check refuses what cannot be opened.
func (s *Step) Check() error {
	switch s.Endpoint.Kind {
	case "url":
		if s.Endpoint.URL == "" {
			return &steps.ParamError{Param: "endpoint.url", Err: errors.New("an endpoint of kind url needs it: http://host:8000")}
		}
		if _, err := endpoint.ParseURL(s.Endpoint.URL); err != nil {
			return &steps.ParamError{Param: "endpoint.url", Err: err}
		}
		for _, page := range s.Endpoint.DCGM {
			if _, err := endpoint.ParseURL(page); err != nil {
				return &steps.ParamError{Param: "endpoint.dcgm_urls", Err: err}
			}
		}
	case "sim":
		if err := s.checkSim(); err != nil {
			return err
		}
	case "kubernetes":
		return &steps.ParamError{Param: "endpoint.kind", Err: errors.New("kubernetes is not built yet; forward a port of the service (kubectl port-forward) and use kind url")}
	}
	d := endpoint.Declaration{Model: s.Model, Hardware: s.Hardware, TensorParallel: s.TensorParallel, Args: s.Args, OwnCeilings: s.Ceilings != "" && s.Endpoint.Kind != "sim"}
	if param, err := d.Check(); err != nil {
		return &steps.ParamError{Param: param, Err: err}
	}
	if s.Endpoint.Kind == "sim" {
		return s.tryConfig()
	}
	return nil
}

// tryConfig makes the simulated server once, here, so that what it refuses (a
// model that does not fit the GPUs) is said before anything runs.
func (s *Step) tryConfig() error {
	server, err := vllmsim.New(s.config())
	if err != nil {
		return &steps.ParamError{Param: "endpoint.sim", Err: err}
	}
	return server.Close()
}

func (s *Step) checkSim() error {
	refuse := func(param, format string, a ...any) error {
		return &steps.ParamError{Param: param, Err: fmt.Errorf(format, a...)}
	}
	switch {
	case s.Endpoint.URL != "":
		return refuse("endpoint.url", "an endpoint of kind sim has no address yet; use kind url for one that is there")
	case s.Endpoint.CAFile != "" || s.Endpoint.Insecure:
		return refuse("endpoint.kind", "a simulated endpoint has no https")
	case len(s.Endpoint.DCGM) > 0:
		return refuse("endpoint.dcgm_urls", "a simulated endpoint has an exporter of its own, at /dcgm/metrics")
	case s.Model.Name == "":
		return refuse("model.name", "a simulated endpoint needs the name it serves")
	case s.Model.Shape == "":
		_, err := sol.BuiltinShape("")
		return refuse("model.shape", "a simulated endpoint needs one: %w", err)
	case s.Hardware == "":
		return refuse("hardware", "a simulated endpoint needs a key of configs/sol-ceilings.yaml")
	case s.Args.PipelineParallelSize > 1:
		return refuse("args.pipeline_parallel_size", "pipeline parallelism is not simulated")
	case s.Args.DataParallelSize > 1:
		return refuse("args.data_parallel_size", "data parallelism is not simulated")
	case s.Args.EnableExpertParallel != nil && *s.Args.EnableExpertParallel:
		return refuse("args.enable_expert_parallel", "expert parallelism is not simulated")
	case s.Endpoint.Sim.TimeScale <= 0:
		return refuse("endpoint.sim.time_scale", "it must be above 0")
	case s.Endpoint.Sim.Efficiency <= 0:
		return refuse("endpoint.sim.efficiency", "it must be above 0")
	}
	return nil
}

// Standing reports that the endpoint is someone else's.
func (s *Step) Standing() bool { return s.Endpoint.Kind == "url" }

// Open starts a simulated endpoint and waits until it lists its model; of an
// endpoint of kind url it only hands out the address.
func (s *Step) Open(ctx context.Context, env *steps.Env) (steps.Live, error) {
	if s.Standing() {
		access := endpoint.Access{URL: s.Endpoint.URL, Insecure: s.Endpoint.Insecure, DCGM: strings.Join(s.Endpoint.DCGM, " ")}
		if f := s.Endpoint.CAFile; f != "" {
			access.CAFile = env.Resolve(string(f))
		}
		if f := s.Endpoint.Log; f != "" {
			access.Log = env.Resolve(string(f))
		}
		return access.Live(string(s.Endpoint.APIKeyEnv)), nil
	}
	return s.openSim(ctx, env)
}

// Close ends the processes that were started under the lease.
func (s *Step) Close(ctx context.Context, lease string) error {
	if s.Standing() {
		return nil
	}
	return endAll(ctx, lease)
}

// config is the simulation that the parameters ask for.
func (s *Step) config() vllmsim.Config {
	c := vllmsim.Defaults()
	sim, args := s.Endpoint.Sim, s.Args
	c.Model, c.ModelShape, c.Hardware = s.Model.Name, s.Model.Shape, s.Hardware
	c.Quantization = args.Quantization
	c.APIKeyEnv = string(s.Endpoint.APIKeyEnv)
	c.Efficiency, c.TimeScale, c.MeanOutputTokens, c.Seed = sim.Efficiency, sim.TimeScale, sim.MeanOutputTokens, int64(sim.Seed)
	c.StepOverhead, c.CollectiveLatency = time.Duration(sim.StepOverhead), time.Duration(sim.CollectiveLatency)
	if args.KVCacheDtype != "" {
		c.KVCacheDtype = args.KVCacheDtype
	}
	for _, f := range []struct {
		field *int
		value int
	}{
		{&c.TensorParallelSize, s.TensorParallel}, {&c.MaxModelLen, args.MaxModelLen}, {&c.MaxNumSeqs, args.MaxNumSeqs},
		{&c.MaxNumBatchedTokens, args.MaxNumBatchedTokens}, {&c.BlockSize, args.BlockSize},
	} {
		if f.value > 0 {
			*f.field = f.value
		}
	}
	if args.GPUMemoryUtilization > 0 {
		c.GPUMemoryUtilization = args.GPUMemoryUtilization
	}
	if args.EnablePrefixCaching != nil {
		c.EnablePrefixCaching = *args.EnablePrefixCaching
	}
	if args.EnableChunkedPrefill != nil {
		c.EnableChunkedPrefill = *args.EnableChunkedPrefill
	}
	f := sim.Faults
	c.Faults = vllmsim.Faults{
		ErrorRate: f.ErrorRate, StallRate: f.StallRate, Stall: time.Duration(f.Stall), ResetRate: f.ResetRate,
		SlowStart: time.Duration(f.SlowStart), CoalesceTokens: f.CoalesceTokens, CrashAfter: f.CrashAfter,
		NoUsage: f.NoUsage, NoTokenize: f.NoTokenize, NoMetrics: f.NoMetrics, NoServerInfo: f.NoServerInfo, DCGM: f.DCGM,
	}
	return c
}
