package pipelines

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"sync/atomic"

	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"

	"pipeline/internal/yaml"
)

// Budgets of one expression. None of them depends on the machine, so that a
// spec is refused everywhere or nowhere; the watchdog in watch.go is for what
// they do not see.
const (
	maxExpression = 4 << 10 // bytes
	maxNodes      = 500     // of its syntax tree
	maxNesting    = 2       // predicates within predicates
	maxSteps      = 100_000 // evaluations of predicates
	maxSlots      = 200_000 // of the lists and maps it makes
	maxTextBytes  = 1 << 20 // of all texts it makes
	maxResult     = 10_000  // values in what it gives
	maxBrackets   = 64      // open at once
	maxTemplates  = 3_000   // different expressions of a spec

	// All expressions of a plan together: units of about 30 ns.
	maxWork      = 30_000_000
	workOfRun    = 10
	workOfStep   = 7
	workOfValue  = 2
	bytesPerWork = 100
)

// An axisSet is a set of axes of a step, by their index.
type axisSet uint32

// maxAxes is how many axes an axisSet can tell apart.
const maxAxes = 32

// A language evaluates expressions. It belongs to one goroutine.
type language struct {
	faults  *faults
	machine vm.VM
	config  *conf.Config
	work    int        // left to all expressions
	steps   int        // left to the expression that runs
	bytes   int        // left to the expression that runs
	count   int        // expressions compiled
	idle    bool       // the work was too much, and that is reported
	unknown [][]string // parameters that have no value because of a fault

	running atomic.Pointer[expression] // for the watchdog
	ticks   atomic.Int64               // expressions compiled or run so far
}

func newLanguage(f *faults) *language {
	l := &language{faults: f, config: conf.CreateNew(), work: maxWork}
	l.machine.MemoryBudget = maxSlots
	for _, option := range l.functions() {
		option(l.config)
	}
	for name := range l.config.Disabled {
		delete(l.config.Builtins, name)
	}
	return l
}

// A scope is the names that some expressions see, with their types and, while
// expressions run, their values.
type scope struct {
	*language
	types    types.Map
	env      map[string]any
	axes     []string // of cell
	compiled map[string]*code
}

func (l *language) scope(params, campaign types.Type, env map[string]any) *scope {
	return &scope{language: l, types: types.Map{"params": params, "campaign": campaign}, env: env, compiled: map[string]*code{}}
}

// code is an expression without its place.
type code struct {
	program *vm.Program
	refs    [][]string // the names it refers to, as far as they are constant: params.model.name
	route   []string   // if it is only such a name
	axes    axisSet
	nodes   int  // of its syntax tree
	unknown bool // it refers to a parameter that has no value because of a fault
}

// An expression is compiled code at a place of a spec.
type expression struct {
	*code
	at       *yaml.Node
	from, to int // its bytes in at.Text
	path     string
}

func (e *expression) errorf(hint, format string, a ...any) *yaml.Error {
	return e.at.ErrorAt(e.at.Place(e.from), e.path, hint, format, a...)
}

func (l *language) fail(n *yaml.Node, path, hint, format string, a ...any) {
	l.faults.add(n.Errorf(path, hint, format, a...))
}

func (l *language) failAt(n *yaml.Node, offset int, path, hint, format string, a ...any) {
	l.faults.add(n.ErrorAt(n.Place(offset), path, hint, format, a...))
}

// expression compiles a part of a scalar. It returns nil after a fault.
func (s *scope) expression(n *yaml.Node, c cut, path string) *expression {
	src := n.Text[c.from:c.to]
	e := &expression{at: n, from: c.from, to: c.to, path: path}
	if known := s.compiled[src]; known != nil {
		e.code = known
		return e
	}
	if s.count++; s.count > maxTemplates {
		if s.count == maxTemplates+1 {
			s.fail(n, path, "", "the spec has more than %d different templates", maxTemplates)
		}
		return nil
	}
	if len(src) > maxExpression {
		s.failAt(n, c.from, path, "", "the expression has %d bytes, more than the limit of %d", len(src), maxExpression)
		return nil
	}
	s.enter(e)
	defer s.leave()
	code, faults := s.compileExpression(src)
	for _, f := range faults {
		s.failAt(n, c.from+f.at, path, f.hint, "%s", f.msg)
	}
	if len(faults) > 0 {
		return nil
	}
	s.compiled[src], e.code = code, code
	return e
}

