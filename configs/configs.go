// Package configs holds the figures that the project takes from outside: the
// ceilings of GPUs and the shapes of models, and the thresholds by which next
// levers are ranked. They are files, so that people
// read, check and correct them without reading Go, and they are embedded, so
// that the binary works alone. The package hands out bytes and parses nothing:
// internal/sol reads the ceilings and the shapes. SOURCES.md says where each
// file comes from.
package configs

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

//go:embed sol-ceilings.yaml frontier.yaml models
var files embed.FS

// CeilingsFile is the name by which messages cite the embedded ceilings.
const CeilingsFile = "configs/sol-ceilings.yaml"

// Ceilings returns the text of sol-ceilings.yaml (schema sol-ceilings/v1).
func Ceilings() []byte {
	src, err := files.ReadFile("sol-ceilings.yaml")
	if err != nil {
		// The file is part of the build, so this cannot happen.
		panic(err)
	}
	return src
}

// FrontierFile is the name by which messages cite the embedded frontier.
const FrontierFile = "configs/frontier.yaml"

// Frontier returns the text of frontier.yaml (schema frontier/v1).
func Frontier() []byte {
	src, err := files.ReadFile("frontier.yaml")
	if err != nil {
		panic(err) // part of the build, as in Ceilings
	}
	return src
}

// Model is a model's description as HuggingFace repositories keep it.
type Model struct {
	Name        string // folder name, such as "llama-3.1-8b"
	Config      []byte // config.json
	QuantConfig []byte // hf_quant_config.json, nil if the model has none
}

// FindModel returns the embedded model of that name. The error of an unknown
// name lists the known ones.
func FindModel(name string) (Model, error) {
	config, err := files.ReadFile("models/" + name + "/config.json")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return Model{}, fmt.Errorf("model shape %q is not in configs/models (known: %s)", name, strings.Join(Models(), ", "))
	}
	if err != nil {
		return Model{}, fmt.Errorf("read model shape %q: %w", name, err)
	}
	quant, err := files.ReadFile("models/" + name + "/hf_quant_config.json")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Model{}, fmt.Errorf("read quant map of %q: %w", name, err)
	}
	return Model{Name: name, Config: config, QuantConfig: quant}, nil
}

// Models returns the names of the embedded models, sorted.
func Models() []string {
	entries, err := files.ReadDir("models")
	if err != nil {
		panic(err) // part of the build, as in Ceilings
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names
}
