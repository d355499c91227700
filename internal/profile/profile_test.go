package profile

import (
	"math"
	"strings"
	"testing"
)

// Kernels of public traces, and where they belong.
func TestDefaultRules(t *testing.T) {
	c, err := NewClassifier(nil)
	if err != nil {
		t.Fatal(err)
	}
	for kernel, want := range map[string]string{
		"ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)":           "NCCL",
		"void flashinfer::trtllm_allreduce_fusion::allreduce_fusion_kernel_oneshot_lamport<8>": "NCCL",
		"fused_moe_kernel": "MoE",
		"void moe::dev::routing::routingMainKernel<moe::dev::routing::KernelParams>":                "MoE",
		"fmhaSm100aKernel_QkvE4m3OBfloat16H576HV512PagedKvCausal":                                   "Attention",
		"void flash::flash_fwd_splitkv_combine_kernel<Flash_fwd_kernel_traits<128>>":                "Attention",
		"bmm_E2m1_E2m1E2m1_Fp32_t128x8x512_s6_et64x8":                                               "BMM-NVFP4",
		"triton_red_fused__to_copy_add_mean_mul_pow_rsqrt_0":                                        "Triton-fused",
		"nvjet_tst_192x64_64x5_2x1_v_bz_TNT":                                                        "GEMM",
		"void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_256x128_32x3>":         "GEMM",
		"void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<c10::BFloat16>>": "Elementwise",
		"mystery": Other, "": Unresolved, Unresolved: Unresolved,
	} {
		if got, _ := c.Category(kernel); got != want {
			t.Errorf("%s is %s, want %s", kernel, got, want)
		}
	}
}

func TestRulesOfOnesOwn(t *testing.T) {
	c, err := NewClassifier([]Rule{{"first", "a"}, {"second", "ab"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, named := c.Category("cab"); got != "first" || !named {
		t.Errorf("%s, named %t", got, named)
	}
	for want, r := range map[string]Rule{"names no category": {"", "a"}, "is empty": {"a", ""}, "missing closing": {"a", "("}} {
		if _, err := NewClassifier([]Rule{r}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v", r, err)
		}
	}
}

func TestGPUTimeRefuses(t *testing.T) {
	c, _ := NewClassifier(nil)
	for _, bad := range []float64{-1, math.NaN(), math.Inf(1)} {
		if _, err := NewGPUTime("x", Samples, nil, []Entry{{Kernel: "a", Amount: bad}}, c); err == nil {
			t.Errorf("%g is taken", bad)
		}
	}
	if _, err := NewGPUTime("x", Samples, nil, []Entry{{Kernel: "a", Amount: math.MaxFloat64}, {Kernel: "b", Amount: math.MaxFloat64}}, c); err == nil {
		t.Error("a total without an end is taken")
	}
}

func TestRigor(t *testing.T) {
	for want, p := range map[string]Profile{
		"":   {GPUTime: &GPUTime{}, Gaps: []string{"none"}},
		"L1": {GPUTime: &GPUTime{Total: 1}, Counters: &Counters{}},
		"L4": {GPUTime: &GPUTime{Total: 1}, Counters: &Counters{Launches: 1}},
	} {
		if got := p.Rigor(); got != want {
			t.Errorf("rigor %q, want %q", got, want)
		}
	}
}

func TestRead(t *testing.T) {
	p := Profile{Schema: Schema, GPUTime: &GPUTime{Source: "x", Unit: Samples, Total: 1}}
	text, err := p.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := Read(text); err != nil || back.Rigor() != L1 {
		t.Errorf("read back %+v, %v", back, err)
	}
	for _, text := range []string{`{}`, `[]`, `{"schema":"profile/v2"}`, `{"schema":"profile/v1"}`} {
		if _, err := Read([]byte(text)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}
