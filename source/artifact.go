// Package source is where desired state comes from: it gives a revision and a
// tree.
//
// An [Artifact] is one revision of a source; a [Shelf] holds the newest good
// one of each, also while the source fails. How a kind of source is polled and
// fetched is for the package of that kind, such as source/git; what of a tree
// is left out, for an [Ignorer]. When to look again is for the controllers.
package source

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	"plumb.dev/plumb/tree"
)

// A Commit says who asked for a revision, when and why. It is empty for
// sources that have no history.
type Commit struct {
	ID, Author, Email, Message string
	When                       time.Time
}

// An Artifact is one revision of a source and what it holds.
type Artifact struct {
	// Source is the name of what it came from, the same for every revision:
	// GitRepository/flux-system/infra.
	Source   string
	Revision string // main@sha1:…
	Commit   Commit
	Tree     tree.Tree
	// Fetched is when the revision was first seen, which is when the time
	// from commit to live begins where the push itself was not seen.
	Fetched time.Time
}

// Same reports whether a and b, which may be nil, are one revision with one
// content.
func (a *Artifact) Same(b *Artifact) bool {
	if a == nil || b == nil {
		return a == b
	}
	root := tree.RootID(a.Tree)
	return a.Source == b.Source && a.Revision == b.Revision && root != "" && root == tree.RootID(b.Tree)
}

// Digest identifies what a tree holds, or is empty if that can't be told.
func Digest(t tree.Tree) string {
	root := tree.RootID(t)
	if root == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(root))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// A Shelf holds the newest good artifact of every source. It is safe for
// concurrent use; the zero value is empty.
type Shelf struct {
	mu  sync.RWMutex
	now map[string]*Artifact
}

// Put makes a the newest artifact of its source, and returns the one before it,
// or nil.
func (s *Shelf) Put(a *Artifact) (before *Artifact) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil {
		s.now = make(map[string]*Artifact)
	}
	before = s.now[a.Source]
	s.now[a.Source] = a
	return before
}

// Get returns the newest artifact of a source, or nil.
func (s *Shelf) Get(source string) *Artifact {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.now[source]
}

// Drop forgets a source. Nothing else does: a source that fails keeps its
// last good artifact.
func (s *Shelf) Drop(source string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.now, source)
}
