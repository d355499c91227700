package loadgen

import (
	"encoding/json"
	"strconv"
)

// extras are the members of a request that not every server takes.
type extras struct {
	ignoreEOS bool // go on after an end-of-sequence token
	minTokens bool // the same by another name
	usage     bool // stream_options.include_usage
}

// A message is one message of a chat.
type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// body returns the JSON of a request. For chat, messages is the whole history;
// for completions the history is joined by newlines into one prompt, or ids is
// the prompt.
func (c *Config) body(messages []message, ids []int, osl int, x extras) []byte {
	b := make([]byte, 0, sizeOf(messages)+8*len(ids)+256)
	b = append(b, `{"model":`...)
	b = appendString(b, c.Model)
	switch {
	case c.Workload.API == Chat:
		b = append(b, `,"messages":`...)
		b = appendMessages(b, messages)
	case ids != nil:
		b = append(b, `,"prompt":`...)
		b = appendJSON(b, ids)
	default:
		b = append(b, `,"prompt":`...)
		b = appendString(b, joined(messages))
	}
	b = append(b, `,"stream":true`...)
	if x.usage {
		b = append(b, `,"stream_options":{"include_usage":true}`...)
	}
	if osl > 0 {
		b = append(b, `,"max_tokens":`...)
		b = strconv.AppendInt(b, int64(osl), 10)
		if x.minTokens {
			b = append(b, `,"min_tokens":`...)
			b = strconv.AppendInt(b, int64(osl), 10)
		}
	}
	if x.ignoreEOS {
		b = append(b, `,"ignore_eos":true`...)
	}
	if t := c.Workload.Temperature; t != nil {
		b = append(b, `,"temperature":`...)
		b = appendJSON(b, *t)
	}
	return append(b, '}')
}

func appendMessages(b []byte, messages []message) []byte {
	b = append(b, '[')
	for i, m := range messages {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"role":`...)
		b = appendString(b, m.Role)
		b = append(b, `,"content":`...)
		b = appendString(b, m.Content)
		b = append(b, '}')
	}
	return append(b, ']')
}

func joined(messages []message) string {
	if len(messages) == 1 {
		return messages[0].Content
	}
	b := make([]byte, 0, sizeOf(messages))
	for i, m := range messages {
		if i > 0 {
			b = append(b, '\n')
		}
		b = append(b, m.Content...)
	}
	return string(b)
}

func sizeOf(messages []message) int {
	n := 0
	for _, m := range messages {
		n += len(m.Content) + 32
	}
	return n
}

// appendString appends s as a JSON string, fast where nothing needs an escape.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x80 {
			return appendJSON(b, s)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// appendJSON appends a value that always has a JSON form.
func appendJSON(b []byte, v any) []byte {
	j, err := json.Marshal(v)
	if err != nil {
		panic("loadgen: " + err.Error())
	}
	return append(b, j...)
}
