package vllmsim

import (
	"fmt"
	"io"
	"slices"
	"time"

	"pipeline/internal/sol"
)

// Version of the simulator. It is in each response's X-Pipeline-Simulated
// header; raise it when simulated times change.
const Version = "0.1.0"

// A Config says which server to simulate. Start from Defaults. The first
// group mirrors vLLM's arguments by name, the second steers the simulation.
type Config struct {
	Model string // served model name
	// ModelShape is a folder of configs/models; Shape, if set, is used instead.
	ModelShape string
	Shape      *sol.Shape
	// TensorParallelSize is the number of GPUs.
	TensorParallelSize   int
	Quantization         string // "" (as the checkpoint), or fp8 for a bf16 checkpoint
	KVCacheDtype         string // auto, bfloat16, fp8, fp8_ds_mla, ...
	MaxModelLen          int    // tokens; 0: the model's maximum, or what fits
	MaxNumSeqs           int
	MaxNumBatchedTokens  int
	GPUMemoryUtilization float64
	BlockSize            int // tokens of a KV block
	EnablePrefixCaching  bool
	EnableChunkedPrefill bool
	Seed                 int64
	// APIKeyEnv names the environment variable that holds the bearer token.
	// Whoever builds the Config reads it and sets APIKey; an empty APIKey
	// lets everybody in. The key itself is no flag.
	APIKeyEnv string
	APIKey    string

	Hardware string // key of the ceilings, such as "b200_sm100"
	// Ceilings are where Hardware is looked up; nil: the built-in ones.
	Ceilings *sol.Ceilings
	// Efficiency is the share of the roofline that kernels reach.
	Efficiency float64
	// StepOverhead is added to each step: host work and launch gaps.
	StepOverhead time.Duration
	// CollectiveLatency is the fixed time of one all-reduce, of which a step
	// has two a layer when TensorParallelSize is above 1.
	CollectiveLatency time.Duration
	// ReservedMemoryGB is what each GPU keeps from the KV cache besides the
	// weights: activations, CUDA graphs, NCCL and the runtime.
	ReservedMemoryGB float64
	// TimeScale multiplies every step time: 0.1 runs ten times faster than
	// the GPU would. 1 is real time.
	TimeScale float64
	// MeanOutputTokens is the mean of the natural length of an answer
	// (exponential), which ends requests that do not ignore EOS.
	MeanOutputTokens int
	// StampTokens adds "sim":{"due_ns":…,"wrote_ns":…} to each content chunk,
	// in unix nanoseconds: when its last token was due, and when it was
	// written.
	StampTokens bool
	DCGM        DCGM
	Faults      Faults

	// Log takes vLLM-shaped log lines; nil: nowhere.
	Log io.Writer
}

// Defaults are those of vLLM's API server on data-centre GPUs where there is
// one. The rest:
//
//   - Efficiency 0.70: NVIDIA's dcgmproftester reaches 61-77 % of nominal HBM
//     bandwidth from A100 to GB300, and matmul benchmarks 70-78 % of dense FP8
//     peak (the entries, with sources, are in configs/sol-ceilings.yaml).
//   - CollectiveLatency 5 µs: the figure of the reference's communication
//     floors. StepOverhead 200 µs is an assumption without a source.
//   - ReservedMemoryGB 3.758 (3.5 GiB): with it the KV capacity of
//     Llama-3.1-70B FP8 on one H200 is the reference's 308,139 tokens.
func Defaults() Config {
	return Config{
		Model:                "zai-org/GLM-5.1-FP8",
		ModelShape:           "glm-5.1-fp8",
		TensorParallelSize:   8,
		KVCacheDtype:         "auto",
		MaxNumSeqs:           1024,
		MaxNumBatchedTokens:  8192,
		GPUMemoryUtilization: 0.9,
		BlockSize:            16,
		EnablePrefixCaching:  true,
		EnableChunkedPrefill: true,
		Hardware:             "b200_sm100",
		Efficiency:           0.70,
		StepOverhead:         200 * time.Microsecond,
		CollectiveLatency:    5 * time.Microsecond,
		ReservedMemoryGB:     3.758096384,
		TimeScale:            1,
		MeanOutputTokens:     1024,
		DCGM:                 DCGM{Interval: 100 * time.Millisecond, Node: "vllmsim-node", Names: legacyNames, Fields: allFields},
	}
}

// check refuses what vLLM would refuse before it loads anything, and what
// makes no sense to simulate.
func (c *Config) check() error {
	for _, f := range []struct {
		name string
		ok   bool
		got  any
	}{
		{"model must be named", c.Model != "", c.Model},
		{"max-num-seqs must be at least 1", c.MaxNumSeqs >= 1, c.MaxNumSeqs},
		{"max-num-batched-tokens must be at least max-num-seqs", c.MaxNumBatchedTokens >= c.MaxNumSeqs, c.MaxNumBatchedTokens},
		{"max-model-len must not be negative", c.MaxModelLen >= 0, c.MaxModelLen},
		{"gpu-memory-utilization must be above 0 and at most 1", c.GPUMemoryUtilization > 0 && c.GPUMemoryUtilization <= 1, c.GPUMemoryUtilization},
		{"block-size must be one of 1, 8, 16, 32, 64, 128", slices.Contains([]int{1, 8, 16, 32, 64, 128}, c.BlockSize), c.BlockSize},
		{"efficiency must be above 0 and at most 1", c.Efficiency > 0 && c.Efficiency <= 1, c.Efficiency},
		{"time-scale must be above 0", c.TimeScale > 0 && c.TimeScale <= 1e6, c.TimeScale},
		{"step-overhead must not be negative", c.StepOverhead >= 0, c.StepOverhead},
		{"collective-latency must not be negative", c.CollectiveLatency >= 0, c.CollectiveLatency},
		{"reserved-memory-gb must not be negative", c.ReservedMemoryGB >= 0, c.ReservedMemoryGB},
		{"mean-output-tokens must be at least 1", c.MeanOutputTokens >= 1, c.MeanOutputTokens},
	} {
		if !f.ok {
			return fmt.Errorf("simulated server: %s, got %v (vllmsim.Defaults is a good start)", f.name, f.got)
		}
	}
	if err := c.DCGM.check(c.TensorParallelSize); err != nil {
		return err
	}
	return c.Faults.check()
}

