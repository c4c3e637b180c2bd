package engine

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/source"
)

// A claimIndex tells which units claim an object, of all that were put, without
// a look at each. It holds some thirty bytes for each object, and nothing before
// something is pruned for the first time.
type claimIndex struct {
	building sync.Mutex // one at a time brings it up to date

	mu   sync.Mutex
	seed maphash.Seed
	by   map[uint64][]string // units, by the hash of an object
	keys map[string][]uint64 // and the other way round
	lost map[string]bool     // units that claim what they had, since it can't be told what they want
}

func newClaimIndex() *claimIndex {
	return &claimIndex{seed: maphash.MakeSeed(), by: make(map[uint64][]string), keys: make(map[string][]uint64), lost: make(map[string]bool)}
}

func (x *claimIndex) key(cluster string, ref object.Ref) uint64 {
	return maphash.Comparable(x.seed, struct {
		cluster string
		object.Ref
	}{cluster, ref})
}

// set makes claims those of a unit. Lost says that they are what it had.
func (x *claimIndex) set(unit, cluster string, claims map[object.Ref]bool, lost bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.remove(unit)
	if len(claims) == 0 && !lost {
		return
	}
	keys := make([]uint64, 0, len(claims))
	for ref := range claims {
		k := x.key(cluster, ref)
		keys = append(keys, k)
		x.by[k] = append(x.by[k], unit)
	}
	x.keys[unit] = keys
	if lost {
		x.lost[unit] = true
	}
}

// drop forgets what a unit claims.
func (x *claimIndex) drop(unit string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.remove(unit)
}

func (x *claimIndex) remove(unit string) {
	for _, k := range x.keys[unit] {
		rest := slices.DeleteFunc(x.by[k], func(other string) bool { return other == unit })
		if len(rest) == 0 {
			delete(x.by, k)
		} else {
			x.by[k] = rest
		}
	}
	delete(x.keys, unit)
	delete(x.lost, unit)
}

// of returns the units that may claim an object: nearly always they do.
func (x *claimIndex) of(cluster string, ref object.Ref) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.by[x.key(cluster, ref)])
}

func (x *claimIndex) allLost() (units []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for unit := range x.lost {
		units = append(units, unit)
	}
	slices.Sort(units)
	return units
}

// claimants returns, for each of some objects of a cluster, which other units
// claim it, and names the units that might claim some but can't be asked: those
// of which nothing is known, and those of the same source as u that the newest
// revision has broken.
func (e *Engine) claimants(ctx context.Context, u Unit, prune []apply.Entry) (claimed map[object.Ref][]Unit, broken, unknown []string, err error) {
	e.complete(ctx)
	if unknown = e.registry.opaque(); len(unknown) > 0 {
		return nil, nil, unknown, nil
	}
	if len(u.Artifacts) > 0 && u.Underway == nil && !e.isNewest(ctx, u) {
		return nil, nil, nil, &fault.Error{
			Next: fault.Wait, Reason: fault.Progressing,
			Err: fmt.Errorf("not pruned yet: there is a newer revision than %s", u.Revision()),
		}
	}
	if err := e.upToDate(ctx, u.Target.Cluster); err != nil {
		return nil, nil, nil, err
	}
	claimed = make(map[object.Ref][]Unit)
	for _, c := range prune {
		for _, name := range e.index.of(u.Target.Cluster, c.Ref) {
			other, ok := e.other(ctx, name, u)
			if !ok {
				continue
			}
			if claims, _, _ := e.claims(ctx, other); claims[c.Ref] {
				claimed[c.Ref] = append(claimed[c.Ref], other)
			}
		}
	}
	for _, name := range e.index.allLost() {
		if other, ok := e.other(ctx, name, u); ok && other.shares(u) && e.brokeJustNow(other) {
			broken = append(broken, name)
		}
	}
	return claimed, broken, nil, nil
}

// isNewest reports whether u is at the newest revision, which is the one that
// the others are asked about.
func (e *Engine) isNewest(ctx context.Context, u Unit) bool {
	newest, err := e.artifacts(ctx, u)
	return err == nil && slices.EqualFunc(newest, u.Artifacts, (*source.Artifact).Same)
}

// complete puts the units that there are, where that was not done before.
func (e *Engine) complete(ctx context.Context) {
	e.completing.Lock()
	defer e.completing.Unlock()
	if e.units == nil {
		return
	}
	units, unknown := e.units(ctx)
	for _, u := range units {
		e.registry.put(u)
	}
	for _, name := range unknown {
		e.registry.put(Unit{Name: name, Unknown: true})
	}
	e.units = nil
}

// named returns the unit of a name, if it can claim something that is of u, and
// reports whether that can't be told.
func (e *Engine) named(ctx context.Context, name string, u Unit) (other Unit, unknown, ok bool) {
	e.complete(ctx)
	if _, o, _, found := e.registry.find(name); found && o.Unknown {
		return o, true, false
	}
	other, ok = e.other(ctx, name, u)
	return other, false, ok
}

// other returns the unit of a name with its newest artifact, if it can claim
// something that is of u.
func (e *Engine) other(ctx context.Context, name string, u Unit) (Unit, bool) {
	t, o, _, ok := e.registry.find(name)
	if !ok || o.Name == u.Name || o.Leaving || o.Target.Cluster != u.Target.Cluster {
		return o, false
	}
	return e.withSource(ctx, t, o), true
}

// withSource is u with its newest artifact, if there is one, and the inventory as
// it is now.
func (e *Engine) withSource(ctx context.Context, t *tracked, u Unit) Unit {
	u.Remembers = e.registry.remembered(t)
	if u.Refused != nil {
		return u
	}
	if artifacts, err := e.artifacts(ctx, u); err == nil {
		u.Artifacts = artifacts
	}
	return u
}

// upToDate finds out what those units of a cluster claim that have changed, or
// whose source has.
func (e *Engine) upToDate(ctx context.Context, cluster string) error {
	e.index.building.Lock()
	defer e.index.building.Unlock()
	for _, name := range e.registry.outdated(cluster) {
		if err := ctx.Err(); err != nil {
			return err
		}
		t, u, _, ok := e.registry.find(name)
		if !ok || u.Leaving {
			continue
		}
		version := e.registry.version(t)
		claims, sure, err := e.claims(ctx, e.withSource(ctx, t, u))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if e.registry.version(t) != version {
			continue // which is asked again by whoever prunes next, and by us if it matters
		}
		e.index.set(name, cluster, claims, err != nil)
		if err == nil && sure || err != nil && fault.Of(err).Next == fault.Stall {
			e.registry.indexed(t, version) // it is so until something changes
		}
	}
	return nil
}
