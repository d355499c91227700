package perf

import "slices"

// summaryColumns lists the numbers of one Summary. The names of the window
// have a suffix, so that a number always tells the span it is of.
func summaryColumns(suffix string, g Group, span string) []Column {
	var cols []Column
	add := func(name string, t ColumnType, unit, doc string) {
		cols = append(cols, Column{Name: name + suffix, Type: t, Group: g, Unit: unit, Doc: doc + ", " + span + "."})
	}
	if suffix == "" {
		add("duration_s", Double, "s", "Length of the span")
	}
	add("completed", Bigint, "requests", "Requests answered in full; on a mean the sum of the trials")
	add("failed", Bigint, "requests", "Requests that failed; on a mean the sum of the trials")
	add("error_rate", Double, "", "failed / (completed + failed)")
	add("input_tokens", Bigint, "tokens", "Input tokens of the requests answered; on a mean the sum of the trials")
	add("output_tokens", Double, "tokens", "Output tokens that arrived; on a mean the sum of the trials")
	add("request_throughput_rps", Double, "requests/s", "Requests answered a second")
	add("output_tps", Double, "tok/s", "Output tokens a second")
	add("input_tps", Double, "tok/s", "Input tokens a second: total less output")
	add("total_tps", Double, "tok/s", "Input and output tokens a second")
	add("goodput_rps", Double, "requests/s", "Requests a second that met every limit in slo")
	add("tps_per_user_median", Double, "tok/s/user", "Median over requests of 1/TPOT")
	for _, d := range distFields {
		for _, s := range distStats {
			add(d.column+"_"+s.name, Double, d.unit, s.doc+" of "+d.doc)
		}
	}
	add("mean_input_tokens", Double, "tokens", "Mean input tokens of a request")
	add("std_input_tokens", Double, "tokens", "Deviation of input tokens over requests")
	add("mean_output_tokens", Double, "tokens", "Mean output tokens of a request")
	add("std_output_tokens", Double, "tokens", "Deviation of output tokens over requests")
	add("osl_mismatch_pct", Double, "%", "100 * |mean output tokens - OSL asked| / OSL asked")
	add("b_eff", Double, "sequences", "Effective decode batch: output tok/s times mean TPOT (Little's law)")
	add("tokens_per_chunk", Double, "tokens", "Output tokens a content event; the ITL is a TPOT only where this is 1")
	add("client_prefix_hit_rate", Double, "", "Input tokens found in the prefix cache, by the usage of the requests, 0 to 1")
	return cols
}

type distField struct {
	column, unit, doc string
	of                func(*Summary) *Dist
}

var distFields = []distField{
	{"ttft_ms", "ms", "TTFT, request sent to first content", func(s *Summary) *Dist { return s.TTFT }},
	{"ttft_intended_ms", "ms", "TTFT from the intended send time (open loop)", func(s *Summary) *Dist { return s.TTFTIntended }},
	{"tpot_ms", "ms", "TPOT, (last - first)/(OSL - 1) of a request", func(s *Summary) *Dist { return s.TPOT }},
	{"itl_ms", "ms", "ITL, the gap between content events", func(s *Summary) *Dist { return s.ITL }},
	{"e2el_ms", "ms", "latency, request sent to last content", func(s *Summary) *Dist { return s.E2E }},
	{"e2el_intended_ms", "ms", "latency from the intended send time (open loop)", func(s *Summary) *Dist { return s.E2EIntended }},
}

var distStats = []struct {
	name, doc string
	of        func(*Dist) float64
}{
	{"mean", "Mean", func(d *Dist) float64 { return d.Mean }},
	{"median", "Median", func(d *Dist) float64 { return d.P50 }},
	{"p90", "90th percentile", func(d *Dist) float64 { return d.P90 }},
	{"p95", "95th percentile", func(d *Dist) float64 { return d.P95 }},
	{"p99", "99th percentile", func(d *Dist) float64 { return d.P99 }},
	{"std", "Deviation over requests", func(d *Dist) float64 { return d.Std }},
	{"min", "Smallest value", func(d *Dist) float64 { return d.Min }},
	{"max", "Largest value", func(d *Dist) float64 { return d.Max }},
}

