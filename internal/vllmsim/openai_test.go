package vllmsim

import (
	"encoding/json"
	"testing"
)

// FuzzRequest: no body makes the server panic, and what it takes fits it.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		`{"prompt":"hello","max_tokens":5}`, `{"prompt":[1,2,3],"stop":["a"],"stop_token_ids":[7]}`, `{"prompt":[[1]],"min_tokens":3}`,
		`{"messages":[{"role":"user","content":"x"}],"max_completion_tokens":3}`, `{"messages":[{"content":[{"type":"text","text":"x"}]}]}`,
		`{"prompt":null}`, `{"prompt":{},"n":0}`, `{"prompt":"x","max_tokens":-1}`, `{"prompt":"x","max_tokens":9223372036854775807}`,
	} {
		f.Add(seed, seed[2] == 'm')
	}
	config := Defaults()
	config.MaxModelLen = 4096
	s, err := build(config)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string, chat bool) {
		var body generateRequest
		if json.Unmarshal([]byte(text), &body) != nil {
			return
		}
		seq, e := s.sequence(&body, chat)
		if e != nil {
			if e.message == "" || e.status < 400 {
				t.Errorf("an empty refusal: %+v", e)
			}
			return
		}
		if seq.promptLen < 1 || seq.maxTokens < 1 || seq.maxTokens > s.limits.maxModelLen-seq.promptLen || seq.minTokens > seq.maxTokens {
			t.Errorf("prompt %d, max %d, min %d within %d", seq.promptLen, seq.maxTokens, seq.minTokens, s.limits.maxModelLen)
		}
	})
}
