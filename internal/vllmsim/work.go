package vllmsim

// work is what one GPU has done, each a sum that only grows. Times are on the
// server's clock, scaled.
type work struct {
	kernel  float64 // seconds in which any kernel ran
	compute float64 // seconds in kernels that are no collective
	math    float64 // seconds of the matrix units at their peak
	bytes   float64 // between memory and GPU
	link    float64 // bytes each way over the link
	tokens  float64
	steps   float64
}

func (w work) plus(o work) work {
	return work{w.kernel + o.kernel, w.compute + o.compute, w.math + o.math, w.bytes + o.bytes, w.link + o.link, w.tokens + o.tokens, w.steps + o.steps}
}

func (w work) less(o work) work {
	return work{w.kernel - o.kernel, w.compute - o.compute, w.math - o.math, w.bytes - o.bytes, w.link - o.link, w.tokens - o.tokens, w.steps - o.steps}
}

// work is what one GPU does in that share of a step.
func (p pricing) work(s Step, share float64) work {
	if share <= 0 {
		return work{}
	}
	n, tokens := float64(p.deployment.GPUs), float64(s.Prefill+s.Decode)
	seconds := (s.Due - s.Start).Seconds()
	kernel := seconds - p.overhead.Seconds()*p.scale
	return work{
		kernel: share * kernel, compute: share * (kernel - s.CommSeconds*p.scale), math: share * s.Cost.MathSeconds * p.scale,
		bytes: share * s.Cost.Bytes / n, link: share * p.linkBytes(tokens),
		tokens: share * tokens, steps: share,
	}
}

// linkBytes is what each GPU sends, and receives, for the collectives of a step.
func (p pricing) linkBytes(tokens float64) float64 {
	if p.deployment.GPUs == 1 {
		return 0
	}
	return p.deployment.CommSeconds(tokens, 0) * p.deployment.GPU.LinkBandwidth
}

// work returns what one GPU has done until now: all steps that ended, and its
// part of the one under way.
func (e *engine) work(now instant) work {
	e.metrics.mu.Lock()
	defer e.metrics.mu.Unlock()
	s := e.metrics.underWay
	if s.Due <= s.Start {
		return e.metrics.done
	}
	return e.metrics.done.plus(e.pricing.work(s, min(1, float64(now-s.Start)/float64(s.Due-s.Start))))
}
