package vllmsim

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestErrorRate(t *testing.T) {
	s, url := start(t, nil)
	if err := s.SetFaults(Faults{ErrorRate: 0.5, ErrorStatus: 429}); err != nil {
		t.Fatal(err)
	}
	counts := map[int]int{}
	for range 200 {
		status, _, body := call(t, "POST", url+"/v1/completions", `{"prompt":"x","max_tokens":1}`)
		counts[status]++
		if status == 429 && !strings.Contains(body, "SIMULATED fault") {
			t.Fatal(body)
		}
	}
	// 5 standard deviations of 200 fair draws are 35.
	if counts[200]+counts[429] != 200 || counts[429] < 65 || counts[429] > 135 {
		t.Errorf("%v", counts)
	}
}

func TestResetMidStream(t *testing.T) {
	_, url := start(t, func(c *Config) { c.Faults = Faults{ResetRate: 1, ResetAfter: 3} })
	resp, err := http.Post(url+"/v1/completions", "application/json", strings.NewReader(`{"prompt":"x","max_tokens":10,"ignore_eos":true,"stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v, want a reset", err)
	}
	if n := strings.Count(string(body), "data: "); n > 3 {
		t.Errorf("%d events before the reset, want at most 3", n)
	}
}

// A stall holds the stream, not the engine: the tokens are due as always, and
// those after the pause are written when it is over.
func TestStall(t *testing.T) {
	const pause = 80 * time.Millisecond
	_, url := start(t, func(c *Config) {
		c.StampTokens = true
		c.Faults = Faults{StallRate: 1, StallAfter: 2, Stall: pause}
	})
	_, _, body := call(t, "POST", url+"/v1/completions", `{"prompt":"x","max_tokens":5,"ignore_eos":true,"stream":true}`)
	got, done := events(t, body)
	if len(got) != 5 || !done {
		t.Fatalf("%d events: %s", len(got), body)
	}
	if gap := time.Duration(got[2].Sim.Wrote - got[1].Sim.Wrote); gap < pause {
		t.Errorf("the pause was %v, want %v", gap, pause)
	}
	if due := time.Duration(got[4].Sim.Due - got[0].Sim.Due); due >= pause {
		t.Errorf("the engine stalled too: %v", due)
	}
}

func TestSlowStart(t *testing.T) {
	s, url := start(t, func(c *Config) { c.Faults = Faults{SlowStart: time.Hour} })
	if status, _, _ := call(t, "GET", url+"/health", ""); status != 200 {
		t.Errorf("/health: %d", status)
	}
	if _, _, body := call(t, "GET", url+"/v1/models", ""); !strings.Contains(body, `"data":[]`) {
		t.Errorf("/v1/models: %s", body)
	}
	if status, _, _ := call(t, "POST", url+"/v1/completions", `{"prompt":"x"}`); status != 404 {
		t.Errorf("completion: %d", status)
	}
	if err := s.SetFaults(Faults{}); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := call(t, "POST", url+"/v1/completions", `{"prompt":"x"}`); status != 200 {
		t.Errorf("completion after the start: %d", status)
	}
}

func TestQuirks(t *testing.T) {
	_, url := start(t, nil)
	status, _, body := call(t, "POST", url+"/sim/faults", `{"no_usage":true,"no_tokenize":true,"no_metrics":true,"coalesce_tokens":4,"role_early":true}`)
	if status != 200 || !unmarshal[Faults](t, body).NoUsage {
		t.Fatalf("%d %s", status, body)
	}
	if status, _, _ := call(t, "GET", url+"/metrics", ""); status != 404 {
		t.Errorf("/metrics: %d", status)
	}
	if status, _, _ := call(t, "POST", url+"/tokenize", `{"prompt":"x"}`); status != 404 {
		t.Errorf("/tokenize: %d", status)
	}
	_, _, body = call(t, "POST", url+"/v1/chat/completions", `{"messages":[{"role":"user","content":"x"}],"max_tokens":10,"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true}}`)
	got, done := events(t, body)
	if len(got) != 4 || !done || *got[0].Choices[0].Delta.Role != "assistant" {
		t.Fatalf("%d events: %s", len(got), body)
	}
	for i, tokens := range []int{4, 4, 2} {
		if n := len(appendTokens(nil, *got[i+1].Choices[0].Delta.Content)); n != tokens {
			t.Errorf("event %d has %d tokens, want %d", i+1, n, tokens)
		}
	}
	_, _, body = call(t, "POST", url+"/v1/completions", `{"prompt":"x","max_tokens":1}`)
	if strings.Contains(body, "usage") {
		t.Errorf("usage in %s", body)
	}
}

// The engine dies in the middle of a stream: the stream ends with an error,
// later requests get 500, /health 503, and the log has the cause first.
func TestEngineCrash(t *testing.T) {
	var log lockedBuffer
	_, url := start(t, func(c *Config) { c.Log, c.TimeScale = &log, 1 })
	resp, err := http.Post(url+"/v1/completions", "application/json", strings.NewReader(`{"prompt":"x","max_tokens":4000,"ignore_eos":true,"stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "data: ") {
		t.Fatalf("first line %q", lines.Text())
	}
	if status, _, body := call(t, "POST", url+"/sim/faults", `{"crash":true}`); status != 200 {
		t.Fatal(body)
	}
	var data []string
	for lines.Scan() {
		if lines.Text() != "" {
			data = append(data, lines.Text())
		}
	}
	if len(data) < 2 || data[len(data)-1] != "data: [DONE]" || !strings.Contains(data[len(data)-2], engineDead) {
		t.Errorf("the stream ended with %q", data[max(0, len(data)-2):])
	}
	if status, _, body := call(t, "POST", url+"/v1/completions", `{"prompt":"x"}`); status != 500 || !strings.Contains(body, "EngineCore encountered an issue") {
		t.Errorf("completion: %d %s", status, body)
	}
	if status, _, _ := call(t, "GET", url+"/health", ""); status != 503 {
		t.Errorf("/health: %d", status)
	}
	text := log.String()
	cause, tail := strings.Index(text, "torch.AcceleratorError: CUDA error"), strings.Index(text, "EngineDeadError")
	if cause < 0 || tail < cause || !strings.Contains(text, ") ERROR ") {
		t.Errorf("log:\n%s", text)
	}
}

func TestCrashAfter(t *testing.T) {
	_, url := start(t, func(c *Config) { c.Faults = Faults{CrashAfter: 3} })
	for i, want := range []int{200, 200, 500, 500} {
		if status, _, _ := call(t, "POST", url+"/v1/completions", `{"prompt":"x","max_tokens":1}`); status != want {
			t.Errorf("request %d: %d, want %d", i+1, status, want)
		}
	}
}

// The draws of faults: the same for the same seed and request, and a fault
// that a low rate gives a higher one gives too.
func TestFaultDraws(t *testing.T) {
	low, high := Faults{ErrorRate: 0.1, StallRate: 0.2, ResetRate: 0.3}, Faults{ErrorRate: 0.4, StallRate: 0.5, ResetRate: 0.6}
	none, all := Faults{}, Faults{ErrorRate: 1, StallRate: 1, ResetRate: 1}
	for request := range uint64(2000) {
		a, b := low.draw(5, request), high.draw(5, request)
		if a != low.draw(5, request) || a.fail && !b.fail || a.stall && !b.stall || a.reset && !b.reset {
			t.Fatalf("request %d: %+v, then %+v", request, a, b)
		}
		if none.draw(5, request) != (drawnFaults{}) || all.draw(5, request) != (drawnFaults{true, true, true}) {
			t.Fatalf("request %d: rates 0 and 1 are not never and always", request)
		}
	}
}
