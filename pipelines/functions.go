package pipelines

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"

	"pipeline/internal/digest"
)

// allowedBuiltins are the functions of expr that a spec may use as they are:
// they depend on their arguments only, and what they make is bounded by them.
// Those whose results follow the order of a Go map, or whose results grow
// without being counted, are replaced in ourFunctions.
var allowedBuiltins = []string{
	"all", "any", "none", "one", "filter", "map", "count", "find", "findIndex",
	"len", "abs", "ceil", "floor", "round", "float", "min", "max", "mean", "median",
	"first", "last", "trim", "hasPrefix", "hasSuffix", "indexOf", "sort",
}

// A function is one that we add, with the Go types of its overloads.
type function struct {
	call  func(l *language, args []any) (any, error)
	types []any
}

func of[T any]() any { return new(T) }

// ourFunctions are the functions that a spec may use besides.
var ourFunctions = map[string]*function{
	"int":     {callInt, []any{of[func(any) int]()}},
	"string":  {callString, []any{of[func(any) string]()}},
	"lower":   {callLower, []any{of[func(string) string]()}},
	"upper":   {callUpper, []any{of[func(string) string]()}},
	"split":   {callSplit, []any{of[func(string, string) []any]()}},
	"join":    {callJoin, []any{of[func(any, string) string](), of[func(any) string]()}},
	"replace": {callReplace, []any{of[func(string, string, string) string]()}},
	"keys":    {callKeys, []any{of[func(map[string]any) []any]()}},
	"values":  {callValues, []any{of[func(map[string]any) []any]()}},
	"toPairs": {callPairs, []any{of[func(map[string]any) []any]()}},
	"toJSON":  {callJSON, []any{of[func(any) string]()}},
	"pow2":    {callPow2, []any{of[func(int, int) []any]()}},
}

// arithmetic takes the place of the operators of expr, see operators.
var arithmetic = map[string]*function{
	"+": {callAdd, []any{of[func(int, int) int](), of[func(string, string) string](), of[func(any, any) any]()}},
	"-": {callSub, []any{of[func(int, int) int](), of[func(any, any) any]()}},
	"*": {callMul, []any{of[func(int, int) int](), of[func(any, any) any]()}},

	"..": {callRange, []any{of[func(int, int) []int](), of[func(any, any) []int]()}},
}

const tick = "\x00tick" // a name that no expression can write

func (l *language) functions() []expr.Option {
	opts := []expr.Option{
		expr.DisableAllBuiltins(), expr.MaxNodes(maxNodes), expr.Optimize(false), expr.Patch(operators{}),
		expr.Function(tick, func(...any) (any, error) {
			if l.work -= workOfStep; l.work < 0 {
				return nil, errWork
			}
			if l.steps--; l.steps < 0 {
				return nil, fmt.Errorf("the expression takes more than %d steps", maxSteps)
			}
			return true, nil
		}, of[func() bool]()),
	}
	for _, name := range allowedBuiltins {
		opts = append(opts, expr.EnableBuiltin(name))
	}
	for _, table := range []map[string]*function{ourFunctions, arithmetic} {
		for name, f := range table {
			opts = append(opts, expr.Function(name, func(args ...any) (any, error) { return f.call(l, args) }, f.types...))
		}
	}
	return opts
}

// operators replaces + - * and .. by functions that refuse an overflow of
// integers, which expr wraps, and count the texts they make; and puts a tick
// before each predicate, which bounds the steps of an expression.
type operators struct{}

func (operators) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.PredicateNode:
		n.Node = &ast.SequenceNode{Nodes: []ast.Node{&ast.CallNode{Callee: &ast.IdentifierNode{Value: tick}}, n.Node}}
	case *ast.BinaryNode:
		if arithmetic[n.Operator] == nil {
			return
		}
		l, r := kindOf(n.Left), kindOf(n.Right)
		counted := l == reflect.Int && r == reflect.Int || l == reflect.String && r == reflect.String && n.Operator == "+"
		if l == reflect.Interface || r == reflect.Interface || counted {
			ast.Patch(node, &ast.CallNode{Callee: &ast.IdentifierNode{Value: n.Operator}, Arguments: []ast.Node{n.Left, n.Right}})
		}
	}
}

func kindOf(n ast.Node) reflect.Kind {
	if t := n.Type(); t != nil {
		return t.Kind()
	}
	return reflect.Interface
}

var errOverflow = errors.New("the result does not fit in 64 bits")

// spend counts a text of n bytes that an expression makes.
func (l *language) spend(n int) error {
	if l.work -= n / bytesPerWork; l.work < 0 {
		return errWork
	}
	if l.bytes -= n; l.bytes < 0 {
		return fmt.Errorf("the expression makes more than %d bytes of text and lists", maxTextBytes)
	}
	return nil
}

func (l *language) text(s string) (any, error) { return s, l.spend(len(s)) }

func callAdd(l *language, args []any) (any, error) {
	if a, ok := args[0].(string); ok {
		if b, ok := args[1].(string); ok {
			if err := l.spend(len(a) + len(b)); err != nil {
				return nil, err
			}
			return a + b, nil
		}
	}
	a, b, isInt := integers(args)
	if !isInt {
		return floats("+", args, func(a, b float64) float64 { return a + b })
	}
	if c := a + b; (c > a) == (b > 0) {
		return c, nil
	}
	return nil, errOverflow
}

