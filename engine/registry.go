package engine

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/engine/loop"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/tree"
)

// A registry holds every unit that was put, and who refers to whom.
type registry struct {
	mu         sync.Mutex
	units      map[string]*tracked
	bySource   index              // units by the name of a source that they are made from
	dependents index              // units by the name of one that they depend on
	rivals     index              // units by the name of one that has objects which they want
	stale      map[string]bool    // units of which it is not known what they claim now
	unknown    map[string]bool    // units of which that can't be known
	traced     map[string]string  // by source: the revision up to which it is recorded what commits touch
	objects    map[string]Objects // of every dialect, by their selector
}

// An index has names by name.
type index map[string]map[string]bool

func (x index) add(key, value string) {
	if x[key] == nil {
		x[key] = make(map[string]bool)
	}
	x[key][value] = true
}

func (x index) drop(key, value string) {
	delete(x[key], value)
	if len(x[key]) == 0 {
		delete(x, key)
	}
}

// A tracked is a unit and what is known of it. All but the looks is under the
// registry's mutex.
type tracked struct {
	unit    Unit
	gone    bool
	reborn  bool     // nothing that was known of the one before counts
	wakes   uint64   // how often somebody asked for a look
	version uint64   // how often it, or what it is made from, has changed
	touches uint64   // how often a commit or a spec has changed what it is made from
	batched bool     // it is one of many that a commit touches
	stands  Standing // what was last told of it
	// inventory is what it has written or was about to, as it was stored last.
	inventory []apply.Entry
	applied   string // the revision that was last applied in full
	digest    string // and that of what it rendered to

	looks
}

// looks are what is remembered of the looks at a unit, of which there is one at
// a time.
type looks struct {
	last     Outcome // the last that was told
	rest     atRest
	failures failures
	handled  string // the request that was carried out
	// operation is how far the last one has come, and toldOf what was told of it.
	operation, toldOf Progress
	running           *Operation         // that operation is the progress of
	automatic         *Operation         // that the engine has begun itself
	pinned            []*source.Artifact // what it goes to
	touched, begunAt  uint64             // touches as this look began, and that in which the operation did
	waiting           time.Time          // for a dependency, since when
	told              time.Time          // when it was told how the waiting goes
	toldAt            time.Time          // when an outcome was told in full
	folded            bool               // its revision is another than the one that was told
	deferred          bool               // it has changed something that is to be told of
	untold            int                // how often the dialect could not tell
	held              bool               // pruning, when it was last told of
}

// An atRest is what a unit was made from when a look left nothing to do.
type atRest struct {
	valid     bool
	wakes     uint64
	artifacts []*source.Artifact
}

// failures are counted, to try again ever more slowly.
type failures struct {
	count int
	at    string // digest and revision: another one starts anew
}

func newRegistry() *registry {
	return &registry{
		units: make(map[string]*tracked), bySource: make(index), dependents: make(index), rivals: make(index),
		stale: make(map[string]bool), unknown: make(map[string]bool), traced: make(map[string]string), objects: make(map[string]Objects),
	}
}

// put makes u what is known of its unit. seen reports whether those who depend on
// it see another one now.
func (r *registry) put(u Unit) (seen bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.units[u.Name]
	if t != nil && (t.gone || t.unit.UID != u.UID) {
		r.unlink(t.unit)
		t.unit, t.gone, t.reborn = Unit{}, false, true
		t.stands, t.inventory, t.applied, t.digest = u.Was, u.Remembers, u.Applied, u.AppliedDigest
	}
	if t == nil {
		t = &tracked{applied: u.Applied, digest: u.AppliedDigest, stands: u.Was, inventory: u.Remembers, looks: looks{held: u.Prune.Held}}
		r.units[u.Name] = t
	}
	if slices.Equal(u.Remembers, t.inventory) {
		u.Remembers = t.inventory // once in memory
	}
	r.unlink(t.unit)
	seen = t.unit.Digest != u.Digest || t.unit.Leaving != u.Leaving || t.unit.Suspended != u.Suspended || !slices.EqualFunc(t.unit.DependsOn, u.DependsOn, Dependency.same)
	if t.unit.Digest != u.Digest {
		t.touches++
	}
	t.unit, t.gone = u, false
	t.wakes++
	t.version++
	if u.Objects != nil {
		r.objects[u.Objects.Selector()] = u.Objects
	}
	delete(r.stale, u.Name)
	delete(r.unknown, u.Name)
	switch {
	case u.Unknown:
		r.unknown[u.Name] = true
	case !u.Leaving:
		r.stale[u.Name] = true
	}
	for _, s := range u.AllSources() {
		r.bySource.add(s, u.Name)
	}
	for _, d := range u.DependsOn {
		r.dependents.add(d.Unit, u.Name)
	}
	return seen
}

