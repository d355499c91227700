package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"pipeline/engine"
	"pipeline/pipelines"
)

func (a *app) explainCmd() *cobra.Command {
	var f specFlags
	cmd := &cobra.Command{
		Use:   "explain SPEC NODE",
		Short: "Show what a node's key is made of, and how that differs from the nearest record",
		Long: `Shows the manifest of a node: the text whose digest is its key, one fact a line. Below it stands how the manifest
differs from the nearest other record, which is why the node is, or was, not reused. NODE is a name as plan prints it,
or a selector that picks exactly one.`,
		Example: "  pipeline explain specs/glm-fp8.yaml 'cells[config=fp8-tp8,concurrency=16,trial=1]'",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, given []string) error {
			a.looking = true
			plan, err := a.loadPlan(given[0], f)
			if err != nil {
				return err
			}
			id, err := findNode(plan, given[1])
			if err != nil {
				return err
			}
			eng, err := a.engine(1)
			if err != nil {
				return err
			}
			x, err := eng.Explain(cmd.Context(), plan, id)
			if err != nil {
				return runError(err)
			}
			return a.printExplanation(plan, id, x)
		},
	}
	f.add(cmd)
	return cmd
}

// findNode finds the one node that a selector picks.
func findNode(plan *pipelines.Plan, text string) (pipelines.NodeID, error) {
	for i := range plan.Nodes {
		if plan.Nodes[i].Name == text {
			return plan.Nodes[i].ID, nil
		}
	}
	found, err := selectNodes(plan, text)
	if err != nil {
		return 0, usage(hint(err, "see 'pipeline plan --verbose'"))
	}
	if len(found) != 1 {
		return 0, usage(hint(fmt.Errorf("%s picks %d nodes, want one", text, len(found)), "for instance '%s'", plan.Nodes[found[0]].Name))
	}
	return found[0], nil
}

func (a *app) printExplanation(plan *pipelines.Plan, id pipelines.NodeID, x *engine.Explanation) error {
	p := &x.Prospect
	if a.isJSON() {
		diff := []map[string]string{}
		for _, c := range x.Diff {
			diff = append(diff, map[string]string{"what": c.What, "old": c.Old, "new": c.New})
		}
		out := map[string]any{"node": x.Node, "verdict": p.Verdict, "reason": p.Reason, "detail": p.Detail, "manifest": x.Manifest, "diff": diff}
		if !p.Key.IsZero() {
			out["key"] = p.Key.String()
		}
		if x.Nearest != nil {
			out["nearest"] = map[string]any{"node": x.Nearest.Node, "key": x.Nearest.Key, "began": x.Nearest.Began, "status": x.Nearest.Status, "campaign": x.Nearest.Campaign}
		}
		return a.json(out)
	}
	a.printf("%s (%s, %s)\n", x.Node, plan.Nodes[id].Kind.Name, plan.Nodes[id].Kind.Effect)
	a.printf("%s", p.Verdict)
	if why := prospectText(p, plan.Nodes[id].Kind.Effect); why != "" {
		a.printf(": %s", why)
	}
	a.printf("\n")
	if x.Manifest == "" {
		a.printf("\nIts key is not known until what it reads has run.\n")
		return nil
	}
	a.printf("\nkey %s, the digest of:\n\n", p.Key)
	for line := range strings.Lines(x.Manifest) {
		a.printf("  %s", line)
	}
	if x.Nearest == nil {
		a.printf("\nThere is no other record of this kind to compare with.\n")
		return nil
	}
	a.printf("\nNearest other record: %s, %s, %s, key %s. From it to this:\n\n",
		x.Nearest.Node, x.Nearest.Status, x.Nearest.Began.Local().Format("2006-01-02 15:04:05"), x.Nearest.Key.Short())
	if len(x.Diff) == 0 {
		a.printf("  no difference\n")
	}
	for _, c := range x.Diff {
		a.printf("  %s\n", c)
	}
	return nil
}
