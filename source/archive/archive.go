// Package archive keeps on disk what was unpacked from archives, addressed by
// content.
//
// A [Store] holds, for every place and name, one file: all contents one after
// the other, and a list of which name has which. A [Builder] writes it, by hand
// or by [Untar], and the [Tree] that comes of it reads it by offset. So no name
// of an archive is ever a name on this machine's disk.
//
// What is promised:
//
//   - What is put is there as a whole or not at all, and replaces what was
//     there; a Tree stays readable for as long as it is held, whatever is put or
//     swept meanwhile.
//   - Every content is checked against its SHA-256 whenever it is read, and the
//     list when it is opened. What does not match is an error, [Tree.Broken]
//     says so, and the next Fetch starts clean. In exchange nothing is synced
//     to disk: it is a cache.
//   - IDs are those of [tree.FromFiles]: of content alone.
//   - Nobody is given what was not handed out, or named by its server, to him,
//     with the same credentials, whoever else fetched it.
//   - An archive that holds a name outside of it, one name twice, a device or a
//     link that leads out is refused as a whole ([ReasonUnsafeArchive]); what it
//     can make long has a bound ([Limits]). Modes and owners don't count.
//
// Left to others: where archives come from, and whether one is what it is said
// to be.
package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"weak"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/keyed"
	"plumb.dev/plumb/source/web"
)

// The reasons of this package's faults.
const (
	ReasonUnsafeArchive = "UnsafeArchive"         // what no archive should hold; a Stall
	ReasonTooLarge      = web.ReasonTooLarge      // over one of the Limits
	ReasonCorrupt       = "SourceCorrupt"         // no archive, or a broken one, or broken on disk
	ReasonNotFetched    = source.ReasonNotFetched // Open of what isn't there
)

// Limits bound what is unpacked. Of each, zero stands for what is said.
type Limits struct {
	FileBytes  int64 // of one file: 64 MiB
	TotalBytes int64 // of all files: 1 GiB
	Entries    int   // files, links and directories: 100,000
	Depth      int   // of directories: 100
}

func (l Limits) or(d Limits) Limits {
	if l.FileBytes <= 0 {
		l.FileBytes = d.FileBytes
	}
	if l.TotalBytes <= 0 {
		l.TotalBytes = d.TotalBytes
	}
	if l.Entries <= 0 {
		l.Entries = d.Entries
	}
	if l.Depth <= 0 {
		l.Depth = d.Depth
	}
	return l
}

var defaults = Limits{FileBytes: 64 << 20, TotalBytes: 1 << 30, Entries: 100_000, Depth: 100}

// maxKept is how many contents of one place stay on disk that nobody holds.
const maxKept = 8

// A Slot is where something is kept, and who asks for it.
type Slot struct {
	Place  string // of [Store.Key]: what all share who name one address
	Name   string // of what is kept there, such as that of a revision
	Access string // of [Store.Key]: what is shown to the server, and the way to it
}

// check makes sure that a place can be a directory's name.
func (at Slot) check() error {
	if _, err := hex.DecodeString(at.Place); err != nil || len(at.Place) != keyed.Len {
		return fmt.Errorf("place %q is none of Store.Key", at.Place)
	}
	return nil
}

// A Store is a directory of contents. It is safe for concurrent use, and has
// its directory to itself.
type Store struct {
	dir    string
	salt   keyed.Salt
	limits Limits
	lock   *os.File

	mu     sync.Mutex
	places map[string]*place
	busy   map[string]*turn // by place and file
}

var _ source.Store = (*Store)(nil)

// A place is what is known in memory of one.
type place struct {
	readers readers
	open    map[string]weak.Pointer[Tree] // by file
	broken  map[string]*atomic.Bool       // what was found out of files, also when nobody holds their Trees any more
}

// opened remembers what is in a file now.
func (p *place) opened(file string, t *Tree) {
	for other, t := range p.open {
		if t.Value() == nil {
			delete(p.open, other)
		}
	}
	p.open[file], p.broken[file] = weak.Make(t), t.broken
}

// Open opens the store in dir, which is made if it isn't there. It fails if
// another Store, of this process or another, has dir open. The limits are those
// of who gives none.
func Open(dir string, l Limits) (*Store, error) {
	lock, salt, err := keyed.Open(dir, "archive", "*/tmp_*")
	if err != nil {
		return nil, err
	}
	return &Store{
		dir: dir, salt: salt, limits: l.or(defaults), lock: lock, places: make(map[string]*place), busy: make(map[string]*turn),
	}, nil
}

