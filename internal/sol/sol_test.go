package sol

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"pipeline/configs"
)

func builtin(t *testing.T, name string) *Shape {
	t.Helper()
	s, err := BuiltinShape(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func parseWithQuant(t *testing.T, name, quant string) *Shape {
	t.Helper()
	model, err := configs.FindModel(name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseShape(name, model.Config, []byte(quant))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func gpu(t *testing.T, key string) GPU {
	t.Helper()
	c, err := BuiltinCeilings()
	if err != nil {
		t.Fatal(err)
	}
	g, err := c.GPU(key)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// The public count of parameters and bytes of KV per token, worked by hand in
// the reference (2.3).
func TestKVBytesPerToken(t *testing.T) {
	for _, c := range []struct {
		model     string
		bf16, fp8 float64
	}{
		{"llama-3.1-8b", 131072, 65536},
		{"llama-3.1-70b", 327680, 163840},
		{"qwen3-30b-a3b", 98304, 49152},
		{"deepseek-v3", 70272, 35136},
		{"glm-5.1-nvfp4", 100152, 55224},
		{"gpt-oss-120b", 73728, 36864},
	} {
		s := builtin(t, c.model)
		near(t, c.model+" bf16", s.KVBytesPerToken(KVBF16), c.bf16)
		near(t, c.model+" fp8", s.KVBytesPerToken(KVFP8), c.fp8)
	}
	// vLLM's fp8_ds_mla: 656 bytes a token and layer, besides the index keys.
	near(t, "fp8_ds_mla", builtin(t, "glm-5.1").KVBytesPerToken(KVFP8DSMLA), 78*(656+132))
}

// Llama-3.1-70B in fp8 on one H200 held 308,139 tokens of fp8 KV: 141 GB at
// 0.9, less 72.66 GB of weights and 3.5 GiB for the runtime.
func TestKVCapacity(t *testing.T) {
	s := vectorShape(t, "llama70b_fp8")
	d, err := Deploy(s, gpu(t, "h200_sm90"), 1, KVFP8)
	if err != nil {
		t.Fatal(err)
	}
	if got := math.Floor(d.KVCapacityTokens(0.9, 3.5*(1<<30))); got != 308139 {
		t.Errorf("capacity = %.0f tokens, want 308139", got)
	}
}

// A step of a whole prompt in chunks does the operations of the whole prompt,
// and reads more.
func TestChunksAddUp(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, name := range configs.Models() {
		d, err := Deploy(builtin(t, name), gpu(t, "b200_sm100"), 4, KVBF16)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			tokens := 1 + rng.IntN(9000)
			whole := d.Prefill(tokens)
			flops, bytes := 0.0, 0.0
			for start := 0; start < tokens; {
				end := min(tokens, start+1+rng.IntN(2048))
				b := d.NewBatch()
				b.Prefill(start, end, end == tokens)
				flops += b.Cost().FLOPs
				bytes += b.Cost().Bytes
				start = end
			}
			near(t, name+" FLOPs", flops, whole.FLOPs)
			if bytes < whole.Bytes*(1-1e-12) {
				t.Errorf("%s: %d tokens in chunks read %g bytes, fewer than %g at once", name, tokens, bytes, whole.Bytes)
			}
		}
	}
}

// A batch of decodes costs what DecodeStep says at their mean context, as
// long as no window cuts them unevenly.
func TestBatchEqualsDecodeStep(t *testing.T) {
	d, err := Deploy(builtin(t, "deepseek-v3"), gpu(t, "h200_sm90"), 8, KVBF16)
	if err != nil {
		t.Fatal(err)
	}
	b := d.NewBatch()
	for _, context := range []int{100, 200, 300, 400} {
		b.Decode(context)
	}
	got, want := b.Cost(), d.DecodeStep(4, 250)
	near(t, "bytes", got.Bytes, want.Bytes)
	near(t, "FLOPs", got.FLOPs, want.FLOPs)
}

func TestLookup(t *testing.T) {
	c, err := BuiltinCeilings()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		path string
		want float64
		err  string
	}{
		{path: "b200_sm100.hbm3e_tbps", want: 8.0},
		{path: "h100_sm90.dense_tflops.fp8", want: 1978.9},
		{path: "mi300x_gfx942.hbm3_tbps", want: 5.3},
		{path: "l40s_sm89.gddr6_tbps", want: 0.864},
		{path: "b300_sm103.dense_tops.int8", err: "CEIL_NULL: b300_sm103.dense_tops.int8 is null"},
		{path: "b300_sm103.dense_tflops.fp4", err: "12600"},
		{path: "b200x.hbm3e_tbps", err: `CEIL_UNKNOWN: hardware "b200x" has no key`},
		{path: "b200_sm100.hbm9_tbps", err: "CEIL_UNKNOWN"},
		{path: "h100_sm90.dense_tflops.fp4", err: "CEIL_UNKNOWN"},
	} {
		got, err := c.Lookup(tc.path)
		switch {
		case tc.err == "" && (err != nil || got != tc.want):
			t.Errorf("Lookup(%s) = %v, %v; want %v", tc.path, got, err, tc.want)
		case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
			t.Errorf("Lookup(%s) error %v, want %q in it", tc.path, err, tc.err)
		}
	}
}

// Sparse figures are a common slip: twice the dense ones. Where all dtypes are
// there, dense fp8 is twice bf16, and fp4 twice fp8 except on Blackwell Ultra,
// which has three times.
func TestCeilingsAreDense(t *testing.T) {
	c, err := BuiltinCeilings()
	if err != nil {
		t.Fatal(err)
	}
	ratio := func(key, over, under string) (float64, bool) {
		a, errA := c.Lookup(key + ".dense_tflops." + over)
		b, errB := c.Lookup(key + ".dense_tflops." + under)
		return a / b, errA == nil && errB == nil
	}
	for _, key := range c.Keys() {
		if r, ok := ratio(key, "fp8", "bf16"); ok && math.Abs(r-2) > 0.05 {
			t.Errorf("%s: fp8/bf16 = %.3f", key, r)
		}
		want := 2.0
		if strings.HasSuffix(key, "sm103") {
			want = 3
		}
		if r, ok := ratio(key, "fp4", "fp8"); ok && math.Abs(r-want) > 0.05 {
			t.Errorf("%s: fp4/fp8 = %.3f", key, r)
		}
	}
	for _, key := range []string{"h100_sm90", "b200_sm100"} {
		bus, _ := c.Lookup(key + ".mem_bus_bits")
		clock, _ := c.Lookup(key + ".mem_clock_mhz")
		want, err := c.Lookup(key + ".hbm_tbps_clocked")
		if got := bus / 8 * clock * 1e6 * 2 / tera; err != nil || math.Abs(got/want-1) > 0.005 {
			t.Errorf("%s: bus and clock give %.3f TB/s, file says %.3f (%v)", key, got, want, err)
		}
	}
}

// A GPU without units for a format multiplies in bf16; one whose figure is in
// conflict is refused.
func TestMathDType(t *testing.T) {
	for _, c := range []struct {
		key    string
		format Format
		want   string
	}{
		{"h100_sm90", NVFP4, "bf16"}, {"b200_sm100", NVFP4, "fp4"}, {"h100_sm90", FP8Block, "fp8"},
		{"a100_sm80", FP8, "bf16"}, {"b200_sm100", BF16, "bf16"}, {"b300_sm103", NVFP4, "fp4"}, {"a100_sm80", INT8, "int8"},
	} {
		if got := gpu(t, c.key).MathDType(c.format); got != c.want {
			t.Errorf("%s multiplies %s in %s, want %s", c.key, c.format, got, c.want)
		}
	}
	_, err := Deploy(builtin(t, "glm-5.1-nvfp4"), gpu(t, "b300_sm103"), 8, KVFP8)
	if err == nil || !strings.Contains(err.Error(), "CEIL_NULL") {
		t.Errorf("deploy NVFP4 on B300: %v, want CEIL_NULL", err)
	}
}

func TestDeployRefusals(t *testing.T) {
	for _, c := range []struct {
		model string
		gpus  int
		kv    KVFormat
		want  string
	}{
		{"llama-3.1-8b", 0, KVBF16, "0 GPUs"},
		{"llama-3.1-8b", 3, KVBF16, "attention heads (32) must be divisible by tensor parallel size (3)"},
		{"llama-3.1-8b", 1, KVFP8DSMLA, "sparse MLA only"},
	} {
		_, err := Deploy(builtin(t, c.model), gpu(t, "h100_sm90"), c.gpus, c.kv)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s on %d: %v, want %q in it", c.model, c.gpus, err, c.want)
		}
	}
}

func TestParseShapeRefusals(t *testing.T) {
	good := `"model_type":"llama","num_hidden_layers":2,"hidden_size":64,"intermediate_size":128,"vocab_size":1000,"max_position_embeddings":4096,"num_attention_heads":4`
	for _, c := range []struct{ config, quant, want string }{
		{`{`, "", "config.json"},
		{`{}`, "", "num_hidden_layers"},
		{`{"text_config":{}}`, "", "text_config"},
		{`{` + good + `,"layer_types":["full_attention"]}`, "", "1 entries for 2 layers"},
		{`{` + good + `,"layer_types":["full_attention","linear_attention"]}`, "", `"linear_attention" is not covered`},
		{`{` + good + `,"kv_lora_rank":16}`, "", "q_lora_rank"},
		{strings.Replace(`{`+good+`}`, "llama", "gemma2", 1), "", `model_type "gemma2" is not covered`},
		{strings.Replace(`{`+good+`}`, "llama", "qwen2_moe", 1), "", `model_type "qwen2_moe" is not covered`},
		{strings.Replace(`{`+good+`}`, `"model_type":"llama",`, "", 1), "", `model_type "" is not covered`},
		{`{` + good + `,"num_experts":8}`, "", "num_experts_per_tok"},
		{`{` + good + `,"num_experts":8,"num_experts_per_tok":9}`, "", "9 of 8 experts"},
		{`{` + good + `,"quantization_config":{"quant_method":"gptq"}}`, "", `"gptq" is not covered`},
		{`{` + good + `,"quantization_config":{"quant_method":"fp8","weight_block_size":[64,64]}}`, "", "weight_block_size"},
		{`{` + good + `}`, `{"quantization":{"quant_algo":"W4A8"}}`, `"W4A8" is not covered`},
	} {
		var quant []byte
		if c.quant != "" {
			quant = []byte(c.quant)
		}
		_, err := ParseShape("x", []byte(c.config), quant)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ParseShape(%s): %v, want %q in it", c.config, err, c.want)
		}
	}
	if _, err := ParseShape("x", []byte(`{`+good+`}`), nil); err != nil {
		t.Errorf("the plain config is refused: %v", err)
	}
}

// Qwen2.5-7B has 7,615,616,512 parameters, by its model card 7.61B.
func TestQwen2(t *testing.T) {
	s, err := ParseShape("qwen2.5-7b", []byte(`{"model_type":"qwen2","num_hidden_layers":28,"hidden_size":3584,"intermediate_size":18944,"vocab_size":152064,
		"max_position_embeddings":32768,"num_attention_heads":28,"num_key_value_heads":4,"tie_word_embeddings":false,"sliding_window":131072,"use_sliding_window":false}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.TotalParams(); got != 7_615_616_512 {
		t.Errorf("%d parameters", got)
	}
}

func TestQuantized(t *testing.T) {
	s, err := builtin(t, "llama-3.1-70b").Quantized(FP8)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "bytes", s.FixedBytes(), 70555025408)
	if _, err := builtin(t, "deepseek-v3").Quantized(FP8); err == nil {
		t.Error("an fp8 checkpoint was quantised again")
	}
}

func TestKVFormatNames(t *testing.T) {
	for in, want := range map[string]KVFormat{"": KVBF16, "auto": KVBF16, "bfloat16": KVBF16, "fp8": KVFP8, "fp8_e4m3": KVFP8, "fp8_ds_mla": KVFP8DSMLA} {
		if got, err := ParseKVFormat(in); err != nil || got != want {
			t.Errorf("ParseKVFormat(%q) = %v, %v", in, got, err)
		}
	}
	if _, err := ParseKVFormat("int4"); err == nil {
		t.Error("int4 KV was taken")
	}
}

func FuzzParseShape(f *testing.F) {
	for _, name := range configs.Models() {
		model, err := configs.FindModel(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(model.Config, model.QuantConfig)
	}
	f.Fuzz(func(t *testing.T, config, quant []byte) {
		if len(quant) == 0 {
			quant = nil
		}
		s, err := ParseShape("fuzz", config, quant)
		if err == nil && s.FixedParams() < 0 {
			t.Errorf("negative parameters: %+v", s)
		}
	})
}