// conventions are those of all dialects that have units.
func (r *registry) conventions() []Objects {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.objects))
}

func (r *registry) unlink(u Unit) {
	for _, s := range u.AllSources() {
		r.bySource.drop(s, u.Name)
	}
	for _, d := range u.DependsOn {
		r.dependents.drop(d.Unit, u.Name)
	}
}

// leave notes that a unit is no more; what it claimed is nobody's.
func (r *registry) leave(name string) (known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.units[name]
	if t == nil {
		return false
	}
	r.unlink(t.unit)
	t.unit = Unit{Name: name, Leaving: true, Target: t.unit.Target}
	t.gone = true
	t.wakes++
	t.version++
	delete(r.stale, name)
	delete(r.unknown, name)
	return true
}

// drop forgets a unit that has left, unless it has come again.
func (r *registry) drop(name string) (dropped bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.units[name]; t == nil || !t.gone {
		return false
	}
	delete(r.units, name)
	return true
}

// wake notes that somebody asks for a look at these units.
func (r *registry) wake(names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		if t := r.units[name]; t != nil {
			t.wakes++
		}
	}
}

// moved notes that what these units are made from has changed.
func (r *registry) moved(names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		if t := r.units[name]; t != nil && !t.unit.Leaving && !t.unit.Unknown {
			t.version++
			t.touches++
			r.stale[name] = true
		}
	}
}

// outdated are the units of a cluster of which it is not known what they claim
// now.
func (r *registry) outdated(cluster string) (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.stale {
		if r.units[name].unit.Target.Cluster == cluster {
			names = append(names, name)
		}
	}
	return names
}

// indexed notes that it is known what a unit claims, as it was at a version.
func (r *registry) indexed(t *tracked, version uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.version == version {
		delete(r.stale, t.unit.Name)
	}
}

func (r *registry) touches(t *tracked) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return t.touches
}

func (r *registry) version(t *tracked) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return t.version
}

// opaque names the units of which it can't be told what they claim.
func (r *registry) opaque() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.unknown))
}

// in returns another unit whose objects go to the namespace of u, if there is one
// that stays.
func (r *registry) in(u Unit) (other string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, t := range r.units {
		if o := t.unit; !t.gone && name != u.Name && !o.Leaving && o.Namespace == u.Namespace && o.Target.Cluster == u.Target.Cluster && (other == "" || name < other) {
			other = name
		}
	}
	return other
}

// batch notes that a commit touches all of these.
func (r *registry) batch(names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		if t := r.units[name]; t != nil {
			t.batched = true
		}
	}
}

// trace notes whether it is recorded what the commits to a source touch.
func (r *registry) trace(name string, newest *source.Artifact, recorded bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if delete(r.traced, name); recorded {
		r.traced[name] = newest.Revision
	}
}

// recorded reports whether that is so for all of these.
func (r *registry) recorded(artifacts []*source.Artifact) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(artifacts) > 0 && !slices.ContainsFunc(artifacts, func(a *source.Artifact) bool { return r.traced[a.Source] != a.Revision })
}

// unbatch reports whether a unit is one of many that a commit touches. That is
// asked once for each commit.
func (r *registry) unbatch(t *tracked) (batched bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	batched, t.batched = t.batched, false
	return batched
}

// find returns a unit that there is, and how often somebody has asked for a look
// at it. Of one that has gone, there is no more than t.
func (r *registry) find(name string) (t *tracked, u Unit, wakes uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t = r.units[name]
	if t == nil || t.gone {
		return t, u, 0, false
	}
	return t, t.unit, t.wakes, true
}

// renewed reports whether a unit is another one than that of the last look,
// although it has the same name.
func (r *registry) renewed(t *tracked) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	reborn := t.reborn
	t.reborn = false
	return reborn
}

