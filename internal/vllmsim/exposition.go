package vllmsim

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// An exposition builds Prometheus text (format 0.0.4) with vLLM's two labels
// on each sample.
type exposition struct {
	b       strings.Builder
	labels  string // engine="0",model_name="…"
	created float64
}

func (x *exposition) family(name, kind, help string) {
	fmt.Fprintf(&x.b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func (x *exposition) sample(name, labels string, value float64) {
	x.b.WriteString(name)
	x.b.WriteByte('{')
	x.b.WriteString(labels)
	x.b.WriteString("} ")
	x.b.WriteString(strconv.FormatFloat(value, 'g', -1, 64))
	x.b.WriteByte('\n')
}

func (x *exposition) gauge(name, help string, value float64) {
	x.family(name, "gauge", help)
	x.sample(name, x.labels, value)
}

// counter writes NAME_total and, as Python's client does, NAME_created.
func (x *exposition) counter(name, help string, value float64) {
	x.family(name+"_total", "counter", help)
	x.sample(name+"_total", x.labels, value)
	x.family(name+"_created", "gauge", help)
	x.sample(name+"_created", x.labels, x.created)
}

func (x *exposition) histogram(name, help string, h *histogram) {
	x.family(name, "histogram", help)
	var sum uint64
	for i, bound := range h.bounds {
		sum += h.counts[i]
		x.sample(name+"_bucket", x.labels+`,le="`+pyFloat(bound)+`"`, float64(sum))
	}
	x.sample(name+"_bucket", x.labels+`,le="+Inf"`, float64(h.count()))
	x.sample(name+"_count", x.labels, float64(h.count()))
	x.sample(name+"_sum", x.labels, h.sum)
	x.family(name+"_created", "gauge", help)
	x.sample(name+"_created", x.labels, x.created)
}

// pyFloat writes a bound as Python does: 1.0, 0.25.
func pyFloat(f float64) string {
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

// quoteLabel escapes a label value.
func quoteLabel(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

func (s *Server) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	x := &exposition{
		labels:  `engine="0",model_name=` + quoteLabel(s.config.Model),
		created: float64(s.engine.born.UnixNano()) / 1e9,
	}
	s.writeInfo(x)
	m := s.engine.metrics
	m.mu.Lock()
	writeState(x, m)
	writeCounters(x, m, float64(s.config.TensorParallelSize))
	writeHistograms(x, m)
	m.mu.Unlock()
	fmt.Fprint(w, x.b.String())
}

func writeState(x *exposition, m *metrics) {
	t := &m.totals
	x.gauge("vllm:num_requests_running", "Number of requests in model execution batches.", float64(t.Running))
	x.gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.", float64(t.Waiting))
	const byReason = "vllm:num_requests_waiting_by_reason"
	x.family(byReason, "gauge", "Number of requests waiting to be processed, by reason.")
	x.sample(byReason, x.labels+`,reason="capacity"`, float64(t.Waiting))
	x.sample(byReason, x.labels+`,reason="deferred"`, 0)
	x.gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", float64(t.KVBlocksUsed)/float64(t.KVBlocks))
	const sleeping = "vllm:engine_sleep_state"
	x.family(sleeping, "gauge", "Engine sleep state.")
	x.sample(sleeping, x.labels+`,sleep_state="awake"`, 1)
	x.sample(sleeping, x.labels+`,sleep_state="weights_offloaded"`, 0)
	x.sample(sleeping, x.labels+`,sleep_state="discard_all"`, 0)
}

func writeCounters(x *exposition, m *metrics, gpus float64) {
	t := &m.totals
	x.counter("vllm:prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens.", float64(t.PrefixQueried))
	x.counter("vllm:prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", float64(t.PrefixHit))
	x.counter("vllm:external_prefix_cache_queries", "External prefix cache queries, in tokens.", 0)
	x.counter("vllm:external_prefix_cache_hits", "External prefix cache hits, in tokens.", 0)
	x.counter("vllm:mm_cache_queries", "Multi-modal cache queries.", 0)
	x.counter("vllm:mm_cache_hits", "Multi-modal cache hits.", 0)
	x.counter("vllm:num_preemptions", "Cumulative number of preemptions from the engine.", float64(t.Preemptions))
	x.counter("vllm:prompt_tokens", "Number of prefill tokens processed.", float64(t.PromptTokens))
	const bySource = "vllm:prompt_tokens_by_source"
	x.family(bySource+"_total", "counter", "Number of prompt tokens by source.")
	x.sample(bySource+"_total", x.labels+`,source="local_compute"`, float64(t.PromptTokens-m.promptCached))
	x.sample(bySource+"_total", x.labels+`,source="local_cache_hit"`, float64(m.promptCached))
	x.sample(bySource+"_total", x.labels+`,source="external_kv_transfer"`, 0)
	x.counter("vllm:prompt_tokens_cached", "Number of cached prompt tokens.", float64(m.promptCached))
	x.counter("vllm:generation_tokens", "Number of generation tokens processed.", float64(t.GeneratedTokens))
	const success = "vllm:request_success"
	x.family(success+"_total", "counter", "Count of successfully processed requests.")
	for _, reason := range []finish{finishStop, finishLength, finishAbort} {
		x.sample(success+"_total", x.labels+`,finished_reason="`+string(reason)+`"`, float64(m.success[reason]))
	}
	x.counter("vllm:estimated_flops_per_gpu", "Estimated FLOPs per GPU.", t.FLOPs/gpus)
	x.counter("vllm:estimated_read_bytes_per_gpu", "Estimated bytes read from memory per GPU.", t.Bytes/gpus)
	x.counter("vllm:estimated_write_bytes_per_gpu", "Estimated bytes written to memory per GPU.", t.WrittenBytes/gpus)
	x.counter("pipeline_sim_steps", "Steps of the simulated engine.", float64(t.Steps))
	x.counter("pipeline_sim_busy_seconds", "Time in steps of the simulated engine.", t.BusySeconds)
	x.counter("pipeline_sim_step_lag_seconds", "Time by which steps ended after they were due.", t.LagSeconds)
	x.gauge("pipeline_sim_step_lag_seconds_max", "Longest time by which a step ended after it was due.", t.LagMaxSeconds)
}

func writeHistograms(x *exposition, m *metrics) {
	x.histogram("vllm:iteration_tokens_total", "Histogram of number of tokens per engine_step.", &m.iteration)
	x.histogram("vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds.", &m.ttft)
	x.histogram("vllm:inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", &m.itl)
	x.histogram("vllm:request_time_per_output_token_seconds", "Histogram of time_per_output_token_seconds per request.", &m.tpot)
	x.histogram("vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", &m.e2e)
	x.histogram("vllm:request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.", &m.queue)
	x.histogram("vllm:request_inference_time_seconds", "Histogram of time spent in RUNNING phase for request.", &m.inference)
	x.histogram("vllm:request_prefill_time_seconds", "Histogram of time spent in PREFILL phase for request.", &m.prefill)
	x.histogram("vllm:request_decode_time_seconds", "Histogram of time spent in DECODE phase for request.", &m.decode)
	x.histogram("vllm:request_prompt_tokens", "Number of prefill tokens processed.", &m.promptTokens)
	x.histogram("vllm:request_generation_tokens", "Number of generation tokens processed.", &m.generationTokens)
	x.histogram("vllm:request_max_num_generation_tokens", "Histogram of maximum number of requested generation tokens.", &m.maxGeneration)
	x.histogram("vllm:request_params_n", "Histogram of the n request parameter.", &m.n)
	x.histogram("vllm:request_params_max_tokens", "Histogram of the max_tokens request parameter.", &m.paramsMax)
	x.histogram("vllm:request_prefill_kv_computed_tokens", "Histogram of new KV tokens computed during prefill.", &m.prefillComputed)
}

// writeInfo writes the two gauges whose labels are the configuration.
func (s *Server) writeInfo(x *exposition) {
	c := &s.config
	labels := func(pairs ...string) string {
		var b strings.Builder
		for i := 0; i < len(pairs); i += 2 {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(pairs[i] + "=" + quoteLabel(pairs[i+1]))
		}
		return b.String()
	}
	x.family("pipeline_sim_info", "gauge", "What is simulated here. No figure of this server comes from a GPU.")
	x.sample("pipeline_sim_info", labels("version", Version, "simulated", "true", "hardware", c.Hardware, "model_name", c.Model,
		"model_shape", s.deployment.Shape.Name, "tensor_parallel_size", fmt.Sprint(c.TensorParallelSize),
		"kv_format", string(s.deployment.KV), "math_dtype", s.deployment.MathDType(),
		"efficiency", fmt.Sprint(c.Efficiency), "time_scale", fmt.Sprint(c.TimeScale)), 1)
	x.family("vllm:cache_config_info", "gauge", "Information of the LLMEngine CacheConfig")
	x.sample("vllm:cache_config_info", labels("block_size", fmt.Sprint(c.BlockSize), "cache_dtype", c.KVCacheDtype, "engine", "0",
		"enable_prefix_caching", pyBool(c.EnablePrefixCaching), "gpu_memory_utilization", fmt.Sprint(c.GPUMemoryUtilization),
		"kv_cache_max_concurrency", strconv.FormatFloat(float64(s.limits.kvTokens)/float64(s.limits.maxModelLen), 'g', 6, 64),
		"kv_cache_size_tokens", fmt.Sprint(s.limits.kvTokens), "num_gpu_blocks", fmt.Sprint(s.limits.blocks),
		"num_gpu_blocks_override", "None", "prefix_caching_hash_algo", "sha256", "sliding_window", "None"), 1)
}
