package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"pipeline/engine"
	"pipeline/pipelines"
	"pipeline/steps"
)

func (a *app) planCmd() *cobra.Command {
	var f specFlags
	var sel selectFlags
	var verbose bool
	cmd := &cobra.Command{
		Use:   "plan SPEC",
		Short: "Say of each node whether it would run, and why",
		Long: `Says of each node what a run would do with it: reuse its answer (=), run it (+), run it or reuse it depending on what
runs before it (?), or leave it alone (-). Each node that would run has one reason. Nothing is touched: what was
observed of an endpoint is taken from the last observation, and its age is said.`,
		Example: `  pipeline plan specs/glm-fp8.yaml
  pipeline plan specs/glm-fp8.yaml --set hardware=gb300_sm103 --verbose`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			a.looking = true
			a.noteNoHome()
			a.expectStore()
			plan, err := a.loadPlan(given[0], f)
			if err != nil {
				return err
			}
			s, err := sel.selection(plan)
			if err != nil {
				return err
			}
			return a.plan(cmd.Context(), plan, s, verbose)
		},
	}
	f.add(cmd)
	sel.add(cmd)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "a line for every node")
	return cmd
}

func (a *app) plan(ctx context.Context, plan *pipelines.Plan, sel engine.Selection, verbose bool) error {
	eng, err := a.engine(1)
	if err != nil {
		return err
	}
	fc, err := eng.Forecast(ctx, plan, sel)
	if err != nil {
		return runError(err)
	}
	if a.isJSON() {
		return a.planJSON(plan, fc)
	}
	for _, w := range plan.Warnings {
		a.printf("warning: %s\n", w)
	}
	looks := belowLooks(plan, fc)
	var rows [][]string
	for s := range plan.Steps {
		rows = append(rows, planRows(plan, fc, looks, s, verbose)...)
	}
	table(a.stdout, rows)
	a.printf("\n%s\n", planSummary(plan, fc))
	if slices.Contains(looks, true) {
		a.printf("What is reused below an observation is reused if that sees what it saw last.\n")
	}
	return nil
}

// belowLooks says of each node whether it is taken to be a hit only because an
// observation above it, which will be repeated, is taken to see the same again.
func belowLooks(plan *pipelines.Plan, fc *engine.Forecast) []bool {
	below := make([]bool, len(plan.Nodes))
	for i := range plan.Nodes {
		for _, d := range plan.Nodes[i].Deps {
			up := &fc.Nodes[d.From]
			if below[d.From] || plan.Nodes[d.From].Kind.Effect == steps.Observe && up.Verdict == engine.WillRun {
				below[i] = fc.Nodes[i].Verdict == engine.WillHit
			}
		}
	}
	return below
}

// marks are how terraform's readers expect a plan to look.
var marks = map[engine.Verdict]string{
	engine.WillHit: "= hit", engine.WillRun: "+ run", engine.Unknown: "? unknown",
	engine.WillIdle: "- idle", engine.NotSelected: "- not selected",
}

const planLines = 12 // of nodes of one step with one verdict, unless --verbose

// planRows prints the nodes of a step: alike ones share a line where they are many.
func planRows(plan *pipelines.Plan, fc *engine.Forecast, looks []bool, s int, verbose bool) [][]string {
	step := &plan.Steps[s]
	groups := map[string][]pipelines.NodeID{}
	var order []string
	for _, id := range step.Nodes {
		p := &fc.Nodes[id]
		text := prospectText(p, plan.Nodes[id].Kind.Effect)
		if !verbose && p.Verdict != engine.WillRun {
			text = fmt.Sprint(p.Verdict) // ages may differ within a line
		}
		key := fmt.Sprint(p.Verdict, p.Reason)
		if verbose || len(step.Nodes) <= planLines {
			key = plan.Nodes[id].Name
		} else if p.Verdict == engine.WillRun {
			key += text
		}
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], id)
	}
	var rows [][]string
	for _, key := range order {
		ids := groups[key]
		first := plan.Nodes[ids[0]].Name
		if len(ids) > 1 {
			first = fmt.Sprintf("%s[…] × %d", step.ID, len(ids))
		}
		text := prospectText(&fc.Nodes[ids[0]], plan.Nodes[ids[0]].Kind.Effect)
		if looks[ids[0]] {
			text += ", if what was observed still holds"
		}
		rows = append(rows, []string{marks[fc.Nodes[ids[0]].Verdict], first, text})
	}
	return rows
}

