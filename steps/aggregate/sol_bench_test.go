package aggregate_test

import (
	"io"
	"log/slog"
	"testing"

	"pipeline/lake/perf"
	"pipeline/steps"
	"pipeline/steps/aggregate"
)

// BenchmarkAggregate1000 is what the rows of 1,000 cells cost, floors, gates and
// the frontier included.
func BenchmarkAggregate1000(b *testing.B) {
	var inputs []steps.Input
	for c := range 334 {
		for trial := range 3 {
			inputs = append(inputs, measured(b, c+1, trial+1, llama(c+1, 14+float64(c)/10, func(m *perf.Measurement) {})))
		}
	}
	for b.Loop() {
		env := &steps.Env{
			In: map[string][]steps.Input{"cells": inputs}, Dir: b.TempDir(), Log: slog.New(slog.DiscardHandler),
			Create: func(string) (io.WriteCloser, error) { return discard{io.Discard}, nil },
			Doubt:  func(string, ...any) {},
		}
		if err := aggregate.Kind(writeText).New().(steps.Runner).Run(b.Context(), env); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{ io.Writer }

func (discard) Close() error { return nil }
