package git

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // the checksum of packs
	"encoding/binary"
	"io"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/source/web"
	"plumb.dev/plumb/tree"
)

// What a server sends may be anything. None of it may end the process.

func FuzzPack(f *testing.F) {
	base := strings.Repeat("some text ", 20)
	whole := gittest.EntryHead(3, len(base)) + gittest.Deflate([]byte(base))
	delta := gittest.Varint(len(base)) + gittest.Varint(14) + "\x90\x0a\x04more"
	f.Add(uint32(1), []byte(whole))
	f.Add(uint32(2), []byte(whole+gittest.EntryHead(6, len(delta))+string([]byte{byte(len(whole))})+gittest.Deflate([]byte(delta))))
	f.Add(uint32(2), []byte(whole+gittest.EntryHead(7, len(delta))+gittest.ObjectID("blob", base)+gittest.Deflate([]byte(delta))))
	f.Add(uint32(1), []byte(gittest.EntryHead(7, len(delta))+strings.Repeat("a", 20)+gittest.Deflate([]byte(delta))))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, n uint32, body []byte) {
		b := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), n)
		b = append(b, body...)
		sum := sha1.Sum(b) //nolint:gosec
		lim := limits{packBytes: 1 << 20, objectBytes: 1 << 16, totalBytes: 1 << 20, objects: 1000}
		p, err := receive(context.Background(), dir, io.MultiReader(bytes.NewReader(b), bytes.NewReader(sum[:])), nil, lim)
		if err != nil {
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Fatalf("a pack that was refused (%v) left %v", err, left)
			}
			return
		}
		set := (&repo{store: &Store{opt: Options{}.withDefaults(), caches: newCaches(1 << 20)}}).newSet([]*pack{p})
		for i := range p.n {
			if _, _, err := set.read(oid(p.name(i))); err != nil {
				t.Fatalf("a pack that was taken has a broken object: %v", err)
			}
		}
		p.remove()
	})
}

func FuzzTree(f *testing.F) {
	f.Add([]byte("100644 a\x00" + strings.Repeat("x", 20) + "40000 b\x00" + strings.Repeat("y", 20)))
	f.Add([]byte("120000 .gi\u200ct\x00" + strings.Repeat("x", 20)))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseTree(b)
		if err != nil {
			return
		}
		for i, e := range l.entries {
			if e.Name == "" || e.Name == "." || e.Name == ".." || strings.Contains(e.Name, "/") || strings.EqualFold(e.Name, ".git") {
				t.Fatalf("took the name %q", e.Name)
			}
			if i > 0 && l.entries[i-1].Name >= e.Name {
				t.Fatalf("%q does not come after %q", e.Name, l.entries[i-1].Name)
			}
			if e.ID != tree.ID(idScheme+l.ids[i].String()) {
				t.Fatalf("%q has the ID %s of %s", e.Name, e.ID, l.ids[i])
			}
		}
	})
}

func FuzzGreeting(f *testing.F) {
	f.Add([]byte("001e# service=git-upload-pack\n0000000eversion 2\n0012fetch=shallow\n0000"))
	f.Add([]byte("0000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		w := canned{b}
		c, err := greet(context.Background(), w, refLimits{100, 10_000}, func(string) bool { return true })
		if err != nil {
			return
		}
		refs, _ := c.list(context.Background(), "refs/")
		for _, r := range refs {
			if r.name != "HEAD" && !validRefName(r.name) {
				t.Fatalf("took the reference %q", r.name)
			}
		}
		if in, err := c.fetch(context.Background(), order{wants: []oid{{}}}, web.NewPulse(time.Hour, func(error) {})); err == nil {
			_, _ = io.Copy(io.Discard, in)
		}
	})
}

type canned struct{ b []byte }

func (c canned) open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(c.b)), nil
}
func (c canned) ask(context.Context, []byte) (io.ReadCloser, error) { return c.open(nil) } //nolint:staticcheck // unused
func (c canned) close()                                             {}

func FuzzModules(f *testing.F) {
	f.Add("[submodule \"a\"]\n\tpath = a\n\turl = ../b.git\n", "https://example.com/x/y.git")
	f.Fuzz(func(t *testing.T, s, at string) {
		mods, err := parseModules(s)
		if err != nil {
			return
		}
		r := Remote{URL: at, Auth: Auth{Password: "secret"}}
		u, err := r.parse()
		if err != nil {
			u, _ = url.Parse("https://example.com/x/y.git")
		}
		for _, m := range mods {
			if unsafeModule(m.path) || unsafeModule(m.name) {
				t.Fatalf("took %+v", m)
			}
			sub, err := r.submodule(u, m.url)
			if err != nil {
				continue
			}
			to, err := sub.parse()
			if err != nil {
				t.Fatalf("took a URL that can't be used: %v", err)
			}
			if sub.Auth.Password != "" && !strings.EqualFold(to.Hostname(), u.Hostname()) {
				t.Fatalf("credentials for %s go to %s", u.Host, to.Host)
			}
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	repo := gittest.Repo(b)
	files := make(map[string]string)
	var names []string
	for i := range 2000 {
		name := "apps/" + string(rune('a'+i%20)) + "/overlays/production/" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + ".yaml"
		files[name] = "a: 1\n"
		if len(names) < 20 {
			names = append(names, name)
		}
	}
	repo.Commit(b, files, "one")
	s, err := NewStore(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	r := Remote{URL: repo.URL()}
	h, err := s.Resolve(b.Context(), r, Ref{Branch: "main"})
	if err != nil {
		b.Fatal(err)
	}
	snap, err := s.Fetch(b.Context(), r, h, FetchOptions{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for _, n := range names {
			if _, err := snap.Tree.Lookup(n); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func TestWhatOutgrowsTheFirstPackIsFetchedAfresh(t *testing.T) {
	defer func(n int64) { minStale = n }(minStale)
	minStale = 10_000
	repo := gittest.Repo(t)
	repo.Commit(t, map[string]string{"first": "1"}, "first")
	dir := t.TempDir()
	s, err := NewStore(dir, Options{CacheBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := Remote{URL: repo.URL()}
	var snaps []*Snapshot
	contents := make(map[int]string)
	for i := range 8 {
		contents[i] = gittest.Noise(uint64(i), 4000)
		repo.Commit(t, map[string]string{"big": contents[i]}, "next")
		h, err := s.Resolve(t.Context(), r, Ref{Branch: "main"})
		if err != nil {
			t.Fatal(err)
		}
		snap, err := s.Fetch(t.Context(), r, h, FetchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		snaps = append(snaps, snap)
	}
	set, complete := s.repo(r).state()
	var size int64
	for _, p := range set.packs {
		size += p.size
	}
	if size > 25_000 || len(complete) == 8 {
		t.Errorf("%d bytes are kept for %d commits", size, len(complete))
	}
	for i, snap := range snaps {
		if b, err := snap.Tree.ReadFile("big"); err != nil || string(b) != contents[i] {
			t.Errorf("snapshot %d: %v", i, err)
		}
	}
}
