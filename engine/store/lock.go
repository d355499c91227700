package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another process, or another part of this one, holds a lock.
var ErrLocked = errors.New("locked")

// A Lock is a lock that is held. The kernel lets go of it when the process
// dies.
type Lock struct {
	f      *os.File
	path   string
	shared bool
}

// Unlock lets go of the lock and removes its file.
func (l *Lock) Unlock() {
	if !l.shared {
		os.Remove(l.path)
	}
	l.f.Close()
}

// Leave lets go of the lock and leaves its file, for others to find.
func (l *Lock) Leave() { l.f.Close() }

// TryLock takes the lock of that name, a file name, or returns ErrLocked.
func (s *Store) TryLock(name string) (*Lock, error) {
	if s.readOnly != nil {
		return nil, s.readOnly
	}
	return s.lockFile(name, unix.LOCK_EX|unix.LOCK_NB)
}

// Share takes the lock of that name together with others who share it.
func (s *Store) Share(name string) (*Lock, error) {
	if s.readOnly != nil {
		return nil, s.readOnly
	}
	return s.lockFile(name, unix.LOCK_SH|unix.LOCK_NB)
}

// Lock takes the first of the locks that is free, and waits until one is.
// It reports whether it had to wait.
func (s *Store) Lock(ctx context.Context, names ...string) (l *Lock, waited bool, err error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		for _, n := range names {
			l, err := s.TryLock(n)
			if !errors.Is(err, ErrLocked) {
				return l, waited, err
			}
		}
		waited = true
		select {
		case <-ctx.Done():
			return nil, true, fmt.Errorf("wait for lock %s: %w", names[0], context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// Locked reports whether someone holds the lock of that name.
func (s *Store) Locked(name string) bool {
	f, err := os.Open(s.Path("locks", name))
	if err != nil {
		return false
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	return errors.Is(err, unix.EWOULDBLOCK)
}

// lockFile flocks locks/<name>. Who lets go removes the file, so a lock counts
// only while the file that was locked is the one of that name.
func (s *Store) lockFile(name string, how int) (*Lock, error) {
	path := s.Path("locks", name)
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o666)
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		err = flock(f, how)
		if err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, ErrLocked
			}
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		mine, err1 := f.Stat()
		named, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(mine, named) {
			return &Lock{f, path, how&unix.LOCK_SH != 0}, nil
		}
		f.Close()
	}
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
