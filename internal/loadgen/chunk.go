package loadgen

import (
	"errors"
	"strconv"

	"pipeline/internal/jsonscan"
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
	s := jsonscan.New(data)
	var key []byte
	for s.Object(); s.Member(&key); {
		switch string(key) {
		case "choices":
			c.choices(&s)
		case "usage":
			c.usage(&s)
		case "error":
			c.failure(&s)
		default:
			s.Skip()
		}
	}
	if s.End() != nil {
		return c, errJSON
	}
	return c, nil
}

func (c *Chunk) choices(s *jsonscan.Scanner) {
	if !s.Is('[') {
		s.Skip()
		return
	}
	first := true
	for s.Array(); s.Element(); first = false {
		c.Choices = true
		c.choice(s, first)
	}
}

func (c *Chunk) choice(s *jsonscan.Scanner, first bool) {
	if !s.Is('{') {
		s.Skip()
		return
	}
	var key []byte
	for s.Object(); s.Member(&key); {
		switch string(key) {
		case "text":
			c.text(s, first)
		case "delta", "message":
			c.delta(s, first)
		case "finish_reason":
			if v, ok := s.String(); ok && len(v) > 0 && c.Finish == nil {
				c.Finish = v
			}
		default:
			s.Skip()
		}
	}
}

// delta reads a delta or message. Reasoning and tool calls are output as much
// as text is (AIPerf's definition of TTFT counts them).
func (c *Chunk) delta(s *jsonscan.Scanner, first bool) {
	if !s.Is('{') {
		s.Skip()
		return
	}
	var key []byte
	for s.Object(); s.Member(&key); {
		switch string(key) {
		case "content":
			c.text(s, first)
		case "reasoning_content", "reasoning", "refusal":
			v, ok := s.String()
			c.Content = c.Content || (ok && len(v) > 0)
		case "tool_calls":
			c.toolCalls(s)
		default:
			s.Skip()
		}
	}
}

func (c *Chunk) toolCalls(s *jsonscan.Scanner) {
	if !s.Is('[') {
		s.Skip()
		return
	}
	for s.Array(); s.Element(); s.Skip() {
		c.Content = true
	}
}

func (c *Chunk) text(s *jsonscan.Scanner, first bool) {
	if v, ok := s.String(); ok && len(v) > 0 {
		c.Content = true
		if first {
			c.Text = v
		}
	}
}

func (c *Chunk) usage(s *jsonscan.Scanner) {
	if !s.Is('{') {
		s.Skip()
		return
	}
	c.Usage = true
	var key []byte
	for s.Object(); s.Member(&key); {
		switch string(key) {
		case "prompt_tokens":
			count(s, &c.PromptTokens)
		case "completion_tokens":
			count(s, &c.CompletionTokens)
		case "prompt_tokens_details":
			c.details(s)
		default:
			s.Skip()
		}
	}
}

func (c *Chunk) details(s *jsonscan.Scanner) {
	if !s.Is('{') {
		s.Skip()
		return
	}
	var key []byte
	for s.Object(); s.Member(&key); {
		if string(key) == "cached_tokens" {
			count(s, &c.CachedTokens)
		} else {
			s.Skip()
		}
	}
}

// failure reads the error member: an object with a code, or a text.
func (c *Chunk) failure(s *jsonscan.Scanner) {
	value := s.Skip()
	if value == nil || string(value) == "null" {
		return
	}
	c.Error = value
	if value[0] != '{' {
		return
	}
	code := -1
	in := jsonscan.New(value)
	var key []byte
	for in.Object(); in.Member(&key); {
		if string(key) == "code" {
			count(&in, &code)
		} else {
			in.Skip()
		}
	}
	c.Code = max(code, 0)
}

// count consumes a value; if it is a whole number from 0 on, it is stored.
func count(s *jsonscan.Scanner, to *int) {
	if n, err := strconv.Atoi(string(s.Skip())); err == nil && n >= 0 {
		*to = n
	}
}
