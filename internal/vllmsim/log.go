package vllmsim

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// A logger writes lines in the shape of vLLM's own log.
type logger struct {
	mu  sync.Mutex
	out io.Writer // nil: nowhere

	// state of the periodic line
	last                  instant
	lastPrompt, lastToken int
}

const (
	apiServer  = "APIServer"
	engineCore = "EngineCore"
)

func (l *logger) line(process, level, place, text string) {
	if l.out == nil {
		return
	}
	pid := os.Getpid()
	if process == engineCore {
		pid++ // a process of its own in the real server
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, row := range strings.Split(text, "\n") {
		fmt.Fprintf(l.out, "(%s pid=%d) %s %s [%s] %s\n", process, pid, level, time.Now().Format("01-02 15:04:05"), place, row)
	}
}

// started writes the lines of a start that tools harvest.
func (l *logger) started(c *Config, s *Server) {
	args := make([]string, 0, 8)
	for _, pair := range c.nonDefault() {
		args = append(args, fmt.Sprintf("'%s': '%s'", strings.ReplaceAll(pair[0], "-", "_"), pair[1]))
	}
	l.line(apiServer, "INFO", "api_server.py:1977", "vLLM API server version "+reportedVersion)
	l.line(apiServer, "INFO", "utils.py:233", "non-default args: {"+strings.Join(args, ", ")+"}")
	l.line(apiServer, "WARNING", "vllmsim", fmt.Sprintf("SIMULATED: vllmsim/%s computes no model; times are those of %s x%d at efficiency %g",
		Version, c.Hardware, c.TensorParallelSize, c.Efficiency))
	l.line(engineCore, "INFO", "core.py:93", fmt.Sprintf("Initializing a V1 LLM engine (v%s) with config: model='%s', quantization=%s, tensor_parallel_size=%d, kv_cache_dtype=%s, max_seq_len=%d, enable_prefix_caching=%s, chunked_prefill_enabled=%s",
		reportedVersion, c.Model, pyString(s.quantization), c.TensorParallelSize, c.KVCacheDtype, s.limits.maxModelLen, pyBool(c.EnablePrefixCaching), pyBool(c.EnableChunkedPrefill)))
	l.line(engineCore, "INFO", "gpu_model_runner.py:2653", fmt.Sprintf("Model loading took %.4f GiB", s.deployment.Shape.WeightBytes()/float64(c.TensorParallelSize)/(1<<30)))
	l.line(engineCore, "INFO", "kv_cache_utils.py:1087", fmt.Sprintf("GPU KV cache size: %s tokens", commas(s.limits.kvTokens)))
	l.line(engineCore, "INFO", "kv_cache_utils.py:1091", fmt.Sprintf("Maximum concurrency for %s tokens per request: %.2fx",
		commas(s.limits.maxModelLen), float64(s.limits.kvTokens)/float64(s.limits.maxModelLen)))
	l.line(apiServer, "INFO", "launcher.py:36", "Application startup complete.")
}

// stats writes vLLM's periodic line, every 10 s of work.
func (l *logger) stats(now instant, t *Totals) {
	const period = 10 * time.Second
	if now-l.last < period {
		return
	}
	seconds := (now - l.last).Seconds()
	hitRate := 0.0
	if t.PrefixQueried > 0 {
		hitRate = float64(t.PrefixHit) / float64(t.PrefixQueried)
	}
	l.line(apiServer, "INFO", "loggers.py:127", fmt.Sprintf("Engine 000: Avg prompt throughput: %.1f tokens/s, Avg generation throughput: %.1f tokens/s, Running: %d reqs, Waiting: %d reqs, GPU KV cache usage: %.1f%%, Prefix cache hit rate: %.1f%%",
		float64(t.PromptTokens-l.lastPrompt)/seconds, float64(t.GeneratedTokens-l.lastToken)/seconds,
		t.Running, t.Waiting, 100*float64(t.KVBlocksUsed)/float64(t.KVBlocks), 100*hitRate))
	l.last, l.lastPrompt, l.lastToken = now, t.PromptTokens, t.GeneratedTokens
}

// crash writes what a dying engine core leaves: the cause first, in the
// engine's traceback, and only then the API server's EngineDeadError.
func (l *logger) crash() {
	l.line(engineCore, "ERROR", "core.py:1107", `EngineCore encountered a fatal error.
Traceback (most recent call last):
  File "/usr/local/lib/python3.12/dist-packages/vllm/v1/engine/core.py", line 1098, in run_engine_core
    engine_core.run_busy_loop()
  File "/usr/local/lib/python3.12/dist-packages/vllm/v1/worker/gpu_model_runner.py", line 3312, in execute_model
    model_output = self._model_forward(
torch.AcceleratorError: CUDA error: an illegal memory access was encountered (SIMULATED fault)`)
	l.line(apiServer, "ERROR", "async_llm.py:708", `AsyncLLM output_handler failed.
Traceback (most recent call last):
  File "/usr/local/lib/python3.12/dist-packages/vllm/v1/engine/async_llm.py", line 664, in output_handler
    outputs = await engine_core.get_output_async()
vllm.v1.engine.exceptions.EngineDeadError: `+engineDead)
}

const engineDead = "EngineCore encountered an issue. See stack trace (above) for the root cause."

func pyBool(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

func pyString(s string) string {
	if s == "" {
		return "None"
	}
	return s
}

// commas writes 93872 as 93,872.
func commas(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
