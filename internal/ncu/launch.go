package ncu

import (
	"fmt"
	"regexp"
	"strings"
)

// A Launch is one kernel launch that was profiled. A nil figure was not
// collected.
type Launch struct {
	ID     string
	Kernel string
	Device string
	CC     string // compute capability: 10.0

	DurationNS *float64
	SMPct      *float64 // Compute (SM) Throughput, % of peak
	MemoryPct  *float64 // Memory Throughput: the busiest of the memory units, % of peak
	DRAMPct    *float64 // DRAM Throughput, % of peak
	L2Pct      *float64 // L2 Cache Throughput, % of peak
	TensorPct  *float64 // cycles in which a tensor pipe was active, % of peak
	DRAMBytes  *float64 // read and written

	dramRead, dramWritten *float64
	ops                   []counter
}

// A counter counts operations of a tensor pipe.
type counter struct {
	path string // op_utcqmma, or "" for all paths together
	from string // input types: fp8, fp4_fp6_fp8
	to   string // accumulator: fp32
	// sparse is "on" or "off" where a counter is split by sparsity.
	sparse string
	ops    float64
}

// figures names what is kept, by the metric's own name or by the name that its
// section gives it. Memory Throughput is a rate too, in another section, and
// is told from it by its unit.
var figures = map[string]func(*Launch) **float64{
	"gpu__time_duration.sum": func(l *Launch) **float64 { return &l.DurationNS },
	"Duration":               func(l *Launch) **float64 { return &l.DurationNS },
	"sm__throughput.avg.pct_of_peak_sustained_elapsed":                            func(l *Launch) **float64 { return &l.SMPct },
	"Compute (SM) Throughput":                                                     func(l *Launch) **float64 { return &l.SMPct },
	"gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed":            func(l *Launch) **float64 { return &l.MemoryPct },
	"Memory Throughput":                                                           func(l *Launch) **float64 { return &l.MemoryPct },
	"dram__throughput.avg.pct_of_peak_sustained_elapsed":                          func(l *Launch) **float64 { return &l.DRAMPct },
	"gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed":                      func(l *Launch) **float64 { return &l.DRAMPct },
	"DRAM Throughput":                                                             func(l *Launch) **float64 { return &l.DRAMPct },
	"lts__throughput.avg.pct_of_peak_sustained_elapsed":                           func(l *Launch) **float64 { return &l.L2Pct },
	"L2 Cache Throughput":                                                         func(l *Launch) **float64 { return &l.L2Pct },
	"sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed":             func(l *Launch) **float64 { return &l.TensorPct },
	"sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active":              func(l *Launch) **float64 { return &l.TensorPct },
	"sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active":              func(l *Launch) **float64 { return &l.TensorPct },
	"sm__pipe_tensor_subpipe_hmma_cycles_active.avg.pct_of_peak_sustained_active": func(l *Launch) **float64 { return &l.TensorPct },
	"dram__bytes.sum":       func(l *Launch) **float64 { return &l.DRAMBytes },
	"dram__bytes_read.sum":  func(l *Launch) **float64 { return &l.dramRead },
	"dram__bytes_write.sum": func(l *Launch) **float64 { return &l.dramWritten },
}

// dimensions of the figures that are no percentages.
var dimensions = map[string]string{
	"gpu__time_duration.sum": "ns", "Duration": "ns",
	"dram__bytes.sum": "byte", "dram__bytes_read.sum": "byte", "dram__bytes_write.sum": "byte",
}

// opsRE reads the name of a counter of tensor operations:
// sm__ops_path_tensor_op_utcqmma_src_fp4_fp6_fp8_dst_fp32_sparsity_off.sum
var opsRE = regexp.MustCompile(`^sm__ops_path_tensor(?:_(op_[a-z0-9]+))?_src_([a-z0-9_]+?)(?:_dst_([a-z0-9]+))?(?:_sparsity_(on|off))?\.sum$`)

// take keeps a metric of the launch, if it is one of those that count. The
// first of several names of one figure wins.
func (l *Launch) take(name, unit, text string) error {
	figure, isFigure := figures[name]
	m := opsRE.FindStringSubmatch(name)
	if !isFigure && m == nil {
		return nil
	}
	value, known, err := parseNumber(text)
	if err != nil {
		return fmt.Errorf("metric %s: %w", name, err)
	}
	if !known {
		return nil
	}
	dimension, factor, ok := base(unit)
	if !isFigure {
		if !ok || dimension != "" {
			return fmt.Errorf("metric %s: the unit %q is not one of a count: run ncu with --print-units base", name, unit)
		}
		l.ops = append(l.ops, counter{path: m[1], from: m[2], to: m[3], sparse: m[4], ops: value})
		return nil
	}
	want, named := dimensions[name]
	if !named {
		want = "%"
	}
	switch {
	case ok && dimension == want:
	case name == "Memory Throughput":
		return nil // a rate, of the section Memory Workload Analysis
	default:
		return fmt.Errorf("metric %s: the unit %q is not one of %s: run ncu with --print-units base", name, unit, want)
	}
	if value *= factor; value < 0 {
		return fmt.Errorf("metric %s is below zero: %s", name, text)
	}
	if at := figure(l); *at == nil {
		*at = &value
	}
	return nil
}

// finish settles what follows from several metrics.
func (l *Launch) finish() {
	if l.DRAMBytes == nil && l.dramRead != nil && l.dramWritten != nil {
		sum := *l.dramRead + *l.dramWritten
		l.DRAMBytes = &sum
	}
}

// TensorOps returns the operations of the tensor pipes by input type. Counters
// overlap: one over all paths holds those of each path, and those are split by
// sparsity again. Of one pair of types the widest is taken. known is false if
// no counter was collected.
func (l *Launch) TensorOps() (byInput map[string]float64, known bool) {
	type pair struct{ from, to string }
	const (
		all    = iota // over all paths
		path          // of one path
		sparse        // of one path and sparsity
	)
	sums := map[pair][3]float64{}
	have := map[pair][3]bool{}
	for _, c := range l.ops {
		level := all
		switch {
		case c.sparse != "":
			level = sparse
		case c.path != "":
			level = path
		}
		p := pair{c.from, c.to}
		s, h := sums[p], have[p]
		s[level] += c.ops
		h[level] = true
		sums[p], have[p] = s, h
	}
	byInput = map[string]float64{}
	for p, h := range have {
		for level := range h {
			if h[level] {
				byInput[p.from] += sums[p][level]
				break
			}
		}
	}
	return byInput, len(byInput) > 0
}

// name shortens nothing but surrounding space; an empty name is one that could
// not be resolved.
func kernelName(s string) string {
	if s = strings.TrimSpace(s); s == "" {
		return "<unresolved>"
	}
	return s
}
