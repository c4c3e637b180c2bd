// Demo shows plumb at work on this machine: it starts a cluster, serves the
// example repositories over HTTP, runs plumb on them, and says what to try.
//
// Whatever it starts ends with it, and whatever it writes is in one folder
// that it removes, also at Ctrl-C, SIGTERM and SIGHUP. With --check it does
// itself what it would have a person try, by the very commands that it prints,
// and says how long each took.
//
// It needs bin/plumb and bin/plumb-sandbox, which make demo builds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"plumb.dev/plumb/internal/child"
	"plumb.dev/plumb/internal/tools"
)

func main() {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}
	ctx, cancel := context.WithCancel(context.Background())
	caught := make(chan os.Signal, len(signals))
	signal.Notify(caught, signals...) // to the end: a second Ctrl-C must not cut the tidying short
	go func() {
		<-caught
		cancel()
	}()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// An options are the flags.
type options struct {
	gitAddr  string
	apiPort  int
	programs string
	check    bool
}

const defaultGitAddr = "127.0.0.1:8418"

func parse(args []string, w io.Writer) (o options, err error) {
	f := flag.NewFlagSet("demo", flag.ContinueOnError)
	f.SetOutput(w)
	f.StringVar(&o.gitAddr, "git-addr", defaultGitAddr, "host:port of the Git server")
	f.IntVar(&o.apiPort, "api-port", 0, "port of the Kubernetes API server; 0 picks a free one")
	f.StringVar(&o.programs, "bin", "", "folder of plumb and plumb-sandbox (default: bin in plumb's repository)")
	f.BoolVar(&o.check, "check", false, "do what the demo would have you try, say how long each took, and end")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q; there are only flags, see --help", f.Arg(0))
	}
	return o, nil
}

func run(ctx context.Context, args []string, w io.Writer) (err error) {
	o, err := parse(args, w)
	if err != nil {
		return err
	}
	if err := o.portsAreFree(); err != nil {
		return err
	}
	began := time.Now()
	d, err := begin(o, w)
	if err != nil {
		return err
	}
	defer func() {
		if ctx.Err() != nil {
			fmt.Fprintln(w, "\nstopping")
			err = nil // that is what was asked for
		}
		err = errors.Join(err, d.end())
	}()
	if err := d.start(ctx); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nready after %s\n", seconds(time.Since(began)))
	if o.check {
		return d.check(ctx)
	}
	d.invite()
	return d.wait(ctx)
}

// portsAreFree finds out before anything is started.
func (o options) portsAreFree() error {
	if err := isFree(o.gitAddr, "--git-addr"); err != nil {
		return err
	}
	if o.apiPort == 0 {
		return nil
	}
	return isFree(fmt.Sprintf("127.0.0.1:%d", o.apiPort), "--api-port")
}

func isFree(addr, flag string) error {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		_, port, _ := net.SplitHostPort(addr)
		return fmt.Errorf("port %s is in use by another program, perhaps another demo; stop it, or choose another port: make demo ARGS=%s=%s",
			port, flag, another(addr, flag))
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", flag, addr, err)
	}
	return l.Close()
}

// another is a value for the flag that would do at the moment.
func another(addr, flag string) string {
	host, _, _ := net.SplitHostPort(addr)
	free, err := child.FreeAddr(host)
	if err != nil {
		return host + ":PORT"
	}
	if flag == "--api-port" {
		_, port, _ := net.SplitHostPort(free)
		return port
	}
	return free
}

// A demo is what runs.
type demo struct {
	options
	w          io.Writer
	root       string // of plumb's own repository
	dir        string // for all that is written
	lock       *os.File
	kubeconfig string
	hint       string // where plumb takes hints
	metrics    string

	cluster, git, plumb *child.Child
}

func (d *demo) url(repository string) string {
	return "http://" + d.gitAddr + "/" + repository + ".git"
}

func (d *demo) bin(name string) string { return filepath.Join(d.programs, name) }

// begin makes the folder, and removes those of demos that were killed.
func begin(o options, w io.Writer) (*demo, error) {
	root, err := tools.Root()
	if err != nil {
		return nil, err
	}
	d := &demo{options: o, w: w, root: root}
	if d.programs == "" {
		d.programs = filepath.Join(root, "bin")
	}
	for _, name := range []string{"plumb", "plumb-sandbox"} {
		if _, err := os.Stat(d.bin(name)); err != nil {
			return nil, fmt.Errorf("%s is missing; run make demo, which builds it", d.bin(name))
		}
	}
	if _, err := exec.LookPath("git"); err != nil {
		return nil, errors.New("git is missing; install it with your system's package manager")
	}
	removeAbandoned()
	if d.dir, err = os.MkdirTemp("", folder+"*"); err != nil {
		return nil, err
	}
	if d.lock, err = claim(d.dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(d.dir))
	}
	d.kubeconfig = filepath.Join(d.dir, "kubeconfig")
	return d, nil
}

// folder is how the names of the demos' folders begin.
const folder = "plumb-demo-"

// claim holds a folder for as long as this process lives.
func claim(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// removeAbandoned removes the folders that nobody holds: kill -9 leaves one.
func removeAbandoned() {
	locks, _ := filepath.Glob(filepath.Join(os.TempDir(), folder+"*", "lock"))
	for _, lock := range locks {
		if held, err := claim(filepath.Dir(lock)); err == nil {
			_ = os.RemoveAll(filepath.Dir(lock)) // another user's: not ours to remove
			_ = held.Close()
		}
	}
}

// patience is how long a child may take to end.
const patience = 20 * time.Second

// end stops what was started, last first, and removes the folder.
func (d *demo) end() error {
	var errs []error
	for _, c := range []*child.Child{d.plumb, d.git, d.cluster} {
		errs = append(errs, c.Stop(patience))
	}
	errs = append(errs, os.RemoveAll(d.dir), d.lock.Close())
	return errors.Join(errs...)
}

// wait returns when the person has had enough, or something ends by itself.
func (d *demo) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-d.cluster.Ended():
		return d.cluster.Failure()
	case <-d.git.Ended():
		return d.git.Failure()
	case <-d.plumb.Ended():
		return d.plumb.Failure()
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
