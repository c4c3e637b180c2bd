package watch

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"

	"plumb.dev/plumb/object"
)

// Which stream an object is followed by may change: names become too many, and
// are watched as a namespace; plumb may not watch all namespaces. The record
// moves with what was settled, and not before the new stream shows the object
// at least as new as the old one does. Until then the old stream counts, so
// nothing is ever less known than it was.

// join follows an object. from is a stream in which what was settled is known.
func (w *Watch) join(ref object.Ref, resource schema.GroupVersionResource, v *view, from *stream) *following {
	f := &following{Ref: ref, view: v}
	w.enter(f, resource)
	f.stream = w.stream(w.key(f, resource))
	f.stream.join(f, from)
	return f
}

// rescope has an object followed that was followed by another scope.
func (w *Watch) rescope(was *following, v *view) *following {
	resource := was.stream.key.resource
	w.exit(was)
	f := &following{Ref: was.Ref, view: v, stream: was.stream}
	was.stream.swap(was, f)
	w.enter(f, resource)
	return f
}

// enter notes what f makes it right to ask for. Others move in arrange.
func (w *Watch) enter(f *following, resource schema.GroupVersionResource) {
	n := w.names[resource]
	if n == nil {
		n = newNames()
		w.names[resource], w.named[resource] = n, make(map[*following]bool)
	}
	if f.Scope.Selector == "" {
		n.add(f.Namespace, f.Name)
		w.named[resource][f] = true
		n.widen()
	}
}

// exit undoes enter, and ends what else there is for f but its stream.
func (w *Watch) exit(f *following) {
	resource := f.stream.key.resource
	if other := w.instead[f]; other != nil {
		delete(w.instead, f)
		w.part(other)
	}
	if w.named[resource][f] {
		delete(w.named[resource], f)
		w.names[resource].remove(f.Namespace, f.Name)
	}
	if s := w.going[f]; s != nil {
		delete(w.going, f)
		w.leave(f, s)
	}
}

// key is what has to be asked for to see the object of f.
func (w *Watch) key(f *following, resource schema.GroupVersionResource) streamKey {
	n := w.names[resource]
	if f.Scope.Selector == "" {
		return n.key(resource, f.Namespace, f.Name)
	}
	key := streamKey{resource: resource, selector: f.Scope.Selector}
	if n.apart {
		key.namespace = f.Namespace
	}
	return key
}

// part ends a following, and the streams that it was the last of.
func (w *Watch) part(f *following) {
	w.exit(f)
	w.leave(f, f.stream)
}

func (w *Watch) leave(f *following, s *stream) {
	if s.leave(f) {
		s.cancel()
		delete(w.streams, s.key)
	}
}

// arrange has everything of a resource go where it belongs.
func (w *Watch) arrange(resource schema.GroupVersionResource) {
	for f := range w.named[resource] {
		w.move(f, w.key(f, resource))
	}
	var arrived []*stream
	for key, s := range w.streams {
		if key.resource != resource {
			continue
		}
		if key.selector != "" && key.namespace == "" && w.names[resource].apart {
			for _, f := range s.all() {
				w.move(f, w.key(f, resource))
			}
		}
		arrived = append(arrived, s)
	}
	for _, s := range arrived {
		w.arrive(s)
	}
}

// move sends f to the stream of a key.
func (w *Watch) move(f *following, key streamKey) {
	if s := w.going[f]; s != nil {
		if s.key == key {
			return
		}
		delete(w.going, f)
		w.leave(f, s)
	}
	if f.stream.key == key {
		return
	}
	s := w.stream(key)
	s.join(f, f.stream)
	w.going[f] = s
}

// shows is called when a stream may have come to show what it did not.
func (w *Watch) shows(s *stream) {
	w.mu.Lock()
	defer w.unlock()
	w.arrive(s)
}

// arrive ends the moves to s of what it shows, and has those be followed by
// name that it does not show although they may be there.
func (w *Watch) arrive(s *stream) {
	for f, to := range w.going {
		if to != s {
			continue
		}
		there, told := s.succeed(f, f.stream)
		if !there {
			continue
		}
		delete(w.going, f)
		old := f.stream
		f.stream = s
		w.leave(f, old)
		if told {
			w.told = append(w.told, f.unit)
		}
	}
	changed := false
	for _, f := range s.takeStirred() {
		if f.stream != s {
			continue // it has moved; the other stream tells as well
		}
		exists, known := s.has(f)
		other := w.instead[f]
		switch {
		case !known:
		case exists && other != nil:
			delete(w.instead, f)
			w.part(other)
		case !exists && other == nil && w.follows(f):
			named := *f.view
			named.Scope = Scope{}
			w.instead[f] = w.join(f.Ref, s.key.resource, &named, s)
			changed = true
			w.told = append(w.told, f.unit) // of what that stream shows already
		}
	}
	if changed {
		w.arrange(s.key.resource)
	}
}

