package endpoint

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"pipeline/internal/digest"
	"pipeline/lake/perf"
)

// Schema names the shape of an Identity.
const Schema = "identity/v1"

// Declared is the source of a value that a spec says and the endpoint does not.
const Declared = "declared"

// The fields that every Identity answers for, by a value or as unknown. The
// names are those of perf.Setting. Further server arguments that an endpoint
// tells stand beside them as "args." and their name.
const (
	Engine            = "engine"         // vllm, sglang, llama.cpp
	EngineVersion     = "engine_version" //
	Model             = "model"          // the served name
	ModelRoot         = "model_root"     // what was loaded: a repository or a path
	ModelRevision     = "model_revision" // commit of the repository
	ModelShape        = "model_shape"    // a folder of configs/models
	Quant             = "quant"          //
	KVCacheDtype      = "kv_cache_dtype" //
	Hardware          = "hardware"       // the exact token: B200, and not GB200
	CeilingKey        = "ceiling_key"    // of the hardware in configs/sol-ceilings.yaml
	GPUType           = "gpu_type"       // product name, as the driver has it
	GPUCount          = "gpu_count"      //
	TP                = "tp"             // tensor parallel size
	PP                = "pp"             // pipeline parallel size
	DP                = "dp"             // data parallel size
	EP                = "ep"             // expert parallel size, 1 without
	MaxModelLen       = "max_model_len"  // tokens
	MaxNumSeqs        = "max_num_seqs"   //
	MaxBatchedTokens  = "max_num_batched_tokens"
	GPUMemUtilization = "gpu_memory_utilization"
	BlockSize         = "block_size"      // tokens of one KV block
	PrefixCaching     = "prefix_caching"  // true or false
	ChunkedPrefill    = "chunked_prefill" // true or false
	EnforceEager      = "enforce_eager"   // true or false
	CudagraphMode     = "cudagraph_mode"
	AsyncScheduling   = "async_scheduling" // true or false
	CUDA              = "cuda"             // version
	Driver            = "driver"           // version of the GPU driver
	ImageDigest       = "image_digest"
	Simulated         = "simulated" // true or false
)

// Node is the machine. No endpoint tells it over HTTP, so an Identity has it
// only if its spec declares it.
const Node = "node"

// Fields returns the names of the fields above, in the order of reading.
func Fields() []string {
	return []string{
		Engine, EngineVersion, Model, ModelRoot, ModelRevision, ModelShape, Quant, KVCacheDtype,
		Hardware, CeilingKey, GPUType, GPUCount, TP, PP, DP, EP,
		MaxModelLen, MaxNumSeqs, MaxBatchedTokens, GPUMemUtilization, BlockSize, PrefixCaching,
		ChunkedPrefill, EnforceEager, CudagraphMode, AsyncScheduling, CUDA, Driver, ImageDigest, Simulated,
	}
}

// An Identity is what measurements of an endpoint depend on.
type Identity struct {
	Schema  string            `json:"schema"`
	Values  map[string]string `json:"values"`
	Sources map[string]string `json:"sources"` // how each value was learned: "GET /version", Declared
	Unknown []string          `json:"unknown"` // the fields that could not be learned, sorted
	// Differs are the fields that the spec declares otherwise, with what it
	// says, where that was allowed. Values have what was observed.
	Differs map[string]string `json:"declared_otherwise,omitempty"`
	// Shares is what else a reused cell must have in common with this
	// endpoint: its node, the start of its process. Empty asks for no more.
	Shares map[string]string `json:"shares,omitempty"`
}

func newIdentity() Identity {
	return Identity{Schema: Schema, Values: map[string]string{}, Sources: map[string]string{}}
}

// ParseIdentity reads what Canonical writes.
func ParseIdentity(b []byte) (Identity, error) {
	var id Identity
	if err := json.Unmarshal(b, &id); err != nil {
		return Identity{}, fmt.Errorf("read identity: %w", err)
	}
	if id.Schema != Schema {
		return Identity{}, fmt.Errorf("read identity: its schema is %q, want %q", id.Schema, Schema)
	}
	return id, nil
}

// Canonical returns the one text of the identity.
func (id Identity) Canonical() ([]byte, error) {
	b, err := digest.Canonical(id)
	if err != nil {
		return nil, fmt.Errorf("write identity: %w", err)
	}
	return append(b, '\n'), nil
}

// Value returns the value of a field, or perf.Unknown.
func (id Identity) Value(field string) string {
	if v, ok := id.Values[field]; ok {
		return v
	}
	return perf.Unknown
}

// set learns a value once: the first source that tells it wins.
func (id *Identity) set(field, value, source string) {
	value = normal(field, value)
	if _, known := id.Values[field]; known || value == "" {
		return
	}
	id.Values[field], id.Sources[field] = value, source
}

