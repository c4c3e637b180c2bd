package source

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Spec is what a source is to be. It is a plain value; what it holds may not
// be changed once it was put.
type Spec struct {
	Name string // GitRepository/flux-system/infra
	From Fetcher
	// Refused is why the source can't be asked. From may still be set, for its
	// place.
	Refused  error
	Interval time.Duration
	// Suspended sources are not asked; what is there of them stays.
	Suspended bool
	// Requested has the source asked now, whenever it is another value than
	// before and not empty.
	Requested string
	Shape     Shape
	// Last is what an earlier process has said of it. It counts until there is
	// an artifact.
	Last *Last
}

// Last is what is known of an artifact after a restart.
type Last struct {
	Revision, Digest string
	Fetched          time.Time
}

// A State is how far a source has come.
type State struct {
	// Artifact is the newest good one, or nil; it stays while the source fails.
	Artifact *Artifact
	Included []*Artifact // that it was made with, as Spec.Shape.Includes
	// Err is why the newest revision, or what it is now, is not known. It is nil
	// if Artifact is what the server had.
	Err   error
	Since time.Time // since when there is an error, or none
	Next  time.Time // when the server is asked next, at the latest; zero: when something else changes
	// Pending says that all of this is from before the Spec was put, or what it
	// refers to: nothing is known yet of how it is now.
	Pending bool
	// Requested is the last request that was answered.
	Requested string
}

// A Look is what became of asking a server once.
type Look struct {
	Source string
	Err    error
	Took   time.Duration
}

// Options are what a Keeper is made with.
type Options struct {
	Stores []Store
	Open   int // questions at once; 0: 64
	Log    *slog.Logger

	// Published is told of every new artifact and the one before it, in order,
	// one at a time. before may be nil; after is nil if the source is
	// gone. It may not call [Keeper.Delete].
	Published func(source string, before, after *Artifact)
	// Changed is told that a source's state may be another. Looked is told of
	// each answer. They must not block.
	Changed func(name string)
	Looked  func(Look)
}

// A Keeper keeps the artifacts of sources current: it restores them after a
// start, asks their servers at their intervals and when it is told to, slows
// down where that fails, and takes off the disk what no source needs. Sources
// with one [Fetcher.Key] are asked for once, at the shortest of their intervals.
// It is safe for concurrent use.
type Keeper struct {
	ctx    context.Context
	o      Options
	share  *share
	shelf  shelf
	ignore Ignorer

	publishing sync.Mutex // before mu

	mu       sync.Mutex
	sources  map[string]*entry
	origins  map[string]*origin         // by key
	users    map[string]map[*entry]bool // who includes a source, by its name
	expected map[string]bool            // sources that are there and were not put yet; nil: not known
	sweeping bool
	unswept  bool
}

// An entry is one source.
type entry struct {
	spec     Spec
	place    string
	origin   *origin // nil if it can't be asked
	gone     bool
	awaits   bool   // an answer to a question that is yet to begin
	answered string // the last request that was
	look     *Look  // that nobody was told of yet

	state    State
	made     *Content // what the artifact was made of
	restored bool     // Spec.Last was tried
	failures int      // in a row, to make an artifact of what was fetched
	busy     bool     // somebody works out the state
	again    bool     // and has to do so again
	settled  bool     // was done once
}

// NewKeeper returns a Keeper that works until ctx is done.
func NewKeeper(ctx context.Context, o Options) *Keeper {
	if o.Open <= 0 {
		o.Open = 64
	}
	k := &Keeper{
		ctx: ctx, o: o, unswept: true,
		sources: make(map[string]*entry), origins: make(map[string]*origin), users: make(map[string]map[*entry]bool),
	}
	k.share = newShare(o.Open, k.room)
	return k
}

