package dcgm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A GPU is one GPU, or a MIG instance of one, as a source names it.
type GPU struct {
	UUID  string `yaml:"uuid" json:"uuid,omitempty"`
	Node  string `yaml:"node" json:"node,omitempty"`
	Index int    `yaml:"index" json:"index"` // on its node; -1 is not told
	Model string `yaml:"model" json:"model,omitempty"`
	PCI   string `yaml:"pci" json:"pci,omitempty"`
	MIG   string `yaml:"mig" json:"mig,omitempty"` // instance, "" for the whole GPU
}

// Key tells GPUs apart: by UUID, or where a source has none, by node and index.
func (g GPU) Key() string {
	key := g.UUID
	if key == "" {
		key = g.Node + "/" + strconv.Itoa(g.Index)
	}
	if g.MIG != "" {
		key += "/mig" + g.MIG
	}
	return key
}

// String names the GPU for people.
func (g GPU) String() string {
	name := "GPU " + g.UUID
	if g.Index >= 0 {
		name = fmt.Sprintf("GPU %d", g.Index)
	}
	if g.MIG != "" {
		name += " MIG " + g.MIG
	}
	if g.Node != "" {
		name += " of " + g.Node
	}
	return name
}

// Simulated reports whether the source says that there is no such GPU.
func (g GPU) Simulated() bool { return strings.HasPrefix(g.Model, "SIMULATED") }

// A Series is one field of one GPU over time, as a source gave it.
type Series struct {
	Field  Field
	GPU    GPU
	Labels map[string]string // of the workload: pod, namespace, container
	T      []int64           // unix milliseconds, ascending
	V      []float64
}

// Samples are series by GPU and field.
type Samples struct {
	series   map[string]*Series
	versions map[string]string
}

// Versions are those of software that the labels of series name.
func (s *Samples) Versions() map[string]string { return s.versions }

// The names of labels over versions of dcgm-exporter and of Kubernetes'
// relabelling, the preferred one first: without honor_labels, pod is the
// exporter's own and exported_pod the one that uses the GPU.
var (
	uuidLabels  = []string{"UUID", "uuid", "gpu_uuid"}
	nodeLabels  = []string{"Hostname", "hostname", "exported_hostname", "exported_Hostname"}
	modelLabels = []string{"modelName", "model_name", "gpu_model_name"}
	podLabels   = map[string][]string{
		"pod":       {"exported_pod", "pod"},
		"namespace": {"exported_namespace", "namespace"},
		"container": {"exported_container", "container"},
	}
)

func labelOf(labels map[string]string, names []string) string {
	for _, n := range names {
		if v := labels[n]; v != "" {
			return v
		}
	}
	return ""
}

// GPUOf reads who a series is about from its labels.
func GPUOf(labels map[string]string) GPU {
	g := GPU{
		UUID: labelOf(labels, uuidLabels), Node: labelOf(labels, nodeLabels), Model: labelOf(labels, modelLabels),
		PCI: labels["pci_bus_id"], MIG: labels["GPU_I_ID"], Index: -1,
	}
	if i, err := strconv.Atoi(labels["gpu"]); err == nil && i >= 0 {
		g.Index = i
	}
	return g
}

// Add adds a sample of a series with the labels of dcgm-exporter, and reports
// whether it differs from the one before. A name that is of no known field is
// left out, and so is a sample that is not later than the one before: the same
// scrape by another path.
func (s *Samples) Add(name string, labels map[string]string, atMS int64, v float64) (news bool) {
	f, ok := FieldNamed(name)
	if !ok {
		return false
	}
	workload := map[string]string{}
	for name, candidates := range podLabels {
		if v := labelOf(labels, candidates); v != "" {
			workload[name] = v
		}
	}
	if driver := labels["DCGM_FI_DRIVER_VERSION"]; driver != "" && s.versions["driver"] == "" {
		s.versions = map[string]string{"driver": driver}
	}
	return s.add(f, GPUOf(labels), workload, atMS, v)
}

func (s *Samples) add(f Field, g GPU, labels map[string]string, atMS int64, v float64) (news bool) {
	one := s.of(f, g, labels)
	n := len(one.T)
	if n > 0 && one.T[n-1] >= atMS {
		return false
	}
	one.T, one.V = append(one.T, atMS), append(one.V, v)
	return n == 0 || one.V[n-1] != v
}

// of returns the series of a field of a GPU under labels, which it makes if
// need be.
func (s *Samples) of(f Field, g GPU, labels map[string]string) *Series {
	key := fmt.Sprintf("%d %s %s", int(f), g.Key(), labelText(labels))
	if s.series == nil {
		s.series = map[string]*Series{}
	}
	one := s.series[key]
	if one == nil {
		one = &Series{Field: f, GPU: g, Labels: labels}
		s.series[key] = one
	}
	return one
}

func labelText(labels map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		fmt.Fprintf(&b, "%s=%q ", k, labels[k])
	}
	return b.String()
}

// Series returns all series, by field, node, index and labels.
func (s *Samples) Series() []*Series {
	all := slices.Collect(maps.Values(s.series))
	slices.SortFunc(all, func(a, b *Series) int {
		return cmp.Or(cmp.Compare(a.Field, b.Field), compareGPUs(a.GPU, b.GPU), cmp.Compare(labelText(a.Labels), labelText(b.Labels)))
	})
	return all
}

// GPUs returns the GPUs that have a series, by node and index.
func (s *Samples) GPUs() []GPU {
	seen := map[string]GPU{}
	for _, one := range s.series {
		if have, ok := seen[one.GPU.Key()]; !ok || have.Index < 0 || have.Model == "" && one.GPU.Model != "" {
			seen[one.GPU.Key()] = one.GPU
		}
	}
	gpus := slices.Collect(maps.Values(seen))
	slices.SortFunc(gpus, compareGPUs)
	return gpus
}

func compareGPUs(a, b GPU) int {
	return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Index, b.Index), cmp.Compare(a.Key(), b.Key()))
}

// Len counts the samples.
func (s *Samples) Len() int {
	n := 0
	for _, one := range s.series {
		n += len(one.T)
	}
	return n
}
