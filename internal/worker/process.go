package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"plumb.dev/plumb/tree"
)

// A process is a worker as its parent has it.
type process struct {
	pool        *Pool
	o           Options
	cmd         *exec.Cmd
	to, from    *os.File
	link        *link
	words       *lastWords
	confinement Confinement
	before      int64 // most that the parent has had in memory, which the kernel counts as the child's
	told        told

	since  time.Time // it has had nothing to do
	slowed bool

	why  atomic.Pointer[error] // why it was ended, if it was
	over atomic.Bool           // it was ended, or has ended
	gone chan struct{}         // closed once it has ended
	exit error                 // then
}

// startPatience is how long a process may take until it is ready.
const startPatience = time.Minute

// miscount is by how much the kernel's two counts of one memory may differ, in
// bytes: it adds up what each core has counted from time to time.
const miscount = 4 << 20

// start starts a worker, and waits until it is ready.
func (p *Pool) start(ctx context.Context, open bool) (w *process, err error) {
	o := p.o
	in, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	from, out, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, to.Close())
	}
	defer out.Close()
	w = &process{pool: p, o: o, to: to, from: from, link: newLink(from, to), words: &lastWords{}, told: told{ids: map[tree.ID]bool{}}, gone: make(chan struct{})}
	w.cmd = exec.Command(o.Command[0], o.Command[1:]...) //nolint:gosec,noctx // it is this program; it is ended by end
	w.cmd.Stdin, w.cmd.Stdout, w.cmd.Stderr = in, out, w.words
	w.cmd.Env, w.cmd.Dir = []string{}, "/"
	if open {
		w.cmd.Env = o.OpenEnv
	}
	w.cmd.SysProcAttr = apart()
	if err := closeOnExec(); err != nil {
		return nil, errors.Join(err, to.Close(), from.Close())
	}
	if err := w.cmd.Start(); err != nil {
		return nil, errors.Join(err, to.Close(), from.Close())
	}
	w.before = ownPeak() + miscount
	go func() {
		w.exit = w.cmd.Wait()
		close(w.gone)
	}()
	stop := context.AfterFunc(ctx, func() { w.endFor(context.Cause(ctx)) })
	defer stop()
	patience := time.AfterFunc(startPatience, func() { w.endFor(fmt.Errorf("it was not ready after %s", startPatience)) })
	defer patience.Stop()
	if err = w.link.send(frameSetup, setup{Memory: o.Memory, Open: open}); err == nil {
		err = w.link.expect(frameHello, &w.confinement)
	}
	if err != nil {
		return nil, w.failure(err)
	}
	return w, nil
}

func (w *process) ended() bool {
	select {
	case <-w.gone:
		return true
	default:
		return false
	}
}

// endFor ends the process, and those that it has started, for a reason.
func (w *process) endFor(why error) {
	w.why.CompareAndSwap(nil, &why)
	w.end()
}

// end ends the process, and those that it has started.
func (w *process) end() {
	if w.over.Swap(true) {
		return
	}
	if !w.ended() { // afterwards its number may be another's
		kill(w.cmd.Process)
	}
	go func() {
		// Whoever reads or writes is told by the end of the process.
		<-w.gone
		_, _ = w.to.Close(), w.from.Close() // there is nobody at the other end
	}()
}

// failure is the error for a job in which talking to the process failed.
func (w *process) failure(err error) error {
	var broken *brokenError
	if errors.As(err, &broken) {
		w.end()
		return &Failure{Cause: Broken, Words: broken.Error()}
	}
	select {
	case <-w.gone:
	case <-time.After(time.Second): // it says nothing and stays
		w.end()
		<-w.gone
	}
	w.end()
	if why := w.why.Load(); why != nil {
		return *why
	}
	f := ending(w.exit, w.words.said())
	if p := peak(w.cmd.ProcessState); f.Cause == Crashed && p > w.before && p > w.o.Memory/10*9 {
		f.Cause = Memory // the kernel was quicker
	}
	return f
}

// An outcome is what became of a job.
type outcome struct {
	output []byte
	spent  bool
	begun  bool // the process has said something
}

// do has the process do a job.
func (w *process) do(ctx context.Context, j Job, s *slot) (outcome, error) {
	stop := context.AfterFunc(ctx, func() { w.endFor(context.Cause(ctx)) })
	defer stop()
	late := time.AfterFunc(w.o.Time, func() { w.endFor(&Failure{Cause: Time}) })
	defer late.Stop()
	s.whenSlow(func() {
		w.slowed = true
		slowDown(w.cmd.Process.Pid)
	})
	defer s.whenSlow(nil)
	watch := w.watch()
	defer watch()

	f := &feed{tree: j.Tree, probes: j.Probes, told: &w.told, dirs: map[string]bool{}}
	out, err := w.exchange(j, f)
	if err == nil {
		return out, f.err
	}
	err = w.failure(err)
	var failed *Failure
	switch {
	case f.err != nil:
		err = f.err // which is why it could not go on
	case errors.As(err, &failed):
		failed = &Failure{Cause: failed.Cause, Words: failed.Words, Seen: f.seen()}
		err = failed
	}
	return out, err
}

// exchange gives the job and answers questions until it is done.
func (w *process) exchange(j Job, f *feed) (out outcome, err error) {
	if err = w.link.send(frameJob, job{Kind: j.Kind, Input: j.Input, Facts: f.begin(j.Dir)}); err != nil {
		return out, err
	}
	for {
		kind, b, err := w.link.receive()
		if err != nil {
			return out, err
		}
		out.begun = true
		switch kind {
		case frameAsk:
			var a ask
			if err := decoder.Unmarshal(b, &a); err != nil {
				return out, &brokenError{err}
			}
			if err := w.link.send(frameFacts, f.answer(a)); err != nil {
				return out, err
			}
		case frameDone:
			var d done
			if err := decoder.Unmarshal(b, &d); err != nil {
				return out, &brokenError{err}
			}
			if d.Failed != "" {
				return out, &brokenError{errors.New(d.Failed)}
			}
			out.output, out.spent = d.Output, d.Spent
			return out, nil
		default:
			return out, &brokenError{fmt.Errorf("a frame of kind %d", kind)}
		}
	}
}

// watchEach is how often it is looked how much memory a process has.
const watchEach = 25 * time.Millisecond

// watch ends the process when it has more memory than it may.
func (w *process) watch() (stop func()) {
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(watchEach)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			switch {
			case w.memory() > w.o.Memory:
				w.endFor(&Failure{Cause: Memory})
			case w.pool.crowded(w):
				w.endFor(&Failure{Cause: Crowded})
			default:
				continue
			}
			return
		}
	}()
	return func() { close(done) }
}

// lastWords keeps the first of what a process writes to its standard error.
type lastWords struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// mostWords is how much of that is kept, in bytes.
const mostWords = 4 << 10

// Write implements io.Writer.
func (l *lastWords) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if room := mostWords - l.b.Len(); room > 0 {
		l.b.Write(b[:min(room, len(b))])
	}
	return len(b), nil
}

// said is what Go's own runtime says of a process that it ends. Other words may
// be those of the repository.
func (l *lastWords) said() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		if strings.HasPrefix(line, "fatal error: ") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
