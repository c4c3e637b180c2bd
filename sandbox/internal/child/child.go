// Package child runs this same executable again as the parts of a cluster,
// keeps them running, and ends them.
//
// A [Group] promises three things. A child that dies is started again, with
// a pause that grows while it keeps dying. [Group.Stop] ends the children in
// the reverse order of their start and returns only when none is left. And
// no child outlives the parent, however the parent ends: each child holds the
// reading end of a pipe whose writing end only the parent has, and
// [FollowParent] ends the child when that end closes.
//
// What a child is, when it is ready and whether it has failed for good are
// left to the caller.
package child

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// The pauses before a child that died is started again.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second

	// settled is how long a child has to run for its next death to count as
	// the first one again.
	settled = 10 * time.Second
)

// A Spec says how to run one child.
type Spec struct {
	Name  string        // the file name of its log and pid file
	Args  []string      // the arguments of the executable
	Env   []string      // added to the parent's environment
	Grace time.Duration // between SIGTERM and SIGKILL when it is stopped
}

// A Group is a set of children. Its fields may not change after the first
// Start.
type Group struct {
	Exe    string // the executable
	RunDir string // holds NAME.pid, and is the children's working directory
	LogDir string // holds NAME.log

	// Log gets a line for every child that died. It must be safe for
	// concurrent use.
	Log func(format string, args ...any)

	mu       sync.Mutex
	children []*Child // in the order of their start
}

// A Child is one child of a group, through all its restarts.
type Child struct {
	spec  Spec
	group *Group
	pipe  *os.File // the end that holds the child alive

	stop    chan struct{} // closed to end it
	stopped chan struct{} // closed when it has ended for good

	mu    sync.Mutex
	exits int
}

// Start runs a child and returns once its process exists.
func (g *Group) Start(spec Spec) (*Child, error) {
	c := &Child{spec: spec, group: g, stop: make(chan struct{}), stopped: make(chan struct{})}
	cmd, err := c.start()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	g.mu.Lock()
	g.children = append(g.children, c)
	g.mu.Unlock()
	go c.run(cmd)
	return c, nil
}

// Stop ends all children, the last one first.
func (g *Group) Stop() {
	g.mu.Lock()
	children := g.children
	g.children = nil
	g.mu.Unlock()
	for i := len(children) - 1; i >= 0; i-- {
		children[i].Stop()
	}
}

// Exits tells how often the child has died without being asked to.
func (c *Child) Exits() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exits
}

// LogFile is where the child's output goes.
func (c *Child) LogFile() string {
	return filepath.Join(c.group.LogDir, c.spec.Name+".log")
}

// Stop asks the child to end, kills it when its grace is over, and returns
// when it is gone. Only the first call does anything.
func (c *Child) Stop() {
	c.mu.Lock()
	select {
	case <-c.stop:
	default:
		close(c.stop)
	}
	c.mu.Unlock()
	<-c.stopped
}

// start makes one process of the child.
func (c *Child) start() (*exec.Cmd, error) {
	log, err := os.OpenFile(c.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	theirs, ours, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()

	cmd := exec.Command(c.group.Exe, c.spec.Args...)
	cmd.Dir = c.group.RunDir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs} // becomes file descriptor 3
	cmd.Env = append(append(os.Environ(), c.spec.Env...), parentEnv+"=3")
	// A terminal's Ctrl-C reaches a whole process group. The children are to
	// end in order, so they get a group each.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, err
	}
	c.pipe = ours
	if err := os.WriteFile(c.pidFile(), []byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0o600); err != nil {
		c.group.Log("%s: no pid file: %v", c.spec.Name, err)
	}
	return cmd, nil
}

// run keeps the child running until it is to stop.
func (c *Child) run(cmd *exec.Cmd) {
	defer close(c.stopped)
	pause := firstPause
	for {
		began := time.Now()
		err := c.wait(cmd)
		if err == nil {
			return
		}
		if time.Since(began) > settled {
			pause = firstPause
		}
		for err != nil {
			c.mu.Lock()
			c.exits++
			c.mu.Unlock()
			c.group.Log("%s died (%v); it starts again in %s; its log is %s", c.spec.Name, err, pause, c.LogFile())
			select {
			case <-c.stop:
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, lastPause)
			cmd, err = c.start()
		}
	}
}

// wait returns when the process has ended: nil if it was asked to.
func (c *Child) wait(cmd *exec.Cmd) error {
	defer c.pipe.Close()
	defer os.Remove(c.pidFile())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		select {
		case <-c.stop:
			return nil
		default:
		}
		if err == nil {
			err = errors.New("exit status 0")
		}
		return err
	case <-c.stop:
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(c.spec.Grace):
		_ = cmd.Process.Kill()
		<-ended
	}
	return nil
}

func (c *Child) pidFile() string {
	return filepath.Join(c.group.RunDir, c.spec.Name+".pid")
}

// parentEnv names the file descriptor that a child watches.
const parentEnv = "PLUMB_SANDBOX_PARENT_FD"

// FollowParent ends this process when the parent that started it through a
// [Group] is gone. In a process that was not started so it does nothing.
func FollowParent() error {
	v := os.Getenv(parentEnv)
	if v == "" {
		return nil
	}
	os.Unsetenv(parentEnv)
	fd, err := strconv.Atoi(v)
	if err != nil {
		return fmt.Errorf("%s=%q: not a file descriptor", parentEnv, v)
	}
	syscall.CloseOnExec(fd)
	pipe := os.NewFile(uintptr(fd), "parent")
	if _, err := pipe.Stat(); err != nil {
		return fmt.Errorf("%s=%q: %w", parentEnv, v, err)
	}
	go func() {
		_, _ = pipe.Read(make([]byte, 1)) // nobody writes: it returns at the end of the parent
		os.Exit(1)
	}()
	return nil
}
