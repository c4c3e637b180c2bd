package source

import (
	"context"

	"plumb.dev/plumb/tree"
)

// A Fetcher is one source at its server: an address, a reference, and the
// credentials to ask with. It is a plain value of the package of its kind, such
// as [plumb.dev/plumb/source/git.Source]; a source whose spec or credentials
// change gets another one. It is safe for concurrent use, and
// source/sourcetest holds what every kind has to do.
//
// An error is a [plumb.dev/plumb/fault.Error] and holds no secret: a Stall if
// the address or the reference can never work, or what a revision holds, else a
// Retry. One after which
// the server counts as not answering has the reason [ReasonTimeout].
type Fetcher interface {
	// Key is the same for two that ask one question in one way: a Keeper asks
	// it once. It tells nothing of a credential.
	Key() string
	// URL is the address, without what is secret in it.
	URL() string
	// Server names who answers. Who shares one waits for one another.
	Server() string
	// Place names what is kept on disk of the address, whoever asks.
	Place() string

	// Resolve asks the server what the reference stands for. No content
	// travels. That it is answered is the proof that with these credentials the
	// revision may be had.
	Resolve(ctx context.Context) (Revision, error)
	// Fetch returns the content of a revision that Resolve has returned. What is
	// on disk does not travel again, unless it is broken. An error leaves what
	// was there.
	Fetch(ctx context.Context, r Revision) (*Content, error)
	// Open returns what a Fetch with the same credentials has left on disk, also
	// one of an earlier process, and asks no server. Only the revision's name
	// counts. If it isn't there, the error has the reason [ReasonNotFetched].
	Open(r Revision) (*Content, error)
}

// A Revision is what a reference stood for when a server was asked.
type Revision struct {
	// Name is what users see: main@sha1:…, 6.2.0@sha256:…, sha256:….
	Name string
	// Detail is what else its Fetcher has learned and needs to fetch it.
	Detail any
}

// A Content is what a revision holds.
type Content struct {
	Tree   tree.Tree
	Commit Commit
	// Broken, if it is set, reports whether something of the tree was found to
	// be broken on disk: then it is fetched again, although it is no other one.
	Broken func() bool
}

// Reasons of errors that a Keeper decides by. What others there are is for the
// package of a kind to say.
const (
	ReasonTimeout    = "SourceTimeout"
	ReasonNotFetched = "NotFetched"
)

// A Store holds on disk what Fetchers have fetched.
type Store interface {
	// Sweep removes what is kept of all places but those in use. It may be asked
	// about any place at any time.
	Sweep(used func(place string) bool) error
}
