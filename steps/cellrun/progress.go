package cellrun

import (
	"fmt"

	"pipeline/steps"
)

// progress is how far a driver is.
type progress struct {
	preparing, warmup   bool
	starting            bool // no request has ended yet that a tool tells of
	done, failed, total int
	inFlight            int     // -1 is not known
	waiting             int     // in the server's queue; -1 is not known
	ttftMS              float64 // median of the latest; 0 is not known
	outputTPS           float64
}

func (c *cell) tell(p progress) {
	text := ""
	add := func(format string, a ...any) {
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf(format, a...)
	}
	switch {
	case p.preparing:
		add("fitting prompts")
	case p.starting:
		add("the tool starts")
	case p.ttftMS > 0:
		add("TTFT %.0f ms", p.ttftMS)
		if p.outputTPS > 0 {
			add("%.0f tok/s", p.outputTPS)
		}
	case p.inFlight >= 0:
		add("%d in flight", p.inFlight)
	}
	if p.waiting > 0 {
		add("%d waiting", p.waiting)
	}
	if p.failed > 0 {
		add("%d failed", p.failed)
	}
	unit := "requests"
	if p.warmup {
		unit = "warm-up requests"
	}
	c.env.Progress(steps.Progress{Done: p.done, Total: p.total, Unit: unit, Text: text})
}
