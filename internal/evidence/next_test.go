package evidence

import (
	"strings"
	"testing"

	"pipeline/internal/frontier"
)

// HANDOFF.md names the next lever first, what is to be measured before a lever
// is more than a guess, and what is refuted.
func TestNextOf(t *testing.T) {
	lever := func(id, status, first string, score float64) frontier.Lever {
		return frontier.Lever{ID: id, Name: id, Status: status, First: first, Low: 1, High: 1.5, Basis: "a floor", Gate: "a cell", Evidence: "1.00x, n=4", Score: map[frontier.Focus]float64{frontier.Latency: score}, Gains: []frontier.Gain{}}
	}
	f := &frontier.Frontier{
		Schema: frontier.Schema, State: frontier.Open, Text: "3 levers", Cells: []frontier.Cell{},
		Levers:  []frontier.Lever{lever("guess", frontier.StatusMeasureFirst, "run dcgm_correlate", 9), lever("small", frontier.StatusOpen, "", 1), lever("large", frontier.StatusOpen, "", 2)},
		Refuted: []frontier.Lever{lever("vain", frontier.StatusRefuted, "", 0)},
	}
	next := func() []string {
		t.Helper()
		text, err := f.JSON()
		if err != nil {
			t.Fatal(err)
		}
		lines, err := NextOf(text, "latency")
		if err != nil {
			t.Fatal(err)
		}
		return lines
	}
	got := next()
	for i, want := range []string{
		"large (open): unlocks up to 1.50x (no evidence below that) of TPOT or throughput (a floor). Gate: a cell", "small (open)",
		"guess (measure first): unlocks up to 1.50x (no evidence below that) of TPOT or throughput (a floor). Gate: a cell Measure first: run dcgm_correlate", "Refuted, and not to be tried again there: vain (a floor): 1.00x, n=4",
	} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Errorf("line %d of %q, want %q", i, got, want)
		}
	}
	f.State, f.Text, f.Levers = frontier.Empty, "FRONTIER EMPTY: documented wall at 87 %", []frontier.Lever{}
	if got := next(); got[0] != f.Text {
		t.Errorf("an empty frontier says %q", got)
	}
	if _, err := NextOf([]byte("{}"), ""); err == nil {
		t.Error("what is no frontier was read")
	}
}
