package yaml

import (
	"fmt"
	"slices"
	"strings"
)

// An Error is a fault at a place of a file.
type Error struct {
	Pos     Pos
	Path    string // of the value: steps[0].with.osl; may be empty
	Msg     string // what is wrong
	Hint    string // what to do; may be empty
	Snippet string // the source line, and a caret under the place
	Err     error  // the cause, if it is another error
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Error returns "file:line:col: path: message; hint", and on two more lines
// the source line with a caret.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Pos.String() + ": ")
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	b.WriteString(e.Msg)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	if e.Snippet != "" {
		b.WriteString("\n" + e.Snippet)
	}
	return b.String()
}

// Errors are all faults of a file, in the order of their places.
type Errors []*Error

func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find each Error.
func (es Errors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

// Sorted returns the errors by place, without repetitions, or nil if there are none.
func (es Errors) Sorted() Errors {
	if len(es) == 0 {
		return nil
	}
	out := slices.Clone(es)
	slices.SortStableFunc(out, func(a, b *Error) int {
		if c := a.Pos.Compare(b.Pos); c != 0 {
			return c
		}
		return strings.Compare(a.Path+a.Msg, b.Path+b.Msg)
	})
	return slices.CompactFunc(out, func(a, b *Error) bool {
		return a.Pos == b.Pos && a.Path == b.Path && a.Msg == b.Msg
	})
}

// Err returns the sorted errors as an error, nil if there are none.
func (es Errors) Err() error {
	if len(es) == 0 {
		return nil
	}
	return es.Sorted()
}

// A source is a file as it was read.
type source struct {
	file  string
	lines []string
}

// clamp moves a place into the file: no error may point outside of it.
func (s *source) clamp(line, col int) Pos {
	line = min(max(line, 1), max(len(s.lines), 1))
	width := 0
	if line <= len(s.lines) {
		width = len([]rune(s.lines[line-1]))
	}
	return Pos{s.file, line, min(max(col, 1), width+1)}
}

const snippetWidth = 110 // characters of a source line that an error shows

func (s *source) snippet(p Pos) string {
	if p.Line < 1 || p.Line > len(s.lines) || strings.TrimSpace(s.lines[p.Line-1]) == "" {
		return ""
	}
	line := []rune(s.lines[p.Line-1])
	at := min(max(p.Col-1, 0), len(line))
	from, to := 0, len(line)
	if len(line) > snippetWidth {
		from = max(0, at-snippetWidth/2)
		to = min(len(line), from+snippetWidth)
	}
	pad := make([]rune, at-from)
	for i := range pad {
		if pad[i] = ' '; line[from+i] == '\t' {
			pad[i] = '\t'
		}
	}
	return "    " + string(line[from:to]) + "\n    " + string(pad) + "^"
}

func (s *source) errorAt(p Pos, path, hint, msg string) *Error {
	return &Error{Pos: p, Path: path, Msg: msg, Hint: hint, Snippet: s.snippet(p)}
}

// Errorf returns a fault of this value.
func (n *Node) Errorf(path, hint, format string, a ...any) *Error {
	return n.ErrorAt(n.Pos, path, hint, format, a...)
}

// ErrorAt returns a fault at a place of the file that n comes from.
func (n *Node) ErrorAt(p Pos, path, hint, format string, a ...any) *Error {
	msg := format
	if len(a) > 0 {
		msg = fmt.Sprintf(format, a...)
	}
	if n.src == nil {
		return &Error{Pos: p, Path: path, Msg: msg, Hint: hint}
	}
	return n.src.errorAt(p, path, hint, msg)
}

// Closest returns "did you mean x?" for the candidate x most like name, or ""
// if none is much like it.
func Closest(name string, candidates []string) string {
	best, distance := "", len(name)/3+1
	for _, c := range candidates {
		if d := editDistance(name, c, distance); d < distance {
			best, distance = c, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + best + "?"
}

// Nearest is Closest, or a list of the candidates if none is close and they
// are few. It returns "" if there is nothing useful to say.
func Nearest(name string, candidates []string) string {
	if hint := Closest(name, candidates); hint != "" {
		return hint
	}
	switch {
	case len(candidates) == 1:
		return "there is only " + candidates[0]
	case len(candidates) > 1 && len(candidates) <= 12:
		return "there are " + strings.Join(candidates, ", ")
	}
	return ""
}

// editDistance counts insertions, deletions, replacements and swaps of
// neighbours, up to limit.
func editDistance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	prev2, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return prev[len(b)]
}
