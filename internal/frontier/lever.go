package frontier

import (
	"fmt"
	"math"
	"strings"

	"pipeline/internal/sol"
)

// A lever knows at which cells it applies, what it would change there, and
// what would prove it.
type lever struct {
	id, name, component, risk string
	throughputOnly            bool // it buys tokens a GPU and costs a user speed
	gain                      func(*cell) (claim, bool)
	change                    string // what the gate's cell sets
	proof                     string // what else the gate asks for
	tried                     toggle // how rows with and without it are told apart
}

// A claim is what a lever may take away at one cell.
type claim struct {
	part    float64 // seconds of TPOT that it addresses
	reduces float64 // share of that part, at most
	unlock  float64 // what follows; set by a lever that changes the batch or the tokens of a step
	basis   string
	first   string // what must be measured before this is more than a guess
}

// high is the upper bound of the claim: Amdahl's, over TPOT.
func (c *cell) high(k claim) float64 {
	if k.unlock > 0 {
		return k.unlock
	}
	left := c.tpot - k.part*min(1, max(0, k.reduces))
	if left <= 0 {
		return math.Inf(1)
	}
	return c.tpot / left
}

// runDCGM is how to close the gap of evidence.
const runDCGM = "run dcgm_correlate on the same cell (L3): it tells idle GPUs from slow kernels"

func levers() []lever {
	return []lever{
		{id: "kv_fp8", name: "KV cache in fp8", component: "memory", risk: "flag", gain: kvFP8,
			change: "kv_cache_dtype=fp8", proof: "an accuracy evaluation", tried: toggle{fields: []string{"kv_cache_dtype"}, on: is("kv_cache_dtype", "fp8", "fp8_e4m3", "fp8_e5m2", "fp8_ds_mla")}},
		{id: "quantise_rest", name: "quantise the matrices that are still bf16", component: "memory", risk: "requant", gain: quantiseRest,
			change: "a checkpoint whose attention, shared and dense layers are quantised", proof: "an accuracy evaluation",
			tried: toggle{fields: []string{"quant", "quant_map", "model", "model_hf_path", "model_shape", "model_revision", "config_sha256", "mma_dtype", "model_root"}, on: isNot("quant", "", "bf16", "bfloat16", "unknown")}},
		{id: "more_concurrency", name: "more streams at once", component: "memory", risk: "flag", throughputOnly: true, gain: moreConcurrency,
			change: "twice the concurrency"},
		{id: "dp_attention", name: "data-parallel attention with spread experts", component: "memory and communication", risk: "topology", gain: dpAttention,
			change: "tensor parallelism 1, data and expert parallelism over the same GPUs",
			tried:  toggle{fields: []string{"tp", "dp", "ep", "dp_attention", "parallel_strategy", "all2all_backend"}, on: isNot("dp", "", "1", "unknown")}},
		{id: "lower_tp", name: "half the tensor parallelism, twice the replicas", component: "memory and communication", risk: "topology", gain: lowerTP,
			change: "half of tp, on half of the GPUs at half of the streams"},
		{id: "speculation", name: "speculative decoding", component: "memory", risk: "image", gain: speculation,
			change: "a draft of 2 tokens a step", proof: "the measured acceptance length, and an accuracy evaluation",
			tried: toggle{fields: []string{"spec_method", "spec_tokens", "acceptance_length"}, on: isNot("spec_method", "", "unknown")}},
		{id: "disaggregate", name: "disaggregate prefill, or make its chunks smaller", component: "prefill", risk: "topology", gain: disaggregate,
			change: "prefill on GPUs of its own, or half of max_num_batched_tokens",
			tried:  toggle{fields: []string{"disagg", "max_num_batched_tokens", "chunked_prefill"}, on: is("disagg", "true")}},
		{id: "cuda_graphs", name: "full CUDA graphs and asynchronous scheduling", component: "host", risk: "flag", gain: cudaGraphs,
			change: "all of enforce_eager=false, cudagraph_mode=FULL, async_scheduling=true",
			tried:  toggle{fields: []string{"enforce_eager", "cudagraph_mode", "async_scheduling"}, on: is("enforce_eager", "false")}},
		{id: "allreduce", name: "fused all-reduce, NVLS, or fewer ranks", component: "communication", risk: "image", gain: allReduce,
			change: "an image with fused collectives"},
		{id: "prefix_cache", name: "prefix cache or KV offload", component: "prefill", risk: "flag", gain: prefixCache,
			change: "prefix_caching=true on a warm trace",
			tried:  toggle{fields: []string{"prefix_caching", "kv_offload"}, on: is("prefix_caching", "true")}},
		{id: "kernels", name: "other kernels or another backend", component: "unexplained", risk: "kernel", gain: kernels,
			change: "each backend at each concurrency (the matrix, on one node)"},
	}
}

func leverIDs() []string {
	var ids []string
	for _, l := range levers() {
		ids = append(ids, l.id)
	}
	return ids
}