// applied notes a revision that was applied in full, and the digest of what it
// rendered to.
func (r *registry) applied(t *tracked, revision, digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t.applied, t.digest = revision, digest
}

// lastApplied returns what applied was last told.
func (r *registry) lastApplied(t *tracked) (revision, digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return t.applied, t.digest
}

// standing returns a unit and what was last told of it.
func (r *registry) standing(name string) (u Unit, s Standing, applied string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.units[name]
	if t == nil || t.gone {
		return u, s, "", false
	}
	return t.unit, t.stands, t.applied, true
}

func (r *registry) isWaitedFor(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.dependents[name]) > 0
}

// rival notes that a unit wants an object that another has.
func (r *registry) rival(unit, of string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rivals.add(of, unit)
}

// rivalsOf are the units that want objects of another, which is another one by now.
// Those that it still has, they note again.
func (r *registry) rivalsOf(name string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := slices.Collect(maps.Keys(r.rivals[name]))
	delete(r.rivals, name)
	return names
}

func (r *registry) from(x index, key string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(x[key]))
}

// Put makes u what is to be held true by that name. It has it looked at.
func (e *Engine) Put(u Unit) {
	seen := e.registry.put(u)
	if u.Leaving || u.Unknown {
		e.index.drop(u.Name)
	}
	e.loop.Put(u.Name, server(u.Target))
	p := loop.Normal
	if u.Requested != "" {
		p = loop.Asked
	}
	e.loop.Queue(p, u.Name)
	if seen {
		e.wakeAt(loop.Normal, e.registry.from(e.registry.dependents, u.Name)...)
	}
}

// Delete forgets a unit, of which there is no custom resource any more. Its
// objects stay as they are.
func (e *Engine) Delete(name string) {
	if !e.registry.leave(name) {
		return
	}
	e.index.drop(name)
	e.loop.Queue(loop.Normal, name)
	e.wakeAt(loop.Normal, slices.Concat(e.registry.from(e.registry.dependents, name), e.registry.rivalsOf(name))...)
}

// Wake has a unit looked at, since something may have happened to it.
func (e *Engine) Wake(name string) { e.wakeAt(loop.Normal, name) }

func (e *Engine) wakeAt(p loop.Priority, names ...string) {
	e.registry.wake(names...)
	e.loop.Queue(p, names...)
}

// Start begins to look at units. All that there are have to be put before: what
// is not known claims nothing.
func (e *Engine) Start(ctx context.Context) { e.loop.Start(ctx) }

// idleDelay is how long what nothing waits for comes after what something does:
// a commit is live before all the units that it does not touch have said that
// they know it.
const idleDelay = 100 * time.Millisecond

// Published tells of the newest artifact of a source, which is nil if there is
// none any more, and of the one before it.
func (e *Engine) Published(name string, before, newest *source.Artifact) {
	var diff *tree.Diff
	if before != nil && newest != nil {
		if d, ok := tree.Compare(before.Tree, newest.Tree); ok {
			diff = &d
		}
	}
	var touched, untouched []string
	for _, unit := range e.registry.from(e.registry.bySource, name) {
		if _, u, _, ok := e.registry.find(unit); ok && newest != nil && e.stands(u, name, newest, diff) {
			untouched = append(untouched, unit)
		} else {
			touched = append(touched, unit)
		}
	}
	recorded := before != nil && newest != nil && e.o.Touched != nil && e.o.Touched(name, before.Revision, newest.Revision, touched)
	e.registry.trace(name, newest, recorded)
	e.registry.moved(touched)
	if len(touched) > e.loop.Workers("") {
		e.registry.batch(touched)
	}
	e.wakeAt(loop.Normal, touched...)
	e.registry.wake(untouched...)
	e.loop.QueueAfter(loop.Idle, idleDelay, untouched...)
}

// server names the API server that a target is on.
func server(t Target) string {
	if t.Config == nil {
		return ""
	}
	return cluster.Host(t.Config)
}

// store notes what is in the inventory of a unit from now on.
func (r *registry) store(t *tracked, entries []apply.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t.inventory = entries
}

// remembered is the inventory of a unit.
func (r *registry) remembered(t *tracked) []apply.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return t.inventory
}
