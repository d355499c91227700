package cellrun

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"pipeline/internal/endpoint"
	"pipeline/internal/prom"
	"pipeline/steps"
)

func TestWatchLimits(t *testing.T) {
	second := time.Second
	for _, c := range []struct {
		name  string
		set   func(w *watch)
		after time.Duration // since something moved
		late  bool
	}{
		{"below the limit", func(*watch) {}, 9 * second, false},
		{"no counts from the server", func(*watch) {}, 12 * second, false},
		{"no counts, and more", func(*watch) {}, 16 * second, true},
		{"the server's counts stand still", func(w *watch) { w.scraped(prom.Pulse{Known: true, Tokens: 7}) }, 12 * second, true},
		{"a phase of its own limit", func(w *watch) { w.allow(30 * second) }, 20 * second, false},
		{"beyond that limit", func(w *watch) { w.allow(30 * second) }, 31 * second, true},
		{"that phase is over", func(w *watch) { w.allow(30 * second); w.allow(0) }, 20 * second, true},
	} {
		w, _ := newWatch(context.Background(), 10*second)
		w.blind = 5 * second
		w.moved()
		c.set(w)
		if err := w.late(w.last.Add(c.after)); (err != nil) != c.late {
			t.Errorf("%s: %v", c.name, err)
		}
		w.end()
	}
}

func TestWatchSeesMovement(t *testing.T) {
	w, _ := newWatch(context.Background(), time.Hour)
	defer w.end()
	begin := time.Now().Add(-time.Minute)
	moves := func(what string, want bool, do func()) {
		w.last = begin
		if do(); w.last.After(begin) != want {
			t.Errorf("%s: moved %v, want %v", what, !want, want)
		}
	}
	moves("a request ended", true, func() { w.ended(3) })
	moves("as many have ended as before", false, func() { w.ended(3) })
	moves("the first look", true, func() { w.scraped(prom.Pulse{Known: true, Tokens: 5}) })
	moves("more tokens", true, func() { w.scraped(prom.Pulse{Known: true, Tokens: 6, Waiting: 4}) })
	moves("a longer queue alone", false, func() { w.scraped(prom.Pulse{Known: true, Tokens: 6, Waiting: 9}) })
	if got := w.waitingNow(); got != 9 {
		t.Errorf("%d waiting, want 9", got)
	}
}

// A server that takes requests and answers none is left, with what it had
// answered before.
func TestStalledCellIsCut(t *testing.T) {
	b := newBench(t, newSim(t, simConfig()))
	hang := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/completions") {
			_, _ = io.Copy(io.Discard, r.Body) // else the end of the client goes unseen
			<-r.Context().Done()
			return
		}
		http.NotFound(w, r)
	})
	first := &switchAfter{Handler: b.handler.Load().(handler).Handler, at: 20}
	first.to = func() { b.handler.Store(handler{hang}) }
	b.handler.Store(handler{first})
	b.step.StallTimeout, b.step.ReadyTimeout = steps.Duration(200*time.Millisecond), 0
	b.setup(t, endpoint.Access{}, nil)
	m, err := b.run(t)
	var failed *steps.Failed
	if !errors.As(err, &failed) || !failed.Partial || failed.Final || !strings.HasPrefix(failed.Reason, "stalled: no request ended and no token came") {
		t.Fatalf("error %v (%+v)", err, failed)
	}
	if m.Summary.Requests == 0 || m.Summary.Requests >= 40 || b.written[requestsFile] == nil {
		t.Errorf("summary %+v", m.Summary)
	}
}
