package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"pipeline/engine"
	"pipeline/engine/journal"
	"pipeline/engine/store"
	"pipeline/internal/command"
	"pipeline/internal/digest"
	"pipeline/internal/evidence"
	"pipeline/pipelines"
	"pipeline/steps"
)

// A bundling keeps the evidence of a run, if its spec asks for that. What goes
// wrong with it is told, and changes nothing about the run. The methods of a
// nil bundling do nothing.
type bundling struct {
	a    *app
	plan *pipelines.Plan
	eng  *engine.Engine
	asks *steps.Bundle

	mu      sync.Mutex
	names   []string // of the secrets that were used
	secrets []string // their values

	bundle   *evidence.Bundle
	recorder *command.Recorder
	call     *command.Recorded // of this program
	shown    *plain            // writes what it prints
	fault    error
}

// bundleOf returns what keeps the evidence of a run, nil if no step of the plan
// asks for it.
func (a *app) bundleOf(plan *pipelines.Plan, eng *engine.Engine) (*bundling, error) {
	var asks *steps.Bundle
	for i := range plan.Nodes {
		s, ok := plan.Nodes[i].Params.(steps.Evidenced)
		if !ok {
			continue
		}
		if b := s.Evidence(); b != nil && asks != nil && *b != *asks {
			return nil, usage(fmt.Errorf("%s: evidence: another step asks for another bundle: a run has one", plan.Nodes[i].Pos))
		} else if b != nil {
			asks = b
		}
	}
	if asks == nil {
		return nil, nil
	}
	b := &bundling{a: a, plan: plan, eng: eng, asks: asks}
	read := eng.Secret
	eng.Secret = func(name string) (string, error) {
		value, err := read(name)
		if err == nil {
			b.mu.Lock()
			defer b.mu.Unlock()
			if !slices.Contains(b.names, name) {
				b.names, b.secrets = append(b.names, name), append(b.secrets, value)
			}
		}
		return value, err
	}
	return b, nil
}

// watch sees each event before next does.
func (b *bundling) watch(next func(engine.Event)) func(engine.Event) {
	if b == nil {
		return next
	}
	return func(e engine.Event) {
		if e.Kind == engine.RunStarted && b.bundle == nil && b.fault == nil {
			if err := b.begin(e.Text); err != nil {
				b.fault = err
			}
		}
		if b.shown != nil {
			b.shown.event(e)
		}
		next(e)
	}
}

// begin makes the bundle of a run that has just begun, and finishes those that
// dead runs left.
func (b *bundling) begin(run string) error {
	home, err := filepath.Abs(b.a.home)
	if err != nil {
		return err
	}
	spec, err := os.ReadFile(b.plan.File)
	if err != nil {
		return err
	}
	for _, dead := range evidence.Unfinished(b.asks.Dir, b.asks.Family) {
		if dead.About.Home == home && dead.About.Run != run {
			b.bury(dead, run)
		}
	}
	b.bundle, err = evidence.Create(b.asks.Dir, evidence.About{
		Family: b.asks.Family, Intent: b.asks.Intent, Campaign: b.plan.Name, Run: run, Home: home,
		Spec: b.plan.File, SpecSum: b.plan.SpecSum.String(), Program: programName(), Args: append([]string{"pipeline"}, redact(os.Args[1:])...),
		Began: time.Now(), Host: b.eng.Host.Name, Labels: b.plan.Labels,
	}, spec)
	if err != nil {
		return err
	}
	if b.recorder, b.call, err = b.bundle.Begin(time.Now, b.bundle.About.Args); err != nil {
		return err
	}
	b.shown = newPlain(b.call.Stdout, newTally(b.plan), true)
	return nil
}

func programName() string {
	name := "pipeline " + version
	if rev := revision(); rev != "" {
		name += " (" + rev + ")"
	}
	return name
}

// bury finishes the bundle of a run that died, with what its journal tells. A
// run that has not ended, and was not cleaned up after, is left alone.
func (b *bundling) bury(dead *evidence.Bundle, by string) {
	r, err := resultOf(dead.About)
	if err == nil && r == nil {
		return
	}
	if err == nil {
		r.By = fmt.Sprintf("run %s, after that run had died", by)
		_, err = dead.Finish(*r)
	}
	if err != nil {
		fmt.Fprintf(b.a.stderr, "pipeline: note: the evidence bundle %s stays unfinished: %v\n", dead.Dir, err)
	}
}

func runDir(about evidence.About) string { return filepath.Join(about.Home, "runs", about.Run) }

// resultOf returns what the journal of a run tells of it, nil if it does not
// say that the run ended, or was cleaned up after.
func resultOf(about evidence.About) (*evidence.Result, error) {
	entries, _, err := journal.Read(runDir(about))
	if err != nil || !slices.ContainsFunc(entries, func(e journal.Entry) bool { return e.End != nil }) {
		return nil, err
	}
	r := &evidence.Result{ExitCode: -1, Opened: leasesOf(entries), Commands: filepath.Join(runDir(about), journal.CommandsDir)}
	states := map[string]evidence.Node{}
	var order []string
	for _, e := range entries {
		r.Ended = e.Time
		switch {
		case e.End != nil:
			r.Status = e.End.Status
			if e.Text != "" {
				r.Status += ": " + e.Text
			}
		case e.Event == journal.Doubt:
			r.Warnings = append(r.Warnings, strings.TrimPrefix(e.Node+": "+e.Text, ": "))
		case e.Event == journal.Attempt, e.Event == journal.Tried, e.Event == journal.State:
			if _, seen := states[e.Node]; !seen {
				order = append(order, e.Node)
			}
			n := evidence.Node{Name: e.Node, State: e.State, Took: e.Took, Why: e.Text}
			if e.Event == journal.Attempt {
				n.State, n.Why = "running", e.Reason
			}
			states[e.Node] = n
		}
	}
	for _, name := range order {
		r.Nodes = append(r.Nodes, states[name])
	}
	r.Counts = fmt.Sprintf("%d nodes were begun.", len(r.Nodes))
	return r, nil
}