// A fault is an error in the text of an expression, at a byte of it.
type fault struct {
	at        int
	msg, hint string
}

func (s *scope) compileExpression(src string) (c *code, out []fault) {
	defer func() {
		if r := recover(); r != nil {
			c, out = nil, []fault{{0, fmt.Sprintf("the expression cannot be compiled (%v)", r), "write it in another way"}}
		}
	}()
	if at := tooDeep(src); at >= 0 {
		return nil, []fault{{at, fmt.Sprintf("more than %d brackets are open here", maxBrackets), ""}}
	}
	tree, err := parser.ParseWithConfig(src, s.config)
	if err != nil {
		return nil, []fault{asFault(src, err)}
	}
	w := &walk{scope: s, src: src, code: &code{}}
	w.node(tree.Node, 0)
	if len(w.faults) > 0 {
		return nil, w.faults
	}
	w.code.route = routeOf(tree.Node)
	s.config.WithEnv(s.only(w.code.refs))
	if _, err := new(checker.Checker).PatchAndCheck(tree, s.config); err != nil {
		return nil, []fault{asFault(src, err)}
	}
	program, err := compiler.Compile(tree, s.config)
	if err != nil {
		return nil, []fault{asFault(src, err)}
	}
	w.code.program = program
	w.code.unknown = slices.ContainsFunc(s.unknown, func(p []string) bool {
		return slices.ContainsFunc(w.code.refs, func(ref []string) bool { return ref[0] == "params" && overlap(ref[1:], p) })
	})
	return w.code, nil
}

// tooDeep returns where more brackets are open than maxBrackets, -1 if nowhere.
func tooDeep(src string) int {
	open := 0
	for i := range len(src) {
		switch src[i] {
		case '(', '[', '{':
			open++
		case ')', ']', '}':
			open--
		}
		if open > maxBrackets {
			return i
		}
	}
	return -1
}

// only returns the types of the names in refs and of no others: what expr
// does for each expression grows with the names it is told of.
func (s *scope) only(refs [][]string) types.Map {
	out := types.Map{}
	for _, ref := range refs {
		from, to := s.types, out
		for i, name := range ref {
			inner, isMap := fieldsOf(from[name])
			if i == len(ref)-1 || !isMap {
				to[name] = from[name]
				break
			}
			next, ok := to[name].(narrowed)
			if !ok {
				if to[name] != nil {
					break // all of it is there already
				}
				next = narrowed{types.Map{}}
				to[name] = next
			}
			from, to = inner, next.Map
		}
	}
	return out
}

// narrowed is a map type with some of its fields.
type narrowed struct{ types.Map }

// asFault takes message and place from an error of expr.
func asFault(src string, err error) fault {
	var fe *file.Error
	if !errors.As(err, &fe) {
		return fault{0, err.Error(), ""}
	}
	return fault{byteOf(src, fe.From), fe.Message, ""}
}

// byteOf turns an index of characters, which expr counts, into one of bytes.
func byteOf(src string, rune int) int {
	n := 0
	for i := range src {
		if n == rune {
			return i
		}
		n++
	}
	return len(src)
}

// run evaluates e in the current values of s.
func (s *scope) run(e *expression) (any, *yaml.Error) {
	if e.unknown {
		return nil, errKnown
	}
	if s.work -= workOfRun + e.nodes; s.work < 0 {
		return nil, s.exhausted(e)
	}
	if e.route != nil {
		if x, ok := follow(s.env, e.route); ok {
			return s.result(e, x)
		}
	}
	s.steps, s.bytes = maxSteps, maxTextBytes
	s.enter(e)
	x, err := s.execute(e)
	s.leave()
	switch {
	case s.work < 0:
		return nil, s.exhausted(e)
	case err != nil:
		f := asFault(e.at.Text[e.from:e.to], err)
		return nil, e.at.ErrorAt(e.at.Place(e.from+f.at), e.path, "", "%s", f.msg)
	}
	return s.result(e, x)
}

