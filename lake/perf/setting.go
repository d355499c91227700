// Package perf holds the values of performance work and the maths on them:
// what a measurement is (Measurement, Request, Summary), the setting in which
// a number was obtained (Setting, Residue), and the statistics of requests and
// trials. It knows no disk, no network and no clock.
package perf

import (
	"regexp"
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

// ParallelStrategy is the parallelism in one token: tp8, dp8-ep8. A size of 1
// is left out, unless all are.
func (s Setting) ParallelStrategy() string {
	var parts []string
	for _, p := range []string{"tp", "pp", "dp", "ep"} {
		if v := s[p]; v != "" && v != Unknown && v != "1" {
			parts = append(parts, p+v)
		}
	}
	switch {
	case len(parts) > 0:
		return strings.Join(parts, "-")
	case s["tp"] == "1":
		return "tp1"
	}
	return Unknown
}

var repositoryRE = regexp.MustCompile(`^[\w.-]+/[\w.-]+$`)

// IsRepository reports whether a model's name is that of a repository of the
// HuggingFace hub: owner/name.
func IsRepository(name string) bool { return repositoryRE.MatchString(name) }

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
