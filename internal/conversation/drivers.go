package conversation

import (
	"fmt"
	"io"
	"strings"
)

// An AIPerf is a type of custom data set of AIPerf (--custom-dataset-type).
type AIPerf string

// The types that carry text. Only messages carry recorded answers: AIPerf
// puts the answers of the run into the history of a multi_turn file.
const (
	AIPerfSingleTurn AIPerf = "single_turn"    // one request a line, no history
	AIPerfMultiTurn  AIPerf = "multi_turn"     // one conversation a line, what the user says only
	AIPerfMessages   AIPerf = "mooncake_trace" // one request a line, its whole history as messages
)

// Write writes a conversation to an input file of that type. Turns without an
// OSL of their own ask for osl tokens; 0 leaves that to AIPerf. What the type
// cannot carry is refused, never left out.
func (t AIPerf) Write(w io.Writer, c Conversation, osl int) error {
	refuse := func(format string, a ...any) error {
		return fmt.Errorf("conversation %s as AIPerf %s: %s", c.ID, t, fmt.Sprintf(format, a...))
	}
	if c.System != "" && t != AIPerfMessages {
		return refuse("has a system message; only %s carries one", AIPerfMessages)
	}
	switch t {
	case AIPerfSingleTurn:
		if len(c.Turns) > 1 {
			return refuse("has %d turns", len(c.Turns))
		}
		return line(w, aiperfTurn{Text: c.Turns[0].User, OutputLength: c.Turns[0].ask(osl)})
	case AIPerfMultiTurn:
		session := aiperfSession{SessionID: c.ID}
		for i, turn := range c.Turns {
			if turn.Assistant != "" && i+1 < len(c.Turns) {
				return refuse("turn %d has a recorded answer, which only %s replays", i+1, AIPerfMessages)
			}
			session.Turns = append(session.Turns, aiperfTurn{Text: turn.User, OutputLength: turn.ask(osl)})
		}
		return line(w, session)
	case AIPerfMessages:
		for i, turn := range c.Turns {
			history, err := c.History(i)
			if err != nil {
				return refuse("%v", err)
			}
			if err := line(w, aiperfMessages{SessionID: c.ID, Messages: history, OutputLength: turn.ask(osl)}); err != nil {
				return err
			}
		}
		return nil
	}
	return refuse("is no type that carries text")
}

type aiperfTurn struct {
	Text         string `json:"text"`
	OutputLength int    `json:"output_length,omitempty"`
}

type aiperfSession struct {
	SessionID string       `json:"session_id"`
	Turns     []aiperfTurn `json:"turns"`
}

type aiperfMessages struct {
	SessionID    string    `json:"session_id"`
	Messages     []Message `json:"messages"`
	OutputLength int       `json:"output_length,omitempty"`
}

// ask is the output length that a turn asks for.
func (t Turn) ask(osl int) int {
	if t.OSL > 0 {
		return t.OSL
	}
	return osl
}

// A Message is one message of the chat API.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// History returns the messages of the request of a turn, from 0. It fails if
// an answer before it was not recorded.
func (c Conversation) History(turn int) ([]Message, error) {
	var messages []Message
	if c.System != "" {
		messages = append(messages, Message{"system", c.System})
	}
	for i, t := range c.Turns[:turn] {
		if t.Assistant == "" {
			return nil, fmt.Errorf("turn %d has no recorded answer, so that the request of turn %d is not known ahead", i+1, turn+1)
		}
		messages = append(messages, Message{"user", t.User}, Message{"assistant", t.Assistant})
	}
	return append(messages, Message{"user", c.Turns[turn].User}), nil
}

// WriteVLLMBench writes a conversation to a file of "vllm bench serve
// --dataset-name custom": one line a turn, whose prompt is its history joined
// by line ends, as the native driver asks /v1/completions. Every turn stands
// alone there: the tool shuffles them.
func WriteVLLMBench(w io.Writer, c Conversation, osl int) error {
	for i, turn := range c.Turns {
		history, err := c.History(i)
		if err != nil {
			return fmt.Errorf("conversation %s for vllm bench: %w", c.ID, err)
		}
		texts := make([]string, len(history))
		for j, m := range history {
			texts[j] = m.Content
		}
		if err := line(w, vllmPrompt{Prompt: strings.Join(texts, "\n"), OutputTokens: turn.ask(osl)}); err != nil {
			return err
		}
	}
	return nil
}

type vllmPrompt struct {
	Prompt       string `json:"prompt"`
	OutputTokens int    `json:"output_tokens,omitempty"`
}

func line(w io.Writer, v any) error {
	text, err := spell(v)
	if err == nil {
		_, err = w.Write(text)
	}
	return err
}
