package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/watch/health"
)

// A stream is one list and watch, and the records of what it has shown. It is
// the store of its reflector.
type stream struct {
	key    streamKey
	cancel context.CancelFunc
	notify func(unit string)

	mu      sync.Mutex
	synced  bool
	err     error
	down    time.Time // since when attempts have failed
	keep    bool      // objects that nobody follows yet
	follows int
	records map[types.NamespacedName]*record
	// strangers are the bytes that objects which nobody follows take, by
	// namespace: who may write there decides how many these are.
	strangers map[string]int
}

// A record is an object that exists or is followed.
type record struct {
	exists   bool
	deleting bool
	version  uint64 // resourceVersion, which orders events (KEP-5504)
	health   health.Result
	object   *unstructured.Unstructured // nil once every follower has settled and judged it
	strange  int                        // bytes that count as a stranger's
	by       []follower                 // hardly ever more than one
}

// of returns a unit's view of the record, or nil. It stands until the record
// is joined or left.
func (r *record) of(unit string) *follower {
	if r == nil {
		return nil
	}
	for i := range r.by {
		if r.by[i].unit == unit {
			return &r.by[i]
		}
	}
	return nil
}

// A follower is one unit's view of a record.
type follower struct {
	unit     string
	f        *following
	print    uint64 // of the fields that count, now
	baseline uint64 // and when it was settled; 0: never
	digest   string
	health   *health.Result // by its own judge; nil: it has not been asked
}

// unjudged reports whether there is a judge that has not been asked about the
// object as it is now.
func (fo *follower) unjudged() bool { return fo.f.Judge != nil && fo.health == nil }

func (fo *follower) settled() bool { return fo.baseline != 0 && fo.print == fo.baseline }

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

func (s *stream) join(unit string, f *following) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[f.name()]
	if r == nil {
		r = &record{}
		s.records[f.name()] = r
	}
	s.known(f.Namespace, r)
	// What one unit settles, another that wants the same may rely on only
	// after it has looked itself: a new follower starts unsettled.
	fo := follower{unit: unit, f: f}
	if r.object != nil {
		fo.look(r.object)
	}
	if was := r.of(unit); was != nil {
		*was = fo
		return
	}
	s.follows++
	r.by = append(r.by, fo)
}

// leave reports whether the stream has no follower left.
func (s *stream) leave(unit string, f *following) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[f.name()]
	if fo := r.of(unit); fo != nil && fo.f == f {
		r.by = slices.DeleteFunc(r.by, func(fo follower) bool { return fo.unit == unit })
		s.follows--
		if len(r.by) == 0 {
			r.by, r.object = nil, nil
			if !r.exists {
				delete(s.records, f.name())
			}
		}
	}
	return s.follows == 0
}

func (s *stream) live(unit string, name types.NamespacedName) (Live, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fo := s.records[name].of(unit); fo != nil && fo.unjudged() {
		s.mu.Unlock()
		s.judge(unit, name)
		s.mu.Lock()
	}
	r := s.records[name]
	fo := r.of(unit)
	if fo == nil {
		return Live{}, false
	}
	if !s.synced && !r.exists {
		return Live{}, false
	}
	l := Live{
		Exists: r.exists, Deleting: r.deleting, Health: r.health,
		Digest: fo.digest, Settled: r.exists && fo.settled(), Object: r.object,
	}
	switch {
	case !r.exists:
		l.Health = health.Result{Status: health.Missing}
	case fo.health != nil:
		l.Health = *fo.health
	case fo.unjudged():
		l.Health = health.Result{Status: health.Unknown, Message: "it has not been judged by its expressions yet"}
	}
	return l, true
}

// judge asks a unit's own judge about the object as it is now. What a unit has
// evaluated takes the unit's time, and nobody else's: no lock is held.
func (s *stream) judge(unit string, name types.NamespacedName) {
	s.mu.Lock()
	r := s.records[name]
	fo := r.of(unit)
	if fo == nil || !fo.unjudged() || r.object == nil {
		s.mu.Unlock()
		return
	}
	f, obj := fo.f, r.object
	s.mu.Unlock()
	h := f.Judge.Of(obj)
	s.mu.Lock()
	defer s.mu.Unlock()
	r = s.records[name]
	if fo := r.of(unit); fo != nil && fo.f == f && r.object == obj {
		fo.health = &h
		r.slim()
	}
}

func (s *stream) settle(unit string, f *following, digest string, obj *unstructured.Unstructured) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[f.name()]
	fo := r.of(unit)
	if fo == nil {
		return
	}
	fo.baseline, fo.digest = owned.Print(obj, f.Managers), digest
	if v := parseVersion(obj.GetResourceVersion()); !r.exists || v >= r.version {
		r.take(obj, v)
	}
	r.slim()
}

func (s *stream) unsettle(unit string, name types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fo := s.records[name].of(unit); fo != nil {
		fo.baseline, fo.digest = 0, ""
	}
}

