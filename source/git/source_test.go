package git_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/git"
	"plumb.dev/plumb/source/sourcetest"
)

func TestSource(t *testing.T) {
	for _, version := range []string{"v2", "v0"} {
		t.Run(version, func(t *testing.T) {
			sourcetest.Run(t, func(t *testing.T) sourcetest.Server {
				server := gittest.New(t)
				if version == "v0" {
					server.OldProtocol()
				}
				s := &gitServer{Server: server, t: t, repo: server.Repo(t, "r"), dir: t.TempDir()}
				s.store = openStore(t, s.dir, s.options())
				return s
			})
		})
	}
}

// A gitServer is a branch on a Git server.
type gitServer struct {
	*gittest.Server
	t     *testing.T
	repo  *gittest.Repository
	dir   string
	store *git.Store
	files map[string]string
}

func (s *gitServer) options() git.Options { return git.Options{MaxObjectBytes: int64(s.MaxFile())} }

func (s *gitServer) Publish(t testing.TB, files map[string]string) {
	t.Helper()
	var gone []string
	for name := range s.files {
		if _, ok := files[name]; !ok {
			gone = append(gone, name)
		}
	}
	if slices.Sort(gone); len(gone) > 0 {
		s.repo.Remove(t, "remove", gone...)
	}
	s.repo.Commit(t, files, "publish")
	s.files = files
}

func (s *gitServer) Withdraw(t testing.TB) {
	t.Helper()
	s.repo.DeleteBranch(t, "main")
	s.files = nil
}

func (s *gitServer) Admit(password string) { s.RequireBasic("ada", password) }

func (s *gitServer) Behave(f sourcetest.Fault) {
	s.Fail(map[sourcetest.Fault]gittest.Fault{
		sourcetest.Down: gittest.Status(http.StatusServiceUnavailable),
		sourcetest.Hung: func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			<-r.Context().Done()
			return true
		},
		sourcetest.Cut:   gittest.Truncate(200),
		sourcetest.Wrong: gittest.Flip(60),
	}[f])
}

func (s *gitServer) Fetcher(password string) source.Fetcher {
	r := git.Remote{URL: s.repo.URL()}
	if password != "" {
		r.Auth = git.Auth{Username: "ada", Password: password}
	}
	return git.Source{Store: s.store, Remote: r, Ref: onMain}
}

func (s *gitServer) MaxFile() int { return 200_000 }

func (s *gitServer) Store() source.Store { return s.store }

func (s *gitServer) Restart(t testing.TB) {
	t.Helper()
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	s.store = openStore(t, s.dir, s.options())
}

func (s *gitServer) Damage(t testing.TB) {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(s.dir, "*", "objects", "pack", "*.pack"))
	if err != nil || len(packs) == 0 {
		t.Fatalf("%d packs are there: %v", len(packs), err)
	}
	for _, name := range packs {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := 20; i < len(b)-20; i += 50 {
			b[i] ^= 0x55
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.store.Trim()
}

func (s *gitServer) Asked() (requests int, sent int64) {
	requests, sent = len(s.Requests()), s.Sent()
	s.Reset()
	return requests, sent
}

func TestSubmodulesThatAreBrokenAreFoundToo(t *testing.T) {
	server := gittest.New(t)
	lib := server.Repo(t, "lib")
	hash := lib.Commit(t, map[string]string{"lib.yaml": gittest.Noise(3, 5000)}, "lib")
	app := server.Repo(t, "app")
	app.Commit(t, map[string]string{"app.yaml": "app: 1\n"}, "app")
	app.Submodule(t, "lib", hash, "[submodule \"lib\"]\n\tpath = lib\n\turl = ../lib.git\n")
	s := &gitServer{Server: server, t: t, repo: lib, dir: t.TempDir()}
	s.store = openStore(t, s.dir, git.Options{})
	f := git.Source{Store: s.store, Remote: git.Remote{URL: app.URL()}, Ref: onMain, FetchOptions: git.FetchOptions{RecurseSubmodules: true}}
	get := func() *source.Content {
		t.Helper()
		r, err := f.Resolve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c, err := f.Fetch(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := get()
	read(t, c.Tree, "lib/lib.yaml")
	s.Damage(t)
	if b, err := c.Tree.ReadFile("lib/lib.yaml"); err == nil {
		t.Fatalf("nothing was damaged: %d bytes", len(b))
	}
	if !c.Broken() {
		t.Error("it does not say so")
	}
	read(t, get().Tree, "lib/lib.yaml")
}

func TestAKeyIsThatOfAQuestion(t *testing.T) {
	s := newStore(t, git.Options{})
	base := git.Source{Store: s, Remote: git.Remote{URL: "https://host.example/team/app"}, Ref: onMain}
	for name, change := range map[string]func(*git.Source){
		"another address":   func(s *git.Source) { s.Remote.URL += "2" },
		"another branch":    func(s *git.Source) { s.Ref = git.Ref{Branch: "other"} },
		"a tag":             func(s *git.Source) { s.Ref = git.Ref{Tag: "main"} },
		"another token":     func(s *git.Source) { s.Remote.Auth.BearerToken = "t" },
		"another CA":        func(s *git.Source) { s.Remote.Auth.CA = []byte("t") },
		"another proxy":     func(s *git.Source) { s.Remote.Proxy.URL = "http://proxy" },
		"more patience":     func(s *git.Source) { s.Remote.Timeout = 1 },
		"submodules":        func(s *git.Source) { s.RecurseSubmodules = true },
		"a user in the URL": func(s *git.Source) { s.Remote.URL = "https://ada@host.example/team/app" },
	} {
		other := base
		change(&other)
		if other.Key() == base.Key() {
			t.Errorf("%s is the same question", name)
		}
	}
	same := base
	same.Remote.URL = "https://ada:secret@host.example/team/app"
	if same.Place() != base.Place() {
		t.Error("a password in the address is another place")
	}
}
