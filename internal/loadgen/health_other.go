//go:build !linux

package loadgen

import "time"

// What Linux tells and this system is not asked for stays unknown.

func cpuTime() time.Duration       { return 0 }
func readSteal() stealTimes        { return stealTimes{} }
func loadAverage() float64         { return 0 }
func clockError() *float64         { return nil }
func portRange() int               { return 0 }
func fileLimit() (limit, open int) { return 0, 0 }
