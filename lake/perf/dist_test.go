package perf

import (
	"encoding/json"
	"math"
	"testing"
)

func near(a, b float64) bool {
	return a == b || math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b))
}

func TestDescribe(t *testing.T) {
	// Sorted: 1 2 3 4 10. n-1 = 4, so p50 is at position 2 (3), p90 at 3.6:
	// 4 + 0.6·6 = 7.6; p95 at 3.8: 4 + 0.8·6 = 8.8; p99 at 3.96: 4 + 0.96·6 = 9.76.
	// Mean 20/5 = 4; squares 9+4+1+0+36 = 50, 50/4 = 12.5, root 3.5355339059327378.
	d := Describe([]float64{10, 2, 1, 4, 3})
	want := Dist{N: 5, Mean: 4, Std: math.Sqrt(12.5), Min: 1, P50: 3, P90: 7.6, P95: 8.8, P99: 9.76, Max: 10}
	for name, pair := range map[string][2]float64{
		"mean": {d.Mean, want.Mean}, "std": {d.Std, want.Std}, "min": {d.Min, want.Min}, "p50": {d.P50, want.P50},
		"p90": {d.P90, want.P90}, "p95": {d.P95, want.P95}, "p99": {d.P99, want.P99}, "max": {d.Max, want.Max},
	} {
		if !near(pair[0], pair[1]) {
			t.Errorf("%s = %v, want %v", name, pair[0], pair[1])
		}
	}
	if d.N != 5 || d.P50CI != nil {
		t.Errorf("N = %d, P50CI = %v; want 5, nil", d.N, d.P50CI)
	}
}

func TestDescribeFew(t *testing.T) {
	if d := Describe(nil); d != nil {
		t.Errorf("Describe(nil) = %+v, want nil: no values is not zero", d)
	}
	if d := Describe([]float64{7}); d.P50 != 7 || d.P99 != 7 || d.Std != 0 || d.N != 1 {
		t.Errorf("Describe of one value = %+v", d)
	}
}

func TestPercentile(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range []struct {
		values []float64
		p      float64
		want   float64
	}{
		{[]float64{15, 20, 35, 40, 50}, 40, 29},   // 0.4·4 = 1.6: 20 + 0.6·15
		{[]float64{1, 2, 3, 4}, 50, 2.5},          // 0.5·3 = 1.5: 2 + 0.5·1
		{[]float64{1, 2, 3, 4}, 0, 1},             //
		{[]float64{1, 2, 3, 4}, 100, 4},           //
		{[]float64{1, 2, inf}, 50, 2},             // an infinity beside the position does not reach it
		{[]float64{1, 2, inf}, 75, inf},           // 0.75·2 = 1.5: half of it does
		{[]float64{1, inf, inf}, 75, inf},         // between two infinities
		{[]float64{5, 5, 5, 5, 5, 5, 9}, 83, 5},   // 0.83·6 = 4.98: 5 + 0.98·0
		{[]float64{0, 10}, 90, 9},                 // 0.9·1
		{[]float64{0, 1, 2, 3, 4, 5, 6}, 95, 5.7}, // 0.95·6
	} {
		if got := Percentile(c.values, c.p); !near(got, c.want) {
			t.Errorf("Percentile(%v, %v) = %v, want %v", c.values, c.p, got, c.want)
		}
	}
	if got := Percentile(nil, 50); !math.IsNaN(got) {
		t.Errorf("Percentile of nothing = %v, want NaN", got)
	}
}

func TestMinSamples(t *testing.T) {
	// p90: 0.9^n + n·0.1·0.9^(n-1) at 63 is 0.0105, at 64 is 0.00956.
	// p99 at 661 is 0.010004, at 662 is 0.009914 (MLPerf's table has 662 and 64).
	for p, want := range map[float64]int{90: 64, 99: 662} {
		if got := MinSamples(p, 0.99); got != want {
			t.Errorf("MinSamples(%v, 0.99) = %d, want %d", p, got, want)
		}
	}
}

func TestPercentileInterval(t *testing.T) {
	values := func(n int) []float64 {
		v := make([]float64, n)
		for i := range v {
			v[i] = float64(i + 1)
		}
		return v
	}
	// The median of 10 at 95%: binomial(10, 1/2) has P(X<=1) = 11/1024 = 0.0107
	// and P(X<=2) = 56/1024 = 0.0547, so l = 2, and by symmetry u = 9. Tables of
	// the sign test have the same: the 2nd to the 9th.
	if got := PercentileInterval(values(10), 50, 0.95); got == nil || *got != (Interval{2, 9}) {
		t.Errorf("median of 10 = %v, want 2 to 9", got)
	}
	// The median of 6: P(X<=0) = 1/64 = 0.0156 <= 0.025, so 1 to 6; of 5: 1/32 =
	// 0.031 > 0.025, so none.
	if got := PercentileInterval(values(6), 50, 0.95); got == nil || *got != (Interval{1, 6}) {
		t.Errorf("median of 6 = %v, want 1 to 6", got)
	}
	if got := PercentileInterval(values(5), 50, 0.95); got != nil {
		t.Errorf("median of 5 = %v, want nil: too few", got)
	}
	// p99 needs 0.99^n <= 0.025 to have an upper end: n >= ln(0.025)/ln(0.99) = 367.04.
	if got := PercentileInterval(values(367), 99, 0.95); got != nil {
		t.Errorf("p99 of 367 = %v, want nil", got)
	}
	if got := PercentileInterval(values(368), 99, 0.95); got == nil || got.High != 368 {
		t.Errorf("p99 of 368 = %v, want an upper end of 368", got)
	}
	// Of a million, about 1.96 deviations either way: 500000 -+ 980 (deviation 500).
	if got := PercentileInterval(values(1_000_000), 50, 0.95); got == nil || math.Abs(got.Low-499020) > 2 || math.Abs(got.High-500981) > 2 {
		t.Errorf("median of a million = %v, want about 499020 to 500981", got)
	}
}

func TestDistJSON(t *testing.T) {
	d := describeWithFailed([]float64{1, 2, 3}, 1)
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	// Sorted 1 2 3 Inf: p50 at 1.5 is 2.5; p90 at 2.7 is Inf; so is the mean.
	want := `{"n":4,"unanswered":1,"mean":null,"std":null,"min":1,"p50":2.5,"p90":null,"p95":null,"p99":null,"max":null}`
	if string(b) != want {
		t.Errorf("JSON %s\nwant %s", b, want)
	}
	var back Dist
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if back != *d {
		t.Errorf("read back %+v, want %+v", back, *d)
	}
}
