package sol

import (
	"fmt"
	"math"
)

// A Shape is what serving needs to know of a model.
type Shape struct {
	Name      string
	ModelType string // HuggingFace model_type
	Layers    int
	Hidden    int
	Vocab     int
	MaxLen    int // max_position_embeddings

	// Exactly one of GQA and MLA is set.
	GQA *GQA
	MLA *MLA

	// MoE is nil for a dense model.
	MoE *MoE

	// Fixed are the parameters that each step reads whatever the batch:
	// attention, dense MLPs, shared experts, routers, norms and the LM head.
	Fixed []Component
	// Embedding is the input table, of which a step reads only B rows.
	// TiedEmbedding says that the LM head is the same table.
	Embedding     Component
	TiedEmbedding bool
	// KVDefault is the KV format that the quant map asks for (vLLM's "auto").
	KVDefault KVFormat
	// QuantMap says where the formats come from: hf_quant_config.json, the
	// quantization_config of config.json, or, for a label alone, assumed.
	QuantMap string
}

// The values of Shape.QuantMap.
const (
	QuantNone    = "none" // all in bf16
	QuantSidecar = "hf_quant_config.json"
	QuantInline  = "config.json quantization_config"
	QuantAssumed = "assumed_uniform" // every linear layer, by a label alone
)

// A Component is a group of parameters of one number format.
type Component struct {
	Name   string
	Params int64
	Format Format
}

// Bytes of the component in memory.
func (c Component) Bytes() float64 { return float64(c.Params) * c.Format.Bytes() }

// GQA is grouped-query attention (multi-head when KVHeads equals Heads).
type GQA struct {
	Heads, KVHeads, HeadDim int
	// Windows groups the layers by sliding window; 0 means full attention.
	Windows []Window
}

// A Window is the number of layers that see that many last tokens.
type Window struct{ Layers, Tokens int }

// MLA is multi-head latent attention.
type MLA struct {
	Heads, QRank, KVRank, NopeDim, RopeDim, ValueDim int
	// Indexer is set for DeepSeek sparse attention (DSA).
	Indexer *Indexer
}

// An Indexer picks the TopK cached tokens that a query attends to. Its keys
// are cached as fp8 with one fp32 scale a token.
type Indexer struct{ Heads, HeadDim, TopK int }

// MoE describes the routed experts of all MoE layers.
type MoE struct {
	Experts, TopK int
	Layers        int // that have experts
	// Routed are the parameters of all experts of all layers, by format.
	Routed []Component
}

// AttentionText says in a line what kind of attention the shape has.
func (s *Shape) AttentionText() string {
	if m := s.MLA; m != nil {
		text := fmt.Sprintf("MLA: %d heads, latent %d + %d rope", m.Heads, m.KVRank, m.RopeDim)
		if ix := m.Indexer; ix != nil {
			text += fmt.Sprintf("; sparse (DSA): an indexer of %d heads of %d picks %d tokens", ix.Heads, ix.HeadDim, ix.TopK)
		}
		return text
	}
	g := s.GQA
	text := fmt.Sprintf("GQA: %d query heads, %d KV heads of %d", g.Heads, g.KVHeads, g.HeadDim)
	for _, w := range g.Windows {
		if w.Tokens > 0 {
			text += fmt.Sprintf("; %d layers see the last %d tokens", w.Layers, w.Tokens)
		}
	}
	return text
}

// latent is the cached width of MLA.
func (m MLA) latent() int { return m.KVRank + m.RopeDim }

// Heads returns the number of query heads, which TP must divide.
func (s *Shape) Heads() int {
	if s.MLA != nil {
		return s.MLA.Heads
	}
	return s.GQA.Heads
}

// TotalParams counts all parameters; a tied embedding counts once.
func (s *Shape) TotalParams() int64 {
	total := s.FixedParams() + s.RoutedParams()
	if !s.TiedEmbedding {
		total += s.Embedding.Params
	}
	return total
}

// FixedParams counts what each step reads whatever the batch.
func (s *Shape) FixedParams() int64 { return sumParams(s.Fixed) }

// RoutedParams counts the parameters of all routed experts.
func (s *Shape) RoutedParams() int64 {
	if s.MoE == nil {
		return 0
	}
	return sumParams(s.MoE.Routed)
}

