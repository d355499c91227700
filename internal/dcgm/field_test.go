package dcgm

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The table agrees with the one that was made from DCGM's own sources.
func TestFieldsAgreeWithDCGM(t *testing.T) {
	text, err := os.ReadFile("testdata/fields.tsv")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n")[1:] {
		c := strings.Split(line+"\t\t\t\t\t\t", "\t")
		id, err := strconv.Atoi(c[0])
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		info, ok := Field(id).Info()
		if !ok {
			continue // a field of which we make nothing
		}
		seen++
		if info.Name != c[1] || info.Legacy != c[2] || c[5] != "" && info.Short != c[5] {
			t.Errorf("%d: %+v, DCGM has %q", id, info, c)
		}
		for _, name := range []string{c[1], c[2]} {
			if f, ok := FieldNamed(name); name != "" && (!ok || f != Field(id)) {
				t.Errorf("%s is field %d, not %d", name, f, id)
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d fields of the table are DCGM's", seen)
	}
	if !slices.IsSortedFunc(fields, func(a, b FieldInfo) int { return int(a.ID - b.ID) }) {
		t.Error("the table is not in the order of ids")
	}
}

func TestFieldsNeededAreAsked(t *testing.T) {
	for _, f := range Needed(true) {
		if !slices.Contains(Asked(), f) || f.Key() == "" {
			t.Errorf("%s is needed, and not asked for or not reported", f)
		}
	}
	if f, ok := FieldNamed("DCGM_FI_DEV_GPU_UTIL_RATIO"); !ok || f != 203 {
		t.Errorf("field %d", f)
	} else if info, _ := f.Info(); info.Unit != Percent {
		t.Errorf("203 is %s under its new name, whatever the name says", info.Unit)
	}
}

func TestBlank(t *testing.T) {
	for _, c := range []struct {
		f    Field
		v    float64
		want bool
	}{
		{140, 9223372036854775794, true}, {DRAM, 140737488355328, true}, {XID, 0x7ffffff0, true}, {GPUTemp, 2147483634, true},
		{DRAM, 1.5, false}, {Energy, 319159391, false}, {Energy, 3e9, false}, {Energy, 9223372036854775794, true}, {NVLinkTx, 9e11, false},
	} {
		info, _ := c.f.Info()
		if got := info.blank(c.v); got != c.want {
			t.Errorf("%s %v is blank: %v, want %v", c.f, c.v, got, c.want)
		}
	}
}

// The counters file that is offered to users has every field that a capture
// asks for, but those of newer DCGM only.
func TestCountersFileSuffices(t *testing.T) {
	text, err := os.ReadFile("../../configs/dcgm-counters.csv")
	if err != nil {
		t.Fatal(err)
	}
	offered := map[Field]bool{}
	for _, line := range strings.Split(string(text), "\n") {
		name, rest, ok := strings.Cut(line, ",")
		if strings.HasPrefix(line, "#") || !ok {
			continue
		}
		f, known := FieldNamed(name)
		if !known && !strings.Contains(rest, "label") {
			t.Errorf("%s is no known field", name)
		}
		offered[f] = true
		if info, _ := f.Info(); known && info.Counter != strings.Contains(rest, "counter,") {
			t.Errorf("%s is a counter: %v", name, info.Counter)
		}
	}
	for _, f := range Asked() {
		if f >= SMCyclesElapsed && f < 2000 { // not in every DCGM: an exporter would refuse to start
			continue
		}
		if !offered[f] {
			t.Errorf("%s is asked for, and not offered", f)
		}
	}
}
