package yaml

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	goyaml "github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits of a file. The parser's cost grows faster than the file, so these
// hold a hostile one to well under a second.
const (
	MaxBytes  = 512 << 10
	MaxLines  = 10_000
	MaxTokens = 100_000
	MaxFlow   = 5_000 // words of one outermost [ … ] or { … }
	MaxDepth  = 64
	MaxNodes  = 100_000 // after each alias is replaced by what it names
	maxErrors = 100
)

// Parse reads one YAML document. An empty document is a Null node. The error
// is an Errors with all faults found.
func Parse(file string, src []byte) (*Node, error) {
	p := &reading{src: &source{file: file}, anchors: map[string]*Node{}}
	if !p.check(src) {
		return nil, p.errs.Err()
	}
	text := strings.ReplaceAll(string(src), "\r\n", "\n")
	p.src.lines = strings.Split(text, "\n")
	if !p.checkLines() {
		return nil, p.errs.Err()
	}
	doc := p.syntax(text)
	if len(p.errs) > 0 {
		return nil, p.errs.Err()
	}
	if doc == nil {
		return &Node{Kind: Null, Pos: Pos{file, 1, 1}, src: p.src, size: 1}, nil
	}
	n := p.node(doc, 0)
	p.checkTabs()
	if len(p.errs) > 0 {
		return nil, p.errs.Err()
	}
	return n, nil
}

// A reading is one Parse.
type reading struct {
	src     *source
	errs    Errors
	anchors map[string]*Node // nil while the anchored value is being read
	blocks  [][2]int         // lines, from and to, of scalars that span lines
	flow    int              // brackets that are open
	full    bool             // MaxNodes was reported
}

func (p *reading) fail(pos Pos, hint, format string, a ...any) {
	if len(p.errs) < maxErrors {
		p.errs = append(p.errs, p.src.errorAt(pos, "", hint, fmt.Sprintf(format, a...)))
	}
}

// check refuses bytes that are no text of a file of ours.
func (p *reading) check(src []byte) bool {
	start := Pos{p.src.file, 1, 1}
	switch {
	case len(src) > MaxBytes:
		p.fail(start, "split the file", "the file has %d bytes, more than the limit of %d", len(src), MaxBytes)
	case strings.HasPrefix(string(src), "\ufeff"):
		p.fail(start, "save it as UTF-8 without BOM", "the file begins with a byte order mark")
	case strings.Count(string(src), "\n") >= MaxLines:
		p.fail(start, "split the file", "the file has more lines than the limit of %d", MaxLines)
	}
	return len(p.errs) == 0
}

func (p *reading) checkLines() bool {
	for i, line := range p.src.lines {
		if !utf8.ValidString(line) {
			p.src.lines[i] = strings.ToValidUTF8(line, "\ufffd")
			p.fail(Pos{p.src.file, i + 1, 1}, "save the file as UTF-8", "the line is not valid UTF-8")
			continue
		}
		col := 0
		for _, r := range line {
			col++
			if r < ' ' && r != '\t' || r == 0x7f || r == '\ufeff' || r == '\u0085' || r == '\u2028' || r == '\u2029' {
				p.fail(Pos{p.src.file, i + 1, col}, `write it as an escape in double quotes, such as "\x07"`, "the control character %U is not allowed", r)
				break
			}
		}
	}
	return len(p.errs) == 0
}

// syntax runs the lexer and the parser, and returns the body of the only
// document, nil if it is empty.
func (p *reading) syntax(text string) (body ast.Node) {
	defer func() {
		if r := recover(); r != nil {
			body = nil
			p.fail(Pos{p.src.file, 1, 1}, "simplify it", "the YAML parser cannot read this file (%v)", r)
		}
	}()
	tokens := lexer.Tokenize(text)
	if !p.checkTokens(tokens) {
		return nil
	}
	f, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		p.failSyntax(err)
		return nil
	}
	seen := false
	for _, d := range f.Docs {
		switch {
		case d.Body == nil:
		case d.Body.Type() == ast.DirectiveType:
			p.fail(p.tokenPos(d.Body.GetToken()), "remove the line", "a directive is not supported")
		case seen || body != nil:
			p.fail(p.tokenPos(first(d)), "put it into a file of its own", "a second document begins here")
		default:
			body = d.Body
		}
		seen = seen || d.End != nil
	}
	return body
}

