package aiperf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"pipeline/internal/digest"
	"pipeline/lake/perf"
)

// The artifacts of a run, by what they are. The names are AIPerf's own; with
// --profile-export-prefix P they are P and the ending in the second column.
const (
	summaryJSON = "profile_export_aiperf.json"  // .json
	summaryCSV  = "profile_export_aiperf.csv"   // .csv
	recordsFile = "profile_export.jsonl"        // .jsonl
	serverJSON  = "server_metrics_export.json"  // _server_metrics.json
	serverLines = "server_metrics_export.jsonl" // _server_metrics.jsonl
	serverTable = "server_metrics_export.parquet"
	serverCSV   = "server_metrics_export.csv"
	gpuLines    = "gpu_telemetry_export.jsonl" // _gpu_telemetry.jsonl
	inputsFile  = "inputs.json"                // whatever the prefix
	logFile     = "logs/aiperf.log"            // whatever the prefix
)

// prefixed are the endings of names with a prefix.
var prefixed = []struct{ ending, artifact string }{
	{"_server_metrics.parquet", serverTable},
	{"_server_metrics.jsonl", serverLines},
	{"_server_metrics.json", serverJSON},
	{"_server_metrics.csv", serverCSV},
	{"_gpu_telemetry.jsonl", gpuLines},
	{"_timeslices.json", "profile_export_aiperf_timeslices.json"},
	{"_timeslices.csv", "profile_export_aiperf_timeslices.csv"},
	{"_outputs.json", "outputs.json"},
	{"_raw.jsonl", "profile_export_raw.jsonl"},
	{"_console.txt", "profile_export_console.txt"},
	{".jsonl", recordsFile},
	{".json", summaryJSON},
	{".csv", summaryCSV},
}

// A folder is the artifacts of one run.
type folder struct {
	dir   string
	files map[string]string // artifact to name
	all   []string          // names of all files that belong to the run
}

func (f *folder) has(artifact string) bool { return f.files[artifact] != "" }

func (f *folder) path(artifact string) string { return filepath.Join(f.dir, f.files[artifact]) }

// openFolder lists the artifacts in a folder.
func openFolder(dir string) (*folder, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the artifacts of AIPerf: %w", err)
	}
	f := &folder{dir: dir, files: map[string]string{}}
	regular := func(name string) bool { // or a link to such a file, as mounted volumes have them
		info, err := os.Stat(filepath.Join(dir, name))
		return err == nil && info.Mode().IsRegular()
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !e.IsDir() && regular(e.Name()) {
			f.all = append(f.all, e.Name())
		}
	}
	if regular(logFile) {
		f.all = append(f.all, logFile)
	}
	prefix, err := prefixOf(f.all)
	if err != nil {
		return f, fmt.Errorf("%s: %w", dir, err)
	}
	for _, name := range f.all {
		if artifact := artifactOf(name, prefix); artifact != "" {
			f.files[artifact] = name
		}
	}
	return f, nil
}

// defaults is the prefix of names where none was asked for.
const defaults = "profile_export"

// prefixOf finds the prefix of the run's records or summary: the one stem that
// no other artifact has.
func prefixOf(names []string) (string, error) {
	var found []string
	for _, name := range names {
		if name == summaryJSON || name == recordsFile || name == summaryCSV {
			return defaults, nil
		}
		stem, ending, _ := strings.Cut(name, ".")
		if (ending == "json" || ending == "jsonl" || ending == "csv") && !besides(name) && !slices.Contains(found, stem) {
			found = append(found, stem)
		}
	}
	switch len(found) {
	case 0:
		return defaults, nil
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%w: %s; give each a folder of its own", errSeveral, strings.Join(found, ", "))
}

var errSeveral = errors.New("several runs are in one folder")

// besides reports whether a file is one that AIPerf writes beside the records
// and the summary of a run, or over many runs.
func besides(name string) bool {
	for _, p := range prefixed {
		if p.artifact != recordsFile && p.artifact != summaryJSON && p.artifact != summaryCSV && strings.HasSuffix(name, p.ending) {
			return true
		}
	}
	for _, start := range []string{"inputs.", "outputs.", "phase_manifest.", "server_metrics_export.", "gpu_telemetry_export.", "profile_export_"} {
		if strings.HasPrefix(name, start) {
			return true
		}
	}
	return false
}

func artifactOf(name, prefix string) string {
	if name == inputsFile || name == logFile {
		return name
	}
	if prefix == defaults {
		switch name {
		case summaryJSON, summaryCSV, recordsFile, serverJSON, serverLines, serverTable, serverCSV, gpuLines:
			return name
		}
		return ""
	}
	for _, p := range prefixed {
		if name == prefix+p.ending {
			return p.artifact
		}
	}
	return ""
}

// ErrNoRun says that a folder holds no result of AIPerf.
var ErrNoRun = errors.New("no result of AIPerf")

// Find returns the folders at and below root that hold the result of a run,
// sorted. Those that AIPerf keeps below a run, one a phase, are left out.
func Find(root string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if d.Name() == "phases" {
			return filepath.SkipDir
		}
		f, err := openFolder(path)
		switch {
		case errors.Is(err, errSeveral):
			// Those of other tools are none of ours; one of AIPerf's must not be passed over.
			if slices.ContainsFunc(f.all, func(name string) bool { return IsArtifact(filepath.Join(path, name)) }) {
				return err
			}
		case err != nil:
			return err
		case f.hasResult() && !f.foreign():
			found = append(found, path)
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for runs of AIPerf: %w", err)
	}
	return found, nil
}

func (f *folder) hasResult() bool {
	return f.has(summaryJSON) || f.has(recordsFile) || f.has(summaryCSV)
}

// foreign reports whether what has the name of an artifact with a prefix is
// the file of another tool.
func (f *folder) foreign() bool {
	for _, artifact := range []string{summaryJSON, recordsFile, summaryCSV} {
		if !f.has(artifact) {
			continue
		}
		if f.files[artifact] == artifact {
			return false
		}
		if IsArtifact(f.path(artifact)) {
			return false
		}
	}
	return true
}

// IsArtifact reports whether a file holds the records or the summary of a run
// of AIPerf, whatever its name.
func IsArtifact(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	head := make([]byte, 256<<10)
	n, _ := io.ReadFull(file, head)
	text := string(head[:n])
	for _, mark := range []string{`"request_start_ns"`, `"error_summary"`, "Metric,avg,min,max"} {
		if strings.Contains(text, mark) {
			return true
		}
	}
	return metricRE.MatchString(text)
}

// metricRE is a metric of AIPerf: an object, and not the number that other
// tools have by this name.
var metricRE = regexp.MustCompile(`"request_throughput"\s*:\s*\{`)

// evidence returns every file of the run with its digest.
func (f *folder) evidence() ([]perf.Artifact, error) {
	var list []perf.Artifact
	for _, name := range f.all {
		a, err := fileDigest(f.dir, name)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

func fileDigest(dir, name string) (perf.Artifact, error) {
	file, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return perf.Artifact{}, fmt.Errorf("digest an artifact: %w", err)
	}
	defer file.Close()
	d, n, err := digest.OfReader(file)
	if err != nil {
		return perf.Artifact{}, fmt.Errorf("digest artifact %s: %w", name, err)
	}
	return perf.Artifact{Name: name, Bytes: n, SHA256: d}, nil
}
