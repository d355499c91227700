package perf

import "testing"

// paced is one request with one token a chunk, at a rate that changes each second.
func paced(rates ...int) Request {
	r := Request{TokenSource: "usage"}
	for second, n := range rates {
		for k := range n {
			r.ChunkNS = append(r.ChunkNS, int64(second)*1e9+int64(k+1)*(1e9/int64(n+1)))
		}
	}
	r.OSL, r.FirstNS, r.LastNS = len(r.ChunkNS), r.ChunkNS[0], r.ChunkNS[len(r.ChunkNS)-1]
	r.EndNS = r.LastNS
	return r
}

func TestDrift(t *testing.T) {
	window := Window{ToNS: 15e9}
	for _, c := range []struct {
		name  string
		rates []int
		want  bool
	}{
		{"flat", []int{50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50}, false},
		// Means 50 and 51: 2% apart, under 3%.
		{"within 3%", []int{50, 50, 50, 50, 50, 50, 50, 50, 50, 50, 51, 51, 51, 51, 51}, false},
		{"warming up", []int{40, 42, 44, 46, 48, 50, 50, 50, 50, 50, 50, 50, 50, 50, 50}, true},
		// Means 50 and 45: 10%, the deviation of each third is 0.
		{"slowing down", []int{50, 50, 50, 50, 50, 48, 48, 48, 48, 48, 45, 45, 45, 45, 45}, true},
		// Means 50 and 54; deviation of 10 30 50 70 90 is 31.6, standard error
		// 31.6·sqrt(2/5) = 20: the difference is noise.
		{"noise", []int{10, 30, 50, 70, 90, 50, 50, 50, 50, 50, 14, 34, 54, 74, 94}, false},
	} {
		got := DriftDoubts([]Request{paced(c.rates...)}, window)
		if has(got, "drift") != c.want {
			t.Errorf("%s: %q, want drift %v", c.name, got, c.want)
		}
	}
	if got := DriftDoubts([]Request{paced(10, 20, 30, 40)}, Window{ToNS: 4e9}); got != nil {
		t.Errorf("4 seconds: %q", got)
	}
}
