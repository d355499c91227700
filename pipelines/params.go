package pipelines

import (
	"slices"
	"strings"

	"github.com/expr-lang/expr/types"

	"pipeline/internal/yaml"
)

const maxParams = 2_000 // values of params

// parameters are the params of a campaign with the templates in them replaced.
type parameters struct {
	node   *yaml.Node // as written, for places
	values map[string]any
	types  types.Map
}

// at returns where the value of a name such as params.model.name is written,
// nil if it is not one place.
func (p *parameters) at(route []string) *yaml.Node {
	n := p.node
	for _, name := range route[1:] {
		if n = n.Get(name); n == nil {
			return nil
		}
	}
	return n
}

// A leaf is a value of params that is not a map.
type leaf struct {
	path  []string
	node  *yaml.Node
	state int // 0 new, 1 being resolved, 2 done
}

func (l *leaf) name() string { return "params." + strings.Join(l.path, ".") }

// withSettings lays the parameters of a file and of --set over those of the
// spec. A name that the spec does not have is most likely misspelt.
func (c *Campaign) withSettings(opt PlanOptions, f *faults) *yaml.Node {
	params := c.params
	if n := opt.Params; n != nil && n.Kind != yaml.Null {
		if n.Kind != yaml.Map {
			f.add(n.Errorf("params", "", "this is %s, want a map of parameters", n.Describe()))
		} else {
			for _, p := range n.Map {
				if params.Get(p.Key.Text) == nil {
					f.add(p.Key.Errorf("params", yaml.Nearest(p.Key.Text, params.Keys()), "the spec has no parameter %s", p.Key.Text))
				}
			}
			params = n.Merged(params)
		}
	}
	for _, set := range opt.Set {
		name, text, ok := strings.Cut(set, "=")
		place := &yaml.Node{Pos: Pos{File: "--set " + name, Line: 1, Col: 1}}
		keys := strings.Split(name, ".")
		switch {
		case !ok || slices.Contains(keys, ""):
			f.add(place.Errorf("", "write --set name=value", "%q sets nothing", set))
			continue
		case c.params.Get(keys[0]) == nil:
			f.add(place.Errorf("params", yaml.Nearest(keys[0], c.params.Keys()), "the spec has no parameter %s", keys[0]))
			continue
		}
		n, err := yaml.Parse("--set "+name, []byte(text))
		if err != nil {
			f.addAll(err)
			continue
		}
		for _, k := range slices.Backward(keys) {
			n = yaml.NewMap(k, n)
		}
		params = n.Merged(params)
	}
	return params
}

func (f *faults) addAll(err error) {
	if errs, ok := err.(yaml.Errors); ok {
		for _, e := range errs {
			f.add(e)
		}
		return
	}
	f.add(&yaml.Error{Msg: err.Error()})
}

// resolve gives every parameter its value. Templates in them may name others.
func (l *language) resolve(n *yaml.Node, campaign types.Type, campaignEnv map[string]any) *parameters {
	p := &parameters{node: n, values: map[string]any{}, types: types.Map{}}
	r := &resolution{parameters: p, language: l}
	r.scope = l.scope(p.types, campaign, map[string]any{"params": p.values, "campaign": campaignEnv})
	r.collect(nil, n)
	for _, leaf := range r.leaves {
		r.leaf(leaf, nil)
	}
	return p
}

type resolution struct {
	*parameters
	*language
	scope  *scope
	leaves []*leaf
}

// collect finds the leaves, and puts in place those without a template.
func (r *resolution) collect(path []string, n *yaml.Node) {
	if n.Kind == yaml.Map && (len(n.Map) > 0 || len(path) == 0) {
		for _, p := range n.Map {
			r.collect(append(slices.Clone(path), p.Key.Text), p.Value)
		}
		return
	}
	if len(r.leaves) == maxParams {
		r.language.fail(n, "params", "", "there are more than %d parameters", maxParams)
	}
	leaf := &leaf{path: path, node: n}
	r.leaves = append(r.leaves, leaf)
	if len(r.leaves) > maxParams {
		return
	}
	if strings.Contains(flatText(n), "${{") {
		r.set(leaf, nil) // for now, so that the name is known
		return
	}
	r.put(leaf, n.Value())
}

