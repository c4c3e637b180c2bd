package git_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the checksum of packs
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/source/git"
	"plumb.dev/plumb/tree"
)

// The tests of this file are the rows of the list of hostile input that
// concern Git sources, by their numbers there.

func TestA01LinksOutOfARepositoryAreRefusedAndInsideItWork(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	repo := gittest.Repo(t)
	repo.Commit(t, map[string]string{
		"apps/real/a.yaml": "a: 1\n", "file": "-> apps/real/a.yaml", "dir": "-> apps/real", "chain": "-> dir/a.yaml",
		"apps/up": "-> ../file", "out-file": "-> " + outside, "out-dir": "-> ../..", "apps/out": "-> ../../etc/passwd",
		"loop": "-> loop2", "loop2": "-> loop", "chain-out": "-> apps/out",
	}, "links")
	at := fetch(t, newStore(t, git.Options{}), git.Remote{URL: repo.URL()}, onMain).Tree
	for _, name := range []string{"file", "dir/a.yaml", "chain", "apps/up"} {
		if b, err := tree.Read(at, name); err != nil || string(b) != "a: 1\n" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	for _, name := range []string{"out-file", "out-dir/x", "apps/out", "chain-out", "loop"} {
		_, err := tree.Read(at, name)
		f := wantFault(t, err, fault.Stall, "PathEscapesSource")
		if !strings.Contains(f.Error(), name) {
			t.Errorf("%s is not named: %v", name, f)
		}
	}
}

func TestA02PathsOutOfARepositoryDoNotExist(t *testing.T) {
	repo := gittest.Repo(t)
	repo.Commit(t, map[string]string{"a/x": "1", "link": "-> a"}, "one")
	at := fetch(t, newStore(t, git.Options{}), git.Remote{URL: repo.URL()}, onMain).Tree
	for _, name := range []string{"../../etc", "/etc", "a/../..", "a\x00b", "a/./x", "link/x", "missing", "a/"} {
		for _, err := range []error{
			second(at.Lookup(name)), second(at.ReadDir(name)), second(at.ReadFile(name)),
		} {
			if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestA03UnsafeTreesAreRefusedAndTheLastGoodRevisionStays(t *testing.T) {
	names := []string{
		".git", ".GIT", ".Git", "git~1", "GIT~1", ".git ", ".git.", ".git...", ".git::$INDEX_ALLOCATION", ".git:x",
		".g\u200cit", "\u200e.git", ".gi\ufefft", ".\u206agit", `a\..\.git`, `..\x`, "..", ".", "a/b",
	}
	dir := t.TempDir()
	repo := gittest.Repo(t)
	repo.Commit(t, map[string]string{"good": "1"}, "good")
	s := openStore(t, filepath.Join(dir, "store"), git.Options{})
	r := git.Remote{URL: repo.URL()}
	good := fetch(t, s, r, onMain)
	for _, name := range names {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			repo.ForcePush(t, "main", good.Hash)
			config := repo.RawTree(t, gittest.RawEntry{Mode: "100644", Name: "config", Hash: repo.Blob(t, "[core]\n\tfsmonitor = touch "+dir+"/owned\n")})
			inner := repo.RawTree(t, gittest.RawEntry{Mode: "40000", Name: name, Hash: config})
			hash := repo.RawCommit(t, repo.RawTree(t, gittest.RawEntry{Mode: "40000", Name: "apps", Hash: inner}))

			_, err := try(t, s, r, onMain)
			f := wantFault(t, err, fault.Retry, git.ReasonUnsafeTree)
			if !strings.Contains(f.Error(), `"apps"`) {
				t.Errorf("the directory is not named: %v", f)
			}
			_, err = s.Open(r, git.Head{Hash: hash}, git.FetchOptions{})
			wantFault(t, err, fault.Retry, git.ReasonNotFetched)
			if got, err := s.Open(r, good.Head, git.FetchOptions{}); err != nil || read(t, got.Tree, "good") != "1" {
				t.Errorf("the last good revision: %v", err)
			}
			if left, _ := os.ReadDir(dir); len(left) != 1 {
				t.Errorf("there is more than the store: %v", left)
			}
		})
	}
	t.Run("a link and a directory of one name", func(t *testing.T) {
		repo := gittest.Repo(t)
		sub := repo.RawTree(t, gittest.RawEntry{Mode: "100644", Name: "x", Hash: repo.Blob(t, "x")})
		repo.RawCommit(t, repo.RawTree(t,
			gittest.RawEntry{Mode: "120000", Name: "a", Hash: repo.Blob(t, "/tmp")},
			gittest.RawEntry{Mode: "40000", Name: "a", Hash: sub}))
		_, err := try(t, newStore(t, git.Options{}), git.Remote{URL: repo.URL()}, onMain)
		wantFault(t, err, fault.Retry, git.ReasonUnsafeTree)
	})
	t.Run("names that only look alike are fine", func(t *testing.T) {
		repo := gittest.Repo(t)
		files := map[string]string{".gitignore": "1", ".github/x": "2", "git": "3", "a.git": "4", "..a": "5", "git~10": "6", "..." + "x": "7"}
		repo.Commit(t, files, "one")
		at := fetch(t, newStore(t, git.Options{}), git.Remote{URL: repo.URL()}, onMain).Tree
		for name, want := range files {
			if got := read(t, at, name); got != want {
				t.Errorf("%s is %q", name, got)
			}
		}
	})
	t.Run("submodules", func(t *testing.T) {
		for what, modules := range map[string]string{
			"name out of .git/modules": "[submodule \"../../x\"]\n\tpath = sub\n\turl = ../lib.git\n",
			"path out of the tree":     "[submodule \"x\"]\n\tpath = ../x\n\turl = ../lib.git\n",
			"path into .git":           "[submodule \"x\"]\n\tpath = .GIT/hooks\n\turl = ../lib.git\n",
			"option for a path":        "[submodule \"x\"]\n\tpath = -x\n\turl = ../lib.git\n",
		} {
			t.Run(what, func(t *testing.T) {
				server := gittest.New(t)
				repo := server.Repo(t, "app")
				repo.Submodule(t, "sub", strings.Repeat("a", 40), modules)
				s := newStore(t, git.Options{})
				snap := fetch(t, s, git.Remote{URL: repo.URL()}, onMain)
				_, err := s.Fetch(t.Context(), git.Remote{URL: repo.URL()}, snap.Head, git.FetchOptions{RecurseSubmodules: true})
				wantFault(t, err, fault.Retry, git.ReasonInvalidSubmodule)
			})
		}
		for what, to := range map[string]string{
			"file":            "file:///etc",
			"path":            "/etc",
			"program":         "ext::sh -c touch% /tmp/owned",
			"option":          "--upload-pack=touch",
			"out of the host": "../../../../x",
		} {
			t.Run("url is a "+what, func(t *testing.T) {
				repo := gittest.Repo(t)
				repo.Submodule(t, "sub", strings.Repeat("a", 40), "[submodule \"x\"]\n\tpath = sub\n\turl = "+to+"\n")
				s := newStore(t, git.Options{})
				snap := fetch(t, s, git.Remote{URL: repo.URL()}, onMain)
				_, err := s.Fetch(t.Context(), git.Remote{URL: repo.URL()}, snap.Head, git.FetchOptions{RecurseSubmodules: true})
				if f := fault.Of(err); err == nil || (f.Reason != git.ReasonInvalidURL && f.Reason != git.ReasonInvalidSubmodule) {
					t.Errorf("error is %v", err)
				}
			})
		}
	})
}

func TestA04HostileAddressesReachNoServerAndNoProgram(t *testing.T) {
	var dialled atomic.Int32
	s := newStore(t, git.Options{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialled.Add(1)
		return nil, errors.New("dialled")
	}})
	// A program would have to be found on the PATH.
	t.Setenv("PATH", t.TempDir())
	for _, u := range []string{
		"", "-oProxyCommand=touch /tmp/x", "--upload-pack=touch", "ext::sh -c id", "file:///etc", "/etc", "git@host:repo.git", "git://host/x",
		"ssh://-oProxyCommand=x/repo", "ssh://host/a'; id; '", "ssh://host/a\nb", "ssh://host/a%0ab", "ssh://host/%27x", "ssh://host/-x", "ssh://-l@host/x",
		"ssh://ho;st/x", "https://host/x?y=z", "https://host/x#y", "https://host", "https:///x", "http://host/\u200bx", "http://ho st/x", "http://host/x\x00", "HTTP//x",
		"ssh://host/`id`", "ssh://host/a\\b", "http://[::1", "http://user:pa\x7fss@host/x",
	} {
		_, err := s.Resolve(t.Context(), git.Remote{URL: u}, onMain)
		f := wantFault(t, err, fault.Stall, git.ReasonInvalidURL)
		if strings.ContainsAny(f.Error(), "\n\x00\x7f") {
			t.Errorf("%q: the message has control characters: %q", u, f)
		}
		if err := (git.Remote{URL: u}).Validate(); !fault.Is(err, git.ReasonInvalidURL) {
			t.Errorf("%q: Validate says %v", u, err)
		}
	}
	for _, ref := range []git.Ref{
		{Branch: "-x"}, {Branch: "--upload-pack=x"}, {Branch: "a..b"}, {Branch: "a b"}, {Branch: "a\nb"}, {Branch: "a.lock"}, {Branch: "/a"}, {Branch: "a~1"},
		{Tag: "-x"}, {Tag: "v1^{}"}, {Name: "main"}, {Name: "--x"}, {Name: "refs/heads/../../x"}, {Name: "refs/heads/a:b"}, {SemVer: "not a range"}, {Commit: "main"},
		{Commit: "--x"}, {Commit: strings.Repeat("g", 40)}, {Commit: "abc123"},
	} {
		_, err := s.Resolve(t.Context(), git.Remote{URL: "https://host/x"}, ref)
		reason := git.ReasonInvalidReference
		if ref.SemVer != "" {
			reason = git.ReasonInvalidSemver
		}
		wantFault(t, err, fault.Stall, reason)
		if err := ref.Validate(); !fault.Is(err, fault.Reason(reason)) {
			t.Errorf("%+v: Validate says %v", ref, err)
		}
	}
	if n := dialled.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
	for _, u := range []string{"https://dev.azure.com/org/My%20Project/_git/repo", "ssh://git@host:2222/~team/x.git", "http://localhost:3000/a/b"} {
		if err := (git.Remote{URL: u}).Validate(); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
}

// pkt is one packet of Git's protocol.
func pkt(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }

const advertisement = "application/x-git-upload-pack-advertisement"

// v0 is what a server of the old protocol greets with.
func v0(refs ...string) string {
	b := pkt("# service=git-upload-pack\n") + "0000"
	for i, r := range refs {
		if i == 0 {
			r += "\x00side-band-64k thin-pack ofs-delta shallow"
		}
		b += pkt(r + "\n")
	}
	return b + "0000"
}

func TestA05HostileReferenceNamesAreNeverChosen(t *testing.T) {
	id := strings.Repeat("a", 40)
	repo := gittest.Repo(t)
	repo.Server().Fail(gittest.Respond(advertisement, v0(
		id+" HEAD", id+" refs/heads/../../x", id+" refs/heads/main\x1b[2J", id+" refs/tags/v9.0.0\n0000", id+" refs/tags/-v8.0.0", id+" refs/tags/v7.0.0.lock",
		id+" refs/tags/v6.0.0..1", id+" refs/tags/v1.0.0",
	)))
	s := newStore(t, git.Options{})
	h, err := s.Resolve(t.Context(), git.Remote{URL: repo.URL()}, git.Ref{SemVer: ">=1"})
	if err != nil || h.Revision != "v1.0.0@sha1:"+id {
		t.Errorf("chose %+v, %v", h, err)
	}
	_, err = s.Resolve(t.Context(), git.Remote{URL: repo.URL()}, onMain)
	wantFault(t, err, fault.Retry, git.ReasonReferenceNotFound)
}

func TestA05AMillionReferencesAreCapped(t *testing.T) {
	repo := gittest.Repo(t)
	var sent atomic.Int64
	repo.Server().Fail(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		w.Header().Set("Content-Type", advertisement)
		io.WriteString(w, pkt("# service=git-upload-pack\n")+"0000"+pkt(strings.Repeat("a", 40)+" HEAD\x00side-band-64k\n"))
		for i := range 1_000_000 {
			n, err := io.WriteString(w, pkt(fmt.Sprintf("%040x refs/heads/branch-%07d\n", i, i)))
			if err != nil {
				return true
			}
			sent.Add(int64(n))
		}
		return true
	})
	s := newStore(t, git.Options{MaxRefs: 1000})
	_, err := s.Resolve(t.Context(), git.Remote{URL: repo.URL()}, git.Ref{SemVer: "*"})
	wantFault(t, err, fault.Retry, git.ReasonTooLarge)
	// The connection buffers some; it is far from the 70 MB of a million.
	repo.Server().Stop()
	if n := sent.Load(); n > 20<<20 {
		t.Errorf("%d bytes were read", n)
	}
}

// packOf answers a fetch with a pack that claims n objects, with the given
// content and the right checksum.
func packOf(n uint32, body func(w io.Writer) error) gittest.Fault {
	return gittest.OnPack(func(w http.ResponseWriter, _ []byte, _ *http.Request) {
		io.WriteString(w, pkt("packfile\n"))
		band := &sideband{w, sha1.New()} //nolint:gosec
		head := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), n)
		if _, err := band.Write(head); err != nil {
			return
		}
		if body(band) == nil {
			band.Write(band.sum.Sum(nil))
			io.WriteString(w, "0000")
		}
	})
}

