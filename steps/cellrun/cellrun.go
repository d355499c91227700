// Package cellrun is the kind cell_run: it puts one load on one endpoint and
// writes what came back, with everything the numbers depend on.
//
//	before   the endpoint must still be what setup saw; the prefix cache is
//	         emptied if the cell is cold; the server's counters are read
//	load     by the driver; the server's gauges are sampled meanwhile
//	after    counters again, once nothing runs; the endpoint must still be
//	         the same, and the same process
//	judge    lake/perf says what the requests amount to
//
// An endpoint that changed meanwhile gives evidence and never an answer: the
// measurement is written as FAILED, with the field that changed.
package cellrun

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"pipeline/internal/aiperf"
	"pipeline/internal/conversation"
	"pipeline/internal/dcgm"
	"pipeline/internal/loadgen"
	"pipeline/internal/tool"
	"pipeline/internal/vllmbench"
	"pipeline/lake/perf"
	"pipeline/steps"
)

const (
	measurementFile = "measurement.json"
	requestsFile    = "requests.jsonl"
	artifactsFile   = "artifacts.tar.gz"
	telemetryFile   = "gpu_telemetry_export.jsonl"
	identityFile    = "identity.json" // of the step wired to port setup
)

// protocol is the number of the way of measuring. A person raises it when the
// same cell would give other numbers.
const protocol = 1

// Kind is the kind cell_run.
func Kind() steps.Kind {
	return steps.Kind{
		Name:    "cell_run",
		Summary: "measure one cell: put a load on an endpoint and record every request",
		Doc:     doc,
		Version: protocol,
		Effect:  steps.Measure,
		Pool:    "endpoint",
		Ports: []steps.Port{
			{Name: "server", Doc: "The endpoint: a step of kind serve.", Required: true, Hold: true},
			{Name: "setup", Doc: "What the endpoint is: a step of kind init. With an unresolved identity the cell is measured, and never reused.", Required: true, Partial: true, Reads: []string{identityFile}},
			{Name: "runner", Doc: "Where the load comes from: a step of kind runner. Without it, this machine, unchecked.", Hold: true},
			{Name: "dataset", Doc: "What is sent: a step of kind dataset. Without it, prompts are made of random words.", Reads: []string{conversation.FileName, conversation.DatasetFile}},
		},
		Outputs: []steps.Output{
			{Name: measurementFile, Doc: "Setting, summaries, server counters, status and doubts (measurement/v1)."},
			{Name: requestsFile, Doc: "One line a request: when it was sent, when its tokens came, how many.", Optional: true},
			{Name: dcgm.CaptureFile, Doc: "What the exporters of GPU counters showed under the load, for dcgm_correlate.", Optional: true},
			{Name: telemetryFile, Doc: "What AIPerf saw of the GPUs, if its args ask for --gpu-telemetry, for dcgm_correlate.", Optional: true},
			{Name: artifactsFile, Doc: "What the tools wrote, and what they said: a folder a tool.", Optional: true, Volatile: true},
		},
		New: func() steps.Step {
			return &Step{
				Driver: native, CrossCheck: "none", API: loadgen.Chat, Arrival: auto, NumPrompts: 16, ISL: 1024, OSL: 128, Turns: 1,
				IgnoreEOS: true, CacheRegime: cold, MaxErrorRate: perf.MaxErrorShare,
				RequestTimeout: steps.Duration(loadgen.DefaultTimeout), StallTimeout: steps.Duration(2 * time.Minute),
				KeepArtifacts: true, StartTimeout: steps.Duration(5 * time.Minute), ToolTimeout: steps.Duration(2 * time.Hour),
				KeepRequests: true, ReadyTimeout: steps.Duration(5 * time.Second), ScrapeInterval: steps.Duration(500 * time.Millisecond),
				DCGMInterval: steps.Duration(100 * time.Millisecond),
			}
		},
	}
}

