package foreign

import "pipeline/internal/pyjson"

// AIPerfTable is what package internal/aiperf reads, by the tags of AIPerf's
// own summary. Where there are records of requests they count, and the summary
// is held against them.
var AIPerfTable = []Quantity{
	{Column: "ttft_ms", Field: "time_to_first_token", Unit: "ms", Factor: 1},
	{Column: "tpot_ms", Field: "inter_token_latency", Unit: "ms", Factor: 1},
	{Column: "itl_ms", Field: "inter_chunk_latency", Unit: "ms", Factor: 1},
	{Column: "e2el_ms", Field: "request_latency", Unit: "ms", Factor: 1},
	{Column: "request_throughput_rps", Field: "request_throughput", Unit: "requests/sec", Factor: 1},
	{Column: "output_tps", Field: "output_token_throughput", Unit: "tokens/sec", Factor: 1},
	{Column: "total_tps", Field: "total_token_throughput", Unit: "tokens/sec", Factor: 1},
	{Column: "input_tokens", Field: "input_sequence_length", Unit: "tokens", Factor: 1},
	{Column: "output_tokens", Field: "output_sequence_length", Unit: "tokens", Factor: 1},
}

// isAIPerf reports whether an object is of a file that AIPerf writes: a record,
// or a summary of any shape.
func isAIPerf(o pyjson.Object) bool {
	return o.Has("metadata", "metrics") || o.Has("input_config")
}
