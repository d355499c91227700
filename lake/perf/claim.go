package perf

import (
	"fmt"
	"slices"
	"strings"
)

// A Claim is what a campaign sets out to show, declared before it runs: the
// level of a configuration, or that it beats another.
type Claim struct {
	About  string   `json:"about"`            // throughput, decode_latency, ttft or goodput
	Metric string   `json:"metric"`           // column that it cites; "" is the metric that About rests on
	Config string   `json:"config"`           //
	Over   string   `json:"over,omitempty"`   // configuration that it beats; "" is a claim on the level
	Across []string `json:"across,omitempty"` // fields of the setting that are compared
}

// Cites returns the metric of the claim.
func (c Claim) Cites() (Metric, bool) {
	if c.Metric != "" {
		return MetricOf(c.Metric)
	}
	all := Metrics()
	if i := slices.IndexFunc(all, func(m Metric) bool { return m.About == c.About }); i >= 0 {
		return all[i], true
	}
	return Metric{}, false
}

func (c Claim) String() string {
	m, _ := c.Cites()
	if c.Over == "" {
		return fmt.Sprintf("the %s of %s (%s)", strings.ReplaceAll(c.About, "_", " "), c.Config, m.Name)
	}
	return fmt.Sprintf("%s beats %s in %s (%s)", c.Config, c.Over, strings.ReplaceAll(c.About, "_", " "), m.Name)
}

// A ClaimReview is the outcome of all gates for one claim.
type ClaimReview struct {
	Claim
	Text       string      `json:"text"`
	Tier       Tier        `json:"tier"`
	Status     ClaimStatus `json:"status"`
	Outcome    string      `json:"outcome"` // what was found, load by load
	Refusals   []Refusal   `json:"refusals"`
	Comparison *Comparison `json:"comparison,omitempty"`

	own []Refusal // those that are of the claim alone
}

// A ClaimStatus says whether what was found is what was claimed. The tier says
// how much that may be relied on: a claim may be refuted by a verdict.
type ClaimStatus string

// The statuses.
const (
	ClaimUpheld   ClaimStatus = "upheld"   // it wins at every load; of a level: it was measured in every cell
	ClaimPartly   ClaimStatus = "partly"   // it wins at some loads, and not at all
	ClaimRefuted  ClaimStatus = "refuted"  // the other wins at some loads, and it at none
	ClaimTie      ClaimStatus = "tie"      // no one wins
	ClaimUntested ClaimStatus = "untested" // there is no load at which it could be told
)

// status sums up the loads of a comparison.
func (c *Comparison) status() ClaimStatus {
	loads, found := 0, map[Outcome]int{}
	for _, p := range c.Pairs {
		for _, f := range p.Findings {
			loads++
			found[f.Outcome]++
		}
	}
	switch {
	case loads == 0:
		return ClaimUntested
	case found[WinsA] == loads:
		return ClaimUpheld
	case found[WinsA] > 0:
		return ClaimPartly
	case found[WinsB] > 0:
		return ClaimRefuted
	case found[Tie] == loads:
		return ClaimTie
	}
	return ClaimUntested
}

// unmeasured names the loads at which a cell does not have the metric in every
// trial.
func unmeasured(side Side, m Metric) []string {
	var out []string
	for i := range side.Cells {
		if _, ok := side.Cells[i].Sample(m); !ok {
			out = append(out, loadText(&side.Cells[i]))
		}
	}
	return out
}

// reviewClaim passes a claim through its gates. What was found about its cells
// holds for the claim too.
func reviewClaim(claim Claim, tests int, cells []Cell, r *Review) ClaimReview {
	out := ClaimReview{Claim: claim, Text: claim.String(), Tier: TierVerdict, Status: ClaimUntested, Refusals: []Refusal{}}
	m, ok := claim.Cites()
	if !ok {
		out.own = []Refusal{{Code: "V04", Text: fmt.Sprintf("%s: no metric %q", out.Text, claim.Metric), Do: "cite a column of atlas_v1 that is a metric"}}
	}
	out.Metric = m.Column
	add := func(code, do, format string, args ...any) {
		out.own = append(out.own, Refusal{Code: code, Metric: m.Column, Text: out.Text + ": " + fmt.Sprintf(format, args...), Do: do})
	}
	a := SideOf(claim.Config, claim.Config, cells)
	isolation(claim, m, a, add)
	sides := []string{claim.Config}
	if claim.Over == "" {
		out.Refusals = append(out.Refusals, ofCampaign(r.Refusals)...)
		out.Outcome = levels(a, m)
		if missing := unmeasured(a, m); len(missing) > 0 {
			add("V01", "measure it in every trial (goodput needs an slo), or claim another", "no number of %s stands behind it at %s", m.Name, strings.Join(missing, "; "))
		} else if len(a.Cells) > 0 {
			out.Status = ClaimUpheld
		}
	} else {
		sides = append(sides, claim.Over)
		b := SideOf(claim.Over, claim.Over, cells)
		out.Comparison = Compare(a, b, CompareOptions{Across: claim.Across, Metrics: []Metric{m}, Tests: tests, Matrix: cells})
		out.Outcome, out.Status = outcomes(out.Comparison), out.Comparison.status()
		for _, f := range out.Comparison.own {
			add(f.Code, f.Do, "%s", f.Text)
		}
	}
	for _, c := range cells {
		if slices.Contains(sides, c.Config) {
			out.Refusals = append(out.Refusals, ofCell(r, &c, m.Column)...)
		}
	}
	if len(a.Cells) == 0 {
		add("V01", "name a configuration of the matrix", "there is no configuration %s", claim.Config)
	}
	out.Refusals = append(out.Refusals, out.own...)
	if len(out.Refusals) > 0 {
		out.Tier = TierDraft
	}
	return out
}

