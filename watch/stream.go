package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"plumb.dev/plumb/object/owned"
)

// A stream is one list and watch, and the records of those objects in it that
// somebody follows. It is the store of its reflector.
type stream struct {
	key    streamKey
	ctx    context.Context
	cancel context.CancelFunc
	notify func(unit string)
	// moved is called when it may have become right to follow something by
	// another stream, or from now on by this one.
	moved func(*stream)
	ask   lister

	mu        sync.Mutex
	synced    bool
	err       error
	down      time.Time // since when attempts have failed
	records   map[types.NamespacedName]*record
	follows   int
	strangers strangers
	unseen    map[types.NamespacedName]bool // records to ask for
	asking    bool
	unread    map[*following]*unstructured.Unstructured // objects to look at later
	reading   bool
	// affected are the followings that may be of unlabelled objects, and whose
	// objects have come into the stream or left it.
	affected []*following
}

// newStream returns a stream that nothing feeds yet. It begins with holding
// strangers if others are likely to come to follow them.
func newStream(ctx context.Context, key streamKey, notify func(unit string), moved func(*stream)) *stream {
	ctx, cancel := context.WithCancel(ctx)
	return &stream{
		key: key, ctx: ctx, cancel: cancel, notify: notify, moved: moved,
		records:   make(map[types.NamespacedName]*record),
		strangers: newStrangers(key.selector != ""),
		unseen:    make(map[types.NamespacedName]bool),
	}
}

func (s *stream) state() (synced bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.synced, s.err
}

func (s *stream) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records)
}

// join makes f one of those who follow an object. What it has settled by
// another stream stays settled; from is nil if there is none.
func (s *stream) join(f *following, from *stream) {
	fo := follower{f: f}
	if from != nil {
		fo.baseline, fo.digest = from.settledAt(f)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := f.name()
	r := s.records[name]
	if r == nil {
		r = &record{}
		s.records[name] = r
		obj, there := s.strangers.find(name)
		s.strangers.remove(name)
		switch {
		case obj != nil:
			s.take(r, obj, parseVersion(obj.GetResourceVersion()))
		case there:
			r.unseen = true
			s.find(name)
		}
	} else if r.exists && r.object == nil && from == nil {
		r.unseen = true // it was let go of, and f sees it in its own way
		s.find(name)
	}
	if r.object != nil {
		fo.look(r.object)
		s.later(f, r.object)
	}
	s.follows++
	r.by = append(r.by, fo)
	if s.synced && f.Scope.Unlabelled && s.key.selector != "" {
		s.affected = append(s.affected, f)
	}
}

// settledAt returns what f has settled.
func (s *stream) settledAt(f *following) (baseline uint64, digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fo := s.records[f.name()].of(f); fo != nil {
		return fo.baseline, fo.digest
	}
	return 0, ""
}

// swap has f take the place of another who followed the same object.
func (s *stream) swap(was, f *following) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fo := s.records[f.name()].of(was); fo != nil {
		fo.f = f
	}
}

// leave reports whether the stream has no follower left.
func (s *stream) leave(f *following) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := f.name()
	r := s.records[name]
	if r.of(f) != nil {
		r.by = slices.DeleteFunc(r.by, func(fo follower) bool { return fo.f == f })
		s.follows--
		delete(s.unread, f)
		if len(r.by) == 0 {
			delete(s.records, name)
			delete(s.unseen, name)
			if r.exists || r.unseen {
				s.strangers.add(name, nil)
			}
		}
	}
	return s.follows == 0
}

// live returns what f may know of its object.
func (s *stream) live(f *following) (Live, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[f.name()]
	fo := r.of(f)
	if fo != nil && (fo.unjudged() || s.unread[f] != nil) {
		s.mu.Unlock()
		s.read(f)
		s.judge(f)
		s.mu.Lock()
		r = s.records[f.name()]
		fo = r.of(f)
	}
	if fo == nil {
		return Live{}, false
	}
	return r.live(fo, s.synced)
}

