package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"pipeline/internal/digest"
)

// A Policy says what is garbage. Its zero value finds only blobs that nobody
// names.
type Policy struct {
	Now   time.Time
	Grace time.Duration // blobs and half-written files younger than this stay, named or not

	// Drop asks by name for records to be removed. Nothing else removes the
	// record of a measurement or of a publication.
	Drop func(*Record) bool
	// Derived is the age from which records of Pure nodes are garbage: they
	// can be made again. 0 keeps them all.
	Derived time.Duration
	// Runs are folders below runs/ that the caller found to be old.
	Runs []string
}

// A GCPlan lists what would be removed.
type GCPlan struct {
	Records []*Record
	Blobs   []digest.Digest
	Files   []string // other files and folders, as paths
	Bytes   int64    // of blobs and files
}

// PlanGC finds what is garbage, and touches nothing.
func (s *Store) PlanGC(p Policy) (*GCPlan, error) {
	if err := s.knowsAll(); err != nil {
		return nil, fmt.Errorf("plan garbage: %w", err)
	}
	plan := &GCPlan{}
	for _, r := range s.All() {
		asked := p.Drop != nil && p.Drop(r)
		old := r.Effect == "pure" && p.Derived > 0 && p.Now.Sub(r.Began) > p.Derived
		if asked || old {
			plan.Records = append(plan.Records, r)
		}
	}
	used := s.named(plan.Records)
	blobs, err := s.shardNames("blobs")
	if err != nil {
		return nil, fmt.Errorf("plan garbage: %w", err)
	}
	for _, n := range blobs {
		d, err := digest.Parse(n)
		if err != nil || used[d] {
			continue
		}
		if size, ok := olderThan(s.blobPath(d), p); ok {
			plan.Blobs = append(plan.Blobs, d)
			plan.Bytes += size
		}
	}
	for _, top := range []string{"tmp", "quarantine"} {
		names, err := dirNames(s.Path(top))
		if err != nil {
			return nil, fmt.Errorf("plan garbage: %w", err)
		}
		for _, n := range names {
			if size, ok := olderThan(s.Path(top, n), p); ok {
				plan.Files = append(plan.Files, s.Path(top, n))
				plan.Bytes += size
			}
		}
	}
	for _, run := range p.Runs {
		plan.Files = append(plan.Files, s.Path("runs", run))
		plan.Bytes += sizeOf(s.Path("runs", run))
	}
	slices.SortFunc(plan.Blobs, func(a, b digest.Digest) int { return slices.Compare(a[:], b[:]) })
	slices.Sort(plan.Files)
	return plan, nil
}

// knowsAll learns what others have recorded, and fails if there is a record
// that this store cannot read: nobody can tell then what blobs are garbage.
func (s *Store) knowsAll() error {
	if s.readOnly == nil {
		return s.withIndex(s.knowsFiles)
	}
	if err := s.Refresh(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.knowsFiles()
}

func (s *Store) knowsFiles() error {
	names, err := s.shardNames("records")
	if err != nil {
		return err
	}
	known := make(map[string]bool, len(s.index.entries))
	for i := range s.index.entries {
		if e := &s.index.entries[i]; e.record() != nil {
			known[recordName(e.key, e.id)] = true
		}
	}
	for _, n := range names {
		if !known[n] {
			return fmt.Errorf("the record %s cannot be read, so nobody can tell which blobs it needs "+
				"(cache verify says what is wrong with it: use a newer pipeline, or move the file away)", n)
		}
	}
	return nil
}

// named returns all blobs that records name, apart from those in without.
func (s *Store) named(without []*Record) map[digest.Digest]bool {
	gone := make(map[*Record]bool, len(without))
	for _, r := range without {
		gone[r] = true
	}
	used := make(map[digest.Digest]bool)
	for _, r := range s.All() {
		if gone[r] {
			continue
		}
		used[r.Key.Manifest()] = true
		for _, a := range r.Artifacts {
			used[a.Digest] = true
		}
	}
	return used
}

func olderThan(path string, p Policy) (size int64, old bool) {
	st, err := os.Lstat(path)
	if err != nil || p.Now.Sub(st.ModTime()) < p.Grace {
		return 0, false
	}
	return st.Size(), true
}

func sizeOf(dir string) (size int64) {
	// A file that vanishes while we look has no size; that is all the error means.
	_ = fs.WalkDir(os.DirFS(dir), ".", func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil && !d.IsDir() {
			size += info.Size()
		}
		return nil
	})
	return size
}

// BusyLock is shared by all who use the store for longer than a moment, and
// held alone by Collect.
const BusyLock = "busy"

// Collect removes what plan lists: records first, then blobs, so that no
// record ever names a blob that was collected. It refuses while a run is
// going on, and while there is a record that it cannot read.
func (s *Store) Collect(plan *GCPlan) error {
	if s.readOnly != nil {
		return s.readOnly
	}
	lock, err := s.TryLock(BusyLock)
	if errors.Is(err, ErrLocked) {
		return errors.New("collect garbage: a run is using the store; try again when it has ended")
	}
	if err != nil {
		return fmt.Errorf("collect garbage: %w", err)
	}
	defer lock.Unlock()
	if err := s.knowsAll(); err != nil {
		return fmt.Errorf("collect garbage: %w", err)
	}
	if err := s.removeRecords(plan.Records); err != nil {
		return fmt.Errorf("collect garbage: %w", err)
	}
	used := s.named(nil) // a run since the plan may have come to name some
	for _, d := range plan.Blobs {
		if used[d] {
			continue
		}
		s.forget(d)
		if err := os.Remove(s.blobPath(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("collect garbage: %w", err)
		}
	}
	for _, f := range plan.Files {
		if err := os.RemoveAll(f); err != nil {
			return fmt.Errorf("collect garbage: %w", err)
		}
	}
	return nil
}

func (s *Store) removeRecords(records []*Record) error {
	if len(records) == 0 {
		return nil
	}
	return s.withIndex(func() error {
		for _, r := range records {
			if err := os.Remove(s.recordPath(r.Key, r.ID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		s.dropVanished()
		return s.rewriteIndex()
	})
}
