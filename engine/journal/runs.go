package journal

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"pipeline/engine/internal/sealed"
	"pipeline/internal/command"
)

// NewRunID returns a name for a run that begins now: names sort by time, and
// no two are the same, also between processes.
func NewRunID(now time.Time) string {
	var b [4]byte
	rand.Read(b[:]) // never fails
	return now.UTC().Format("20060102-150405.000") + "-" + hex.EncodeToString(b[:])
}

// A Summary is what a list of runs shows.
type Summary struct {
	Run   string    `json:"run"`
	Began time.Time `json:"began"`
	Start Start     `json:"start"`
	End   *End      `json:"end,omitempty"` // nil: it is going on, or was killed
}

// List returns all runs below runsDir, the newest first. It reads the first
// and the last line of each journal.
func List(runsDir string) ([]Summary, error) {
	des, err := os.ReadDir(runsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	var out []Summary
	for _, de := range slices.Backward(des) {
		s, err := summarize(filepath.Join(runsDir, de.Name()))
		if err != nil {
			continue // not a run, or one that was killed before its first line
		}
		out = append(out, *s)
	}
	return out, nil
}

func summarize(runDir string) (*Summary, error) {
	f, err := os.Open(filepath.Join(runDir, "journal.jsonl"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	const near = 32 << 10
	head := make([]byte, min(st.Size(), near))
	if _, err := io.ReadFull(f, head); err != nil {
		return nil, err
	}
	first, err := decode(head, bytes.IndexByte(head, '\n'))
	if err != nil || first.Start == nil {
		return nil, errors.New("its first line does not start a run")
	}
	s := &Summary{Run: first.Start.Run, Began: first.Time, Start: *first.Start}
	tail := make([]byte, min(st.Size(), near))
	if _, err := f.ReadAt(tail, st.Size()-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for line := range bytes.Lines(tail) { // leases may be released behind the end
		if e, err := decode(line, len(line)); err == nil && e.End != nil {
			s.End = e.End
		}
	}
	return s, nil
}

func decode(b []byte, end int) (*Entry, error) {
	if end < 0 {
		return nil, errors.New("no whole line")
	}
	body, err := sealed.Open(b[:end])
	if err != nil {
		return nil, err
	}
	var e Entry
	return &e, json.Unmarshal(body, &e)
}

// OpenLeases returns the lease entries that no release follows.
func OpenLeases(entries []Entry) []Entry {
	released := make(map[string]bool)
	for _, e := range entries {
		if e.Event == Released {
			released[e.Lease] = true
		}
	}
	var open []Entry
	for _, e := range entries {
		if e.Event == Lease && !released[e.Lease] {
			open = append(open, e)
		}
	}
	return open
}

// OpenAttempts returns the attempt entries of tries that did not end.
func OpenAttempts(entries []Entry) []Entry {
	last := make(map[string]int) // by node, the position of an attempt that is open
	for i, e := range entries {
		switch e.Event {
		case Attempt:
			last[e.Node] = i
		case Tried:
			delete(last, e.Node)
		}
	}
	var open []Entry
	for i, e := range entries {
		if at, ok := last[e.Node]; ok && at == i && e.Event == Attempt {
			open = append(open, e)
		}
	}
	return open
}

// LogPath returns the path of a node's log, relative to the run's folder.
func LogPath(node string) string { return filepath.Join("logs", command.FileName(node)+".log") }
