package git

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // the checksum that pack files end with
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source/keyed"
	"plumb.dev/plumb/source/web"
)

// A repo is one bare repository on disk. Git itself can read it:
//
//	HEAD, config             what makes it a repository
//	objects/pack/            packs, each of which stands alone
//	shallow                  the commits that are complete, the newest last
//	refs/plumb/<commit>      the same again, so that git log shows them
//	submodules               names of the repositories mounted in this one
//	contained                commits that are known to be in a branch, and to whom
//	readers                  who was shown by the server to be allowed a commit
//
// A commit is in shallow only once all that it needs is in packs; all else
// follows from that.
type repo struct {
	key, dir string
	store    *Store
	owner    uint64

	gate chan struct{} // held by whoever changes the repository
	gone bool          // under gate: Sweep has removed it

	seen  map[oid]int64 // under gate: see survey
	stale bool          // under gate: more was added than is worth keeping

	mu        sync.Mutex
	loaded    bool
	set       *packSet
	complete  []oid
	subs      map[string]bool
	contained map[string]bool
	grants    grants
	times     map[oid]time.Time // of commits whose tags are of one version
}

const (
	maxComplete = 64 // commits to remember
	maxHaves    = 16 // of them, to tell a server about
)

// minStale is how much may be added to a repository before it is worth a fresh
// copy. A variable for the test of that.
var minStale int64 = 64 << 20

var errGone = errors.New("the repository was removed")

// repo returns the repository of r.
func (s *Store) repo(r Remote) *repo {
	key := r.key(s.salt)
	s.mu.Lock()
	defer s.mu.Unlock()
	if got, ok := s.repos[key]; ok {
		return got
	}
	got := &repo{
		key: key, dir: filepath.Join(s.dir, key), store: s, owner: s.owners.Add(1),
		gate: make(chan struct{}, 1), seen: make(map[oid]int64),
	}
	s.repos[key] = got
	return got
}

func (r *repo) lock(ctx context.Context) error {
	select {
	case r.gate <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *repo) tryLock() bool {
	select {
	case r.gate <- struct{}{}:
		return true
	default:
		return false
	}
}

func (r *repo) unlock() { <-r.gate }

func (r *repo) newSet(packs []*pack) *packSet {
	return &packSet{
		packs: packs, owner: r.owner, caches: r.store.caches, limit: r.store.opt.MaxObjectBytes, corrupt: new(atomic.Bool),
	}
}

// load reads what is on disk. A repository that can't be read is as good as
// none: it is replaced by the next fetch.
func (r *repo) load() {
	if r.loaded {
		return
	}
	r.loaded = true
	r.set = r.newSet(nil)
	r.subs, r.contained = readSet(filepath.Join(r.dir, "submodules")), readSet(filepath.Join(r.dir, "contained"))
	r.grants = readGrants(r.dir)
	b, err := os.ReadFile(filepath.Join(r.dir, "shallow"))
	if err != nil {
		return
	}
	var complete []oid
	for line := range strings.FieldsSeq(string(b)) {
		id, err := parseOID(line)
		if err != nil {
			return
		}
		complete = append(complete, id)
	}
	names, err := filepath.Glob(filepath.Join(r.dir, "objects", "pack", "*.idx"))
	if err != nil || len(names) == 0 {
		return
	}
	var packs []*pack
	for _, name := range names {
		p, err := openPack(name)
		if err != nil {
			return
		}
		packs = append(packs, p)
	}
	r.set, r.complete = r.newSet(packs), complete
}

// state returns the packs and the commits that are complete in them.
func (r *repo) state() (*packSet, []oid) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.load()
	return r.set, r.complete
}

// holds returns the packs if the commit is complete in them.
func (r *repo) holds(id oid) (*packSet, bool) {
	set, complete := r.state()
	return set, slices.Contains(complete, id)
}

// A getter fetches a pack into a directory.
type getter func(o order, known *packSet, dir string) (*pack, error)

// ensure returns packs that hold the commit and all that it needs. Whoever
// comes while another fetches waits for that, and then finds it there.
func (r *repo) ensure(ctx context.Context, id oid, get getter) (*packSet, error) {
	whole := func() (*packSet, bool) {
		set, ok := r.holds(id)
		return set, ok && !set.corrupt.Load()
	}
	if set, ok := whole(); ok {
		return set, nil
	}
	if err := r.lock(ctx); err != nil {
		return nil, err
	}
	defer r.unlock()
	if r.gone {
		return nil, errGone
	}
	if set, ok := whole(); ok {
		return set, nil
	}
	set, complete := r.state()
	if len(complete) == 0 || set.corrupt.Load() {
		return r.renew(id, get)
	}
	if r.stale {
		if set, err := r.renew(id, get); err == nil {
			return set, nil
		}
	}
	got, err := r.add(id, get)
	if err != nil && set.corrupt.Load() {
		// What is here is broken, not what the server sent.
		return r.renew(id, get)
	}
	return got, err
}

