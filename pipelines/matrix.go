package pipelines

import (
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/types"

	"pipeline/internal/yaml"
)

const maxCells = 200_000 // of a plan

// A matrix is the axes of a step and its cells.
type matrix struct {
	axes  []*axis
	cells []int32 // a row a cell: for each axis the index of its value
	count int     // rows
}

func (m *matrix) row(i int) []int32 { return m.cells[i*len(m.axes) : (i+1)*len(m.axes)] }

func (m *matrix) names() []string {
	names := make([]string, len(m.axes))
	for i, a := range m.axes {
		names[i] = a.name
	}
	return names
}

func (m *matrix) axis(name string) int {
	return slices.IndexFunc(m.axes, func(a *axis) bool { return a.name == name })
}

// An axis is a name and the values it takes.
type axis struct {
	name   string
	at     *yaml.Node
	path   string
	values []axisValue
	byText map[string]int32
	typ    types.Type
}

// An axisValue is one value. text names it in cells.
type axisValue struct {
	text string
	env  any
	at   *yaml.Node
}

func (a *axis) texts() []string {
	out := make([]string, len(a.values))
	for i, v := range a.values {
		out[i] = v.text
	}
	return out
}

// A dimension is what varies as one in the product: an axis, or the cells of
// the step that like names.
type dimension struct {
	axes    []int // indices in the matrix
	choices []int32
	count   int
}

// An expansion makes the matrix of one step.
type expansion struct {
	*planning
	d      *declaration
	m      *matrix
	dims   []dimension
	failed bool
}

// matrixOf expands the matrix of a step, once. It returns nil after a fault.
func (p *planning) matrixOf(i int) *matrix {
	s := p.steps[i]
	if s.expanded {
		return s.matrix
	}
	if s.expanding {
		p.fail(s.d.matrix, s.d.path("matrix.like"), "write the axes of one of them out", "steps take their matrix from one another in a circle")
		return nil
	}
	s.expanding = true
	before := len(p.faults.errs)
	x := &expansion{planning: p, d: s.d, m: &matrix{count: 1}}
	x.expand()
	s.expanded, s.expanding = true, false
	if len(p.faults.errs) == before && !x.failed {
		s.matrix = x.m
	}
	return s.matrix
}

// unexpanded returns the axes that a matrix with faults would have, of unknown
// type and without cells: enough to check the rest of the step.
func (p *planning) unexpanded(s *planStep) *matrix {
	m := &matrix{}
	if s.d.matrix == nil {
		return m
	}
	names := s.d.matrix.Keys()
	if like := s.d.matrix.Get("like"); like != nil {
		if i := p.step(like.Text); i >= 0 && p.steps[i].d.matrix != nil {
			names = append(names, p.steps[i].d.matrix.Keys()...)
		}
	}
	for _, name := range names {
		if !slices.Contains(reserved, name) && m.axis(name) < 0 && len(m.axes) < maxAxes {
			m.axes = append(m.axes, &axis{name: name, typ: types.Any})
		}
	}
	return m
}

// reserved are the keys of a matrix that are no axes.
var reserved = []string{"like", "include", "exclude"}

func (x *expansion) failf(n *yaml.Node, part, hint, format string, a ...any) {
	x.failed = true
	x.fail(n, x.d.path(part), hint, format, a...)
}

func (x *expansion) expand() {
	n := x.d.matrix
	if n != nil && n.Kind != yaml.Null {
		if n.Kind != yaml.Map {
			x.failf(n, "matrix", "write matrix: {axis: [values]}", "this is %s, want a map of axes", n.Describe())
			return
		}
		for _, p := range n.Map {
			switch p.Key.Text {
			case "exclude", "include":
			case "like":
				x.like(p.Value)
			default:
				x.addAxis(p.Key, p.Value)
			}
		}
	}
	if x.failed {
		return
	}
	if len(x.m.axes) > maxAxes {
		x.failf(n, "matrix", "", "there are %d axes, more than the limit of %d", len(x.m.axes), maxAxes)
		return
	}
	total := 1
	for _, d := range x.dims {
		if total *= d.count; total > maxCells {
			x.failf(n, "matrix", "split the campaign", "the matrix has more than %d cells", maxCells)
			return
		}
	}
	s := x.cellScope(x.m)
	exclude := x.excludes(s)
	when := x.when(s)
	if x.failed {
		return
	}
	x.product(total, s, exclude)
	x.include()
	x.keep(s, when)
	for _, e := range exclude {
		e.report(x)
	}
}

