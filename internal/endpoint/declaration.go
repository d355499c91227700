package endpoint

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pipeline/internal/sol"
)

// A ModelSpec is what a spec says of the model.
type ModelSpec struct {
	Name     string `json:"name" key:"yes" doc:"Served name, or the repository: zai-org/GLM-5.1-FP8. Empty takes the only one that is served."`
	Shape    string `json:"shape" key:"yes" doc:"Shape of the model for rooflines and simulation: a folder of configs/models."`
	Revision string `json:"revision" key:"yes" doc:"Commit of the model's repository."`
}

// Args are arguments of the server, by vLLM's names. What is not set is the
// server's own choice.
type Args struct {
	Quantization         string  `json:"quantization" key:"yes" doc:"Number format of the weights: fp8, nvfp4, bf16."`
	KVCacheDtype         string  `json:"kv_cache_dtype" key:"yes" doc:"Number format of the KV cache: auto, bfloat16, fp8."`
	PipelineParallelSize int     `json:"pipeline_parallel_size" key:"yes" min:"0" doc:"Pipeline parallelism; 0 is not declared."`
	DataParallelSize     int     `json:"data_parallel_size" key:"yes" min:"0" doc:"Data parallelism; 0 is not declared."`
	EnableExpertParallel *bool   `json:"enable_expert_parallel" key:"yes" doc:"Experts are spread over all ranks of tensor and data parallelism."`
	MaxModelLen          int     `json:"max_model_len" key:"yes" min:"0" doc:"Longest context in tokens; 0 is not declared."`
	MaxNumSeqs           int     `json:"max_num_seqs" key:"yes" min:"0" doc:"Largest batch of the scheduler; 0 is not declared."`
	MaxNumBatchedTokens  int     `json:"max_num_batched_tokens" key:"yes" min:"0" doc:"Largest number of tokens in a step; 0 is not declared."`
	GPUMemoryUtilization float64 `json:"gpu_memory_utilization" key:"yes" min:"0" max:"1" doc:"Share of GPU memory the engine may use; 0 is not declared."`
	BlockSize            int     `json:"block_size" key:"yes" min:"0" doc:"Tokens in a KV block; 0 is not declared."`
	EnablePrefixCaching  *bool   `json:"enable_prefix_caching" key:"yes" doc:"The prefix cache is on."`
	EnableChunkedPrefill *bool   `json:"enable_chunked_prefill" key:"yes" doc:"Prefill is split into chunks."`
}

// A Declaration is all that a spec says of an endpoint.
type Declaration struct {
	Model          ModelSpec
	Hardware       string // a key of configs/sol-ceilings.yaml, or of Ceilings
	TensorParallel int    // 0 is not declared
	Args           Args
	Further        map[string]string // any other field of an Identity
	Ceilings       *sol.Ceilings     // that Hardware is looked up in; nil: those of the project
	// OwnCeilings says that Hardware may be a key of a file that is yet to be
	// read, so that Check cannot tell.
	OwnCeilings bool
}

// furtherRE is the form of a server argument beside the known fields.
var furtherRE = regexp.MustCompile(`^args\.[a-z0-9_]+$`)

// Check finds what cannot be declared. param is the parameter at fault.
func (d Declaration) Check() (param string, err error) {
	if d.Hardware != "" && (!d.OwnCeilings || d.Ceilings != nil) {
		if _, err := d.gpu(); err != nil {
			return "hardware", err
		}
	}
	if d.Model.Shape != "" {
		if _, err := sol.BuiltinShape(d.Model.Shape); err != nil {
			return "model.shape", err
		}
	}
	for field := range d.Further {
		if err := sol.RefuseInline("declare", field, d.Further[field]); err != nil {
			return "declare." + field, err
		}
		if field != Node && !slices.Contains(Fields(), field) && !furtherRE.MatchString(field) {
			return "declare." + field, fmt.Errorf("it is no field of an endpoint (known: %s, %s, and args.<name>)", strings.Join(Fields(), ", "), Node)
		}
		if field == Simulated {
			return "declare." + field, fmt.Errorf("what is simulated says so itself")
		}
	}
	return "", nil
}

// Values returns what is declared, by field.
func (d Declaration) Values() map[string]string {
	v := map[string]string{
		Model: d.Model.Name, ModelRevision: d.Model.Revision, ModelShape: d.Model.Shape,
		Quant: d.Args.Quantization, KVCacheDtype: d.Args.KVCacheDtype,
		TP: count(d.TensorParallel), PP: count(d.Args.PipelineParallelSize), DP: count(d.Args.DataParallelSize),
		MaxModelLen: count(d.Args.MaxModelLen), MaxNumSeqs: count(d.Args.MaxNumSeqs),
		MaxBatchedTokens: count(d.Args.MaxNumBatchedTokens), BlockSize: count(d.Args.BlockSize),
		PrefixCaching: flag(d.Args.EnablePrefixCaching), ChunkedPrefill: flag(d.Args.EnableChunkedPrefill),
	}
	if u := d.Args.GPUMemoryUtilization; u > 0 {
		v[GPUMemUtilization] = strconv.FormatFloat(u, 'g', -1, 64)
	}
	ranks := max(1, d.TensorParallel) * max(1, d.Args.DataParallelSize)
	if ep := d.Args.EnableExpertParallel; ep != nil && *ep {
		v[EP] = count(ranks)
	} else if ep != nil {
		v[EP] = "1"
	}
	if d.TensorParallel > 0 {
		v[GPUCount] = count(ranks * max(1, d.Args.PipelineParallelSize))
	}
	if g, err := d.gpu(); err == nil {
		v[CeilingKey] = g.Key
		if len(g.Tokens) > 0 {
			v[Hardware] = g.Tokens[0]
		}
	}
	for field, value := range d.Further {
		v[field] = value
	}
	for field, value := range v {
		if value == "" {
			delete(v, field)
		}
	}
	return v
}

// GPUMismatch compares the GPUs that the endpoint has with the declared
// hardware, which has another name for them.
func (d Declaration) GPUMismatch(id Identity) (Mismatch, bool) {
	product, known := id.Values[GPUType]
	g, err := d.gpu()
	if !known || err != nil || slices.Contains(g.Aliases, product) {
		return Mismatch{}, false
	}
	words := strings.FieldsFunc(product, func(r rune) bool { return r == ' ' || r == '-' || r == '_' })
	for _, token := range g.Tokens {
		if slices.Contains(words, token) {
			return Mismatch{}, false
		}
	}
	return Mismatch{Hardware, g.Key, product, id.Sources[GPUType]}, true
}

func (d Declaration) gpu() (sol.GPU, error) {
	if d.Ceilings != nil {
		return d.Ceilings.GPU(d.Hardware)
	}
	return gpu(d.Hardware)
}

func gpu(key string) (sol.GPU, error) {
	ceilings, err := sol.BuiltinCeilings()
	if err != nil {
		return sol.GPU{}, err
	}
	return ceilings.GPU(key)
}

func count(n int) string {
	if n <= 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func flag(b *bool) string {
	if b == nil {
		return ""
	}
	return strconv.FormatBool(*b)
}