func first(d *ast.DocumentNode) *token.Token {
	if d.Start != nil {
		return d.Start
	}
	return d.Body.GetToken()
}

// checkTokens refuses what would cost the parser too much: it recurses for
// each level, and without end.
func (p *reading) checkTokens(tokens token.Tokens) bool {
	if len(tokens) > MaxTokens {
		p.fail(Pos{p.src.file, 1, 1}, "split the file", "the file has more than %d words", MaxTokens)
		return false
	}
	depth, flow, line, onLine := 0, 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, onLine = t.Position.Line, 0
		}
		if flow++; depth == 0 {
			flow = 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth = max(0, depth-1)
		case token.SequenceEntryType, token.MappingKeyType, token.TagType, token.AnchorType:
			onLine++
		case token.CollectEntryType:
			switch t.PreviousType() {
			case token.CollectEntryType, token.SequenceStartType, token.MappingStartType:
				p.fail(p.tokenPos(t), "remove the comma", "a value is missing before this comma")
				return false
			}
		}
		if depth > MaxDepth || depth == 0 && onLine > MaxDepth {
			p.fail(p.tokenPos(t), "flatten it", "the values are nested deeper than %d levels", MaxDepth)
			return false
		}
		if flow > MaxFlow {
			p.fail(p.tokenPos(t), "write it as lines", "a list or map within brackets has more than %d words", MaxFlow)
			return false
		}
	}
	return true
}

func (p *reading) failSyntax(err error) {
	var se *goyaml.SyntaxError
	if !errors.As(err, &se) || se.Token == nil {
		p.fail(Pos{p.src.file, 1, 1}, "", "%v", err)
		return
	}
	if p.checkTabs(); len(p.errs) > 0 {
		return // the parser's complaint is about the same tabs
	}
	pos, hint := p.tokenPos(se.Token), ""
	if line := p.src.lines[pos.Line-1]; strings.Contains(line, "${{") {
		hint = "quote the template: '${{ … }}'"
	} else if pos.Line > 1 && strings.Contains(p.src.lines[pos.Line-2], "${{") {
		hint = "quote the template of the line before: '${{ … }}'"
	}
	p.fail(pos, hint, "%s", se.Message)
}

func (p *reading) tokenPos(t *token.Token) Pos {
	if t == nil || t.Position == nil {
		return p.src.clamp(1, 1)
	}
	return p.src.clamp(t.Position.Line, t.Position.Column)
}

// checkTabs refuses tabs in indentation, where readers differ about their
// width. Inside of scalars that span lines they are text.
func (p *reading) checkTabs() {
	inText := make([]bool, len(p.src.lines)+2)
	for _, b := range p.blocks {
		for l := max(b[0]+1, 1); l <= b[1] && l < len(inText); l++ {
			inText[l] = true
		}
	}
	for i, line := range p.src.lines {
		rest := strings.TrimLeft(line, " ")
		if inText[i+1] || !strings.HasPrefix(rest, "\t") {
			continue
		}
		if ink := strings.TrimLeft(rest, " \t"); ink == "" || ink[0] == '#' {
			continue
		}
		p.fail(Pos{p.src.file, i + 1, len(line) - len(rest) + 1}, "indent with spaces", "a tab cannot indent YAML")
	}
}

// node converts a value of the syntax tree. It always returns a node; what it
// could not read is Null, and reported.
func (p *reading) node(a ast.Node, depth int) *Node {
	n := &Node{src: p.src, size: 1}
	if a == nil {
		n.Pos = p.src.clamp(1, 1)
		return n
	}
	n.Pos = p.tokenPos(a.GetToken())
	if depth > MaxDepth {
		p.fail(n.Pos, "flatten it", "the values are nested deeper than %d levels", MaxDepth)
		return n
	}
	switch x := a.(type) {
	case *ast.AnchorNode:
		return p.anchor(x, depth)
	case *ast.AliasNode:
		return p.alias(x, n)
	case *ast.MappingNode:
		if x.IsFlowStyle {
			p.flow++
		}
		p.mapping(n, x.Values, depth)
		if x.IsFlowStyle {
			p.flow--
			n.Pos = p.tokenPos(x.Start)
		}
	case *ast.MappingValueNode:
		p.mapping(n, []*ast.MappingValueNode{x}, depth)
	case *ast.SequenceNode:
		if n.Kind = List; x.IsFlowStyle {
			p.flow++
		} else if p.flow > 0 {
			p.fail(n.Pos, "put it in quotes", "a list with dashes cannot stand within brackets")
		}
		for i, v := range x.Values {
			if !x.IsFlowStyle && i < len(x.Entries) {
				p.checkIndent(v, p.tokenPos(x.Entries[i].Start), 0)
			}
			e := p.node(v, depth+1)
			n.List, n.size = append(n.List, e), n.size+e.size
		}
		if x.IsFlowStyle {
			p.flow--
		}
	case *ast.TagNode:
		p.fail(n.Pos, "remove it, and quote the value if it is text", "the tag %s is not supported", x.Start.Value)
	default:
		p.scalar(n, a)
	}
	p.checkSize(n)
	return n
}

