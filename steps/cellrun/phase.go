package cellrun

import "pipeline/steps"

// The phases of a cell, by the names that a spec gives them numbers with.
const (
	phaseBefore   = "pre metrics"  // the endpoint is still what setup saw
	phaseRun      = "run"          // the driver begins: it makes its prompts and warms up, and the server's counters are read
	phaseMonitor  = "monitor"      // the measured requests, under watch
	phaseAfter    = "post metrics" // counters again, once nothing runs
	phaseDownload = "download"     // what the driver recorded is fetched, judged and written
)

func (c *cell) enter(phase string) { c.env.Progress(steps.Progress{Phase: phase}) }
