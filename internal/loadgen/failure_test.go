package loadgen

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pipeline/lake/perf"
)

// What servers do that is unusual is a doubt.
func TestQuirks(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, a asked)
		doubts []string
		check  func(r perf.Request) bool
	}{
		"no usage": {func(w http.ResponseWriter, a asked) {
			s := answering(w, a)
			for range a.Max {
				s.content("a", "")
			}
			s.content("a", "length")
			s.done()
		}, nil, func(r perf.Request) bool { return r.TokenSource == "chunks" && r.OSL == 6 && r.ISL == 12 }},
		"several tokens an event": {func(w http.ResponseWriter, a asked) {
			s := answering(w, a)
			s.content("a", "")
			s.content("b c d e", "length")
			s.usage(12, a.Max)
			s.done()
		}, nil, func(r perf.Request) bool { return r.OSL == 5 && len(r.ChunkNS) == 2 && r.TokenSource == "usage" }},
		"no done": {func(w http.ResponseWriter, a asked) {
			s := answering(w, a)
			s.content("a", "stop")
		}, []string{"no_done"}, func(r perf.Request) bool { return r.DoneNS == perf.Never }},
		"closed without done": {func(w http.ResponseWriter, a asked) {
			w.Header().Set("Connection", "close")
			w.Header().Set("Transfer-Encoding", "identity")
			answering(w, a).content("a", "stop")
		}, []string{"no_done"}, func(r perf.Request) bool { return r.Finish == "stop" }},
		"no empty line at the end": {func(w http.ResponseWriter, a asked) {
			answering(w, a)
			fmt.Fprint(w, "data:{\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\r\n\r\ndata:[DONE]")
		}, nil, func(r perf.Request) bool { return r.DoneNS >= 0 && r.OSL == 1 }},
		"one piece": {func(w http.ResponseWriter, a asked) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"choices":[{"message":{"content":"a b c d e"},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":5}}`)
		}, []string{"not_streamed"}, func(r perf.Request) bool { _, ok := r.TPOT(); return r.OSL == 5 && !ok }},
		"usage with the last content": {func(w http.ResponseWriter, a asked) {
			s := answering(w, a)
			s.content("a", "")
			s.event(`{"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":8}}}`)
			s.done()
		}, nil, func(r perf.Request) bool {
			return r.OSL == 5 && r.Cached != nil && *r.Cached == 8 && r.Finish == "stop"
		}},
		"events that are no JSON": {func(w http.ResponseWriter, a asked) {
			s := answering(w, a)
			s.event("hello")
			s.content("a", "stop")
			s.done()
		}, []string{"malformed_events"}, func(r perf.Request) bool { return r.OSL == 1 }},
		"two events in one read": {func(w http.ResponseWriter, a asked) {
			answering(w, a)
			e := "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"
			fmt.Fprint(w, e+e+"data: [DONE]\n\n")
		}, nil, func(r perf.Request) bool { return r.Coalesced == 1 && r.ChunkNS[0] == r.ChunkNS[1] }},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, c.answer, nil)
			result := mustRun(t, Config{BaseURL: s.URL, Workload: closedLoop(Chat, 1, 3)})
			onlyDoubts(t, result, append(c.doubts, "isl_by_words")...)
			for _, r := range result.Requests {
				if !r.OK() || !c.check(r) {
					t.Errorf("%+v, error %+v", r, r.Error)
				}
			}
		})
	}
}

// Errors keep their phase, status and the head of the body.
func TestErrors(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, a asked)
		want   perf.RequestError
	}{
		"status": {func(w http.ResponseWriter, a asked) {
			http.Error(w, `{"error":{"message":"EngineCore died; key secret"}}`+strings.Repeat("x", 5000), 500)
		}, perf.RequestError{Phase: "headers", Status: 500, Message: `{"error":{"message":"EngineCore died; key [redacted]"}}`}},
		"error in the stream": {func(w http.ResponseWriter, a asked) {
			s := answering(w, a)
			s.content("a", "")
			s.event(`{"error":{"message":"out of memory","code":507}}`)
		}, perf.RequestError{Phase: "stream", Status: 507, Message: `{"message":"out of memory","code":507}`}},
		"reset": {func(w http.ResponseWriter, a asked) {
			answering(w, a).content("a", "")
			panic(http.ErrAbortHandler)
		}, perf.RequestError{Phase: "stream", Message: "the server closed the connection (unexpected EOF)"}},
		"closed before an answer": {func(w http.ResponseWriter, a asked) {
			panic(http.ErrAbortHandler)
		}, perf.RequestError{Phase: "headers", Message: "the server closed the connection (EOF)"}},
		"empty": {func(w http.ResponseWriter, a asked) {
			s := answering(w, a)
			s.role()
			s.done()
		}, perf.RequestError{Phase: "stream", Message: "the answer has no content"}},
		"cut short without an end": {func(w http.ResponseWriter, a asked) {
			conn, buf, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprint(buf, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n")
			buf.Flush()
		}, perf.RequestError{Phase: "stream", Message: "connection closed with neither finish_reason, usage nor [DONE]: the answer may be cut short"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, a asked) {
				if a.probe() {
					good(w, a)
					return
				}
				c.answer(w, a)
			}, nil)
			w := closedLoop(Chat, 1, 3)
			result := mustRun(t, Config{BaseURL: s.URL, Workload: w, Token: "secret"})
			if len(result.Requests) != 3 {
				t.Fatalf("%d requests", len(result.Requests))
			}
			for _, r := range result.Requests {
				if r.OK() || r.Error == nil || r.Error.Phase != c.want.Phase || r.Error.Status != c.want.Status || !strings.HasPrefix(r.Error.Message, c.want.Message) || len(r.Error.Message) > headBytes+16 {
					t.Errorf("%+v\nwant %+v", r.Error, c.want)
				}
			}
			if m := perf.Assess(result.Requests, w, &result.Client); m.Status != perf.Failed || !strings.HasPrefix(m.Failure, "3 of 3 requests: "+c.want.Phase) {
				t.Errorf("%s: %s", m.Status, m.Failure)
			}
		})
	}
}

