package dcgmcorrelate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"pipeline/internal/dcgm"
	"pipeline/steps"
)

// The names under which steps write samples of GPUs.
const (
	dmonFile      = "dmon.tsv"
	telemetryFile = "gpu_telemetry_export.jsonl"
)

// found are the samples of a source.
type found struct {
	samples  *dcgm.Samples
	source   dcgm.Source
	versions map[string]string
	queries  []dcgm.Query
}

// capture finds samples, and puts those of the cell's GPUs into a frozen file.
// Where there is nothing to find them in, gap is the report.
func (s *Step) capture(ctx context.Context, env *steps.Env, c *cell) (frozen *dcgm.Frozen, gap *dcgm.Report, err error) {
	f, why, how, err := s.find(ctx, env, c)
	if err != nil || why != "" {
		source := dcgm.Source{}
		if f != nil {
			source = f.source
		}
		return nil, dcgm.NoSamples(c.cell, source, why, how), err
	}
	frozen = &dcgm.Frozen{Source: f.source, Versions: f.versions, Workload: c.workload, Queries: f.queries}
	frozen.GPUs, frozen.Neighbours, frozen.Selected = c.selection.Choose(f.samples)
	frozen.Missing = missing(f.samples, c.cell.Links)
	frozen.Freeze(f.samples)
	return frozen, nil, nil
}

// missing lists the needed fields of which the source has no series at all.
func missing(samples *dcgm.Samples, links bool) []dcgm.Missing {
	var out []dcgm.Missing
	for _, f := range dcgm.Needed(links) {
		if !slices.ContainsFunc(samples.Series(), func(s *dcgm.Series) bool { return s.Field == f }) {
			out = append(out, dcgm.Missing{Field: f, Reason: "the source has no series of it"})
		}
	}
	return out
}

// find takes the first source that there is, or the one that is asked for. why
// is set where there is none, or none with a sample.
func (s *Step) find(ctx context.Context, env *steps.Env, c *cell) (f *found, why, how string, err error) {
	want := func(source string) bool { return s.Source == auto || s.Source == source }
	switch {
	case want(prometheus) && s.Prometheus != nil:
		return s.ask(ctx, env, c)
	case want(dmon) && s.Dmon.File != "":
		f, err = s.file(env, "dmon.file", s.Dmon.File, dmonFile)
		return f, "", "", err
	case want(telemetry) && s.Telemetry != "":
		f, err = s.file(env, "telemetry", s.Telemetry, telemetryFile)
		return f, "", "", err
	}
	if want(telemetry) {
		for i := range env.In["telemetry"] {
			if f, err = s.artifact(&env.In["telemetry"][i], c); f != nil || err != nil {
				return f, "", "", err
			}
		}
	}
	if want(capture) {
		if f, err = s.artifact(c.in, c); f != nil || err != nil {
			return f, "", "", err
		}
	}
	return nil, "there is no source of DCGM samples: no Prometheus, no dump and no telemetry is named, and the cell kept none",
		"give prometheus.url, or dcgm_urls to the endpoint of the step serve and measure the cell again", nil
}

// artifact reads what a step wrote for the cell; nil if it wrote nothing of
// the kind.
func (s *Step) artifact(in *steps.Input, c *cell) (*found, error) {
	for _, name := range []string{dcgm.CaptureFile, dmonFile, telemetryFile} {
		a, ok := in.Artifact(name)
		if !ok {
			continue
		}
		r, err := in.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read %s of step %s: %w", name, in.Step, err)
		}
		defer r.Close()
		f, err := s.read(name, r)
		if err != nil {
			return nil, fmt.Errorf("step %s: %w: %w", in.Step, err, steps.ErrPermanent)
		}
		f.source.File, f.source.Size = name, a.Size
		return f, nil
	}
	return nil, nil
}

func (s *Step) read(name string, r io.Reader) (*found, error) {
	switch name {
	case dcgm.CaptureFile:
		text, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		c, samples, err := dcgm.ReadCapture(text)
		if err != nil {
			return nil, err
		}
		return &found{samples: samples, source: c.Source, versions: c.Versions}, nil
	case telemetryFile:
		t, err := dcgm.ReadTelemetry(r)
		if err != nil {
			return nil, err
		}
		return &found{samples: &t.Samples, source: dcgm.Source{Kind: dcgm.FromAIPerf}}, nil
	}
	return s.readDmon(r)
}

