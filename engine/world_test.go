package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pipeline/engine/store"
	"pipeline/pipelines"
	"pipeline/steps"
)

// A world is what the toy kinds of these tests act on: an endpoint whose
// identity can change, and a log of what was done to it.
type world struct {
	mu       sync.Mutex
	identity string            // what a probe sees; "" fails
	fail     map[string]error  // by "kind arg": what Run or Open returns
	output   map[string]string // by "kind arg": what is written instead
	doubts   map[string]string
	phases   map[string][]string // that it tells
	log      []string            // "kind arg", "open x", "close x" in the order of events
	open     map[string]bool
	landed   bool
	gate     func(ctx context.Context, what string) error // called by every step as it runs
	resource string                                       // a file that real tests append to, "" for none
}

func newWorld() *world {
	return &world{identity: "v1", fail: map[string]error{}, output: map[string]string{}, doubts: map[string]string{},
		open: map[string]bool{}, landed: true}
}

func (w *world) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, what)
	if w.resource != "" {
		appendLine(w.resource, what)
	}
}

func appendLine(path, line string) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := f.WriteString(line + "\n"); err != nil {
		panic(err)
	}
}

// took returns what was done since the last call, sorted.
func (w *world) took() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := slices.Clone(w.log)
	w.log = nil
	slices.Sort(l)
	return strings.Join(l, ", ")
}

// A toy is a step of any effect but Hold. It writes what its inputs hold, or
// what the world has for it.
type toy struct {
	w     *world
	kind  string
	fixed bool

	Arg   string     `json:"arg" key:"yes" doc:"What tells it from others of its kind."`
	File  steps.File `json:"file" key:"yes" doc:"A file it depends on."`
	Title string     `json:"title" key:"no" doc:"No identity."`
}

func (s *toy) Fixed() bool { return s.fixed }

func (s *toy) Run(ctx context.Context, env *steps.Env) error {
	what := strings.TrimSpace(s.kind + " " + s.Arg)
	s.w.note(what)
	for _, p := range s.w.phases[what] {
		env.Progress(steps.Progress{Phase: p})
	}
	if s.w.gate != nil {
		if err := s.w.gate(ctx, what); err != nil {
			return err
		}
	}
	s.w.mu.Lock()
	err, out, doubt := s.w.fail[what], s.w.output[what], s.w.doubts[what]
	if s.kind == "probe" {
		out = fmt.Sprintf(`{"version":%q}`, s.w.identity)
		if s.w.identity == "" {
			err = fmt.Errorf("connection refused: %w", steps.ErrUnreachable)
		}
	}
	s.w.mu.Unlock()
	if doubt != "" {
		env.Doubt("%s", doubt)
	}
	var failed *steps.Failed
	if err != nil && !errors.As(err, &failed) {
		return err
	}
	if out == "" {
		if out, err2 := s.fromInputs(env); err2 != nil {
			return err2
		} else if werr := write(env, "out", out); werr != nil {
			return werr
		}
		return err
	}
	if werr := write(env, "out", out); werr != nil {
		return werr
	}
	return err
}

// fromInputs makes a text of all that came in.
func (s *toy) fromInputs(env *steps.Env) (string, error) {
	var b strings.Builder
	b.WriteString(s.kind + "(" + s.Arg)
	ports := []string{"setup", "cells", "serve"}
	for _, p := range ports {
		for _, in := range env.In[p] {
			b.WriteString(" " + pipelines.CellString(in.Cell) + ":")
			if in.Gap != "" {
				b.WriteString("gap(" + in.Gap + ")")
			}
			if len(in.Artifacts) == 0 {
				continue
			}
			data, err := in.ReadAll("out")
			if err != nil {
				return "", err
			}
			b.Write(data)
		}
	}
	return b.String() + ")", nil
}

func write(env *steps.Env, name, text string) error {
	w, err := env.Create(name)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	return w.Close()
}

// A landedToy also says whether what it published is there.
type landedToy struct {
	toy
}

func (s *landedToy) Landed(context.Context, *steps.Env) (bool, error) { return s.w.landed, nil }

