package ncu

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"pipeline/internal/digest"
	"pipeline/internal/profile"
)

// Summarize adds up launches, by kernel and by category. text is what they
// were read from. A launch without a duration cannot be weighed against the
// others, so it is an error: gpu__time_duration.sum is in every set of ncu.
// doubts are warnings that travel with the figures.
func Summarize(text []byte, launches []Launch, c *profile.Classifier) (counters *profile.Counters, doubts []string, err error) {
	if len(launches) == 0 {
		return nil, nil, errors.New("ncu: the table holds no launch")
	}
	all, kernels, categories := &sum{}, map[[2]string]*sum{}, map[string]*sum{}
	for i := range launches {
		l := &launches[i]
		if l.DurationNS == nil || *l.DurationNS <= 0 {
			return nil, nil, fmt.Errorf("ncu: launch %s (%.80s) has no duration: collect the section SpeedOfLight, or the metric gpu__time_duration.sum", l.ID, l.Kernel)
		}
		category, _ := c.Category(l.Kernel)
		all.add(l)
		at(kernels, [2]string{l.Kernel, category}).add(l)
		at(categories, category).add(l)
	}
	counters = &profile.Counters{
		Source: "ncu --csv", SHA256: digest.Of(text).String(), Launches: all.launches, DurationNS: all.ns,
		Peaks: all.peaks(), TensorOps: all.ops,
	}
	if all.withBytes == all.launches {
		counters.DRAMBytes = &all.bytes
	}
	for key, s := range kernels {
		counters.Kernels = append(counters.Kernels, s.counters(key[0], key[1], all.ns))
	}
	for name, s := range categories {
		counters.Categories = append(counters.Categories, s.counters(name, "", all.ns))
	}
	longestFirst(counters.Kernels)
	longestFirst(counters.Categories)
	counters.Kernels = counters.Kernels[:min(len(counters.Kernels), profile.MostKernels)]
	return counters, doubtsOf(all), nil
}

func at[K comparable](m map[K]*sum, k K) *sum {
	if m[k] == nil {
		m[k] = &sum{}
	}
	return m[k]
}

func longestFirst(list []profile.KernelCounters) {
	slices.SortFunc(list, func(a, b profile.KernelCounters) int {
		return cmp.Or(cmp.Compare(b.DurationNS, a.DurationNS), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Category, b.Category))
	})
}

// A sum adds launches up.
type sum struct {
	launches  int
	ns        float64
	peak      [5]struct{ weighted, ns float64 }
	bytes     float64
	withBytes int
	ops       map[string]float64
}

func (s *sum) add(l *Launch) {
	s.launches++
	s.ns += *l.DurationNS
	for i, pct := range []*float64{l.SMPct, l.MemoryPct, l.DRAMPct, l.L2Pct, l.TensorPct} {
		if pct != nil {
			s.peak[i].weighted += *pct * *l.DurationNS
			s.peak[i].ns += *l.DurationNS
		}
	}
	if l.DRAMBytes != nil {
		s.bytes += *l.DRAMBytes
		s.withBytes++
	}
	if ops, known := l.TensorOps(); known {
		if s.ops == nil {
			s.ops = map[string]float64{}
		}
		for input, n := range ops {
			s.ops[input] += n
		}
	}
}

func (s *sum) peaks() profile.Peaks {
	mean := func(i int) *float64 {
		if s.peak[i].ns == 0 {
			return nil
		}
		v := s.peak[i].weighted / s.peak[i].ns
		return &v
	}
	return profile.Peaks{SMPct: mean(0), MemoryPct: mean(1), DRAMPct: mean(2), L2Pct: mean(3), TensorPct: mean(4)}
}

func (s *sum) counters(name, category string, total float64) profile.KernelCounters {
	return profile.KernelCounters{
		Name: name, Category: category, Launches: s.launches, DurationNS: s.ns, Share: s.ns / total,
		Peaks: s.peaks(), TensorOps: s.ops,
	}
}

func doubtsOf(all *sum) []string {
	doubts := []string{"ncu_replay: ncu replays each launch alone, by default at base clocks: its durations weigh kernels against each other and are no timings of the service"}
	total := 0.0
	for _, n := range all.ops {
		total += n
	}
	if tensor := all.peaks().TensorPct; all.ops != nil && total == 0 && tensor != nil && *tensor > 0 {
		doubts = append(doubts, fmt.Sprintf("ncu_tensor_ops: the tensor pipes were active (%.1f%% of peak) and the counters of their operations read 0: they do not count the instructions of this GPU (wgmma of Hopper is one)", *tensor))
	}
	if sm := all.peak[0]; sm.ns > 0 && sm.ns < all.ns {
		doubts = append(doubts, fmt.Sprintf("ncu_partial: the Speed-of-Light figures are of %.0f%% of the time of the launches", 100*sm.ns/all.ns))
	}
	return doubts
}
