// Package render is the step that makes the report of a campaign from the rows
// of atlas_v1. What a page looks like is the business of internal/report.
package render

import (
	"context"
	"errors"
	"fmt"

	"pipeline/internal/dcgm"
	"pipeline/internal/frontier"
	"pipeline/internal/report"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// Kind is the kind "render".
func Kind() steps.Kind {
	return steps.Kind{
		Name:    "render",
		Summary: "make the report page from the rows of an atlas",
		Doc: `Reads atlas.json and writes report.html, one page that needs nothing beside itself:
what was measured and in which setting, the charts, each cell with its doubts, and
a list of what is not there, why, and how to get it. report_status.json says the
same for machines.

The page knows nothing but the rows and the parameters, so that it can be made
again after the endpoint is gone. Give it the name of the campaign if it should
stand on the cover.`,
		Version: 2,
		Effect:  steps.Pure,
		Ports: []steps.Port{
			{Name: "atlas", Doc: "an aggregate step", Required: true, Reads: []string{"atlas.json"}},
			{Name: "dcgm", Doc: "DCGM reports of cells (dcgm_correlate), for what they show over time", Gaps: true, Reads: []string{dcgm.ReportFile}},
		},
		Outputs: []steps.Output{
			{Name: "report.html", Doc: "the page"},
			{Name: "report_status.json", Doc: "each page of the report: rendered, or omitted with why and how to get it"},
			{Name: "sol-summary.md", Doc: "the Speed of Light of the workload and of each cell, and the next lever, as Markdown"},
		},
		Show: true,
		New:  func() steps.Step { return &Step{Title: "Benchmark report", Focus: string(frontier.Mixed)} },
	}
}

// Step holds the parameters of one run.
type Step struct {
	Title    string `json:"title" key:"yes" doc:"Title of the page."`
	Campaign string `json:"campaign" key:"yes" doc:"Name of the campaign on the cover; left out if empty."`
	Intent   string `json:"intent" key:"yes" doc:"What was asked, in a sentence, on the cover; left out if empty."`
	Focus    string `json:"focus" key:"yes" enum:"latency,throughput,mixed" doc:"What the campaign is after: next levers are ranked for it."`
}

// Check implements steps.Checker.
func (s *Step) Check() error {
	if s.Title == "" {
		return &steps.ParamError{Param: "title", Err: errors.New("it is empty")}
	}
	return nil
}

// Run implements steps.Runner.
func (s *Step) Run(ctx context.Context, env *steps.Env) error {
	var rows []perf.Row
	var reviews []*perf.Review
	for i := range env.In["atlas"] {
		in := &env.In["atlas"][i]
		atlas, err := in.ReadAll("atlas.json")
		if err != nil {
			return fmt.Errorf("read atlas.json of step %s: %w", in.Step, err)
		}
		verdict, err := in.ReadIf("verdict.json")
		if err != nil {
			return fmt.Errorf("read verdict.json of step %s: %w", in.Step, err)
		}
		more, review, err := perf.ReadAtlas(atlas, verdict)
		if err != nil {
			return fmt.Errorf("read atlas.json of step %s: %w", in.Step, err)
		}
		rows = append(rows, more...)
		reviews = append(reviews, review)
	}
	next, err := readFrontier(env.In["atlas"])
	if err != nil {
		return err
	}
	seen, err := readDCGM(env.In["dcgm"])
	if err != nil {
		return err
	}
	made, err := report.Render(report.Input{Title: s.Title, Campaign: s.Campaign, Intent: s.Intent, Focus: s.Focus, Rows: rows, Frontier: next, Review: perf.MergeReviews(reviews...), DCGM: seen})
	if err != nil {
		return fmt.Errorf("render the report: %w", err)
	}
	status, err := made.Status.JSON()
	if err != nil {
		return err
	}
	if err := env.Put("report.html", made.HTML); err != nil {
		return err
	}
	if err := env.Put("sol-summary.md", made.Summary); err != nil {
		return err
	}
	return env.Put("report_status.json", status)
}

// readFrontier reads what the atlas says to try next. Of several atlases none
// speaks for all.
func readFrontier(atlases []steps.Input) (*frontier.Frontier, error) {
	if len(atlases) != 1 {
		return nil, nil
	}
	if _, ok := atlases[0].Artifact("frontier.json"); !ok {
		return nil, nil
	}
	text, err := atlases[0].ReadAll("frontier.json")
	if err != nil {
		return nil, fmt.Errorf("read frontier.json of step %s: %w", atlases[0].Step, err)
	}
	return frontier.Read(text)
}