// Expect says which sources there are, after a start. Until all of them were
// put, or deleted, one that was not is not taken for missing, and nothing is
// removed from disk. Before it is called, none is known to be missing.
func (k *Keeper) Expect(names []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expected = make(map[string]bool)
	for _, name := range names {
		if k.sources[name] == nil {
			k.expected[name] = true
		}
	}
	k.complete()
}

// complete looks again at what waited for the list of sources to be complete.
func (k *Keeper) complete() {
	if k.expected == nil || len(k.expected) > 0 {
		return
	}
	for name := range k.users {
		if k.sources[name] == nil {
			k.settleUsers(name)
		}
	}
	k.sweep()
}

// Put makes a source be as spec says. It does not wait for anything.
func (k *Keeper) Put(spec Spec) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.sources[spec.Name]
	fresh := e == nil
	if fresh {
		e = &entry{state: State{Pending: true}}
		k.sources[spec.Name] = e
	}
	before := e.spec
	e.spec = spec
	k.notePlace(e, fresh)
	moved := k.attach(e)
	woken := before.Suspended && !spec.Suspended
	included := !slices.Equal(before.Shape.Includes, spec.Shape.Includes)
	if included {
		k.include(e, before.Shape.Includes, false)
		k.include(e, spec.Shape.Includes, true)
	}
	e.awaits = e.awaits || woken
	switch {
	case spec.Refused != nil:
		k.refuse(e)
	case fresh, moved, woken, before.Refused != nil, !before.Shape.equal(spec.Shape):
		e.state.Pending = true
		k.settle(e)
	}
	if fresh || included {
		k.settleUsers(spec.Name)
	}
	if e.origin != nil {
		k.plan(e.origin)
		if woken || moved && e.settled || spec.Requested != "" && spec.Requested != before.Requested {
			k.ask(e.origin)
		}
	}
	k.arrived(spec.Name)
}

// refuse makes the state of e that it can't be asked.
func (k *Keeper) refuse(e *entry) {
	e.settled = true
	e.again = e.busy // what is worked out now counts no more
	if e.state.Pending {
		e.state.Pending = false
		k.settleUsers(e.spec.Name)
	}
	e.state.fail(e.spec.Refused)
}

// fail notes an error, or that there is none.
func (s *State) fail(err error) {
	if s.Since.IsZero() || (s.Err == nil) != (err == nil) {
		s.Since = time.Now()
	}
	s.Err = err
}

// notePlace notes what is kept on disk for e.
func (k *Keeper) notePlace(e *entry, fresh bool) {
	place := ""
	if e.spec.From != nil {
		place = e.spec.From.Place()
	}
	k.unswept = k.unswept || !fresh && place != e.place
	e.place = place
}

// arrived notes that a source that was expected has been put, or is gone.
func (k *Keeper) arrived(name string) {
	if k.expected[name] {
		delete(k.expected, name)
		k.complete()
	}
	k.sweep()
}

// attach gives e the origin of its spec, and reports whether that is another.
func (k *Keeper) attach(e *entry) (moved bool) {
	var to *origin
	if f := e.spec.From; f != nil && e.spec.Refused == nil {
		key := f.Key()
		if to = k.origins[key]; to == nil {
			to = newOrigin(k.ctx, key, f)
			k.origins[key] = to
		}
	}
	if to == e.origin {
		return false
	}
	k.detach(e)
	e.origin = to
	if to != nil {
		to.entries[e] = true
	}
	e.awaits = to != nil
	return true
}

// detach takes e from its origin, of which nothing is left if nobody else asks.
func (k *Keeper) detach(e *entry) {
	o := e.origin
	if o == nil {
		return
	}
	e.origin = nil
	delete(o.entries, e)
	if len(o.entries) == 0 {
		o.stop()
		k.share.forget(o.key)
		delete(k.origins, o.key)
	}
}

