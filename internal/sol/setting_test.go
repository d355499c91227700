package sol

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

func TestDeploymentOfSetting(t *testing.T) {
	lib, err := BuiltinLibrary()
	if err != nil {
		t.Fatal(err)
	}
	glm := map[string]string{
		"ceiling_key": "b200_sm100", "hardware": "B200", "model_shape": "glm-5.1-nvfp4", "quant": "modelopt_fp4", "kv_cache_dtype": "fp8",
		"tp": "8", "dp": "1", "pp": "1", "ep": "1", "gpu_count": "8",
	}
	for _, c := range []struct {
		name   string
		change map[string]string
		want   string // "GPUs replicas layout KV math" or an error
		notes  string // in the notes; "" wants none
	}{
		{"as it is", nil, "8 1 TP8 DP1 EP1 fp8 fp4", ""},
		{"hardware by its token", map[string]string{"ceiling_key": "unknown"}, "8 1 TP8 DP1 EP1 fp8 fp4", ""},
		{"experts spread", map[string]string{"ep": "8"}, "8 1 TP8 DP1 EP8 fp8 fp4", ""},
		{"attention repeated", map[string]string{"tp": "1", "dp": "8", "ep": "8"}, "8 1 TP1 DP8 EP8 fp8 fp4", ""},
		{"attention repeated, as SGLang counts", map[string]string{"dp": "8", "ep": "8", "dp_attention": "true"}, "8 1 TP1 DP8 EP8 fp8 fp4", ""},
		{"dense replicas", map[string]string{"model_shape": "llama-3.1-8b", "quant": "bf16", "tp": "2", "dp": "4", "ep": "8"}, "2 4 TP2 DP4 EP1 fp8 bf16", ""},
		{"kv as the checkpoint asks", map[string]string{"kv_cache_dtype": "auto"}, "8 1 TP8 DP1 EP1 fp8 fp4", ""},
		{"kv unknown", map[string]string{"kv_cache_dtype": "unknown"}, "8 1 TP8 DP1 EP1 fp8 fp4", "kv_cache_dtype is unknown"},
		{"quant unknown", map[string]string{"quant": "unknown"}, "8 1 TP8 DP1 EP1 fp8 fp4", "quant is unknown"},
		{"a label that is no format", map[string]string{"quant": "compressed-tensors"}, "8 1 TP8 DP1 EP1 fp8 fp4", "names no number format"},
		{"a label alone", map[string]string{"model_shape": "glm-5.1", "quant": "nvfp4"}, "8 1 TP8 DP1 EP1 fp8 fp4", "QUANT_ASSUMED_UNIFORM"},
		{"weight-only fp4", map[string]string{"ceiling_key": "h200_sm90"}, "8 1 TP8 DP1 EP1 fp8 bf16", ""},
		{"math as told", map[string]string{"mma_dtype": "bf16"}, "8 1 TP8 DP1 EP1 fp8 bf16", ""},
		{"a disputed peak", map[string]string{"ceiling_key": "b300_sm103"}, "8 1 TP8 DP1 EP1 fp8 fp4", "CEIL_NULL: b300_sm103.dense_tflops.fp4 is null"},
		{"a label that is no format, and no map", map[string]string{"model_shape": "llama-3.1-70b", "quant": "gptq"}, "SOL_QUANT: quant gptq names no number format", ""},
		{"another checkpoint", map[string]string{"quant": "fp8"}, "SOL_QUANT: quant is fp8, and the shape glm-5.1-nvfp4 is nvfp4", ""},
		{"no shape", map[string]string{"model_shape": "unknown"}, "SOL_NO_SHAPE: the setting names no model_shape", ""},
		{"another shape", map[string]string{"model_shape": "gpt-9"}, "SOL_NO_SHAPE", ""},
		{"no hardware", map[string]string{"ceiling_key": "unknown", "hardware": "unknown"}, "CEIL_UNKNOWN: the setting names no hardware", ""},
		{"other hardware", map[string]string{"ceiling_key": "", "hardware": "B200X"}, `CEIL_UNKNOWN: hardware "B200X" has no key`, ""},
		{"no tp", map[string]string{"tp": "unknown"}, "SOL_LAYOUT: tp is unknown", ""},
		{"pipeline parallelism", map[string]string{"pp": "2", "gpu_count": "16"}, "SOL_LAYOUT: pipeline parallelism (pp 2) is not covered", ""},
		{"GPUs that do not add up", map[string]string{"gpu_count": "16"}, "SOL_LAYOUT: gpu_count is 16, and tp 8 times dp 1 are 8", ""},
		{"experts half spread", map[string]string{"ep": "4"}, "SOL_LAYOUT: TP8 DP1 EP4: experts are spread over all 8 GPUs or not at all", ""},
		{"heads that do not divide", map[string]string{"tp": "5", "gpu_count": "5"}, "SOL_LAYOUT: total number of attention heads", ""},
		{"disaggregated", map[string]string{"disagg": "true"}, "SOL_DISAGG", ""},
		{"another kv", map[string]string{"kv_cache_dtype": "int4"}, "SOL_KV", ""},
		{"an inlined peak", map[string]string{"args.hbm_tbps": "8.2"}, "CEIL_INLINE: the setting sets args.hbm_tbps=8.2 inline", ""},
	} {
		setting := maps.Clone(glm)
		maps.Copy(setting, c.change)
		d, notes, err := lib.Deployment(setting)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprint(d.GPUs, " ", d.Replicas, " ", d.Layout, " ", d.KV, " ", d.MathDType())
		}
		if err == nil && got != c.want || err != nil && !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if said := strings.Join(notes, "\n"); (said == "") != (c.notes == "") || !strings.Contains(said, c.notes) {
			t.Errorf("%s: notes %q, want %q", c.name, said, c.notes)
		}
	}
}

// A shape of one's own serves settings that name none.
func TestOwnShape(t *testing.T) {
	lib, err := BuiltinLibrary()
	if err != nil {
		t.Fatal(err)
	}
	lib.Own = builtin(t, "llama-3.1-8b")
	d, _, err := lib.Deployment(map[string]string{"hardware": "H100", "tp": "1", "gpu_count": "1"})
	if err != nil || d.Shape != lib.Own {
		t.Errorf("%v", err)
	}
}

// Without a compute ceiling the floor is that of memory, and no ridge stands.
func TestPeakUnknown(t *testing.T) {
	lib, err := BuiltinLibrary()
	if err != nil {
		t.Fatal(err)
	}
	d, _, err := lib.Deployment(map[string]string{"hardware": "B300", "model_shape": "glm-5.1-nvfp4", "quant": "nvfp4", "kv_cache_dtype": "fp8", "tp": "8", "gpu_count": "8"})
	if err != nil {
		t.Fatal(err)
	}
	f := floors(t, d, Load{Batch: 64, Input: 4096, Output: 512})
	if d.PeakUnknown() == nil || f.Step.MathSeconds != 0 || f.TPOT != f.Step.MemSeconds {
		t.Errorf("%v: %+v", d.PeakUnknown(), f.Step)
	}
	same := deployVector(t, "glm51_nvfp4", "b200_sm100", 8, KVFP8) // its bandwidth is the same
	near(t, "TPOT", f.TPOT, floors(t, same, Load{Batch: 64, Input: 4096, Output: 512}).TPOT)
}
