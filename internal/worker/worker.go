// Package worker runs jobs on what repositories hold in processes of their own,
// where they can be ended: one that takes too much memory or time, whose stack
// overflows or who exits, costs its own job and nothing else.
//
// A [Pool] starts processes of this very program on demand, keeps as many as it
// may, gives each one job after the other, and ends them when nobody needs them.
// A job is of a kind, such as a build by Kustomize, and gets a tree to read: the
// worker asks for what it looks at, and is told of each content once. In the
// process, [Serve] does the jobs. It gives up, before the first, what the kernel
// lets it give up: files, connections, programs; see [Confinement].
//
// What a worker says is not trusted: it is bounded in length, and means nothing
// but the outcome of its own job.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"plumb.dev/plumb/tree"
)

// Options say how workers are started and what they may use.
type Options struct {
	// Command starts a process that calls [Serve]. Its environment is empty.
	Command []string

	// OpenEnv is the environment of processes for open jobs.
	OpenEnv []string

	// Workers is how many jobs run side by side. Those that take longer than
	// Slow don't count, up to twice as many more.
	Workers int
	Slow    time.Duration

	// Memory is how many bytes a process may have in memory, Together how
	// many all of them may have, and Time how long a job may take.
	Memory, Together int64
	Time             time.Duration

	// Idle is how long a process is kept that has nothing to do, and Keep
	// how much memory one may have that is kept at all.
	Idle time.Duration
	Keep int64

	// Log is told once what the kernel doesn't offer. It may be nil.
	Log *slog.Logger
}

// A Job is something to do on a tree.
type Job struct {
	Kind  string
	Input []byte
	Tree  tree.Tree

	// Dir is where in the tree the job begins, and Probes are names that it
	// looks for in each directory: what is sent without being asked for.
	Dir    string
	Probes []string

	// Open: the job opens connections and starts programs. Its process does
	// no other.
	Open bool
}

// A Cause is why a job has no outcome.
type Cause uint8

// The causes.
const (
	Crashed Cause = iota // the process ended by itself
	Killed               // somebody else ended it
	Memory               // it had more than it may have
	Crowded              // all had more than they may have, and it had most
	Time                 // it took longer than it may take
	Broken               // it said what is no answer
)

// A Failure is the error for a job whose process ended, or was ended, before
// its outcome was there.
type Failure struct {
	Cause Cause
	Words string     // what Go's runtime, or the kernel, had to say; may be empty
	Seen  tree.Trace // what it may have seen of the tree
}

// Error says what has become of the process.
func (f *Failure) Error() string {
	what := map[Cause]string{
		Crashed: "the worker ended", Killed: "the worker was killed", Memory: "the worker had too much memory",
		Crowded: "the workers together had too much memory", Time: "the worker took too long", Broken: "the worker gave no answer",
	}[f.Cause]
	if f.Words != "" {
		what += ": " + f.Words
	}
	return what
}

// A Pool is a set of workers. It is safe for concurrent use.
type Pool struct {
	o     Options
	slots chan struct{} // of those who work
	slow  chan struct{} // of those who work for long

	mu      sync.Mutex
	idle    []*process // who worked last is at the end
	all     map[*process]bool
	tidying bool // a timer for tidy runs
	closed  bool
	told    sync.Once
}

// New returns a pool, which starts nothing yet.
func New(o Options) *Pool {
	return &Pool{
		o: o, slots: make(chan struct{}, o.Workers), slow: make(chan struct{}, 2*o.Workers),
		all: map[*process]bool{},
	}
}

var errClosed = errors.New("the workers have been ended")

// Do returns the outcome of a job. The error is a [Failure], the cause of ctx's
// end, what reading the tree said, or that no process can be started.
func (p *Pool) Do(ctx context.Context, j Job) ([]byte, error) {
	s, err := p.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer s.release()
	for {
		w, fresh, err := p.take(ctx, j.Open)
		if err != nil {
			return nil, err
		}
		out, err := w.do(ctx, j, s)
		p.put(w, out.spent || j.Open)
		if f := (*Failure)(nil); errors.As(err, &f) && f.Cause == Killed && !fresh && !out.begun {
			continue // it was killed while it had nothing to do
		}
		return out.output, err
	}
}

