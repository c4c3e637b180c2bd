package tree

import (
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"encoding/hex"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"plumb.dev/plumb/internal/text"
)

// A Trace is what a reader saw of a tree: the content it read, the names it
// listed, and the names it asked for and did not find. It answers in a few
// microseconds whether a reader would see the same in another tree.
type Trace struct {
	seen []Sighting // sorted by name
}

// A Sighting is what a trace holds of one name. Content is recorded only if it
// was read and a listing only if it was listed: a file that changes in a
// directory that was merely listed leaves the trace standing.
type Sighting struct {
	Name    string
	Missing bool
	Kind    Kind
	Content ID // of a file or link that was read
	Listing ID // of a directory that was listed: its names and kinds
	Subtree ID // of that directory as a whole; a shortcut, not a condition
}

// Len returns the number of names in the trace.
func (t Trace) Len() int { return len(t.seen) }

// MarshalBinary implements [encoding.BinaryMarshaler].
func (t Trace) MarshalBinary() ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(t.seen)
	return b.Bytes(), err
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler].
func (t *Trace) UnmarshalBinary(b []byte) error {
	var seen []Sighting
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&seen); err != nil {
		return err
	}
	*t = TraceOf(seen)
	return nil
}

// Sightings returns what the trace holds, sorted by name.
func (t Trace) Sightings() []Sighting { return slices.Clone(t.seen) }

// TraceOf is the reverse of Sightings. A trace is kept for long.
func TraceOf(all []Sighting) Trace {
	seen := slices.Clone(all)
	texts := make([]*string, 0, 4*len(seen))
	for i := range seen {
		s := &seen[i]
		texts = append(texts, &s.Name, (*string)(&s.Content), (*string)(&s.Listing), (*string)(&s.Subtree))
	}
	text.Gather(texts)
	slices.SortFunc(seen, func(a, b Sighting) int { return strings.Compare(a.Name, b.Name) })
	return Trace{seen: seen}
}

// has reports whether a name is in the trace.
func (t Trace) has(name string) bool {
	_, ok := slices.BinarySearchFunc(t.seen, name, func(s Sighting, name string) int { return strings.Compare(s.Name, name) })
	return ok
}

// Holds reports whether a reader that left this trace would see the same in
// at. Where it would not, changed is one of the names that differ.
func (t Trace) Holds(at Tree) (changed string, ok bool) {
	for _, s := range t.seen {
		if !s.holds(at) {
			return s.Name, false
		}
	}
	return "", true
}

func (s Sighting) holds(at Tree) bool {
	e, err := at.Lookup(s.Name)
	if err != nil {
		return s.Missing && errors.Is(err, fs.ErrNotExist)
	}
	if s.Missing || e.Kind != s.Kind {
		return false
	}
	if s.Content != "" && s.Content != e.ID {
		return false
	}
	if s.Listing == "" || (s.Subtree != "" && s.Subtree == e.ID) {
		return true
	}
	entries, err := at.ReadDir(s.Name)
	return err == nil && listingID(entries) == s.Listing
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
	seen map[string]Sighting
	err  error
}

// NewTracer returns a Tracer over t.
func NewTracer(t Tree) *Tracer {
	return &Tracer{tree: t, seen: make(map[string]Sighting)}
}

// Trace returns what has been seen so far. ok is false if a read failed for
// another reason than that the name does not exist: such a reader's result
// says nothing about the tree and must not be kept.
func (r *Tracer) Trace() (t Trace, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return TraceOf(slices.Collect(maps.Values(r.seen))), r.err == nil
}

func (r *Tracer) note(name string, err error, learn func(*Sighting)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seen[name]
	s.Name = name
	switch {
	case err == nil:
		learn(&s)
	case errors.Is(err, fs.ErrNotExist):
		s.Missing = true
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
	r.note(name, err, func(s *Sighting) { s.Kind = e.Kind })
	e.ID = ""
	return e, err
}

// ReadDir implements Tree.
func (r *Tracer) ReadDir(name string) ([]Entry, error) {
	e, err := r.tree.Lookup(name)
	if err == nil && e.Kind != Dir {
		r.note(name, nil, func(s *Sighting) { s.Kind = e.Kind })
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	var entries []Entry
	if err == nil {
		entries, err = r.tree.ReadDir(name)
	}
	r.note(name, err, func(s *Sighting) {
		s.Kind, s.Subtree, s.Listing = Dir, e.ID, listingID(entries)
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
		r.note(name, nil, func(s *Sighting) { s.Kind = e.Kind })
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a " + e.Kind.String())}
	}
	var b []byte
	if err == nil {
		b, err = r.tree.ReadFile(name)
	}
	r.note(name, err, func(s *Sighting) { s.Kind, s.Content = e.Kind, e.ID })
	return b, err
}
