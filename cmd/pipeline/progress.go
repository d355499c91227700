package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"pipeline/engine"
	"pipeline/pipelines"
	"pipeline/steps"
)

// A view shows a run to people while it goes on. Events come from one
// goroutine, in order.
type view interface {
	event(engine.Event)
	close()
}

// newView picks a view: live bars on a terminal, else a line a finished node.
// It writes to stderr where stdout is for a machine.
func (a *app) newView(plan *pipelines.Plan, verbose bool) view {
	out := a.stdout
	if a.isJSON() {
		out = a.stderr
	}
	t := newTally(plan)
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("CI") == "" && os.Getenv("TERM") != "dumb" {
		return newLive(f, t)
	}
	return newPlain(out, t, verbose)
}

// A tally is how far a run has come, step by step.
type tally struct {
	plan    *pipelines.Plan
	began   time.Time
	state   []engine.State
	last    []steps.Progress // of each node
	phase   []string         // that each node is in, with its number
	doubts  []int            // of each node; what they say stands at the end, those of a fan-out together
	since   []time.Time      // a running node began
	steps   []stepTally
	running []pipelines.NodeID
}

type stepTally struct {
	total, reused, done, partial, failed, skipped, idle int
	took                                                time.Duration // of the nodes that ran here
}

func (s *stepTally) settled() int {
	return s.reused + s.done + s.partial + s.failed + s.skipped + s.idle
}

func newTally(plan *pipelines.Plan) *tally {
	n := len(plan.Nodes)
	t := &tally{plan: plan, state: make([]engine.State, n), last: make([]steps.Progress, n), phase: make([]string, n), doubts: make([]int, n), since: make([]time.Time, n),
		steps: make([]stepTally, len(plan.Steps))}
	for i := range plan.Steps {
		t.steps[i].total = len(plan.Steps[i].Nodes)
	}
	return t
}

func (t *tally) add(e engine.Event) {
	switch {
	case e.Kind == engine.RunStarted:
		t.began = e.Time
	case e.Node < 0:
	case e.Kind == engine.Progressed && e.Progress != nil:
		t.last[e.Node] = *e.Progress
	case e.Kind == engine.Phased:
		t.phase[e.Node] = e.Text
	case e.Kind == engine.Doubted:
		t.doubts[e.Node]++
	case e.Kind == engine.Retrying:
		t.doubts[e.Node] = 0
		t.stopRunning(e.Node)
	case e.Kind == engine.NodeState:
		t.set(e)
	}
}

func (t *tally) set(e engine.Event) {
	was := t.state[e.Node]
	t.state[e.Node] = e.State
	t.stopRunning(e.Node)
	if e.State == engine.Running {
		t.phase[e.Node] = ""
		t.since[e.Node] = e.Time
		t.running = append(t.running, e.Node)
	}
	s := &t.steps[t.plan.Nodes[e.Node].Step]
	// A run that met a corrupt blob goes through its plan again, and settles
	// again what it had settled.
	if n := s.count(was); n != nil {
		*n--
	}
	if n := s.count(e.State); n != nil {
		*n++
	}
	if e.State == engine.Done || e.State == engine.Partial {
		s.took += e.Took
	}
}

func (t *tally) stopRunning(id pipelines.NodeID) {
	t.running = slices.DeleteFunc(t.running, func(r pipelines.NodeID) bool { return r == id })
}

// count returns the counter of a settled state, nil for any other.
func (s *stepTally) count(state engine.State) *int {
	switch state {
	case engine.Hit:
		return &s.reused
	case engine.Done:
		return &s.done
	case engine.Partial:
		return &s.partial
	case engine.Failed:
		return &s.failed
	case engine.Skipped:
		return &s.skipped
	case engine.Idle:
		return &s.idle
	}
	return nil
}

// eta guesses how long the rest of a step takes, from the nodes of it that ran
// in this run. 0 is no guess.
func (t *tally) eta(step int, now time.Time) time.Duration {
	s := &t.steps[step]
	ran := s.done + s.partial
	if ran == 0 {
		return 0
	}
	mean := s.took / time.Duration(ran)
	left, active := time.Duration(s.total-s.settled())*mean, 0
	for _, id := range t.running {
		if t.plan.Nodes[id].Step == step {
			left -= min(mean, now.Sub(t.since[id]))
			active++
		}
	}
	return max(0, left) / time.Duration(max(1, active))
}

