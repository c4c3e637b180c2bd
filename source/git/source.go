package git

import (
	"context"
	"fmt"
	"strings"

	"plumb.dev/plumb/source"
)

// A Source is a reference of a repository, as a [source.Fetcher]. What is to
// be kept of it is in Store.
type Source struct {
	Store  *Store
	Remote Remote
	Ref    Ref
	FetchOptions
}

var _ source.Fetcher = Source{}

// Key implements [source.Fetcher].
func (s Source) Key() string {
	return s.Remote.key(s.Store.salt) + s.Store.salt.Name(s.Remote.access(s.Store.salt),
		s.Ref.Branch, s.Ref.Tag, s.Ref.SemVer, s.Ref.Name, s.Ref.Commit, s.Ref.Short, fmt.Sprint(s.RecurseSubmodules, s.Remote.Timeout))
}

// URL implements [source.Fetcher].
func (s Source) URL() string { return s.Remote.String() }

// Server implements [source.Fetcher].
func (s Source) Server() string { return s.Remote.Server() }

// Place implements [source.Fetcher].
func (s Source) Place() string { return s.Remote.key(s.Store.salt) }

// Resolve implements [source.Fetcher].
func (s Source) Resolve(ctx context.Context) (source.Revision, error) {
	h, err := s.Store.Resolve(ctx, s.Remote, s.Ref)
	return source.Revision{Name: h.Revision, Detail: h}, err
}

// Fetch implements [source.Fetcher].
func (s Source) Fetch(ctx context.Context, r source.Revision) (*source.Content, error) {
	snap, err := s.Store.Fetch(ctx, s.Remote, headOf(r), s.FetchOptions)
	if err != nil {
		return nil, err
	}
	return snap.content(), nil
}

// Open implements [source.Fetcher].
func (s Source) Open(r source.Revision) (*source.Content, error) {
	snap, err := s.Store.Open(s.Remote, headOf(r), s.FetchOptions)
	if err != nil {
		return nil, err
	}
	return snap.content(), nil
}

// headOf is the other direction of Resolve; after a restart only the name of a
// revision is known.
func headOf(r source.Revision) Head {
	if h, ok := r.Detail.(Head); ok {
		return h
	}
	_, hash, _ := strings.Cut(r.Name, "sha1:")
	return Head{Revision: r.Name, Hash: hash}
}

func (s *Snapshot) content() *source.Content {
	c := s.Commit
	return &source.Content{
		Tree: s.Tree, Broken: s.broken,
		Commit: source.Commit{ID: c.Hash, Author: c.Author, Email: c.Email, Message: c.Message, When: c.When},
	}
}
