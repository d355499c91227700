package lake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"pipeline/internal/digest"
	"pipeline/lake/perf"
)

// A Lake is a folder of published tables. It need not exist yet.
type Lake struct{ Dir string }

var campaignRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$`)

const (
	pointerName    = "_current.json"
	scratchPrefix  = ".publish-" // of names that only their writer knows
	pointerScratch = ".current-"
)

// pointer is what _current.json holds.
type pointer struct {
	File   string        `json:"file"`
	Rows   int           `json:"rows"`
	Source digest.Digest `json:"source"` // what the rows were made from, as the publisher names it
}

// Publish makes rows the current revision of the campaign in the table of the
// schema, in full: they replace the rows of earlier revisions, whose files
// stay. Rows that are already current are left as they are. source names what
// they were made from, for Holds.
func (l Lake) Publish(ctx context.Context, schema *perf.Schema, campaign string, rows []perf.Row, source digest.Digest) (perf.Revision, error) {
	rev, err := revision(schema, campaign, rows)
	if err != nil {
		return rev, err
	}
	path := filepath.Join(l.Dir, filepath.FromSlash(rev.Path))
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return rev, fmt.Errorf("publish to the lake: %w", err)
	}
	leave, err := enter(dir)
	if err != nil {
		return rev, fmt.Errorf("publish to the lake: %w", err)
	}
	defer leave()
	if !whole(path) {
		if err := l.write(ctx, path, schema, rows); err != nil {
			return rev, err
		}
	}
	p := pointer{File: filepath.Base(path), Rows: len(rows), Source: source}
	if now, ok := readPointer(dir); ok && now == p {
		return rev, nil
	}
	if err := writePointer(dir, p); err != nil {
		return rev, fmt.Errorf("publish to the lake: make %s current: %w", rev.Path, err)
	}
	return rev, nil
}

// enter says that this process writes in the folder, until leave is called.
// If no other does, what killed writers left behind is swept away first.
func enter(dir string) (leave func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		for _, pattern := range []string{scratchPrefix + "*", pointerScratch + "*"} {
			left, _ := filepath.Glob(filepath.Join(dir, pattern))
			for _, path := range left {
				os.RemoveAll(path)
			}
		}
	}
	for err = syscall.EINTR; err == syscall.EINTR; { // until a sweeper is done
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

func revision(schema *perf.Schema, campaign string, rows []perf.Row) (perf.Revision, error) {
	if !campaignRE.MatchString(campaign) {
		return perf.Revision{}, badCampaign(campaign)
	}
	if len(rows) == 0 {
		return perf.Revision{}, fmt.Errorf("publish to the lake: there are no rows for %s", schema.Name)
	}
	sum, err := perf.RowsDigest(schema, rows)
	if err != nil {
		return perf.Revision{}, err
	}
	return perf.Revision{
		Table: schema.Name, Digest: sum, Rows: len(rows),
		Path: schema.Name + "/campaign=" + campaign + "/" + sum.String() + ".parquet",
	}, nil
}

// write puts a whole file at path: under another name first, so that no
// reader ever sees a part of it. Two writers of one path write the same rows.
func (l Lake) write(ctx context.Context, path string, schema *perf.Schema, rows []perf.Row) error {
	scratch, err := os.MkdirTemp(filepath.Dir(path), scratchPrefix)
	if err != nil {
		return fmt.Errorf("publish to the lake: %w", err)
	}
	defer os.RemoveAll(scratch)
	part := filepath.Join(scratch, "part")
	if _, err := WriteParquet(ctx, part, schema, rows); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return fmt.Errorf("publish to the lake: %w", err)
	}
	if err := syncFile(filepath.Dir(path)); err != nil {
		return fmt.Errorf("publish to the lake: %w", err)
	}
	return nil
}

func writePointer(dir string, p pointer) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, pointerScratch+"*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, pointerName))
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return syncFile(dir)
}

// readPointer returns what counts; false if the pointer is not there or says
// nothing that can be used.
func readPointer(dir string) (pointer, bool) {
	text, err := os.ReadFile(filepath.Join(dir, pointerName))
	if err != nil {
		return pointer{}, false
	}
	var p pointer
	if err := json.Unmarshal(text, &p); err != nil || p.File == "" || p.File != filepath.Base(p.File) {
		return pointer{}, false
	}
	return p, true
}

// Holds reports whether the current revision of the campaign in the table was
// made from source, and its file is there and whole. It reads no rows.
func (l Lake) Holds(schema *perf.Schema, campaign string, source digest.Digest) (bool, error) {
	if !campaignRE.MatchString(campaign) {
		return false, badCampaign(campaign)
	}
	dir := filepath.Join(l.Dir, schema.Name, "campaign="+campaign)
	p, ok := readPointer(dir)
	return ok && p.Source == source && whole(filepath.Join(dir, p.File)), nil
}

func badCampaign(name string) error {
	return fmt.Errorf("publish to the lake: the campaign name %q cannot be a folder name: use letters, digits, '.', '_' and '-'", name)
}

// A dataFile is a file of a table that is whole.
type dataFile struct {
	path    string
	current bool
}

// files lists the files of a table, sorted, and what is wrong with it.
func (l Lake) files(table string) ([]dataFile, []string, error) {
	dirs, err := os.ReadDir(filepath.Join(l.Dir, table))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list the lake: %w", err)
	}
	var files []dataFile
	var doubts []string
	for _, d := range dirs {
		if !d.IsDir() || !strings.HasPrefix(d.Name(), "campaign=") {
			continue
		}
		found, warns, err := campaignFiles(filepath.Join(l.Dir, table, d.Name()))
		if err != nil {
			return nil, nil, fmt.Errorf("list the lake: %w", err)
		}
		files, doubts = append(files, found...), append(doubts, warns...)
	}
	return files, doubts, nil
}

// campaignFiles lists the whole files of one campaign. The pointer is read
// before the folder: a file is there before the pointer names it, so the list
// has it even if a publisher is at work.
func campaignFiles(dir string) ([]dataFile, []string, error) {
	current, ok := readPointer(dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	var files []dataFile
	var doubts []string
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".parquet") || strings.HasPrefix(e.Name(), ".") || strings.HasPrefix(e.Name(), "_") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if !whole(path) {
			doubts = append(doubts, path+" is not a whole Parquet file and was left out: publish the campaign again")
			continue
		}
		files = append(files, dataFile{path: path})
	}
	if len(files) == 0 {
		return nil, doubts, nil
	}
	i := slices.IndexFunc(files, func(f dataFile) bool { return filepath.Base(f.path) == current.File })
	switch {
	case ok && i >= 0:
		files[i].current = true
	case len(files) == 1 && !ok:
		files[0].current = true
	default:
		doubts = append(doubts, fmt.Sprintf("%s does not name one of the %d revisions beside it, so none counts as current: publish the campaign again, or query the view with _all",
			filepath.Join(dir, pointerName), len(files)))
	}
	return files, doubts, nil
}