// follows reports whether f has not been parted with meanwhile.
func (w *Watch) follows(f *following) bool { return w.units[f.unit].find(f.Ref) == f }

// succeed reports whether s shows the object of f as new as old does, and may
// take its place; told says that f looks different by it. What s has seen less
// of is asked for.
func (s *stream) succeed(f *following, old *stream) (there, told bool) {
	old.mu.Lock()
	defer old.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	name := f.name()
	r, before := s.records[name], old.records[name]
	fo, was := r.of(f), before.of(f)
	switch {
	case fo == nil || was == nil || !s.synced || r.unseen:
		return false, false
	case old.synced && before.version > r.version && (before.exists || old.key.selector == s.key.selector):
		// That something has left a label's stream says nothing to others.
		r.unseen = true
		s.find(name)
		return false, false
	}
	if r.version == before.version && fo.print == 0 {
		fo.print = was.print
	}
	if r.version == before.version && fo.health == nil {
		fo.health = was.health
	}
	return true, r.face(fo) != before.face(was)
}

// has reports whether the stream shows the object of f, if that is known.
func (s *stream) has(f *following) (exists, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[f.name()]
	if r.of(f) == nil || r.unseen || !s.synced && !r.exists {
		return false, false
	}
	return r.exists, true
}

func (s *stream) takeStirred() []*following {
	s.mu.Lock()
	defer s.mu.Unlock()
	affected := s.affected
	s.affected = nil
	return affected
}

func (s *stream) all() []*following {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.members()
}

// tightenNow takes apart what has become little, now and then.
func (w *Watch) tightenNow() {
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			w.tighten()
		case <-w.ctx.Done():
			return
		}
	}
}

func (w *Watch) tighten() {
	w.mu.Lock()
	defer w.unlock()
	for resource, n := range w.names {
		if n.tighten() {
			w.arrange(resource)
		}
	}
}

// connected notes how an attempt to list or watch went. Who may not ask for
// something asks for less.
func (w *Watch) connected(s *stream, err error) {
	if apierrors.IsForbidden(err) {
		w.mu.Lock()
		if n := w.names[s.key.resource]; n != nil && n.forbid(s.key) {
			w.log.Warn("plumb may not watch all of a kind at once, and watches less", "resource", s.key.resource.String(), "namespace", s.key.namespace)
			w.arrange(s.key.resource)
		}
		w.unlock()
	}
	s.connected(err)
}

// stream returns the stream of a key, and begins it if there is none.
func (w *Watch) stream(key streamKey) *stream {
	if s := w.streams[key]; s != nil {
		return s
	}
	s := newStream(w.ctx, key, w.notify, w.shows)
	w.streams[key] = s
	objects := w.cluster.Dynamic().Resource(key.resource)
	s.ask = func(ctx context.Context, namespace string, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
		return in(objects, namespace).List(ctx, o)
	}
	tweak := func(o *metav1.ListOptions) {
		o.LabelSelector = key.selector
		if key.name != "" {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", key.name).String()
		}
	}
	lw := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			tweak(&o)
			if key.selector == "" && key.name == "" && o.ResourceVersion == "0" {
				o.ResourceVersion = "" // the server's cache gives all at once, whatever the limit
			}
			l, err := in(objects, key.namespace).List(ctx, o)
			w.connected(s, err)
			if err == nil {
				s.slimList(l)
			}
			return l, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
			tweak(&o)
			wi, err := in(objects, key.namespace).Watch(ctx, o)
			w.connected(s, err)
			return wi, err
		},
	}, w.cluster.Dynamic())
	ref := cache.NewReflectorWithOptions(lw, &unstructured.Unstructured{}, s, cache.ReflectorOptions{
		Name:            key.resource.Resource,
		TypeDescription: key.resource.String(),
	})
	go ref.RunWithContext(s.ctx)
	// What nobody has followed by then is not ours to hold in memory.
	forget := time.AfterFunc(10*time.Minute, s.forgetStrangers)
	context.AfterFunc(s.ctx, func() { forget.Stop() })
	return s
}

func in(objects dynamic.NamespaceableResourceInterface, namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return objects
	}
	return objects.Namespace(namespace)
}

func (s *stream) forgetStrangers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strangers.forget()
}

// slimList leaves only the names of those objects in a list whose names are all
// that counts.
func (s *stream) slimList(l *unstructured.UnstructuredList) {
	for i := range l.Items {
		if u := &l.Items[i]; !s.wants(u) {
			slim := &unstructured.Unstructured{Object: map[string]any{}}
			slim.SetNamespace(u.GetNamespace())
			slim.SetName(u.GetName())
			slim.SetResourceVersion(u.GetResourceVersion())
			l.Items[i] = *slim
		}
	}
}
