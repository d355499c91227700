package yaml

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

func sorted(names []string) []string {
	slices.Sort(names)
	return names
}

// mapping fills n with the pairs of a map: those written out in their order,
// then those merged in by <<.
func (p *reading) mapping(n *Node, values []*ast.MappingValueNode, depth int) {
	n.Kind = Map
	if len(values) > 0 {
		n.Pos = p.tokenPos(values[0].Key.GetToken())
	}
	seen := make(map[string]Pos, len(values))
	var merges []*Node
	for _, v := range values {
		if v.Key.IsMergeKey() && p.standsAt(p.tokenPos(v.Key.GetToken()), "<<") {
			m := p.node(v.Value, depth+1)
			if len(merges) > 0 {
				p.fail(p.tokenPos(v.Key.GetToken()), "merge several maps with a list: <<: [*a, *b]", "the merge key << stands twice in one map")
			}
			merges = append(merges, m)
			continue
		}
		key := p.key(v.Key)
		p.checkColon(v, key)
		value := p.node(v.Value, depth+1)
		if value.Kind == Null && value.Text == "" && value.Pos.Line == key.Pos.Line && value.Pos.Col < key.Pos.Col {
			value.Pos = key.Pos
		}
		n.size += value.size + 1
		if at, twice := seen[key.Text]; twice {
			p.fail(key.Pos, "remove one of them", "the key %q stands already at line %d", key.Text, at.Line)
			continue
		}
		seen[key.Text] = key.Pos
		n.Map = append(n.Map, Pair{key, value})
	}
	for _, m := range merges {
		if p.full {
			return
		}
		p.merge(n, m, seen)
	}
}

// merge adds the pairs of m, a map or a list of maps, that n has not yet: so
// explicit keys win over merged ones, and earlier maps over later.
func (p *reading) merge(n, m *Node, seen map[string]Pos) {
	maps := []*Node{m}
	if m.Kind == List {
		maps = m.List
	}
	for _, m := range maps {
		if m.Kind != Map {
			p.fail(m.Pos, "merge an alias of a map: <<: *name", "the merge key << takes a map or a list of maps, not %s", m.Kind)
			continue
		}
		for _, pair := range m.Map {
			if _, ok := seen[pair.Key.Text]; ok {
				continue
			}
			seen[pair.Key.Text] = pair.Key.Pos
			n.Map = append(n.Map, pair)
			n.size += pair.Value.size + 1
		}
		if p.checkSize(n); p.full {
			return
		}
	}
}

// key converts a key, which has to be text.
func (p *reading) key(k ast.MapKeyNode) *Node {
	if _, ok := k.(*ast.MappingKeyNode); ok {
		p.fail(p.tokenPos(k.GetToken()), "write key: value", "a key after ? is not supported")
		return &Node{Kind: String, Pos: p.tokenPos(k.GetToken()), src: p.src, size: 1}
	}
	n := p.node(k, 0)
	if n.Kind != String {
		p.fail(n.Pos, "put it in quotes", "a key must be text, this is %s", n.Kind)
	}
	if n.Text == "<<" && n.Style == Plain {
		p.fail(n.Pos, "write <<: *name, or quote it", "the YAML parser misreads this merge key")
	}
	if n.Kind != String || n.src == nil {
		n = &Node{Kind: String, Text: n.Text, Pos: n.Pos, src: p.src, size: 1}
	}
	return n
}

// checkColon refuses a value that the parser takes for one though YAML does
// not: directly after the colon, or on a line that is not indented.
func (p *reading) checkColon(v *ast.MappingValueNode, key *Node) {
	colon := p.tokenPos(v.Start)
	if colon.Line != key.Pos.Line && key.Text != "" {
		p.fail(colon, "write key: value on one line", "the key of this colon is on another line")
		return
	}
	line := []rune(p.src.lines[colon.Line-1])
	if colon.Col < len(line) && key.Style == Plain && p.flow > 0 && !strings.ContainsRune(" ,[]{}", line[colon.Col]) {
		p.fail(colon, "put a space after it", "this colon does not end a key")
	}
	p.checkIndent(v.Value, key.Pos, key.Pos.Line)
}

// checkIndent refuses a value on a line of its own that is not indented more
// than under, its key or dash. A list may stand right under its key, at line.
func (p *reading) checkIndent(a ast.Node, under Pos, line int) {
	if x, ok := a.(*ast.AnchorNode); ok {
		if m, ok := x.Value.(*ast.MappingNode); ok && !m.IsFlowStyle && p.tokenPos(valueStart(m)).Line == under.Line && line > 0 {
			p.fail(under, "begin the map on the next line", "a map cannot begin on the line of its key")
		}
		if at := p.tokenPos(x.Start); at.Line > under.Line && at.Col <= under.Col {
			p.fail(at, "indent it", "this value is not indented more than what it belongs to")
			return
		}
		a = x.Value
	}
	if a == nil || p.flow > 0 || a.GetToken().Type == token.ImplicitNullType {
		return
	}
	if s, ok := a.(*ast.SequenceNode); ok && !s.IsFlowStyle && line > 0 {
		return
	}
	if at := p.tokenPos(valueStart(a)); at.Line > under.Line && at.Col <= under.Col {
		p.fail(at, "indent it", "this value is not indented more than what it belongs to")
	}
}

// standsAt reports whether a text without quotes begins at a place of the file.
func (p *reading) standsAt(at Pos, text string) bool {
	line := []rune(p.src.lines[at.Line-1])
	first, _ := utf8.DecodeRuneInString(text)
	if text == "" {
		return true
	}
	if at.Col > len(line) || line[at.Col-1] != first {
		return false
	}
	return at.Col == 1 || strings.ContainsRune(" \t,[{:", line[at.Col-2])
}

// valueStart returns the first token of a value.
func valueStart(a ast.Node) *token.Token {
	switch x := a.(type) {
	case *ast.MappingNode:
		if len(x.Values) > 0 && !x.IsFlowStyle {
			return x.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return x.Key.GetToken()
	}
	return a.GetToken()
}
