// Package steps says what a step is. It is the contract between the kinds
// (one folder each beside this file), the language that configures them
// (package pipelines) and the engine that runs them.
//
// A kind is a value of type Kind: its name in a spec, its effect on the world,
// its ports and artifacts, and New, which gives a step with its defaults. A
// step is a pointer to a struct whose fields are its parameters; the tags of
// the fields (see Param) say what a spec may write and what is part of the
// key. A step of effect Hold implements Holder, any other implements Runner.
//
// To write a new kind, copy the folder copyme and add one line to the list in
// all. The suite in stepstest holds every kind to this contract.
package steps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"time"

	"pipeline/internal/digest"
)

// An Effect says what running a step does to the world, and so when the
// engine may, must or must not repeat it.
type Effect int

const (
	Pure    Effect = iota // same inputs, same bytes: runs whenever its key has no record
	Observe               // looks at the world cheaply and changes nothing: looks again before something is measured
	Measure               // costs machine time: runs when its key has no complete record, or by force; old records stay
	Hold                  // holds a thing open while its dependents run, and always lets go of it
	Publish               // writes outside the store; the same key written twice is written once
)

func (e Effect) String() string {
	return [...]string{"pure", "observe", "measure", "hold", "publish"}[e]
}

// A Kind is a sort of step that a spec can name in "uses:".
type Kind struct {
	Name    string      // as written in the spec: cell_run
	Summary string      // one line for "pipeline steps ls"
	Doc     string      // the rest of "pipeline steps doc", plain Markdown
	Version int         // raised by a person when the same inputs should give other outputs (for Measure: the protocol number)
	Effect  Effect      // when it may be repeated
	Pool    string      // the named limit it runs under; "" is the pool of CPU slots. Measure and Hold must name one
	Ports   []Port      // the inputs that a spec may wire
	AnyPort bool        // it takes ports of any name beside these
	Outputs []Output    // the artifacts of a run
	Show    bool        // copy the artifacts of a node without a cell to the out/ folder, for people
	New     func() Step // a step with its defaults set
}

// A Port is a named input.
type Port struct {
	Name     string
	Doc      string
	Required bool
	Hold     bool     // only a Hold may be wired here
	Reads    []string // artifacts that a step wired here must be able to write
	Gaps     bool     // also takes what failed or was left out, as Inputs with a Gap; else the node is skipped with it
	Partial  bool     // also takes what is a part of an answer, as Inputs with a Gap; a Measure node that did is never reused
}

// Takes reports whether the port takes a gap: a part of an answer, or none.
func (p Port) Takes(partial bool) bool { return p.Gaps || p.Partial && partial }

// An Output is a named artifact.
type Output struct {
	Name     string // a file name: measurement.json
	Doc      string
	Optional bool // a run may leave it out
	Volatile bool // kept as evidence, but in no key of what is below: time stamps, addresses
}

// A Step is one configured step: a pointer to a struct of parameters that
// implements Runner, or Holder if its kind has the effect Hold. It may also
// implement Completer and Checker, a Publish step Landed, and an Observe step Fixed.
type Step any

// A Runner is a step that runs to its end.
type Runner interface {
	// Run reads env's inputs and writes its kind's outputs with env.Create.
	// What a Pure step writes depends on its key parameters and its inputs
	// and on nothing else: no clock, no path, no map order.
	Run(ctx context.Context, env *Env) error
}

// A Holder is a step that holds a thing open: a server, a drained partition.
type Holder interface {
	// Open makes the thing, so that Close can find it by env.Lease alone: the
	// engine has journaled the lease before it calls Open, and after a crash
	// calls Close with no more than the parameters and the lease. The Live it
	// returns is handed to the steps wired to this one.
	Open(ctx context.Context, env *Env) (Live, error)
	// Close lets go of whatever Open made under this lease, also after an
	// Open that failed half-way. Closing what is not there is a success.
	Close(ctx context.Context, lease string) error
	// Standing reports that the thing exists by itself, so that opening
	// touches nothing and may be done at any time (a URL someone else serves).
	Standing() bool
}

// Live is what a Hold offers while it is open, for instance url. It is in no
// key and no record.
type Live map[string]string

// An Evidenced is a Step whose parameters may ask for an evidence bundle of
// each run that it is a part of.
type Evidenced interface {
	// Evidence returns the bundle that is asked for, nil if none is. It is in no key.
	Evidence() *Bundle
}

