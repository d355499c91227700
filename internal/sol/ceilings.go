package sol

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"pipeline/configs"
	"pipeline/internal/digest"
	"pipeline/internal/yaml"
)

// CeilingsSchema is the schema that ParseCeilings reads.
const CeilingsSchema = "sol-ceilings/v1"

const builtinFile = configs.CeilingsFile

// Ceilings are the peaks of GPUs, by key.
type Ceilings struct {
	AsOf    string
	file    string
	sum     digest.Digest
	gpus    map[string]GPU
	words   map[string]string   // keys by the tokens and aliases that mean them
	figures map[string]*float64 // by path, such as "b200_sm100.hbm3e_tbps"; nil: sources conflict
	notes   map[string]string   // why a figure is null, by path
}

// ceilingsFile is the text form.
type ceilingsFile struct {
	Schema string             `yaml:"schema"`
	AsOf   string             `yaml:"as_of"`
	Keys   map[string]gpuSpec `yaml:"keys"`
}

type gpuSpec struct {
	Tokens            []string            `yaml:"tokens"`
	Aliases           []string            `yaml:"aliases"`
	Vendor            string              `yaml:"vendor"`
	ComputeCapability string              `yaml:"compute_capability"`
	HBM2e             *float64            `yaml:"hbm2e_tbps"`
	HBM3              *float64            `yaml:"hbm3_tbps"`
	HBM3e             *float64            `yaml:"hbm3e_tbps"`
	GDDR6             *float64            `yaml:"gddr6_tbps"`
	GDDR7             *float64            `yaml:"gddr7_tbps"`
	MemBWKey          string              `yaml:"mem_bw_key"`
	MemBusBits        *float64            `yaml:"mem_bus_bits"`
	MemClockMHz       *float64            `yaml:"mem_clock_mhz"`
	Clocked           *float64            `yaml:"hbm_tbps_clocked"`
	MemGB             *float64            `yaml:"mem_gb"`
	DenseTFLOPS       map[string]*float64 `yaml:"dense_tflops"`
	DenseTOPS         map[string]*float64 `yaml:"dense_tops"`
	SMCount           *float64            `yaml:"sm_count"`
	NVLink            *float64            `yaml:"nvlink_gbps_dir"`
	XGMI              *float64            `yaml:"xgmi_gbps_dir"`
	ScaleUpWorld      *float64            `yaml:"scale_up_world"`
	PCIe              *float64            `yaml:"pcie_gbps_dir"`
	BoardW            *float64            `yaml:"board_w"`
	Achievable        []Achievable        `yaml:"achievable"`
	Conflicts         []Conflict          `yaml:"conflicts"`
	Sources           []string            `yaml:"sources"`
}

// An Achievable is a rate that a named tool reached, in the units of Metric.
type Achievable struct {
	Metric     string  `yaml:"metric"`
	Value      float64 `yaml:"value"`
	Tool       string  `yaml:"tool"`
	Conditions string  `yaml:"conditions"`
	Source     string  `yaml:"source"`
}

// A Conflict lists the values that sources give for one figure.
type Conflict struct {
	Field  string    `yaml:"field"`
	Values []float64 `yaml:"values"`
	Note   string    `yaml:"note"`
}

// A GPU is one entry of the ceilings, in bytes and seconds.
type GPU struct {
	Key               string
	File              string // that the entry stands in
	Tokens, Aliases   []string
	Vendor            string
	ComputeCapability string
	MemBytes          float64
	Bandwidth         float64 // bytes/s, nominal
	BandwidthPath     string  // where it stands, such as "b200_sm100.hbm3e_tbps"
	// Clocked is bytes/s from bus width and memory clock, which may be less
	// than the nominal figure. NaN: no source for the clock was read.
	Clocked     float64
	ClockedPath string
	// LinkBandwidth is bytes/s per direction of the link that collectives
	// use: NVLink, xGMI, or PCIe if there is neither. NaN if unknown.
	LinkBandwidth float64
	Achievable    []Achievable
	Conflicts     []Conflict
	Sources       []string

	ceilings *Ceilings
}

// BuiltinCeilings returns the ceilings that ship with the project.
func BuiltinCeilings() (*Ceilings, error) {
	return ParseCeilings(configs.CeilingsFile, configs.Ceilings())
}

