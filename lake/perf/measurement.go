package perf

import (
	"time"

	"pipeline/internal/digest"
)

// A Status says how much of an answer a measurement is.
type Status string

const (
	Full    Status = "FULL"    // all that was asked, with nothing known against it
	Partial Status = "PARTIAL" // there are numbers, and a reason not to trust them as the answer
	Failed  Status = "FAILED"  // there is no number; the reason is the root cause
)

// A Measurement is what any driver gives for one cell: the requests as the
// client saw them, and what follows from them. All drivers give this one
// shape, so that cells of different drivers can be compared.
type Measurement struct {
	Schema    string    `json:"schema"` // MeasurementSchema
	Status    Status    `json:"status"`
	Reasons   []string  `json:"reasons,omitempty"` // why Status is not FULL
	Doubts    []string  `json:"doubts,omitempty"`  // warnings that travel with the numbers
	Simulated bool      `json:"simulated"`         // the endpoint was a simulation
	Source    *Source   `json:"source,omitempty"`  // the report it was taken from, nil if this program measured
	Setting   Setting   `json:"setting"`           // everything the numbers depend on
	Driver    Driver    `json:"driver"`            // what measured
	Start     time.Time `json:"start"`             // wall clock at offset 0 of all *_ns offsets, UTC
	End       time.Time `json:"end"`

	Asked   Workload `json:"asked"`             // the workload as the spec asked for it
	Summary Summary  `json:"summary"`           // over the whole run, ramp and drain included
	Steady  *Summary `json:"steady,omitempty"`  // over the steady-state window, nil if there is none
	Window  *Window  `json:"window,omitempty"`  // that window
	Client  *Client  `json:"client,omitempty"`  // the health of the generator, nil if the driver does not tell
	Server  *Server  `json:"server,omitempty"`  // the server's own counters over the run, nil if it has none
	Failure string   `json:"failure,omitempty"` // root cause of FAILED, as the server's or the tool's log tells it

	TokenSource string `json:"token_source,omitempty"` // what counted the output tokens, as in Request; several are joined with +

	Evidence   *Evidence   `json:"evidence,omitempty"`    // what the tool left of the run; nil for native
	CrossCheck *CrossCheck `json:"cross_check,omitempty"` // what a second driver measured of the cell; nil if none was asked

	Steadiness *Steadiness `json:"steadiness,omitempty"` // whether throughput has one level in Window; nil if the times of tokens are not known
}

// MeasurementSchema names the shape of a Measurement.
const MeasurementSchema = "measurement/v1"

// A Driver is the tool that measured.
type Driver struct {
	Name    string   `json:"name"`    // native, aiperf, vllm-bench
	Version string   `json:"version"` // of the tool
	Command []string `json:"command"` // the exact command line, secrets redacted; for native, its parameters
}

// A Source is the report of another tool from which a measurement was taken.
type Source struct {
	Format   string        `json:"format"`   // of the report: vllm-bench-json
	Path     string        `json:"path"`     // its name in what was imported
	SHA256   digest.Digest `json:"sha256"`   // of its bytes
	Importer string        `json:"importer"` // what read it, with its version
}

// A Workload is what was asked of the endpoint.
type Workload struct {
	API             string   `json:"api"`                         // chat or completions
	Concurrency     int      `json:"concurrency,omitempty"`       // streams kept busy (closed loop); open loop: the most in flight, 0 is no limit
	RequestRate     float64  `json:"request_rate_rps,omitempty"`  // requests a second (open loop)
	Arrival         string   `json:"arrival"`                     // closed, constant or poisson
	NumPrompts      int      `json:"num_prompts"`                 // requests measured
	Warmup          int      `json:"warmup_requests"`             // requests before, not measured
	ISL             int      `json:"isl"`                         // input tokens asked
	OSL             int      `json:"osl"`                         // output tokens asked
	OneToken        int      `json:"one_token,omitempty"`         // of the measured requests, those of a data set that ask for one token
	SharedPrefix    int      `json:"shared_prefix,omitempty"`     // input tokens that prompts have in common
	Turns           int      `json:"turns,omitempty"`             // of a conversation; 0 and 1 are single requests
	IgnoreEOS       bool     `json:"ignore_eos"`                  // the server was asked not to stop early
	Temperature     *float64 `json:"temperature,omitempty"`       // nil: the server's default
	Dataset         string   `json:"dataset"`                     // synthetic, or the dataset's name
	DatasetDigest   string   `json:"dataset_digest,omitempty"`    // of its content; of the prompts sent for synthetic
	Seed            int64    `json:"seed"`                        // of prompts and arrivals
	TTFTSLOms       float64  `json:"slo_ttft_ms,omitempty"`       // goodput limits; 0 is none
	TPOTSLOms       float64  `json:"slo_tpot_ms,omitempty"`       //
	E2ESLOms        float64  `json:"slo_e2e_ms,omitempty"`        //
	RequestTimeoutS float64  `json:"request_timeout_s,omitempty"` //
	RampUpS         float64  `json:"ramp_up_s,omitempty"`         // closed loop: the streams start one after another over this span
}