// A Bundle says what sort of evidence a run leaves, why, and where.
type Bundle struct {
	Family string // of experiments: inference-perf-bench
	Intent string // in one sentence
	Dir    string // the folder of all families, relative to where the program was called
}

// A Checker is a Step that can find faults in its parameters before anything
// runs. The error names the parameter: &ParamError{"osl", err}.
type Checker interface{ Check() error }

// A Completer is a Step some of whose defaults follow from its other
// parameters. Complete makes them explicit, before Check and before the key.
type Completer interface{ Complete() }

// A Fixed is a step of effect Observe that knows whether what it looks at can
// ever change: a file named by its content, a commit. If not, its record
// serves for as long as its key stays, and nobody looks again.
type Fixed interface{ Fixed() bool }

// A ParamError is a fault of one parameter.
type ParamError struct {
	Param string // its name in the spec; nested ones with dots: endpoint.url
	Err   error
}

func (e *ParamError) Error() string { return e.Param + ": " + e.Err.Error() }
func (e *ParamError) Unwrap() error { return e.Err }

// A Landed is a Publish step that can tell whether what its record says was
// published is still there. If it is not, the engine publishes again.
type Landed interface {
	Landed(ctx context.Context, env *Env) (bool, error)
}

// An Env is all of the world that a step sees.
type Env struct {
	Campaign Campaign                                  // which campaign and run this is; in no key
	In       map[string][]Input                        // by port, in canonical order of cells
	Create   func(name string) (io.WriteCloser, error) // one of the kind's Outputs; Close commits it
	Dir      string                                    // scratch, empty at the start, gone after the run
	Lease    string                                    // Hold only: the name under which Open makes the thing
	Log      *slog.Logger                              // goes to the node's log in the run folder
	Doubt    func(format string, a ...any)             // a warning that travels with the result
	Progress func(Progress)                            // for people who wait; may be called from any goroutine
	Secret   func(name string) (string, error)         // an environment variable by name; its value is scrubbed from logs
	Now      func() time.Time                          // the wall clock; a Pure step gets none and must not ask
	Record   func(argv []string) *Recording            // begins to record a command; see Command. May be nil
	Resolve  func(path string) string                  // a path of the spec (relative to the spec's folder) as a path of this machine
}

// Write writes one of the kind's outputs with fill.
func (e *Env) Write(name string, fill func(io.Writer) error) error {
	w, err := e.Create(name)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := fill(w); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), w.Close())
	}
	return w.Close()
}

