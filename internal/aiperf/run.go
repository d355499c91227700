package aiperf

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pipeline/lake/perf"
)

// A Run is what AIPerf left of one run.
type Run struct {
	Dir     string
	Version string        // of AIPerf; "" where no artifact tells it
	Command []string      // its command line, secrets taken out; nil where no artifact tells it
	Models  []string      // that were asked for
	URLs    []string      // that were asked
	Asked   perf.Workload // as far as the artifacts tell; Told names the fields
	Told    []string
	Summary *Summary // AIPerf's own account, nil if it wrote none
	Records *Records // nil if it wrote none

	Simulated bool // the endpoint said of itself that it is a simulation

	folder *folder
	server *serverExport
}

// Read reads the artifacts of one run: those in a folder, in the one folder
// below it that has some (the first versions made one for each run), or beside
// a file that is one of them. Records are read once, to check them; see
// Records.Stream.
//
// An error names the file, and where it can the line and the field. Where
// AIPerf ended before it wrote a result, it says what the log of AIPerf says.
func Read(path string) (*Run, error) {
	dir := path
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		dir = filepath.Dir(path)
	}
	f, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	if !f.hasResult() {
		below, err := Find(dir)
		switch {
		case err != nil:
			return nil, err
		case len(below) > 1:
			return nil, fmt.Errorf("%s: %d runs are below it, %s and others: name one", dir, len(below), below[0])
		case len(below) == 0:
			return nil, f.nothing()
		}
		dir = below[0]
		if f, err = openFolder(dir); err != nil {
			return nil, err
		}
	}
	run := &Run{Dir: dir, folder: f}
	if err := run.read(); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return run, nil
}

func (r *Run) read() (err error) {
	f := r.folder
	switch {
	case f.has(summaryJSON):
		r.Summary, err = readSummary(f)
	case f.has(summaryCSV):
		r.Summary, err = readCSV(f)
	}
	if err != nil {
		return err
	}
	if f.has(recordsFile) {
		if r.Records, err = readRecords(f); err != nil {
			return err
		}
	}
	if f.has(serverJSON) {
		if r.server, err = readServer(f); err != nil {
			return err
		}
		r.Simulated = r.server.simulated()
	}
	if err := r.oneRun(); err != nil {
		return err
	}
	r.learn()
	return nil
}

// oneRun finds artifacts of two runs in one folder.
func (r *Run) oneRun() error {
	s, e := r.Summary, r.server
	if s == nil || e == nil {
		return nil
	}
	for _, field := range []struct{ name, a, b string }{{"benchmark_id", s.BenchmarkID, e.BenchmarkID}, {"aiperf_version", s.Version, e.Version}} {
		if field.a != "" && field.b != "" && field.a != field.b {
			return fmt.Errorf("field %s: %s has %s and %s has %s: they are of two runs", field.name, r.folder.files[summaryJSON], field.a, r.folder.files[serverJSON], field.b)
		}
	}
	return nil
}

// learn fills what the summary tells of the run.
func (r *Run) learn() {
	s := r.Summary
	if r.server != nil {
		r.Version = r.server.Version
	}
	if s == nil {
		return
	}
	if s.Version != "" {
		r.Version = s.Version
	}
	r.Models, r.URLs, r.Asked, r.Told = s.config.models, s.config.urls, s.config.workload, s.config.told
	if s.Command != "" {
		r.Command = splitCommand(s.Command)
	}
	if r.Records != nil {
		r.Records.serverCount = s.config.usage
	}
}

// nothing says why there is no result.
func (f *folder) nothing() error {
	if cause := logCause(filepath.Join(f.dir, logFile)); cause != "" {
		return fmt.Errorf("%s: %w: it ended before it wrote one; its log says: %s", f.dir, ErrNoRun, cause)
	}
	return fmt.Errorf("%s: %w: neither %s nor %s is there", f.dir, ErrNoRun, summaryJSON, recordsFile)
}

