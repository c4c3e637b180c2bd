// Package watch knows what became of the objects that plumb holds true.
//
// A [Watch] keeps a few watches per kind in use, and a [Live] record of some
// hundred bytes for each object that is followed, not the object itself. A unit
// follows the objects that matter to it ([Watch.Follow]) and is notified when
// one of them is no longer as it was settled, changes health, comes or goes.
// An event that changes none of these costs nothing more. A [Scope] says by
// what the server can be asked for an object; how many watches that makes, and
// of what, is decided here.
//
// [Watch.Settle] says that an object is as its unit wants it. Until then, and
// again once a field that counts has changed, the record holds the whole
// object, so that a plan can be made without asking the server. The watch
// writes nothing and decides nothing.
package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"

	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/watch/health"
)

// A Target is an object that a unit follows.
type Target struct {
	Ref      object.Ref
	Version  string // of the API to read it through
	Scope    Scope
	Managers owned.Managers
	// Judge replaces the rules of kstatus; nil for most kinds.
	Judge health.Judge
	// Keep has the object at hand also while it is settled.
	Keep bool
	// Words: what is said of its health is news also where the status is the same.
	Words bool
}

// Live is what is known of an object.
type Live struct {
	Exists   bool
	Deleting bool
	Health   health.Result
	// Digest is that of the desired object that the live one was last
	// settled against, and Settled says that it has not changed since in
	// any field that counts. An object that was settled and is gone has a
	// Digest and does not exist.
	Digest  string
	Settled bool
	// Object is the live object where it is not settled, or kept. It may be nil,
	// and must not be changed.
	Object *unstructured.Unstructured
}

// A Watch follows objects of one cluster. It is safe for concurrent use.
type Watch struct {
	cluster *cluster.Client
	notify  func(unit string)
	log     *slog.Logger
	ctx     context.Context

	mu      sync.Mutex
	streams map[streamKey]*stream
	units   map[string]follows
	waiting map[schema.GroupKind]map[string]bool // units that a kind is missing for
	kinds   int                                  // how often they have changed
	kindsAt time.Time                            // and when last
	names   map[schema.GroupVersionResource]*names
	// named are those who follow by name, and going the streams that some of
	// those and others will be in, once these have shown all there is.
	named map[schema.GroupVersionResource]map[*following]bool
	going map[*following]*stream
	// instead are the followings by name of objects that may be unlabelled,
	// and are not among those with a label.
	instead map[*following]*following
	told    []string // units to notify once mu is free
}

// unlock gives mu free, and has notified who is to be: by somebody else, since
// whoever called may hold what they need.
func (w *Watch) unlock() {
	told := w.told
	w.told = nil
	w.mu.Unlock()
	if len(told) == 0 {
		return
	}
	go func() {
		for _, unit := range told {
			w.notify(unit)
		}
	}()
}

// following is an object that a unit follows, and where its record is. There is
// one for each object, so it is small.
type following struct {
	object.Ref
	*view
	stream *stream
}

// A view is what a Target says besides which object it is. Those of one unit
// that are equal are one.
type view struct {
	unit     string
	Version  string
	Scope    Scope
	Managers owned.Managers
	Judge    health.Judge
	Keep     bool
	Words    bool
}

func (f *following) name() types.NamespacedName {
	return types.NamespacedName{Namespace: f.Namespace, Name: f.Name}
}

func (v *view) same(t Target) bool { return v.Scope == t.Scope && v.sameBut(t) }

// sameBut is same but for the scope.
func (v *view) sameBut(t Target) bool {
	return v.Version == t.Version && v.Judge == t.Judge && v.Keep == t.Keep && v.Words == t.Words &&
		v.Managers.Self == t.Managers.Self && slices.Equal(v.Managers.Former, t.Managers.Former) && slices.Equal(v.Managers.Undo, t.Managers.Undo) && v.Managers.Ignored.Same(t.Managers.Ignored)
}

// follows are what a unit follows, sorted by Ref, each once.
type follows []*following

func (f follows) search(r object.Ref) (int, bool) {
	return slices.BinarySearchFunc(f, r, func(f *following, r object.Ref) int { return object.Compare(f.Ref, r) })
}

func (f follows) find(r object.Ref) *following {
	i, ok := f.search(r)
	if !ok {
		return nil
	}
	return f[i]
}

// view returns what t says besides which object it is.
func (f follows) view(unit string, t Target) *view {
	for _, other := range f {
		if other.same(t) {
			return other.view
		}
	}
	return &view{unit: unit, Version: t.Version, Scope: t.Scope, Managers: t.Managers, Judge: t.Judge, Keep: t.Keep, Words: t.Words}
}

