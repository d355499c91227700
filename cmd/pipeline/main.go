// Command pipeline runs LLM-inference benchmark campaigns that are declared in
// YAML. This package is all that talks to people: flags, exit codes, progress
// and hints. One verb, one file. Everything else returns values and errors.
//
// testdata/script holds the manual as tests.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"pipeline/internal/yaml"
)

// The exit codes, as documented in "pipeline --help".
const (
	exitComplete    = 0   // all that was asked is there
	exitFailed      = 1   // a node failed or could not run
	exitGaps        = 2   // complete, with gaps that are named
	exitUsage       = 3   // bad spec or usage; nothing was started
	exitInterrupted = 130 // stopped by a signal
)

func main() {
	if os.Getenv("GOGC") == "" {
		// Most calls live for a tenth of a second and are over before garbage
		// matters; a measuring one makes little and is better off undisturbed.
		debug.SetGCPercent(400)
	}
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	app := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := app.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if app.scratch != "" {
		defer os.RemoveAll(app.scratch)
	}
	var exit *exitError
	switch {
	case err == nil:
		return exitComplete
	case errors.As(err, &exit):
		app.printError(exit.err)
		return exit.code
	default: // cobra's own: unknown verbs and flags
		app.printError(hint(err, "see 'pipeline --help'"))
		return exitUsage
	}
}

// An exitError ends the program with a code. A nil err prints nothing more.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}
func (e *exitError) Unwrap() error { return e.err }

// usage makes err end the program as bad spec or usage.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{exitUsage, err}
}

// failed makes err end the program as failed.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{exitFailed, err}
}

// A hintError adds what to do to what is wrong.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

func hint(err error, format string, a ...any) error {
	if err == nil {
		return nil
	}
	return &hintError{err, fmt.Sprintf(format, a...)}
}

// printError writes err to stderr. Faults of a spec stand by themselves: each
// begins with its place, so that editors can jump to it.
func (a *app) printError(err error) {
	if err == nil {
		return
	}
	var spec yaml.Errors
	if errors.As(err, &spec) {
		fmt.Fprintln(a.stderr, strings.TrimRight(spec.Error(), "\n"))
	} else {
		fmt.Fprintln(a.stderr, "pipeline: error:", err)
	}
	var h *hintError
	if errors.As(err, &h) {
		fmt.Fprintln(a.stderr, "pipeline: hint:", h.hint)
	}
}
