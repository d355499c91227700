package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pipeline/engine/journal"
	"pipeline/engine/store"
)

func (a *app) cacheCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "cache", Short: "Look at the store, check it, and throw away what nobody needs"}
	cmd.AddCommand(a.cacheListCmd(), a.cacheVerifyCmd(), a.cacheGCCmd())
	return cmd
}

func (a *app) cacheListCmd() *cobra.Command {
	var node string
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List the records, newest last",
		Example: "  pipeline cache ls --node 'cells[*]'",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			s, err := a.openStore()
			if err != nil {
				return err
			}
			rows := [][]string{{"NODE", "STATUS", "WHEN", "TOOK", "SIZE", "KEY"}}
			for _, r := range s.All() {
				if node != "" && !pattern(node).MatchString(r.Node) {
					continue
				}
				if a.isJSON() {
					if err := a.json(r); err != nil {
						return err
					}
					continue
				}
				var size int64
				for _, art := range r.Artifacts {
					size += art.Size
				}
				rows = append(rows, []string{r.Node, string(r.Status), r.Began.Local().Format(time.DateTime),
					short(r.Took), bytesText(size), r.Key.Short()})
			}
			if !a.isJSON() {
				table(a.stdout, rows)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&node, "node", "", "only nodes of this name; * and ? match anything")
	return cmd
}

func (a *app) cacheVerifyCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "verify",
		Short:   "Read every blob and every record; corrupt ones are set aside and made again by the next run",
		Example: "  pipeline cache verify",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			s, err := a.openStore()
			if err != nil {
				return err
			}
			rep, err := s.Verify()
			if err != nil {
				return failed(err)
			}
			if a.isJSON() {
				if err := a.json(rep); err != nil {
					return err
				}
			} else {
				a.printf("%d records, %d blobs, %s; %d blobs that no record names\n", rep.Records, rep.Blobs, bytesText(rep.Bytes), rep.Unreferenced)
				for _, f := range rep.Faults {
					a.printf("fault: %s\n", f)
				}
			}
			if len(rep.Faults) > 0 {
				return failed(hint(fmt.Errorf("the store has %d faults", len(rep.Faults)), "the next run makes again what is missing; nothing else is lost"))
			}
			return nil
		},
	}
}

func (a *app) cacheGCCmd() *cobra.Command {
	var yes bool
	var grace, derived, runs time.Duration
	var drop []string
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Show what nobody needs, and with --yes remove it",
		Long: `Shows what nobody needs: blobs that no record names, left-over files, old run folders. With --yes it is removed.
Records of measurements and publications stay unless they are dropped by name.`,
		Example: `  pipeline cache gc
  pipeline cache gc --yes --runs-older 720h
  pipeline cache gc --drop 'cells[config=fp8-tp4,concurrency=1,trial=1]' --yes`,
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			s, err := a.openStore()
			if err != nil {
				return err
			}
			policy := store.Policy{Now: time.Now(), Grace: grace, Derived: derived}
			if len(drop) > 0 {
				policy.Drop = dropper(drop)
			}
			if policy.Runs, err = oldRuns(s, runs); err != nil {
				return failed(err)
			}
			plan, err := s.PlanGC(policy)
			if err != nil {
				return failed(err)
			}
			if yes {
				if err := s.Collect(plan); err != nil {
					return failed(err)
				}
			}
			return a.printGC(plan, yes)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "remove what is listed")
	cmd.Flags().DurationVar(&grace, "grace", 24*time.Hour, "keep unnamed blobs and files that are younger")
	cmd.Flags().DurationVar(&derived, "derived-older", 0, "also drop records of pure steps older than this; they can be made again")
	cmd.Flags().DurationVar(&runs, "runs-older", 0, "also drop the folders of ended runs older than this")
	cmd.Flags().StringArrayVar(&drop, "drop", nil, "drop the records of this node; * and ? match anything")
	return cmd
}

func dropper(patterns []string) func(*store.Record) bool {
	return func(r *store.Record) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return pattern(p).MatchString(r.Node) })
	}
}

// pattern matches names of nodes. * and ? match anything; brackets are what
// they are in a name.
func pattern(text string) *regexp.Regexp {
	text = regexp.QuoteMeta(text)
	text = strings.ReplaceAll(strings.ReplaceAll(text, `\*`, ".*"), `\?`, ".")
	return regexp.MustCompile("^" + text + "$")
}

// oldRuns finds ended runs older than age. A run with an open lease stays:
// its journal is what lets the next run let go.
func oldRuns(s *store.Store, age time.Duration) ([]string, error) {
	if age <= 0 {
		return nil, nil
	}
	list, err := journal.List(s.Path("runs"))
	if err != nil {
		return nil, err
	}
	var old []string
	for _, r := range list {
		entries, _, err := journal.Read(s.Path("runs", r.Run))
		if err != nil {
			continue
		}
		if r.End != nil && time.Since(r.Began) > age && len(journal.OpenLeases(entries)) == 0 {
			old = append(old, r.Run)
		}
	}
	return old, nil
}

func (a *app) printGC(plan *store.GCPlan, done bool) error {
	if a.isJSON() {
		return a.json(map[string]any{"records": len(plan.Records), "blobs": len(plan.Blobs), "files": len(plan.Files),
			"bytes": plan.Bytes, "removed": done})
	}
	for _, r := range plan.Records {
		a.printf("record  %s  %s\n", r.Key.Short(), r.Node)
	}
	for _, f := range plan.Files {
		a.printf("file    %s\n", f)
	}
	verb := "would be removed; repeat with --yes"
	if done {
		verb = "removed"
	}
	a.printf("%d records, %d blobs, %d files, %s %s\n", len(plan.Records), len(plan.Blobs), len(plan.Files), bytesText(plan.Bytes), verb)
	return nil
}
