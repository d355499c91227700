package importbench

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pipeline/internal/aiperf"
	"pipeline/internal/digest"
	"pipeline/internal/foreign"
	"pipeline/lake/perf"
	"pipeline/steps"
)

// A cell is one run that was found.
type cell struct {
	where     string        // for messages: the path, and which run of it
	path      string        // of its source, below from
	part      int           // which run of its source, from 1; 0 if it is the only one
	format    string        //
	digest    digest.Digest // of its source
	told      perf.Setting  // by the report
	byPath    perf.Setting  // by its path
	asked     perf.Workload // as far as the report tells
	driver    perf.Driver
	requests  perf.Stream // nil if the report keeps none
	coords    []perf.Coord
	telemetry string // the file of its samples of GPUs, "" if it has none
	judge     func(perf.Workload, perf.Setting) (perf.Measurement, error)
}

const aiperfFormat = "aiperf-artifacts"

// cells finds the runs below from, in the order of their paths, each with its
// coordinates.
func (s *Step) cells(env *steps.Env, from string) ([]cell, error) {
	st, err := os.Stat(from)
	if err != nil {
		return nil, err
	}
	var cells []cell
	var folders []string
	if st.IsDir() && (s.Format == auto || s.Format == aiperfFormat) {
		if folders, err = aiperf.Find(from); err != nil {
			return nil, err
		}
	}
	for _, dir := range folders {
		c, err := s.aiperfCell(from, dir)
		if err != nil {
			return nil, err
		}
		cells = append(cells, c)
	}
	more, err := s.foreignCells(env, from, folders)
	if err != nil {
		return nil, err
	}
	cells = append(cells, more...)
	slices.SortStableFunc(cells, func(a, b cell) int { return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.part, b.part)) })
	pattern, err := newPattern(s.Path)
	if err != nil {
		return nil, err
	}
	for i := range cells {
		if cells[i].byPath, err = pattern.match(cells[i].path); err != nil {
			return nil, err
		}
	}
	locate(env, cells, pattern.names)
	return cells, nil
}

func (s *Step) aiperfCell(from, dir string) (cell, error) {
	rel, err := filepath.Rel(from, dir)
	if err != nil {
		return cell{}, err
	}
	if rel == "." {
		rel = s.Name
	}
	run, err := aiperf.Read(dir)
	if err != nil {
		return cell{}, err
	}
	sum, err := folderDigest(dir)
	if err != nil {
		return cell{}, err
	}
	r := run.Report()
	return cell{
		where: filepath.ToSlash(rel), path: filepath.ToSlash(rel), format: r.Format, digest: sum,
		told: r.Told, asked: r.Asked, driver: r.Driver, requests: r.Requests, judge: run.Measurement, telemetry: run.Telemetry(),
	}, nil
}

// folderDigest is the digest of the sorted list of (name, digest) of all files
// below dir, as a File parameter has it.
func folderDigest(dir string) (digest.Digest, error) {
	list := map[string]any{}
	err := filepath.WalkDir(dir, func(path string, de fs.DirEntry, err error) error {
		if err != nil || de.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		d, _, err := digest.OfReader(f)
		list[filepath.ToSlash(rel)] = d.String()
		return err
	})
	if err != nil {
		return digest.Digest{}, err
	}
	text, err := digest.Canonical(list)
	return digest.Of(text), err
}

// foreignCells reads all but the folders of AIPerf.
func (s *Step) foreignCells(env *steps.Env, from string, folders []string) ([]cell, error) {
	format := s.Format
	switch format {
	case auto:
		format = ""
	case aiperfFormat:
		if len(folders) == 0 {
			return nil, fmt.Errorf("%s holds no artifacts of AIPerf: give the folder that has profile_export_aiperf.json in it", filepath.Base(from))
		}
		return nil, nil
	}
	found, err := foreign.Scan(from, s.Name, format, folders...)
	if errors.Is(err, foreign.ErrNone) && len(folders) > 0 {
		return nil, nil
	}
	if err != nil && aiperf.IsArtifact(from) {
		return nil, fmt.Errorf("%s is a file of an AIPerf run: give the folder that it is in, with all files of the run and no other", filepath.Base(from))
	}
	if err != nil {
		return nil, err
	}
	var cells []cell
	for _, source := range found.Sources {
		runs, err := source.Read()
		if err != nil {
			return nil, err
		}
		sum, err := source.Digest()
		if err != nil {
			return nil, err
		}
		for i, run := range runs {
			c := cell{where: source.Path, path: source.Path, format: run.Format, digest: sum,
				told: run.Told, asked: run.Asked, driver: run.Driver, requests: run.Requests}
			if len(runs) > 1 {
				c.where, c.part = source.Path+", "+run.Name, i+1
			}
			c.judge = func(asked perf.Workload, setting perf.Setting) (perf.Measurement, error) {
				m, err := run.Measure(asked)
				m.Setting = setting
				return m, err
			}
			cells = append(cells, c)
		}
	}
	if len(found.Skipped) > 0 {
		var names []string
		for _, skip := range found.Skipped {
			names = append(names, skip.Path+" ("+skip.Why+")")
		}
		env.Doubt("skipped: %d files hold no run: %s", len(names), strings.Join(names[:min(3, len(names))], ", "))
	}
	return cells, nil
}

// measure judges a run in its setting.
func (s *Step) measure(c *cell) (perf.Measurement, error) {
	setting, doubts, err := s.setting(c)
	if err != nil {
		return perf.Measurement{}, err
	}
	asked, err := workload(c.asked, setting)
	if err != nil {
		return perf.Measurement{}, err
	}
	m, err := c.judge(asked, setting)
	if err != nil {
		return m, err
	}
	m.Driver.Name, m.Driver.Version = known(setting["bench_backend"]), known(setting["bench_version"])
	m.Simulated = m.Simulated || s.Simulated || setting["engine"] == "vllm-sim"
	m.Source = &perf.Source{Format: c.format, Path: c.path, SHA256: c.digest, Importer: fmt.Sprintf("import_perf_bench %d", version)}
	m.Doubts = append(m.Doubts, doubts...)
	// What is written must be what aggregate reads: a negative number is a
	// fault of the report, and is named here.
	return m, m.Check()
}

func known(value string) string {
	if value == perf.Unknown {
		return ""
	}
	return value
}