const doc = `A closed loop keeps concurrency streams busy; an open loop sends request_rate requests a
second, whatever the server does.

    - id: cells
      uses: cell_run
      in: {server: server, setup: setup}
      matrix: {concurrency: [1, 4, 16], trial: [1, 2, 3]}
      with:
        concurrency: ${{ cell.concurrency }}
        num_prompts: ${{ max(16, 10 * cell.concurrency) }}
        isl: 4096
        osl: 512
        trial: ${{ cell.trial }}

A cold cell empties the prefix cache first (POST /reset_prefix_cache, which vLLM
has in development mode) and sends prompts that no earlier run has sent. A warm
cell does neither: the same seed gives the same prompts, and what the server has
cached of them it finds: one that finds less than half has the doubt not_warm.

With a data set the recorded conversations are played, from the first on, with
their recorded answers as history and their recorded lengths as what is asked.
isl, turns and shared_prefix are those of the data set then. No request is sent
twice: a data set with too few is refused, unless repeat is set.

The driver measures: native, the load generator of this program, or a tool that
others wrote. Whatever it is, the endpoint is looked at before and after, the
server's metrics are read around the load and during it, and the requests are
judged alike. aiperf runs "aiperf profile", one load a call, with prompts that
do not repeat; "pipeline tools install aiperf" installs the version that the key
names. vllm-bench runs "vllm bench serve" of a vLLM that is installed, whose
version must be given.

    - id: checked
      uses: cell_run
      in: {server: server, setup: setup}
      with:
        concurrency: 16
        num_prompts: 160
        cross_check: aiperf
        aiperf: {tokenizer_dir: tokenizer/, args: [--slice-duration, "10"]}

With cross_check a second driver measures the same load after the first. What
they differ by, in TTFT, TPOT, throughput and tokens, is in cross_check of the
measurement, in the row of the cell and on the page; more than 5 % is a doubt.

A load in which nothing moves, by the client and by the server's counters, is
cut after stall_timeout; a tool that hangs, after start_timeout or tool_timeout,
with all that it started. What was seen by then stays, as a part.

Its phases are pre metrics, run (prompts and warm-up), monitor (the measured
requests), post metrics and download; a spec may give them numbers with phase.

The status is FULL, PARTIAL or FAILED. Only a FULL measurement is ever reused.
`

// auto is the arrival that follows from the load.
const auto = "auto"

// The regimes of the prefix cache.
const (
	cold = "cold"
	warm = "warm"
)

