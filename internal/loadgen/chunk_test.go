package loadgen

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"testing"
	"unicode/utf8"

	"pipeline/internal/jsonscan"
)

// seen is a Chunk in values that compare.
type seen struct {
	choices, content           bool
	text, finish               string
	usage                      bool
	prompt, completion, cached int
	failed                     bool
	code                       int
}

func see(t testing.TB, c Chunk) seen {
	t.Helper()
	text, err := jsonscan.Unescape(c.Text)
	if err != nil {
		t.Fatalf("text %q: %v", c.Text, err)
	}
	finish, err := jsonscan.Unescape(c.Finish)
	if err != nil {
		t.Fatalf("finish %q: %v", c.Finish, err)
	}
	return seen{c.Choices, c.Content, text, finish, c.Usage, c.PromptTokens, c.CompletionTokens, c.CachedTokens, c.Error != nil, c.Code}
}

var chunks = map[string]struct {
	in   string
	want seen
}{
	"chat": {`{"id":"x","choices":[{"index":0,"delta":{"content":" a"},"logprobs":null,"finish_reason":null}]}`,
		seen{true, true, " a", "", false, -1, -1, -1, false, 0}},
	"role only": {`{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"usage":null}`,
		seen{true, false, "", "", false, -1, -1, -1, false, 0}},
	"null content": {`{"choices":[{"delta":{"role":"assistant","content":null}}]}`,
		seen{true, false, "", "", false, -1, -1, -1, false, 0}},
	"reasoning": {`{"choices":[{"delta":{"reasoning_content":"hm"}}]}`,
		seen{true, true, "", "", false, -1, -1, -1, false, 0}},
	"tool call": {`{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f"}}]}}]}`,
		seen{true, true, "", "", false, -1, -1, -1, false, 0}},
	"no tool call": {`{"choices":[{"delta":{"tool_calls":[]}}]}`,
		seen{true, false, "", "", false, -1, -1, -1, false, 0}},
	"completions": {`{"choices":[{"text":"a\n\"b\" é","finish_reason":"length"}]}`,
		seen{true, true, "a\n\"b\" é", "length", false, -1, -1, -1, false, 0}},
	"usage alone": {`{"choices":[],"usage":{"prompt_tokens":11,"total_tokens":18,"completion_tokens":7}}`,
		seen{false, false, "", "", true, 11, 7, -1, false, 0}},
	"usage with content": {`{"choices":[{"delta":{"content":"z"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":4}}}`,
		seen{true, true, "z", "stop", true, 11, 7, 4, false, 0}},
	"cached null": {`{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"prompt_tokens_details":null}}`,
		seen{false, false, "", "", true, 1, 2, -1, false, 0}},
	"whole": {`{"object":"chat.completion","choices":[{"message":{"role":"assistant","content":"ab"},"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}`,
		seen{true, true, "ab", "length", true, 3, 2, -1, false, 0}},
	"error":      {`{"error":{"message":"EngineCore died","code":500}}`, seen{false, false, "", "", false, -1, -1, -1, true, 500}},
	"error text": {`{"error":"no"}`, seen{false, false, "", "", false, -1, -1, -1, true, 0}},
	"error null": {`{"error":null,"choices":[]}`, seen{false, false, "", "", false, -1, -1, -1, false, 0}},
	"content that looks like JSON": {`{"choices":[{"delta":{"content":"{\"content\":\"x\",\"usage\":{\"completion_tokens\":9}}"}}]}`,
		seen{true, true, `{"content":"x","usage":{"completion_tokens":9}}`, "", false, -1, -1, -1, false, 0}},
	"text of the first choice": {`{"choices":[{"text":"a"},{"text":"b"}]}`,
		seen{true, true, "a", "", false, -1, -1, -1, false, 0}},
	"white space":  {" {\n\t\"choices\" : [ { \"text\" : \"a\" } ] } ", seen{true, true, "a", "", false, -1, -1, -1, false, 0}},
	"escaped name": {`{"choices":[{"text":"a"}]}`, seen{true, true, "a", "", false, -1, -1, -1, false, 0}},
	"nested elsewhere": {`{"meta":{"choices":[{"text":"no"}]},"list":[[{"usage":{}}],"]"],"choices":[{"text":"a"}]}`,
		seen{true, true, "a", "", false, -1, -1, -1, false, 0}},
	"tokens that are no number": {`{"usage":{"completion_tokens":"7","prompt_tokens":-1}}`,
		seen{false, false, "", "", true, -1, -1, -1, false, 0}},
	"empty": {`{}`, seen{false, false, "", "", false, -1, -1, -1, false, 0}},
}

func TestScanChunk(t *testing.T) {
	for name, c := range chunks {
		got, err := ScanChunk([]byte(c.in))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if see(t, got) != c.want {
			t.Errorf("%s: %+v\nwant %+v", name, see(t, got), c.want)
		}
	}
}

