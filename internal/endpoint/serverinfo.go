package endpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// serverInfo reads /server_info?config_format=json of a vLLM in development
// mode: {"vllm_config": {…}, "vllm_env": {…}, "system_env": {…}}. Only fields
// that are named here are read: the rest holds addresses, ports and the
// environment.
func (o *Observation) serverInfo(a Answer) {
	var info struct {
		Config map[string]map[string]any `json:"vllm_config"`
		System map[string]any            `json:"system_env"`
	}
	// The head of this answer may show parts of the environment.
	o.Answers["GET "+serverInfoPath] = fmt.Sprintf("HTTP %d, %d bytes", a.Status, len(a.Body))
	dec := json.NewDecoder(bytes.NewReader(a.Body))
	dec.UseNumber()
	// Members of vllm_config that are no objects make an error, after the
	// others have been read.
	if err := dec.Decode(&info); err != nil && len(info.Config) == 0 {
		return
	}
	const source = "GET " + serverInfoPath
	o.quant(info.Config["model_config"], source)
	for _, f := range configFields() {
		if v, ok := plain(info.Config[f.section][f.name]); ok {
			o.Identity.set(f.field, v, source)
		}
	}
	if v, ok := plain(info.System["nvidia_driver_version"]); ok {
		o.Identity.set(Driver, v, source)
	}
	if v, ok := plain(info.System["cuda_runtime_version"]); ok {
		o.Identity.set(CUDA, v, source)
	}
	o.expertParallel(info.Config["parallel_config"], source)
	if models, ok := info.System["nvidia_gpu_models"].(string); ok {
		o.gpus(models, source)
	}
}

// quant knows that a checkpoint without quantisation has its dtype.
func (o *Observation) quant(model map[string]any, source string) {
	method, ok := plain(model["quantization"])
	if dtype, told := plain(model["dtype"]); !ok && told {
		method = strings.TrimPrefix(dtype, "torch.")
	}
	o.Identity.set(Quant, method, source)
}

// expertParallel knows that vLLM spreads experts over all ranks of tensor and
// data parallelism, or not at all.
func (o *Observation) expertParallel(parallel map[string]any, source string) {
	on, ok := parallel["enable_expert_parallel"].(bool)
	tp, err1 := strconv.Atoi(o.Identity.Value(TP))
	dp, err2 := strconv.Atoi(o.Identity.Value(DP))
	switch {
	case ok && !on:
		o.Identity.set(EP, "1", source)
	case ok && err1 == nil && err2 == nil:
		o.Identity.set(EP, strconv.Itoa(tp*dp), source)
	}
}

// gpus reads lines such as "GPU 0: NVIDIA B200 (UUID: …)".
func (o *Observation) gpus(models, source string) {
	count, product := 0, ""
	for line := range strings.Lines(models) {
		_, name, ok := strings.Cut(line, ": ")
		if !ok {
			continue
		}
		name, _, _ = strings.Cut(name, " (UUID")
		if name = strings.TrimSpace(name); count > 0 && name != product {
			product = "mixed"
		} else {
			product = name
		}
		count++
	}
	if count > 0 {
		o.Identity.set(GPUType, product, source)
		o.Identity.set(GPUCount, strconv.Itoa(count), source)
	}
}

// plain returns the text of a JSON scalar.
func plain(v any) (string, bool) {
	switch x := v.(type) {
	case string:
		return x, true
	case json.Number:
		return x.String(), true
	case bool:
		return strconv.FormatBool(x), true
	}
	return "", false
}

type configField struct{ section, name, field string }

func configFields() []configField {
	return []configField{
		{"model_config", "revision", ModelRevision},
		{"model_config", "dtype", "args.dtype"},
		{"model_config", "max_model_len", MaxModelLen},
		{"model_config", "enforce_eager", EnforceEager},
		{"cache_config", "block_size", BlockSize},
		{"cache_config", "cache_dtype", KVCacheDtype},
		{"cache_config", "enable_prefix_caching", PrefixCaching},
		{"cache_config", "gpu_memory_utilization", GPUMemUtilization},
		{"parallel_config", "tensor_parallel_size", TP},
		{"parallel_config", "pipeline_parallel_size", PP},
		{"parallel_config", "data_parallel_size", DP},
		{"scheduler_config", "max_num_seqs", MaxNumSeqs},
		{"scheduler_config", "max_num_batched_tokens", MaxBatchedTokens},
		{"scheduler_config", "async_scheduling", AsyncScheduling},
		{"scheduler_config", "enable_chunked_prefill", ChunkedPrefill},
		{"compilation_config", "cudagraph_mode", CudagraphMode},
		{"speculative_config", "method", "args.speculative_method"},
		{"speculative_config", "num_speculative_tokens", "args.num_speculative_tokens"},
	}
}
