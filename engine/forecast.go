package engine

import (
	"context"
	"fmt"
	"time"

	"pipeline/engine/store"
	"pipeline/pipelines"
	"pipeline/steps"
)

// A Verdict is what a forecast says of a node.
type Verdict int

const (
	NotSelected Verdict = iota // it will not be touched; Record serves what reads it
	WillHit                    // the store has the answer
	WillRun                    // it will run, for Reason
	Unknown                    // something it reads is not known yet: it runs, or is a hit if that comes out the same
	WillIdle                   // a Hold that nobody needs
)

func (v Verdict) String() string {
	return [...]string{"not-selected", "hit", "run", "unknown", "idle"}[v]
}

// MarshalText implements encoding.TextMarshaler.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// A Prospect is what a forecast says of one node.
type Prospect struct {
	Verdict Verdict
	Reason  Reason        // of WillRun and Unknown; None else
	Detail  string        // more of the reason, for people: "concurrency 16 -> 32"
	Key     store.Key     // zero if it is not known yet
	Record  *store.Record // that serves; for an observation that looks again, its last; else nil
	Age     time.Duration // of Record
}

// A Forecast says of each node of a plan what a run would do with it.
type Forecast struct {
	At    time.Time
	Nodes []Prospect // by NodeID

	gives []given // what each node is taken to give
	sel   *selected
	keys  *keyer
}

// Selected reports whether the forecast's selection takes the node in.
func (f *Forecast) Selected(id pipelines.NodeID) bool { return f.sel.in[id] }

// Reasons counts the nodes that will run by their reason.
func (f *Forecast) Reasons() map[Reason]int {
	n := make(map[Reason]int)
	for i := range f.Nodes {
		if f.Nodes[i].Verdict == WillRun {
			n[f.Nodes[i].Reason]++
		}
	}
	return n
}

// Forecast says what a run of the plan with this selection would do. It
// touches nothing but the store, for reading. Observations are taken to give
// what they gave last. An error is a fault of a parameter (a file that is not
// there), an empty selection, or a *MissingError.
func (e *Engine) Forecast(ctx context.Context, plan *pipelines.Plan, sel Selection) (*Forecast, error) {
	chosen, err := choose(plan, sel)
	if err != nil {
		return nil, err
	}
	f := &Forecast{At: e.Now(), Nodes: make([]Prospect, len(plan.Nodes)), gives: make([]given, len(plan.Nodes)),
		sel: chosen, keys: newKeyer(plan)}
	c := &forecaster{Forecast: f, e: e, plan: plan, partial: len(sel.Only)+len(sel.From) > 0}
	for i := range plan.Nodes {
		if i%1024 == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := c.node(&plan.Nodes[i]); err != nil {
			return nil, err
		}
	}
	if len(c.missing) > 0 {
		return nil, &MissingError{Selection: sel.Text, Missing: c.missing}
	}
	c.observations()
	c.holds()
	c.explainNew()
	return f, nil
}

type forecaster struct {
	*Forecast
	e       *Engine
	plan    *pipelines.Plan
	partial bool // the selection may leave out what it needs
	missing []Missing
}

func (c *forecaster) give(id pipelines.NodeID) *given { return &c.gives[id] }