// judge asks a unit's own judge about the object as it is now. What a unit has
// evaluated takes the unit's time, and nobody else's: no lock is held.
func (s *stream) judge(f *following) {
	s.mu.Lock()
	r := s.records[f.name()]
	fo := r.of(f)
	if fo == nil || !fo.unjudged() || r.object == nil {
		s.mu.Unlock()
		return
	}
	obj := r.object
	s.mu.Unlock()
	h := f.Judge.Of(obj)
	s.mu.Lock()
	defer s.mu.Unlock()
	r = s.records[f.name()]
	if fo := r.of(f); fo != nil && r.object == obj {
		fo.judged(h)
		r.slim()
	}
}

// settle notes that obj is as f wants it. Whether that is an object that the
// stream shows, shown says.
func (s *stream) settle(f *following, digest string, obj *unstructured.Unstructured, shown bool) change {
	print := owned.Print(obj, f.Managers)
	s.mu.Lock()
	defer s.mu.Unlock()
	name := f.name()
	r := s.records[name]
	fo := r.of(f)
	if fo == nil {
		return change{}
	}
	fo.baseline, fo.digest = print, digest
	var c change
	if v := parseVersion(obj.GetResourceVersion()); shown && v >= r.version {
		c = s.change(name, r, func() {
			s.take(r, obj, v)
			fo.print = print
			delete(s.unread, f)
		})
		c.told = slices.DeleteFunc(c.told, func(other *following) bool { return other == f })
	}
	r.slim()
	return c
}

// doubt forgets that the object was as desired, and unsettle what that was, too.
func (s *stream) doubt(f *following) { s.forget(f, false) }

func (s *stream) unsettle(f *following) { s.forget(f, true) }

func (s *stream) forget(f *following, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fo := s.records[f.name()].of(f)
	if fo == nil {
		return
	}
	fo.baseline = 0
	if all {
		fo.digest = ""
	}
}

// A change is what an event has made different.
type change struct {
	told  []*following
	moved bool
}

// tell passes on what has changed, with no lock held.
func (s *stream) tell(c change) {
	if len(c.told) == 1 {
		s.notify(c.told[0].unit) // of nearly every event it is nobody, or one
	} else if len(c.told) > 1 {
		units := make(map[string]bool)
		for _, f := range c.told {
			units[f.unit] = true
		}
		for u := range units {
			s.notify(u)
		}
	}
	if c.moved {
		s.moved(s)
	}
}

// change runs f on a record.
func (s *stream) change(name types.NamespacedName, r *record, f func()) (c change) {
	existed, unseen := r.exists, r.unseen
	c.told = r.change(f)
	if !r.unseen {
		delete(s.unseen, name)
	}
	if s.key.selector != "" && (existed != r.exists || unseen != r.unseen) {
		for i := range r.by {
			if r.by[i].f.Scope.Unlabelled {
				s.affected = append(s.affected, r.by[i].f)
			}
		}
	}
	c.moved = len(s.affected) > 0 || unseen && !r.unseen
	return c
}

func (s *stream) upsert(obj *unstructured.Unstructured) change {
	name := types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetName()}
	r := s.records[name]
	if r == nil {
		s.strangers.add(name, obj)
		return change{}
	}
	version := parseVersion(obj.GetResourceVersion())
	if version != 0 && (version < r.version || version == r.version && r.exists && !r.unseen) {
		return change{} // an answer to a write was faster than the watch
	}
	c := s.change(name, r, func() { s.take(r, obj, version) })
	r.slim()
	return c
}

func (s *stream) remove(name types.NamespacedName, version uint64) change {
	r := s.records[name]
	if r == nil {
		s.strangers.remove(name)
		return change{}
	}
	if version != 0 && version < r.version {
		return change{}
	}
	for i := range r.by {
		delete(s.unread, r.by[i].f)
	}
	return s.change(name, r, func() { r.lose(version) })
}

// glimpse notes that an object was there at version, of which no more is known.
func (s *stream) glimpse(name types.NamespacedName, version uint64) change {
	r := s.records[name]
	if r == nil {
		s.strangers.add(name, nil)
		return change{}
	}
	if version <= r.version {
		return change{}
	}
	c := s.change(name, r, func() { r.unseen, r.version = true, version })
	s.find(name)
	return c
}

// Add implements [cache.ReflectorStore].
func (s *stream) Add(o any) error { return s.Update(o) }

