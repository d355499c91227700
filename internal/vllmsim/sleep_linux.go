package vllmsim

import (
	"syscall"
	"time"
)

// sleepExactly sleeps in the kernel, which is late by some 50 µs at most.
func sleepExactly(d time.Duration) {
	left := syscall.NsecToTimespec(int64(d))
	for {
		var rest syscall.Timespec
		if err := syscall.Nanosleep(&left, &rest); err != syscall.EINTR {
			return
		}
		left = rest
	}
}