// Cut drops a last line of the records that is not whole, as a run that was
// killed leaves it.
func Cut(dir string) error {
	f, err := openFolder(dir)
	if err != nil || !f.has(recordsFile) {
		return err
	}
	file, err := os.OpenFile(f.path(recordsFile), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	// A record of a long answer, with the time of each token, is some 100 kB.
	for back := int64(64 << 10); ; back *= 2 {
		from := max(0, size-back)
		end := make([]byte, size-from)
		if _, err := file.ReadAt(end, from); err != nil {
			return err
		}
		switch i := bytes.LastIndexByte(end, '\n'); {
		case i >= 0:
			return file.Truncate(from + int64(i) + 1)
		case from == 0:
			return os.Remove(file.Name())
		}
	}
}

// logCause finds the first error in a log. Its lines are either
// "2026-11-25 23:34:50.928 - module - ERROR - text" or "23:34:50.928 ERROR    text (file.py:12)".
func logCause(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		for _, mark := range []string{" - ERROR - ", " - CRITICAL - ", " ERROR ", " CRITICAL "} {
			before, text, found := strings.Cut(line, mark)
			if found && strings.Contains(before, ":") {
				return strings.TrimSpace(text)
			}
		}
	}
	return ""
}

// Server returns what the server's own counters say of the run, nil if AIPerf
// did not read them.
func (r *Run) Server() *perf.Server {
	if r.server == nil {
		return nil
	}
	return r.server.server()
}

// Inputs reads the prompts of the run, nil if AIPerf did not write them.
func (r *Run) Inputs() (*Inputs, error) {
	if !r.folder.has(inputsFile) {
		return nil, nil
	}
	return readInputs(r.folder)
}

// evidence is what goes with the numbers of the run.
func (r *Run) evidence() (*perf.Evidence, error) {
	artifacts, err := r.folder.evidence()
	if err != nil {
		return nil, err
	}
	e := &perf.Evidence{Artifacts: artifacts, Extra: map[string]json.RawMessage{}, Missing: r.missing()}
	if s := r.Summary; s != nil {
		e.Figures = maps.Clone(s.Metrics)
		for gpu, figures := range s.gpus {
			for metric, figure := range figures {
				e.Figures[gpu+" "+metric] = figure
			}
		}
		for name, raw := range s.extra {
			e.Extra[r.summaryName()+" "+name] = raw
		}
	}
	if r.Records != nil {
		for name, value := range r.Records.unknown {
			if !json.Valid(value) {
				value = []byte("null")
			}
			e.Extra[r.Records.file+" "+name] = value
		}
	}
	return e, nil
}

func (r *Run) summaryName() string {
	if r.folder.has(summaryJSON) {
		return r.folder.files[summaryJSON]
	}
	return r.folder.files[summaryCSV]
}

// missing names what was looked for and is not there.
func (r *Run) missing() []string {
	var list []string
	missing := func(format string, a ...any) { list = append(list, fmt.Sprintf(format, a...)) }
	f := r.folder
	for _, artifact := range []string{summaryJSON, recordsFile, inputsFile, serverJSON} {
		if !f.has(artifact) {
			missing("%s: the file is not there", artifact)
		}
	}
	for _, other := range []string{serverTable, serverLines, serverCSV} {
		if !f.has(serverJSON) && f.has(other) {
			missing("%s: the server's metrics are in %s, which is not read", serverJSON, f.files[other])
		}
	}
	if !f.hasLines(gpuLines) {
		missing("%s: no sample of a GPU is there", gpuLines)
	}
	if s := r.Summary; s != nil {
		for _, field := range []struct{ name, value string }{{"aiperf_version", s.Version}, {"cli_command", s.Command}} {
			if field.value == "" {
				missing("%s %s", r.summaryName(), field.name)
			}
		}
		for _, tag := range []string{"request_count", "request_throughput", "benchmark_duration", "time_to_first_token", "inter_token_latency", "request_latency"} {
			if _, ok := s.Metrics[tag]; !ok && s.faulty[tag] == "" {
				missing("%s %s", r.summaryName(), tag)
			}
		}
		for _, tag := range slices.Sorted(maps.Keys(s.faulty)) {
			missing("%s %s: it is no metric with a unit, but %s", r.summaryName(), tag, s.faulty[tag])
		}
	}
	if rs := r.Records; rs != nil {
		for _, field := range []struct {
			name string
			n    int
		}{
			{"metadata.credit_issued_ns", rs.absent.credit}, {"metadata.x_correlation_id", rs.absent.correlation},
			{"metrics.time_to_first_token", rs.absent.ttft}, {"metrics.request_latency", rs.absent.latency},
			{"metrics.inter_chunk_latency", rs.absent.gaps}, {"metrics.usage_completion_tokens", rs.absent.usage},
			{"metrics.output_sequence_length", rs.absent.length},
		} {
			if field.n > 0 {
				missing("%s %s: in %d of %d answered requests", rs.file, field.name, field.n, rs.Measured-rs.Failed)
			}
		}
	}
	return list
}
