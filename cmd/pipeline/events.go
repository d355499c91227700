package main

import (
	"encoding/json"
	"fmt"
	"os"

	"pipeline/engine"
	"pipeline/steps"
)

// An eventLine is one line of --events. Its fields are documented in
// docs/events.md; new ones may be added, none is renamed.
type eventLine struct {
	Time     string          `json:"time"`
	Event    string          `json:"event"`
	Node     string          `json:"node,omitempty"`
	State    string          `json:"state,omitempty"`
	Reason   string          `json:"reason,omitempty"`
	Attempt  int             `json:"attempt,omitempty"`
	Progress *steps.Progress `json:"progress,omitempty"`
	Text     string          `json:"text,omitempty"`
	TookMS   int64           `json:"took_ms,omitempty"`
}

// teeEvents hands each event to next and, if a path is given, appends it there.
func teeEvents(path string, next func(engine.Event)) (func(engine.Event), func() error, error) {
	if path == "" {
		return next, func() error { return nil }, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("open --events: %w", err)
	}
	var werr error
	enc := json.NewEncoder(f)
	enc.SetEscapeHTML(false)
	notify := func(e engine.Event) {
		line := eventLine{Time: e.Time.UTC().Format("2006-01-02T15:04:05.000000000Z"), Event: string(e.Kind), Node: e.Name,
			Reason: string(e.Reason), Attempt: e.Attempt, Progress: e.Progress, Text: e.Text, TookMS: e.Took.Milliseconds()}
		if e.Kind == engine.NodeState {
			line.State = e.State.String()
		}
		if err := enc.Encode(line); err != nil && werr == nil {
			werr = fmt.Errorf("write --events: %w", err)
		}
		next(e)
	}
	return notify, func() error {
		if err := f.Close(); werr == nil && err != nil {
			werr = fmt.Errorf("write --events: %w", err)
		}
		return werr
	}, nil
}