// include notes, or forgets, that e includes others.
func (k *Keeper) include(e *entry, list []Include, on bool) {
	for _, inc := range list {
		if on && k.users[inc.Source] == nil {
			k.users[inc.Source] = make(map[*entry]bool)
		}
		if on {
			k.users[inc.Source][e] = true
			continue
		}
		if delete(k.users[inc.Source], e); len(k.users[inc.Source]) == 0 {
			delete(k.users, inc.Source)
		}
	}
}

// settleUsers looks again at all that include a source, by way of others too.
func (k *Keeper) settleUsers(name string) {
	seen := map[string]bool{name: true}
	for todo := []string{name}; len(todo) > 0; todo = todo[1:] {
		for e := range k.users[todo[0]] {
			if !seen[e.spec.Name] {
				seen[e.spec.Name] = true
				todo = append(todo, e.spec.Name)
				k.settle(e)
			}
		}
	}
}

// Delete forgets a source.
func (k *Keeper) Delete(name string) {
	k.publishing.Lock()
	defer k.publishing.Unlock()
	k.published(name, k.remove(name), nil)
}

func (k *Keeper) remove(name string) (before *Artifact) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.sources[name]; e != nil {
		e.gone = true
		delete(k.sources, name)
		k.include(e, e.spec.Shape.Includes, false)
		k.detach(e)
		k.unswept = true
	}
	before = k.shelf.get(name)
	k.shelf.drop(name)
	k.settleUsers(name)
	k.arrived(name)
	return before
}

// Get returns the newest good artifact of a source, or nil.
func (k *Keeper) Get(name string) *Artifact { return k.shelf.get(name) }

// State returns how far a source has come; ok is false if it was not put.
func (k *Keeper) State(name string) (s State, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.sources[name]
	if e == nil {
		return s, false
	}
	s = e.state
	if e.origin != nil {
		s.Next = e.origin.due
	}
	return s, true
}

// Hint has the sources with that URL asked for now, or all if there is none. It
// returns how many they are.
func (k *Keeper) Hint(url string) int {
	return k.HintAt(func(at string) bool { return url == "" || address(url) == address(at) })
}

// HintAt is [Keeper.Hint] for the sources whose URL is one that somebody means.
func (k *Keeper) HintAt(meant func(url string) bool) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, o := range k.origins {
		if active := o.active(); len(active) > 0 && meant(o.from.URL()) {
			n += len(active)
			k.ask(o)
		}
	}
	return n
}

// address is a URL as it is compared: people write them in more than one way.
func address(s string) string {
	if u, err := url.Parse(s); err == nil && u.Host != "" {
		s = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	}
	return strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(s), "/"), ".git")
}

func (k *Keeper) published(source string, before, after *Artifact) {
	if k.o.Published != nil {
		k.o.Published(source, before, after)
	}
}

func (k *Keeper) changed(name string) {
	if k.o.Changed != nil {
		k.o.Changed(name)
	}
}

// sweep takes off the disk what no source needs, if there may be something.
// While what is needed is not known, nothing is: not before every source was
// put, nor while one has no [Fetcher].
func (k *Keeper) sweep() {
	if !k.unswept || k.sweeping || !k.sure() {
		return
	}
	k.unswept, k.sweeping = false, true
	go func() {
		var errs []error
		for _, s := range k.o.Stores {
			errs = append(errs, s.Sweep(k.uses))
		}
		if err := errors.Join(errs...); err != nil && k.o.Log != nil {
			k.o.Log.Error("remove what no source needs", "err", err)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.sweeping = false
		k.sweep()
	}()
}

// sure reports whether it is known what every source needs.
func (k *Keeper) sure() bool {
	if k.expected == nil || len(k.expected) > 0 {
		return false
	}
	for _, e := range k.sources {
		if e.place == "" {
			return false
		}
	}
	return true
}

// uses reports whether a source needs what is kept of a place, or may.
func (k *Keeper) uses(place string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.sure() {
		return true
	}
	for _, e := range k.sources {
		if e.place == place {
			return true
		}
	}
	return false
}
