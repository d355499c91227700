package jsonscan

import (
	"bytes"
	"encoding/json"
	"errors"
)

// ErrSyntax is the fault of a text that is not JSON, or ends too early.
var ErrSyntax = errors.New("not valid JSON")

// A Scanner walks one text.
type Scanner struct {
	b     []byte
	i     int
	first bool // an object or array has just been entered
	err   error
}

// New returns a scanner at the beginning of a text.
func New(text []byte) Scanner { return Scanner{b: text} }

// Offset is where the scanner stands.
func (s *Scanner) Offset() int { return s.i }

// Err returns the first fault.
func (s *Scanner) Err() error { return s.err }

// End returns the first fault; that something follows the value is one too.
func (s *Scanner) End() error {
	if s.peek(); s.err == nil && s.i < len(s.b) {
		s.fail()
	}
	return s.err
}

func (s *Scanner) fail() {
	if s.err == nil {
		s.err = ErrSyntax
	}
	s.i = len(s.b)
}

// peek returns the first byte of the next value, 0 at the end.
func (s *Scanner) peek() byte {
	for s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return c
		}
	}
	return 0
}

// Is reports whether the next value begins with c: '{', '[', '"', 't', 'n', …
func (s *Scanner) Is(c byte) bool { return s.peek() == c }

// Object enters an object.
func (s *Scanner) Object() { s.enter('{') }

// Array enters an array.
func (s *Scanner) Array() { s.enter('[') }

func (s *Scanner) enter(c byte) {
	if s.peek() != c {
		s.fail()
		return
	}
	s.i++
	s.first = true
}

// Member goes to the next member of the object entered last and gives its
// name. It is false at the end of the object. The value must be consumed.
func (s *Scanner) Member(key *[]byte) bool {
	if !s.next('}') {
		return false
	}
	name, ok := s.String()
	if !ok || s.peek() != ':' {
		s.fail()
		return false
	}
	s.i++
	if bytes.IndexByte(name, '\\') >= 0 {
		text, err := Unescape(name)
		if err != nil {
			s.fail()
			return false
		}
		name = []byte(text)
	}
	*key = name
	return true
}

// Element goes to the next element of the array entered last. It is false at
// the end of the array. The value must be consumed.
func (s *Scanner) Element() bool { return s.next(']') }

func (s *Scanner) next(end byte) bool {
	first := s.first
	s.first = false
	c := s.peek()
	switch {
	case s.err != nil:
		return false
	case c == end:
		s.i++
		return false
	case first:
		return true
	case c == ',':
		s.i++
		return true
	}
	s.fail()
	return false
}

// String consumes a string and returns what is between its quotes, still
// escaped. Another value is consumed too, and gives false.
func (s *Scanner) String() (escaped []byte, ok bool) {
	if s.peek() != '"' {
		s.Skip()
		return nil, false
	}
	s.i++
	from := s.i
	for {
		quote := bytes.IndexByte(s.b[s.i:], '"')
		if quote < 0 {
			s.fail()
			return nil, false
		}
		s.i += quote + 1
		// The quote ends the string if an even number of backslashes is before it.
		at := s.i - 2
		for at >= from && s.b[at] == '\\' {
			at--
		}
		if (s.i-2-at)%2 == 0 {
			return s.b[from : s.i-1], true
		}
	}
}

// Text consumes a string and returns what it says.
func (s *Scanner) Text() (string, bool) {
	escaped, ok := s.String()
	if !ok {
		return "", false
	}
	text, err := Unescape(escaped)
	if err != nil {
		s.fail()
		return "", false
	}
	return text, true
}

// Skip consumes a value of any kind and returns its text.
func (s *Scanner) Skip() []byte {
	c := s.peek()
	from := s.i
	switch c {
	case '"':
		s.String()
	case '{', '[':
		s.skipNested()
	default:
		for s.i < len(s.b) && !ends[s.b[s.i]] {
			s.i++
		}
		if s.i == from {
			s.fail()
		}
	}
	if s.err != nil {
		return nil
	}
	return s.b[from:s.i]
}

// ends are the bytes that end a number or a name.
var ends = [256]bool{',': true, ':': true, ']': true, '}': true, ' ': true, '\t': true, '\r': true, '\n': true, '"': true, '{': true, '[': true}

// skipNested consumes an object or array without recursion, so that depth
// costs nothing.
func (s *Scanner) skipNested() {
	depth := 0
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case '"':
			if s.String(); s.err != nil {
				return
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		s.i++
		if depth == 0 {
			return
		}
	}
	s.fail()
}

// Unescape returns the text that an escaped JSON string holds.
func Unescape(escaped []byte) (string, error) {
	if bytes.IndexByte(escaped, '\\') < 0 {
		return string(escaped), nil
	}
	quoted := make([]byte, 0, len(escaped)+2)
	quoted = append(append(append(quoted, '"'), escaped...), '"')
	var text string
	err := json.Unmarshal(quoted, &text)
	return text, err
}

// SkipFlat consumes an array that holds numbers only, which is faster than
// Skip. An array with anything else in it is consumed too.
func (s *Scanner) SkipFlat() []byte {
	if s.peek() != '[' {
		return s.Skip()
	}
	end := bytes.IndexByte(s.b[s.i:], ']')
	if end < 0 {
		s.fail()
		return nil
	}
	list := s.b[s.i : s.i+end+1]
	for _, c := range []byte("[{\"") {
		if bytes.IndexByte(list[1:], c) >= 0 {
			return s.Skip()
		}
	}
	s.i += len(list)
	return list
}
