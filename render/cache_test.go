package render_test

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"plumb.dev/plumb/render"
	"plumb.dev/plumb/tree"
)

// changes are trees that differ from m in one name, by what differs.
func changes(m map[string]string) map[string]map[string]string {
	out := map[string]map[string]string{}
	dirs := map[string]bool{".": true}
	for name, content := range m {
		for d := path.Dir(name); d != "."; d = path.Dir(d) {
			dirs[d] = true
		}
		gone := maps.Clone(m)
		delete(gone, name)
		out["without "+name] = gone
		out["more in "+name] = with(m, name, content+"\n# more\n")
		out["another "+name] = with(m, name, configMap("another", "x"))
		out[name+" as a link"] = with(m, name, "-> nowhere")
		out["a directory "+name] = with(gone, name+"/in.yaml", configMap("in", "x"))
		if other := path.Join(path.Dir(name), "moved-"+path.Base(name)); !strings.HasPrefix(content, "-> ") {
			out[name+" moved and linked"] = with(m, name, "-> "+path.Base(other), other, content)
		}
	}
	for d := range dirs {
		for _, base := range []string{"new.yaml", "new.txt", "kustomization.yaml", "kustomization.yml", "Kustomization"} {
			name := path.Join(d, base)
			if _, ok := m[name]; ok {
				continue
			}
			content := configMap("new", "x")
			if base != "new.yaml" {
				content = "namePrefix: changed-\nresources: []\n"
			}
			out["new "+name] = with(m, name, content)
		}
		out["new directory in "+d] = with(m, path.Join(d, "newdir/kustomization.yaml"), "resources: []\n")
	}
	// Names that were looked for in vain.
	out["the missing component"] = with(m, "apps/extra/kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnamePrefix: c-\n")
	return out
}

// A cache never changes an answer: whatever one name changes to, the answer is
// that of a render without a cache.
func TestCachedEqualsCold(t *testing.T) {
	trees, hits := 0, 0
	for _, name := range archives(t) {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		m, o, _ := unpack(t, a)
		if _, err := objects(t.Context(), tree.FromFiles(m), o); err != nil {
			continue
		}
		all := changes(m)
		for _, what := range slices.Sorted(maps.Keys(all)) {
			c := render.NewCache(1 << 20)
			if _, _, err := c.Objects(t.Context(), "unit", tree.FromFiles(m), o.Render()); err != nil {
				t.Fatal(err)
			}
			changed := tree.FromFiles(all[what])
			r, hit, err := c.Objects(t.Context(), "unit", changed, o.Render())
			cold, errCold := objects(t.Context(), changed, o)
			if diff := cmp.Diff(outcome(cold, errCold), outcome(r, err)); diff != "" {
				t.Errorf("%s, %s: -cold +cached:\n%s", name, what, diff)
			}
			if err == nil && r.Digest != cold.Digest || !slices.Equal(r.Items, cold.Items) {
				t.Errorf("%s, %s: digests differ", name, what)
			}
			trees++
			if hit {
				hits++
			}
		}
	}
	t.Logf("%d changed trees, %d hits", trees, hits)
	if trees < 500 || hits == 0 || hits == trees {
		t.Error("the corpus shows nothing")
	}
}

func TestUnrelatedChangesAreHits(t *testing.T) {
	base := app("apps/one")
	maps.Copy(base, app("apps/two"))
	maps.Copy(base, files("docs/README.md", "x", "components/a/kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n"))
	o := options{Path: "apps/one/overlays/production", Components: []string{"../../../../components/none"}, IgnoreMissingComponents: true}
	for what, c := range map[string]struct {
		tree map[string]string
		hit  bool
	}{
		"nothing":                             {base, true},
		"another app":                         {with(base, "apps/two/base/deployment.yaml", configMap("x", "y")), true},
		"a file beside the base's":            {with(base, "apps/one/base/notes.yaml", "x"), true},
		"a new app":                           {with(base, "apps/three/kustomization.yaml", "resources: []"), true},
		"another component":                   {with(base, "components/b/kustomization.yaml", "x"), true},
		"a README":                            {with(base, "docs/README.md", "y"), true},
		"a file of the base":                  {with(base, "apps/one/base/pdb.yaml", configMap("x", "y")), false},
		"the component that was missing":      {with(base, "components/none/kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n"), false},
		"a second kustomization file":         {with(base, "apps/one/base/Kustomization", ""), false},
		"a link in place of a directory":      {with(base, "apps/one/base", "-> ../two/base"), false},
		"the same content in a file replaced": {with(base, "apps/one/base/pdb.yaml", base["apps/one/base/pdb.yaml"]), true},
	} {
		t.Run(what, func(t *testing.T) {
			m := c.tree
			if m["apps/one/base"] != "" {
				m = maps.Clone(m)
				maps.DeleteFunc(m, func(name, _ string) bool { return strings.HasPrefix(name, "apps/one/base/") })
			}
			cache := render.NewCache(1 << 20)
			if _, hit, err := cache.Objects(t.Context(), "one", tree.FromFiles(base), o.Render()); hit || err != nil {
				t.Fatal(hit, err)
			}
			if _, hit, _ := cache.Objects(t.Context(), "one", tree.FromFiles(m), o.Render()); hit != c.hit {
				t.Errorf("hit = %v, want %v", hit, c.hit)
			}
		})
	}
}