// The headline numbers are of the steady-state window where there is one, and
// of the whole run where there is none; headline_window says which.
var headlineColumns = []Column{
	{"token_source", Varchar, GroupMetrics, "", "What counted the output tokens: usage (the server), tokenizer (the client's), chunks (a lower bound), a tool that does not tell, or several with + between.", false, false},
	{"headline_window", Varchar, GroupMetrics, "", "Span of the *_per_gpu columns and of headline_*: steady or full.", false, false},
	{"headline_request_throughput_rps", Double, GroupMetrics, "requests/s", "Requests answered a second over headline_window.", false, false},
	{"headline_output_tps", Double, GroupMetrics, "tok/s", "Output tokens a second over headline_window.", false, false},
	{"headline_tps_per_user", Double, GroupMetrics, "tok/s/user", "Median over requests of 1/TPOT, over headline_window.", false, false},
	{"headline_ttft_ms", Double, GroupMetrics, "ms", "Median TTFT over headline_window.", false, false},
	{"headline_ttft_p99_ms", Double, GroupMetrics, "ms", "99th percentile of TTFT over headline_window.", false, false},
	{"headline_goodput_rps", Double, GroupMetrics, "requests/s", "Goodput over headline_window.", false, false},
	{"headline_tpot_ms", Double, GroupMetrics, "ms", "Median TPOT over headline_window.", false, false},
	{"output_tps_per_gpu", Double, GroupMetrics, "tok/s/GPU", "Output tokens a second and GPU, over headline_window.", false, false},
	{"input_tps_per_gpu", Double, GroupMetrics, "tok/s/GPU", "Input tokens a second and GPU, over headline_window.", false, false},
	{"total_tps_per_gpu", Double, GroupMetrics, "tok/s/GPU", "Input and output tokens a second and GPU, over headline_window.", false, false},
}

// spreadOf names the columns whose spread over trials is kept.
var spreadOf = []string{
	"request_throughput_rps", "output_tps", "total_tps", "goodput_rps", "ttft_ms_median", "ttft_ms_p99", "tpot_ms_median", "itl_ms_median", "e2el_ms_median",
	"headline_request_throughput_rps", "headline_output_tps", "headline_tps_per_user", "headline_ttft_ms", "headline_ttft_p99_ms", "headline_tpot_ms", "headline_goodput_rps", "output_tps_per_gpu", "total_tps_per_gpu", "pct_sol",
}

func spreadColumns() []Column {
	cols := []Column{{Name: "trials_n", Type: Bigint, Group: GroupTrials, Doc: "FULL trials behind a mean."}}
	for _, name := range spreadOf {
		unit := ""
		for _, c := range slices.Concat(summaryColumns("", GroupMetrics, ""), headlineColumns, solColumns) {
			if c.Name == name {
				unit = c.Unit
			}
		}
		cols = append(cols,
			Column{Name: name + "_std", Type: Double, Group: GroupTrials, Unit: unit, Doc: "Sample deviation of " + name + " over trials; NULL for one trial."},
			Column{Name: name + "_ci95", Type: Double, Group: GroupTrials, Unit: unit, Doc: "Half width of the 95 % t-interval of " + name + " over trials."})
	}
	return cols
}

