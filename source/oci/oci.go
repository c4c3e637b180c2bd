// Package oci fetches artifacts of OCI registries.
//
// A [Source] is a tag, a range of versions or a digest of one repository, and
// which layer of its artifact counts. What a registry says is checked:
//
//   - A manifest is asked for by the digest that was resolved, and it and the
//     layer are read no further than their size, and unpacked only if they have
//     their digest. A tag that moves meanwhile changes nothing.
//   - A document that could be read as a manifest and as an index is refused.
//   - Tags are looked at page by page, and are not kept. How many there may be has
//     a bound, and so has whatever else a registry can make long.
//   - Credentials go to the registry, and to where it has tokens given out: not
//     from TLS to none, and not to an address that only this machine or its
//     network's keepers would answer at. A redirect carries none to another
//     server.
//
// Errors are [fault.Error]s, a Stall only if the address or the reference can
// never work. Their reasons are those of source/web and source/archive, and the
// Reason constants.
//
// Left to others: whose signature is on an artifact, and logins of clouds. A
// document's subject and referrers are not looked at.
package oci

import (
	"context"
	"encoding/json"
	"fmt"

	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/archive"
)

// A Source is an artifact of a repository, as a [source.Fetcher].
type Source struct {
	Store   *archive.Store
	Clients *Clients // nil: each conversation makes its own connections
	Remote  Remote
	Ref     Ref
	Layer   Layer
	Limits  archive.Limits // of what is unpacked; zero: the Store's
}

var _ source.Fetcher = Source{}

// A Found is what a reference stands for: the Detail of a revision.
type Found struct {
	Digest  string // of the manifest or index
	Tag     string // empty if the reference is a digest
	Version string // of a chart

	access string // who was told so
}

// A note is what is kept beside a tree.
type note struct {
	Digest string
	Commit source.Commit
}

// Key implements [source.Fetcher].
func (s Source) Key() string {
	r := s.Ref
	return s.Place() + s.access() + s.Store.Key(r.Digest, r.SemVer, r.SemverFilter, r.Tag, r.Short, fmt.Sprint(s.Remote.Timeout, s.Limits))
}

// URL implements [source.Fetcher].
func (s Source) URL() string { return s.Remote.String() }

// Server implements [source.Fetcher].
func (s Source) Server() string { return s.Remote.server() }

// Place implements [source.Fetcher]. Of one artifact, another choice of its layer
// is kept at another place.
func (s Source) Place() string {
	return s.Store.Key(append([]string{"oci", s.Remote.address()}, s.Layer.fields()...)...)
}

func (s Source) access() string { return s.Store.Key(s.Remote.access()...) }

func (s Source) slot(name string) archive.Slot {
	return archive.Slot{Place: s.Place(), Name: name, Access: s.access()}
}

// String is the address.
func (s Source) String() string { return s.Remote.String() }

// GoString is String.
func (s Source) GoString() string { return s.String() }

// Resolve implements [source.Fetcher]. The name of the revision is tag@digest,
// or the digest alone if that was asked for; of a chart it is the version.
func (s Source) Resolve(ctx context.Context) (source.Revision, error) {
	w, err := s.Ref.plan(s.Layer.Kind)
	if err != nil {
		return source.Revision{}, err
	}
	found := Found{access: s.access()}
	err = s.converse(ctx, "resolve", func(ctx context.Context, c *client) error {
		return c.resolve(ctx, w, &found)
	})
	if err != nil {
		return source.Revision{}, err
	}
	r := source.Revision{Name: found.name(), Detail: found}
	return r, s.Store.Grant(s.slot(r.Name), has(found.Digest))
}

func (f Found) name() string {
	switch {
	case f.Version != "":
		return f.Version
	case f.Tag == "":
		return f.Digest
	}
	return f.Tag + "@" + f.Digest
}

// has reports of what is kept whether it is that of a digest.
func has(digest string) func([]byte) bool {
	return func(b []byte) bool {
		var n note
		return json.Unmarshal(b, &n) == nil && n.Digest == digest
	}
}

// Fetch implements [source.Fetcher].
func (s Source) Fetch(ctx context.Context, r source.Revision) (*source.Content, error) {
	found, err := s.found(r)
	if err != nil {
		return nil, err
	}
	order := archive.Order{Limits: s.Limits, Same: has(found.Digest), Proven: found.access == s.access()}
	t, err := s.Store.Fetch(ctx, s.slot(r.Name), order, func(ctx context.Context, b *archive.Builder) error {
		return s.converse(ctx, "fetch", func(ctx context.Context, c *client) error {
			return c.fetch(ctx, found.Digest, s, b)
		})
	})
	if err != nil {
		return nil, s.explain(ctx, "fetch", err)
	}
	return content(t), nil
}

// found is what a revision was when it was resolved. After a restart only its
// name is known, which of a chart does not tell the digest.
func (s Source) found(r source.Revision) (Found, error) {
	if f, ok := r.Detail.(Found); ok {
		return f, nil
	}
	if d := digestIn(r.Name); d != "" {
		return Found{Digest: d}, nil
	}
	if t, err := s.Store.Open(s.slot(r.Name)); err == nil {
		var n note
		if json.Unmarshal(t.Note(), &n) == nil {
			return Found{Digest: n.Digest}, nil
		}
	}
	return Found{}, s.explain(context.Background(), "fetch", notResolved(r.Name))
}

// Open implements [source.Fetcher].
func (s Source) Open(r source.Revision) (*source.Content, error) {
	t, err := s.Store.Open(s.slot(r.Name))
	if err != nil {
		return nil, s.explain(context.Background(), "open", err)
	}
	return content(t), nil
}

func content(t *archive.Tree) *source.Content {
	var n note
	_ = json.Unmarshal(t.Note(), &n) // it was written here
	return &source.Content{Tree: t, Commit: n.Commit, Broken: t.Broken}
}
