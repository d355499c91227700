package realparts

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The streams below are what the servers sent, byte by byte, with what differs
// from run to run replaced: a reader of such streams must cope with each.

func TestGuideLLMMock(t *testing.T) {
	t.Parallel()
	url := GuideLLMMock(t)

	t.Run("completion", func(t *testing.T) {
		// The index of a choice counts tokens; the usage chunk has no choices;
		// the reason is "stop" although max_tokens ended it.
		checkStream(t, url+"/v1/completions",
			`{"model":"m","prompt":"a b c","max_tokens":3,"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true}}`, `
data: {"id": "ID", "object": "text_completion", "created": 0, "model": "m", "choices": [{"text": "TEXT", "index": 0, "finish_reason": null}]}

data: {"id": "ID", "object": "text_completion", "created": 0, "model": "m", "choices": [{"text": "TEXT", "index": 1, "finish_reason": null}]}

data: {"id": "ID", "object": "text_completion", "created": 0, "model": "m", "choices": [{"text": "TEXT", "index": 2, "finish_reason": null}]}

data: {"id": "ID", "object": "text_completion", "created": 0, "model": "m", "choices": [{"text": "", "index": 2, "finish_reason": "stop"}]}

data: {"id": "ID", "object": "text_completion", "created": 0, "model": "m", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}}

data: [DONE]

`)
	})
	t.Run("chat", func(t *testing.T) {
		// No chunk carries the role; without include_usage there is no usage.
		checkStream(t, url+"/v1/chat/completions",
			`{"model":"m","messages":[{"role":"user","content":"a b c"}],"max_tokens":2,"stream":true}`, `
data: {"id": "ID", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [{"index": 0, "delta": {"content": "TEXT"}, "finish_reason": null}]}

data: {"id": "ID", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [{"index": 0, "delta": {"content": "TEXT"}, "finish_reason": null}]}

data: {"id": "ID", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}

data: [DONE]

`)
	})
	t.Run("chat is shorter than asked", func(t *testing.T) {
		// --output-tokens (128) caps a chat, whatever ignore_eos and min_tokens say.
		_, body := post(t, url+"/v1/chat/completions",
			`{"model":"m","messages":[{"role":"user","content":"a"}],"max_tokens":500,"min_tokens":500,"ignore_eos":true}`)
		if !strings.Contains(body, `"completion_tokens":128,`) {
			t.Errorf("got %s, want 128 completion tokens", body)
		}
	})
	t.Run("other paths", func(t *testing.T) {
		checkGet(t, url+"/v1/models", 200, `"id":"`+GuideLLMModel+`"`)
		checkGet(t, url+"/metrics", 404, `"code":"not_found"`)
		checkGet(t, url+"/version", 404, `"code":"not_found"`)
		checkPost(t, url+"/tokenize", `{"prompt":"a b c"}`, 400, `Field required`) // vLLM's way
		checkPost(t, url+"/tokenize", `{"text":"a b c"}`, 200, `"count":5`)        // blanks are tokens
		checkPost(t, url+"/v1/completions", `{"model":"m","prompt":[1,2],"max_tokens":2}`, 400, `valid string`)
	})
}