func TestDeadlines(t *testing.T) {
	for name, c := range map[string]struct {
		timeoutS float64
		stall    time.Duration
		message  string
	}{
		"timeout": {0.05, 0, "no full answer within 50ms"},
		"stall":   {60, 20 * time.Millisecond, "no content for 20ms"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, a asked) {
				if a.probe() {
					good(w, a)
					return
				}
				answering(w, a).content("a", "")
				stand(w)
			}, nil)
			w := closedLoop(Chat, 2, 4)
			w.RequestTimeoutS = c.timeoutS
			result := mustRun(t, Config{BaseURL: s.URL, Workload: w, Stall: c.stall})
			for _, r := range result.Requests {
				if r.Error == nil || r.Error.Phase != "deadline" || r.Error.Message != c.message || r.FirstNS < 0 {
					t.Errorf("%+v", r.Error)
				}
			}
		})
	}
}

// stand keeps a response open until the client has gone.
func stand(w http.ResponseWriter) {
	for {
		if _, err := fmt.Fprint(w, ": still here\n\n"); err != nil {
			return
		}
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		time.Sleep(time.Millisecond) // the server's pace, not a wait
	}
}

func TestOpenAfterDone(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, a asked) {
		good(w, a)
		if !a.probe() {
			stand(w)
		}
	}, nil)
	result := mustRun(t, Config{BaseURL: s.URL, Workload: closedLoop(Chat, 2, 2)})
	onlyDoubts(t, result, "isl_by_words", "open_after_done")
	for _, r := range result.Requests {
		if !r.OK() {
			t.Errorf("%+v", r.Error)
		}
	}
}

// A server that dies ends the run: not every prompt waits for its timeout.
func TestGiveUp(t *testing.T) {
	var n atomic.Int64
	s := serve(t, func(w http.ResponseWriter, a asked) {
		if n.Add(1) > 11 { // the probe and 10 more
			http.Error(w, "gone", 503)
			return
		}
		good(w, a)
	}, nil)
	w := closedLoop(Chat, 2, 5000)
	result := mustRun(t, Config{BaseURL: s.URL, Workload: w})
	onlyDoubts(t, result, "isl_by_words", "gave_up")
	if len(result.Requests) > 200 {
		t.Errorf("%d requests were sent to a dead server", len(result.Requests))
	}
	m := perf.Assess(result.Requests, w, nil)
	if m.Status != perf.Partial {
		t.Errorf("%s %q", m.Status, m.Reasons)
	}
}

func TestDeadEndpoint(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	result := mustRun(t, Config{BaseURL: s.URL, Workload: closedLoop(Chat, 2, 10)})
	onlyDoubts(t, result, "endpoint_refused")
	m := perf.Assess(result.Requests, closedLoop(Chat, 2, 10), &result.Client)
	if m.Status != perf.Failed || !strings.Contains(m.Failure, "connect: ") {
		t.Errorf("%s: %s", m.Status, m.Failure)
	}
}

func TestProbeLadder(t *testing.T) {
	for name, c := range map[string]struct {
		refused []string // members that the server answers 400 to
		doubts  []string
	}{
		"all taken":           {nil, nil},
		"no min_tokens":       {[]string{"min_tokens"}, nil},
		"no ignore_eos":       {[]string{"ignore_eos"}, nil},
		"neither":             {[]string{"ignore_eos", "min_tokens"}, []string{"eos_not_ignored"}},
		"no usage":            {[]string{"stream_options", "min_tokens"}, []string{"no_usage"}},
		"nothing of our kind": {[]string{"stream_options", "min_tokens", "ignore_eos"}, []string{"eos_not_ignored", "no_usage"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, a asked) {
				for _, member := range c.refused {
					if _, there := a.raw[member]; there {
						http.Error(w, "extra fields not permitted: "+member, 400)
						return
					}
				}
				good(w, a)
			}, nil)
			result := mustRun(t, Config{BaseURL: s.URL, Workload: closedLoop(Chat, 2, 4)})
			onlyDoubts(t, result, append(c.doubts, "isl_by_words")...)
			for _, r := range result.Requests {
				if !r.OK() {
					t.Errorf("%+v", r.Error)
				}
			}
		})
	}
}

