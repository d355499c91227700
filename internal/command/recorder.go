package command

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"pipeline/internal/redact"
)

// mostPrinted bounds what is kept of each stream of a command.
const mostPrinted = 64 << 20

// A Recorder takes down commands in a folder. That it can't is no reason for
// what runs them to fail: Settle says it.
type Recorder struct {
	dir string
	now func() time.Time

	mu   sync.Mutex
	next int // number of the next command
	open sync.WaitGroup
	err  error
}

// NewRecorder returns a Recorder in dir, which it makes when it is needed. It
// numbers its commands from first.
func NewRecorder(dir string, now func() time.Time, first int) *Recorder {
	return &Recorder{dir: dir, now: now, next: first}
}

// A Recorded command is under way.
type Recorded struct {
	Stdout, Stderr io.Writer // take what it prints, and never fail

	c     *Recorder
	base  string // path of its files, without their endings
	end   End
	clean func(string) string
	out   [2]*printed
	once  sync.Once
}

// Begin takes down a command line, which a node runs, "" for none. clean takes
// secrets out of a text, beyond what looks like one.
func (c *Recorder) Begin(node string, argv []string, clean func(string) string) *Recorded {
	hide := func(text string) string { return redact.Text(clean(text)) }
	shown := redact.Args(argv)
	for i := range shown {
		shown[i] = hide(shown[i])
	}
	c.mu.Lock()
	n := c.next
	c.next++
	c.mu.Unlock()
	what := node
	if what == "" {
		what = filepath.Base(argv[0])
	}
	base := filepath.Join(c.dir, name(n, what))
	r := &Recorded{c: c, base: base, clean: hide, end: End{Node: node, Args: shown, Began: c.now().UTC()}}
	if err := os.MkdirAll(c.dir, 0o777); err != nil {
		c.broke(err)
	}
	c.keep(base+Line, []byte(Quote(shown)+"\n"))
	for i, ending := range []string{Stdout, Stderr} {
		r.out[i] = c.print(base+ending, hide)
	}
	r.Stdout, r.Stderr = r.out[0], r.out[1]
	c.open.Add(1)
	return r
}

// End takes down how the command ended: its exit code, -1 if it has none, and
// what else is to be said. Only the first call counts.
func (r *Recorded) End(code int, err error) {
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
		r.c.keep(r.base+Exit, r.end.Encode())
	})
}

func (c *Recorder) keep(path string, text []byte) {
	if err := os.WriteFile(path, text, 0o666); err != nil {
		c.broke(err)
	}
}

func (c *Recorder) broke(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = fmt.Errorf("not all commands are kept: %w", err)
	}
}

// Settle waits a moment for commands that are just ending, and returns what
// went wrong with keeping them.
func (c *Recorder) Settle(wait time.Duration) error {
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
	c    *Recorder
	f    *os.File
	to   *redact.Writer
	left int64 // bytes that may yet be kept
	cut  int64 // bytes that were not
}

func (c *Recorder) print(path string, clean func(string) string) *printed {
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
