package hf

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pipeline/internal/digest"
)

// Fetch returns the path of a file of the snapshot below dir, where it is
// named by its digest. What lies there already is checked and used; what was
// broken off is continued. Several processes may share the folder. progress is
// told how many bytes are there.
func (s *Snapshot) Fetch(ctx context.Context, f File, dir string, progress func(done int64)) (string, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	name := f.Blob
	if !f.SHA256.IsZero() {
		name = f.SHA256.String()
	}
	whole := filepath.Join(dir, name)
	if s.verify(f, whole) == nil {
		progress(f.Size)
		return whole, nil
	}
	part, err := os.OpenFile(whole+".part", os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return "", err
	}
	defer part.Close()
	if err := lock(ctx, part); err != nil {
		return "", fmt.Errorf("wait for another process that fetches %s: %w", f.Path, err)
	}
	if s.verify(f, whole) == nil { // that other process has fetched it
		progress(f.Size)
		return whole, nil
	}
	if err := s.fillRight(ctx, f, part, progress); err != nil {
		return "", err
	}
	if err := part.Sync(); err != nil {
		return "", err
	}
	return whole, os.Rename(part.Name(), whole)
}

// lock takes the only lock on a file; it ends with the file.
func lock(ctx context.Context, f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return err
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// fillRight fetches a file until it is what the hub lists: once more from the
// beginning if what lay there before did not fit.
func (s *Snapshot) fillRight(ctx context.Context, f File, part *os.File, progress func(int64)) error {
	for try := 1; ; try++ {
		if err := s.fill(ctx, f, part, progress); err != nil {
			return err
		}
		err := s.verify(f, part.Name())
		if err == nil {
			return nil
		}
		if err := part.Truncate(0); err != nil {
			return err
		}
		if try == 2 {
			return fmt.Errorf("fetch %s of data set %s: %w", f.Path, s.ID, err)
		}
	}
}

// fill fetches what is missing of a file. An answer that breaks off is
// continued, as often as a request is tried.
func (s *Snapshot) fill(ctx context.Context, f File, part *os.File, progress func(int64)) error {
	pause := s.client.conf.Pause
	for try := 1; ; try++ {
		have, err := part.Seek(0, io.SeekEnd)
		if err != nil {
			return err
		}
		if have > f.Size {
			have = 0
			if err := part.Truncate(0); err != nil {
				return err
			}
		}
		if have == f.Size && have > 0 {
			return nil
		}
		err = s.rest(ctx, f, part, have, progress)
		var refused *Error
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &refused), Unreachable(err):
			return err
		case try == tries:
			return &unreachable{fmt.Errorf("fetch %s of data set %s: %w (after %d tries; what has come is kept)", f.Path, s.ID, err, tries)}
		}
		if err := sleep(ctx, min(pause, longestPause)); err != nil {
			return err
		}
		pause *= 2
	}
}

// rest appends what one answer brings.
func (s *Snapshot) rest(ctx context.Context, f File, part *os.File, have int64, progress func(int64)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	header := http.Header{}
	if have > 0 {
		header.Set("Range", "bytes="+strconv.FormatInt(have, 10)+"-")
	}
	resp, err := s.client.get(ctx, s.address(f), header)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusPartialContent:
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", have)) {
			return errors.Join(fmt.Errorf("asked for bytes from %d, got %q", have, resp.Header.Get("Content-Range")), part.Truncate(0))
		}
	case http.StatusOK:
		have = 0
	case http.StatusRequestedRangeNotSatisfiable:
		return errors.Join(errors.New("the file is not as long as it was"), part.Truncate(0))
	default:
		return s.client.refusal(resp, subject{s.ID, s.commit(), f.Path})
	}
	if err := part.Truncate(have); err != nil {
		return err
	}
	if _, err := part.Seek(have, io.SeekStart); err != nil {
		return err
	}
	watch := time.AfterFunc(idle, func() { cancel(fmt.Errorf("nothing came for %s", idle)) })
	defer watch.Stop()
	_, err = io.Copy(part, &counted{r: io.LimitReader(resp.Body, f.Size-have+1), have: have, tell: func(n int64) {
		watch.Reset(idle)
		progress(n)
	}})
	if err == nil {
		have, err = part.Seek(0, io.SeekCurrent)
	}
	if err == nil && have != f.Size {
		err = fmt.Errorf("%d bytes came of %d", have, f.Size)
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return err
}

// commit is the one that holds the files.
func (s *Snapshot) commit() string {
	if s.Converted != "" {
		return s.Converted
	}
	return s.Commit
}

func (s *Snapshot) address(f File) string {
	parts := strings.Split(f.Path, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return s.client.conf.Endpoint + "/datasets/" + s.ID + "/resolve/" + s.commit() + "/" + strings.Join(parts, "/")
}

type counted struct {
	r    io.Reader
	have int64
	tell func(int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 {
		c.have += int64(n)
		c.tell(c.have)
	}
	return n, err
}

// verify compares a file with what the hub lists: its SHA-256, or for a small
// one that of its git object.
func (s *Snapshot) verify(f File, name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if f.SHA256.IsZero() {
		h := sha1.New()
		fmt.Fprintf(h, "blob %d\x00", f.Size)
		if _, err := io.Copy(h, file); err != nil {
			return err
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != f.Blob {
			return fmt.Errorf("what came is not what the hub lists: git object %s, want %s", got, f.Blob)
		}
		return nil
	}
	got, size, err := digest.OfReader(file)
	switch {
	case err != nil:
		return err
	case size != f.Size || got != f.SHA256:
		return fmt.Errorf("what came is not what the hub lists: %d bytes with SHA-256 %s, want %d with %s", size, got.Short(), f.Size, f.SHA256.Short())
	}
	return nil
}
