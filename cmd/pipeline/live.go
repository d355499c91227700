package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"pipeline/engine"
	"pipeline/pipelines"
	"pipeline/steps"
)

// A live view redraws a block at the foot of the terminal: a bar a step, and
// what is running. What must not scroll away is printed above it once.
type live struct {
	mu    sync.Mutex
	out   *os.File
	t     *tally
	drawn int // lines of the block now on the screen
	stop  chan struct{}
	done  sync.WaitGroup
}

const (
	frame       = 100 * time.Millisecond
	barWidth    = 28
	runningMost = 4 // running nodes that are shown
)

func newLive(out *os.File, t *tally) *live {
	l := &live{out: out, t: t, stop: make(chan struct{})}
	l.done.Go(l.loop)
	return l
}

func (l *live) loop() {
	tick := time.NewTicker(frame)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case now := <-tick.C:
			l.mu.Lock()
			l.draw(now, nil)
			l.mu.Unlock()
		}
	}
}

func (l *live) event(e engine.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t.add(e)
	if above := l.above(e); above != "" {
		l.draw(time.Now(), []string{above})
	}
}

// above is what of an event stays on the screen.
func (l *live) above(e engine.Event) string {
	switch {
	case e.Kind == engine.RunStarted:
		return "run " + e.Text
	case e.Kind == engine.Retrying:
		return "\x1b[33mretry\x1b[0m    " + e.Name + "  in " + short(e.Took) + "  " + firstLine(e.Text)
	case e.Kind == engine.Stopping:
		return "\x1b[33mstopping\x1b[0m " + e.Text
	case e.Kind != engine.NodeState:
		return ""
	case e.State == engine.Failed:
		return "\x1b[31mfailed\x1b[0m   " + e.Name + "  " + firstLine(e.Text)
	case e.State == engine.Partial:
		return "\x1b[33mpartial\x1b[0m  " + e.Name + "  " + firstLine(e.Text)
	}
	return ""
}

// draw replaces the block, with lines that stay put above it.
func (l *live) draw(now time.Time, above []string) {
	width, _, err := term.GetSize(int(l.out.Fd()))
	if err != nil || width < 20 {
		width = 80
	}
	block := l.block(now)
	var b bytes.Buffer
	if l.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", l.drawn)
	}
	b.WriteString("\r\x1b[J")
	for _, line := range above {
		b.WriteString(line + "\n")
	}
	for _, line := range block {
		b.WriteString(clip(line, width-1) + "\x1b[0m\n")
	}
	l.drawn = len(block)
	l.out.Write(b.Bytes())
}

func (l *live) block(now time.Time) []string {
	wide := 0
	for i := range l.t.plan.Steps {
		wide = max(wide, len(l.t.plan.Steps[i].ID))
	}
	var lines []string
	for i := range l.t.plan.Steps {
		lines = append(lines, l.stepLine(i, wide, now))
		shown := 0
		for _, id := range l.t.running {
			node := &l.t.plan.Nodes[id]
			if node.Step != i || node.Kind.Effect == steps.Hold {
				continue
			}
			if shown++; shown > runningMost {
				continue
			}
			lines = append(lines, l.runningLine(id, wide, now))
		}
	}
	return lines
}

func (l *live) runningLine(id pipelines.NodeID, wide int, now time.Time) string {
	name := l.t.plan.Nodes[id].Name
	if _, cell, ok := strings.Cut(name, "["); ok {
		name = strings.TrimSuffix(cell, "]")
	}
	return fmt.Sprintf("%*s  \x1b[2m%s\x1b[0m  %s  %s", wide, "", name, short(now.Sub(l.t.since[id])), l.t.doing(id))
}

func (l *live) stepLine(i, wide int, now time.Time) string {
	step, s := &l.t.plan.Steps[i], &l.t.steps[i]
	head := fmt.Sprintf("%-*s  ", wide, step.ID)
	if step.Kind.Effect == steps.Hold {
		return head + l.holdText(i)
	}
	line := head + bar(s) + fmt.Sprintf(" %d/%d", s.settled(), s.total)
	for _, c := range []struct {
		n    int
		word string
	}{{s.done, "done"}, {s.reused, "reused"}, {s.partial, "\x1b[33mpartial\x1b[0m"}, {s.failed, "\x1b[31mfailed\x1b[0m"}, {s.skipped, "skipped"}} {
		if c.n > 0 {
			line += fmt.Sprintf("  %d %s", c.n, c.word)
		}
	}
	if eta := l.t.eta(i, now); eta > 0 && s.settled() < s.total {
		line += "  ETA " + short(eta)
	}
	return line
}

func (l *live) holdText(step int) string {
	var open []string
	for _, id := range l.t.plan.Steps[step].Nodes {
		if l.t.state[id] == engine.Running {
			open = append(open, strings.TrimPrefix(l.t.plan.Nodes[id].Name, l.t.plan.Steps[step].ID))
		}
	}
	if len(open) == 0 {
		return "\x1b[2mclosed\x1b[0m"
	}
	return "open " + strings.Join(open, " ")
}

// bar draws what ran, what was reused and what went wrong in proportion.
func bar(s *stepTally) string {
	if s.total == 0 {
		return strings.Repeat("░", barWidth)
	}
	upTo := func(n int) int { return n * barWidth / s.total }
	good, reused, bad := s.done, s.done+s.reused, s.settled()
	return "\x1b[32m" + strings.Repeat("█", upTo(good)) +
		"\x1b[36m" + strings.Repeat("█", upTo(reused)-upTo(good)) +
		"\x1b[31m" + strings.Repeat("█", upTo(bad)-upTo(reused)) +
		"\x1b[0m\x1b[2m" + strings.Repeat("░", barWidth-upTo(bad)) + "\x1b[0m"
}

// clip cuts a line to a number of columns, leaving colour codes whole.
func clip(line string, width int) string {
	var b strings.Builder
	col := 0
	for i := 0; i < len(line); {
		if line[i] == '\x1b' {
			end := strings.IndexByte(line[i:], 'm')
			if end < 0 {
				break
			}
			b.WriteString(line[i : i+end+1])
			i += end + 1
			continue
		}
		_, size := utf8.DecodeRuneInString(line[i:])
		if col++; col > width {
			break
		}
		b.WriteString(line[i : i+size])
		i += size
	}
	return b.String()
}

func (l *live) close() {
	close(l.stop)
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.draw(time.Now(), nil)
}