func (s *Step) readDmon(r io.Reader) (*found, error) {
	o := dcgm.Dmon{Delay: time.Duration(s.CollectInterval)}
	for _, id := range s.Dmon.Fields {
		o.Fields = append(o.Fields, dcgm.Field(id))
	}
	if s.Dmon.Start != "" {
		var err error
		if o.Start, err = time.Parse(time.RFC3339Nano, s.Dmon.Start); err != nil {
			return nil, err
		}
	}
	d, err := dcgm.ReadDmon(r, o)
	if err != nil {
		return nil, err
	}
	if !d.Stamped && d.Rows > 0 && o.Start.IsZero() {
		return nil, errors.New("the dump of dcgmi dmon has no times, as dcgmi prints none: stamp its lines while they come " +
			`(dcgmi dmon … | while IFS= read -r l; do printf '%s\t%s\n' "$(date +%s%3N)" "$l"; done), or give dmon.start and collect_interval`)
	}
	return &found{samples: &d.Samples, source: dcgm.Source{Kind: dcgm.FromDmon}}, nil
}

// file reads a file that the spec names, as what a step writes under a name.
func (s *Step) file(env *steps.Env, param string, file steps.File, as string) (*found, error) {
	path := env.Resolve(string(file))
	r, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", param, err, steps.ErrPermanent)
	}
	defer r.Close()
	f, err := s.read(as, r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", file, err, steps.ErrPermanent)
	}
	f.source.File = filepath.Base(path)
	if st, err := r.Stat(); err == nil {
		f.source.Size = st.Size()
	}
	return f, nil
}

// thaw reads the frozen file of the cell, keeps it as this run's, and makes
// the report of it.
func (s *Step) thaw(env *steps.Env, c *cell) (*dcgm.Report, error) {
	path, err := frozenOf(env.Resolve(string(s.Frozen)), c.cell.ID)
	if err != nil {
		return nil, fmt.Errorf("frozen: %w: %w", err, steps.ErrPermanent)
	}
	if path == "" {
		return dcgm.NoSamples(c.cell, dcgm.Source{}, fmt.Sprintf("no file in %s is of cell %s", s.Frozen, c.cell.ID),
			"put the cell's "+dcgm.FrozenFile+" there, or take the parameter frozen away to ask again"), nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("frozen: %w", err)
	}
	var series []byte
	frozen, sum, err := dcgm.ReadFrozen(filepath.Base(path), text, func(name string) (io.ReadCloser, error) {
		if series, err = os.ReadFile(filepath.Join(filepath.Dir(path), name)); err != nil {
			return nil, err
		}
		return io.NopCloser(bytes.NewReader(series)), nil
	})
	if err == nil {
		err = frozen.Fits(env.Campaign.Name, c.cell.ID, c.cell.Full)
	}
	if err != nil {
		return nil, fmt.Errorf("frozen: %w: %w", err, steps.ErrPermanent)
	}
	if err := putFrozen(env, text, series); err != nil {
		return nil, err
	}
	return dcgm.Assess(frozen, sum, c.cell)
}

var frozenCellRE = regexp.MustCompile(`(?m)^cell_id: "((?:[^"\\]|\\.)*)"`)

// frozenOf finds the file of a cell at a path: the file itself, or in a folder
// and the folders in it the one that says that it is of that cell. It is known
// by what it says and not by its name; "" if there is none.
func frozenOf(path, cell string) (string, error) {
	st, err := os.Stat(path)
	if err != nil || !st.IsDir() {
		return path, err
	}
	var hits []string
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".yaml") {
			return err
		}
		head, err := headOf(p)
		if err != nil {
			return err
		}
		if m := frozenCellRE.FindSubmatch(head); m != nil && string(m[1]) == cell {
			hits = append(hits, p)
		}
		return nil
	})
	switch {
	case err != nil:
		return "", err
	case len(hits) > 1:
		return "", fmt.Errorf("%d files are of cell %s: %s", len(hits), cell, strings.Join(hits, ", "))
	case len(hits) == 0:
		return "", nil
	}
	return hits[0], nil
}

// headOf returns the first bytes of a file, in which a frozen file says what
// it is of.
func headOf(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 4096))
}
