package stat

import (
	"cmp"
	"math"
	"slices"
)

// Holm returns p values corrected for there being tests of them in all: the
// chance of even one false finding among them is then below the level that a
// corrected value is compared with (Holm 1979). tests is at least len(p): what
// was to be tested and could not be counts as well. A NaN stays NaN, and is
// such a test.
func Holm(p []float64, tests int) []float64 {
	tests = max(tests, len(p))
	order := make([]int, 0, len(p))
	out := make([]float64, len(p))
	for i, v := range p {
		if out[i] = v; !math.IsNaN(v) {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(p[a], p[b]) })
	least := 0.0
	for k, i := range order {
		least = max(least, min(1, float64(tests-k)*p[i]))
		out[i] = least
	}
	return out
}