// A server is a Hold.
type server struct {
	w        *world
	standing bool

	Arg string `json:"arg" key:"yes" doc:"What tells it from others."`
	Tag string `json:"tag" key:"no" doc:"No identity, but Close needs it."`
}

func (s *server) Open(ctx context.Context, env *steps.Env) (steps.Live, error) {
	s.w.mu.Lock()
	s.w.open[env.Lease] = true
	err := s.w.fail["open "+s.Arg]
	gate := s.w.gate
	s.w.mu.Unlock()
	s.w.note("open " + s.Arg)
	if gate != nil {
		if err := gate(ctx, "open "+s.Arg); err != nil {
			return nil, err
		}
	}
	return steps.Live{"url": "http://" + s.Arg}, err
}

func (s *server) Close(_ context.Context, lease string) error {
	s.w.mu.Lock()
	err := s.w.fail["close "+s.Arg]
	if err == nil {
		delete(s.w.open, lease)
	}
	s.w.mu.Unlock()
	s.w.note("close " + s.Arg)
	return err
}

func (s *server) Standing() bool { return s.standing }

func (w *world) kinds() steps.Registry {
	toyKind := func(name string, e steps.Effect, pool string, ports ...steps.Port) steps.Kind {
		return steps.Kind{Name: name, Summary: "a toy", Version: 1, Effect: e, Pool: pool, Ports: ports,
			Outputs: []steps.Output{{Name: "out"}, {Name: "stamp", Optional: true, Volatile: true}},
			New:     func() steps.Step { return &toy{w: w, kind: name} }}
	}
	gaps := steps.Port{Name: "cells", Gaps: true}
	setup, serve := steps.Port{Name: "setup"}, steps.Port{Name: "serve"}
	holdKind := func(name string, standing bool, pool string) steps.Kind {
		return steps.Kind{Name: name, Summary: "a toy", Version: 1, Effect: steps.Hold, Pool: pool, Ports: []steps.Port{serve, setup},
			New: func() steps.Step { return &server{w: w, standing: standing} }}
	}
	show := toyKind("render", steps.Pure, "", steps.Port{Name: "cells"})
	show.Show = true
	publish := toyKind("publish", steps.Publish, "", steps.Port{Name: "cells"})
	publish.New = func() steps.Step { return &landedToy{toy{w: w, kind: "publish"}} }
	return steps.NewRegistry(
		toyKind("probe", steps.Observe, "", serve),
		toyKind("cell", steps.Measure, "endpoint", setup, serve),
		toyKind("pure", steps.Pure, "", setup, steps.Port{Name: "cells"}),
		toyKind("agg", steps.Pure, "", gaps),
		show, publish, holdKind("serve", false, "server"), holdKind("url", true, "server"), holdKind("greedy", false, "endpoint"),
	)
}

// A build makes plans by hand.
type build struct {
	plan  *pipelines.Plan
	kinds steps.Registry
}

func (w *world) build(t testing.TB) *build {
	t.Helper()
	return &build{kinds: w.kinds(), plan: &pipelines.Plan{Name: "toy", File: "toy.yaml", Dir: t.TempDir()}}
}

