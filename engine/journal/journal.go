// Package journal keeps what a run did, line by line, in
//
//	<home>/runs/<run-id>/journal.jsonl
//	<home>/runs/<run-id>/logs/<node>.log
//	<home>/runs/<run-id>/commands/        what steps ran, see internal/command
//
// A journal is only ever added to. Each line is JSON with a checksum as its
// last member; a reader drops a line that was torn by a crash and all behind
// it. Lines are buffered until Flush, which hands them to the kernel, or Sync,
// which returns when they are on the disk: a lease is synced before the world
// is touched.
package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"pipeline/engine/internal/sealed"
	"pipeline/internal/digest"
)

// Kinds of entries.
const (
	RunStart = "start"    // the first line
	RunEnd   = "end"      // the last line of a run that was not killed
	State    = "state"    // a node changed its state
	Attempt  = "attempt"  // a try of a node begins: Number, Key
	Tried    = "tried"    // a try of a node ended: Number, State, Error, Took
	Lease    = "lease"    // a Hold is about to be opened: Lease, Kind, Params
	Opened   = "opened"   // a Hold is open: Lease, Took
	Released = "released" // a Hold was closed: Lease
	Doubt    = "doubt"    // a warning of a node, or of the run
	Phase    = "phase"    // a node comes to a phase that the spec names: Text
)

// CommandsDir is the folder of a run with the commands that its steps ran.
const CommandsDir = "commands"

