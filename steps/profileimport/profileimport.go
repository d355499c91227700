// Package profileimport is the kind import_profile: it reads what profilers
// wrote about a cell, GPU time by kernel (zymtrace, nsys) and hardware counters
// (ncu), and writes it as one profile.json.
package profileimport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"pipeline/internal/ncu"
	"pipeline/internal/profile"
	"pipeline/internal/zymtrace"
	"pipeline/steps"
)

// Kind is the kind import_profile.
func Kind() steps.Kind {
	return steps.Kind{
		Name:    "import_profile",
		Summary: "read GPU time by kernel, and ncu's counters, from files",
		Doc:     doc,
		Version: 1,
		Effect:  steps.Pure,
		Outputs: []steps.Output{{Name: "profile.json", Doc: "GPU time by category and kernel, counters, and gaps (profile/v1)."}},
		Show:    true,
		New:     func() steps.Step { return &Step{Form: zymtrace.Auto} },
	}
}

const doc = `Wire it to the port profile of aggregate. Its matrix says which cells the profile is of: a
profile with all coordinates of a row (trial apart) raises sol_rigor of the row, to L4 with
counters of ncu, to L1 with GPU time. One with fewer coordinates is shown beside the row
and raises nothing, since another load has another profile.

    - id: profile
      uses: import_profile
      matrix: {config: [{id: fp8-tp8}], concurrency: [64]}
      with: {gpu_time: 'profiles/${{ cell.config.id }}-c${{ cell.concurrency }}.tsv'}
    - {id: atlas, uses: aggregate, in: {cells: cells, profile: profile}}

gpu_time is a table (CSV or TSV) with a column kernel or category and one of samples or
time_ns, the report cuda_gpu_kern_sum of nsys (nsys stats --format csv), or folded stacks
(a;b;kernel 123). Samples are shares and no time. A text without a sample is a gap, said
as such.

ncu is what ncu --csv printed, of the details page or the raw page. Print it in the C
locale: numbers of other locales are refused. The counters of the tensor pipes by input
type are kept where they were collected (--metrics "regex:sm__ops_path_tensor_.*").

Kernels are put into categories by their names; rules of your own replace the built-in
ones.
`

// Step holds the parameters of one run.
type Step struct {
	GPUTime steps.File     `json:"gpu_time" key:"yes" doc:"File of GPU time by kernel or category."`
	Form    string         `json:"form" key:"yes" enum:"auto,table,folded" doc:"Form of gpu_time."`
	Source  string         `json:"source" key:"yes" doc:"What wrote gpu_time, for the report: zymtrace 26.5."`
	NCU     steps.File     `json:"ncu" key:"yes" doc:"File of ncu --csv."`
	Rules   []profile.Rule `json:"rules" key:"yes" doc:"Categories of kernels, the first that matches; none takes the built-in ones."`
}

// Check implements steps.Checker.
func (s *Step) Check() error {
	if s.GPUTime == "" && s.NCU == "" {
		return &steps.ParamError{Param: "gpu_time", Err: errors.New("give gpu_time, ncu or both: there is nothing to import")}
	}
	if _, err := profile.NewClassifier(s.Rules); err != nil {
		return &steps.ParamError{Param: "rules", Err: err}
	}
	return nil
}

// Run implements steps.Runner.
func (s *Step) Run(_ context.Context, env *steps.Env) error {
	c, err := profile.NewClassifier(s.Rules)
	if err != nil {
		return err
	}
	p := &profile.Profile{Schema: profile.Schema}
	if err := s.gpuTime(env, p, c); err != nil {
		return err
	}
	if err := s.counters(env, p, c); err != nil {
		return err
	}
	text, err := p.JSON()
	if err != nil {
		return err
	}
	return env.Put("profile.json", text)
}

func (s *Step) gpuTime(env *steps.Env, p *profile.Profile, c *profile.Classifier) error {
	if s.GPUTime == "" {
		return nil
	}
	text, err := os.ReadFile(env.Resolve(string(s.GPUTime)))
	if err != nil {
		return fmt.Errorf("gpu_time: %w", err)
	}
	r, err := zymtrace.Parse(s.Form, text, c)
	if err != nil {
		return fmt.Errorf("gpu_time: %s: %w: %w", s.GPUTime, err, steps.ErrPermanent)
	}
	if r.Empty() {
		p.Gaps = append(p.Gaps, "gpu_time holds no sample: if it was exported right after the window, the profiler had not taken the samples in yet; export it again")
		env.Doubt("profile_empty: gpu_time holds no sample")
		return nil
	}
	source := s.Source
	if source == "" {
		source = "gpu_time"
	}
	p.GPUTime, err = profile.NewGPUTime(source, r.Unit, text, r.Entries, c)
	return err
}

func (s *Step) counters(env *steps.Env, p *profile.Profile, c *profile.Classifier) error {
	if s.NCU == "" {
		return nil
	}
	text, err := os.ReadFile(env.Resolve(string(s.NCU)))
	if err != nil {
		return fmt.Errorf("ncu: %w", err)
	}
	launches, err := ncu.Parse(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("ncu: %s: %w: %w", s.NCU, err, steps.ErrPermanent)
	}
	if len(launches) == 0 {
		p.Gaps = append(p.Gaps, "ncu profiled no launch: no kernel matched its filter, or the program ended before")
		env.Doubt("profile_empty: ncu profiled no launch")
		return nil
	}
	counters, doubts, err := ncu.Summarize(text, launches, c)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", s.NCU, err, steps.ErrPermanent)
	}
	for _, d := range doubts {
		env.Doubt("%s", d)
	}
	p.Counters = counters
	return nil
}
