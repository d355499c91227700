package loadgen

import (
	"errors"
	"fmt"
)

// spareFiles is how many files a run needs beside its connections.
const spareFiles = 32

// preflight refuses a run that this machine's limits would break off halfway.
func preflight(c *Config) error {
	return Fits(connections(c))
}

// Fits refuses a number of requests at once for which this machine's limits are
// too low.
func Fits(requests int) error {
	limit, open := fileLimit()
	return checkLimits(requests, limit, open, portRange())
}

// LoadAverage is how many processes wanted a CPU in the last minute, 0 if that
// is not known.
func LoadAverage() float64 { return loadAverage() }

// connections is the most connections that a run may have open. An open loop
// without a limit has no such number; what a minute's arrivals need is asked.
func connections(c *Config) int {
	w := &c.Workload
	if w.Concurrency > 0 {
		return min(w.Concurrency, max(w.NumPrompts, w.Warmup))
	}
	return max(min(w.NumPrompts, int(60*w.RequestRate)), warmupStreams)
}

// checkLimits compares what is needed with what there is; 0 is unknown.
func checkLimits(need, files, open, ports int) error {
	var errs []error
	if files > 0 && need+open+spareFiles > files {
		errs = append(errs, fmt.Errorf("%d connections need %d open files, the limit is %d: raise it with ulimit -n %d, or ask for less concurrency",
			need, need+open+spareFiles, files, need+open+spareFiles))
	}
	if ports > 0 && need > ports {
		errs = append(errs, fmt.Errorf("%d connections need as many local ports, this machine has %d: widen net.ipv4.ip_local_port_range with sysctl, or ask for less concurrency",
			need, ports))
	}
	return errors.Join(errs...)
}
