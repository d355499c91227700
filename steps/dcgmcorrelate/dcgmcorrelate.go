// Package dcgmcorrelate is the kind dcgm_correlate: it finds what DCGM saw of
// the GPUs of one cell during its steady window, freezes it, and says what it
// is worth.
//
//	cell      the window and the GPUs, from the measurement (cell.go)
//	samples   from Prometheus (prometheus.go), or from what the cell or a file
//	          holds (files.go)
//	frozen    the samples under a digest; with the parameter frozen, a file of
//	          an earlier run stands in the place of both
//	report    by package internal/dcgm, from the frozen file alone
//
// A gap is recorded and fails nothing: the report says what is missing and how
// to get it. Where Prometheus had not one sample the node is a part of an
// answer, so that the next run asks again.
package dcgmcorrelate

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"pipeline/internal/dcgm"
	"pipeline/internal/digest"
	"pipeline/lake/perf"
	"pipeline/steps"
)

const measurementFile = "measurement.json"

// Kind is the kind dcgm_correlate.
func Kind() steps.Kind {
	return steps.Kind{
		Name:    "dcgm_correlate",
		Summary: "find, freeze and judge the DCGM samples of a cell's GPUs",
		Doc:     doc,
		Version: 1,
		Effect:  steps.Measure,
		Pool:    "dcgm",
		Ports: []steps.Port{
			{Name: "cell", Doc: "The cell: a step that writes measurement.json.", Required: true, Partial: true, Reads: []string{measurementFile}},
			{Name: "telemetry", Doc: "A step that writes dmon.tsv, gpu_telemetry_export.jsonl or dcgm-samples.json for the cell."},
		},
		Outputs: []steps.Output{
			{Name: dcgm.ReportFile, Doc: "Figures by GPU, checks DC01 to DC15, rigor, or the gap and how to close it (dcgm/v1)."},
			{Name: dcgm.FrozenFile, Doc: "What was asked and what came back, under a digest (dcgm-frozen/v1).", Optional: true},
			{Name: dcgm.SeriesFile, Doc: "The samples, where they are too many to stand in the file above.", Optional: true},
		},
		New: func() steps.Step {
			return &Step{Source: auto}
		},
	}
}

const doc = `One node a cell: give it the axes of the cells.

    - id: dcgm
      uses: dcgm_correlate
      in: {cell: cells}
      matrix: {like: cells}
      with: {prometheus: {url: 'http://prometheus:9090'}, collect_interval: 1s}

Samples come from Prometheus, if its address is given; else from a dump of
dcgmi dmon, or a file of AIPerf's telemetry, if one is named; else from what is wired to the port telemetry; else
from the cell itself, which keeps what the exporters of its endpoint showed
(dcgm_urls of the step serve) and what AIPerf wrote.

The GPUs are those named here, else those that the setting of the cell names (UUIDs, node
or pod), else all that the source shows, if they are as many as the cell used.

What came is frozen into dcgm-frozen.yaml. With frozen, a later run reads that
file, or a folder of them, instead, and needs no Prometheus; a file that was
changed, is of another cell, or does not reach over the window is refused.

Only collections wholly inside the steady window count. L3 needs 5 of them for
every GPU and field (3 are L3 of low quality), and that no check fails. At
collect interval c that takes a steady window of 7 × c: dcgm-exporter collects
every 30 s unless told otherwise (-c 1000), and its default counters lack SM and
NVLink activity, which L3 needs.
`

// The values of Source.
const (
	auto       = "auto"
	prometheus = "prometheus"
	dmon       = "dmon"
	telemetry  = "telemetry"
	capture    = "cell"
)

