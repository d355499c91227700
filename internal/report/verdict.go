package report

import (
	"fmt"
	"slices"
	"strings"

	"pipeline/lake/perf"
)

// A verdict is what the cover says of the tier.
type verdict struct {
	Reached   bool
	Stamp     string
	Codes     []string // of what fails
	Baseline  string
	Refusals  []gateLine
	Claims    []claimLine
	Unchecked []gateLine // by a verdict, or by cells that pass all else
	Excluded  []string   // trials that are left out of the means, and why
}

// A gateLine is a gate, the cells that it is about, and what it says.
type gateLine struct {
	Code, All, Text, Do string
	Cells               []string // their names, in parts that a line may break between
}

type claimLine struct {
	Text, Stamp, Class, Outcome string
	Why                         []string
}

// stamp is what stands beside a claim, and its colour: that it is a draft, or
// whether the verdict upholds it.
func stamp(c ClaimStatus) (text, class string) {
	switch {
	case c.Tier != perf.TierVerdict:
		return strings.ToUpper(string(c.Tier)), "PARTIAL"
	case c.Status == perf.ClaimUpheld:
		class = "FULL"
	case c.Status == perf.ClaimRefuted:
		class = "FAILED"
	default:
		class = "PARTIAL"
	}
	return strings.ToUpper("verdict: " + string(c.Status)), class
}

func (v *view) verdict() verdict {
	review := v.in.Review
	out := verdict{Reached: review.Tier == perf.TierVerdict, Stamp: strings.ToUpper(string(review.Tier)), Baseline: review.Baseline, Codes: review.Codes()}
	for _, g := range v.status.Refusals {
		out.Refusals = append(out.Refusals, gateLine{Code: g.Code, Cells: v.someCells(g.Cells), All: strings.Join(g.Cells, "\n"), Text: g.Text, Do: g.Do})
	}
	for _, c := range v.status.Claims {
		text, class := stamp(c)
		out.Claims = append(out.Claims, claimLine{c.Claim, text, class, c.Outcome, c.Why})
	}
	cells := map[string][]string{}
	var order []string
	for _, c := range review.Cells {
		for _, x := range c.Excluded {
			out.Excluded = append(out.Excluded, c.Cell+", "+x)
		}
		for _, u := range c.Unchecked {
			if cells[u] == nil {
				order = append(order, u)
			}
			cells[u] = append(cells[u], c.Cell)
		}
	}
	slices.Sort(order)
	for _, u := range order {
		code, text, _ := strings.Cut(u, ": ")
		out.Unchecked = append(out.Unchecked, gateLine{Code: code, Cells: v.someCells(cells[u]), All: strings.Join(cells[u], "\n"), Text: text})
	}
	return out
}

// someCells names the cells of a refusal, or counts them.
func (v *view) someCells(cells []string) []string {
	const most = 2
	switch n := len(cells); {
	case n == 0:
		return []string{"the campaign"}
	case n == len(v.in.Review.Cells) && n > 1:
		return []string{fmt.Sprintf("all %d cells", n)}
	case n > most:
		return []string{fmt.Sprintf("%d of %d cells", n, len(v.in.Review.Cells))}
	}
	return strings.SplitAfter(strings.Join(cells, " and "), ",")
}

// whyDraft says what keeps a claim a draft: what it lacks itself, and the codes
// of what its cells lack, which is told once for all.
func whyDraft(c perf.ClaimReview) []string {
	why, codes := []string{}, []string{}
	for _, f := range c.Refusals {
		switch {
		case f.Cell == "":
			why = append(why, f.Code+": "+strings.TrimPrefix(f.Text, c.Text+": "))
		case !slices.Contains(codes, f.Code):
			codes = append(codes, f.Code)
		}
	}
	if len(codes) > 0 {
		slices.Sort(codes)
		why = append(why, "its cells fail "+strings.Join(codes, ", "))
	}
	return why
}
