package report

import (
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
