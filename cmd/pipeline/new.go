package main

import (
	"github.com/spf13/cobra"

	"pipeline/pipelines"
)

func (a *app) newCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "new NAME",
		Short:   "Print a commented spec to start from",
		Example: "  pipeline new my-model > specs/my-model.yaml",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, given []string) error {
			reg, err := a.registry()
			if err != nil {
				return failed(err)
			}
			_, err = a.stdout.Write(pipelines.New(given[0], reg))
			return failed(err)
		},
	}
}
