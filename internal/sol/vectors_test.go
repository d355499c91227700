package sol

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

// vectors.json holds worked vectors of the formulas, computed by a separate
// program in another language (testdata/README.md).
type vectors struct {
	Params map[string]struct {
		Total       float64 `json:"total"`
		Active      float64 `json:"active_matmul"`
		Fixed       float64 `json:"fixed"`
		FixedBytes  float64 `json:"fixed_bytes"`
		RoutedBytes float64 `json:"routed_bytes"`
		WeightBytes float64 `json:"total_weight_bytes"`
		Components  [][3]any
		Routed      float64 `json:"routed"`
		Experts     int     `json:"E"`
		TopK        int     `json:"k"`
	} `json:"params"`
	Decode        []decodeVector  `json:"decode"`
	DecodeDPAttn  []decodeVector  `json:"decode_dpattn"`
	Holdout       []decodeVector  `json:"holdout"`
	PrefillCases  []prefillVector `json:"prefill"`
	Communication []struct {
		Model     string  `json:"model"`
		N         int     `json:"n"`
		B         float64 `json:"B"`
		MS        float64 `json:"ms"`
		MSLatency float64 `json:"ms_alpha5us"`
	} `json:"comm"`
}

type decodeVector struct {
	Tag         string  `json:"tag"`
	Model       string  `json:"model"`
	Hardware    string  `json:"hw"`
	GPUs        int     `json:"gpus"`
	Batch       float64 `json:"concurrency"`
	Context     float64 `json:"ctx_mean"`
	WeightsGB   float64 `json:"weights_step_GB"`
	KVGB        float64 `json:"kv_step_GB"`
	Replication float64 `json:"kv_replication"`
	PerGPUGB    float64 `json:"bytes_per_gpu_step_GB"`
	Footprint   float64 `json:"footprint_GB_per_token"`
	GFLOPs      float64 `json:"flops_per_token_G"`
	MemMS       float64 `json:"t_mem_ms"`
	MathMS      float64 `json:"t_flop_ms"`
	Bound       string  `json:"bound"`
	FloorMS     float64 `json:"tpot_floor_ms"`
}

type prefillVector struct {
	Tag      string  `json:"tag"`
	Model    string  `json:"model"`
	Hardware string  `json:"hw"`
	GPUs     int     `json:"gpus"`
	ISL      int     `json:"isl"`
	TFLOPs   float64 `json:"flops_T"`
	MathMS   float64 `json:"t_flop_ms"`
	MemMS    float64 `json:"t_mem_ms"`
	FloorMS  float64 `json:"ttft_floor_ms"`
	Bound    string  `json:"bound"`
}

