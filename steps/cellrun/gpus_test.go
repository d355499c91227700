package cellrun

import (
	"strings"
	"testing"

	"pipeline/internal/dcgm"
	"pipeline/internal/endpoint"
	"pipeline/lake/perf"
)

// What the exporter of the endpoint shows is kept, from before the load until
// after it, and no part of the measurement.
func TestGPUCountersAreKept(t *testing.T) {
	config := simConfig()
	config.TimeScale = 1
	b := newBench(t, newSim(t, config))
	b.setup(t, endpoint.Access{DCGM: b.url + "/dcgm/metrics"}, nil)
	m, err := b.run(t)
	if err != nil && m.Status != perf.Partial { // this machine may be busy
		t.Fatal(err)
	}
	text := b.written[dcgm.CaptureFile]
	if text == nil {
		t.Fatalf("%s was not written", dcgm.CaptureFile)
	}
	capture, samples, err := dcgm.ReadCapture(text.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if capture.Source.Kind != dcgm.FromScrape || capture.Source.Host != strings.TrimPrefix(b.url, "http://") || len(capture.GPUs) != 1 {
		t.Errorf("%+v of %v", capture.Source, capture.GPUs)
	}
	for _, s := range samples.Series() {
		if s.Field != dcgm.GR {
			continue
		}
		if first, last := s.T[0], s.T[len(s.T)-1]; first > m.Start.UnixMilli() || last < m.Start.UnixMilli() {
			t.Errorf("samples from %d to %d; the load began at %d", first, last, m.Start.UnixMilli())
		}
		busy := 0.0
		for _, v := range s.V {
			busy = max(busy, v)
		}
		if busy < 0.2 {
			t.Errorf("the GPU was never busy: %v", s.V)
		}
	}
}

// An exporter that does not answer is a doubt, and one that nobody wants is
// not asked.
func TestGPUCountersMayBeMissing(t *testing.T) {
	b := newBench(t, newSim(t, simConfig()))
	b.setup(t, endpoint.Access{DCGM: b.url + "/no/such/page"}, nil)
	if m, err := b.run(t); err != nil && m.Status != perf.Partial {
		t.Fatal(err)
	}
	if !has(b.doubts, "no_gpu_counters: none of ") || !has(b.doubts, "HTTP 404") {
		t.Errorf("doubts: %q", b.doubts)
	}
	b.step.DCGMInterval = 0
	delete(b.written, dcgm.CaptureFile)
	if m, err := b.run(t); err != nil && m.Status != perf.Partial {
		t.Fatal(err)
	}
	if b.written[dcgm.CaptureFile] != nil {
		t.Error("it was asked although the interval is 0")
	}
}