func (p *reading) checkSize(n *Node) {
	if n.size > MaxNodes && !p.full {
		p.full = true
		p.fail(n.Pos, "use fewer aliases", "the file has more than %d values when its aliases are replaced", MaxNodes)
	}
	n.size = min(n.size, MaxNodes+1)
}

func (p *reading) scalar(n *Node, a ast.Node) {
	t := a.GetToken()
	switch x := a.(type) {
	case *ast.NullNode:
	case *ast.LiteralNode:
		if !headerRE.MatchString(t.Value) {
			p.fail(n.Pos, "write |, >, |- or >-", "%q does not begin a block of text", t.Value)
		}
		if origin := strings.TrimRight(x.Value.GetToken().Origin, "\n"); strings.Contains(t.Value, "-") && strings.TrimRight(origin, " \t") != origin {
			p.fail(n.Pos, "remove them", "the last line of this block ends in spaces")
		}
		n.Kind, n.Text, n.Style = String, x.Value.Value, Literal
		if strings.HasPrefix(t.Value, ">") {
			n.Style = Folded
		}
		p.blocks = append(p.blocks, [2]int{n.Pos.Line, n.Pos.Line + strings.Count(x.Value.GetToken().Origin, "\n")})
		return
	case *ast.StringNode:
		p.text(n, x)
		return
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		if msg, hint := n.setPlain(t.Value); msg != "" {
			p.fail(n.Pos, hint, "%s", msg)
		}
	default:
		p.fail(n.Pos, "", "a %s is not supported here", strings.ToLower(a.Type().String()))
	}
}

func (p *reading) text(n *Node, x *ast.StringNode) {
	t := x.GetToken()
	p.blocks = append(p.blocks, [2]int{n.Pos.Line, n.Pos.Line + strings.Count(strings.TrimRight(t.Origin, " \n"), "\n")})
	switch t.Type {
	case token.SingleQuoteType:
		n.Kind, n.Text, n.Style = String, x.Value, Single
		return
	case token.DoubleQuoteType:
		n.Kind, n.Text, n.Style = String, x.Value, Double
		return
	}
	if unbalanced(x.Value) {
		p.fail(n.Pos, "put it in quotes: '${{ … }}'", "YAML ends this template in its middle, at a ' #', a ': ' or the end of a flow value")
	} else if !p.standsAt(n.Pos, x.Value) {
		p.fail(n.Pos, "put it in quotes", "the YAML parser misreads this text")
	} else if why := notPlain(x.Value, t.Origin, p.flow > 0); why != "" {
		p.fail(n.Pos, "put it in quotes", "text without quotes cannot %s", why)
	}
	if msg, hint := n.setPlain(x.Value); msg != "" {
		p.fail(n.Pos, hint, "%s", msg)
	}
}

func (p *reading) anchor(x *ast.AnchorNode, depth int) *Node {
	name := x.Name.GetToken().Value
	if !anchorRE.MatchString(name) {
		p.fail(p.tokenPos(x.Start), "use letters, digits, '_' and '-'", "%q is no name of an anchor", name)
	}
	p.anchors[name] = nil
	n := p.node(x.Value, depth+1)
	p.anchors[name] = n
	return n
}

func (p *reading) alias(x *ast.AliasNode, n *Node) *Node {
	name := x.Value.GetToken().Value
	target, ok := p.anchors[name]
	switch {
	case !ok:
		names := make([]string, 0, len(p.anchors))
		for a := range p.anchors {
			names = append(names, a)
		}
		p.fail(n.Pos, Nearest(name, sorted(names)), "there is no anchor &%s above", name)
		return n
	case target == nil:
		p.fail(n.Pos, "write the value out", "the alias *%s stands inside of what it names", name)
		return n
	}
	return target
}
