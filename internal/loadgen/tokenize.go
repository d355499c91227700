package loadgen

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A tokenizer counts tokens by the endpoint's own /tokenize, so that a prompt
// has the length asked in the server's tokens, chat template included.
type tokenizer struct {
	run   *run
	chat  bool   // it takes messages and counts the template
	field string // else: where it takes the text
}

// textFields are where servers take the text that /tokenize counts: vLLM,
// llama.cpp's server, guidellm's mock server.
func textFields() []string { return []string{"prompt", "content", "text"} }

// tokenizeTimeout bounds one call of /tokenize.
const tokenizeTimeout = 30 * time.Second

// fitRounds is how often a prompt whose length is off is tried again.
const fitRounds = 4

// pricedWords is how many words are counted: enough for prompts that differ,
// few enough that a tokenizer of odd pieces is asked some hundred times at most.
const pricedWords = 256

// fitSample is how many prompts are counted before the costs of words are
// trusted for all others.
const fitSample = 8

// findTokenizer returns the endpoint's tokenizer and its longest context (0 if
// not told), or nil if it has none.
func (r *run) findTokenizer(ctx context.Context) (*tokenizer, int) {
	if r.conf.Workload.API == Chat {
		t := &tokenizer{run: r, chat: true}
		if n, limit, err := t.count(ctx, opening); err == nil && n > 0 {
			return t, limit
		}
	}
	for _, field := range textFields() {
		t := &tokenizer{run: r, field: field}
		n, limit, err := t.count(ctx, opening)
		if err != nil || n < 1 { // some answer what they do not know with no tokens
			continue
		}
		if r.conf.Workload.API == Chat {
			r.doubt("no_template_count: /tokenize takes no messages; prompts are fitted without the chat template's tokens")
		}
		return t, limit
	}
	return nil, 0
}

// count returns how many tokens the server makes of a prompt of one message,
// and its longest context.
func (t *tokenizer) count(ctx context.Context, text string) (tokens, limit int, err error) {
	ask := map[string]any{"model": t.run.conf.Model}
	if t.chat {
		ask["messages"], ask["add_generation_prompt"] = []message{{"user", text}}, true
	} else {
		ask[t.field] = text
	}
	if t.field == "content" {
		ask["add_special"] = true // llama.cpp leaves the opening token out otherwise
	}
	var answer struct {
		Count  *int  `json:"count"`
		Tokens []int `json:"tokens"`
		Max    int   `json:"max_model_len"`
	}
	ctx, cancel := context.WithTimeout(ctx, tokenizeTimeout)
	defer cancel()
	if err := t.run.ask(ctx, t.run.conf.root()+"/tokenize", ask, &answer); err != nil {
		return 0, 0, err
	}
	if answer.Count != nil {
		return *answer.Count, answer.Max, nil
	}
	return len(answer.Tokens), answer.Max, nil
}

// ask posts JSON and reads JSON.
func (r *run) ask(ctx context.Context, url string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	req, err := r.newRequest(ctx, url, body)
	if err != nil {
		return err
	}
	resp, err := r.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	r.seeHeader(resp.Header)
	if resp.StatusCode != http.StatusOK {
		return r.refusal(resp)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(io.LimitReader(resp.Body, 64<<20)).Decode(answer)
}

// fit gives the prompter the costs of its words in the server's tokens, and
// corrects single prompts where the costs do not add up.
func (t *tokenizer) fit(ctx context.Context, p *prompter) error {
	base, _, err := t.count(ctx, p.open())
	if err != nil {
		return fmt.Errorf("tokenize %q: %w", p.open(), err)
	}
	p.base = base
	words := everyNth(plainWords(), pricedWords)
	if err := t.price(ctx, p.open(), words); err != nil {
		return fmt.Errorf("tokenize the vocabulary: %w", err)
	}
	words = slices.DeleteFunc(words, func(w word) bool { return w.cost < 1 })
	slices.SortStableFunc(words, func(a, b word) int { return cmp.Compare(a.cost, b.cost) })
	p.words = words
	if p.conf.Workload.ISL < base {
		t.run.doubt("isl_below_template: the chat template and special tokens alone are %d tokens, isl is %d", base, p.conf.Workload.ISL)
		return nil
	}
	return t.correct(ctx, p)
}

// everyNth returns n of the words, evenly spaced.
func everyNth(words []word, n int) []word {
	some := make([]word, 0, n)
	for i := range n {
		some = append(some, words[i*len(words)/n])
	}
	return some
}

// price fills the cost of each word behind head. Words that cost one token
// each, the common case, are found out by one count of them all.
func (t *tokenizer) price(ctx context.Context, head string, words []word) error {
	alone, _, err := t.count(ctx, head)
	if err != nil {
		return err
	}
	var halve func(words []word) error
	halve = func(words []word) error {
		text := head
		for _, w := range words {
			text += " " + w.text
		}
		n, _, err := t.count(ctx, text)
		if err != nil {
			return err
		}
		cost := n - alone
		if cost == len(words) || len(words) == 1 {
			for i := range words {
				words[i].cost = cost / len(words)
			}
			return nil
		}
		if err := halve(words[:len(words)/2]); err != nil {
			return err
		}
		return halve(words[len(words)/2:])
	}
	return halve(words)
}

// correct counts a sample of the prompts. If one is off, every prompt is
// counted and its target moved until it fits, or the rounds are over.
func (t *tokenizer) correct(ctx context.Context, p *prompter) error {
	n := p.sessions(p.conf.Workload.NumPrompts)
	off := 0
	for k := range min(n, fitSample) {
		d, err := t.off(ctx, p, k*n/min(n, fitSample))
		if err != nil {
			return err
		}
		if d != 0 {
			off++
		}
	}
	if off == 0 {
		return nil
	}
	p.trim = make([]int, n)
	var next atomic.Int64
	var mu sync.Mutex
	var firstErr error
	inexact := 0
	var wg sync.WaitGroup
	for range fitSample {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				d, err := t.correctOne(ctx, p, i)
				mu.Lock()
				if err != nil && firstErr == nil {
					firstErr = err
				}
				if d != 0 {
					inexact++
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	if firstErr == nil && inexact > 0 {
		t.run.doubt("isl_inexact: %d of %d prompts could not be given exactly %d tokens with this tokenizer", inexact, n, p.conf.Workload.ISL)
	}
	return firstErr
}

// correctOne moves the target of one prompt until it fits and keeps the best.
func (t *tokenizer) correctOne(ctx context.Context, p *prompter, i int) (off int, err error) {
	best, bestTrim := 1<<30, 0
	for range fitRounds {
		d, err := t.off(ctx, p, i)
		if err != nil {
			return 0, err
		}
		if abs(d) < abs(best) {
			best, bestTrim = d, p.trim[i]
		}
		if d == 0 {
			break
		}
		p.trim[i] += d
	}
	p.trim[i] = bestTrim
	return best, nil
}

// off returns how many tokens a measured prompt lacks.
func (t *tokenizer) off(ctx context.Context, p *prompter, i int) (int, error) {
	n, _, err := t.count(ctx, p.measured(i).Turns[0].User)
	return p.conf.Workload.ISL - n, err
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

// resetPrefixCache asks the server to forget all prefixes.
func (r *run) resetPrefixCache(ctx context.Context) string {
	err := r.ask(ctx, r.conf.root()+"/reset_prefix_cache", struct{}{}, nil)
	if err == nil {
		return "done"
	}
	answer := strings.TrimSpace(err.Error())
	r.doubt("prefix_cache_kept: the server did not reset its prefix cache: %s", answer)
	return answer
}
