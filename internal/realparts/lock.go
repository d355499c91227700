package realparts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// flock locks the file at path, which it makes if need be, until unlock or the
// death of this process. How is syscall.LOCK_EX, which waits, perhaps with
// syscall.LOCK_NB, which does not and fails with syscall.EWOULDBLOCK. Two
// goroutines of one process exclude each other like two processes.
func flock(path string, how int) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