// Close gives the directory up. Trees stay readable.
func (s *Store) Close() error { return s.lock.Close() }

// Key is a name for fields that tells nothing of them to whoever reads the
// disk: for a place, for who asks, for what a [source.Fetcher] asks.
func (s *Store) Key(fields ...string) string { return s.salt.Name(fields...) }

// file is what something is called on disk.
func file(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16]) + ".files"
}

func (s *Store) path(placed, file string) string { return filepath.Join(s.dir, placed, file) }

// at returns what is known of a place. s.mu is held.
func (s *Store) at(placed string) *place {
	p := s.places[placed]
	if p == nil {
		p = &place{readers: readReaders(filepath.Join(s.dir, placed)), open: make(map[string]weak.Pointer[Tree]), broken: make(map[string]*atomic.Bool)}
		s.places[placed] = p
	}
	return p
}

// load returns what is in a slot, whoever asks. s.mu is held.
func (s *Store) load(at Slot) (*Tree, error) {
	if err := at.check(); err != nil {
		return nil, err
	}
	p, f := s.at(at.Place), file(at.Name)
	if t := p.open[f].Value(); t != nil {
		return t, nil
	}
	t, err := openTree(s.path(at.Place, f))
	if err != nil {
		return nil, err
	}
	if known := p.broken[f]; known != nil {
		t.broken = known
	}
	p.opened(f, t)
	return t, nil
}

func notFetched(at Slot) error {
	return web.Failure(ReasonNotFetched, "%s was not fetched", web.OneLine(at.Name, 200))
}

// Open returns what is kept, if it was handed out, or named, to who asks. Else
// the error has the reason NotFetched.
func (s *Store) Open(at Slot) (*Tree, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.load(at)
	if err != nil || !s.at(at.Place).readers.has(reader{file(at.Name), at.Access}) {
		return nil, notFetched(at)
	}
	return t, nil
}

// Kept returns what is kept, or nil, and whether who asks may have it. Who may
// not shows nothing of it to him but what he has proven his right to otherwise.
func (s *Store) Kept(at Slot) (t *Tree, may bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.load(at)
	if err != nil {
		return nil, false
	}
	return t, s.at(at.Place).readers.has(reader{file(at.Name), at.Access})
}

// Bounds are l, and the Store's where l has none.
func (s *Store) Bounds(l Limits) Limits { return l.or(s.limits) }

// Grant writes down that who asks may have what is kept, since its server has
// named it to him. It does nothing if that isn't here, or is something else by
// its note; a Fetch will tell.
func (s *Store) Grant(at Slot, same func(note []byte) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.load(at)
	if err != nil || same != nil && !same(t.Note()) {
		return nil
	}
	return s.grant(at)
}

func (s *Store) grant(at Slot) error {
	return s.at(at.Place).readers.add(filepath.Join(s.dir, at.Place), reader{file(at.Name), at.Access})
}

// An Order says what a Fetch is for.
type Order struct {
	Limits Limits
	// Same says by its note whether what is kept is what is wanted; nil: it is.
	Same func(note []byte) bool
	// Proven says that the server has named what Same knows to who asks.
	Proven bool
}

// Fetch returns what is kept, or has it filled if it isn't there, is broken, is
// another, or was never shown to who asks. Of several that want the same at
// once only one fills, and the others get that, if it is proven that they may.
// An error of fill leaves what was there.
func (s *Store) Fetch(ctx context.Context, at Slot, o Order, fill func(context.Context, *Builder) error) (*Tree, error) {
	kept := func() *Tree {
		s.mu.Lock()
		defer s.mu.Unlock()
		t, err := s.load(at)
		if err != nil || t.Broken() || o.Same != nil && !o.Same(t.Note()) {
			return nil
		}
		if !s.at(at.Place).readers.has(reader{file(at.Name), at.Access}) && (!o.Proven || s.grant(at) != nil) {
			return nil
		}
		return t
	}
	if t := kept(); t != nil {
		return t, nil
	}
	leave, err := s.wait(ctx, at.Place+"/"+file(at.Name))
	if err != nil {
		return nil, err
	}
	defer leave()
	if t := kept(); t != nil {
		return t, nil
	}
	return s.Put(at, o.Limits, func(b *Builder) error { return fill(ctx, b) })
}

// A turn is a queue of those who would fill one slot.
type turn struct {
	in      chan struct{} // holds one
	waiting int
}