// A slot is the right to work.
type slot struct {
	p     *Pool
	timer *time.Timer
	mu    sync.Mutex
	held  chan struct{}
	nice  func() // called when it has become a slow one
}

func (p *Pool) slot(ctx context.Context) (*slot, error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s := &slot{p: p, held: p.slots}
	s.timer = time.AfterFunc(p.o.Slow, s.yield)
	return s, nil
}

// yield gives the slot to another, and goes on more slowly beside it.
func (s *slot) yield() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		return
	}
	select {
	case s.p.slow <- struct{}{}:
		<-s.held
		s.held = s.p.slow
		if s.nice != nil {
			s.nice()
		}
	default: // there are enough of those
	}
}

func (s *slot) release() {
	s.timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	<-s.held
	s.held = nil
}

func (s *slot) whenSlow(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nice = f
}

// take returns a process that has nothing to do, and whether it is a new one.
func (p *Pool) take(ctx context.Context, open bool) (w *process, fresh bool, err error) {
	p.mu.Lock()
	for !open && len(p.idle) > 0 {
		w := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if w.ended() {
			delete(p.all, w)
			continue // somebody has killed it
		}
		p.mu.Unlock()
		return w, false, nil
	}
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return nil, false, errClosed
	}
	w, err = p.start(ctx, open)
	if err != nil {
		return nil, false, fmt.Errorf("start a worker: %w", err)
	}
	if !open {
		p.told.Do(func() { w.confinement.log(p.o.Log) })
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		w.end()
		return nil, false, errClosed
	}
	p.all[w] = true
	return w, true, nil
}

// put takes a process back, or ends it.
func (p *Pool) put(w *process, spent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if spent || p.closed || w.over.Load() || w.slowed || w.memory() > p.o.Keep {
		delete(p.all, w)
		w.end()
		return
	}
	w.since = time.Now()
	p.idle = append(p.idle, w)
	if !p.tidying {
		p.tidying = true
		time.AfterFunc(p.o.Idle, p.tidy)
	}
}

// tidy ends who has had nothing to do for long.
func (p *Pool) tidy() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 && time.Since(p.idle[0].since) >= p.o.Idle {
		w := p.idle[0]
		p.idle = p.idle[1:]
		delete(p.all, w)
		w.end()
	}
	if p.tidying = len(p.idle) > 0; p.tidying {
		time.AfterFunc(p.o.Idle-time.Since(p.idle[0].since), p.tidy)
	}
}

// crowded reports whether all processes together have more memory than they may
// have, and w has most of it. Those that have nothing to do are ended before.
func (p *Pool) crowded(w *process) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	var sum, most int64
	for other := range p.all {
		n := other.memory()
		sum, most = sum+n, max(most, n)
	}
	for ; sum > p.o.Together && len(p.idle) > 0; p.idle = p.idle[1:] {
		idle := p.idle[0]
		sum -= idle.memory()
		delete(p.all, idle)
		idle.end()
	}
	return sum > p.o.Together && w.memory() >= most
}

// Processes returns the numbers of the processes.
func (p *Pool) Processes() (pids []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := range p.all {
		pids = append(pids, w.cmd.Process.Pid)
	}
	return pids
}

// Close ends all workers, also such as have something to do.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for w := range p.all {
		w.end()
	}
	p.idle, p.all = nil, map[*process]bool{}
}

// ending returns why a process ended by itself.
func ending(err error, words string) *Failure {
	f := &Failure{Cause: Crashed, Words: words}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return f
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return &Failure{Cause: Killed, Words: status.Signal().String()}
	}
	if f.Words == "" {
		f.Words = exit.String()
	}
	return f
}