// add fetches what the commit has more than what is there.
func (r *repo) add(id oid, get getter) (*packSet, error) {
	old, complete := r.state()
	dir := filepath.Join(r.dir, "objects", "pack")
	haves := slices.Clone(complete[max(0, len(complete)-maxHaves):])
	slices.Reverse(haves)
	p, err := get(order{haves: haves}, old, dir)
	if err != nil {
		return nil, err
	}
	packs := old.packs
	again := slices.ContainsFunc(packs, func(q *pack) bool { return q.path == p.path })
	if !again {
		packs = append(slices.Clone(packs), p)
	}
	set := r.newSet(packs)
	if err := r.survey(set, id); err != nil {
		if !again {
			p.remove()
		}
		if fault.Is(err, ReasonCorrupt) {
			old.corrupt.Store(true)
		}
		return nil, err
	}
	complete = append(slices.Clone(complete), id)
	complete = complete[max(0, len(complete)-maxComplete):]
	if err := writeComplete(r.dir, complete); err != nil {
		return nil, err
	}
	r.settle(set, complete)
	return r.tidy(set, complete), nil
}

// renew fetches the commit into a new directory, which then takes the place
// of what was there.
func (r *repo) renew(id oid, get getter) (_ *packSet, err error) {
	fresh, err := os.MkdirTemp(r.store.dir, r.key+".new-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(fresh)
	if err := initBare(fresh); err != nil {
		return nil, err
	}
	p, err := get(order{}, nil, filepath.Join(fresh, "objects", "pack"))
	if err != nil {
		return nil, err
	}
	seen := r.seen
	r.seen = make(map[oid]int64)
	set := r.newSet([]*pack{p})
	if err := r.survey(set, id); err != nil {
		r.seen = seen
		return nil, err
	}
	if err := writeComplete(fresh, []oid{id}); err != nil {
		return nil, err
	}
	r.mu.Lock()
	subs, contained := maps.Clone(r.subs), maps.Clone(r.contained)
	r.mu.Unlock()
	if err := errors.Join(writeSet(filepath.Join(fresh, "submodules"), subs), writeSet(filepath.Join(fresh, "contained"), contained)); err != nil {
		return nil, err
	}
	// A crash between the renames leaves no repository, which the next fetch
	// makes good.
	old := strings.Replace(fresh, ".new-", ".old-", 1)
	if err := os.Rename(r.dir, old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	defer os.RemoveAll(old)
	if err := os.Rename(fresh, r.dir); err != nil {
		return nil, err
	}
	p.path = filepath.Join(r.dir, "objects", "pack", filepath.Base(p.path))
	r.stale = false
	r.settle(set, []oid{id})
	r.mu.Lock()
	defer r.mu.Unlock()
	return set, r.grants.write(r.dir, r.complete)
}

// survey makes sure that the commit is complete and safe.
func (r *repo) survey(set *packSet, id oid) error {
	k, b, err := set.read(id)
	if err != nil {
		return err
	}
	if k != commitObject {
		return failure(ReasonReferenceNotFound, "object %s is a %s and not a commit", id, k)
	}
	_, root, _, err := parseCommit(id, b)
	if err != nil {
		return err
	}
	v := survey{set: set, seen: r.seen}
	_, err = v.tree(root, ".", 0)
	return err
}

func (r *repo) settle(set *packSet, complete []oid) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set, r.complete = set, complete
}

// tidy keeps the number of packs bounded, and notes when so much has been
// added that a fresh copy is smaller. Failing at it fails nothing.
func (r *repo) tidy(set *packSet, complete []oid) *packSet {
	base := slices.MaxFunc(set.packs, func(a, b *pack) int { return int(min(max(a.size-b.size, -1), 1)) })
	var rest []*pack
	var added int64
	for _, p := range set.packs {
		if p != base {
			rest = append(rest, p)
			added += p.size
		}
	}
	r.stale = added > max(minStale, base.size)
	if len(rest) < r.store.opt.MaxPacks {
		return set
	}
	joined, err := join(filepath.Join(r.dir, "objects", "pack"), rest)
	if err != nil {
		if fault.Is(err, ReasonCorrupt) {
			set.corrupt.Store(true)
		}
		return set
	}
	set = r.newSet([]*pack{base, joined})
	r.settle(set, complete)
	for _, p := range rest {
		if p.path != joined.path {
			p.remove()
		}
	}
	return set
}

// remove takes the pack off the disk. What has it open goes on reading.
func (p *pack) remove() {
	os.Remove(strings.TrimSuffix(p.path, ".pack") + ".idx") // first: without an index it isn't there
	os.Remove(p.path)
}

// join writes packs one after the other into a new one. As each stands alone,
// and deltas name their bases by distance, their content needs no change.
func join(dir string, packs []*pack) (_ *pack, err error) {
	f, err := os.CreateTemp(dir, "tmp_pack_*")
	if err != nil {
		return nil, err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	out := bufio.NewWriterSize(f, 256<<10)
	_, _ = out.WriteString("PACK\x00\x00\x00\x02\x00\x00\x00\x00")
	at := int64(packHead)
	var objects []indexed
	for _, p := range packs {
		// Summed up on the way, so that a broken pack is not made part of a
		// sound one.
		h := sha1.New() //nolint:gosec
		head := make([]byte, packHead)
		if _, err := p.file.ReadAt(head, 0); err != nil {
			return nil, err
		}
		h.Write(head)
		body := io.NewSectionReader(p.file, packHead, p.size-packHead-sumLen)
		if _, err := io.Copy(io.MultiWriter(out, h), body); err != nil {
			return nil, err
		}
		sum := make([]byte, sumLen)
		if _, err := p.file.ReadAt(sum, p.size-sumLen); err != nil {
			return nil, err
		}
		if !bytes.Equal(sum, h.Sum(nil)) {
			return nil, errCorrupt("pack %s is broken", filepath.Base(p.path))
		}
		for i := range p.n {
			crcAt := idxHead + 20*p.n + 4*i
			objects = append(objects, indexed{oid(p.name(i)), p.offset(i) + at - packHead, binary.BigEndian.Uint32(p.idx[crcAt:])})
		}
		at += body.Size()
	}
	if err := out.Flush(); err != nil {
		return nil, err
	}
	sum, err := seal(f, len(objects), at)
	if err != nil {
		return nil, err
	}
	return install(dir, f, objects, sum)
}

func initBare(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "objects", "pack"), 0o700); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "refs", "plumb"), 0o700); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "HEAD"), []byte("ref: refs/heads/none\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "config"), []byte("[core]\n\trepositoryformatversion = 0\n\tbare = true\n"), 0o600),
	)
}

