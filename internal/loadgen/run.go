package loadgen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pipeline/lake/perf"
)

// Run puts the load of c on its endpoint and returns what came back.
//
// An error means that there was no run to judge: the config or this machine
// cannot do it, or ctx ended (the result then holds what was measured so far).
// An endpoint that fails is no error here: its requests carry theirs.
func Run(ctx context.Context, c Config) (Result, error) {
	if err := c.check(); err != nil {
		return Result{}, err
	}
	if err := preflight(&c); err != nil {
		return Result{}, err
	}
	r, err := newRun(c)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	if c.Calibrate {
		if err := r.calibrate(ctx); err != nil {
			return Result{}, fmt.Errorf("calibrate: %w", err)
		}
	}
	r.clock.start = time.Now()
	r.dialler.clock = r.clock
	err = r.play(ctx)
	return r.result(), err
}

// A run is the state of one Run.
type run struct {
	conf      Config
	clock     clock
	dialler   *dialler
	transport *http.Transport
	prompts   *prompter
	extras    extras
	tokenizer bool
	addr      string // host:port
	single    bool   // every conversation is one request

	simulated   atomic.Bool
	inFlight    atomic.Int64
	events      atomic.Int64 // content events
	newConns    atomic.Int64
	reusedConns atomic.Int64
	predialled  int
	chunksKept  atomic.Int64
	quirks      quirks
	failures    atomic.Int64 // in a row

	mu       sync.Mutex
	requests []perf.Request
	latest   []float64 // TTFT of the latest requests, a ring
	ended    int       // of the part that runs
	failed   int
	sent     int // measured requests sent, for Index
	doubts   []string

	calibration calibration
	health      health
	digest      string
	cacheReset  string
}

// quirks count what servers do that is unusual and not an error.
type quirks struct {
	malformed     atomic.Int64 // events that hold no JSON object
	notStreamed   atomic.Int64 // answers in one piece
	noDone        atomic.Int64 // streams without [DONE]
	openAfterDone atomic.Int64 // connections not ended after [DONE]
	sentAgain     atomic.Int64 // requests repeated because the kept connection was dead
	chunksDropped atomic.Int64 // requests whose event times were not kept
}

func newRun(c Config) (*run, error) {
	u, err := url.Parse(c.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("base URL: %w", err)
	}
	r := &run{conf: c, clock: clock{time.Now()}}
	r.dialler = &dialler{clock: r.clock, net: net.Dialer{KeepAlive: 30 * time.Second}}
	port := "80"
	if u.Scheme == "https" {
		port = "443"
		if r.dialler.tls, err = c.tlsConfig(); err != nil {
			return nil, err
		}
	}
	r.addr = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
	r.transport = r.dialler.transport()
	r.prompts = newPrompter(&r.conf)
	r.single = r.prompts.single()
	if c.TLS.InsecureSkipVerify {
		r.doubt("tls_not_verified: the certificate of the endpoint was not checked")
	}
	return r, nil
}

func (r *run) close() {
	r.dialler.close()
	r.transport.CloseIdleConnections()
}

// play does the parts of a run in order.
func (r *run) play(ctx context.Context) error {
	if asked, ok := r.probe(ctx); !ok {
		if ctx.Err() != nil {
			return ctx.Err() // cut off by the caller: no outcome of the server
		}
		r.requests = asked
		r.doubt("endpoint_refused: the endpoint answered no probe; the run was not started")
		return nil
	}
	if err := r.preparePrompts(ctx); err != nil {
		return err
	}
	if r.conf.ResetPrefixCache {
		r.cacheReset = r.resetPrefixCache(ctx)
	}
	if err := r.warmup(ctx); err != nil {
		return err
	}
	if r.conf.BeforeMeasured != nil {
		if err := r.conf.BeforeMeasured(); err != nil {
			return fmt.Errorf("before the measured requests: %w", err)
		}
	}
	r.predialled = r.dialler.predial(ctx, r.addr, r.connsWanted())
	err := r.measure(ctx)
	if r.conf.AfterMeasured != nil {
		r.conf.AfterMeasured()
	}
	return err
}

// preparePrompts fits synthetic prompts to the endpoint's tokenizer, and names
// the set of prompts.
func (r *run) preparePrompts(ctx context.Context) error {
	stop := r.progress(Progress{Preparing: true})
	defer stop()
	tokens, limit := r.findTokenizer(ctx)
	w := &r.conf.Workload
	if limit > 0 && w.ISL+w.OSL > limit {
		return fmt.Errorf("isl %d + osl %d is more than the longest context of the endpoint, %d tokens: lower them or serve with a larger --max-model-len", w.ISL, w.OSL, limit)
	}
	if r.conf.Conversations == nil {
		switch {
		case tokens == nil:
			r.doubt("isl_by_words: the endpoint has no /tokenize; prompts have one word for each input token asked")
		default:
			if err := tokens.fit(ctx, r.prompts); err != nil {
				return err
			}
			r.tokenizer = true
		}
	}
	var repeated int
	if r.digest, repeated = r.prompts.digest(ctx); repeated > 0 {
		r.doubt("repeated_prompts: %d of %d conversations have the prompts of another; a prefix cache answers them",
			repeated, r.prompts.sessions(w.NumPrompts))
	}
	return ctx.Err()
}

