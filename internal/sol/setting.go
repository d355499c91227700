package sol

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A Library is what deployments are made of: the ceilings of GPUs and the
// shapes of models. It keeps what it has read, and is for one goroutine.
type Library struct {
	Ceilings *Ceilings
	// Own is the shape of settings that name none, nil if there is none.
	Own *Shape

	shapes map[string]*Shape // of the project, by name
}

// shape returns a shape that ships with the project.
func (lib *Library) shape(name string) (*Shape, error) {
	if s := lib.shapes[name]; s != nil {
		return s, nil
	}
	s, err := BuiltinShape(name)
	if err != nil {
		return nil, err
	}
	if lib.shapes == nil {
		lib.shapes = map[string]*Shape{}
	}
	lib.shapes[name] = s
	return s, nil
}

// BuiltinLibrary returns the library that ships with the project.
func BuiltinLibrary() (*Library, error) {
	c, err := BuiltinCeilings()
	return &Library{Ceilings: c}, err
}

// unknown is the value of a field of a setting that could not be learned.
const unknown = "unknown"

// Deployment makes the deployment that a setting describes, by the names of
// its fields: ceiling_key (else hardware), model_shape, quant, kv_cache_dtype,
// mma_dtype, tp, dp, pp, ep, dp_attention, gpu_count. It refuses what the
// formulas do not cover or the setting does not say. The notes tell what it
// took for granted.
func (lib *Library) Deployment(setting map[string]string) (*Deployment, []string, error) {
	s := &settled{setting: setting}
	for _, name := range sortedNames(setting) {
		if err := RefuseInline("the setting", name, setting[name]); err != nil {
			return nil, nil, err
		}
	}
	d, err := s.deploy(lib)
	if err != nil {
		return nil, nil, err
	}
	return d, s.notes, nil
}

