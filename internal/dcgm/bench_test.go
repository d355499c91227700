package dcgm

import (
	"testing"

	"pipeline/internal/digest"
)

// An hour of 8 GPUs at a sample a second: 600,000 samples of 21 fields.
func BenchmarkHour(b *testing.B) {
	w := healthy()
	w.gpus, w.scrape, w.load = 8, 1, 3600
	f, cell := w.freeze()
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			if _, _, _, err := f.Encode(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("assess", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r, err := Assess(f, digest.Digest{}, cell)
			if err != nil || r.Rigor != RigorL3 {
				b.Fatal(err, r.Gap)
			}
		}
	})
}