// node fills in the prospect of n, whose inputs are filled in already.
func (c *forecaster) node(n *pipelines.Node) error {
	p, g := &c.Nodes[n.ID], &c.gives[n.ID]
	in := c.keys.feeds(n, c.give)
	unknown, blocked := survey(n, in)
	if unknown {
		switch {
		case !c.sel.in[n.ID]:
		case c.sel.forced(n) && n.Kind.Effect != steps.Hold:
			p.Verdict, p.Reason = WillRun, Forced
		default:
			p.Verdict, p.Reason = Unknown, Upstream
		}
		return nil
	}
	if blocked != nil {
		c.blocked(n, blocked)
		return nil
	}
	text, err := c.keys.manifest(n, in)
	if err != nil {
		return err
	}
	p.Key = keyOf(text)
	if n.Kind.Effect == steps.Hold {
		*g = given{known: true, hold: p.Key.Manifest()}
		return nil
	}
	if !c.sel.in[n.ID] {
		c.unselected(n)
		return nil
	}
	p.Record, p.Reason, p.Detail = c.e.lookup(n, p.Key, c.At, in)
	last := p.Record
	if last == nil && n.Kind.Effect == steps.Observe {
		// What was seen in part is still what was seen: plans go on with it.
		last = c.e.Store.Latest(p.Key, func(r *store.Record) bool { return r.Status == store.Partial })
	}
	if p.Reason != None && last != nil {
		p.Record, p.Age = nil, c.At.Sub(last.Began)
	}
	if c.sel.forced(n) {
		p.Record, p.Reason, p.Detail = nil, Forced, ""
	}
	if p.Reason == None {
		p.Verdict, p.Age, *g = WillHit, c.At.Sub(p.Record.Began), givenOf(p.Record)
		return nil
	}
	p.Verdict = WillRun
	if n.Kind.Effect == steps.Observe && last != nil {
		p.Record, p.Age, *g = last, c.At.Sub(last.Began), givenOf(last)
	}
	return nil
}

// survey looks for what keeps n from being keyed: an input that is not known,
// or a gap at a port that takes none.
func survey(n *pipelines.Node, in []feed) (unknown bool, blocked *feed) {
	for i := range in {
		switch f := &in[i]; {
		case !f.given.known:
			unknown = true
		case f.given.gap != "" && blocked == nil:
			if port, ok := n.Kind.Port(f.edge.Port); !ok || !port.Takes(f.given.gap == string(store.Partial)) {
				blocked = f
			}
		}
	}
	return unknown, blocked
}

// blocked handles a node below a gap that it does not take: such gaps stand
// in the store already, above a partial selection.
func (c *forecaster) blocked(n *pipelines.Node, f *feed) {
	up := &c.plan.Nodes[f.edge.From]
	if c.sel.in[n.ID] && c.partial {
		if !c.sel.in[up.ID] {
			c.miss(up, reasonOfFailure(f.given.why, f.given.gap == string(store.Partial)), f.given.why)
		}
		return
	}
	c.gives[n.ID] = skipGiven(up, f.given)
}

// unselected sees what the store has for a node that will not be touched.
func (c *forecaster) unselected(n *pipelines.Node) {
	p, g := &c.Nodes[n.ID], &c.gives[n.ID]
	rec, reason, detail := c.e.find(p.Key)
	switch {
	case rec != nil:
		p.Record, p.Age, *g = rec, c.At.Sub(rec.Began), givenOf(rec)
	case !c.sel.feeds[n.ID]:
	case c.evidence(n, p.Key) != nil:
		*g = givenOf(c.evidence(n, p.Key))
	default:
		c.miss(n, reason, detail)
	}
}

// evidence returns the last record of a node that failed, if all that read it
// take gaps.
func (c *forecaster) evidence(n *pipelines.Node, key store.Key) *store.Record {
	if !c.sel.gaps[n.ID] {
		return nil
	}
	return c.e.Store.Latest(key, func(*store.Record) bool { return true })
}

func (c *forecaster) miss(n *pipelines.Node, reason Reason, detail string) {
	for _, m := range c.missing {
		if m.Name == n.Name {
			return
		}
	}
	c.missing = append(c.missing, Missing{n.Name, n.Pos, reason, detail})
}

// find returns the newest complete record of key whose blobs are all there,
// or why there is none.
func (e *Engine) find(key store.Key) (rec *store.Record, why Reason, detail string) {
	why = New
	rec = e.Store.Latest(key, func(r *store.Record) bool {
		if r.Status != store.Complete {
			if why == New {
				why, detail = reasonOfFailure(r.Reason, r.Status == store.Partial), r.Reason
			}
			return false
		}
		for _, a := range r.Artifacts {
			if !e.Store.Has(a.Digest) {
				why, detail = BlobMissing, fmt.Sprintf("%s, blob %s", a.Name, a.Digest.Short())
				return false
			}
		}
		return true
	})
	if rec != nil {
		return rec, None, ""
	}
	return nil, why, detail
}

