package conversation

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// A Conversation is what one user says, turn after turn.
type Conversation struct {
	ID     string `json:"id"`               // unique in its file
	System string `json:"system,omitempty"` // system message
	Turns  []Turn `json:"turns"`            // at least one
}

// A Turn is one request, and the answer that was recorded to it.
type Turn struct {
	User      string `json:"user"`
	Assistant string `json:"assistant,omitempty"` // recorded answer; "" is none
	ISL       int    `json:"isl,omitempty"`       // tokens of the request: history, system message and all; 0 is not counted
	OSL       int    `json:"osl,omitempty"`       // tokens of the recorded answer; 0 is not counted
}

// Head returns the conversation without the turns beyond the first n; 0 is all.
func (c Conversation) Head(n int) Conversation {
	if n > 0 && n < len(c.Turns) {
		c.Turns = c.Turns[:n]
	}
	return c
}

// A FieldError is a fault of one field of a conversation.
type FieldError struct {
	Field string // its path: turns[2].user
	Err   error
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }
func (e *FieldError) Unwrap() error { return e.Err }

// Check refuses what cannot be sent. Its error is a *FieldError.
func (c *Conversation) Check() error {
	refuse := func(field, format string, a ...any) error { return &FieldError{field, fmt.Errorf(format, a...)} }
	switch {
	case c.ID == "":
		return refuse("id", "is empty; each conversation needs a name of its own")
	case !utf8.ValidString(c.ID):
		return &FieldError{"id", errNotUTF8}
	case !utf8.ValidString(c.System):
		return &FieldError{"system", errNotUTF8}
	case len(c.Turns) == 0:
		return refuse("turns", "is empty; a conversation has at least one turn")
	}
	for i, t := range c.Turns {
		if err := t.check(); err != nil {
			err.Field = fmt.Sprintf("turns[%d].%s", i, err.Field)
			return err
		}
	}
	return nil
}

var errNotUTF8 = errors.New("is not UTF-8")

func (t *Turn) check() *FieldError {
	switch {
	case t.User == "":
		return &FieldError{"user", errors.New("is empty")}
	case !utf8.ValidString(t.User):
		return &FieldError{"user", errNotUTF8}
	case !utf8.ValidString(t.Assistant):
		return &FieldError{"assistant", errNotUTF8}
	case t.ISL < 0:
		return &FieldError{"isl", fmt.Errorf("%d tokens are below 0", t.ISL)}
	case t.OSL < 0:
		return &FieldError{"osl", fmt.Errorf("%d tokens are below 0", t.OSL)}
	}
	return nil
}
