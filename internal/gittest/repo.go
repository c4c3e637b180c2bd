package gittest

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The author of every commit.
const (
	Author = "Ada Example"
	Email  = "ada@example.com"
)

// A Repository is a bare repository that a Server serves.
type Repository struct {
	Dir string // of the bare repository

	server *Server
	name   string

	mu   sync.Mutex
	tick int // seconds since the first commit
}

// Repo returns an empty repository on a server of its own, over HTTP.
func Repo(t testing.TB) *Repository {
	t.Helper()
	return New(t).Repo(t, "repo")
}

// Git runs git in the repository and returns what it prints, trimmed.
func (r *Repository) Git(t testing.TB, args ...string) string {
	t.Helper()
	return r.git(t, "", args...)
}

func (r *Repository) git(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"--git-dir", r.Dir}, args...)...)
	cmd.Env = r.env()
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return strings.TrimSpace(out.String())
}

// Env is the environment that keeps git from reading this machine's settings.
func Env() []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "GIT_") })
	return append(env, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_TERMINAL_PROMPT=0")
}

func (r *Repository) env() []string {
	date := fmt.Sprintf("%d +0000", r.when())
	return append(Env(),
		"GIT_AUTHOR_NAME="+Author, "GIT_AUTHOR_EMAIL="+Email, "GIT_AUTHOR_DATE="+date,
		"GIT_COMMITTER_NAME="+Author, "GIT_COMMITTER_EMAIL="+Email, "GIT_COMMITTER_DATE="+date)
}

func (r *Repository) when() int { return 1_700_000_000 + r.tick }

// Commit writes files on main and returns the commit's hash. A content that
// starts with "-> " makes a symbolic link, as in tree.FromFiles.
func (r *Repository) Commit(t testing.TB, files map[string]string, message string) string {
	t.Helper()
	return r.CommitOn(t, "main", files, message)
}

// CommitOn is Commit on another branch, which starts empty if it is new.
func (r *Repository) CommitOn(t testing.TB, branch string, files map[string]string, message string) string {
	t.Helper()
	var b strings.Builder
	for _, name := range sorted(files) {
		mode, content := "100644", files[name]
		if to, ok := strings.CutPrefix(content, "-> "); ok {
			mode, content = "120000", strings.TrimSuffix(to, "\n")
		}
		fmt.Fprintf(&b, "M %s inline %s\ndata %d\n%s\n", mode, name, len(content), content)
	}
	return r.change(t, branch, b.String(), message)
}

// Remove deletes files or directories on main and returns the commit's hash.
func (r *Repository) Remove(t testing.TB, message string, names ...string) string {
	t.Helper()
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "D %s\n", name)
	}
	return r.change(t, "main", b.String(), message)
}

// Move renames a file or directory on main, in one commit as git mv makes it,
// and returns the commit's hash.
func (r *Repository) Move(t testing.TB, message, from, to string) string {
	t.Helper()
	return r.change(t, "main", fmt.Sprintf("R %s %s\n", from, to), message)
}

// Submodule records a submodule at path, pinned to commit, and the given
// .gitmodules.
func (r *Repository) Submodule(t testing.TB, path, commit, gitmodules string) string {
	t.Helper()
	change := fmt.Sprintf("M 160000 %s %s\nM 100644 inline .gitmodules\ndata %d\n%s\n", commit, path, len(gitmodules), gitmodules)
	return r.change(t, "main", change, "add a submodule")
}

// change commits what a fast-import stream says of files.
func (r *Repository) change(t testing.TB, branch, change, message string) string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tick++
	ref := "refs/heads/" + branch
	from := ""
	if tip := r.tip(t, ref); tip != "" {
		from = "from " + tip + "\n"
	}
	r.git(t, fmt.Sprintf("commit %s\ncommitter %s <%s> %d +0000\ndata %d\n%s\n%s%s\n",
		ref, Author, Email, r.when(), len(message), message, from, change), "fast-import", "--quiet", "--force")
	return r.tip(t, ref)
}

