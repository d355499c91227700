package sol

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

// hfQuant is quantization_config of config.json, in its several dialects.
type hfQuant struct {
	Method    string   `json:"quant_method"`
	Algo      string   `json:"quant_algo"`
	Block     []int    `json:"weight_block_size"`
	NotThese  []string `json:"modules_to_not_convert"`
	Ignore    []string `json:"ignore"`
	Bits      int      `json:"bits"`
	GroupSize int      `json:"group_size"`
}

// modelOpt is hf_quant_config.json of NVIDIA's ModelOpt.
type modelOpt struct {
	Quantization struct {
		Algo    string   `json:"quant_algo"`
		KVAlgo  string   `json:"kv_cache_quant_algo"`
		Exclude []string `json:"exclude_modules"`
	} `json:"quantization"`
}

// A quantMap gives each matrix its format: one format for linear layers, and
// the modules that stay bf16. A label such as "NVFP4" alone is not enough:
// public NVFP4 checkpoints keep attention and the LM head in bf16.
type quantMap struct {
	linear  Format
	exclude []string
	kv      KVFormat
	source  string
}

// format of the matrix with that module name. The LM head stays bf16: no
// engine quantises it for these dialects, whether they exclude it or not.
func (q quantMap) format(module string) Format {
	if q.linear == BF16 || module == "lm_head" {
		return BF16
	}
	for _, pattern := range q.exclude {
		if moduleMatches(pattern, module) {
			return BF16
		}
	}
	return q.linear
}

// moduleMatches is true if the pattern names the module, a parent of it, or
// (with *) a family of it.
func moduleMatches(pattern, module string) bool {
	if i := strings.IndexAny(pattern, "*?["); i >= 0 && !strings.HasPrefix(module, pattern[:i]) {
		return false // the cheap answer, which is nearly always right
	}
	if ok, err := path.Match(pattern, module); err == nil && ok {
		return true
	}
	if strings.HasPrefix(module, strings.TrimSuffix(pattern, ".")+".") {
		return true
	}
	// "model.layers.*.self_attn" excludes what is inside it.
	ok, err := path.Match(pattern+".*", module)
	return err == nil && ok
}

func parseQuant(inline *hfQuant, sidecar []byte) (quantMap, error) {
	q := quantMap{linear: BF16, kv: KVBF16, source: QuantNone}
	if sidecar != nil {
		var m modelOpt
		if err := json.Unmarshal(sidecar, &m); err != nil {
			return q, fmt.Errorf("hf_quant_config.json: %w", err)
		}
		q.exclude, q.source = m.Quantization.Exclude, QuantSidecar
		if m.Quantization.KVAlgo == "FP8" {
			q.kv = KVFP8
		}
		return q, q.setAlgo(m.Quantization.Algo)
	}
	if inline == nil {
		return q, nil
	}
	q.exclude, q.source = append(inline.NotThese, inline.Ignore...), QuantInline
	switch inline.Method {
	case "fp8":
		q.linear = FP8
		if len(inline.Block) == 2 {
			if inline.Block[0] != 128 || inline.Block[1] != 128 {
				return q, fmt.Errorf("weight_block_size %v is not covered (128x128)", inline.Block)
			}
			q.linear = FP8Block
		}
	case "mxfp4":
		q.linear = MXFP4
	case "awq":
		if inline.Bits != 4 || inline.GroupSize != 128 {
			return q, fmt.Errorf("awq with %d bits in groups of %d is not covered (4 bits, 128)", inline.Bits, inline.GroupSize)
		}
		q.linear = AWQ4
	case "modelopt":
		return q, q.setAlgo(inline.Algo)
	default:
		return q, fmt.Errorf("quant_method %q is not covered (fp8, mxfp4, awq, modelopt)", inline.Method)
	}
	return q, nil
}

func (q *quantMap) setAlgo(algo string) error {
	switch algo {
	case "NVFP4":
		q.linear = NVFP4
	case "FP8":
		q.linear = FP8
	default:
		return fmt.Errorf("quant_algo %q is not covered (NVFP4, FP8)", algo)
	}
	return nil
}

// Quantized returns the shape as an engine would hold it after it quantises
// all linear layers of a bf16 checkpoint while loading (vLLM's
// --quantization fp8). Norms, routers, indexer and LM head stay bf16.
func (s *Shape) Quantized(f Format) (*Shape, error) {
	if s.MainFormat() != BF16 {
		return nil, fmt.Errorf("model shape %q is already %s: only a bf16 checkpoint can be quantised while loading", s.Name, s.MainFormat())
	}
	out := *s
	out.QuantMap = QuantAssumed
	out.Fixed = requantise(s.Fixed, f)
	if s.MoE != nil {
		moe := *s.MoE
		moe.Routed = requantise(s.MoE.Routed, f)
		out.MoE = &moe
	}
	return &out, nil
}

// QuantizedRest returns the shape with its linear layers that are still bf16
// in the format of the rest (fp8, if all are bf16), and how many bytes those
// have now. The LM head stays as it is.
func (s *Shape) QuantizedRest() (q *Shape, bf16Bytes float64) {
	f := s.MainFormat()
	if f == BF16 {
		f = FP8
	}
	out := *s
	out.QuantMap = QuantAssumed
	rest := func(cs []Component) []Component {
		kept := append([]Component(nil), cs...)
		for i, c := range kept {
			if linear(c.Name) && c.Format == BF16 {
				bf16Bytes += c.Bytes()
				kept[i].Format = f
			}
		}
		return kept
	}
	out.Fixed = rest(s.Fixed)
	if s.MoE != nil {
		moe := *s.MoE
		moe.Routed = rest(s.MoE.Routed)
		out.MoE = &moe
	}
	return &out, bf16Bytes
}

// linear reports whether a component is made of the matrices that engines
// quantise.
func linear(name string) bool {
	switch name {
	case "attn", "mlp", "dense_mlp", "shared", "routed":
		return true
	}
	return false
}

func requantise(cs []Component, f Format) []Component {
	out := append([]Component(nil), cs...)
	for i, c := range out {
		if linear(c.Name) {
			out[i].Format = f
		}
	}
	return out
}
