package loadgen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"pipeline/internal/jsonscan"
	"pipeline/lake/perf"
)

// Phases of a RequestError.
const (
	phaseConnect  = "connect"
	phaseSend     = "send"
	phaseHeaders  = "headers"
	phaseStream   = "stream"
	phaseDeadline = "deadline"
)

// Token sources of a Request.
const (
	sourceUsage  = "usage"
	sourceChunks = "chunks"
)

// headBytes is how much of an error's body is kept.
const headBytes = 2048

// afterDone is how long the connection may stay open after [DONE].
const afterDone = time.Second

var (
	errTimeout   = errors.New("request timeout")
	errStall     = errors.New("stalled")
	errAfterDone = errors.New("connection open after [DONE]")
)

// A call is one request to be made.
type call struct {
	body []byte
	isl  int  // tokens of the prompt as far as the client knows
	keep bool // the text of the answer is wanted
}

// A slot is the memory that one stream uses, request after request.
type slot struct {
	events EventReader
	chunks []int64
	text   []byte // escaped, as it came
}

// do makes one request and fills rec, whose Intended and Acquired are set. It
// returns the text of the answer if c.keep.
func (r *run) do(ctx context.Context, s *slot, c call, rec *perf.Request) string {
	rec.SentNS, rec.WroteNS, rec.ByteNS, rec.EventNS = perf.Never, perf.Never, perf.Never, perf.Never
	rec.FirstNS, rec.LastNS, rec.DoneNS = perf.Never, perf.Never, perf.Never
	s.chunks, s.text = s.chunks[:0], s.text[:0]
	s.events.Reset()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a := &attempt{run: r, slot: s, call: c, rec: rec, readAt: -1, prompt: -1, completion: -1, cached: -1}
	a.guard = newGuard(cancel, r.clock, r.conf.timeout(), r.conf.Stall)
	defer a.guard.stop()

	r.inFlight.Add(1)
	err := a.guarded(ctx)
	r.inFlight.Add(-1)
	rec.EndNS = r.clock.now()
	a.times()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	a.settle(err)
	if !c.keep {
		return ""
	}
	text, err := jsonscan.Unescape(s.text)
	if err != nil {
		r.quirks.malformed.Add(1)
	}
	return text
}

// An attempt is a request under way.
type attempt struct {
	run   *run
	slot  *slot
	call  call
	rec   *perf.Request
	guard *guard

	marks marks // written by the connection

	// Written by the transport's goroutines.
	conn   atomic.Pointer[conn]
	reused atomic.Bool
	byteNS atomic.Int64

	headers                    bool  // the response's status is known
	chunked                    bool  // its end is marked by the server
	readAt                     int64 // number of the read that the content before came with
	prompt, completion, cached int
}

// trace follows the request through the transport. The time at which it was
// written is the connection's: WroteRequest comes before the flush.
func (a *attempt) trace() *httptrace.ClientTrace {
	a.byteNS.Store(perf.Never)
	a.marks.clear()
	return &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) {
			c := stamped(i.Conn)
			a.marks.clear() // the transport may try again on a fresh connection
			c.marks.Store(&a.marks)
			if a.conn.Swap(c) != nil {
				a.run.quirks.sentAgain.Add(1)
			}
			a.reused.Store(i.Reused)
		},
		GotFirstResponseByte: func() { a.byteNS.Store(a.marks.readNS.Load()) },
	}
}

// guarded is exchange, but a panic over what the server sent is an error of
// this one request, and does not take the run with it.
func (a *attempt) guarded(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the load generator could not take in the answer; this is a fault of the program: panic: %v", p)
		}
	}()
	return a.exchange(ctx)
}

// exchange sends the request and takes in the whole response.
func (a *attempt) exchange(ctx context.Context) error {
	req, err := a.run.newRequest(httptrace.WithClientTrace(ctx, a.trace()), a.run.conf.url(), a.call.body)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := a.run.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	a.headers = true
	a.chunked = len(resp.TransferEncoding) > 0 || resp.ContentLength >= 0
	a.run.seeHeader(resp.Header)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return a.run.refusal(resp)
	}
	if strings.Contains(resp.Header.Get("Content-Type"), "json") {
		return a.whole(resp.Body)
	}
	return a.stream(resp.Body)
}

// newRequest returns a POST of JSON with the run's headers.
func (r *run) newRequest(ctx context.Context, url string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range r.conf.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	req.Header.Set("Content-Type", "application/json")
	// Not sent, since it has no value, but it lets the transport repeat a
	// request whose kept connection turns out to be closed by the server before
	// a byte of the response came. Some servers close after each answer and do
	// not say so.
	req.Header["Idempotency-Key"] = nil
	if r.conf.Token != "" {
		req.Header.Set("Authorization", "Bearer "+string(r.conf.Token))
	}
	return req, nil
}

