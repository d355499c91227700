//go:build !linux

package loadgen

import "time"

// exactWait is 0: this system's timers are taken as they are.
const exactWait = 0

func pause(d time.Duration) { time.Sleep(d) }
