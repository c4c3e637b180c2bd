package kubetest

import "syscall"

// endsWithParent makes the kernel end a process with the thread that starts
// it, however that ends.
func endsWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
