package cellrun

import (
	"fmt"
	"strings"

	"pipeline/internal/aiperf"
	"pipeline/internal/tool"
	"pipeline/lake/perf"
)

// Above these, a tool may have set the numbers.
const (
	// maxToolCPU of one core by the busiest process of a tool, or of all cores
	// by all of them. A process of Python runs on one core: above this, times
	// are taken when it gets to it, and not when bytes came.
	maxToolCPU = 0.9
	// busyCPU is the share from which a tool that sends late (aiperf.Late) does
	// so for want of CPU. Below it the tool waits for something else, which its
	// own doubt tells.
	busyCPU = 0.5
)

// toolClient is the health of a tool over the measured requests, and whether
// it may have set the numbers. lag may be nil.
func toolClient(m *perf.Measurement, usage tool.Usage, lag *perf.Dist) (*perf.Client, []string) {
	client := &perf.Client{}
	var doubts []string
	all, busiest, ok := usage.Between(m.Start, m.End)
	if ok {
		client.CPUShare, client.BusiestShare = &all, &busiest
	} else {
		doubts = append(doubts, "client_unwatched: how much CPU time the tool used is not known")
	}
	if lag != nil {
		client.LagP50ms, client.LagP99ms, client.LagMaxms = &lag.P50, &lag.P99, &lag.Max
	}
	client.Why = toolBound(m.Driver.Name, client, m.Summary.E2E)
	client.Bound = client.Why != ""
	return client, doubts
}

// toolBound returns why a tool may have set the numbers, or "".
func toolBound(name string, c *perf.Client, latency *perf.Dist) string {
	if c.CPUShare == nil || c.BusiestShare == nil {
		return ""
	}
	var why []string
	all, busiest := *c.CPUShare, *c.BusiestShare
	if busiest > maxToolCPU {
		why = append(why, fmt.Sprintf("one process of %s used %.0f%% of a core, and has no more", name, 100*busiest))
	}
	if all > maxToolCPU {
		why = append(why, fmt.Sprintf("%s used %.0f%% of all cores", name, 100*all))
	}
	if c.LagP50ms != nil && latency != nil && max(busiest, all) > busyCPU && aiperf.Late(*c.LagP50ms, latency.P50) {
		why = append(why, fmt.Sprintf("requests left %.1f ms after they were due in the middle, where an answer takes %.1f ms, and one process of %s used %.0f%% of a core",
			*c.LagP50ms, latency.P50, name, 100*busiest))
	}
	return strings.Join(why, "; ")
}
