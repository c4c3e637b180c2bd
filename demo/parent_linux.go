package main

import "syscall"

// endsWithParent makes the kernel end a child whose parent is killed.
func endsWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
