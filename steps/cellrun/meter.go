package cellrun

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pipeline/internal/endpoint"
	"pipeline/internal/prom"
	"pipeline/lake/perf"
)

// idleWait is how long the server's counters may take to settle: a request is
// counted a little after its last token was sent.
const idleWait = 3 * time.Second

// A meter reads the server's metrics before, during and after the load.
type meter struct {
	client   *endpoint.Client
	interval time.Duration
	watch    *watch             // is told each sample
	enter    func(phase string) // is told where the load is
	run      *prom.Run          // nil: there is nothing to read
	cancel   context.CancelFunc // ends the sampling
	done     chan struct{}      // closed when it has ended
	trim     bool               // the load is a part of what is between begin and end
	lost     int                // scrapes that failed during the load

	server *perf.Server // after end
	doubts []string
}

func newMeter(c *endpoint.Client, interval time.Duration, w *watch, enter func(string)) *meter {
	return &meter{client: c, interval: interval, watch: w, enter: enter}
}

func (m *meter) doubt(format string, a ...any) {
	m.doubts = append(m.doubts, fmt.Sprintf(format, a...))
}

// begin reads the counters once nothing runs any more, and starts sampling.
func (m *meter) begin(ctx context.Context) {
	defer m.enter(phaseMonitor)
	before, running, err := m.settled(ctx)
	switch {
	case errors.Is(err, endpoint.ErrNoMetrics):
		m.doubt("no_metrics: %v; the server's own counts are not known", err)
		return
	case err != nil:
		m.doubt("no_metrics: before the load: %v", err)
		return
	case running > 0:
		m.doubt("foreign_traffic: the server was working on %.0f requests before the load", running)
	}
	m.run = prom.Begin(before)
	m.done = make(chan struct{})
	ctx, m.cancel = context.WithCancel(ctx)
	go m.sample(ctx)
}

// firstLook is when the first sample is taken; from there the time between two
// doubles up to the interval, so that a short load is seen as well.
const firstLook = 25 * time.Millisecond

func (m *meter) sample(ctx context.Context) {
	defer close(m.done)
	for wait := min(firstLook, m.interval); ; wait = min(2*wait, m.interval) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		s, err := m.client.Scrape(ctx)
		switch {
		case err == nil:
			m.run.Sample(s)
			m.watch.scraped(s.Pulse())
		case ctx.Err() == nil:
			m.lost++
		}
	}
}

// stop ends the sampling; it may be called again.
func (m *meter) stop() {
	if m.cancel != nil {
		m.cancel()
		<-m.done
	}
}

// end stops sampling and reads the counters once nothing runs any more.
func (m *meter) end(ctx context.Context) {
	m.enter(phaseAfter)
	if m.run == nil {
		return
	}
	m.stop()
	after, running, err := m.settled(ctx)
	if err != nil {
		m.doubt("no_metrics: after the load: %v", err)
		return
	}
	if running > 0 {
		m.doubt("foreign_traffic: the server was working on %.0f requests after the load", running)
	}
	if m.lost > 0 {
		m.doubt("scrapes_lost: %d looks at the server's metrics failed during the load", m.lost)
	}
	if m.trim {
		m.run.Trim()
	}
	m.server = m.run.End(after)
}

func (m *meter) restarted() bool { return m.run != nil && m.run.Restarted() }

// settled scrapes until the server is idle, and returns how many requests it
// still runs after idleWait. A server that does not tell is taken as idle.
func (m *meter) settled(ctx context.Context) (prom.Snapshot, float64, error) {
	limit := time.NewTimer(idleWait)
	defer limit.Stop()
	for {
		s, err := m.client.Scrape(ctx)
		if err != nil {
			return s, 0, err
		}
		pulse := s.Pulse()
		running := pulse.Running + pulse.Waiting
		if running == 0 {
			return s, 0, nil
		}
		select {
		case <-limit.C:
			return s, running, nil
		case <-ctx.Done():
			return s, running, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