// Update implements [cache.ReflectorStore].
func (s *stream) Update(o any) error {
	s.mu.Lock()
	c := s.upsert(o.(*unstructured.Unstructured))
	s.mu.Unlock()
	s.tell(c)
	return nil
}

// Delete implements [cache.ReflectorStore].
func (s *stream) Delete(o any) error {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return nil
	}
	s.mu.Lock()
	c := s.remove(types.NamespacedName{Namespace: u.GetNamespace(), Name: u.GetName()}, parseVersion(u.GetResourceVersion()))
	s.mu.Unlock()
	s.tell(c)
	return nil
}

// Transformer implements [cache.TransformingStore]: what is listed of objects
// that nobody follows takes no memory while the rest is on its way.
func (s *stream) Transformer() cache.TransformFunc {
	return func(o any) (any, error) {
		if u, ok := o.(*unstructured.Unstructured); ok && !s.wants(u) {
			return &metav1.ObjectMeta{Namespace: u.GetNamespace(), Name: u.GetName(), ResourceVersion: u.GetResourceVersion()}, nil
		}
		return o, nil
	}
}

// wants reports whether more than the name of an object counts.
func (s *stream) wants(u *unstructured.Unstructured) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.strangers.keep || s.records[types.NamespacedName{Namespace: u.GetNamespace(), Name: u.GetName()}] != nil
}

// Replace implements [cache.ReflectorStore]: the list is all there is at
// version. What is known from later than that stays.
func (s *stream) Replace(list []any, version string) error {
	at := parseVersion(version)
	var all change
	note := func(c change) { all.told, all.moved = append(all.told, c.told...), all.moved || c.moved }
	s.mu.Lock()
	s.strangers = newStrangers(s.strangers.keep)
	there := make(map[types.NamespacedName]bool, len(s.records))
	for _, o := range list {
		m := o.(metav1.Object)
		name := types.NamespacedName{Namespace: m.GetNamespace(), Name: m.GetName()}
		if s.records[name] != nil {
			there[name] = true
		}
		if u, ok := o.(*unstructured.Unstructured); ok && u.GetKind() != "" {
			note(s.upsert(u))
		} else {
			note(s.glimpse(name, parseVersion(m.GetResourceVersion())))
		}
	}
	for name, r := range s.records {
		if (r.exists || r.unseen) && !there[name] && (at == 0 || r.version <= at) {
			note(s.remove(name, at))
		}
	}
	if !s.synced {
		all.moved = true
		s.affected = s.unlabelled()
	}
	if !s.synced || s.err != nil {
		s.synced, s.err, s.down = true, nil, time.Time{}
		all.told = append(all.told, s.members()...)
	}
	s.mu.Unlock()
	s.tell(all)
	return nil
}

// Resync implements [cache.ReflectorStore].
func (s *stream) Resync() error { return nil }

// members are all that follow something by this stream.
func (s *stream) members() (all []*following) {
	for _, r := range s.records {
		for i := range r.by {
			all = append(all, r.by[i].f)
		}
	}
	return all
}

// unlabelled are the members whose objects may be there without being shown.
func (s *stream) unlabelled() []*following {
	if s.key.selector == "" {
		return nil
	}
	return slices.DeleteFunc(s.members(), func(f *following) bool { return !f.Scope.Unlabelled })
}

// connected notes how the last attempt to list or watch went. What was seen
// before stays known: a lost watch is no evidence of a lost object. But what
// has not been confirmed for long is not said to be so either.
func (s *stream) connected(err error) {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || errors.Is(err, context.Canceled) {
		return // the reflector lists again at once
	}
	s.mu.Lock()
	now, was := time.Now(), s.err
	switch {
	case err == nil && s.synced:
		s.err, s.down = nil, time.Time{}
	case err == nil:
		s.down = time.Time{}
	default:
		if s.down.IsZero() {
			s.down = now
		}
		if !s.synced || now.Sub(s.down) > staleAfter {
			s.err = fmt.Errorf("watch %s: %w", s.key.resource.GroupResource(), err)
		}
	}
	var c change
	if (was == nil) != (s.err == nil) {
		c.told = s.members()
	}
	s.mu.Unlock()
	s.tell(c)
}

// staleAfter is how long a watch may be down before what it showed counts as
// old.
const staleAfter = 2 * time.Minute
