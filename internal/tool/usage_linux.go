package tool

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// tick is the unit of CPU times in /proc; Linux shows user space no other.
const tick = 10 * time.Millisecond

// groupCPU returns the CPU time of each process of a group, nil if it has none.
func groupCPU(group int) map[int]time.Duration {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out map[int]time.Duration
	want := strconv.Itoa(group)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it has ended since
		}
		// The name before the last parenthesis may hold anything.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 13 || string(fields[2]) != want {
			continue
		}
		user, err1 := strconv.ParseInt(string(fields[11]), 10, 64)
		system, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
		if err1 != nil || err2 != nil {
			continue
		}
		if out == nil {
			out = map[int]time.Duration{}
		}
		out[pid] = time.Duration(user+system) * tick
	}
	return out
}
