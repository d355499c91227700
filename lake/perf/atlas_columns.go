package perf

import (
	"slices"
	"sync"
)

// Atlas returns the schema of atlas_v1: a row for each measured cell, and a
// row with agg = 'mean' for the trials of one setting. NULL is "not measured",
// never zero; extra_json.absent says why, by column or by group.
func Atlas() *Schema { return atlas() }

var atlas = sync.OnceValue(func() *Schema {
	return newSchema("atlas_v1", slices.Concat(
		keyColumns, identityColumns, servingColumns, workloadColumns, stackColumns, timeColumns,
		summaryColumns("", GroupMetrics, "over the whole run, ramp and drain included"),
		summaryColumns("_steady", GroupSteady, "over the steady-state window"),
		headlineColumns, spreadColumns(), clientColumns, serverColumns,
		solColumns, dcgmColumns, provenanceColumns, verdictColumns,
	))
})

var keyColumns = []Column{
	{"campaign", Varchar, GroupKey, "", "Campaign on whose behalf the row was published. Set by publish; a row that was not published has none.", true, false},
	{"cell_id", Varchar, GroupKey, "", "Coordinates of the cell, by axis: concurrency=16,config=fp8-tp8,trial=1. A mean has no trial.", true, false},
	{"agg", Varchar, GroupKey, "", "trial: one measurement. mean: over the FULL trials of one setting.", true, false},
	{"trial", Bigint, GroupKey, "", "Number of the repetition. NULL on a mean, and where the cell has no axis of that name.", true, false},
	{"row_uid", Varchar, GroupKey, "", "SHA-256 over cell, agg and the digests of the measurements behind the row.", true, false},
	{"config", Varchar, GroupKey, "", "Configuration: the coordinate config, else all coordinates but load and trial.", false, false},
	{"axes", JSON, GroupKey, "", "Coordinates of the cell, by axis.", false, false},
	{"ingested_at", Timestamp, GroupKey, "", "When the row entered a lake. See campaign_v1.published_at.", false, true},
	{"status", Varchar, GroupKey, "", "FULL, PARTIAL, FAILED, or MISSING: there is no measurement at all.", false, false},
	{"status_reason", Varchar, GroupKey, "", "Why status is not FULL.", false, false},
	{"plot_ready", Boolean, GroupKey, "", "FULL, with a median TTFT and a request throughput; a mean: all trials behind it are.", false, false},
	{"simulated", Boolean, GroupKey, "", "The endpoint was a simulation. NULL only where nothing was measured.", false, false},
	{"doubts", List, GroupKey, "", "Warnings that travel with the numbers.", false, false},
}

var identityColumns = []Column{
	{"model", Varchar, GroupIdentity, "", "Model, as served or declared.", false, false},
	{"model_hf_path", Varchar, GroupIdentity, "", "Model on the Hugging Face hub: owner/name.", false, false},
	{"model_revision", Varchar, GroupIdentity, "", "Commit of the model.", false, false},
	{"model_shape", Varchar, GroupIdentity, "", "Key of the model's shape in configs/models.", false, false},
	{"config_sha256", Varchar, GroupIdentity, "", "Digest of the model's config.json.", false, false},
	{"hardware", Varchar, GroupIdentity, "", "GPU: the exact token, B200 and not GB200.", false, false},
	{"ceiling_key", Varchar, GroupIdentity, "", "Key of the hardware in configs/sol-ceilings.yaml.", false, false},
	{"gpu_count", Bigint, GroupIdentity, "GPUs", "GPUs that served the cell, over all nodes.", false, false},
	{"node_count", Bigint, GroupIdentity, "nodes", "Nodes that served the cell.", false, false},
	{"quant", Varchar, GroupIdentity, "", "Number format of the weights: fp8, nvfp4, bf16.", false, false},
	{"quant_map", JSON, GroupIdentity, "", "Number format by part of the model, where it is mixed.", false, false},
	{"kv_cache_dtype", Varchar, GroupIdentity, "", "Number format of the KV cache.", false, false},
	{"mma_dtype", Varchar, GroupIdentity, "", "Number format of the matrix multiplications.", false, false},
	{"spec_method", Varchar, GroupIdentity, "", "Speculative decoding method.", false, false},
	{"spec_tokens", Bigint, GroupIdentity, "tokens", "Tokens speculated a step.", false, false},
	{"acceptance_length", Double, GroupIdentity, "tokens", "Mean tokens accepted a step.", false, false},
	{"tp", Bigint, GroupParallelism, "", "Tensor parallelism.", false, false},
	{"dp", Bigint, GroupParallelism, "", "Data parallelism (replicas).", false, false},
	{"pp", Bigint, GroupParallelism, "", "Pipeline parallelism.", false, false},
	{"ep", Bigint, GroupParallelism, "", "Expert parallelism.", false, false},
	{"dcp", Bigint, GroupParallelism, "", "Decode context parallelism.", false, false},
	{"pcp", Bigint, GroupParallelism, "", "Prefill context parallelism.", false, false},
	{"dp_attention", Boolean, GroupParallelism, "", "Attention runs data-parallel.", false, false},
	{"parallel_strategy", Varchar, GroupParallelism, "", "The parallelism in one token: tp8, dp8-ep8.", false, false},
	{"disagg", Boolean, GroupParallelism, "", "Prefill and decode run on different GPUs.", false, false},
	{"prefill_gpus", Bigint, GroupParallelism, "GPUs", "GPUs that prefill, if disaggregated.", false, false},
	{"prefill_tp", Bigint, GroupParallelism, "", "Tensor parallelism of prefill.", false, false},
	{"prefill_dp", Bigint, GroupParallelism, "", "Data parallelism of prefill.", false, false},
	{"prefill_ep", Bigint, GroupParallelism, "", "Expert parallelism of prefill.", false, false},
	{"prefill_workers", Bigint, GroupParallelism, "", "Workers that prefill.", false, false},
	{"decode_gpus", Bigint, GroupParallelism, "GPUs", "GPUs that decode, if disaggregated.", false, false},
	{"decode_tp", Bigint, GroupParallelism, "", "Tensor parallelism of decode.", false, false},
	{"decode_dp", Bigint, GroupParallelism, "", "Data parallelism of decode.", false, false},
	{"decode_ep", Bigint, GroupParallelism, "", "Expert parallelism of decode.", false, false},
	{"decode_workers", Bigint, GroupParallelism, "", "Workers that decode.", false, false},
	{"kv_transfer", Varchar, GroupParallelism, "", "How the KV cache goes from prefill to decode.", false, false},
}

