package report

import (
	"strings"
	"testing"

	"pipeline/lake/perf"
)

// Only a claim that holds is stamped in the colour of what holds.
func TestStamp(t *testing.T) {
	for _, c := range []struct {
		tier        perf.Tier
		status      perf.ClaimStatus
		text, class string
	}{
		{perf.TierVerdict, perf.ClaimUpheld, "VERDICT: UPHELD", "FULL"},
		{perf.TierVerdict, perf.ClaimPartly, "VERDICT: PARTLY", "PARTIAL"},
		{perf.TierVerdict, perf.ClaimTie, "VERDICT: TIE", "PARTIAL"},
		{perf.TierVerdict, perf.ClaimRefuted, "VERDICT: REFUTED", "FAILED"},
		{perf.TierDraft, perf.ClaimUpheld, "DRAFT", "PARTIAL"},
	} {
		if text, class := stamp(ClaimStatus{Tier: c.tier, Status: c.status}); text != c.text || class != c.class {
			t.Errorf("%s, %s is stamped %q (%s)", c.tier, c.status, text, class)
		}
	}
}

// A trial that is left out of a mean is named on the cover.
func TestExcludedOnTheCover(t *testing.T) {
	rows := rivals()
	review := perf.ReviewRows(rows, perf.Terms{})
	review.Cells[0].Excluded = []string{"trial 4: excluded: throttled (reasons 0x20)"}
	text := visible(render(t, Input{Title: "Backends", Rows: rows, Review: review}).HTML)
	if want := "Left out of the means: " + review.Cells[0].Cell + ", trial 4: excluded: throttled (reasons 0x20)."; !strings.Contains(text, want) {
		t.Errorf("the cover does not hold %q", want)
	}
}
