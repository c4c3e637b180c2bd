package git_test

import (
	"testing"

	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/source/git"
	"plumb.dev/plumb/tree"
)

func newStore(t *testing.T, o git.Options) *git.Store {
	t.Helper()
	s, err := git.NewStore(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func fetch(t *testing.T, s *git.Store, r git.Remote, ref git.Ref) *git.Snapshot {
	t.Helper()
	h, err := s.Resolve(t.Context(), r, ref)
	if err != nil {
		t.Fatal(err)
	}
	snap, err := s.Fetch(t.Context(), r, h, git.FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func read(t *testing.T, at tree.Tree, name string) string {
	t.Helper()
	b, err := at.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var main = git.Ref{Branch: "main"}

func TestFetchReadsABranch(t *testing.T) {
	repo := gittest.Repo(t)
	hash := repo.Commit(t, map[string]string{"apps/web/app.yaml": "a: 1\n", "README.md": "hello\n"}, "first\n\nwith a body")
	s := newStore(t, git.Options{})
	snap := fetch(t, s, git.Remote{URL: repo.URL()}, main)
	if want := "main@sha1:" + hash; snap.Revision != want {
		t.Errorf("revision %s, want %s", snap.Revision, want)
	}
	if got := read(t, snap.Tree, "apps/web/app.yaml"); got != "a: 1\n" {
		t.Errorf("file is %q", got)
	}
	if c := snap.Commit; c.Author != gittest.Author || c.Email != gittest.Email || c.Message != "first\n\nwith a body" || c.When.Unix() != 1_700_000_001 {
		t.Errorf("commit is %+v", c)
	}
}
