package flux

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/source"
)

// calm remembers which units were found true, and what they were made from.
// Until one of these changes, or somebody asks for a look, an interval that is
// over needs no more than a glance at what the watch knows.
type calm struct {
	mu    sync.Mutex
	units map[types.NamespacedName]*quiet
}

// quiet is what is remembered of one unit.
type quiet struct {
	stirs   uint64 // how often somebody asked for a look
	rest    rest
	crowded bool // it is one of many that a commit touches
	late    bool // it has changed something that its status does not tell of yet
}

// A rest is what a unit was made from when a look left nothing to do.
type rest struct {
	stirs    uint64 // when the look began
	version  string // of the custom resource; empty: it was not at rest
	source   *source.Artifact
	interval time.Duration
}

// with calls f with what is remembered of a unit.
func (c *calm) with(key types.NamespacedName, f func(*quiet)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.units == nil {
		c.units = make(map[types.NamespacedName]*quiet)
	}
	q := c.units[key]
	if q == nil {
		q = &quiet{}
		c.units[key] = q
	}
	f(q)
}

// stir notes that somebody asks for a look.
func (c *calm) stir(key types.NamespacedName) { c.with(key, func(q *quiet) { q.stirs++ }) }

// look returns the rest that a unit came to, if nobody has asked for a look
// since, and how often somebody has asked for one so far.
func (c *calm) look(key types.NamespacedName) (r rest, stirs uint64, ok bool) {
	c.with(key, func(q *quiet) {
		r, stirs, ok = q.rest, q.stirs, q.rest.version != "" && q.rest.stirs == q.stirs
	})
	return r, stirs, ok
}

// settle notes what a look that left nothing to do was about.
func (c *calm) settle(key types.NamespacedName, r rest) { c.with(key, func(q *quiet) { q.rest = r }) }

// crowd notes that a commit touches all of these.
func (c *calm) crowd(keys []types.NamespacedName) {
	for _, k := range keys {
		c.with(k, func(q *quiet) { q.crowded = true })
	}
}

// yield reports whether a unit that has done its work should let others do
// theirs before it says so. That is asked once for each crowd.
func (c *calm) yield(key types.NamespacedName) (crowded bool) {
	c.with(key, func(q *quiet) { crowded, q.crowded = q.crowded, false })
	return crowded
}

// postpone notes that a unit will say later what it did.
func (c *calm) postpone(key types.NamespacedName) { c.with(key, func(q *quiet) { q.late = true }) }

// late reports whether a unit has to say what it did before. It is asked once.
func (c *calm) late(key types.NamespacedName) (late bool) {
	c.with(key, func(q *quiet) { late, q.late = q.late, false })
	return late
}

// forget drops a unit that is no more.
func (c *calm) forget(key types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.units, key)
}