func TestTinyLlama(t *testing.T) {
	t.Parallel()
	url, model := TinyLlama(t)

	t.Run("completion", func(t *testing.T) {
		// The usage comes with the last, empty choice, asked for or not. The id
		// says chat. The prompt's 7 tokens have a <s> before them.
		checkStream(t, url+"/v1/completions",
			`{"model":"other","prompt":"hello world","max_tokens":3,"temperature":0,"ignore_eos":true,"cache_prompt":false,"stream":true}`, `
data: {"choices":[{"text":"TEXT","index":0,"logprobs":null,"finish_reason":null}],"created":0,"model":"tiny-random-llama","system_fingerprint":"b0-unknown","object":"text_completion","id":"ID"}

data: {"choices":[{"text":"TEXT","index":0,"logprobs":null,"finish_reason":null}],"created":0,"model":"tiny-random-llama","system_fingerprint":"b0-unknown","object":"text_completion","id":"ID"}

data: {"choices":[{"text":"TEXT","index":0,"logprobs":null,"finish_reason":null}],"created":0,"model":"tiny-random-llama","system_fingerprint":"b0-unknown","object":"text_completion","id":"ID"}

data: {"choices":[{"text":"","index":0,"logprobs":null,"finish_reason":"length"}],"created":0,"model":"tiny-random-llama","system_fingerprint":"b0-unknown","object":"text_completion","usage":{"completion_tokens":3,"prompt_tokens":8,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":0}},"id":"ID","timings":{}}

data: [DONE]

`)
	})
	t.Run("chat", func(t *testing.T) {
		// A first chunk with the role and null content; the usage, only when
		// asked for, in a chunk of its own.
		const request = `{"messages":[{"role":"user","content":"hello"}],"max_tokens":2,"temperature":0,"ignore_eos":true,"cache_prompt":false,"stream":true`
		const start = `
data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"created":0,"id":"ID","model":"tiny-random-llama","system_fingerprint":"b0-unknown","object":"chat.completion.chunk"}

data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"TEXT"}}],"created":0,"id":"ID","model":"tiny-random-llama","system_fingerprint":"b0-unknown","object":"chat.completion.chunk"}

data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"TEXT"}}],"created":0,"id":"ID","model":"tiny-random-llama","system_fingerprint":"b0-unknown","object":"chat.completion.chunk"}

data: {"choices":[{"finish_reason":"length","index":0,"delta":{}}],"created":0,"id":"ID","model":"tiny-random-llama","system_fingerprint":"b0-unknown","object":"chat.completion.chunk"`
		checkStream(t, url+"/v1/chat/completions", request+`}`, start+`,"timings":{}}

data: [DONE]

`)
		checkStream(t, url+"/v1/chat/completions", request+`,"stream_options":{"include_usage":true}}`, start+`}

data: {"choices":[],"created":0,"id":"ID","model":"tiny-random-llama","system_fingerprint":"b0-unknown","object":"chat.completion.chunk","usage":{"completion_tokens":2,"prompt_tokens":18,"total_tokens":20,"prompt_tokens_details":{"cached_tokens":0}},"timings":{}}

data: [DONE]

`)
	})
	t.Run("end of sequence", func(t *testing.T) {
		checkEndOfSequence(t, url)
	})
	t.Run("closes after a stream", func(t *testing.T) {
		checkCloses(t, url)
	})
	t.Run("other paths", func(t *testing.T) {
		checkGet(t, url+"/v1/models", 200, `"id":"`+model+`"`)
		checkGet(t, url+"/metrics", 501, `Start it with`)
		checkGet(t, url+"/version", 404, `not_found_error`)
		checkPost(t, url+"/tokenize", `{"prompt":"hello world"}`, 200, `{"tokens":[]}`) // vLLM's way: no error, no tokens
		checkPost(t, url+"/tokenize", `{"content":"hello world"}`, 200, `{"tokens":[285,534,402,347,540,534,526]}`)
		checkPost(t, url+"/v1/completions", `{"prompt":[1,285,534],"max_tokens":2}`, 200, `"prompt_tokens":3`)
		checkPost(t, url+"/v1/completions", `{"prompt":"`+strings.Repeat("ka ", 9000)+`","stream":true}`, 400, `exceeds the available context size (8192 tokens)`)
	})
}

// checkEndOfSequence shows that some prompts end early, that min_tokens is
// ignored, that ignore_eos is not, and that the token </s> is counted and sent
// as an event without text.
func checkEndOfSequence(t *testing.T, url string) {
	const n = 64
	early := 0
	for _, prompt := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		request := `{"prompt":"` + prompt + `","max_tokens":64,"temperature":0,"stream":true`
		_, free := post(t, url+"/v1/completions", request+`}`)
		_, floor := post(t, url+"/v1/completions", request+`,"min_tokens":64}`)
		_, forced := post(t, url+"/v1/completions", request+`,"ignore_eos":true}`)
		if got := completionTokens(t, forced); got != n {
			t.Errorf("prompt %s: %d completion tokens with ignore_eos, want %d", prompt, got, n)
		}
		if !strings.Contains(free, `"finish_reason":"stop"`) {
			continue
		}
		early++
		if got, want := completionTokens(t, floor), completionTokens(t, free); got != want {
			t.Errorf("prompt %s: min_tokens changed the length from %d to %d", prompt, want, got)
		}
		if got, want := strings.Count(free, `"finish_reason":null`), completionTokens(t, free); got != want {
			t.Errorf("prompt %s: %d events for %d tokens", prompt, got, want)
		}
		if got := strings.Count(free, `{"text":"",`); got != 2 { // for </s>, and the last
			t.Errorf("prompt %s: %d events without text, want 2", prompt, got)
		}
	}
	if early == 0 {
		t.Error("no prompt ended before max_tokens: the model shows nothing about ignore_eos")
	}
}

// checkCloses shows that the server promises to keep the connection of a
// stream (no "Connection: close", but "Keep-Alive") and closes it all the same
// when the stream is over. A client that puts it back into its pool loses a
// later request to it, at random.
func checkCloses(t *testing.T, url string) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const request = `{"prompt":"a","max_tokens":2,"stream":true}`
	fmt.Fprintf(conn, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(request), request)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	if resp.Close || resp.Header.Get("Keep-Alive") == "" {
		t.Errorf("the header tells that the connection closes: %v", resp.Header)
	}
	conn.SetReadDeadline(time.Now().Add(4 * time.Second)) // it closes idle ones after 5 s
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after the stream: %v, want EOF", err)
	}
}
