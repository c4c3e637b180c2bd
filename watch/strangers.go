package watch

import (
	"hash/maphash"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// strangers are the objects of a stream that nobody follows. Of each there is
// the hash of its name, so that whoever comes to follow it learns that it is
// not known, rather than that it is not there.
//
// While units are yet to come, at a start, some are held as a whole: whoever
// follows one then need not ask for it.
type strangers struct {
	names map[uint64]struct{}
	keep  bool
	held  map[types.NamespacedName]*unstructured.Unstructured
	bytes map[string]int // what is held, by namespace: who may write there decides how much there is
}

// maxStrangers is the most bytes that are held of strangers of one kind and
// namespace: anybody may set a label on what they may write.
const maxStrangers = 8 << 20

var seed = maphash.MakeSeed()

func newStrangers(keep bool) strangers {
	return strangers{
		names: make(map[uint64]struct{}), keep: keep,
		held: make(map[types.NamespacedName]*unstructured.Unstructured), bytes: make(map[string]int),
	}
}

// add notes that an object is there; obj is nil if no more is known of it.
func (s *strangers) add(name types.NamespacedName, obj *unstructured.Unstructured) {
	s.drop(name)
	s.names[maphash.Comparable(seed, name)] = struct{}{}
	if obj == nil || !s.keep {
		return
	}
	if n := sizeOf(obj.Object); s.bytes[name.Namespace]+n <= maxStrangers {
		s.held[name] = obj
		s.bytes[name.Namespace] += n
	}
}

// remove notes that an object is gone, or followed.
func (s *strangers) remove(name types.NamespacedName) {
	s.drop(name)
	delete(s.names, maphash.Comparable(seed, name))
	if len(s.names) == 0 {
		*s = newStrangers(s.keep) // a map keeps the room for what has been in it
	}
}

// find reports whether an object is there, and returns it if it is held.
func (s *strangers) find(name types.NamespacedName) (obj *unstructured.Unstructured, there bool) {
	_, there = s.names[maphash.Comparable(seed, name)]
	return s.held[name], there
}

// drop ends the holding of an object.
func (s *strangers) drop(name types.NamespacedName) {
	obj := s.held[name]
	if obj == nil {
		return
	}
	delete(s.held, name)
	if s.bytes[name.Namespace] -= sizeOf(obj.Object); s.bytes[name.Namespace] <= 0 {
		delete(s.bytes, name.Namespace)
	}
}

// forget ends the holding of objects.
func (s *strangers) forget() {
	names := s.names
	*s = newStrangers(false)
	s.names = names
}

// sizeOf is about how much memory a value of an object takes.
func sizeOf(v any) int {
	const each = 16 // of what a value is kept in
	n := each
	switch v := v.(type) {
	case string:
		n += len(v)
	case map[string]any:
		for k, x := range v {
			n += each + len(k) + sizeOf(x)
		}
	case []any:
		for _, x := range v {
			n += sizeOf(x)
		}
	}
	return n
}