func TestScanChunkBad(t *testing.T) {
	for _, in := range []string{
		"", "null", "7", `"a"`, "[]", "{", `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{"a" 1}`, `{1:2}`, `{"a":"b}`, `{"a":"b\`,
		`{"choices":[}`, `{"choices":[{]}`, `{"choices":[{"text":"a"}`, `{} x`, `{"a":[}`, `{"a":}`, `[DONE]`, `{"error":`, `{"usage":{"prompt_tokens":}}`,
	} {
		if c, err := ScanChunk([]byte(in)); err == nil {
			t.Errorf("%q: no error, %+v", in, c)
		}
	}
}

func TestScanChunkAllocates(t *testing.T) {
	in := []byte(chunks["chat"].in)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := ScanChunk(in); err != nil {
			t.Fatal(err)
		}
	}); n > 3 { // the closures, not the text
		t.Errorf("%v allocations an event", n)
	}
}

// FuzzChunk: for what encoding/json takes, the scan finds what a full decode
// finds; for anything else, it only must not panic.
func FuzzChunk(f *testing.F) {
	for _, c := range chunks {
		f.Add([]byte(c.in))
	}
	f.Add([]byte(`{"error":"aaaaa\`)) // an escape cut off at the end
	f.Fuzz(func(t *testing.T, in []byte) {
		in = slices.Clip(in) // so that a look behind its end is a panic
		got, err := ScanChunk(in)
		if !json.Valid(in) || !utf8.Valid(in) || repeats(in) {
			return
		}
		var object map[string]any
		dec := json.NewDecoder(bytes.NewReader(in))
		dec.UseNumber()
		if dec.Decode(&object) != nil || object == nil {
			if err == nil {
				t.Fatalf("%q is no object, and no error", in)
			}
			return
		}
		if err != nil {
			t.Fatalf("%q: %v", in, err)
		}
		want, texts := reference(object)
		if texts > 1 { // in several places of one choice: any of them will do
			want.text = see(t, got).text
		}
		if see(t, got) != want {
			t.Fatalf("%q: %+v\nwant %+v", in, see(t, got), want)
		}
	})
}

// repeats reports whether an object has a name twice: which one counts is
// nowhere defined.
func repeats(in []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(in))
	type level struct {
		names map[string]bool // nil in an array
		value bool            // a value comes next, not a name
	}
	var stack []level
	for {
		token, err := dec.Token()
		if err != nil {
			return false
		}
		top := len(stack) - 1
		if name, ok := token.(string); ok && top >= 0 && stack[top].names != nil && !stack[top].value {
			if stack[top].names[name] {
				return true
			}
			stack[top].names[name], stack[top].value = true, true
			continue
		}
		if top >= 0 {
			stack[top].value = false
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, level{names: map[string]bool{}})
		case json.Delim('['):
			stack = append(stack, level{})
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
		}
	}
}

// reference reads a chunk from decoded JSON, and how many texts its first choice has.
func reference(object map[string]any) (want seen, found int) {
	want = seen{prompt: -1, completion: -1, cached: -1}
	list, _ := object["choices"].([]any)
	want.choices = len(list) > 0
	for i, item := range list {
		choice, _ := item.(map[string]any)
		var texts []any
		texts = append(texts, choice["text"])
		for _, name := range []string{"delta", "message"} {
			part, _ := choice[name].(map[string]any)
			texts = append(texts, part["content"])
			for _, other := range []string{"reasoning_content", "reasoning", "refusal"} {
				if s, _ := part[other].(string); s != "" {
					want.content = true
				}
			}
			if calls, _ := part["tool_calls"].([]any); len(calls) > 0 {
				want.content = true
			}
		}
		for _, text := range texts {
			if s, _ := text.(string); s != "" {
				want.content = true
				if i == 0 {
					want.text = s
					found++
				}
			}
		}
		if s, _ := choice["finish_reason"].(string); s != "" && want.finish == "" {
			want.finish = s
		}
	}
	if usage, ok := object["usage"].(map[string]any); ok {
		want.usage = true
		want.prompt, want.completion = number(usage["prompt_tokens"]), number(usage["completion_tokens"])
		details, _ := usage["prompt_tokens_details"].(map[string]any)
		want.cached = number(details["cached_tokens"])
	}
	if e, ok := object["error"]; ok && e != nil {
		want.failed = true
		if m, ok := e.(map[string]any); ok {
			want.code = max(0, number(m["code"]))
		}
	}
	return want, found
}

// number is a count as JSON decodes it, -1 for anything else.
func number(v any) int {
	text, _ := v.(json.Number)
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 0 {
		return -1
	}
	return n
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{`a b`: "a b", `a\n\"\u00e9\ud83d\ude00`: "a\n\"é😀", ``: ""} {
		if got, err := jsonscan.Unescape([]byte(in)); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	if _, err := jsonscan.Unescape([]byte(`\x`)); err == nil {
		t.Error("a bad escape has no error")
	}
}