// When a turn fails, the rest of its conversation cannot be sent, and is
// counted as failed.
func TestConversationBreaksOff(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, a asked) {
		if len(a.Messages) == 3 { // the second turn
			http.Error(w, "no", 500)
			return
		}
		good(w, a)
	}, nil)
	w := closedLoop(Chat, 1, 6)
	w.Turns = 3
	result := mustRun(t, Config{BaseURL: s.URL, Workload: w})
	if len(result.Requests) != 6 || len(s.got) != 4 {
		t.Fatalf("%d requests, %d sent; want 6 and 4", len(result.Requests), len(s.got))
	}
	for i, r := range result.Requests {
		if r.Index != i || r.Turn != i%3 || r.OK() != (i%3 == 0) || (r.SentNS < 0) != (i%3 == 2) {
			t.Errorf("request %d: %+v, %+v", i, r, r.Error)
		}
	}
}

// Turns that were never sent say nothing of the endpoint: one refused turn of a
// long conversation does not end the run.
func TestOneFailedTurnDoesNotEndTheRun(t *testing.T) {
	var n atomic.Int64
	s := serve(t, func(w http.ResponseWriter, a asked) {
		if !a.probe() && n.Add(1) == 2 {
			http.Error(w, "one hiccup", 503)
			return
		}
		good(w, a)
	}, nil)
	turns := make([]Turn, 60) // more than the failures in a row that end a run
	for i := range turns {
		turns[i] = Turn{User: fmt.Sprint("hi ", i), Assistant: "ho"}
	}
	conversations := []Conversation{{Turns: turns}, {Turns: turns[:40]}}
	result := mustRun(t, Config{BaseURL: s.URL, Workload: closedLoop(Chat, 1, 100), Conversations: conversations})
	if doubted(result, "gave_up") || len(result.Requests) != 100 || n.Load() != 42 {
		t.Errorf("%d requests, %d sent, doubts %q; want 100 and 42", len(result.Requests), n.Load(), result.Doubts)
	}
}

// A stall is a pause in an answer. A request that waits for its first content
// has the whole time-out.
func TestQueueIsNoStall(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, a asked) {
		if a.probe() {
			good(w, a)
			return
		}
		time.Sleep(60 * time.Millisecond) // the server's queue, not a wait
		good(w, a)
	}, nil)
	result := mustRun(t, Config{BaseURL: s.URL, Workload: closedLoop(Chat, 1, 2), Stall: 20 * time.Millisecond})
	for _, r := range result.Requests {
		if !r.OK() && strings.HasPrefix(r.Error.Message, "no content for") && r.FirstNS < 0 {
			t.Errorf("%+v", r.Error)
		}
	}
}

// A panic over an answer is the error of its request, not the end of the run.
func TestPanicIsARequestError(t *testing.T) {
	s := serve(t, good, nil)
	conf := Config{BaseURL: s.URL, Workload: closedLoop(Chat, 1, 4)}
	asked := false
	conf.BeforeMeasured = func() error { asked = true; return nil }
	conf.onContent = func(index int, _ []byte, _ int64) {
		if asked && index == 1 {
			panic("out of range")
		}
	}
	result := mustRun(t, conf)
	for _, r := range result.Requests {
		if broken := r.Error != nil && strings.Contains(r.Error.Message, "panic: out of range"); broken != (r.Index == 1) || !broken && !r.OK() {
			t.Errorf("request %d: %+v", r.Index, r.Error)
		}
	}
}

// A request of a limited open loop that finds a slot at once had it when it was
// due: that it came late to ask is the client's lag.
func TestAcquire(t *testing.T) {
	r := &run{clock: clock{time.Now().Add(-time.Second)}} // 1 s since the start
	const due = int64(700 * time.Millisecond)
	for _, limit := range []chan struct{}{nil, make(chan struct{}, 1)} {
		acquired, ok := r.acquire(t.Context(), limit, due)
		rec := sent(0, 0, 100)
		rec.IntendedNS, rec.AcquiredNS, rec.SentNS = due, acquired, r.clock.now()
		if lag := lags([]perf.Request{rec}, true).lag[0]; !ok || acquired != due || lag < 300 {
			t.Errorf("limit %d: acquired at %d, lag %v ms; want %d and 300 ms", cap(limit), acquired, lag, due)
		}
	}
	full := make(chan struct{}, 1)
	full <- struct{}{}
	asked := r.clock.now()
	go func() { <-full }()
	if acquired, ok := r.acquire(t.Context(), full, due); !ok || acquired != due && acquired < asked {
		t.Errorf("after a wait: acquired at %d, want %d or later", acquired, asked)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, ok := r.acquire(ctx, full, due); ok {
		t.Error("acquired a slot that is not free")
	}
}
