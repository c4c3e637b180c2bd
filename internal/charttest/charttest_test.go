package charttest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/charttest"
	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/internal/tools"
	"plumb.dev/plumb/tree"
)

func shop(version string) tree.Tree {
	return tree.FromFiles(map[string]string{
		"apps/shop/Chart.yaml":       "{apiVersion: v2, name: shop, version: '" + version + "', dependencies: [{name: part, version: 1.x, repository: 'file://../part'}]}",
		"apps/shop/templates/a.yaml": "{apiVersion: v1, kind: ConfigMap, metadata: {name: '{{ .Chart.Version }}'}}",
		"apps/part/Chart.yaml":       "{apiVersion: v2, name: part, version: 1.0.0}",
		"apps/part/templates/b.yaml": "{apiVersion: v1, kind: ConfigMap, metadata: {name: part}}",
	})
}

// helm runs the helm command without anything of who runs the test.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root, err := tools.Root()
	if err != nil {
		t.Fatal(err)
	}
	exe, err := tools.Build(root, tools.Helm, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = []string{"HOME=" + t.TempDir(), "KUBECONFIG=" + os.DevNull}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestHelmTakesChartsFromTheRepositoryAndTheRegistry(t *testing.T) {
	s := charttest.New(t)
	s.RequireBasic("ada", "pw")
	s.Add(t, shop("1.9.0"), "apps/shop")
	s.Add(t, shop("1.10.0"), "apps/shop")
	for _, from := range [][]string{
		{"shop", "--repo", s.URL(), "--pass-credentials"},
		{s.OCI() + "/shop", "--plain-http"},
	} {
		for version, want := range map[string]string{"": "name: '1.10.0'", "1.9.0": "name: '1.9.0'", "~1.9.0": "name: '1.9.0'"} {
			args := append([]string{"template", "x"}, from...)
			if version != "" {
				args = append(args, "--version", version)
			}
			out, err := helm(t, append(args, "--username", "ada", "--password", "pw")...)
			if err != nil || !strings.Contains(out, want) || !strings.Contains(out, "name: part") {
				t.Errorf("%q: %v\n%s", args, err, out)
			}
			if out, err := helm(t, append(args, "--username", "ada", "--password", "wrong")...); err == nil {
				t.Errorf("%q with a wrong password:\n%s", args, out)
			}
		}
	}
}

func TestTheSameFilesGiveTheSameDigests(t *testing.T) {
	a, b := charttest.New(t), charttest.New(t)
	first, second := a.Add(t, shop("1.0.0"), "apps/shop"), b.Add(t, shop("1.0.0"), "apps/shop")
	if first.Digest() != second.Digest() || a.IndexDigest(t) != b.IndexDigest(t) {
		t.Errorf("%s and %s, %s and %s", first.Digest(), second.Digest(), a.IndexDigest(t), b.IndexDigest(t))
	}
	if other := b.Add(t, shop("1.0.1"), "apps/shop"); other.Digest() == first.Digest() || a.IndexDigest(t) == b.IndexDigest(t) {
		t.Error("another version changes nothing")
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(b)
}

func TestAServerCanFail(t *testing.T) {
	s := charttest.New(t)
	c := s.Add(t, shop("1.0.0"), "apps/shop")
	archive := s.URL() + "/" + c.File()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "elsewhere") }))
	t.Cleanup(elsewhere.Close)
	s.RedirectArchives(elsewhere.URL)
	if status, b := get(t, archive); status != http.StatusOK || b != "elsewhere" {
		t.Errorf("redirected: %d %q", status, b)
	}
	s.Fail(gittest.Status(http.StatusServiceUnavailable))
	if status, _ := get(t, archive); status != http.StatusServiceUnavailable {
		t.Errorf("failing: %d", status)
	}
	s.Fail(nil)
	s.ChangeIndex(func(index map[string]any) { index["entries"].(map[string]any)["shop"] = []any{nil} })
	if _, b := get(t, s.URL()+"/index.yaml"); !strings.Contains(b, "- null") || !strings.Contains(string(s.Index(t)), "- null") {
		t.Errorf("the index is not changed: %s", b)
	}
	s.Withdraw(c)
	if status, _ := get(t, archive); status != http.StatusNotFound {
		t.Errorf("withdrawn: %d", status)
	}
	s.Reset()
	if _, _ = get(t, archive); len(s.Requests()) != 1 || s.Sent() == 0 {
		t.Errorf("%d requests, %d bytes", len(s.Requests()), s.Sent())
	}
}
