package sol

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// hfConfig is the part of a HuggingFace config.json that decides cost. Other
// fields are not read: the file has hundreds, and new ones each month.
type hfConfig struct {
	ModelType        string   `json:"model_type"`
	Layers           int      `json:"num_hidden_layers"`
	Hidden           int      `json:"hidden_size"`
	Intermediate     int      `json:"intermediate_size"`
	Vocab            int      `json:"vocab_size"`
	MaxLen           int      `json:"max_position_embeddings"`
	Heads            int      `json:"num_attention_heads"`
	KVHeads          int      `json:"num_key_value_heads"`
	HeadDim          int      `json:"head_dim"`
	AttentionBias    bool     `json:"attention_bias"`
	TiedEmbedding    bool     `json:"tie_word_embeddings"`
	LayerTypes       []string `json:"layer_types"`
	SlidingWindow    int      `json:"sliding_window"`
	UseSlidingWindow *bool    `json:"use_sliding_window"`

	QRank    int `json:"q_lora_rank"`
	KVRank   int `json:"kv_lora_rank"`
	NopeDim  int `json:"qk_nope_head_dim"`
	RopeDim  int `json:"qk_rope_head_dim"`
	ValueDim int `json:"v_head_dim"`

	IndexHeads   int `json:"index_n_heads"`
	IndexHeadDim int `json:"index_head_dim"`
	IndexTopK    int `json:"index_topk"`

	ExpertsRouted int    `json:"n_routed_experts"`
	ExpertsQwen   int    `json:"num_experts"`
	ExpertsLocal  int    `json:"num_local_experts"`
	ExpertsShared int    `json:"n_shared_experts"`
	ExpertsPerTok int    `json:"num_experts_per_tok"`
	ExpertHidden  int    `json:"moe_intermediate_size"`
	FirstDense    int    `json:"first_k_dense_replace"`
	SparseStep    int    `json:"decoder_sparse_step"`
	MLPOnlyLayers []int  `json:"mlp_only_layers"`
	MoELayerFreq  int    `json:"moe_layer_freq"`
	TopKMethod    string `json:"topk_method"`

	Quant *hfQuant `json:"quantization_config"`

	TextConfig json.RawMessage `json:"text_config"`
}

// ParseShape reads a model's config.json and, if it has one, its
// hf_quant_config.json (nil otherwise). What the formulas of this package do
// not cover is refused by name, never guessed.
func ParseShape(name string, config, quantConfig []byte) (*Shape, error) {
	var c hfConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("read config.json of %q: %w", name, err)
	}
	quant, err := parseQuant(c.Quant, quantConfig)
	if err != nil {
		return nil, fmt.Errorf("read quant map of %q: %w", name, err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("config.json of %q: %w", name, err)
	}
	s := &Shape{
		Name: name, ModelType: c.ModelType, Layers: c.Layers, Hidden: c.Hidden, Vocab: c.Vocab, MaxLen: c.MaxLen,
		Embedding:     Component{"embedding", int64(c.Vocab) * int64(c.Hidden), BF16},
		TiedEmbedding: c.TiedEmbedding,
		KVDefault:     quant.kv, QuantMap: quant.source,
	}
	c.setAttention(s)
	parts := newParts()
	c.addLayers(parts, quant)
	parts.add("lm_head", int64(c.Vocab)*int64(c.Hidden), quant.format("lm_head"))
	s.Fixed = parts.fixed
	if c.experts() > 0 {
		s.MoE = &MoE{Experts: c.experts(), TopK: c.ExpertsPerTok, Layers: c.moeLayers(), Routed: parts.routed}
	}
	return s, s.check()
}

func (c *hfConfig) check() error {
	switch {
	case len(c.TextConfig) > 0:
		return fmt.Errorf("text_config: multi-modal configs are not covered; give the text model's own config")
	case c.Layers <= 0 || c.Hidden <= 0 || c.Vocab <= 0 || c.MaxLen <= 0 || c.Heads <= 0 || c.Intermediate <= 0:
		return fmt.Errorf("num_hidden_layers, hidden_size, intermediate_size, vocab_size, max_position_embeddings and num_attention_heads must all be there and positive")
	case c.MoELayerFreq > 1 || c.SparseStep > 1:
		return fmt.Errorf("moe_layer_freq and decoder_sparse_step other than 1 are not covered")
	case c.experts() > 0 && c.ExpertsPerTok <= 0:
		return fmt.Errorf("num_experts_per_tok is missing")
	case c.KVRank > 0 && (c.QRank <= 0 || c.NopeDim <= 0 || c.RopeDim <= 0 || c.ValueDim <= 0):
		return fmt.Errorf("kv_lora_rank without q_lora_rank, qk_nope_head_dim, qk_rope_head_dim and v_head_dim is not covered")
	}
	if err := c.checkSizes(); err != nil {
		return err
	}
	if !slices.Contains(covered(), c.ModelType) {
		return fmt.Errorf("model_type %q is not covered: its layers may cost otherwise than any of %s", c.ModelType, strings.Join(covered(), ", "))
	}
	if c.LayerTypes != nil && len(c.LayerTypes) != c.Layers {
		return fmt.Errorf("layer_types has %d entries for %d layers", len(c.LayerTypes), c.Layers)
	}
	for _, t := range c.LayerTypes {
		if t != "full_attention" && t != "sliding_attention" {
			return fmt.Errorf("layer_types: %q is not covered (full_attention, sliding_attention)", t)
		}
	}
	return nil
}

