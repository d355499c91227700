package perf

import (
	"fmt"
	"testing"
)

// BenchmarkRows10000 is what aggregate, publish and the lake pay for the rows
// of 10,000 cells, apart from Parquet.
func BenchmarkRows10000(b *testing.B) {
	m := atlasMeasurement()
	var rows []Row
	for i := range 10000 {
		rows = append(rows, RowOf(cellOf(fmt.Sprint(i), "1"), m))
	}
	text, err := EncodeRows(Atlas(), rows)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("of", func(b *testing.B) {
		for b.Loop() {
			for i := range 10000 {
				RowOf(cellOf(fmt.Sprint(i), "1"), m)
			}
		}
	})
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			if _, err := EncodeRows(Atlas(), rows); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			if _, err := DecodeRows(Atlas(), text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("digest", func(b *testing.B) {
		for b.Loop() {
			if _, err := RowsDigest(Atlas(), rows); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("mean", func(b *testing.B) {
		for b.Loop() {
			MeanRows(rows)
		}
	})
}
