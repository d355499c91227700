package yaml

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Place returns where byte i of a scalar's Text stands in the file, in
// whatever style the scalar is written: folded lines, block indentation,
// doubled quotes and escapes are accounted for. White space counts as the
// next visible character.
func (n *Node) Place(i int) Pos {
	if n.src == nil || n.Pos.Line < 1 || n.Pos.Line > len(n.src.lines) {
		return n.Pos
	}
	if n.Kind != String {
		return n.src.clamp(n.Pos.Line, n.Pos.Col+utf8.RuneCountInString(n.Text[:min(i, len(n.Text))]))
	}
	c := cursor{src: n.src, line: n.Pos.Line, col: n.Pos.Col, style: n.Style}
	switch n.Style {
	case Single, Double:
		c.col++
	case Literal, Folded:
		c.line, c.col = c.line+1, 1 // the text begins below the header
	}
	for at, r := range n.Text {
		if unicode.IsSpace(r) {
			if at >= i && !strings.ContainsFunc(n.Text[at:], func(r rune) bool { return !unicode.IsSpace(r) }) {
				return n.src.clamp(c.line, c.col)
			}
			continue
		}
		line, col, got, ok := c.next()
		if !ok || got != r {
			return n.Pos // the text is not where it should be: the value as a whole is right enough
		}
		if at >= i {
			return n.src.clamp(line, col)
		}
	}
	return n.src.clamp(c.line, c.col)
}

// A cursor reads the visible characters of a scalar from its source.
type cursor struct {
	src       *source
	line, col int
	style     Style
}

// next returns the next visible character and where it stands.
func (c *cursor) next() (line, col int, r rune, ok bool) {
	for c.line <= len(c.src.lines) {
		text := []rune(c.src.lines[c.line-1])
		for c.col <= len(text) {
			line, col, r = c.line, c.col, text[c.col-1]
			c.col++
			switch {
			case unicode.IsSpace(r):
				continue
			case c.style == Single && r == '\'' && c.col <= len(text) && text[c.col-1] == '\'':
				c.col++
			case c.style == Double && r == '\\':
				var size int
				if r, size = escape(text[c.col-1:]); size < 0 {
					return line, col, 0, false
				}
				if c.col += size; r == 0 || unicode.IsSpace(r) {
					continue
				}
			}
			return line, col, r, true
		}
		c.line, c.col = c.line+1, 1
	}
	return 0, 0, 0, false
}

// escape reads what follows a backslash: the character meant, and how many
// were read. A line break that is escaped away is 0.
func escape(rest []rune) (rune, int) {
	if len(rest) == 0 {
		return 0, 0
	}
	const names, values = `0abtnvfre "/\N_LP`, "\x00\a\b\t\n\v\f\r\x1b \"/\\\u0085\u00a0\u2028\u2029"
	if i := strings.IndexRune(names, rest[0]); i >= 0 {
		return []rune(values)[i], 1
	}
	digits := map[rune]int{'x': 2, 'u': 4, 'U': 8}[rest[0]]
	if digits == 0 || len(rest) < 1+digits {
		return rest[0], 1
	}
	v, err := strconv.ParseUint(string(rest[1:1+digits]), 16, 32)
	if err != nil {
		return 0, -1
	}
	return rune(v), 1 + digits
}
