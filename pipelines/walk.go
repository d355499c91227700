package pipelines

import (
	"fmt"
	"slices"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"

	"pipeline/internal/yaml"
)

// A walk goes over the syntax tree of an expression before it is compiled: it
// checks all names, refuses what has no bound, and notes what is referred to.
type walk struct {
	*scope
	src    string
	code   *code
	faults []fault
}

func (w *walk) fail(n ast.Node, hint, format string, a ...any) {
	w.faults = append(w.faults, fault{byteOf(w.src, n.Location().From), fmt.Sprintf(format, a...), hint})
}

func (w *walk) node(n ast.Node, nesting int) {
	w.code.nodes++
	switch n := n.(type) {
	case *ast.IdentifierNode, *ast.MemberNode:
		w.name(n, nesting)
		return
	case *ast.BuiltinNode:
		if !slices.Contains(allowedBuiltins, n.Name) {
			w.fail(n, w.nearestFunction(n.Name), "the function %s is not known here", n.Name)
			return
		}
	case *ast.PredicateNode:
		if nesting++; nesting > maxNesting {
			w.fail(n, "", "predicates are nested deeper than %d levels", maxNesting)
			return
		}
	case *ast.CallNode:
		callee, ok := n.Callee.(*ast.IdentifierNode)
		if !ok {
			w.fail(n, "", "only functions can be called")
			return
		}
		if _, known := ourFunctions[callee.Value]; !known {
			w.fail(n, w.nearestFunction(callee.Value), "the function %s is not known here", callee.Value)
		}
		for _, a := range n.Arguments {
			w.node(a, nesting)
		}
		return
	case *ast.VariableDeclaratorNode:
		w.fail(n, "write the value where it is used", "let is not known here")
		return
	case *ast.SequenceNode:
		w.fail(n, "", "this is more than one expression")
		return
	}
	for _, c := range children(n) {
		w.node(c, nesting)
	}
}

func (w *walk) nearestFunction(name string) string {
	names := slices.Clone(allowedBuiltins)
	for f := range ourFunctions {
		names = append(names, f)
	}
	slices.Sort(names)
	return yaml.Nearest(name, names)
}

// name checks a name such as params.model.name against the types in scope.
func (w *walk) name(n ast.Node, nesting int) {
	root, props, rest := chain(n)
	for _, r := range rest {
		w.node(r, nesting)
	}
	if root == nil {
		return
	}
	t, ok := w.types[root.Value]
	if !ok {
		w.unknown(root)
		return
	}
	ref := []string{root.Value}
	for _, p := range props {
		fields, isMap := fieldsOf(t)
		if !isMap {
			break
		}
		name := p.(*ast.StringNode).Value
		if t, ok = fields[name]; !ok {
			w.fail(p, yaml.Nearest(name, keysOf(fields)), "%s has no %s", joinPath(ref), name)
			return
		}
		ref = append(ref, name)
	}
	w.code.refs = append(w.code.refs, ref)
	if root.Value == "cell" {
		for i, axis := range w.axes {
			if len(ref) == 1 || ref[1] == axis {
				w.code.axes |= 1 << i
			}
		}
	}
}

func (w *walk) unknown(root *ast.IdentifierNode) {
	names := keysOf(w.types)
	switch {
	case root.Value == "cell":
		w.fail(root, "a template here sees "+joinAnd(names), "there is no cell here: the step has no matrix, or this is not within a step")
	case root.Value == "$env":
		w.fail(root, "", "$env is not known here")
	case ourFunctions[root.Value] != nil || slices.Contains(allowedBuiltins, root.Value):
		w.fail(root, "", "%s is a function", root.Value)
	default:
		hint := yaml.Closest(root.Value, names)
		if hint == "" {
			hint = "a template sees " + joinAnd(names)
		}
		w.fail(root, hint, "unknown name %s", root.Value)
	}
}

// chain takes a name apart: params.model["name"] is the root params and the
// constant properties model and name. rest are the nodes it does not describe.
func chain(n ast.Node) (root *ast.IdentifierNode, props, rest []ast.Node) {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return n, nil, nil
	case *ast.ChainNode:
		return chain(n.Node)
	case *ast.MemberNode:
		root, props, rest = chain(n.Node)
		if root == nil {
			return nil, nil, append(rest, n.Property)
		}
		if _, ok := n.Property.(*ast.StringNode); ok && len(rest) == 0 {
			return root, append(props, n.Property), nil
		}
		return root, props, append(rest, n.Property)
	}
	return nil, nil, []ast.Node{n}
}

// routeOf returns the names of an expression that is nothing but a name.
func routeOf(n ast.Node) []string {
	root, props, rest := chain(n)
	if root == nil || len(rest) > 0 {
		return nil
	}
	route := []string{root.Value}
	for _, p := range props {
		route = append(route, p.(*ast.StringNode).Value)
	}
	return route
}

func fieldsOf(t types.Type) (types.Map, bool) {
	m, ok := t.(types.Map)
	return m, ok
}

func keysOf(m types.Map) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func children(n ast.Node) []ast.Node {
	switch n := n.(type) {
	case *ast.UnaryNode:
		return []ast.Node{n.Node}
	case *ast.BinaryNode:
		return []ast.Node{n.Left, n.Right}
	case *ast.ChainNode:
		return []ast.Node{n.Node}
	case *ast.SliceNode:
		out := []ast.Node{n.Node}
		if n.From != nil {
			out = append(out, n.From)
		}
		if n.To != nil {
			out = append(out, n.To)
		}
		return out
	case *ast.BuiltinNode:
		return n.Arguments
	case *ast.PredicateNode:
		return []ast.Node{n.Node}
	case *ast.ConditionalNode:
		return []ast.Node{n.Cond, n.Exp1, n.Exp2}
	case *ast.ArrayNode:
		return n.Nodes
	case *ast.MapNode:
		return n.Pairs
	case *ast.PairNode:
		return []ast.Node{n.Key, n.Value}
	}
	return nil
}

// namesIn returns the names an expression refers to, without any check.
func namesIn(src string) (out [][]string) {
	defer func() {
		if recover() != nil {
			out = nil
		}
	}()
	if len(src) > maxExpression {
		return nil
	}
	config := conf.CreateNew()
	config.MaxNodes = maxNodes
	tree, err := parser.ParseWithConfig(src, config)
	if err != nil {
		return nil
	}
	var visit func(n ast.Node)
	visit = func(n ast.Node) {
		switch x := n.(type) {
		case *ast.IdentifierNode, *ast.MemberNode, *ast.ChainNode:
			root, props, rest := chain(n)
			if root != nil {
				name := []string{root.Value}
				for _, p := range props {
					name = append(name, p.(*ast.StringNode).Value)
				}
				out = append(out, name)
			}
			for _, r := range rest {
				if r != n {
					visit(r)
				}
			}
			return
		case *ast.CallNode:
			for _, a := range x.Arguments {
				visit(a)
			}
			return
		}
		for _, c := range children(n) {
			visit(c)
		}
	}
	visit(tree.Node)
	return out
}