// ActiveParams counts the parameters that one token uses in matrix products:
// all fixed ones, and k of E experts. The input embedding is not among them.
func (s *Shape) ActiveParams() float64 {
	active := float64(s.FixedParams())
	if s.MoE != nil {
		active += float64(s.RoutedParams()) * float64(s.MoE.TopK) / float64(s.MoE.Experts)
	}
	return active
}

// FixedBytes are the bytes of the fixed parameters.
func (s *Shape) FixedBytes() float64 { return sumBytes(s.Fixed) }

// RoutedBytes are the bytes of all routed experts.
func (s *Shape) RoutedBytes() float64 {
	if s.MoE == nil {
		return 0
	}
	return sumBytes(s.MoE.Routed)
}

// WeightBytes is what the weights take in memory, summed over the GPUs.
func (s *Shape) WeightBytes() float64 {
	total := s.FixedBytes() + s.RoutedBytes()
	if !s.TiedEmbedding {
		total += s.Embedding.Bytes()
	}
	return total
}

// StepWeightBytes is W(tokens): the weights that a step with that many tokens
// reads. The share of experts touched is 1-(1-k/E)^tokens, which takes routing
// as uniform and independent, and so is an upper estimate.
func (s *Shape) StepWeightBytes(tokens float64) float64 {
	w := s.FixedBytes()
	if s.MoE != nil {
		w += s.RoutedBytes() * (1 - math.Pow(1-float64(s.MoE.TopK)/float64(s.MoE.Experts), tokens))
	}
	return w
}

// KVBytesPerToken is what one cached token takes, over all layers, in one copy.
func (s *Shape) KVBytesPerToken(f KVFormat) float64 {
	if s.MLA != nil {
		return float64(s.Layers) * (s.latentBytes(f) + s.indexBytes())
	}
	return float64(s.Layers) * s.gqaTokenBytes(f)
}

// KVReadBytes is what one decode token reads from the cache at that context,
// over all layers, in one copy.
func (s *Shape) KVReadBytes(f KVFormat, context float64) float64 {
	if s.MLA == nil {
		return s.windowed(context) * s.gqaTokenBytes(f)
	}
	seen := context
	if s.MLA.Indexer != nil {
		seen = min(context, float64(s.MLA.Indexer.TopK))
	}
	return float64(s.Layers) * (s.latentBytes(f)*seen + s.indexBytes()*context)
}

// priorReadBytes is what a chunk of a prompt reads of the tokens before it.
// Its queries choose different tokens under sparse attention, so that all of
// the latent is read.
func (s *Shape) priorReadBytes(f KVFormat, prior float64) float64 {
	if s.MLA != nil {
		return prior * s.KVBytesPerToken(f)
	}
	return s.KVReadBytes(f, prior)
}

// windowed sums over the layers the tokens that each sees of a context.
func (s *Shape) windowed(context float64) float64 {
	sum := 0.0
	for _, w := range s.GQA.Windows {
		seen := context
		if w.Tokens > 0 {
			seen = min(context, float64(w.Tokens))
		}
		sum += float64(w.Layers) * seen
	}
	return sum
}

func (s *Shape) gqaTokenBytes(f KVFormat) float64 {
	return float64(2*s.GQA.KVHeads*s.GQA.HeadDim) * f.elementBytes()
}

func (s *Shape) latentBytes(f KVFormat) float64 {
	if f == KVFP8DSMLA {
		// fp8 latent, one fp32 scale for 128 of it, bf16 rope part.
		return float64(s.MLA.KVRank) + float64(s.MLA.KVRank)/128*4 + float64(s.MLA.RopeDim)*2
	}
	return float64(s.MLA.latent()) * f.elementBytes()
}

func (s *Shape) indexBytes() float64 {
	if s.MLA == nil || s.MLA.Indexer == nil {
		return 0
	}
	return float64(s.MLA.Indexer.HeadDim) + 4
}