// lookup returns the record that answers n under key, or why none does. A
// record that is too old is returned with the reason.
func (e *Engine) lookup(n *pipelines.Node, key store.Key, now time.Time, in []feed) (*store.Record, Reason, string) {
	rec, why, detail := e.find(key)
	if rec == nil {
		return nil, why, detail
	}
	if n.Kind.Effect == steps.Measure {
		for _, f := range in {
			if f.given.gap != "" {
				return nil, IdentityUnresolved, f.given.gapText()
			}
		}
	}
	if age := now.Sub(rec.Began); n.MaxAge > 0 && age > n.MaxAge {
		return rec, Aged, fmt.Sprintf("%s old, max_age is %s", age.Round(time.Second), n.MaxAge)
	}
	return rec, None, ""
}

// observations decides which of them look again: one with a record does if
// something measured below it is selected, unless looking means opening a Hold
// and nothing below would be measured, or what it looks at never changes.
func (c *forecaster) observations() {
	below := newBelow(c.plan, func(n *pipelines.Node) bool {
		return n.Kind.Effect == steps.Measure && c.sel.in[n.ID]
	})
	runs := newBelow(c.plan, func(n *pipelines.Node) bool {
		v := c.Nodes[n.ID].Verdict
		return n.Kind.Effect == steps.Measure && c.sel.in[n.ID] && (v == WillRun || v == Unknown)
	})
	for i := range c.plan.Nodes {
		n, p := &c.plan.Nodes[i], &c.Nodes[i]
		if n.Kind.Effect != steps.Observe || p.Verdict != WillHit || fixed(n) {
			continue
		}
		if below[i] && (!c.opensHold(n) || runs[i]) {
			p.Verdict, p.Reason = WillRun, LooksAgain
		}
	}
}

// fixed reports whether n is an observation of what never changes.
func fixed(n *pipelines.Node) bool {
	f, ok := n.Params.(steps.Fixed)
	return ok && f.Fixed()
}

// newBelow says of each node whether one for which is holds is below it.
func newBelow(plan *pipelines.Plan, is func(*pipelines.Node) bool) []bool {
	below := make([]bool, len(plan.Nodes))
	for i := len(plan.Nodes) - 1; i >= 0; i-- {
		n := &plan.Nodes[i]
		if !below[i] && !is(n) {
			continue
		}
		for _, d := range n.Deps {
			below[d.From] = true
		}
	}
	return below
}

// opensHold reports whether running n opens a Hold that does not stand by
// itself.
func (c *forecaster) opensHold(n *pipelines.Node) bool {
	for _, d := range n.Deps {
		up := &c.plan.Nodes[d.From]
		if h, ok := up.Params.(steps.Holder); ok && (!h.Standing() || c.opensHold(up)) {
			return true
		}
	}
	return false
}

// holds decides which are opened: those with a direct dependent that runs.
func (c *forecaster) holds() {
	verdict := make([]Verdict, len(c.plan.Nodes)) // the most that a dependent asks for
	for i := len(c.plan.Nodes) - 1; i >= 0; i-- {
		n, p := &c.plan.Nodes[i], &c.Nodes[i]
		if n.Kind.Effect == steps.Hold && c.sel.in[i] {
			switch p.Verdict = verdict[i]; p.Verdict {
			case WillRun:
				p.Reason = Needed
			case Unknown:
				p.Reason = Upstream
			default:
				p.Verdict, p.Reason = WillIdle, None
			}
		}
		if p.Verdict != WillRun && p.Verdict != Unknown {
			continue
		}
		for _, d := range n.Deps {
			if verdict[d.From] != WillRun {
				verdict[d.From] = p.Verdict
			}
		}
	}
}
