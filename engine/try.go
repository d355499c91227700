package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"pipeline/engine/store"
	"pipeline/internal/command"
	"pipeline/pipelines"
	"pipeline/steps"
)

// A try runs a node once, in a goroutine of its own. It touches no state of
// the run; it sends messages.
type try struct {
	e        *Engine
	n        *pipelines.Node
	plan     *pipelines.Plan
	runID    string
	key      store.Key
	manifest []byte
	in       map[string][]steps.Input
	feeds    []feed
	number   int
	forced   string        // who asked for it although there may be a record
	known    string        // ID of the newest record that was no reason not to run, "" if none was
	landed   *store.Record // to be asked whether it is still there, nil if not
	dir      string        // scratch
	slots    [][]string    // locks that other processes respect
	ctx      context.Context
	waits    context.Context
	msgs     chan<- message
	over     <-chan struct{}

	letGo  context.CancelCauseFunc // Hold only: ends the context of Open
	waited bool                    // for a lock that another process had

	log      *nodeLog
	scrub    *scrubber
	commands *command.Recorder

	mu       sync.Mutex
	outputs  map[string]*output
	ended    bool     // outputs are taken in: Create is over
	doubts   []string //
	phase    string   // that it is in
	lost     error    // an input's blob could not be used
	storeErr error    // the store could not be written
}

// A result is what came of a try.
type result struct {
	rec       *store.Record // nil if nothing was recorded
	err       error         // of the step
	storeErr  error         // the store could not be written
	final     bool          // err says that a retry would give the same
	reused    bool          // rec was there already
	notLanded bool          // what was published before is no longer there
	lostInput bool          // err is about the blob of an input
	took      time.Duration
}

func (r *run) newTry(id pipelines.NodeID) *try {
	n, s := &r.plan.Nodes[id], &r.nodes[id]
	t := &try{e: r.e, n: n, plan: r.plan, runID: r.id, key: s.key, number: s.tries, ctx: r.steps, waits: r.waits,
		msgs: r.msgs, over: r.over, slots: r.lockNames(n), outputs: make(map[string]*output), scrub: &scrubber{}, commands: r.commands}
	t.dir = r.e.Store.Path("tmp", fmt.Sprintf("%s-%d-%d", r.id, id, s.tries))
	t.log = newNodeLog(r.e.Store.Path("runs", r.id), n.Name, t.scrub)
	t.feeds = r.fc.keys.feeds(n, r.give)
	if text, err := r.fc.keys.manifest(n, t.feeds); err == nil { // it had one a moment ago
		t.manifest = slices.Clone(text)
	}
	if s.reason == Forced {
		t.forced = orText(r.fc.sel.by, "selection")
	}
	if s.reason == NotLanded || n.Kind.Effect == steps.Observe {
		// It runs although it may have an answer. Anything else runs because it
		// had none when it was decided: one that it has now is another process's.
		if last := r.e.Store.Latest(s.key, func(*store.Record) bool { return true }); last != nil {
			t.known = last.ID
		}
	}
	if s.reason == None && s.rec != nil && s.hold == nil {
		t.landed = s.rec
	}
	t.in = r.inputs(t)
	return t
}

