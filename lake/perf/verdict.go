package perf

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A Tier says how much a claim may be relied on.
type Tier string

// The tiers. What is not a verdict is a draft, and says why.
const (
	TierDraft   Tier = "draft"
	TierVerdict Tier = "verdict"
)

// A Refusal is a condition of a verdict that fails.
type Refusal struct {
	Code   string `json:"code"`             // of the gate: V01 to V15, V00 for what was not measured on hardware
	Cell   string `json:"cell,omitempty"`   // "" if it is of the whole campaign, or of a claim
	Metric string `json:"metric,omitempty"` // column that it holds for; "" is all
	Text   string `json:"text"`             // what is wrong
	Do     string `json:"do"`               // what would lift it
}

func (r Refusal) String() string {
	if r.Cell == "" {
		return r.Code + ": " + r.Text
	}
	return r.Code + ": cell " + r.Cell + ": " + r.Text
}

// Terms are what a campaign says of itself that its rows do not.
type Terms struct {
	Baseline Baseline // what results are compared with; the zero value names none
	Claims   []Claim  // declared before the run
}

// A Baseline is the configuration that results are compared with.
type Baseline struct {
	Name   string // config, or campaign/config
	Config string
	Rows   []Row // the atlas that has it; nil if it is a configuration of the campaign itself
}

// cells returns the cells of the baseline that have a FULL trial.
func (b Baseline) cells(own []Cell) []Cell {
	all := own
	if b.Rows != nil {
		all = Cells(b.Rows)
	}
	return slices.DeleteFunc(slices.Clone(all), func(c Cell) bool { return c.Config != b.Config || len(c.Trials) == 0 })
}

// ReviewSchema names the shape of a Review.
const ReviewSchema = "verdict/v1"

// A Review is the outcome of all gates over the rows of an atlas: verdict.json.
type Review struct {
	Schema   string        `json:"schema"`
	Tier     Tier          `json:"tier"`               // of the campaign: a verdict if every cell and every claim is one
	Baseline string        `json:"baseline,omitempty"` // as it was named
	Cells    []CellReview  `json:"cells"`
	Claims   []ClaimReview `json:"claims"` // those that were declared
	Refusals []Refusal     `json:"refusals"`
}

// A CellReview is the level claim of one cell: that its numbers are what this
// setting gives.
type CellReview struct {
	Campaign  string    `json:"campaign,omitempty"`
	Cell      string    `json:"cell"`
	Setting   string    `json:"setting_sha256,omitempty"` // of several cells of one name in unlike settings
	Tier      Tier      `json:"tier"`
	Refusals  []Refusal `json:"refusals"`        // those of the whole campaign are not repeated
	Unchecked []string  `json:"unchecked"`       // gates that had nothing to go by
	Excluded  []string  `json:"excluded"`        // trials that are left out of the mean, and why
	Suspect   bool      `json:"suspect"`         // a number is not physical (V12, V15): no achievement
	Swept     bool      `json:"swept,omitempty"` // of a roofline sweep: evidence, always a draft, and no claim of the campaign
}

// ReviewRows judges the rows of an atlas. It is a pure function of them and of
// the terms.
func ReviewRows(rows []Row, terms Terms) *Review {
	cells := Cells(rows)
	r := &Review{Schema: ReviewSchema, Tier: TierVerdict, Baseline: terms.Baseline.Name, Cells: []CellReview{}, Claims: []ClaimReview{}}
	r.Refusals = baselineRefusals(terms.Baseline, cells)
	campaignWide := len(r.Refusals)
	for i := range cells {
		c := reviewCell(&cells[i], cells)
		c.Swept = cells[i].Swept()
		if campaignWide > 0 || c.Swept {
			c.Tier = TierDraft
		}
		r.Cells = append(r.Cells, c)
		if !c.Swept {
			r.Refusals = append(r.Refusals, c.Refusals...)
		}
	}
	tests := declaredTests(terms.Claims, cells)
	for _, claim := range terms.Claims {
		c := reviewClaim(claim, tests, cells, r)
		r.Claims = append(r.Claims, c)
		r.Refusals = append(r.Refusals, c.own...)
	}
	if len(r.Refusals) > 0 || len(r.Cells) == 0 {
		r.Tier = TierDraft
	}
	slices.SortStableFunc(r.Refusals, func(a, b Refusal) int { return cmp.Compare(a.Code, b.Code) })
	return r
}

// Mark writes what the review found into the rows that it was made from: each
// row has the tier and the refusals of its cell, those of the whole campaign
// first.
func (r *Review) Mark(rows []Row) {
	wide := slices.DeleteFunc(slices.Clone(r.Refusals), func(f Refusal) bool { return f.Cell != "" })
	for _, row := range rows {
		for _, c := range r.Cells {
			if c.Cell != cellWithoutTrial(row) || c.Campaign != row.Text("campaign") || c.Setting != "" && c.Setting != row.Text("setting_sha256") {
				continue
			}
			row.SetText("verdict_tier", string(c.Tier))
			row.SetText("baseline_ref", r.Baseline)
			row.SetJSON("verdict_refusals", refusalsJSON(slices.Concat(wide, c.Refusals)))
			break
		}
	}
}

