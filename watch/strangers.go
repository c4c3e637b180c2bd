package watch

// maxStrangers is the most bytes of objects of one kind and namespace that are
// held although nobody follows them yet. The watch shows whatever carries the
// label, and anybody may set it on what they may write. An object that is not
// held is read when it is needed.
const maxStrangers = 8 << 20

// stranger decides whether the object of a record that nobody follows is held.
func (s *stream) stranger(namespace string, r *record) {
	s.known(namespace, r)
	if len(r.by) > 0 || r.object == nil {
		return
	}
	n := sizeOf(r.object.Object)
	if !s.keep || s.strangers[namespace]+n > maxStrangers {
		r.object = nil
		return
	}
	r.strange = n
	s.strangers[namespace] += n
}

// known ends the counting of a record as a stranger's.
func (s *stream) known(namespace string, r *record) {
	if r.strange == 0 {
		return
	}
	if s.strangers[namespace] -= r.strange; s.strangers[namespace] <= 0 {
		delete(s.strangers, namespace)
	}
	r.strange = 0
}

// forgetStrangers lets go of the objects that nobody has followed.
func (s *stream) forgetStrangers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep = false
	for name, r := range s.records {
		if len(r.by) == 0 {
			s.known(name.Namespace, r)
			r.object = nil
		}
	}
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
