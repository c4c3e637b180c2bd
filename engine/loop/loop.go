// Package loop decides which unit is looked at when. It knows nothing of what
// a look is, and of a unit no more than its name and the server it is on.
//
// Each server has a lane: a queue by priority, and workers that wait for that
// server alone. A server that does not answer is found out while the first
// looks still wait for it; then all looks at its units end, and nothing is
// asked of it but, with growing pauses, whether it answers again.
package loop

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// A Priority says which of the units that can be looked at now is looked at
// first.
type Priority int

// The priorities.
const (
	Idle   Priority = -10 // nothing waits for it, and it has half of the workers, or one while there is more urgent work
	Normal Priority = 0   // something has changed
	Asked  Priority = 10  // somebody waits in front of a screen
)

// A Result is what the loop has to know of a look.
type Result struct {
	// Again is after how long to look again; zero is not before it is asked for.
	Again time.Duration
	// Awaited: somebody waits for what that comes to.
	Awaited bool
	// Unanswered: the server gave no answer to something that was asked of it.
	Unanswered bool
}

// ErrUnreachable is the cause with which a look is cancelled when its server is
// found not to answer.
var ErrUnreachable = errors.New("the API server does not answer")

// Options are what a Loop is made with.
type Options struct {
	// Workers is how many units are looked at at once on the server whose name
	// is empty, and Elsewhere on each other one.
	Workers, Elsewhere int
	// Look looks at a unit. It is never called twice at once for one unit.
	Look func(ctx context.Context, unit string) Result
	// Ping returns nil if a server gives an answer, whichever.
	Ping func(ctx context.Context, server string) error
	// Unreachable is called in place of Look for a unit of a server that has
	// not answered since then; why is the error of Ping. It returns after how
	// long to call it again; zero is not at all.
	Unreachable func(ctx context.Context, unit string, since time.Time, why error) (again time.Duration)
}

// A Loop looks at units. It is safe for concurrent use.
type Loop struct {
	o Options

	mu    sync.Mutex
	ctx   context.Context // nil before [Loop.Start]
	lanes map[string]*lane
	at    map[string]*lane // by unit
	busy  map[string]bool  // units that are being looked at
}

// New returns a Loop that looks at nothing before it is started.
func New(o Options) *Loop {
	return &Loop{o: o, lanes: make(map[string]*lane), at: make(map[string]*lane), busy: make(map[string]bool)}
}

// Start begins with what was queued, and goes on until ctx is done.
func (l *Loop) Start(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ctx = ctx
	for _, n := range l.lanes {
		n.start(ctx)
	}
	context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, n := range l.lanes {
			n.queue.ShutDown()
		}
	})
}

// Put has a unit be looked at in the lane of a server.
func (l *Loop) Put(unit, server string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.at[unit]
	if before != nil && before.server == server {
		return
	}
	l.leave(unit)
	n := l.lanes[server]
	if n == nil {
		n = newLane(l, server)
		l.lanes[server] = n
		if l.ctx != nil {
			n.start(l.ctx)
		}
	}
	n.units[unit] = true
	l.at[unit] = n
	if before != nil {
		n.add(Normal, 0, unit) // it may have been queued there
	}
}

// Delete forgets a unit. If it is being looked at, that goes on.
func (l *Loop) Delete(unit string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave(unit)
}

func (l *Loop) leave(unit string) {
	n := l.at[unit]
	if n == nil {
		return
	}
	delete(l.at, unit)
	n.forget(unit)
	delete(n.units, unit)
	if len(n.units) == 0 {
		n.stop()
		delete(l.lanes, n.server)
	}
}

// Queue has units that were put looked at. It does not block.
func (l *Loop) Queue(p Priority, units ...string) { l.QueueAfter(p, 0, units...) }

// QueueAfter has units that were put looked at after some time.
func (l *Loop) QueueAfter(p Priority, after time.Duration, units ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, unit := range units {
		if n := l.at[unit]; n != nil {
			n.add(p, after, unit)
		}
	}
}

// Doubt has it found out whether a server answers, of which there are signs that
// it has not since some time. It does not block.
func (l *Loop) Doubt(server string, since time.Time) {
	l.mu.Lock()
	n, ctx := l.lanes[server], l.ctx
	l.mu.Unlock()
	if n != nil && ctx != nil {
		n.doubt(ctx, since)
	}
}

// queueAll has all units of a lane come to a worker.
func (l *Loop) queueAll(n *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n.add(Idle, 0, slices.Collect(maps.Keys(n.units))...)
}

// Workers returns how many units of a server are looked at at once.
func (l *Loop) Workers(server string) int {
	if server == "" {
		return l.o.Workers
	}
	return l.o.Elsewhere
}

// take says whether a worker of n may look at a unit now. If another lane's
// worker still does, it comes later.
func (l *Loop) take(n *lane, unit string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.at[unit] != n:
		return false // it is elsewhere, or nowhere
	case l.busy[unit]:
		n.add(Normal, 50*time.Millisecond, unit)
		return false
	}
	l.busy[unit] = true
	return true
}

// done gives a unit back, to be looked at again after some time. Mostly nothing
// waits for that: what is queued keeps its highest priority, and a change that comes
// while all units are queued for less has to come before them.
func (l *Loop) done(n *lane, unit string, r Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.busy, unit)
	p := Idle
	if r.Awaited {
		p = Normal
	}
	if l.at[unit] == n && r.Again > 0 {
		n.add(p, r.Again, unit)
	}
}
