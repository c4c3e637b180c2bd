//go:build !linux

package main

import "syscall"

// endsWithParent does nothing where no kernel offers it. The sandbox then ends
// with its standard input, but plumb outlives a demo that is killed with -9.
func endsWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
