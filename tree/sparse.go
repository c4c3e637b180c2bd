package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Sparse returns what of t is at the given paths, as a sparse checkout of Flux
// has it: files beside those directories, also in the root, are left out. A
// path that is not in t is a [fault.Stall] with reason PathNotFound.
//
// Where Flux takes paths as prefixes, so that apps keeps apps-old as well,
// here a path is that directory or file.
func Sparse(t Tree, paths []string) (Tree, error) {
	s := &sparse{t: t, root: &point{}}
	for _, p := range paths {
		clean, err := Clean(p)
		if err != nil {
			return nil, err
		}
		if clean == "." {
			return t, nil
		}
		if _, err := t.Lookup(clean); errors.Is(err, fs.ErrNotExist) {
			return nil, pathNotFound(p)
		} else if err != nil {
			return nil, err
		}
		at := s.root
		for part := range strings.SplitSeq(clean, "/") {
			at = at.child(part)
		}
		at.mounts = []layer{{}} // a mark: kept from here on
	}
	return s, nil
}

type sparse struct {
	t    Tree
	root *point
}

// kept reports whether name is below a kept path, and otherwise whether it is
// on the way to one.
func (s *sparse) kept(name string) (all bool, on *point) {
	at := s.root
	if name == "." {
		return false, at
	}
	for part := range strings.SplitSeq(name, "/") {
		if at = at.below[part]; at == nil {
			return false, nil
		}
		if len(at.mounts) > 0 {
			return true, nil
		}
	}
	return false, at
}

// Lookup implements Tree.
func (s *sparse) Lookup(name string) (Entry, error) {
	all, on := s.kept(name)
	if !all && on == nil {
		if !fs.ValidPath(name) {
			return Entry{}, &fs.PathError{Op: "lookup", Path: name, Err: fs.ErrInvalid}
		}
		if _, err := s.t.Lookup(name); err != nil {
			return Entry{}, err
		}
		left := &Excluded{By: "spec.sparseCheckout", Shown: fmt.Sprintf("the path %q in it", name)}
		return Entry{}, &fs.PathError{Op: "lookup", Path: name, Err: left}
	}
	e, err := s.t.Lookup(name)
	if err != nil || all {
		return e, err
	}
	entries, err := s.ReadDir(name)
	if err != nil {
		return Entry{}, err
	}
	e.ID = DirID(entries)
	return e, nil
}

// ReadDir implements Tree.
func (s *sparse) ReadDir(name string) ([]Entry, error) {
	all, on := s.kept(name)
	if !all && on == nil {
		return nil, NotExist("readdir", name)
	}
	entries, err := s.t.ReadDir(name)
	if err != nil || all {
		return entries, err
	}
	var out []Entry
	for _, e := range entries {
		if on.below[e.Name] != nil {
			e, err := s.Lookup(path.Join(name, e.Name))
			if err != nil {
				return nil, err
			}
			out = append(out, e)
		}
	}
	return out, nil
}

// ReadFile implements Tree.
func (s *sparse) ReadFile(name string) ([]byte, error) {
	if all, on := s.kept(name); !all && on == nil {
		return nil, NotExist("read", name)
	}
	return s.t.ReadFile(name)
}
