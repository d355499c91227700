package loadgen

import (
	"context"
	"net/http"

	"pipeline/lake/perf"
)

// probeTokens is how much the probe asks for: enough to see a stream.
const probeTokens = 4

// probeTries is how often a probe that met something else than a refusal of
// its members is tried.
const probeTries = 3

// ladder is what is asked of a server, the most first. Servers answer 400 or
// 422 to members they do not know.
func (c *Config) ladder() []extras {
	if !c.Workload.IgnoreEOS {
		return []extras{{usage: true}, {}}
	}
	return []extras{
		{ignoreEOS: true, minTokens: true, usage: true},
		{ignoreEOS: true, usage: true},
		{minTokens: true, usage: true},
		{usage: true},
		{ignoreEOS: true},
		{},
	}
}

// probe finds the most that the endpoint understands, with one short request a
// rung. Its prompt is none of the run's. If the endpoint answers none of
// probeTries requests, probe is false and returns them.
func (r *run) probe(ctx context.Context) (asked []perf.Request, ok bool) {
	messages := []message{{"user", r.prompts.probe()}}
	osl := min(max(r.conf.Workload.OSL, 1), probeTokens)
	s := new(slot)
	ladder, rung := r.conf.ladder(), 0
	for tries := 0; tries < probeTries; {
		rec := perf.Request{Index: len(asked), Session: len(asked), IntendedNS: r.clock.now()}
		rec.AcquiredNS = rec.IntendedNS
		r.do(ctx, s, call{body: r.conf.body(messages, nil, osl, ladder[rung])}, &rec)
		if rec.Error == nil {
			r.extras = ladder[rung]
			r.doubtLadder(ladder[rung])
			return nil, true
		}
		asked = append(asked, rec)
		refused := rec.Error.Status == http.StatusBadRequest || rec.Error.Status == http.StatusUnprocessableEntity
		switch {
		case refused && rung+1 < len(ladder):
			rung++
		case refused || rec.Error.Phase == phaseDeadline || ctx.Err() != nil:
			return asked, false
		default:
			tries++
		}
	}
	return asked, false
}

// doubtLadder says what was asked for and not understood.
func (r *run) doubtLadder(x extras) {
	if r.conf.Workload.IgnoreEOS && !x.ignoreEOS && !x.minTokens {
		r.doubt("eos_not_ignored: the server refuses ignore_eos and min_tokens; answers may be shorter than asked")
	}
	if !x.usage {
		r.doubt("no_usage: the server refuses stream_options.include_usage; tokens are counted by events, a lower bound")
	}
}

// probe returns a prompt of a few words that no other prompt has.
func (p *prompter) probe() string {
	random := newRandom(p.conf.Workload.Seed, streamProbe, 0)
	text := "hello"
	for range 7 {
		text += " " + p.words[random.below(len(p.words))].text
	}
	return text
}
