package transcript

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"pipeline/internal/conversation"
)

// The columns that are looked for, in this order.
var (
	idColumns           = []string{"id", "conversation_id", "session_id", "conversation_hash", "uuid"}
	conversationColumns = []string{"turns", "messages", "conversations", "conversation", "dialog", "dialogue", "chat", "trajectory", "prompt"}
	systemColumns       = []string{"system", "system_prompt"}
	userColumns         = []string{"prompt", "user", "question", "instruction", "text"}
	assistantColumns    = []string{"response", "assistant", "completion", "answer", "output"}
)

// convert makes a conversation of a row.
func (r *Reader) convert(in row) (conversation.Conversation, error) {
	turns, err := r.turns(in)
	if err != nil {
		return conversation.Conversation{}, err
	}
	c := conversation.Conversation{ID: r.id(in), System: turns.system}
	if system, ok := column(in, r.Columns.System, systemColumns).(string); ok && system != "" {
		c.System = r.text(system)
	}
	for i, t := range turns.turns {
		if t.User == "" {
			return c, fmt.Errorf("turn %d says nothing", i+1)
		}
		c.Turns = append(c.Turns, t)
	}
	if len(c.Turns) == 0 {
		return c, errors.New("nobody asks anything in it")
	}
	r.count(&c)
	if err := r.Cut(&c); err != nil {
		return c, err
	}
	return c, c.Check()
}

// Cut shortens a conversation to the limits. Its error says why nothing is left.
func (r *Reader) Cut(c *conversation.Conversation) error {
	if r.MaxTurns > 0 && len(c.Turns) > r.MaxTurns {
		r.drop(fmt.Sprintf("conversation cut to %d turns", r.MaxTurns))
		c.Turns = c.Turns[:r.MaxTurns]
	}
	if r.MaxISL == 0 {
		return nil
	}
	long := slices.IndexFunc(c.Turns, func(t conversation.Turn) bool { return t.ISL > r.MaxISL })
	if long == 0 {
		return fmt.Errorf("its first request has more than %d tokens", r.MaxISL)
	}
	if long > 0 {
		r.drop(fmt.Sprintf("conversation cut where a request has more than %d tokens", r.MaxISL))
		c.Turns = c.Turns[:long]
	}
	return nil
}

// count fills in the token counts that the source does not state. Behind a
// turn without a recorded answer nobody knows how long a request will be.
func (r *Reader) count(c *conversation.Conversation) {
	characters, known := utf8.RuneCountInString(c.System), true
	for i := range c.Turns {
		t := &c.Turns[i]
		characters += utf8.RuneCountInString(t.User)
		if t.ISL > 0 {
			r.stated = true
		} else if known {
			t.ISL, r.estimated = estimate(characters), true
		}
		answer := utf8.RuneCountInString(t.Assistant)
		characters += answer
		known = known && answer > 0
		if t.OSL > 0 {
			r.stated = true
		} else if answer > 0 {
			t.OSL, r.estimated = estimate(answer), true
		}
	}
}

// id returns a name that no conversation had before.
func (r *Reader) id(in row) string {
	id := fmt.Sprintf("row-%d", r.rows)
	switch v := column(in, r.Columns.ID, idColumns).(type) {
	case nil:
	case string:
		if v != "" {
			id = r.text(v)
		}
	case json.Number, int64, int32, float64:
		id = fmt.Sprint(v)
	}
	if r.ids == nil {
		r.ids = make(map[string]int)
	}
	unique := id
	for r.ids[unique] > 0 {
		r.ids[id]++
		unique = fmt.Sprintf("%s#%d", id, r.ids[id])
	}
	if unique != id {
		r.drop("id that was there before got a number")
	}
	r.ids[unique]++
	return unique
}

// column returns the value of a column by its name, or of the first of some.
func column(in row, name string, otherwise []string) any {
	if name != "" {
		return in[name]
	}
	for _, n := range otherwise {
		if v := in[n]; v != nil {
			return v
		}
	}
	return nil
}

// turns finds the conversation in a row.
func (r *Reader) turns(in row) (builder, error) {
	names := conversationColumns
	switch {
	case r.Columns.Conversation != "":
		names = []string{r.Columns.Conversation}
	case r.Columns.User != "":
		names = nil
	}
	for _, name := range names {
		if list := listOf(in[name]); list != nil {
			return r.messages(list)
		}
	}
	user, _ := column(in, r.Columns.User, userColumns).(string)
	if user == "" {
		return builder{}, r.shapeless(in)
	}
	b := builder{}
	b.say(r.text(user))
	if answer, ok := column(in, r.Columns.Assistant, assistantColumns).(string); ok && answer != "" {
		b.answer(r.text(answer))
	}
	b.end()
	b.turns[0].OSL = number(in["output_length"])
	return b, nil
}

// shapeless says what was looked for.
func (r *Reader) shapeless(in row) error {
	if kind, ok := in["filetype"].(string); ok {
		return fmt.Errorf("is a file of type %s for a generator, and holds no conversations", kind)
	}
	have := strings.Join(slices.Sorted(maps.Keys(in)), ", ")
	if name := r.Columns.Conversation + r.Columns.User; name != "" {
		return fmt.Errorf("column %s holds no conversation (there are: %s)", name, have)
	}
	return fmt.Errorf("none of its columns (%s) holds a conversation: name one with columns.conversation (a list of messages) or columns.user (a text)", have)
}

// listOf returns a list of objects: as it is, as JSON text, or as an object of
// lists, which is how the hub stores some.
func listOf(v any) []any {
	switch v := v.(type) {
	case []any:
		if len(v) == 0 || isObject(v[0]) {
			return v
		}
	case string:
		if text := strings.TrimSpace(v); strings.HasPrefix(text, "[") {
			dec := json.NewDecoder(strings.NewReader(text))
			dec.UseNumber()
			var list []any
			if dec.Decode(&list) == nil && len(list) > 0 && isObject(list[0]) {
				return list
			}
		}
	case row:
		return transpose(v)
	}
	return nil
}

func isObject(v any) bool {
	_, ok := v.(row)
	return ok
}

// transpose turns {"role": [a, b], "content": [c, d]} into two objects.
func transpose(v row) []any {
	n := -1
	for _, column := range v {
		list, ok := column.([]any)
		if !ok || n >= 0 && len(list) != n {
			return nil
		}
		n = len(list)
	}
	var out []any
	for i := range max(n, 0) {
		one := make(row, len(v))
		for name, column := range v {
			one[name] = column.([]any)[i]
		}
		out = append(out, one)
	}
	return out
}

// text mends what is not UTF-8.
func (r *Reader) text(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	r.drop("text that was not UTF-8 was mended")
	return strings.ToValidUTF8(s, "\uFFFD")
}

// number returns a whole number above 0, or 0.
func number(v any) int {
	switch v := v.(type) {
	case json.Number:
		n, err := v.Int64()
		if err == nil && n > 0 && n < 1<<31 {
			return int(n)
		}
	case int64:
		return max(0, int(v))
	case int32:
		return max(0, int(v))
	}
	return 0
}
