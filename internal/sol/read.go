package sol

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ReadShape reads a model's config.json, or the folder that it lies in. An
// hf_quant_config.json beside it is its quant map. The shape is named after
// the folder.
func ReadShape(path string) (*Shape, error) {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		path = filepath.Join(path, "config.json")
	}
	config, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a model's shape: %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("read a model's shape: %w", err)
	}
	quant, err := os.ReadFile(filepath.Join(dir, "hf_quant_config.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read a model's quant map: %w", err)
	}
	return ParseShape(filepath.Base(dir), config, quant)
}

// ReadCeilings returns the ceilings that ship with the project, with the file
// at path laid over them unless path is empty. name is what messages call it.
func ReadCeilings(name, path string) (*Ceilings, error) {
	c, err := BuiltinCeilings()
	if err != nil || path == "" {
		return c, err
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read ceilings: %w", err)
	}
	return c.With(name, src)
}