// like takes the axes and the cells of another step.
func (x *expansion) like(n *yaml.Node) {
	if n.Kind != yaml.String {
		x.failf(n, "matrix.like", "write like: step", "this is %s, want the id of a step", n.Describe())
		return
	}
	i := x.step(n.Text)
	if i < 0 {
		x.failf(n, "matrix.like", yaml.Nearest(n.Text, x.ids()), "there is no step %s", n.Text)
		return
	}
	other := x.matrixOf(i)
	if other == nil {
		x.failed = true // reported there
		return
	}
	dim := dimension{choices: other.cells, count: other.count}
	for _, a := range other.axes {
		if x.m.axis(a.name) >= 0 {
			x.failf(n, "matrix.like", "remove one of them", "the axis %s of %s stands here already", a.name, n.Text)
		}
		dim.axes = append(dim.axes, len(x.m.axes))
		x.m.axes = append(x.m.axes, a)
	}
	x.dims = append(x.dims, dim)
}

// addAxis reads an axis written out, or given by a template over params.
func (x *expansion) addAxis(key, n *yaml.Node) {
	name := key.Text
	part := "matrix." + name
	switch {
	case strings.Contains(name, "-") && nameRE.MatchString(strings.ReplaceAll(name, "-", "_")):
		x.failf(key, "matrix", "use "+strings.ReplaceAll(name, "-", "_"), "the axis %s would read as a difference in cell.%s", name, name)
		return
	case !nameRE.MatchString(name):
		x.failf(key, "matrix", "use lower-case letters, digits and '_', a letter first", "%q is no name of an axis", name)
		return
	case x.m.axis(name) >= 0:
		x.failf(key, "matrix", "remove one of them", "the axis %s stands here already", name)
		return
	}
	before := len(x.faults.errs)
	v := x.globals.compile(n, x.d.path(part))
	if len(x.faults.errs) > before {
		x.failed = true
		return
	}
	plain, err := x.globals.eval(v)
	if err != nil {
		x.faults.add(err)
		x.failed = true
		return
	}
	list, ok := plain.([]any)
	if !ok || len(list) == 0 {
		hint := "write [" + strings.TrimSpace(n.Text) + "]"
		if n.Kind != yaml.Int && n.Kind != yaml.Float && n.Kind != yaml.Bool && (n.Kind != yaml.String || v.template != nil) {
			hint = ""
		}
		x.failf(n, part, hint, "an axis takes a list of values, this is %s", strings.Replace(describe(plain), "a list", "an empty list", 1))
		return
	}
	a := &axis{name: name, at: key, path: x.d.path(part), byText: map[string]int32{}}
	x.fill(a, n, list)
	x.dims = append(x.dims, dimension{axes: []int{len(x.m.axes)}, choices: indices(len(a.values)), count: len(a.values)})
	x.m.axes = append(x.m.axes, a)
}

func indices(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(i)
	}
	return out
}

// fill gives an axis its values, which have to be of one type.
func (x *expansion) fill(a *axis, n *yaml.Node, list []any) {
	for i, v := range list {
		at := n
		if n.Kind == yaml.List && i < len(n.List) {
			at = n.List[i]
		}
		a.values = append(a.values, axisValue{env: native(v), at: at})
	}
	widen(a.values)
	if !x.sameType(a) {
		x.failed = true
		return
	}
	a.typ = typeOf(a.values[0].env)
	for i := range a.values {
		v := &a.values[i]
		text, msg, hint := cellText(v.env)
		if msg != "" {
			x.failf(v.at, "matrix."+a.name, hint, "%s", msg)
			continue
		}
		if first, twice := a.byText[text]; twice {
			x.failf(v.at, "matrix."+a.name, "remove one of them", "the value %s stands already at line %d", text, a.values[first].at.Pos.Line)
			continue
		}
		v.text = text
		a.byText[text] = int32(i)
	}
}

