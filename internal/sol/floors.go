package sol

import (
	"fmt"
	"math"
)

// A Load is what one cell asked of a deployment, as it was measured.
type Load struct {
	// Batch is the effective batch: sequences that decode at once, over all
	// replicas. It is output tok/s times TPOT, and not the concurrency: that
	// counts what waits and what is in prefill too. It is a mean over time, so
	// it may be below one; a step has one sequence at least.
	Batch         float64
	Input, Output float64 // mean tokens of a request
	Cached        float64 // share of the input found in the prefix cache, 0 to 1
	// Speculative decoding: tokens drafted a step, and the mean number of
	// tokens that a step yields. 0 and 1 without it.
	Drafted  int
	Accepted float64
}

func (l Load) check() error {
	switch {
	case !(l.Batch > 0) || !(l.Input > 0) || !(l.Output > 0):
		return fmt.Errorf("SOL_LOAD: a batch of %g with %g input and %g output tokens is no load", l.Batch, l.Input, l.Output)
	case l.Cached < 0 || l.Cached > 1:
		return fmt.Errorf("SOL_LOAD: a share of %g of the input cannot be cached", l.Cached)
	case l.Drafted < 0 || l.Drafted > 0 && !(l.Accepted >= 1):
		return fmt.Errorf("SOL_LOAD: %d tokens drafted a step, and an acceptance length of %g, make no sense", l.Drafted, l.Accepted)
	}
	return nil
}

// Floors are what the hardware allows a deployment under a load. Times are
// seconds, throughputs tokens a second.
type Floors struct {
	Context float64 // mean over the decode steps of a request
	Step    Cost    // of one decode step of one replica
	Prompt  Cost    // of the prefill of one prompt alone

	Footprint   float64 // bytes moved for one output token, over all GPUs of the replica
	TPOT, TTFT  float64
	Comm        float64 // in a step, beside the above and not in TPOT
	TPOTNoOver  float64 // if memory and communication do not overlap: the stricter bound
	PerUser     float64 // tok/s of one user at most: 1/TPOT
	Decode      float64 // output tok/s/GPU if the GPUs only decode
	Serving     float64 // the same if they prefill too, one after the other
	MixedTPOT   float64 // seconds a token where prefill and decode share GPUs
	PrefillTime float64 // seconds of prefill a request takes of the replica
	// PrefillShare is the part of the time that prefill takes under Serving.
	PrefillShare float64
	// Overlapped is Serving if prefill and decode share steps so well that
	// only the busier of memory and matrix units counts. Nothing can beat it.
	Overlapped float64

	AI, Ridge float64 // FLOP/byte of a step, and where compute begins to bind
}

// Floors of a load:
//
//	B           = max(1, batch of a replica)
//	C           = input + output/2, the mean context over decode steps
//	TPOT        = max(t_mem, t_flop) / acceptance length
//	Decode      = B / TPOT / n
//	t_request   = prefill FLOPs/n/P + (output-1)*TPOT/B
//	Serving     = output / t_request / n
//	AI, Ridge   = FLOPs/bytes of a step, P/BW
//
// The step of speculation computes 1+drafted tokens for each sequence.
func (d *Deployment) Floors(l Load) (Floors, error) {
	if err := l.check(); err != nil {
		return Floors{}, err
	}
	n, batch := float64(d.GPUs), max(1, l.Batch/float64(d.Replicas))
	accepted, tokens := 1.0, 1.0
	if l.Drafted > 0 {
		accepted, tokens = l.Accepted, 1+float64(l.Drafted)
	}
	f := Floors{Context: l.Input + l.Output/2, Ridge: d.peak / d.GPU.Bandwidth}
	f.Step = d.decodeStep(batch, batch*tokens, f.Context)
	f.Comm = d.CommSeconds(batch*tokens, 0)
	f.TPOT = f.Step.Floor() / accepted
	f.TPOTNoOver = (f.Step.MemSeconds + f.Comm) / accepted
	f.Footprint = f.Step.Bytes / (batch * accepted)
	f.PerUser, f.Decode = 1/f.TPOT, batch/f.TPOT/n
	f.AI = f.Step.FLOPs / f.Step.Bytes

	input := int(math.Round(l.Input))
	f.Prompt = d.PrefillAfter(min(input-1, int(l.Cached*l.Input)), max(1, input))
	f.TTFT, f.PrefillTime = f.Prompt.Floor(), f.Prompt.MathSeconds
	decode := (l.Output - 1) * f.TPOT / batch
	request := f.PrefillTime + decode
	if l.Output <= 1 { // nothing decodes: prefill is all there is
		request = f.TTFT
	}
	f.Serving, f.PrefillShare, f.MixedTPOT = l.Output/request/n, f.PrefillTime/request, batch*request/l.Output
	steps := (l.Output - 1) / batch / accepted
	f.Overlapped = l.Output / max(steps*f.Step.MemSeconds, f.PrefillTime+steps*f.Step.MathSeconds) / n
	return f, nil
}

// decodeStep is DecodeStep for sequences that compute more than a token each.
func (d *Deployment) decodeStep(batch, tokens, context float64) Cost {
	bytes := d.weightBytes(tokens) + d.KVReplication()*batch*d.Shape.KVReadBytes(d.KV, context)
	return d.cost(bytes, tokens*d.FLOPsPerToken(context))
}

// Bound says what limits the decode step at best: memory, compute, or
// communication where that takes longer than both.
func (f Floors) Bound() string {
	if f.Comm > f.Step.Floor() {
		return "communication"
	}
	return f.Step.Bound()
}
