package engine

import (
	"pipeline/steps"
)

// recording begins to take down a command that the step runs.
func (t *try) recording(argv []string) *steps.Recording {
	r := t.commands.Begin(t.n.Name, argv, t.scrub.text)
	return &steps.Recording{Stdout: r.Stdout, Stderr: r.Stderr, End: r.End}
}