// Step measures one cell.
type Step struct {
	Driver         string         `json:"driver" key:"yes" enum:"native,aiperf,vllm-bench" doc:"What measures. native is the load generator of this program; the others are tools that others wrote (pipeline tools ls)."`
	CrossCheck     string         `json:"cross_check" key:"yes" enum:"none,native,aiperf,vllm-bench" doc:"A second driver that measures the same cell after the first; what they differ by is in the measurement."`
	API            string         `json:"api" key:"yes" enum:"chat,completions" doc:"Which API is asked."`
	Concurrency    int            `json:"concurrency" key:"yes" min:"0" doc:"Streams kept busy (closed loop). Either this or request_rate."`
	RequestRate    float64        `json:"request_rate" key:"yes" min:"0" doc:"Requests a second (open loop)."`
	Arrival        string         `json:"arrival" key:"yes" enum:"auto,closed,constant,poisson" doc:"When requests start. auto is closed with concurrency, poisson with request_rate."`
	MaxInFlight    int            `json:"max_in_flight" key:"yes" min:"0" doc:"Open loop: the most requests at once; 0 is no limit."`
	RampUp         steps.Duration `json:"ramp_up" key:"yes" min:"0s" doc:"Closed loop: the streams start one after another over this time."`
	NumPrompts     int            `json:"num_prompts" key:"yes" min:"1" max:"10000000" doc:"Requests measured. Below 2 × concurrency the ramp dominates, which is a doubt."`
	Warmup         int            `json:"warmup" key:"yes" min:"0" doc:"Requests before, not measured."`
	ISL            int            `json:"isl" key:"yes" min:"1" max:"10000000" doc:"Input tokens of a request."`
	OSL            int            `json:"osl" key:"yes" min:"1" doc:"Output tokens of a request; in a data set, of one that does not say."`
	SharedPrefix   int            `json:"shared_prefix" key:"yes" min:"0" doc:"Input tokens that all prompts have in common."`
	Turns          int            `json:"turns" key:"yes" min:"1" doc:"Turns of a conversation; 1 is single requests."`
	Repeat         bool           `json:"repeat" key:"yes" doc:"Send the requests of a data set again where it has fewer than are asked for; a prefix cache answers them."`
	Seed           int            `json:"seed" key:"yes" doc:"Seed of prompts and arrivals."`
	Trial          int            `json:"trial" key:"yes" doc:"Number of the repetition; it is drawn into the seed."`
	IgnoreEOS      bool           `json:"ignore_eos" key:"yes" doc:"Ask the server for exactly osl tokens."`
	Temperature    *float64       `json:"temperature" key:"yes" min:"0" doc:"Sampling temperature; not set is the server's default."`
	SLO            SLO            `json:"slo" key:"yes" doc:"Limits of goodput; 0 is none."`
	CacheRegime    string         `json:"cache_regime" key:"yes" enum:"cold,warm" doc:"State of the prefix cache."`
	RequestTimeout steps.Duration `json:"request_timeout" key:"yes" min:"1s" doc:"Longest a request may take."`
	StallTimeout   steps.Duration `json:"stall_timeout" key:"yes" min:"0s" doc:"Longest an answer may pause after its first content. A quarter more, and a load in which nothing moves at all is cut. 0 is no limit."`
	MaxErrorRate   float64        `json:"max_error_rate" key:"yes" min:"0" max:"0.01" doc:"Share of requests that may fail before the measurement is PARTIAL."`
	KeepRequests   bool           `json:"keep_requests" key:"yes" doc:"Write requests.jsonl."`
	KeepChunks     bool           `json:"keep_chunks" key:"yes" doc:"Keep the arrival of each chunk in requests.jsonl."`
	Calibrate      bool           `json:"calibrate" key:"no" doc:"Measure first what the load generator can take on this machine."`
	AIPerf         Tool           `json:"aiperf" key:"yes" doc:"Of the driver aiperf; without meaning for others."`
	VLLMBench      Tool           `json:"vllm_bench" key:"yes" doc:"Of the driver vllm-bench; without meaning for others."`
	UniquePrompts  int            `json:"unique_prompts" key:"yes" min:"0" doc:"Of the driver aiperf: different prompts, or conversations, to take turns at; 0 is as many as are sent, so that none comes twice."`
	KeepArtifacts  bool           `json:"keep_artifacts" key:"yes" doc:"Write what a tool left as artifacts.tar.gz."`
	StartTimeout   steps.Duration `json:"start_timeout" key:"no" min:"1s" doc:"How long a tool may say and do nothing before its first request has ended, and after its last."`
	ToolTimeout    steps.Duration `json:"tool_timeout" key:"no" min:"1s" doc:"How long a tool may run; all that it started is ended then."`
	ReadyTimeout   steps.Duration `json:"ready_timeout" key:"no" min:"0s" doc:"How long the endpoint may take to answer before and after the load."`
	ScrapeInterval steps.Duration `json:"scrape_interval" key:"no" min:"10ms" doc:"Between two looks at the server's gauges."`
	DCGMInterval   steps.Duration `json:"dcgm_interval" key:"no" min:"0s" doc:"Between two looks at the exporter of GPU counters, if the endpoint names one; longer while it shows nothing new. 0 is never."`
}

// SLO are limits that a good request keeps.
type SLO struct {
	TTFTms float64 `json:"ttft_ms" key:"yes" min:"0" doc:"To the first token."`
	TPOTms float64 `json:"tpot_ms" key:"yes" min:"0" doc:"A token after the first."`
	E2Ems  float64 `json:"e2e_ms" key:"yes" min:"0" doc:"To the last token."`
}

