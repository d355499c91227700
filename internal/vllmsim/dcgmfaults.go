package vllmsim

import (
	"fmt"
	"slices"
	"strings"
)

// dcgmFaultNames are what can be made to be wrong with the exporter: each is
// what one of the checks on DCGM samples must find.
var dcgmFaultNames = []string{
	"idle",        // the GPUs that serve read as idle
	"busy_before", // they are busy also while nothing is served
	"co_tenant",   // another GPU of the node is busy
	"other_node",  // labels name another node and other GPUs
	"other_pod",   // labels name another pod
	"half",        // every second GPU is not there
	"missing",     // as dcgm-fields default
	"empty",       // no series at all
	"constant",    // figures stop changing while the load runs
	"sentinel",    // one figure of ten is DCGM's "not supported"
	"percent",     // ratios are multiplied by 100
	"gap",         // six collections of ten are not answered
	"low_traffic", // memory activity is a third of what it was
	"straggler",   // the last GPU moves 30 % less
	"thermal",     // the clock is lowered by heat
	"power_cap",   // the clock is lowered by the power limit
	"xid",         // the last GPU reports an XID error
	"ecc",         // the last GPU counts a double-bit error
	"energy",      // the energy counter runs 20 % fast
}

// dcgmFaults are some of them.
type dcgmFaults []string

func parseDCGMFaults(list string) dcgmFaults {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func (f dcgmFaults) has(name string) bool { return slices.Contains(f, name) }

func (f dcgmFaults) check() error {
	for _, name := range f {
		if !slices.Contains(dcgmFaultNames, name) {
			return fmt.Errorf("faults: dcgm names %q, want some of %s", name, strings.Join(dcgmFaultNames, ", "))
		}
	}
	return nil
}
