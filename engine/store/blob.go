package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"time"

	"pipeline/internal/digest"
)

// A BlobError says that a blob that should be there cannot be used.
type BlobError struct {
	Digest  digest.Digest
	Missing bool   // there is no such blob; else its bytes are not what its name says
	Aside   string // where the corrupt blob was put
}

func (e *BlobError) Error() string {
	if e.Missing {
		return fmt.Sprintf("blob %s is missing", e.Digest.Short())
	}
	return fmt.Sprintf("blob %s is corrupt and was set aside as %s", e.Digest.Short(), e.Aside)
}

// A Writer writes one blob. Nothing is in the store until Commit.
type Writer struct {
	s    *Store
	f    *os.File
	h    hash.Hash
	size int64
}

// Create starts a new blob.
func (s *Store) Create() (*Writer, error) {
	if err := s.at("blob create"); err != nil {
		return nil, fmt.Errorf("create blob: %w", err)
	}
	f, err := os.CreateTemp(s.Path("tmp"), "blob-*")
	if err != nil {
		return nil, fmt.Errorf("create blob: %w", err)
	}
	return &Writer{s: s, f: f, h: sha256.New()}, nil
}

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	if err := w.s.at("blob write"); err != nil {
		return 0, fmt.Errorf("write blob: %w", err)
	}
	n, err := w.f.Write(p)
	w.h.Write(p[:n])
	w.size += int64(n)
	if err != nil {
		return n, fmt.Errorf("write blob: %w", err)
	}
	return n, nil
}

// Discard gives the blob up.
func (w *Writer) Discard() {
	w.f.Close()
	os.Remove(w.f.Name())
}

// Commit puts the blob into the store and returns its name and size.
func (w *Writer) Commit() (digest.Digest, int64, error) {
	d := digest.Digest(w.h.Sum(nil))
	if w.s.Has(d) && w.s.intact(d) {
		w.Discard()
		return d, w.size, nil
	}
	if err := w.s.place(w.f, w.s.blobPath(d), "blob"); err != nil {
		w.Discard()
		return digest.Digest{}, 0, fmt.Errorf("commit blob: %w", err)
	}
	w.s.learn(d)
	return d, w.size, nil
}

// Put stores b.
func (s *Store) Put(b []byte) (digest.Digest, error) {
	if d := digest.Of(b); s.Has(d) && s.intact(d) {
		return d, nil
	}
	w, err := s.Create()
	if err != nil {
		return digest.Digest{}, err
	}
	if _, err := w.Write(b); err != nil {
		w.Discard()
		return digest.Digest{}, err
	}
	d, _, err := w.Commit()
	return d, err
}

// intact reports whether the blob is still there as it should be. One that was
// listed at the start may have been removed or have rotted since; whoever
// has its bytes again then writes it anew.
func (s *Store) intact(d digest.Digest) bool {
	f, err := os.Open(s.blobPath(d))
	if err != nil {
		return false
	}
	defer f.Close()
	got, _, err := digest.OfReader(f)
	return err == nil && got == d
}

// Open returns the bytes of a blob. They are checked before the first is
// handed out: a reader never sees bytes that are not what the digest says. A
// corrupt blob is set aside; the error is then a *BlobError, as it is for a
// missing one.
func (s *Store) Open(d digest.Digest) (io.ReadCloser, error) {
	f, err := os.Open(s.blobPath(d))
	if errors.Is(err, fs.ErrNotExist) {
		s.forget(d)
		return nil, &BlobError{Digest: d, Missing: true}
	}
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", d.Short(), err)
	}
	got, _, err := digest.OfReader(f)
	if err == nil && got != d {
		f.Close()
		return nil, s.setAside(d)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read blob %s: %w", d.Short(), err)
	}
	return f, nil
}

// Get returns the bytes of a blob, checked.
func (s *Store) Get(d digest.Digest) ([]byte, error) {
	r, err := s.Open(d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// setAside moves a corrupt blob out of the way, so that it is made again.
func (s *Store) setAside(d digest.Digest) error {
	aside := s.Path("quarantine", fmt.Sprintf("%s.%d", d, time.Now().UnixNano()))
	s.forget(d)
	if err := os.Rename(s.blobPath(d), aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("blob %s is corrupt and could not be set aside: %w", d.Short(), err)
	}
	return &BlobError{Digest: d, Aside: aside}
}

// Has reports whether the store holds a blob. The names of all blobs are
// listed once; only a blob that is not among them costs a look at the disk.
func (s *Store) Has(d digest.Digest) bool {
	s.blobMu.Lock()
	defer s.blobMu.Unlock()
	s.listBlobs()
	if _, ok := s.blobs[d]; ok {
		return true
	}
	if _, err := os.Stat(s.blobPath(d)); err != nil {
		return false
	}
	s.blobs[d] = struct{}{}
	return true
}

func (s *Store) learn(d digest.Digest) {
	s.blobMu.Lock()
	defer s.blobMu.Unlock()
	if s.blobs != nil {
		s.blobs[d] = struct{}{}
	}
}

func (s *Store) forget(d digest.Digest) {
	s.blobMu.Lock()
	defer s.blobMu.Unlock()
	delete(s.blobs, d)
}

func (s *Store) listBlobs() {
	if s.blobs != nil {
		return
	}
	names, _ := s.shardNames("blobs") // one that is not listed costs a look at the disk
	s.blobs = make(map[digest.Digest]struct{}, len(names))
	for _, n := range names {
		if d, err := digest.Parse(n); err == nil {
			s.blobs[d] = struct{}{}
		}
	}
}

func (s *Store) blobPath(d digest.Digest) string {
	h := d.String()
	return s.home + "/blobs/" + h[:2] + "/" + h
}

// shardNames lists the file names in the 256 folders below top. The error says
// which could not be read; the names of the others are returned all the same.
func (s *Store) shardNames(top string) ([]string, error) {
	var shards [256][]string
	var errs [256]error
	var wg sync.WaitGroup
	workers := min(4, runtime.GOMAXPROCS(0))
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(shards); i += workers {
				shards[i], errs[i] = dirNames(s.Path(top, fmt.Sprintf("%02x", i)))
			}
		})
	}
	wg.Wait()
	n := 0
	for _, sh := range shards {
		n += len(sh)
	}
	out := make([]string, 0, n)
	for _, sh := range shards {
		out = append(out, sh...)
	}
	return out, errors.Join(errs[:]...)
}

func dirNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}
