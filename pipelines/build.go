package pipelines

import (
	"slices"
	"time"

	"github.com/expr-lang/expr/types"

	"pipeline/internal/yaml"
	"pipeline/steps"
)

// PlanOptions change what a spec says.
type PlanOptions struct {
	Set    []string   // "endpoint.kind=url": a parameter, and its value in YAML
	Params *yaml.Node // parameters that go over those of the spec, below Set
}

// Plan checks the campaign against the kinds of reg and decides everything
// that can be decided before anything runs. The error is a yaml.Errors with
// all faults of the spec.
func (c *Campaign) Plan(reg steps.Registry, opt PlanOptions) (*Plan, error) {
	f := &faults{}
	for _, e := range c.errs {
		f.add(e)
	}
	p := &planning{Campaign: c, reg: reg, faults: f, language: newLanguage(f)}
	done := make(chan *Plan, 1)
	go func() { done <- p.guarded(opt) }()
	plan, err := p.watch(done)
	if err != nil {
		return nil, yaml.Errors{err}
	}
	if len(f.errs) > 0 {
		return nil, f.errs.Sorted()
	}
	return plan, nil
}

// A planning is one call of Plan.
type planning struct {
	*Campaign
	*language
	reg    steps.Registry
	faults *faults

	params        *parameters
	paramTypes    types.Type
	campaignTypes types.Type
	campaignEnv   map[string]any
	globals       *scope // params and campaign
	steps         []*planStep
	plan          *Plan
	total         int // edges
}

// A planStep is a declaration on its way to nodes.
type planStep struct {
	d     *declaration
	index int
	kind  *steps.Kind // nil if there is none of that name

	matrix    *matrix
	expanded  bool
	expanding bool

	wires []*wire // sorted by port, then by step
	after []*wire // without ports
	nodes []NodeID
	rank  []int32 // of each node, the place in canonical order of cells
}

func (p *planning) fail(n *yaml.Node, path, hint, format string, a ...any) {
	p.language.fail(n, path, hint, format, a...)
}

// step returns the index of the step of that id, -1 if there is none.
func (p *planning) step(id string) int {
	return slices.IndexFunc(p.steps, func(s *planStep) bool { return s.d.id == id })
}

func (p *planning) ids() []string {
	ids := make([]string, len(p.steps))
	for i, s := range p.steps {
		ids[i] = s.d.id
	}
	return ids
}

// guarded is run, with what it panics with as a fault.
func (p *planning) guarded(opt PlanOptions) (plan *Plan) {
	defer func() {
		if r := recover(); r != nil {
			plan = nil
			p.faults.add(p.root.Errorf("", "please report it", "the planner failed on this spec (%v)", r))
		}
	}()
	return p.run(opt)
}

func (p *planning) run(opt PlanOptions) *Plan {
	ct, ce := p.environment()
	p.campaignTypes, p.campaignEnv = ct, ce
	p.params = p.language.resolve(p.withSettings(opt, p.faults), p.campaignTypes, ce)
	p.paramTypes = p.params.types
	p.globals = p.language.scope(p.paramTypes, p.campaignTypes, map[string]any{"params": p.params.values, "campaign": ce})

	for i, d := range p.Campaign.steps {
		s := &planStep{d: d, index: i}
		if d.uses != nil {
			if s.kind = p.reg[d.uses.Text]; s.kind == nil {
				p.fail(d.uses, d.path("uses"), yaml.Nearest(d.uses.Text, p.reg.Names()), "there is no kind %s", d.uses.Text)
			}
		}
		p.steps = append(p.steps, s)
	}
	cells := 0
	for i, s := range p.steps {
		if m := p.matrixOf(i); m != nil {
			if cells += m.count; cells > maxCells && cells-m.count <= maxCells {
				p.fail(s.d.node, s.d.path("matrix"), "split the campaign", "the plan has more than %d nodes", maxCells)
			}
		}
	}
	for _, s := range p.steps {
		p.connect(s)
	}
	order := p.order()
	builders := make([]*builder, len(p.steps))
	for _, s := range p.steps {
		builders[s.index] = p.builder(s)
	}
	if p.faults.full() || cells > maxCells {
		return nil
	}
	if order == nil { // go on in any order, to find the other faults
		for i := range p.steps {
			order = append(order, i)
		}
	}
	p.start(cells)
	for _, i := range order {
		if b := builders[i]; b != nil {
			b.nodes()
		}
	}
	p.plan.Warnings = p.faults.sortedWarnings()
	return p.plan
}

// start makes the plan with all of its steps and none of its nodes.
func (p *planning) start(cells int) {
	p.plan = &Plan{Name: p.Name, Focus: p.Focus, Labels: p.Labels, File: p.File, Dir: p.Dir, SpecSum: p.SpecSum,
		Nodes: make([]Node, 0, cells)}
	for _, s := range p.steps {
		ps := PlanStep{ID: s.d.id, Pos: s.d.node.Pos, Kind: s.kind}
		if s.matrix != nil {
			ps.Axes = s.matrix.names()
		}
		p.plan.Steps = append(p.plan.Steps, ps)
	}
	p.phases()
}

// phases numbers the phases of the spec. Steps that name the same one share it.
func (p *planning) phases() {
	var names []string
	for _, s := range p.steps {
		for _, n := range s.d.phases {
			if !slices.Contains(names, n.Text) {
				names = append(names, n.Text)
			}
		}
	}
	for i, s := range p.steps {
		for _, n := range s.d.phases {
			p.plan.Steps[i].Phases = append(p.plan.Steps[i].Phases, Phase{n.Text, 1 + slices.Index(names, n.Text), len(names)})
		}
	}
}

// policy is what a spec says of a step besides its parameters. It is decoded
// as parameters are.
type policy struct {
	Timeout steps.Duration `json:"timeout" key:"no" doc:"Time after which the step is stopped." min:"1ms"`
	MaxAge  steps.Duration `json:"max_age" key:"no" doc:"Age up to which a record is reused." min:"1ms"`
	Retry   retryPolicy    `json:"retry" key:"no" doc:"Tries after the first."`
	Pools   []string       `json:"pools" key:"no" doc:"Extra limits to run under."`
}

type retryPolicy struct {
	Max     int            `json:"max" key:"no" doc:"Tries after the first." required:"true" min:"0" max:"100"`
	Backoff steps.Duration `json:"backoff" key:"no" doc:"Before the first retry; doubles each time." min:"0s"`
}

const defaultBackoff = 5 * time.Second

func (r retryPolicy) retry() Retry { return Retry{Max: r.Max, Backoff: time.Duration(r.Backoff)} }
