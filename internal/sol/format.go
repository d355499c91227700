package sol

import "fmt"

// A Format is a number format of weights or of the KV cache.
type Format string

// The formats of weights that shapes use. FP8Block is fp8 with one fp32 scale
// for each 128x128 block; NVFP4 has one fp8 scale for 16 values; MXFP4 one
// e8m0 scale for 32.
const (
	BF16     Format = "bf16"
	FP8      Format = "fp8"
	FP8Block Format = "fp8_block128"
	NVFP4    Format = "nvfp4"
	MXFP4    Format = "mxfp4"
	INT8     Format = "int8"
	AWQ4     Format = "awq_int4" // int4 in groups of 128: 4 + 16/128 + 4/128 bits
)

// Bytes returns the bytes of one parameter, scales included.
func (f Format) Bytes() float64 {
	switch f {
	case FP8, INT8:
		return 1
	case FP8Block:
		return 1 + 4.0/(128*128)
	case NVFP4:
		return 0.5 + 1.0/16
	case MXFP4:
		return 0.5 + 1.0/32
	case AWQ4:
		return (4 + 16.0/128 + 4.0/128) / 8
	}
	return 2
}

// mathDType is the input type of the matrix unit that weights of this format
// would use on a GPU that has it; fallback is what a GPU without it uses
// (weight-only kernels compute in bf16).
func (f Format) mathDType() string {
	switch f {
	case FP8, FP8Block:
		return "fp8"
	case NVFP4, MXFP4:
		return "fp4"
	case INT8:
		return "int8"
	}
	return "bf16"
}

// A KVFormat is the number format of the KV cache.
type KVFormat string

// KV cache formats. KVFP8DSMLA is vLLM's layout for sparse MLA: 512 fp8
// values, 4 fp32 scales and 64 bf16 rope values for a token and layer.
const (
	KVBF16     KVFormat = "bf16"
	KVFP8      KVFormat = "fp8"
	KVFP8DSMLA KVFormat = "fp8_ds_mla"
)

// ParseKVFormat reads vLLM's --kv-cache-dtype. "auto" means the format of the
// model's activations, which is bf16 for all shapes here.
func ParseKVFormat(s string) (KVFormat, error) {
	switch s {
	case "", "auto", "bf16", "bfloat16", "fp16", "float16":
		return KVBF16, nil
	case "fp8", "fp8_e4m3", "fp8_e5m2":
		return KVFP8, nil
	case "fp8_ds_mla":
		return KVFP8DSMLA, nil
	}
	return "", fmt.Errorf("kv cache dtype %q is not known (auto, bfloat16, float16, fp8, fp8_e4m3, fp8_e5m2, fp8_ds_mla)", s)
}

// elementBytes is the size of one cached element; KVFP8DSMLA is per layer and
// has its own rule in Shape.latentBytes.
func (f KVFormat) elementBytes() float64 {
	if f == KVBF16 {
		return 2
	}
	return 1
}
