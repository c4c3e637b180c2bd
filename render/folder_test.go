package render_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb.dev/plumb/render"
	"plumb.dev/plumb/tree"
)

// kept opens a cache of its own on a folder, as a start does.
func kept(t *testing.T, dir string) *render.Cache {
	t.Helper()
	f, err := render.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := render.NewCache(1 << 20)
	c.KeepIn(f, func(err error) { t.Error(err) })
	return c
}

func filesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestARenderIsKeptOverARestart(t *testing.T) {
	dir, at := t.TempDir(), tree.FromFiles(app("app"))
	o := options{Path: "app/overlays/production"}
	first, hit, err := kept(t, dir).Objects(t.Context(), "unit", at, o.Render())
	if hit || err != nil {
		t.Fatal(hit, err)
	}
	again, hit, err := kept(t, dir).Objects(t.Context(), "unit", at, o.Render())
	if !hit || err != nil {
		t.Fatalf("rendered again after a restart: %v, %v", hit, err)
	}
	if diff := cmp.Diff(outcome(first, nil), outcome(again, nil)); diff != "" || !slices.Equal(first.Items, again.Items) || first.Digest != again.Digest {
		t.Errorf("-before +after a restart:\n%s", diff)
	}
	if _, hit, _ := kept(t, dir).Objects(t.Context(), "unit", at, options{Path: "app/base"}.Render()); hit {
		t.Error("other options gave the same")
	}
	if _, hit, _ := kept(t, dir).Objects(t.Context(), "other", at, o.Render()); hit {
		t.Error("another unit got this one's")
	}
	c := kept(t, dir)
	c.Forget("unit")
	c.Forget("other")
	if left := filesIn(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Whatever becomes of a file, the answer is that of a render.
func TestABrokenFileIsAsGoodAsNone(t *testing.T) {
	dir, at := t.TempDir(), tree.FromFiles(app("app"))
	o := options{Path: "app/overlays/production"}
	want, _, err := kept(t, dir).Objects(t.Context(), "unit", at, o.Render())
	if err != nil {
		t.Fatal(err)
	}
	name := filesIn(t, dir)[0]
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 31, 32, 100, len(whole) / 2, len(whole) - 1} {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1
		for what, b := range map[string][]byte{"flipped": flipped, "cut": whole[:i]} {
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			got, hit, err := kept(t, dir).Objects(t.Context(), "unit", at, o.Render())
			if hit || err != nil || got.Digest != want.Digest {
				t.Errorf("%s at byte %d: hit %v, %v, digest %s", what, i, hit, err, got.Digest)
			}
		}
	}
}

func TestValuesOfSecretsAreNotStored(t *testing.T) {
	dir, at := t.TempDir(), tree.FromFiles(files("app/a.yaml", configMap("a", "${token}")))
	o := options{Path: "app", Substitute: &render.Substitution{Vars: map[string]string{"token": "very-secret"}, Secret: []string{"token"}}}
	c := kept(t, dir)
	if _, _, err := c.Objects(t.Context(), "unit", at, o.Render()); err != nil {
		t.Fatal(err)
	}
	if got := filesIn(t, dir); len(got) > 0 {
		t.Errorf("stored in %v", got)
	}
	if _, hit, _ := c.Objects(t.Context(), "unit", at, o.Render()); !hit {
		t.Error("not kept in memory either")
	}
}

// Another build may render otherwise.
func TestWhatAnotherBuildLeftIsRemoved(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "another"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "another", "x"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	kept(t, dir)
	if left := filesIn(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
