package roofline

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"pipeline/internal/digest"
	"pipeline/internal/yaml"
)

// BundleSchema names the shape of a bundle.
const BundleSchema = "roofline-bundle/v1"

// The files of a bundle.
const (
	ManifestFile = "manifest.yaml"

	CellFile     = "cell.yaml"           // what was asked, and when it ran
	BenchFile    = "bench.json"          // the tool's own result, unmodified
	RequestsFile = "requests.jsonl"      // its records of requests
	DmonFile     = "dmon.tsv"            // a time in ms, a tab, a line of dcgmi dmon
	DmonMetaFile = "dmon.meta.yaml"      // how dcgmi dmon was called
	ExporterFile = "dcgm.prom"           // scrapes of dcgm-exporter, each after "# scrape <unix ms>"
	CaptureFile  = "dcgm-samples.json"   // or what a cell of this program kept of them
	MetricsFile  = "server_metrics.prom" // the server's metrics: "# scrape pre", "# scrape post"
)

// cellFiles are the files that a cell may have.
var cellFiles = []string{CellFile, BenchFile, RequestsFile, DmonFile, DmonMetaFile, ExporterFile, CaptureFile, MetricsFile}

// Kinds of cells.
const (
	Decode  = "decode"
	Prefill = "prefill"
)

// Modes of the prefix cache.
const (
	Cold = "cold"
	Warm = "warm"
)

// A Manifest is manifest.yaml.
type Manifest struct {
	Schema    string `yaml:"schema"`
	Campaign  string `yaml:"campaign"`
	CreatedAt string `yaml:"created_at"`
	Tool      Tool   `yaml:"tool"`
	Simulated bool   `yaml:"simulated"`

	Hardware         string `yaml:"hardware"` // the exact token, or a key of the ceilings
	Model            Model  `yaml:"model"`
	Engine           Engine `yaml:"engine"`
	TensorParallel   int    `yaml:"tensor_parallel"`
	PipelineParallel int    `yaml:"pipeline_parallel"` // 0 is not told
	DataParallel     int    `yaml:"data_parallel"`
	ExpertParallel   int    `yaml:"expert_parallel"`
	KVCacheDtype     string `yaml:"kv_cache_dtype"`
	Quant            string `yaml:"quant"`
	CacheMode        string `yaml:"cache_mode"` // cold or warm

	Trials int    `yaml:"trials"` // of each cell; 0 is one
	Sweeps Sweeps `yaml:"sweeps"`

	Setting map[string]string `yaml:"setting"` // further fields of the setting
	Files   map[string]string `yaml:"files"`   // SHA-256 by path, of files outside of cells
	Cells   []CellRef         `yaml:"cells"`
	Notes   []string          `yaml:"notes"`
}

// A Tool is what wrote the bundle.
type Tool struct {
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
}

// A Model is what was served. Its shape is a folder of configs/models, or
// follows from server/config.json of the bundle.
type Model struct {
	Name     string `yaml:"name"`
	Shape    string `yaml:"shape"`
	Revision string `yaml:"revision"`
	QuantMap string `yaml:"quant_map"` // path in the bundle: server/hf_quant_config.json
}

// An Engine is what served.
type Engine struct {
	Name        string `yaml:"name"`
	Version     string `yaml:"version"`
	Image       string `yaml:"image"`
	ImageDigest string `yaml:"image_digest"`
}

// Sweeps says which cells there ought to be.
type Sweeps struct {
	Decode  *DecodeSweep  `yaml:"decode"`
	Prefill *PrefillSweep `yaml:"prefill"`
}

// A DecodeSweep goes over concurrency at one length of input and output.
type DecodeSweep struct {
	C   []int `yaml:"c"`
	ISL int   `yaml:"isl"`
	OSL int   `yaml:"osl"`
}

// A PrefillSweep goes over the input length, with one output token.
type PrefillSweep struct {
	ISL []int `yaml:"isl"`
	C   int   `yaml:"c"` // 0 is one
}

// A CellRef names a cell and its files.
type CellRef struct {
	ID     string            `yaml:"id"`
	SHA256 map[string]string `yaml:"sha256"` // by file
}

