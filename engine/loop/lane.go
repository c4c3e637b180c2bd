package loop

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
)

const (
	// patience is how long a look may take before its server is asked whether
	// it answers at all, and pingTimeout is how long that may take.
	patience    = 10 * time.Second
	pingTimeout = 5 * time.Second
	// slowAfter is how long a look may take, at a server that answers, before
	// its unit shares workers only with its like.
	slowAfter = 20 * time.Second
)

// probing is how often a server is asked whether it answers again.
func probing() wait.Backoff {
	return wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Steps: 6, Cap: 30 * time.Second}
}

// A lane is a server, and what is to be done there.
type lane struct {
	loop   *Loop
	server string
	queue  priorityqueue.PriorityQueue[string]
	units  map[string]bool // under the loop's mutex
	end    context.CancelFunc

	mu      sync.Mutex
	looks   context.Context // ends when the server is found not to answer
	cut     context.CancelCauseFunc
	down    *silence        // nil: it answers
	pinging bool            // somebody finds out
	parked  map[string]bool // units to look at when it answers again
	slow    map[string]bool // units whose last look took long
	slowly  *room
	idly    *room // what nothing waits for
	urgent  int   // looks that are in neither
}

// A room is for looks that may not have all workers.
type room struct {
	size     int
	priority Priority // of who comes in after waiting
	in       int
	waiting  []string        // units to look at when one of these is done
	waits    map[string]bool // the same, each once
}

func newRoom(size int, p Priority) *room {
	return &room{size: max(1, size), priority: p, waits: make(map[string]bool)}
}

// enter lets a unit in, or notes that it waits.
func (r *room) enter(unit string) bool {
	if r.in >= r.size {
		if !r.waits[unit] {
			r.waiting, r.waits[unit] = append(r.waiting, unit), true
		}
		return false
	}
	r.in++
	return true
}

// next returns those units that have waited longest for whom there is room. They
// come back to wait if there is none when they are looked at.
func (r *room) next() []string {
	n := max(0, min(r.size-r.in, len(r.waiting)))
	next := r.waiting[:n:n]
	r.waiting = r.waiting[n:]
	for _, unit := range next {
		delete(r.waits, unit)
	}
	return next
}

func (r *room) forget(unit string) {
	if r.waits[unit] {
		delete(r.waits, unit)
		r.waiting = slices.DeleteFunc(r.waiting, func(other string) bool { return other == unit })
	}
}

// A silence is that of a server that does not answer.
type silence struct {
	since time.Time
	why   error
}

func newLane(l *Loop, server string) *lane {
	n := &lane{
		loop: l, server: server, queue: priorityqueue.New[string]("units"),
		units: make(map[string]bool), parked: make(map[string]bool), slow: make(map[string]bool),
		slowly: newRoom(l.Workers(server)/4, Normal), idly: newRoom(1, Idle),
	}
	n.makeRoom()
	return n
}

func (n *lane) add(p Priority, after time.Duration, units ...string) {
	priority := int(p)
	n.queue.AddWithOpts(priorityqueue.AddOpts{Priority: &priority, After: after}, units...)
}

// start begins to work; the loop's mutex is held.
func (n *lane) start(ctx context.Context) {
	ctx, n.end = context.WithCancel(ctx)
	n.renew(ctx)
	for range n.loop.Workers(n.server) {
		go n.work(ctx)
	}
}

// stop ends the lane; the loop's mutex is held.
func (n *lane) stop() {
	if n.end != nil {
		n.end()
	}
	if !n.queue.ShuttingDown() {
		n.queue.ShutDown()
	}
}

func (n *lane) renew(ctx context.Context) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.looks, n.cut = context.WithCancelCause(ctx)
}

func (n *lane) forget(unit string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.parked, unit)
	delete(n.slow, unit)
	n.slowly.forget(unit)
	n.idly.forget(unit)
	n.fill()
}