func orText(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// run tries the node and sends the result.
func (t *try) run() {
	res := t.result()
	t.log.close()
	t.msgs <- message{id: t.n.ID, result: res}
}

func (t *try) result() *result {
	locks, err := t.takeSlots()
	defer unlockAll(locks)
	if err != nil {
		return &result{err: err}
	}
	lock, err := t.lock("key-" + t.key.String())
	if err != nil {
		return t.notStarted(err)
	}
	defer lock.Unlock()
	if rec, err := t.answered(); rec != nil || err != nil {
		return &result{rec: rec, err: err, reused: rec != nil}
	}
	began := t.e.Now()
	start := time.Now()
	if _, err := t.e.Store.Put(t.manifest); err != nil {
		return &result{storeErr: err}
	}
	if err := t.prepare(); err != nil {
		return &result{storeErr: err}
	}
	defer os.RemoveAll(t.dir)
	t.begin()
	err = t.guard(t.limit, func(ctx context.Context) error {
		return t.n.Params.(steps.Runner).Run(ctx, t.env())
	})
	arts, outErr := t.takeOutputs()
	if err == nil {
		err = outErr
	}
	res := t.record(began, time.Since(start), arts, err)
	res.notLanded = t.landed != nil
	return res
}

// lock takes the first of the locks that is free. If it has to wait for
// another process, it says so.
func (t *try) lock(names ...string) (*store.Lock, error) {
	for _, name := range names {
		l, err := t.e.Store.TryLock(name)
		if !errors.Is(err, store.ErrLocked) {
			return l, err
		}
	}
	t.log.logger().Info("waits for another process", "lock", names[0])
	t.progress(steps.Progress{Text: "waits for another process that uses " + names[0]})
	t.waited = true
	l, _, err := t.e.Store.Lock(t.waits, names...)
	return l, err
}

func (t *try) notStarted(err error) *result {
	if t.waits.Err() != nil {
		return &result{err: fmt.Errorf("interrupted before it started: %w", err)}
	}
	return &result{storeErr: err}
}

// takeSlots waits for a slot of each pool that other processes respect too.
func (t *try) takeSlots() (locks []*store.Lock, err error) {
	for _, names := range t.slots {
		l, err := t.lock(names...)
		if err != nil {
			return locks, fmt.Errorf("wait for pool %s, which another process uses: %w", names[0], err)
		}
		locks = append(locks, l)
	}
	return locks, nil
}

// answered looks, now that no other process is finding the answer, whether one
// has found it since the node was decided, or, for what was published, whether
// it is still there.
func (t *try) answered() (*store.Record, error) {
	if t.forced != "" {
		return nil, nil
	}
	if t.landed != nil {
		var there bool
		err := t.guard(t.limit, func(ctx context.Context) (err error) {
			there, err = t.n.Params.(steps.Landed).Landed(ctx, t.env())
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("look whether it is still published: %w", err)
		}
		if there {
			return t.landed, nil
		}
		return nil, nil
	}
	if err := t.e.Store.Refresh(); err != nil {
		return nil, err
	}
	rec, why, _ := t.e.lookup(t.n, t.key, t.e.Now(), t.feeds)
	if rec != nil && why == None && rec.ID > t.known {
		return rec, nil
	}
	return nil, nil
}

func (t *try) prepare() error {
	if err := os.MkdirAll(t.dir, 0o777); err != nil {
		return fmt.Errorf("make scratch folder: %w", err)
	}
	return nil
}

// limit bounds ctx by the node's time-out.
func (t *try) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if t.n.Timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, t.n.Timeout, fmt.Errorf("it took longer than its time-out of %s", t.n.Timeout))
}

// guard calls f, turns a panic into an error, and gives up on an f that does
// not return when its context has ended.
func (t *try) guard(limit func(context.Context) (context.Context, context.CancelFunc), f func(context.Context) error) error {
	ctx, cancel := limit(t.ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				t.log.logger().Error("panic", "value", fmt.Sprint(p), "stack", string(debug.Stack()))
				done <- fmt.Errorf("panic: %v (the stack is in the node's log): %w", p, steps.ErrPermanent)
			}
		}()
		done <- f(ctx)
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		grace := orElse(t.e.Grace, 30*time.Second)
		select {
		case err = <-done:
		case <-time.After(grace):
			return fmt.Errorf("%w; it did not stop within %s and was left behind", t.cause(ctx), grace)
		}
	}
	if err != nil && ctx.Err() != nil {
		if cause := t.cause(ctx); !errors.Is(err, cause) {
			return fmt.Errorf("%w: %w", cause, err)
		}
	}
	return err
}

func (t *try) cause(ctx context.Context) error {
	if t.ctx.Err() != nil {
		return errInterrupted
	}
	return context.Cause(ctx)
}

