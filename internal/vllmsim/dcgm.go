package vllmsim

import (
	"fmt"
	"strings"
	"time"
)

// DCGM says what the exporter of GPU counters at /dcgm/metrics looks like. It
// has the shape of NVIDIA's dcgm-exporter, and its figures come from the same
// account of steps as the times of tokens.
type DCGM struct {
	// Interval is between two collections: each figure is a mean over one, and
	// a scrape in between sees the last one again.
	Interval time.Duration
	Node     string // label Hostname
	GPUs     int    // on the node; 0: those that serve. The others idle
	// Names is legacy (DCGM_FI_PROF_DRAM_ACTIVE, label Hostname) or new
	// (DCGM_FI_PROF_DRAM_UTIL_RATIO, label hostname).
	Names string
	// Fields is all, or default: what dcgm-exporter's default counters file
	// has, which lacks SM and NVLink activity.
	Fields   string
	Counters bool   // the monotonic counters (1084 and up) of newer DCGM as well
	Pod      string // namespace/pod of the server, as a Kubernetes label; "" is none
}

func (d *DCGM) flags() []Flag {
	return []Flag{
		newFlag("dcgm-interval", "time between two collections of the GPU counters at /dcgm/metrics", &d.Interval),
		newFlag("dcgm-node", "name of the node in their labels", &d.Node),
		newFlag("dcgm-gpus", "GPUs on that node; 0: those that serve", &d.GPUs),
		newFlag("dcgm-names", "legacy or new: which names of DCGM's fields", &d.Names),
		newFlag("dcgm-fields", "all or default: which fields are exported", &d.Fields),
		newFlag("dcgm-counters", "export the monotonic counters of newer DCGM as well", &d.Counters),
		newFlag("dcgm-pod", "namespace/pod of the server in their labels; empty: none", &d.Pod),
	}
}

func (d *DCGM) check(serving int) error {
	switch {
	case d.Interval < 10*time.Millisecond:
		return fmt.Errorf("simulated server: dcgm-interval must be at least 10ms, got %s", d.Interval)
	case d.GPUs != 0 && d.GPUs < serving || d.GPUs > 1024:
		return fmt.Errorf("simulated server: dcgm-gpus is %d, and %d GPUs serve", d.GPUs, serving)
	case d.Names != legacyNames && d.Names != newNames:
		return fmt.Errorf("simulated server: dcgm-names is %q, not %s or %s", d.Names, legacyNames, newNames)
	case d.Fields != allFields && d.Fields != defaultFields:
		return fmt.Errorf("simulated server: dcgm-fields is %q, not %s or %s", d.Fields, allFields, defaultFields)
	case d.Node == "":
		return fmt.Errorf("simulated server: dcgm-node is empty")
	case d.Pod != "" && strings.Count(d.Pod, "/") != 1:
		return fmt.Errorf("simulated server: dcgm-pod is %q, not namespace/pod", d.Pod)
	}
	return nil
}

const (
	legacyNames, newNames    = "legacy", "new"
	allFields, defaultFields = "all", "default"
)
