package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// grace is how long a server may take to end by itself.
const grace = 5 * time.Second

// endAll ends every process group with the lease in a command line: asked
// first, then killed. None there is a success.
func endAll(ctx context.Context, lease string) error {
	if lease == "" {
		return errors.New("close an endpoint: there is no lease")
	}
	pids, err := leased(lease)
	if err != nil || len(pids) == 0 {
		return err
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		for _, pid := range pids {
			if err := send(pid, sig); err != nil {
				return fmt.Errorf("end the endpoint of lease %s (process %d): %w", lease, pid, err)
			}
		}
		// Whatever ctx says, the world is left clean: only the grace is cut.
		wait := grace
		if sig == syscall.SIGTERM && ctx.Err() != nil {
			wait = 0
		}
		if pids, err = waitGone(lease, wait); err != nil || len(pids) == 0 {
			return err
		}
	}
	return fmt.Errorf("the endpoint of lease %s lives on after SIGKILL (processes %v)", lease, pids)
}

func waitGone(lease string, wait time.Duration) ([]int, error) {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		pids, err := leased(lease)
		if err != nil || len(pids) == 0 {
			return nil, err
		}
		select {
		case <-deadline.C:
			return pids, nil
		case <-tick.C:
		}
	}
}

// leased returns the processes whose command line has the lease. A process
// that has ended and waits for its parent has no command line any more.
func leased(lease string) ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, errors.New("there is no /proc to find the endpoint's process in")
	}
	want := []byte(leaseFlag + "\x00" + lease + "\x00")
	var pids []int
	for _, file := range files {
		cmdline, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(cmdline, append([]byte{0}, want...)) {
			continue // ended in the meantime, or not ours
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// send reaches the group that the process leads, or the process alone. One
// that has gone is no error.
func send(pid int, sig syscall.Signal) error {
	target := pid
	if group, err := syscall.Getpgid(pid); err == nil && group == pid {
		target = -pid
	}
	if err := syscall.Kill(target, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}