// A statusError is a response that is not 2xx, or an error inside a stream.
type statusError struct {
	status  int
	head    string
	refused bool // by the status line
}

func (e *statusError) Error() string { return fmt.Sprintf("HTTP %d: %s", e.status, e.head) }

// refusal takes in a response that is not 2xx: its status and the head of its
// body, without the token, which some servers echo.
func (r *run) refusal(resp *http.Response) error {
	head, err := io.ReadAll(io.LimitReader(resp.Body, headBytes))
	if err != nil && len(head) == 0 {
		head = []byte(err.Error())
	}
	io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // so that the connection can be used again
	return &statusError{resp.StatusCode, r.hide(strings.ToValidUTF8(strings.TrimSpace(string(head)), "�")), true}
}

// stream takes in a response of server-sent events.
func (a *attempt) stream(body io.Reader) error {
	events := &a.slot.events
	for {
		n, err := events.Fill(body)
		if n > 0 {
			at, read := a.marks.readNS.Load(), a.marks.reads.Load()
			for ev, ok := events.Next(); ok; ev, ok = events.Next() {
				if err := a.event(ev, at, read); err != nil {
					return err
				}
			}
		}
		if err == io.EOF {
			if ev, ok := events.Flush(); ok {
				if err := a.event(ev, a.marks.readNS.Load(), a.marks.reads.Load()); err != nil {
					return err
				}
			}
			return a.complete()
		}
		if err != nil {
			return err
		}
	}
}

// event takes in one event that arrived at an offset, with a read.
func (a *attempt) event(ev Event, at, read int64) error {
	if string(ev.Data) == "[DONE]" {
		if a.rec.DoneNS == perf.Never {
			a.rec.DoneNS = at
			a.guard.finish()
		}
		return nil
	}
	return a.chunk(ev.Data, at, read)
}

func (a *attempt) chunk(data []byte, at, read int64) error {
	c, err := ScanChunk(data)
	if err != nil {
		a.run.quirks.malformed.Add(1)
		return nil
	}
	if c.Error != nil {
		return &statusError{c.Code, strings.ToValidUTF8(string(c.Error[:min(len(c.Error), headBytes)]), "�"), false}
	}
	rec := a.rec
	if c.Choices && rec.EventNS == perf.Never {
		rec.EventNS = at
	}
	if c.Content {
		if rec.FirstNS == perf.Never {
			rec.FirstNS = at
		}
		rec.LastNS = at
		a.slot.chunks = append(a.slot.chunks, at)
		if read == a.readAt {
			rec.Coalesced++
		}
		a.readAt = read
		a.guard.content(at)
		a.run.events.Add(1)
		if a.call.keep {
			a.slot.text = append(a.slot.text, c.Text...)
		}
		if a.run.conf.onContent != nil {
			a.run.conf.onContent(rec.Index, c.Text, at)
		}
	}
	if c.Finish != nil {
		rec.Finish = string(c.Finish)
	}
	if c.Usage {
		a.prompt, a.completion, a.cached = max(a.prompt, c.PromptTokens), max(a.completion, c.CompletionTokens), max(a.cached, c.CachedTokens)
	}
	return nil
}

// complete judges a stream that the server ended in order.
func (a *attempt) complete() error {
	if a.rec.DoneNS != perf.Never {
		return nil
	}
	if a.rec.Finish == "" && a.completion < 0 && !a.chunked {
		return errors.New("connection closed with neither finish_reason, usage nor [DONE]: the answer may be cut short")
	}
	if a.rec.FirstNS != perf.Never {
		a.run.quirks.noDone.Add(1)
	}
	return nil
}

// whole takes in an answer that is one JSON object, from a server that does
// not stream. All its tokens came at one instant.
func (a *attempt) whole(body io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(body, MaxEvent+1))
	if err != nil {
		return err
	}
	if len(data) > MaxEvent {
		return ErrEventTooLarge
	}
	a.run.quirks.notStreamed.Add(1)
	return a.chunk(data, a.marks.readNS.Load(), a.marks.reads.Load())
}

