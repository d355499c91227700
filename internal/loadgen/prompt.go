package loadgen

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// A Conversation is what one user says, turn after turn. One turn is a single
// request.
type Conversation struct {
	System string // system message; chat only
	Turns  []Turn
}

// A Turn is one message of the user.
type Turn struct {
	User      string
	Tokens    []int  // the prompt as token ids instead of User; completions only, single turn
	Assistant string // the answer that later turns see; "" is the answer received
	OSL       int    // output tokens asked; 0 is the workload's
}

// A prompter gives the conversations of a run by number. It is deterministic:
// the same config and the same tokenizer give the same prompts.
type prompter struct {
	conf  *Config
	words []word // sorted by cost; what synthetic prompts are made of
	base  int    // tokens of a prompt that holds the opening alone: chat template, special tokens, salt
	trim  []int  // by measured prompt: tokens to add to its target, found by fitting; nil for none
}

// newPrompter returns a prompter whose tokens are words: what is known of an
// endpoint without /tokenize.
func newPrompter(c *Config) *prompter {
	return &prompter{conf: c, words: plainWords(), base: len(strings.Fields(c.Salt)) + 1}
}

// Streams of random numbers, so that prompts of one sort never repeat those of another.
const (
	streamPrefix = iota + 1
	streamMeasured
	streamWarmup
	streamProbe
	streamArrival
)

// opening is the first word of every synthetic prompt. The costs of all others
// are taken behind it, where they have a space before them.
const opening = "the"

// sessions returns how many conversations make n requests.
func (p *prompter) sessions(n int) int {
	if p.conf.Conversations == nil {
		turns := max(1, p.conf.Workload.Turns)
		return (n + turns - 1) / turns
	}
	sessions := 0
	for ; n > 0; sessions++ {
		n -= p.conf.turnsOf(p.conf.Conversations[sessions])
	}
	return sessions
}

// single reports whether every conversation is one request.
func (p *prompter) single() bool {
	if p.conf.Conversations == nil {
		return p.conf.Workload.Turns <= 1
	}
	return !slices.ContainsFunc(p.conf.Conversations, func(c Conversation) bool { return p.conf.turnsOf(c) > 1 })
}

// measured returns a measured conversation. Given ones are used from the
// front, by the warm-up from the back.
func (p *prompter) measured(i int) Conversation {
	if p.conf.Conversations != nil {
		return p.conf.Conversations[i]
	}
	return p.synthetic(streamMeasured, i)
}

func (p *prompter) warmup(i int) Conversation {
	if all := p.conf.Conversations; all != nil {
		return all[len(all)-1-i]
	}
	return p.synthetic(streamWarmup, i)
}

// synthetic makes a conversation of random words. Its first message has ISL
// tokens in all, SharedPrefix of them the same in every conversation; each
// later message adds ISL tokens of its own.
func (p *prompter) synthetic(stream uint64, i int) Conversation {
	w := &p.conf.Workload
	random := newRandom(w.Seed, stream, uint64(i))
	conv := Conversation{Turns: make([]Turn, max(1, w.Turns))}
	for t := range conv.Turns {
		var b strings.Builder
		b.Grow(8 * w.ISL)
		if t > 0 {
			p.fill(&b, random, w.ISL)
			conv.Turns[t].User = b.String()
			continue
		}
		target := w.ISL - p.base
		if stream == streamMeasured && p.trim != nil {
			target += p.trim[i]
		}
		b.WriteString(p.open())
		if w.SharedPrefix > p.base {
			target -= p.fill(&b, newRandom(w.Seed, streamPrefix, 0), w.SharedPrefix-p.base)
		}
		p.fill(&b, random, target)
		conv.Turns[0].User = b.String()
	}
	return conv
}

// open returns what every synthetic prompt begins with.
func (p *prompter) open() string {
	if p.conf.Salt != "" {
		return p.conf.Salt + " " + opening
	}
	return opening
}

// fill appends random words of tokens in all, as near below as the words
// allow, and returns what they cost.
func (p *prompter) fill(b *strings.Builder, random *random, tokens int) int {
	usable, spent := len(p.words), 0
	for {
		for usable > 0 && p.words[usable-1].cost > tokens-spent {
			usable--
		}
		if usable == 0 {
			return spent
		}
		w := p.words[random.below(usable)]
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(w.text)
		spent += w.cost
	}
}

// digest names all measured prompts, and counts how many of them were there
// before: a prefix cache answers those.
func (p *prompter) digest(ctx context.Context) (name string, repeated int) {
	all := sha256.New()
	seen := map[[sha256.Size]byte]bool{}
	for i := range p.sessions(p.conf.Workload.NumPrompts) {
		if ctx.Err() != nil {
			return "", 0
		}
		one := sha256.New()
		conv := p.measured(i)
		fmt.Fprintf(one, "%s\x00", conv.System)
		for _, t := range conv.Turns {
			fmt.Fprintf(one, "%s\x00%v\x00%s\x00%d\x00", t.User, t.Tokens, t.Assistant, t.OSL)
		}
		sum := [sha256.Size]byte(one.Sum(nil))
		if seen[sum] {
			repeated++
		}
		seen[sum] = true
		all.Write(sum[:])
	}
	return hex.EncodeToString(all.Sum(nil)), repeated
}

// A random is the generator splitmix64 (Steele, Lea, Flood 2014): written out
// here so that a seed gives the same prompts for ever.
type random struct{ state uint64 }

func newRandom(seed int64, stream, index uint64) *random {
	r := &random{uint64(seed)}
	r.state = r.next() ^ stream
	r.state = r.next() ^ index
	return r
}

func (r *random) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number from 0 to n-1. For the small n here its bias is below
// one in 2^50.
func (r *random) below(n int) int { return int(r.next() % uint64(n)) }

// float returns a number in [0, 1).
func (r *random) float() float64 { return float64(r.next()>>11) / (1 << 53) }