// BuiltinShape returns a shape that ships with the project, by folder name.
func BuiltinShape(name string) (*Shape, error) {
	model, err := configs.FindModel(name)
	if err != nil {
		return nil, err
	}
	return ParseShape(model.Name, model.Config, model.QuantConfig)
}

// ParseCeilings reads the text of a ceilings file; file is its name in messages.
// What looks wrong is refused with its name: see checks.go.
func ParseCeilings(file string, src []byte) (*Ceilings, error) {
	var f ceilingsFile
	if err := yaml.Unmarshal(file, src, &f); err != nil {
		return nil, err
	}
	if f.Schema != CeilingsSchema {
		return nil, fmt.Errorf("%s: schema %q is not %q", file, f.Schema, CeilingsSchema)
	}
	c := &Ceilings{
		AsOf: f.AsOf, file: file, sum: digest.Of(src),
		gpus: map[string]GPU{}, words: map[string]string{}, figures: map[string]*float64{}, notes: map[string]string{},
	}
	for _, key := range slices.Sorted(maps.Keys(f.Keys)) {
		spec := f.Keys[key]
		c.addFigures(key, spec)
		gpu, err := c.build(key, spec)
		if err == nil {
			err = c.check(key, spec)
		}
		if err == nil {
			err = c.addWords(gpu)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		c.gpus[key] = gpu
	}
	return c, nil
}

// With lays the keys of a file of one's own over c: a key that c has is
// replaced whole, others are added. The digest covers both files.
func (c *Ceilings) With(file string, src []byte) (*Ceilings, error) {
	own, err := ParseCeilings(file, src)
	if err != nil {
		return nil, err
	}
	both := &Ceilings{
		AsOf: c.AsOf, file: c.file + " and " + file, sum: digest.Of([]byte(c.sum.String() + "\n" + own.sum.String())),
		gpus: maps.Clone(c.gpus), words: map[string]string{}, figures: map[string]*float64{}, notes: map[string]string{},
	}
	for key, gpu := range own.gpus {
		if err := c.checkAgainst(own, gpu); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		both.gpus[key] = gpu
	}
	for _, key := range both.Keys() {
		gpu := both.gpus[key]
		from := gpu.ceilings
		for path, value := range from.figures {
			if strings.HasPrefix(path, key+".") {
				both.figures[path] = value
				if note, has := from.notes[path]; has {
					both.notes[path] = note
				}
			}
		}
		gpu.ceilings = both
		both.gpus[key] = gpu
		if err := both.addWords(gpu); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return both, nil
}

// Digest names the text of the ceilings, and of the file laid over it.
func (c *Ceilings) Digest() digest.Digest { return c.sum }

// addFigures records each figure of a key under its path. A figure that the
// file leaves out has no path, unless a conflict explains that it is null.
func (c *Ceilings) addFigures(key string, s gpuSpec) {
	for name, value := range map[string]*float64{
		"hbm2e_tbps": s.HBM2e, "hbm3_tbps": s.HBM3, "hbm3e_tbps": s.HBM3e, "gddr6_tbps": s.GDDR6, "gddr7_tbps": s.GDDR7,
		"mem_bus_bits": s.MemBusBits, "mem_clock_mhz": s.MemClockMHz, "hbm_tbps_clocked": s.Clocked, "mem_gb": s.MemGB,
		"sm_count": s.SMCount, "nvlink_gbps_dir": s.NVLink, "xgmi_gbps_dir": s.XGMI, "scale_up_world": s.ScaleUpWorld,
		"pcie_gbps_dir": s.PCIe, "board_w": s.BoardW,
	} {
		if value != nil {
			c.figures[key+"."+name] = value
		}
	}
	for dtype, value := range s.DenseTFLOPS {
		c.figures[key+".dense_tflops."+dtype] = value
	}
	for dtype, value := range s.DenseTOPS {
		c.figures[key+".dense_tops."+dtype] = value
	}
	for _, conflict := range s.Conflicts {
		path := key + "." + conflict.Field
		if c.figures[path] == nil {
			c.figures[path] = nil
			c.notes[path] = fmt.Sprintf("sources conflict: %v (%s)", conflict.Values, conflict.Note)
		}
	}
}

// build makes the GPU of a key from figures that must be there.
func (c *Ceilings) build(key string, s gpuSpec) (GPU, error) {
	gpu := GPU{
		Key: key, File: c.file, Tokens: s.Tokens, Aliases: s.Aliases, Vendor: s.Vendor, ComputeCapability: s.ComputeCapability,
		BandwidthPath: key + "." + s.MemBWKey, Achievable: s.Achievable, Conflicts: s.Conflicts, Sources: s.Sources, ceilings: c,
	}
	if !strings.HasSuffix(s.MemBWKey, "_tbps") {
		return GPU{}, fmt.Errorf("%s: mem_bw_key %q names no *_tbps figure", key, s.MemBWKey)
	}
	bandwidth, err := c.Lookup(gpu.BandwidthPath)
	if err != nil {
		return GPU{}, err
	}
	memory, err := c.Lookup(key + ".mem_gb")
	if err != nil {
		return GPU{}, err
	}
	gpu.Bandwidth, gpu.MemBytes = bandwidth*tera, memory*giga
	gpu.Clocked, gpu.LinkBandwidth = math.NaN(), math.NaN()
	if s.Clocked != nil {
		gpu.Clocked, gpu.ClockedPath = *s.Clocked*tera, key+".hbm_tbps_clocked"
	}
	for _, link := range []*float64{s.NVLink, s.XGMI, s.PCIe} {
		if link != nil {
			gpu.LinkBandwidth = *link * giga
			break
		}
	}
	return gpu, nil
}

// Lookup returns the figure at a path, such as "b200_sm100.hbm3e_tbps" or
// "h100_sm90.dense_tflops.fp8", in the unit of its name. CEIL_UNKNOWN: there
// is no such path. CEIL_NULL: the file refuses to choose between sources.
func (c *Ceilings) Lookup(path string) (float64, error) {
	value, ok := c.figures[path]
	switch {
	case ok && value != nil:
		return *value, nil
	case ok:
		return 0, fmt.Errorf("CEIL_NULL: %s is null in %s (%s); what needs it is not computed", path, c.file, c.notes[path])
	}
	key, _, _ := strings.Cut(path, ".")
	if _, known := c.gpus[key]; !known && len(c.gpus) > 0 {
		return 0, c.unknownKey(key)
	}
	return 0, fmt.Errorf("CEIL_UNKNOWN: %s has no figure at %s", c.file, path)
}

// GPU returns the entry of a key, such as "b200_sm100".
func (c *Ceilings) GPU(key string) (GPU, error) {
	if gpu, ok := c.gpus[key]; ok {
		return gpu, nil
	}
	return GPU{}, c.unknownKey(key)
}

// Find returns the entry that a word means: a key, an exact token (B200, which
// is not GB200), or an alias that is listed. Nothing is guessed from a prefix.
func (c *Ceilings) Find(word string) (GPU, error) {
	if key, ok := c.words[word]; ok {
		return c.gpus[key], nil
	}
	return c.GPU(word)
}

func (c *Ceilings) unknownKey(key string) error {
	return fmt.Errorf("CEIL_UNKNOWN: hardware %q has no key in %s (known: %s); %%SoL is not computed", key, c.file, strings.Join(c.Keys(), ", "))
}

// Keys returns all hardware keys, sorted.
func (c *Ceilings) Keys() []string { return slices.Sorted(maps.Keys(c.gpus)) }

// Peak returns the dense peak of the matrix units for an input type (bf16,
// fp8, fp4, int8) in FLOP/s, and the path where it stands.
func (g GPU) Peak(dtype string) (flops float64, path string, err error) {
	path = g.Key + ".dense_tflops." + dtype
	if dtype == "int8" {
		path = g.Key + ".dense_tops.int8"
	}
	value, err := g.ceilings.Lookup(path)
	return value * tera, path, err
}

// Reached returns the highest rate that the file says a tool reached on this
// GPU, in the units of metric (hbm_tbps, bf16_tflops, fp8_tflops).
func (g GPU) Reached(metric string) (Achievable, bool) {
	var best Achievable
	for _, a := range g.Achievable {
		if a.Metric == metric && a.Value > best.Value {
			best = a
		}
	}
	return best, best.Value > 0
}

// MathDType is the input type with which this GPU multiplies weights of a
// format. Without units for it, weight-only kernels compute in bf16.
func (g GPU) MathDType(f Format) string {
	dtype := f.mathDType()
	path := g.Key + ".dense_tflops." + dtype
	if dtype == "int8" {
		path = g.Key + ".dense_tops.int8"
	}
	if _, has := g.ceilings.figures[path]; !has {
		return "bf16"
	}
	return dtype
}
