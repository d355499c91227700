package vllmsim

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// A Flag is one argument of the simulated server: the one table from which
// the command line, its help and a child process's arguments are made.
type Flag struct {
	Name  string // without dashes, as in vLLM
	Doc   string
	Value Value
	Bool  bool // may stand without a value, meaning true
}

// A Value reads and prints one field of a Config. It has the methods of the
// Value of the flag packages in use.
type Value interface {
	String() string
	Set(string) error
	Type() string
}

// Flags returns the arguments of c; setting one sets the field. The values
// that they hold now are their defaults.
func (c *Config) Flags() []Flag {
	flags := []Flag{
		newFlag("model", "served model name", &c.Model),
		newFlag("model-shape", "shape to simulate: a folder of configs/models", &c.ModelShape),
		newFlag("tensor-parallel-size", "GPUs of the replica", &c.TensorParallelSize),
		newFlag("quantization", "fp8 to quantise a bf16 checkpoint while loading; empty: as the checkpoint", &c.Quantization),
		newFlag("kv-cache-dtype", "auto, bfloat16, fp8, fp8_e4m3, fp8_e5m2, fp8_ds_mla", &c.KVCacheDtype),
		newFlag("max-model-len", "longest sequence in tokens; 0: the model's maximum, or what fits", &c.MaxModelLen),
		newFlag("max-num-seqs", "most sequences in one step", &c.MaxNumSeqs),
		newFlag("max-num-batched-tokens", "most tokens in one step", &c.MaxNumBatchedTokens),
		newFlag("gpu-memory-utilization", "share of GPU memory to use", &c.GPUMemoryUtilization),
		newFlag("block-size", "tokens of a KV block", &c.BlockSize),
		newFlag("enable-prefix-caching", "reuse KV blocks of equal prefixes", &c.EnablePrefixCaching),
		newFlag("enable-chunked-prefill", "split long prompts over steps", &c.EnableChunkedPrefill),
		newFlag("seed", "seed of generated text, of natural lengths and of faults", &c.Seed),
		newFlag("api-key-env", "environment variable that holds the bearer token clients must send", &c.APIKeyEnv),
		newFlag("hardware", "GPU to simulate: a key of configs/sol-ceilings.yaml", &c.Hardware),
		newFlag("efficiency", "share of the roofline that kernels reach", &c.Efficiency),
		newFlag("step-overhead", "time added to each step", &c.StepOverhead),
		newFlag("collective-latency", "fixed time of one all-reduce; two a layer under TP", &c.CollectiveLatency),
		newFlag("reserved-memory-gb", "GPU memory kept from weights and KV cache, in 1e9 bytes", &c.ReservedMemoryGB),
		newFlag("time-scale", "factor on every step time; 0.1 is ten times faster than the GPU", &c.TimeScale),
		newFlag("mean-output-tokens", "mean natural length of an answer when EOS is not ignored", &c.MeanOutputTokens),
		newFlag("stamp-tokens", "put the due and written time of tokens into each chunk", &c.StampTokens),
	}
	return append(append(flags, c.DCGM.flags()...), c.Faults.flags()...)
}

// Args returns the arguments that make Defaults into c: those that differ.
// Shape, Ceilings, APIKey and Log are no arguments.
func (c Config) Args() []string {
	defaults := Defaults()
	base := defaults.Flags()
	var args []string
	for i, f := range c.Flags() {
		if f.Value.String() != base[i].Value.String() {
			args = append(args, "--"+f.Name+"="+f.Value.String())
		}
	}
	return args
}

// nonDefault are the arguments for vLLM's "non-default args" log line.
func (c Config) nonDefault() [][2]string {
	defaults := Defaults()
	base := defaults.Flags()
	var pairs [][2]string
	for i, f := range c.Flags() {
		if f.Name == "model" || f.Value.String() != base[i].Value.String() {
			pairs = append(pairs, [2]string{f.Name, f.Value.String()})
		}
	}
	return pairs
}

// setting is a Value over a field of one of the types that arguments have.
type setting[T string | int | int64 | float64 | bool | time.Duration] struct {
	field *T
	kind  string
	parse func(string) (T, error)
}

func (s setting[T]) String() string {
	if s.field == nil {
		return "" // the flag package asks a zero value for its text
	}
	return fmt.Sprint(*s.field)
}

func (s setting[T]) Type() string { return s.kind }

func (s setting[T]) Set(text string) error {
	value, err := s.parse(text)
	if err != nil {
		return fmt.Errorf("%q is no %s", text, s.kind)
	}
	*s.field = value
	return nil
}

func newFlag(name, doc string, field any) Flag {
	f := Flag{Name: name, Doc: doc}
	switch p := field.(type) {
	case *string:
		f.Value = setting[string]{p, "string", func(s string) (string, error) { return s, nil }}
	case *int:
		f.Value = setting[int]{p, "int", strconv.Atoi}
	case *int64:
		f.Value = setting[int64]{p, "int", func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }}
	case *float64:
		f.Value = setting[float64]{p, "float", func(s string) (float64, error) { return strconv.ParseFloat(s, 64) }}
	case *bool:
		f.Value, f.Bool = setting[bool]{p, "bool", strconv.ParseBool}, true
	case *time.Duration:
		f.Value = setting[time.Duration]{p, "duration", time.ParseDuration}
	default:
		panic(fmt.Sprintf("flag %s: no value of type %T", name, field)) // a fault of the table
	}
	return f
}

// ParseArgs applies arguments of the form --name=value, --name value, or
// --name for a boolean to c: the inverse of Args.
func (c *Config) ParseArgs(args []string) error {
	flags := c.Flags()
	for len(args) > 0 {
		name, value, has := cutFlag(args[0])
		args = args[1:]
		at := slices.IndexFunc(flags, func(f Flag) bool { return f.Name == name })
		if at < 0 {
			return fmt.Errorf("unrecognized argument: --%s", name)
		}
		if !has && flags[at].Bool {
			value = "true"
		} else if !has {
			if len(args) == 0 {
				return fmt.Errorf("argument --%s: expected one argument", name)
			}
			value, args = args[0], args[1:]
		}
		if err := flags[at].Value.Set(value); err != nil {
			return fmt.Errorf("argument --%s: %w", name, err)
		}
	}
	return nil
}

func cutFlag(arg string) (name, value string, has bool) {
	for i := range arg {
		if arg[i] == '=' {
			return trimDashes(arg[:i]), arg[i+1:], true
		}
	}
	return trimDashes(arg), "", false
}

func trimDashes(s string) string {
	if len(s) > 2 && s[:2] == "--" {
		return s[2:]
	}
	return s
}
