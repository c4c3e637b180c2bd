package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A child is a program that runs beside the benchmark.
type child struct {
	name  string
	log   string
	cmd   *exec.Cmd
	stdin io.Closer // the sandbox ends when this does
	ended chan struct{}
	err   error // once ended
}

// start starts a program with its output in a log file of dir.
func start(dir, name, path string, args ...string) (*child, error) {
	c := &child{name: name, log: filepath.Join(dir, name+".log"), ended: make(chan struct{})}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.cmd = exec.Command(path, args...)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	// Of a process group of its own: Ctrl-C reaches only the benchmark,
	// which ends its children in order.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.ended)
	}()
	return c, nil
}

// stop ends a child that runs.
func (c *child) stop() error {
	if c == nil {
		return nil
	}
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", c.name, err)
	}
	select {
	case <-c.ended:
		return nil
	case <-time.After(30 * time.Second):
		return errors.Join(fmt.Errorf("%s did not end within 30 s of SIGTERM", c.name), c.cmd.Process.Kill())
	}
}

// failure says why a child that should run does not, or nil if it does.
func (c *child) failure() error {
	select {
	case <-c.ended:
	default:
		return nil
	}
	content, err := os.ReadFile(c.log)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return fmt.Errorf("%s ended by itself: %w; its last words:\n%s", c.name, c.err, strings.Join(lines[max(0, len(lines)-10):], "\n"))
}

// A usage is what the kernel says of a process.
type usage struct {
	cpu        time.Duration
	peak, size float64 // resident, in MB
}

// usageOf asks the kernel about a process. Where there is no /proc it knows
// nothing, and the figures made of it are left out.
func usageOf(pid int) (u usage, ok bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return u, false
	}
	// After the name, which may hold spaces: state is field 3, utime 14.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return u, false
	}
	for _, f := range fields[11:13] {
		ticks, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return u, false
		}
		u.cpu += time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return u, false
	}
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "VmHWM:" && f[0] != "VmRSS:" {
			continue
		}
		kb, err := strconv.ParseFloat(f[1], 64)
		if err != nil {
			return u, false
		}
		if f[0] == "VmHWM:" {
			u.peak = kb / 1024
		} else {
			u.size = kb / 1024
		}
	}
	return u, true
}
