package vllmsim

import "slices"

// A scheduler decides what each step computes, with vLLM's rules (V1): running
// sequences first, in the order of their arrival, then waiting ones as long as
// tokens of the budget, places and blocks are left. A prompt longer than the
// budget is computed in chunks. When blocks run out, the sequence that came
// last is preempted: it loses its blocks and will be computed again. It knows
// no clock: time comes in as an argument.
type scheduler struct {
	maxSeqs   int
	maxTokens int // of one step
	chunked   bool
	pool      *blockPool
	running   []*sequence
	waiting   []*sequence // in order of arrival; preempted ones in front

	preemptions int
	// prefix cache counters, in tokens of prompts at their first admission
	queried, hit int
}

// A part is what a step computes of one sequence: its tokens
// computed..computed+tokens.
type part struct {
	seq    *sequence
	tokens int
}

func (s *scheduler) add(seq *sequence) { s.waiting = append(s.waiting, seq) }

// abort takes a sequence out, wherever it is.
func (s *scheduler) abort(seq *sequence) {
	if seq.gone {
		return
	}
	seq.gone = true
	same := func(other *sequence) bool { return other == seq }
	s.waiting = slices.DeleteFunc(s.waiting, same)
	s.running = slices.DeleteFunc(s.running, same)
	s.free(seq)
}

func (s *scheduler) free(seq *sequence) {
	s.pool.release(seq.blocks)
	seq.blocks = nil
}

// busy is true while any sequence is here.
func (s *scheduler) busy() bool { return len(s.running)+len(s.waiting) > 0 }

// plan chooses the parts of a step that starts at now, and takes their blocks.
// It is empty only if nothing has arrived by then.
func (s *scheduler) plan(now instant, parts []part) []part {
	budget := s.maxTokens
	before := s.preemptions
	for i := 0; i < len(s.running) && budget > 0; i++ {
		seq := s.running[i]
		tokens := min(len(seq.tokens)-seq.computed, budget)
		if !s.grow(seq, seq.computed+tokens) {
			break
		}
		parts = append(parts, part{seq, tokens})
		budget -= tokens
	}
	if s.preemptions > before {
		return parts // no new sequence in a step that had to preempt
	}
	for budget > 0 && len(s.running) < s.maxSeqs && len(s.waiting) > 0 {
		tokens, ok := s.admit(s.waiting[0], now, budget)
		if !ok {
			break
		}
		seq := s.waiting[0]
		s.waiting = s.waiting[1:]
		s.running = append(s.running, seq)
		parts = append(parts, part{seq, tokens})
		budget -= tokens
	}
	return parts
}

// grow gets a running sequence its blocks, preempting from the end of the
// running ones. False if the sequence itself had to go.
func (s *scheduler) grow(seq *sequence, tokens int) bool {
	for {
		blocks, ok := s.pool.grow(seq.blocks, tokens)
		if ok {
			seq.blocks = blocks
			return true
		}
		last := len(s.running) - 1
		victim := s.running[last]
		s.running = s.running[:last]
		s.preempt(victim)
		if victim == seq {
			return false
		}
	}
}

func (s *scheduler) preempt(seq *sequence) {
	s.free(seq)
	seq.computed, seq.published = 0, 0
	s.waiting = slices.Insert(s.waiting, 0, seq)
	s.preemptions++
}

// admit gives a waiting sequence its first blocks and says how many tokens
// this step computes of it. At least the last token is computed even when
// all is cached, because its logits are needed.
func (s *scheduler) admit(seq *sequence, now instant, budget int) (tokens int, ok bool) {
	if seq.arrival > now {
		return 0, false
	}
	hits := s.pool.cached(seq.hashes[:min(len(seq.hashes), (len(seq.tokens)-1)/s.pool.size)])
	start := len(hits) * s.pool.size
	tokens = len(seq.tokens) - start
	if tokens > budget && !s.chunked {
		return 0, false
	}
	tokens = min(tokens, budget)
	blocks, ok := s.pool.admit(hits, start+tokens)
	if !ok {
		return 0, false
	}
	seq.blocks, seq.computed, seq.published = blocks, start, len(hits)
	if !seq.admitted {
		seq.admitted, seq.scheduled, seq.cached = true, now, start
		if s.pool.caching {
			s.queried += seq.promptLen
			s.hit += start
		}
	}
	return tokens, true
}

// finish takes in the results of a step: it is true of each part that ends
// with a new token. Sequences that end leave.
func (s *scheduler) finish(parts []part, due instant, emit func(*sequence, emission)) {
	ended := false
	for _, p := range parts {
		seq := p.seq
		if seq.gone {
			continue // aborted while the step ran
		}
		seq.computed += p.tokens
		s.publish(seq)
		if seq.computed < len(seq.tokens) {
			continue
		}
		e := seq.sample(due)
		if e.finish != "" {
			seq.gone, ended = true, true
			s.free(seq)
		}
		emit(seq, e)
	}
	if ended {
		s.running = slices.DeleteFunc(s.running, func(seq *sequence) bool { return seq.gone })
	}
}

// publish makes the blocks that are now full findable.
func (s *scheduler) publish(seq *sequence) {
	size := s.pool.size
	for (seq.published+1)*size <= seq.computed {
		i := seq.published
		if i == len(seq.hashes) {
			before := uint64(0)
			if i > 0 {
				before = seq.hashes[i-1]
			}
			seq.hashes = append(seq.hashes, blockHash(before, seq.tokens[i*size:(i+1)*size]))
		}
		s.pool.publish(seq.blocks[i], seq.hashes[i])
		seq.published++
	}
}
