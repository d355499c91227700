package sol

import (
	"bytes"
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
	Serving       []servingVector `json:"serving"`
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
	AI          float64 `json:"AI_flop_per_byte"`
	Ridge       float64 `json:"ridge"`
	PerGPU      float64 `json:"output_tps_per_gpu_sol"`
	PerUser     float64 `json:"tps_per_user_sol"`
}

func (want decodeVector) ceilings(t *testing.T, f Floors) {
	t.Helper()
	near(t, "TPOT floor", f.TPOT, want.FloorMS/1e3)
	near(t, "tok/s/GPU", f.Decode, want.PerGPU)
	near(t, "tok/s/user", f.PerUser, want.PerUser)
	if f.Step.Bound() != want.Bound {
		t.Errorf("bound %s, want %s", f.Step.Bound(), want.Bound)
	}
}

type servingVector struct {
	Tag      string  `json:"tag"`
	Model    string  `json:"model"`
	Hardware string  `json:"hw"`
	GPUs     int     `json:"gpus"`
	Batch    float64 `json:"concurrency"`
	ISL      float64 `json:"isl"`
	OSL      float64 `json:"osl"`
	PrefillS float64 `json:"prefill_s_per_req"`
	DecodeS  float64 `json:"decode_s_per_req"`
	Share    float64 `json:"prefill_share"`
	PerGPU   float64 `json:"output_tps_per_gpu_sol"`
	Requests float64 `json:"req_per_s_sol"`
	MixedMS  float64 `json:"tpot_floor_mixed_ms"`
}

func floors(t *testing.T, d *Deployment, l Load) Floors {
	t.Helper()
	f, err := d.Floors(l)
	if err != nil {
		t.Fatal(err)
	}
	return f
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
	PerGPU   float64 `json:"prefill_tps_per_gpu_sol"`
}

func readVectors(t *testing.T) vectors {
	t.Helper()
	src, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	dec := json.NewDecoder(bytes.NewReader(src))
	dec.DisallowUnknownFields() // each number of the file is compared
	if err := dec.Decode(&v); err != nil {
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
	if math.Abs(got-want) > 1e-13*math.Abs(want) { // the order of additions is all that may differ
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
			if want.Routed > 0 { // matrices; gpt-oss has biases beside them
				near(t, "routed parameters", float64(s.MoE.Routed[0].Params), want.Routed)
			}
			byName, bytes := map[string]float64{}, map[string]float64{}
			for _, c := range s.Fixed {
				byName[c.Name] += float64(c.Params)
				bytes[c.Name] += c.Bytes()
			}
			if len(byName) != len(want.Components) {
				t.Errorf("components %v, want %v", byName, want.Components)
			}
			for _, c := range want.Components {
				name, params := c[0].(string), c[1].(float64)
				near(t, name, byName[name], params)
				near(t, name+" bytes", bytes[name], params*Format(c[2].(string)).Bytes())
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
			f := floors(t, d, Load{Batch: want.Batch, Input: want.Context - 128, Output: 256})
			near(t, "AI", f.AI, want.AI)
			near(t, "ridge", f.Ridge, want.Ridge)
			want.ceilings(t, f)
		})
	}
}

func TestDecodeVectorsDPAttention(t *testing.T) {
	for _, want := range readVectors(t).DecodeDPAttn {
		tp := deployVector(t, want.Model, want.Hardware, want.GPUs, KVBF16)
		d, err := DeployAs(tp.Shape, tp.GPU, Layout{TP: 1, DP: want.GPUs, EP: want.GPUs}, KVBF16)
		if err != nil {
			t.Fatal(err)
		}
		f := floors(t, d, Load{Batch: want.Batch, Input: want.Context - 512, Output: 1024})
		near(t, "context", f.Context, want.Context)
		near(t, "footprint", f.Footprint, want.Footprint*giga)
		near(t, "t_mem", f.Step.MemSeconds, want.MemMS/1e3)
		near(t, "t_flop", f.Step.MathSeconds, want.MathMS/1e3)
		want.ceilings(t, f)
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
			near(t, "prefill tok/s/GPU", float64(want.ISL)/cost.Floor()/float64(want.GPUs), want.PerGPU)
			if cost.Bound() != want.Bound {
				t.Errorf("bound %s, want %s", cost.Bound(), want.Bound)
			}
		})
	}
}

