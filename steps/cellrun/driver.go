package cellrun

import (
	"context"
	"iter"
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

// native is the name of the load generator of this program.
const native = "native"

// drivers are by the name that a spec gives.
func drivers() map[string]driver {
	return map[string]driver{native: nativeDriver{}}
}

// A load is what a driver saw.
type load struct {
	requests   perf.Stream
	start, end time.Time    // wall clock: start is offset 0 of the requests
	client     *perf.Client // health of the generator
	driver     perf.Driver
	prompts    string   // digest of the prompts; "" is not known
	simulated  bool     // an answer said so
	warmupToo  bool     // the meter's span holds the warm-up
	reasons    []string // why it cannot be a full answer
	failure    string   // the root cause of a load without an answer, as the tool tells it
	doubts     []string

	counts counts // of the last pass over counted()
}

// counts are what of a load is held against the server's counters.
type counts struct {
	measured         int
	answered, tokens float64 // of the meter's span
}

// counted is requests, counted while they pass.
func (l *load) counted() perf.Stream {
	return func(chunks bool) iter.Seq2[*perf.Request, error] {
		return func(yield func(*perf.Request, error) bool) {
			var n counts
			for r, err := range l.requests(chunks) {
				if err == nil {
					n.add(r, l.warmupToo)
				}
				if !yield(r, err) {
					return
				}
			}
			l.counts = n
		}
	}
}

func (n *counts) add(r *perf.Request, warmupToo bool) {
	if !r.Warmup {
		n.measured++
	}
	if r.OK() && (warmupToo || !r.Warmup) {
		n.answered++
		n.tokens += float64(r.OSL)
	}
}
