// Package runner is the kind runner: where the load of a campaign comes from.
//
// Today that is this machine. It is not made and not removed, so the step
// stands by itself; what it does is look, before the first cell, at what would
// stop the last one: the tool that is to measure is missing, or the limits of
// this machine are below what the campaign wants to have in flight.
package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"

	"pipeline/internal/conversation"
	"pipeline/internal/loadgen"
	"pipeline/internal/tool"
	"pipeline/steps"
)

// Kind is the kind runner.
func Kind() steps.Kind {
	return steps.Kind{
		Name:    "runner",
		Summary: "where load comes from: this machine, checked before anything is measured",
		Doc:     doc,
		Version: 1,
		Effect:  steps.Hold,
		Pool:    "runner",
		Ports:   []steps.Port{{Name: "dataset", Doc: "What will be sent: a step of kind dataset. Nothing wired to the runner is opened or measured without it.", Reads: []string{conversation.FileName}}},
		New:     func() steps.Step { return &Step{Where: local, Driver: native} },
	}
}

const doc = `Wired to cells, it is opened before the first of them has to run. It finds the
tool that measures, checks the limits of this machine against the most requests
that will be in flight, and doubts a machine that is busy already.

    - {id: runner, uses: runner, in: {dataset: data}, with: {driver: native, concurrency: 64}}
    - {id: cells, uses: cell_run, in: {runner: runner, server: server, setup: setup}}

A bench pod in a cluster is not built yet. To measure from within a cluster, run
this program there, with where: local.
`

const (
	local      = "local"
	kubernetes = "kubernetes"
	native     = "native"
)

// Step names a place that load comes from.
type Step struct {
	Where       string `json:"where" key:"yes" enum:"local,kubernetes" doc:"local is this machine."`
	Driver      string `json:"driver" key:"no" enum:"native,aiperf,vllm-bench" doc:"What will measure; it must be there."`
	DriverPath  string `json:"driver_path" key:"no" doc:"Path of that tool, if it is neither in the home nor on the PATH."`
	Version     string `json:"driver_version" key:"no" doc:"The version that the cells want of it; another one is refused before the first cell. Empty is that of the list of this program, and for a tool without one, whichever is there."`
	Concurrency int    `json:"concurrency" key:"no" min:"0" doc:"The most requests that will be in flight; 0 is not said."`
}

// Check refuses what there is not.
func (s *Step) Check() error {
	if s.Where == kubernetes {
		return &steps.ParamError{Param: "where", Err: errors.New("a bench pod in kubernetes is not built yet; run this program in a pod of the cluster, with where: local, or measure through a forwarded port")}
	}
	return nil
}

// Standing implements steps.Holder: nothing is made.
func (s *Step) Standing() bool { return true }

// Close implements steps.Holder: there is nothing to remove.
func (s *Step) Close(context.Context, string) error { return nil }

// Open checks the machine.
func (s *Step) Open(ctx context.Context, env *steps.Env) (steps.Live, error) {
	live := steps.Live{"where": s.Where}
	if s.Driver != native {
		found, err := s.find(env.Campaign.Home)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", err, steps.ErrPermanent)
		}
		version, err := found.Ask(ctx)
		if err != nil {
			return nil, err
		}
		if want := cmp.Or(s.Version, found.Version); want != "" && version != want {
			return nil, fmt.Errorf("%s at %s is version %s, and the cells want %s: give driver_version, and the version that measures, in cell_run, as %s, or another driver_path: %w",
				s.Driver, found.Path, version, want, version, steps.ErrPermanent)
		}
		env.Log.Info("driver", "name", s.Driver, "version", version, "path", found.Path, "from", found.From)
	}
	if err := loadgen.Fits(s.Concurrency); err != nil {
		return nil, fmt.Errorf("this machine cannot have %d requests in flight: %w: %w", s.Concurrency, err, steps.ErrPermanent)
	}
	cpus, load := runtime.GOMAXPROCS(0), loadgen.LoadAverage()
	if load > float64(cpus) {
		env.Doubt("busy_runner: before anything is measured, %.1f processes want the %d CPUs of this machine; cells may be bound by the client", load, cpus)
	}
	env.Log.Info("runner", "cpus", cpus, "load_average", load)
	return live, nil
}

func (s *Step) find(home string) (tool.Found, error) {
	for _, t := range tool.All() {
		if t.Name == s.Driver {
			return t.Find(s.DriverPath, home)
		}
	}
	return tool.Found{}, fmt.Errorf("there is no driver %s", s.Driver)
}
