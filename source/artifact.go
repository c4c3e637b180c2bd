// Package source is where desired state comes from: it gives a revision and a
// tree.
//
// A [Fetcher] is one source at its server, and a package below, such as
// source/git, has those of one kind. A [Keeper] asks for many, when it is time
// to or something happens, and holds the newest good [Artifact] of each, also
// while the source fails. What an artifact selects of its source, leaves out and
// mounts is its [Shape].
//
// Left to others: which sources there are, and what is said of them.
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

// A shelf holds the newest good artifact of every source. It is safe for
// concurrent use; the zero value is empty.
type shelf struct {
	mu  sync.RWMutex
	now map[string]*Artifact
}

func (s *shelf) put(a *Artifact) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil {
		s.now = make(map[string]*Artifact)
	}
	s.now[a.Source] = a
}

func (s *shelf) get(source string) *Artifact {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.now[source]
}

func (s *shelf) drop(source string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.now, source)
}
