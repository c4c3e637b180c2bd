package child

import "syscall"

// EndsWithParent makes the kernel end a process with the thread that starts
// it, however that ends.
func EndsWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
