package perf

import (
	"slices"
	"strconv"
)

// mandatory are the columns without which a number cannot be a verdict: what
// was measured, on what, how it was served and loaded, and by what. Where a
// line has several, one of them is enough.
var mandatory = [][]string{
	{"model"}, {"model_hf_path"}, {"hardware"}, {"ceiling_key"}, {"gpu_count"}, {"quant"}, {"kv_cache_dtype"},
	{"tp"}, {"dp"}, {"pp"}, {"ep"}, {"parallel_strategy"},
	{"max_num_seqs"}, {"max_num_batched_tokens"}, {"max_model_len"}, {"gpu_memory_utilization"}, {"cudagraph_mode"}, {"enforce_eager"}, {"async_scheduling"}, {"prefix_caching"},
	{"dataset"}, {"isl", "mean_input_tokens"}, {"osl", "mean_output_tokens"}, {"concurrency", "request_rate"}, {"num_prompts"},
	{"cache_mode"}, {"latency_tier"},
	{"image", "engine_commit"}, {"engine"}, {"engine_version"}, {"bench_backend"},
	{"node"}, {"gpu_uuids"}, {"started_at"}, {"ended_at"},
	{"output_tps_per_gpu"},
}

// MissingContext returns the columns, or "a or b" where one of them is enough,
// that a row lacks of those without which its numbers cannot be a verdict.
// What is set only when a campaign is published (its name, its focus) is not
// among them.
func MissingContext(r Row) []string {
	missing := []string{}
	for _, any := range mandatory {
		if !slices.ContainsFunc(any, func(c string) bool { return !r.IsNull(c) }) {
			name := any[0]
			for _, other := range any[1:] {
				name += " or " + other
			}
			missing = append(missing, name)
		}
	}
	return missing
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
