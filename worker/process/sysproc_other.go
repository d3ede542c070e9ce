//go:build unix && !linux

package process

import "syscall"

// endWithParent does nothing: the system has no parent-death signal. A worker
// sees the end of its socket.
func endWithParent(*syscall.SysProcAttr) {}

// awaitEnd reports that the system cannot wait for a child without reaping it.
func awaitEnd(int) bool { return false }