var clientColumns = []Column{
	{"client_bound", Boolean, GroupClient, "", "The generator, not the server, may have set the numbers.", false, false},
	{"client_why", Varchar, GroupClient, "", "Why client_bound.", false, false},
	{"client_lag_p50_ms", Double, GroupClient, "ms", "Median of sent less intended.", false, false},
	{"client_lag_p99_ms", Double, GroupClient, "ms", "99th percentile of sent less intended.", false, false},
	{"client_lag_max_ms", Double, GroupClient, "ms", "Largest sent less intended.", false, false},
	{"client_cpu_share", Double, GroupClient, "", "Share of the generator's cores in use, 0 to 1.", false, false},
	{"client_busiest_share", Double, GroupClient, "", "Share of one core that the busiest process of a tool used, 0 to 1.", false, false},
	{"client_gc_pause_max_ms", Double, GroupClient, "ms", "Longest pause of the generator's garbage collector.", false, false},
	{"client_gomaxprocs", Bigint, GroupClient, "cores", "Cores the generator may use.", false, false},
	{"client_load_average", Double, GroupClient, "", "Load average of the generator's machine.", false, false},
	{"client_new_conns", Bigint, GroupClient, "", "Connections opened.", false, false},
	{"client_reused_conns", Bigint, GroupClient, "", "Requests on a connection that was open.", false, false},
	{"client_coalesced_share", Double, GroupClient, "", "Share of content events that shared a read with the one before.", false, false},
	{"client_predialled_conns", Bigint, GroupClient, "", "Connections opened before the first request.", false, false},
	{"client_events_per_read", Double, GroupClient, "", "Content events a read.", false, false},
	{"client_steal_share", Double, GroupClient, "", "Share of all CPU time that other guests of the machine took, 0 to 1.", false, false},
	{"client_clock_error_ms", Double, GroupClient, "ms", "The kernel's estimate of the wall clock's error.", false, false},
	{"client_request_cost_us", Double, GroupClient, "us", "Client time a request against an instant server (self-calibration).", false, false},
	{"client_events_max_per_s", Double, GroupClient, "1/s", "Content events a second the client can take (self-calibration).", false, false},
	{"client_achieved_rps", Double, GroupClient, "requests/s", "Requests sent a second.", false, false},
}

var serverColumns = []Column{
	{"server_prompt_tokens", Double, GroupServer, "tokens", "Input tokens the server counted.", false, false},
	{"server_generation_tokens", Double, GroupServer, "tokens", "Output tokens the server counted.", false, false},
	{"server_generation_tps", Double, GroupServer, "tokens/s", "Output tokens the server counted, a second of the measured load.", false, false},
	{"server_requests_ok", Double, GroupServer, "requests", "Requests the server finished.", false, false},
	{"preemptions", Bigint, GroupServer, "", "Sequences put back for want of KV blocks.", false, false},
	{"prefix_hit_rate", Double, GroupServer, "", "Prefix cache hits over queries, in tokens, 0 to 1.", false, false},
	{"kv_usage_mean", Double, GroupServer, "", "Mean share of KV blocks in use, 0 to 1.", false, false},
	{"kv_usage_max", Double, GroupServer, "", "Largest share of KV blocks in use, 0 to 1.", false, false},
	{"running_mean", Double, GroupServer, "sequences", "Mean sequences running.", false, false},
	{"running_max", Double, GroupServer, "sequences", "Most sequences running.", false, false},
	{"waiting_mean", Double, GroupServer, "sequences", "Mean sequences waiting.", false, false},
	{"waiting_max", Double, GroupServer, "sequences", "Most sequences waiting.", false, false},
	{"server_samples", Bigint, GroupServer, "", "Scrapes during the run.", false, false},
	{"server_missing", List, GroupServer, "", "Fields no known metric answered for.", false, false},
	{"avg_power_w", Double, GroupDCGM, "W", "Mean power of the GPUs.", false, false},
	{"energy_j", Double, GroupDCGM, "J", "Energy over the window.", false, false},
	{"j_per_output_token", Double, GroupDCGM, "J/token", "Energy an output token.", false, false},
	{"j_per_total_token", Double, GroupDCGM, "J/token", "Energy an input or output token.", false, false},
}

