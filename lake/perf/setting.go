// Package perf holds the values of performance work and the maths on them:
// what a measurement is (Measurement, Request, Summary), the setting in which
// a number was obtained (Setting, Residue), and the statistics of requests and
// trials. It knows no disk, no network and no clock.
package perf

import (
	"slices"
	"strings"
)

// A Setting is everything a number depends on: identity, parallelism, serving
// configuration, workload, regime and stack. A number without its Setting is
// not a result. The names are the columns of atlas_v1; a field that could not
// be learned is present with the value Unknown.
type Setting map[string]string

// Unknown is the value of a field that could not be learned.
const Unknown = "unknown"

// Names returns the names of all fields, sorted.
func (s Setting) Names() []string {
	names := make([]string, 0, len(s))
	for n := range s {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// String prints the setting on one line, sorted by name.
func (s Setting) String() string {
	var b strings.Builder
	for i, n := range s.Names() {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(n + "=" + s[n])
	}
	return b.String()
}

// Residue returns the names, apart from those in axes, in which settings
// differ, sorted. A comparison whose residue is not empty compares something
// else than it says.
func Residue(settings []Setting, axes ...string) []string {
	var names []string
	for _, s := range settings {
		for n := range s {
			if slices.Contains(axes, n) || slices.Contains(names, n) {
				continue
			}
			if slices.ContainsFunc(settings, func(o Setting) bool { return o[n] != s[n] }) {
				names = append(names, n)
			}
		}
	}
	slices.Sort(names)
	return names
}