func TestServingVectors(t *testing.T) {
	for _, want := range readVectors(t).Serving {
		t.Run(want.Tag, func(t *testing.T) {
			d := deployVector(t, want.Model, want.Hardware, want.GPUs, vectorKV(want.Model, want.Tag))
			f := floors(t, d, Load{Batch: want.Batch, Input: want.ISL, Output: want.OSL})
			near(t, "prefill a request", f.PrefillTime, want.PrefillS)
			near(t, "decode a request", (want.OSL-1)*f.TPOT/want.Batch, want.DecodeS)
			near(t, "prefill share", f.PrefillShare, want.Share)
			near(t, "tok/s/GPU", f.Serving, want.PerGPU)
			near(t, "requests/s", f.Serving*float64(want.GPUs)/want.OSL, want.Requests)
			near(t, "mixed TPOT", f.MixedTPOT, want.MixedMS/1e3)
			if f.Overlapped < f.Serving || f.Overlapped > f.Decode*want.OSL/(want.OSL-1)*(1+1e-12) {
				t.Errorf("overlapped %g is not between one after the other, %g, and decode alone, %g", f.Overlapped, f.Serving, f.Decode)
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

// The cases below are worked by hand, from the formulas of comm.go, for
// DeepSeek-V3 on 8 H200 (61 layers, 3 of them dense; hidden 7168; k = 8; links
// of 450 GB/s): a row of 64 tokens is 64*7168*2 = 917,504 bytes.
func TestCommLayouts(t *testing.T) {
	shape, g := vectorShape(t, "dsv3_fp8"), gpu(t, "h200_sm90")
	const row, link = 917504.0, 450e9
	remote := 7 * (1 - 0.343608915805816650390625) // (7/8)^8
	for _, c := range []struct {
		layout Layout
		want   float64
	}{
		{Layout{8, 1, 1}, 122 * (2 * 7.0 / 8 * row / link)},
		{Layout{8, 1, 8}, 122 * (2 * 7.0 / 8 * row / link)},
		{Layout{1, 8, 8}, 58 * 2 * remote * row / 8 / link},
		{Layout{1, 8, 1}, 58 * 2 * 7.0 / 8 * row / link},
		{Layout{2, 4, 8}, 64*(2*1.0/2*row/4/link) + 58*2*remote*row/8/link},
		{Layout{1, 1, 1}, 0},
	} {
		d, err := DeployAs(shape, g, c.layout, KVBF16)
		if err != nil {
			t.Fatal(err)
		}
		near(t, c.layout.String(), d.CommSeconds(64, 0), c.want)
	}
}

// Replicas of a dense model share the sequences and nothing else.
func TestReplicas(t *testing.T) {
	shape, g := vectorShape(t, "llama8b_bf16"), gpu(t, "h100_sm90")
	one, err := DeployAs(shape, g, Layout{1, 1, 1}, KVBF16)
	if err != nil {
		t.Fatal(err)
	}
	four, err := DeployAs(shape, g, Layout{1, 4, 1}, KVBF16)
	if err != nil {
		t.Fatal(err)
	}
	a := floors(t, one, Load{Batch: 64, Input: 1024, Output: 256})
	b := floors(t, four, Load{Batch: 256, Input: 1024, Output: 256})
	if a != b || four.TotalGPUs() != 4 {
		t.Errorf("a quarter of the batch on each of 4 replicas is\n%+v, and on one\n%+v", b, a)
	}
}

// Speculation worked by hand: 16 sequences of Qwen3-30B-A3B that draft 3
// tokens and keep 2.5 touch the experts of 64 tokens, and read the cache of 16.
func TestSpeculation(t *testing.T) {
	d := deployVector(t, "qwen3_30b_a3b_bf16", "h100_sxm", 1, KVBF16)
	f := floors(t, d, Load{Batch: 16, Input: 1024, Output: 256, Drafted: 3, Accepted: 2.5})
	bytes := d.Shape.StepWeightBytes(64) + 16*d.Shape.KVReadBytes(KVBF16, 1152)
	near(t, "TPOT", f.TPOT, bytes/3.35e12/2.5)
	near(t, "footprint", f.Footprint, bytes/40)
	near(t, "tok/s/GPU", f.Decode, 40*3.35e12/bytes)
	if _, err := d.Floors(Load{Batch: 16, Input: 1024, Output: 256, Drafted: 3}); err == nil {
		t.Error("speculation of unknown success has a floor")
	}
}

// What is read from the cache is not computed.
func TestCachedPrompt(t *testing.T) {
	d := deployVector(t, "llama8b_bf16", "h100_sxm", 1, KVBF16)
	whole, half := d.Prefill(1024), d.PrefillAfter(512, 1024)
	b := d.NewBatch()
	b.Prefill(512, 1024, true)
	if half != b.Cost() || half.FLOPs >= whole.FLOPs || half.FLOPs <= whole.FLOPs/2 {
		t.Errorf("half of the prompt costs %g FLOPs, all of it %g", half.FLOPs, whole.FLOPs)
	}
	f := floors(t, d, Load{Batch: 1, Input: 1024, Output: 256, Cached: 0.5})
	near(t, "TTFT", f.TTFT, half.Floor())
	if f := floors(t, d, Load{Batch: 1, Input: 1024, Output: 256, Cached: 1}); !(f.TTFT > 0) {
		t.Error("a prompt that is all cached has no floor: its last token is computed")
	}
}

// "About 7 GB a token" of GLM-5.1 in NVFP4 at 4096/512 is the value of one
// batch, not a constant of the model: these are the reference's footprints
// under TP8, rounded as it gives them, and the batch at which each layout
// passes 7.
func TestSevenGigabytes(t *testing.T) {
	d := deployVector(t, "glm51_nvfp4", "b200_sm100", 8, KVFP8)
	for batch, want := range map[float64]float64{1: 50.20, 2: 31.82, 4: 22.34, 8: 17.07, 16: 13.52, 32: 10.36, 48: 8.50, 64: 7.20, 128: 4.51, 256: 2.83, 512: 1.96} {
		f := floors(t, d, Load{Batch: batch, Input: 4096, Output: 512})
		if got := f.Footprint / giga; math.Abs(got-want) > 0.005 {
			t.Errorf("at batch %g a token moves %.3f GB, want %.2f", batch, got, want)
		}
	}
	for _, c := range []struct {
		layout Layout
		batch  float64
	}{{Layout{8, 1, 1}, 67}, {Layout{4, 1, 1}, 59}} {
		d, err := DeployAs(d.Shape, d.GPU, c.layout, KVFP8)
		if err != nil {
			t.Fatal(err)
		}
		f := floors(t, d, Load{Batch: c.batch, Input: 4096, Output: 512})
		if got := f.Footprint / giga; math.Abs(got-7) > 0.05 {
			t.Errorf("%s at batch %g: %.3f GB a token, want 7", c.layout, c.batch, got)
		}
	}
}

// 8xH200 at 16,384 input tokens, as measured publicly: all c streams were
// asked, a dozen decoded. The batch that counts is output tok/s times TPOT.
func TestEffectiveBatchMatters(t *testing.T) {
	d := deployVector(t, "glm5_fp8", "h200_sxm", 8, KVBF16)
	at := func(batch float64) float64 {
		return floors(t, d, Load{Batch: batch, Input: 16384, Output: 128}).TPOT / 0.2112
	}
	if asked, real := at(64), at(12.7); asked < 1.8*real {
		t.Errorf("at the batch asked the cell looks %.1f %% of Speed of Light, at the batch that was %.1f %%", 100*asked, 100*real)
	}
}
