package perf

import "testing"

func TestParallelStrategy(t *testing.T) {
	for _, c := range []struct {
		s    Setting
		want string
	}{
		{Setting{"tp": "8", "pp": "1", "dp": "1", "ep": "1"}, "tp8"},
		{Setting{"tp": "1", "dp": "8", "ep": "8", "pp": Unknown}, "dp8-ep8"},
		{Setting{"tp": "1", "pp": "1", "dp": "1"}, "tp1"},
		{Setting{"tp": Unknown, "pp": "1"}, Unknown},
		{Setting{}, Unknown},
	} {
		if got := c.s.ParallelStrategy(); got != c.want {
			t.Errorf("%v: %q, want %q", c.s, got, c.want)
		}
	}
}