// flatText is all text below a value.
func flatText(n *yaml.Node) string {
	switch n.Kind {
	case yaml.String:
		return n.Text
	case yaml.List:
		var b strings.Builder
		for _, e := range n.List {
			b.WriteString(flatText(e))
		}
		return b.String()
	case yaml.Map:
		var b strings.Builder
		for _, p := range n.Map {
			b.WriteString(p.Key.Text + flatText(p.Value))
		}
		return b.String()
	}
	return ""
}

// put gives a leaf its value for good.
func (r *resolution) put(l *leaf, x any) {
	l.state = 2
	r.set(l, x)
}

func (r *resolution) set(l *leaf, x any) {
	m, t := r.values, r.types
	for _, name := range l.path[:len(l.path)-1] {
		if m[name] == nil {
			m[name], t[name] = map[string]any{}, types.Map{}
		}
		m, t = m[name].(map[string]any), t[name].(types.Map)
	}
	last := l.path[len(l.path)-1]
	m[last] = native(x)
	t[last] = typeOf(m[last])
}

// leaf resolves one leaf after those that it refers to. chain are the leaves
// that wait for it.
func (r *resolution) leaf(l *leaf, chain []*leaf) {
	if l.state == 2 || r.faults.full() {
		return
	}
	chain = append(chain, l)
	if l.state == 1 {
		from := slices.Index(chain, l)
		names := make([]string, 0, len(chain))
		for _, c := range chain[from:] {
			names = append(names, c.name())
		}
		r.language.fail(l.node, l.name(), "give one of them a value", "parameters refer to one another in a circle: %s", strings.Join(names, " -> "))
		r.giveUp(l)
		return
	}
	l.state = 1
	for _, ref := range r.references(l.node) {
		for _, other := range r.leaves {
			if overlap(ref, other.path) {
				r.leaf(other, chain)
			}
		}
	}
	if l.state == 2 {
		return
	}
	before := len(r.faults.errs)
	v := r.scope.compile(l.node, l.name())
	if len(r.faults.errs) > before {
		r.giveUp(l)
		return
	}
	x, err := r.scope.eval(v)
	if err != nil {
		r.faults.add(err)
		r.giveUp(l)
		return
	}
	r.put(l, x)
}

// giveUp marks a leaf as one without a value, so that only its own fault is
// reported and none that follows.
func (r *resolution) giveUp(l *leaf) {
	r.unknown = append(r.unknown, l.path)
	r.put(l, nil)
}

func overlap(a, b []string) bool {
	n := min(len(a), len(b))
	return slices.Equal(a[:n], b[:n])
}

// references returns the parameters that the templates below n refer to.
func (r *resolution) references(n *yaml.Node) [][]string {
	var out [][]string
	switch n.Kind {
	case yaml.List:
		for _, e := range n.List {
			out = append(out, r.references(e)...)
		}
	case yaml.Map:
		for _, p := range n.Map {
			out = append(out, r.references(p.Value)...)
		}
	case yaml.String:
		cuts, _, _ := cutTemplates(n.Text)
		for _, c := range cuts {
			for _, name := range namesIn(n.Text[c.from:c.to]) {
				if name[0] == "params" {
					out = append(out, name[1:])
				}
			}
		}
	}
	return out
}

// environment is what templates see besides a cell.
func (c *Campaign) environment() (types.Map, map[string]any) {
	labels := map[string]any{}
	for k, v := range c.Labels {
		labels[k] = v
	}
	env := map[string]any{"name": c.Name, "focus": c.Focus, "labels": labels}
	return typeOf(env).(types.Map), env
}
