//go:build !linux

package child

import "syscall"

// EndsWithParent does nothing where no kernel offers it. The sandbox may end
// with its standard input; another program outlives a parent that is killed
// with -9.
func EndsWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