// warmup plays the warm-up requests, always as a closed loop.
func (r *run) warmup(ctx context.Context) error {
	n := r.conf.Workload.Warmup
	if n == 0 {
		return nil
	}
	streams := cmp.Or(r.conf.Workload.Concurrency, warmupStreams)
	stop := r.progress(Progress{Warmup: true, Total: n})
	defer stop()
	return r.closed(ctx, part{warmup: true, requests: n}, min(n, streams), 0)
}

// warmupStreams is the concurrency of the warm-up of an open loop without a limit.
const warmupStreams = 16

// measure plays the measured requests and takes the health of the client over
// just that span.
func (r *run) measure(ctx context.Context) error {
	w := &r.conf.Workload
	stop := r.progress(Progress{Total: w.NumPrompts})
	defer stop()
	r.newConns.Store(0)
	r.reusedConns.Store(0)
	r.failures.Store(0)
	r.health = startHealth()
	defer func() { r.health.end() }()
	p := part{requests: w.NumPrompts}
	if r.conf.open() {
		return r.openLoop(ctx, p)
	}
	return r.closed(ctx, p, w.Concurrency, time.Duration(w.RampUpS*float64(time.Second)))
}

// connsWanted is how many connections the measured requests need at once, as
// far as that is known.
func (r *run) connsWanted() int {
	w := &r.conf.Workload
	if w.Concurrency > 0 {
		return min(w.Concurrency, w.NumPrompts)
	}
	return min(w.NumPrompts, 1+int(2*w.RequestRate), 1024)
}

// doubt adds a warning to the result.
func (r *run) doubt(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doubts = append(r.doubts, fmt.Sprintf(format, args...))
}

// seeHeader looks for the mark of a simulated endpoint.
func (r *run) seeHeader(h http.Header) {
	if h.Get(SimulatedHeader) != "" {
		r.simulated.Store(true)
	}
}

// maxChunksKept bounds the memory for the times of content events: 8 bytes
// each, half a gigabyte in all.
const maxChunksKept = 64 << 20

// keepChunks copies the times of a request's events, until the run holds
// maxChunksKept of them.
func (r *run) keepChunks(chunks []int64) []int64 {
	if len(chunks) == 0 {
		return nil
	}
	if r.chunksKept.Add(int64(len(chunks))) > maxChunksKept {
		r.quirks.chunksDropped.Add(1)
		return nil
	}
	return slices.Clone(chunks)
}

// errGaveUp ends a run whose endpoint is gone.
var errGaveUp = errors.New("the endpoint fails every request")

// record takes a request that has ended. It reports whether to go on.
func (r *run) record(rec perf.Request) bool {
	failures := int64(0)
	if rec.OK() {
		r.failures.Store(0)
	} else {
		failures = r.failures.Add(1)
	}
	r.keep(rec)
	return failures < r.giveUpAfter()
}

// keep adds a request that has ended to the result.
func (r *run) keep(rec perf.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, rec)
	r.ended++
	if ms, ok := rec.TTFT(); ok && rec.OK() {
		if len(r.latest) < latestKept {
			r.latest = append(r.latest, ms)
		} else {
			r.latest[r.ended%latestKept] = ms
		}
	} else {
		r.failed++
	}
}

// giveUpAfter is how many failures in a row end a run: two rounds of all
// streams, so that one crash of the server does not cost a timeout for every
// prompt that is left.
func (r *run) giveUpAfter() int64 {
	return int64(2*max(r.conf.Workload.Concurrency, warmupStreams) + 20)
}

// result gathers what the run saw.
func (r *run) result() Result {
	slices.SortStableFunc(r.requests, func(a, b perf.Request) int {
		if a.Warmup != b.Warmup {
			if a.Warmup {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Index, b.Index)
	})
	r.doubtQuirks()
	client, doubts := r.clientHealth()
	return Result{
		Start: r.clock.start.UTC().Round(0), End: r.clock.start.Add(time.Duration(r.clock.now())).UTC().Round(0),
		Requests: r.requests, Client: client, Doubts: append(r.doubts, doubts...),
		PromptDigest: r.digest, Simulated: r.simulated.Load(), Tokenizer: r.tokenizer, PrefixCacheReset: r.cacheReset,
	}
}

// doubtQuirks turns what was unusual into doubts.
func (r *run) doubtQuirks() {
	for _, q := range []struct {
		n    int64
		text string
	}{
		{r.quirks.notStreamed.Load(), "not_streamed: %d answers came in one piece; their TTFT is the time of the whole answer and they have no TPOT"},
		{r.quirks.noDone.Load(), "no_done: %d answers ended without [DONE]"},
		{r.quirks.openAfterDone.Load(), "open_after_done: %d connections stayed open after [DONE] and were closed by the client"},
		{r.quirks.sentAgain.Load(), "sent_again: %d requests met a kept connection that the server had closed and were sent again on a fresh one; their TTFT counts from there"},
		{r.quirks.malformed.Load(), "malformed_events: %d events hold no JSON object and were skipped"},
		{r.quirks.chunksDropped.Load(), "chunk_times_dropped: the times of the events of %d requests were not kept, to bound memory"},
	} {
		if q.n > 0 {
			r.doubt(q.text, q.n)
		}
	}
	early := 0
	for i := range r.requests {
		rec := &r.requests[i]
		if !rec.Warmup && rec.OK() && rec.EventNS >= 0 && rec.EventNS < rec.FirstNS {
			early++
		}
	}
	if early > 0 {
		r.doubt("empty_first_event: %d answers begin with an event without content; tools that count it as TTFT report less", early)
	}
}
