// Package engine runs plans. It reads a plan and the store, says what would
// happen (Forecast) and why (Explain), and makes it happen (Run).
//
// A node's key is the digest of its manifest, a text of all that decides what
// it writes: its kind, its key parameters and the bytes of its inputs. A
// record in the store that answers the key makes the node a hit. Since the
// bytes of inputs count and not how they came about, a node that runs again
// and writes the same stops the wave.
//
// One goroutine owns all state of a run (see loop.go). Steps run elsewhere,
// one goroutine a try (see try.go), and send one result back.
package engine

import (
	"errors"
	"fmt"
	"time"

	"pipeline/engine/journal"
	"pipeline/engine/store"
	"pipeline/pipelines"
	"pipeline/steps"
)

// An Engine runs plans against a store. Its fields are set once, before it is
// used.
type Engine struct {
	Store  *store.Store
	Kinds  steps.Registry // to let go of what dead runs held
	Jobs   int            // depth of the pool of CPU slots; below 1 counts as 1
	Limits map[string]int // depth of the named pools; 1 for those not in it
	Now    func() time.Time
	Secret func(name string) (string, error) // an environment variable; nil knows none
	Host   store.Host                        // goes into the records

	CloseLimit time.Duration // for closing a Hold; 0 is two minutes
	Grace      time.Duration // for a step to return once its context has ended; 0 is 30 s

	Fault func(op string) error // fails the journal's writes, for tests; see store.Options
}

// A Selection says which nodes of a plan a run is about. The zero Selection
// is about all of them.
type Selection struct {
	Only  []Selector // just these; what they need must be in the store
	From  []Selector // these and all below run; what they need must be in the store
	Until []Selector // nothing below these, nor beside them
	Force []Selector // these run although the store has their answer (R15)

	By   string // who forces, for the records: "--force cells"
	Text string // the whole selection as the user wrote it, for the journal
}

// A Selector picks nodes.
type Selector func(pipelines.NodeID) bool

// A State is how far a node has come in a run. All states from Hit on are
// settled.
type State int

const (
	Waiting State = iota // for what it needs, or for a slot
	Running
	Hit     // the store had the answer; or an observation saw what the last one saw
	Done    // it ran and is recorded
	Partial // it ran, and what it wrote is a part of an answer
	Failed  // it ran and has no answer
	Skipped // something it needs failed
	Idle    // a Hold that nobody needed; a node that was not selected
)

func (s State) String() string {
	return [...]string{"waiting", "running", "hit", "done", "partial", "failed", "skipped", "idle"}[s]
}

// MarshalText implements encoding.TextMarshaler.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Settled reports whether the node's part in the run is over.
func (s State) Settled() bool { return s >= Hit }

// Options are what one run needs beside the plan.
type Options struct {
	Selection Selection
	Forecast  *Forecast       // of this plan and selection, if the caller has made one; else Run makes it
	Interrupt <-chan struct{} // first value: start nothing more; second: cancel what runs
	Notify    func(Event)     // called from one goroutine, in order; nil is deaf
	Args      []string        // the command line, without secrets, for the journal
}

// An EventKind says what an Event tells.
type EventKind string

const (
	RunStarted EventKind = "run"      // Text is the run ID
	NodeState  EventKind = "state"    // State; Reason when it runs; Took when it settles; Text is an error
	Progressed EventKind = "progress" // Progress
	Phased     EventKind = "phase"    // Text is the phase that a node is in now, with its number
	Doubted    EventKind = "doubt"    // Text is a warning, of a node or of the run
	Leased     EventKind = "lease"    // Text is the lease, taken
	Released   EventKind = "released" // Text is the lease, let go
	Retrying   EventKind = "retry"    // Attempt failed with Text; Took is the pause before the next
	Stopping   EventKind = "stopping" // Text says why nothing more is started
	RunEnded   EventKind = "end"      // Text is the status; Took
)

// An Event is one thing that happened in a run.
type Event struct {
	Time     time.Time
	Kind     EventKind
	Node     pipelines.NodeID // -1 for the run itself
	Name     string           // of the node
	State    State
	Reason   Reason
	Attempt  int
	Progress *steps.Progress
	Text     string
	Took     time.Duration
}

// A Status says how a run ended.
type Status string

const (
	Complete    Status = "complete"
	Gaps        Status = "gaps"        // no node failed, but some gave a part of an answer
	Broken      Status = "failed"      // a node failed or could not run
	Interrupted Status = "interrupted" // someone stopped it
)

// An Outcome is what came of a run.
type Outcome struct {
	RunID    string            `json:"run_id"`
	Campaign string            `json:"campaign"`
	Status   Status            `json:"status"`
	Counts   Counts            `json:"nodes"`
	Warnings []string          `json:"warnings"`
	Outputs  map[string]string `json:"outputs"` // "step/artifact" -> path of the copy for people
	Took     time.Duration     `json:"took_ns"`
	Nodes    []NodeOutcome     `json:"-"` // by NodeID
}

// Counts are the numbers of nodes by what became of them. Only selected nodes
// count, and a Hold counts in none, unless it failed: then in Total and
// Failed. Executed are the nodes that ran and were recorded, partial ones
// too. Reused are the hits, and the observations that saw what the last one
// saw. What an interrupted run did not come to is in Total alone.
type Counts = journal.Counts

// A NodeOutcome is what came of one node.
type NodeOutcome struct {
	State    State
	Selected bool
	Key      store.Key     // zero if it never got so far
	Record   *store.Record // that serves, nil if none does
	Reason   Reason        // why it ran
	Err      error         // of Failed, Skipped and Partial
	Took     time.Duration // of the last try
	Doubts   []string
}

// ErrDeadlock says that nothing could run although not all was settled.
var ErrDeadlock = errors.New("deadlock")

// A MissingError says what a partial run would need and the store lacks.
type MissingError struct {
	Selection string
	Missing   []Missing
}

// A Missing is a node without an answer.
type Missing struct {
	Name   string
	Pos    pipelines.Pos
	Reason Reason
	Detail string
}

func (e *MissingError) Error() string {
	const most = 20
	what := e.Selection
	if what == "" {
		what = "this selection"
	}
	s := fmt.Sprintf("%s needs %d node(s) that the store has no complete record of:", what, len(e.Missing))
	for i, m := range e.Missing {
		if i == most {
			s += fmt.Sprintf("\n  and %d more", len(e.Missing)-most)
			break
		}
		s += fmt.Sprintf("\n  %s: %s", m.Name, m.Reason.Text())
		if m.Detail != "" {
			s += ": " + m.Detail
		}
	}
	return s + "\nrun the campaign without the selection, or from there, first"
}

func (e *Engine) jobs() int { return max(1, e.Jobs) }

func (e *Engine) depth(pool string) int {
	if pool == "" {
		return e.jobs()
	}
	return max(1, e.Limits[pool])
}

func orElse(d, standard time.Duration) time.Duration {
	if d <= 0 {
		return standard
	}
	return d
}
