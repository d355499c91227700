package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"pipeline/engine/store"
	"pipeline/lake"
	"pipeline/steps"
	"pipeline/steps/all"
	"pipeline/steps/baseline"
	"pipeline/steps/publish"
)

// An app is one call of the program.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	home           string // --home
	output         string // --output: text or json

	kinds   steps.Registry               // made once, when first asked for
	opening func() (*store.Store, error) // the store that is being opened, nil if none is
	looking bool                         // the verb only looks: it makes no home
	scratch string                       // stands in for a home that is not there, and goes with the program
}

const defaultHome = ".pipeline"

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "pipeline",
		Short: "Run LLM-inference benchmark campaigns",
		Long: `pipeline runs LLM-inference benchmark campaigns that are declared in YAML. It expands the
matrix, measures every cell, aggregates, renders a report and publishes to a Parquet
lake. Whatever is still valid is reused, and it can say why something is not.

Exit codes: 0 complete, 1 a node failed or could not run, 2 complete with gaps,
3 bad spec or usage, 130 interrupted.`,
		Example: `  pipeline new my-model > specs/my-model.yaml
  pipeline plan specs/glm-fp8.yaml
  pipeline run specs/glm-fp8.yaml
  pipeline run specs/glm-fp8.yaml --only report
  pipeline explain specs/glm-fp8.yaml 'cells[config=fp8-tp8,concurrency=16,trial=1]'`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.output != "text" && a.output != "json" {
				return usage(fmt.Errorf("--output %q: want text or json", a.output))
			}
			if a.home == "" {
				a.home = os.Getenv("PIPELINE_HOME")
			}
			if a.home == "" {
				a.home = defaultHome
			}
			return nil
		},
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetIn(a.stdin)
	root.PersistentFlags().StringVar(&a.home, "home", "", "folder of store, runs and lake (default $PIPELINE_HOME, else .pipeline)")
	root.PersistentFlags().StringVar(&a.output, "output", "text", "text or json")
	if err := root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag stands three lines above
	}
	root.AddCommand(
		a.runCmd(), a.planCmd(), a.validateCmd(), a.explainCmd(), a.graphCmd(), a.schemaCmd(), a.newCmd(),
		a.runsCmd(), a.evidenceCmd(), a.cacheCmd(), a.lakeCmd(), a.compareCmd(), a.stepsCmd(), a.modelCmd(), a.frontierCmd(), a.toolsCmd(), a.simCmd(), a.versionCmd(),
	)
	return root
}

// args makes errors about arguments errors of usage, with the form that was wanted.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if err := check(cmd, given); err != nil {
			return usage(hint(err, "usage: %s", cmd.UseLine()))
		}
		return nil
	}
}

// registry returns the kinds, wired to the lake in the home folder. Nothing of
// it opens DuckDB before a step needs it.
func (a *app) registry() (steps.Registry, error) {
	if a.kinds != nil {
		return a.kinds, nil
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the path of this program: %w", err)
	}
	a.kinds = all.Kinds(all.Deps{
		Executable: exe,
		Parquet:    lake.WriteParquet,
		Lake:       func(dir string) publish.Sink { return lake.Lake{Dir: dir} },
		Shelf:      func(dir string) baseline.Shelf { return lake.Lake{Dir: dir} },
	})
	return a.kinds, nil
}

func (a *app) lake() lake.Lake { return lake.Lake{Dir: filepath.Join(a.home, "lake")} }

// openStore opens the store in the home folder, or waits for expectStore to.
func (a *app) openStore() (*store.Store, error) {
	if a.opening == nil {
		a.opening = a.startOpening()
	}
	s, err := a.opening()
	if err != nil {
		return nil, failed(err)
	}
	for _, said := range s.Mended() {
		fmt.Fprintln(a.stderr, "pipeline: note:", said)
	}
	return s, nil
}

// expectStore opens a store that exists while the spec is still being read. One
// that does not exist is not made: the spec may yet be refused.
func (a *app) expectStore() {
	if a.hasHome() && a.opening == nil {
		a.opening = a.startOpening()
	}
}

// noteNoHome tells people who only look that there is nothing to look at: the
// home is a folder beside where they stand, unless they say otherwise.
func (a *app) noteNoHome() {
	if !a.hasHome() {
		fmt.Fprintf(a.stderr, "pipeline: note: there is no home at %s yet; --home or PIPELINE_HOME names another\n", a.home)
	}
}

func (a *app) hasHome() bool {
	_, err := os.Stat(filepath.Join(a.home, "records"))
	return err == nil
}

func (a *app) startOpening() func() (*store.Store, error) {
	var s *store.Store
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		home := a.home
		if a.looking && !a.hasHome() {
			if home, err = os.MkdirTemp("", "pipeline-"); err != nil {
				return
			}
			a.scratch = home
		}
		s, err = store.Open(home, store.Options{})
	}()
	return func() (*store.Store, error) {
		<-done
		return s, err
	}
}

// json prints v on one line.
func (a *app) json(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func (a *app) isJSON() bool { return a.output == "json" }

func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.stdout, format, args...) }

// completeSpecs offers YAML files for the first argument.
func completeSpecs(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

// table prints rows in columns that line up, the last one ragged.
func table(w io.Writer, rows [][]string) {
	var width []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], len([]rune(c)))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, c := range row {
			b.WriteString(c)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", width[i]-len([]rune(c))+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}
