package store

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pipeline/engine/internal/sealed"
	"pipeline/internal/digest"
	"pipeline/steps"
)

// A Key names a question: it is the digest of the manifest, the text of all
// that decides what a step writes. The text itself is the blob of that digest.
type Key digest.Digest

// String returns the key as 64 hexadecimal digits.
func (k Key) String() string { return digest.Digest(k).String() }

// Short returns the first 12 digits, enough for people.
func (k Key) Short() string { return digest.Digest(k).Short() }

// IsZero reports whether k is no key.
func (k Key) IsZero() bool { return k == Key{} }

// Manifest returns the digest of the manifest's text.
func (k Key) Manifest() digest.Digest { return digest.Digest(k) }

// MarshalText implements encoding.TextMarshaler.
func (k Key) MarshalText() ([]byte, error) { return digest.Digest(k).MarshalText() }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *Key) UnmarshalText(b []byte) error { return (*digest.Digest)(k).UnmarshalText(b) }

// A Status says what a record is worth.
type Status string

const (
	Complete Status = "complete" // an answer
	Partial  Status = "partial"  // some of an answer, with a reason: evidence, never reused
	Failed   Status = "failed"   // no answer, with a reason: evidence, never reused
)

// A Record is one observation: that a key was asked, and what came of it. A
// key may have many; none is ever changed.
type Record struct {
	Schema    int              `json:"schema"` // RecordSchema
	Key       Key              `json:"key"`
	ID        string           `json:"id"` // set by Add; those of one key grow, whatever the clock does
	Kind      string           `json:"kind"`
	Effect    string           `json:"effect"`
	Node      string           `json:"node"`
	Campaign  string           `json:"campaign"`
	Run       string           `json:"run"`
	Attempt   int              `json:"attempt"` // from 1
	Status    Status           `json:"status"`
	Reason    string           `json:"reason,omitempty"` // why Status is not complete
	Artifacts []steps.Artifact `json:"artifacts,omitempty"`
	Doubts    []string         `json:"doubts,omitempty"`
	Began     time.Time        `json:"began"` // wall clock, UTC
	Took      time.Duration    `json:"took_ns"`
	Host      Host             `json:"host"`             // only Read fills it
	Forced    string           `json:"forced,omitempty"` // who asked for it although there was a record
}

// RecordSchema numbers the shape of a record.
const RecordSchema = 1

// A Host is the machine and the process that made a record.
type Host struct {
	Name    string `json:"name,omitempty"`
	OS      string `json:"os,omitempty"`
	Arch    string `json:"arch,omitempty"`
	User    string `json:"user,omitempty"`
	PID     int    `json:"pid,omitempty"`
	Version string `json:"version,omitempty"` // of pipeline
}

// Add keeps r as the newest record of its key and returns it with its ID. The
// blobs that it names must be in the store already.
func (s *Store) Add(r Record) (*Record, error) {
	r.Schema = RecordSchema
	r.Began = r.Began.UTC().Round(0)
	err := s.withIndex(func() error {
		last := ""
		if e := s.index.newest(r.Key); e != nil {
			last = e.id
		}
		r.ID = nextID(last, time.Now())
		if err := s.writeRecord(&r); err != nil {
			return err
		}
		return s.appendIndex(&r)
	})
	if err != nil {
		return nil, fmt.Errorf("record %s of %s: %w", r.Key.Short(), r.Node, err)
	}
	return &r, nil
}

// nextID returns an ID that sorts after last and, if the clock allows, tells
// the time: nanoseconds since 1970 in hexadecimal.
func nextID(last string, now time.Time) string {
	id := fmt.Sprintf("%016x", now.UnixNano())
	if id > last {
		return id
	}
	var n uint64
	if _, err := fmt.Sscanf(last, "%x", &n); err != nil {
		return last + "0"
	}
	return fmt.Sprintf("%016x", n+1)
}

func (s *Store) recordPath(k Key, id string) string {
	return s.Path("records", k.String()[:2], recordName(k, id))
}

func recordName(k Key, id string) string { return k.String() + "." + id + ".json" }

