package vllmsim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// start serves a small and fast simulated server.
func start(t testing.TB, change func(*Config)) (*Server, string) {
	t.Helper()
	config := Defaults()
	config.Model, config.ModelShape, config.Hardware, config.TensorParallelSize = "test/model", "llama-3.1-8b", "h100_sm90", 1
	config.MaxModelLen, config.TimeScale = 4096, 0.001
	if change != nil {
		change(&config)
	}
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		web.Close()
	})
	return s, web.URL
}

// call sends a request and returns status, header and body.
func call(t testing.TB, method, url, body string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

func unmarshal[T any](t testing.TB, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Total      int `json:"total_tokens"`
	Completion int `json:"completion_tokens"`
	Details    *struct {
		Cached int `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

type reply struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Model   string `json:"model"`
	Choices []struct {
		Text    string `json:"text"`
		Message struct{ Role, Content string }
		Delta   struct {
			Role    *string `json:"role"`
			Content *string `json:"content"`
		} `json:"delta"`
		FinishReason *string `json:"finish_reason"`
		StopReason   any     `json:"stop_reason"`
	} `json:"choices"`
	Usage *usage `json:"usage"`
	Sim   *struct {
		Due   int64 `json:"due_ns"`
		Wrote int64 `json:"wrote_ns"`
	} `json:"sim"`
	Error *struct {
		Message string `json:"message"`
		Type    string `json:"type"`
		Code    int    `json:"code"`
	} `json:"error"`
}

// events splits an SSE body; done says that it ended with [DONE].
func events(t testing.TB, body string) (replies []reply, done bool) {
	t.Helper()
	for _, block := range strings.Split(strings.TrimSuffix(body, "\n\n"), "\n\n") {
		data, ok := strings.CutPrefix(block, "data: ")
		if !ok {
			t.Fatalf("no SSE event: %q", block)
		}
		if data == "[DONE]" {
			done = true
			continue
		}
		replies = append(replies, unmarshal[reply](t, data))
	}
	return replies, done
}

func TestEveryResponseIsMarked(t *testing.T) {
	_, url := start(t, nil)
	for _, path := range []string{"/health", "/version", "/v1/models", "/metrics", "/server_info", "/nowhere"} {
		if _, header, _ := call(t, "GET", url+path, ""); header.Get(SimulatedHeader) != "vllmsim/"+Version {
			t.Errorf("%s: header %q", path, header.Get(SimulatedHeader))
		}
	}
	_, _, body := call(t, "GET", url+"/version", "")
	if v := unmarshal[struct {
		Version   string
		Simulated bool
	}](t, body); !v.Simulated || !strings.Contains(v.Version, "vllmsim") {
		t.Errorf("/version: %s", body)
	}
}

func TestModels(t *testing.T) {
	_, url := start(t, nil)
	status, _, body := call(t, "GET", url+"/v1/models", "")
	list := unmarshal[struct {
		Object string
		Data   []struct {
			ID          string
			OwnedBy     string `json:"owned_by"`
			MaxModelLen int    `json:"max_model_len"`
		}
	}](t, body)
	if status != 200 || list.Object != "list" || len(list.Data) != 1 || list.Data[0].ID != "test/model" || list.Data[0].OwnedBy != "vllm" || list.Data[0].MaxModelLen != 4096 {
		t.Errorf("%d %s", status, body)
	}
}

func TestCompletion(t *testing.T) {
	_, url := start(t, nil)
	status, _, body := call(t, "POST", url+"/v1/completions", `{"model":"test/model","prompt":"hello world","max_tokens":7,"ignore_eos":true}`)
	got := unmarshal[reply](t, body)
	if status != 200 || got.Object != "text_completion" || len(got.Choices) != 1 || *got.Choices[0].FinishReason != "length" {
		t.Fatalf("%d %s", status, body)
	}
	// hel lo | wor ld: 2 + 2 tokens; 7 generated ones of 4 bytes.
	if u := got.Usage; u.Prompt != 4 || u.Completion != 7 || u.Total != 11 || u.Details.Cached != 0 {
		t.Errorf("usage %+v", u)
	}
	if tokens := appendTokens(nil, got.Choices[0].Text); len(tokens) != 7 {
		t.Errorf("%q is %d tokens", got.Choices[0].Text, len(tokens))
	}
	_, _, again := call(t, "POST", url+"/v1/completions", `{"prompt":["hello world"],"max_tokens":7,"ignore_eos":true}`)
	if unmarshal[reply](t, again).Choices[0].Text != got.Choices[0].Text {
		t.Error("the same prompt got another answer")
	}
}

func TestCompletionStream(t *testing.T) {
	_, url := start(t, func(c *Config) { c.StampTokens = true })
	before := time.Now().UnixNano()
	_, header, body := call(t, "POST", url+"/v1/completions", `{"prompt":[1,2,3],"max_tokens":5,"min_tokens":5,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}}`)
	after := time.Now().UnixNano()
	if !strings.HasPrefix(header.Get("Content-Type"), "text/event-stream") {
		t.Errorf("content type %q", header.Get("Content-Type"))
	}
	got, done := events(t, body)
	if len(got) != 6 || !done {
		t.Fatalf("%d events, done %v: %s", len(got), done, body)
	}
	for i, e := range got[:5] {
		if e.Usage.Completion != i+1 || e.Usage.Prompt != 3 || len(appendTokens(nil, e.Choices[0].Text)) != 1 || (e.Choices[0].FinishReason != nil) != (i == 4) {
			t.Errorf("event %d: %+v", i, e)
		}
		if e.Sim.Due < before || e.Sim.Wrote < e.Sim.Due || e.Sim.Wrote > after || i > 0 && e.Sim.Due <= got[i-1].Sim.Due {
			t.Errorf("event %d: due %d, wrote %d", i, e.Sim.Due, e.Sim.Wrote)
		}
	}
	if last := got[5]; len(last.Choices) != 0 || last.Usage.Completion != 5 || last.Usage.Details == nil {
		t.Errorf("usage event %+v", last)
	}
}

// On the real clock, tokens are due exactly as far apart as on virtual time:
// late sleeps of the machine do not add up.
func TestScheduleDoesNotDrift(t *testing.T) {
	change := func(c *Config) { c.StampTokens, c.StepOverhead, c.MaxModelLen, c.TimeScale = true, 0, 4096, 0.1 }
	l := newLab(t, change)
	want := l.add(prompt(7, 300), 60)
	l.run()
	due, _, _ := want.out.take(nil)

	_, url := start(t, change)
	ids, err := json.Marshal(prompt(7, 300))
	if err != nil {
		t.Fatal(err)
	}
	_, _, body := call(t, "POST", url+"/v1/completions", `{"prompt":`+string(ids)+`,"max_tokens":60,"ignore_eos":true,"stream":true}`)
	got, _ := events(t, body)
	if len(got) != 60 {
		t.Fatalf("%d events", len(got))
	}
	for i := range got {
		if g, w := got[i].Sim.Due-got[0].Sim.Due, int64(due[i].due-due[0].due); g != w {
			t.Fatalf("token %d is due %d ns after the first, want %d", i, g, w)
		}
	}
}

func TestChatStream(t *testing.T) {
	_, url := start(t, nil)
	_, _, body := call(t, "POST", url+"/v1/chat/completions", `{"model":"test/model","messages":[{"role":"system","content":"be"},{"role":"user","content":[{"type":"text","text":"abc"}]}],"max_completion_tokens":3,"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true}}`)
	got, done := events(t, body)
	if len(got) != 5 || !done {
		t.Fatalf("%d events, done %v: %s", len(got), done, body)
	}
	if d := got[0].Choices[0].Delta; d.Role == nil || *d.Role != "assistant" || *d.Content != "" {
		t.Errorf("first event %s", body)
	}
	for i, e := range got[1:4] {
		if d := e.Choices[0].Delta; d.Role != nil || len(*d.Content) != 4 || e.Usage != nil || e.Object != "chat.completion.chunk" {
			t.Errorf("event %d: %+v", i+1, e)
		}
	}
	if reason := got[3].Choices[0].FinishReason; reason == nil || *reason != "length" {
		t.Errorf("finish reason %v", reason)
	}
	// <|system|> be <|end|> <|user|> abc <|end|> <|assistant|>
	if u := got[4].Usage; u.Prompt != 7 || u.Completion != 3 {
		t.Errorf("usage %+v", u)
	}
}

func TestChat(t *testing.T) {
	_, url := start(t, nil)
	_, _, body := call(t, "POST", url+"/v1/chat/completions", `{"messages":[{"role":"user","content":"abc"}],"max_tokens":3,"ignore_eos":true}`)
	got := unmarshal[reply](t, body)
	if got.Object != "chat.completion" || got.Choices[0].Message.Role != "assistant" || len(got.Choices[0].Message.Content) != 12 || got.Usage.Prompt != 4 {
		t.Errorf("%s", body)
	}
}

// A second turn that repeats the first and its answer finds both cached.
func TestConversationHitsThePrefixCache(t *testing.T) {
	_, url := start(t, nil)
	question := strings.Repeat("what is it ", 20)
	first := fmt.Sprintf(`{"role":"user","content":%q}`, question)
	_, _, body := call(t, "POST", url+"/v1/chat/completions", `{"messages":[`+first+`],"max_tokens":64,"ignore_eos":true}`)
	one := unmarshal[reply](t, body)
	second := fmt.Sprintf(`%s,{"role":"assistant","content":%q},{"role":"user","content":"and"}`, first, one.Choices[0].Message.Content)
	_, _, body = call(t, "POST", url+"/v1/chat/completions", `{"messages":[`+second+`],"max_tokens":1}`)
	two := unmarshal[reply](t, body)
	want := (one.Usage.Total - 1) / 16 * 16
	if two.Usage.Details.Cached != want {
		t.Errorf("%d of %d tokens cached, want %d", two.Usage.Details.Cached, two.Usage.Prompt, want)
	}
	call(t, "POST", url+"/reset_prefix_cache", "")
	_, _, body = call(t, "POST", url+"/v1/chat/completions", `{"messages":[`+second+`],"max_tokens":1}`)
	if cached := unmarshal[reply](t, body).Usage.Details.Cached; cached != 0 {
		t.Errorf("%d tokens cached after the reset", cached)
	}
}

func TestStopReasonAndNaturalEnd(t *testing.T) {
	_, url := start(t, func(c *Config) { c.MeanOutputTokens = 5 })
	_, _, body := call(t, "POST", url+"/v1/completions", `{"prompt":"x","max_tokens":2000}`)
	got := unmarshal[reply](t, body)
	if *got.Choices[0].FinishReason != "stop" || got.Choices[0].StopReason != nil || got.Usage.Completion > 200 {
		t.Fatalf("natural end: %s", body)
	}
	stop := got.Choices[0].Text[1:3]
	_, _, body = call(t, "POST", url+"/v1/completions", fmt.Sprintf(`{"prompt":"x","max_tokens":2000,"ignore_eos":true,"stop":[%q]}`, stop))
	got = unmarshal[reply](t, body)
	if *got.Choices[0].FinishReason != "stop" || got.Choices[0].StopReason != stop || strings.Contains(got.Choices[0].Text, stop) {
		t.Errorf("stop string: %s", body)
	}
}

func TestRefusals(t *testing.T) {
	_, url := start(t, nil)
	for _, c := range []struct {
		path, body string
		status     int
		kind, want string
	}{
		{"/v1/completions", `{"model":"other","prompt":"x"}`, 404, "NotFoundError", "The model `other` does not exist."},
		{"/v1/completions", `{"prompt":`, 400, "BadRequestError", "JSON decode error"},
		{"/v1/completions", `{"prompt":"x","max_tokens":"5"}`, 400, "BadRequestError", "max_tokens"},
		{"/v1/completions", `{"prompt":""}`, 400, "BadRequestError", "empty"},
		{"/v1/completions", `{"prompt":["a","b"]}`, 400, "BadRequestError", "no batches"},
		{"/v1/completions", `{"prompt":[200000]}`, 400, "BadRequestError", "out of vocabulary"},
		{"/v1/completions", `{"prompt":"` + strings.Repeat("a ", 4200) + `"}`, 400, "BadRequestError", "maximum context length is 4096 tokens"},
		{"/v1/completions", `{"prompt":"x","max_tokens":4096}`, 400, "BadRequestError", "(4096 > 4096 - 1)"},
		{"/v1/completions", `{"prompt":"x","max_tokens":0}`, 400, "BadRequestError", "max_tokens must be at least 1, got 0."},
		{"/v1/completions", `{"prompt":"x","max_tokens":5,"min_tokens":6}`, 400, "BadRequestError", "min_tokens"},
		{"/v1/completions", `{"prompt":"x","n":2}`, 400, "BadRequestError", "n=1"},
		{"/v1/completions", `{"prompt":"x","stop":[""]}`, 400, "BadRequestError", "stop"},
		{"/v1/chat/completions", `{"messages":[]}`, 400, "BadRequestError", "messages"},
		{"/v1/chat/completions", `{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, 400, "BadRequestError", "messages[0].content"},
		{"/tokenize", `{}`, 400, "BadRequestError", "prompt"},
		{"/detokenize", `{"tokens":[-1]}`, 400, "BadRequestError", "out of vocabulary"},
		{"/sim/faults", `{"no_such_fault":1}`, 400, "BadRequestError", "no_such_fault"},
		{"/sim/faults", `{"error_rate":2}`, 400, "BadRequestError", "between 0 and 1"},
	} {
		status, _, body := call(t, "POST", url+c.path, c.body)
		if e := unmarshal[reply](t, body).Error; status != c.status || e == nil || e.Type != c.kind || e.Code != c.status || !strings.Contains(e.Message, c.want) {
			t.Errorf("%s %.60s: %d %s", c.path, c.body, status, body)
		}
	}
	if status, _, body := call(t, "GET", url+"/nowhere", ""); status != 404 || !strings.Contains(body, "Not Found") {
		t.Errorf("/nowhere: %d %s", status, body)
	}
}

func TestBearerToken(t *testing.T) {
	_, url := start(t, func(c *Config) { c.APIKey = "open sesame" })
	for _, c := range []struct {
		header string
		status int
	}{{"", 401}, {"Bearer wrong", 401}, {"open sesame", 401}, {"Bearer open sesame", 200}, {"bearer open sesame", 200}} {
		r, err := http.NewRequest("GET", url+"/v1/models", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", c.header)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%q: %d, want %d", c.header, resp.StatusCode, c.status)
		}
	}
	if status, _, _ := call(t, "GET", url+"/health", ""); status != 200 {
		t.Errorf("/health wants a token: %d", status)
	}
}

func TestTokenizeAndDetokenize(t *testing.T) {
	_, url := start(t, nil)
	_, _, body := call(t, "POST", url+"/tokenize", `{"model":"test/model","prompt":"Hello, wörld 2026"}`)
	got := unmarshal[struct {
		Count       int
		MaxModelLen int `json:"max_model_len"`
		Tokens      []int32
	}](t, body)
	if got.Count != len(got.Tokens) || got.MaxModelLen != 4096 {
		t.Errorf("%s", body)
	}
	ids, _ := json.Marshal(got.Tokens)
	_, _, body = call(t, "POST", url+"/detokenize", `{"tokens":`+string(ids)+`}`)
	if text := unmarshal[struct{ Prompt string }](t, body).Prompt; text != "Hello, wörld 2026" {
		t.Errorf("%q", text)
	}
	// The count of messages is the prompt_tokens of the same messages.
	messages := `"messages":[{"role":"user","content":"one two three"}]`
	_, _, body = call(t, "POST", url+"/tokenize", `{`+messages+`}`)
	count := unmarshal[struct{ Count int }](t, body).Count
	_, _, body = call(t, "POST", url+"/v1/chat/completions", `{`+messages+`,"max_tokens":1}`)
	if got := unmarshal[reply](t, body).Usage.Prompt; got != count {
		t.Errorf("/tokenize counts %d, the server %d", count, got)
	}
}

func TestServerInfo(t *testing.T) {
	_, url := start(t, func(c *Config) { c.MaxNumSeqs = 77 })
	_, _, body := call(t, "GET", url+"/server_info?config_format=json", "")
	info := unmarshal[struct {
		Config map[string]map[string]any `json:"vllm_config"`
	}](t, body)
	for _, c := range []struct {
		section, name string
		want          any
	}{
		{"scheduler_config", "max_num_seqs", 77.0}, {"model_config", "max_model_len", 4096.0}, {"parallel_config", "tensor_parallel_size", 1.0},
		{"cache_config", "cache_dtype", "auto"}, {"model_config", "quantization", nil},
	} {
		if got := info.Config[c.section][c.name]; got != c.want {
			t.Errorf("%s.%s = %v, want %v", c.section, c.name, got, c.want)
		}
	}
}

// lockedBuffer is a log that a test reads while the server writes.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestStartUpLog(t *testing.T) {
	var log lockedBuffer
	start(t, func(c *Config) { c.Log = &log })
	for _, want := range []string{
		"(APIServer pid=", "vLLM API server version 0.26.0", "non-default args: {'model': 'test/model'", "'max_model_len': '4096'",
		"(EngineCore pid=", "GPU KV cache size: ", "Maximum concurrency for 4,096 tokens per request: ", "SIMULATED",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in\n%s", want, log.String())
		}
	}
}

// A client that leaves frees its place and its blocks.
func TestAbort(t *testing.T) {
	s, url := start(t, func(c *Config) { c.TimeScale = 1 })
	resp, err := http.Post(url+"/v1/completions", "application/json", strings.NewReader(`{"prompt":"x","max_tokens":4000,"ignore_eos":true,"stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for deadline := time.Now().Add(20 * time.Second); ; {
		parsed := families(t, url)
		aborted := 0.0
		for _, m := range parsed["vllm:request_success_total"].GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == "abort" {
					aborted = m.GetCounter().GetValue()
				}
			}
		}
		if totals := s.Totals(); aborted == 1 && totals.Running == 0 && totals.KVBlocksUsed == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the request is still there: %+v", s.Totals())
		}
	}
}

// Many streams, some that leave, scrapes and faults at once; for -race.
func TestConcurrentStreams(t *testing.T) {
	s, url := start(t, nil)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	var group sync.WaitGroup
	for worker := range 48 {
		group.Go(func() {
			for round := range 4 {
				body := fmt.Sprintf(`{"prompt":"prompt %d of worker %d","max_tokens":40,"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true}}`, round, worker)
				resp, err := client.Post(url+"/v1/completions", "application/json", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				if worker%8 == 0 {
					resp.Body.Close()
					continue
				}
				text, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || !strings.HasSuffix(string(text), "data: [DONE]\n\n") || !strings.Contains(string(text), `"completion_tokens":40`) {
					t.Errorf("worker %d: %v, %d bytes", worker, err, len(text))
				}
			}
		})
	}
	group.Go(func() {
		for range 20 {
			families(t, url)
			if err := s.SetFaults(Faults{CoalesceTokens: 2}); err != nil {
				t.Error(err)
			}
			call(t, "POST", url+"/reset_prefix_cache", "")
		}
	})
	group.Wait()
	if totals := s.Totals(); totals.GeneratedTokens < 42*4*40 {
		t.Errorf("%d tokens generated", totals.GeneratedTokens)
	}
}

// Close cuts what is open and returns.
func TestCloseCutsStreams(t *testing.T) {
	s, url := start(t, func(c *Config) { c.TimeScale = 1000 })
	resp, err := http.Post(url+"/v1/completions", "application/json", strings.NewReader(`{"prompt":"x","max_tokens":10,"stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the stream ended in good order")
	}
}