// writeComplete records which commits are complete.
func writeComplete(dir string, complete []oid) error {
	var b strings.Builder
	known := make(map[string]bool)
	for _, id := range complete {
		fmt.Fprintln(&b, id)
		known[id.String()] = true
		if err := os.WriteFile(filepath.Join(dir, "refs", "plumb", id.String()), []byte(id.String()+"\n"), 0o600); err != nil {
			return err
		}
	}
	if err := keyed.WriteFile(filepath.Join(dir, "shallow"), []byte(b.String())); err != nil {
		return err
	}
	refs, err := os.ReadDir(filepath.Join(dir, "refs", "plumb"))
	for _, e := range refs {
		if !known[e.Name()] {
			os.Remove(filepath.Join(dir, "refs", "plumb", e.Name()))
		}
	}
	return err
}

func readSet(name string) map[string]bool {
	out := make(map[string]bool)
	b, _ := os.ReadFile(name)
	for line := range strings.Lines(string(b)) {
		out[strings.TrimSuffix(line, "\n")] = true
	}
	return out
}

func writeSet(name string, set map[string]bool) error {
	if len(set) == 0 {
		return nil
	}
	var b strings.Builder
	for _, line := range slices.Sorted(maps.Keys(set)) {
		b.WriteString(line + "\n")
	}
	return keyed.WriteFile(name, []byte(b.String()))
}

// noteSub remembers that the repository named key is mounted in this one, so
// that Sweep leaves both.
func (r *repo) noteSub(key string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.load()
	if r.subs[key] {
		return nil
	}
	r.subs[key] = true
	return writeSet(filepath.Join(r.dir, "submodules"), r.subs)
}

// contains makes sure that a branch contains a commit. All of its history has
// to be looked through for that, of which the commits are enough if the server
// can send them alone; so what was found out is written down.
func (s *Store) contains(ctx context.Context, r Remote, branch ref, id oid, c *conversation, beat *web.Pulse) error {
	repo := s.repo(r)
	// To another the server, or a proxy, may show another branch.
	fact := strings.Join([]string{id.String(), branch.name, r.access(s.salt)}, " ")
	repo.mu.Lock()
	repo.load()
	known := repo.contained[fact]
	repo.mu.Unlock()
	if known {
		return nil
	}
	dir, err := os.MkdirTemp(s.dir, repo.key+".new-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	in, err := c.fetch(ctx, order{wants: []oid{branch.id}, history: true, bare: true}, beat)
	if err != nil {
		return err
	}
	defer in.Close()
	p, err := receive(ctx, dir, in, nil, s.opt.limits())
	if err != nil {
		return err
	}
	set := repo.newSet([]*pack{p})
	seen := map[oid]bool{branch.id: true}
	for todo := []oid{branch.id}; len(todo) > 0; {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if at == id {
			repo.mu.Lock()
			defer repo.mu.Unlock()
			repo.contained[fact] = true
			if _, err := os.Stat(repo.dir); err != nil {
				return nil // written with the first fetch
			}
			return writeSet(filepath.Join(repo.dir, "contained"), repo.contained)
		}
		_, b, err := set.readUnchecked(at)
		if err != nil {
			return errCorrupt("commit %s: %w", at, err)
		}
		_, _, parents, err := parseCommit(at, b)
		if err != nil {
			return err
		}
		for _, p := range parents {
			if !seen[p] {
				seen[p] = true
				todo = append(todo, p)
			}
		}
	}
	return failure(ReasonReferenceNotFound, "commit %s is not in the branch %s", id, strings.TrimPrefix(branch.name, "refs/heads/"))
}