func (s *Store) writeRecord(r *Record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := s.at("record create"); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.Path("tmp"), "record-*")
	if err != nil {
		return err
	}
	if err := s.at("record write"); err != nil {
		f.Close()
		os.Remove(f.Name())
		return err
	}
	if _, err := f.Write(sealed.Seal(b, 0)); err != nil {
		f.Close()
		os.Remove(f.Name())
		return err
	}
	return s.place(f, s.recordPath(r.Key, r.ID), "record")
}

// parseRecordName reads "<key>.<id>.json".
func parseRecordName(name string) (Key, string, bool) {
	h, rest, ok := strings.Cut(name, ".")
	id, isJSON := strings.CutSuffix(rest, ".json")
	if !ok || !isJSON || id == "" {
		return Key{}, "", false
	}
	d, err := digest.Parse(h)
	return Key(d), id, err == nil
}

// readRecord reads the truth, and checks that it is what its name says.
func (s *Store) readRecord(k Key, id string) (*Record, error) {
	b, err := os.ReadFile(s.recordPath(k, id))
	if err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	body, err := sealed.Open(b)
	if err != nil {
		return nil, fmt.Errorf("read record %s.%s: %w", k.Short(), id, err)
	}
	var r Record
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("read record %s.%s: %w", k.Short(), id, err)
	}
	switch {
	case r.Schema > RecordSchema:
		return nil, fmt.Errorf("read record %s.%s: it has schema %d and was written by a newer pipeline; this one reads up to %d",
			k.Short(), id, r.Schema, RecordSchema)
	case r.Key != k || r.ID != id:
		return nil, fmt.Errorf("read record %s.%s: it holds the record %s.%s", k.Short(), id, r.Key.Short(), r.ID)
	}
	return &r, nil
}

// Read returns a record as its file has it, with its host.
func (s *Store) Read(k Key, id string) (*Record, error) { return s.readRecord(k, id) }

// Records returns all records of a key, the newest first.
func (s *Store) Records(k Key) []*Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*Record
	for e := s.index.newest(k); e != nil; e = s.index.older(e) {
		if r := e.record(); r != nil {
			out = append(out, r)
		}
	}
	return out
}

// Latest returns the newest record of a key for which ok holds, or nil.
func (s *Store) Latest(k Key, ok func(*Record) bool) *Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.index.newest(k); e != nil; e = s.index.older(e) {
		if r := e.record(); r != nil && ok(r) {
			return r
		}
	}
	return nil
}

// OfNode returns the records of all keys that a node of that name ever had,
// the newest first.
func (s *Store) OfNode(name string) []*Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*Record
	for _, pos := range s.index.ofNode(name) {
		if r := s.index.entries[pos].record(); r != nil {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b *Record) int { return strings.Compare(b.ID, a.ID) })
	return out
}

// All returns every record, in the order in which this store learnt of them.
func (s *Store) All() []*Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*Record, 0, len(s.index.entries))
	for i := range s.index.entries {
		if r := s.index.entries[i].record(); r != nil {
			out = append(out, r)
		}
	}
	return out
}

// Import puts many blobs and records into the store at once, syncing the file
// system in the end instead of each file. A crash in the middle may leave less
// than all of it; Verify finds what is torn. It is for moving stores about,
// and for benchmarks.
func (s *Store) Import(blobs [][]byte, records []Record) error {
	if s.readOnly != nil {
		return s.readOnly
	}
	for _, b := range blobs {
		d := digest.Of(b)
		if s.Has(d) {
			continue
		}
		if err := os.WriteFile(s.blobPath(d), b, 0o444); err != nil {
			return fmt.Errorf("import blob: %w", err)
		}
		s.learn(d)
	}
	for i := range records {
		r := records[i]
		r.Schema, r.ID = RecordSchema, nextID("", time.Now())
		b, err := json.Marshal(&r)
		if err != nil {
			return fmt.Errorf("import record: %w", err)
		}
		if err := os.WriteFile(s.recordPath(r.Key, r.ID), sealed.Seal(b, 0), 0o444); err != nil {
			return fmt.Errorf("import record: %w", err)
		}
	}
	unix.Sync()
	return s.load()
}
