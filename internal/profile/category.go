package profile

import (
	"errors"
	"fmt"
	"regexp"
)

// Names of categories that no rule gives.
const (
	Other      = "Other"        // no rule names the kernel
	Unresolved = "<unresolved>" // the profiler could not name it
)

// A Rule puts kernels into a category.
type Rule struct {
	Category string `json:"category" key:"yes" doc:"Name of the category."`
	Pattern  string `json:"pattern" key:"yes" doc:"Regular expression (RE2) that a kernel's name contains."`
}

// DefaultRules names the kernels of the usual serving engines. The first rule
// that matches wins, so that a collective that is fused with a norm counts as
// communication and a grouped GEMM as MoE.
func DefaultRules() []Rule {
	return []Rule{
		{"NCCL", `(?i)nccl|multimem|all_?reduce|all_?gather|reduce_?scatter|all_?to_?all|one_?shot|two_?shot|deep_?ep`},
		{"MoE", `(?i)moe|routingIndices|routing(Main|Indices|Deep)|finalizeKernel|topkGating|expert|grouped_?gemm`},
		{"Attention", `(?i)fmha|flash_(fwd|attn)|flash::|attention|paged|\bmla|mla_|splitkv|_attn|kv_?cache|rotary|rope`},
		{"BMM-NVFP4", `bmm_(E2m1|Bfloat16_E2m1)|(?i)nvfp4`},
		{"Triton-fused", `^(void )?triton_`},
		{"GEMM", `(?i)cublas|nvjet|splitKreduce|cutlass|gemm|gemv|wgmma|_xmma|matmul`},
		{"Sampling", `(?i)sampl|arg_?max|softmax|top_?k|top_?p|sort`},
		{"Elementwise", `(?i)FillFunctor|copy|elementwise|distribution_|CatArray|reduce_kernel|norm|silu|gelu|index|gather|scatter|quant|memcpy|memset`},
	}
}

// A Classifier gives kernels their category.
type Classifier struct {
	names []string
	rules []*regexp.Regexp
}

// NewClassifier compiles rules; none gives the default ones.
func NewClassifier(rules []Rule) (*Classifier, error) {
	if len(rules) == 0 {
		rules = DefaultRules()
	}
	c := &Classifier{}
	for i, r := range rules {
		if r.Category == "" {
			return nil, fmt.Errorf("rule %d: it names no category", i+1)
		}
		if r.Pattern == "" {
			return nil, fmt.Errorf("rule %d (%s): %w", i+1, r.Category, errors.New("its pattern is empty, and would match every kernel"))
		}
		re, err := regexp.Compile(r.Pattern)
		if err != nil {
			return nil, fmt.Errorf("rule %d (%s): %w", i+1, r.Category, err)
		}
		c.names = append(c.names, r.Category)
		c.rules = append(c.rules, re)
	}
	return c, nil
}

// Category returns the category of a kernel, and whether a rule named it.
func (c *Classifier) Category(kernel string) (category string, named bool) {
	if kernel == "" || kernel == Unresolved {
		return Unresolved, false
	}
	for i, re := range c.rules {
		if re.MatchString(kernel) {
			return c.names[i], true
		}
	}
	return Other, false
}
