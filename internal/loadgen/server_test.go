package loadgen

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"pipeline/lake/perf"
)

// asked is a request as a test server got it.
type asked struct {
	Path     string
	Header   http.Header
	Messages []message
	Prompt   any
	Max      int  `json:"max_tokens"`
	Min      *int `json:"min_tokens"`
	Ignore   bool `json:"ignore_eos"`
	Stream   bool
	Options  *struct {
		Usage bool `json:"include_usage"`
	} `json:"stream_options"`
	raw map[string]any
}

// text is the prompt, whatever its form.
func (a asked) text() string {
	if len(a.Messages) > 0 {
		return a.Messages[len(a.Messages)-1].Content
	}
	return fmt.Sprint(a.Prompt)
}

// probe reports whether the request is the probe.
func (a asked) probe() bool { return strings.HasPrefix(a.text(), "hello ") }

// A server is a purpose-written endpoint: it keeps what it was asked and
// answers by a function.
type server struct {
	*httptest.Server
	mu  sync.Mutex
	got []asked
}

// serve starts an endpoint. answer gets every request for an answer; paths
// holds handlers of other paths.
func serve(t testing.TB, answer func(w http.ResponseWriter, a asked), paths map[string]http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(s.handler(t, answer, paths))
	t.Cleanup(s.Close)
	return s
}

func (s *server) handler(t testing.TB, answer func(w http.ResponseWriter, a asked), paths map[string]http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if h := paths[req.URL.Path]; h != nil {
			h(w, req)
			return
		}
		if req.URL.Path != "/v1/chat/completions" && req.URL.Path != "/v1/completions" {
			http.NotFound(w, req)
			return
		}
		a := asked{Path: req.URL.Path, Header: req.Header}
		var raw json.RawMessage
		if err := json.NewDecoder(req.Body).Decode(&raw); err != nil {
			t.Errorf("body: %v", err)
		}
		if err := json.Unmarshal(raw, &a); err != nil {
			t.Errorf("body %s: %v", raw, err)
		}
		if err := json.Unmarshal(raw, &a.raw); err != nil {
			t.Errorf("body %s: %v", raw, err)
		}
		if !a.probe() {
			s.mu.Lock()
			s.got = append(s.got, a)
			s.mu.Unlock()
		}
		answer(w, a)
	})
}

// a stream writes events of a chat answer.
type stream struct {
	w    http.ResponseWriter
	chat bool
}

func answering(w http.ResponseWriter, a asked) stream {
	w.Header().Set("Content-Type", "text/event-stream")
	return stream{w, a.Messages != nil}
}

func (s stream) event(data string) {
	fmt.Fprintf(s.w, "data: %s\n\n", data)
	s.w.(http.Flusher).Flush()
}

func (s stream) role() {
	s.event(`{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`)
}

func (s stream) content(text, finish string) {
	f := "null"
	if finish != "" {
		f = `"` + finish + `"`
	}
	if s.chat {
		s.event(fmt.Sprintf(`{"choices":[{"index":0,"delta":{"content":%q},"finish_reason":%s}]}`, text, f))
	} else {
		s.event(fmt.Sprintf(`{"choices":[{"index":0,"text":%q,"finish_reason":%s}]}`, text, f))
	}
}

func (s stream) usage(prompt, completion int) {
	s.event(fmt.Sprintf(`{"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d}}`, prompt, completion))
}

func (s stream) done() { s.event("[DONE]") }

// good answers as vLLM does: one token an event, usage, [DONE]. A word is a token.
func good(w http.ResponseWriter, a asked) {
	s := answering(w, a)
	if s.chat {
		s.role()
	}
	for i := range a.Max {
		finish := ""
		if i == a.Max-1 {
			finish = "length"
		}
		s.content(fmt.Sprintf(" t%d", i), finish)
	}
	if a.Options != nil && a.Options.Usage {
		s.usage(len(strings.Fields(a.text())), a.Max)
	}
	s.done()
}

// closedLoop is a small workload.
func closedLoop(api string, concurrency, n int) perf.Workload {
	return perf.Workload{API: api, Arrival: perf.Closed, Concurrency: concurrency, NumPrompts: n, ISL: 12, OSL: 5, IgnoreEOS: true, Seed: 7}
}

// mustRun runs a config that must not fail.
func mustRun(t *testing.T, c Config) Result {
	t.Helper()
	if c.Model == "" {
		c.Model = "m"
	}
	result, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// doubted reports whether a doubt with the code is there.
func doubted(r Result, code string) bool {
	for _, d := range r.Doubts {
		if strings.HasPrefix(d, code+":") {
			return true
		}
	}
	return false
}

// onlyDoubts fails unless the doubts are those, but for what depends on timing:
// the load of this machine, and whether an empty first event was read alone.
func onlyDoubts(t *testing.T, r Result, codes ...string) {
	t.Helper()
	for _, code := range codes {
		if !doubted(r, code) {
			t.Errorf("no doubt %s in %q", code, r.Doubts)
		}
	}
	for _, d := range r.Doubts {
		code, _, _ := strings.Cut(d, ":")
		known := code == "client_lag" || code == "client_starved" || code == "cpu_steal" || code == "gc_pause" || code == "empty_first_event"
		for _, want := range codes {
			known = known || code == want
		}
		if !known {
			t.Errorf("doubt %q", d)
		}
	}
}