type sideband struct {
	w   io.Writer
	sum hash.Hash
}

func (s *sideband) Write(b []byte) (int, error) {
	s.sum.Write(b)
	for rest := b; len(rest) > 0; {
		n := min(len(rest), 60000)
		if _, err := io.WriteString(s.w, pkt("\x01"+string(rest[:n]))); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(b), nil
}

func TestA06BombsStayWithinTheirBudget(t *testing.T) {
	opt := git.Options{MaxPackBytes: 4 << 20, MaxObjectBytes: 8 << 20}
	zeros := gittest.Deflate(make([]byte, 64<<20)) // 64 kB
	for _, c := range []struct {
		name   string
		fault  gittest.Fault
		reason string
	}{
		{"claims four billion objects", packOf(1<<32-1, func(io.Writer) error { return nil }), git.ReasonTooLarge},
		{"claims more objects than come", packOf(5_000_000, func(io.Writer) error { return nil }), git.ReasonCorrupt},
		{"object of 64 MB in 64 kB", packOf(1, func(w io.Writer) error {
			return writeAll(w, gittest.EntryHead(3, 64<<20), zeros)
		}), git.ReasonTooLarge},
		{"object longer than it says", packOf(1, func(w io.Writer) error {
			return writeAll(w, gittest.EntryHead(3, 10), zeros)
		}), git.ReasonCorrupt},
		{"many objects of 7 MB", packOf(1000, func(w io.Writer) error {
			seven := gittest.Deflate(make([]byte, 7<<20))
			for range 1000 {
				if err := writeAll(w, gittest.EntryHead(3, 7<<20), seven); err != nil {
					return err
				}
			}
			return nil
		}), git.ReasonTooLarge},
		{"delta that copies its base a million times", packOf(2, func(w io.Writer) error {
			base := strings.Repeat("x", 1<<16)
			delta := gittest.Varint(1<<16) + gittest.Varint(1<<36) + strings.Repeat("\x80", 1<<20)
			if err := writeAll(w, gittest.EntryHead(3, len(base)), gittest.Deflate([]byte(base))); err != nil {
				return err
			}
			id := gittest.ObjectID("blob", base)
			return writeAll(w, gittest.EntryHead(7, len(delta)), id, gittest.Deflate([]byte(delta)))
		}), git.ReasonTooLarge},
		{"endless stream", packOf(1<<20, func(w io.Writer) error {
			junk := make([]byte, 60000)
			if err := writeAll(w, gittest.EntryHead(3, 7<<20), gittest.StoredHead); err != nil {
				return err
			}
			for {
				if err := writeAll(w, gittest.Stored(junk)); err != nil {
					return err
				}
			}
		}), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			repo := gittest.Repo(t)
			repo.Commit(t, map[string]string{"a": "1"}, "one")
			s := newStore(t, opt)
			r := git.Remote{URL: repo.URL()}
			good := fetch(t, s, r, onMain)
			repo.Commit(t, map[string]string{"a": "2"}, "two")
			repo.Server().Fail(c.fault)
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := try(t, s, r, onMain)
			runtime.ReadMemStats(&after)
			f := fault.Of(err)
			if err == nil || (c.reason != "" && f.Reason != fault.Reason(c.reason)) || (c.reason == "" && f.Reason != git.ReasonTooLarge && f.Reason != git.ReasonCorrupt) {
				t.Errorf("error is %s: %v; want %s", f.Reason, err, c.reason)
			}
			if got := read(t, good.Tree, "a"); got != "1" {
				t.Errorf("the last good revision reads %q", got)
			}
			if n := after.HeapSys - min(before.HeapSys, after.HeapSys); n > 200<<20 {
				t.Errorf("the heap grew by %d MB", n>>20)
			}
			repo.Server().Fail(nil)
			if got := read(t, fetch(t, s, r, onMain).Tree, "a"); got != "2" {
				t.Errorf("afterwards it reads %q", got)
			}
		})
	}
	t.Run("a tree that stands for billions of files", func(t *testing.T) {
		repo := gittest.Repo(t)
		at := repo.RawTree(t, gittest.RawEntry{Mode: "100644", Name: "f", Hash: repo.Blob(t, "x")})
		for range 10 {
			var entries []gittest.RawEntry
			for i := range 10 {
				entries = append(entries, gittest.RawEntry{Mode: "40000", Name: fmt.Sprint("d", i), Hash: at})
			}
			at = repo.RawTree(t, entries...)
		}
		repo.RawCommit(t, at)
		_, err := try(t, newStore(t, git.Options{}), git.Remote{URL: repo.URL()}, onMain)
		wantFault(t, err, fault.Retry, git.ReasonTooLarge)
	})
	for name, f := range map[string]gittest.Fault{"stops": gittest.Stall(200), "says nothing": gittest.Stall(0), "one byte at a time": gittest.Drip(300, 20*time.Millisecond)} {
		t.Run("a server that "+name, func(t *testing.T) {
			repo := gittest.Repo(t)
			repo.Commit(t, map[string]string{"a": strings.Repeat("x", 1000), "b": fmt.Sprint(t.Name())}, "one")
			s, r := newStore(t, git.Options{StallTimeout: 500 * time.Millisecond}), git.Remote{URL: repo.URL()}
			h, err := newStore(t, git.Options{}).Resolve(t.Context(), r, onMain)
			if err != nil {
				t.Fatal(err)
			}
			repo.Server().Fail(f)
			_, err = s.Fetch(t.Context(), r, h, git.FetchOptions{})
			wantFault(t, err, fault.Retry, git.ReasonTimeout)
		})
	}
	t.Run("the timeout", func(t *testing.T) {
		repo := gittest.Repo(t)
		repo.Commit(t, map[string]string{"a": "1"}, "one")
		repo.Server().Fail(gittest.Stall(100))
		_, err := try(t, newStore(t, git.Options{}), git.Remote{URL: repo.URL(), Timeout: time.Second}, onMain)
		wantFault(t, err, fault.Retry, git.ReasonTimeout)
	})
}

