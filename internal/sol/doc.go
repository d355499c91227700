// Package sol is the Speed-of-Light arithmetic of LLM serving: how many bytes
// must move and how many operations must be done for a step, and so how fast
// a given GPU could do it at best.
//
// Three values meet here. Ceilings are the peaks of GPUs, read from
// configs/sol-ceilings.yaml: no peak is written in Go. A Shape is what
// serving needs to know of a model: parameters by component with their number
// format, and its attention (GQA, or MLA with or without a sparse indexer),
// read from a HuggingFace config.json and a quant map. A Deployment puts a
// Shape on n GPUs with a KV-cache format; it answers with floors and
// capacities.
//
// Formulas, with the letters that comments use:
//
//	B concurrent decoding sequences, C mean context in tokens, n GPUs,
//	E experts, k of them per token, L layers, H query heads, K KV heads.
//	W(B)   = sum fixed parameters*bytes + routed parameters*bytes*(1-(1-k/E)^B)
//	bytes  = W(B) + rho*B*kv_read(C)         [all GPUs, one decode step]
//	t_mem  = bytes/n/BW, t_flop = B*flops_per_token/n/P(dtype)
//	TPOT floor = max(t_mem, t_flop)
//
// They are those of the JAX scaling book (inference chapter: step time =
// max(bytes/bandwidth, FLOPs/peak)) and of kipp.ly's transformer inference
// arithmetic, extended to MoE, MLA and DSA. What they leave out: activations,
// KV writes of decode, sampling, launch gaps; routing is taken as uniform,
// which is an upper estimate of expert bytes. Communication is given apart.
//
// Sizes are bytes (GB is 1e9), times are seconds.
package sol
