package cellrun

import (
	"fmt"
	"maps"
	"math"
	"strconv"

	"pipeline/internal/conversation"
	"pipeline/internal/loadgen"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// A recording is the part of a data set that a cell plays: from its beginning,
// as many conversations as hold the requests that are measured and those of
// the warm-up.
type recording struct {
	about conversation.Dataset
	play  []conversation.Conversation
	spare []conversation.Conversation // behind them, where AIPerf plays conversations: see spares

	oneToken        int     // requests that ask for one token
	turns, isl, osl int     // means over the measured requests; isl 0 is not counted
	history         float64 // share of their input tokens that an earlier turn has sent
}

// record reads the data set, nil if none is wired.
func (s *Step) record(env *steps.Env) (*recording, error) {
	if len(env.In["dataset"]) == 0 {
		return nil, nil
	}
	in, err := one(env, "dataset")
	if err != nil {
		return nil, err
	}
	switch {
	case s.Turns != 1:
		return nil, fmt.Errorf("turns: %d, but a data set has its own; cut them with max_turns of step %s: %w", s.Turns, in.Step, steps.ErrPermanent)
	case s.SharedPrefix != 0:
		return nil, fmt.Errorf("shared_prefix: is of prompts that are made, and those of step %s are recorded: %w", in.Step, steps.ErrPermanent)
	}
	text, err := in.ReadAll(conversation.DatasetFile)
	if err != nil {
		return nil, fmt.Errorf("read %s of step %s: %w", conversation.DatasetFile, in.Step, err)
	}
	r := &recording{}
	if r.about, err = conversation.ParseDataset(text); err != nil {
		return nil, fmt.Errorf("step %s: %w: %w", in.Step, err, steps.ErrPermanent)
	}
	if a, ok := in.Artifact(conversation.FileName); !ok || a.Digest != r.about.Digest {
		return nil, fmt.Errorf("step %s: %s is not about its %s: %w", in.Step, conversation.DatasetFile, conversation.FileName, steps.ErrPermanent)
	}
	if err := r.read(in, s); err != nil {
		return nil, err
	}
	r.describe(s)
	return r, nil
}

// read takes conversations until they hold the requests that are sent, and
// those to spare behind them.
func (r *recording) read(in *steps.Input, s *Step) error {
	f, err := in.Open(conversation.FileName)
	if err != nil {
		return fmt.Errorf("read %s of step %s: %w", conversation.FileName, in.Step, err)
	}
	defer f.Close()
	have, need, all := 0, s.NumPrompts+s.Warmup, 0
	for c, err := range conversation.Read(f) {
		if err != nil {
			return fmt.Errorf("%s of step %s: %w: %w", conversation.FileName, in.Step, err, steps.ErrPermanent)
		}
		all++
		if have < need {
			r.play = append(r.play, c)
			have += len(c.Turns)
		} else {
			r.spare = append(r.spare, c)
		}
		if must, useful := r.spares(s); have >= need && len(r.spare) >= must+useful {
			r.spare = r.spare[:must+useful]
			return nil
		}
	}
	must, _ := r.spares(s)
	switch {
	case have >= need && len(r.spare) >= must:
		return nil
	case !s.Repeat || have == 0:
		wanted := fmt.Sprintf("%d requests, and %d are to be sent", have, need)
		if have >= need {
			wanted = fmt.Sprintf("%d conversations, and AIPerf needs %d behind the %d that hold what is sent, for a warm-up that sends nothing that is measured", all, must, len(r.play))
		}
		return fmt.Errorf("data set %s has %s: take more conversations, ask for fewer, or set repeat (a prefix cache then answers what was sent before): %w",
			r.about.Name, wanted, steps.ErrPermanent)
	}
	again := func(i int) conversation.Conversation {
		c := r.play[i]
		c.ID = fmt.Sprintf("%s~%d", c.ID, i+1)
		return c
	}
	for i := 0; have < need; i++ {
		r.play = append(r.play, again(i))
		have += len(r.play[i].Turns)
	}
	for i := 0; len(r.spare) < must; i++ {
		r.spare = append(r.spare, again(i%len(r.play)))
	}
	return nil
}

// spares are how many conversations AIPerf must have behind those that are
// played, and how many more are of use. Its warm-up takes the first turns of
// conversations, and what it takes of one that is measured, the server has
// cached by then; and when its load ends, each stream may have begun a
// conversation more. Single requests need none: the warm-up takes the last.
func (r *recording) spares(s *Step) (must, useful int) {
	if !s.uses(aiperfName) || longest(r.play) <= 1 {
		return 0, 0
	}
	streams := s.workload().Concurrency
	if streams == 0 {
		streams = s.NumPrompts
	}
	return s.Warmup, min(streams, s.NumPrompts)
}

// describe sums up the requests that will be measured.
func (r *recording) describe(s *Step) {
	conversations, requests, isl, osl, sent, counted := 0, 0, 0, 0, 0, true
	for _, c := range r.play {
		if requests == s.NumPrompts {
			break
		}
		conversations++
		for t, turn := range c.Turns[:min(len(c.Turns), s.NumPrompts-requests)] {
			requests++
			isl += turn.ISL
			osl += s.asks(turn)
			if s.asks(turn) == 1 {
				r.oneToken++
			}
			counted = counted && turn.ISL > 0
			if t > 0 {
				sent += c.Turns[t-1].ISL
			}
		}
	}
	mean := func(sum, n int) int { return int(math.Round(float64(sum) / float64(n))) }
	r.turns, r.osl = mean(requests, conversations), mean(osl, requests)
	if counted {
		r.isl, r.history = mean(isl, requests), float64(sent)/float64(isl)
	}
}

// asks is the output length that is asked for a recorded turn.
func (s *Step) asks(t conversation.Turn) int {
	if t.OSL > 0 {
		return t.OSL
	}
	return s.OSL
}

// conversations are what the native driver plays, nil if it makes its own.
func (c *cell) conversations() []loadgen.Conversation {
	if c.recorded == nil {
		return nil
	}
	out := make([]loadgen.Conversation, len(c.recorded.play))
	for i, from := range c.recorded.play {
		out[i] = loadgen.Conversation{System: from.System, Turns: make([]loadgen.Turn, len(from.Turns))}
		for j, t := range from.Turns {
			out[i].Turns[j] = loadgen.Turn{User: t.User, Assistant: t.Assistant, OSL: c.step.asks(t)}
		}
	}
	return out
}

// workload is what is asked of the endpoint. The lengths of recorded prompts
// are not asked: they are what they are.
func (c *cell) workload() perf.Workload {
	w := c.step.workload()
	if r := c.recorded; r != nil {
		w.Dataset, w.DatasetDigest = r.about.Name, r.about.Digest.String()
		w.ISL, w.OSL, w.OneToken, w.Turns = 0, r.osl, r.oneToken, longest(r.play)
	}
	return w
}

func longest(all []conversation.Conversation) int {
	n := 0
	for _, c := range all {
		n = max(n, len(c.Turns))
	}
	return n
}

// recordedSetting is what the numbers depend on in place of what is made.
func (c *cell) recordedSetting(s perf.Setting) {
	r := c.recorded
	if r == nil {
		return
	}
	isl := perf.Unknown
	if r.isl > 0 {
		isl = strconv.Itoa(r.isl)
	}
	maps.Copy(s, perf.Setting{
		"dataset_revision": r.about.Revision, "split": r.about.Split, "isl": isl, "turns": strconv.Itoa(r.turns),
		"multi_turn": strconv.FormatBool(longest(r.play) > 1), "range_ratio": "", "shared_prefix": "",
	})
}

// natural is the share of the input tokens that a cold server finds in its
// prefix cache nevertheless, NaN if that is not known: what earlier turns of a
// conversation have sent, and what prompts have in common.
func (c *cell) natural() float64 {
	switch r := c.recorded; {
	case r == nil && c.step.Turns == 1:
		return float64(c.step.SharedPrefix) / float64(c.step.ISL)
	case r == nil || r.isl == 0:
		return math.NaN()
	default:
		return r.history + r.common()
	}
}

// common is the share of the input tokens in what the first requests of
// conversations begin with alike.
func (r *recording) common() float64 {
	total, alike := 0, 0
	first := r.play[0].System + r.play[0].Turns[0].User
	for i, c := range r.play {
		for t, turn := range c.Turns {
			total += turn.ISL
			if t > 0 || i == 0 {
				continue
			}
			text := c.System + turn.User
			n := 0
			for n < min(len(first), len(text)) && first[n] == text[n] {
				n++
			}
			alike += turn.ISL * n / len(text)
		}
	}
	return float64(alike) / float64(total)
}
