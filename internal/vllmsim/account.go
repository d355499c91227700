package vllmsim

import (
	"time"

	"pipeline/internal/sol"
)

// A Step is what one step of the simulated GPUs did. It is the one place
// where work is accounted; counters of whatever exporter are made from it.
type Step struct {
	Start, Due      time.Duration // since the server started
	Prefill, Decode int           // tokens computed
	Cost            sol.Cost      // bytes and FLOPs of all GPUs, and the roofline times
	CommSeconds     float64
}

// Totals are the sums over all steps so far.
type Totals struct {
	Steps           int
	PrefillTokens   int // computed, so without cached and with recomputed ones
	DecodeTokens    int
	Bytes           float64 // moved between memory and GPUs, over all GPUs
	WrittenBytes    float64 // of KV, over all GPUs; a part of no other figure
	FLOPs           float64
	BusySeconds     float64 // time in steps, on the server's clock
	MemSeconds      float64 // roofline time of the memory, unscaled
	MathSeconds     float64 // roofline time of the matrix units, unscaled
	CommSeconds     float64 // of collectives, unscaled
	LagSeconds      float64 // by which steps ended after they were due: the host was late
	LagMaxSeconds   float64
	Preemptions     int
	PrefixQueried   int // prompt tokens looked up in the prefix cache
	PrefixHit       int
	KVBlocksUsed    int
	KVBlocks        int
	Running         int
	Waiting         int
	GeneratedTokens int
	PromptTokens    int // of requests whose prefill is complete
}

// pricing turns a batch into time.
type pricing struct {
	deployment *sol.Deployment
	efficiency float64
	overhead   time.Duration
	collective time.Duration
	scale      float64
}

// price returns the account of a step that starts at start:
//
//	duration = (max(bytes/bandwidth, FLOPs/peak)/efficiency + collectives + overhead) * scale
func (p pricing) price(parts []part, start instant) Step {
	step := Step{Start: start}
	batch := p.deployment.NewBatch()
	for _, part := range parts {
		seq := part.seq
		end := seq.computed + part.tokens
		if part.tokens == 1 && seq.computed >= seq.promptLen {
			batch.Decode(end)
			step.Decode++
			continue
		}
		batch.Prefill(seq.computed, end, end == len(seq.tokens))
		step.Prefill += part.tokens
	}
	step.Cost = batch.Cost()
	step.CommSeconds = p.deployment.CommSeconds(float64(batch.Tokens()), p.collective.Seconds())
	seconds := step.Cost.Floor()/p.efficiency + step.CommSeconds + p.overhead.Seconds()
	step.Due = start + time.Duration(seconds*p.scale*1e9)
	return step
}

// add accounts a step that ended late by lag.
func (t *Totals) add(s Step, kvBytesPerToken float64, lag time.Duration) {
	t.Steps++
	t.PrefillTokens += s.Prefill
	t.DecodeTokens += s.Decode
	t.Bytes += s.Cost.Bytes
	t.WrittenBytes += float64(s.Prefill+s.Decode) * kvBytesPerToken
	t.FLOPs += s.Cost.FLOPs
	t.BusySeconds += (s.Due - s.Start).Seconds()
	t.MemSeconds += s.Cost.MemSeconds
	t.MathSeconds += s.Cost.MathSeconds
	t.CommSeconds += s.CommSeconds
	t.LagSeconds += lag.Seconds()
	t.LagMaxSeconds = max(t.LagMaxSeconds, lag.Seconds())
}