// New returns a Watch that runs until ctx is done. notify is called with a
// unit's name whenever a look at it is worth while; it must not block.
func New(ctx context.Context, c *cluster.Client, log *slog.Logger, notify func(unit string)) (*Watch, error) {
	w := newWatch(ctx, c, log, notify)
	md, err := metadata.NewForConfig(c.Config())
	if err != nil {
		return nil, fmt.Errorf("watch kinds: %w", err)
	}
	go w.watchKinds(md)
	go w.tightenNow()
	return w, nil
}

func newWatch(ctx context.Context, c *cluster.Client, log *slog.Logger, notify func(unit string)) *Watch {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Watch{
		cluster: c, notify: notify, log: log, ctx: ctx,
		streams: make(map[streamKey]*stream),
		units:   make(map[string]follows),
		waiting: make(map[schema.GroupKind]map[string]bool),
		names:   make(map[schema.GroupVersionResource]*names),
		named:   make(map[schema.GroupVersionResource]map[*following]bool),
		going:   make(map[*following]*stream),
		instead: make(map[*following]*following),
	}
}

// Follow makes targets the objects that the unit follows, instead of those it
// followed before; of two targets for one object, the first counts. Targets of
// a kind that the server does not have are left out and named in the error; the
// unit is notified when the kinds change.
func (w *Watch) Follow(ctx context.Context, unit string, targets []Target) error {
	w.mu.Lock()
	added := w.added(w.units[unit], targets)
	same := len(added) == 0 && len(targets) == len(w.units[unit])
	kinds := w.kinds
	w.mu.Unlock()
	if same {
		return nil
	}
	called := w.called(ctx, added) // which may ask the server, so nobody else waits for it
	missed, err := w.take(unit, targets, called, kinds)
	if missed {
		w.notify(unit) // one of the kinds may have come since it was asked for
	}
	return err
}

// added are the targets that the unit does not follow in the same way already.
func (w *Watch) added(before follows, targets []Target) (added []Target) {
	for _, t := range targets {
		if f := before.find(t.Ref); f == nil || !f.same(t) {
			added = append(added, t)
		}
	}
	return added
}

// take is Follow, once it is known how the server calls the kinds. missed says
// that these have changed since there were that many changes.
func (w *Watch) take(unit string, targets []Target, called map[schema.GroupVersionKind]called, kinds int) (missed bool, err error) {
	w.mu.Lock()
	defer w.unlock()
	before := w.units[unit]
	now := make(follows, 0, len(targets))
	kept := make(map[object.Ref]*following, len(targets))
	changed := make(map[schema.GroupVersionResource]bool)
	var errs []error
	for _, t := range targets {
		if kept[t.Ref] != nil {
			continue
		}
		f := before.find(t.Ref)
		switch {
		case f != nil && f.same(t):
		case f != nil && f.sameBut(t):
			f = w.rescope(f, now.view(unit, t))
			changed[f.stream.key.resource] = true
		default:
			resource, err := w.resource(unit, t, called[t.kind()])
			if err != nil {
				errs = append(errs, err)
				continue
			}
			f = w.join(t.Ref, resource, now.view(unit, t), nil)
			changed[resource] = true
		}
		kept[t.Ref] = f
		now = append(now, f)
	}
	for _, f := range before {
		if kept[f.Ref] != f {
			w.part(f)
		}
	}
	slices.SortFunc(now, func(a, b *following) int { return object.Compare(a.Ref, b.Ref) })
	if len(now) == 0 {
		delete(w.units, unit)
	} else {
		w.units[unit] = now
	}
	for resource := range changed {
		w.arrange(resource)
	}
	return w.kinds != kinds && len(targets) > 0, errors.Join(dedupe(errs)...)
}

// called is how the server calls a kind, or why that is not known.
type called struct {
	*apimeta.RESTMapping
	err error
}

func (t Target) kind() schema.GroupVersionKind { return t.Ref.GroupKind().WithVersion(t.Version) }

// called finds out how the server calls the kinds of targets. A server that
// can't tell of one kind is not asked about the others.
func (w *Watch) called(ctx context.Context, targets []Target) map[schema.GroupVersionKind]called {
	known := make(map[schema.GroupVersionKind]called)
	var failed error
	for _, t := range targets {
		gvk := t.kind()
		if _, ok := known[gvk]; ok {
			continue
		}
		c := called{err: failed}
		if failed == nil {
			c.RESTMapping, c.err = w.cluster.Mapping(ctx, gvk)
		}
		if c.err != nil && !fault.Is(c.err, "UnknownKind") {
			failed = c.err
		}
		known[gvk] = c
	}
	return known
}