func writeAll(w io.Writer, parts ...string) error {
	for _, p := range parts {
		if _, err := io.WriteString(w, p); err != nil {
			return err
		}
	}
	return nil
}

func TestA07BrokenTransfersLeaveTheLastGoodRevision(t *testing.T) {
	for name, f := range map[string]gittest.Fault{
		"cut at the start":      gittest.Truncate(60),
		"cut in the pack":       gittest.Truncate(-200),
		"cut before the end":    gittest.Truncate(-5),
		"a flipped bit":         gittest.Flip(100),
		"a bit of the checksum": gittest.Flip(10),
	} {
		t.Run(name, func(t *testing.T) {
			repo := gittest.Repo(t)
			repo.Commit(t, manyFiles(50), "one")
			dir := t.TempDir()
			s := openStore(t, dir, git.Options{})
			r := git.Remote{URL: repo.URL()}
			repo.Server().Fail(f)
			_, err := try(t, s, r, onMain)
			wantRetry(t, err)
			repo.Server().Fail(nil)
			good := fetch(t, s, r, onMain)

			repo.Commit(t, map[string]string{"apps/00/001.yaml": strings.Repeat("changed ", 50), "new": strings.Repeat("n", 500)}, "two")
			repo.Server().Fail(f)
			before := listing(t, dir)
			_, err = try(t, s, r, onMain)
			wantRetry(t, err)
			if after := listing(t, dir); after != before {
				t.Errorf("something was left:\n%s\nbefore:\n%s", after, before)
			}
			if got, err := s.Open(r, good.Head, git.FetchOptions{}); err != nil || !strings.HasPrefix(read(t, got.Tree, "apps/00/001.yaml"), "name: app-1") {
				t.Errorf("the last good revision: %v", err)
			}
			repo.Server().Fail(nil)
			if got := read(t, fetch(t, s, r, onMain).Tree, "apps/00/001.yaml"); !strings.HasPrefix(got, "changed") {
				t.Errorf("the next fetch gave %q", got)
			}
		})
	}
}

