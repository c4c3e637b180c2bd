package tree

import (
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"encoding/hex"
	"errors"
	"io/fs"
	"sync"
)

// A Trace is what a reader saw of a tree: the content it read, the names it
// listed, and the names it asked for and did not find. It answers in a few
// microseconds whether a reader would see the same in another tree.
type Trace struct {
	seen map[string]sighting
}

// A sighting is what was learned of one name. Content is recorded only if it
// was read and a listing only if it was listed: a file that changes in a
// directory that was merely listed leaves the trace standing.
type sighting struct {
	missing bool
	kind    Kind
	content ID // of a file or link that was read
	listing ID // of a directory that was listed: its names and kinds
	subtree ID // of that directory as a whole; a shortcut, not a condition
}

// Len returns the number of names in the trace.
func (t Trace) Len() int { return len(t.seen) }

// MarshalBinary implements [encoding.BinaryMarshaler].
func (t Trace) MarshalBinary() ([]byte, error) {
	var b bytes.Buffer
	seen := make(map[string]storedSighting, len(t.seen))
	for name, s := range t.seen {
		seen[name] = storedSighting{s.missing, s.kind, s.content, s.listing, s.subtree}
	}
	err := gob.NewEncoder(&b).Encode(seen)
	return b.Bytes(), err
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler].
func (t *Trace) UnmarshalBinary(b []byte) error {
	var seen map[string]storedSighting
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&seen); err != nil {
		return err
	}
	t.seen = make(map[string]sighting, len(seen))
	for name, s := range seen {
		t.seen[name] = sighting{s.Missing, s.Kind, s.Content, s.Listing, s.Subtree}
	}
	return nil
}

// A storedSighting is a sighting as it is encoded.
type storedSighting struct {
	Missing                   bool
	Kind                      Kind
	Content, Listing, Subtree ID
}

// A Sighting is what a trace holds of one name, for who passes it on.
type Sighting struct {
	Name                      string
	Missing                   bool
	Kind                      Kind
	Content, Listing, Subtree ID
}

// Sightings returns what the trace holds, in any order.
func (t Trace) Sightings() []Sighting {
	all := make([]Sighting, 0, len(t.seen))
	for name, s := range t.seen {
		all = append(all, Sighting{name, s.missing, s.kind, s.content, s.listing, s.subtree})
	}
	return all
}

// TraceOf is the reverse of Sightings.
func TraceOf(all []Sighting) Trace {
	seen := make(map[string]sighting, len(all))
	for _, s := range all {
		seen[s.Name] = sighting{s.Missing, s.Kind, s.Content, s.Listing, s.Subtree}
	}
	return Trace{seen: seen}
}

// Holds reports whether a reader that left this trace would see the same in
// at. Where it would not, changed is one of the names that differ.
func (t Trace) Holds(at Tree) (changed string, ok bool) {
	for name, s := range t.seen {
		if !s.holds(at, name) {
			return name, false
		}
	}
	return "", true
}

func (s sighting) holds(at Tree, name string) bool {
	e, err := at.Lookup(name)
	if err != nil {
		return s.missing && errors.Is(err, fs.ErrNotExist)
	}
	if s.missing || e.Kind != s.kind {
		return false
	}
	if s.content != "" && s.content != e.ID {
		return false
	}
	if s.listing == "" || (s.subtree != "" && s.subtree == e.ID) {
		return true
	}
	entries, err := at.ReadDir(name)
	return err == nil && listingID(entries) == s.listing
}

func listingID(entries []Entry) ID {
	h := sha256.New()
	for _, e := range entries {
		h.Write([]byte{byte(e.Kind)})
		h.Write([]byte(e.Name))
		h.Write([]byte{0})
	}
	return ID("list:" + hex.EncodeToString(h.Sum(nil)))
}

// A Tracer is a Tree that records what is read through it. The entries that
// it returns carry no ID, so that a reader can't depend on content without
// reading it.
type Tracer struct {
	tree Tree

	mu   sync.Mutex
	seen map[string]sighting
	err  error
}

// NewTracer returns a Tracer over t.
func NewTracer(t Tree) *Tracer {
	return &Tracer{tree: t, seen: make(map[string]sighting)}
}

// Trace returns what has been seen so far. ok is false if a read failed for
// another reason than that the name does not exist: such a reader's result
// says nothing about the tree and must not be kept.
func (r *Tracer) Trace() (t Trace, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := make(map[string]sighting, len(r.seen))
	for k, v := range r.seen {
		seen[k] = v
	}
	return Trace{seen: seen}, r.err == nil
}

func (r *Tracer) note(name string, err error, learn func(*sighting)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seen[name]
	switch {
	case err == nil:
		learn(&s)
	case errors.Is(err, fs.ErrNotExist):
		s.missing = true
	default:
		r.err = err
		return
	}
	r.seen[name] = s
}

// Lookup implements Tree.
func (r *Tracer) Lookup(name string) (Entry, error) {
	if !fs.ValidPath(name) {
		return Entry{}, &fs.PathError{Op: "lookup", Path: name, Err: fs.ErrInvalid}
	}
	e, err := r.tree.Lookup(name)
	r.note(name, err, func(s *sighting) { s.kind = e.Kind })
	e.ID = ""
	return e, err
}

// ReadDir implements Tree.
func (r *Tracer) ReadDir(name string) ([]Entry, error) {
	e, err := r.tree.Lookup(name)
	if err == nil && e.Kind != Dir {
		r.note(name, nil, func(s *sighting) { s.kind = e.Kind })
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	var entries []Entry
	if err == nil {
		entries, err = r.tree.ReadDir(name)
	}
	r.note(name, err, func(s *sighting) {
		s.kind, s.subtree, s.listing = Dir, e.ID, listingID(entries)
	})
	if err != nil {
		return nil, err
	}
	out := make([]Entry, len(entries))
	for i, e := range entries {
		out[i] = Entry{Name: e.Name, Kind: e.Kind}
	}
	return out, nil
}

// ReadFile implements Tree.
func (r *Tracer) ReadFile(name string) ([]byte, error) {
	e, err := r.tree.Lookup(name)
	if err == nil && (e.Kind == Dir || e.Kind == Submodule) {
		r.note(name, nil, func(s *sighting) { s.kind = e.Kind })
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a " + e.Kind.String())}
	}
	var b []byte
	if err == nil {
		b, err = r.tree.ReadFile(name)
	}
	r.note(name, err, func(s *sighting) { s.kind, s.content = e.Kind, e.ID })
	return b, err
}
