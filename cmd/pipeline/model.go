package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"pipeline/configs"
	"pipeline/internal/sol"
)

func (a *app) modelCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "model",
		Short: "Show what serving a model costs: parameters, bytes, KV cache",
		Args:  args(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.modelShowCmd(), a.modelLsCmd())
	return cmd
}

func (a *app) modelLsCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the models whose shape ships with pipeline",
		Args:  args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			rows := [][]string{{"NAME", "PARAMETERS", "ACTIVE", "WEIGHTS", "FORMAT"}}
			var shapes []modelShape
			for _, name := range configs.Models() {
				s, err := sol.BuiltinShape(name)
				if err != nil {
					return failed(err)
				}
				m := shapeOf(s)
				shapes = append(shapes, m)
				rows = append(rows, []string{name, billions(float64(m.Parameters)), billions(m.Active), gb(m.WeightBytes), string(s.MainFormat())})
			}
			if a.isJSON() {
				return a.json(shapes)
			}
			table(a.stdout, rows)
			return nil
		},
	}
}

func (a *app) modelShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME|config.json",
		Short: "Show parameters, bytes by component and KV bytes a token of a model",
		Long: `Reads a model's shape: one that ships with pipeline, by its name, or the config.json of a HuggingFace repository
(or the folder it lies in). An hf_quant_config.json beside it says which parts are quantised: a label alone does not.`,
		Example: `  pipeline model show glm-5.1-nvfp4
  pipeline model show ~/models/GLM-5.1/config.json --output json`,
		Args: args(cobra.ExactArgs(1)),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return configs.Models(), cobra.ShellCompDirectiveDefault
		},
		RunE: func(_ *cobra.Command, given []string) error {
			s, err := findShape(given[0])
			if err != nil {
				return usage(err)
			}
			if a.isJSON() {
				return a.json(shapeOf(s))
			}
			a.printShape(s)
			return nil
		},
	}
}

// findShape takes the name of a shape that ships with pipeline, else a path.
func findShape(word string) (*sol.Shape, error) {
	s, err := sol.BuiltinShape(word)
	if err == nil {
		return s, nil
	}
	if _, statErr := os.Stat(word); statErr != nil {
		return nil, hint(err, "or give the path of a config.json")
	}
	return sol.ReadShape(word)
}

// A modelShape is what --output json prints.
type modelShape struct {
	Name        string             `json:"name"`
	ModelType   string             `json:"model_type"`
	Layers      int                `json:"layers"`
	Hidden      int                `json:"hidden_size"`
	Vocab       int                `json:"vocab_size"`
	MaxLen      int                `json:"max_position_embeddings"`
	Attention   string             `json:"attention"`
	QuantMap    string             `json:"quant_map"`
	Parameters  int64              `json:"parameters"`
	Active      float64            `json:"parameters_active"`
	WeightBytes float64            `json:"weight_bytes"`
	FixedBytes  float64            `json:"fixed_bytes"`
	RoutedBytes float64            `json:"routed_bytes"`
	Experts     int                `json:"experts,omitempty"`
	TopK        int                `json:"experts_per_token,omitempty"`
	Components  []modelPart        `json:"components"`
	KVDefault   sol.KVFormat       `json:"kv_cache_default"`
	KVStored    map[string]float64 `json:"kv_bytes_per_token"`         // by format, one copy
	KVRead      map[string]float64 `json:"kv_bytes_read_at_8k_tokens"` // by format, one copy, by one decode token
}

type modelPart struct {
	Name       string     `json:"name"`
	Parameters int64      `json:"parameters"`
	Format     sol.Format `json:"format"`
	Bytes      float64    `json:"bytes"`
	Read       string     `json:"read"` // when a step reads it
}

const readContext = 8192 // tokens, at which KV reads are shown

