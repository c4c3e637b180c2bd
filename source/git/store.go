package git

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"plumb.dev/plumb/source/keyed"
	"plumb.dev/plumb/source/web"
	"plumb.dev/plumb/tree"
)

// Options bound what servers can make a Store do. The zero value is for
// production.
type Options struct {
	MaxRefs        int           // that a server may advertise; 0: 200,000
	MaxPackBytes   int64         // of one fetch; 0: 2 GiB
	MaxObjectBytes int64         // of one file; 0: 256 MiB
	MaxPacks       int           // of one repository, before they are joined; 0: 24
	StallTimeout   time.Duration // without progress; 0: 30 s
	CacheBytes     int64         // in memory, for all repositories; 0: 64 MiB

	// Dial opens all connections. It is where a rule about hosts that must
	// not be reached belongs: it sees every address, also of redirects and
	// submodules. Nil is [web.Dial].
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

func (o Options) withDefaults() Options {
	set := func(n *int64, v int64) {
		if *n <= 0 {
			*n = v
		}
	}
	if o.MaxRefs <= 0 {
		o.MaxRefs = 200_000
	}
	if o.MaxPacks <= 0 {
		o.MaxPacks = 24
	}
	if o.StallTimeout <= 0 {
		o.StallTimeout = 30 * time.Second
	}
	set(&o.MaxPackBytes, 2<<30)
	set(&o.MaxObjectBytes, 256<<20)
	set(&o.CacheBytes, 64<<20)
	if o.Dial == nil {
		o.Dial = web.Dial
	}
	return o
}

func (o Options) limits() limits {
	return limits{
		packBytes:   o.MaxPackBytes,
		objectBytes: o.MaxObjectBytes,
		totalBytes:  8 * o.MaxPackBytes,
		objects:     10_000_000,
	}
}

// A Store is a directory of repositories. It is safe for concurrent use, and
// has its directory to itself.
type Store struct {
	dir    string
	salt   keyed.Salt
	opt    Options
	lock   *os.File
	caches *caches
	owners atomic.Uint64

	clients web.Pool // by [Remote.transport]

	mu    sync.Mutex
	repos map[string]*repo
}

// NewStore opens the store in dir, which is made if it isn't there. It fails
// if another Store, of this process or another, has dir open.
func NewStore(dir string, o Options) (*Store, error) {
	o = o.withDefaults()
	lock, salt, err := keyed.Open(dir, "git", "*/objects/pack/tmp_*")
	if err != nil {
		return nil, err
	}
	return &Store{
		dir: dir, salt: salt, opt: o, lock: lock,
		caches: newCaches(o.CacheBytes),
		repos:  make(map[string]*repo),
	}, nil
}

// Trim lets go of file contents in memory. What has been rendered need not be
// read again until it changes; directories are kept, since the next revision
// is compared with them.
func (s *Store) Trim() {
	s.caches.blobs.Clear()
	s.caches.bases.Clear()
}

// Close gives the directory up. Snapshots stay readable.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients.Forget("")
	return s.lock.Close()
}

// A Snapshot is a revision of a repository: what it is and what is in it.
type Snapshot struct {
	Head
	Commit Commit
	Tree   tree.Tree

	sets []*packSet // that it is read from
}

// broken reports whether an object was found not to be what its ID says.
func (s *Snapshot) broken() bool {
	return slices.ContainsFunc(s.sets, func(set *packSet) bool { return set.corrupt.Load() })
}

// FetchOptions say what belongs to a Snapshot.
type FetchOptions struct {
	// RecurseSubmodules mounts each submodule's tree at its path. Without
	// it a submodule is an entry of kind tree.Submodule.
	RecurseSubmodules bool
}

// Resolve asks the server which commit ref stands for. No objects travel,
// except once for each commit that is given along with a branch: to know that
// the branch contains it, its commits are fetched.
func (s *Store) Resolve(ctx context.Context, r Remote, ref Ref) (Head, error) {
	w, err := ref.plan()
	if err != nil {
		return Head{}, err
	}
	u, err := r.parse()
	if err != nil {
		return Head{}, err
	}
	if !w.commit.isZero() && w.name == "" {
		return Head{Revision: "sha1:" + w.commit.String(), Hash: w.commit.String()}, nil
	}
	var h Head
	err = s.talk(ctx, r, u, "resolve", func(ctx context.Context, w2 wire, p *web.Pulse) error {
		if h, err = s.resolve(ctx, r, w, w2, p); err != nil {
			return err
		}
		id, err := parseOID(h.Hash)
		if err != nil {
			return err
		}
		return s.repo(r).grant(grant{r.access(s.salt), id})
	})
	return h, err
}

