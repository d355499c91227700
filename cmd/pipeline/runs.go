package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pipeline/engine/journal"
	"pipeline/internal/yaml"
)

func (a *app) runsCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "runs", Short: "What earlier runs did"}
	cmd.AddCommand(
		&cobra.Command{
			Use:     "ls",
			Short:   "List the runs, newest first",
			Example: "  pipeline runs ls",
			Args:    args(cobra.NoArgs),
			RunE:    func(*cobra.Command, []string) error { return a.runsList() },
		},
		&cobra.Command{
			Use:               "show RUN",
			Short:             "Show what a run did, node by node; RUN is an id, the start of one, or last",
			Example:           "  pipeline runs show last",
			Args:              args(cobra.ExactArgs(1)),
			ValidArgsFunction: a.completeRuns,
			RunE:              func(_ *cobra.Command, given []string) error { return a.runsShow(given[0]) },
		},
		&cobra.Command{
			Use:               "logs RUN [NODE]",
			Short:             "Print the log of a node, or of all nodes that have one",
			Example:           "  pipeline runs logs last 'server[config=fp8-tp8]'",
			Args:              args(cobra.RangeArgs(1, 2)),
			ValidArgsFunction: a.completeRuns,
			RunE: func(_ *cobra.Command, given []string) error {
				node := ""
				if len(given) == 2 {
					node = given[1]
				}
				return a.runsLogs(given[0], node)
			},
		},
		a.runsCopyCmd(),
	)
	return cmd
}

func (a *app) runsDir() string { return filepath.Join(a.home, "runs") }

func (a *app) completeRuns(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	list, err := journal.List(a.runsDir())
	if err != nil || len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ids := []string{"last"}
	for _, r := range list {
		ids = append(ids, r.Run)
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) runsList() error {
	list, err := journal.List(a.runsDir())
	if err != nil {
		return failed(err)
	}
	if a.isJSON() {
		return a.json(append([]journal.Summary{}, list...))
	}
	rows := [][]string{{"RUN", "CAMPAIGN", "STATUS", "BEGAN", "TOOK", "EXECUTED", "REUSED", "FAILED"}}
	for _, r := range list {
		row := []string{r.Run, r.Start.Campaign, "going on, or killed", r.Began.Local().Format(time.DateTime), "", "", "", ""}
		if r.End != nil {
			row[2], row[4] = r.End.Status, short(r.End.Took)
			for i, n := range []int{r.End.Counts.Executed, r.End.Counts.Reused, r.End.Counts.Failed} {
				row[5+i] = fmt.Sprint(n)
			}
		}
		rows = append(rows, row)
	}
	table(a.stdout, rows)
	return nil
}

// findRun turns an id, the start of one, or "last" into an id.
func (a *app) findRun(name string) (string, error) {
	list, err := journal.List(a.runsDir())
	if err != nil {
		return "", failed(err)
	}
	var ids, match []string
	for _, r := range list {
		ids = append(ids, r.Run)
		if strings.HasPrefix(r.Run, name) {
			match = append(match, r.Run)
		}
	}
	switch {
	case len(ids) == 0:
		return "", usage(fmt.Errorf("there are no runs in %s", a.home))
	case name == "last":
		return ids[0], nil
	case len(match) == 1:
		return match[0], nil
	case len(match) > 1:
		return "", usage(fmt.Errorf("%q is the start of %d runs: %s", name, len(match), strings.Join(match, ", ")))
	}
	return "", usage(hint(fmt.Errorf("there is no run %q", name), "%s", strings.TrimSpace(yaml.Nearest(name, ids)+" see 'pipeline runs ls'")))
}

func (a *app) runsShow(name string) error {
	id, err := a.findRun(name)
	if err != nil {
		return err
	}
	entries, torn, err := journal.Read(filepath.Join(a.runsDir(), id))
	if err != nil {
		return failed(err)
	}
	if a.isJSON() {
		for _, e := range entries {
			if err := a.json(e); err != nil {
				return err
			}
		}
		return nil
	}
	var began time.Time
	for _, e := range entries {
		if e.Start != nil {
			began = e.Time
			a.printf("run       %s\ncampaign  %s\nspec      %s (%s)\nbegan     %s\n", id, e.Start.Campaign, e.Start.Spec, e.Start.SpecSum.Short(), e.Time.Local().Format(time.DateTime))
			if len(e.Start.Args) > 0 {
				a.printf("command   pipeline %s\n", strings.Join(e.Start.Args, " "))
			}
			continue
		}
		a.printf("%8s  %s\n", "+"+short(max(0, e.Time.Sub(began))), entryText(e))
	}
	if phases := journal.Phases(entries); len(phases) > 0 {
		rows := [][]string{{"PHASE", "NODES", "TOOK"}}
		for _, p := range phases {
			rows = append(rows, []string{p.Phase, fmt.Sprint(p.Nodes), short(p.Took)})
		}
		table(a.stdout, rows)
	}
	if torn {
		a.printf("(the last line was torn: the run was killed while it wrote)\n")
	}
	return nil
}

func entryText(e journal.Entry) string {
	var b strings.Builder
	word := e.Event
	switch e.Event {
	case journal.State:
		word = e.State
	case journal.Attempt:
		word = fmt.Sprintf("try %d", e.Number)
	case journal.Tried:
		word = fmt.Sprintf("try %d %s", e.Number, e.State)
	case journal.RunEnd:
		if e.End != nil {
			return fmt.Sprintf("%-14s %d executed, %d reused, %d failed, %d skipped", e.End.Status,
				e.End.Counts.Executed, e.End.Counts.Reused, e.End.Counts.Failed, e.End.Counts.Skipped)
		}
	}
	fmt.Fprintf(&b, "%-14s %s", word, e.Node)
	if e.Lease != "" {
		b.WriteString(" " + e.Lease)
	}
	if e.Took > 0 {
		b.WriteString("  " + short(e.Took))
	}
	if e.Reason != "" {
		b.WriteString("  " + e.Reason)
	}
	if e.Text != "" {
		b.WriteString("  " + e.Text)
	}
	return b.String()
}

func (a *app) runsLogs(name, node string) error {
	id, err := a.findRun(name)
	if err != nil {
		return err
	}
	dir := filepath.Join(a.runsDir(), id)
	if node != "" {
		err := a.copyLog(filepath.Join(dir, journal.LogPath(node)))
		if errors.Is(err, fs.ErrNotExist) {
			return usage(hint(fmt.Errorf("run %s has no log of %q", id, node), "see 'pipeline runs show %s'", id))
		}
		return failed(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "logs", "*.log"))
	if err != nil {
		return failed(err)
	}
	for _, f := range files {
		a.printf("==> %s <==\n", strings.TrimSuffix(filepath.Base(f), ".log"))
		if err := a.copyLog(f); err != nil {
			return failed(err)
		}
	}
	return nil
}

func (a *app) copyLog(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(a.stdout, f)
	return err
}
