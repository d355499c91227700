package sol

import (
	"fmt"
	"math"
)

const (
	tera = 1e12
	giga = 1e9
)

// A Deployment is one replica: a shape on n GPUs of one kind.
type Deployment struct {
	Shape *Shape
	GPU   GPU
	GPUs  int
	KV    KVFormat
	// DPAttention: each GPU holds all attention weights and its own
	// sequences, and experts are spread over all GPUs. Otherwise tensor
	// parallelism.
	DPAttention bool

	mathDType string
	peak      float64 // FLOP/s of one GPU
	peakPath  string
}

// Deploy puts a shape on gpus GPUs under tensor parallelism. It refuses a
// split that cannot be, and a GPU whose needed peak is not known.
func Deploy(shape *Shape, gpu GPU, gpus int, kv KVFormat) (*Deployment, error) {
	if gpus <= 0 {
		return nil, fmt.Errorf("deploy %s on %s: %d GPUs", shape.Name, gpu.Key, gpus)
	}
	if shape.Heads()%gpus != 0 {
		return nil, fmt.Errorf("deploy %s on %s: total number of attention heads (%d) must be divisible by tensor parallel size (%d)",
			shape.Name, gpu.Key, shape.Heads(), gpus)
	}
	if kv == KVFP8DSMLA && (shape.MLA == nil || shape.MLA.Indexer == nil) {
		return nil, fmt.Errorf("deploy %s on %s: kv cache dtype fp8_ds_mla is for sparse MLA only", shape.Name, gpu.Key)
	}
	if gpus > 1 && math.IsNaN(gpu.LinkBandwidth) {
		return nil, fmt.Errorf("deploy %s on %s: no link figure, so %d GPUs cannot be put together", shape.Name, gpu.Key, gpus)
	}
	dtype := gpu.MathDType(shape.MainFormat())
	peak, path, err := gpu.Peak(dtype)
	if err != nil {
		return nil, fmt.Errorf("deploy %s on %s: %w", shape.Name, gpu.Key, err)
	}
	return &Deployment{Shape: shape, GPU: gpu, GPUs: gpus, KV: kv, mathDType: dtype, peak: peak, peakPath: path}, nil
}

// CeilingPaths names the figures that this deployment's floors rest on.
func (d *Deployment) CeilingPaths() (bandwidth, compute string) {
	return d.GPU.BandwidthPath, d.peakPath
}

// MathDType is the input type of the matrix products.
func (d *Deployment) MathDType() string { return d.mathDType }

// KVReplication is rho: how many GPUs hold the same cached token. Under TP,
// KV heads repeat when there are fewer of them than GPUs, and the latent of
// MLA, which has no heads, is on every GPU.
func (d *Deployment) KVReplication() float64 {
	switch {
	case d.DPAttention:
		return 1
	case d.Shape.MLA != nil:
		return float64(d.GPUs)
	}
	return max(1, float64(d.GPUs)/float64(d.Shape.GQA.KVHeads))
}

// KVBytesPerToken is what one cached token takes on all GPUs together.
func (d *Deployment) KVBytesPerToken() float64 {
	return d.Shape.KVBytesPerToken(d.KV) * d.KVReplication()
}

// KVCapacityTokens is the number of tokens that fit the cache:
// (memory*utilization - weights/n - other) * n / (kv_token * rho), where other
// is what a GPU keeps for activations, graphs and the runtime, in bytes. It is
// not positive if the weights leave no room.
func (d *Deployment) KVCapacityTokens(utilization, otherBytes float64) float64 {
	n := float64(d.GPUs)
	free := d.GPU.MemBytes*utilization - d.Shape.WeightBytes()/n - otherBytes
	return free * n / d.KVBytesPerToken()
}

// A Cost is what a step moves and computes, summed over all GPUs, and the
// time that each would take alone.
type Cost struct {
	Bytes, FLOPs            float64
	MemSeconds, MathSeconds float64
}

// Floor is the shortest time of the step: memory and compute overlap fully.
func (c Cost) Floor() float64 { return max(c.MemSeconds, c.MathSeconds) }

