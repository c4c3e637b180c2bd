package kubetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"plumb.dev/plumb/internal/child"
)

// Private starts a sandbox for this test alone, and ends it with the test.
// The flags are those of plumb-sandbox up, such as --api-only and --audit.
func Private(t testing.TB, flags ...string) *Env {
	t.Helper()
	exe, err := sandboxProgram()
	if err != nil {
		t.Fatalf("start a sandbox: %v", err)
	}
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	log := new(logBuffer)

	// The kernel ends the sandbox with the thread that started it.
	type result struct {
		s   *sandbox
		err error
	}
	started := make(chan result)
	go func() {
		runtime.LockOSThread()
		s, err := startSandbox(exe, filepath.Join(dir, "cluster"), kubeconfig, log, flags...)
		started <- result{s, err}
		if err == nil {
			<-s.done
		}
	}()
	r := <-started
	if r.err != nil {
		t.Fatalf("start a sandbox: %v", r.err)
	}
	t.Cleanup(func() {
		if err := r.s.stop(); err != nil {
			t.Errorf("stop the sandbox: %v", err)
		}
		if t.Failed() {
			t.Logf("the sandbox said:\n%s", log)
		}
	})

	deadline := time.Now().Add(patience)
	for {
		if _, err := os.Stat(kubeconfig); err == nil {
			break
		}
		select {
		case err := <-r.s.ended:
			t.Fatalf("the sandbox ended before it was ready: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("the sandbox was not ready after %s", patience)
		}
	}
	env, err := newEnv(own, kubeconfig)
	if err != nil {
		t.Fatalf("use the sandbox: %v", err)
	}
	env.sandbox = r.s
	return env
}

// Dir is the folder of a private sandbox, as its --dir flag gives it.
func (e *Env) Dir() string { return e.sandbox.dir }

// Kill ends a process of a private sandbox with SIGKILL. The sandbox starts
// it again; the next call of [Env.Ready] tells when it is back. The names are
// etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok.
func (e *Env) Kill(t testing.TB, component string) {
	t.Helper()
	e.Signal(t, component, syscall.SIGKILL)
}

// Signal sends a signal to a process of a private sandbox: SIGSTOP and
// SIGCONT make one that hangs for a while.
func (e *Env) Signal(t testing.TB, component string, signal syscall.Signal) {
	t.Helper()
	if e.sandbox == nil {
		t.Fatalf("signal %s: the control plane is shared; use kubetest.Private", component)
	}
	file := filepath.Join(e.sandbox.dir, "run", component+".pid")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("signal %s: %v", component, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil || pid <= 1 {
		t.Fatalf("signal %s: %s holds no process id: %q", component, file, content)
	}
	if err := syscall.Kill(pid, signal); err != nil {
		t.Fatalf("signal %s: %v", component, err)
	}
}

// A sandbox is a running plumb-sandbox up.
type sandbox struct {
	dir   string
	cmd   *exec.Cmd
	ended chan error    // gets the reason when it ends
	done  chan struct{} // closed after that
}

// startSandbox returns when the process exists; it is ready when the
// kubeconfig does. The caller stays on its thread for as long as the sandbox
// is to run.
func startSandbox(exe, dir, kubeconfig string, log io.Writer, flags ...string) (*sandbox, error) {
	args := append([]string{"up", "--dir", dir, "--kubeconfig", kubeconfig}, flags...)
	s := &sandbox{dir: dir, cmd: exec.Command(exe, args...), ended: make(chan error, 1), done: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = child.EndsWithParent()
	s.cmd.WaitDelay = 5 * time.Second
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		s.ended <- s.cmd.Wait()
		close(s.done)
	}()
	return s, nil
}

// stop returns when nothing of the sandbox is left running.
func (s *sandbox) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.done:
		return nil
	case <-time.After(time.Minute):
		return errors.Join(fmt.Errorf("it did not end within a minute of SIGTERM"), s.cmd.Process.Kill())
	}
}

// A logBuffer is a buffer that two goroutines may use.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
