package pipelines

import (
	"errors"
	"fmt"
	"hash/maphash"
	"reflect"
	"slices"
	"strings"
	"time"

	"pipeline/internal/digest"
	"pipeline/internal/yaml"
	"pipeline/steps"
)

// A builder makes the nodes of one step. What does not depend on the cell is
// decoded once, into a prototype that the nodes copy; what depends on one axis
// is decoded once for each of its values.
type builder struct {
	*planning
	s       *planStep
	matrix  *matrix
	scope   *scope
	dec     *decoding
	proto   reflect.Value // the struct of parameters
	policy  reflect.Value
	slots   []*slot
	broken  bool // the prototype is not whole: find faults only
	unwired bool // so are the inputs
	checked map[string]bool
	twins   map[[2]uint64]int // of a measurement, the row that was decoded so
	seeds   [2]maphash.Seed
	arena   []Edge
}

// A slot is a field that differs between cells.
type slot struct {
	field  *field
	policy bool // of the policy, not of the parameters
	value  *value
	path   string
	axis   int // the only axis it depends on, -1 if there are more
	memo   []decoded
	failed bool
}

// decoded is what a slot is for some cells.
type decoded struct {
	done bool
	v    reflect.Value
	sum  [2]uint64
}

// builder compiles and checks the parameters of a step. It returns nil if no
// node can be made of it, because there are faults.
func (p *planning) builder(s *planStep) *builder {
	m := s.matrix
	if m == nil {
		m = p.unexpanded(s)
	}
	if s.kind == nil {
		if s.d.with != nil {
			p.cellScope(m).compile(s.d.with, s.d.path("with"))
		}
		return nil
	}
	step := s.kind.New()
	params, err := steps.ParamsOf(step)
	if err != nil {
		panic(fmt.Sprintf("pipelines: kind %s: %v", s.kind.Name, err))
	}
	b := &builder{planning: p, s: s, matrix: m, scope: p.cellScope(m), dec: &decoding{faults: p.faults},
		proto: reflect.ValueOf(step).Elem(), policy: reflect.ValueOf(&policy{Retry: retryPolicy{Backoff: steps.Duration(defaultBackoff)}}).Elem(),
		checked: map[string]bool{}, twins: map[[2]uint64]int{}, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
	used := b.parameters(shapeOf(params))
	b.policies()
	if s.matrix == nil {
		return nil
	}
	b.unusedAxes(used)
	return b
}

// parameters sets up the fields that with names, and returns the axes that
// reach the key through them.
func (b *builder) parameters(sh *shape) axisSet {
	d, used := b.s.d, axisSet(0)
	given := map[string]bool{}
	if d.with != nil {
		for _, p := range d.with.Map {
			given[p.Key.Text] = true
			i, ok := sh.byName[p.Key.Text]
			if !ok {
				hint := yaml.Nearest(p.Key.Text, sh.names())
				if len(sh.fields) == 0 {
					hint = "it has none"
				}
				b.fail(p.Key, d.path("with"), hint, "%s has no parameter %s", b.s.kind.Name, p.Key.Text)
				continue
			}
			f := &sh.fields[i]
			if axes := b.slot(f, p.Value, d.path("with."+f.Name), false); f.Key {
				used |= axes
			}
		}
	}
	for _, f := range sh.fields {
		if f.Required && !given[f.Name] {
			at := d.idNode
			if d.with != nil {
				at = d.with
			}
			b.fail(at, d.path("with"), f.Doc, "the parameter %s of %s is missing", f.Name, b.s.kind.Name)
			b.broken = true
		}
	}
	return used
}

func (b *builder) policies() {
	params, err := steps.ParamsOf(&policy{})
	if err != nil {
		panic("pipelines: " + err.Error())
	}
	sh, d := shapeOf(params), b.s.d
	for name, n := range map[string]*yaml.Node{"timeout": d.timeout, "max_age": d.maxAge, "retry": d.retry, "pools": d.pools} {
		if n != nil && n.Kind != yaml.Null {
			b.slot(&sh.fields[sh.byName[name]], n, d.path(name), true)
		}
	}
	slices.SortFunc(b.slots, func(x, y *slot) int { return strings.Compare(x.path, y.path) })
}

// slot compiles a field. One that does not depend on the cell goes into the
// prototype at once.
func (b *builder) slot(f *field, n *yaml.Node, path string, policy bool) axisSet {
	before := len(b.faults.errs)
	v := b.scope.compile(n, path)
	if len(b.faults.errs) > before {
		b.broken = true
		return v.axes
	}
	s := &slot{field: f, policy: policy, value: v, path: path, axis: -1}
	if v.axes == 0 {
		b.broken = !b.into(s, b.proto, b.policy) || b.broken
		return 0
	}
	for i := range b.matrix.axes {
		if v.axes == 1<<i {
			s.axis, s.memo = i, make([]decoded, len(b.matrix.axes[i].values))
		}
	}
	b.slots = append(b.slots, s)
	return v.axes
}

func (b *builder) into(s *slot, params, policy reflect.Value) bool {
	x, err := b.scope.eval(s.value)
	if err != nil {
		b.faults.add(err)
		return false
	}
	dst := params
	if s.policy {
		dst, x = policy, shorthand(s.field.Name, x)
	}
	return b.dec.field(s.field, dst.Field(s.field.Index), x, b.place(s.value), s.path)
}

// shorthand turns retry: 2 into {max: 2}, and pools: x into [x].
func shorthand(name string, x any) any {
	switch {
	case name == "retry":
		if _, isMap := x.(map[string]any); !isMap {
			return map[string]any{"max": x}
		}
	case name == "pools":
		if s, ok := x.(string); ok {
			return []any{s}
		}
	}
	return x
}

// place returns where a value is written: for a template that is the name of
// a parameter, where that parameter is.
func (b *builder) place(v *value) *yaml.Node {
	if t := v.template; t != nil && t.whole {
		if r := t.pieces[0].expr.route; len(r) > 1 && r[0] == "params" {
			if n := b.params.at(r); n != nil && !strings.Contains(n.Text, "${{") {
				return n
			}
		}
	}
	return v.at
}

// unusedAxes reports the axes that change neither a parameter in the key nor
// an input: cells that differ only there would be one and the same.
func (b *builder) unusedAxes(used axisSet) {
	for i, a := range b.matrix.axes {
		joined := slices.ContainsFunc(b.s.wires, func(w *wire) bool {
			return w.from.matrix == nil || w.from.matrix.axis(a.name) >= 0
		})
		if used&(1<<i) != 0 || joined {
			continue
		}
		at := a.at
		if b.s.d.matrix.Get(a.name) == nil {
			at = b.s.d.matrix.Get("like")
		}
		b.fail(at, b.s.d.path("matrix"), fmt.Sprintf("use ${{ cell.%s }} in with, or remove the axis", a.name),
			"the axis %s changes no parameter in the key and no input, so its cells would all be the same", a.name)
		b.checked["twin"] = true // it would say the same
	}
}

// nodes appends the nodes of the step to the plan.
func (b *builder) nodes() {
	m := b.matrix
	for _, w := range slices.Concat(b.s.wires, b.s.after) {
		if w.from.matrix == nil || len(w.from.nodes) != w.from.matrix.count {
			b.unwired = true
			continue
		}
		w.join(b.s)
	}
	cells := make([]steps.Coord, m.count*len(m.axes))
	b.s.nodes = make([]NodeID, m.count)
	name := []byte(b.s.d.id)
	for i := range m.count {
		row := m.row(i)
		cell := cells[i*len(row) : (i+1)*len(row) : (i+1)*len(row)]
		name = append(name[:0], b.s.d.id...)
		for j, v := range row {
			cell[j] = steps.Coord{Axis: m.axes[j].name, Value: m.axes[j].values[v].text}
			name = append(append(append(append(name, "[,"[min(j, 1)]), cell[j].Axis...), '='), cell[j].Value...)
		}
		if len(row) > 0 {
			name = append(name, ']')
		}
		b.node(i, Node{Name: string(name), Cell: cell})
		if b.faults.full() {
			return
		}
	}
	b.plan.Steps[b.s.index].Nodes = b.s.nodes
}

func (b *builder) node(i int, n Node) {
	row := b.matrix.row(i)
	setCell(b.scope, b.matrix, row)
	params := reflect.New(b.proto.Type())
	params.Elem().Set(b.proto)
	policy := b.policy
	if slices.ContainsFunc(b.slots, func(s *slot) bool { return s.policy }) {
		policy = reflect.New(b.policy.Type()).Elem()
		policy.Set(b.policy)
	}
	b.dec.cell = " in " + n.Name
	sum, ok := b.fill(row, params.Elem(), policy)
	b.dec.cell = ""
	n.ID = NodeID(len(b.plan.Nodes))
	n.Step, n.Pos, n.Kind, n.Params = b.s.index, b.s.d.node.Pos, b.s.kind, params.Interface()
	b.s.nodes[i] = n.ID
	b.setPolicy(&n, policy)
	if ok && !b.broken {
		if c, has := n.Params.(steps.Completer); has {
			c.Complete()
		}
		b.check(&n)
		if !b.unwired {
			b.connect(row, &n, &sum)
			b.twin(i, &n, sum)
		}
	}
	b.plan.Nodes = append(b.plan.Nodes, n)
}

func (b *builder) setPolicy(n *Node, v reflect.Value) {
	p := v.Addr().Interface().(*policy)
	n.Timeout, n.MaxAge, n.Pools = time.Duration(p.Timeout), time.Duration(p.MaxAge), p.Pools
	if p.Retry.Max > 0 {
		n.Retry = p.Retry.retry()
	}
}

// fill decodes what depends on the cell. It returns a sum over what of it is
// in the key.
func (b *builder) fill(row []int32, params, policy reflect.Value) (sum [2]uint64, ok bool) {
	ok = true
	for _, s := range b.slots {
		if s.failed {
			ok = false
			continue
		}
		dst := params
		if s.policy {
			dst = policy
		}
		field := dst.Field(s.field.Index)
		var d decoded
		if s.axis >= 0 {
			d = s.memo[row[s.axis]]
		}
		if !d.done {
			if !b.into(s, params, policy) {
				s.failed, ok = true, false // one fault a slot is enough
				continue
			}
			d = decoded{done: true, v: field, sum: b.sum(s, field)}
			if s.axis >= 0 {
				d.v = reflect.New(field.Type()).Elem()
				d.v.Set(field)
				s.memo[row[s.axis]] = d
			}
		} else {
			field.Set(d.v)
		}
		for i := range sum {
			sum[i] = sum[i]*0x9E3779B97F4A7C15 + d.sum[i]
		}
	}
	return sum, ok
}

func (b *builder) sum(s *slot, v reflect.Value) (sum [2]uint64) {
	if b.s.kind.Effect != steps.Measure || !s.field.Key {
		return sum
	}
	text, err := digest.Canonical(v.Interface())
	if err != nil {
		text = fmt.Appendf(nil, "%#v", v.Interface())
	}
	for i, seed := range b.seeds {
		sum[i] = maphash.Bytes(seed, text)
	}
	return sum
}

// connect gives a node its inputs.
func (b *builder) connect(row []int32, n *Node, sum *[2]uint64) {
	count := 0
	for _, w := range b.s.wires {
		count += len(w.feeds(row))
	}
	if b.total += count; b.total > maxEdges {
		if b.total-count <= maxEdges {
			b.fail(b.s.d.idNode, b.s.d.path("in"), "join on more axes", "the plan has more than %d edges", maxEdges)
		}
		return
	}
	n.Deps = b.take(count)
	for i, w := range b.s.wires {
		from := len(n.Deps)
		for _, id := range w.feeds(row) {
			n.Deps = append(n.Deps, Edge{w.port, id})
			for k := range sum {
				sum[k] = sum[k]*0x9E3779B97F4A7C15 + uint64(id) + 1
			}
		}
		if len(n.Deps) == from {
			b.starved(w, n)
		}
		if i > 0 && b.s.wires[i-1].port == w.port {
			b.sortPort(n.Deps, w.port)
		}
	}
	for _, w := range b.s.after {
		n.After = append(n.After, w.feeds(row)...)
	}
}

// take returns room for n edges.
func (b *builder) take(n int) []Edge {
	if n == 0 {
		return nil
	}
	if len(b.arena) < n {
		b.arena = make([]Edge, max(n, 4096))
	}
	out := b.arena[:0:n]
	b.arena = b.arena[n:]
	return out
}

// sortPort puts what several steps bring to one port into canonical order.
func (b *builder) sortPort(deps []Edge, port string) {
	from := slices.IndexFunc(deps, func(e Edge) bool { return e.Port == port })
	slices.SortStableFunc(deps[from:], func(x, y Edge) int {
		nx, ny := &b.plan.Nodes[x.From], &b.plan.Nodes[y.From]
		if c := compareCells(nx.Cell, ny.Cell); c != 0 {
			return c
		}
		return strings.Compare(b.steps[nx.Step].d.id, b.steps[ny.Step].d.id)
	})
}

// starved reports a wire to a required port that brings nothing.
func (b *builder) starved(w *wire, n *Node) {
	port, _ := b.s.kind.Port(w.port)
	if !port.Required || slices.ContainsFunc(n.Deps, func(e Edge) bool { return e.Port == w.port }) || b.checked["in "+w.port] {
		return
	}
	b.checked["in "+w.port] = true
	if w.from.matrix.count == 0 {
		b.fail(w.at, b.s.d.path("in."+w.port), "see its when and exclude", "no cell of %s is left", w.from.d.id)
		return
	}
	var shared []string
	for _, sh := range w.shared {
		shared = append(shared, b.matrix.axes[sh[0]].name+"="+n.Cell[sh[0]].Value)
	}
	b.fail(w.at, b.s.d.path("in."+w.port), "use matrix: {like: "+w.from.d.id+"} to take its cells", "no cell of %s has %s, which %s needs", w.from.d.id, strings.Join(shared, ","), n.Name)
}

// twin reports a cell of a measurement that would have the key of another.
func (b *builder) twin(i int, n *Node, sum [2]uint64) {
	if b.s.kind.Effect != steps.Measure || len(n.Cell) == 0 {
		return
	}
	first, ok := b.twins[sum]
	if !ok {
		b.twins[sum] = i
		return
	}
	if b.checked["twin"] {
		return
	}
	b.checked["twin"] = true
	var axes []string
	for j, v := range b.matrix.row(first) {
		if b.matrix.row(i)[j] != v {
			axes = append(axes, b.matrix.axes[j].name)
		}
	}
	other := b.plan.Nodes[b.s.nodes[first]].Name
	b.fail(b.s.d.idNode, b.s.d.path("with"), "make a parameter differ, or exclude one of them",
		"%s and %s have the same parameters and inputs, so they would be one measurement: %s makes no difference", other, n.Name, joinAnd(axes))
}

// check asks the step itself about its parameters.
func (b *builder) check(n *Node) {
	c, ok := n.Params.(steps.Checker)
	if !ok {
		return
	}
	if err := c.Check(); err != nil {
		b.checkFault(n, err)
	}
}

func (b *builder) checkFault(n *Node, err error) {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			b.checkFault(n, e)
		}
		return
	}
	at, path, text := b.s.d.idNode, b.s.d.path("with"), err.Error()
	if b.s.d.with != nil {
		at = b.s.d.with
	}
	var pe *steps.ParamError
	if errors.As(err, &pe) {
		path, text = path+"."+pe.Param, pe.Err.Error()
		for _, key := range strings.Split(pe.Param, ".") {
			inner := at.Get(key)
			if inner == nil {
				break
			}
			at = inner
		}
	}
	if b.checked[path+text] {
		return
	}
	b.checked[path+text] = true
	if len(n.Cell) > 0 {
		text += " in " + n.Name
	}
	b.fail(at, path, "", "%s", text)
}
