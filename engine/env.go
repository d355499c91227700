package engine

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"pipeline/engine/journal"
	"pipeline/engine/store"
	"pipeline/pipelines"
	"pipeline/steps"
)

// env is all of the world that the step sees.
func (t *try) env() *steps.Env {
	env := &steps.Env{
		Campaign: steps.Campaign{Name: t.plan.Name, Focus: t.plan.Focus, RunID: t.runID, Home: t.e.Store.Home(),
			Spec: t.plan.File, Labels: t.plan.Labels, SpecSum: t.plan.SpecSum},
		In:       t.in,
		Create:   t.create,
		Dir:      t.dir,
		Log:      t.log.logger(),
		Doubt:    t.doubt,
		Progress: t.progress,
		Secret:   t.secret,
		Now:      t.e.Now,
		Record:   t.recording,
		Resolve:  func(path string) string { return resolve(t.plan.Dir, path) },
	}
	if t.n.Kind.Effect == steps.Pure {
		env.Now = nil
	}
	return env
}

func (t *try) doubt(format string, a ...any) {
	text := t.scrub.text(fmt.Sprintf(format, a...))
	t.mu.Lock()
	known := slices.Contains(t.doubts, text)
	if !known {
		t.doubts = append(t.doubts, text)
	}
	t.mu.Unlock()
	if known {
		return
	}
	t.log.logger().Warn("doubt", "text", text)
	select {
	case t.msgs <- message{id: t.n.ID, doubt: text}:
	case <-t.over:
	}
}

// progress never makes a step wait: what people cannot see in time is dropped.
// A phase is not: the journal keeps it.
func (t *try) progress(p steps.Progress) {
	p.Text = t.scrub.text(p.Text)
	t.enter(p.Phase)
	select {
	case t.msgs <- message{id: t.n.ID, progress: &p}:
	default:
	}
}

// enter tells that the node has come to a phase, if the spec names it.
func (t *try) enter(name string) {
	i := slices.IndexFunc(t.phases(), func(p pipelines.Phase) bool { return p.Name == name })
	if i < 0 {
		return
	}
	t.mu.Lock()
	same := t.phase == name || t.ended
	t.phase = name
	t.mu.Unlock()
	if same {
		return
	}
	select {
	case t.msgs <- message{id: t.n.ID, phase: t.phases()[i].String()}:
	case <-t.over:
	}
}

// begin enters the phase of a step that is one as a whole.
func (t *try) begin() {
	if phases := t.phases(); len(phases) == 1 {
		t.enter(phases[0].Name)
	}
}

func (t *try) phases() []pipelines.Phase {
	if t.n.Step < 0 || t.n.Step >= len(t.plan.Steps) {
		return nil
	}
	return t.plan.Steps[t.n.Step].Phases
}

func (t *try) secret(name string) (string, error) {
	if t.e.Secret == nil {
		return "", fmt.Errorf("no secret %q: there are none here", name)
	}
	v, err := t.e.Secret(name)
	if err != nil {
		return "", err
	}
	t.scrub.add(v)
	return v, nil
}

// An output is an artifact that is being written, or has been.
type output struct {
	t    *try
	spec steps.Output
	w    *store.Writer
	art  *steps.Artifact // once it is committed
}

