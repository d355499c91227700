package vllmsim

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Args and ParseArgs are inverse to each other, whatever the arguments are.
func TestArgsRoundTrip(t *testing.T) {
	if args := Defaults().Args(); len(args) != 0 {
		t.Errorf("the defaults have arguments: %q", args)
	}
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		want := Defaults()
		for _, f := range want.Flags() {
			if rng.IntN(2) == 0 {
				continue
			}
			text := map[string]string{
				"string": fmt.Sprintf("a=b c%d", rng.IntN(9)), "int": fmt.Sprint(rng.IntN(999)), "float": fmt.Sprint(rng.Float64()),
				"bool": fmt.Sprint(rng.IntN(2) == 0), "duration": (time.Duration(rng.IntN(1e9)) * time.Microsecond).String(),
			}[f.Value.Type()]
			if err := f.Value.Set(text); err != nil {
				t.Fatalf("%s: %v", f.Name, err)
			}
		}
		got := Defaults()
		if err := got.ParseArgs(want.Args()); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q made\n%+v, want\n%+v", want.Args(), got, want)
		}
	}
}

func TestParseArgsForms(t *testing.T) {
	c := Defaults()
	err := c.ParseArgs([]string{"--tensor-parallel-size", "4", "--stamp-tokens", "--enable-prefix-caching=false", "--step-overhead=1ms"})
	if err != nil || c.TensorParallelSize != 4 || !c.StampTokens || c.EnablePrefixCaching || c.StepOverhead != time.Millisecond {
		t.Errorf("%v: %+v", err, c)
	}
	for _, bad := range []struct{ arg, want string }{
		{"--no-such", "unrecognized argument: --no-such"}, {"--block-size=x", `argument --block-size: "x" is no int`}, {"--model", "expected one argument"},
	} {
		if err := c.ParseArgs([]string{bad.arg}); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v, want %q", bad.arg, err, bad.want)
		}
	}
}

// The table fits the standard flag package, and so every other one.
func TestFlagsFitFlagSets(t *testing.T) {
	c := Defaults()
	set := flag.NewFlagSet("sim", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, f := range c.Flags() {
		if f.Doc == "" || f.Name != strings.ToLower(f.Name) {
			t.Errorf("flag %+v lacks a description or has an odd name", f)
		}
		set.Var(f.Value, f.Name, f.Doc)
	}
	if err := set.Parse([]string{"-max-num-seqs", "5"}); err != nil || c.MaxNumSeqs != 5 {
		t.Errorf("%v: %d", err, c.MaxNumSeqs)
	}
	set.PrintDefaults() // must not panic on zero values
}

// Each bad argument is refused with a word that tells what to change.
func TestNewRefusals(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { *c = Config{} }, "vllmsim.Defaults"},
		{func(c *Config) { c.Model = "" }, "model must be named"},
		{func(c *Config) { c.ModelShape = "gpt-9" }, "known: deepseek-v3"},
		{func(c *Config) { c.Hardware = "b999" }, "CEIL_UNKNOWN"},
		{func(c *Config) { c.TensorParallelSize = 7 }, "divisible by tensor parallel size (7)"},
		{func(c *Config) { c.TensorParallelSize = 1 }, "no available memory for the cache blocks"},
		{func(c *Config) { c.KVCacheDtype = "int2" }, "int2"},
		{func(c *Config) { c.Quantization = "awq" }, "does not match the quantization argument (awq)"},
		{func(c *Config) { c.MaxModelLen = 1 << 20 }, "greater than the derived max_model_len"},
		{func(c *Config) { c.BlockSize = 17 }, "block-size"},
		{func(c *Config) { c.Efficiency = 1.1 }, "efficiency"},
		{func(c *Config) { c.MaxNumBatchedTokens = 10 }, "max-num-batched-tokens"},
		{func(c *Config) { c.EnableChunkedPrefill, c.MaxModelLen = false, 9000 }, "max_num_batched_tokens (8192) is smaller than max_model_len (9000)"},
		{func(c *Config) { c.ModelShape, c.Hardware = "glm-5.1-nvfp4", "b300_sm103" }, "CEIL_NULL"},
		{func(c *Config) {
			c.ModelShape, c.TensorParallelSize, c.Hardware = "llama-3.1-70b", 2, "h100_sm90"
			c.GPUMemoryUtilization = 0.95
			c.MaxModelLen = 131072
		}, "max seq len (131072)"},
		{func(c *Config) { c.Faults.ErrorRate = -1 }, "error_rate"},
		{func(c *Config) { c.Faults.ErrorStatus = 200 }, "error_status"},
	} {
		config := Defaults()
		c.change(&config)
		s, err := New(config)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q in it", err, c.want)
		}
	}
}

// On-line fp8 of a bf16 checkpoint, and the KV format that a quant map asks for.
func TestQuantizationInEffect(t *testing.T) {
	for _, c := range []struct{ shape, quantization, hardware, kv, want, math string }{
		{"llama-3.1-70b", "fp8", "h200_sm90", "bf16", "fp8", "fp8"},
		{"llama-3.1-70b", "", "h200_sm90", "bf16", "", "bf16"},
		{"glm-5.1-nvfp4", "", "b200_sm100", "fp8", "modelopt_fp4", "fp4"},
		{"gpt-oss-120b", "mxfp4", "h100_sm90", "bf16", "mxfp4", "bf16"},
	} {
		config := Defaults()
		config.ModelShape, config.Quantization, config.Hardware = c.shape, c.quantization, c.hardware
		s, err := build(config)
		if err != nil {
			t.Fatal(err)
		}
		if s.quantization != c.want || string(s.deployment.KV) != c.kv || s.deployment.MathDType() != c.math {
			t.Errorf("%s %q: %s, KV %s, math %s", c.shape, c.quantization, s.quantization, s.deployment.KV, s.deployment.MathDType())
		}
	}
}
