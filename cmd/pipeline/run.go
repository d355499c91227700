package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"pipeline/engine"
	hide "pipeline/internal/redact"
	"pipeline/pipelines"
	"pipeline/steps/publish"
)

type runFlags struct {
	spec    specFlags
	sel     selectFlags
	jobs    int
	dry     bool
	strict  bool
	verbose bool
	events  string
	limits  map[string]int
}

func (a *app) runCmd() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run SPEC",
		Short: "Run a campaign; what is still valid is reused",
		Long: `Runs a campaign. Nodes whose answer is in the store and still valid are reused, all others run.

The first Ctrl-C starts nothing more and lets what runs end; the second cancels it. Whatever was opened
is closed either way, and what was measured stays.`,
		Example: `  pipeline run specs/glm-fp8.yaml
  pipeline run specs/glm-fp8.yaml --set endpoint.kind=url --set endpoint.url=http://vllm:8000
  pipeline run specs/glm-fp8.yaml --only report
  pipeline run specs/glm-fp8.yaml --from atlas
  pipeline run specs/glm-fp8.yaml --force 'cells[config=fp8-tp8,concurrency=16..64,trial=1]'`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error { return a.run(cmd, given[0], f) },
	}
	f.spec.add(cmd)
	f.sel.add(cmd)
	cmd.Flags().IntVar(&f.jobs, "jobs", runtime.GOMAXPROCS(0), "how many steps that only use the CPU run at once")
	cmd.Flags().BoolVar(&f.dry, "dry-run", false, "say what would run and why, and run nothing; the same as plan")
	cmd.Flags().StringToIntVar(&f.limits, "limit", nil, "depth of a named pool: endpoint=2 lets two cells run at once (default 1 each)")
	cmd.Flags().BoolVar(&f.strict, "strict", false, "publish nothing with gaps in it and no draft, and fail (exit 1) where there are gaps or warnings")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "without a terminal, print a line for each reused node too")
	cmd.Flags().StringVar(&f.events, "events", "", "append the events of the run to this file, a JSON object a line")
	return cmd
}

func (a *app) run(cmd *cobra.Command, path string, f runFlags) error {
	if f.jobs < 1 {
		return usage(fmt.Errorf("--jobs %d: want at least 1", f.jobs))
	}
	a.looking = f.dry
	a.expectStore()
	plan, err := a.loadPlan(path, f.spec)
	if err != nil {
		return err
	}
	for pool, n := range f.limits {
		if n < 1 {
			return usage(fmt.Errorf("--limit %s=%d: want at least 1", pool, n))
		}
	}
	sel, err := f.sel.selection(plan)
	if err != nil {
		return err
	}
	if f.strict {
		beStrict(plan)
	}
	if f.dry {
		return a.plan(cmd.Context(), plan, sel, false)
	}
	eng, err := a.engine(f.jobs)
	if err != nil {
		return err
	}
	eng.Limits = f.limits
	kept, err := a.bundleOf(plan, eng)
	if err != nil {
		return err
	}
	view := a.newView(plan, f.verbose)
	notify, closeEvents, err := teeEvents(f.events, view.event)
	if err != nil {
		return usage(err)
	}
	interrupt, stop := interrupts()
	defer stop()
	outcome, err := eng.Run(cmd.Context(), plan, engine.Options{
		Selection: sel, Interrupt: interrupt, Notify: kept.watch(notify), Args: redact(os.Args[1:]),
	})
	view.close()
	if cerr := closeEvents(); err == nil && cerr != nil {
		err = cerr
	}
	kept.tee()
	if outcome == nil {
		return kept.end(nil, runError(err))
	}
	outcome.Warnings = append(a.warnings(plan), outcome.Warnings...)
	return kept.end(outcome, a.finish(plan, outcome, err, f.strict))
}

// beStrict makes publishing refuse what has gaps.
func beStrict(plan *pipelines.Plan) {
	for i := range plan.Nodes {
		if p, ok := plan.Nodes[i].Params.(*publish.Step); ok {
			p.Strict = true
		}
	}
}

// runError sorts the errors of a run that did not begin.
func runError(err error) error {
	var missing *engine.MissingError
	if errors.As(err, &missing) {
		return failed(hint(err, "a partial run never runs what is above it"))
	}
	return failed(err)
}

// finish prints what came of a run and turns it into an exit code.
func (a *app) finish(plan *pipelines.Plan, o *engine.Outcome, err error, strict bool) error {
	code := exitComplete
	switch o.Status {
	case engine.Broken:
		code = exitFailed
	case engine.Gaps:
		code = exitGaps
	case engine.Interrupted:
		code = exitInterrupted
	}
	if strict && code != exitInterrupted && (code == exitGaps || len(o.Warnings) > 0) {
		code = exitFailed
	}
	if a.isJSON() {
		if o.Warnings == nil {
			o.Warnings = []string{}
		}
		if jerr := a.json(o); jerr != nil {
			return failed(jerr)
		}
	} else {
		a.printOutcome(plan, o)
	}
	if code == exitComplete && err == nil {
		return nil
	}
	if code == exitComplete {
		code = exitFailed
	}
	return &exitError{code, a.causes(plan, o, err)}
}

// warningLine is a warning as people see it. One that says WARNING of itself
// is one that they look for by this word.
func warningLine(w string) string {
	if node, text, ok := strings.Cut(w, ": WARNING: "); ok {
		return "WARNING: " + node + ": " + text
	}
	return "warning: " + w
}

func (a *app) printOutcome(plan *pipelines.Plan, o *engine.Outcome) {
	for _, w := range groupWarnings(plan, o) {
		a.printf("%s\n", warningLine(w))
	}
	c := o.Counts
	a.printf("%s: %s in %s: %d nodes, %d executed, %d reused, %d failed, %d skipped\n",
		o.Campaign, o.Status, short(o.Took), c.Total, c.Executed, c.Reused, c.Failed, c.Skipped)
	names := make([]string, 0, len(o.Outputs))
	for n := range o.Outputs {
		names = append(names, n)
	}
	slices.Sort(names)
	rows := [][]string{}
	for _, n := range names {
		rows = append(rows, []string{"  " + n, rel(o.Outputs[n])})
	}
	table(a.stdout, rows)
}

// causes lists the failed nodes, each with its root cause and its log.
func (a *app) causes(plan *pipelines.Plan, o *engine.Outcome, err error) error {
	const most = 10
	var lines []string
	for i, n := range o.Nodes {
		if n.State != engine.Failed || n.Err == nil {
			continue
		}
		if len(lines) < most {
			lines = append(lines, fmt.Sprintf("%s: %s: %v", plan.Nodes[i].Pos, plan.Nodes[i].Name, n.Err))
		}
	}
	switch {
	case len(lines) > 0 && o.Counts.Failed > most:
		lines = append(lines, fmt.Sprintf("and %d more", o.Counts.Failed-most))
	case len(lines) == 0 && err != nil:
		return err
	case len(lines) == 0:
		return nil
	}
	return hint(errors.New(strings.Join(lines, "\n  ")), "logs: pipeline runs logs %s NODE", o.RunID)
}

// interrupts turns signals into the two stages of stopping.
func interrupts() (<-chan struct{}, func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	out := make(chan struct{}, 2)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-signals:
				select {
				case out <- struct{}{}:
				default: // both stages are under way
				}
			case <-done:
				return
			}
		}
	}()
	return out, func() { signal.Stop(signals); close(done) }
}

// redact hides what looks like a secret. A spec takes secrets by the name of a
// variable only, so this is for mistakes.
func redact(argv []string) []string { return hide.Args(argv) }
