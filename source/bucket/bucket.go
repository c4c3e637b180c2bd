// Package bucket fetches the objects of buckets of the S3 protocol, as files.
//
// A [Source] is a bucket, or what is below a prefix in it. Its revision is the
// digest of the listing, as Flux has it: of the names and ETags of all objects
// that are not ignored. What is promised:
//
//   - Of a new revision only objects with another ETag or size travel. Who may
//     list a bucket may not read it for that: who has not been given an object
//     before asks for it.
//   - An object that is not the one that was listed is no part of a revision, and
//     one whose server says a checksum is checked. An ETag is taken for a name of
//     a content and never for its digest.
//   - A key is not a name of a file for that: one that leads out, is empty in a
//     part, or goes through another object is refused by its name. Keys that end
//     with a slash are directories in some tools, and are left out.
//   - A redirect is not followed, and credentials are not sent: a request is
//     signed for one server.
//
// Errors are [fault.Error]s, a Stall only if the address can never work or a key
// can be no file. Their reasons are those of source/web and source/archive, and
// the Reason constants.
//
// Left to others: logins of clouds, and what of the ignore rules in files below
// the root has to be left out.
package bucket

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/archive"
	"plumb.dev/plumb/source/web"
)

// A Source is a bucket, as a [source.Fetcher].
type Source struct {
	Store   *archive.Store
	Clients *Clients // nil: each conversation makes its own connections
	Remote  Remote
	// Ignore are patterns of objects that don't count, as those of a
	// [source.Shape]; nil: the usual ones. A .sourceignore at the root of the
	// bucket has others.
	Ignore *string
	Limits archive.Limits // zero: the Store's
}

var _ source.Fetcher = Source{}

// slotName is what the content of a bucket is kept as: the newest replaces the
// one before, of which it has most.
const slotName = "objects"

// A note is what is kept beside a tree.
type note struct {
	Revision string
	Marks    []byte // of the objects, [markLen] bytes each
}

func noted(b []byte) (n note) {
	_ = json.Unmarshal(b, &n) // it was written here
	return n
}

// Key implements [source.Fetcher].
func (s Source) Key() string {
	return s.Place() + s.access() + s.Store.Key(fmt.Sprint(s.Remote.Timeout, s.Limits))
}

// URL implements [source.Fetcher].
func (s Source) URL() string { return s.Remote.String() }

// Server implements [source.Fetcher].
func (s Source) Server() string { return s.Remote.server() }

// Place implements [source.Fetcher].
func (s Source) Place() string {
	ignore := []string{}
	if s.Ignore != nil {
		ignore = append(ignore, *s.Ignore)
	}
	return s.Store.Key(append(append([]string{"bucket"}, s.Remote.address()...), ignore...)...)
}

func (s Source) access() string { return s.Store.Key(s.Remote.access()...) }

func (s Source) slot() archive.Slot {
	return archive.Slot{Place: s.Place(), Name: slotName, Access: s.access()}
}

// String is the address.
func (s Source) String() string { return s.Remote.String() }

// GoString is String.
func (s Source) GoString() string { return s.String() }

// Resolve implements [source.Fetcher]. The Detail of the revision is the
// listing.
func (s Source) Resolve(ctx context.Context) (source.Revision, error) {
	var l listing
	err := s.converse(ctx, "list", func(ctx context.Context, c *client) (err error) {
		l, err = c.list(ctx, s)
		return err
	})
	if err != nil {
		return source.Revision{}, err
	}
	return source.Revision{Name: l.revision(), Detail: l}, nil
}

// Fetch implements [source.Fetcher].
func (s Source) Fetch(ctx context.Context, r source.Revision) (*source.Content, error) {
	order := archive.Order{Limits: s.Limits, Same: func(b []byte) bool { return noted(b).Revision == r.Name }}
	t, err := s.Store.Fetch(ctx, s.slot(), order, func(ctx context.Context, b *archive.Builder) error {
		return s.converse(ctx, "fetch", func(ctx context.Context, c *client) error { return c.fetch(ctx, s, r, b) })
	})
	if err != nil {
		return nil, s.talk("fetch").Explain(ctx, err)
	}
	return &source.Content{Tree: t, Broken: t.Broken}, nil
}

// Open implements [source.Fetcher].
func (s Source) Open(r source.Revision) (*source.Content, error) {
	t, err := s.Store.Open(s.slot())
	if err == nil && noted(t.Note()).Revision != r.Name {
		err = web.Failure(archive.ReasonNotFetched, "%s is not what is here", web.OneLine(r.Name, 200))
	}
	if err != nil {
		return nil, s.talk("open").Explain(context.Background(), err)
	}
	return &source.Content{Tree: t, Broken: t.Broken}, nil
}

// fetch makes of the objects of a revision files.
func (c *client) fetch(ctx context.Context, s Source, r source.Revision, b *archive.Builder) error {
	l, ok := r.Detail.(listing)
	if !ok { // after a restart only the name is known
		var err error
		if l, err = c.list(ctx, s); err != nil {
			return err
		}
	}
	if l.revision() != r.Name {
		return changed("the bucket")
	}
	n := note{Revision: r.Name}
	for _, o := range l.objects {
		m := o.mark()
		n.Marks = append(n.Marks, m[:]...)
	}
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if err := b.Note(text); err != nil {
		return err
	}
	have := s.have()
	for _, some := range batches(l.objects) {
		files, err := c.get(ctx, some, have)
		if err != nil {
			return err
		}
		for i, o := range some {
			err := b.File(o.Key, files[i])
			files[i].Close()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// A have is what is kept already.
type have struct {
	tree  *archive.Tree
	may   bool // who asks was given it
	marks map[mark]bool
}

func (s Source) have() have {
	h := have{marks: make(map[mark]bool)}
	if h.tree, h.may = s.Store.Kept(s.slot()); h.tree == nil {
		return h
	}
	for all := noted(h.tree.Note()).Marks; len(all) >= markLen; all = all[markLen:] {
		h.marks[mark(all)] = true
	}
	return h
}

// content returns an object that is kept, or nil.
func (h have) content(o object) []byte {
	if h.tree == nil || !h.marks[o.mark()] {
		return nil
	}
	b, err := h.tree.ReadFile(o.Key)
	if err != nil {
		return nil // broken on disk, or its sum is: it travels again
	}
	return b
}

// What is fetched at once: so many objects, or so many bytes. One object that is
// larger is not read into memory.
const (
	batchObjects = 64
	batchBytes   = 8 << 20
)

// batches parts objects, in their order.
func batches(all []object) (parts [][]object) {
	var size int64
	begin := 0
	for i, o := range all {
		if i > begin && (i-begin == batchObjects || size+o.Size > batchBytes) {
			parts, begin, size = append(parts, all[begin:i]), i, 0
		}
		size += o.Size
	}
	if begin < len(all) {
		parts = append(parts, all[begin:])
	}
	return parts
}

// named is a key as people are shown it.
func named(key string) string {
	return fmt.Sprintf("%q", web.OneLine(strings.ToValidUTF8(key, "?"), 200))
}
