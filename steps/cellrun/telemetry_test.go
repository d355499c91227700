package cellrun

import (
	"bytes"
	"net/http"
	"os"
	"testing"
)

// What AIPerf saw of the GPUs goes on as an output, unless its load was a
// second one, at another time than the cell's.
func TestAIPerfTelemetry(t *testing.T) {
	const path = "../../internal/aiperf/testdata/v013_prefix_gpu/foo_gpu_telemetry.jsonl"
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, http.NotFoundHandler())
	x := &external{c: &cell{step: b.step, env: b.env}}
	for driver, kept := range map[string]bool{native: false, aiperfName: true} {
		delete(b.written, telemetryFile)
		b.step.Driver = driver
		if err := x.keepTelemetry(path); err != nil {
			t.Fatal(err)
		}
		if got := b.written[telemetryFile]; kept != (got != nil) || kept && !bytes.Equal(got.Bytes(), want) {
			t.Errorf("driver %s: %v", driver, got)
		}
	}
}
