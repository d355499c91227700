package sol

import (
	"fmt"
	"math"
)

const (
	tera = 1e12
	giga = 1e9
)

// A Layout says how a model is spread over GPUs.
type Layout struct {
	TP int // GPUs that share one copy of attention
	DP int // such copies, each with sequences of its own
	EP int // GPUs over which whole experts are spread; 1: experts are split as other matrices are
}

func (l Layout) String() string { return fmt.Sprintf("TP%d DP%d EP%d", l.TP, l.DP, l.EP) }

// A Deployment is one replica: a shape on n GPUs of one kind.
//
// Data parallelism means two things, as in vLLM. Of a dense model it makes
// Replicas that share nothing: a Deployment is one of them. Of a mixture of
// experts it repeats attention only: each of the DP ranks has all attention
// weights and sequences of its own, and experts are spread or split over all
// ranks, which so make one replica.
type Deployment struct {
	Shape    *Shape
	GPU      GPU
	GPUs     int // of the replica
	Replicas int // that are alike
	Layout   Layout
	KV       KVFormat

	mathDType string
	peak      float64 // FLOP/s of one GPU; infinite if unknown
	peakPath  string
	peakErr   error
}

// Deploy puts a shape on gpus GPUs under tensor parallelism. It refuses a
// split that cannot be, and a GPU whose needed peak is not known.
func Deploy(shape *Shape, gpu GPU, gpus int, kv KVFormat) (*Deployment, error) {
	return DeployAs(shape, gpu, Layout{TP: gpus, DP: 1, EP: 1}, kv)
}

// DeployAs is Deploy for any layout.
func DeployAs(shape *Shape, gpu GPU, l Layout, kv KVFormat) (*Deployment, error) {
	d, err := place(shape, gpu, l, kv)
	if err == nil {
		err = d.multiply(gpu.MathDType(shape.MainFormat()))
	}
	if err != nil {
		return nil, fmt.Errorf("deploy %s on %s: %w", shape.Name, gpu.Key, err)
	}
	return d, nil
}

// place makes a deployment without a peak.
func place(shape *Shape, gpu GPU, l Layout, kv KVFormat) (*Deployment, error) {
	d := &Deployment{Shape: shape, GPU: gpu, GPUs: l.TP, Replicas: 1, Layout: l, KV: kv}
	switch {
	case l.TP <= 0 || l.DP <= 0 || l.EP <= 0:
		return nil, fmt.Errorf("%s: a size below 1 (%d GPUs)", l, l.TP*l.DP)
	case shape.Heads()%l.TP != 0:
		return nil, fmt.Errorf("total number of attention heads (%d) must be divisible by tensor parallel size (%d)", shape.Heads(), l.TP)
	case kv == KVFP8DSMLA && (shape.MLA == nil || shape.MLA.Indexer == nil):
		return nil, fmt.Errorf("kv cache dtype fp8_ds_mla is for sparse MLA only")
	case shape.MoE == nil && l.EP > 1:
		return nil, fmt.Errorf("%s: a dense model has no experts to spread", l)
	case shape.MoE == nil:
		d.Replicas = l.DP
	case l.EP != 1 && l.EP != l.TP*l.DP:
		return nil, fmt.Errorf("%s: experts are spread over all %d GPUs or not at all", l, l.TP*l.DP)
	default:
		d.GPUs = l.TP * l.DP
	}
	if d.GPUs > 1 && math.IsNaN(gpu.LinkBandwidth) {
		return nil, fmt.Errorf("no link figure, so %d GPUs cannot be put together", d.GPUs)
	}
	return d, nil
}

// multiply sets the input type of the matrix products.
func (d *Deployment) multiply(dtype string) error {
	peak, path, err := d.GPU.Peak(dtype)
	if err != nil {
		return err
	}
	d.mathDType, d.peak, d.peakPath, d.peakErr = dtype, peak, path, nil
	return nil
}

// TotalGPUs counts the GPUs of all replicas.
func (d *Deployment) TotalGPUs() int { return d.GPUs * d.Replicas }

