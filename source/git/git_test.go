package git_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/source/git"
	"plumb.dev/plumb/tree"
)

var onMain = git.Ref{Branch: "main"}

func newStore(t testing.TB, o git.Options) *git.Store {
	t.Helper()
	return openStore(t, t.TempDir(), o)
}

func openStore(t testing.TB, dir string, o git.Options) *git.Store {
	t.Helper()
	s, err := git.NewStore(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func try(t testing.TB, s *git.Store, r git.Remote, ref git.Ref) (*git.Snapshot, error) {
	t.Helper()
	h, err := s.Resolve(t.Context(), r, ref)
	if err != nil {
		return nil, err
	}
	return s.Fetch(t.Context(), r, h, git.FetchOptions{})
}

func fetch(t testing.TB, s *git.Store, r git.Remote, ref git.Ref) *git.Snapshot {
	t.Helper()
	snap, err := try(t, s, r, ref)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func read(t testing.TB, at tree.Tree, name string) string {
	t.Helper()
	b, err := at.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func wantFault(t testing.TB, err error, next fault.Next, reason string) *fault.Error {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s", reason)
	}
	f := fault.Of(err)
	if f.Next != next || f.Reason != fault.Reason(reason) {
		t.Fatalf("error is %s %s: %v; want %s %s", f.Next, f.Reason, err, next, reason)
	}
	return f
}

// ways are the transports and protocols that everything must work over.
func ways(t *testing.T, run func(t *testing.T, repo *gittest.Repository, r git.Remote)) {
	for _, old := range []bool{false, true} {
		version := map[bool]string{false: "v2", true: "v0"}[old]
		t.Run("http "+version, func(t *testing.T) {
			repo := gittest.Repo(t)
			if old {
				repo.Server().OldProtocol()
			}
			run(t, repo, git.Remote{URL: repo.URL()})
		})
		t.Run("ssh "+version, func(t *testing.T) {
			server := gittest.New(t)
			repo := server.Repo(t, "team/app")
			signer, pem := gittest.NewKey(t, "")
			over := server.SSH(t, gittest.SSHOptions{Accept: signer.PublicKey()})
			if old {
				over.OldProtocol()
			}
			run(t, repo, git.Remote{URL: over.URL(repo), Auth: git.Auth{Identity: pem, KnownHosts: over.KnownHosts()}})
		})
	}
}

func TestARevisionIsReadAsItWasCommitted(t *testing.T) {
	ways(t, func(t *testing.T, repo *gittest.Repository, r git.Remote) {
		hash := repo.Commit(t, map[string]string{
			"apps/web/app.yaml": "a: 1\n", "README.md": "hello\n", "empty": "", "link": "-> apps/web",
		}, "first\n\nwith a body")
		snap := fetch(t, newStore(t, git.Options{}), r, onMain)
		if want := "main@sha1:" + hash; snap.Revision != want {
			t.Errorf("revision %s, want %s", snap.Revision, want)
		}
		if c := snap.Commit; c.Hash != hash || c.Author != gittest.Author || c.Email != gittest.Email ||
			c.Message != "first\n\nwith a body" || c.When.Unix() != 1_700_000_001 {
			t.Errorf("commit is %+v", c)
		}
		if got := read(t, snap.Tree, "apps/web/app.yaml"); got != "a: 1\n" {
			t.Errorf("file is %q", got)
		}
		if got := read(t, snap.Tree, "empty"); got != "" {
			t.Errorf("empty file is %q", got)
		}
		root, err := snap.Tree.Lookup(".")
		if want := tree.ID("git:" + repo.Git(t, "rev-parse", "main^{tree}")); err != nil || root.ID != want || root.Kind != tree.Dir {
			t.Errorf("root is %+v, %v", root, err)
		}
		if e, err := snap.Tree.Lookup("link"); err != nil || e.Kind != tree.Link || read(t, snap.Tree, "link") != "apps/web" {
			t.Errorf("link is %+v, %v", e, err)
		}
		if b, err := tree.Read(snap.Tree, "link/app.yaml"); err != nil || string(b) != "a: 1\n" {
			t.Errorf("through the link: %q, %v", b, err)
		}
		for _, name := range []string{"apps/none", "none/x", "README.md/x", "link/app.yaml"} {
			if _, err := snap.Tree.Lookup(name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, name := range []string{"", "/", "../x", "a//b"} {
			if _, err := snap.Tree.Lookup(name); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%q: %v", name, err)
			}
		}
	})
}

func TestRefsStandForWhatFluxSaysTheyDo(t *testing.T) {
	ways(t, func(t *testing.T, repo *gittest.Repository, r git.Remote) {
		one := repo.Commit(t, map[string]string{"n": "1"}, "one")
		repo.Tag(t, "v1.0.0", one)
		two := repo.Commit(t, map[string]string{"n": "2"}, "two")
		repo.AnnotatedTag(t, "v1.2.0", two)
		three := repo.Commit(t, map[string]string{"n": "3"}, "three")
		repo.Tag(t, "v2.0.0-rc.1", three)
		repo.Tag(t, "not-a-version", three)
		repo.Branch(t, "master", one)
		repo.Branch(t, "feature/x", two)
		repo.Branch(t, "both", three)
		repo.Tag(t, "both", one)
		repo.Tag(t, "feature/x-1", one) // begins as a branch does
		repo.Git(t, "update-ref", "refs/pull/1/head", two)
		s := newStore(t, git.Options{})
		for _, c := range []struct {
			ref      git.Ref
			revision string
			content  string
		}{
			{git.Ref{}, "master@sha1:" + one, "1"},
			{git.Ref{Branch: "main"}, "main@sha1:" + three, "3"},
			{git.Ref{Branch: "feature/x"}, "feature/x@sha1:" + two, "2"},
			{git.Ref{Branch: "main", Tag: "v1.0.0"}, "v1.0.0@sha1:" + one, "1"},
			{git.Ref{Tag: "v1.2.0"}, "v1.2.0@sha1:" + two, "2"},
			{git.Ref{Tag: "v1.0.0", SemVer: ">=1.0.0"}, "v1.2.0@sha1:" + two, "2"},
			{git.Ref{SemVer: ">=1.0.0-0"}, "v2.0.0-rc.1@sha1:" + three, "3"},
			{git.Ref{SemVer: "1.0.x"}, "v1.0.0@sha1:" + one, "1"},
			{git.Ref{Name: "refs/pull/1/head", SemVer: ">=1.0.0"}, "refs/pull/1/head@sha1:" + two, "2"},
			{git.Ref{Name: "refs/tags/v1.2.0"}, "refs/tags/v1.2.0@sha1:" + two, "2"},
			{git.Ref{Commit: three, Name: "refs/pull/1/head"}, "sha1:" + three, "3"},
			{git.Ref{Commit: one, Branch: "main"}, "main@sha1:" + one, "1"},
			{git.Ref{Short: "main"}, "main@sha1:" + three, "3"},
			{git.Ref{Short: "feature/x"}, "feature/x@sha1:" + two, "2"},
			{git.Ref{Short: "both"}, "both@sha1:" + three, "3"},
			{git.Ref{Short: "v1.2.0"}, "v1.2.0@sha1:" + two, "2"},
			{git.Ref{Short: "HEAD"}, "HEAD@sha1:" + three, "3"},
			{git.Ref{Short: "refs/pull/1/head"}, "refs/pull/1/head@sha1:" + two, "2"},
			{git.Ref{Short: two}, "sha1:" + two, "2"},
		} {
			snap, err := try(t, s, r, c.ref)
			if err != nil {
				t.Errorf("%+v: %v", c.ref, err)
				continue
			}
			if snap.Revision != c.revision || read(t, snap.Tree, "n") != c.content {
				t.Errorf("%+v: %s with %q, want %s with %q", c.ref, snap.Revision, read(t, snap.Tree, "n"), c.revision, c.content)
			}
		}
		for _, ref := range []git.Ref{{Branch: "none"}, {Tag: "v9"}, {SemVer: ">=3"}, {Name: "refs/heads/none"}, {Commit: three, Branch: "feature/x"}, {Short: "v9"}, {Short: two[:8]}} {
			_, err := try(t, s, r, ref)
			wantFault(t, err, fault.Retry, git.ReasonReferenceNotFound)
		}
	})
}

// manyFiles is a repository large enough that sending all of it again shows.
func manyFiles(n int) map[string]string {
	files := make(map[string]string)
	for i := range n {
		files[fmt.Sprintf("apps/%02d/%03d.yaml", i/100, i)] = fmt.Sprintf("name: app-%d\nx: %x\n", i, i*7919)
	}
	return files
}

func TestOnlyMissingObjectsTravel(t *testing.T) {
	for _, version := range []string{"v2", "v0"} {
		t.Run(version, func(t *testing.T) {
			repo := gittest.Repo(t)
			server := repo.Server()
			if version == "v0" {
				server.OldProtocol()
			}
			repo.Commit(t, manyFiles(3000), "first")
			dir := t.TempDir()
			s := openStore(t, dir, git.Options{})
			r := git.Remote{URL: repo.URL()}
			server.Reset()
			before := fetch(t, s, r, onMain)
			first := server.Sent()
			if first < 100_000 {
				t.Fatalf("the first fetch was %d bytes; the test needs more", first)
			}

			repo.Commit(t, map[string]string{"apps/00/001.yaml": "changed\n"}, "second")
			server.Reset()
			after := fetch(t, s, r, onMain)
			if n := server.Sent(); n > 4000 {
				t.Errorf("a commit of one file took %d bytes; the whole is %d", n, first)
			}
			if got := read(t, after.Tree, "apps/00/001.yaml"); got != "changed\n" {
				t.Errorf("the file is %q", got)
			}
			if got := read(t, before.Tree, "apps/00/001.yaml"); got == "changed\n" {
				t.Error("an earlier snapshot shows what came later")
			}
			if got := read(t, after.Tree, "apps/29/2999.yaml"); !strings.HasPrefix(got, "name: app-2999") {
				t.Errorf("an unchanged file is %q", got)
			}
			was, _ := before.Tree.Lookup("apps/05")
			if is, _ := after.Tree.Lookup("apps/05"); is != was {
				t.Error("an unchanged directory has another ID")
			}

			// What is there is not asked for again, also after a restart.
			s.Close()
			s = openStore(t, dir, git.Options{})
			server.Reset()
			if _, err := s.Fetch(t.Context(), r, after.Head, git.FetchOptions{}); err != nil {
				t.Fatal(err)
			}
			if got := server.Requests(); len(got) != 0 {
				t.Errorf("a fetch of what is there made %d requests", len(got))
			}

			// A branch rewritten from long ago is no reason to send its history.
			for i := range 5 {
				repo.CommitOn(t, "other", map[string]string{"big": strings.Repeat(fmt.Sprint(i), 2000+i)}, "other")
			}
			server.Reset()
			fetch(t, s, r, git.Ref{Branch: "other"})
			if n := server.Sent(); n > 4000 {
				t.Errorf("an unrelated branch took %d bytes", n)
			}
		})
	}
}

func TestResolveMovesNoObjectsAndFewRefs(t *testing.T) {
	repo := gittest.Repo(t)
	hash := repo.Commit(t, map[string]string{"a": "1"}, "one")
	for i := range 200 {
		repo.Branch(t, fmt.Sprintf("branch-%03d", i), hash)
	}
	server := repo.Server()
	server.Reset()
	if _, err := newStore(t, git.Options{}).Resolve(t.Context(), git.Remote{URL: repo.URL()}, onMain); err != nil {
		t.Fatal(err)
	}
	if n := server.Sent(); n > 600 {
		t.Errorf("asking for one branch of 200 took %d bytes", n)
	}
}

func TestSourcesOfOneRepositoryShareOneFetch(t *testing.T) {
	repo := gittest.Repo(t)
	repo.Commit(t, manyFiles(500), "first")
	s := newStore(t, git.Options{})
	r := git.Remote{URL: repo.URL()}
	h, err := s.Resolve(t.Context(), r, onMain)
	if err != nil {
		t.Fatal(err)
	}
	repo.Server().Reset()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			snap, err := s.Fetch(t.Context(), r, h, git.FetchOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			for i := range 500 {
				name := fmt.Sprintf("apps/%02d/%03d.yaml", i/100, i)
				if b, err := snap.Tree.ReadFile(name); err != nil || !strings.HasPrefix(string(b), fmt.Sprintf("name: app-%d\n", i)) {
					t.Errorf("%s: %q, %v", name, b, err)
				}
			}
		})
	}
	wg.Wait()
	posts := 0
	for _, q := range repo.Server().Requests() {
		if q.Method == http.MethodPost {
			posts++
		}
	}
	if posts != 1 {
		t.Errorf("%d fetches, want 1", posts)
	}
}

func TestEveryWayToAuthenticate(t *testing.T) {
	files := map[string]string{"a": "1"}
	t.Run("bearer token", func(t *testing.T) {
		repo := gittest.Repo(t)
		repo.Commit(t, files, "one")
		repo.Server().RequireBearer("tok-123")
		fetch(t, newStore(t, git.Options{}), git.Remote{URL: repo.URL(), Auth: git.Auth{BearerToken: "tok-123"}}, onMain)
	})
	t.Run("user and password in the URL", func(t *testing.T) {
		repo := gittest.Repo(t)
		repo.Commit(t, files, "one")
		repo.Server().RequireBasic("ada", "p@ss")
		fetch(t, newStore(t, git.Options{}), git.Remote{URL: strings.Replace(repo.URL(), "://", "://ada:p%40ss@", 1)}, onMain)
	})
	t.Run("CA", func(t *testing.T) {
		server := gittest.NewTLS(t, nil)
		repo := server.Repo(t, "r")
		repo.Commit(t, files, "one")
		s := newStore(t, git.Options{})
		fetch(t, s, git.Remote{URL: repo.URL(), Auth: git.Auth{CA: server.CA()}}, onMain)
		_, err := try(t, s, git.Remote{URL: repo.URL()}, onMain)
		wantFault(t, err, fault.Retry, git.ReasonCertificateInvalid)
	})
	t.Run("client certificate", func(t *testing.T) {
		cert, key, pool := gittest.ClientCertificate(t)
		server := gittest.NewTLS(t, pool)
		repo := server.Repo(t, "r")
		repo.Commit(t, files, "one")
		s := newStore(t, git.Options{})
		fetch(t, s, git.Remote{URL: repo.URL(), Auth: git.Auth{CA: server.CA(), ClientCert: cert, ClientKey: key}}, onMain)
		if _, err := try(t, s, git.Remote{URL: repo.URL(), Auth: git.Auth{CA: server.CA()}}, onMain); err == nil {
			t.Error("let in without a certificate")
		}
	})
	t.Run("SSH key with a passphrase", func(t *testing.T) {
		server := gittest.New(t)
		repo := server.Repo(t, "r")
		repo.Commit(t, files, "one")
		signer, pem := gittest.NewKey(t, "open sesame")
		over := server.SSH(t, gittest.SSHOptions{Accept: signer.PublicKey()})
		s := newStore(t, git.Options{})
		auth := git.Auth{Identity: pem, Password: "open sesame", KnownHosts: over.KnownHosts()}
		fetch(t, s, git.Remote{URL: over.URL(repo), Auth: auth}, onMain)
		auth.Password = "wrong"
		_, err := try(t, s, git.Remote{URL: over.URL(repo), Auth: auth}, onMain)
		wantFault(t, err, fault.Retry, git.ReasonInvalidAuth)
		_, auth.Identity = gittest.NewKey(t, "")
		_, err = try(t, s, git.Remote{URL: over.URL(repo), Auth: auth}, onMain)
		wantFault(t, err, fault.Retry, git.ReasonAuthFailed)
	})
	t.Run("SSH password", func(t *testing.T) {
		server := gittest.New(t)
		repo := server.Repo(t, "r")
		repo.Commit(t, files, "one")
		over := server.SSH(t, gittest.SSHOptions{Password: "open sesame"})
		fetch(t, newStore(t, git.Options{}), git.Remote{URL: over.URL(repo), Auth: git.Auth{Password: "open sesame", KnownHosts: over.KnownHosts()}}, onMain)
	})
}

func TestEveryKindOfProxy(t *testing.T) {
	server := gittest.New(t)
	repo := server.Repo(t, "r")
	repo.Commit(t, map[string]string{"a": "1"}, "one")
	over := server.SSH(t, gittest.SSHOptions{})
	secure := gittest.NewTLS(t, nil)
	hidden := secure.Repo(t, "r")
	hidden.Commit(t, map[string]string{"a": "1"}, "one")
	remotes := map[string]git.Remote{
		"http":  {URL: repo.URL()},
		"https": {URL: hidden.URL(), Auth: git.Auth{CA: secure.CA()}},
		"ssh":   {URL: over.URL(repo), Auth: git.Auth{KnownHosts: over.KnownHosts()}},
	}
	for kind, start := range map[string]func(testing.TB, string, string) *gittest.Proxy{"http": gittest.HTTPProxy, "socks5": gittest.SOCKSProxy} {
		for name, r := range remotes {
			t.Run(name+" through "+kind, func(t *testing.T) {
				p := start(t, "ada", "proxy-pass")
				r.Proxy = git.Proxy{URL: p.URL(), Username: "ada", Password: "proxy-pass"}
				fetch(t, newStore(t, git.Options{}), r, onMain)
				if p.Connections() == 0 {
					t.Error("the proxy was not used")
				}
				r.Proxy.Password = "wrong-pass"
				_, err := try(t, newStore(t, git.Options{}), r, onMain)
				if err == nil || strings.Contains(err.Error(), "wrong-pass") {
					t.Errorf("with a wrong password: %v", err)
				}
			})
		}
	}
}

func TestManyCommitsKeepFewPacks(t *testing.T) {
	repo := gittest.Repo(t)
	repo.Commit(t, manyFiles(300), "first")
	dir := t.TempDir()
	s := openStore(t, dir, git.Options{MaxPacks: 4})
	r := git.Remote{URL: repo.URL()}
	first := fetch(t, s, r, onMain)
	var last *git.Snapshot
	for i := range 23 {
		repo.Commit(t, map[string]string{fmt.Sprintf("apps/%02d/new-%d", i%3, i): fmt.Sprint("content ", i)}, "next")
		last = fetch(t, s, r, onMain)
		packs, err := filepath.Glob(filepath.Join(dir, "*", "objects", "pack", "*.pack"))
		if err != nil || len(packs) > 5 {
			t.Fatalf("%d packs after %d commits, %v", len(packs), i, err)
		}
	}
	check := func(at tree.Tree) {
		t.Helper()
		for i := range 23 {
			if got := read(t, at, fmt.Sprintf("apps/%02d/new-%d", i%3, i)); got != fmt.Sprint("content ", i) {
				t.Errorf("file %d is %q", i, got)
			}
		}
	}
	check(last.Tree)
	read(t, first.Tree, "apps/00/001.yaml")
	s.Close()
	s = openStore(t, dir, git.Options{})
	again, err := s.Open(r, last.Head, git.FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	check(again.Tree)

	// What is on disk is a repository, also to git.
	local, _ := filepath.Glob(filepath.Join(dir, "*", "objects"))
	cmd := exec.Command("git", "--git-dir", filepath.Dir(local[0]), "fsck", "--full", "--strict")
	cmd.Env = gittest.Env()
	if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("missing")) {
		t.Errorf("git fsck: %v\n%s", err, out)
	}
}

// only sweeps all but the places of these remotes.
func only(t *testing.T, s *git.Store, remotes ...git.Remote) {
	t.Helper()
	err := s.Sweep(func(place string) bool {
		return slices.ContainsFunc(remotes, func(r git.Remote) bool { return git.Source{Store: s, Remote: r}.Place() == place })
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatNobodyRefersToIsSwept(t *testing.T) {
	server := gittest.New(t)
	dir := t.TempDir()
	s := openStore(t, dir, git.Options{CacheBytes: 1})
	var remotes []git.Remote
	var snaps []*git.Snapshot
	for _, name := range []string{"a", "b"} {
		repo := server.Repo(t, name)
		repo.Commit(t, map[string]string{"f": name}, "one")
		r := git.Remote{URL: repo.URL()}
		remotes = append(remotes, r)
		snaps = append(snaps, fetch(t, s, r, onMain))
	}
	only(t, s, remotes[0])
	if left, _ := filepath.Glob(filepath.Join(dir, "*", "objects")); len(left) != 1 {
		t.Errorf("%d repositories are left, want 1", len(left))
	}
	if _, err := s.Open(remotes[0], snaps[0].Head, git.FetchOptions{}); err != nil {
		t.Errorf("the one that is kept: %v", err)
	}
	_, err := s.Open(remotes[1], snaps[1].Head, git.FetchOptions{})
	wantFault(t, err, fault.Retry, git.ReasonNotFetched)
	if got := read(t, snaps[1].Tree, "f"); got != "b" {
		t.Errorf("a snapshot of what was removed reads %q", got)
	}
	fetch(t, s, remotes[1], onMain)
}

func TestAStoreHasItsDirectoryToItself(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, git.Options{})
	if _, err := git.NewStore(dir, git.Options{}); err == nil {
		t.Fatal("two stores in one directory")
	}
	s.Close()
	openStore(t, dir, git.Options{})
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm()&0o077 != 0 {
		t.Skip("the test made the directory")
	}
}

func TestACancelledFetchSaysSo(t *testing.T) {
	repo := gittest.Repo(t)
	repo.Commit(t, map[string]string{"a": "1"}, "one")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := newStore(t, git.Options{}).Resolve(ctx, git.Remote{URL: repo.URL()}, onMain)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

func TestSubmodulesAreMounted(t *testing.T) {
	server := gittest.New(t)
	server.RequireBasic("ada", "correct horse")
	auth := git.Auth{Username: "ada", Password: "correct horse"}
	inner := server.Repo(t, "libs/inner")
	innerHash := inner.Commit(t, map[string]string{"deep.yaml": "deep: 1\n"}, "inner")
	lib := server.Repo(t, "libs/lib")
	lib.Commit(t, map[string]string{"lib.yaml": "lib: 1\n"}, "lib")
	libHash := lib.Submodule(t, "vendor/inner", innerHash, "[submodule \"inner\"]\n\tpath = vendor/inner\n\turl = ../inner.git\n")
	app := server.Repo(t, "apps/app")
	app.Commit(t, map[string]string{"app.yaml": "app: 1\n"}, "app")
	app.Submodule(t, "lib", libHash, "[submodule \"the lib\"]\n\tpath = lib\n\turl = "+lib.URL()+" # absolute\n\tupdate = !touch /tmp/never\n")

	dir := t.TempDir()
	s := openStore(t, dir, git.Options{})
	r := git.Remote{URL: app.URL(), Auth: auth}
	plain := fetch(t, s, r, onMain)
	if e, err := plain.Tree.Lookup("lib"); err != nil || e.Kind != tree.Submodule {
		t.Errorf("without recursion: %+v, %v", e, err)
	}
	if _, err := plain.Tree.Lookup("lib/lib.yaml"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without recursion: %v", err)
	}
	full, err := s.Fetch(t.Context(), r, plain.Head, git.FetchOptions{RecurseSubmodules: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"app.yaml": "app: 1\n", "lib/lib.yaml": "lib: 1\n", "lib/vendor/inner/deep.yaml": "deep: 1\n"} {
		if got := read(t, full.Tree, name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	a, _ := plain.Tree.Lookup(".")
	if b, _ := full.Tree.Lookup("."); a.ID == b.ID {
		t.Error("with and without submodules the root has one ID")
	}
	only(t, s, r)
	server.Reset()
	if _, err := s.Open(r, plain.Head, git.FetchOptions{RecurseSubmodules: true}); err != nil {
		t.Errorf("what is kept does not include submodules: %v", err)
	}
	if n := len(server.Requests()); n != 0 {
		t.Errorf("open made %d requests", n)
	}
}