func refusalsJSON(refusals []Refusal) []any {
	out := []any{}
	for _, f := range refusals {
		m := map[string]any{"code": f.Code, "text": f.Text, "do": f.Do}
		if f.Metric != "" {
			m["metric"] = f.Metric
		}
		out = append(out, m)
	}
	return out
}

// ReadReview reads verdict.json.
func ReadReview(data []byte) (*Review, error) {
	var r Review
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("verdict.json: %w", err)
	}
	if r.Schema != ReviewSchema {
		return nil, fmt.Errorf("verdict.json: the schema is %.40q, want %q", r.Schema, ReviewSchema)
	}
	if r.Tier != TierDraft && (r.Tier != TierVerdict || len(r.Refusals) > 0) {
		return nil, fmt.Errorf("verdict.json: the tier is %.40q, with %d refusals", string(r.Tier), len(r.Refusals))
	}
	return &r, nil
}

// MergeReviews returns one review of all: a verdict only if each of them is.
func MergeReviews(reviews ...*Review) *Review {
	out := &Review{Schema: ReviewSchema, Tier: TierVerdict, Cells: []CellReview{}, Claims: []ClaimReview{}, Refusals: []Refusal{}}
	var baselines []string
	for _, r := range reviews {
		if r.Tier != TierVerdict {
			out.Tier = TierDraft
		}
		baselines = append(baselines, r.Baseline)
		out.Cells = append(out.Cells, r.Cells...)
		out.Claims = append(out.Claims, r.Claims...)
		out.Refusals = append(out.Refusals, r.Refusals...)
	}
	if len(reviews) == 0 {
		out.Tier = TierDraft
	}
	out.Baseline = strings.Join(unique(baselines), ", ")
	slices.SortStableFunc(out.Refusals, func(a, b Refusal) int { return cmp.Compare(a.Code, b.Code) })
	return out
}

// A RefusalGroup is one refusal of several cells.
type RefusalGroup struct {
	Code  string   `json:"code"`
	Text  string   `json:"text"`
	Do    string   `json:"do"`
	Cells []string `json:"cells"` // empty if it is of the whole campaign
}

func (g RefusalGroup) String() string {
	const most = 2
	switch {
	case len(g.Cells) == 0:
		return g.Code + ": " + g.Text
	case len(g.Cells) > most:
		return fmt.Sprintf("%s: %d cells, %s and %d more: %s", g.Code, len(g.Cells), g.Cells[0], len(g.Cells)-1, g.Text)
	}
	return fmt.Sprintf("%s: cell %s: %s", g.Code, strings.Join(g.Cells, " and "), g.Text)
}

var numberRE = regexp.MustCompile(`[0-9]+([.,][0-9]+)*`)

// GroupRefusals puts together what is refused in the same words, numbers
// apart, in the order of their codes. The text is that of the first cell.
func GroupRefusals(refusals []Refusal) []RefusalGroup {
	const others = " (the first of them; the others are alike, with numbers of their own)"
	groups := []RefusalGroup{}
	alike := func(s string) string { return numberRE.ReplaceAllString(strings.TrimSuffix(s, others), "#") }
	for _, f := range refusals {
		i := slices.IndexFunc(groups, func(g RefusalGroup) bool { return g.Code == f.Code && alike(g.Text) == alike(f.Text) })
		if i >= 0 && f.Cell != "" && strings.TrimSuffix(groups[i].Text, others) != f.Text {
			groups[i].Text = strings.TrimSuffix(groups[i].Text, others) + others
		}
		if i < 0 {
			i = len(groups)
			groups = append(groups, RefusalGroup{Code: f.Code, Text: f.Text, Do: f.Do, Cells: []string{}})
		}
		if f.Cell != "" && !slices.Contains(groups[i].Cells, f.Cell) {
			groups[i].Cells = append(groups[i].Cells, f.Cell)
		}
	}
	slices.SortStableFunc(groups, func(a, b RefusalGroup) int { return cmp.Compare(a.Code, b.Code) })
	return groups
}

// ReadAtlas reads what an aggregate step wrote: the rows of atlas.json, and
// verdict.json. Without the latter the rows are reviewed here, and no baseline
// is named.
func ReadAtlas(atlas, verdict []byte) ([]Row, *Review, error) {
	rows, err := DecodeRows(Atlas(), atlas)
	if err != nil {
		return nil, nil, err
	}
	if verdict == nil {
		review := ReviewRows(rows, Terms{})
		review.Mark(rows)
		return rows, review, nil
	}
	review, err := ReadReview(verdict)
	return rows, review, err
}

// Codes returns the codes of what is refused, each once, sorted.
func (r *Review) Codes() []string {
	var codes []string
	for _, f := range r.Refusals {
		codes = unique(codes, []string{f.Code})
	}
	return sorted(codes)
}
