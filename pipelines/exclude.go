package pipelines

import (
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/types"

	"pipeline/internal/yaml"
)

// An exclusion is one entry of exclude: a partial map, or a condition.
type exclusion struct {
	at        *yaml.Node
	condition *value
	axes      []int     // of a partial map
	values    [][]int32 // beside axes: those that match
	doubt     string    // a value of the map that its axis does not have
	used      bool
}

func (x *expansion) excludes(s *scope) []*exclusion {
	n := x.d.matrix.Get("exclude")
	if n == nil || n.Kind == yaml.Null {
		return nil
	}
	list := []*yaml.Node{n}
	if n.Kind == yaml.List {
		list = n.List
	}
	var out []*exclusion
	for _, e := range list {
		switch e.Kind {
		case yaml.Map:
			out = append(out, x.partial(e))
		case yaml.String:
			if c := x.condition(s, e, "matrix.exclude"); c != nil {
				out = append(out, &exclusion{at: e, condition: c})
			}
		default:
			x.failf(e, "matrix.exclude", "", "this is %s, want a map such as {%s: value} or a template", e.Describe(), x.firstAxis())
		}
	}
	return out
}

func (x *expansion) firstAxis() string {
	if len(x.m.axes) == 0 {
		return "axis"
	}
	return x.m.axes[0].name
}

// condition compiles a template that is true or false.
func (x *expansion) condition(s *scope, n *yaml.Node, part string) *value {
	before := len(x.faults.errs)
	v := s.compile(n, x.d.path(part))
	if len(x.faults.errs) > before {
		x.failed = true
		return nil
	}
	if _, isBool := v.lit.(bool); v.template == nil && !isBool || v.template != nil && !v.template.whole {
		x.failf(n, part, "write '${{ … }}'", "this is %s, want a template that is true or false", n.Describe())
		return nil
	}
	return v
}

// holds evaluates a condition in the cell that s has now.
func (x *expansion) holds(s *scope, v *value, part string, row []int32) bool {
	r, err := s.eval(v)
	if err != nil {
		x.faults.add(err)
		x.failed = true
		return false
	}
	b, ok := r.(bool)
	if !ok {
		x.failf(v.at, part, "compare it with something", "this gives %s%s, want true or false", describe(r), x.inCell(row))
	}
	return b
}

// inCell names a cell in an error: " in concurrency=4,trial=1".
func (x *expansion) inCell(row []int32) string {
	if len(row) == 0 {
		return ""
	}
	parts := make([]string, len(row))
	for i, v := range row {
		parts[i] = x.m.axes[i].name + "=" + x.m.axes[i].values[v].text
	}
	return " in " + strings.Join(parts, ",")
}

// partial reads a map from axis to value, or to a list of values.
func (x *expansion) partial(n *yaml.Node) *exclusion {
	e := &exclusion{at: n}
	for _, p := range n.Map {
		i := x.m.axis(p.Key.Text)
		if i < 0 {
			x.failf(p.Key, "matrix.exclude", yaml.Nearest(p.Key.Text, x.m.names()), "there is no axis %s", p.Key.Text)
			continue
		}
		list := []*yaml.Node{p.Value}
		if p.Value.Kind == yaml.List {
			list = p.Value.List
		}
		var values []int32
		for _, v := range list {
			text, ok := x.valueText(v, "matrix.exclude."+p.Key.Text)
			if !ok {
				continue
			}
			if j, ok := x.m.axes[i].byText[text]; ok {
				values = append(values, j)
			} else if e.doubt == "" {
				e.doubt = fmt.Sprintf("the axis %s has no value %s", p.Key.Text, text)
				if hint := yaml.Nearest(text, x.m.axes[i].texts()); hint != "" {
					e.doubt += "; " + hint
				}
			}
		}
		e.axes, e.values = append(e.axes, i), append(e.values, values)
	}
	return e
}

// valueText gives the text by which a value written in exclude or include
// names one of an axis: its own, or the id of a map.
func (x *expansion) valueText(n *yaml.Node, part string) (string, bool) {
	before := len(x.faults.errs)
	v := x.globals.compile(n, x.d.path(part))
	if len(x.faults.errs) > before {
		x.failed = true
		return "", false
	}
	plain, err := x.globals.eval(v)
	if err != nil {
		x.faults.add(err)
		x.failed = true
		return "", false
	}
	text, msg, hint := cellText(native(plain))
	if msg != "" {
		x.failf(n, part, hint, "%s", msg)
		return "", false
	}
	return text, true
}

func (x *expansion) excluded(s *scope, list []*exclusion, row []int32) bool {
	out := false
	if x.work -= len(list); x.work < 0 && !x.idle {
		x.idle = true
		x.failf(x.d.matrix, "matrix.exclude", "exclude whole axes, or split the campaign", "there are too many cells and exclusions")
	}
	for _, e := range list {
		if x.failed {
			return out
		}
		hit := true
		if e.condition != nil {
			x.enterCell(s, row)
			hit = x.holds(s, e.condition, "matrix.exclude", row)
		} else {
			for i, a := range e.axes {
				hit = hit && slices.Contains(e.values[i], row[a])
			}
		}
		if hit {
			e.used, out = true, true
		}
	}
	return out
}

// report warns of an exclusion that removed nothing: it is probably misspelt.
func (e *exclusion) report(x *expansion) {
	if e.used || x.failed {
		return
	}
	text := x.d.path("matrix.exclude") + ": this excludes no cell"
	if e.doubt != "" {
		text += "; " + e.doubt
	}
	x.faults.warn(e.at.Pos, text)
}

