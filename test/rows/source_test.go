package rows_test

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

// repositories waits until so many are kept in a data directory.
func repositories(t *testing.T, data string, want int) {
	t.Helper()
	kubetest.Eventually(t, pt.Patience, func() error {
		found, err := filepath.Glob(filepath.Join(data, "git", "*", "objects"))
		if err == nil && len(found) != want {
			err = fmt.Errorf("%d repositories are on disk, want %d", len(found), want)
		}
		return err
	})
}

// A token that is rotated is no reason to fetch again what is there, nor to
// keep it twice; what nobody refers to any more is not kept at all.
func TestARepositoryIsKeptOnceAndAsLongAsASourceNamesIt(t *testing.T) {
	data := t.TempDir()
	w := pt.New(t, "--data", data)
	ns := w.Namespace(t)
	server := gittest.New(t)
	r := server.Repo(t, "private")
	r.Commit(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "0"), "noise": gittest.Noise(1, 300_000)}, "start")
	rotate := func(n int) {
		t.Helper()
		token := fmt.Sprintf("token-%d", n)
		server.RequireBasic("ada", token)
		w.Apply(t, fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: auth, namespace: %s}\nstringData: {username: ada, password: %s}\n", ns, token))
	}
	rotate(0)
	w.Source(t, ns, "src", r, "secretRef: {name: auth}")
	w.Unit(t, ns, "u", "src", "./app")
	w.AwaitReady(t, ns, "u", "")
	if n := server.Sent(); n < 300_000 {
		t.Fatalf("the first fetch was %d bytes; the test needs more", n)
	}
	for n := 1; n <= 5; n++ {
		rotate(n)
		server.Reset()
		hash := w.Commit(t, r, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", fmt.Sprint(n))})
		w.AwaitReady(t, ns, "u", hash)
		if sent := server.Sent(); sent > 20_000 {
			t.Errorf("after rotation %d the server sent %d bytes", n, sent)
		}
	}
	repositories(t, data, 1)

	// Who is refused gets nothing of what another has fetched.
	w.Apply(t, fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: old, namespace: %s}\nstringData: {username: ada, password: token-4}\n", ns))
	head := r.Head(t, "main")
	for name, spec := range map[string]string{"none": "", "old": "secretRef: {name: old}\n"} {
		w.Apply(t, fmt.Sprintf(`
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: %s, namespace: %s}
spec:
  interval: 10m
  url: %s
  ref: {commit: %s}
  %s`, name, ns, r.URL(), head, spec))
		w.AwaitReason(t, pt.GitRepository, ns, name, "AuthenticationFailed")
		if s, _, err := w.StatusOf(t.Context(), pt.GitRepository, ns, name); err != nil || s.Artifact.Revision != "" {
			t.Errorf("%s has the artifact %q, %v", name, s.Artifact.Revision, err)
		}
	}

	other := server.Repo(t, "other")
	other.Commit(t, map[string]string{"app/o.yaml": pt.ConfigMap("o")}, "start")
	w.Source(t, ns, "other", other, "secretRef: {name: auth}")
	w.Unit(t, ns, "o", "other", "./app")
	w.AwaitReady(t, ns, "o", "")
	repositories(t, data, 2)
	remove := func(names ...string) {
		t.Helper()
		for _, name := range names {
			if out, err := w.Kubectl(t.Context(), "", "-n", ns, "delete", "gitrepository/"+name); err != nil {
				t.Fatal(out, err)
			}
		}
	}
	remove("other")
	repositories(t, data, 1)
	w.Plumb.Kill(syscall.SIGTERM)
	remove("src", "none", "old")
	w.Plumb.Start()
	repositories(t, data, 0)
}
