package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"pipeline/engine/journal"
	"pipeline/engine/store"
	"pipeline/internal/digest"
)

func (a *app) runsCopyCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "copy RUN NODE DIR",
		Short: "Copy what nodes of a run wrote into a folder, a folder a node; * and ? in NODE match anything",
		Example: `  pipeline runs copy last 'dcgm[*]' frozen
  pipeline runs copy last 'cells[config=fp8-tp8,*]' cells`,
		Args:              args(cobra.ExactArgs(3)),
		ValidArgsFunction: a.completeRuns,
		RunE:              func(_ *cobra.Command, given []string) error { return a.runsCopy(given[0], given[1], given[2]) },
	}
}

// runsCopy copies artifacts out of the store. What a run reused is copied as
// well: it is what the run stands on.
func (a *app) runsCopy(run, node, dir string) error {
	id, err := a.findRun(run)
	if err != nil {
		return err
	}
	entries, _, err := journal.Read(filepath.Join(a.runsDir(), id))
	if err != nil {
		return failed(err)
	}
	s, err := a.openStore()
	if err != nil {
		return err
	}
	records := map[string]*store.Record{}
	var order []string
	for _, e := range entries {
		if e.Record == "" || e.Key == "" || e.Node != node && !pattern(node).MatchString(e.Node) {
			continue
		}
		var key store.Key
		if err := key.UnmarshalText([]byte(e.Key)); err != nil {
			return failed(fmt.Errorf("%s: %w", e.Node, err))
		}
		r, err := s.Read(key, e.Record)
		if err != nil {
			return failed(fmt.Errorf("%s: %w", e.Node, err))
		}
		if records[e.Node] == nil {
			order = append(order, e.Node)
		}
		records[e.Node] = r
	}
	if len(order) == 0 {
		return usage(hint(fmt.Errorf("run %s has no node %q that wrote anything", id, node), "see 'pipeline runs show %s'", id))
	}
	for _, name := range order {
		to := filepath.Join(dir, strings.TrimSuffix(filepath.Base(journal.LogPath(name)), ".log"))
		for _, art := range records[name].Artifacts {
			path := filepath.Join(to, art.Name)
			if err := copyBlob(s, path, art.Digest); err != nil {
				return failed(fmt.Errorf("%s: %w", name, err))
			}
			a.printf("%s\n", path)
		}
	}
	return nil
}

func copyBlob(s *store.Store, path string, d digest.Digest) error {
	r, err := s.Open(d)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	w, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}