func (s *Store) resolve(ctx context.Context, r Remote, w wanted, wire wire, p *web.Pulse) (Head, error) {
	lim := refLimits{s.opt.MaxRefs, int64(s.opt.MaxRefs) * 160}
	c, err := greet(ctx, wire, lim, w.asks)
	if err != nil {
		return Head{}, err
	}
	refs, err := c.list(ctx, w.prefixes()...)
	if err != nil {
		return Head{}, err
	}
	choice := w.choose(refs)
	if len(choice) == 0 {
		if w.versions != nil {
			return Head{}, failure(ReasonReferenceNotFound, "no tag is in the range %q", web.OneLine(w.versions.String(), 100))
		}
		if w.also != "" {
			return Head{}, failure(ReasonReferenceNotFound, "there is no branch and no tag %s: it was deleted, or the repository is empty", w.short)
		}
		return Head{}, failure(ReasonReferenceNotFound, "%s is not there: it was deleted, or the repository is empty", w.name)
	}
	found, short := choice[0], w.short
	if w.versions != nil {
		if found, err = s.newest(ctx, r, choice, c, p); err != nil {
			return Head{}, err
		}
		short = strings.TrimPrefix(found.name, "refs/tags/")
	}
	h := Head{Hash: found.commit().String(), RefName: found.name}
	if !found.peeled.isZero() {
		h.Tag = found.id.String()
	}
	if !w.commit.isZero() && w.commit.String() != h.Hash {
		if err := s.contains(ctx, r, found, w.commit, c, p); err != nil {
			return Head{}, err
		}
		h.Hash, h.Tag = w.commit.String(), ""
	}
	h.Revision = short + "@sha1:" + h.Hash
	return h, nil
}

// talk runs one conversation with a remote, within its timeout, and explains
// what went wrong.
func (s *Store) talk(ctx context.Context, r Remote, u *url.URL, doing string, do func(context.Context, wire, *web.Pulse) error) error {
	t := r.talk(doing)
	t.Stall = s.opt.StallTimeout
	return t.Run(ctx, func(ctx context.Context, p *web.Pulse) error {
		w, err := s.wire(ctx, r, u, p)
		if err != nil {
			return err
		}
		defer w.close()
		return do(ctx, w, p)
	})
}

func (s *Store) wire(ctx context.Context, r Remote, u *url.URL, p *web.Pulse) (wire, error) {
	if u.Scheme == "ssh" {
		return dialSSH(ctx, r, u, s.opt.Dial, p)
	}
	client, err := s.client(r)
	if err != nil {
		return nil, err
	}
	return newHTTPWire(client, r, u, p), nil
}

func (s *Store) client(r Remote) (*http.Client, error) {
	return s.clients.Get(r.transport(s.salt), func() (*http.Client, error) { return newHTTPClient(r, s.opt.Dial) })
}

// Fetch brings the commit of h, and of it only the objects that are not there
// yet. If the commit is there already, no server is asked, but to prove that r
// may have it if another fetched it and no Resolve of r has named it.
//
// The timeout is that of all: of the wait for another fetch of the same
// repository, and of submodules, too.
func (s *Store) Fetch(ctx context.Context, r Remote, h Head, o FetchOptions) (*Snapshot, error) {
	ctx, stop := context.WithTimeoutCause(ctx, r.timeout(), web.ErrTimedOut)
	defer stop()
	return s.fetch(ctx, r, h, o, 0)
}

func (s *Store) fetch(ctx context.Context, r Remote, h Head, o FetchOptions, depth int) (*Snapshot, error) {
	u, err := r.parse()
	if err != nil {
		return nil, err
	}
	id, err := parseOID(h.Hash)
	if err != nil {
		return nil, invalidURL("commit %q is not 40 hexadecimal digits", web.OneLine(h.Hash, 64))
	}
	handed := false // by the server to r
	get := func(order order, known *packSet, dir string) (*pack, error) {
		order.wants = []oid{id}
		if tag, err := parseOID(h.Tag); err == nil {
			// A server of the old protocol hands out only what it advertises,
			// which is the tag.
			order.wants = []oid{tag}
		}
		var p *pack
		err := s.talk(ctx, r, u, "fetch", func(ctx context.Context, w wire, beat *web.Pulse) error {
			p, err = s.receive(ctx, w, beat, order, known, dir)
			return err
		})
		handed = handed || err == nil
		return p, err
	}
	var snap *Snapshot
	may := grant{r.access(s.salt), id}
	for range 3 {
		var set *packSet
		repo := s.repo(r)
		if set, err = repo.ensure(ctx, id, get); errors.Is(err, errGone) {
			continue // Sweep was faster; there is a new one now
		}
		if err == nil && handed {
			err = repo.grant(may)
		} else if err == nil {
			err = repo.prove(may, get)
		}
		if err != nil {
			return nil, explain(ctx, r, "fetch", err)
		}
		// A commit that turns out broken on disk is fetched anew.
		if snap, err = s.snapshot(set, id, h); err == nil {
			break
		}
	}
	if err != nil {
		return nil, explain(ctx, r, "fetch", err)
	}
	if o.RecurseSubmodules {
		if err = s.mount(snap, r, u, depth, func(r Remote, h Head) (*Snapshot, error) {
			return s.fetch(ctx, r, h, o, depth+1)
		}); err != nil {
			return nil, err
		}
	}
	return snap, nil
}

