package profile

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"pipeline/internal/digest"
)

// Schema names the shape of a Profile.
const Schema = "profile/v1"

// Levels of evidence that a profile gives.
const (
	L4 = "L4" // hardware counters of launches
	L1 = "L1" // shares of GPU time
)

// A Profile is profile.json.
type Profile struct {
	Schema   string    `json:"schema"`
	GPUTime  *GPUTime  `json:"gpu_time,omitempty"`
	Counters *Counters `json:"counters,omitempty"`
	Gaps     []string  `json:"gaps,omitempty"` // what was asked for and is not there, and why
}

// Rigor is the level of evidence of the profile, "" if it holds none.
func (p *Profile) Rigor() string {
	switch {
	case p.Counters != nil && p.Counters.Launches > 0:
		return L4
	case p.GPUTime != nil && p.GPUTime.Total > 0:
		return L1
	}
	return ""
}

// Units of GPU time.
const (
	Samples     = "samples" // of a sampling profiler: shares, and no time
	Nanoseconds = "ns"
)

// GPUTime says where the time of the GPUs went.
type GPUTime struct {
	Source     string  `json:"source"` // the tool, or the format it was read from
	SHA256     string  `json:"sha256"` // of the text it was read from
	Unit       string  `json:"unit"`   // samples or ns
	Total      float64 `json:"total"`
	Categories []Share `json:"categories"`            // largest first
	Kernels    []Share `json:"top_kernels,omitempty"` // the largest, at most MostKernels
	Distinct   int     `json:"distinct_kernels,omitempty"`
	GPUs       []Share `json:"per_gpu,omitempty"` // by UUID or name, where the source tells
}

// MostKernels is how many kernels a Profile lists.
const MostKernels = 20

// A Share is a part of the total.
type Share struct {
	Name     string  `json:"name"`
	Category string  `json:"category,omitempty"` // of a kernel
	Amount   float64 `json:"amount"`
	Share    float64 `json:"share"` // of the total, 0 to 1
}

// An Entry is one amount of time as a source gives it: of a kernel, or of a
// category if the source has only those.
type Entry struct {
	Kernel, Category, GPU string
	Amount                float64
}

// NewGPUTime sums entries. Those without a category are classified by their
// kernel's name.
func NewGPUTime(source, unit string, text []byte, entries []Entry, c *Classifier) (*GPUTime, error) {
	g := &GPUTime{Source: source, SHA256: digest.Of(text).String(), Unit: unit}
	categories, kernels, gpus := map[string]float64{}, map[[2]string]float64{}, map[string]float64{}
	for _, e := range entries {
		if e.Amount < 0 || math.IsNaN(e.Amount) || math.IsInf(e.Amount, 0) {
			return nil, fmt.Errorf("%s: the amount of %q is %g", source, cmp.Or(e.Kernel, e.Category), e.Amount)
		}
		category := e.Category
		if category == "" {
			category, _ = c.Category(e.Kernel)
		}
		g.Total += e.Amount
		categories[category] += e.Amount
		if e.Kernel != "" || e.Category == "" {
			kernels[[2]string{cmp.Or(e.Kernel, Unresolved), category}] += e.Amount
		}
		if e.GPU != "" {
			gpus[e.GPU] += e.Amount
		}
	}
	if math.IsInf(g.Total, 0) {
		return nil, fmt.Errorf("%s: the amounts are too large to add", source)
	}
	for name, amount := range categories {
		g.Categories = append(g.Categories, Share{Name: name, Amount: amount})
	}
	for key, amount := range kernels {
		g.Kernels = append(g.Kernels, Share{Name: key[0], Category: key[1], Amount: amount})
	}
	for name, amount := range gpus {
		g.GPUs = append(g.GPUs, Share{Name: name, Amount: amount})
	}
	g.Distinct = len(g.Kernels)
	for _, list := range [][]Share{g.Categories, g.Kernels, g.GPUs} {
		rank(list, g.Total)
	}
	g.Kernels = g.Kernels[:min(len(g.Kernels), MostKernels)]
	return g, nil
}

func rank(list []Share, total float64) {
	slices.SortFunc(list, func(a, b Share) int {
		return cmp.Or(cmp.Compare(b.Amount, a.Amount), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Category, b.Category))
	})
	for i := range list {
		if total > 0 {
			list[i].Share = list[i].Amount / total
		}
	}
}

// Counters are hardware counters over launches of kernels.
type Counters struct {
	Source     string             `json:"source"`
	SHA256     string             `json:"sha256"`
	Launches   int                `json:"launches"`
	DurationNS float64            `json:"duration_ns"` // of all launches, each replayed alone
	Peaks                         // over all launches
	DRAMBytes  *float64           `json:"dram_bytes,omitempty"`
	TensorOps  map[string]float64 `json:"tensor_ops,omitempty"` // by input type; nil if no counter of them was collected
	Categories []KernelCounters   `json:"categories"`           // longest first
	Kernels    []KernelCounters   `json:"top_kernels"`          // the longest, at most MostKernels
}

// KernelCounters are the counters of a kernel, or of a category of them.
type KernelCounters struct {
	Name       string  `json:"name"`
	Category   string  `json:"category,omitempty"`
	Launches   int     `json:"launches"`
	DurationNS float64 `json:"duration_ns"`
	Share      float64 `json:"share"` // of the duration of all launches
	Peaks
	TensorOps map[string]float64 `json:"tensor_ops,omitempty"`
}

// Peaks are shares of peak in percent, each a mean weighted by duration over
// the launches that have it; nil if none has.
type Peaks struct {
	SMPct     *float64 `json:"sm_pct,omitempty"`
	MemoryPct *float64 `json:"memory_pct,omitempty"`
	DRAMPct   *float64 `json:"dram_pct,omitempty"`
	L2Pct     *float64 `json:"l2_pct,omitempty"`
	TensorPct *float64 `json:"tensor_pct,omitempty"`
}

// JSON writes the profile as canonical JSON.
func (p *Profile) JSON() ([]byte, error) {
	b, err := digest.Canonical(p)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	return append(b, '\n'), nil
}

// Read reads profile.json.
func Read(text []byte) (*Profile, error) {
	var p Profile
	if err := json.Unmarshal(text, &p); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if p.Schema != Schema {
		return nil, fmt.Errorf("profile: the schema is %.40q, want %q", p.Schema, Schema)
	}
	if p.GPUTime == nil && p.Counters == nil && len(p.Gaps) == 0 {
		return nil, errors.New("profile: it holds neither gpu_time, nor counters, nor a gap")
	}
	return &p, nil
}