// times copies what the connection and the transport saw.
func (a *attempt) times() {
	a.rec.SentNS, a.rec.WroteNS, a.rec.ByteNS = a.marks.sentNS.Load(), a.marks.wroteNS.Load(), a.byteNS.Load()
	a.rec.ReusedConn = a.reused.Load()
	c := a.conn.Load()
	if c == nil {
		return
	}
	switch {
	case a.rec.ReusedConn:
		a.run.reusedConns.Add(1)
	case c.predialled:
	default:
		a.run.newConns.Add(1)
	}
}

// settle writes down how the attempt ended: its tokens and its error.
func (a *attempt) settle(err error) {
	rec := a.rec
	if err != nil && errors.Is(err, errAfterDone) {
		a.run.quirks.openAfterDone.Add(1)
		err = nil
	}
	if err == nil && rec.FirstNS == perf.Never {
		err = errors.New("the answer has no content")
	}
	if err != nil {
		rec.Error = a.requestError(err)
	}
	rec.ChunkNS = a.run.keepChunks(a.slot.chunks)
	rec.ISL, rec.OSL, rec.TokenSource = a.call.isl, len(a.slot.chunks), sourceChunks
	if a.prompt > 0 {
		rec.ISL = a.prompt
	}
	if a.completion > 0 {
		rec.OSL, rec.TokenSource = a.completion, sourceUsage
	}
	if a.cached >= 0 {
		cached := a.cached
		rec.Cached = &cached
	}
}

func (a *attempt) requestError(err error) *perf.RequestError {
	e := &perf.RequestError{Phase: a.phase(), Message: err.Error()}
	var status *statusError
	switch {
	case errors.As(err, &status):
		e.Status, e.Message = status.status, status.head
		if status.refused {
			e.Phase = phaseHeaders
		}
	case errors.Is(err, errTimeout):
		e.Phase, e.Message = phaseDeadline, fmt.Sprintf("no full answer within %v", a.run.conf.timeout())
	case errors.Is(err, errStall):
		e.Phase, e.Message = phaseDeadline, fmt.Sprintf("no content for %v", a.run.conf.Stall)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		e.Message = "the server closed the connection (" + err.Error() + ")"
	}
	e.Message = a.run.hide(e.Message)
	return e
}

// hide takes the token out of a text.
func (r *run) hide(text string) string {
	if r.conf.Token == "" {
		return text
	}
	return strings.ReplaceAll(text, string(r.conf.Token), redact(r.conf.Token))
}

// phase is how far the attempt came.
func (a *attempt) phase() string {
	switch {
	case a.headers:
		return phaseStream
	case a.marks.wroteNS.Load() != perf.Never:
		return phaseHeaders
	case a.conn.Load() != nil:
		return phaseSend
	}
	return phaseConnect
}

// A guard ends a request that takes too long or stands still. Content only
// writes one number; the timer looks at it when it fires.
type guard struct {
	cancel  context.CancelCauseFunc
	clock   clock
	timer   *time.Timer
	timeout int64        // offset at which the request ends
	stall   int64        // ns without content, after the first, that end it
	last    atomic.Int64 // offset of the latest content, Never before the first
	done    atomic.Bool  // [DONE] has come
	stopped atomic.Bool
}

func newGuard(cancel context.CancelCauseFunc, c clock, timeout, stall time.Duration) *guard {
	g := &guard{cancel: cancel, clock: c, timeout: c.now() + int64(timeout), stall: int64(stall)}
	g.last.Store(perf.Never)
	g.timer = time.AfterFunc(math.MaxInt64, g.look)
	g.timer.Reset(g.wait())
	return g
}

func (g *guard) wait() time.Duration {
	until := g.timeout
	if last := g.last.Load(); g.stall > 0 && last != perf.Never {
		until = min(until, last+g.stall)
	}
	return max(0, time.Duration(until-g.clock.now()))
}

func (g *guard) look() {
	now, last := g.clock.now(), g.last.Load()
	switch {
	case g.stopped.Load():
	case g.done.Load():
		g.cancel(errAfterDone)
	case now >= g.timeout:
		g.cancel(errTimeout)
	case g.stall > 0 && last != perf.Never && now >= last+g.stall:
		g.cancel(errStall)
	default:
		g.timer.Reset(g.wait())
	}
}

// content notes content. The first arms the stall: a request that waits in the
// queue of a busy server has its time-out alone.
func (g *guard) content(at int64) {
	if g.last.Swap(at) == perf.Never && g.stall > 0 && !g.done.Load() {
		g.timer.Reset(g.wait())
	}
}

// finish gives the connection a moment to end in order.
func (g *guard) finish() {
	g.done.Store(true)
	g.timer.Reset(afterDone)
}

func (g *guard) stop() {
	g.stopped.Store(true)
	g.timer.Stop()
}
