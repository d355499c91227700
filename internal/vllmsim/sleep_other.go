//go:build !linux

package vllmsim

import "time"

func sleepExactly(d time.Duration) { time.Sleep(d) }
