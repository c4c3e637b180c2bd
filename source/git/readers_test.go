package git_test

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/source/git"
)

// kept returns how many repositories are in a store's directory.
func kept(t *testing.T, dir string) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*", "objects"))
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

func as(r *gittest.Repository, user, password string) git.Remote {
	return git.Remote{URL: r.URL(), Auth: git.Auth{Username: user, Password: password}}
}

func TestWithoutTheCredentialsNothingIsGivenOut(t *testing.T) {
	repo := gittest.Repo(t)
	repo.Commit(t, map[string]string{"a": "1"}, "one")
	repo.Server().RequireBasic("ada", "correct horse")
	dir := t.TempDir()
	s := openStore(t, dir, git.Options{})
	good := as(repo, "ada", "correct horse")
	snap := fetch(t, s, good, onMain)
	refused := func() {
		t.Helper()
		for _, r := range []git.Remote{{URL: repo.URL()}, as(repo, "ada", "wrong")} {
			if _, err := s.Open(r, snap.Head, git.FetchOptions{}); !fault.Is(err, git.ReasonNotFetched) {
				t.Errorf("open without the credentials: %v", err)
			}
			for _, o := range []git.FetchOptions{{}, {RecurseSubmodules: true}} {
				_, err := s.Fetch(t.Context(), r, snap.Head, o)
				wantFault(t, err, fault.Retry, git.ReasonAuthFailed)
			}
			_, err := try(t, s, r, git.Ref{Commit: snap.Hash})
			wantFault(t, err, fault.Retry, git.ReasonAuthFailed)
		}
		repo.Server().Reset()
		if _, err := s.Open(good, snap.Head, git.FetchOptions{}); err != nil {
			t.Errorf("open with them: %v", err)
		}
		if n := len(repo.Server().Requests()); n != 0 {
			t.Errorf("open made %d requests", n)
		}
	}
	refused()
	s.Close()
	s = openStore(t, dir, git.Options{}) // what was proven counts after a restart, and nothing else
	refused()
}

func TestRotatedCredentialsAreNoReasonToFetch(t *testing.T) {
	repo := gittest.Repo(t)
	repo.Commit(t, map[string]string{"noise": gittest.Noise(1, 300_000)}, "one")
	dir := t.TempDir()
	s := openStore(t, dir, git.Options{})
	var snap *git.Snapshot
	for i := range 6 {
		password := fmt.Sprintf("token-%d", i)
		repo.Server().RequireBasic("ada", password)
		repo.Server().Reset()
		r := as(repo, "ada", password)
		if i == 3 { // also where it is in the address
			r = git.Remote{URL: strings.Replace(repo.URL(), "://", "://ada:"+password+"@", 1)}
		}
		snap = fetch(t, s, r, onMain)
		if n := repo.Server().Sent(); i > 0 && n > 2000 {
			t.Errorf("rotation %d took %d bytes", i, n)
		}
	}
	if n := kept(t, dir); n != 1 {
		t.Errorf("%d repositories are on disk", n)
	}
	only(t, s, git.Remote{URL: repo.URL()})
	if _, err := s.Open(as(repo, "ada", "token-5"), snap.Head, git.FetchOptions{}); err != nil {
		t.Errorf("after a sweep: %v", err)
	}
}

// What another has fetched does not travel again: the server is asked whether
// it would hand it out.
func TestACommitThatAnotherFetchedIsProvenAndDoesNotTravel(t *testing.T) {
	for _, version := range []string{"v2", "v0"} {
		t.Run(version, func(t *testing.T) {
			repo := gittest.Repo(t)
			if version == "v0" {
				repo.Server().OldProtocol()
			}
			repo.Commit(t, map[string]string{"noise": gittest.Noise(1, 300_000)}, "one")
			dir := t.TempDir()
			s := openStore(t, dir, git.Options{})
			snap := fetch(t, s, as(repo, "ada", "a"), onMain)
			repo.Server().Reset()
			bob := as(repo, "bob", "b")
			for range 2 {
				if _, err := s.Fetch(t.Context(), bob, snap.Head, git.FetchOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			if n, asked := repo.Server().Sent(), len(repo.Server().Requests()); asked != 2 || n > 2000 {
				t.Errorf("it took %d requests and %d bytes", asked, n)
			}
			if _, err := s.Open(bob, snap.Head, git.FetchOptions{}); err != nil {
				t.Errorf("open: %v", err)
			}
		})
	}
	t.Run("ssh", func(t *testing.T) {
		server := gittest.New(t)
		repo := server.Repo(t, "r")
		repo.Commit(t, map[string]string{"a": "1"}, "one")
		over := server.SSH(t, gittest.SSHOptions{})
		s := newStore(t, git.Options{})
		r := git.Remote{URL: over.URL(repo), Auth: git.Auth{KnownHosts: over.KnownHosts(), Password: "a"}}
		snap := fetch(t, s, r, onMain)
		r.Auth.Password = "b"
		if _, err := s.Fetch(t.Context(), r, snap.Head, git.FetchOptions{}); err != nil {
			t.Fatal(err)
		}
		if n := len(over.Commands()); n != 3 {
			t.Errorf("the server was asked %d times, want for the reference, the commit and the proof", n)
		}
	})
}

// A server may show some references to some: knowing a commit's name is no
// right to have it.
func TestWhatAServerHandsOutToAnotherIsNotGivenOut(t *testing.T) {
	repo := gittest.Repo(t)
	repo.Commit(t, map[string]string{"a": "1"}, "one")
	secret := repo.CommitOn(t, "secret", map[string]string{"s": "1"}, "secret")
	repo.Server().Fail(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		body, err := io.ReadAll(r.Body)
		user, _, _ := r.BasicAuth()
		if err != nil || user != "bob" || !strings.Contains(string(body), "want "+secret) {
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			return false
		}
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		_, _ = io.WriteString(w, pkt("ERR upload-pack: not our ref "+secret))
		return true
	})
	s := newStore(t, git.Options{})
	fetch(t, s, as(repo, "ada", "a"), git.Ref{Branch: "secret"})
	bob := as(repo, "bob", "b")
	fetch(t, s, bob, onMain)
	_, err := try(t, s, bob, git.Ref{Commit: secret})
	wantFault(t, err, fault.Retry, git.ReasonReferenceNotFound)
}

// A proxy is whatever whoever names it wants it to be, so what comes through
// one is kept apart, and what it claims counts for nobody else.
func TestWhatComesThroughAProxyIsKeptApart(t *testing.T) {
	repo := gittest.Repo(t)
	repo.Commit(t, map[string]string{"a": "1"}, "one")
	dir := t.TempDir()
	s := openStore(t, dir, git.Options{})
	r := git.Remote{URL: repo.URL()}
	snap := fetch(t, s, r, onMain)
	for i, password := range []string{"one", "two"} {
		p := gittest.HTTPProxy(t, "ada", password)
		through := r
		through.Proxy = git.Proxy{URL: p.URL(), Username: "ada", Password: password}
		if _, err := s.Open(through, snap.Head, git.FetchOptions{}); !fault.Is(err, git.ReasonNotFetched) {
			t.Errorf("open through a proxy: %v", err)
		}
		fetch(t, s, through, onMain)
		if n := kept(t, dir); n != i+2 {
			t.Errorf("with %d proxies %d repositories are on disk", i+1, n)
		}
	}
}