// A Cell is cell.yaml.
type Cell struct {
	Kind         string   `yaml:"kind"`
	TP           int      `yaml:"tp"`
	DP           int      `yaml:"dp"`
	EP           int      `yaml:"ep"`
	PP           int      `yaml:"pp"`
	KVCacheDtype string   `yaml:"kv_cache_dtype"`
	C            int      `yaml:"c"`
	ISL          int      `yaml:"isl"`
	OSL          int      `yaml:"osl"`
	NumPrompts   int      `yaml:"num_prompts"`
	CacheMode    string   `yaml:"cache_mode"`
	Trial        int      `yaml:"trial"` // 0 is 1
	Node         string   `yaml:"node"`
	GPUUUIDs     []string `yaml:"gpu_uuids"`
	StartNS      int64    `yaml:"t_start_ns"` // unix
	EndNS        int64    `yaml:"t_end_ns"`
	ExitCode     int      `yaml:"exit_code"`
	Error        string   `yaml:"error"` // why there is no result
}

// A DmonMeta is dmon.meta.yaml.
type DmonMeta struct {
	Command string            `yaml:"command"` // the command line
	Fields  []int             `yaml:"fields"`  // ids in the order of columns
	DelayMS int               `yaml:"delay_ms"`
	DCGM    string            `yaml:"dcgm"`   // version
	Driver  string            `yaml:"driver"` // version
	Host    string            `yaml:"host"`
	GPUs    map[string]string `yaml:"gpus"` // UUID by index
}

// Shape of a cell: what tells it from the others of a bundle.
func (c Cell) shape() string {
	return fmt.Sprintf("%s c=%d isl=%d osl=%d trial=%d", c.Kind, c.C, c.ISL, c.OSL, max(1, c.Trial))
}

// CellID is the name of a cell's folder, as this package writes it.
func CellID(c Cell) string {
	return fmt.Sprintf("%s-tp%d-c%03d-isl%d-osl%d-t%d", c.Kind[:1], c.TP, c.C, c.ISL, c.OSL, max(1, c.Trial))
}

// Asked lists the cells that the sweeps ask for.
func (m *Manifest) Asked() []Cell {
	var cells []Cell
	add := func(c Cell) {
		c.TP, c.DP, c.EP, c.PP = m.TensorParallel, m.DataParallel, m.ExpertParallel, m.PipelineParallel
		c.KVCacheDtype, c.CacheMode = m.KVCacheDtype, m.CacheMode
		for trial := range max(1, m.Trials) {
			c.Trial = trial + 1
			cells = append(cells, c)
		}
	}
	if d := m.Sweeps.Decode; d != nil {
		for _, c := range d.C {
			add(Cell{Kind: Decode, C: c, ISL: d.ISL, OSL: d.OSL})
		}
	}
	if p := m.Sweeps.Prefill; p != nil {
		for _, isl := range p.ISL {
			add(Cell{Kind: Prefill, C: max(1, p.C), ISL: isl, OSL: 1})
		}
	}
	return cells
}

