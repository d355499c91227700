package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pipeline/engine/journal"
	"pipeline/internal/evidence"
)

func (a *app) evidenceCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "evidence",
		Short: "Make and check evidence bundles",
		Long: `An evidence bundle is a folder that lets a person who was not there see what was run, what came of it and
what is next: SOURCE.md, summary.md, HANDOFF.md, and commands/ with four files for each command. A run makes one
by itself if its spec asks for it (the parameter evidence of the kind init).`,
		Args: args(cobra.NoArgs),
	}
	cmd.AddCommand(a.evidenceInitCmd(), a.evidenceRecordCmd(), a.evidenceFinishCmd(), a.evidenceVerifyCmd())
	return cmd
}

func (a *app) evidenceInitCmd() *cobra.Command {
	var family, intent, dir string
	cmd := &cobra.Command{
		Use:     "init",
		Short:   "Make a bundle for work by hand, and print its folder",
		Example: `  pipeline evidence init --intent "perf-bench of glm-5.1 at concurrency 16"`,
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			now := time.Now()
			host, err := os.Hostname()
			if err != nil {
				host = ""
			}
			b, err := evidence.Create(dir, evidence.About{Family: family, Intent: intent, Run: journal.NewRunID(now),
				Program: programName(), Args: append([]string{"pipeline"}, redact(os.Args[1:])...), Began: now, Host: host}, nil)
			if err != nil {
				return usage(err)
			}
			if a.isJSON() {
				return a.json(map[string]string{"dir": b.Dir, "run": b.About.Run})
			}
			a.printf("%s\n", b.Dir)
			return nil
		},
	}
	cmd.Flags().StringVar(&family, "family", "inference-perf-bench", "family of experiments")
	cmd.Flags().StringVar(&intent, "intent", "", "what the work is for, in a sentence")
	cmd.Flags().StringVar(&dir, "dir", "experiments/artifacts", "folder of all families")
	return cmd
}

func (a *app) evidenceRecordCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "record DIR -- COMMAND...",
		Short: "Run a command, and keep it in a bundle",
		Long: `Runs the command, shows what it prints, and ends with its exit code. Its line, stdout, stderr, and exit code with
times are four files below commands/ of the bundle. What looks like a token is taken out of them.`,
		Example: `  pipeline evidence record experiments/artifacts/inference-perf-bench/20260801-120000.000-0a1b2c3d -- kubectl get pods`,
		Args:    args(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, given []string) error {
			b, err := evidence.Open(given[0])
			if err != nil {
				return usage(err)
			}
			recorder, r, err := b.Begin(time.Now, given[1:])
			if err != nil {
				return failed(err)
			}
			c := exec.CommandContext(cmd.Context(), given[1], given[2:]...)
			c.Stdin, c.Stdout, c.Stderr = a.stdin, io.MultiWriter(a.stdout, r.Stdout), io.MultiWriter(a.stderr, r.Stderr)
			err = c.Run()
			code, ended := -1, err
			if c.ProcessState != nil {
				if code = c.ProcessState.ExitCode(); code >= 0 {
					ended = nil
				}
			}
			r.End(code, ended)
			if serr := recorder.Settle(time.Second); serr != nil {
				return failed(serr)
			}
			switch {
			case code > 0:
				return &exitError{code, nil}
			case err != nil:
				return failed(err)
			}
			return nil
		},
	}
}

func (a *app) evidenceFinishCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "finish DIR",
		Short: "Finish a bundle: write the digests of its files",
		Long: `Writes MANIFEST.sha256 and with that closes the bundle. It is for bundles that were made by hand, and for those of a
run that was killed: the next run with the same home finishes them too.`,
		Example: `  pipeline evidence finish experiments/artifacts/inference-perf-bench/20260801-120000.000-0a1b2c3d`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, given []string) error {
			b, err := evidence.Open(given[0])
			if err != nil {
				return failed(err)
			}
			r := &evidence.Result{Status: "finished by hand", Ended: time.Now()}
			if b.About.Home != "" {
				if r, err = resultOf(b.About); err != nil {
					return failed(err)
				}
				if r == nil {
					return failed(hint(fmt.Errorf("run %s is going on, or was killed and not cleaned up after", b.About.Run), "the next 'pipeline run' with the home %s cleans up", b.About.Home))
				}
				r.By = "pipeline evidence finish"
			}
			sum, err := b.Finish(*r)
			if err != nil {
				return failed(err)
			}
			if a.isJSON() {
				return a.json(map[string]string{"dir": b.Dir, "manifest_sha256": sum.String()})
			}
			a.printf("%s: finished, manifest %s\n", b.Dir, sum)
			return nil
		},
	}
}

func (a *app) evidenceVerifyCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "verify DIR",
		Short: "Check a bundle against its digests",
		Long: `Says which file differs from the manifest, is missing, or is not listed, and ends with 1 if there is one, or if the
bundle is not finished. Where the home still has the run, the manifest itself is checked too. MANIFEST.sha256 has the form of
sha256sum: (cd DIR && sha256sum -c MANIFEST.sha256) does the same without this program.`,
		Example: `  pipeline evidence verify experiments/artifacts/inference-perf-bench/20260801-120000.000-0a1b2c3d`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, given []string) error {
			dir := filepath.Clean(given[0])
			c, err := evidence.Verify(dir)
			if err != nil {
				if errors.Is(err, evidence.ErrUnfinished) {
					err = hint(err, "the next run with its home finishes it, or 'pipeline evidence finish %s'", dir)
				}
				return failed(err)
			}
			whole := c.Whole()
			known, err := os.ReadFile(filepath.Join(a.home, "runs", filepath.Base(dir), evidenceFile))
			changed := err == nil && strings.TrimSpace(string(known)) != c.Manifest.String()
			if a.isJSON() {
				if err := a.json(struct {
					*evidence.Check
					Whole           bool `json:"whole"`
					ManifestChanged bool `json:"manifest_changed"`
				}{c, whole && !changed, changed}); err != nil {
					return failed(err)
				}
			} else {
				a.printCheck(dir, c, changed)
			}
			if whole && !changed {
				return nil
			}
			return &exitError{exitFailed, nil}
		},
	}
}

func (a *app) printCheck(dir string, c *evidence.Check, changed bool) {
	for _, part := range []struct {
		word  string
		names []string
	}{{"differs", c.Differ}, {"missing", c.Missing}, {"extra", c.Extra}} {
		for _, name := range part.names {
			a.printf("%-8s %s\n", part.word, name)
		}
	}
	switch {
	case changed:
		a.printf("changed  %s: it is not the one that the run wrote\n", evidence.ManifestFile)
	case c.Whole():
		a.printf("%s: whole, %d files, manifest %s\n", dir, c.Files, c.Manifest)
	}
}
