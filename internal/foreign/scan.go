package foreign

import (
	"bufio"
	"bytes"
	"cmp"
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
	"pipeline/internal/pyjson"
	"pipeline/internal/vllmbench"
	"pipeline/lake/perf"
)

// A Cell is one run of a source.
type Cell struct {
	perf.Report
	Name string // which of the source: block 2, benchmark 1, line 4
}

// A Format is a form of report that can be read.
type Format struct {
	Name  string
	Doc   string
	Table []Quantity // how its quantities are named; nil where they are ours
	is    func(head) bool
	read  func(io.Reader) ([]Cell, error)
}

// Formats returns all formats, in the order in which they are tried.
func Formats() []Format {
	object := func(is func(pyjson.Object) bool) func(head) bool {
		return func(h head) bool { return h.object != nil && is(*h.object) }
	}
	return []Format{
		{Name: vllmbench.FormatJSON, Doc: "the result file of `vllm bench serve`, plain, `--save-detailed` or `--append-result`, and the summary of a sweep; also of InferenceX's fork, whose times are in seconds", Table: vllmTable, is: object(vllmbench.IsResult), read: readVLLM},
		{Name: GuideLLM, Doc: "the JSON report of guidellm, version 2; a cell a benchmark", Table: guidellmTable, is: object(isGuideLLM), read: readGuideLLM},
		{Name: GenAIBench, Doc: "the JSON of a run of genai-bench; an `experiment_metadata.json` beside it tells its context", Table: genaiTable, is: object(isGenAIBench), read: readGenAIBench},
		{Name: InferencePerf, Doc: "a stage or summary report of inference-perf", Table: inferencePerfTable, is: object(isInferencePerf), read: readInferencePerf},
		{Name: vllmbench.FormatLog, Doc: "a log with result blocks of `vllm bench serve`; a cell a block", Table: vllmTable, is: func(h head) bool { return h.object == nil && h.block }, read: readVLLMLog},
		{Name: CSV, Doc: "a table that you fill in, a row a cell; its columns are those of atlas_v1", is: func(h head) bool { return h.object == nil && isCSVHeader(h.first) }, read: readCSV},
	}
}

// FormatNames returns the names of all formats.
func FormatNames() []string {
	var names []string
	for _, f := range Formats() {
		names = append(names, f.Name)
	}
	return names
}

// head is what a file is known by.
type head struct {
	object *pyjson.Object // the first object, if it is JSON
	fault  error          // of JSON that begins as such
	block  bool           // it has a banner of vllm bench serve
	first  string         // its first line that is no comment, if it is text
}

// A Source is a file that holds runs.
type Source struct {
	Path    string // below what was scanned, with slashes; for a file, the name it was given
	Format  string
	file    string // its path on this machine
	context string // the path of what describes it, "" if nothing does
}

// Found is what a scan found.
type Found struct {
	Sources []Source
	Skipped []Skipped
}

// Skipped is a file that holds no run.
type Skipped struct{ Path, Why string }

// ErrNone says that a folder holds no report.
var ErrNone = errors.New("no report is there")

// Scan finds the sources in a file, which is called name, or in a folder, apart
// from those below the folders in but. With a format, all files must be of it. A file that holds
// none is a fault if it is what was given, and is listed if it lies in a
// folder; a folder without any is ErrNone.
func Scan(root, name, format string, but ...string) (*Found, error) {
	if format != "" && !slices.Contains(FormatNames(), format) {
		return nil, fmt.Errorf("format %.40q is not one of %s", format, strings.Join(FormatNames(), ", "))
	}
	st, err := os.Stat(root)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		format, why, err := formatOf(root, format)
		if err != nil || why != "" {
			return nil, fmt.Errorf("%s: %w", name, cmp.Or(err, errors.New(why)))
		}
		return &Found{Sources: []Source{{Path: name, Format: format, file: root}}}, nil
	}
	s := scan{root: root, format: format, but: but, found: &Found{}, contexts: map[string]string{}}
	if err := filepath.WalkDir(root, s.visit); err != nil {
		return nil, err
	}
	s.settle()
	if len(s.found.Sources) == 0 {
		return nil, fmt.Errorf("%s: %w: %s", filepath.Base(root), ErrNone, s.reasons())
	}
	return s.found, nil
}

// scan is on its way through a folder.
type scan struct {
	root, format string
	but          []string // folders that are left out
	found        *Found
	contexts     map[string]string // by folder, what describes the runs in it
}

func (s *scan) visit(path string, de fs.DirEntry, err error) error {
	if err == nil && de.IsDir() && slices.Contains(s.but, path) {
		return filepath.SkipDir
	}
	if err != nil || de.IsDir() {
		return err
	}
	rel, err := filepath.Rel(s.root, path)
	if err != nil {
		return err
	}
	rel = filepath.ToSlash(rel)
	name, why, err := formatOf(path, s.format)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", rel, err)
	case why == isExperiment:
		s.contexts[filepath.Dir(path)] = path
	case why != "":
		s.found.Skipped = append(s.found.Skipped, Skipped{rel, why})
	default:
		s.found.Sources = append(s.found.Sources, Source{Path: rel, Format: name, file: path})
	}
	return nil
}