func (s *Store) receive(ctx context.Context, w wire, beat *web.Pulse, o order, known *packSet, dir string) (*pack, error) {
	lim := refLimits{s.opt.MaxRefs, int64(s.opt.MaxRefs) * 160}
	c, err := greet(ctx, w, lim, func(string) bool { return false })
	if err != nil {
		return nil, err
	}
	in, err := c.fetch(ctx, o, beat)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return receive(ctx, dir, in, known, s.opt.limits())
}

// Open returns the commit of h if it was fetched as r, and asks no server. If
// it was not, the error's reason is NotFetched.
func (s *Store) Open(r Remote, h Head, o FetchOptions) (*Snapshot, error) {
	return s.open(r, h, o, 0)
}

func (s *Store) open(r Remote, h Head, o FetchOptions, depth int) (*Snapshot, error) {
	u, err := r.parse()
	if err != nil {
		return nil, err
	}
	id, err := parseOID(h.Hash)
	if err != nil {
		return nil, invalidURL("commit %q is not 40 hexadecimal digits", web.OneLine(h.Hash, 64))
	}
	repo := s.repo(r)
	set, ok := repo.holds(id)
	if !ok || !repo.granted(grant{r.access(s.salt), id}) {
		return nil, failure(ReasonNotFetched, "commit %s of %s was not fetched", id, r)
	}
	snap, err := s.snapshot(set, id, h)
	if err == nil && o.RecurseSubmodules {
		err = s.mount(snap, r, u, depth, func(r Remote, h Head) (*Snapshot, error) {
			return s.open(r, h, o, depth+1)
		})
	}
	if err != nil {
		return nil, explain(context.Background(), r, "open", err)
	}
	return snap, nil
}

func (s *Store) snapshot(set *packSet, id oid, h Head) (*Snapshot, error) {
	k, b, err := set.read(id)
	if err != nil {
		return nil, err
	}
	if k != commitObject {
		return nil, errCorrupt("object %s is a %s and not a commit", id, k)
	}
	c, root, _, err := parseCommit(id, b)
	if err != nil {
		return nil, err
	}
	return &Snapshot{Head: h, Commit: c, Tree: gitTree{set, root}, sets: []*packSet{set}}, nil
}

// Sweep removes all repositories but those that are used, as [Source.Place]
// names them, and their submodules. One that is being fetched is left for the
// next time. Snapshots stay readable.
func (s *Store) Sweep(used func(place string) bool) error {
	found, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("git store: %w", err)
	}
	keep := make(map[string]bool)
	for _, e := range found {
		if len(e.Name()) == keyed.Len && used(e.Name()) {
			s.reach(e.Name(), keep)
		}
	}
	var errs []error
	for _, e := range found {
		if !e.IsDir() || len(e.Name()) != keyed.Len || keep[e.Name()] {
			continue
		}
		away, err := s.drop(e.Name(), used)
		errs = append(errs, err)
		if away != "" {
			errs = append(errs, os.RemoveAll(away))
		}
	}
	return errors.Join(errs...)
}

// drop takes a repository out of use, if it is in none, and returns where its
// files are then.
func (s *Store) drop(key string, used func(place string) bool) (away string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if used(key) {
		return "", nil // since a moment ago
	}
	if r, ok := s.repos[key]; ok {
		if !r.tryLock() {
			return "", nil
		}
		delete(s.repos, key)
		r.gone = true
		r.unlock()
	}
	s.clients.Forget(key)
	away = filepath.Join(s.dir, key+".old-swept")
	return away, os.Rename(filepath.Join(s.dir, key), away)
}

// reach marks a repository and those mounted in it.
func (s *Store) reach(key string, keep map[string]bool) {
	if keep[key] {
		return
	}
	keep[key] = true
	for sub := range readSet(filepath.Join(s.dir, key, "submodules")) {
		s.reach(sub, keep)
	}
}