// memory is the time that bytes take: as DCGM saw it, else at least.
func (c *cell) memoryPart() (float64, string) {
	if active, ok := c.measured("dcgm_dram"); ok {
		return active * c.tpot, fmt.Sprintf("DCGM: memory active %.0f %%", 100*active)
	}
	return c.floors.Step.MemSeconds, fmt.Sprintf("floor: memory takes %.2f ms of %.2f ms at least", 1e3*c.floors.Step.MemSeconds, 1e3*c.tpot)
}

// readsLess claims the part of memory that another deployment would not read.
func (c *cell) readsLess(other *sol.Deployment, what string) (claim, bool) {
	f, err := other.Floors(c.load)
	if err != nil {
		return claim{}, false
	}
	part, basis := c.memoryPart()
	return claim{part: part, reduces: 1 - f.Step.MemSeconds/c.floors.Step.MemSeconds,
		basis: fmt.Sprintf("%s; a step reads %.2f GB, and %.2f GB %s", basis, c.floors.Step.Bytes/1e9, f.Step.Bytes/1e9, what)}, true
}

func (c *cell) memoryBound() bool { return c.floors.Step.Bound() == "memory" }

func kvFP8(c *cell) (claim, bool) {
	if c.d.KV != sol.KVBF16 || !c.memoryBound() {
		return claim{}, false
	}
	kv := 1 - c.d.Shape.StepWeightBytes(c.stepTokens())/c.floors.Step.Bytes
	if kv <= c.config.Levers.KVBytes {
		return claim{}, false
	}
	other, err := sol.DeployAs(c.d.Shape, c.d.GPU, c.d.Layout, sol.KVFP8)
	if err != nil {
		return claim{}, false
	}
	return c.readsLess(other, "with KV in fp8")
}

// stepTokens is how many tokens a step of one replica computes.
func (c *cell) stepTokens() float64 {
	return max(1, c.load.Batch/float64(c.d.Replicas)) * float64(1+c.load.Drafted)
}

func quantiseRest(c *cell) (claim, bool) {
	shape, bf16 := c.d.Shape.QuantizedRest()
	if bf16 == 0 || !c.memoryBound() {
		return claim{}, false
	}
	other, err := sol.DeployAs(shape, c.d.GPU, c.d.Layout, c.d.KV)
	if err != nil {
		return claim{}, false
	}
	k, ok := c.readsLess(other, fmt.Sprintf("with those in %s", shape.MainFormat()))
	// Each of these parameters goes from 2 bytes to fewer, so that what is
	// saved tells what they take now.
	now := k.reduces / (1 - shape.MainFormat().Bytes()/2)
	return k, ok && now > c.config.Levers.BF16Bytes
}

func moreConcurrency(c *cell) (claim, bool) {
	asked, closed := c.Int("concurrency")
	if !closed || asked == 0 || !c.memoryBound() {
		return claim{}, false
	}
	twice := c.load
	twice.Batch *= 2
	if held, ok := c.Int("kv_capacity_tokens"); !ok || 2*float64(asked)*c.floors.Context > float64(held) {
		return claim{}, false
	}
	if limit, ok := c.Int("max_num_seqs"); ok && 2*asked > limit {
		return claim{}, false
	}
	f, err := c.d.Floors(twice)
	if err != nil {
		return claim{}, false
	}
	more := f.Step.Floor() - c.floors.Step.Floor()
	return claim{part: c.floors.Step.MemSeconds, reduces: 0.5, unlock: 2 * c.tpot / (c.tpot + max(0, more)),
		basis: fmt.Sprintf("a step of %.0f sequences takes at least %.2f ms longer than one of %.0f, and the KV cache holds them", twice.Batch, 1e3*more, c.load.Batch)}, true
}

// exchange claims what another layout reads and exchanges less.
func (c *cell) exchange(other *sol.Deployment, load sol.Load, what string) (claim, bool) {
	f, err := other.Floors(load)
	if err != nil {
		return claim{}, false
	}
	had, has := c.floors.Step.MemSeconds+c.floors.Comm, f.Step.MemSeconds+f.Comm
	return claim{part: had, reduces: 1 - has/had,
		basis: fmt.Sprintf("floors: memory %.2f ms and communication %.2f ms, %s %.2f ms and %.2f ms", 1e3*c.floors.Step.MemSeconds, 1e3*c.floors.Comm, what, 1e3*f.Step.MemSeconds, 1e3*f.Comm)}, has < had
}

func dpAttention(c *cell) (claim, bool) {
	l, n := c.d.Layout, c.d.GPUs
	if c.d.Shape.MoE == nil || l.DP > 1 || l.TP == 1 || c.load.Batch < float64(n) {
		return claim{}, false
	}
	rho := c.d.KVReplication()
	copies := (rho - 1) * c.load.Batch * c.d.Shape.KVReadBytes(c.d.KV, c.floors.Context) / c.floors.Step.Bytes
	if copies <= c.config.Levers.KVBytes && c.floors.Comm/c.tpot <= c.config.Bounds.Communication {
		return claim{}, false
	}
	other, err := sol.DeployAs(c.d.Shape, c.d.GPU, sol.Layout{TP: 1, DP: n, EP: n}, c.d.KV)
	if err != nil {
		return claim{}, false
	}
	return c.exchange(other, c.load, "with one copy of the cache")
}