// settle gives runs the context beside them, and leaves out the sums of stages
// that are there themselves.
func (s *scan) settle() {
	stages := map[string]bool{}
	for _, src := range s.found.Sources {
		if src.Format == InferencePerf && !s.sums(src) {
			stages[filepath.Dir(src.file)] = true
		}
	}
	s.found.Sources = slices.DeleteFunc(s.found.Sources, func(src Source) bool {
		if src.Format != InferencePerf || !stages[filepath.Dir(src.file)] || !s.sums(src) {
			return false
		}
		s.found.Skipped = append(s.found.Skipped, Skipped{src.Path, "it sums up the stages beside it"})
		return true
	})
	for i, src := range s.found.Sources {
		if src.Format == GenAIBench {
			s.found.Sources[i].context = s.contexts[filepath.Dir(src.file)]
		}
	}
}

func (s *scan) sums(src Source) bool {
	h, err := headOf(src.file)
	return err == nil && h.object != nil && ofAllStages(*h.object)
}

// reasons says of the first few files why they are none.
func (s *scan) reasons() string {
	if len(s.found.Skipped) == 0 {
		return "it is empty"
	}
	const most = 3
	var parts []string
	for _, skip := range s.found.Skipped[:min(most, len(s.found.Skipped))] {
		parts = append(parts, skip.Path+": "+skip.Why)
	}
	if more := len(s.found.Skipped) - most; more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, "; ")
}

// isExperiment is why a file is no run, but describes those beside it.
const isExperiment = "it describes an experiment of genai-bench"

// formatOf returns the format of a file, or why it has none. A file that
// begins as JSON and is none is a fault: it may be a report that is cut off.
func formatOf(path, format string) (name, why string, err error) {
	h, err := headOf(path)
	if err != nil {
		return "", "", err
	}
	if h.fault != nil {
		return "", "", h.fault
	}
	if h.object != nil {
		switch {
		case isAIPerf(*h.object):
			return "", "it is an artifact of AIPerf: give the folder that AIPerf wrote, and not one of its files", nil
		case isGenAIExperiment(*h.object):
			return "", isExperiment, nil
		case isInferencePerfServer(*h.object):
			return "", "it holds what the server told Prometheus, and no numbers of a client", nil
		}
	}
	for _, f := range Formats() {
		if f.is(h) {
			if format != "" && f.Name != format {
				return "", fmt.Sprintf("it is %s, not %s", f.Name, format), nil
			}
			return f.Name, "", nil
		}
	}
	return "", "it is no report that is known (" + strings.Join(FormatNames(), ", ") + ")", nil
}

var banner = []byte(" Serving Benchmark Result ")

// headOf reads what a file is known by.
func headOf(path string) (head, error) {
	f, err := os.Open(path)
	if err != nil {
		return head{}, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	start, err := r.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return head{}, err
	}
	text := bytes.TrimLeft(bytes.TrimPrefix(start, []byte("\ufeff")), " \t\r\n")
	if !jsonRE.Match(text) {
		return textHead(r)
	}
	objects, err := pyjson.Read(r)
	if err == nil {
		return head{object: &objects[0]}, nil
	}
	// Lines of a log may be JSON each, with the tool's own between them.
	if _, again := f.Seek(0, io.SeekStart); again != nil {
		return head{}, again
	}
	if h, again := textHead(bufio.NewReader(f)); again != nil || h.block {
		return h, again
	}
	return head{fault: err}, nil
}

// jsonRE is how JSON objects, or a list of them, begin: not as a log, whose
// lines may begin with [INFO].
var jsonRE = regexp.MustCompile(`^(?:\[\s*)?\{\s*(?:"|\}|$)`)

func textHead(r *bufio.Reader) (head, error) {
	var h head
	for {
		line, err := r.ReadSlice('\n')
		h.block = h.block || bytes.Contains(line, banner)
		if text := strings.TrimSpace(string(line)); h.first == "" && text != "" && text[0] != '#' && len(text) < 64<<10 {
			h.first = text
		}
		switch {
		case h.block || errors.Is(err, io.EOF):
			return h, nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return h, err
		}
	}
}

// Read returns the runs of a source, at least one. The error names the file.
func (s Source) Read() ([]Cell, error) {
	i := slices.IndexFunc(Formats(), func(f Format) bool { return f.Name == s.Format })
	f, err := os.Open(s.file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cells, err := Formats()[i].read(f)
	if err != nil {
		return nil, fmt.Errorf("%s (%s): %w", s.Path, s.Format, err)
	}
	if s.context == "" {
		return cells, nil
	}
	h, err := headOf(s.context)
	if err == nil && h.object != nil {
		for i := range cells {
			tellGenAIExperiment(&cells[i].Report, *h.object)
		}
		err = h.object.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(s.context), err)
	}
	return cells, nil
}

// Digest returns the digest of what a source holds.
func (s Source) Digest() (digest.Digest, error) {
	f, err := os.Open(s.file)
	if err != nil {
		return digest.Digest{}, err
	}
	defer f.Close()
	d, _, err := digest.OfReader(f)
	return d, err
}
