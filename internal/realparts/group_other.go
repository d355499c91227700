//go:build unix && !linux

package realparts

import "syscall"

// ownGroup puts a child at the head of a process group of its own. Only Linux
// can also bind its life to ours.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
