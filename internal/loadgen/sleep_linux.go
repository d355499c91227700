package loadgen

import (
	"time"

	"golang.org/x/sys/unix"
)

// exactWait is how much of a wait is slept by the kernel's own clock: Go's
// timers may be a millisecond late, since epoll counts in milliseconds.
const exactWait = 2 * time.Millisecond

// pause sleeps for at most exactWait, to some tens of microseconds. It holds
// a thread, not a core.
func pause(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	for unix.Nanosleep(&ts, &ts) == unix.EINTR { // the rest of the wait is in ts
	}
}
