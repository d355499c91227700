// Package report makes the page that people read from rows of atlas_v1: one
// HTML file that needs nothing beside itself, and a status that lists each
// page of the design as rendered, or as omitted with the reason and what to do
// about it.
//
// Render takes rows and gives both. What it writes depends on its input only:
// no clock, no host, no map order. Charts are drawn by the package chart.
package report

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"pipeline/internal/dcgm"
	"pipeline/internal/frontier"
	"pipeline/lake/perf"
)

// An Input is all that a report says.
type Input struct {
	Title    string
	Campaign string             // "" leaves it out
	Intent   string             // what was asked, in a sentence; "" leaves it out
	Focus    string             // latency, throughput or mixed: how levers are ranked; "" is mixed
	Rows     []perf.Row         // of atlas_v1, in any order
	Frontier *frontier.Frontier // what to try next; nil if nobody asked
	Review   *perf.Review       // of the rows; nil: they are reviewed here, without a baseline
	DCGM     []*dcgm.Report     // of cells, for what they show over time
}

// A Report is the page and its status.
type Report struct {
	HTML    []byte
	Summary []byte // sol-summary.md
	Status  Status
}

// StatusSchema names the shape of a Status.
const StatusSchema = "report_status/v1"

// A Status is report_status.json: what the report shows and what it does not.
type Status struct {
	Schema    string              `json:"schema"`
	Title     string              `json:"title"`
	Tier      perf.Tier           `json:"tier"`
	TierWhy   []string            `json:"tier_why"`         // the conditions of a verdict that fail, a line each
	Refusals  []perf.RefusalGroup `json:"verdict_refusals"` // the same, with what would lift each
	Claims    []ClaimStatus       `json:"claims"`           // those that were declared
	Simulated bool                `json:"simulated"`        // a row is of a simulated endpoint
	Cells     Counts              `json:"cells"`
	Headline  []Headline          `json:"headline"`
	Pages     []Page              `json:"pages"`
	Gaps      []string            `json:"gaps"` // what this report could show, had it been measured
	SoL       *SoLStatus          `json:"sol"`
}

// A ClaimStatus is a claim that was declared, and what became of it.
type ClaimStatus struct {
	Claim   string           `json:"claim"`
	Tier    perf.Tier        `json:"tier"`    // how much what was found may be relied on
	Status  perf.ClaimStatus `json:"status"`  // whether it is what was claimed
	Outcome string           `json:"outcome"` // load by load
	Why     []string         `json:"why"`     // it is a draft
}

// Counts counts the rows of cells, means apart.
type Counts struct {
	Total     int `json:"total"`
	Full      int `json:"full"`
	Partial   int `json:"partial"`
	Failed    int `json:"failed"`
	Missing   int `json:"missing"`
	PlotReady int `json:"plot_ready"`
}

// A Page is one page of the design's list.
type Page struct {
	ID       string `json:"page"` // 1 to 9, 6b, completeness
	Title    string `json:"title"`
	Status   string `json:"status"` // rendered or omitted
	Why      string `json:"why,omitempty"`
	HowToGet string `json:"how_to_get,omitempty"`
}

// The values of Page.Status.
const (
	Rendered = "rendered"
	Omitted  = "omitted"
)

// A Headline is a number with its own exact setting.
type Headline struct {
	What   string  `json:"what"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Std    float64 `json:"std,omitempty"` // over N trials; absent for one
	N      int64   `json:"n"`
	Window string  `json:"window"` // steady or full
	Cell   string  `json:"cell_id"`
	Row    string  `json:"row_uid"`
	Shape  string  `json:"shape"` // the whole setting
	// The share of Speed of Light of that cell, absent if there is none.
	PctSoL     *float64 `json:"pct_sol,omitempty"`
	SoLKind    string   `json:"pct_sol_kind,omitempty"`
	CeilingKey string   `json:"ceiling_key,omitempty"`
	Rigor      string   `json:"sol_rigor,omitempty"`
}

// Render makes the report. Rows of another schema, or none, are an error.
func Render(in Input) (*Report, error) {
	if len(in.Rows) == 0 {
		return nil, errors.New("a report needs rows of atlas_v1; there are none")
	}
	for _, r := range in.Rows {
		if r.Schema().Name != perf.Atlas().Name {
			return nil, fmt.Errorf("a report needs rows of atlas_v1, not of %s", r.Schema().Name)
		}
	}
	v := newView(in)
	html, err := v.html()
	if err != nil {
		return nil, err
	}
	return &Report{HTML: html, Summary: v.summary(), Status: v.status}, nil
}

// JSON writes the status for report_status.json.
func (s Status) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("report status: %w", err)
	}
	return append(b, '\n'), nil
}

// ReadStatus reads report_status.json.
func ReadStatus(data []byte) (*Status, error) {
	var s Status
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("report_status.json: %w", err)
	}
	if s.Schema != StatusSchema {
		return nil, fmt.Errorf("report_status.json: the schema is %.40q, want %q", s.Schema, StatusSchema)
	}
	return &s, nil
}

// Count counts the rows of cells by status.
func Count(rows []perf.Row) Counts {
	var c Counts
	for _, r := range rows {
		if r.Text("agg") != "trial" {
			continue
		}
		c.Total++
		switch perf.Status(r.Text("status")) {
		case perf.Full:
			c.Full++
		case perf.Partial:
			c.Partial++
		case perf.Failed:
			c.Failed++
		default:
			c.Missing++
		}
		if ready, _ := r.Bool("plot_ready"); ready {
			c.PlotReady++
		}
	}
	return c
}

// Gaps lists, in the order of rows, the cells that give no number to trust,
// with the reason.
func Gaps(rows []perf.Row) []string {
	gaps := []string{}
	for _, r := range rows {
		if r.Text("agg") != "trial" {
			continue
		}
		id, ready := r.Text("cell_id"), false
		ready, _ = r.Bool("plot_ready")
		switch {
		case r.Text("status") != string(perf.Full):
			gaps = append(gaps, fmt.Sprintf("cell %s is %s: %s", id, r.Text("status"), cmp.Or(r.Text("status_reason"), "no reason was given")))
		case !ready:
			gaps = append(gaps, fmt.Sprintf("cell %s is FULL but cannot be plotted: it has no median TTFT or no request throughput", id))
		}
	}
	return gaps
}

// OmittedPages returns the pages that are not rendered.
func (s Status) OmittedPages() []Page {
	return slices.DeleteFunc(slices.Clone(s.Pages), func(p Page) bool { return p.Status != Omitted })
}

// SoLComplete reports whether the record of Speed of Light is complete, which
// is not to say that it is of high rigor: each FULL cell whose ceiling is known
// stands on page 4, pages 6 and 6b are rendered or left out with a reason, and
// the page of completeness lists all that is left out.
func (s Status) SoLComplete() bool {
	if s.SoL == nil || s.SoL.Cells == 0 || s.SoL.Shown < s.SoL.Cells {
		return false
	}
	told := map[string]bool{}
	for _, p := range s.Pages {
		rendered := p.Status == Rendered
		if !rendered && (p.Why == "" || p.HowToGet == "") {
			return false // left out without a word
		}
		told[p.ID] = rendered || p.ID == "6" || p.ID == "6b"
	}
	return told["4"] && told["6"] && told["6b"] && told["completeness"]
}