// An Entry is one line.
type Entry struct {
	Time   time.Time       `json:"time"`
	Event  string          `json:"event"`
	Node   string          `json:"node,omitempty"` // "" for the run itself
	State  string          `json:"state,omitempty"`
	Key    string          `json:"key,omitempty"`
	Record string          `json:"record,omitempty"` // its ID
	Reason string          `json:"reason,omitempty"` // why the node was not reused, as a code
	Number int             `json:"number,omitempty"` // of the try, from 1
	Text   string          `json:"text,omitempty"`   // error, doubt
	Took   time.Duration   `json:"took_ns,omitempty"`
	Lease  string          `json:"lease,omitempty"`
	Kind   string          `json:"kind,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Start  *Start          `json:"start,omitempty"`
	End    *End            `json:"end,omitempty"`
}

// Start describes a run.
type Start struct {
	Run       string        `json:"run"`
	Campaign  string        `json:"campaign"`
	Spec      string        `json:"spec"`
	SpecSum   digest.Digest `json:"spec_sum"`
	Args      []string      `json:"args,omitempty"` // the command line, secrets redacted by the caller
	Selection string        `json:"selection,omitempty"`
	Nodes     int           `json:"nodes"`
	Host      string        `json:"host,omitempty"`
	PID       int           `json:"pid,omitempty"`
}

// End says how a run ended.
type End struct {
	Status string        `json:"status"` // complete, gaps, failed or interrupted
	Counts Counts        `json:"nodes"`
	Took   time.Duration `json:"took_ns"`
}

// Counts are the numbers of nodes by what became of them.
type Counts struct {
	Total    int `json:"total"`
	Executed int `json:"executed"`
	Reused   int `json:"reused"`
	Failed   int `json:"failed"`
	Skipped  int `json:"skipped"`
}

// A Writer adds to the journal of one run. It belongs to one goroutine.
type Writer struct {
	dir   string
	f     *os.File
	w     *bufio.Writer
	buf   []byte
	fault func(op string) error
	err   error // the first; a journal that failed stays failed
}

// Create makes the folder of a run and starts its journal. The fault hook is
// that of the store's Options.
func Create(runDir string, fault func(op string) error) (*Writer, error) {
	if fault == nil {
		fault = func(string) error { return nil }
	}
	if err := fault("journal create"); err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(runDir, "logs"), 0o777); err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(runDir, "journal.jsonl"), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o666)
	if err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	return &Writer{dir: runDir, f: f, w: bufio.NewWriterSize(f, 64<<10), fault: fault}, nil
}

// Continue opens the journal of a dead run to add what was done about it. A
// torn tail is cut off first.
func Continue(runDir string) (*Writer, error) {
	path := filepath.Join(runDir, "journal.jsonl")
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("continue journal: %w", err)
	}
	_, good, _ := parse(b)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, fmt.Errorf("continue journal: %w", err)
	}
	if err := f.Truncate(int64(good)); err != nil {
		f.Close()
		return nil, fmt.Errorf("continue journal: %w", err)
	}
	return &Writer{dir: runDir, f: f, w: bufio.NewWriter(f), fault: func(string) error { return nil }}, nil
}

// Add appends e. Its error, and those of the writes behind it, come out of
// Flush and Sync.
func (w *Writer) Add(e Entry) {
	if w.err != nil {
		return
	}
	w.buf = appendEntry(w.buf[:0], &e)
	if w.err = w.fault("journal append"); w.err == nil {
		_, w.err = w.w.Write(w.buf)
	}
}

// Flush hands all lines to the kernel: they survive the death of the process.
func (w *Writer) Flush() error {
	if w.err == nil && w.w.Buffered() > 0 {
		if w.err = w.fault("journal flush"); w.err == nil {
			w.err = w.w.Flush()
		}
	}
	if w.err != nil {
		return fmt.Errorf("write journal: %w", w.err)
	}
	return nil
}

// Sync returns when all lines are on the disk: they survive a loss of power.
func (w *Writer) Sync() error {
	if err := w.Flush(); err != nil {
		return err
	}
	if w.err = w.fault("journal sync"); w.err == nil {
		w.err = w.f.Sync()
	}
	if w.err != nil {
		return fmt.Errorf("sync journal: %w", w.err)
	}
	return nil
}

// Close syncs and closes the journal.
func (w *Writer) Close() error {
	return errors.Join(w.Sync(), w.f.Close())
}

// appendEntry writes the common fields by hand: a run that reuses ten thousand
// nodes writes as many lines.
func appendEntry(dst []byte, e *Entry) []byte {
	if e.Start != nil || e.End != nil || e.Params != nil {
		b, err := json.Marshal(e)
		if err != nil {
			b, _ = json.Marshal(Entry{Time: e.Time, Event: e.Event, Node: e.Node, Lease: e.Lease, Text: err.Error()})
		}
		return sealed.Seal(append(dst, b...), len(dst))
	}
	start := len(dst)
	dst = append(dst, `{"time":"`...)
	dst = e.Time.UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, '"')
	for _, f := range [...]struct{ name, value string }{
		{"event", e.Event}, {"node", e.Node}, {"state", e.State}, {"key", e.Key}, {"record", e.Record},
		{"reason", e.Reason}, {"text", e.Text}, {"lease", e.Lease}, {"kind", e.Kind},
	} {
		if f.value != "" {
			dst = append(append(append(dst, `,"`...), f.name...), `":`...)
			dst = appendString(dst, f.value)
		}
	}
	if e.Number != 0 {
		dst = strconv.AppendInt(append(dst, `,"number":`...), int64(e.Number), 10)
	}
	if e.Took != 0 {
		dst = strconv.AppendInt(append(dst, `,"took_ns":`...), int64(e.Took), 10)
	}
	return sealed.Seal(append(dst, '}'), start)
}

func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x80 {
			b, err := json.Marshal(s)
			if err != nil {
				return append(dst, `""`...) // a string always has a JSON form
			}
			return append(dst, b...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}

// Read returns the entries of a run's journal. Torn reports that the end of
// the file was not a whole line and was dropped.
func Read(runDir string) (entries []Entry, torn bool, err error) {
	b, err := os.ReadFile(filepath.Join(runDir, "journal.jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("there is no run %s: %w", filepath.Base(runDir), err)
	}
	if err != nil {
		return nil, false, fmt.Errorf("read journal: %w", err)
	}
	entries, good, err := parse(b)
	return entries, good < len(b), err
}

// parse reads lines up to the first that is not whole. Nothing good can stand
// behind it, as one process wrote them in order.
func parse(b []byte) (entries []Entry, good int, err error) {
	for good < len(b) {
		end := bytes.IndexByte(b[good:], '\n')
		if end < 0 {
			break
		}
		body, err := sealed.Open(b[good : good+end])
		if err != nil {
			break
		}
		var e Entry
		if err := json.Unmarshal(body, &e); err != nil {
			return entries, good, fmt.Errorf("read journal: line %d: %w", len(entries)+1, err)
		}
		entries = append(entries, e)
		good += end + 1
	}
	return entries, good, nil
}
