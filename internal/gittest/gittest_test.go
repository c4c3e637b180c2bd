package gittest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/gittest"
)

func TestTheSameStepsGiveTheSameHashes(t *testing.T) {
	make := func() string {
		r := gittest.Repo(t)
		r.Commit(t, map[string]string{"a": "1", "b/c": "-> ../a"}, "one")
		r.Remove(t, "two", "a")
		return r.Revert(t)
	}
	if a, b := make(), make(); a != b {
		t.Errorf("%s and %s", a, b)
	}
}

func TestAClientCanCloneAndPush(t *testing.T) {
	server := gittest.New(t)
	server.RequireBasic("ada", "pw")
	repo := server.Repo(t, "team/app")
	repo.Commit(t, map[string]string{"a": "1"}, "one")
	dir := filepath.Join(t.TempDir(), "work")
	git := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Env = append(gittest.Env(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("clone", "-q", strings.Replace(repo.URL(), "://", "://ada:pw@", 1), dir)
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("2"), 0o600); err != nil {
		t.Fatal(err)
	}
	git("-C", dir, "commit", "-qam", "two")
	git("-C", dir, "push", "-q")
	if got := repo.Git(t, "show", "main:a"); got != "2" {
		t.Errorf("the server has %q", got)
	}
	if server.Sent() == 0 || len(server.Requests()) < 4 {
		t.Errorf("%d bytes, %d requests", server.Sent(), len(server.Requests()))
	}
}
