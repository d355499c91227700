package vllmsim

import "time"

// sleepUntil returns true at the time, or false as soon as quit is closed. The
// runtime's timers may be up to a millisecond late on an idle machine, so the
// last stretch is left to the system's own sleep.
func sleepUntil(at time.Time, quit <-chan struct{}) bool {
	const stretch = 1200 * time.Microsecond
	if left := time.Until(at); left > stretch {
		timer := time.NewTimer(left - stretch)
		defer timer.Stop()
		select {
		case <-quit:
			return false
		case <-timer.C:
		}
	}
	if left := time.Until(at); left > 0 {
		sleepExactly(left)
	}
	select {
	case <-quit:
		return false
	default:
		return true
	}
}
