package test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is the deadline of every wait. Nothing here takes that long.
const patience = 90 * time.Second

// binary is the plumb-sandbox under test.
var binary string

func TestMain(m *testing.M) {
	var err error
	if binary, err = build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// build makes the binary where the Makefile does, with the same flags, which
// takes a second when nothing has changed.
func build() (string, error) {
	path, err := filepath.Abs("../../bin/plumb-sandbox")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, ".")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build plumb-sandbox: %w\n%s", err, out)
	}
	return path, nil
}

// A process is a plumb-sandbox that runs in the foreground.
type process struct {
	cmd   *exec.Cmd
	ready string        // its line on stdout
	ended chan struct{} // closed when it has
	err   error         // how it ended; valid after ended

	mu     sync.Mutex
	stderr bytes.Buffer
}

// start returns when the process has said that it is ready. It ends with the
// test at the latest.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{ended: make(chan struct{})}
	p.cmd = exec.Command(binary, append(args, "--until-eof")...)
	p.cmd.Stderr = p
	// The write end is closed when this process ends, however it does.
	if _, err := p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1)
	go func() {
		defer close(p.ended)
		reader := bufio.NewReader(stdout)
		if line, err := reader.ReadString('\n'); err == nil {
			lines <- strings.TrimSpace(line)
		}
		_, _ = io.Copy(io.Discard, reader)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("plumb-sandbox %s:\n%s", strings.Join(args, " "), p.log())
		}
	})
	select {
	case p.ready = <-lines:
		if !strings.HasPrefix(p.ready, "ready") {
			t.Fatalf("stdout begins with %q, want ready", p.ready)
		}
	case <-p.ended:
		t.Fatalf("plumb-sandbox %s ended before it was ready: %v\n%s", strings.Join(args, " "), p.err, p.log())
	case <-time.After(patience):
		t.Fatalf("plumb-sandbox %s is not ready after %s\n%s", strings.Join(args, " "), patience, p.log())
	}
	return p
}

// stop ends the process as a user does and returns how long that took.
func (p *process) stop(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		t.Errorf("plumb-sandbox did not end within %s of SIGTERM", patience)
	}
	return time.Since(began)
}

// Write takes the process's stderr.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.Write(b)
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// fail runs plumb-sandbox, which is to end at once with an error, and returns
// the error's text.
func fail(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("plumb-sandbox %s: %v, want exit status 1", strings.Join(args, " "), err)
	}
	text := strings.TrimSpace(string(out))
	if strings.Contains(text, "\n") {
		t.Errorf("plumb-sandbox %s: the error has several lines:\n%s", strings.Join(args, " "), text)
	}
	return text
}

// eventually waits until check returns "", which is otherwise what is wrong.
func eventually(t *testing.T, check func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		wrong := check()
		if wrong == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s still: %s", patience, wrong)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// pids are the processes of the cluster in dir, by component.
func pids(t *testing.T, dir string) map[string]int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "run", "*.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pids := map[string]int{}
	for _, file := range files {
		if pid, ok := readPID(file); ok {
			pids[strings.TrimSuffix(filepath.Base(file), ".pid")] = pid
		}
	}
	return pids
}

func readPID(file string) (int, bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid, err == nil
}

// running tells whether a process is there and no zombie, which is what a
// machine without an init process makes of an orphan.
func running(pid int) bool {
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && !strings.HasPrefix(strings.TrimSpace(string(out)), "Z")
}