func wantRetry(t *testing.T, err error) {
	t.Helper()
	if f := fault.Of(err); err == nil || f.Next != fault.Retry || f.Reason == "" {
		t.Errorf("error is %v", err)
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if fi, err := d.Info(); err == nil && !d.IsDir() {
			fmt.Fprintln(&b, name, fi.Size())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestA07ABrokenCacheIsFoundAndFetchedAnew(t *testing.T) {
	damage := map[string]func(t *testing.T, pack string){
		"a bit of a file's content": func(t *testing.T, pack string) { flip(t, pack, 40) },
		"a bit of the checksum":     func(t *testing.T, pack string) { flip(t, pack, -3) },
		"the pack is cut":           func(t *testing.T, pack string) { truncate(t, pack, 100) },
		"the pack is empty":         func(t *testing.T, pack string) { truncate(t, pack, 0) },
		"the pack is gone":          func(t *testing.T, pack string) { remove(t, pack) },
		"a bit of the index":        func(t *testing.T, pack string) { flip(t, strings.TrimSuffix(pack, "pack")+"idx", 1100) },
		"the index is gone":         func(t *testing.T, pack string) { remove(t, strings.TrimSuffix(pack, "pack")+"idx") },
		"the list of commits":       func(t *testing.T, pack string) { flip(t, filepath.Join(filepath.Dir(pack), "../../shallow"), 5) },
	}
	for name, harm := range damage {
		t.Run(name, func(t *testing.T) {
			repo := gittest.Repo(t)
			repo.Commit(t, map[string]string{"a": strings.Repeat("some content ", 100)}, "one")
			dir := t.TempDir()
			s := openStore(t, dir, git.Options{})
			r := git.Remote{URL: repo.URL()}
			h := fetch(t, s, r, onMain).Head
			s.Close()
			packs, _ := filepath.Glob(filepath.Join(dir, "*", "objects", "pack", "*.pack"))
			if len(packs) != 1 {
				t.Fatal(packs)
			}
			harm(t, packs[0])

			s = openStore(t, dir, git.Options{})
			// At most one read fails; then the store knows, and a fetch mends it.
			for try := range 2 {
				snap, err := s.Fetch(t.Context(), r, h, git.FetchOptions{})
				if err != nil {
					t.Fatal(err)
				}
				b, err := snap.Tree.ReadFile("a")
				if err == nil {
					if string(b) != strings.Repeat("some content ", 100) {
						t.Fatalf("read %q", b)
					}
					return
				}
				if f := fault.Of(err); try > 0 || f.Reason != git.ReasonCorrupt || f.Next != fault.Retry {
					t.Fatalf("read %d: %v", try, err)
				}
			}
		})
	}
}

func change(t *testing.T, name string, do func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	remove(t, name)
	if err := os.WriteFile(name, do(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, name string, at int) {
	t.Helper()
	change(t, name, func(b []byte) []byte {
		if at < 0 {
			at += len(b)
		}
		b[at] ^= 0x10
		return b
	})
}

func truncate(t *testing.T, name string, n int) {
	t.Helper()
	change(t, name, func(b []byte) []byte { return b[:n] })
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

func TestA08RefusalsKeepTheStateAndSayWhenToComeBack(t *testing.T) {
	repo := gittest.Repo(t)
	repo.Commit(t, map[string]string{"a": "1"}, "one")
	s := newStore(t, git.Options{})
	r := git.Remote{URL: repo.URL()}
	good := fetch(t, s, r, onMain)
	dated := func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
		w.Header().Set("Retry-After", time.Now().Add(90*time.Second).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	for _, c := range []struct {
		name   string
		fault  gittest.Fault
		reason string
		after  time.Duration
	}{
		{"401", gittest.Status(401), git.ReasonAuthFailed, 0},
		{"403", gittest.Status(403), git.ReasonAuthFailed, 0},
		{"403 to who asks too often", gittest.Status(403, "Retry-After", "60"), git.ReasonRateLimited, time.Minute},
		{"404", gittest.Status(404), git.ReasonNotFound, 0},
		{"429", gittest.Status(429, "Retry-After", "120"), git.ReasonRateLimited, 2 * time.Minute},
		{"429 without a time", gittest.Status(429), git.ReasonRateLimited, 0},
		{"429 for a century", gittest.Status(429, "Retry-After", "3153600000"), git.ReasonRateLimited, time.Hour},
		{"503 with a date", dated, git.ReasonRateLimited, 90 * time.Second},
		{"500", gittest.Status(500), git.ReasonServerError, 0},
		{"502", gittest.Status(502), git.ReasonServerError, 0},
		{"503", gittest.Status(503), git.ReasonServerError, 0},
		{"a login page", gittest.LoginPage(), git.ReasonNotAGitServer, 0},
		{"a login page of the right type", gittest.Respond(advertisement, "<!doctype html>"), git.ReasonNotAGitServer, 0},
		{"nothing", gittest.Respond(advertisement, ""), git.ReasonNotAGitServer, 0},
		{"a server of files only", gittest.Respond("text/plain", strings.Repeat("a", 40)+"\trefs/heads/main\n"), git.ReasonNotAGitServer, 0},
		{"an error in the protocol", gittest.Respond(advertisement, pkt("# service=git-upload-pack\n")+"0000"+pkt("ERR Repository not found.\n")), git.ReasonNotFound, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			repo.Server().Fail(c.fault)
			_, err := s.Resolve(t.Context(), r, onMain)
			f := wantFault(t, err, fault.Retry, c.reason)
			if d := f.After - c.after; d > 0 || d < -5*time.Second {
				t.Errorf("to come back after %v, want %v", f.After, c.after)
			}
			if _, err := s.Open(r, good.Head, git.FetchOptions{}); err != nil || read(t, good.Tree, "a") != "1" {
				t.Errorf("the last good revision: %v", err)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		repo := gittest.Repo(t)
		repo.Server().Stop()
		_, err := newStore(t, git.Options{}).Resolve(t.Context(), git.Remote{URL: repo.URL()}, onMain)
		wantFault(t, err, fault.Retry, git.ReasonConnectionFailed)
	})
	t.Run("no such repository over SSH", func(t *testing.T) {
		server := gittest.New(t)
		over := server.SSH(t, gittest.SSHOptions{})
		_, err := newStore(t, git.Options{}).Resolve(t.Context(),
			git.Remote{URL: "ssh://git@" + over.Addr() + "/none.git", Auth: git.Auth{KnownHosts: over.KnownHosts()}}, onMain)
		wantFault(t, err, fault.Retry, git.ReasonNotFound)
	})
}

func TestA09RedirectsToAnotherHostCarryNoCredentials(t *testing.T) {
	var asked atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer elsewhere.Close()
	u, _ := url.Parse(elsewhere.URL)
	otherName := "http://localhost:" + u.Port() // the same machine by another name
	repo, s := gittest.Repo(t), newStore(t, git.Options{})
	for _, code := range []int{301, 302, 303, 307, 308} {
		for where, to := range map[string]string{"port": elsewhere.URL, "host": otherName, "user": strings.Replace(elsewhere.URL, "://", "://a:b@", 1), "scheme": "file://" + u.Host} {
			t.Run(fmt.Sprint(code, " to another ", where), func(t *testing.T) {
				repo.Server().Fail(gittest.Redirect(code, to))
				_, err := s.Resolve(t.Context(),
					git.Remote{URL: repo.URL(), Auth: git.Auth{Username: "ada", Password: "canary-password"}}, onMain)
				wantFault(t, err, fault.Retry, git.ReasonRedirectRefused)
			})
		}
	}
	t.Run("from https to http", func(t *testing.T) {
		server := gittest.NewTLS(t, nil)
		repo := server.Repo(t, "r")
		server.Fail(gittest.Redirect(302, strings.Replace(server.URL(), "https://", "http://", 1)))
		_, err := newStore(t, git.Options{}).Resolve(t.Context(), git.Remote{URL: repo.URL(), Auth: git.Auth{CA: server.CA(), BearerToken: "canary-token"}}, onMain)
		f := wantFault(t, err, fault.Retry, git.ReasonRedirectRefused)
		if !strings.Contains(f.Error(), "TLS") {
			t.Errorf("error is %v", f)
		}
	})
	t.Run("in the middle of a conversation", func(t *testing.T) {
		repo := gittest.Repo(t)
		repo.Commit(t, map[string]string{"a": "1"}, "one")
		repo.Server().Fail(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if r.Method != http.MethodPost {
				return false
			}
			w.Header().Set("Location", elsewhere.URL+r.URL.Path)
			w.WriteHeader(http.StatusPermanentRedirect)
			return true
		})
		_, err := try(t, newStore(t, git.Options{}), git.Remote{URL: repo.URL(), Auth: git.Auth{BearerToken: "canary-token"}}, onMain)
		wantFault(t, err, fault.Retry, git.ReasonRedirectRefused)
	})
	if n := asked.Load(); n != 0 {
		t.Errorf("the other host was asked %d times", n)
	}
	t.Run("within the host it is followed", func(t *testing.T) {
		server := gittest.New(t)
		repo := server.Repo(t, "moved/here")
		repo.Commit(t, map[string]string{"a": "1"}, "one")
		server.RequireBasic("ada", "correct horse")
		server.Fail(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			rest, old := strings.CutPrefix(r.URL.RequestURI(), "/old")
			if old {
				http.Redirect(w, r, "/moved/here.git"+rest, http.StatusMovedPermanently)
			}
			return old
		})
		fetch(t, newStore(t, git.Options{}), git.Remote{URL: server.URL() + "/old", Auth: git.Auth{Username: "ada", Password: "correct horse"}}, onMain)
	})
	t.Run("a submodule elsewhere", func(t *testing.T) {
		var seen atomic.Value
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen.Store(r.Header.Clone())
			http.Error(w, "no", http.StatusForbidden)
		}))
		defer other.Close()
		repo := gittest.Repo(t)
		repo.Server().RequireBearer("canary-token")
		repo.Submodule(t, "sub", strings.Repeat("a", 40), "[submodule \"x\"]\n\tpath = sub\n\turl = "+other.URL+"/x.git\n")
		s := newStore(t, git.Options{})
		r := git.Remote{URL: repo.URL(), Auth: git.Auth{BearerToken: "canary-token"}}
		snap := fetch(t, s, r, onMain)
		_, err := s.Fetch(t.Context(), r, snap.Head, git.FetchOptions{RecurseSubmodules: true})
		wantFault(t, err, fault.Retry, git.ReasonAuthFailed)
		if h, _ := seen.Load().(http.Header); h == nil || h.Get("Authorization") != "" {
			t.Errorf("the other host saw %v", h)
		}
	})
}

func TestA10HostKeysAreNeverTrustedUnseen(t *testing.T) {
	server := gittest.New(t)
	repo := server.Repo(t, "r")
	repo.Commit(t, map[string]string{"a": "1"}, "one")
	over := server.SSH(t, gittest.SSHOptions{})
	known := string(over.KnownHosts())
	stranger, _ := gittest.NewKey(t, "")
	weakKey, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // that is what must be refused
	if err != nil {
		t.Skipf("no RSA key of 1024 bits can be made here: %v", err)
	}
	weak, err := ssh.NewSignerFromKey(weakKey)
	if err != nil {
		t.Fatal(err)
	}
	feeble := server.SSH(t, gittest.SSHOptions{HostKey: weak})
	s := newStore(t, git.Options{})
	for _, c := range []struct {
		name, hosts string
		at          *gittest.SSHServer
	}{
		{"nothing is known", "", over},
		{"only blanks are known", "\n \n", over},
		{"another host is known", knownhosts.Line([]string{"example.com"}, stranger.PublicKey()) + "\n", over},
		{"another key is known", knownhosts.Line([]string{over.Addr()}, stranger.PublicKey()) + "\n", over},
		{"the key is revoked", "@revoked " + known + known, over},
		{"the key is too short", string(feeble.KnownHosts()), feeble},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := s.Resolve(t.Context(), git.Remote{URL: c.at.URL(repo), Auth: git.Auth{KnownHosts: []byte(c.hosts)}}, onMain)
			wantFault(t, err, fault.Retry, git.ReasonHostKeyMismatch)
		})
	}
	if n := len(over.Commands()) + len(feeble.Commands()); n != 0 {
		t.Errorf("%d commands were run", n)
	}
	for name, hosts := range map[string]string{
		"known":                  known,
		"known, hashed":          knownhosts.Line([]string{knownhosts.HashHostname(knownhosts.Normalize(over.Addr()))}, key(t, known)) + "\n",
		"known among other keys": knownhosts.Line([]string{over.Addr()}, stranger.PublicKey()) + "\n" + known,
	} {
		t.Run(name, func(t *testing.T) {
			fetch(t, s, git.Remote{URL: over.URL(repo), Auth: git.Auth{KnownHosts: []byte(hosts)}}, onMain)
		})
	}
}

func key(t *testing.T, line string) ssh.PublicKey {
	t.Helper()
	_, _, k, _, _, err := ssh.ParseKnownHosts([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestA11SecretsAreInNoError(t *testing.T) {
	const (
		password = "canary-pass/word+%"
		token    = "canary-token-7f3a"
		proxyPW  = "canary-proxy-91"
		query    = "canary-query-22"
		userinfo = "canary-userinfo-3"
	)
	_, identity := gittest.NewKey(t, "canary-passphrase")
	server := gittest.New(t)
	repo := server.Repo(t, "r")
	repo.Commit(t, map[string]string{"a": "1"}, "one")
	over := server.SSH(t, gittest.SSHOptions{Password: "other"})
	basic := git.Auth{Username: "ada", Password: password}
	bearer := git.Auth{BearerToken: token}
	echo := func(status int) gittest.Fault { // a server that sends back what it was shown, in words of the protocol
		return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			_, pw, _ := r.BasicAuth()
			said := r.Header.Get("Authorization") + " " + pw + " " + strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			if status != 200 {
				http.Error(w, said, status)
				return true
			}
			w.Header().Set("Content-Type", advertisement)
			io.WriteString(w, pkt("ERR "+said))
			return true
		}
	}
	withUser := strings.Replace(repo.URL(), "://", "://ada:"+userinfo+"@", 1)
	secure := gittest.NewTLS(t, nil)
	faults := map[string]gittest.Fault{
		"none": nil, "401": echo(401), "500": echo(500), "echo": echo(200), "login": gittest.LoginPage(),
		"redirect": gittest.Redirect(302, "http://localhost:1"), "truncated": gittest.Truncate(50), "flip": gittest.Flip(30),
		"type": func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			w.Header().Set("Content-Type", "x/"+r.Header.Get("Authorization"))
			return true
		},
		"location": func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			w.Header().Set("Location", "http://"+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")+".example/")
			w.WriteHeader(http.StatusFound)
			return true
		},
	}
	remotes := map[string]git.Remote{
		"basic":         {URL: repo.URL(), Auth: basic},
		"bearer":        {URL: repo.URL(), Auth: bearer},
		"userinfo":      {URL: withUser},
		"query":         {URL: repo.URL() + "?token=" + query},
		"bad url":       {URL: "http://ada:" + userinfo + "@host:port/%zz?" + query, Auth: basic},
		"worse url":     {URL: "ext::ada:" + userinfo + "@" + query, Auth: basic},
		"control":       {URL: "http://ada:" + userinfo + "@host/\n" + query},
		"proxy":         {URL: repo.URL(), Auth: basic, Proxy: git.Proxy{URL: "http://127.0.0.1:1", Username: "p", Password: proxyPW}},
		"proxy in URL":  {URL: repo.URL(), Auth: basic, Proxy: git.Proxy{URL: "http://p:" + proxyPW + "@127.0.0.1:1"}},
		"bad proxy":     {URL: repo.URL(), Auth: basic, Proxy: git.Proxy{URL: "ftp://p:" + proxyPW + "@host"}},
		"worse proxy":   {URL: repo.URL(), Auth: basic, Proxy: git.Proxy{URL: "http://p:" + proxyPW + "@ho st:%zz"}},
		"socks":         {URL: repo.URL(), Auth: basic, Proxy: git.Proxy{URL: "socks5://127.0.0.1:1", Username: "p", Password: proxyPW}},
		"no host":       {URL: "http://canary.invalid/x", Auth: basic},
		"untrusted CA":  {URL: secure.URL() + "/x", Auth: basic},
		"bad CA":        {URL: secure.URL() + "/x", Auth: git.Auth{CA: []byte(token)}},
		"bad cert":      {URL: secure.URL() + "/x", Auth: git.Auth{ClientCert: []byte(token), ClientKey: []byte(token)}},
		"ssh password":  {URL: over.URL(repo), Auth: git.Auth{Password: password, KnownHosts: over.KnownHosts()}},
		"ssh key":       {URL: over.URL(repo), Auth: git.Auth{Identity: identity, Password: "wrong-" + token, KnownHosts: over.KnownHosts()}},
		"ssh bad key":   {URL: over.URL(repo), Auth: git.Auth{Identity: []byte("-----BEGIN " + token), KnownHosts: over.KnownHosts()}},
		"ssh userinfo":  {URL: strings.Replace(over.URL(repo), "git@", "git:"+userinfo+"@", 1), Auth: git.Auth{KnownHosts: over.KnownHosts()}},
		"ssh known bad": {URL: over.URL(repo), Auth: git.Auth{Password: password, KnownHosts: []byte("a b c " + token)}},
		"missing":       {URL: server.URL() + "/none.git", Auth: basic},
	}
	canaries := []string{
		"canary-p", token, proxyPW, query, userinfo, password, url.QueryEscape(password), url.PathEscape(password),
		base64.StdEncoding.EncodeToString([]byte("ada:" + password)), string(identity[40:80]), "canary-passphrase",
	}
	failed := 0
	for name, r := range remotes {
		for what, f := range faults {
			if f != nil && !strings.HasPrefix(r.URL, repo.URL()) && r.URL != withUser {
				continue // it does not get to the server
			}
			server.Fail(f)
			s := newStore(t, git.Options{StallTimeout: 5 * time.Second})
			_, err := try(t, s, r, onMain)
			if err == nil {
				continue
			}
			failed++
			f := fault.Of(err)
			texts := []string{err.Error(), fmt.Sprintf("%+v", err), f.Hint, f.Error(), fmt.Sprint(r), fmt.Sprintf("%+v %#v", r, r.Auth)}
			for e := err; e != nil; e = errors.Unwrap(e) {
				texts = append(texts, e.Error(), fmt.Sprintf("%#v", e))
			}
			for _, text := range texts {
				for _, c := range canaries {
					if strings.Contains(text, c) {
						t.Errorf("%s, %s: %q is in %q", name, what, c, text)
					}
				}
			}
			s.Close()
		}
	}
	if failed < 50 {
		t.Errorf("only %d failures were looked at", failed)
	}

	t.Run("on disk", func(t *testing.T) {
		server.Fail(nil)
		dir := t.TempDir()
		server.RequireBasic("ada", password)
		fetch(t, openStore(t, dir, git.Options{}), git.Remote{URL: repo.URL(), Auth: basic}, onMain)
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(name)
			for _, c := range canaries {
				if strings.Contains(string(b), c) || strings.Contains(name, c) {
					t.Errorf("%q is in %s", c, name)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestA15DialIsAskedAboutEveryAddress(t *testing.T) {
	refused := errors.New("that address is not allowed")
	var asked []string
	s := newStore(t, git.Options{Dial: func(_ context.Context, _, addr string) (net.Conn, error) {
		asked = append(asked, addr)
		return nil, refused
	}})
	for _, r := range []git.Remote{
		{URL: "http://169.254.169.254/x"}, {URL: "https://2130706433/x"},
		{URL: "ssh://git@[::ffff:127.0.0.1]/x", Auth: git.Auth{KnownHosts: hostsFor(t, "[::ffff:127.0.0.1]:22")}},
		{URL: "http://example.com/x", Proxy: git.Proxy{URL: "socks5://10.0.0.1:1080"}},
	} {
		_, err := s.Resolve(t.Context(), r, onMain)
		wantFault(t, err, fault.Retry, git.ReasonConnectionFailed)
	}
	if want := "[169.254.169.254:80 2130706433:443 [::ffff:127.0.0.1]:22 10.0.0.1:1080]"; fmt.Sprint(asked) != want {
		t.Errorf("asked about %v, want %v", asked, want)
	}
}

func hostsFor(t *testing.T, addr string) []byte {
	t.Helper()
	k, _ := gittest.NewKey(t, "")
	return []byte(knownhosts.Line([]string{addr}, k.PublicKey()) + "\n")
}

func TestA16HistoryThatMovesIsFollowedAndWhatIsGoneIsKept(t *testing.T) {
	repo := gittest.Repo(t)
	one := repo.Commit(t, map[string]string{"n": "1"}, "one")
	s := newStore(t, git.Options{})
	r := git.Remote{URL: repo.URL()}
	first := fetch(t, s, r, onMain)
	repo.Tag(t, "stable", one)
	fetch(t, s, r, git.Ref{Tag: "stable"})
	two := repo.Commit(t, map[string]string{"n": "2"}, "two")
	fetch(t, s, r, onMain)

	t.Run("force-push back", func(t *testing.T) {
		repo.ForcePush(t, "main", one)
		if snap := fetch(t, s, r, onMain); snap.Hash != one || read(t, snap.Tree, "n") != "1" {
			t.Errorf("at %s", snap.Revision)
		}
	})
	t.Run("force-push to another history", func(t *testing.T) {
		repo.Git(t, "update-ref", "-d", "refs/heads/main")
		three := repo.Commit(t, map[string]string{"n": "3"}, "three")
		if snap := fetch(t, s, r, onMain); snap.Hash != three || read(t, snap.Tree, "n") != "3" {
			t.Errorf("at %s", snap.Revision)
		}
	})
	t.Run("revert", func(t *testing.T) {
		repo.Commit(t, map[string]string{"n": "4"}, "four")
		fetch(t, s, r, onMain)
		hash := repo.Revert(t)
		if snap := fetch(t, s, r, onMain); snap.Hash != hash || read(t, snap.Tree, "n") != "3" {
			t.Errorf("at %s", snap.Revision)
		}
	})
	t.Run("tag moved", func(t *testing.T) {
		repo.Tag(t, "stable", two)
		if snap := fetch(t, s, r, git.Ref{Tag: "stable"}); snap.Hash != two || read(t, snap.Tree, "n") != "2" {
			t.Errorf("at %s", snap.Revision)
		}
	})
	t.Run("branch deleted", func(t *testing.T) {
		repo.DeleteBranch(t, "main")
		_, err := s.Resolve(t.Context(), r, onMain)
		f := wantFault(t, err, fault.Retry, git.ReasonReferenceNotFound)
		if !strings.Contains(f.Error(), "refs/heads/main") {
			t.Errorf("the branch is not named: %v", f)
		}
		if snap, err := s.Open(r, first.Head, git.FetchOptions{}); err != nil || read(t, snap.Tree, "n") != "1" {
			t.Errorf("the last good revision: %v", err)
		}
	})
	t.Run("default branch renamed", func(t *testing.T) {
		repo.Branch(t, "trunk", two)
		repo.Git(t, "symbolic-ref", "HEAD", "refs/heads/trunk")
		_, err := s.Resolve(t.Context(), r, onMain)
		wantFault(t, err, fault.Retry, git.ReasonReferenceNotFound)
	})
	t.Run("empty repository", func(t *testing.T) {
		ways(t, func(t *testing.T, _ *gittest.Repository, r git.Remote) {
			for _, ref := range []git.Ref{onMain, {SemVer: "*"}, {Name: "HEAD"}} {
				_, err := newStore(t, git.Options{}).Resolve(t.Context(), r, ref)
				wantFault(t, err, fault.Retry, git.ReasonReferenceNotFound)
			}
		})
	})
	t.Run("commit that is nowhere", func(t *testing.T) {
		ways(t, func(t *testing.T, repo *gittest.Repository, r git.Remote) {
			repo.Commit(t, map[string]string{"n": "1"}, "one")
			_, err := try(t, newStore(t, git.Options{}), r, git.Ref{Commit: strings.Repeat("a", 40)})
			wantFault(t, err, fault.Retry, git.ReasonReferenceNotFound)
		})
	})
}
