package roofline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"pipeline/internal/digest"
)

// A Writer makes a bundle in an empty folder.
type Writer struct {
	dir   string
	cells []CellRef
	files map[string]string
}

// NewWriter returns a writer of a bundle in dir.
func NewWriter(dir string) *Writer { return &Writer{dir: dir, files: map[string]string{}} }

// Dir is the folder of the bundle.
func (w *Writer) Dir() string { return w.dir }

// Put writes a file outside of cells, such as server/config.json.
func (w *Writer) Put(name string, text []byte) error {
	sum, err := w.write(name, text)
	if err == nil {
		w.files[name] = sum
	}
	return err
}

// PutCell writes the files of a cell, and its cell.yaml.
func (w *Writer) PutCell(c Cell, files map[string][]byte) error {
	ref := CellRef{ID: CellID(c), SHA256: map[string]string{}}
	all := maps.Clone(files)
	if all == nil {
		all = map[string][]byte{}
	}
	all[CellFile] = c.yaml()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		sum, err := w.write("cells/"+ref.ID+"/"+name, all[name])
		if err != nil {
			return err
		}
		ref.SHA256[name] = sum
	}
	w.cells = append(w.cells, ref)
	return nil
}

func (w *Writer) write(name string, text []byte) (string, error) {
	path := filepath.Join(w.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("write bundle: %w", err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return "", fmt.Errorf("write bundle: %w", err)
	}
	return digest.Of(text).String(), nil
}

// Finish writes the manifest over all that was put.
func (w *Writer) Finish(m Manifest) error {
	m.Schema, m.Cells, m.Files = BundleSchema, w.cells, w.files
	text := m.yaml()
	if _, err := ParseManifest(ManifestFile, text); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	_, err := w.write(ManifestFile, text)
	return err
}

// A block writes the YAML of a struct, a key a line. Values are in the flow
// style, which for texts and numbers is JSON.
type block struct{ bytes.Buffer }

func (b *block) line(indent int, key string, v any) {
	switch x := v.(type) {
	case string:
		if x == "" {
			return
		}
	case int:
		if x == 0 {
			return
		}
	case int64:
		if x == 0 {
			return
		}
	}
	fmt.Fprintf(b, "%*s%s: %s\n", indent, "", key, flow(v))
}

// section writes what fill does under a key, and nothing if that is nothing.
func (b *block) section(indent int, key string, fill func(*block)) {
	var inner block
	fill(&inner)
	if inner.Len() > 0 {
		fmt.Fprintf(b, "%*s%s:\n", indent, "", key)
		b.Write(inner.Bytes())
	}
}

func (b *block) texts(indent int, key string, m map[string]string) {
	b.section(indent, key, func(b *block) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(b, "%*s%s: %s\n", indent+2, "", flow(k), flow(m[k]))
		}
	})
}

func flow(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("roofline: %T has no JSON: %v", v, err)) // texts and whole numbers do
	}
	return string(bytes.TrimSpace(b.Bytes()))
}

func (m *Manifest) yaml() []byte {
	var b block
	b.line(0, "schema", m.Schema)
	b.line(0, "campaign", m.Campaign)
	b.line(0, "created_at", m.CreatedAt)
	b.section(0, "tool", func(b *block) {
		b.line(2, "name", m.Tool.Name)
		b.line(2, "version", m.Tool.Version)
	})
	b.line(0, "simulated", m.Simulated)
	b.line(0, "hardware", m.Hardware)
	b.section(0, "model", func(b *block) {
		b.line(2, "name", m.Model.Name)
		b.line(2, "shape", m.Model.Shape)
		b.line(2, "revision", m.Model.Revision)
		b.line(2, "quant_map", m.Model.QuantMap)
	})
	b.section(0, "engine", func(b *block) {
		b.line(2, "name", m.Engine.Name)
		b.line(2, "version", m.Engine.Version)
		b.line(2, "image", m.Engine.Image)
		b.line(2, "image_digest", m.Engine.ImageDigest)
	})
	b.line(0, "tensor_parallel", m.TensorParallel)
	b.line(0, "pipeline_parallel", m.PipelineParallel)
	b.line(0, "data_parallel", m.DataParallel)
	b.line(0, "expert_parallel", m.ExpertParallel)
	b.line(0, "kv_cache_dtype", m.KVCacheDtype)
	b.line(0, "quant", m.Quant)
	b.line(0, "cache_mode", m.CacheMode)
	b.line(0, "trials", m.Trials)
	b.section(0, "sweeps", func(b *block) {
		if d := m.Sweeps.Decode; d != nil {
			fmt.Fprintf(b, "  decode: {c: %s, isl: %d, osl: %d}\n", flow(d.C), d.ISL, d.OSL)
		}
		if p := m.Sweeps.Prefill; p != nil {
			fmt.Fprintf(b, "  prefill: {isl: %s, c: %d}\n", flow(p.ISL), p.C)
		}
	})
	b.texts(0, "setting", m.Setting)
	if len(m.Notes) > 0 {
		b.line(0, "notes", m.Notes)
	}
	b.texts(0, "files", m.Files)
	if len(m.Cells) == 0 {
		b.line(0, "cells", []string{})
		return b.Bytes()
	}
	b.section(0, "cells", func(b *block) {
		for _, c := range m.Cells {
			fmt.Fprintf(b, "  - id: %s\n", flow(c.ID))
			b.texts(4, "sha256", c.SHA256)
		}
	})
	return b.Bytes()
}

func (c Cell) yaml() []byte {
	var b block
	b.line(0, "kind", c.Kind)
	b.line(0, "tp", c.TP)
	b.line(0, "dp", c.DP)
	b.line(0, "ep", c.EP)
	b.line(0, "pp", c.PP)
	b.line(0, "kv_cache_dtype", c.KVCacheDtype)
	b.line(0, "c", c.C)
	b.line(0, "isl", c.ISL)
	b.line(0, "osl", c.OSL)
	b.line(0, "num_prompts", c.NumPrompts)
	b.line(0, "cache_mode", c.CacheMode)
	b.line(0, "trial", c.Trial)
	b.line(0, "node", c.Node)
	if len(c.GPUUUIDs) > 0 {
		b.line(0, "gpu_uuids", c.GPUUUIDs)
	}
	b.line(0, "t_start_ns", c.StartNS)
	b.line(0, "t_end_ns", c.EndNS)
	fmt.Fprintf(&b, "exit_code: %d\n", c.ExitCode)
	b.line(0, "error", c.Error)
	return b.Bytes()
}

// YAML writes dmon.meta.yaml.
func (d DmonMeta) YAML() []byte {
	var b block
	b.line(0, "command", d.Command)
	if len(d.Fields) > 0 {
		b.line(0, "fields", d.Fields)
	}
	b.line(0, "delay_ms", d.DelayMS)
	b.line(0, "dcgm", d.DCGM)
	b.line(0, "driver", d.Driver)
	b.line(0, "host", d.Host)
	b.texts(0, "gpus", d.GPUs)
	return b.Bytes()
}
