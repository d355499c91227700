package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"pipeline/internal/tool"
	"pipeline/internal/yaml"
)

func (a *app) toolsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tools",
		Short: "List and install the benchmark tools that others wrote",
		Long: `A cell is measured by the load generator of this program, or by a tool that others wrote: AIPerf, or vllm bench serve
(see the parameter driver of cell_run). A tool is looked for where the spec says (aiperf.path or vllm_bench.path of
cell_run, driver_path of runner), then in the home, then on the PATH.`,
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:     "ls",
			Short:   "List the tools, and where they are",
			Example: "  pipeline tools ls",
			Args:    args(cobra.NoArgs),
			RunE:    func(cmd *cobra.Command, _ []string) error { return a.toolsList(cmd.Context()) },
		},
		&cobra.Command{
			Use:   "install TOOL",
			Short: "Install a tool into the home",
			Long: `Makes a virtual environment in the folder tools of the home and installs into it, from PyPI, the packages of a list that
is part of this program: the tool and all that it needs, each at one version. It needs Python 3.11, 3.12 or 3.13.`,
			Example:   "  pipeline tools install aiperf",
			Args:      args(cobra.ExactArgs(1)),
			ValidArgs: installable(),
			RunE:      func(cmd *cobra.Command, given []string) error { return a.toolsInstall(cmd.Context(), given[0]) },
		},
	)
	return cmd
}

func installable() []string {
	var names []string
	for _, t := range tool.All() {
		if t.Installable() {
			names = append(names, t.Name)
		}
	}
	return names
}

// A toolState is what `tools ls` says of a tool.
type toolState struct {
	Name    string `json:"name"`
	Pinned  string `json:"pinned,omitempty"`  // the version this program is made for
	Version string `json:"version,omitempty"` // of the one that is there
	Path    string `json:"path,omitempty"`
	From    string `json:"from,omitempty"`
	Problem string `json:"problem,omitempty"`
}

func (a *app) toolsList(ctx context.Context) error {
	var states []toolState
	rows := [][]string{{"TOOL", "PINNED", "FOUND", "IN", "WHERE"}}
	for _, t := range tool.All() {
		s := toolState{Name: t.Name, Pinned: t.Version}
		found, err := t.Find("", a.home)
		if err == nil {
			s.Path, s.From = found.Path, found.From
			s.Version, err = found.Ask(ctx)
		}
		where := s.Path
		if err != nil {
			s.Problem = err.Error()
			where = s.Problem
		}
		states = append(states, s)
		rows = append(rows, []string{s.Name, dash(s.Pinned), dash(s.Version), dash(s.From), where})
	}
	if a.isJSON() {
		return a.json(states)
	}
	table(a.stdout, rows)
	return nil
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (a *app) toolsInstall(ctx context.Context, name string) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	for _, t := range tool.All() {
		if t.Name != name || !t.Installable() {
			continue
		}
		found, err := t.Install(ctx, a.home, func(step string) { fmt.Fprintln(a.stderr, "pipeline: "+step) })
		if err != nil {
			return failed(errors.Join(context.Cause(ctx), err))
		}
		a.printf("%s %s is at %s\n", t.Name, t.Version, found.Path)
		return nil
	}
	return usage(hint(fmt.Errorf("there is no tool %q that can be installed: %s", name, strings.Join(installable(), ", ")), "%s", yaml.Nearest(name, installable())))
}