// A Request is one request as the client saw it. The *_ns fields are offsets
// from Measurement.Start on the monotonic clock. A negative offset, Never,
// means that it did not happen.
type Request struct {
	Index       int           `json:"index"` // in the order of sending, warm-up apart
	Warmup      bool          `json:"warmup,omitempty"`
	Session     int           `json:"session"`                 // conversation, equal to Index for single requests
	Turn        int           `json:"turn"`                    // from 0
	IntendedNS  int64         `json:"intended_ns"`             // when the schedule wanted it sent; closed loop: when its slot became free
	AcquiredNS  int64         `json:"acquired_ns,omitempty"`   // when a slot was free for it; IntendedNS where nothing limits
	SentNS      int64         `json:"sent_ns"`                 // when its first byte was handed to the connection
	WroteNS     int64         `json:"wrote_ns"`                // when the request was written
	ByteNS      int64         `json:"first_byte_ns"`           // first byte of the response
	EventNS     int64         `json:"first_event_ns"`          // first event with choices, content or not (what vllm bench calls TTFT)
	FirstNS     int64         `json:"first_ns"`                // first event with content: the TTFT of AIPerf and of the design
	LastNS      int64         `json:"last_ns"`                 // last event with content
	DoneNS      int64         `json:"done_ns,omitempty"`       // the [DONE] event, Never if the server sent none
	EndNS       int64         `json:"end_ns"`                  // end of the response or of the attempt
	ChunkNS     []int64       `json:"chunk_ns,omitempty"`      // arrival of each event with content, FirstNS and LastNS included
	Coalesced   int           `json:"coalesced,omitempty"`     // events with content that arrived in one read with the one before
	ISL         int           `json:"isl"`                     // input tokens as counted by TokenSource
	OSL         int           `json:"osl"`                     // output tokens as counted by TokenSource
	Cached      *int          `json:"cached_tokens,omitempty"` // input tokens the server found in its prefix cache
	TokenSource string        `json:"token_source"`            // usage, tokenizer, or chunks (a lower bound)
	Finish      string        `json:"finish_reason,omitempty"`
	ReusedConn  bool          `json:"reused_conn,omitempty"`
	Error       *RequestError `json:"error,omitempty"`
}

// Never is the offset of what did not happen.
const Never int64 = -1

// A RequestError is why a request has no full answer.
type RequestError struct {
	Phase   string `json:"phase"`            // connect, send, headers, stream, deadline
	Status  int    `json:"status,omitempty"` // HTTP status, if one came
	Message string `json:"message"`          // the head of the body, or the transport's error
}

// OK reports whether the request was answered in full.
func (r *Request) OK() bool { return r.Error == nil && r.FirstNS >= 0 }

// Untold is a count that a report of another tool does not tell.
const Untold = -1

// A Summary is what follows from the requests of one span of time, or what
// another tool reports of it. Its counts may then be Untold, and its duration 0.
type Summary struct {
	DurationS         float64  `json:"duration_s"`
	Requests          int      `json:"requests"` // answered in full, sent and ended inside the span
	Errors            int      `json:"errors"`   // of them that ended inside the span
	InputTokens       int64    `json:"input_tokens"`
	OutputTokens      float64  `json:"output_tokens"` // tokens that arrived inside the span
	RequestThroughput *float64 `json:"request_throughput_rps,omitempty"`
	OutputThroughput  *float64 `json:"output_throughput_tps,omitempty"`
	TotalThroughput   *float64 `json:"total_throughput_tps,omitempty"`
	PerUserThroughput *float64 `json:"per_user_tps,omitempty"`     // median over requests of 1/TPOT
	Goodput           *float64 `json:"goodput_rps,omitempty"`      // requests that met every SLO asked; nil without an SLO
	TTFT              *Dist    `json:"ttft_ms,omitempty"`          // sent to first content
	TTFTIntended      *Dist    `json:"ttft_intended_ms,omitempty"` // intended to first content (open loop)
	ITL               *Dist    `json:"itl_ms,omitempty"`           // gaps between content events
	TPOT              *Dist    `json:"tpot_ms,omitempty"`          // (last - first)/(OSL-1), a value a request
	E2E               *Dist    `json:"e2e_ms,omitempty"`           // sent to last content
	E2EIntended       *Dist    `json:"e2e_intended_ms,omitempty"`
	ISL               *Dist    `json:"isl,omitempty"`
	OSL               *Dist    `json:"osl,omitempty"`
	EffectiveBatch    *float64 `json:"b_eff,omitempty"`            // output tok/s × mean TPOT
	PrefixHitRate     *float64 `json:"prefix_hit_rate,omitempty"`  // of input tokens, by the usage of the requests
	TokensPerChunk    *float64 `json:"tokens_per_chunk,omitempty"` // output tokens a content event; ITL is TPOT only where this is 1

	FinishReasons map[string]int `json:"finish_reasons,omitempty"` // of the requests answered in full; "" is none told
}

