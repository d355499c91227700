package vllmsim

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"strings"
)

// A generateRequest is the body of both generation endpoints. Fields that
// change nothing here (temperature, top_p, ...) are not read; those that would
// change the answer's shape in a way that is not simulated are refused.
type generateRequest struct {
	Model               string          `json:"model"`
	Prompt              json.RawMessage `json:"prompt"`
	Messages            []chatTurn      `json:"messages"`
	MaxTokens           *int            `json:"max_tokens"`
	MaxCompletionTokens *int            `json:"max_completion_tokens"`
	MinTokens           int             `json:"min_tokens"`
	IgnoreEOS           bool            `json:"ignore_eos"`
	Stop                json.RawMessage `json:"stop"`
	StopTokenIDs        []int32         `json:"stop_token_ids"`
	N                   *int            `json:"n"`
	Echo                bool            `json:"echo"`
	Stream              bool            `json:"stream"`
	StreamOptions       *streamOptions  `json:"stream_options"`
}

type streamOptions struct {
	IncludeUsage         bool `json:"include_usage"`
	ContinuousUsageStats bool `json:"continuous_usage_stats"`
}

// A chatTurn is a message as clients send it: content is text or text parts.
type chatTurn struct {
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
}

// maxBody bounds a request: a prompt of a million tokens takes about 10 MB as ids.
const maxBody = 64 << 20

func (s *Server) decode(w http.ResponseWriter, r *http.Request, into any) *apiError {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(into); err != nil {
		return badRequest("", "[{'type': 'json_invalid', 'loc': ('body',), 'msg': 'JSON decode error', 'ctx': {'error': %q}}]", err.Error())
	}
	return nil
}

// checkModel refuses a model that is not served. An empty name means the one
// that is.
func (s *Server) checkModel(name string) *apiError {
	if !s.ready() || name != "" && name != s.config.Model {
		return &apiError{http.StatusNotFound, "The model `" + name + "` does not exist.", "model"}
	}
	return nil
}

func (s *Server) checkToken(id int32) *apiError {
	if id < 0 || int(id) >= s.deployment.Shape.Vocab {
		return badRequest("prompt", "Token id %d is out of vocabulary", id)
	}
	return nil
}

func (s *Server) serveCompletions(w http.ResponseWriter, r *http.Request) {
	s.serveGenerate(w, r, false)
}

func (s *Server) serveChat(w http.ResponseWriter, r *http.Request) { s.serveGenerate(w, r, true) }

func (s *Server) serveGenerate(w http.ResponseWriter, r *http.Request, chat bool) {
	var body generateRequest
	if e := s.decode(w, r, &body); e != nil {
		e.write(w)
		return
	}
	number := s.requests.Add(1)
	faults := s.faults.Load()
	drawn := faults.draw(s.config.Seed, number)
	if faults.CrashAfter > 0 && number-faults.since >= uint64(faults.CrashAfter) {
		s.engine.crash()
	}
	seq, e := s.sequence(&body, chat)
	if e == nil && drawn.fail {
		e = &apiError{http.StatusInternalServerError, "SIMULATED fault: error_rate", ""}
		if faults.ErrorStatus != 0 {
			e.status = faults.ErrorStatus
		}
	}
	if e == nil && !s.engine.submit(seq) {
		e = errEngineDead()
	}
	if e != nil {
		e.write(w)
		return
	}
	a := &answer{server: s, w: w, r: r, seq: seq, chat: chat, faults: &faults.Faults, drawn: drawn, number: number}
	if body.Stream {
		options := streamOptions{}
		if body.StreamOptions != nil {
			options = *body.StreamOptions
		}
		newStream(a, options).serve()
		return
	}
	a.serveWhole()
}

// sequence turns a request into a sequence for the engine.
func (s *Server) sequence(body *generateRequest, chat bool) (*sequence, *apiError) {
	if e := s.checkModel(body.Model); e != nil {
		return nil, e
	}
	if body.N != nil && *body.N != 1 || body.Echo {
		return nil, badRequest("n", "the simulated server supports n=1 without echo only")
	}
	tokens, e := s.promptTokens(body, chat)
	if e != nil {
		return nil, e
	}
	seq := &sequence{tokens: tokens, promptLen: len(tokens), minTokens: body.MinTokens, stopIDs: body.StopTokenIDs, out: newOutlet()}
	if e := s.setLength(seq, body, chat); e != nil {
		return nil, e
	}
	if seq.stops, e = stopStrings(body.Stop); e != nil {
		return nil, e
	}
	seq.hashes = blockHashes(tokens, s.config.BlockSize)
	seq.answer = blockHash(mix(uint64(s.config.Seed)), tokens)
	if !body.IgnoreEOS {
		seq.ends = naturalLength(seq.answer, s.config.MeanOutputTokens)
	}
	return seq, nil
}