// ParseManifest reads manifest.yaml. file is its name in messages.
func ParseManifest(file string, text []byte) (*Manifest, error) {
	var m Manifest
	if err := yaml.Unmarshal(file, text, &m); err != nil {
		return nil, err
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &m, nil
}

func (m *Manifest) check() error {
	switch {
	case m.Schema != BundleSchema:
		return fmt.Errorf("the schema is %.40q, want %q", m.Schema, BundleSchema)
	case m.Hardware == "":
		return errors.New("hardware is empty: name the exact token, such as B200")
	case m.TensorParallel < 1:
		return errors.New("tensor_parallel is below 1")
	case m.CacheMode != Cold && m.CacheMode != Warm:
		return fmt.Errorf("cache_mode is %.40q, want %s or %s", m.CacheMode, Cold, Warm)
	case m.Trials < 0 || m.PipelineParallel < 0 || m.DataParallel < 0 || m.ExpertParallel < 0:
		return errors.New("a count is below zero")
	case m.Trials > maxTrials:
		return fmt.Errorf("trials is %d: more than %d are not read", m.Trials, maxTrials)
	}
	if m.CreatedAt != "" {
		if _, err := time.Parse(time.RFC3339Nano, m.CreatedAt); err != nil {
			return fmt.Errorf("created_at is %.40q, not a time such as 2026-11-23T10:00:00Z", m.CreatedAt)
		}
	}
	if err := m.Sweeps.check(); err != nil {
		return err
	}
	if err := checkSums("files", m.Files); err != nil {
		return err
	}
	if q := m.Model.QuantMap; q != "" {
		if _, ok := m.Files[q]; !ok {
			return fmt.Errorf("model.quant_map is %q, which files does not list", q)
		}
	}
	seen := map[string]bool{}
	for i, c := range m.Cells {
		if err := c.check(); err != nil {
			return fmt.Errorf("cells[%d]: %w", i, err)
		}
		if seen[c.ID] {
			return fmt.Errorf("cells[%d]: %s is listed twice", i, c.ID)
		}
		seen[c.ID] = true
	}
	return nil
}

// Limits of one bundle.
const (
	maxTrials = 1000
	maxCells  = 10_000
)

func (s Sweeps) check() error {
	if s.Decode == nil && s.Prefill == nil {
		return errors.New("sweeps has neither decode nor prefill")
	}
	cells := 0
	if d := s.Decode; d != nil {
		if len(d.C) == 0 || d.ISL < 1 || d.OSL < 2 || slices.Min(d.C) < 1 {
			return errors.New("sweeps.decode: want concurrencies c of 1 and more, isl of 1 and more, osl of 2 and more")
		}
		cells += len(d.C)
	}
	if p := s.Prefill; p != nil {
		if len(p.ISL) == 0 || slices.Min(p.ISL) < 1 || p.C < 0 {
			return errors.New("sweeps.prefill: want input lengths isl of 1 and more")
		}
		cells += len(p.ISL)
	}
	if cells > maxCells {
		return fmt.Errorf("sweeps: more than %d cells", maxCells)
	}
	return nil
}

var cellIDRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._=,-]{0,200}$`)

func (c CellRef) check() error {
	if !cellIDRE.MatchString(c.ID) {
		return fmt.Errorf("id is %.80q: want letters, digits, and . _ = , -", c.ID)
	}
	for name := range c.SHA256 {
		if !slices.Contains(cellFiles, name) {
			return fmt.Errorf("%s has a file %.80q (known: %s)", c.ID, name, strings.Join(cellFiles, ", "))
		}
	}
	if _, ok := c.SHA256[CellFile]; !ok {
		return fmt.Errorf("%s has no %s", c.ID, CellFile)
	}
	return checkSums(c.ID, c.SHA256)
}

func checkSums(what string, sums map[string]string) error {
	for path, sum := range sums {
		if !fs.ValidPath(path) || path == "." {
			return fmt.Errorf("%s: %.80q is no path inside of the bundle", what, path)
		}
		if _, err := digest.Parse(sum); err != nil {
			return fmt.Errorf("%s: %s: %w", what, path, err)
		}
	}
	return nil
}

// ParseCell reads cell.yaml.
func ParseCell(file string, text []byte) (*Cell, error) {
	var c Cell
	if err := yaml.Unmarshal(file, text, &c); err != nil {
		return nil, err
	}
	fail := func(format string, a ...any) (*Cell, error) {
		return nil, fmt.Errorf("%s: "+format, append([]any{file}, a...)...)
	}
	switch {
	case c.Kind != Decode && c.Kind != Prefill:
		return fail("kind is %.40q, want %s or %s", c.Kind, Decode, Prefill)
	case c.C < 1 || c.ISL < 1 || c.OSL < 1:
		return fail("c is %d, isl %d, osl %d: want 1 and more", c.C, c.ISL, c.OSL)
	case c.Kind == Prefill && c.OSL != 1:
		return fail("osl is %d: a prefill cell has one output token", c.OSL)
	case c.Kind == Decode && c.OSL < 2:
		return fail("osl is %d: a decode cell has two output tokens and more", c.OSL)
	case c.Trial < 0 || c.NumPrompts < 0 || c.EndNS < c.StartNS:
		return fail("a count is below zero, or t_end_ns is before t_start_ns")
	}
	c.Trial = max(1, c.Trial)
	return &c, nil
}

// ParseDmonMeta reads dmon.meta.yaml.
func ParseDmonMeta(file string, text []byte) (*DmonMeta, error) {
	var d DmonMeta
	if err := yaml.Unmarshal(file, text, &d); err != nil {
		return nil, err
	}
	if d.DelayMS < 0 || slices.ContainsFunc(d.Fields, func(f int) bool { return f < 1 }) {
		return nil, fmt.Errorf("%s: delay_ms or a field id is below 1", file)
	}
	return &d, nil
}

// Started is when the cell began, the zero time if it does not tell.
func (c Cell) Started() time.Time { return fromNS(c.StartNS) }

// Ended is when the cell ended.
func (c Cell) Ended() time.Time { return fromNS(c.EndNS) }

func fromNS(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// failure says why a cell has no result, "" if it should have one.
func (c Cell) failure() string {
	if c.ExitCode != 0 {
		return cmp.Or(c.Error, fmt.Sprintf("the benchmark ended with exit code %d", c.ExitCode))
	}
	return c.Error
}