func leasesOf(entries []journal.Entry) []evidence.Lease {
	open := map[string]bool{}
	for _, e := range journal.OpenLeases(entries) {
		open[e.Lease] = true
	}
	var out []evidence.Lease
	for _, e := range entries {
		if e.Event == journal.Lease {
			out = append(out, evidence.Lease{Node: e.Node, Kind: e.Kind, Name: e.Lease, Released: !open[e.Lease]})
		}
	}
	return out
}

// tee has what is printed from now on in the bundle too.
func (b *bundling) tee() {
	if b == nil || b.call == nil {
		return
	}
	b.shown.close()
	b.shown = nil
	b.a.stdout = io.MultiWriter(b.a.stdout, b.call.Stdout)
}

// end finishes the bundle: err is what the program ends with.
func (b *bundling) end(o *engine.Outcome, err error) error {
	if b == nil {
		return err
	}
	if b.fault == nil && b.bundle != nil {
		b.fault = b.finish(o, err)
	}
	if b.fault != nil {
		fault := fmt.Errorf("the evidence bundle is not finished: %w", b.fault)
		if err == nil {
			return failed(fault)
		}
		b.a.printError(fault)
	}
	return err
}

func (b *bundling) finish(o *engine.Outcome, err error) error {
	code := exitCode(err)
	b.bundle.Hide(b.secrets...)
	says := &app{stderr: b.call.Stderr}
	var exit *exitError
	if errors.As(err, &exit) {
		says.printError(exit.err)
	} else if err != nil {
		says.printError(err)
	}
	if !b.a.isJSON() {
		b.a.printf("evidence: %s\n", rel(b.bundle.Dir))
	}
	b.call.End(code, nil)
	if err := b.recorder.Settle(time.Second); err != nil {
		return err
	}
	r := b.result(o, code)
	entries, _, jerr := journal.Read(runDir(b.bundle.About))
	if jerr != nil {
		return jerr
	}
	r.Opened = leasesOf(entries)
	r.Commands = filepath.Join(runDir(b.bundle.About), journal.CommandsDir)
	sum, ferr := b.bundle.Finish(r)
	if ferr != nil {
		return ferr
	}
	return b.remember(sum)
}

// exitCode is the code with which an error ends the program.
func exitCode(err error) int {
	var exit *exitError
	switch {
	case err == nil:
		return exitComplete
	case errors.As(err, &exit):
		return exit.code
	}
	return exitFailed
}

// remember writes the digest of the manifest beside the run's journal, so that
// a manifest that was changed can be told.
func (b *bundling) remember(manifest digest.Digest) error {
	return os.WriteFile(filepath.Join(runDir(b.bundle.About), evidenceFile), []byte(manifest.String()+"\n"), 0o666)
}

// evidenceFile is in the folder of a run that has a bundle.
const evidenceFile = "evidence.sha256"

func (b *bundling) result(o *engine.Outcome, code int) evidence.Result {
	r := evidence.Result{Ended: time.Now(), ExitCode: code, Secrets: b.names, Status: "it did not start"}
	if o == nil {
		return r
	}
	c := o.Counts
	r.Status = string(o.Status)
	r.Counts = fmt.Sprintf("%d nodes: %d executed, %d reused, %d failed, %d skipped, in %s.", c.Total, c.Executed, c.Reused, c.Failed, c.Skipped, short(o.Took))
	r.Warnings = groupWarnings(b.plan, o)
	for i, n := range o.Nodes {
		why := n.Reason.Name()
		if n.Err != nil {
			why = n.Err.Error()
		}
		r.Nodes = append(r.Nodes, evidence.Node{Name: b.plan.Nodes[i].Name, State: n.State.String(), Took: n.Took, Why: why})
		b.read(&r, n.Record)
	}
	r.Outputs = b.outputs(o)
	return r
}

// read takes the numbers and the levers out of what a node wrote.
func (b *bundling) read(r *evidence.Result, rec *store.Record) {
	if rec == nil {
		return
	}
	for _, art := range rec.Artifacts {
		var err error
		switch art.Name {
		case "atlas.json":
			var text []byte
			if text, err = b.blob(art); err == nil {
				var cells []evidence.Cell
				cells, err = evidence.CellsOf(text)
				r.Cells = append(r.Cells, cells...)
			}
		case "frontier.json":
			var text []byte
			if text, err = b.blob(art); err == nil {
				var next []string
				next, err = evidence.NextOf(text, b.plan.Focus)
				r.Next = append(r.Next, next...)
			}
		}
		if err != nil {
			r.Warnings = append(r.Warnings, fmt.Sprintf("%s could not be read for the summary: %v", art.Name, err))
		}
	}
}

func (b *bundling) blob(a steps.Artifact) ([]byte, error) {
	f, err := b.eng.Store.Open(a.Digest)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

func (b *bundling) outputs(o *engine.Outcome) []evidence.Output {
	var out []evidence.Output
	for name, path := range o.Outputs {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it is in the store, and the copy for people is gone
		}
		out = append(out, evidence.Output{Name: name, Path: rel(path), SHA256: digest.Of(text)})
	}
	slices.SortFunc(out, func(a, b evidence.Output) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
