package sol

import "math"

// activationBytes is the size of one element that GPUs exchange: bf16.
const activationBytes = 2

// CommSeconds is the floor of communication in a step with that many tokens,
// of which a collective takes latency seconds besides its bytes.
//
// Under tensor parallelism each layer has 2 all-reduces (behind attention,
// behind the MLP), and one over n GPUs moves 2(n-1)/n of the activations over
// each link. With data-parallel attention the first stays within a rank, and
// the second becomes, in layers with experts, an exchange over all GPUs.
func (d *Deployment) CommSeconds(tokens, latency float64) float64 {
	if d.GPUs == 1 {
		return 0
	}
	s, copies := d.Shape, float64(d.attentionCopies())
	row := tokens * float64(s.Hidden) * activationBytes
	reduce := 0.0 // an all-reduce over the GPUs of a rank, of its share of tokens
	if n := float64(d.Layout.TP); n > 1 {
		reduce = 2*(n-1)/n*row/copies/d.GPU.LinkBandwidth + latency
	}
	if d.attentionCopies() == 1 {
		// Ranks of tensor parallelism all have the activations, so that spread
		// experts need no exchange but the all-reduce that there is anyway.
		return 2 * float64(s.Layers) * reduce
	}
	dense := float64(s.Layers - s.MoE.Layers)
	return (float64(s.Layers)+dense)*reduce + float64(s.MoE.Layers)*d.exchangeSeconds(row, latency)
}

// exchangeSeconds is what the experts of one layer exchange over all n GPUs,
// there and back. Split experts need each token on each GPU: an all-gather and
// a reduce-scatter of (n-1)/n each. Spread experts need it where one of its k
// experts is: on (n-1)*(1-(1-1/n)^k) other GPUs, if routing is uniform.
func (d *Deployment) exchangeSeconds(row, latency float64) float64 {
	n := float64(d.GPUs)
	remote := n - 1
	if d.Layout.EP > 1 {
		remote *= 1 - math.Pow(1-1/n, float64(d.Shape.MoE.TopK))
	}
	return 2 * (remote*row/n/d.GPU.LinkBandwidth + latency)
}
