// Package child runs the programs that the demo and the benchmark need beside
// them: each with its output in a log file, in a process group of its own, so
// that Ctrl-C reaches only the parent, which ends its children in order.
package child

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// A Child is a program that runs, or has run.
type Child struct {
	Name string
	Log  string // its file

	cmd   *exec.Cmd
	stdin io.Closer // the sandbox ends when this does
	ended chan struct{}
	err   error // once ended
}

// Start starts a program with its output added to a log file of dir. env is
// its environment; with none it has that of the parent. It ends with the
// parent, where the kernel offers that.
func Start(dir, name string, env []string, path string, args ...string) (*Child, error) {
	c := &Child{Name: name, Log: filepath.Join(dir, name+".log"), ended: make(chan struct{})}
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.cmd = exec.Command(path, args...)
	c.cmd.Stdout, c.cmd.Stderr, c.cmd.Env = log, log, env
	c.cmd.SysProcAttr = EndsWithParent()
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

// PID returns the number of the process.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Ended is closed when the child has ended.
func (c *Child) Ended() <-chan struct{} { return c.ended }

// Stop ends a child, if there is one, and returns when it has ended. One that
// takes longer is killed.
func (c *Child) Stop(within time.Duration) error {
	if c == nil {
		return nil
	}
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", c.Name, err)
	}
	select {
	case <-c.ended:
		return nil
	case <-time.After(within):
		return errors.Join(fmt.Errorf("%s did not end within %s of SIGTERM and was killed", c.Name, within), c.cmd.Process.Kill())
	}
}

// Failure says why a child that should run does not, or nil if it does.
func (c *Child) Failure() error {
	select {
	case <-c.ended:
	default:
		return nil
	}
	content, err := os.ReadFile(c.Log)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return fmt.Errorf("%s ended by itself: %w; its last words:\n%s", c.Name, c.err, strings.Join(lines[max(0, len(lines)-10):], "\n"))
}

// Until calls done until it returns no error. It gives up when the child that
// has to do it ends, or after a while.
func (c *Child) Until(ctx context.Context, within time.Duration, done func() error) error {
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	for {
		err := done()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.ended:
			return c.Failure()
		case <-timeout.C:
			return fmt.Errorf("not so after %s: %w", within, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Get writes to into what is served at a URL. That there is an answer is how
// many a child shows that it is ready.
func Get(ctx context.Context, url string, into io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	return answer(req, http.StatusOK, into)
}

// Hint tells plumb, by the URL of its --hint-addr, that a repository was
// pushed to. Where nobody listens the error is a [url.Error].
func Hint(ctx context.Context, to, repository string) error {
	body, err := json.Marshal(map[string]string{"url": repository})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	return answer(req, http.StatusAccepted, io.Discard)
}

// answer writes to into what a request is answered with, if that is as it
// should be.
func answer(req *http.Request, status int, into io.Writer) error {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != status {
		return fmt.Errorf("%s: %s", req.URL, resp.Status)
	}
	_, err = io.Copy(into, resp.Body)
	return err
}

// FreeAddr returns an address of host that nobody listens on.
func FreeAddr(host string) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
