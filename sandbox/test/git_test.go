package test

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/util/cert"
)

// serveGit serves a folder with an empty repository team/shop.git and returns
// the folder and the server's URL, which ends in a slash.
func serveGit(t *testing.T, flags ...string) (root, url string) {
	t.Helper()
	root = t.TempDir()
	git(t, root, "init", "--quiet", "--bare", "--initial-branch=main", "team/shop.git")
	p := start(t, append([]string{"git", "--root", root, "--addr", "127.0.0.1:0"}, flags...)...)
	return root, strings.TrimPrefix(p.ready, "ready ")
}

// git runs git without the configuration of whoever runs the test, and
// returns what it prints.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := gitCommand(dir, args...)
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func gitCommand(dir string, args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	environ := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GIT_") })
	cmd.Env = append(environ,
		"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Test", "GIT_AUTHOR_EMAIL=test@example.com",
		"GIT_COMMITTER_NAME=Test", "GIT_COMMITTER_EMAIL=test@example.com",
	)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// commit makes a repository with one commit of so many random bytes.
func commit(t *testing.T, size int) (dir, revision string) {
	t.Helper()
	dir = t.TempDir()
	git(t, dir, "init", "--quiet", "--initial-branch=main")
	data := make([]byte, size)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	git(t, dir, "add", ".")
	git(t, dir, "commit", "--quiet", "--message", "data")
	return dir, git(t, dir, "rev-parse", "HEAD")
}

type hint struct{ URL, Ref, Revision string }

func TestGitPushIsServedAndHinted(t *testing.T) {
	t.Parallel()
	hints := make(chan hint, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var h hint
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &h); err != nil {
			t.Errorf("hint %q: %v", body, err)
		}
		hints <- h
	}))
	t.Cleanup(receiver.Close)
	_, url := serveGit(t, "--hint", receiver.URL, "--hint", "http://127.0.0.1:1/nobody-listens")
	repo := url + "team/shop.git"
	next := func() hint {
		t.Helper()
		select {
		case h := <-hints:
			return h
		case <-time.After(patience):
			t.Fatal("no hint")
			return hint{}
		}
	}

	// Beyond a megabyte git sends the pack in chunks.
	work, revision := commit(t, 3<<20)
	git(t, work, "push", "--quiet", repo, "main", "main:refs/heads/next")
	want := map[hint]bool{
		{repo, "refs/heads/main", revision}: true,
		{repo, "refs/heads/next", revision}: true,
	}
	if got := (map[hint]bool{next(): true, next(): true}); !maps.Equal(got, want) {
		t.Errorf("hints %v, want %v", got, want)
	}
	git(t, work, "push", "--quiet", repo, "main") // moves nothing, so there is no hint before the next
	git(t, work, "push", "--quiet", repo, ":refs/heads/next")
	if got, want := next(), (hint{repo, "refs/heads/next", ""}); got != want {
		t.Errorf("hint of a deletion: %v, want %v", got, want)
	}

	for _, version := range []string{"0", "1", "2"} {
		clone := filepath.Join(t.TempDir(), "clone")
		git(t, ".", "-c", "protocol.version="+version, "clone", "--quiet", strings.TrimSuffix(repo, ".git"), clone)
		if got := git(t, clone, "rev-parse", "HEAD"); got != revision {
			t.Errorf("protocol %s: cloned %s, want %s", version, got, revision)
		}
	}
	partial := filepath.Join(t.TempDir(), "partial")
	git(t, ".", "clone", "--quiet", "--bare", "--filter=blob:none", repo, partial)
	if got := git(t, partial, "rev-list", "--objects", "--missing=print", "--all"); !strings.Contains(got, "\n?") {
		t.Errorf("a clone without blobs lacks nothing:\n%s", got)
	}
}

func TestGitAsksForCredentials(t *testing.T) {
	t.Parallel()
	work, _ := commit(t, 1)
	_, url := serveGit(t, "--user", "ann", "--password", "secret")
	as := func(userinfo string) string {
		return strings.Replace(url, "//", "//"+userinfo+"@", 1) + "team/shop.git"
	}
	for _, userinfo := range []string{"ann:wrong", "bob:secret", "ann:", ":secret"} {
		if out, err := gitCommand(work, "push", as(userinfo), "main"); err == nil {
			t.Errorf("pushed as %s:\n%s", userinfo, out)
		}
	}
	if out, err := gitCommand(work, "ls-remote", url+"team/shop.git"); err == nil {
		t.Errorf("listed as nobody:\n%s", out)
	}
	git(t, work, "push", "--quiet", as("ann:secret"), "main")
	git(t, work, "ls-remote", as("ann:secret"))

	_, url = serveGit(t, "--token", "t0ken")
	if out, err := gitCommand(work, "push", as("x:wrong"), "main"); err == nil {
		t.Errorf("pushed with a wrong token:\n%s", out)
	}
	git(t, work, "push", "--quiet", as("x:t0ken"), "main")
	git(t, work, "-c", "http.extraHeader=Authorization: Bearer t0ken", "ls-remote", url+"team/shop.git")
}

func TestGitStaysInItsFolder(t *testing.T) {
	t.Parallel()
	root, url := serveGit(t)
	outside := filepath.Join(t.TempDir(), "outside.git")
	git(t, ".", "init", "--quiet", "--bare", outside)
	for name, target := range map[string]string{"repo.git": outside, "folder": filepath.Dir(outside)} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	relative, err := filepath.Rel(root, outside)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"repo.git", "repo", "folder/outside.git", relative, "team/../" + relative,
		strings.ReplaceAll(relative, "/", "%2f"), outside, "/" + outside, "team", ".", "",
	} {
		request, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.URL.Opaque = "//" + request.URL.Host + "/" + path + "/info/refs" // sent as it is
		request.URL.RawQuery = "service=git-upload-pack"
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s, want 404", path, response.Status)
		}
	}
	for _, path := range []string{"team/shop.git/HEAD", "team/shop.git/config", "team/shop.git/info/refs"} {
		response, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s, want 404", path, response.Status)
		}
	}
}

func TestGitOverTLS(t *testing.T) {
	t.Parallel()
	crt, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	crtFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for file, data := range map[string][]byte{crtFile: crt, keyFile: key} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, url := serveGit(t, "--tls-cert", crtFile, "--tls-key", keyFile)
	if out, err := gitCommand(dir, "ls-remote", url+"team/shop.git"); err == nil {
		t.Errorf("trusted without its certificate:\n%s", out)
	}
	work, _ := commit(t, 1)
	git(t, work, "-c", "http.sslCAInfo="+crtFile, "push", "--quiet", url+"team/shop.git", "main")
}

func TestGitSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	root, url := serveGit(t)
	addr := strings.Trim(strings.TrimPrefix(url, "http://"), "/")
	for _, c := range []struct {
		flags []string
		want  string
	}{
		{[]string{"--addr", addr}, "address " + addr + " is already in use"},
		{[]string{"--user", "ann"}, "--user and --password belong together"},
		{[]string{"--user", "ann", "--password", "x", "--token", "y"}, "exclude each other"},
		{[]string{"--tls-cert", "x"}, "--tls-cert and --tls-key belong together"},
	} {
		if got := fail(t, append([]string{"git", "--root", root}, c.flags...)...); !strings.Contains(got, c.want) {
			t.Errorf("%q lacks %q", got, c.want)
		}
	}
	if got, want := fail(t, "git", "--root", filepath.Join(root, "missing")), "no such file"; !strings.Contains(got, want) {
		t.Errorf("%q lacks %q", got, want)
	}
}
