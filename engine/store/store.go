// Package store keeps what steps wrote: blobs, named by the digest of their
// bytes, and records, named by the key of the question that they answer.
//
//	<home>/blobs/ab/<digest>            read-only bytes
//	<home>/records/ab/<key>.<id>.json   one observation each, never changed
//	<home>/index                        all records again, one line each
//	<home>/quarantine/                  blobs whose bytes were not their name
//	<home>/locks/                       files to flock; they hold nothing
//	<home>/tmp/                         files that are being written
//
// Every file is written beside its place, synced, and renamed into it, and a
// record only after the blobs that it names. So whatever exists is whole, and
// what a crash leaves behind is at worst a blob that nobody names.
//
// The records are the truth. The index only saves reading ten thousand files
// at each start; it is checked against the names of the record files then,
// and mended or rebuilt from them.
//
// Several processes of one machine may share a store. Nothing in it is ever
// changed in place, and the few moments that need order (appending to the
// index, running one key, one slot of a pool) are guarded by flock, which the
// kernel lets go of when a process dies. Network file systems do not keep
// that promise, so Open refuses them.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"pipeline/internal/digest"
)

// A Store is the folder that holds blobs and records. Its methods may be
// called from several goroutines.
type Store struct {
	home     string
	readOnly error // why nothing can be written, nil if it can
	fault    func(op string) error
	said     []string // what Open had to mend

	mu    sync.Mutex // of the index
	index index

	blobMu sync.Mutex                 // never held while mu is waited for
	blobs  map[digest.Digest]struct{} // known to exist; nil until listed
}

// Options change how a store is opened.
type Options struct {
	// Fault is called before each step of each write, with the name of that
	// step. If it returns an error, the write fails there with that error, as
	// if the disk had. It is for tests of crashes and full disks.
	Fault func(op string) error
}

// ErrReadOnly marks the errors of writes to a store that cannot be written.
var ErrReadOnly = errors.New("the store is read-only")

// Open opens the store in the folder home, and makes it if it is not there.
// A store on a read-only file system opens too, for reading.
func Open(home string, o Options) (*Store, error) {
	abs, err := filepath.Abs(home)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", home, err)
	}
	s := &Store{home: abs, fault: o.Fault}
	if err := s.makeFolders(); err != nil {
		if !errors.Is(err, unix.EROFS) && !errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("open store %s: %w", home, err)
		}
		s.readOnly = fmt.Errorf("%w: %w", ErrReadOnly, err)
		if _, err := os.Stat(abs); err != nil {
			return nil, fmt.Errorf("open store %s: %w", home, s.readOnly)
		}
	}
	if err := refuseNetwork(abs); err != nil {
		return nil, fmt.Errorf("open store %s: %w", home, err)
	}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", home, err)
	}
	go s.Has(digest.Digest{}) // lists the blobs while the caller does something else
	return s, nil
}

// Home returns the store's folder, as an absolute path.
func (s *Store) Home() string { return s.home }

// Path returns a path inside the store's folder.
func (s *Store) Path(elem ...string) string {
	return filepath.Join(append([]string{s.home}, elem...)...)
}

// Writable returns nil, or an error that says why the store cannot be written.
func (s *Store) Writable() error { return s.readOnly }

// Mended says what Open found broken and put right, for people.
func (s *Store) Mended() []string { return s.said }

func (s *Store) makeFolders() error {
	// The last folder to be made tells that all are there: a process that was
	// killed half-way leaves the rest to the next one.
	if _, err := os.Stat(s.Path("records", "ff")); err == nil {
		return s.probeWrite()
	}
	for _, top := range []string{"locks", "tmp", "quarantine", "runs"} {
		if err := os.MkdirAll(s.Path(top), 0o777); err != nil {
			return err
		}
	}
	for _, top := range []string{"blobs", "records"} {
		for i := range 256 {
			if err := os.MkdirAll(s.Path(top, fmt.Sprintf("%02x", i)), 0o777); err != nil {
				return err
			}
		}
	}
	return nil
}

// probeWrite finds out whether the store can be written, by asking the kernel.
func (s *Store) probeWrite() error { return unix.Access(s.Path("tmp"), unix.W_OK) }

func refuseNetwork(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return nil // a file system that does not tell is taken to be a local one
	}
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return errors.New("it is on a network file system, whose locks and renames cannot be trusted; " +
			"choose a folder on a local disk with --home or PIPELINE_HOME")
	}
	return nil
}

// at lets a test fail the write before the step op.
func (s *Store) at(op string) error {
	if s.readOnly != nil {
		return s.readOnly
	}
	if s.fault == nil {
		return nil
	}
	return s.fault(op)
}

// place makes what tmp holds durable under the name final: synced, renamed,
// and the folder synced.
func (s *Store) place(tmp *os.File, final, what string) error {
	err := errors.Join(s.at(what+" sync"), tmp.Sync(), tmp.Chmod(0o444), tmp.Close())
	if err == nil {
		err = s.at(what + " rename")
	}
	if err == nil {
		err = os.Rename(tmp.Name(), final)
	}
	if err != nil {
		os.Remove(tmp.Name())
		return err
	}
	if err := s.at(what + " sync folder"); err != nil {
		return err
	}
	return syncDir(filepath.Dir(final))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