// covered lists the model types whose layers are what the formulas say: gated
// MLPs or experts of three matrices, GQA or MLA on every layer, and no expert,
// gate or recurrent state beside them. Another type may have all fields that
// are read here and still cost something else (shared experts under a name of
// their own, linear attention, an MLP of two matrices), so it is refused.
func covered() []string {
	return []string{"deepseek_v3", "deepseek_v32", "glm_moe_dsa", "gpt_oss", "kimi_k2", "llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe"}
}

// checkSizes bounds every dimension, so that no product of them overflows and
// no loop over layers runs long, whatever the file says.
func (c *hfConfig) checkSizes() error {
	for _, d := range []struct {
		name       string
		value, max int
	}{
		{"num_hidden_layers", c.Layers, 1 << 10}, {"vocab_size", c.Vocab, 1 << 22}, {"max_position_embeddings", c.MaxLen, 1 << 30},
		{"hidden_size", c.Hidden, 1 << 19}, {"intermediate_size", c.Intermediate, 1 << 19}, {"moe_intermediate_size", c.ExpertHidden, 1 << 19},
		{"num_attention_heads", c.Heads, 1 << 12}, {"num_key_value_heads", c.KVHeads, 1 << 12}, {"head_dim", c.HeadDim, 1 << 12},
		{"q_lora_rank", c.QRank, 1 << 19}, {"kv_lora_rank", c.KVRank, 1 << 19}, {"qk_nope_head_dim", c.NopeDim, 1 << 12},
		{"qk_rope_head_dim", c.RopeDim, 1 << 12}, {"v_head_dim", c.ValueDim, 1 << 12}, {"sliding_window", c.SlidingWindow, 1 << 30},
		{"index_n_heads", c.IndexHeads, 1 << 12}, {"index_head_dim", c.IndexHeadDim, 1 << 12}, {"index_topk", c.IndexTopK, 1 << 30},
		{"number of experts", c.experts(), 1 << 12}, {"n_shared_experts", c.ExpertsShared, 1 << 12},
	} {
		if d.value < 0 || d.value > d.max {
			return fmt.Errorf("%s is %d: not between 0 and %d", d.name, d.value, d.max)
		}
	}
	return nil
}

func (c *hfConfig) experts() int { return max(c.ExpertsRouted, c.ExpertsQwen, c.ExpertsLocal) }

func (c *hfConfig) headDim() int {
	if c.HeadDim > 0 {
		return c.HeadDim
	}
	return c.Hidden / c.Heads
}

func (c *hfConfig) kvHeads() int {
	if c.KVHeads > 0 {
		return c.KVHeads
	}
	return c.Heads
}

func (c *hfConfig) setAttention(s *Shape) {
	if c.KVRank > 0 {
		s.MLA = &MLA{Heads: c.Heads, QRank: c.QRank, KVRank: c.KVRank, NopeDim: c.NopeDim, RopeDim: c.RopeDim, ValueDim: c.ValueDim}
		if c.IndexTopK > 0 {
			s.MLA.Indexer = &Indexer{Heads: c.IndexHeads, HeadDim: c.IndexHeadDim, TopK: c.IndexTopK}
		}
		return
	}
	s.GQA = &GQA{Heads: c.Heads, KVHeads: c.kvHeads(), HeadDim: c.headDim(), Windows: c.windows()}
}

// windows groups the layers by what they see. Without layer_types, a
// sliding_window counts for all layers unless use_sliding_window says no.
func (c *hfConfig) windows() []Window {
	sliding := 0
	for _, t := range c.LayerTypes {
		if t == "sliding_attention" {
			sliding++
		}
	}
	if c.LayerTypes == nil && c.SlidingWindow > 0 && (c.UseSlidingWindow == nil || *c.UseSlidingWindow) {
		sliding = c.Layers
	}
	var windows []Window
	if sliding > 0 {
		windows = append(windows, Window{sliding, c.SlidingWindow})
	}
	if full := c.Layers - sliding; full > 0 {
		windows = append(windows, Window{full, 0})
	}
	return windows
}

// parts gathers parameters by component and format, in order of appearance.
type parts struct{ fixed, routed []Component }

func newParts() *parts { return &parts{} }