// ceilings are those of the Config, or the built-in ones.
func (c *Config) ceilings() (*sol.Ceilings, error) {
	if c.Ceilings != nil {
		return c.Ceilings, nil
	}
	return sol.BuiltinCeilings()
}

// deploy resolves the shape, the hardware and the KV format.
func (c *Config) deploy() (*sol.Deployment, error) {
	shape := c.Shape
	var err error
	if shape == nil {
		if shape, err = sol.BuiltinShape(c.ModelShape); err != nil {
			return nil, err
		}
	}
	ceilings, err := c.ceilings()
	if err != nil {
		return nil, err
	}
	if shape, err = c.quantized(shape); err != nil {
		return nil, err
	}
	gpu, err := ceilings.GPU(c.Hardware)
	if err != nil {
		return nil, err
	}
	kv := shape.KVDefault
	if c.KVCacheDtype != "" && c.KVCacheDtype != "auto" {
		if kv, err = sol.ParseKVFormat(c.KVCacheDtype); err != nil {
			return nil, err
		}
	}
	return sol.Deploy(shape, gpu, c.TensorParallelSize, kv)
}

// quantizationOf names vLLM's --quantization for a checkpoint's format.
func quantizationOf(f sol.Format) string {
	switch f {
	case sol.FP8, sol.FP8Block:
		return "fp8"
	case sol.NVFP4:
		return "modelopt_fp4"
	case sol.MXFP4:
		return "mxfp4"
	case sol.AWQ4:
		return "awq"
	}
	return ""
}

func (c *Config) quantized(shape *sol.Shape) (*sol.Shape, error) {
	have := quantizationOf(shape.MainFormat())
	switch {
	case c.Quantization == "" || c.Quantization == have:
		return shape, nil
	case have == "" && c.Quantization == "fp8":
		return shape.Quantized(sol.FP8)
	case have == "":
		return nil, fmt.Errorf("quantization %q of a bf16 checkpoint is not simulated (fp8)", c.Quantization)
	}
	return nil, fmt.Errorf("quantization method specified in the model config (%s) does not match the quantization argument (%s)", have, c.Quantization)
}

// limits are what follows from a Config on its hardware.
type limits struct {
	kvTokens    int // capacity of the KV cache
	blocks      int
	maxModelLen int
}

// limits sizes the KV cache and settles the maximum length, as vLLM does
// after it has profiled the memory.
func (c *Config) limits(d *sol.Deployment) (limits, error) {
	capacity := d.KVCapacityTokens(c.GPUMemoryUtilization, c.ReservedMemoryGB*1e9)
	if capacity < float64(c.BlockSize) {
		return limits{}, fmt.Errorf("no available memory for the cache blocks: %s takes %.1f GB of weights per GPU, and %s has %.0f GB at gpu-memory-utilization %g; raise it, or raise tensor-parallel-size",
			d.Shape.Name, d.Shape.WeightBytes()/float64(d.GPUs)/1e9, d.GPU.Key, d.GPU.MemBytes/1e9, c.GPUMemoryUtilization)
	}
	blocks := int(capacity) / c.BlockSize
	l := limits{kvTokens: blocks * c.BlockSize, blocks: blocks, maxModelLen: c.MaxModelLen}
	if l.maxModelLen == 0 {
		l.maxModelLen = min(d.Shape.MaxLen, l.kvTokens)
		if !c.EnableChunkedPrefill {
			l.maxModelLen = min(l.maxModelLen, c.MaxNumBatchedTokens)
		}
	}
	switch {
	case l.maxModelLen > d.Shape.MaxLen:
		return limits{}, fmt.Errorf("user-specified max_model_len (%d) is greater than the derived max_model_len (max_position_embeddings=%d)", l.maxModelLen, d.Shape.MaxLen)
	case l.maxModelLen > l.kvTokens:
		return limits{}, fmt.Errorf("to serve at least one request with the model's max seq len (%d), more KV cache is needed than the %d tokens that fit; try increasing gpu_memory_utilization or decreasing max_model_len", l.maxModelLen, l.kvTokens)
	case !c.EnableChunkedPrefill && c.MaxNumBatchedTokens < l.maxModelLen:
		return limits{}, fmt.Errorf("max_num_batched_tokens (%d) is smaller than max_model_len (%d), which without chunked prefill limits the length of prompts", c.MaxNumBatchedTokens, l.maxModelLen)
	case d.Shape.Vocab < vocabulary:
		return limits{}, fmt.Errorf("vocabulary of %s (%d) is smaller than the simulator's tokenizer (%d)", d.Shape.Name, d.Shape.Vocab, vocabulary)
	}
	return l, nil
}