func TestCacheKeepsWithinItsBytes(t *testing.T) {
	m := map[string]string{}
	for i := range 50 {
		maps.Copy(m, app(fmt.Sprint("apps/", i)))
	}
	tr := tree.FromFiles(m)
	c := render.NewCache(100_000)
	ask := func(i int) bool {
		dir := fmt.Sprint("apps/", i)
		r, hit, err := c.Objects(t.Context(), dir, tr, options{Path: dir + "/base"}.Render())
		if err != nil {
			t.Fatal(err)
		}
		if set, err := r.Objects(); err != nil || len(set) != 10 {
			t.Fatal(len(set), err)
		}
		if c.Bytes() > 100_000 {
			t.Fatalf("%d bytes kept", c.Bytes())
		}
		return hit
	}
	for i := range 50 {
		ask(i)
		if !ask(i) {
			t.Fatalf("%d was not kept at all", i)
		}
	}
	if ask(0) {
		t.Error("the first is still there: nothing was dropped")
	}
	if nothing := render.NewCache(0); true {
		if _, hit, err := nothing.Objects(t.Context(), "x", tr, options{Path: "apps/1/base"}.Render()); hit || err != nil || nothing.Bytes() != 0 {
			t.Error(hit, err, nothing.Bytes())
		}
	}
}

func TestOptionsArePartOfTheKey(t *testing.T) {
	tr := tree.FromFiles(app("app"))
	c := render.NewCache(1 << 20)
	ask := func(o options) (render.Result, bool) {
		r, hit, err := c.Objects(t.Context(), "unit", tr, o.Render())
		if err != nil {
			t.Fatal(err)
		}
		return r, hit
	}
	a := options{Path: "app/base", Substitute: &render.Substitution{Vars: map[string]string{"a": "1"}}}
	b := options{Path: "app/base", Substitute: &render.Substitution{Vars: map[string]string{"a": "2"}}}
	if _, hit := ask(a); hit {
		t.Error("hit on nothing")
	}
	if _, hit := ask(b); hit {
		t.Error("a variable is not part of the key")
	}
	first, hit := ask(b)
	if !hit {
		t.Error("the same options miss")
	}
	second, _ := ask(b)
	if first.Digest != second.Digest {
		t.Error("digest changed")
	}
	c.Forget("unit")
	if _, hit := ask(b); hit || a.Render().Digest() == b.Render().Digest() {
		t.Error("still there")
	}
}

func TestObjectsOfAHitAreThoseOfTheRender(t *testing.T) {
	tr := tree.FromFiles(app("app"))
	c := render.NewCache(1 << 20)
	cold, _, err := c.Objects(t.Context(), "unit", tr, options{Path: "app/base"}.Render())
	if err != nil {
		t.Fatal(err)
	}
	hit, ok, err := c.Objects(t.Context(), "unit", tr, options{Path: "app/base"}.Render())
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	a, errA := cold.Objects()
	b, errB := hit.Objects()
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Error(diff)
	}
	opened, err := hit.Opened()
	if err != nil {
		t.Fatal(err)
	}
	for i := range hit.Items {
		for how, r := range map[string]render.Result{"packed": hit, "opened": opened, "packed again": opened.Packed()} {
			u, err := r.Object(i)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(a[i], u); diff != "" {
				t.Error(how, diff)
			}
		}
		first, _ := opened.Object(i)
		if again, _ := opened.Object(i); again != first {
			t.Error("an object of an opened render is made twice")
		}
	}
}
