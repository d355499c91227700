package roofline

import (
	"encoding/json"
	"fmt"

	"pipeline/internal/digest"
	"pipeline/internal/sol"
	"pipeline/lake/perf"
)

// SweepSchema names the shape of a Sweep.
const SweepSchema = "roofline/v1"

// A Sweep is roofline.json: one bundle, read and judged.
type Sweep struct {
	Schema         string             `json:"schema"`
	Bundle         string             `json:"bundle"` // sha256:… of its manifest
	Hardware       string             `json:"hardware"`
	CeilingKey     string             `json:"ceiling_key"`
	CeilingsSHA256 string             `json:"ceilings_sha256"`
	ComputeCap     string             `json:"compute_capability,omitempty"`
	Ceilings       map[string]float64 `json:"ceilings"` // by key path, as the file has them
	TensorParallel int                `json:"tensor_parallel"`
	KVCacheDtype   string             `json:"kv_cache_dtype,omitempty"`
	CacheMode      string             `json:"cache_mode"`
	Simulated      bool               `json:"simulated"`
	NotAnalysed    string             `json:"not_analysed,omitempty"` // why no cell has an analysis
	Notes          []string           `json:"notes,omitempty"`        // what the analysis took for granted
	Points         []Point            `json:"points"`
}

// A Point is one cell of a sweep.
type Point struct {
	Cell        string            `json:"cell"`
	Kind        string            `json:"kind"`
	C           int               `json:"c"`
	ISL         int               `json:"isl"`
	OSL         int               `json:"osl"`
	Trial       int               `json:"trial"`
	Measurement *perf.Measurement `json:"measurement,omitempty"` // nil: there is none, for the reason
	Reason      string            `json:"reason,omitempty"`
	Analysis    *Analysis         `json:"analysis,omitempty"`
	NotAnalysed string            `json:"not_analysed,omitempty"`
	DCGM        *DCGM             `json:"dcgm,omitempty"`
	NoDCGM      string            `json:"no_dcgm,omitempty"` // why there are no counters
}

// DCGM is what GPU counters say of a cell: means over its GPUs, of what was
// collected inside its steady window. Ratios are 0 to 1.
type DCGM struct {
	DRAM    *float64 `json:"dram,omitempty"`
	DRAMSd  *float64 `json:"dram_sd,omitempty"` // over collections, of the mean over GPUs
	Tensor  *float64 `json:"tensor,omitempty"`
	SM      *float64 `json:"sm,omitempty"`
	GR      *float64 `json:"gr,omitempty"`
	NVLTx   *float64 `json:"nvl_tx_Bps,omitempty"` // bytes a second of one GPU
	NVLRx   *float64 `json:"nvl_rx_Bps,omitempty"`
	NEff    int      `json:"n_eff"` // collections kept, of the GPU and field that has the fewest
	GPUs    int      `json:"gpus"`
	Quality string   `json:"quality"` // of package dcgm: ok, low, thin, failed or none
	Rigor   string   `json:"rigor"`   // L3, or none: what is not L3 is in no answer
	Source  string   `json:"source"`  // dcgmi-dmon or dcgm-exporter-scrape
	Gap     string   `json:"gap,omitempty"`
	Checks  []string `json:"checks,omitempty"` // those that warn or fail
	Window  string   `json:"window"`           // that was kept
}

// A RowExtra is what the row of a cell keeps beside its columns, as
// extra_json.roofline.
type RowExtra struct {
	Kind           string             `json:"kind"`
	Cell           string             `json:"cell"`   // its name in the bundle
	Bundle         string             `json:"bundle"` // sha256:… of its manifest
	Hardware       string             `json:"hardware"`
	ComputeCap     string             `json:"compute_capability,omitempty"`
	Ceilings       map[string]float64 `json:"ceilings"` // by key path
	TensorParallel int                `json:"tensor_parallel"`
	KVCacheDtype   string             `json:"kv_cache_dtype,omitempty"`
	*Analysis
	NotAnalysed string   `json:"not_analysed,omitempty"`
	DCGM        *DCGM    `json:"dcgm,omitempty"`
	NoDCGM      string   `json:"no_dcgm,omitempty"`
	Notes       []string `json:"notes,omitempty"`
}

// Extra is what the row of a point keeps.
func (s *Sweep) Extra(p *Point) RowExtra {
	return RowExtra{
		Kind: p.Kind, Cell: p.Cell, Bundle: s.Bundle, Hardware: s.Hardware, ComputeCap: s.ComputeCap, Ceilings: s.Ceilings,
		TensorParallel: s.TensorParallel, KVCacheDtype: s.KVCacheDtype, Analysis: p.Analysis, NotAnalysed: p.NotAnalysed,
		DCGM: p.DCGM, NoDCGM: p.NoDCGM, Notes: s.Notes,
	}
}

// Analyse adds the analysis to a point that has a measurement, or why there is
// none.
func (p *Point) Analyse(d *sol.Deployment) {
	a, err := Analyse(p.Kind, p.Measurement, d)
	if err != nil {
		p.NotAnalysed = err.Error()
		return
	}
	p.Analysis = a
	p.Measurement.Doubts = append(p.Measurement.Doubts, a.check()...)
}

// JSON writes the sweep as canonical JSON.
func (s *Sweep) JSON() ([]byte, error) {
	b, err := digest.Canonical(s)
	if err != nil {
		return nil, fmt.Errorf("roofline: %w", err)
	}
	return append(b, '\n'), nil
}

// ReadSweep reads roofline.json.
func ReadSweep(text []byte) (*Sweep, error) {
	var s Sweep
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("roofline: %w", err)
	}
	if s.Schema != SweepSchema {
		return nil, fmt.Errorf("roofline: the schema is %.40q, want %q", s.Schema, SweepSchema)
	}
	for i, p := range s.Points {
		if p.Kind != Decode && p.Kind != Prefill || p.C < 1 || p.ISL < 1 || p.OSL < 1 {
			return nil, fmt.Errorf("roofline: points[%d] is a %.20q of c=%d isl=%d osl=%d", i, p.Kind, p.C, p.ISL, p.OSL)
		}
		if p.Measurement == nil && p.Reason == "" {
			return nil, fmt.Errorf("roofline: points[%d] (%s) has neither a measurement nor a reason", i, p.Cell)
		}
	}
	return &s, nil
}
