//go:build !linux

package worker

import (
	"os"
	"syscall"
)

const linuxOnly = "plumb knows how on Linux only"

func confine(setup) Confinement {
	return Confinement{Calls: linuxOnly, Files: linuxOnly, Memory: linuxOnly}
}

func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

func closeOnExec() error { return nil }

func kill(p *os.Process) { _ = p.Kill() } // it may have ended

func slowDown(int) {}

func (w *process) memory() int64 { return 0 }

func peak(*os.ProcessState) int64 { return 0 }

func ownPeak() int64 { return 0 }
