package source

import (
	"context"
	"math/rand/v2"
	"time"

	"plumb.dev/plumb/fault"
)

// An origin is a question to a server, and what it answered last. All who ask
// the same share one.
type origin struct {
	key     string
	from    Fetcher
	ctx     context.Context
	end     context.CancelFunc
	entries map[*entry]bool

	busy, again bool // it is being asked, and has to be again
	interval    time.Duration
	asked       time.Time // when it was answered last; zero: never
	due         time.Time // zero: when something has it asked
	timer       *time.Timer

	revision Revision
	content  *Content // the last good one
	err      error
	failures int // in a row
}

func newOrigin(ctx context.Context, key string, from Fetcher) *origin {
	o := &origin{key: key, from: from, entries: make(map[*entry]bool)}
	o.ctx, o.end = context.WithCancel(ctx)
	return o
}

func (o *origin) stop() {
	o.end()
	if o.timer != nil {
		o.timer.Stop()
	}
}

// active returns the sources that it is asked for.
func (o *origin) active() (list []*entry) {
	for e := range o.entries {
		if e.settled && !e.spec.Suspended {
			list = append(list, e)
		}
	}
	return list
}

// ask has o asked now, or as soon as there is room. It reports whether it will
// be.
func (k *Keeper) ask(o *origin) bool {
	active := o.active()
	switch {
	case len(active) == 0 || o.ctx.Err() != nil:
		return false
	case o.busy:
		o.again = true
		return true
	}
	leave, ok := k.share.enter(o.from.Server(), o.key)
	if !ok {
		return true
	}
	o.busy, o.again = true, false
	requests := make(map[*entry]string)
	for _, e := range active {
		requests[e] = e.spec.Requested
	}
	go k.question(o, requests, leave)
	return true
}

// room asks those who waited for it.
func (k *Keeper) room(keys ...string) {
	k.mu.Lock()
	left := false
	for _, key := range keys {
		o := k.origins[key]
		left = o == nil || !k.ask(o) || left
	}
	k.mu.Unlock()
	if left {
		k.share.admit() // whoever comes after
	}
}

// question asks o, for sources and what they have requested.
func (k *Keeper) question(o *origin, requests map[*entry]string, leave func(answered bool)) {
	began := time.Now()
	var content *Content
	revision, err := o.from.Resolve(o.ctx)
	if err == nil {
		content, err = o.from.Fetch(o.ctx, revision)
	}
	took := time.Since(began)
	leave(!fault.Is(err, ReasonTimeout))

	k.mu.Lock()
	defer k.mu.Unlock()
	o.busy = false
	if o.ctx.Err() != nil {
		return // nobody wants to know any more
	}
	o.asked, o.err = time.Now(), err
	if err == nil {
		o.revision, o.content, o.failures = revision, content, 0
	} else {
		o.failures++
	}
	for e, request := range requests {
		if e.origin != o {
			continue // it asks another now
		}
		e.awaits = false
		if request != "" {
			e.answered = request
		}
		e.look = &Look{Source: e.spec.Name, Took: took}
	}
	k.replan(o)
	for _, e := range o.active() {
		k.settle(e)
	}
	if o.again {
		k.ask(o)
	}
}

// plan sets when o is asked next, if its interval is another than it was.
func (k *Keeper) plan(o *origin) {
	if o.shortest() != o.interval && !o.asked.IsZero() {
		k.replan(o)
	}
}

func (k *Keeper) replan(o *origin) {
	if o.interval = o.shortest(); o.interval <= 0 {
		k.schedule(o, time.Time{})
		return
	}
	k.schedule(o, o.asked.Add(pause(o.err, o.failures, o.interval)))
}

// shortest returns the shortest interval at which o is to be asked, or zero.
func (o *origin) shortest() (interval time.Duration) {
	for _, e := range o.active() {
		if d := e.spec.Interval; d > 0 && (interval == 0 || d < interval) {
			interval = d
		}
	}
	return interval
}

// pause is how long to wait after an answer.
func pause(err error, failures int, interval time.Duration) time.Duration {
	d := jitter(interval, 0.05)
	if err == nil {
		return d
	}
	switch f := fault.Of(err); {
	case f.After > 0:
		return f.After
	case f.Next == fault.Stall:
		return d
	}
	return min(d, jitter(time.Second<<min(failures, 10), 0.2))
}

// jitter spreads the intervals of sources with the same one.
func jitter(d time.Duration, by float64) time.Duration {
	return time.Duration(float64(d) * (1 - by + 2*by*rand.Float64()))
}

// schedule has o asked at a time, or not by itself if that is zero.
func (k *Keeper) schedule(o *origin, at time.Time) {
	o.due = at
	if at.IsZero() {
		if o.timer != nil {
			o.timer.Stop()
		}
		return
	}
	if d := time.Until(at); o.timer == nil {
		o.timer = time.AfterFunc(d, func() { k.ring(o) })
	} else {
		o.timer.Reset(d)
	}
}

func (k *Keeper) ring(o *origin) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !o.due.IsZero() && !time.Now().Before(o.due) {
		k.ask(o)
	}
}
