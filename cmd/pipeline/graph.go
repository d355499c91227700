package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) graphCmd() *cobra.Command {
	var f specFlags
	var format string
	cmd := &cobra.Command{
		Use:   "graph SPEC",
		Short: "Draw the steps of a campaign as DOT or Mermaid",
		Example: `  pipeline graph specs/glm-fp8.yaml | dot -Tsvg > glm-fp8.svg
  pipeline graph specs/glm-fp8.yaml --format mermaid`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, given []string) error {
			plan, err := a.loadPlan(given[0], f)
			if err != nil {
				return err
			}
			switch format {
			case "dot":
				a.printf("%s", plan.DOT())
			case "mermaid":
				a.printf("%s", plan.Mermaid())
			default:
				return usage(fmt.Errorf("--format %q: want dot or mermaid", format))
			}
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&format, "format", "dot", "dot or mermaid")
	if err := cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"dot", "mermaid"}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag stands one line above
	}
	return cmd
}