// Tool is how a tool is found and called.
type Tool struct {
	Version      string        `json:"version" key:"yes" doc:"The version that measures; another one is refused. Default the one that this program is made for; of vllm-bench there is none."`
	Path         string        `json:"path" key:"no" doc:"Where its program is. Default the home, then the PATH."`
	Tokenizer    string        `json:"tokenizer" key:"yes" doc:"What it counts tokens with: a repository of the Hugging Face Hub, or builtin. Default the model's; on a simulation, the simulation's."`
	TokenizerDir steps.File    `json:"tokenizer_dir" key:"yes" doc:"A folder with a tokenizer in its place: no network is needed then."`
	TokenEnv     steps.EnvName `json:"token_env" key:"no" doc:"Environment variable that holds a read token of the Hugging Face Hub, for a tokenizer that is gated. The tool gets it as HF_TOKEN; of the environment of this program it gets no key and no token."`
	Args         []string      `json:"args" key:"yes" doc:"Further arguments of its command line. What parameters say is refused."`
}

// uses reports whether a driver has a part in the cell.
func (s *Step) uses(driver string) bool { return s.Driver == driver || s.CrossCheck == driver }

// Complete implements steps.Completer. A tool that is used has a version, so
// that the key names it; what tools that are not used are told changes nothing.
func (s *Step) Complete() {
	s.AIPerf = s.AIPerf.complete(s.uses(aiperfName), tool.AIPerf().Version)
	s.VLLMBench = s.VLLMBench.complete(s.uses(vllmBenchName), "")
	if !s.uses(aiperfName) {
		s.UniquePrompts = 0
	}
}

func (t Tool) complete(used bool, version string) Tool {
	if !used {
		return Tool{}
	}
	t.Version = cmp.Or(t.Version, version)
	return t
}

// Check refuses what is no load.
func (s *Step) Check() error {
	refuse := func(param, format string, a ...any) error {
		return &steps.ParamError{Param: param, Err: fmt.Errorf(format, a...)}
	}
	closed := s.Concurrency > 0
	switch {
	case closed == (s.RequestRate > 0):
		return refuse("concurrency", "give either concurrency (closed loop) or request_rate (open loop)")
	case closed && s.Arrival != auto && s.Arrival != perf.Closed:
		return refuse("arrival", "%s needs request_rate, and not concurrency", s.Arrival)
	case !closed && s.Arrival == perf.Closed:
		return refuse("arrival", "closed needs concurrency, and not request_rate")
	case closed && s.MaxInFlight > 0:
		return refuse("max_in_flight", "a closed loop has concurrency requests at once")
	case !closed && s.RampUp > 0:
		return refuse("ramp_up", "only a closed loop has a ramp")
	case s.SharedPrefix > s.ISL:
		return refuse("shared_prefix", "%d tokens in common are more than isl, %d", s.SharedPrefix, s.ISL)
	case s.SLO.E2Ems > 0 && s.SLO.TTFTms > s.SLO.E2Ems:
		return refuse("slo.ttft_ms", "%g is above slo.e2e_ms, %g", s.SLO.TTFTms, s.SLO.E2Ems)
	case s.StallTimeout > s.RequestTimeout:
		return refuse("stall_timeout", "%s is above request_timeout, %s", s.StallTimeout, s.RequestTimeout)
	case s.KeepChunks && !s.KeepRequests:
		return refuse("keep_chunks", "chunks are kept in requests.jsonl, which keep_requests leaves out")
	}
	return s.checkTools()
}