func (n *lane) work(ctx context.Context) {
	for {
		unit, priority, shutdown := n.queue.GetWithPriority()
		if shutdown {
			return
		}
		if n.loop.take(n, unit) {
			n.loop.done(n, unit, n.look(ctx, unit, Priority(priority)))
		}
		n.queue.Done(unit)
	}
}

// look looks at a unit, if its server answers and has room for it.
func (n *lane) look(ctx context.Context, unit string, p Priority) Result {
	looks, down, in, ok := n.enter(unit, p)
	switch {
	case down != nil:
		return Result{Again: n.loop.o.Unreachable(ctx, unit, down.since, down.why)}
	case !ok:
		return Result{}
	}
	began := time.Now()
	suspicion := time.AfterFunc(patience, func() { n.doubt(ctx, time.Time{}) })
	r := n.loop.o.Look(looks, unit)
	suspicion.Stop()
	cut := errors.Is(context.Cause(looks), ErrUnreachable)
	if r.Unanswered && !cut {
		n.doubt(ctx, time.Time{})
	}
	n.left(unit, in, cut, time.Since(began))
	if cut {
		return Result{} // it is queued, or will be
	}
	return r
}

// enter finds room for a look. If the server does not answer, down says so; if
// there is no room, the unit is queued again when there is.
func (n *lane) enter(unit string, p Priority) (looks context.Context, down *silence, in *room, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.down != nil:
		n.parked[unit] = true
		return nil, n.down, nil, false
	case n.slow[unit]:
		return n.looks, nil, n.slowly, n.slowly.enter(unit)
	case p <= Idle:
		return n.looks, nil, n.idly, n.idly.enter(unit)
	}
	n.urgent++
	n.makeRoom()
	return n.looks, nil, nil, true
}

// makeRoom has what nothing waits for make way while something else is looked at:
// all ask the same server.
func (n *lane) makeRoom() {
	if n.idly.size = max(1, n.loop.Workers(n.server)/2); n.urgent > 0 {
		n.idly.size = 1
	}
}

// fill has those looked at who waited for room that there is now. It is asked
// whenever a look is over or a unit goes: whom it was given to last may not have
// taken it.
func (n *lane) fill() {
	for _, r := range []*room{n.slowly, n.idly} {
		n.add(r.priority, 0, r.next()...)
	}
}

// left notes that a look is over.
func (n *lane) left(unit string, in *room, cut bool, took time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if in != nil {
		in.in--
	} else {
		n.urgent--
		n.makeRoom()
	}
	n.fill()
	switch {
	case cut && n.down != nil:
		n.parked[unit] = true
	case cut:
		n.add(Normal, 0, unit) // it has come back meanwhile
	case took > slowAfter:
		n.slow[unit] = true
	default:
		delete(n.slow, unit)
	}
}

// doubt finds out whether the server answers. If it does not, all looks end.
// since is when it ceased to; zero: now.
func (n *lane) doubt(ctx context.Context, since time.Time) {
	n.mu.Lock()
	if n.pinging || n.down != nil {
		n.mu.Unlock()
		return
	}
	n.pinging = true
	n.mu.Unlock()
	if since.IsZero() {
		since = time.Now()
	}
	go func() {
		err := n.ping(ctx)
		n.mu.Lock()
		n.pinging = false
		if err == nil || ctx.Err() != nil {
			n.mu.Unlock()
			return
		}
		n.down = &silence{since, err}
		n.cut(ErrUnreachable)
		n.mu.Unlock()
		n.loop.queueAll(n) // nobody sees what becomes of their objects
		n.revive(ctx)
	}()
}

func (n *lane) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return n.loop.o.Ping(ctx, n.server)
}

// revive asks the server until it answers again, and then has everything
// looked at that was not meanwhile.
func (n *lane) revive(ctx context.Context) {
	pause := probing()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause.Step()):
		}
		if n.ping(ctx) == nil {
			break
		}
	}
	n.renew(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = nil
	for unit := range n.parked {
		n.add(Normal, 0, unit)
	}
	clear(n.parked)
}
