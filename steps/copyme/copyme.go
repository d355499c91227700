// Package copyme is the step to copy when you write a new one. It puts a text
// in capitals.
//
// Copy the folder, give package, Kind and Step your own meaning, keep the test
// and write cases of your own, and add the Kind to the list in steps/all.
// CONTRIBUTING.md goes through it line by line.
package copyme

import (
	"context"
	"errors"
	"io"
	"strings"

	"pipeline/steps"
)

// Kind describes the step to specs and to the engine.
var Kind = steps.Kind{
	Name:    "upper",
	Summary: "put a text in capitals",
	Doc:     "Writes `text` in capitals. What is wired to `more` is put behind it, in the order of its cells.",
	Version: 1, // raise it when the same inputs should give other outputs
	Effect:  steps.Pure,
	Ports:   []steps.Port{{Name: "more", Doc: "Texts to put behind it."}},
	Outputs: []steps.Output{{Name: "text", Doc: "The text in capitals."}},
	New:     func() steps.Step { return &Step{Suffix: "\n"} },
}

// Step holds the parameters of one run.
type Step struct {
	Text   string `json:"text" key:"yes" required:"true" doc:"The text to raise."`
	Suffix string `json:"suffix" key:"yes" doc:"What to end it with."`
}

// Check implements steps.Checker.
func (s *Step) Check() error {
	if s.Text == "" {
		return &steps.ParamError{Param: "text", Err: errors.New("it is empty: write the text to raise")}
	}
	return nil
}

// Run implements steps.Runner.
func (s *Step) Run(ctx context.Context, env *steps.Env) error {
	out := strings.ToUpper(s.Text) + s.Suffix
	for _, in := range env.In["more"] {
		b, err := in.ReadAll("text")
		if err != nil {
			return err
		}
		out += strings.ToUpper(string(b))
	}
	w, err := env.Create("text")
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, out); err != nil {
		return err
	}
	return w.Close()
}
