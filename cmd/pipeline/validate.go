package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) validateCmd() *cobra.Command {
	var f specFlags
	cmd := &cobra.Command{
		Use:     "validate SPEC…",
		Short:   "Check specs; every fault at once, each with its place",
		Example: "  pipeline validate specs/*.yaml",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, given []string) error {
			bad := false
			for _, path := range given {
				plan, err := a.loadPlan(path, f)
				if err != nil {
					a.printError(err)
					bad = true
					continue
				}
				if a.isJSON() {
					if err := a.json(map[string]any{"spec": path, "campaign": plan.Name, "steps": len(plan.Steps), "nodes": len(plan.Nodes), "warnings": a.warnings(plan)}); err != nil {
						return err
					}
					continue
				}
				for _, w := range plan.Warnings {
					fmt.Fprintln(a.stderr, "pipeline: warning:", w)
				}
				a.printf("%s: campaign %s, %d steps, %d nodes\n", path, plan.Name, len(plan.Steps), len(plan.Nodes))
			}
			if bad {
				return &exitError{exitUsage, nil} // said already, file by file
			}
			return nil
		},
	}
	f.add(cmd)
	return cmd
}