func prospectText(p *engine.Prospect, effect steps.Effect) string {
	switch p.Verdict {
	case engine.WillHit:
		return wordFor(effect) + " " + ago(p.Age)
	case engine.WillRun:
		text := fmt.Sprintf("%s %s", p.Reason, p.Reason.Text())
		if p.Detail != "" {
			text += ": " + p.Detail
		}
		if p.Reason == engine.LooksAgain && p.Record != nil {
			text += "; last " + ago(p.Age)
		}
		return text
	case engine.Unknown:
		return p.Reason.Text()
	case engine.WillIdle:
		return "nobody needs it"
	}
	return ""
}

func wordFor(e steps.Effect) string {
	switch e {
	case steps.Measure:
		return "measured"
	case steps.Observe:
		return "observed"
	case steps.Publish:
		return "published"
	}
	return "made"
}

func planSummary(plan *pipelines.Plan, fc *engine.Forecast) string {
	count := map[engine.Verdict]int{}
	for i := range fc.Nodes {
		if plan.Nodes[i].Kind.Effect != steps.Hold {
			count[fc.Nodes[i].Verdict]++
		}
	}
	text := fmt.Sprintf("%s: %d to run, %d to reuse, %d unknown", plan.Name, count[engine.WillRun], count[engine.WillHit], count[engine.Unknown])
	if n := count[engine.NotSelected]; n > 0 {
		text += fmt.Sprintf(", %d not selected", n)
	}
	text += "."
	reasons := fc.Reasons()
	codes := make([]string, 0, len(reasons))
	for r := range reasons {
		if r != engine.Needed {
			codes = append(codes, string(r))
		}
	}
	slices.Sort(codes)
	for _, c := range codes {
		text += fmt.Sprintf("\n  %4d × %s %s", reasons[engine.Reason(c)], c, engine.Reason(c).Text())
	}
	return text
}

type planNode struct {
	Name    string         `json:"name"`
	Step    string         `json:"step"`
	Kind    string         `json:"kind"`
	Effect  string         `json:"effect"`
	Verdict engine.Verdict `json:"verdict"`
	Reason  string         `json:"reason,omitempty"`
	Why     string         `json:"why,omitempty"`
	Detail  string         `json:"detail,omitempty"`
	Key     string         `json:"key,omitempty"`
	AgeS    *float64       `json:"age_s,omitempty"`
}

func (a *app) planJSON(plan *pipelines.Plan, fc *engine.Forecast) error {
	out := struct {
		Campaign string         `json:"campaign"`
		Nodes    []planNode     `json:"nodes"`
		Counts   map[string]int `json:"counts"`
		Reasons  map[string]int `json:"reasons"`
		Warnings []string       `json:"warnings"`
	}{plan.Name, []planNode{}, map[string]int{}, map[string]int{}, append([]string{}, a.warnings(plan)...)}
	for i := range plan.Nodes {
		n, p := &plan.Nodes[i], &fc.Nodes[i]
		node := planNode{Name: n.Name, Step: plan.Steps[n.Step].ID, Kind: n.Kind.Name, Effect: n.Kind.Effect.String(),
			Verdict: p.Verdict, Reason: string(p.Reason), Why: p.Reason.Name(), Detail: p.Detail}
		if !p.Key.IsZero() {
			node.Key = p.Key.String()
		}
		if p.Record != nil {
			age := p.Age.Seconds()
			node.AgeS = &age
		}
		out.Counts[strings.ReplaceAll(p.Verdict.String(), "-", "_")]++
		if p.Verdict == engine.WillRun {
			out.Reasons[string(p.Reason)]++
		}
		out.Nodes = append(out.Nodes, node)
	}
	return a.json(out)
}
