package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// A child is a program that runs beside the demo, in a process group of its
// own: Ctrl-C reaches only the demo, which ends its children in order.
type child struct {
	name  string
	log   string
	cmd   *exec.Cmd
	stdin io.Closer     // the sandbox ends when this does
	ended chan struct{} // closed when it has ended, then err is set
	err   error
}

// startChild starts a program of bin/ with its output in a log file.
func (d *demo) startChild(name, program string, args ...string) (*child, error) {
	c := &child{name: name, log: filepath.Join(d.dir, name+".log"), ended: make(chan struct{})}
	log, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.cmd = exec.Command(d.bin(program), args...)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.Env = append(os.Environ(), "KUBECONFIG="+d.kubeconfig)
	c.cmd.SysProcAttr = endsWithParent()
	c.cmd.SysProcAttr.Setpgid = true
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	started := make(chan error)
	go func() {
		// The kernel ends a child with the thread that started it.
		runtime.LockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.err = c.cmd.Wait()
			close(c.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return c, nil
}

// patience is how long a child may take to end.
const patience = 20 * time.Second

// stop returns when the child has ended.
func (c *child) stop() error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", c.name, err)
	}
	select {
	case <-c.ended:
		return nil
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("%s did not end within %s of SIGTERM and was killed", c.name, patience), c.cmd.Process.Kill())
	}
}

// failure says why a child that should run does not.
func (c *child) failure() error {
	content, err := os.ReadFile(c.log)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return fmt.Errorf("%s ended by itself: %w; its last words:\n%s", c.name, c.err, strings.Join(lines[max(0, len(lines)-10):], "\n"))
}