// Put writes one of the kind's outputs whole.
func (e *Env) Put(name string, text []byte) error {
	return e.Write(name, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// A Campaign says on whose behalf a step runs.
type Campaign struct {
	Name    string            // campaign: in the spec
	Focus   string            // latency, throughput or mixed
	RunID   string            // of the run that executes the step
	Home    string            // the folder of store, runs and lake
	Spec    string            // the spec's path as the user gave it
	Labels  map[string]string // free text of the spec for the reports
	SpecSum digest.Digest     // of the spec's bytes, bases included
}

// An Input is what one upstream node brought to a port.
type Input struct {
	Step      string // id of the declaring step, for messages only
	Cell      []Coord
	Gap       string     // why there is nothing: "" if there is
	Doubts    []string   // that travel with it
	Artifacts []Artifact // by name
	Live      Live       // of a Hold
	Open      func(artifact string) (io.ReadCloser, error)
}

// Artifact returns the artifact of that name.
func (in *Input) Artifact(name string) (Artifact, bool) {
	i := slices.IndexFunc(in.Artifacts, func(a Artifact) bool { return a.Name == name })
	if i < 0 {
		return Artifact{}, false
	}
	return in.Artifacts[i], true
}

// ReadAll returns the bytes of the artifact of that name.
func (in *Input) ReadAll(name string) ([]byte, error) {
	r, err := in.Open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// ReadIf returns the bytes of the artifact of that name, nil if there is none.
func (in *Input) ReadIf(name string) ([]byte, error) {
	if _, ok := in.Artifact(name); !ok {
		return nil, nil
	}
	return in.ReadAll(name)
}

// An Artifact is one named output of a node.
type Artifact struct {
	Name     string        `json:"name"`
	Digest   digest.Digest `json:"digest"`
	Size     int64         `json:"size"`
	Volatile bool          `json:"volatile,omitempty"`
}

// A Coord is one coordinate of a cell. Value is the axis value as text, or
// the id of an axis value that is a map.
type Coord struct {
	Axis  string `json:"axis"`
	Value string `json:"value"`
}

// Progress is what a running step tells people who wait for it.
type Progress struct {
	Done, Total int    // of whatever Unit counts; Total 0 is unknown
	Unit        string // "requests"
	Text        string // "TTFT 41 ms, 812 tok/s"
	Phase       string // the part of the step that is going on; "" is the same as before
}

// Failed says that a step ran to its end and wrote its outputs, but that they
// are evidence of a failure, or of a part, and not an answer: they are kept
// and handed to ports that take gaps, and never reused.
//
// Return it, wrapped or not, from Run.
type Failed struct {
	Partial bool // some of the answer is there; the campaign is complete with gaps
	Final   bool // a retry would give the same
	Reason  string
}

func (e *Failed) Error() string { return e.Reason }

// ErrPermanent marks an error that a retry cannot mend (a bad argument, a
// refused parameter). Wrap it: fmt.Errorf("…: %w", steps.ErrPermanent).
var ErrPermanent = errors.New("a retry would not help")

// ErrUnreachable marks the error of an Observe step that saw nothing, because
// nobody answered. Only then may what was seen last serve in its place; what
// was seen and is wrong, or is a part, stands. Wrap it as ErrPermanent.
var ErrUnreachable = errors.New("nothing was seen")

// A Registry holds the kinds that a spec may use.
type Registry map[string]*Kind

var nameRE = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// NewRegistry panics on a kind that breaks the contract (no name, a repeated
// one, an untagged parameter, a Hold that does not implement Holder, …): those
// are faults of the program, not of its user.
func NewRegistry(kinds ...Kind) Registry {
	r := make(Registry, len(kinds))
	for _, k := range kinds {
		if r[k.Name] != nil {
			panic(fmt.Sprintf("steps: kind %q is listed twice", k.Name))
		}
		if err := k.check(); err != nil {
			panic(fmt.Sprintf("steps: kind %q: %v", k.Name, err))
		}
		r[k.Name] = &k
	}
	return r
}

// Names returns the names of all kinds, sorted.
func (r Registry) Names() []string {
	names := make([]string, 0, len(r))
	for n := range r {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (k *Kind) check() error {
	switch {
	case !nameRE.MatchString(k.Name):
		return errors.New("its name is not of the form a_b")
	case k.New == nil:
		return errors.New("New is nil")
	case k.Version < 1:
		return errors.New("its version is below 1")
	case k.Summary == "":
		return errors.New("it has no summary")
	case k.Pool == "" && (k.Effect == Measure || k.Effect == Hold):
		return errors.New("a kind of this effect must name a pool")
	}
	s := k.New()
	if _, ok := s.(Holder); ok != (k.Effect == Hold) {
		return errors.New("Holder is implemented by Hold kinds, all of them and only them")
	}
	if _, ok := s.(Runner); ok == (k.Effect == Hold) {
		return errors.New("Runner is implemented by all kinds but Hold")
	}
	for _, o := range k.Outputs {
		if o.Name == "" || k.Effect == Hold {
			return errors.New("an output without a name, or of a Hold")
		}
	}
	_, err := ParamsOf(s)
	return err
}

// Port returns the port of that name, if a spec may wire it.
func (k *Kind) Port(name string) (Port, bool) {
	i := slices.IndexFunc(k.Ports, func(p Port) bool { return p.Name == name })
	switch {
	case i >= 0:
		return k.Ports[i], true
	case k.AnyPort && nameRE.MatchString(name):
		return Port{Name: name}, true
	}
	return Port{}, false
}

// MarshalJSON prints what a machine may want to know of a kind.
func (k *Kind) MarshalJSON() ([]byte, error) {
	params, err := ParamsOf(k.New())
	if err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		Name, Summary, Doc, Effect, Pool string
		Version                          int
		Ports                            []Port
		Outputs                          []Output
		Params                           []Param
	}{k.Name, k.Summary, k.Doc, k.Effect.String(), k.Pool, k.Version, k.Ports, k.Outputs, params})
}
