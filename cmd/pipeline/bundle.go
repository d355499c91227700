package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"pipeline/engine"
	"pipeline/engine/journal"
	"pipeline/engine/store"
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
	recorder *journal.Recorder
	call     *journal.Recorded // of this program
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
		if dead.About.Home == home && dead.About.Run != run && dead.Ended() {
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

// bury finishes the bundle of a run that died, with what its journal tells.
func (b *bundling) bury(dead *evidence.Bundle, by string) {
	entries, _, err := journal.Read(dead.RunDir())
	if err == nil {
		r := evidence.ResultOf(entries)
		r.By = fmt.Sprintf("run %s, after that run had died", by)
		_, err = dead.Finish(r)
	}
	if err != nil {
		fmt.Fprintf(b.a.stderr, "pipeline: note: the evidence bundle %s stays unfinished: %v\n", dead.Dir, err)
	}
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
	sum, ferr := b.bundle.Finish(b.result(o, code))
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
	return os.WriteFile(filepath.Join(b.bundle.RunDir(), evidenceFile), []byte(manifest.String()+"\n"), 0o666)
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
		why := string(n.Reason)
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