func sortedNames(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// settled reads a setting and gathers what had to be taken for granted.
type settled struct {
	setting map[string]string
	notes   []string
}

func (s *settled) note(format string, a ...any) { s.notes = append(s.notes, fmt.Sprintf(format, a...)) }

// text returns a field, "" if it is not known.
func (s *settled) text(name string) string {
	if v := s.setting[name]; v != unknown {
		return v
	}
	return ""
}

// count returns a field that counts, 0 if it is not known.
func (s *settled) count(name string) int {
	n, err := strconv.Atoi(s.text(name))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func (s *settled) deploy(lib *Library) (*Deployment, error) {
	if s.text("disagg") == "true" {
		return nil, fmt.Errorf("SOL_DISAGG: prefill and decode run on GPUs of their own; the formulas here are for GPUs that do both")
	}
	gpu, err := s.gpu(lib.Ceilings)
	if err != nil {
		return nil, err
	}
	shape, err := s.shape(lib)
	if err != nil {
		return nil, err
	}
	layout, err := s.layout(shape)
	if err != nil {
		return nil, err
	}
	kv, err := s.kv(shape)
	if err != nil {
		return nil, err
	}
	d, err := place(shape, gpu, layout, kv)
	if err != nil {
		return nil, fmt.Errorf("SOL_LAYOUT: %w", err)
	}
	return d, s.multiply(d)
}

func (s *settled) gpu(c *Ceilings) (GPU, error) {
	for _, field := range []string{"ceiling_key", "hardware"} {
		if word := s.text(field); word != "" {
			return c.Find(word)
		}
	}
	return GPU{}, fmt.Errorf("CEIL_UNKNOWN: the setting names no hardware; %%SoL is not computed")
}

func (s *settled) shape(lib *Library) (*Shape, error) {
	shape := lib.Own
	if name := s.text("model_shape"); name != "" {
		var err error
		if shape, err = lib.shape(name); err != nil {
			return nil, fmt.Errorf("SOL_NO_SHAPE: %w", err)
		}
	}
	if shape == nil {
		return nil, fmt.Errorf("SOL_NO_SHAPE: the setting names no model_shape; give model.shape, or the model's own config.json")
	}
	label := s.text("quant")
	format, known := labelFormat(label)
	main := shape.MainFormat()
	switch {
	case label == "":
		s.note("quant is unknown: the weights are taken as %s has them (%s)", shape.Name, main)
		return shape, nil
	case !known && (shape.QuantMap == QuantSidecar || shape.QuantMap == QuantInline):
		// A format name without a width, such as compressed-tensors: the map of
		// the checkpoint itself says what each part is.
		s.note("quant %s names no number format: the weights are taken as the quant map of %s has them (%s)", label, shape.Name, main)
		return shape, nil
	case !known:
		return nil, fmt.Errorf("SOL_QUANT: quant %s names no number format that is known, and the shape %s has no quant map: name the shape of the checkpoint that was served, or give its config.json", label, shape.Name)
	case format == main || format == FP8 && main == FP8Block:
		return shape, nil
	case main == BF16:
		s.note("QUANT_ASSUMED_UNIFORM: quant %s of a bf16 shape: every linear layer but the LM head is taken as %s, which a checkpoint's quant map may contradict", label, format)
		return shape.Quantized(format)
	}
	return nil, fmt.Errorf("SOL_QUANT: quant is %s, and the shape %s is %s: name the shape of the checkpoint that was served", label, shape.Name, main)
}

// labelFormat reads the names that engines give to number formats.
func labelFormat(label string) (Format, bool) {
	switch strings.ToLower(label) {
	case "bf16", "bfloat16", "fp16", "float16", "half", "none":
		return BF16, true
	case "fp8", "fp8_e4m3", "modelopt_fp8", "fbgemm_fp8":
		return FP8, true
	case "nvfp4", "fp4", "modelopt_fp4":
		return NVFP4, true
	case "mxfp4":
		return MXFP4, true
	case "int8", "w8a8":
		return INT8, true
	case "awq", "awq_marlin":
		return AWQ4, true
	}
	return "", false
}

func (s *settled) layout(shape *Shape) (Layout, error) {
	l := Layout{TP: s.count("tp"), DP: s.count("dp"), EP: s.count("ep")}
	gpus, pp := s.count("gpu_count"), s.count("pp")
	if l.TP == 0 {
		return l, fmt.Errorf("SOL_LAYOUT: tp is unknown")
	}
	if pp > 1 {
		return l, fmt.Errorf("SOL_LAYOUT: pipeline parallelism (pp %d) is not covered", pp)
	}
	if l.DP == 0 {
		l.DP = 1
		if gpus != l.TP {
			s.note("dp is unknown: taken as 1")
		}
	}
	// SGLang counts all GPUs in tp, of which dp share attention.
	if gpus == l.TP && l.DP > 1 && s.text("dp_attention") == "true" && l.TP%l.DP == 0 {
		l.TP /= l.DP
	}
	if gpus > 0 && gpus != l.TP*l.DP {
		return l, fmt.Errorf("SOL_LAYOUT: gpu_count is %d, and tp %d times dp %d are %d", gpus, l.TP, l.DP, l.TP*l.DP)
	}
	if l.EP == 0 || shape.MoE == nil {
		l.EP = 1
	}
	return l, nil
}

func (s *settled) kv(shape *Shape) (KVFormat, error) {
	name := s.text("kv_cache_dtype")
	if name == "" {
		s.note("kv_cache_dtype is unknown: taken as %s, what the model asks for", shape.KVDefault)
	}
	if name == "" || name == "auto" {
		return shape.KVDefault, nil
	}
	kv, err := ParseKVFormat(name)
	if err != nil {
		return "", fmt.Errorf("SOL_KV: %w", err)
	}
	return kv, nil
}

// multiply sets the input type of the products. A peak that sources dispute is
// no reason to leave out the floor of memory, which stands without it.
func (s *settled) multiply(d *Deployment) error {
	dtype := d.GPU.MathDType(d.Shape.MainFormat())
	if told := s.text("mma_dtype"); told != "" {
		dtype = told
	}
	err := d.multiply(dtype)
	switch {
	case err == nil:
		return nil
	case !strings.HasPrefix(err.Error(), "CEIL_NULL"):
		return err
	}
	d.mathDType, d.peak, d.peakErr = dtype, math.Inf(1), err
	s.note("%v: floors are those of memory alone, and no compute ceiling stands beside them", err)
	return nil
}

// Caveats are what every share of Speed of Light leaves out, to print with it.
func Caveats() []string {
	return []string{
		"ceilings are nominal peaks, dense, by the key path shown; no tool reaches them",
		"experts are taken as routed uniformly: real routing touches fewer, so that the bytes are an upper estimate and the share is slightly optimistic",
		"activations, KV writes of decode, sampling, communication and launch gaps are left out of the floor",
		"memory and compute are taken to overlap in full, and all products to run in the one number format shown",
		"weights are counted as stored; what kernels pad is not",
		"the L2 cache is left out: a model that fits it can beat the floor of memory",
	}
}