// doing describes a running node: "5/9 run, 24/32 requests, TTFT 41 ms".
func (t *tally) doing(id pipelines.NodeID) string {
	phase, far := cmp.Or(t.phase[id], t.last[id].Phase), t.far(id)
	if t.plan.Nodes[id].Kind.Effect == steps.Hold { // it is open, and its phase was to open it
		phase = ""
	}
	if phase == "" || far == "" {
		return phase + far
	}
	return phase + ", " + far
}

// far says how far a node has come: "32/32 requests, TTFT 41 ms, 812 tok/s".
func (t *tally) far(id pipelines.NodeID) string {
	p := t.last[id]
	var parts []string
	if p.Total > 0 {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%d/%d %s", p.Done, p.Total, p.Unit)))
	}
	if p.Text != "" {
		parts = append(parts, p.Text)
	}
	if n := t.doubts[id]; n == 1 {
		parts = append(parts, "1 doubt")
	} else if n > 1 {
		parts = append(parts, fmt.Sprintf("%d doubts", n))
	}
	return strings.Join(parts, ", ")
}

// A plain view prints a line for each node that ran, one for the reused nodes
// of a step together, and, so that it is never silent for long, what is
// running now and then.
type plain struct {
	mu      sync.Mutex
	out     io.Writer
	t       *tally
	verbose bool
	spoke   time.Time
	told    map[string]bool // phases; the nodes of a fan-out come to each of them
	stop    chan struct{}
	done    sync.WaitGroup
}

const silence = 15 * time.Second // after which a plain view says what is running

func newPlain(out io.Writer, t *tally, verbose bool) *plain {
	p := &plain{out: out, t: t, verbose: verbose, spoke: time.Now(), told: map[string]bool{}, stop: make(chan struct{})}
	p.done.Go(p.watch)
	return p
}

func (p *plain) watch() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case now := <-tick.C:
			p.mu.Lock()
			if now.Sub(p.spoke) >= silence {
				for _, id := range p.t.running {
					p.line("running", p.t.plan.Nodes[id].Name, short(now.Sub(p.t.since[id])), p.t.doing(id))
				}
			}
			p.mu.Unlock()
		}
	}
}

func (p *plain) line(word, name, took, text string) {
	p.spoke = time.Now()
	line := fmt.Sprintf("%-8s %s", word, name)
	if took != "" {
		line += "  " + took
	}
	if text != "" {
		line += "  " + text
	}
	fmt.Fprintln(p.out, line)
}

func (p *plain) event(e engine.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.t.add(e)
	switch e.Kind {
	case engine.RunStarted:
		p.line("run", e.Text, "", "")
	case engine.Retrying:
		p.line("retry", e.Name, "in "+short(e.Took), e.Text)
	case engine.Phased:
		if !p.told[e.Text] {
			p.told[e.Text] = true
			p.line("phase", e.Text, "", "")
		}
	case engine.Leased:
		p.line("open", e.Name, "", "")
	case engine.Released:
		p.line("closed", e.Name, "", "")
	case engine.Stopping:
		p.line("stopping", e.Text, "", "")
	case engine.NodeState:
		p.settle(e)
	}
}

func (p *plain) settle(e engine.Event) {
	if !e.State.Settled() {
		return
	}
	node := &p.t.plan.Nodes[e.Node]
	hold := node.Kind.Effect == steps.Hold
	switch {
	case e.State == engine.Hit && p.verbose:
		p.line("reused", e.Name, "", "")
	case e.State == engine.Done && !hold:
		p.line("done", e.Name, short(e.Took), p.t.far(e.Node))
	case e.State == engine.Partial || e.State == engine.Failed:
		p.line(e.State.String(), e.Name, short(e.Took), firstLine(e.Text))
	case e.State == engine.Skipped:
		p.line("skipped", e.Name, "", firstLine(e.Text))
	}
	if s := &p.t.steps[node.Step]; s.settled() == s.total && s.reused > 0 && !p.verbose && !hold {
		p.line("reused", p.t.plan.Steps[node.Step].ID, "", fmt.Sprintf("%d of %d", s.reused, s.total))
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

func (p *plain) close() {
	close(p.stop)
	p.done.Wait()
}
