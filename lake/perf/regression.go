package perf

import (
	"fmt"
	"strings"
)

// Tolerances are how much worse than its baseline a configuration may be.
type Tolerances struct {
	TTFTPct       float64 // median TTFT, percent more
	ThroughputPct float64 // output tok/s/GPU, percent less
	PrefixHitPts  float64 // prefix hit rate, percentage points less
}

// DefaultTolerances are those of a performance registry: 5 %, 3 %, 2 points.
func DefaultTolerances() Tolerances { return Tolerances{5, 3, 2} }

// Regressions lists in what A is worse than its baseline B beyond the
// tolerances, load by load.
func (c *Comparison) Regressions(t Tolerances) []string {
	out := []string{}
	for _, p := range c.Pairs {
		for _, f := range p.Findings {
			limit := 0.0
			switch f.Metric {
			case "output_tps_per_gpu":
				limit = t.ThroughputPct
			case "headline_ttft_ms":
				limit = t.TTFTPct
			default:
				continue
			}
			m, _ := MetricOf(f.Metric)
			if f.Effect == nil || *f.Effect == 0 || (*f.Effect > 0) == m.Higher || abs(*f.Effect) <= limit {
				continue
			}
			text := fmt.Sprintf("%s: %s is %+.1f %% (tolerance %g %%)", p.Load, m.Name, *f.Effect, limit)
			if f.Low != nil && *f.Low <= 0 && *f.High >= 0 {
				text += ", within noise"
			}
			out = append(out, text)
		}
		if c.Refused != "" {
			continue
		}
		a, okA := p.a.hitRate()
		b, okB := p.b.hitRate()
		if okA && okB && 100*(b-a) > t.PrefixHitPts {
			out = append(out, fmt.Sprintf("%s: prefix hit rate is %.1f points less (tolerance %g points)", p.Load, 100*(b-a), t.PrefixHitPts))
		}
	}
	return out
}

func abs(v float64) float64 { return max(v, -v) }

// hitRate is the share of the input tokens found in the prefix cache, by the
// server or else by the requests.
func (c *Cell) hitRate() (float64, bool) {
	if v, ok := c.mean("prefix_hit_rate"); ok {
		return v, true
	}
	return c.mean("client_prefix_hit_rate")
}

// ParseTolerances reads "ttft=5,throughput=3,prefix_hit=2" over the defaults.
func ParseTolerances(text string) (Tolerances, error) {
	t := DefaultTolerances()
	for part := range strings.SplitSeq(text, ",") {
		if part == "" {
			continue
		}
		var v float64
		name, value, ok := strings.Cut(part, "=")
		if _, err := fmt.Sscanf(value, "%g", &v); !ok || err != nil || v < 0 {
			return t, fmt.Errorf("%q is not of the form ttft=5", part)
		}
		switch name {
		case "ttft":
			t.TTFTPct = v
		case "throughput":
			t.ThroughputPct = v
		case "prefix_hit":
			t.PrefixHitPts = v
		default:
			return t, fmt.Errorf("%q has no tolerance; they are ttft, throughput and prefix_hit", name)
		}
	}
	return t, nil
}
