package evidence

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pipeline/internal/digest"
)

// A Result is what came of a run.
type Result struct {
	Status   string // complete, gaps, broken, interrupted, or what a journal says of a dead run
	Ended    time.Time
	ExitCode int
	Counts   string // "12 nodes, 3 executed, …"
	Nodes    []Node
	Warnings []string
	Outputs  []Output
	Cells    []Cell
	Next     []string // levers, the best first, by what the report says
	Opened   []Lease
	Secrets  []string // names of the environment variables that were used
	By       string   // what finished the bundle, if that was not its run
	Commands string   // the folder of what the steps of the run ran, "" if there is none
}

// A Node is one node of the run.
type Node struct {
	Name, State string
	Took        time.Duration
	Why         string // reason or error
}

// An Output is an artifact for people.
type Output struct {
	Name, Path string
	SHA256     digest.Digest
}

// A Lease is a thing that was opened in the world.
type Lease struct {
	Node, Kind, Name string
	Released         bool
}

// A Cell is one row of numbers, each with all that it depends on.
type Cell struct {
	ID, Status, Reason string
	Simulated          bool
	Numbers            []string // in the order of Columns
	Setting            string
}

// Columns are the numbers of a Cell.
var Columns = []string{"TTFT p50 (ms)", "TPOT p50 (ms)", "output tok/s", "tok/s/GPU", "req/s", "window", "%SoL tok/s", "%SoL TPOT", "sol_rigor"}

// Finish puts the commands of the run and its result in, writes the manifest,
// and with that closes the bundle. It returns the digest of the manifest.
func (b *Bundle) Finish(r Result) (digest.Digest, error) {
	if r.Commands != "" {
		if err := b.copyCommands(r.Commands); err != nil {
			return digest.Digest{}, fmt.Errorf("finish the evidence bundle: %w", err)
		}
	}
	if err := b.completeCommands(); err != nil {
		return digest.Digest{}, fmt.Errorf("finish the evidence bundle: %w", err)
	}
	texts := map[string]string{SourceFile: b.source(&r), SummaryFile: b.summary(&r), HandoffFile: b.handoff(&r)}
	if spec, err := os.ReadFile(filepath.Join(b.Dir, SpecFile)); err == nil {
		texts[SpecFile] = string(spec) // once more, now that the secrets are known
	}
	if err := b.writeAll(texts); err != nil {
		return digest.Digest{}, fmt.Errorf("finish the evidence bundle: %w", err)
	}
	manifest, err := manifestOf(b.Dir)
	if err != nil {
		return digest.Digest{}, fmt.Errorf("finish the evidence bundle: %w", err)
	}
	if err := writeFile(filepath.Join(b.Dir, ManifestFile), manifest); err != nil {
		return digest.Digest{}, err
	}
	return digest.Of(manifest), os.Remove(filepath.Join(b.Dir, UnfinishedFile))
}

// manifestOf lists every file below dir but the manifest and what stands in
// its place, with its digest, in the order of the names.
func manifestOf(dir string) ([]byte, error) {
	names, err := filesOf(dir)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for _, name := range names {
		if name == ManifestFile || name == UnfinishedFile {
			continue
		}
		d, err := digestOf(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%s  %s\n", d, name)
	}
	return []byte(b.String()), nil
}

// filesOf returns the names of all files below dir, with slashes, sorted.
func filesOf(dir string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(path string, de fs.DirEntry, err error) error {
		if err != nil || de.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if strings.ContainsAny(rel, "\n\r") {
			return fmt.Errorf("the name of the file %q has a line feed in it", rel)
		}
		names = append(names, filepath.ToSlash(rel))
		return nil
	})
	slices.Sort(names)
	return names, err
}

func digestOf(path string) (digest.Digest, error) {
	st, err := os.Lstat(path)
	if err != nil {
		return digest.Digest{}, err
	}
	if !st.Mode().IsRegular() {
		return digest.Digest{}, fmt.Errorf("%s is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return digest.Digest{}, err
	}
	defer f.Close()
	d, _, err := digest.OfReader(f)
	return d, err
}