func ofCampaign(refusals []Refusal) []Refusal {
	return slices.DeleteFunc(slices.Clone(refusals), func(f Refusal) bool { return f.Cell != "" || f.Code != "V09" })
}

// ofCell returns the refusals of a cell that hold for a metric.
func ofCell(r *Review, c *Cell, metric string) []Refusal {
	var out []Refusal
	for _, review := range r.Cells {
		if review.Cell == c.ID && review.Campaign == c.Campaign && (review.Setting == "" || len(c.Trials) > 0 && review.Setting == c.Trials[0].Text("setting_sha256")) {
			for _, f := range review.Refusals {
				if f.Metric == "" || f.Metric == metric {
					out = append(out, f)
				}
			}
		}
	}
	return out
}

// isolation is V04: the metric is set by what the claim is about, and by
// nothing else.
func isolation(claim Claim, m Metric, side Side, add func(code, do, format string, args ...any)) {
	if m.About == claim.About || m.Column == "" {
		return
	}
	right, _ := Claim{About: claim.About}.Cites()
	do := "cite " + right.Name
	if claim.About != AboutDecodeLatency || m.About != AboutThroughput {
		add("V04", do, "it cites %s, which is about %s; use %s", m.Name, strings.ReplaceAll(m.About, "_", " "), right.Name)
		return
	}
	for _, c := range side.Cells {
		if n, ok := c.Row().Int("num_prompts"); ok && c.concurrency() > 0 {
			add("V04", do, "it cites %s at num_prompts=%d (%.3gc): TTFT-dominated; use %s", m.Name, n, float64(n)/float64(c.concurrency()), right.Name)
			return
		}
	}
	add("V04", do, "it cites %s, which TTFT and the queue set too; use %s", m.Name, right.Name)
}

// outcomes says load by load who won.
func outcomes(c *Comparison) string {
	if c.Refused != "" {
		return "not compared: " + c.Refused
	}
	var order []string
	loads := map[string][]string{}
	for _, p := range c.Pairs {
		for _, f := range p.Findings {
			who := c.Say(f.Outcome)
			if f.Outcome == Tie && f.Detectable != nil {
				who = fmt.Sprintf("tie (%.2g %% would have been found)", *f.Detectable)
			}
			if loads[who] == nil {
				order = append(order, who)
			}
			loads[who] = append(loads[who], strings.SplitN(p.Load, ",", 2)[0])
		}
	}
	var parts []string
	for _, who := range order {
		parts = append(parts, who+" at "+strings.Join(loads[who], ", "))
	}
	return strings.Join(parts, "; ")
}

// levels says load by load what a metric is.
func levels(side Side, m Metric) string {
	var parts []string
	for i := range side.Cells {
		if s, ok := side.Cells[i].Sample(m); ok {
			text := fmt.Sprintf("%.4g", s.Mean())
			if s.N() > 1 {
				text += fmt.Sprintf(" ± %.2g", s.Std())
			}
			parts = append(parts, fmt.Sprintf("%s (n=%d) at %s", text, s.N(), loadText(&side.Cells[i])))
		}
	}
	return strings.Join(parts, "; ")
}

// declaredTests is how many tests all declared claims make together.
func declaredTests(claims []Claim, cells []Cell) int {
	n := 0
	for _, c := range claims {
		if c.Over == "" {
			continue
		}
		m, ok := c.Cites()
		if !ok {
			continue
		}
		x := Compare(SideOf(c.Config, c.Config, cells), SideOf(c.Over, c.Over, cells), CompareOptions{AllowResidue: true, Metrics: []Metric{m}})
		n += len(x.Pairs)
	}
	return n
}
