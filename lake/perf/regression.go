package perf

import (
	"fmt"
	"math"
	"slices"
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
// tolerances, load by load, and what could not be held against them. They are
// tested whichever metrics were compared; one that is +Inf is not.
func (c *Comparison) Regressions(t Tolerances) (worse, untested []string) {
	worse, untested = []string{}, []string{}
	if c.Refused != "" {
		return worse, untested
	}
	for i := range c.Pairs {
		p := &c.Pairs[i]
		for column, limit := range map[string]float64{"output_tps_per_gpu": t.ThroughputPct, "headline_ttft_ms": t.TTFTPct} {
			if math.IsInf(limit, 1) {
				continue
			}
			m, _ := MetricOf(column)
			switch f := p.finding(m); {
			case f.Effect == nil:
				untested = append(untested, fmt.Sprintf("%s: %s: %s", p.Load, m.Name, f.Why))
			case *f.Effect != 0 && (*f.Effect > 0) != m.Higher && abs(*f.Effect) > limit:
				text := fmt.Sprintf("%s: %s is %+.1f %% (tolerance %g %%)", p.Load, m.Name, *f.Effect, limit)
				if f.Low != nil && *f.Low <= 0 && *f.High >= 0 {
					text += ", within noise"
				}
				worse = append(worse, text)
			}
		}
		a, okA := p.a.hitRate()
		b, okB := p.b.hitRate()
		switch {
		case math.IsInf(t.PrefixHitPts, 1) || p.a.uncached() && p.b.uncached():
		case !okA || !okB:
			untested = append(untested, p.Load+": prefix hit rate: not measured on both sides")
		case 100*(b-a) > t.PrefixHitPts:
			worse = append(worse, fmt.Sprintf("%s: prefix hit rate is %.1f points less (tolerance %g points)", p.Load, 100*(b-a), t.PrefixHitPts))
		}
	}
	slices.Sort(untested)
	slices.Sort(worse)
	return worse, untested
}

// uncached reports whether the server has no prefix cache.
func (c *Cell) uncached() bool {
	on, known := c.Row().Bool("prefix_caching")
	return known && !on
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
// What is "off" is not tested.
func ParseTolerances(text string) (Tolerances, error) {
	t := DefaultTolerances()
	for part := range strings.SplitSeq(text, ",") {
		if part == "" {
			continue
		}
		var v float64
		name, value, ok := strings.Cut(part, "=")
		if value == "off" {
			v = math.Inf(1)
		} else if _, err := fmt.Sscanf(value, "%g", &v); !ok || err != nil || !(v >= 0) || math.IsInf(v, 0) {
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
