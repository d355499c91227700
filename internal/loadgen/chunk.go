package loadgen

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
)

// A Chunk is what one event of an answer holds, streamed or whole, chat or
// completions. Its byte slices point into the scanned event.
type Chunk struct {
	Choices bool   // it has at least one choice
	Content bool   // a choice has text, reasoning or a tool call that is not empty
	Text    []byte // the text of the first choice as JSON holds it, still escaped, without its quotes
	Finish  []byte // finish_reason of the first choice that has one, still escaped

	Usage            bool // it has a usage object
	PromptTokens     int  // of the usage; -1 if not told
	CompletionTokens int  // of the usage; -1 if not told
	CachedTokens     int  // prompt_tokens_details.cached_tokens; -1 if not told

	Error []byte // the JSON of the error member, if the server reports one
	Code  int    // the code in it, 0 if none
}

var errJSON = errors.New("not a JSON object")

// ScanChunk reads the members that a load generator needs from one event. It
// walks the bytes once and allocates nothing for well-formed servers. What it
// does not know it skips.
func ScanChunk(data []byte) (Chunk, error) {
	c := Chunk{PromptTokens: -1, CompletionTokens: -1, CachedTokens: -1}
	s := scanner{b: data}
	if err := s.object(func(key []byte) error { return c.member(&s, key) }); err != nil {
		return c, err
	}
	s.space()
	if s.i != len(s.b) {
		return c, errJSON
	}
	return c, nil
}

func (c *Chunk) member(s *scanner, key []byte) error {
	switch string(key) {
	case "choices":
		if s.peek() != '[' {
			return s.skip()
		}
		first := true
		return s.array(func() error {
			c.Choices = true
			err := c.choice(s, first)
			first = false
			return err
		})
	case "usage":
		if s.peek() != '{' {
			return s.skip()
		}
		c.Usage = true
		return s.object(func(key []byte) error { return c.usage(s, key) })
	case "error":
		return c.failure(s)
	}
	return s.skip()
}

func (c *Chunk) choice(s *scanner, first bool) error {
	if s.peek() != '{' {
		return s.skip()
	}
	return s.object(func(key []byte) error {
		switch string(key) {
		case "text":
			return c.text(s, first)
		case "delta", "message":
			if s.peek() != '{' {
				return s.skip()
			}
			return s.object(func(key []byte) error { return c.delta(s, key, first) })
		case "finish_reason":
			v, isString, err := s.stringOr()
			if isString && len(v) > 0 && c.Finish == nil {
				c.Finish = v
			}
			return err
		}
		return s.skip()
	})
}

// delta reads one member of a delta or message. Reasoning and tool calls are
// output as much as text is (AIPerf's definition of TTFT counts them).
func (c *Chunk) delta(s *scanner, key []byte, first bool) error {
	switch string(key) {
	case "content":
		return c.text(s, first)
	case "reasoning_content", "reasoning", "refusal":
		v, isString, err := s.stringOr()
		c.Content = c.Content || (isString && len(v) > 0)
		return err
	case "tool_calls":
		if s.peek() != '[' {
			return s.skip()
		}
		return s.array(func() error { c.Content = true; return s.skip() })
	}
	return s.skip()
}

func (c *Chunk) text(s *scanner, first bool) error {
	v, isString, err := s.stringOr()
	if isString && len(v) > 0 {
		c.Content = true
		if first {
			c.Text = v
		}
	}
	return err
}

func (c *Chunk) usage(s *scanner, key []byte) error {
	switch string(key) {
	case "prompt_tokens":
		return s.count(&c.PromptTokens)
	case "completion_tokens":
		return s.count(&c.CompletionTokens)
	case "prompt_tokens_details":
		if s.peek() != '{' {
			return s.skip()
		}
		return s.object(func(key []byte) error {
			if string(key) == "cached_tokens" {
				return s.count(&c.CachedTokens)
			}
			return s.skip()
		})
	}
	return s.skip()
}