func readVectors(t *testing.T) vectors {
	t.Helper()
	src, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(src, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// vectorShapes maps the names of the vectors to our files. Where a vector is
// of another checkpoint of the same model, its quant map is given here.
var vectorShapes = map[string]struct{ builtin, quant string }{
	"llama8b_bf16":       {builtin: "llama-3.1-8b"},
	"llama70b_bf16":      {builtin: "llama-3.1-70b"},
	"llama70b_fp8":       {builtin: "llama-3.1-70b", quant: `{"quantization":{"quant_algo":"FP8","exclude_modules":["lm_head"]}}`},
	"qwen3_30b_a3b_bf16": {builtin: "qwen3-30b-a3b"},
	"dsv3_fp8":           {builtin: "deepseek-v3"},
	"glm51_nvfp4":        {builtin: "glm-5.1-nvfp4"},
	"glm51_nvfp4_all":    {builtin: "glm-5.1", quant: `{"quantization":{"quant_algo":"NVFP4","exclude_modules":["lm_head"]}}`},
	"glm5_fp8":           {builtin: "glm-5.1-fp8"},
	"gptoss120b":         {builtin: "gpt-oss-120b"},
}

var vectorGPUs = map[string]string{"h100_sxm": "h100_sm90", "h200_sxm": "h200_sm90", "b200_sm100": "b200_sm100", "gb300_sm103": "gb300_sm103"}

func vectorShape(t *testing.T, name string) *Shape {
	t.Helper()
	at, ok := vectorShapes[name]
	if !ok {
		t.Fatalf("vector model %q has no shape here", name)
	}
	shape := builtin(t, at.builtin)
	if at.quant == "" {
		return shape
	}
	return parseWithQuant(t, at.builtin, at.quant)
}

func deployVector(t *testing.T, model, hardware string, gpus int, kv KVFormat) *Deployment {
	t.Helper()
	ceilings, err := BuiltinCeilings()
	if err != nil {
		t.Fatal(err)
	}
	gpu, err := ceilings.GPU(vectorGPUs[hardware])
	if err != nil {
		t.Fatal(err)
	}
	d, err := Deploy(vectorShape(t, model), gpu, gpus, kv)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// vectorKV is the KV format of a vector: those of fp8 checkpoints of Llama
// and GLM use fp8, as their tables say.
func vectorKV(model, tag string) KVFormat {
	switch model {
	case "llama70b_fp8", "glm51_nvfp4", "glm51_nvfp4_all":
		return KVFP8
	}
	return KVBF16
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-9*math.Abs(want) {
		t.Errorf("%s = %.15g, want %.15g", what, got, want)
	}
}

func TestParamVectors(t *testing.T) {
	for name, want := range readVectors(t).Params {
		t.Run(name, func(t *testing.T) {
			s := vectorShape(t, name)
			near(t, "total parameters", float64(s.TotalParams()), want.Total)
			near(t, "active parameters", s.ActiveParams(), want.Active)
			near(t, "fixed parameters", float64(s.FixedParams()), want.Fixed)
			near(t, "fixed bytes", s.FixedBytes(), want.FixedBytes)
			near(t, "routed bytes", s.RoutedBytes(), want.RoutedBytes)
			near(t, "weight bytes", s.WeightBytes(), want.WeightBytes)
			byName := map[string]float64{}
			for _, c := range s.Fixed {
				byName[c.Name] += float64(c.Params)
			}
			if len(byName) != len(want.Components) {
				t.Errorf("components %v, want %v", byName, want.Components)
			}
			for _, c := range want.Components {
				near(t, c[0].(string), byName[c[0].(string)], c[1].(float64))
			}
			if want.Experts > 0 && (s.MoE.Experts != want.Experts || s.MoE.TopK != want.TopK) {
				t.Errorf("%d of %d experts, want %d of %d", s.MoE.TopK, s.MoE.Experts, want.TopK, want.Experts)
			}
		})
	}
}

func TestDecodeVectors(t *testing.T) {
	v := readVectors(t)
	for _, want := range append(v.Decode, v.Holdout...) {
		t.Run(want.Tag+" "+want.Model, func(t *testing.T) {
			d := deployVector(t, want.Model, want.Hardware, want.GPUs, vectorKV(want.Model, want.Tag))
			cost := d.DecodeStep(want.Batch, want.Context)
			near(t, "W", d.Shape.StepWeightBytes(want.Batch), want.WeightsGB*giga)
			near(t, "KV read", want.Batch*d.Shape.KVReadBytes(d.KV, want.Context), want.KVGB*giga)
			near(t, "KV replication", d.KVReplication(), want.Replication)
			near(t, "bytes per GPU", cost.Bytes/float64(want.GPUs), want.PerGPUGB*giga)
			near(t, "footprint", cost.Bytes/want.Batch, want.Footprint*giga)
			near(t, "FLOPs per token", d.FLOPsPerToken(want.Context), want.GFLOPs*giga)
			near(t, "t_mem", cost.MemSeconds, want.MemMS/1e3)
			near(t, "t_flop", cost.MathSeconds, want.MathMS/1e3)
			near(t, "TPOT floor", cost.Floor(), want.FloorMS/1e3)
			if cost.Bound() != want.Bound {
				t.Errorf("bound %s, want %s", cost.Bound(), want.Bound)
			}
		})
	}
}

func TestDecodeVectorsDPAttention(t *testing.T) {
	for _, want := range readVectors(t).DecodeDPAttn {
		d := deployVector(t, want.Model, want.Hardware, want.GPUs, KVBF16)
		d.DPAttention = true
		cost := d.DecodeStep(want.Batch, want.Context)
		near(t, "footprint", cost.Bytes/want.Batch, want.Footprint*giga)
		near(t, "t_mem", cost.MemSeconds, want.MemMS/1e3)
		near(t, "t_flop", cost.MathSeconds, want.MathMS/1e3)
	}
}

func TestPrefillVectors(t *testing.T) {
	for _, want := range readVectors(t).PrefillCases {
		t.Run(want.Tag, func(t *testing.T) {
			cost := deployVector(t, want.Model, want.Hardware, want.GPUs, vectorKV(want.Model, want.Tag)).Prefill(want.ISL)
			near(t, "FLOPs", cost.FLOPs, want.TFLOPs*tera)
			near(t, "t_flop", cost.MathSeconds, want.MathMS/1e3)
			near(t, "t_mem", cost.MemSeconds, want.MemMS/1e3)
			near(t, "TTFT floor", cost.Floor(), want.FloorMS/1e3)
			if cost.Bound() != want.Bound {
				t.Errorf("bound %s, want %s", cost.Bound(), want.Bound)
			}
		})
	}
}

func TestCommVectors(t *testing.T) {
	hardware := map[string]string{"llama70b_bf16": "h200_sxm", "glm51_nvfp4": "b200_sm100"}
	for _, want := range readVectors(t).Communication {
		d := deployVector(t, want.Model, hardware[want.Model], want.N, KVFP8)
		if want.MS > 0 {
			near(t, want.Model, d.CommSeconds(want.B, 0), want.MS/1e3)
		}
		if want.MSLatency > 0 {
			near(t, want.Model+" with 5 us", d.CommSeconds(want.B, 5e-6), want.MSLatency/1e3)
		}
	}
}
