package tree

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
)

// A Scope says what of one directory is hidden. It must be safe for
// concurrent use and may not change.
type Scope interface {
	// Hides reports whether the file or directory at name, somewhere below
	// the scope's directory, is hidden. Of a directory it says nothing of
	// what is in it if Reincludes says so.
	Hides(name string, dir bool) bool

	// Reincludes reports whether something in the hidden directory at name,
	// whose ID is id, may be shown nevertheless.
	Reincludes(name string, id ID) (bool, error)

	// Excludes says why the hidden file or directory at name is hidden.
	Excludes(name string, dir bool) *Excluded

	// Enter returns the scope of the directory at name, one level down.
	Enter(name string) (Scope, error)

	// ID names the rules: with equal IDs, the same is hidden of equal
	// directories at the same place.
	ID() ID
}

// Filter returns what of t root, a Scope of the directory ".", doesn't hide. A
// directory that is shown has an ID of its own, from what it is, where it is
// and which rules are at work there, so that equal IDs still mean that the
// same is seen.
func Filter(t Tree, root Scope) Tree {
	f := &filter{t: t}
	f.scopes.Store(".", root)
	return f
}

type filter struct {
	t      Tree
	scopes sync.Map // directory → Scope
	shown  sync.Map // hidden directory → whether something in it is shown
}

// scope returns the scope of a directory.
func (f *filter) scope(dir string) (Scope, error) {
	if s, ok := f.scopes.Load(dir); ok {
		return s.(Scope), nil
	}
	up, err := f.scope(path.Dir(dir))
	if err != nil {
		return nil, err
	}
	s, err := up.Enter(dir)
	if err != nil {
		return nil, err
	}
	f.scopes.Store(dir, s)
	return s, nil
}

// Lookup implements Tree.
func (f *filter) Lookup(name string) (Entry, error) {
	e, err := f.t.Lookup(name)
	if err != nil {
		return Entry{}, err
	}
	e, ok, err := f.see(name, e)
	if err == nil && !ok {
		err = f.excluded(name, e)
	}
	if err != nil {
		return Entry{}, err
	}
	return e, nil
}

// excluded is the error for an entry that is hidden.
func (f *filter) excluded(name string, e Entry) error {
	s, err := f.scope(path.Dir(name))
	if err != nil {
		return err
	}
	return &fs.PathError{Op: "lookup", Path: name, Err: s.Excludes(name, e.Kind == Dir || e.Kind == Submodule)}
}

// see returns the entry at name as it shows here, if it does.
func (f *filter) see(name string, e Entry) (Entry, bool, error) {
	// The rules of the directory that it is in. Those that a directory brings
	// for itself are part of its content, and so of its ID.
	s, err := f.scope(path.Dir(name))
	if err != nil {
		return e, false, err
	}
	dir := e.Kind == Dir || e.Kind == Submodule
	if name != "." && s.Hides(name, dir) {
		if e.Kind != Dir {
			return e, false, nil
		}
		if ok, err := s.Reincludes(name, e.ID); err != nil || !ok {
			return e, false, err
		}
		if ok, err := f.shows(name); err != nil || !ok {
			return e, false, err
		}
	}
	if e.Kind == Dir && e.ID != "" {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s", s.ID(), name, e.ID))
		e.ID = ID("filtered:" + hex.EncodeToString(sum[:]))
	}
	return e, true, nil
}

// shows reports whether something in a hidden directory is shown.
func (f *filter) shows(dir string) (bool, error) {
	if got, ok := f.shown.Load(dir); ok {
		return got.(bool), nil
	}
	entries, err := f.t.ReadDir(dir)
	if err != nil {
		return false, err
	}
	s, err := f.scope(dir)
	if err != nil {
		return false, err
	}
	found := false
	for _, e := range entries {
		name := path.Join(dir, e.Name)
		if found = !s.Hides(name, e.Kind == Dir || e.Kind == Submodule); !found && e.Kind == Dir {
			if found, err = f.shows(name); err != nil {
				return false, err
			}
		}
		if found {
			break
		}
	}
	f.shown.Store(dir, found)
	return found, nil
}

// ReadDir implements Tree.
func (f *filter) ReadDir(name string) ([]Entry, error) {
	if _, err := f.Lookup(name); err != nil {
		return nil, renamedOp(err, "readdir")
	}
	entries, err := f.t.ReadDir(name)
	if err != nil {
		return nil, err
	}
	out := make([]Entry, 0, len(entries))
	for _, e := range entries {
		e, ok, err := f.see(path.Join(name, e.Name), e)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, e)
		}
	}
	return out, nil
}

// ReadFile implements Tree.
func (f *filter) ReadFile(name string) ([]byte, error) {
	if _, err := f.Lookup(name); err != nil {
		return nil, renamedOp(err, "read")
	}
	return f.t.ReadFile(name)
}

func renamedOp(err error, op string) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return &fs.PathError{Op: op, Path: pe.Path, Err: pe.Err}
	}
	return err
}