// Step correlates one cell.
type Step struct {
	Source          string         `json:"source" key:"yes" enum:"auto,prometheus,dmon,telemetry,cell" doc:"Where samples come from. auto takes the first of these that there is."`
	Prometheus      *Prometheus    `json:"prometheus" key:"yes" doc:"The Prometheus server that scrapes dcgm-exporter. Where it is does not matter to the key; that it is asked does."`
	Dmon            Dmon           `json:"dmon" key:"yes" doc:"A dump of dcgmi dmon."`
	Telemetry       steps.File     `json:"telemetry" key:"yes" doc:"AIPerf's gpu_telemetry_export.jsonl of the cell."`
	Frozen          steps.File     `json:"frozen" key:"yes" doc:"A frozen file of the cell, or a folder of frozen files, to read instead."`
	GPUs            []string       `json:"gpus" key:"yes" doc:"UUIDs of the cell's GPUs."`
	Node            string         `json:"node" key:"yes" doc:"Node of the cell's GPUs, by host name."`
	Indices         []int          `json:"indices" key:"yes" doc:"GPUs on that node; all of it if left out."`
	Pods            []string       `json:"pods" key:"yes" doc:"Pods that serve the cell. Another pod on its GPUs is a failure."`
	MIG             bool           `json:"mig" key:"yes" doc:"The cell ran on MIG instances."`
	CollectInterval steps.Duration `json:"collect_interval" key:"yes" min:"0s" doc:"How often DCGM collects (dcgm-exporter -c, dcgmi dmon -d); 0 is worked out from the samples."`
	RatiosInPercent bool           `json:"ratios_in_percent" key:"yes" doc:"The source writes ratios as 0 to 100."`
}

// Prometheus says how to reach it.
type Prometheus struct {
	URL         string            `json:"url" key:"no" required:"true" doc:"Its address: http://prometheus:9090."`
	TokenEnv    steps.EnvName     `json:"token_env" key:"no" doc:"Environment variable that holds a bearer token."`
	UserEnv     steps.EnvName     `json:"user_env" key:"no" doc:"Environment variable that holds a user name."`
	PasswordEnv steps.EnvName     `json:"password_env" key:"no" doc:"Environment variable that holds a password."`
	CAFile      steps.File        `json:"ca_file" key:"no" doc:"PEM file of certificates to trust beside the system's."`
	Insecure    bool              `json:"insecure_skip_verify" key:"no" doc:"Trust any certificate."`
	Timeout     steps.Duration    `json:"timeout" key:"no" min:"0s" doc:"How long a query may take; 0 is 30s."`
	Labels      map[string]string `json:"labels" key:"yes" doc:"Labels that series must have besides, for instance cluster."`
}

// Dmon names a dump of dcgmi dmon.
type Dmon struct {
	File   steps.File `json:"file" key:"yes" doc:"The dump. Lines should begin with a time (unix ms and a tab); dcgmi prints none."`
	Fields []int      `json:"fields" key:"yes" doc:"Field ids after -e, in their order; left out: the short names of the header."`
	Start  string     `json:"start" key:"yes" doc:"When the first row was printed, as 2026-11-23T10:15:40Z, for a dump without times. collect_interval is then needed too."`
}

// Check refuses what cannot be asked.
func (s *Step) Check() error {
	refuse := func(param, format string, a ...any) error {
		return &steps.ParamError{Param: param, Err: fmt.Errorf(format, a...)}
	}
	switch {
	case s.Source == prometheus && s.Prometheus == nil && s.Frozen == "":
		return refuse("prometheus", "source is prometheus: give its address, {url: 'http://prometheus:9090'}")
	case s.Source == dmon && s.Dmon.File == "":
		return refuse("dmon.file", "source is dmon: give the dump")
	case s.Prometheus != nil:
		if _, err := s.Prometheus.access(nil, nil); err != nil {
			return refuse("prometheus.url", "%w", err)
		}
	}
	if len(s.Indices) > 0 && s.Node == "" {
		return refuse("indices", "they count the GPUs of a node: give node too")
	}
	if s.Dmon.Start != "" {
		if _, err := time.Parse(time.RFC3339Nano, s.Dmon.Start); err != nil {
			return refuse("dmon.start", "%q is not a time such as 2026-11-23T10:15:40Z", s.Dmon.Start)
		}
		if s.CollectInterval == 0 {
			return refuse("collect_interval", "a dump without times needs it: the delay after -d")
		}
	}
	return nil
}

// Run implements steps.Runner.
func (s *Step) Run(ctx context.Context, env *steps.Env) error {
	c, err := s.newCell(env)
	if err != nil {
		return err
	}
	report, err := s.correlate(ctx, env, c)
	if err != nil {
		return err
	}
	text, err := report.JSON()
	if err != nil {
		return err
	}
	if err := env.Put(dcgm.ReportFile, text); err != nil {
		return err
	}
	env.Progress(steps.Progress{Done: report.NEffMin, Unit: "collections", Text: headline(report)})
	if report.Quality == dcgm.QualityNone && report.Source.Kind == dcgm.FromPrometheus && s.Frozen == "" {
		return &steps.Failed{Partial: true, Reason: "no_dcgm: " + report.Gap}
	}
	for _, d := range doubts(report) {
		env.Doubt("%s", d)
	}
	return nil
}

