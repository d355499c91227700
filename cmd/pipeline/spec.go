package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pipeline/engine"
	"pipeline/engine/store"
	"pipeline/internal/yaml"
	"pipeline/pipelines"
)

// specFlags change what a spec means; every verb that reads one has them.
type specFlags struct {
	set    []string
	params string
}

func (f *specFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.set, "set", nil, "set a parameter: path=value (repeatable)")
	cmd.Flags().StringVar(&f.params, "params", "", "YAML file of parameters, laid over those of the spec")
	cmd.ValidArgsFunction = completeSpecs
}

// selectFlags say which nodes a run is about.
type selectFlags struct {
	only, from, force []string
}

func (f *selectFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.only, "only", nil, "only these nodes, from what is already there: STEP or STEP[axis=value,…] (repeatable)")
	cmd.Flags().StringArrayVar(&f.from, "from", nil, "these nodes and all below them, from what is already there (repeatable)")
	cmd.Flags().StringArrayVar(&f.force, "force", nil, "run these nodes again although their answer is there (repeatable)")
}

// loadPlan reads a spec and plans it. All faults of the spec come back at once.
func (a *app) loadPlan(path string, f specFlags) (*pipelines.Plan, error) {
	reg, err := a.registry()
	if err != nil {
		return nil, failed(err)
	}
	var found peaks
	campaign, err := pipelines.Load(found.reading(os.ReadFile), path)
	if err == nil {
		err = found.flags(f.set)
	}
	if err != nil {
		return nil, usage(err)
	}
	opt := pipelines.PlanOptions{Set: f.set}
	if f.params != "" {
		src, err := os.ReadFile(f.params)
		if err != nil {
			return nil, usage(fmt.Errorf("read --params: %w", err))
		}
		if opt.Params, err = yaml.Parse(f.params, src); err != nil {
			return nil, usage(err)
		}
		if found.text(f.params, src); found.faults != nil {
			return nil, usage(found.faults.Err())
		}
	}
	plan, err := campaign.Plan(reg, opt)
	if err != nil {
		return nil, usage(err)
	}
	return plan, nil
}

func (a *app) warnings(plan *pipelines.Plan) []string {
	var out []string
	for _, w := range plan.Warnings {
		out = append(out, w.String())
	}
	return out
}

// selection works out the selectors of the flags for a plan.
func (f *selectFlags) selection(plan *pipelines.Plan) (engine.Selection, error) {
	var sel engine.Selection
	var words []string
	for _, part := range []struct {
		flag  string
		texts []string
		into  *[]engine.Selector
	}{{"--only", f.only, &sel.Only}, {"--from", f.from, &sel.From}, {"--force", f.force, &sel.Force}} {
		for _, text := range part.texts {
			ids, err := selectNodes(plan, text)
			if err != nil {
				return sel, usage(fmt.Errorf("%s %s: %w", part.flag, text, err))
			}
			picked := make([]bool, len(plan.Nodes))
			for _, id := range ids {
				picked[id] = true
			}
			*part.into = append(*part.into, func(id pipelines.NodeID) bool { return picked[id] })
			words = append(words, part.flag+" "+text)
		}
	}
	sel.Text = strings.Join(words, " ")
	sel.By = sel.Text
	return sel, nil
}

// selectNodes finds the nodes that a selector picks, at least one.
func selectNodes(plan *pipelines.Plan, text string) ([]pipelines.NodeID, error) {
	s, err := pipelines.ParseSelector(text)
	if err != nil {
		return nil, err
	}
	return s.Select(plan)
}

// engine returns the engine over the store in the home folder.
func (a *app) engine(jobs int) (*engine.Engine, error) {
	reg, err := a.registry()
	if err != nil {
		return nil, failed(err)
	}
	s, err := a.openStore()
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return &engine.Engine{
		Store: s, Kinds: reg, Jobs: jobs, Now: time.Now, Secret: secret,
		Host: store.Host{Name: host, OS: runtime.GOOS, Arch: runtime.GOARCH, User: os.Getenv("USER"), PID: os.Getpid(), Version: version},
	}, nil
}

// secret reads an environment variable for a step that asks for it by name.
func secret(name string) (string, error) {
	v, ok := os.LookupEnv(name)
	if !ok || v == "" {
		return "", fmt.Errorf("the environment variable %s is not set; the spec names it for a secret", name)
	}
	return v, nil
}

// rel prints a path the way its reader would type it.
func rel(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if r, err := filepath.Rel(wd, path); err == nil && !strings.HasPrefix(r, "..") {
		return r
	}
	return path
}
