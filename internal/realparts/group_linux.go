package realparts

import "syscall"

// ownGroup puts a child at the head of a process group of its own, and has the
// kernel kill it when this process dies without running its clean-up, as `go
// test` does at its time limit.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
