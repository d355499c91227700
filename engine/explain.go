package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"pipeline/engine/store"
	"pipeline/internal/digest"
	"pipeline/pipelines"
	"pipeline/steps"
)

// An Explanation says what a node's key is made of, and how that differs from
// the nearest other record.
type Explanation struct {
	Node     string
	Prospect Prospect
	Manifest string // "" if the key is not known yet

	Nearest *store.Record // the record that Diff compares with; nil if there is none
	Diff    []Change
}

// A Change is a line in which two manifests differ.
type Change struct {
	What   string // concurrency; setup/identity.json server_args.max_num_seqs
	Old    string // "" if the line is new
	New    string // "" if the line is gone
	reason Reason
}

func (c Change) String() string {
	switch {
	case c.Old == "":
		return c.What + ": + " + c.New
	case c.New == "":
		return c.What + ": - " + c.Old
	}
	return c.What + ": " + c.Old + " -> " + c.New
}

// Explain says why a run of the whole plan would or would not reuse a node.
func (e *Engine) Explain(ctx context.Context, plan *pipelines.Plan, id pipelines.NodeID) (*Explanation, error) {
	f, err := e.Forecast(ctx, plan, Selection{})
	if err != nil {
		return nil, err
	}
	n := &plan.Nodes[id]
	x := &Explanation{Node: n.Name, Prospect: f.Nodes[id]}
	if x.Prospect.Key.IsZero() {
		return x, nil
	}
	text, err := f.keys.manifest(n, f.keys.feeds(n, func(up pipelines.NodeID) *given { return &f.gives[up] }))
	if err != nil {
		return nil, err
	}
	x.Manifest = string(text)
	d := differ{e: e, plan: plan}
	x.Nearest, x.Diff = d.nearest(n, x.Prospect.Key, x.Manifest)
	return x, nil
}

// explainNew finds out, for nodes whose key no record has, what changed since
// the node's last record. It reads one manifest a node.
func (c *forecaster) explainNew() {
	d := differ{e: c.e, plan: c.plan}
	for i := range c.plan.Nodes {
		n, p := &c.plan.Nodes[i], &c.Nodes[i]
		if p.Verdict != WillRun || p.Reason != New || p.Key.IsZero() {
			continue
		}
		last := d.lastOfNode(n, p.Key)
		if last == nil {
			continue
		}
		text, err := c.keys.manifest(n, c.keys.feeds(n, c.give))
		if err != nil {
			continue // it has a key, so it had a manifest a moment ago
		}
		if changes, ok := d.compare(n, last, string(text)); ok && len(changes) > 0 {
			p.Reason, p.Detail = summary(changes)
		}
	}
}

// summary gives the one reason of several changes: the one that says most.
func summary(changes []Change) (Reason, string) {
	for _, r := range []Reason{ProtocolChanged, IdentityChanged, DatasetChanged, ParamsChanged, InputsChanged} {
		var texts []string
		for _, c := range changes {
			if c.reason == r {
				texts = append(texts, c.String())
			}
		}
		if len(texts) > 3 {
			texts = append(texts[:3], fmt.Sprintf("and %d more", len(texts)-3))
		}
		if len(texts) > 0 {
			return r, strings.Join(texts, ", ")
		}
	}
	return New, ""
}

type differ struct {
	e    *Engine
	plan *pipelines.Plan
}

// lastOfNode returns the newest record of a node of that name under another
// key, of the same campaign if there is one.
func (d *differ) lastOfNode(n *pipelines.Node, key store.Key) *store.Record {
	var any *store.Record
	for _, r := range d.e.Store.OfNode(n.Name) {
		switch {
		case r.Key == key || r.Kind != n.Kind.Name:
		case r.Campaign == d.plan.Name:
			return r
		case any == nil:
			any = r
		}
	}
	return any
}

// nearest returns the record under another key whose manifest differs least:
// the node's own last one if it has one, else the least different among the
// newest of its kind.
func (d *differ) nearest(n *pipelines.Node, key store.Key, text string) (*store.Record, []Change) {
	if r := d.lastOfNode(n, key); r != nil {
		if changes, ok := d.compare(n, r, text); ok {
			return r, changes
		}
	}
	const most = 200
	var best *store.Record
	var least []Change
	seen := 0
	for _, r := range slices.Backward(d.e.Store.All()) {
		if r.Kind != n.Kind.Name || r.Key == key {
			continue
		}
		if seen++; seen > most {
			break
		}
		if changes, ok := d.compare(n, r, text); ok && (best == nil || len(changes) < len(least)) {
			best, least = r, changes
		}
	}
	return best, least
}

// compare lists in what the manifest of r differs from text. It fails if the
// manifest of r is gone.
func (d *differ) compare(n *pipelines.Node, r *store.Record, text string) ([]Change, bool) {
	old, err := d.e.Store.Get(r.Key.Manifest())
	if err != nil {
		return nil, false
	}
	before, after := facts(string(old)), facts(text)
	var out []Change
	for i, j := 0, 0; i < len(before) || j < len(after); {
		switch {
		case j == len(after) || i < len(before) && before[i].name < after[j].name:
			out = append(out, d.changes(n, before[i].name, before[i].value, "")...)
			i++
		case i == len(before) || after[j].name < before[i].name:
			out = append(out, d.changes(n, after[j].name, "", after[j].value)...)
			j++
		default:
			if before[i].value != after[j].value {
				out = append(out, d.changes(n, after[j].name, before[i].value, after[j].value)...)
			}
			i, j = i+1, j+1
		}
	}
	return out, true
}