var servingColumns = []Column{
	{"max_num_seqs", Bigint, GroupServing, "sequences", "Largest batch of the scheduler.", false, false},
	{"max_num_batched_tokens", Bigint, GroupServing, "tokens", "Largest number of tokens in a step.", false, false},
	{"max_model_len", Bigint, GroupServing, "tokens", "Longest context.", false, false},
	{"gpu_memory_utilization", Double, GroupServing, "", "Share of GPU memory the engine may use, 0 to 1.", false, false},
	{"cudagraph_mode", Varchar, GroupServing, "", "CUDA graph mode of the engine.", false, false},
	{"enforce_eager", Boolean, GroupServing, "", "CUDA graphs are off.", false, false},
	{"async_scheduling", Boolean, GroupServing, "", "The scheduler overlaps with the GPU.", false, false},
	{"prefix_caching", Boolean, GroupServing, "", "The prefix cache is on.", false, false},
	{"chunked_prefill", Boolean, GroupServing, "", "Prefill is split into chunks.", false, false},
	{"block_size", Bigint, GroupServing, "tokens", "Tokens in a KV block.", false, false},
	{"attention_backend", Varchar, GroupServing, "", "Attention kernels.", false, false},
	{"moe_backend", Varchar, GroupServing, "", "Mixture-of-experts kernels.", false, false},
	{"all2all_backend", Varchar, GroupServing, "", "Expert-parallel exchange.", false, false},
	{"stream_interval", Bigint, GroupServing, "tokens", "Tokens in a streamed chunk; above 1 the ITL means nothing.", false, false},
	{"scheduler", Varchar, GroupServing, "", "Scheduling policy.", false, false},
	{"serve_args", JSON, GroupServing, "", "Arguments of the server.", false, false},
	{"kv_offload", Varchar, GroupServing, "", "Where KV blocks go when the GPU is full.", false, false},
}

