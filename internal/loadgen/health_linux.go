package loadgen

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime returns the user and system time this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// readSteal reads the machine's CPU times: user nice system idle iowait irq
// softirq steal (proc(5)).
func readSteal() stealTimes {
	f, err := os.Open("/proc/stat")
	if err != nil {
		return stealTimes{}
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadString('\n')
	fields := strings.Fields(line)
	if err != nil || len(fields) < 9 || fields[0] != "cpu" {
		return stealTimes{}
	}
	var t stealTimes
	for i, field := range fields[1:9] {
		v, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return stealTimes{}
		}
		t.all += v
		if i == 7 {
			t.stolen = v
		}
	}
	return t
}

// loadAverage returns the load of the last minute, 0 if it cannot be read.
func loadAverage() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return load
}

// clockError returns the kernel's bound on the error of the wall clock in ms,
// nil if nothing keeps it.
func clockError() *float64 {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil || state == unix.TIME_ERROR {
		return nil
	}
	ms := float64(t.Esterror) / 1000
	return &ms
}

// portRange returns how many ephemeral ports there are, 0 if unknown.
func portRange() int {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) != 2 {
		return 0
	}
	low, err := strconv.Atoi(fields[0])
	if err != nil {
		return 0
	}
	high, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return high - low + 1
}

// fileLimit returns how many files this process may have open, and how many it has.
func fileLimit() (limit, open int) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, 0
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return int(min(l.Cur, 1<<31)), 0
	}
	return int(min(l.Cur, 1<<31)), len(entries)
}