// resource returns what a target is one of, where the server calls its kind c.
func (w *Watch) resource(unit string, t Target, c called) (r schema.GroupVersionResource, err error) {
	if fault.Is(c.err, "UnknownKind") {
		w.awaitKind(t.Ref.GroupKind(), unit)
	}
	switch {
	case c.err != nil:
		return r, c.err
	case c.RESTMapping == nil:
		return r, fmt.Errorf("%s: how the server calls its kind was not asked for", t.Ref)
	}
	return c.Resource, nil
}

func dedupe(errs []error) []error {
	seen := map[string]bool{}
	return slices.DeleteFunc(errs, func(e error) bool {
		s := e.Error()
		defer func() { seen[s] = true }()
		return seen[s]
	})
}

// Leave ends all that the unit follows.
func (w *Watch) Leave(unit string) {
	_, _ = w.take(unit, nil, nil, 0) // no target, so no kind to be missing
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, units := range w.waiting {
		delete(units, unit)
	}
}

// Synced reports whether everything that the unit follows is known. Where a
// kind can't be watched, the error says why. The unit is notified when this
// changes.
func (w *Watch) Synced(unit string) (bool, error) {
	w.mu.Lock()
	streams := map[*stream]bool{}
	for _, f := range w.units[unit] {
		streams[f.stream] = true
		if other := w.instead[f]; other != nil {
			streams[other.stream] = true
		}
	}
	w.mu.Unlock()
	synced := true
	var errs []error
	for s := range streams {
		ok, err := s.state()
		synced = synced && ok
		if err != nil {
			errs = append(errs, err)
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return synced, errors.Join(dedupe(errs)...)
}

// Live returns what is known of an object that the unit follows. known is
// false if it does not follow it, or the watch has not seen it yet: then
// nothing may be concluded. The unit is notified once it has.
func (w *Watch) Live(unit string, ref object.Ref) (l Live, known bool) {
	f, at, other, otherAt := w.where(unit, ref)
	if f == nil {
		return Live{}, false
	}
	l, known = at.live(f)
	if known && !l.Exists && f.Scope.Unlabelled {
		if other == nil {
			return Live{}, false // it is about to be followed by its name
		}
		at = otherAt
		l, known = at.live(other)
	}
	if known {
		return l, true
	}
	if _, now, _, otherNow := w.where(unit, ref); now != at && otherNow != at {
		return w.Live(unit, ref) // it has moved while it was looked at
	}
	return Live{}, false
}

// where says by which streams an object is followed, the second by its name
// because it may be unlabelled.
func (w *Watch) where(unit string, ref object.Ref) (f *following, at *stream, other *following, otherAt *stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f = w.units[unit].find(ref); f == nil {
		return nil, nil, nil, nil
	}
	if other = w.instead[f]; other != nil {
		otherAt = other.stream
	}
	return f, f.stream, other, otherAt
}

// Settle says that the object is as the unit wants it: obj, as the server
// returned it, holds what was desired under digest.
func (w *Watch) Settle(unit string, ref object.Ref, digest string, obj *unstructured.Unstructured) {
	for s, f := range w.records(unit, ref) {
		s.tell(s.settle(f, digest, obj, !f.Scope.Unlabelled || f.Scope.matches(obj)))
	}
}

// Doubt forgets that the object is as the unit wants it, so that the next plan
// looks at it afresh. What it was to be last is still known.
func (w *Watch) Doubt(unit string, ref object.Ref) {
	for s, f := range w.records(unit, ref) {
		s.doubt(f)
	}
}

// Unsettle forgets that there was an object that the unit wanted.
func (w *Watch) Unsettle(unit string, ref object.Ref) {
	for s, f := range w.records(unit, ref) {
		s.unsettle(f)
	}
}

// records are all streams that have a record of an object for a unit, and by
// whom it is followed there.
func (w *Watch) records(unit string, ref object.Ref) map[*stream]*following {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make(map[*stream]*following, 1)
	f := w.units[unit].find(ref)
	for _, f := range []*following{f, w.instead[f]} {
		if f == nil {
			continue
		}
		all[f.stream] = f
		if s := w.going[f]; s != nil {
			all[s] = f
		}
	}
	return all
}

// Size returns how many streams and records there are.
func (w *Watch) Size() (streams, records int) {
	w.mu.Lock()
	all := slices.Collect(maps.Values(w.streams))
	w.mu.Unlock()
	for _, s := range all {
		records += s.size()
	}
	return len(all), records
}

func parseVersion(v string) uint64 {
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