func shapeOf(s *sol.Shape) modelShape {
	m := modelShape{
		Name: s.Name, ModelType: s.ModelType, Layers: s.Layers, Hidden: s.Hidden, Vocab: s.Vocab, MaxLen: s.MaxLen,
		Attention: s.AttentionText(), QuantMap: s.QuantMap,
		Parameters: s.TotalParams(), Active: s.ActiveParams(), WeightBytes: s.WeightBytes(), FixedBytes: s.FixedBytes(), RoutedBytes: s.RoutedBytes(),
		KVDefault: s.KVDefault, KVStored: map[string]float64{}, KVRead: map[string]float64{},
	}
	add := func(c sol.Component, read string) {
		m.Components = append(m.Components, modelPart{c.Name, c.Params, c.Format, c.Bytes(), read})
	}
	for _, c := range s.Fixed {
		add(c, "each step")
	}
	if s.MoE != nil {
		m.Experts, m.TopK = s.MoE.Experts, s.MoE.TopK
		for _, c := range s.MoE.Routed {
			add(c, "as touched")
		}
	}
	if read := "a row a token"; s.TiedEmbedding {
		add(s.Embedding, read+"; the same table as lm_head")
	} else {
		add(s.Embedding, read)
	}
	for _, f := range kvFormats(s) {
		m.KVStored[string(f)] = s.KVBytesPerToken(f)
		m.KVRead[string(f)] = s.KVReadBytes(f, readContext)
	}
	return m
}

// kvFormats are those that engines have for the attention of a shape.
func kvFormats(s *sol.Shape) []sol.KVFormat {
	formats := []sol.KVFormat{sol.KVBF16, sol.KVFP8}
	if s.MLA != nil && s.MLA.Indexer != nil {
		formats = append(formats, sol.KVFP8DSMLA)
	}
	return formats
}

func (a *app) printShape(s *sol.Shape) {
	m := shapeOf(s)
	a.printf("%s (%s): %d layers, hidden size %d, vocabulary %s, at most %s tokens\n", m.Name, m.ModelType, m.Layers, m.Hidden, thousands(float64(m.Vocab)), thousands(float64(m.MaxLen)))
	a.printf("parameters  %s, of which a token uses %s\n", thousands(float64(m.Parameters)), thousands(m.Active))
	if s.MoE != nil {
		a.printf("experts     %d of %d a token, in %d of %d layers\n", m.TopK, m.Experts, s.MoE.Layers, m.Layers)
	}
	a.printf("weights     %s in memory; a step reads %s whatever its batch%s\n", gb(m.WeightBytes), gb(m.FixedBytes), expertText(m))
	a.printf("quant map   %s\n", m.QuantMap)
	a.printf("attention   %s\n\n", m.Attention)
	rows := [][]string{{"COMPONENT", "PARAMETERS", "FORMAT", "BYTES", "READ"}}
	for _, c := range m.Components {
		rows = append(rows, []string{c.Name, thousands(float64(c.Parameters)), string(c.Format), gb(c.Bytes), c.Read})
	}
	table(a.stdout, rows)
	a.printf("\n")
	rows = [][]string{{"KV CACHE", "STORED A TOKEN", fmt.Sprintf("READ BY A TOKEN AT %d", readContext), ""}}
	for _, f := range kvFormats(s) {
		mark := ""
		if f == s.KVDefault {
			mark = "what auto means"
		}
		rows = append(rows, []string{string(f), thousands(m.KVStored[string(f)]) + " B", gb(m.KVRead[string(f)]), mark})
	}
	table(a.stdout, rows)
	a.printf("\nBytes of the cache are of one copy, over all layers; tensor parallelism may hold several (docs/sol.md).\n")
}

func expertText(m modelShape) string {
	if m.Experts == 0 {
		return ""
	}
	return fmt.Sprintf(", and of %s of experts what its tokens touch", gb(m.RoutedBytes))
}

func gb(bytes float64) string {
	if bytes < 1e9 {
		return fmt.Sprintf("%.3f MB", bytes/1e6)
	}
	return fmt.Sprintf("%.3f GB", bytes/1e9)
}

func billions(n float64) string { return fmt.Sprintf("%.1f B", n/1e9) }

func thousands(v float64) string {
	digits := fmt.Sprintf("%.0f", v)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}