// checkTools refuses what a tool cannot do, or must not be told.
func (s *Step) checkTools() error {
	refuse := func(param, format string, a ...any) error {
		return &steps.ParamError{Param: param, Err: fmt.Errorf(format, a...)}
	}
	if s.CrossCheck == s.Driver {
		return refuse("cross_check", "%s is the driver itself; name another one", s.Driver)
	}
	for _, t := range []struct {
		param string
		Tool
	}{{"aiperf", s.AIPerf}, {"vllm_bench", s.VLLMBench}} {
		if t.Tokenizer != "" && t.TokenizerDir != "" {
			return refuse(t.param+".tokenizer", "tokenizer_dir gives another one")
		}
	}
	if s.uses(aiperfName) {
		if s.SharedPrefix == s.ISL {
			return refuse("shared_prefix", "AIPerf gives each prompt a token of its own at least; isl is %d", s.ISL)
		}
		if err := aiperf.CheckExtra(s.AIPerf.Args); err != nil {
			return refuse("aiperf.args", "%w", err)
		}
	}
	if s.uses(vllmBenchName) {
		if s.VLLMBench.Version == "" {
			return refuse("vllm_bench.version", "is not given: name the version of vLLM that measures (vllm --version), since the numbers depend on it")
		}
		if why := vllmbench.Cannot(s.workload()); why != "" {
			return refuse("driver", "vllm bench serve cannot do this: %s", why)
		}
		if err := vllmbench.CheckExtra(s.VLLMBench.Args); err != nil {
			return refuse("vllm_bench.args", "%w", err)
		}
	}
	return nil
}

// workload is what is asked of the endpoint.
func (s *Step) workload() perf.Workload {
	w := perf.Workload{
		API: s.API, Concurrency: s.Concurrency, RequestRate: s.RequestRate, Arrival: s.Arrival,
		NumPrompts: s.NumPrompts, Warmup: s.Warmup, ISL: s.ISL, OSL: s.OSL,
		SharedPrefix: s.SharedPrefix, Turns: s.Turns, IgnoreEOS: s.IgnoreEOS, Temperature: s.Temperature,
		Dataset: "synthetic", Seed: int64(s.Seed)<<20 + int64(s.Trial),
		TTFTSLOms: s.SLO.TTFTms, TPOTSLOms: s.SLO.TPOTms, E2ESLOms: s.SLO.E2Ems,
		RequestTimeoutS: time.Duration(s.RequestTimeout).Seconds(), RampUpS: time.Duration(s.RampUp).Seconds(),
	}
	if s.Arrival == auto {
		w.Arrival = perf.Poisson
		if s.Concurrency > 0 {
			w.Arrival = perf.Closed
		}
	}
	if s.RequestRate > 0 {
		w.Concurrency = s.MaxInFlight
	}
	return w
}

// Run measures.
func (s *Step) Run(ctx context.Context, env *steps.Env) error {
	c, err := newCell(s, env)
	if err != nil {
		return err
	}
	defer c.client.Close()
	gpus := watchGPUs(ctx, env, strings.Fields(c.access.DCGM), time.Duration(s.DCGMInterval))
	m, requests, err := c.measure(ctx)
	if lost := gpus.end(); err == nil {
		err = lost
	}
	if err != nil {
		return err
	}
	if err := c.write(m, requests); err != nil {
		return err
	}
	if err := c.keepArtifacts(); err != nil {
		return err
	}
	env.Progress(steps.Progress{Done: m.Summary.Requests, Total: m.Asked.NumPrompts, Unit: "requests", Text: headline(m)})
	for _, d := range m.Doubts {
		env.Doubt("%s", d)
	}
	if m.Status == perf.Full {
		return nil
	}
	return &steps.Failed{Partial: m.Status == perf.Partial, Final: final(m), Reason: reason(m)}
}

// headline is what people see of a measurement first: the steady window's
// numbers if there is one, else the whole run's.
func headline(m *perf.Measurement) string {
	s := &m.Summary
	if m.Steady != nil {
		s = m.Steady
	}
	var parts []string
	if s.TTFT != nil {
		parts = append(parts, fmt.Sprintf("TTFT %.0f ms", s.TTFT.P50))
	}
	if s.TPOT != nil {
		parts = append(parts, fmt.Sprintf("TPOT %.2f ms", s.TPOT.P50))
	}
	if s.OutputThroughput != nil {
		parts = append(parts, fmt.Sprintf("%.0f tok/s", *s.OutputThroughput))
	}
	return strings.Join(parts, ", ")
}

func reason(m *perf.Measurement) string {
	text := strings.Join(m.Reasons, "; ")
	if m.Failure != "" && !strings.Contains(text, m.Failure) {
		text += ": " + m.Failure
	}
	return text
}
