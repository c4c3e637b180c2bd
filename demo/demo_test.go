package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"plumb.dev/plumb/internal/child"
	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/internal/plumbtest"
	"plumb.dev/plumb/internal/tools"
)

func TestMain(m *testing.M) {
	code := m.Run()
	plumbtest.Clean()
	if path, err := built(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

func TestEverythingItPrintsWorks(t *testing.T) {
	d := start(t, freePort(t), "--check")
	if err := d.wait(3 * time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"change", "drift", "prune", "revert", "sync"} {
		if !strings.Contains(d.said(), "\n"+step+" ") {
			t.Errorf("step %s is not in the table", step)
		}
	}
	t.Log(d.said())
	d.leavesNothing()
}

// TestGettingStartedWorks runs the commands of the docs in the order in which
// they stand there.
func TestGettingStartedWorks(t *testing.T) {
	root, err := tools.Root()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.Join(root, "docs", "getting-started.md"))
	if err != nil {
		t.Fatal(err)
	}
	demo, _, _ := strings.Cut(string(doc), "\n## With your own repository")
	blocks := strings.Split(demo, "```sh\n")[2:] // the first is make demo

	d := start(t, freePort(t))
	d.await("Ctrl-C ends everything")
	_, printed, _ := strings.Cut(d.said(), "In another terminal:\n")
	setup, _, _ := strings.Cut(printed, "In a third one")
	script := "set -e\n" + setup
	for _, b := range blocks {
		commands, _, _ := strings.Cut(b, "```")
		for _, c := range strings.Split(strings.TrimSpace(commands), "\n") {
			if strings.HasPrefix(c, "plumb diff ") {
				c += " || [ $? = 1 ]" // there is a difference
			}
			script += "echo '$ " + strings.ReplaceAll(c, "'", `'\''`) + "'\n" + c + "\n"
		}
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Env = append(gittest.Env(), "HOME="+d.dir)
	out, err := cmd.CombinedOutput()
	if err != nil || len(blocks) < 6 {
		t.Fatalf("%d blocks: %v\n%s", len(blocks), err, out)
	}
	t.Logf("%s", out)
	if err := d.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := d.wait(30 * time.Second); err != nil {
		t.Error(err)
	}
}

func TestPortInUseIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for flag, value := range map[string]string{"--git-addr": l.Addr().String(), "--api-port": port} {
		d := start(t, freePort(t), flag+"="+value)
		if err := d.wait(30 * time.Second); err == nil {
			t.Errorf("%s: it runs all the same", flag)
		}
		want := "demo: port " + port + " is in use by another program, perhaps another demo; stop it, or choose another port: make demo ARGS=" + flag + "="
		if !strings.HasPrefix(d.said(), want) {
			t.Errorf("%s: got %q, want %q and a port", flag, d.said(), want)
		}
		d.leavesNothing()
	}
}

func TestSignalsLeaveNothing(t *testing.T) {
	for name, c := range map[string]struct {
		signal syscall.Signal
		after  string
	}{
		"Ctrl-C while it runs":       {syscall.SIGINT, "Ctrl-C ends everything"},
		"SIGTERM while it runs":      {syscall.SIGTERM, "Ctrl-C ends everything"},
		"SIGTERM while it starts":    {syscall.SIGTERM, "control plane"},
		"SIGHUP while plumb settles": {syscall.SIGHUP, "Kustomization flux-system"},
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, freePort(t))
			d.await(c.after)
			if err := d.cmd.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			if err := d.wait(30 * time.Second); err != nil {
				t.Error(err)
			}
			d.leavesNothing()
		})
	}
}

func TestKillLeavesNoProcessAndTheNextDemoTidies(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends children with their parent")
	}
	port := freePort(t)
	d := start(t, port)
	d.await("Ctrl-C ends everything")
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if d.wait(10*time.Second) == nil {
		t.Error("it was killed and says that all is well")
	}
	kubetest.Eventually(t, 30*time.Second, func() error {
		if p := d.processes(); len(p) > 0 {
			return fmt.Errorf("still running: %v", p)
		}
		return nil
	})
	next := startIn(t, d.dir, port)
	next.await("Ctrl-C ends everything")
	if left := next.folders(); len(left) != 1 {
		t.Errorf("want one folder, its own: %v", left)
	}
	if err := next.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := next.wait(30 * time.Second); err != nil {
		t.Error(err)
	}
	next.leavesNothing()
}

// A process is a demo whose files are all below dir.
type process struct {
	t     *testing.T
	dir   string
	cmd   *exec.Cmd
	ended chan error

	mu  sync.Mutex
	out bytes.Buffer
}

func start(t *testing.T, flags ...string) *process { return startIn(t, t.TempDir(), flags...) }

func startIn(t *testing.T, dir string, flags ...string) *process {
	t.Helper()
	exe, err := built()
	if err != nil {
		t.Fatal(err)
	}
	bin := programs(t)
	p := &process{t: t, dir: dir, ended: make(chan error, 1)}
	p.cmd = exec.Command(exe, append([]string{"--bin", bin}, flags...)...)
	p.cmd.Env = append(gittest.Env(), "TMPDIR="+dir, "HOME="+dir)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("the demo said:\n%s", p.said())
		}
	})
	return p
}

// built builds the demo, once.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "demo-test-")
	if err != nil {
		return "", err
	}
	exe := filepath.Join(dir, "plumb-demo")
	if out, err := exec.Command("go", "build", "-o", exe, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the demo: %w\n%s", err, out)
	}
	return exe, nil
})

// programs is a folder with plumb and the sandbox as they are now.
func programs(t *testing.T) string {
	t.Helper()
	root, err := tools.Root()
	if err != nil {
		t.Fatal(err)
	}
	sandbox, err := tools.Build(root, tools.Sandbox, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	for name, path := range map[string]string{"plumb": plumbtest.Binary(t), "plumb-sandbox": sandbox} {
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	return bin
}

func freePort(t *testing.T) string {
	t.Helper()
	addr, err := child.FreeAddr("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return "--git-addr=" + addr
}

// Write takes what the demo says.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func (p *process) await(text string) {
	p.t.Helper()
	kubetest.Eventually(p.t, 3*time.Minute, func() error {
		if !strings.Contains(p.said(), text) {
			return fmt.Errorf("it has not said %q", text)
		}
		return nil
	})
}

func (p *process) wait(within time.Duration) error {
	ctx, cancel := context.WithTimeout(p.t.Context(), within)
	defer cancel()
	select {
	case err := <-p.ended:
		return err
	case <-ctx.Done():
		return errors.New("it does not end")
	}
}

func (p *process) folders() []string {
	found, err := filepath.Glob(filepath.Join(p.dir, folder+"*"))
	if err != nil {
		p.t.Fatal(err)
	}
	return found
}

func (p *process) leavesNothing() {
	p.t.Helper()
	if left := p.folders(); len(left) > 0 {
		p.t.Errorf("it left %v", left)
	}
	if left := p.processes(); len(left) > 0 {
		p.t.Errorf("still running: %v", left)
	}
}

// processes are those that were started with a file of this demo as argument.
func (p *process) processes() []string {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		p.t.Fatal(err)
	}
	var found []string
	for _, line := range lines {
		args, err := os.ReadFile(line)
		if err == nil && bytes.Contains(args, []byte(filepath.Join(p.dir, folder))) {
			found = append(found, string(bytes.ReplaceAll(args, []byte{0}, []byte{' '})))
		}
	}
	return found
}
