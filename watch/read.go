package watch

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/object/owned"
)

// Where rules say what counts of an object, it may take time to tell. That is
// found out with no lock held: for who asks, at once; for events, by one
// goroutine of the stream, and of several events about one object the last
// counts. Until then nothing is said to have changed.

// take makes obj what a record is about.
func (s *stream) take(r *record, obj *unstructured.Unstructured, version uint64) {
	r.take(obj, version)
	for i := range r.by {
		s.later(r.by[i].f, obj)
	}
}

// later has an object looked at for f, if that takes time.
func (s *stream) later(f *following, obj *unstructured.Unstructured) {
	if !f.Managers.Ignored.Slow() {
		return
	}
	if s.unread == nil {
		s.unread = make(map[*following]*unstructured.Unstructured)
	}
	s.unread[f] = obj
	if !s.reading {
		s.reading = true
		go s.readAll()
	}
}

// readAll looks at all that is to be looked at.
func (s *stream) readAll() {
	for {
		s.mu.Lock()
		var f *following
		for f = range s.unread {
			break
		}
		if f == nil || s.ctx.Err() != nil {
			s.reading = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		s.tell(s.read(f))
	}
}

// read looks at the object of f, if that is to be done.
func (s *stream) read(f *following) change {
	s.mu.Lock()
	obj := s.unread[f]
	s.mu.Unlock()
	if obj == nil {
		return change{}
	}
	print := owned.Print(obj, f.Managers)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unread[f] != obj {
		return change{} // there is a later one
	}
	delete(s.unread, f)
	name := f.name()
	r := s.records[name]
	fo := r.of(f)
	if fo == nil {
		return change{}
	}
	c := s.change(name, r, func() { fo.print = print })
	if !fo.settled() && r.object == nil && r.exists {
		r.object = obj
	}
	r.slim()
	return c
}