// AttentionFLOPs is what one decode token spends on attention at that
// context. MLA is counted in its absorbed form.
func (s *Shape) AttentionFLOPs(context float64) float64 {
	if s.MLA == nil {
		return 2 * float64(s.GQA.Heads) * float64(2*s.GQA.HeadDim) * s.windowed(context)
	}
	seen, index := context, 0.0
	if ix := s.MLA.Indexer; ix != nil {
		seen = min(context, float64(ix.TopK))
		index = 2 * float64(ix.Heads) * float64(ix.HeadDim) * context
	}
	absorbed := 2 * float64(s.MLA.Heads) * float64(s.MLA.latent()+s.MLA.KVRank) * seen
	return float64(s.Layers) * (absorbed + index)
}

// PrefillAttentionFLOPs is what prompt tokens start..end (end excluded) spend
// on causal attention. MLA is counted un-absorbed.
func (s *Shape) PrefillAttentionFLOPs(start, end int) float64 {
	if s.MLA == nil {
		perPair := 2 * float64(s.GQA.Heads) * float64(2*s.GQA.HeadDim)
		sum := 0.0
		for _, w := range s.GQA.Windows {
			sum += float64(w.Layers) * causalPairs(start, end, w.Tokens) * perPair
		}
		return sum
	}
	m, window, index := s.MLA, 0, 0.0
	if ix := m.Indexer; ix != nil {
		window = ix.TopK
		index = 2 * float64(ix.Heads) * float64(ix.HeadDim) * causalPairs(start, end, 0)
	}
	perPair := 2 * float64(m.Heads) * float64(m.NopeDim+m.RopeDim+m.ValueDim)
	return float64(s.Layers) * (perPair*causalPairs(start, end, window) + index)
}

// causalPairs counts query-key pairs of queries start..end, each seeing at
// most window last keys (0: all).
func causalPairs(start, end, window int) float64 {
	return pairsUpTo(end, window) - pairsUpTo(start, window)
}

func pairsUpTo(n, window int) float64 {
	if window == 0 || n <= window {
		return float64(n) * float64(n+1) / 2
	}
	return float64(window)*float64(window+1)/2 + float64(n-window)*float64(window)
}

// lmHead counts the parameters of the LM head.
func (s *Shape) lmHead() float64 { return float64(s.Vocab) * float64(s.Hidden) }

// attentionBytes are the weights that a data-parallel rank repeats.
func (s *Shape) attentionBytes() float64 {
	sum := 0.0
	for _, c := range s.Fixed {
		if c.Name == "attn" || c.Name == "indexer" {
			sum += c.Bytes()
		}
	}
	return sum
}

// MainFormat is the format of most of the parameters, which names the
// checkpoint ("nvfp4").
func (s *Shape) MainFormat() Format {
	byFormat := map[Format]int64{}
	best := BF16
	for _, c := range s.components() {
		byFormat[c.Format] += c.Params
	}
	for _, f := range []Format{BF16, FP8, FP8Block, NVFP4, MXFP4, INT8, AWQ4} {
		if byFormat[f] > byFormat[best] {
			best = f
		}
	}
	return best
}

func (s *Shape) components() []Component {
	all := append([]Component(nil), s.Fixed...)
	if s.MoE != nil {
		all = append(all, s.MoE.Routed...)
	}
	return all
}

func (s *Shape) check() error {
	if (s.GQA == nil) == (s.MLA == nil) {
		return fmt.Errorf("model shape %q: exactly one of GQA and MLA must be set", s.Name)
	}
	if s.Layers <= 0 || s.Hidden <= 0 || s.Vocab <= 0 || s.MaxLen <= 0 || len(s.Fixed) == 0 {
		return fmt.Errorf("model shape %q: layers, hidden size, vocabulary, maximum length and parameters must all be positive", s.Name)
	}
	if s.MoE != nil && (s.MoE.Experts <= 0 || s.MoE.TopK <= 0 || s.MoE.TopK > s.MoE.Experts) {
		return fmt.Errorf("model shape %q: %d of %d experts per token makes no sense", s.Name, s.MoE.TopK, s.MoE.Experts)
	}
	return nil
}

func sumParams(cs []Component) int64 {
	var sum int64
	for _, c := range cs {
		sum += c.Params
	}
	return sum
}

func sumBytes(cs []Component) float64 {
	sum := 0.0
	for _, c := range cs {
		sum += c.Bytes()
	}
	return sum
}
