package loadgen

import (
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"pipeline/lake/perf"
)

// A clock gives offsets from one instant, on the monotonic clock, in ns.
type clock struct{ start time.Time }

func (c clock) now() int64 { return int64(time.Since(c.start)) }

// sleepUntil waits for an offset; it is false if ctx ended first.
func (c clock) sleepUntil(ctx context.Context, offset int64) bool {
	if wait := time.Duration(offset-c.now()) - exactWait; wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return false
		}
	}
	if rest := time.Duration(offset - c.now()); rest > 0 {
		pause(rest)
	}
	return ctx.Err() == nil
}

// marks are the times of one request on its connection.
type marks struct {
	sentNS  atomic.Int64 // before its first Write
	wroteNS atomic.Int64 // after its latest Write
	readNS  atomic.Int64 // after the latest Read that gave bytes
	reads   atomic.Int64 // how many Reads gave bytes
}

func (m *marks) clear() {
	m.sentNS.Store(perf.Never)
	m.wroteNS.Store(perf.Never)
	m.readNS.Store(perf.Never)
	m.reads.Store(0)
}

// A conn is a connection that reads the clock where the bytes are: right after
// a Read, right before and after a Write. Under TLS it is the connection below,
// so that one read of the network is one time. The times go to the marks of
// the request that uses the connection: a connection may be with its next
// request before the one before has looked at its times.
type conn struct {
	net.Conn
	clock      clock
	dialler    *dialler
	predialled bool
	dialledNS  int64
	closed     atomic.Bool
	marks      atomic.Pointer[marks] // nil before the first request
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if m := c.marks.Load(); n > 0 && m != nil {
		m.readNS.Store(c.clock.now())
		m.reads.Add(1)
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	m := c.marks.Load()
	if m != nil && m.sentNS.Load() == perf.Never {
		m.sentNS.Store(c.clock.now())
	}
	n, err := c.Conn.Write(b)
	if m != nil && err == nil {
		m.wroteNS.Store(c.clock.now())
	}
	return n, err
}

func (c *conn) Close() error {
	if !c.closed.Swap(true) {
		c.dialler.open.Add(-1)
	}
	return c.Conn.Close()
}

// stamped returns the conn below what the transport hands out.
func stamped(c net.Conn) *conn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	s, _ := c.(*conn)
	return s
}

// A dialler opens the connections of a run, some of them before they are needed.
type dialler struct {
	clock clock
	net   net.Dialer
	tls   *tls.Config // nil for http
	open  atomic.Int64

	mu    sync.Mutex
	ready []net.Conn // opened before they were needed
}

// keepReady is how long a connection opened in advance may wait unused: some
// servers close one that says nothing for a few seconds.
const keepReady = 3 * time.Second

// dialTimeout bounds one connection, TLS included.
const dialTimeout = 30 * time.Second

// dial gives the transport a connection, from the ready ones if it can.
func (d *dialler) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	for {
		d.mu.Lock()
		n := len(d.ready)
		if n == 0 {
			d.mu.Unlock()
			return d.connect(ctx, network, addr)
		}
		c := d.ready[n-1]
		d.ready = d.ready[:n-1]
		d.mu.Unlock()
		if s := stamped(c); time.Duration(d.clock.now()-s.dialledNS) < keepReady {
			return c, nil
		}
		c.Close()
	}
}

func (d *dialler) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := d.net.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	d.open.Add(1)
	c := &conn{Conn: raw, clock: d.clock, dialler: d, dialledNS: d.clock.now()}
	if d.tls == nil {
		return c, nil
	}
	conf := d.tls.Clone()
	if conf.ServerName, _, err = net.SplitHostPort(addr); err != nil {
		c.Close()
		return nil, err
	}
	t := tls.Client(c, conf)
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("TLS with %s: %w", addr, err)
	}
	return t, nil
}

// predial opens connections until want are open, and returns how many it
// opened. Errors are left to the requests, which meet them too and record them.
func (d *dialler) predial(ctx context.Context, addr string, want int) int {
	missing := want - int(d.open.Load())
	if missing <= 0 {
		return 0
	}
	var opened atomic.Int64
	var wg sync.WaitGroup
	next := make(chan struct{})
	for range min(missing, 32) {
		wg.Go(func() {
			for range next {
				c, err := d.connect(ctx, "tcp", addr)
				if err != nil {
					continue
				}
				stamped(c).predialled = true
				opened.Add(1)
				d.mu.Lock()
				d.ready = append(d.ready, c)
				d.mu.Unlock()
			}
		})
	}
	for range missing {
		next <- struct{}{}
	}
	close(next)
	wg.Wait()
	return int(opened.Load())
}

// close closes what was opened and never used.
func (d *dialler) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.ready {
		c.Close()
	}
	d.ready = nil
}

// readBuffer holds what one read of a connection may give. aiohttp's 64 KB with
// back-pressure cost vllm bench a factor of 10 at long contexts; a read of ours
// never waits for the reader.
const readBuffer = 64 << 10

// transport returns the one transport of a run: HTTP/1.1 (over HTTP/2 all
// streams share one connection and wait for each other), no limit on
// connections, none closed for idleness, no compression, no proxy.
func (d *dialler) transport() *http.Transport {
	return &http.Transport{
		DialContext:         d.dial,
		DialTLSContext:      d.dial,
		MaxIdleConnsPerHost: math.MaxInt32,
		DisableCompression:  true,
		ReadBufferSize:      readBuffer,
		Protocols:           onlyHTTP1(),
	}
}

func onlyHTTP1() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	return p
}
