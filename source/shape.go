package source

import (
	"fmt"
	"slices"

	"plumb.dev/plumb/tree"
)

// A Shape is what a source selects of what its server holds, and mounts in it.
type Shape struct {
	Sparse   []string // directories to keep; empty: all
	Includes []Include
	Ignore   *string // patterns as in .gitignore, in place of the usual ones
	// Whole leaves nothing out, whatever is to be ignored: neither by Ignore nor
	// by the usual patterns or a file.
	Whole bool
}

// An Include is a directory of another source, mounted in this one.
type Include struct {
	Source  string // name of the other
	At, Sub string // where, and which directory of the other; empty: the root
}

// equal reports whether s and o select and mount the same.
func (s Shape) equal(o Shape) bool {
	same := s.Ignore == nil && o.Ignore == nil || s.Ignore != nil && o.Ignore != nil && *s.Ignore == *o.Ignore
	return same && s.Whole == o.Whole && slices.Equal(s.Sparse, o.Sparse) && slices.Equal(s.Includes, o.Includes)
}

// A Part is a part of a Shape.
type Part string

// The parts.
const (
	PartSparse  Part = "sparse checkout"
	PartInclude Part = "include"
	PartIgnore  Part = "ignore rules"
)

// A ShapeError says which part of a Shape does not fit the content.
type ShapeError struct {
	Part Part
	Err  error
}

// Error returns the part and the cause.
func (e *ShapeError) Error() string { return string(e.Part) + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *ShapeError) Unwrap() error { return e.Err }

// Apply makes of what a server holds what s selects of it. included are the
// artifacts of s.Includes, in order. An error is a [ShapeError].
func (s Shape) Apply(t tree.Tree, g *Ignorer, included []*Artifact) (tree.Tree, error) {
	var err error
	if len(s.Sparse) > 0 {
		if t, err = tree.Sparse(t, s.Sparse); err != nil {
			return nil, &ShapeError{PartSparse, err}
		}
	}
	if len(included) != len(s.Includes) {
		return nil, &ShapeError{PartInclude, fmt.Errorf("%d artifacts for %d of them", len(included), len(s.Includes))}
	}
	var mounts []tree.Mount
	for i, inc := range s.Includes {
		mounts = append(mounts, tree.Mount{At: inc.At, Tree: included[i].Tree, Sub: inc.Sub})
	}
	if len(mounts) > 0 {
		if t, err = tree.Overlay(t, mounts); err != nil {
			return nil, &ShapeError{PartInclude, err}
		}
	}
	if s.Whole {
		return t, nil
	}
	if t, err = g.Apply(t, s.Ignore); err != nil {
		return nil, &ShapeError{PartIgnore, err}
	}
	return t, nil
}