// PeakUnknown says why there is no compute ceiling, nil if there is one.
// Without one, floors are those of memory alone: still floors, and lower.
func (d *Deployment) PeakUnknown() error { return d.peakErr }

// attentionCopies is how many ranks of a replica hold all attention weights.
func (d *Deployment) attentionCopies() int { return d.GPUs / d.Layout.TP }

// CeilingPaths names the figures that this deployment's floors rest on.
func (d *Deployment) CeilingPaths() (bandwidth, compute string) {
	return d.GPU.BandwidthPath, d.peakPath
}

// MathDType is the input type of the matrix products.
func (d *Deployment) MathDType() string { return d.mathDType }

// KVReplication is rho: how many GPUs hold the same cached token. Under TP,
// KV heads repeat when there are fewer of them than GPUs, and the latent of
// MLA, which has no heads, is on every GPU. A rank of data parallelism holds
// its own sequences only.
func (d *Deployment) KVReplication() float64 {
	if d.Shape.MLA != nil {
		return float64(d.Layout.TP)
	}
	return max(1, float64(d.Layout.TP)/float64(d.Shape.GQA.KVHeads))
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
	weights := d.Shape.WeightBytes() + float64(d.attentionCopies()-1)*d.Shape.attentionBytes()
	free := d.GPU.MemBytes*utilization - weights/n - otherBytes
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
	return d.decodeStep(batch, batch, context)
}

// FLOPsPerToken is what one decode token costs at that context:
// 2*active parameters + attention.
func (d *Deployment) FLOPsPerToken(context float64) float64 {
	return 2*d.Shape.ActiveParams() + d.Shape.AttentionFLOPs(context)
}

// Prefill is the cost of one whole prompt alone. Its Floor is the TTFT floor
// of an unqueued request; a cached prefix shortens the prompt.
func (d *Deployment) Prefill(tokens int) Cost { return d.PrefillAfter(0, tokens) }

// PrefillAfter is Prefill of a prompt whose first cached tokens are in the
// cache already: they are read, and not computed.
func (d *Deployment) PrefillAfter(cached, tokens int) Cost {
	b := d.NewBatch()
	b.Prefill(cached, tokens, true)
	c := b.Cost()
	// One prompt is on one rank, whose copy of attention alone is read.
	others := float64(d.attentionCopies()-1) * d.Shape.attentionBytes()
	return d.cost(c.Bytes-others, c.FLOPs)
}

func (d *Deployment) weightBytes(tokens float64) float64 {
	bytes := d.Shape.StepWeightBytes(tokens)
	return bytes + float64(d.attentionCopies()-1)*d.Shape.attentionBytes()
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

// Peak is the dense peak of the matrix units of one GPU, in FLOP/s.
func (d *Deployment) Peak() float64 { return d.peak }

// Clocked is the deployment on memory as fast as its clock says. False if no
// source tells the clock.
func (d *Deployment) Clocked() (*Deployment, bool) {
	c := *d
	c.GPU.Bandwidth, c.GPU.BandwidthPath = d.GPU.Clocked, d.GPU.ClockedPath
	return &c, !math.IsNaN(d.GPU.Clocked)
}

// Reached is the deployment on a GPU that is as fast as tools have found this
// one to be at best: its memory, and its matrix units where a tool measured
// them. source names the rates. False if no tool measured the memory.
func (d *Deployment) Reached() (r *Deployment, source string, ok bool) {
	c := *d
	memory, ok := d.GPU.Reached("hbm_tbps")
	if !ok {
		return nil, "", false
	}
	c.GPU.Bandwidth = memory.Value * tera
	source = memory.text("TB/s")
	if units, has := d.GPU.Reached(d.mathDType + "_tflops"); has && d.peakErr == nil {
		c.peak = units.Value * tera
		source += "; " + units.text("TFLOP/s "+d.mathDType)
	}
	return &c, source, true
}

func (a Achievable) text(unit string) string {
	text := fmt.Sprintf("%g %s by %s (%s)", a.Value, unit, a.Tool, a.Source)
	if a.Conditions != "" {
		text = fmt.Sprintf("%g %s by %s, %s (%s)", a.Value, unit, a.Tool, a.Conditions, a.Source)
	}
	return text
}
