package endpoint

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Lines as vLLM prints them, of two starts; the second one counts.
const started = `(APIServer pid=1) INFO 11-23 10:00:00 [api_server.py:1977] vLLM API server version 0.9.0
(EngineCore_DP0 pid=71) INFO 11-23 10:00:09 [core.py:93] Initializing a V1 LLM engine (v0.9.0) with config: model='m', tensor_parallel_size=2, block_size=32
(APIServer pid=1) INFO 11-23 10:02:00 [api_server.py:1977] vLLM API server version 0.10.1.1
` + "\x1b[1;36m(APIServer pid=1)\x1b[0;0m INFO 11-23 10:02:01 [utils.py:326] non-default args: {'model': 'm', 'api_key': ['very-secret'], 'max_num_seqs': 64, 'enable_prefix_caching': False, 'gpu_memory_utilization': 0.90}\n" +
	`(EngineCore_0 pid=72) INFO 11-23 10:02:09 [core.py:74] Initializing a V1 LLM engine (v0.10.1.1) with config: model='m', speculative_config=None, tokenizer='m', revision=None, dtype=torch.bfloat16, max_seq_len=16384, load_format=auto, tensor_parallel_size=4, pipeline_parallel_size=1, quantization=None, enforce_eager=False, kv_cache_dtype=auto, seed=0, served_model_name=m, enable_prefix_caching=False, chunked_prefill_enabled=True, compilation_config={"level":3}
(EngineCore_0 pid=72) INFO 11-23 10:02:40 [kv_cache_utils.py:829] GPU KV cache size: 93,872 tokens
(EngineCore_0 pid=72) INFO 11-23 10:02:40 [kv_cache_utils.py:833] Maximum concurrency for 16,384 tokens per request: 5.73x
`

func TestStartup(t *testing.T) {
	s := readStartup(strings.NewReader(started))
	want := map[string]string{
		Engine: "vllm", EngineVersion: "0.10.1.1", MaxNumSeqs: "64", PrefixCaching: "False", GPUMemUtilization: "0.90", MaxModelLen: "16384",
		TP: "4", PP: "1", Quant: "bfloat16", EnforceEager: "False", KVCacheDtype: "auto", ChunkedPrefill: "True",
	}
	if !maps.Equal(s.values, want) {
		t.Errorf("values %v", s.values)
	}
	if live := map[string]string{"kv_cache_size_tokens": "93872", "kv_cache_max_concurrency": "5.73"}; !maps.Equal(s.live, live) {
		t.Errorf("live %v", s.live)
	}
}

// HTTP stands over the log, the log tells the rest, and both are held against
// what the spec declares.
func TestStartupOfAnObservation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.log")
	if err := os.WriteFile(path, []byte(started), 0o666); err != nil {
		t.Fatal(err)
	}
	o := Observation{Identity: newIdentity(), Live: map[string]string{"kv_cache_size_tokens": "5"}, Answers: map[string]string{}}
	o.Identity.set(EngineVersion, "0.10.1", "GET /version")
	o.startup(path)
	id := &o.Identity
	if id.Value(EngineVersion) != "0.10.1" || id.Value(TP) != "4" || id.Sources[TP] != startupLog || id.Value(PrefixCaching) != "false" || id.Value(Quant) != "bf16" || o.Live["kv_cache_size_tokens"] != "5" {
		t.Errorf("%+v, live %v", id, o.Live)
	}
	if said := o.Answers[startupLog]; !strings.Contains(said, "differs: engine_version 0.10.1.1, and GET /version tells 0.10.1") {
		t.Errorf("%q", said)
	}
	if found := id.Declare(map[string]string{TP: "8"}); len(found) != 1 || !strings.Contains(found[0].String(), startupLog) {
		t.Errorf("a declared tp of 8 against a log of 4: %v", found)
	}
}

func FuzzStartup(f *testing.F) {
	f.Add(started)
	f.Add("non-default args: {'a': '")
	f.Fuzz(func(t *testing.T, text string) { readStartup(strings.NewReader(text)) })
}