func (p *parts) add(name string, params int64, f Format) { addTo(&p.fixed, name, params, f) }

func addTo(list *[]Component, name string, params int64, f Format) {
	for i, c := range *list {
		if c.Name == name && c.Format == f {
			(*list)[i].Params += params
			return
		}
	}
	*list = append(*list, Component{name, params, f})
}

// addLayers counts the parameters of all layers, matrix by matrix, because a
// quant map excludes single matrices. MTP layers are no part of the model
// that serves without speculation.
func (c *hfConfig) addLayers(p *parts, q quantMap) {
	for layer := range c.Layers {
		prefix := fmt.Sprintf("model.layers.%d.", layer)
		if c.KVRank > 0 {
			c.addMLA(p, q, prefix)
		} else {
			c.addGQA(p, q, prefix)
		}
		c.addMLP(p, q, prefix, layer)
		p.add("norm", 2*int64(c.Hidden), BF16)
	}
	p.add("norm", int64(c.Hidden), BF16)
}

func (c *hfConfig) addGQA(p *parts, q quantMap, prefix string) {
	d, h, k, hd := int64(c.Hidden), int64(c.Heads), int64(c.kvHeads()), int64(c.headDim())
	p.add("attn", d*h*hd, q.format(prefix+"self_attn.q_proj"))
	p.add("attn", d*k*hd, q.format(prefix+"self_attn.k_proj"))
	p.add("attn", d*k*hd, q.format(prefix+"self_attn.v_proj"))
	p.add("attn", h*hd*d, q.format(prefix+"self_attn.o_proj"))
	if c.AttentionBias {
		p.add("attn", h*hd+2*k*hd+d, BF16)
	}
	switch c.ModelType {
	case "gpt_oss":
		p.add("attn", h, BF16) // attention sinks
	case "qwen2":
		if !c.AttentionBias { // its config has no such field, and the biases of q, k and v
			p.add("attn", h*hd+2*k*hd, BF16)
		}
	case "qwen3", "qwen3_moe":
		p.add("norm", 2*hd, BF16) // q_norm and k_norm
	}
}

func (c *hfConfig) addMLA(p *parts, q quantMap, prefix string) {
	d, h := int64(c.Hidden), int64(c.Heads)
	rq, r, dn, dr, dv := int64(c.QRank), int64(c.KVRank), int64(c.NopeDim), int64(c.RopeDim), int64(c.ValueDim)
	p.add("attn", d*rq, q.format(prefix+"self_attn.q_a_proj"))
	p.add("attn", rq*h*(dn+dr), q.format(prefix+"self_attn.q_b_proj"))
	p.add("attn", d*(r+dr), q.format(prefix+"self_attn.kv_a_proj_with_mqa"))
	p.add("attn", r*h*(dn+dv), q.format(prefix+"self_attn.kv_b_proj"))
	p.add("attn", h*dv*d, q.format(prefix+"self_attn.o_proj"))
	p.add("norm", rq+r, BF16)
	if c.IndexTopK > 0 {
		ih, ihd := int64(c.IndexHeads), int64(c.IndexHeadDim)
		// The indexer and its key norm (weight and bias) stay bf16.
		p.add("indexer", rq*ih*ihd+d*ihd+d*ih+2*ihd, BF16)
	}
}

// dense reports whether a layer of a mixture of experts has a plain MLP.
func (c *hfConfig) dense(layer int) bool {
	return layer < c.FirstDense || slices.Contains(c.MLPOnlyLayers, layer)
}

func (c *hfConfig) moeLayers() int {
	n := 0
	for layer := range c.Layers {
		if !c.dense(layer) {
			n++
		}
	}
	return n
}

func (c *hfConfig) addMLP(p *parts, q quantMap, prefix string, layer int) {
	d, e := int64(c.Hidden), int64(c.experts())
	if e == 0 {
		p.add("mlp", 3*d*int64(c.Intermediate), q.format(prefix+"mlp.gate_proj"))
		return
	}
	if c.dense(layer) {
		p.add("dense_mlp", 3*d*int64(c.Intermediate), q.format(prefix+"mlp.gate_proj"))
		return
	}
	fe := int64(c.ExpertHidden)
	if fe == 0 {
		fe = int64(c.Intermediate)
	}
	addTo(&p.routed, "routed", e*3*d*fe, q.format(prefix+"mlp.experts.0.gate_proj"))
	if c.ExpertsShared > 0 {
		p.add("shared", int64(c.ExpertsShared)*3*d*fe, q.format(prefix+"mlp.shared_experts.gate_proj"))
	}
	router := d * e
	switch {
	case c.ModelType == "gpt_oss":
		router += e
		addTo(&p.routed, "routed_bias", e*(2*fe+d), BF16)
	case c.TopKMethod == "noaux_tc":
		router += e // e_score_correction_bias
	}
	p.add("router", router, BF16)
}
