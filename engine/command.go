package engine

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"pipeline/engine/journal"
	"pipeline/internal/redact"
	"pipeline/steps"
)

// mostPrinted bounds what is kept of each stream of a command.
const mostPrinted = 64 << 20

// commands takes down what the steps of a run run, in the run's folder. That
// it can't is no reason for a step to fail: it is said at the end of the run.
type commands struct {
	dir string
	now func() time.Time

	mu   sync.Mutex
	n    int // begun so far
	open sync.WaitGroup
	err  error
}

// A recorded command is under way.
type recorded struct {
	c     *commands
	base  string // path of its files, without their endings
	end   journal.CommandEnd
	clean func(string) string
	out   [2]*printed
	once  sync.Once
}

func (c *commands) begin(node string, argv []string, scrub *scrubber) *steps.Recording {
	clean := func(text string) string { return redact.Text(scrub.text(text)) }
	shown := redact.Args(argv)
	for i := range shown {
		shown[i] = clean(shown[i])
	}
	c.mu.Lock()
	c.n++
	base := filepath.Join(c.dir, journal.CommandName(c.n, node))
	c.mu.Unlock()
	r := &recorded{c: c, base: base, clean: clean, end: journal.CommandEnd{Node: node, Args: shown, Began: c.now().UTC()}}
	if err := os.MkdirAll(c.dir, 0o777); err != nil {
		c.broke(err)
	}
	c.keep(base+journal.CommandLine, []byte(journal.Quote(shown)+"\n"))
	for i, ending := range []string{journal.CommandStdout, journal.CommandStderr} {
		r.out[i] = c.print(base+ending, clean)
	}
	c.open.Add(1)
	return &steps.Recording{Stdout: r.out[0], Stderr: r.out[1], End: r.ended}
}

func (r *recorded) ended(code int, err error) {
	r.once.Do(func() {
		defer r.c.open.Done()
		for _, p := range r.out {
			p.close()
		}
		r.end.Ended, r.end.Code = r.c.now().UTC(), code
		r.end.Seconds = r.end.Ended.Sub(r.end.Began).Seconds()
		if err != nil {
			r.end.Error = r.clean(err.Error())
		}
		r.c.keep(r.base+journal.CommandExit, r.end.Encode())
	})
}

func (c *commands) keep(path string, text []byte) {
	if err := os.WriteFile(path, text, 0o666); err != nil {
		c.broke(err)
	}
}

func (c *commands) broke(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = fmt.Errorf("the commands of this run are not all kept: %w", err)
	}
}

// settle waits a moment for commands that are just ending, and returns what
// went wrong with keeping them.
func (c *commands) settle(wait time.Duration) error {
	done := make(chan struct{})
	go func() { c.open.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(wait):
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// printed is a stream of a command on its way to a file. It never fails.
type printed struct {
	mu   sync.Mutex
	c    *commands
	f    *os.File
	to   *redact.Writer
	left int64 // bytes that may yet be kept
	cut  int64 // bytes that were not
}

func (c *commands) print(path string, clean func(string) string) *printed {
	p := &printed{c: c, left: mostPrinted}
	f, err := os.Create(path)
	if err != nil {
		c.broke(err)
		p.to = redact.NewWriter(io.Discard, clean)
		return p
	}
	p.f, p.to = f, redact.NewWriter(f, clean)
	return p
}

// Write implements io.Writer.
func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	take := min(int64(len(b)), p.left)
	p.left -= take
	p.cut += int64(len(b)) - take
	if _, err := p.to.Write(b[:take]); err != nil {
		p.c.broke(err)
	}
	return len(b), nil
}

func (p *printed) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.to.Flush()
	if p.f != nil {
		if p.cut > 0 {
			fmt.Fprintf(p.f, "\n[%d bytes more are not kept]\n", p.cut)
		}
		if cerr := p.f.Close(); err == nil {
			err = cerr
		}
		p.f = nil
		p.to = redact.NewWriter(io.Discard, func(s string) string { return s })
	}
	if err != nil {
		p.c.broke(err)
	}
}