// naturalLength draws an exponential length of at least 1 from the seed of
// the answer.
func naturalLength(answer uint64, mean int) int {
	u := float64(mix(answer^0x5eed)>>11+1) / (1 << 53)
	return 1 + int(-math.Log(u)*float64(mean))
}

// setLength settles how long the answer may be, with vLLM's refusals.
func (s *Server) setLength(seq *sequence, body *generateRequest, chat bool) *apiError {
	limit, prompt := s.limits.maxModelLen, seq.promptLen
	if prompt == 0 {
		return badRequest("prompt", "The decoder prompt cannot be empty")
	}
	asked := body.MaxTokens
	if chat && body.MaxCompletionTokens != nil {
		asked = body.MaxCompletionTokens
	}
	switch {
	case prompt >= limit:
		return badRequest("input_tokens", "This model's maximum context length is %d tokens. However, your request has %d input tokens. Please reduce the length of the input messages.", limit, prompt)
	case asked == nil && chat:
		seq.maxTokens = limit - prompt
	case asked == nil:
		seq.maxTokens = min(16, limit-prompt)
	case *asked < 1:
		return badRequest("max_tokens", "max_tokens must be at least 1, got %d.", *asked)
	case *asked > limit-prompt:
		return badRequest("max_tokens", "'max_tokens' or 'max_completion_tokens' is too large: %d. This model's maximum context length is %d tokens and your request has %d input tokens (%d > %d - %d).", *asked, limit, prompt, *asked, limit, prompt)
	default:
		seq.maxTokens = *asked
	}
	if body.MinTokens < 0 || body.MinTokens > seq.maxTokens {
		return badRequest("min_tokens", "min_tokens must be between 0 and max_tokens=%d, got %d.", seq.maxTokens, body.MinTokens)
	}
	return nil
}

// promptTokens reads the prompt: text or token ids, or chat messages.
func (s *Server) promptTokens(body *generateRequest, chat bool) ([]int32, *apiError) {
	if chat {
		if len(body.Messages) == 0 {
			return nil, badRequest("messages", "Field required: messages")
		}
		messages, e := plainMessages(body.Messages)
		if e != nil {
			return nil, e
		}
		return chatTokens(messages, true), nil
	}
	prompt := bytes.TrimSpace(body.Prompt)
	var text string
	if json.Unmarshal(prompt, &text) == nil && len(prompt) > 0 && prompt[0] == '"' {
		return appendTokens(nil, text), nil
	}
	var texts []string
	if json.Unmarshal(prompt, &texts) == nil && len(texts) == 1 {
		return appendTokens(nil, texts[0]), nil
	}
	ids, ok := tokenIDs(prompt)
	if !ok {
		return nil, badRequest("prompt", "prompt must be one string or one list of token ids (the simulated server takes no batches)")
	}
	for _, id := range ids {
		if e := s.checkToken(id); e != nil {
			return nil, e
		}
	}
	return ids, nil
}

func tokenIDs(prompt []byte) ([]int32, bool) {
	var ids []int32
	if json.Unmarshal(prompt, &ids) == nil && len(ids) > 0 {
		return ids, true
	}
	var lists [][]int32
	if json.Unmarshal(prompt, &lists) == nil && len(lists) == 1 {
		return lists[0], true
	}
	return nil, false
}

// plainMessages reduces messages to text.
func plainMessages(turns []chatTurn) ([]chatMessage, *apiError) {
	messages := make([]chatMessage, len(turns))
	for i, turn := range turns {
		content, ok := plainContent(turn.Content)
		if !ok {
			return nil, badRequest("messages", "messages[%d].content must be a string or a list of text parts", i)
		}
		messages[i] = chatMessage{turn.Role, content}
	}
	return messages, nil
}

func plainContent(raw json.RawMessage) (string, bool) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", true
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, true
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		return "", false
	}
	var b strings.Builder
	for _, part := range parts {
		if part.Type != "text" {
			return "", false
		}
		b.WriteString(part.Text)
	}
	return b.String(), true
}

func stopStrings(raw json.RawMessage) ([]string, *apiError) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return nonEmpty([]string{one})
	}
	var many []string
	if json.Unmarshal(raw, &many) == nil {
		return nonEmpty(many)
	}
	return nil, badRequest("stop", "stop must be a string or a list of strings")
}

func nonEmpty(stops []string) ([]string, *apiError) {
	for _, stop := range stops {
		if stop == "" {
			return nil, badRequest("stop", "stop cannot contain an empty string.")
		}
	}
	return stops, nil
}