func (s *Store) wait(ctx context.Context, key string) (leave func(), err error) {
	s.mu.Lock()
	t := s.busy[key]
	if t == nil {
		t = &turn{in: make(chan struct{}, 1)}
		s.busy[key] = t
	}
	t.waiting++
	s.mu.Unlock()
	gone := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if t.waiting--; t.waiting == 0 {
			delete(s.busy, key)
		}
	}
	select {
	case t.in <- struct{}{}:
		return func() { <-t.in; gone() }, nil
	case <-ctx.Done():
		gone()
		return nil, context.Cause(ctx)
	}
}

// Put has a slot filled, for who asks. If that is another content than the one
// that was there, nobody else may have it until he has shown so again.
func (s *Store) Put(at Slot, l Limits, fill func(*Builder) error) (*Tree, error) {
	if err := at.check(); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(s.dir, "content.new-*")
	if err != nil {
		return nil, fmt.Errorf("archive store: %w", err)
	}
	defer os.Remove(f.Name())
	t, err := build(f, l.or(s.limits), fill)
	if err != nil {
		f.Close()
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before, err := s.load(at)
	other := err != nil || before.sum != t.sum
	if !other && !before.Broken() {
		f.Close()
		return before, s.grant(at)
	}
	if err := s.replace(at, f.Name(), other); err != nil {
		return nil, fmt.Errorf("archive store: %w", err)
	}
	s.at(at.Place).opened(file(at.Name), t)
	s.thin(at.Place, file(at.Name))
	return t, s.grant(at)
}

// replace makes a file the content of a slot. If that is another one than
// before, its readers go first.
func (s *Store) replace(at Slot, from string, other bool) error {
	dir, to := filepath.Join(s.dir, at.Place), file(at.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if other {
		if err := s.at(at.Place).readers.forget(dir, to); err != nil {
			return err
		}
	}
	return os.Rename(from, filepath.Join(dir, to))
}

// thin removes the oldest contents of a place that nobody holds, if there are
// many.
func (s *Store) thin(placed, but string) {
	found, err := os.ReadDir(filepath.Join(s.dir, placed))
	if err != nil {
		return
	}
	var idle []fs.FileInfo
	p := s.at(placed)
	for _, e := range found {
		if !strings.HasSuffix(e.Name(), ".files") || e.Name() == but || p.open[e.Name()].Value() != nil {
			continue
		}
		if info, err := e.Info(); err == nil {
			idle = append(idle, info)
		}
	}
	slices.SortFunc(idle, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for _, info := range idle[min(maxKept, len(idle)):] {
		if p.readers.forget(filepath.Join(s.dir, placed), info.Name()) == nil {
			os.Remove(s.path(placed, info.Name()))
			delete(p.broken, info.Name())
		}
	}
}

// Sweep removes all places but those that are used. Trees stay readable.
func (s *Store) Sweep(used func(place string) bool) error {
	found, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("archive store: %w", err)
	}
	var errs []error
	for _, e := range found {
		if e.IsDir() && len(e.Name()) == keyed.Len {
			errs = append(errs, s.drop(e.Name(), used))
		}
	}
	return errors.Join(errs...)
}

func (s *Store) drop(placed string, used func(place string) bool) error {
	if used(placed) {
		return nil
	}
	s.mu.Lock()
	if used(placed) {
		s.mu.Unlock()
		return nil // since a moment ago
	}
	delete(s.places, placed)
	away := filepath.Join(s.dir, placed+".old-swept")
	err := os.Rename(filepath.Join(s.dir, placed), away)
	s.mu.Unlock()
	return errors.Join(err, os.RemoveAll(away))
}

// A Spool is an archive that was received and not looked into yet: so that it
// can be told first whether it is what it should be.
type Spool struct {
	Size   int64
	SHA256 [sha256.Size]byte

	file *os.File
}

// Spool receives all of r. Who has it closes it.
func (s *Store) Spool(r io.Reader) (*Spool, error) {
	f, err := os.CreateTemp(s.dir, "spool.new-*")
	if err != nil {
		return nil, fmt.Errorf("archive store: %w", err)
	}
	os.Remove(f.Name())
	sp, h := &Spool{file: f}, sha256.New()
	if sp.Size, err = io.Copy(io.MultiWriter(f, h), r); err != nil {
		f.Close()
		return nil, err
	}
	sp.SHA256 = [sha256.Size]byte(h.Sum(nil))
	return sp, nil
}

// Reader reads all of it.
func (p *Spool) Reader() io.Reader { return io.NewSectionReader(p.file, 0, p.Size) }

// Close lets go of it.
func (p *Spool) Close() error { return p.file.Close() }

func corrupt(format string, args ...any) *fault.Error {
	return web.Failure(ReasonCorrupt, format, args...)
}
