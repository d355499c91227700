package vllmsim

import (
	"encoding/json"
	"fmt"
	"net/http"
)

func (s *Server) serveHealth(w http.ResponseWriter, _ *http.Request) {
	if !s.engine.alive() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusOK)
}

func (s *Server) serveVersion(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"version": reportedVersion, "simulated": true})
}

func (s *Server) serveModels(w http.ResponseWriter, _ *http.Request) {
	models := []any{}
	if s.ready() {
		created := s.engine.born.Unix()
		models = append(models, map[string]any{
			"id": s.config.Model, "object": "model", "created": created, "owned_by": "vllm", "root": s.config.Model,
			"parent": nil, "max_model_len": s.limits.maxModelLen,
			"permission": []any{map[string]any{
				"id": "modelperm-" + requestID(s.config.Seed, 0), "object": "model_permission", "created": created,
				"allow_create_engine": false, "allow_sampling": true, "allow_logprobs": true, "allow_search_indices": false,
				"allow_view": true, "allow_fine_tuning": false, "organization": "*", "group": nil, "is_blocking": false,
			}},
		})
	}
	writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": models})
}

// serveServerInfo is vLLM's development endpoint: the configuration in effect,
// by the names of its sections.
func (s *Server) serveServerInfo(w http.ResponseWriter, r *http.Request) {
	if s.faults.Load().NoServerInfo {
		serveNotFound(w, r)
		return
	}
	c := &s.config
	var quantization any
	if s.quantization != "" {
		quantization = s.quantization
	}
	config := map[string]any{
		"model_config": map[string]any{
			"model": c.Model, "served_model_name": c.Model, "tokenizer": "vllmsim", "dtype": "torch.bfloat16", "revision": nil,
			"max_model_len": s.limits.maxModelLen, "quantization": quantization, "seed": c.Seed, "enforce_eager": false,
		},
		"cache_config": map[string]any{
			"block_size": c.BlockSize, "gpu_memory_utilization": c.GPUMemoryUtilization, "cache_dtype": c.KVCacheDtype,
			"enable_prefix_caching": c.EnablePrefixCaching, "num_gpu_blocks": s.limits.blocks,
		},
		"parallel_config": map[string]any{
			"tensor_parallel_size": c.TensorParallelSize, "pipeline_parallel_size": 1, "data_parallel_size": 1, "enable_expert_parallel": false,
		},
		"scheduler_config": map[string]any{
			"max_num_seqs": c.MaxNumSeqs, "max_num_batched_tokens": c.MaxNumBatchedTokens, "max_model_len": s.limits.maxModelLen,
			"enable_chunked_prefill": c.EnableChunkedPrefill, "policy": "fcfs",
		},
	}
	body := map[string]any{"simulated": true, "system_env": map[string]any{
		"gpu_runtime": fmt.Sprintf("SIMULATED %d x %s", c.TensorParallelSize, c.Hardware),
	}}
	body["vllm_config"] = config
	if r.URL.Query().Get("config_format") != "json" {
		text, err := json.Marshal(config)
		if err != nil {
			(&apiError{http.StatusInternalServerError, err.Error(), ""}).write(w)
			return
		}
		body["vllm_config"] = string(text)
	}
	writeJSON(w, http.StatusOK, body)
}

func (s *Server) serveMetricsUnlessFaulty(w http.ResponseWriter, r *http.Request) {
	if s.faults.Load().NoMetrics {
		serveNotFound(w, r)
		return
	}
	s.serveMetrics(w, r)
}

// serveResetPrefixCache forgets the cache. As in vLLM, it answers 200 also
// when sequences hold blocks and nothing could be forgotten.
func (s *Server) serveResetPrefixCache(w http.ResponseWriter, r *http.Request) {
	done := make(chan struct{})
	s.engine.do(func(e *engine) {
		if !e.sched.pool.reset() {
			e.log.line(engineCore, "WARNING", "block_pool.py:331", "Failed to reset prefix cache because some blocks are not freed yet")
		}
		close(done)
	})
	select {
	case <-done:
		w.WriteHeader(http.StatusOK)
	case <-r.Context().Done():
	case <-s.quit:
	}
}

func (s *Server) serveGetFaults(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.faults.Load().Faults)
}

func (s *Server) serveSetFaults(w http.ResponseWriter, r *http.Request) {
	var faults Faults
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&faults); err != nil {
		badRequest("", "faults: %v", err).write(w)
		return
	}
	if err := s.SetFaults(faults); err != nil {
		badRequest("", "%v", err).write(w)
		return
	}
	s.serveGetFaults(w, r)
}

// requestID is 32 hexadecimal digits, the same for the same seed and number.
func requestID(seed int64, number uint64) string {
	a := mix(uint64(seed) ^ mix(number))
	return fmt.Sprintf("%016x%016x", a, mix(a))
}

func (s *Server) serveTokenize(w http.ResponseWriter, r *http.Request) {
	if s.faults.Load().NoTokenize {
		serveNotFound(w, r)
		return
	}
	var body struct {
		Model               string     `json:"model"`
		Prompt              *string    `json:"prompt"`
		Messages            []chatTurn `json:"messages"`
		AddGenerationPrompt *bool      `json:"add_generation_prompt"`
	}
	if e := s.decode(w, r, &body); e != nil {
		e.write(w)
		return
	}
	if e := s.checkModel(body.Model); e != nil {
		e.write(w)
		return
	}
	var tokens []int32
	switch {
	case body.Prompt != nil:
		tokens = appendTokens(tokens, *body.Prompt)
	case body.Messages != nil:
		messages, e := plainMessages(body.Messages)
		if e != nil {
			e.write(w)
			return
		}
		tokens = chatTokens(messages, body.AddGenerationPrompt == nil || *body.AddGenerationPrompt)
	default:
		badRequest("prompt", "Field required: prompt or messages").write(w)
		return
	}
	if tokens == nil {
		tokens = []int32{}
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"count": len(tokens), "max_model_len": s.limits.maxModelLen, "tokens": tokens, "token_strs": nil,
	})
}

func (s *Server) serveDetokenize(w http.ResponseWriter, r *http.Request) {
	if s.faults.Load().NoTokenize {
		serveNotFound(w, r)
		return
	}
	var body struct {
		Model  string  `json:"model"`
		Tokens []int32 `json:"tokens"`
	}
	if e := s.decode(w, r, &body); e != nil {
		e.write(w)
		return
	}
	if e := s.checkModel(body.Model); e != nil {
		e.write(w)
		return
	}
	var text []byte
	for _, id := range body.Tokens {
		if e := s.checkToken(id); e != nil {
			e.write(w)
			return
		}
		text = appendText(text, id)
	}
	writeJSON(w, http.StatusOK, map[string]string{"prompt": string(text)})
}
