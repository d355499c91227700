package conversation

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"slices"

	"pipeline/internal/digest"
)

// A Summary counts conversations.
type Summary struct {
	Conversations int     `json:"conversations"`
	Requests      int     `json:"requests"`        // turns of all
	Recorded      int     `json:"recorded"`        // of them, with a recorded answer
	Open          int     `json:"open"`            // of them, followed by another turn and without a recorded answer
	Systems       int     `json:"systems"`         // conversations with a system message
	Turns         *Spread `json:"turns,omitempty"` // of a conversation
	ISL           *Spread `json:"isl,omitempty"`   // of a request; nil unless all are counted
	OSL           *Spread `json:"osl,omitempty"`   // of a recorded answer; nil unless all recorded ones are counted
}

// A Spread is how a count is distributed. Percentiles are values that occur:
// the smallest with at least that share of all at or below it.
type Spread struct {
	Min  int     `json:"min"`
	Mean float64 `json:"mean"`
	P50  int     `json:"p50"`
	P90  int     `json:"p90"`
	P99  int     `json:"p99"`
	Max  int     `json:"max"`
}

// String prints a spread for people.
func (s *Spread) String() string {
	if s == nil {
		return "not counted"
	}
	return fmt.Sprintf("min %d, mean %.1f, p50 %d, p90 %d, p99 %d, max %d", s.Min, s.Mean, s.P50, s.P90, s.P99, s.Max)
}

// A Tally counts the conversations that pass, and digests them. The zero Tally
// has seen none.
type Tally struct {
	hash                    hash.Hash
	conversations           int
	recorded, open, systems int
	turns, isl, osl         []int
	islGap, oslGap          bool // one was not counted
}

// Add counts a conversation.
func (t *Tally) Add(c Conversation) error {
	line, err := spell(c)
	if err == nil {
		t.add(c, line)
	}
	return err
}

func (t *Tally) add(c Conversation, line []byte) {
	if t.hash == nil {
		t.hash = sha256.New()
	}
	t.hash.Write(line)
	t.conversations++
	t.turns = append(t.turns, len(c.Turns))
	if c.System != "" {
		t.systems++
	}
	for i, turn := range c.Turns {
		t.isl = append(t.isl, turn.ISL)
		t.islGap = t.islGap || turn.ISL == 0
		if turn.Assistant != "" {
			t.recorded++
			t.osl = append(t.osl, turn.OSL)
			t.oslGap = t.oslGap || turn.OSL == 0
		} else if i+1 < len(c.Turns) {
			t.open++
		}
	}
}

// Digest names the content: that of the lines as Writer spells them.
func (t *Tally) Digest() digest.Digest {
	if t.hash == nil {
		return digest.Of(nil)
	}
	return digest.Digest(t.hash.Sum(nil))
}

// Summary returns the counts.
func (t *Tally) Summary() Summary {
	s := Summary{Conversations: t.conversations, Requests: len(t.isl), Recorded: t.recorded, Open: t.open, Systems: t.systems, Turns: spread(t.turns)}
	if !t.islGap {
		s.ISL = spread(t.isl)
	}
	if !t.oslGap {
		s.OSL = spread(t.osl)
	}
	return s
}

// spread returns nil if there is no value.
func spread(values []int) *Spread {
	n := len(values)
	if n == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(values))
	sum := 0
	for _, v := range sorted {
		sum += v
	}
	rank := func(percent int) int { return sorted[(percent*n+99)/100-1] }
	return &Spread{Min: sorted[0], Mean: float64(sum) / float64(n), P50: rank(50), P90: rank(90), P99: rank(99), Max: sorted[n-1]}
}
