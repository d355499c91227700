package loadgen

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"pipeline/lake/perf"
)

func prompts(w perf.Workload) *prompter {
	return newPrompter(&Config{Workload: w})
}

// The published first outputs of splitmix64 for the seed 1234567.
func TestRandom(t *testing.T) {
	r := &random{1234567}
	for i, want := range []uint64{6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821} {
		if got := r.next(); got != want {
			t.Errorf("output %d is %d, want %d", i, got, want)
		}
	}
}

func TestPromptsBySeed(t *testing.T) {
	w := closedLoop(Chat, 1, 50)
	one, repeated := prompts(w).digest(t.Context())
	if again, _ := prompts(w).digest(t.Context()); again != one || repeated != 0 {
		t.Errorf("the same seed gives %s and %s, %d repeated", one, again, repeated)
	}
	w.Seed++
	if other, _ := prompts(w).digest(t.Context()); other == one {
		t.Error("another seed gives the same prompts")
	}
	w.Seed--
	salted := newPrompter(&Config{Workload: w, Salt: "run-2"})
	if other, _ := salted.digest(t.Context()); other == one || !strings.HasPrefix(salted.measured(0).Turns[0].User, "run-2 ") {
		t.Error("a salt changes nothing")
	}
}

func TestPromptsApart(t *testing.T) {
	w := closedLoop(Chat, 1, 200)
	w.ISL, w.SharedPrefix = 40, 16
	p := prompts(w)
	seen := map[string]bool{}
	prefix := ""
	for i := range 200 {
		for _, conv := range []Conversation{p.measured(i), p.warmup(i)} {
			words := strings.Fields(conv.Turns[0].User)
			if len(words) != 40 {
				t.Fatalf("%d words, want 40", len(words))
			}
			head := strings.Join(words[:16], " ")
			if prefix == "" {
				prefix = head
			}
			if head != prefix {
				t.Errorf("the prefix %q is not shared", head)
			}
			seen[conv.Turns[0].User] = true
		}
	}
	if len(seen) != 400 {
		t.Errorf("%d of 400 prompts differ", len(seen))
	}
}

func TestRepeatedPrompts(t *testing.T) {
	w := closedLoop(Chat, 1, 5000)
	w.ISL = 2 // the opening and one word: there are not so many words
	if _, repeated := prompts(w).digest(t.Context()); repeated == 0 {
		t.Error("5000 prompts of two words, and none repeats")
	}
}

func TestArrivals(t *testing.T) {
	if got := arrivals(1, 4, 8, perf.Constant); !slices.Equal(got, []int64{0, 125e6, 250e6, 375e6}) {
		t.Errorf("constant: %v", got)
	}
	const n, rate = 20000, 50.0
	at := arrivals(1, n, rate, perf.Poisson)
	if !slices.Equal(at, arrivals(1, n, rate, perf.Poisson)) || slices.Equal(at, arrivals(2, n, rate, perf.Poisson)) {
		t.Error("the schedule is not that of the seed")
	}
	// Distances are exponential of mean 20 ms: mean and deviation agree, within
	// 5 standard errors (20 ms/sqrt(20000) = 0.14 ms; for the deviation twice that).
	var gaps []float64
	for i := 1; i < n; i++ {
		gaps = append(gaps, float64(at[i]-at[i-1])/1e6)
	}
	d := perf.Describe(gaps)
	if math.Abs(d.Mean-20) > 0.7 || math.Abs(d.Std-20) > 1.4 {
		t.Errorf("mean %v ms, deviation %v; want 20 and 20", d.Mean, d.Std)
	}
}

// A tokenizer that makes strange pieces: a word costs one token for each
// three letters begun, the chat template costs 9.
func oddTokenizer(t *testing.T, template int, skew func(tokens int) int, limit int) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		var q struct {
			Model    string
			Prompt   *string
			Messages []message
		}
		if err := json.NewDecoder(req.Body).Decode(&q); err != nil || q.Model != "m" {
			t.Errorf("tokenize: %v, %+v", err, q)
		}
		text, n := "", 0
		switch {
		case q.Prompt != nil:
			text, n = *q.Prompt, 1
		case template == 0:
			http.Error(w, "no messages", 400)
			return
		default:
			text, n = q.Messages[0].Content, template
		}
		fmt.Fprintf(w, `{"count":%d,"max_model_len":%d,"tokens":[]}`, skew(n+letters(text)), limit)
	}
}

func letters(text string) int {
	n := 0
	for _, word := range strings.Fields(text) {
		n += (len(word) + 2) / 3
	}
	return n
}

func TestTokenizer(t *testing.T) {
	plain := func(n int) int { return n }
	for name, c := range map[string]struct {
		api      string
		template int
		skew     func(int) int
		isl      int
		want     func(text string) int
		doubts   []string
	}{
		"chat":        {Chat, 9, plain, 50, func(s string) int { return 9 + letters(s) }, nil},
		"completions": {Completions, 9, plain, 50, func(s string) int { return 1 + letters(s) }, nil},
		"no template": {Chat, 0, plain, 50, func(s string) int { return 1 + letters(s) }, []string{"no_template_count"}},
		// Long prompts lose a token for every 20: the costs do not add up, and
		// each prompt is fitted by itself.
		"not additive": {Completions, 9, func(n int) int { return n - n/20 }, 100, func(s string) int { n := 1 + letters(s); return n - n/20 }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, good, map[string]http.HandlerFunc{"/tokenize": oddTokenizer(t, c.template, c.skew, 0)})
			w := closedLoop(c.api, 4, 30)
			w.ISL, w.SharedPrefix = c.isl, 20
			result := mustRun(t, Config{BaseURL: s.URL + "/v1", Workload: w})
			onlyDoubts(t, result, c.doubts...)
			if !result.Tokenizer {
				t.Error("the tokenizer was not used")
			}
			for _, a := range s.got {
				if n := c.want(a.text()); n != c.isl {
					t.Errorf("%q has %d tokens, want %d", a.text(), n, c.isl)
				}
			}
		})
	}
}

func TestTokenizerRefusals(t *testing.T) {
	plain := func(n int) int { return n }
	s := serve(t, good, map[string]http.HandlerFunc{"/tokenize": oddTokenizer(t, 9, plain, 16)})
	if _, err := Run(t.Context(), Config{BaseURL: s.URL, Model: "m", Workload: closedLoop(Chat, 1, 1)}); err == nil || !strings.Contains(err.Error(), "16 tokens") { // 12 + 5
		t.Errorf("more than the context: %v", err)
	}
	w := closedLoop(Chat, 1, 1)
	w.ISL = 5 // the template alone has 9
	s = serve(t, good, map[string]http.HandlerFunc{"/tokenize": oddTokenizer(t, 9, plain, 0)})
	if r := mustRun(t, Config{BaseURL: s.URL, Workload: w}); !doubted(r, "isl_below_template") {
		t.Errorf("doubts %q", r.Doubts)
	}
}