// widen makes all numbers of an axis float64 if one of them is, in the fields
// of maps as well.
func widen(values []axisValue) {
	mixed := func(get func(axisValue) any) bool {
		ints, floats := false, false
		for _, v := range values {
			switch get(v).(type) {
			case int:
				ints = true
			case float64:
				floats = true
			}
		}
		return ints && floats
	}
	if mixed(func(v axisValue) any { return v.env }) {
		for i, v := range values {
			if n, ok := v.env.(int); ok {
				values[i].env = float64(n)
			}
		}
	}
	first, ok := values[0].env.(map[string]any)
	if !ok {
		return
	}
	for k := range first {
		field := func(v axisValue) any { m, _ := v.env.(map[string]any); return m[k] }
		if !mixed(field) {
			continue
		}
		for _, v := range values {
			if n, ok := field(v).(int); ok {
				v.env.(map[string]any)[k] = float64(n)
			}
		}
	}
}

// sameType reports the value of an axis whose type, or fields, differ from
// those of the others.
func (x *expansion) sameType(a *axis) bool {
	count := map[string]int{}
	for _, v := range a.values {
		count[typeName(typeOf(v.env))]++
	}
	if len(count) == 1 {
		return true
	}
	common := typeName(typeOf(a.values[0].env))
	for _, v := range a.values {
		if name := typeName(typeOf(v.env)); count[name] > count[common] {
			common = name
		}
	}
	var usual any
	for _, v := range a.values {
		if typeName(typeOf(v.env)) == common {
			usual = v.env
			break
		}
	}
	for i, v := range a.values {
		if typeName(typeOf(v.env)) == common {
			continue
		}
		x.failf(v.at, "matrix."+a.name, "all values of an axis have one type", "value %d is odd: %s", i+1, difference(v.env, usual))
	}
	return false
}

// difference says how the type of x differs from that of usual.
func difference(x, usual any) string {
	m, isMap := x.(map[string]any)
	u, wasMap := usual.(map[string]any)
	if !isMap || !wasMap {
		return fmt.Sprintf("it is %s, others are like %s", describe(x), describe(usual))
	}
	for _, k := range sortedKeys(u) {
		if v, ok := m[k]; !ok {
			return fmt.Sprintf("it has no field %s", k)
		} else if typeName(typeOf(v)) != typeName(typeOf(u[k])) {
			return fmt.Sprintf("its %s is %s, that of others like %s", k, describe(v), describe(u[k]))
		}
	}
	for _, k := range sortedKeys(m) {
		if _, ok := u[k]; !ok {
			return fmt.Sprintf("only it has a field %s", k)
		}
	}
	return "it differs from the others"
}

// cellText names an axis value in cells and selectors.
func cellText(x any) (text, msg, hint string) {
	if m, ok := x.(map[string]any); ok {
		id, ok := m["id"]
		if !ok {
			return "", "a map needs an id that names it in cells", "write {id: name, …}"
		}
		x = id
	}
	text, ok := render(x)
	switch {
	case !ok:
		return "", describe(x) + " cannot name a cell", "write {id: name, …}"
	case text == "":
		return "", "an empty text cannot name a cell", "write {id: name, value: ''}"
	case len(text) > 100 || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || strings.ContainsRune(",[]|*", r) }):
		return "", fmt.Sprintf("%q cannot name a cell: it is long, or has a space or one of , [ ] | *", text), "write {id: name, value: …}"
	}
	return text, "", ""
}

// product fills in the cells that are not excluded, in odometer order.
func (x *expansion) product(total int, s *scope, exclude []*exclusion) {
	width := len(x.m.axes)
	row := make([]int32, width)
	at := make([]int, len(x.dims))
	x.m.cells = make([]int32, 0, total*width)
	x.m.count = 0
	for range total {
		for i, d := range x.dims {
			for j, a := range d.axes {
				row[a] = d.choices[at[i]*len(d.axes)+j]
			}
		}
		if !x.excluded(s, exclude, row) {
			x.m.cells = append(x.m.cells, row...)
			x.m.count++
		}
		for i := len(at) - 1; i >= 0; i-- {
			if at[i]++; at[i] < x.dims[i].count {
				break
			}
			at[i] = 0
		}
		if x.failed {
			return
		}
	}
}