// exhausted reports once that the expressions of the plan are too much work.
func (l *language) exhausted(e *expression) *yaml.Error {
	if l.idle {
		return errKnown
	}
	l.idle = true
	return e.errorf("use simpler templates, or fewer cells", "the templates of this spec take too much work; the last was this one")
}

var errWork = errors.New("the templates of this spec take too much work")

func (s *scope) result(e *expression, x any) (any, *yaml.Error) {
	left := maxResult
	x, err := plain(x, &left, 0)
	if s.work -= workOfValue * (maxResult - left); s.work < 0 {
		return nil, s.exhausted(e)
	}
	if err != nil {
		return nil, e.errorf("", "%v", err)
	}
	return x, nil
}

func (s *scope) execute(e *expression) (x any, err error) {
	defer func() {
		if r := recover(); r != nil {
			x, err = nil, fmt.Errorf("the expression cannot be evaluated (%v)", r)
		}
	}()
	return s.machine.Run(e.program, s.env)
}

func (l *language) enter(e *expression) {
	l.ticks.Add(1)
	l.running.Store(e)
}

func (l *language) leave() { l.running.Store(nil) }

// follow looks a name such as cell.config.tp up.
func follow(env map[string]any, route []string) (any, bool) {
	var x any = env
	for _, name := range route {
		m, ok := x.(map[string]any)
		if !ok {
			return nil, false
		}
		if x, ok = m[name]; !ok {
			return nil, false
		}
	}
	return x, true
}

// plain checks what an expression gives, and turns it into the types that a
// value has everywhere else.
func plain(x any, left *int, depth int) (any, error) {
	if *left--; *left < 0 {
		return nil, fmt.Errorf("the expression gives more than %d values", maxResult)
	}
	if depth > yaml.MaxDepth {
		return nil, fmt.Errorf("the expression gives a value nested deeper than %d levels", yaml.MaxDepth)
	}
	switch x := x.(type) {
	case nil, bool, int64:
		return x, nil
	case int:
		return int64(x), nil
	case float64:
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return nil, fmt.Errorf("the expression gives %v, not a number that can be used; was something divided by zero?", x)
		}
		return x, nil
	case string:
		if len(x) > maxText {
			return nil, fmt.Errorf("the expression gives a text of %d bytes, more than the limit of %d", len(x), maxText)
		}
		return x, nil
	case map[string]any:
		m := make(map[string]any, len(x))
		for k, e := range x {
			v, err := plain(e, left, depth+1)
			if err != nil {
				return nil, err
			}
			m[k] = v
		}
		return m, nil
	}
	v := reflect.ValueOf(x)
	if v.Kind() != reflect.Slice {
		return nil, fmt.Errorf("the expression gives a %T, which is no value of a spec", x)
	}
	list := make([]any, v.Len())
	for i := range list {
		e, err := plain(v.Index(i).Interface(), left, depth+1)
		if err != nil {
			return nil, err
		}
		list[i] = e
	}
	return list, nil
}

// native turns a plain value into what expressions compute with: integers
// are int there.
func native(x any) any {
	switch x := x.(type) {
	case int64:
		return int(x)
	case []any:
		list := make([]any, len(x))
		for i, e := range x {
			list[i] = native(e)
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(x))
		for k, e := range x {
			m[k] = native(e)
		}
		return m
	}
	return x
}

// typeOf gives the exact type of a native value.
func typeOf(x any) types.Type {
	switch x := x.(type) {
	case bool:
		return types.Bool
	case int:
		return types.Int
	case float64:
		return types.Float64
	case string:
		return types.String
	case []any:
		if len(x) == 0 {
			return types.Array(types.Any)
		}
		t := typeOf(x[0])
		for _, e := range x[1:] {
			if typeName(typeOf(e)) != typeName(t) {
				return types.Array(types.Any)
			}
		}
		return types.Array(t)
	case map[string]any:
		m := make(types.Map, len(x))
		for k, e := range x {
			m[k] = typeOf(e)
		}
		return m
	}
	return types.Any
}

// typeName names a type, the same name for equal types.
func typeName(t types.Type) string {
	m, ok := t.(types.Map)
	if !ok {
		return t.String()
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	name := "{"
	for _, k := range keys {
		name += k + ": " + typeName(m[k]) + ", "
	}
	return name + "}"
}