// Unresolved returns the fields without which the endpoint cannot be told from
// another: what decides speed, and neither it nor its spec says. Sorted. The
// hardware may be known by its ceilings key or by its product name.
func (id Identity) Unresolved() []string {
	var out []string
	for _, f := range []string{
		Engine, EngineVersion, Model, Quant, KVCacheDtype, Hardware, TP, MaxModelLen, MaxNumSeqs, MaxBatchedTokens, PrefixCaching,
	} {
		_, ok := id.Values[f]
		if f == Hardware && !ok {
			_, ok = id.Values[GPUType]
		}
		if !ok {
			out = append(out, f)
		}
	}
	for _, f := range slices.Sorted(maps.Keys(id.Shares)) {
		if id.Shares[f] == perf.Unknown {
			out = append(out, f)
		}
	}
	slices.Sort(out)
	return out
}

func (id *Identity) settle() {
	id.Unknown = []string{}
	for _, f := range Fields() {
		if _, ok := id.Values[f]; !ok {
			id.Unknown = append(id.Unknown, f)
		}
	}
	slices.Sort(id.Unknown)
}

// A Mismatch is a field that a spec declares and the endpoint tells differently.
type Mismatch struct{ Field, Declared, Observed, Source string }

func (m Mismatch) String() string {
	return fmt.Sprintf("%s is declared as %s, but %s says %s", m.Field, m.Declared, m.Source, m.Observed)
}

// Declare adds what a spec says of the endpoint to what was observed, and
// returns the fields in which the two differ; there, the observed value stays.
// The model may be declared by its served name or by its root. An observed "auto" tells nothing and gives way to the declared value.
func (id *Identity) Declare(declared map[string]string) []Mismatch {
	var out []Mismatch
	for _, field := range slices.Sorted(maps.Keys(declared)) {
		want := normal(field, declared[field])
		if want == "" {
			continue
		}
		got, known := id.Values[field]
		switch {
		case !known:
			id.Values[field], id.Sources[field] = want, Declared
		case got == "auto" && want != got:
			id.Values[field], id.Sources[field] = want, Declared+"; "+id.Sources[field]+" says auto"
		case got == want, field == Model && id.Values[ModelRoot] == want:
		default:
			out = append(out, Mismatch{field, want, got, id.Sources[field]})
		}
	}
	id.settle()
	return out
}

// Mismatches returns the fields that the spec declares otherwise.
func (id Identity) Mismatches() []Mismatch {
	var out []Mismatch
	for _, f := range slices.Sorted(maps.Keys(id.Differs)) {
		out = append(out, Mismatch{f, id.Differs[f], id.Value(f), id.Sources[f]})
	}
	return out
}

// Carry adds to a new observation what the earlier identity was told by its
// spec, so that the two can be compared: Diff(earlier, later.Carry(earlier)).
func (id Identity) Carry(earlier Identity) Identity {
	out := Identity{Schema: id.Schema, Values: maps.Clone(id.Values), Sources: maps.Clone(id.Sources)}
	told := map[string]string{}
	for field, source := range earlier.Sources {
		if strings.HasPrefix(source, Declared) {
			told[field] = earlier.Values[field]
		}
	}
	out.Declare(told)
	return out
}

// A Change is a field that differs between two identities.
type Change struct{ Field, Before, After string }

func (c Change) String() string {
	return fmt.Sprintf("%s was %s and is %s", c.Field, c.Before, c.After)
}

// Diff returns the fields whose values differ, sorted by name. How a value was
// learned is not compared.
func Diff(before, after Identity) []Change {
	var out []Change
	fields := maps.Clone(before.Values)
	maps.Copy(fields, after.Values)
	for _, f := range slices.Sorted(maps.Keys(fields)) {
		if b, a := before.Value(f), after.Value(f); b != a {
			out = append(out, Change{f, b, a})
		}
	}
	return out
}

// dtypeTokens gives number formats one name.
func dtypeTokens() map[string]string {
	return map[string]string{
		"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "modelopt_fp4": "nvfp4", "fp8_e4m3": "fp8",
	}
}

// normal gives equal values equal texts: Python's True and None, 0.90, and
// the several names of a number format.
func normal(field, value string) string {
	value = strings.TrimSpace(value)
	switch value {
	case "True":
		return "true"
	case "False":
		return "false"
	case "None", "null":
		return ""
	}
	if token, ok := dtypeTokens()[value]; ok && (field == Quant || field == KVCacheDtype) {
		return token
	}
	if field == GPUMemUtilization {
		if f, err := strconv.ParseFloat(value, 64); err == nil {
			return strconv.FormatFloat(f, 'g', -1, 64)
		}
	}
	return value
}
