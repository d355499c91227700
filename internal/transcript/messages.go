package transcript

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"pipeline/internal/conversation"
)

// A builder puts messages together to turns: all that is said until an answer.
type builder struct {
	system string
	turns  []conversation.Turn
	said   []string // since the last answer
}

func (b *builder) say(text string) {
	if text != "" {
		b.said = append(b.said, text)
	}
}

// answer ends a turn. It is false if nobody had asked.
func (b *builder) answer(text string) bool {
	switch {
	case len(b.said) > 0:
		b.turns = append(b.turns, conversation.Turn{User: strings.Join(b.said, "\n\n"), Assistant: text})
		b.said = nil
	case len(b.turns) > 0: // it goes on
		last := &b.turns[len(b.turns)-1]
		last.Assistant = strings.Trim(last.Assistant+"\n\n"+text, "\n")
	default:
		return false
	}
	return true
}

// end makes a turn of what has no answer.
func (b *builder) end() {
	if len(b.said) > 0 {
		b.turns = append(b.turns, conversation.Turn{User: strings.Join(b.said, "\n\n")})
		b.said = nil
	}
}

// Who says a message, by the names that are in use.
const (
	user      = "user"
	assistant = "assistant"
	system    = "system"
	tool      = "tool"
)

var roles = map[string]string{
	"user": user, "human": user, "prompter": user,
	"assistant": assistant, "gpt": assistant, "chatgpt": assistant, "bing": assistant, "bard": assistant, "model": assistant, "ai": assistant, "bot": assistant,
	"function_call": assistant,
	"system":        system, "developer": system,
	"tool": tool, "function": tool, "observation": tool, "ipython": tool, "environment": tool, "function_response": tool,
}

// messages reads a list of messages of any known shape.
func (r *Reader) messages(list []any) (builder, error) {
	var b builder
	for i, v := range list {
		m, ok := v.(row)
		if !ok {
			return b, fmt.Errorf("message %d is no object", i+1)
		}
		if err := r.message(&b, m); err != nil {
			return b, fmt.Errorf("message %d: %w", i+1, err)
		}
	}
	b.end()
	return b, nil
}

func (r *Reader) message(b *builder, m row) error {
	if _, own := m["user"].(string); own {
		return r.ownTurn(b, m)
	}
	name, _ := first(m, "role", "from").(string)
	_, isText := m["text"]
	_, isTexts := m["texts"]
	if name == "" && (isText || isTexts) {
		name = user // AIPerf
	}
	who, known := roles[strings.ToLower(name)]
	if !known {
		return fmt.Errorf("role %q is not known", name)
	}
	text := r.content(first(m, "content", "value", "text", "texts"))
	switch who {
	case assistant:
		if calls := toolCalls(first(m, "tool_calls", "function_call")); calls != "" {
			text = strings.Trim(text+"\n"+calls, "\n")
		}
		if text != "" && !b.answer(text) {
			r.drop("answer before anybody asked was left out")
		}
	case system:
		if len(b.turns) == 0 && len(b.said) == 0 {
			b.system = strings.Trim(b.system+"\n\n"+text, "\n")
			return nil
		}
		r.drop("system message in the middle became part of what the user says")
		b.say(text)
	default:
		b.say(text)
	}
	if isText || isTexts { // AIPerf: each is a turn
		b.end()
		r.aiperfExtras(m)
	}
	if n := number(m["output_length"]); n > 0 && len(b.turns) > 0 {
		b.turns[len(b.turns)-1].OSL = n
	}
	return nil
}

// aiperfExtras counts what a turn of AIPerf holds besides its text.
func (r *Reader) aiperfExtras(m row) {
	if first(m, "image", "images", "audio", "audios", "video", "videos") != nil {
		r.drop("image, sound or video of a turn was left out")
	}
	for _, name := range []string{"delay", "timestamp"} {
		if n, ok := m[name].(json.Number); ok && n != "0" {
			r.drop("delay or time of a turn was left out: turns follow each other at once")
		}
	}
}

// ownTurn reads a turn of conversations.jsonl.
func (r *Reader) ownTurn(b *builder, m row) error {
	said, _ := m["user"].(string)
	answer, _ := m["assistant"].(string)
	b.turns = append(b.turns, conversation.Turn{User: r.text(said), Assistant: r.text(answer), ISL: number(m["isl"]), OSL: number(m["osl"])})
	return nil
}

func first(m row, names ...string) any {
	for _, n := range names {
		if v := m[n]; v != nil {
			return v
		}
	}
	return nil
}

// content is the text of a message: a text, or a list of parts.
func (r *Reader) content(v any) string {
	switch v := v.(type) {
	case string:
		return r.text(v)
	case []any:
		var texts []string
		for _, part := range v {
			switch p := part.(type) {
			case string:
				texts = append(texts, r.text(p))
			case row:
				if text, ok := first(p, "text", "content").(string); ok {
					texts = append(texts, r.text(text))
				} else {
					r.drop("part of a message that is no text was left out")
				}
			}
		}
		return strings.Join(texts, "\n")
	}
	return ""
}

// toolCalls is what the model wrote to call tools, a line each.
func toolCalls(v any) string {
	var lines []string
	list, ok := v.([]any)
	if !ok && v != nil {
		list = []any{v}
	}
	for _, call := range list {
		if c, ok := call.(row); ok {
			if function, ok := c["function"].(row); ok {
				call = row{"name": function["name"], "arguments": function["arguments"]}
			}
		}
		if text, ok := call.(string); ok {
			lines = append(lines, text)
			continue
		}
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if enc.Encode(call) == nil && b.String() != "null\n" {
			lines = append(lines, strings.TrimSuffix(b.String(), "\n"))
		}
	}
	return strings.Join(lines, "\n")
}