// failure reads the error member: an object with a code, or a text.
func (c *Chunk) failure(s *scanner) error {
	s.space()
	from := s.i
	var err error
	if s.peek() == '{' {
		code := -1
		err = s.object(func(key []byte) error {
			if string(key) == "code" {
				return s.count(&code)
			}
			return s.skip()
		})
		c.Code = max(code, 0)
	} else {
		err = s.skip()
	}
	if err != nil {
		return err
	}
	if value := s.b[from:s.i]; string(value) != "null" {
		c.Error = value
	}
	return nil
}

// unescape returns the text that an escaped JSON string holds.
func unescape(escaped []byte) (string, error) {
	if bytes.IndexByte(escaped, '\\') < 0 {
		return string(escaped), nil
	}
	quoted := make([]byte, 0, len(escaped)+2)
	quoted = append(append(append(quoted, '"'), escaped...), '"')
	var text string
	err := json.Unmarshal(quoted, &text)
	return text, err
}

// A scanner walks one JSON text. It is lenient about what it skips (it checks
// that brackets and strings close, not how numbers are spelled) and strict
// about the structure it walks.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// peek returns the first byte of the next value, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.i++
	return true
}

// object walks an object and calls member at each value; member must consume it.
func (s *scanner) object(member func(key []byte) error) error {
	if !s.take('{') {
		return errJSON
	}
	if s.take('}') {
		return nil
	}
	for {
		key, isString, err := s.stringOr()
		if err != nil {
			return err
		}
		if !isString || !s.take(':') {
			return errJSON
		}
		if bytes.IndexByte(key, '\\') >= 0 {
			text, err := unescape(key)
			if err != nil {
				return errJSON
			}
			key = []byte(text)
		}
		if err := member(key); err != nil {
			return err
		}
		switch {
		case s.take(','):
		case s.take('}'):
			return nil
		default:
			return errJSON
		}
	}
}

// array walks an array and calls element at each value; element must consume it.
func (s *scanner) array(element func() error) error {
	if !s.take('[') {
		return errJSON
	}
	if s.take(']') {
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		switch {
		case s.take(','):
		case s.take(']'):
			return nil
		default:
			return errJSON
		}
	}
}

// stringOr consumes one value. If it is a string, it returns what is between
// the quotes, still escaped.
func (s *scanner) stringOr() (value []byte, isString bool, err error) {
	if s.peek() != '"' {
		return nil, false, s.skip()
	}
	s.i++
	from := s.i
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case '\\':
			s.i = min(s.i+2, len(s.b))
		case '"':
			s.i++
			return s.b[from : s.i-1], true, nil
		default:
			s.i++
		}
	}
	return nil, false, errJSON
}

// count consumes one value; if it is a whole number from 0 on, it is stored.
func (s *scanner) count(to *int) error {
	s.space()
	from := s.i
	if err := s.skip(); err != nil {
		return err
	}
	if n, err := strconv.Atoi(string(s.b[from:s.i])); err == nil && n >= 0 {
		*to = n
	}
	return nil
}

// skip consumes one value of any kind.
func (s *scanner) skip() error {
	switch c := s.peek(); {
	case c == '"':
		_, _, err := s.stringOr()
		return err
	case c == '{' || c == '[':
		return s.skipNested()
	case c == 0:
		return errJSON
	}
	from := s.i
	for s.i < len(s.b) && !bytes.ContainsRune([]byte(",:]} \t\r\n\"{["), rune(s.b[s.i])) {
		s.i++
	}
	if s.i == from {
		return errJSON
	}
	return nil
}

// skipNested consumes an object or array without recursion, so that depth
// costs nothing.
func (s *scanner) skipNested() error {
	depth := 0
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case '"':
			if _, _, err := s.stringOr(); err != nil {
				return err
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		s.i++
		if depth == 0 {
			return nil
		}
	}
	return errJSON
}