// Bound says which of the two limits: "memory" or "compute".
func (c Cost) Bound() string {
	if c.MemSeconds >= c.MathSeconds {
		return "memory"
	}
	return "compute"
}

func (d *Deployment) cost(bytes, flops float64) Cost {
	n := float64(d.GPUs)
	return Cost{Bytes: bytes, FLOPs: flops, MemSeconds: bytes / n / d.GPU.Bandwidth, MathSeconds: flops / n / d.peak}
}

// DecodeStep is the cost of one step that decodes batch sequences with that
// mean context. Its Floor is the TPOT floor.
func (d *Deployment) DecodeStep(batch, context float64) Cost {
	bytes := d.weightBytes(batch) + d.KVReplication()*batch*d.Shape.KVReadBytes(d.KV, context)
	return d.cost(bytes, batch*d.FLOPsPerToken(context))
}

// FLOPsPerToken is what one decode token costs at that context:
// 2*active parameters + attention.
func (d *Deployment) FLOPsPerToken(context float64) float64 {
	return 2*d.Shape.ActiveParams() + d.Shape.AttentionFLOPs(context)
}

// Prefill is the cost of one whole prompt alone. Its Floor is the TTFT floor
// of an unqueued request; a cached prefix shortens the prompt.
func (d *Deployment) Prefill(tokens int) Cost {
	b := d.NewBatch()
	b.Prefill(0, tokens, true)
	return b.Cost()
}

func (d *Deployment) weightBytes(tokens float64) float64 {
	bytes := d.Shape.StepWeightBytes(tokens)
	if d.DPAttention {
		bytes += float64(d.GPUs-1) * d.Shape.attentionBytes()
	}
	return bytes
}

// CommSeconds is the floor of tensor-parallel communication in a step with
// that many tokens: 2 all-reduces a layer, each moving 2(n-1)/n of the bf16
// activations over the link, and taking latency seconds besides.
func (d *Deployment) CommSeconds(tokens, latency float64) float64 {
	if d.GPUs == 1 {
		return 0
	}
	n := float64(d.GPUs)
	bytes := 2 * (n - 1) / n * tokens * float64(d.Shape.Hidden) * 2
	return 2 * float64(d.Shape.Layers) * (bytes/d.GPU.LinkBandwidth + latency)
}

// A Batch gathers the work of one step in which some sequences decode and
// others prefill a part of their prompt.
type Batch struct {
	d         *Deployment
	tokens    int
	samples   int
	kvBytes   float64
	attention float64
}

// NewBatch returns an empty step.
func (d *Deployment) NewBatch() Batch { return Batch{d: d} }

// Decode adds one token at the end of a context of that many tokens, itself
// included.
func (b *Batch) Decode(context int) {
	b.tokens++
	b.samples++
	b.kvBytes += b.d.KVReplication() * b.d.Shape.KVReadBytes(b.d.KV, float64(context))
	b.attention += b.d.Shape.AttentionFLOPs(float64(context))
}

// Prefill adds prompt tokens start..end (end excluded) of one sequence; what
// lies before start is in the cache and is read again. samples says that the
// part ends the prompt, so that the LM head runs for its last token.
func (b *Batch) Prefill(start, end int, samples bool) {
	b.tokens += end - start
	if samples {
		b.samples++
	}
	b.kvBytes += float64(end-start) * b.d.Shape.KVBytesPerToken(b.d.KV)
	if start > 0 {
		b.kvBytes += b.d.KVReplication() * b.d.Shape.priorReadBytes(b.d.KV, float64(start))
	}
	b.attention += b.d.Shape.PrefillAttentionFLOPs(start, end)
}

// Tokens is the number of tokens that the step computes.
func (b *Batch) Tokens() int { return b.tokens }

// Cost of the step. For decode alone it equals DecodeStep, for one whole
// prompt the TTFT floor.
func (b *Batch) Cost() Cost {
	if b.tokens == 0 {
		return Cost{}
	}
	s := b.d.Shape
	linear := 2*(s.ActiveParams()-s.lmHead())*float64(b.tokens) + 2*s.lmHead()*float64(b.samples)
	return b.d.cost(b.d.weightBytes(float64(b.tokens))+b.kvBytes, linear+b.attention)
}