func callSub(l *language, args []any) (any, error) {
	a, b, isInt := integers(args)
	if !isInt {
		return floats("-", args, func(a, b float64) float64 { return a - b })
	}
	if c := a - b; (c < a) == (b > 0) {
		return c, nil
	}
	return nil, errOverflow
}

func callMul(l *language, args []any) (any, error) {
	a, b, isInt := integers(args)
	if !isInt {
		return floats("*", args, func(a, b float64) float64 { return a * b })
	}
	c := a * b
	if a != 0 && (c/a != b || a == -1 && b == math.MinInt) {
		return nil, errOverflow
	}
	return c, nil
}

func callRange(l *language, args []any) (any, error) {
	from, to, ok := integers(args)
	if !ok {
		return nil, fmt.Errorf(".. takes two integers, not %s and %s", describe(args[0]), describe(args[1]))
	}
	if to < from {
		return []int{}, nil
	}
	if to-from < 0 || to-from >= maxSteps {
		return nil, fmt.Errorf("the range %d..%d has more than %d numbers", from, to, maxSteps)
	}
	if err := l.spend(8 * (to - from + 1)); err != nil {
		return nil, err
	}
	list := make([]int, to-from+1)
	for i := range list {
		list[i] = from + i
	}
	return list, nil
}

func integers(args []any) (a, b int, ok bool) {
	a, aok := args[0].(int)
	b, bok := args[1].(int)
	return a, b, aok && bok
}

func floats(op string, args []any, f func(a, b float64) float64) (any, error) {
	var x [2]float64
	for i, a := range args {
		switch a := a.(type) {
		case int:
			x[i] = float64(a)
		case float64:
			x[i] = a
		default:
			return nil, fmt.Errorf("%s takes two numbers%s, not %s and %s", op,
				map[bool]string{true: " or two texts"}[op == "+"], describe(args[0]), describe(args[1]))
		}
	}
	return f(x[0], x[1]), nil
}

func callInt(l *language, args []any) (any, error) {
	switch x := args[0].(type) {
	case int:
		return x, nil
	case float64:
		if math.Abs(x) < 1<<63 {
			return int(x), nil
		}
	case string:
		if i, err := strconv.Atoi(x); err == nil {
			return i, nil
		}
	}
	return nil, fmt.Errorf("int: %s is no integer", describe(args[0]))
}

func callString(l *language, args []any) (any, error) {
	s, ok := render(args[0])
	if !ok {
		return nil, fmt.Errorf("string: %s has no text; use toJSON", describe(args[0]))
	}
	return l.text(s)
}

func callLower(l *language, args []any) (any, error) {
	return l.text(strings.ToLower(args[0].(string)))
}
func callUpper(l *language, args []any) (any, error) {
	return l.text(strings.ToUpper(args[0].(string)))
}

func callSplit(l *language, args []any) (any, error) {
	s := args[0].(string)
	if err := l.spend(16 * (len(s) + 1)); err != nil { // a slot for each part
		return nil, err
	}
	var out []any
	for _, part := range strings.Split(s, args[1].(string)) {
		out = append(out, part)
	}
	return out, nil
}

func callJoin(l *language, args []any) (any, error) {
	sep := ""
	if len(args) > 1 {
		sep = args[1].(string)
	}
	list, err := items(args[0])
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for i, x := range list {
		s, ok := render(x)
		if !ok {
			return nil, fmt.Errorf("join: %s has no text", describe(x))
		}
		if i > 0 {
			s = sep + s
		}
		if err := l.spend(len(s)); err != nil {
			return nil, err
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

func callReplace(l *language, args []any) (any, error) {
	s, from, to := args[0].(string), args[1].(string), args[2].(string)
	if err := l.spend(len(s) + strings.Count(s, from)*len(to)); err != nil {
		return nil, err
	}
	return strings.ReplaceAll(s, from, to), nil
}

// items returns the elements of a list, which expr also makes as []int.
func items(x any) ([]any, error) {
	switch x := x.(type) {
	case []any:
		return x, nil
	case []int:
		list := make([]any, len(x))
		for i, e := range x {
			list[i] = e
		}
		return list, nil
	}
	return nil, fmt.Errorf("join: %s is no list", describe(x))
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (l *language) perKey(m any, f func(k string, v any) any) (any, error) {
	fields := m.(map[string]any)
	if err := l.spend(32 * len(fields)); err != nil {
		return nil, err
	}
	out := make([]any, 0, len(fields))
	for _, k := range sortedKeys(fields) {
		out = append(out, f(k, fields[k]))
	}
	return out, nil
}

func callKeys(l *language, args []any) (any, error) {
	return l.perKey(args[0], func(k string, _ any) any { return k })
}

func callValues(l *language, args []any) (any, error) {
	return l.perKey(args[0], func(_ string, v any) any { return v })
}

func callPairs(l *language, args []any) (any, error) {
	return l.perKey(args[0], func(k string, v any) any { return []any{k, v} })
}

func callJSON(l *language, args []any) (any, error) {
	left := maxResult
	x, err := plain(args[0], &left, 0)
	if err != nil {
		return nil, err
	}
	b, err := digest.Canonical(x)
	if err != nil {
		return nil, err
	}
	return l.text(string(b))
}

// callPow2 gives from, 2·from, 4·from, … up to and including to.
func callPow2(l *language, args []any) (any, error) {
	from, to := args[0].(int), args[1].(int)
	if from < 1 {
		return nil, fmt.Errorf("pow2: the first number is %d, want at least 1", from)
	}
	out := []any{}
	for x := from; x <= to && x > 0; x *= 2 {
		out = append(out, x)
	}
	return out, nil
}
