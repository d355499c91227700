package pipelines

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"pipeline/internal/yaml"
)

// A value is a value of a spec whose scalars may hold templates, compiled.
type value struct {
	at       *yaml.Node
	lit      any       // of a value without templates
	template *template // of a scalar with templates
	list     []*value
	keys     []string // of a map; beside list
	isMap    bool
	axes     axisSet // that the templates below refer to
	static   bool    // no template below
}

// A template is the text of a scalar, cut into literal pieces and expressions.
type template struct {
	pieces []piece
	whole  bool // one expression and nothing else: keeps the type of its value
}

type piece struct {
	text string
	expr *expression // nil of a literal
}

// A cut is an expression in a text: the bytes from..to are those between the
// braces.
type cut struct {
	from, to int
	literal  string // text before it
}

// cutTemplates finds the expressions of a text. at is the byte of a ${{ that
// is never closed, -1 if there is none.
func cutTemplates(text string) (cuts []cut, tail string, at int) {
	var lit strings.Builder
	for i := 0; i < len(text); {
		j := strings.Index(text[i:], "${{")
		if j < 0 {
			lit.WriteString(text[i:])
			break
		}
		j += i
		if j > i && text[j-1] == '$' {
			lit.WriteString(text[i:j-1] + "${{")
			i = j + 3
			continue
		}
		lit.WriteString(text[i:j])
		end := closing(text, j+3)
		if end < 0 {
			return nil, "", j
		}
		cuts = append(cuts, cut{j + 3, end, lit.String()})
		lit.Reset()
		i = end + 2
	}
	return cuts, lit.String(), -1
}

// closing returns where the }} is that closes an expression: not within
// quotes, and not closing braces of the expression itself.
func closing(text string, i int) int {
	depth, quote := 0, byte(0)
	for ; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0:
			if c == '\\' && quote != '`' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'' || c == '`':
			quote = c
		case c == '{':
			depth++
		case c == '}' && depth > 0:
			depth--
		case c == '}' && i+1 < len(text) && text[i+1] == '}':
			return i
		}
	}
	return -1
}

// compile compiles the templates of a value for the names in s. Faults are
// reported, and what is returned then must not be evaluated.
func (s *scope) compile(n *yaml.Node, path string) *value {
	v := &value{at: n, static: true}
	switch n.Kind {
	case yaml.List:
		v.list = []*value{}
		for i, e := range n.List {
			v.add(s.compile(e, fmt.Sprintf("%s[%d]", path, i)))
		}
	case yaml.Map:
		v.isMap = true
		for _, p := range n.Map {
			if strings.Contains(p.Key.Text, "${{") {
				s.fail(p.Key, path, "write the key itself", "a template cannot be a key")
			}
			v.keys = append(v.keys, p.Key.Text)
			v.add(s.compile(p.Value, yaml.Join(path, p.Key.Text)))
		}
	case yaml.String:
		s.compileText(v, path)
	default:
		v.lit = n.Value()
	}
	if v.static && v.list != nil || v.isMap && v.static {
		v.lit, _ = v.assemble(func(e *value) (any, *yaml.Error) { return e.lit, nil })
	}
	return v
}

// assemble makes the list or map from its parts.
func (v *value) assemble(part func(*value) (any, *yaml.Error)) (any, *yaml.Error) {
	list := make([]any, len(v.list))
	for i, e := range v.list {
		x, err := part(e)
		if err != nil {
			return nil, err
		}
		list[i] = x
	}
	if !v.isMap {
		return list, nil
	}
	m := make(map[string]any, len(list))
	for i, k := range v.keys {
		m[k] = list[i]
	}
	return m, nil
}

func (v *value) add(e *value) {
	v.list = append(v.list, e)
	v.static = v.static && e.static
	v.axes |= e.axes
}

func (s *scope) compileText(v *value, path string) {
	text := v.at.Text
	if !strings.Contains(text, "${{") {
		v.lit = text
		return
	}
	cuts, tail, open := cutTemplates(text)
	if open >= 0 {
		s.failAt(v.at, open, path, "close it, and quote the whole value: '${{ … }}'", "this template has no }}")
		v.lit = text
		return
	}
	if len(cuts) == 0 {
		v.lit = tail // $${{ only
		return
	}
	t := &template{}
	v.static = false
	if block := v.at.Style == yaml.Literal || v.at.Style == yaml.Folded; len(cuts) == 1 {
		around := cuts[0].literal + tail
		t.whole = around == "" || block && strings.TrimSpace(around) == ""
	}
	for _, c := range cuts {
		if c.literal != "" && !t.whole {
			t.pieces = append(t.pieces, piece{text: c.literal})
		}
		e := s.expression(v.at, c, path)
		if e != nil {
			v.axes |= e.axes
			t.pieces = append(t.pieces, piece{expr: e})
		}
	}
	if tail != "" && !t.whole {
		t.pieces = append(t.pieces, piece{text: tail})
	}
	v.template = t
}

// eval returns the plain value that v has in s now.
func (s *scope) eval(v *value) (any, *yaml.Error) {
	switch {
	case v.template != nil:
		return s.evalText(v)
	case v.static:
		return v.lit, nil
	}
	return v.assemble(s.eval)
}

const maxText = 64 << 10 // bytes of a rendered text

func (s *scope) evalText(v *value) (any, *yaml.Error) {
	if v.template.whole {
		return s.run(v.template.pieces[0].expr)
	}
	var b strings.Builder
	for _, p := range v.template.pieces {
		if p.expr == nil {
			b.WriteString(p.text)
			continue
		}
		x, err := s.run(p.expr)
		if err != nil {
			return nil, err
		}
		text, ok := render(x)
		if !ok {
			return nil, p.expr.errorf("use a field of it, or toJSON(…)", "%s cannot stand within text", describe(x))
		}
		b.WriteString(text)
		if b.Len() > maxText {
			return nil, p.expr.errorf("", "the text grows beyond %d bytes", maxText)
		}
	}
	return b.String(), nil
}

// render gives the text of a scalar: a whole number without a point, any
// other in its shortest form.
func render(x any) (string, bool) {
	switch x := x.(type) {
	case string:
		return x, true
	case bool:
		return strconv.FormatBool(x), true
	case int64:
		return strconv.FormatInt(x, 10), true
	case int:
		return strconv.Itoa(x), true
	case float64:
		switch {
		case math.IsNaN(x) || math.IsInf(x, 0):
			return "", false
		case x == math.Trunc(x) && math.Abs(x) < 1<<53:
			return strconv.FormatInt(int64(x), 10), true
		}
		return strconv.FormatFloat(x, 'g', -1, 64), true
	}
	return "", false
}

// describe names a plain value in an error.
func describe(x any) string {
	switch x := x.(type) {
	case nil:
		return "nothing"
	case bool:
		return "the truth value " + strconv.FormatBool(x)
	case string:
		if r := []rune(x); len(r) > 40 {
			x = string(r[:40]) + "…"
		}
		return "the text " + strconv.Quote(x)
	case int64, int:
		return fmt.Sprintf("the integer %d", x)
	case float64:
		return "the number " + strconv.FormatFloat(x, 'g', -1, 64)
	case []any:
		return "a list"
	case map[string]any:
		return "a map"
	}
	return fmt.Sprintf("a %T", x)
}
