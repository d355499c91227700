package cellrun

import (
	"fmt"
	"strings"

	"pipeline/internal/tool"
	"pipeline/lake/perf"
)

// Above these, a tool may have set the numbers.
const (
	// maxToolCPU of one core by the busiest process of a tool, or of all cores
	// by all of them. A process of Python runs on one core: above this, times
	// are taken when it gets to it, and not when bytes came.
	maxToolCPU = 0.9
	// maxToolLag: a request left so much after it was due, in the middle, as a
	// share of the median latency: the load was so much less than asked.
	maxToolLag = 0.01
)

// toolClient is the health of a tool over the measured requests, and whether
// it may have set the numbers. lag may be nil.
func toolClient(m *perf.Measurement, usage tool.Usage, lag *perf.Dist) (*perf.Client, []string) {
	client := &perf.Client{}
	var why, doubts []string
	all, busiest, ok := usage.Between(m.Start, m.End)
	switch {
	case ok:
		client.CPUShare, client.BusiestShare = all, &busiest
	default:
		doubts = append(doubts, "client_unwatched: how much CPU time the tool used is not known")
	}
	if busiest > maxToolCPU {
		why = append(why, fmt.Sprintf("one process of %s used %.0f%% of a core, and has no more", m.Driver.Name, 100*busiest))
	}
	if all > maxToolCPU {
		why = append(why, fmt.Sprintf("%s used %.0f%% of all cores", m.Driver.Name, 100*all))
	}
	if lag != nil {
		client.LagP50ms, client.LagP99ms, client.LagMaxms = lag.P50, lag.P99, lag.Max
		if e2e := m.Summary.E2E; e2e != nil && lag.P50 > maxToolLag*e2e.P50 {
			why = append(why, fmt.Sprintf("requests left %.1f ms after they were due in the middle, where an answer takes %.1f ms", lag.P50, e2e.P50))
		}
	}
	client.Why = strings.Join(why, "; ")
	client.Bound = client.Why != ""
	return client, doubts
}
