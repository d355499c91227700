package yaml

import "fmt"

// A Pos is a place in a file. Line and Col count from 1, Col in characters.
type Pos struct {
	File      string
	Line, Col int
}

func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col) }

// Compare orders places by file, line and column.
func (p Pos) Compare(q Pos) int {
	switch {
	case p.File != q.File:
		if p.File < q.File {
			return -1
		}
		return 1
	case p.Line != q.Line:
		return p.Line - q.Line
	}
	return p.Col - q.Col
}

// A Kind is the kind of value that a Node holds.
type Kind int

const (
	Null Kind = iota
	Bool
	Int
	Float
	String
	List
	Map
)

func (k Kind) String() string {
	return [...]string{"nothing", "true or false", "an integer", "a number", "text", "a list", "a map"}[k]
}

// A Style says how a scalar is written.
type Style int

const (
	Plain   Style = iota // without quotes
	Single               // 'in single quotes'
	Double               // "in double quotes"
	Literal              // a block after |
	Folded               // a block after >
)

// A Node is one value of a file. Nodes that aliases name are shared: a tree
// with aliases is a graph without cycles, and must not be written to.
type Node struct {
	Kind  Kind
	Pos   Pos    // where the value begins; of a block scalar its | or >
	Text  string // of String the value, of any other scalar what is written
	Bool  bool
	Int   int64
	Float float64 // finite
	Style Style   // of a scalar
	List  []*Node
	Map   []Pair // in the order of the file, merged keys last; no key twice

	src  *source
	size int // nodes in this tree, aliases counted as often as they stand
}

// A Pair is one key of a Map and its value. The key is a String.
type Pair struct{ Key, Value *Node }

// Get returns the value of a key of a Map, or nil if there is none.
func (n *Node) Get(key string) *Node {
	if n == nil {
		return nil
	}
	for i := range n.Map {
		if n.Map[i].Key.Text == key {
			return n.Map[i].Value
		}
	}
	return nil
}

// Keys returns the keys of a Map in the order of the file.
func (n *Node) Keys() []string {
	keys := make([]string, len(n.Map))
	for i, p := range n.Map {
		keys[i] = p.Key.Text
	}
	return keys
}

// Value returns the plain value: nil, bool, int64, float64, string, []any or
// map[string]any.
func (n *Node) Value() any {
	switch n.Kind {
	case Bool:
		return n.Bool
	case Int:
		return n.Int
	case Float:
		return n.Float
	case String:
		return n.Text
	case List:
		list := make([]any, len(n.List))
		for i, e := range n.List {
			list[i] = e.Value()
		}
		return list
	case Map:
		m := make(map[string]any, len(n.Map))
		for _, p := range n.Map {
			m[p.Key.Text] = p.Value.Value()
		}
		return m
	}
	return nil
}

// Merged returns a Map node with the pairs of base and, over them, those of n:
// maps merge key by key at any depth, anything else of n replaces what base
// has. The order is that of base, then what is new in n. Each node keeps the
// place it comes from.
func (n *Node) Merged(base *Node) *Node {
	if base == nil || n == nil || n.Kind != Map || base.Kind != Map {
		if n == nil {
			return base
		}
		return n
	}
	m := *n
	m.Map = append([]Pair(nil), base.Map...)
	at := make(map[string]int, len(m.Map))
	for i, p := range m.Map {
		at[p.Key.Text] = i
	}
	for _, p := range n.Map {
		if i, ok := at[p.Key.Text]; ok {
			m.Map[i] = Pair{p.Key, p.Value.Merged(m.Map[i].Value)}
			continue
		}
		m.Map = append(m.Map, p)
	}
	return &m
}

// NewMap returns a Map of one pair whose place is that of value, to set a
// value by its name from outside a file.
func NewMap(key string, value *Node) *Node {
	k := &Node{Kind: String, Text: key, Pos: value.Pos, src: value.src, size: 1}
	return &Node{Kind: Map, Pos: value.Pos, Map: []Pair{{k, value}}, src: value.src, size: value.size + 2}
}