func (r *Repository) tip(t testing.TB, ref string) string {
	cmd := exec.CommandContext(t.Context(), "git", "--git-dir", r.Dir, "rev-parse", "--verify", "--quiet", ref)
	cmd.Env = Env()
	out, _ := cmd.Output()
	return strings.TrimSpace(string(out))
}

// Head returns the hash that a branch is at.
func (r *Repository) Head(t testing.TB, branch string) string {
	t.Helper()
	return r.Git(t, "rev-parse", "refs/heads/"+branch)
}

// Branch makes a branch at a commit, or moves it there.
func (r *Repository) Branch(t testing.TB, name, at string) {
	t.Helper()
	r.Git(t, "update-ref", "refs/heads/"+name, at)
}

// ForcePush is Branch, by the name of what it looks like from outside.
func (r *Repository) ForcePush(t testing.TB, branch, at string) {
	t.Helper()
	r.Branch(t, branch, at)
}

// DeleteBranch deletes a branch.
func (r *Repository) DeleteBranch(t testing.TB, name string) {
	t.Helper()
	r.Git(t, "update-ref", "-d", "refs/heads/"+name)
}

// Tag makes or moves a lightweight tag.
func (r *Repository) Tag(t testing.TB, name, at string) {
	t.Helper()
	r.Git(t, "tag", "-f", name, at)
}

// AnnotatedTag makes or moves a tag that is an object of its own.
func (r *Repository) AnnotatedTag(t testing.TB, name, at string) {
	t.Helper()
	r.Git(t, "tag", "-f", "-a", "-m", name, name, at)
}

// Revert commits on main what main was before its last commit.
func (r *Repository) Revert(t testing.TB) string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tick++
	hash := r.Git(t, "commit-tree", "-p", "main", "-m", "revert", "main~1^{tree}")
	r.Git(t, "update-ref", "refs/heads/main", hash)
	return hash
}

// A RawEntry is an entry of a tree object, whatever Git thinks of it.
type RawEntry struct {
	Mode string // "100644", "40000", "120000", "160000"
	Name string
	Hash string
}

// Blob stores a file's content and returns its hash.
func (r *Repository) Blob(t testing.TB, content string) string {
	t.Helper()
	return r.git(t, content, "hash-object", "-w", "--stdin")
}

// RawTree stores a tree object that git itself might refuse.
func (r *Repository) RawTree(t testing.TB, entries ...RawEntry) string {
	t.Helper()
	var b strings.Builder
	for _, e := range entries {
		id, err := hex.DecodeString(e.Hash)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %s\x00%s", e.Mode, e.Name, id)
	}
	return r.git(t, b.String(), "hash-object", "-w", "-t", "tree", "--literally", "--stdin")
}

// RawCommit puts a tree on main and returns the commit's hash.
func (r *Repository) RawCommit(t testing.TB, tree string) string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tick++
	args := []string{"commit-tree", "-m", "raw", tree}
	if tip := r.tip(t, "refs/heads/main"); tip != "" {
		args = append(args, "-p", tip)
	}
	hash := r.Git(t, args...)
	r.Git(t, "update-ref", "refs/heads/main", hash)
	return hash
}

// URL is the repository's address over HTTP or HTTPS.
func (r *Repository) URL() string { return r.server.URL() + "/" + r.name + ".git" }

// Server returns the server that r is on.
func (r *Repository) Server() *Server { return r.server }

func newRepository(t testing.TB, s *Server, name string) *Repository {
	t.Helper()
	r := &Repository{Dir: filepath.Join(s.root, name+".git"), server: s, name: name}
	cmd := exec.CommandContext(t.Context(), "git", "init", "--quiet", "--bare", "--initial-branch=main", r.Dir)
	cmd.Env = Env()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git init: %v\n%s", err, out)
	}
	// Written by hand: git config would be a process for each.
	f, err := os.OpenFile(filepath.Join(r.Dir, "config"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("[http]\n\treceivepack = true\n[uploadpack]\n\tallowFilter = true\n[gc]\n\tauto = 0\n"); err != nil {
		t.Fatal(err)
	}
	return r
}

func sorted(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
