package pipelines

import (
	"slices"
	"strings"

	"pipeline/internal/yaml"
)

const maxFaults = 100 // that one spec reports

// faults collects what is wrong with a spec.
type faults struct {
	errs     yaml.Errors
	warnings []Warning
}

// errKnown stands for a fault that follows from one that is reported already.
var errKnown = &yaml.Error{}

func (f *faults) add(e *yaml.Error) {
	if e != errKnown && len(f.errs) < maxFaults {
		f.errs = append(f.errs, e)
	}
}

func (f *faults) full() bool { return len(f.errs) >= maxFaults }

func (f *faults) warn(p Pos, text string) {
	if len(f.warnings) < maxFaults {
		f.warnings = append(f.warnings, Warning{p, text})
	}
}

func (f *faults) sortedWarnings() []Warning {
	out := slices.Clone(f.warnings)
	slices.SortStableFunc(out, func(a, b Warning) int {
		if c := a.Pos.Compare(b.Pos); c != 0 {
			return c
		}
		return strings.Compare(a.Text, b.Text)
	})
	return slices.Compact(out)
}

// joinPath writes a name as an expression has it.
func joinPath(names []string) string { return strings.Join(names, ".") }

// joinAnd lists names for people: a, b and c.
func joinAnd(names []string) string {
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}
