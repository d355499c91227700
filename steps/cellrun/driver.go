package cellrun

import (
	"context"
	"time"

	"pipeline/lake/perf"
)

// A driver puts the load of a cell on its endpoint: the warm-up, then the
// measured requests. Whatever it is, all else of a cell is the same: what is
// looked at before, meanwhile and after, and how the requests are judged.
//
// It has the meter begin before the load and end after it, and tells the watch
// how far it is. When ctx ends it returns what it has seen so far. An error
// means that there was no load to judge.
type driver interface {
	load(ctx context.Context, c *cell, meter *meter, watch *watch) (*load, error)
	// name is the driver with its version, as far as that is known before.
	name(c *cell) perf.Driver
}

// The drivers, as a spec names them.
const (
	native        = "native" // the load generator of this program
	aiperfName    = "aiperf"
	vllmBenchName = "vllm-bench"
)

// drivers are by the name that a spec gives.
func drivers() map[string]driver {
	return map[string]driver{native: nativeDriver{}, aiperfName: aiperfDriver{}, vllmBenchName: vllmBenchDriver{}}
}

// A load is what a driver saw.
type load struct {
	judge      func(asked perf.Workload) (perf.Measurement, error) // nil: there is nothing but a failure
	requests   perf.Stream
	start, end time.Time // wall clock: start is offset 0 of the requests
	driver     perf.Driver
	prompts    string   // digest of the prompts; "" is not known
	simulated  bool     // an answer said so
	warmupToo  bool     // the meter's span holds the warm-up
	beside     counts   // of the meter's span and in no request; NaN is not known
	reasons    []string // why it cannot be a full answer
	failure    string   // the root cause of a load without an answer, as the tool tells it
	doubts     []string
}

// counts are what of a load is held against the server's counters.
type counts struct {
	measured         int
	answered, tokens float64 // of the meter's span
}

func (l *load) count() (counts, error) {
	var n counts
	for r, err := range l.requests(false) {
		if err != nil {
			return n, err
		}
		if !r.Warmup {
			n.measured++
		}
		if r.OK() && (l.warmupToo || !r.Warmup) {
			n.answered++
			n.tokens += float64(r.OSL)
		}
	}
	return n, nil
}
