package vllmsim

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// An answer is the response to one generation request.
type answer struct {
	server *Server
	w      http.ResponseWriter
	r      *http.Request
	seq    *sequence
	chat   bool
	faults *Faults
	drawn  drawnFaults
	number uint64
	cached int // prompt tokens found in the prefix cache
	sent   int // tokens taken from the engine
}

func (a *answer) id() string {
	prefix := "cmpl-"
	if a.chat {
		prefix = "chatcmpl-"
	}
	return prefix + requestID(a.server.config.Seed, a.number)
}

// next waits for tokens. It returns none and an error if there will be no
// more: the engine died. If the client went away or the server closes, it
// does not return.
func (a *answer) next(buf []emission) ([]emission, *apiError) {
	for {
		pending, cached, dead := a.seq.out.take(buf)
		if len(pending) > 0 {
			a.cached = cached
			return pending, nil
		}
		buf = pending
		if dead {
			return nil, errEngineDead()
		}
		select {
		case <-a.seq.out.wake:
		case <-a.r.Context().Done():
			a.abandon()
		case <-a.server.quit:
			a.abandon()
		}
	}
}

// abandon ends the handler and the sequence; net/http closes the connection.
func (a *answer) abandon() {
	a.server.engine.abort(a.seq)
	panic(http.ErrAbortHandler)
}

// usage is vLLM's account of a request's tokens.
func (a *answer) appendUsage(b []byte, details bool) []byte {
	prompt := a.seq.promptLen
	b = append(b, `"usage":{"prompt_tokens":`...)
	b = strconv.AppendInt(b, int64(prompt), 10)
	b = append(b, `,"total_tokens":`...)
	b = strconv.AppendInt(b, int64(prompt+a.sent), 10)
	b = append(b, `,"completion_tokens":`...)
	b = strconv.AppendInt(b, int64(a.sent), 10)
	if details {
		b = append(b, `,"prompt_tokens_details":{"cached_tokens":`...)
		b = strconv.AppendInt(b, int64(a.cached), 10)
		b = append(b, '}')
	}
	return append(b, '}')
}

// serveWhole answers without streaming, when the last token is there.
func (a *answer) serveWhole() {
	var text []byte
	var last emission
	var buf []emission
	for last.finish == "" {
		pending, e := a.next(buf)
		if e != nil {
			e.write(a.w)
			return
		}
		for _, last = range pending {
			text = appendText(text, last.token)
			text = text[:len(text)-last.cut]
			a.sent++
		}
		buf = pending
	}
	choice := map[string]any{"index": 0, "logprobs": nil, "finish_reason": string(last.finish), "stop_reason": stopReason(last)}
	object := "text_completion"
	if a.chat {
		object = "chat.completion"
		choice["message"] = map[string]any{"role": "assistant", "content": string(text), "reasoning_content": nil, "tool_calls": []any{}}
	} else {
		choice["text"] = string(text)
	}
	body := map[string]any{
		"id": a.id(), "object": object, "created": time.Now().Unix(), "model": a.server.config.Model, "choices": []any{choice},
	}
	if !a.faults.NoUsage {
		body["usage"] = map[string]any{
			"prompt_tokens": a.seq.promptLen, "total_tokens": a.seq.promptLen + a.sent, "completion_tokens": a.sent,
			"prompt_tokens_details": map[string]int{"cached_tokens": a.cached},
		}
	}
	writeJSON(a.w, http.StatusOK, body)
}

// stopReason is the stop string or token id that ended an answer, else nil.
func stopReason(e emission) any {
	switch {
	case e.stopped != "":
		return e.stopped
	case e.stoppedID >= 0:
		return e.stoppedID
	}
	return nil
}

// A stream is an answer as server-sent events. Its bytes are built by hand:
// what does not change is made once, and a token adds its text.
type stream struct {
	*answer
	options streamOptions
	control *http.ResponseController
	envelop []byte // data: {"id":…,"choices":[
	open    []byte // from envelop to the start of a token's text
	close   []byte // after the text, up to the finish reason
	buf     []byte
	group   int // tokens of the event under way
	stamp   time.Time
	events  []emission

	// The writer's view of it, under the writer's lock.
	state    streamState
	again    bool          // more came while it was being written
	detached bool          // the handler is leaving
	released chan struct{} // closed when the writer has let go of a detached one
	done     chan error    // the writer's last word: nil at a regular end
}

func newStream(a *answer, options streamOptions) *stream {
	object := "text_completion"
	open, end := `{"index":0,"text":"`, `","logprobs":null,"finish_reason":`
	if a.chat {
		object = "chat.completion.chunk"
		open, end = `{"index":0,"delta":{"content":"`, `"},"logprobs":null,"finish_reason":`
	}
	model, _ := json.Marshal(a.server.config.Model) // a string always has a JSON form
	s := &stream{
		answer: a, options: options, control: http.NewResponseController(a.w),
		released: make(chan struct{}), done: make(chan error, 1),
	}
	s.envelop = fmt.Appendf(nil, `data: {"id":"%s","object":"%s","created":%d,"model":%s,"choices":[`, a.id(), object, time.Now().Unix(), model)
	s.open = append(append([]byte(nil), s.envelop...), open...)
	s.close = []byte(end)
	return s
}