// take makes obj what the record is about.
func (r *record) take(obj *unstructured.Unstructured, version uint64) {
	r.exists, r.version = true, version
	r.deleting = obj.GetDeletionTimestamp() != nil
	r.health = health.Of(obj)
	r.object = obj
	for i := range r.by {
		r.by[i].look(obj)
	}
}

func (fo *follower) look(obj *unstructured.Unstructured) {
	fo.print, fo.health = owned.Print(obj, fo.f.Managers), nil
}

// slim lets go of the object if nobody will ask for it.
func (r *record) slim() {
	for i := range r.by {
		if !r.by[i].settled() || r.by[i].unjudged() {
			return
		}
	}
	if len(r.by) > 0 {
		r.object = nil
	}
}

// A glance is what followers are notified of changes in.
type glance struct {
	exists, deleting, settled bool
	health                    health.Status
	print                     uint64
	version                   uint64 // where only the unit itself can tell whether its health is another
}

func (r *record) glance(fo *follower) glance {
	g := glance{exists: r.exists, deleting: r.deleting, settled: fo.settled(), health: r.health.Status}
	if !g.settled {
		g.print = fo.print // drift on top of drift
	}
	if fo.f.Judge != nil {
		g.health, g.version = health.Unknown, r.version
	}
	return g
}

// change runs f on the record of a name and returns the followers for whom it
// made a difference.
func (r *record) change(f func()) []string {
	before := make([]glance, len(r.by))
	for i := range r.by {
		before[i] = r.glance(&r.by[i])
	}
	f()
	var units []string
	for i := range r.by {
		if before[i] != r.glance(&r.by[i]) {
			units = append(units, r.by[i].unit)
		}
	}
	return units
}

func (s *stream) upsert(obj *unstructured.Unstructured) []string {
	name := types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetName()}
	version := parseVersion(obj.GetResourceVersion())
	r := s.records[name]
	if r == nil {
		r = &record{}
		s.records[name] = r
	}
	if r.exists && version != 0 && version <= r.version {
		return nil // an answer to a write was faster than the watch
	}
	if !r.exists && version != 0 && version < r.version {
		return nil // an event from before the deletion
	}
	units := r.change(func() { r.take(obj, version) })
	s.stranger(name.Namespace, r)
	r.slim()
	return units
}

func (s *stream) remove(name types.NamespacedName, version uint64) []string {
	r := s.records[name]
	if r == nil || !r.exists || (version != 0 && version < r.version) {
		return nil
	}
	s.known(name.Namespace, r)
	units := r.change(func() {
		r.exists, r.deleting, r.object = false, false, nil
		r.version = max(r.version, version)
		r.health = health.Result{Status: health.Missing}
		for i := range r.by {
			r.by[i].health, r.by[i].print = nil, 0
		}
	})
	if len(r.by) == 0 {
		delete(s.records, name)
	}
	return units
}

func (s *stream) tell(units []string) {
	for _, u := range units {
		s.notify(u)
	}
}

// Add implements [cache.ReflectorStore].
func (s *stream) Add(o any) error { return s.Update(o) }

// Update implements [cache.ReflectorStore].
func (s *stream) Update(o any) error {
	s.mu.Lock()
	units := s.upsert(o.(*unstructured.Unstructured))
	s.mu.Unlock()
	s.tell(units)
	return nil
}

// Delete implements [cache.ReflectorStore].
func (s *stream) Delete(o any) error {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return nil
	}
	s.mu.Lock()
	units := s.remove(types.NamespacedName{Namespace: u.GetNamespace(), Name: u.GetName()}, parseVersion(u.GetResourceVersion()))
	s.mu.Unlock()
	s.tell(units)
	return nil
}

// Replace implements [cache.ReflectorStore]: the list is all there is at
// version. What is known from later than that stays.
func (s *stream) Replace(list []any, version string) error {
	at := parseVersion(version)
	s.mu.Lock()
	told := map[string]bool{}
	there := make(map[types.NamespacedName]bool, len(list))
	for _, o := range list {
		u := o.(*unstructured.Unstructured)
		there[types.NamespacedName{Namespace: u.GetNamespace(), Name: u.GetName()}] = true
		for _, unit := range s.upsert(u) {
			told[unit] = true
		}
	}
	for name, r := range s.records {
		if r.exists && !there[name] && (at == 0 || r.version <= at) {
			for _, unit := range s.remove(name, at) {
				told[unit] = true
			}
		}
	}
	if !s.synced || s.err != nil {
		s.synced, s.err, s.down = true, nil, time.Time{}
		for unit := range s.followers() {
			told[unit] = true
		}
	}
	s.mu.Unlock()
	for unit := range told {
		s.notify(unit)
	}
	return nil
}

// Resync implements [cache.ReflectorStore].
func (s *stream) Resync() error { return nil }

func (s *stream) followers() map[string]bool {
	units := map[string]bool{}
	for _, r := range s.records {
		for i := range r.by {
			units[r.by[i].unit] = true
		}
	}
	return units
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
	var units map[string]bool
	if (was == nil) != (s.err == nil) {
		units = s.followers()
	}
	s.mu.Unlock()
	for unit := range units {
		s.notify(unit)
	}
}
