package steps

import (
	"errors"
	"io"
	"os/exec"
)

// A Recording takes down one command that a step runs: what it prints and how
// it ends. It is kept in the run's folder, without secrets, as evidence for
// people; it is in no key and no record.
type Recording struct {
	Stdout, Stderr io.Writer                 // never fail; each for one goroutine at a time
	End            func(code int, err error) // once: the exit code, -1 if there is none, and what else is to be said
}

// Command begins to record a command line. It never returns nil: where nobody
// records, it takes down nothing.
func (e *Env) Command(argv ...string) *Recording {
	if e.Record == nil {
		return &Recording{Stdout: io.Discard, Stderr: io.Discard, End: func(int, error) {}}
	}
	return e.Record(argv)
}

// Recorded makes a command that was not started yet be recorded. The returned
// function takes what its Run or Wait returned.
//
//	ended := env.Recorded(cmd)
//	err := cmd.Run()
//	ended(err)
func (e *Env) Recorded(cmd *exec.Cmd) (ended func(error)) {
	r := e.Command(cmd.Args...)
	cmd.Stdout, cmd.Stderr = also(cmd.Stdout, r.Stdout), also(cmd.Stderr, r.Stderr)
	return func(err error) {
		code := -1
		if cmd.ProcessState != nil {
			code = cmd.ProcessState.ExitCode()
		}
		var exit *exec.ExitError
		if errors.As(err, &exit) && code >= 0 {
			err = nil // the code says it
		}
		r.End(code, err)
	}
}

func also(w, record io.Writer) io.Writer {
	if w == nil {
		return record
	}
	return io.MultiWriter(w, record)
}