var workloadColumns = []Column{
	{"api", Varchar, GroupWorkload, "", "chat or completions.", false, false},
	{"dataset", Varchar, GroupWorkload, "", "synthetic, or the name of the dataset.", false, false},
	{"dataset_revision", Varchar, GroupWorkload, "", "Revision of the dataset.", false, false},
	{"dataset_digest", Varchar, GroupWorkload, "", "Digest of its content; of the prompts sent, if synthetic.", false, false},
	{"split", Varchar, GroupWorkload, "", "Split of the dataset.", false, false},
	{"isl", Bigint, GroupWorkload, "tokens", "Input tokens asked.", false, false},
	{"osl", Bigint, GroupWorkload, "tokens", "Output tokens asked.", false, false},
	{"concurrency", Bigint, GroupWorkload, "streams", "Streams kept busy (closed loop).", false, false},
	{"request_rate", Double, GroupWorkload, "requests/s", "Requests offered (open loop).", false, false},
	{"num_prompts", Bigint, GroupWorkload, "requests", "Requests measured.", false, false},
	{"warmup_requests", Bigint, GroupWorkload, "requests", "Requests before, not measured.", false, false},
	{"arrival", Varchar, GroupWorkload, "", "closed, constant, poisson or trace.", false, false},
	{"random_seed", Bigint, GroupWorkload, "", "Seed of prompts and arrivals.", false, false},
	{"range_ratio", Double, GroupWorkload, "", "Spread of lengths about ISL and OSL.", false, false},
	{"ignore_eos", Boolean, GroupWorkload, "", "The server was asked not to stop early.", false, false},
	{"multi_turn", Boolean, GroupWorkload, "", "Requests are turns of conversations.", false, false},
	{"turns", Bigint, GroupWorkload, "turns", "Turns of a conversation.", false, false},
	{"shared_prefix", Bigint, GroupWorkload, "tokens", "Input tokens that prompts have in common.", false, false},
	{"temperature", Double, GroupWorkload, "", "Sampling temperature; NULL is the server's default.", false, false},
	{"ramp_up_s", Double, GroupWorkload, "s", "Span over which the streams started, one after another.", false, false},
	{"request_timeout_s", Double, GroupWorkload, "s", "Longest a request may take.", false, false},
	{"slo", JSON, GroupWorkload, "", "Limits of goodput: {ttft_ms, tpot_ms, e2e_ms}.", false, false},
	{"cache_mode", Varchar, GroupRegime, "", "cold, warm or mixed prefix cache.", false, false},
	{"latency_tier", Varchar, GroupRegime, "", "latency, throughput or mixed.", false, false},
	{"focus", Varchar, GroupRegime, "", "What the campaign is after: latency, throughput or mixed. Set by publish.", false, false},
}

var stackColumns = []Column{
	{"image", Varchar, GroupStack, "", "Container image of the server.", false, false},
	{"image_digest", Varchar, GroupStack, "", "Its digest.", false, false},
	{"engine", Varchar, GroupStack, "", "Serving engine: vllm, sglang, vllm-sim.", false, false},
	{"engine_version", Varchar, GroupStack, "", "Version declared.", false, false},
	{"engine_commit", Varchar, GroupStack, "", "Commit of the engine.", false, false},
	{"engine_version_observed", Varchar, GroupStack, "", "Version the server told.", false, false},
	{"bench_backend", Varchar, GroupStack, "", "Driver that measured: native, aiperf, vllm-bench.", false, false},
	{"bench_version", Varchar, GroupStack, "", "Its version.", false, false},
	{"cuda", Varchar, GroupStack, "", "CUDA version.", false, false},
	{"driver", Varchar, GroupStack, "", "GPU driver version.", false, false},
	{"nccl", Varchar, GroupStack, "", "NCCL version.", false, false},
	{"torch", Varchar, GroupStack, "", "PyTorch version.", false, false},
	{"os_kernel", Varchar, GroupStack, "", "Kernel of the server's node.", false, false},
	{"node", Varchar, GroupPlace, "", "Node that served.", false, false},
	{"gpu_uuids", List, GroupPlace, "", "GPUs that served.", false, false},
	{"cluster", Varchar, GroupPlace, "", "Cluster.", false, false},
	{"namespace", Varchar, GroupPlace, "", "Kubernetes namespace.", false, false},
	{"pod", Varchar, GroupPlace, "", "Pod that served.", false, false},
	{"setting", JSON, GroupProvenance, "", "The whole Setting, field by field, as the driver gave it.", false, false},
	{"setting_sha256", Varchar, GroupProvenance, "", "Digest of the Setting without the fields in which trials may differ.", false, false},
}

var timeColumns = []Column{
	{"started_at", Timestamp, GroupTime, "", "Start of the measurement, UTC.", false, false},
	{"ended_at", Timestamp, GroupTime, "", "End of the measurement, UTC.", false, false},
	{"steady_start", Timestamp, GroupTime, "", "Start of the steady-state window, UTC.", false, false},
	{"steady_end", Timestamp, GroupTime, "", "End of the steady-state window, UTC.", false, false},
	{"trim_method", Varchar, GroupTime, "", "How the window was found.", false, false},
	{"steady_s", Double, GroupTime, "s", "Length of the window.", false, false},
	{"steady_share", Double, GroupTime, "", "Share of the requests answered that ended inside the window, 0 to 1.", false, false},
}
