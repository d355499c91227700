package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"pipeline/pipelines"
)

func (a *app) schemaCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of specs, for editors",
		Example: "  pipeline schema > specs/campaign.schema.json",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			reg, err := a.registry()
			if err != nil {
				return failed(err)
			}
			b, err := pipelines.Schema(reg)
			if err != nil {
				return failed(fmt.Errorf("make the schema: %w", err))
			}
			_, err = a.stdout.Write(b)
			return failed(err)
		},
	}
}
