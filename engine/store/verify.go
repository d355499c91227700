package store

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"pipeline/internal/digest"
)

// A Report says what Verify found.
type Report struct {
	Blobs, Records int      // looked at
	Bytes          int64    // of the blobs
	Unreferenced   int      // blobs that no record names
	Faults         []string // in a fixed order; none means that all is well
}

// Verify reads every blob and every record. Corrupt blobs are set aside, so
// that the nodes that need them are run again.
func (s *Store) Verify() (*Report, error) {
	rep := &Report{}
	used := make(map[digest.Digest]bool)
	records, err := s.shardNames("records")
	if err != nil {
		rep.Faults = append(rep.Faults, err.Error())
	}
	for _, n := range records {
		k, id, ok := parseRecordName(n)
		if !ok {
			rep.Faults = append(rep.Faults, fmt.Sprintf("records: %s is not the name of a record", n))
			continue
		}
		r, err := s.readRecord(k, id)
		if err != nil {
			rep.Faults = append(rep.Faults, err.Error())
			continue
		}
		rep.Records++
		rep.Faults = append(rep.Faults, s.verifyRecord(r, used)...)
	}
	blobs, err := s.shardNames("blobs")
	if err != nil {
		rep.Faults = append(rep.Faults, err.Error())
	}
	for _, n := range blobs {
		d, err := digest.Parse(n)
		if err != nil {
			rep.Faults = append(rep.Faults, fmt.Sprintf("blobs: %s is not the name of a blob", n))
			continue
		}
		size, err := s.verifyBlob(d)
		if err != nil {
			rep.Faults = append(rep.Faults, err.Error())
			continue
		}
		rep.Blobs++
		rep.Bytes += size
		if !used[d] {
			rep.Unreferenced++
		}
	}
	slices.Sort(rep.Faults)
	return rep, nil
}

// verifyRecord checks that all that r names is there, and notes it as used.
func (s *Store) verifyRecord(r *Record, used map[digest.Digest]bool) []string {
	var faults []string
	need := func(d digest.Digest, size int64, what string) {
		used[d] = true
		st, err := os.Stat(s.blobPath(d))
		if err != nil {
			faults = append(faults, fmt.Sprintf("record %s.%s of %s: its %s, blob %s, is missing", r.Key.Short(), r.ID, r.Node, what, d.Short()))
		} else if size >= 0 && st.Size() != size {
			faults = append(faults, fmt.Sprintf("record %s.%s of %s: its %s, blob %s, has %d bytes, not %d",
				r.Key.Short(), r.ID, r.Node, what, d.Short(), st.Size(), size))
		}
	}
	need(r.Key.Manifest(), -1, "manifest")
	for _, a := range r.Artifacts {
		need(a.Digest, a.Size, a.Name)
	}
	return faults
}

func (s *Store) verifyBlob(d digest.Digest) (int64, error) {
	f, err := os.Open(s.blobPath(d))
	if err != nil {
		return 0, fmt.Errorf("blob %s: %w", d.Short(), err)
	}
	defer f.Close()
	got, size, err := digest.OfReader(f)
	if err != nil {
		return 0, fmt.Errorf("blob %s: %w", d.Short(), err)
	}
	if got == d {
		return size, nil
	}
	if s.readOnly != nil {
		return 0, fmt.Errorf("blob %s is corrupt", d.Short())
	}
	err = s.setAside(d)
	if be := (*BlobError)(nil); errors.As(err, &be) {
		return 0, be
	}
	return 0, err
}
