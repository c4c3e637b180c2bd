package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"plumb.dev/plumb/internal/worker"
	"plumb.dev/plumb/tree"
)

const workerArg = "worker-of-the-test"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == workerArg {
		if err := worker.Serve(kinds, os.Stdin, os.Stdout, func() {}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// kinds are what hostile input makes a job do, and what it tries to get at.
var kinds = map[string]worker.Func{
	"echo":  func(_ context.Context, _ tree.Tree, input []byte) ([]byte, bool) { return input, false },
	"spend": func(_ context.Context, _ tree.Tree, input []byte) ([]byte, bool) { return input, true },
	"read": func(_ context.Context, t tree.Tree, input []byte) ([]byte, bool) {
		b, err := t.ReadFile(string(input))
		if err != nil {
			return []byte("error: " + err.Error()), false
		}
		return b, false
	},
	"overflow": func(context.Context, tree.Tree, []byte) ([]byte, bool) {
		var down func(n int) int
		down = func(n int) int { return down(n+1) + n }
		return []byte{byte(down(0))}, false
	},
	"fill": func(context.Context, tree.Tree, []byte) ([]byte, bool) {
		var all [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = 1
			}
			all = append(all, b)
			if len(all) > 1<<20 {
				return all[0], false
			}
		}
	},
	"take": func(context.Context, tree.Tree, []byte) ([]byte, bool) {
		b := make([]byte, 100<<20)
		for i := range b {
			b[i] = 1
		}
		for began := time.Now(); time.Since(began) < 2*time.Second; {
			runtime.Gosched()
		}
		return b[:1], false
	},
	"fill at once": func(context.Context, tree.Tree, []byte) ([]byte, bool) {
		b := make([]byte, 1<<36)
		return b[:1], false
	},
	"loop": func(context.Context, tree.Tree, []byte) ([]byte, bool) {
		for i := 0; ; i++ {
			if i < 0 {
				return nil, false
			}
		}
	},
	"read and loop": func(_ context.Context, t tree.Tree, _ []byte) ([]byte, bool) {
		if _, err := t.ReadFile("dir/b.bin"); err != nil {
			return []byte(err.Error()), false
		}
		for {
			runtime.Gosched()
		}
	},
	"exit":  func(context.Context, tree.Tree, []byte) ([]byte, bool) { os.Exit(3); return nil, false },
	"panic": func(context.Context, tree.Tree, []byte) ([]byte, bool) { panic("s3cr3t-canary") },
	"gibberish": func(context.Context, tree.Tree, []byte) ([]byte, bool) {
		_, err := os.Stdout.WriteString("\x00\x00\x00\x05\x63aaaaa")
		return []byte(fmt.Sprint(err)), false
	},
	"more than a frame": func(context.Context, tree.Tree, []byte) ([]byte, bool) {
		_, err := os.Stdout.WriteString("\xff\xff\xff\xff\x06aaaaa")
		return []byte(fmt.Sprint(err)), false
	},
	"pid": func(context.Context, tree.Tree, []byte) ([]byte, bool) {
		return []byte(strconv.Itoa(os.Getpid())), false
	},
	"reach out": func(_ context.Context, _ tree.Tree, input []byte) ([]byte, bool) {
		var to reach
		if err := json.Unmarshal(input, &to); err != nil {
			return []byte(err.Error()), false
		}
		got := map[string]string{"environment": strings.Join(os.Environ(), " ")}
		try := func(what string, err error) {
			if err == nil {
				got[what] = "worked"
			}
		}
		_, err := os.ReadFile(to.File)
		try("read", err)
		try("write", os.WriteFile(to.File+".new", nil, 0o600))
		_, err = os.ReadDir("/")
		try("list", err)
		_, err = os.ReadFile("/proc/" + strconv.Itoa(os.Getppid()) + "/environ")
		try("environment of the parent", err)
		c, err := net.Dial("tcp", to.Address)
		if err == nil {
			c.Close()
		}
		try("connect", err)
		try("start", exec.Command("/bin/true").Run())
		_, _, e := syscall.RawSyscall(syscall.SYS_FORK, 0, 0, 0)
		if e == 0 {
			got["fork"] = "worked"
		}
		try("kill", syscall.Kill(os.Getppid(), 0))
		var wg sync.WaitGroup // threads go on being made
		for range 50 {
			wg.Go(func() { runtime.LockOSThread(); time.Sleep(time.Millisecond) })
		}
		wg.Wait()
		b, err := json.Marshal(got)
		try("", err)
		return b, false
	},
}

type reach struct{ File, Address string }

func options() worker.Options {
	return worker.Options{
		Command: []string{os.Args[0], workerArg}, Workers: 2, Slow: time.Second,
		Memory: 256 << 20, Together: 512 << 20, Time: 30 * time.Second, Idle: time.Minute, Keep: 128 << 20,
	}
}

func pool(t *testing.T, change func(*worker.Options)) *worker.Pool {
	t.Helper()
	o := options()
	if change != nil {
		change(&o)
	}
	p := worker.New(o)
	t.Cleanup(p.Close)
	return p
}

var files = tree.FromFiles(map[string]string{
	"a.yaml": "a", "dir/b.yaml": "b", "dir/b.bin": "c", "dir/link": "-> b.yaml", "empty.yaml": "", "large.yaml": strings.Repeat("x", 100_000),
})

func do(t *testing.T, p *worker.Pool, kind, input string) (string, error) {
	t.Helper()
	out, err := p.Do(t.Context(), worker.Job{Kind: kind, Input: []byte(input), Tree: files, Dir: "."})
	return string(out), err
}

func works(t *testing.T, p *worker.Pool) {
	t.Helper()
	if out, err := do(t, p, "echo", "hello"); out != "hello" || err != nil {
		t.Errorf("after that, %q, %v", out, err)
	}
}

func TestWhatEndsAWorkerCostsItsOwnJob(t *testing.T) {
	for kind, want := range map[string]worker.Failure{
		"overflow":          {Cause: worker.Crashed, Words: "fatal error: stack overflow"},
		"fill":              {Cause: worker.Memory},
		"fill at once":      {Cause: worker.Crashed, Words: "fatal error: runtime: out of memory"},
		"loop":              {Cause: worker.Time},
		"exit":              {Cause: worker.Crashed, Words: "exit status 3"},
		"panic":             {Cause: worker.Crashed, Words: "exit status 2"},
		"gibberish":         {Cause: worker.Broken},
		"more than a frame": {Cause: worker.Broken},
		"no such kind":      {Cause: worker.Broken},
	} {
		t.Run(kind, func(t *testing.T) {
			p := pool(t, func(o *worker.Options) {
				if kind == "loop" {
					o.Time = 100 * time.Millisecond
				}
			})
			works(t, p)
			_, err := do(t, p, kind, "")
			var got *worker.Failure
			if !errors.As(err, &got) {
				t.Fatalf("%v", err)
			}
			if got.Cause != want.Cause || want.Words != "" && got.Words != want.Words && !(raced && kind == "fill at once") {
				t.Errorf("cause %d, %q; want %d, %q", got.Cause, got.Words, want.Cause, want.Words)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("%v", err)
			}
			works(t, p)
		})
	}
}

// What the parent has had in memory is none of the worker's doing, though the
// kernel counts it so.
func TestAWorkerDoesNotAnswerForItsParentsMemory(t *testing.T) {
	b := bytes.Repeat([]byte("x"), 300<<20)
	p := pool(t, nil)
	_, err := do(t, p, "exit", "")
	var got *worker.Failure
	if !errors.As(err, &got) || got.Cause != worker.Crashed {
		t.Errorf("%v", err)
	}
	runtime.KeepAlive(b)
}

// Each of them has less than it may have.
func TestWorkersTogetherHaveNoMoreThanTheyMay(t *testing.T) {
	if raced {
		t.Skip("each takes some times as much")
	}
	p := pool(t, func(o *worker.Options) { o.Together, o.Workers = 200<<20, 3 })
	var wg sync.WaitGroup
	var crowded, done atomic.Int32
	for range 3 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := p.Do(ctx, worker.Job{Kind: "take", Tree: files, Dir: "."})
			var f *worker.Failure
			switch {
			case err == nil:
				done.Add(1)
			case errors.As(err, &f) && f.Cause == worker.Crowded:
				crowded.Add(1)
			default:
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	if crowded.Load() == 0 || done.Load() == 0 {
		t.Errorf("%d were ended, %d done", crowded.Load(), done.Load())
	}
	works(t, p)
}

func TestAKilledWorkerCostsItsOwnJob(t *testing.T) {
	p := pool(t, nil)
	works(t, p)
	idle := p.Processes()[0]
	if err := syscall.Kill(idle, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for syscall.Kill(idle, 0) == nil { // until the deadline of the test
		runtime.Gosched()
	}
	works(t, p)
	began := make(chan struct{}, 1)
	failed := make(chan error)
	go func() {
		_, err := p.Do(t.Context(), worker.Job{Kind: "read and loop", Tree: begins{files, began}, Dir: "."})
		failed <- err
	}()
	<-began
	for _, pid := range p.Processes() {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	err := <-failed
	var got *worker.Failure
	if !errors.As(err, &got) || got.Cause != worker.Killed {
		t.Errorf("%v", err)
	}
	works(t, p)
}

// A begins is a tree that tells when it is asked for dir/b.bin.
type begins struct {
	tree.Tree
	began chan struct{}
}

func (b begins) ReadFile(name string) ([]byte, error) {
	if name == "dir/b.bin" {
		select {
		case b.began <- struct{}{}:
		default: // it has been told
		}
	}
	return b.Tree.ReadFile(name)
}

func TestAJobOfWhichNobodyWantsTheOutcomeIsEnded(t *testing.T) {
	p := pool(t, nil)
	why := errors.New("nobody waits")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(why) })
	if _, err := p.Do(ctx, worker.Job{Kind: "loop", Tree: files, Dir: "."}); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	works(t, p)
}

// Jobs that take long leave their slots to others.
func TestSlowJobsHoldUpNobody(t *testing.T) {
	p := pool(t, func(o *worker.Options) { o.Slow = 10 * time.Millisecond })
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { _, _ = p.Do(ctx, worker.Job{Kind: "loop", Tree: files, Dir: "."}) })
	}
	for range 10 {
		works(t, p)
	}
	cancel()
	wg.Wait()
}

func TestAWorkerGetsAtNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	secret := t.TempDir() + "/token"
	if err := os.WriteFile(secret, []byte("s3cr3t"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", secret)
	b, err := json.Marshal(reach{secret, l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	p := pool(t, func(o *worker.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	out, err := do(t, p, "reach out", string(b))
	if err != nil || out != `{"environment":""}` {
		t.Errorf("%s, %v", out, err)
	}
	if log.Len() > 0 {
		t.Errorf("this kernel offers all of it: %s", &log)
	}
}

// A file that this process has open, and from whoever started it, also if that
// has not marked it.
func TestAWorkerHasNoFileOfItsParent(t *testing.T) {
	name := t.TempDir() + "/inherited"
	fd, err := syscall.Open(name, syscall.O_CREAT|syscall.O_RDWR, 0o600) // without O_CLOEXEC
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	p := pool(t, nil)
	works(t, p)
	dir := fmt.Sprintf("/proc/%d/fd", p.Processes()[0])
	open, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range open {
		to, err := os.Readlink(dir + "/" + o.Name())
		if err != nil {
			t.Fatal(err)
		}
		// Go's runtime keeps a few of its own open.
		if !strings.HasPrefix(to, "pipe:") && !strings.HasPrefix(to, "anon_inode:[event") && !strings.HasPrefix(to, "/sys/fs/cgroup/") {
			t.Errorf("%s is %s", o.Name(), to)
		}
	}
}

func TestAWorkerReadsWhatItAsksFor(t *testing.T) {
	p := pool(t, func(o *worker.Options) { o.Workers = 1 })
	for range 3 { // contents are told once
		for name, want := range map[string]string{
			"a.yaml": "a", "dir/b.yaml": "b", "dir/b.bin": "c", "dir/link": "b.yaml", "empty.yaml": "", "large.yaml": strings.Repeat("x", 100_000),
			"dir/none": "error: read dir/none: file does not exist", "dir": "error: read dir: is a directory", "../x": "error: read ../x: invalid argument",
		} {
			if got, err := do(t, p, "read", name); got != want || err != nil {
				t.Errorf("%s: %.50q, %v", name, got, err)
			}
		}
	}
	if n := len(p.Processes()); n != 1 {
		t.Errorf("%d processes", n)
	}
}

type failing struct {
	tree.Tree
	err error
}

func (f failing) ReadFile(string) ([]byte, error) { return nil, f.err }

func TestWhatATreeSaysIsTheError(t *testing.T) {
	p := pool(t, nil)
	broken := errors.New("the store is gone")
	if _, err := p.Do(t.Context(), worker.Job{Kind: "read", Input: []byte("a.yaml"), Tree: failing{files, broken}, Dir: "."}); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	works(t, p)
}

// A job that ended its worker may have seen what it was told, and nothing else.
func TestAFailureSaysWhatWasSeen(t *testing.T) {
	p := pool(t, nil)
	_, err := p.Do(t.Context(), worker.Job{Kind: "exit", Tree: files, Dir: "dir"})
	var got *worker.Failure
	if !errors.As(err, &got) {
		t.Fatal(err)
	}
	if _, ok := got.Seen.Holds(files); !ok || got.Seen.Len() == 0 {
		t.Errorf("%d names seen, of another tree", got.Seen.Len())
	}
	changed := tree.FromFiles(map[string]string{"dir/b.yaml": "B", "dir/b.bin": "c", "dir/link": "-> b.yaml"})
	if _, ok := got.Seen.Holds(changed); ok {
		t.Error("a file that it was told has changed, and it would not matter")
	}
}

func TestWorkersAreEnded(t *testing.T) {
	gone := func(t *testing.T, pids []int) {
		t.Helper()
		for _, pid := range pids {
			for deadline := time.Now().Add(30 * time.Second); syscall.Kill(pid, 0) == nil; runtime.Gosched() {
				if time.Now().After(deadline) {
					t.Fatalf("%d is still there", pid)
				}
			}
		}
	}
	t.Run("when they have nothing to do", func(t *testing.T) {
		p := pool(t, func(o *worker.Options) { o.Idle = time.Millisecond })
		works(t, p)
		gone(t, p.Processes())
	})
	t.Run("when they are not what they were", func(t *testing.T) {
		p := pool(t, nil)
		if _, err := do(t, p, "spend", ""); err != nil {
			t.Error(err)
		}
		if n := len(p.Processes()); n != 0 {
			t.Errorf("%d processes", n)
		}
	})
	t.Run("when they have much memory", func(t *testing.T) {
		p := pool(t, func(o *worker.Options) { o.Keep = 1 })
		works(t, p)
		if n := len(p.Processes()); n != 0 {
			t.Errorf("%d processes", n)
		}
	})
	t.Run("with the pool", func(t *testing.T) {
		p := pool(t, nil)
		works(t, p)
		pids := p.Processes()
		p.Close()
		gone(t, pids)
		if _, err := do(t, p, "echo", ""); err == nil {
			t.Error("there is one more")
		}
	})
	t.Run("with their parent, whatever they do", func(t *testing.T) {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAParentThatIsKilled$")
		c.Env = append(os.Environ(), parentOf+"=1")
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		var pid int
		if _, err := fmt.Fscan(out, &pid); err != nil {
			t.Fatal(err)
		}
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait() // it was killed
		gone(t, []int{pid})
	})
}

const parentOf = "PLUMB_TEST_PARENT"

func TestAParentThatIsKilled(t *testing.T) {
	if os.Getenv(parentOf) == "" {
		t.Skip("it is a process of another test")
	}
	p := pool(t, nil)
	pid, err := do(t, p, "pid", "")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(pid)
	_, _ = do(t, p, "loop", "")
}

func TestManyAtOnce(t *testing.T) {
	p := pool(t, func(o *worker.Options) { o.Slow = time.Minute })
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			kind := []string{"echo", "echo", "echo", "read", "exit"}[i%5]
			out, err := do(t, p, kind, "a.yaml")
			want := map[string]string{"echo": "a.yaml", "read": "a"}[kind]
			if (err != nil) != (kind == "exit") || out != want {
				t.Errorf("%s: %q, %v", kind, out, err)
			}
		})
	}
	wg.Wait()
	if n := len(p.Processes()); n > 2 {
		t.Errorf("%d processes", n)
	}
}