// include adds the cells that are written out one by one. A value may be new
// to its axis.
func (x *expansion) include() {
	n := x.d.matrix.Get("include")
	if n == nil || n.Kind == yaml.Null || x.failed {
		return
	}
	list := []*yaml.Node{n}
	if n.Kind == yaml.List {
		list = n.List
	}
	if len(x.m.axes) == 0 {
		x.failf(n, "matrix.include", "add axes", "there are no axes that a cell could be added to")
		return
	}
	seen := make(map[string]bool, x.m.count)
	for i := range x.m.count {
		seen[rowKey(x.m.row(i))] = true
	}
	owned := false
	for _, e := range list {
		if e.Kind != yaml.Map {
			x.failf(e, "matrix.include", "", "this is %s, want a map with a value for each axis", e.Describe())
			continue
		}
		if !owned { // the axes of like belong to another step too
			for i, a := range x.m.axes {
				c := *a
				c.values = slices.Clone(a.values)
				c.byText = make(map[string]int32, len(a.values))
				for j, v := range c.values {
					c.byText[v.text] = int32(j)
				}
				x.m.axes[i] = &c
			}
			owned = true
		}
		row, ok := x.includedRow(e)
		if !ok {
			continue
		}
		if key := rowKey(row); seen[key] {
			x.failf(e, "matrix.include", "remove it", "this cell is there already")
		} else {
			seen[key] = true
			x.m.cells = append(x.m.cells, row...)
			x.m.count++
		}
	}
}

func rowKey(row []int32) string {
	b := make([]byte, 0, 4*len(row))
	for _, v := range row {
		b = append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
	}
	return string(b)
}

func (x *expansion) includedRow(n *yaml.Node) ([]int32, bool) {
	row := make([]int32, len(x.m.axes))
	before := len(x.faults.errs)
	for _, p := range n.Map {
		if x.m.axis(p.Key.Text) < 0 {
			x.failf(p.Key, "matrix.include", yaml.Nearest(p.Key.Text, x.m.names()), "there is no axis %s", p.Key.Text)
		}
	}
	for i, a := range x.m.axes {
		v := n.Get(a.name)
		if v == nil {
			x.failf(n, "matrix.include", "a cell has a value for each axis", "there is no value for the axis %s", a.name)
			continue
		}
		j, ok := x.includedValue(a, v)
		if !ok {
			x.failed = true
		}
		row[i] = j
	}
	return row, len(x.faults.errs) == before
}

// includedValue finds a value on an axis, or adds it.
func (x *expansion) includedValue(a *axis, n *yaml.Node) (int32, bool) {
	text, ok := x.valueText(n, "matrix.include."+a.name)
	if !ok {
		return 0, false
	}
	_, maps := a.values[0].env.(map[string]any)
	j, known := a.byText[text]
	if known && (n.Kind != yaml.Map || !maps) {
		return j, true
	}
	plain, _ := x.globals.eval(x.globals.compile(n, ""))
	v := axisValue{text: text, env: native(plain), at: n}
	if f, isFloat := v.env.(int); isFloat && a.typ == types.Float64 {
		v.env = float64(f)
	}
	if typeName(typeOf(v.env)) != typeName(a.typ) {
		hint := ""
		if maps && n.Kind != yaml.Map {
			hint = yaml.Nearest(text, a.texts())
		}
		x.failf(n, "matrix.include."+a.name, hint, "%s", difference(v.env, a.values[0].env))
		return 0, false
	}
	if known {
		if fmt.Sprint(a.values[j].env) != fmt.Sprint(v.env) {
			x.failf(n, "matrix.include."+a.name, "write the id alone, or use another", "the axis has a value %s with other fields", text)
		}
		return j, true
	}
	j = int32(len(a.values))
	a.values, a.byText[text] = append(a.values, v), j
	return j, true
}

// when compiles the condition under which a cell is kept.
func (x *expansion) when(s *scope) *value {
	n := x.d.when
	if n == nil || n.Kind == yaml.Null {
		return nil
	}
	return x.condition(s, n, "when")
}

func (x *expansion) keep(s *scope, when *value) {
	if when == nil || x.failed {
		return
	}
	kept, count := x.m.cells[:0:0], 0
	for i := range x.m.count {
		row := x.m.row(i)
		x.enterCell(s, row)
		if x.holds(s, when, "when", row) {
			kept, count = append(kept, row...), count+1
		}
		if x.failed {
			return
		}
	}
	x.m.cells, x.m.count = kept, count
}

// cellScope is the globals and cell, with the axes of m.
func (p *planning) cellScope(m *matrix) *scope {
	s := p.language.scope(p.paramTypes, p.campaignTypes, map[string]any{"params": p.params.values, "campaign": p.campaignEnv})
	if len(m.axes) == 0 {
		return s
	}
	cell := types.Map{}
	for _, a := range m.axes {
		cell[a.name] = a.typ
		s.axes = append(s.axes, a.name)
	}
	s.types["cell"] = cell
	s.env["cell"] = make(map[string]any, len(m.axes))
	return s
}

// enterCell makes row the cell that expressions of s see.
func (x *expansion) enterCell(s *scope, row []int32) { setCell(s, x.m, row) }

func setCell(s *scope, m *matrix, row []int32) {
	if len(row) == 0 {
		return
	}
	cell := s.env["cell"].(map[string]any)
	for i, v := range row {
		cell[m.axes[i].name] = m.axes[i].values[v].env
	}
}