func (t *try) create(name string) (io.WriteCloser, error) {
	i := slices.IndexFunc(t.n.Kind.Outputs, func(o steps.Output) bool { return o.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("create %s: the kind %s has no such output", name, t.n.Kind.Name)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.ended:
		return nil, fmt.Errorf("create %s: the step has ended", name)
	case t.outputs[name] != nil:
		return nil, fmt.Errorf("create %s: it was created before", name)
	}
	w, err := t.e.Store.Create()
	if err != nil {
		t.storeErr = errors.Join(t.storeErr, err)
		return nil, err
	}
	o := &output{t: t, spec: t.n.Kind.Outputs[i], w: w}
	t.outputs[name] = o
	return o, nil
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err != nil {
		o.t.brokeStore(err)
	}
	return n, err
}

// Close commits the artifact. Closing twice is once.
func (o *output) Close() error {
	o.t.mu.Lock()
	over := o.art != nil || o.t.ended
	o.t.mu.Unlock()
	if over {
		return nil
	}
	d, size, err := o.w.Commit()
	if err != nil {
		o.t.brokeStore(err)
		return err
	}
	o.t.mu.Lock()
	defer o.t.mu.Unlock()
	o.art = &steps.Artifact{Name: o.spec.Name, Digest: d, Size: size, Volatile: o.spec.Volatile}
	return nil
}

func (t *try) brokeStore(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// What a step that was left behind still writes has nowhere to go: that
	// is no fault of the store.
	if t.storeErr == nil && !t.ended {
		t.storeErr = err
	}
}

// takeOutputs returns what the step wrote, in the order of its kind's outputs,
// and what is wrong with it.
func (t *try) takeOutputs() ([]steps.Artifact, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	var arts []steps.Artifact
	var errs []error
	for _, spec := range t.n.Kind.Outputs {
		switch o := t.outputs[spec.Name]; {
		case o == nil && !spec.Optional:
			errs = append(errs, fmt.Errorf("it did not write %s: %w", spec.Name, steps.ErrPermanent))
		case o == nil:
		case o.art == nil:
			o.w.Discard()
			errs = append(errs, fmt.Errorf("it did not close %s: %w", spec.Name, steps.ErrPermanent))
		default:
			arts = append(arts, *o.art)
		}
	}
	return arts, errors.Join(errs...)
}

// inputs makes what the step reads. It is called by the loop, which owns what
// the Holds offer.
func (r *run) inputs(t *try) map[string][]steps.Input {
	in := make(map[string][]steps.Input)
	for _, f := range t.feeds {
		up := &r.plan.Nodes[f.edge.From]
		input := steps.Input{Step: stepID(r.plan, up), Cell: up.Cell, Gap: f.given.gapText(), Doubts: f.given.doubts,
			Artifacts: f.given.artifacts, Open: t.opener(up.Name, f.given.artifacts)}
		if h := r.nodes[f.edge.From].hold; h != nil {
			input.Live = h.live
		}
		in[f.edge.Port] = append(in[f.edge.Port], input)
	}
	return in
}

func stepID(plan *pipelines.Plan, n *pipelines.Node) string {
	if n.Step >= 0 && n.Step < len(plan.Steps) {
		return plan.Steps[n.Step].ID
	}
	id, _, _ := strings.Cut(n.Name, "[")
	return id
}

func (t *try) opener(from string, arts []steps.Artifact) func(string) (io.ReadCloser, error) {
	return func(name string) (io.ReadCloser, error) {
		i := slices.IndexFunc(arts, func(a steps.Artifact) bool { return a.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("%s gave no %s", from, name)
		}
		rc, err := t.e.Store.Open(arts[i].Digest)
		if err != nil {
			err = fmt.Errorf("read %s of %s: %w", name, from, err)
			t.lose(err)
			return nil, err
		}
		return rc, nil
	}
}

func (t *try) lose(err error) {
	var blob *store.BlobError
	if !errors.As(err, &blob) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lost = err
}

// A nodeLog is the file that a node's messages go to. It is made with the
// first of them.
type nodeLog struct {
	path  string
	scrub *scrubber
	slog  *slog.Logger

	mu     sync.Mutex
	f      *os.File
	closed bool
}

func newNodeLog(runDir, node string, scrub *scrubber) *nodeLog {
	l := &nodeLog{path: filepath.Join(runDir, journal.LogPath(node)), scrub: scrub}
	l.slog = slog.New(slog.NewTextHandler(l, nil))
	return l
}

func (l *nodeLog) logger() *slog.Logger { return l.slog }

// Write implements io.Writer for the log's handler.
func (l *nodeLog) Write(p []byte) (int, error) {
	text := l.scrub.text(string(p))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return len(p), nil
	}
	if l.f == nil {
		f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
		if err != nil {
			return 0, err
		}
		l.f = f
	}
	_, err := l.f.WriteString(text)
	return len(p), err
}

func (l *nodeLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.f != nil {
		l.f.Close()
	}
}