func lowerTP(c *cell) (claim, bool) {
	l := c.d.Layout
	if l.TP%2 != 0 || c.d.Shape.MoE != nil && l.DP > 1 {
		return claim{}, false
	}
	other, err := sol.DeployAs(c.d.Shape, c.d.GPU, sol.Layout{TP: l.TP / 2, DP: 1, EP: 1}, c.d.KV)
	if err != nil {
		return claim{}, false
	}
	half := c.load
	half.Batch /= 2 * float64(c.d.Replicas)
	share, ok := c.Float("gpu_memory_utilization")
	if !ok || other.KVCapacityTokens(share, 0) < half.Batch*c.floors.Context {
		return claim{}, false // the weights, or the cache, do not fit
	}
	return c.exchange(other, half, fmt.Sprintf("at TP%d with half of the streams", l.TP/2))
}

func speculation(c *cell) (claim, bool) {
	m := c.config.Levers.Drafted
	if c.load.Drafted > 0 || m < 1 || c.load.Batch/float64(c.d.Replicas) > c.config.Levers.SpeculateBelow || c.load.Output <= 1 {
		return claim{}, false
	}
	drafting := c.load
	drafting.Drafted, drafting.Accepted = m, 1
	f, err := c.d.Floors(drafting)
	if err != nil {
		return claim{}, false
	}
	more := max(0, f.Step.Floor()-c.floors.Step.Floor())
	return claim{part: c.tpot, reduces: 1 - 1/float64(1+m), unlock: float64(1+m) * c.tpot / (c.tpot + more),
		basis: fmt.Sprintf("if all of %d drafted tokens were accepted, in steps that take at least %.2f ms longer; the acceptance length is not measured, and drafting itself is left out", m, 1e3*more)}, true
}

func disaggregate(c *cell) (claim, bool) {
	share, efficiency := c.prefillShare()
	if apart, _ := c.Bool("disagg"); apart || share <= c.config.Bounds.Prefill {
		return claim{}, false
	}
	return claim{part: share * c.tpot, reduces: 1, basis: fmt.Sprintf("prefill takes %.0f %% of the time, at %.0f %% of the peak and the measured request rate", 100*share, 100*efficiency)}, true
}

func cudaGraphs(c *cell) (claim, bool) {
	eager, told := c.Bool("enforce_eager")
	overlapped, _ := c.Bool("async_scheduling")
	if told && !eager && overlapped && strings.Contains(c.Text("cudagraph_mode"), "FULL") {
		return claim{}, false // all of it is on
	}
	if busy, ok := c.measured("dcgm_gr"); ok {
		gap := 1 - busy
		return claim{part: gap * c.tpot, reduces: 1, basis: fmt.Sprintf("DCGM: the GPUs idle %.0f %% of the window", 100*gap)}, gap > c.config.Levers.HostGap
	}
	return c.unexplained("the host may be what waits")
}

func kernels(c *cell) (claim, bool) {
	if c.dcgm {
		part := c.verdict.UnexplainedMS / 1e3
		return claim{part: part, reduces: 1, basis: fmt.Sprintf("%.2f of %.2f ms are neither bytes, FLOPs, collectives, prefill nor idle: the floor is what kernels could reach", 1e3*part, 1e3*c.tpot)},
			part > c.config.Levers.Unexplained*c.tpot
	}
	return c.unexplained("kernels may be what is slow")
}

// unexplained is the claim of whoever may be the cause, as long as nothing
// tells them apart.
func (c *cell) unexplained(who string) (claim, bool) {
	part := c.verdict.UnexplainedMS / 1e3
	return claim{part: part, reduces: 1, first: runDCGM, basis: fmt.Sprintf("%.2f of %.2f ms are unexplained by any floor, and %s", 1e3*part, 1e3*c.tpot, who)},
		part > c.config.Levers.Unexplained*c.tpot
}

func allReduce(c *cell) (claim, bool) {
	if c.d.GPUs == 1 || c.verdict.Bound != "communication" {
		return claim{}, false
	}
	return claim{part: c.floors.Comm, reduces: 0.5, basis: fmt.Sprintf("collectives take at least %.2f ms of %.2f ms by their bytes alone, of which a fused one saves half at most", 1e3*c.floors.Comm, 1e3*c.tpot)}, true
}

// prefixCache is worth what prompts have in common and the cache did not find.
func prefixCache(c *cell) (claim, bool) {
	shared, _ := c.Int("shared_prefix")
	if c.load.Input <= 0 || shared == 0 {
		return claim{}, false
	}
	missed := min(1, float64(shared)/c.load.Input) - c.load.Cached
	share, _ := c.prefillShare()
	if missed <= 0 {
		return claim{}, false
	}
	return claim{part: share * c.tpot, reduces: missed, basis: fmt.Sprintf("prompts share %.0f %% of their tokens, of which the cache found %.0f %%; prefill takes %.0f %% of the time",
		100*min(1, float64(shared)/c.load.Input), 100*c.load.Cached, 100*share)}, true
}