// serve sends the whole stream. Healthy streams are written by the server's
// one writer; those that are to misbehave are written here, where they hold
// up nobody else.
func (s *stream) serve() {
	s.w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	s.w.WriteHeader(http.StatusOK)
	if s.chat && s.faults.RoleEarly {
		s.role()
	}
	if s.write() != nil {
		s.abandon()
	}
	if s.drawn.reset || s.drawn.stall {
		s.serveAlone()
		return
	}
	s.server.writer.attach(s)
	select {
	case err := <-s.done:
		if err == nil {
			return
		}
	case <-s.r.Context().Done():
	case <-s.server.quit:
	}
	s.server.writer.detach(s)
	s.abandon()
}

// serveAlone is serve without the writer.
func (s *stream) serveAlone() {
	for {
		select {
		case <-s.seq.out.wake:
		case <-s.r.Context().Done():
			s.abandon()
		case <-s.server.quit:
			s.abandon()
		}
		finished, err := s.advance()
		if err != nil {
			s.abandon()
		}
		if finished {
			return
		}
	}
}

// advance writes what is pending, as one write and one flush. It reports
// whether that was the end of the stream.
func (s *stream) advance() (finished bool, err error) {
	pending, cached, dead := s.seq.out.take(s.events)
	s.events = pending
	if len(pending) == 0 && !dead {
		return false, nil
	}
	if len(pending) > 0 {
		s.cached = cached
		if s.chat && s.sent == 0 && !s.faults.RoleEarly {
			s.role()
		}
	}
	s.stamp = time.Now()
	for _, event := range pending {
		if err := s.token(event); err != nil {
			return false, err
		}
		finished = event.finish != ""
	}
	switch {
	case finished:
		s.end()
	case dead:
		s.fail()
		finished = true
	}
	return finished, s.write()
}

// role is the first delta of a chat stream.
func (s *stream) role() {
	s.buf = append(s.buf, s.envelop...)
	s.buf = append(s.buf, `{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}`...)
	s.buf = append(s.buf, "\n\n"...)
}

// token adds one token to the event under way, and ends the event when it
// holds as many as an event should.
func (s *stream) token(e emission) error {
	if err := s.misbehave(); err != nil {
		return err
	}
	if s.group == 0 {
		s.buf = append(s.buf, s.open...)
	}
	s.buf = appendText(s.buf, e.token)
	s.buf = s.buf[:len(s.buf)-e.cut]
	s.group++
	s.sent++
	if s.group < s.faults.CoalesceTokens && e.finish == "" {
		return nil
	}
	s.group = 0
	s.buf = append(s.buf, s.close...)
	s.buf = appendFinish(s.buf, e)
	if s.options.ContinuousUsageStats && !s.faults.NoUsage {
		s.buf = append(s.buf, ',')
		s.buf = s.appendUsage(s.buf, false)
	}
	if s.server.config.StampTokens {
		s.buf = append(s.buf, `,"sim":{"due_ns":`...)
		s.buf = strconv.AppendInt(s.buf, s.server.engine.born.Add(e.due).UnixNano(), 10)
		s.buf = append(s.buf, `,"wrote_ns":`...)
		s.buf = strconv.AppendInt(s.buf, s.stamp.UnixNano(), 10)
		s.buf = append(s.buf, '}')
	}
	s.buf = append(s.buf, "}\n\n"...)
	return nil
}

// appendFinish adds the finish and stop reason and closes the choice.
func appendFinish(b []byte, e emission) []byte {
	if e.finish == "" {
		return append(b, `null,"stop_reason":null}]`...)
	}
	reason, _ := json.Marshal(stopReason(e)) // a string, a number or nil
	return fmt.Appendf(b, `"%s","stop_reason":%s}]`, e.finish, reason)
}

// end adds the usage chunk and the end mark.
func (s *stream) end() {
	if s.options.IncludeUsage && !s.faults.NoUsage {
		s.buf = append(s.buf, s.envelop...)
		s.buf = append(s.buf, `],`...)
		s.buf = s.appendUsage(s.buf, true)
		s.buf = append(s.buf, "}\n\n"...)
	}
	s.buf = append(s.buf, "data: [DONE]\n\n"...)
}

// fail ends a stream whose engine died: vLLM sends the error as an event.
func (s *stream) fail() {
	body, _ := json.Marshal(errEngineDead().body()) // strings and numbers
	s.buf = fmt.Appendf(s.buf, "data: %s\n\ndata: [DONE]\n\n", body)
}

// write sends what is built.
func (s *stream) write() error {
	_, err := s.w.Write(s.buf)
	s.buf = s.buf[:0]
	if err != nil {
		return err
	}
	return s.control.Flush()
}

// misbehave stalls or resets the stream if it was drawn to, between events.
func (s *stream) misbehave() error {
	if s.group > 0 {
		return nil
	}
	if s.drawn.reset && s.sent >= s.faults.ResetAfter {
		if err := s.write(); err != nil {
			return err
		}
		s.reset()
		return errReset
	}
	if s.drawn.stall && s.sent >= s.faults.StallAfter {
		s.drawn.stall = false
		if err := s.write(); err != nil {
			return err
		}
		timer := time.NewTimer(s.faults.Stall)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.r.Context().Done():
			return s.r.Context().Err()
		case <-s.server.quit:
			return http.ErrServerClosed
		}
		s.stamp = time.Now()
	}
	return nil
}

var errReset = errors.New("connection reset on purpose")

// reset closes the connection with a TCP reset, if it is one that can.
func (s *stream) reset() {
	conn, _, err := s.control.Hijack()
	if err != nil {
		return // not HTTP/1.1 over TCP: the abort that follows must do
	}
	plain := conn
	if secure, ok := conn.(*tls.Conn); ok {
		plain = secure.NetConn()
	}
	if tcp, ok := plain.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it the close is an orderly one
	}
	_ = plain.Close()
}