// node adds a node. The name is "step" or "step[axis=value]"; what the deps
// feed is "port=name" each, or "after=name".
func (b *build) node(name, kind, arg string, deps ...string) *pipelines.Node {
	id := pipelines.NodeID(len(b.plan.Nodes))
	k := b.kinds[kind]
	if k == nil {
		panic("no kind " + kind)
	}
	n := pipelines.Node{ID: id, Name: name, Kind: k, Params: k.New(), Pos: pipelines.Pos{File: "toy.yaml", Line: int(id) + 1, Col: 1}}
	switch s := n.Params.(type) {
	case *toy:
		s.Arg = arg
	case *landedToy:
		s.Arg = arg
	case *server:
		s.Arg = arg
	}
	step, cell, ok := strings.Cut(strings.TrimSuffix(name, "]"), "[")
	if ok {
		for _, c := range strings.Split(cell, ",") {
			axis, value, _ := strings.Cut(c, "=")
			n.Cell = append(n.Cell, steps.Coord{Axis: axis, Value: value})
		}
	}
	n.Step = slices.IndexFunc(b.plan.Steps, func(s pipelines.PlanStep) bool { return s.ID == step })
	if n.Step < 0 {
		n.Step = len(b.plan.Steps)
		b.plan.Steps = append(b.plan.Steps, pipelines.PlanStep{ID: step, Kind: k})
	}
	for _, d := range deps {
		port, from, _ := strings.Cut(d, "=")
		for i := range b.plan.Nodes {
			up := &b.plan.Nodes[i]
			if up.Name != from && !strings.HasPrefix(up.Name, from+"[") {
				continue
			}
			if port == "after" {
				n.After = append(n.After, up.ID)
			} else {
				n.Deps = append(n.Deps, pipelines.Edge{Port: port, From: up.ID})
			}
		}
	}
	slices.SortStableFunc(n.Deps, func(x, y pipelines.Edge) int { return strings.Compare(x.Port, y.Port) })
	b.plan.Steps[n.Step].Nodes = append(b.plan.Steps[n.Step].Nodes, id)
	b.plan.Nodes = append(b.plan.Nodes, n)
	return &b.plan.Nodes[id]
}

// campaign is the common shape: setup -> cells -> atlas -> report -> lake.
func (w *world) campaign(t testing.TB, cells ...string) *pipelines.Plan {
	b := w.build(t)
	b.node("setup", "probe", "")
	for _, c := range cells {
		b.node("cells[n="+c+"]", "cell", c, "setup=setup")
	}
	b.node("atlas", "agg", "", "cells=cells")
	b.node("report", "render", "", "cells=atlas")
	b.node("lake", "publish", "", "cells=report")
	return b.plan
}

func (w *world) engine(t testing.TB, home string) *Engine {
	t.Helper()
	s, err := store.Open(home, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &Engine{Store: s, Kinds: w.kinds(), Jobs: 4, Now: time.Now, CloseLimit: time.Minute}
}

// states prints what became of the nodes: "setup:done cells[n=1]:hit".
func states(plan *pipelines.Plan, out *Outcome) string {
	var parts []string
	for i := range plan.Nodes {
		parts = append(parts, plan.Nodes[i].Name+":"+out.Nodes[i].State.String())
	}
	return strings.Join(parts, " ")
}

func counts(out *Outcome) string {
	c := out.Counts
	return fmt.Sprintf("%s %d: %d executed %d reused %d failed %d skipped", out.Status, c.Total, c.Executed, c.Reused, c.Failed, c.Skipped)
}

func mustRun(t testing.TB, e *Engine, plan *pipelines.Plan, o Options) *Outcome {
	t.Helper()
	out, err := e.Run(context.Background(), plan, o)
	if err != nil {
		t.Fatalf("run: %v", err)
	}
	return out
}

func forecastOf(t testing.TB, e *Engine, plan *pipelines.Plan, sel Selection) string {
	t.Helper()
	f, err := e.Forecast(context.Background(), plan, sel)
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for i := range plan.Nodes {
		s := plan.Nodes[i].Name + ":" + f.Nodes[i].Verdict.String()
		if f.Nodes[i].Reason != None {
			s += "(" + string(f.Nodes[i].Reason) + ")"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, " ")
}

func selectName(plan *pipelines.Plan, names ...string) []Selector {
	return []Selector{func(id pipelines.NodeID) bool {
		step, _, _ := strings.Cut(plan.Nodes[id].Name, "[")
		return slices.Contains(names, plan.Nodes[id].Name) || slices.Contains(names, step)
	}}
}

func want(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s\n got %s\nwant %s", what, got, want)
	}
}

func numbers(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = strconv.Itoa(i + 1)
	}
	return out
}

// newHome returns a folder for a store, in memory if there is such a file
// system: these tests commit thousands of files, each with its fsyncs.
func newHome(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "pipeline-engine-*")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
