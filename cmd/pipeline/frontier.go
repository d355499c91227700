package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pipeline/internal/frontier"
)

func (a *app) frontierCmd() *cobra.Command {
	var spec specFlags
	focus, cells := "", false
	cmd := &cobra.Command{
		Use:   "frontier SPEC|CAMPAIGN",
		Short: "Say what to try next: levers by expected unlock, cost and gate",
		Long: `Prints the frontier of a campaign as it was published last: the levers that would bring it nearer to Speed of Light,
by value over cost, each with the gate that would prove it; what to measure first where evidence is missing; and what was
refuted, with its evidence. docs/sol.md says how they are found.

Levers that were tried elsewhere are told to the step aggregate in a file (its parameter frontier).`,
		Example: `  pipeline frontier specs/glm-fp8.yaml
  pipeline frontier glm-fp8 --focus latency --cells`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			name := given[0]
			if _, err := os.Stat(name); err == nil || strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
				plan, err := a.loadPlan(name, spec)
				if err != nil {
					return err
				}
				name = plan.Name
			}
			p, err := a.published(cmd.Context(), name)
			if err != nil {
				return err
			}
			if focus != "" {
				p.Focus = focus
			}
			if a.isJSON() {
				p.Ranked = p.Frontier.Ranked(frontier.Focus(p.Focus))
				return a.json(p)
			}
			a.printFrontier(p, cells)
			return nil
		},
	}
	spec.add(cmd)
	cmd.Flags().StringVar(&focus, "focus", "", "rank for latency, throughput or mixed (default: what the campaign is after)")
	cmd.Flags().BoolVar(&cells, "cells", false, "print which bound rules each cell")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		for _, f := range frontier.Focuses() {
			if focus == "" || focus == string(f) {
				return nil
			}
		}
		return usage(fmt.Errorf("--focus %q: want latency, throughput or mixed", focus))
	}
	return cmd
}

// A publishedFrontier is the frontier of a campaign in the lake.
type publishedFrontier struct {
	Campaign  string             `json:"campaign"`
	Focus     string             `json:"focus"`
	Simulated bool               `json:"simulated"`
	Published time.Time          `json:"published_at"`
	Frontier  *frontier.Frontier `json:"frontier"`
	Ranked    []frontier.Lever   `json:"ranked,omitempty"`
}

// published reads the frontier from the campaign's current row.
func (a *app) published(ctx context.Context, name string) (*publishedFrontier, error) {
	a.noteNoHome()
	t, err := a.lake().Query(ctx, "SELECT focus, simulated, published_at, frontier, extra_json FROM campaign_v1 WHERE campaign = '"+strings.ReplaceAll(name, "'", "''")+"'")
	if err != nil {
		return nil, failed(err)
	}
	if len(t.Rows) == 0 {
		return nil, failed(hint(fmt.Errorf("campaign %q is not in the lake", name), "run it to its end; 'pipeline lake query \"SELECT campaign FROM campaign_v1\"' lists those that are"))
	}
	row := t.Rows[0]
	p := &publishedFrontier{Campaign: name}
	p.Focus, _ = row[0].(string)
	p.Simulated, _ = row[1].(bool)
	p.Published, _ = row[2].(time.Time)
	text, err := json.Marshal(row[3])
	if err != nil {
		return nil, failed(err)
	}
	if row[3] == nil {
		why, _ := json.Marshal(row[4])
		return nil, failed(hint(fmt.Errorf("campaign %q was published without a frontier: %s", name, why), "run it again: this version ranks levers"))
	}
	if p.Frontier, err = frontier.Read(text); err != nil {
		return nil, failed(err)
	}
	return p, nil
}

func (a *app) printFrontier(p *publishedFrontier, cells bool) {
	simulated := ""
	if p.Simulated {
		simulated = ", SIMULATED"
	}
	a.printf("%s, focus %s%s, published %s\n%s\n", p.Campaign, p.Focus, simulated, p.Published.Format(time.RFC3339), p.Frontier.Text)
	focus := frontier.Focus(p.Focus)
	ranked := p.Frontier.Ranked(focus)
	if len(ranked) > 0 {
		rows := [][]string{{"", "LEVER", "UNLOCK", "VALUE", "COST", "SCORE", "STATUS"}}
		for i, l := range ranked {
			rows = append(rows, []string{fmt.Sprint(i + 1), l.ID, frontier.Unlock(l.Low, l.High), fmt.Sprintf("%.3f", l.Value[focus]), fmt.Sprintf("%.1f", l.Cost), fmt.Sprintf("%.4f", l.Score[focus]), l.Status})
		}
		a.printf("\n")
		table(a.stdout, rows)
	}
	for i, l := range ranked {
		a.printf("\n%d. %s\n   rests on  %s\n   gate      %s\n   cost      %.1f GPU-hours, risk %s\n", i+1, l.Name, l.Basis, l.Gate, l.GPUHours, l.Risk)
		if l.First != "" {
			a.printf("   first     %s\n", l.First)
		}
	}
	for _, l := range p.Frontier.Refuted {
		a.printf("\nrefuted: %s (%s)\n   %s\n", l.Name, l.Basis, l.Evidence)
	}
	if !cells {
		return
	}
	rows := [][]string{{"CELL", "BOUND", "CONFIDENCE", "WHY"}}
	for _, c := range p.Frontier.Cells {
		rows = append(rows, []string{c.Shape, c.Bound, c.Confidence, c.Why})
	}
	a.printf("\n")
	table(a.stdout, rows)
}
