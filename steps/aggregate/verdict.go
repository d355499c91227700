package aggregate

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"pipeline/internal/digest"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// A Claim is what the campaign sets out to show, written before it runs.
type Claim struct {
	About  string   `json:"about" key:"yes" required:"true" enum:"throughput,decode_latency,ttft,goodput" doc:"What the claim is about."`
	Metric string   `json:"metric" key:"yes" doc:"Column that it cites; the metric that nothing else sets, if empty: output_tps_per_gpu, headline_tpot_ms, headline_ttft_ms, headline_goodput_rps."`
	Config string   `json:"config" key:"yes" required:"true" doc:"Configuration that the claim is about."`
	Over   string   `json:"over" key:"yes" doc:"Configuration that it beats; a claim on the level, if empty."`
	Across []string `json:"across" key:"yes" doc:"Fields of the setting in which the two differ on purpose: tp, quant. Others may not differ."`
}

func (c Claim) perf() perf.Claim {
	return perf.Claim{About: c.About, Metric: c.Metric, Config: c.Config, Over: c.Over, Across: c.Across}
}

// checkClaims refuses a claim that no rows could show.
func checkClaims(claims []Claim) error {
	for i, c := range claims {
		at := func(field string, err error) error {
			return &steps.ParamError{Param: fmt.Sprintf("claims[%d].%s", i, field), Err: err}
		}
		if _, ok := c.perf().Cites(); !ok {
			var names []string
			for _, m := range perf.Metrics() {
				names = append(names, m.Column)
			}
			return at("metric", fmt.Errorf("%q is no metric; take one of %s", c.Metric, strings.Join(names, ", ")))
		}
		for _, f := range c.Across {
			if !perf.IsField(f) {
				return at("across", fmt.Errorf("%q is no field of a setting", f))
			}
		}
		if c.Over == c.Config {
			return at("over", errors.New("a configuration cannot beat itself"))
		}
		if c.Over == "" && len(c.Across) > 0 {
			return at("across", errors.New("a claim on a level compares nothing: name what it is over"))
		}
	}
	return nil
}

func baselinePort() steps.Port {
	return steps.Port{Name: "baseline", Doc: "the baseline of a published campaign: a baseline step", Reads: []string{"atlas.json"}}
}

// review passes the rows through the gates of a verdict, and marks them.
func (s *Step) review(env *steps.Env, rows []perf.Row) (*perf.Review, error) {
	terms := perf.Terms{}
	have := configsOf(rows)
	for _, c := range s.Claims {
		for _, config := range []string{c.Config, c.Over} {
			if config != "" && !slices.Contains(have, config) {
				return nil, fmt.Errorf("a claim is about configuration %s, and the cells are of %s: %w", config, strings.Join(have, ", "), steps.ErrPermanent)
			}
		}
		terms.Claims = append(terms.Claims, c.perf())
	}
	var err error
	if terms.Baseline, err = s.baseline(env, have); err != nil {
		return nil, err
	}
	review := perf.ReviewRows(rows, terms)
	review.Mark(rows)
	return review, nil
}

// baseline is what the parameter names: a configuration that the port brings,
// or one of these cells.
func (s *Step) baseline(env *steps.Env, have []string) (perf.Baseline, error) {
	ins := env.In["baseline"]
	if len(ins) == 0 {
		if s.Baseline != "" && !slices.Contains(have, s.Baseline) {
			return perf.Baseline{}, fmt.Errorf("the baseline is configuration %s, and the cells are of %s; one of another campaign comes by a baseline step on the port baseline: %w",
				s.Baseline, strings.Join(have, ", "), steps.ErrPermanent)
		}
		return perf.Baseline{Name: s.Baseline, Config: s.Baseline}, nil
	}
	var rows []perf.Row
	for i := range ins {
		text, err := ins[i].ReadAll("atlas.json")
		if err != nil {
			return perf.Baseline{}, fmt.Errorf("read atlas.json of step %s: %w", ins[i].Step, err)
		}
		more, err := perf.DecodeRows(perf.Atlas(), text)
		if err != nil {
			return perf.Baseline{}, fmt.Errorf("read atlas.json of step %s: %w", ins[i].Step, err)
		}
		rows = append(rows, more...)
	}
	config, have := s.Baseline, configsOf(rows)
	if config == "" && len(have) == 1 {
		config = have[0]
	}
	if !slices.Contains(have, config) {
		return perf.Baseline{}, fmt.Errorf("step %s brings the configurations %s: name one of them as baseline: %w", ins[0].Step, strings.Join(have, ", "), steps.ErrPermanent)
	}
	name := config
	if campaign := rows[0].Text("campaign"); campaign != "" {
		name = campaign + "/" + config
	}
	return perf.Baseline{Name: name, Config: config, Rows: rows}, nil
}

func configsOf(rows []perf.Row) []string {
	var out []string
	for _, r := range rows {
		out = append(out, r.Text("config"))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func putReview(env *steps.Env, review *perf.Review) error {
	text, err := digest.Canonical(review)
	if err != nil {
		return err
	}
	return put(env, "verdict.json", strings.NewReader(string(text)+"\n"))
}