// A fact is a line of a manifest: what it is about, and what it says.
type fact struct{ name, value string }

func facts(text string) []fact {
	var out []fact
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		words := 1 // how many make up the name
		switch word, _, _ := strings.Cut(line, " "); word {
		case "with":
			words = 2
		case "in":
			words = 4
		}
		out = append(out, cutAfter(line, words))
	}
	slices.SortStableFunc(out, func(a, b fact) int { return strings.Compare(a.name, b.name) })
	return out
}

// cutAfter parts a line behind its first words. A quoted name may hold blanks.
func cutAfter(line string, words int) fact {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == ' ' && !quoted:
			if words--; words == 0 {
				return fact{line[:i], line[i+1:]}
			}
		}
	}
	return fact{name: line}
}

// changes says what one changed line means to people, and why it matters.
func (d *differ) changes(n *pipelines.Node, name, before, after string) []Change {
	about, rest, _ := strings.Cut(name, " ")
	switch about {
	case "kind":
		return []Change{{What: "kind", Old: before, New: after, reason: ProtocolChanged}}
	case "with":
		if isFile(before) || isFile(after) {
			return []Change{{What: rest, Old: before, New: after, reason: DatasetChanged}}
		}
		return leafChanges(rest, ".", []byte(before), []byte(after), ParamsChanged)
	case "in":
		return d.inputChanges(n, rest, before, after)
	}
	return []Change{{What: "manifest", Old: before, New: after, reason: ProtocolChanged}}
}

func isFile(value string) bool { return strings.HasPrefix(value, "file ") }

// inputChanges looks into what an input holds, if that is a small JSON on both
// sides, so that the argument that changed is named and not only a digest.
func (d *differ) inputChanges(n *pipelines.Node, name, before, after string) []Change {
	port, rest, _ := strings.Cut(name, " ")
	cell, artifact, _ := strings.Cut(rest, " ")
	what := port + "/" + artifact
	if cell != "-" {
		what = port + "[" + cell + "]/" + artifact
	}
	reason := InputsChanged
	if d.observed(n, port) {
		reason = IdentityChanged
	}
	x, okX := d.smallJSON(before)
	y, okY := d.smallJSON(after)
	if okX && okY {
		if out := leafChanges(what, " ", x, y, reason); len(out) > 0 {
			return out
		}
	}
	return []Change{{What: what, Old: shorten(before), New: shorten(after), reason: reason}}
}

func (d *differ) observed(n *pipelines.Node, port string) bool {
	return slices.ContainsFunc(n.Deps, func(e pipelines.Edge) bool {
		return e.Port == port && d.plan.Nodes[e.From].Kind.Effect == steps.Observe
	})
}

func shorten(value string) string {
	if dg, err := digest.Parse(value); err == nil {
		return dg.Short()
	}
	return value
}

func (d *differ) smallJSON(value string) ([]byte, bool) {
	const most = 1 << 20
	dg, err := digest.Parse(value)
	if err != nil || !d.e.Store.Has(dg) {
		return nil, false
	}
	b, err := d.e.Store.Get(dg)
	return b, err == nil && len(b) <= most && json.Valid(b)
}

// leafChanges compares two JSON values leaf by leaf.
func leafChanges(what, sep string, before, after []byte, reason Reason) []Change {
	x, okX := parseJSON(before)
	y, okY := parseJSON(after)
	if !okX || !okY {
		return []Change{{What: what, Old: string(before), New: string(after), reason: reason}}
	}
	var out []Change
	walk(what, sep, x, y, func(at string, old, new any) {
		out = append(out, Change{What: at, Old: show(old), New: show(new), reason: reason})
	})
	return out
}

func parseJSON(b []byte) (v any, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	return v, dec.Decode(&v) == nil
}

// absent stands for a member that one side does not have.
type absent struct{}

func show(v any) string {
	if _, ok := v.(absent); ok {
		return ""
	}
	b, err := digest.Canonical(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

func walk(at, sep string, x, y any, changed func(at string, x, y any)) {
	if mx, ok := x.(map[string]any); ok {
		if my, ok := y.(map[string]any); ok {
			walkMaps(at, sep, mx, my, changed)
			return
		}
	}
	if lx, ok := x.([]any); ok {
		if ly, ok := y.([]any); ok && len(lx) == len(ly) {
			for i := range lx {
				walk(fmt.Sprintf("%s[%d]", at, i), ".", lx[i], ly[i], changed)
			}
			return
		}
	}
	if show(x) != show(y) {
		changed(at, x, y)
	}
}

func walkMaps(at, sep string, x, y map[string]any, changed func(at string, x, y any)) {
	var names []string
	for k := range x {
		names = append(names, k)
	}
	for k := range y {
		if _, ok := x[k]; !ok {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	for _, k := range names {
		vx, okX := x[k]
		vy, okY := y[k]
		if !okX {
			vx = absent{}
		}
		if !okY {
			vy = absent{}
		}
		walk(at+sep+k, ".", vx, vy, changed)
	}
}
