//go:build !linux

package kubetest

import "syscall"

// endsWithParent does nothing where no kernel offers it: a sandbox then
// outlives a test process that is killed.
func endsWithParent() *syscall.SysProcAttr { return nil }