// correlate makes the report, from a frozen file if one is given. What cannot
// be had is a report that says so; an error is what must not go unnoticed.
func (s *Step) correlate(ctx context.Context, env *steps.Env, c *cell) (*dcgm.Report, error) {
	if c.gap != "" {
		return dcgm.NoSamples(c.cell, dcgm.Source{}, c.gap, c.close), nil
	}
	if s.Frozen != "" {
		return s.thaw(env, c)
	}
	frozen, gap, err := s.capture(ctx, env, c)
	if err != nil {
		return nil, err
	}
	if gap != nil {
		return gap, nil
	}
	frozen.Campaign, frozen.CellID, frozen.Measurement = env.Campaign.Name, c.cell.ID, c.sum.String()
	frozen.CapturedAt, frozen.CapturedBy = dcgm.Stamp{Time: env.Now().UTC()}, fmt.Sprintf("dcgm_correlate %d", Kind().Version)
	frozen.Simulated = c.cell.Simulated
	frozen.Window = c.cell.Full
	frozen.Source.CollectS, frozen.Source.Percent = time.Duration(s.CollectInterval).Seconds(), s.RatiosInPercent
	file, series, sum, err := frozen.Encode()
	if err != nil {
		return nil, err
	}
	if err := putFrozen(env, file, series); err != nil {
		return nil, err
	}
	return dcgm.Assess(frozen, sum, c.cell)
}

func putFrozen(env *steps.Env, file, series []byte) error {
	if err := env.Put(dcgm.FrozenFile, file); err != nil || series == nil {
		return err
	}
	return env.Put(dcgm.SeriesFile, series)
}

// headline is what people see of a report first.
func headline(r *dcgm.Report) string {
	text := "rigor " + r.Rigor
	if m, ok := r.Mean[dcgm.DRAM.Key()]; ok {
		text += fmt.Sprintf(", memory active %.0f %%", 100*m.Mean)
	}
	if m, ok := r.Mean[dcgm.SM.Key()]; ok {
		text += fmt.Sprintf(", SM %.0f %%", 100*m.Mean)
	}
	return text
}

// doubts are what of a report must stand beside the cell's numbers.
func doubts(r *dcgm.Report) []string {
	if r.Quality == dcgm.QualityNone {
		return []string{"no_dcgm: " + strings.Join(append([]string{r.Gap}, r.Close...), "; ")}
	}
	var out []string
	if r.Rigor != dcgm.RigorL3 {
		out = append(out, "no_l3: "+r.Gap)
	}
	for _, c := range r.Checks {
		if c.Status == dcgm.Warn {
			out = append(out, c.Code+": "+c.Text)
		}
	}
	return append(out, r.Notes...)
}

// A cell is what the step knows of the measurement.
type cell struct {
	in        *steps.Input
	cell      dcgm.Cell
	sum       digest.Digest // of measurement.json
	selection dcgm.Selection
	workload  dcgm.Workload
	gap       string // why nothing can be found for it
	close     string
}

func (s *Step) newCell(env *steps.Env) (*cell, error) {
	in := env.In["cell"]
	if len(in) != 1 {
		return nil, fmt.Errorf("port cell has %d inputs, and one cell is correlated at a time: give this step the axes of the step wired there (matrix: {like: …}): %w", len(in), steps.ErrPermanent)
	}
	r, err := in[0].Open(measurementFile)
	if err != nil {
		return nil, fmt.Errorf("read %s of step %s: %w", measurementFile, in[0].Step, err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read %s of step %s: %w", measurementFile, in[0].Step, err)
	}
	m, err := perf.ReadMeasurement(text)
	if err != nil {
		return nil, fmt.Errorf("step %s: %w: %w", in[0].Step, err, steps.ErrPermanent)
	}
	c := &cell{in: &in[0], sum: digest.Of(text)}
	c.read(s, m)
	return c, nil
}