// record keeps what came of the step, an answer or evidence.
func (t *try) record(began time.Time, took time.Duration, arts []steps.Artifact, err error) *result {
	res := &result{err: t.scrub.error(err), took: took}
	t.mu.Lock()
	lost, storeErr := t.lost, t.storeErr
	doubts := slices.Clone(t.doubts)
	t.mu.Unlock()
	switch {
	case storeErr != nil:
		return &result{storeErr: storeErr, took: took}
	case lost != nil:
		return &result{err: lost, lostInput: true, took: took}
	}
	rec := store.Record{Key: t.key, Kind: t.n.Kind.Name, Effect: t.n.Kind.Effect.String(), Node: t.n.Name,
		Campaign: t.plan.Name, Run: t.runID, Attempt: t.number, Status: store.Complete, Artifacts: arts, Doubts: doubts,
		Began: began, Took: took, Host: t.e.Host, Forced: t.forced}
	var failed *steps.Failed
	switch {
	case err == nil:
	case errors.As(err, &failed) && failed.Partial && !errors.Is(err, errInterrupted):
		rec.Status, rec.Reason = store.Partial, res.err.Error()
	default:
		rec.Status, rec.Reason = store.Failed, res.err.Error()
	}
	if err != nil {
		res.final = failed != nil && failed.Final
		t.log.logger().Error("failed", "error", res.err.Error())
	}
	kept, addErr := t.e.Store.Add(rec)
	if addErr != nil {
		return &result{err: res.err, storeErr: addErr, took: took}
	}
	res.rec = kept
	return res
}

// open opens a Hold, and closes it again if that fails half-way.
func (t *try) open(lease string) {
	start := time.Now()
	o := &opening{}
	o.err = t.openHold(lease, o)
	o.letGo = t.letGo
	if o.err != nil && o.touched {
		limit := orElse(t.e.CloseLimit, 2*time.Minute)
		o.closeErr = closeHolder(t.n.Params.(steps.Holder), lease, limit)
		t.letGo(nil)
		os.RemoveAll(t.dir) // what is left of it is collected as garbage later
	}
	o.err = t.scrub.error(o.err)
	o.took = time.Since(start)
	t.log.close()
	t.msgs <- message{id: t.n.ID, opened: o}
}

func (t *try) openHold(lease string, o *opening) (err error) {
	if o.locks, err = t.takeSlots(); err != nil {
		return err
	}
	if t.waited { // maybe for one that died: what it held must go first
		if o.doubts, err = t.e.Recover(t.waits); err != nil {
			return err
		}
	}
	if err := t.prepare(); err != nil {
		return err
	}
	env := t.env()
	env.Lease = lease
	o.touched = true
	return t.guard(t.openLimit, func(ctx context.Context) (err error) {
		o.live, err = t.n.Params.(steps.Holder).Open(ctx, env)
		return err
	})
}

// openLimit is limit, but the context lives on after Open has returned: what
// Open started may hang on it.
func (t *try) openLimit(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	t.letGo = cancel
	if t.n.Timeout <= 0 {
		return ctx, func() {}
	}
	timer := time.AfterFunc(t.n.Timeout, func() {
		cancel(fmt.Errorf("it took longer than its time-out of %s", t.n.Timeout))
	})
	return ctx, func() { timer.Stop() }
}

func isPermanent(err error) bool { return errors.Is(err, steps.ErrPermanent) }

// A scrubber takes secrets out of texts.
type scrubber struct {
	mu      sync.Mutex
	secrets []string
}

func (s *scrubber) add(secret string) {
	if secret == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets = append(s.secrets, secret)
}

func (s *scrubber) text(text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, secret := range s.secrets {
		text = strings.ReplaceAll(text, secret, "[secret]")
	}
	return text
}

// error returns err with a text that holds no secret.
func (s *scrubber) error(err error) error {
	if err == nil || s.text(err.Error()) == err.Error() {
		return err
	}
	return &scrubbed{s.text(err.Error()), err}
}

type scrubbed struct {
	text string
	err  error
}

func (e *scrubbed) Error() string        { return e.text }
func (e *scrubbed) Is(target error) bool { return errors.Is(e.err, target) }