// The floors of the group sol are those of the effective batch that was
// measured, and not of the concurrency that was asked. docs/sol.md has the
// formulas.
var solColumns = []Column{
	{"sol_bandwidth_key", Varchar, GroupSoL, "", "Path of the bandwidth in the ceilings: b200_sm100.hbm3e_tbps.", false, false},
	{"sol_bandwidth_tbps", Double, GroupSoL, "TB/s", "The figure at sol_bandwidth_key, of one GPU.", false, false},
	{"sol_compute_key", Varchar, GroupSoL, "", "Path of the dense peak in the ceilings: b200_sm100.dense_tflops.fp8.", false, false},
	{"sol_compute_tflops", Double, GroupSoL, "TFLOP/s", "The figure at sol_compute_key, of one GPU.", false, false},
	{"sol_batch", Double, GroupSoL, "sequences", "Effective batch of the floors: b_eff over headline_window.", false, false},
	{"sol_input_tokens", Double, GroupSoL, "tokens", "Mean input of a request, for the floors.", false, false},
	{"sol_output_tokens", Double, GroupSoL, "tokens", "Mean output of a request, for the floors.", false, false},
	{"sol_cached_share", Double, GroupSoL, "", "Share of the input found in the prefix cache, for the floors, 0 to 1.", false, false},
	{"footprint_gb_per_token", Double, GroupSoL, "GB/token", "Bytes moved for an output token, over all GPUs of a replica, at this batch and context.", false, false},
	{"footprint_kind", Varchar, GroupSoL, "", "computed or declared.", false, false},
	{"tpot_floor_ms", Double, GroupSoL, "ms", "Smallest possible TPOT: the larger of t_mem_ms and t_flop_ms, over acceptance_length.", false, false},
	{"tpot_floor_noov_ms", Double, GroupSoL, "ms", "The same if memory and communication do not overlap.", false, false},
	{"ttft_floor_ms", Double, GroupSoL, "ms", "Smallest possible TTFT of a request that does not wait.", false, false},
	{"ceiling_output_tps_per_gpu_decode", Double, GroupSoL, "tok/s/GPU", "Ceiling of decode alone.", false, false},
	{"ceiling_output_tps_per_gpu_agg", Double, GroupSoL, "tok/s/GPU", "Ceiling with prefill on the same GPUs, one after the other.", false, false},
	{"ceiling_output_tps_per_gpu_overlap", Double, GroupSoL, "tok/s/GPU", "Ceiling with prefill on the same GPUs, if they share steps without loss.", false, false},
	{"pct_sol", Double, GroupSoL, "%", "The share of Speed of Light to show: pct_sol_kind says of which ceiling. NULL where it cannot be right; sol_notes says why.", false, false},
	{"pct_sol_kind", Varchar, GroupSoL, "", "Ceiling of pct_sol: agg, or decode.", false, false},
	{"pct_sol_clocked", Double, GroupSoL, "%", "pct_sol against the bandwidth that the memory clocks, where it is known.", false, false},
	{"pct_achievable", Double, GroupSoL, "%", "pct_sol against the highest rates that a tool reached on this GPU.", false, false},
	{"achievable_source", Varchar, GroupSoL, "", "Which rates those are.", false, false},
	{"pct_sol_tpot", Double, GroupSoL, "%", "TPOT floor over measured median TPOT.", false, false},
	{"pct_sol_tps_decode", Double, GroupSoL, "%", "Output tok/s/GPU over the ceiling of decode.", false, false},
	{"pct_sol_tps_agg", Double, GroupSoL, "%", "Output tok/s/GPU over the ceiling with prefill.", false, false},
	{"pct_sol_ttft", Double, GroupSoL, "%", "TTFT floor over measured median TTFT.", false, false},
	{"bound", Varchar, GroupSoL, "", "What binds the decode step at best: memory, compute or communication.", false, false},
	{"ai_flop_per_byte", Double, GroupSoL, "FLOP/B", "Arithmetic intensity of the decode step.", false, false},
	{"ridge", Double, GroupSoL, "FLOP/B", "Intensity at which compute binds.", false, false},
	{"t_mem_ms", Double, GroupSoL, "ms", "Time of a decode step for memory.", false, false},
	{"t_flop_ms", Double, GroupSoL, "ms", "Time of a decode step for compute.", false, false},
	{"t_comm_ms", Double, GroupSoL, "ms", "Time of a decode step for communication, by bytes alone.", false, false},
	{"t_prefill_ms", Double, GroupSoL, "ms", "Part of the measured TPOT that prefill takes at least, at the measured request rate.", false, false},
	{"prefill_share", Double, GroupSoL, "", "Share of the time that prefill takes under ceiling_output_tps_per_gpu_agg, 0 to 1.", false, false},
	{"model_tflops_per_gpu", Double, GroupSoL, "TFLOP/s", "FLOPs of decode, by formula, over measured time. No counter tells it.", false, false},
	{"hbm_pct_pred", Double, GroupSoL, "%", "Share of the bandwidth that decode must take at the measured throughput.", false, false},
	{"kv_capacity_tokens", Bigint, GroupSoL, "tokens", "Tokens that the KV cache holds at most: nothing is kept for activations.", false, false},
	{"loaded_weight_ratio", Double, GroupSoL, "", "Weights that the server loaded over those of the shape; above 1, kernels pad.", false, false},
	{"sol_rigor", Varchar, GroupSoL, "", "L4 ncu, L3 DCGM, L1 proxy, or none.", false, false},
	{"sol_notes", List, GroupSoL, "", "Notes on the model: what was taken for granted, what is withheld and why.", false, false},
}