// A Window is a span of a run, as offsets from Measurement.Start.
type Window struct {
	FromNS int64   `json:"from_ns"`
	ToNS   int64   `json:"to_ns"`
	Method string  `json:"method"` // how it was found
	Share  float64 `json:"share"`  // of the requests answered in full, that ended inside
}

// Client is the health of the load generator. What it does not tell of itself is
// left out: a tool tells less than native.
type Client struct {
	LagP50ms      *float64 `json:"lag_p50_ms,omitempty"` // sent - intended
	LagP99ms      *float64 `json:"lag_p99_ms,omitempty"`
	LagMaxms      *float64 `json:"lag_max_ms,omitempty"`
	WakeP99ms     *float64 `json:"wake_p99_ms,omitempty"`   // how late this process came to run, at the 99th percentile of all instants; nil if it was not watched
	CPUShare      *float64 `json:"cpu_share,omitempty"`     // of the cores the process may use, 0 to 1; of a tool, of the machine's
	BusiestShare  *float64 `json:"busiest_share,omitempty"` // of a tool's processes, the busiest one's of one core; nil for native
	GCPauseMaxms  float64  `json:"gc_pause_max_ms,omitempty"`
	GOMAXPROCS    int      `json:"gomaxprocs,omitempty"` // 0: the generator is no part of this program
	LoadAverage   float64  `json:"load_average,omitempty"`
	NewConns      int      `json:"new_conns,omitempty"`
	ReusedConns   int      `json:"reused_conns,omitempty"`
	Predialled    int      `json:"predialled_conns,omitempty"` // connections opened before the first request
	Coalesced     *float64 `json:"coalesced_share,omitempty"`  // of content events, that shared a read
	EventsARead   float64  `json:"events_per_read,omitempty"`
	AchievedRate  float64  `json:"achieved_rps,omitempty"`
	StealShare    *float64 `json:"cpu_steal_share,omitempty"`  // of all CPU time, taken by other guests of the machine; nil if unknown
	ClockErrorMS  *float64 `json:"clock_error_ms,omitempty"`   // the kernel's estimate for the wall clock; nil if it is not synchronised or not known
	RequestCostUS float64  `json:"request_cost_us,omitempty"`  // self-calibration: client time a request against an instant server, on one stream
	EventsMaxRate float64  `json:"events_max_per_s,omitempty"` // self-calibration: content events a second the client can take on this machine
	Bound         bool     `json:"client_bound"`               // the generator, not the server, may have set the numbers
	Why           string   `json:"why,omitempty"`
}

// Server is what the server's own counters say of the run, as differences
// between a scrape before and one after. A nil field was not told.
type Server struct {
	PromptTokens     *float64           `json:"prompt_tokens,omitempty"`
	GenerationTokens *float64           `json:"generation_tokens,omitempty"`
	RequestsOK       *float64           `json:"requests_ok,omitempty"`
	Preemptions      *float64           `json:"preemptions,omitempty"`
	PrefixHitRate    *float64           `json:"prefix_hit_rate,omitempty"` // hits / queries, in tokens
	KVUsageMax       *float64           `json:"kv_usage_max,omitempty"`    // 0 to 1, over the samples of the run
	RunningMean      *float64           `json:"running_mean,omitempty"`
	RunningMax       *float64           `json:"running_max,omitempty"`
	WaitingMean      *float64           `json:"waiting_mean,omitempty"`
	WaitingMax       *float64           `json:"waiting_max,omitempty"`
	GenerationTPS    *float64           `json:"generation_tps,omitempty"`      // GenerationTokens a second of the measured load
	GenerationTold   *float64           `json:"generation_tps_told,omitempty"` // mean of the rate that an engine of vLLM V0 tells itself
	Before           map[string]float64 `json:"before,omitempty"`              // what the metrics stood at before the load, by the names the server has for them
	After            map[string]float64 `json:"after,omitempty"`               // and after it
	Samples          int                `json:"samples"`                       // scrapes during the run
	Names            map[string]string  `json:"names,omitempty"`               // which metric name answered for which field
	Missing          []string           `json:"missing,omitempty"`             // fields no known metric answered for
}
