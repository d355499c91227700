//go:build unix && !linux

package tool

import "syscall"

// ownGroup puts a child at the head of a process group of its own.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