var dcgmColumns = []Column{
	{"dcgm_dram", Double, GroupDCGM, "", "DRAM active, 0 to 1.", false, false},
	{"dcgm_tensor", Double, GroupDCGM, "", "Tensor pipe active, 0 to 1.", false, false},
	{"dcgm_sm", Double, GroupDCGM, "", "SM active, 0 to 1.", false, false},
	{"dcgm_gr", Double, GroupDCGM, "", "Graphics engine active, 0 to 1.", false, false},
	{"dcgm_occ", Double, GroupDCGM, "", "SM occupancy, 0 to 1.", false, false},
	{"nvlink_tx_bps", Double, GroupDCGM, "B/s", "NVLink bytes sent a second.", false, false},
	{"nvlink_rx_bps", Double, GroupDCGM, "B/s", "NVLink bytes received a second.", false, false},
	{"pcie_tx_bps", Double, GroupDCGM, "B/s", "PCIe bytes sent a second.", false, false},
	{"pcie_rx_bps", Double, GroupDCGM, "B/s", "PCIe bytes received a second.", false, false},
	{"sm_clock_mhz_p50", Double, GroupDCGM, "MHz", "Median SM clock.", false, false},
	{"mem_clock_mhz", Double, GroupDCGM, "MHz", "Memory clock.", false, false},
	{"throttle_mask", Bigint, GroupDCGM, "", "Reasons for a lower clock, as bits.", false, false},
	{"gpu_temp_c_max", Double, GroupDCGM, "°C", "Highest GPU temperature.", false, false},
	{"dcgm_n_eff_min", Bigint, GroupDCGM, "", "Independent samples of the GPU that has the fewest.", false, false},
	{"dcgm_quality", Varchar, GroupDCGM, "", "Outcome of the checks on the samples.", false, false},
	{"dcgm_grounded", Boolean, GroupDCGM, "", "DCGM samples of this window stand behind the row.", false, false},
	{"frozen_digest", Varchar, GroupDCGM, "", "Digest of the frozen samples.", false, false},
}

var provenanceColumns = []Column{
	{"source_format", Varchar, GroupProvenance, "", "Form of the source: measurement/v1, or what was imported.", false, false},
	{"source_path", Varchar, GroupProvenance, "", "Name of the source's file.", false, false},
	{"source_sha256", Varchar, GroupProvenance, "", "Digest of the measurement behind the row.", false, false},
	{"importer_version", Varchar, GroupProvenance, "", "Version of the importer.", false, false},
	{"tool_version", Varchar, GroupProvenance, "", "Version of the driver.", false, false},
	{"command", JSON, GroupProvenance, "", "Command line of the driver, secrets redacted.", false, false},
	{"inputs_digest", Varchar, GroupProvenance, "", "Digest over the digests behind a mean.", false, false},
	{"ceilings_digest", Varchar, GroupProvenance, "", "Digest of the ceilings used.", false, false},
	{"evidence_bundle", Varchar, GroupProvenance, "", "Evidence bundle of the row.", false, false},
	{"baseline_ref", Varchar, GroupProvenance, "", "Baseline it was compared with.", false, false},
	{"verdict_tier", Varchar, GroupProvenance, "", "draft or verdict.", false, false},
	{"extra_json", JSON, GroupProvenance, "", "What has no column: absent (why a column or a group is NULL), derived, artifacts, cross_check (what a second driver differs by).", false, false},
}
