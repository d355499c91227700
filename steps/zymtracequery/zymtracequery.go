// Package zymtracequery is the kind zymtrace_query: it asks the database of a
// profiler that always runs for the GPU time of a cell's window, and waits for
// samples that are still on their way.
package zymtracequery

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"pipeline/internal/profile"
	"pipeline/internal/zymtrace"
	"pipeline/lake/perf"
	"pipeline/steps"
)

const measurementFile = "measurement.json"

// Kind is the kind zymtrace_query.
func Kind() steps.Kind {
	return steps.Kind{
		Name:    "zymtrace_query",
		Summary: "ask a profiler's database for the GPU time of a cell, by category of kernel",
		Doc:     doc,
		Version: 1,
		Effect:  steps.Measure,
		Pool:    "profiler",
		Ports: []steps.Port{
			{Name: "cell", Doc: "The cell whose window is asked for: a step of kind cell_run, or another with a measurement.json.", Required: true, Reads: []string{measurementFile}},
		},
		Outputs: []steps.Output{
			{Name: "profile.json", Doc: "GPU time by category and kernel, or the gap (profile/v1)."},
			{Name: "answer.tsv", Doc: "What the database answered last.", Optional: true},
		},
		New: func() steps.Step {
			return &Step{Source: "zymtrace", Wait: steps.Duration(10 * time.Minute), Poll: steps.Duration(15 * time.Second)}
		},
	}
}

const doc = `Wire it to the port profile of aggregate: its GPU time is evidence of level L1.

    - id: gpu_time
      uses: zymtrace_query
      in: {cell: cells}
      matrix: {like: cells}
      with: {url: 'http://127.0.0.1:8123', sql: gpu-time.sql}

The window is the steady-state window of the cell, or the whole run if it has none. The SQL
is yours, since the profiler's schema is not public; {from_unix} and {to_unix} in it stand
for the window. It gives a table with a header (FORMAT TSVWithNames) with a column kernel
or category and a column samples or time_ns:

    SELECT kernel, gpu_uuid, count() AS samples FROM events
    WHERE timestamp >= toDateTime({from_unix}) AND timestamp < toDateTime({to_unix})
    GROUP BY kernel, gpu_uuid FORMAT TSVWithNames

The profiler writes samples with a delay of seconds to minutes, so an empty answer right
after the window is no absence. The question is repeated until two answers are equal and
not empty, for at most wait. If nothing has come by then, the gap is recorded and the next
run asks again.

Injected profilers cost time (one team saw 11 % on a workload bound by launches): take
headline numbers from runs without one.
`

// Step holds the parameters of one run.
type Step struct {
	URL         string         `json:"url" key:"no" required:"true" doc:"HTTP interface of the database: http://127.0.0.1:8123."`
	SQL         steps.File     `json:"sql" key:"yes" required:"true" doc:"File with the query; {from_unix} and {to_unix} stand for the window."`
	UserEnv     steps.EnvName  `json:"user_env" key:"no" doc:"Environment variable with the user of the database."`
	PasswordEnv steps.EnvName  `json:"password_env" key:"no" doc:"Environment variable with the password."`
	Source      string         `json:"source" key:"yes" doc:"Name of the profiler, for the report."`
	Wait        steps.Duration `json:"wait" key:"no" min:"0s" doc:"How long samples may take to appear after the first question."`
	Poll        steps.Duration `json:"poll" key:"no" min:"10ms" doc:"Between two questions."`
	Rules       []profile.Rule `json:"rules" key:"yes" doc:"Categories of kernels, the first that matches; none takes the built-in ones."`
}

// Check implements steps.Checker.
func (s *Step) Check() error {
	if _, err := profile.NewClassifier(s.Rules); err != nil {
		return &steps.ParamError{Param: "rules", Err: err}
	}
	if s.PasswordEnv != "" && s.UserEnv == "" {
		return &steps.ParamError{Param: "user_env", Err: errors.New("password_env needs it")}
	}
	if err := zymtrace.CheckURL(s.URL); err != nil {
		return &steps.ParamError{Param: "url", Err: err}
	}
	return nil
}

// Run implements steps.Runner.
func (s *Step) Run(ctx context.Context, env *steps.Env) error {
	c, err := profile.NewClassifier(s.Rules)
	if err != nil {
		return err
	}
	q, err := s.query(env)
	if err != nil {
		return err
	}
	answer, err := zymtrace.Await(ctx, q.Ask, c, zymtrace.Patience{Limit: time.Duration(s.Wait), Poll: time.Duration(s.Poll)})
	if err != nil {
		return fmt.Errorf("ask %s for GPU time: %w", s.Source, err)
	}
	p := &profile.Profile{Schema: profile.Schema}
	if answer.Reading.Empty() {
		gap := fmt.Sprintf("%s has no sample from %s to %s after %d questions in %s: the profiler did not watch these GPUs then, or its database lags further; ask again with a longer wait",
			s.Source, q.From.UTC().Format(time.RFC3339), q.To.UTC().Format(time.RFC3339), answer.Asked, s.Wait)
		p.Gaps = append(p.Gaps, gap)
		if err := put(env, p, answer.Text); err != nil {
			return err
		}
		return &steps.Failed{Partial: true, Reason: gap}
	}
	if !answer.Settled {
		env.Doubt("profile_growing: %s was still taking in samples of the window when the wait of %s was over: shares may shift", s.Source, s.Wait)
	}
	if p.GPUTime, err = profile.NewGPUTime(s.Source, answer.Reading.Unit, answer.Text, answer.Reading.Entries, c); err != nil {
		return err
	}
	return put(env, p, answer.Text)
}

func (s *Step) query(env *steps.Env) (*zymtrace.Query, error) {
	in := env.In["cell"]
	if len(in) != 1 {
		return nil, fmt.Errorf("port cell has %d inputs, and one window is asked for: give this step the axes of the step wired there (matrix: {like: …}): %w", len(in), steps.ErrPermanent)
	}
	text, err := in[0].ReadAll(measurementFile)
	if err != nil {
		return nil, fmt.Errorf("read %s of step %s: %w", measurementFile, in[0].Step, err)
	}
	m, err := perf.ReadMeasurement(text)
	if err != nil {
		return nil, fmt.Errorf("step %s: %w: %w", in[0].Step, err, steps.ErrPermanent)
	}
	sql, err := os.ReadFile(env.Resolve(string(s.SQL)))
	if err != nil {
		return nil, fmt.Errorf("sql: %w", err)
	}
	q := &zymtrace.Query{URL: s.URL, SQL: string(sql), From: m.Start, To: m.End}
	if w := m.Window; w != nil && m.Steady != nil {
		q.From, q.To = m.Start.Add(time.Duration(w.FromNS)), m.Start.Add(time.Duration(w.ToNS))
	}
	if err := q.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", s.SQL, err, steps.ErrPermanent)
	}
	for name, into := range map[steps.EnvName]*string{s.UserEnv: &q.User, s.PasswordEnv: &q.Password} {
		if name == "" {
			continue
		}
		if *into, err = env.Secret(string(name)); err != nil {
			return nil, err
		}
	}
	return q, nil
}

func put(env *steps.Env, p *profile.Profile, answer []byte) error {
	text, err := p.JSON()
	if err != nil {
		return err
	}
	if err := env.Put("profile.json", text); err != nil {
		return err
	}
	return env.Put("answer.tsv", answer)
}
