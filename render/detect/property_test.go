package detect_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb.dev/plumb/internal/rendertest"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/detect"
	"plumb.dev/plumb/render/directory"
	"plumb.dev/plumb/tree"
)

var propertySeed = flag.Uint64("seed", 0, "the seed of TestARenderIsUsedAgainExactlyWhileNothingReadChanges; 0: another one each time")

// A render is used again exactly if all that it asked of the tree has the same
// answer in the next one, and the revision is the same or was not asked for: no
// more often, or it would be wrong, and no less, or a commit would cost more
// than what it touches. After each of many random commits, a cache that has seen
// all before gives what a render without one gives.
func TestARenderIsUsedAgainExactlyWhileNothingReadChanges(t *testing.T) {
	seed := *propertySeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("go test ./render/detect -run %s -seed %d", t.Name(), seed)
	h := &history{Rand: rand.New(rand.NewPCG(seed, 0)), files: repository()}
	cache := render.NewCache(8 << 20)
	answers := map[string]*questions{}
	hits, misses, refusals := 0, 0, 0
	for i := range 120 {
		if i > 0 {
			h.commit()
		}
		at := tree.FromFiles(h.files)
		broken := 0
		for name, o := range units() {
			o.Revision = fmt.Sprintf("%040d", i)
			r, hit, err := cache.Objects(t.Context(), name, at, o.Render())
			q := &questions{tree: at}
			cold, errCold := render.Objects(t.Context(), q, o.Render())
			if diff := cmp.Diff(rendertest.Outcome(cold, errCold), rendertest.Outcome(r, err)); diff != "" {
				t.Fatalf("seed %d, %s after %s: -cold +cached:\n%s", seed, name, h.last, diff)
			}
			if err == nil && (r.Kind != cold.Kind || r.Digest != cold.Digest) {
				t.Fatalf("seed %d, %s after %s: a %s, and without a cache a %s", seed, name, h.last, r.Kind, cold.Kind)
			}
			if want := answers[name] != nil && answers[name].same(at) && !strings.Contains(name, "revision"); hit != want {
				t.Fatalf("seed %d, %s after %s: used again is %v, want %v: %s", seed, name, h.last, hit, want, answers[name].differ(at))
			}
			switch {
			case err != nil:
				refusals++
				broken++
				continue // what was there before is kept
			case hit:
				hits++
				continue
			}
			misses++
			answers[name] = q
		}
		if broken > 4 {
			h.files = repository()
		}
	}
	t.Logf("%d used again, %d rendered, %d refused", hits, misses, refusals)
	if hits < 100 || misses < 100 || refusals < 20 {
		t.Errorf("seed %d: the history shows too little", seed)
	}
}

// questions is a tree that notes what it is asked.
type questions struct {
	tree  tree.Tree
	asked []question
}

// A question and its answer.
type question struct{ what, name, answer string }

func answer(t tree.Tree, what, name string) string {
	switch what {
	case "lookup":
		e, err := t.Lookup(name)
		if err != nil {
			return fmt.Sprint(errors.Is(err, fs.ErrNotExist))
		}
		return e.Kind.String()
	case "list":
		all, err := t.ReadDir(name)
		if err != nil {
			return "not to be listed"
		}
		var b strings.Builder
		for _, e := range all {
			fmt.Fprintf(&b, "%s %s\n", e.Name, e.Kind)
		}
		return b.String()
	}
	b, err := t.ReadFile(name)
	if err != nil {
		return "not to be read"
	}
	return "content " + string(b)
}

func (q *questions) note(what, name string) {
	q.asked = append(q.asked, question{what, name, answer(q.tree, what, name)})
}

func (q *questions) Lookup(name string) (tree.Entry, error) {
	q.note("lookup", name)
	return q.tree.Lookup(name)
}

func (q *questions) ReadDir(name string) ([]tree.Entry, error) {
	q.note("list", name)
	return q.tree.ReadDir(name)
}

func (q *questions) ReadFile(name string) ([]byte, error) {
	q.note("read", name)
	return q.tree.ReadFile(name)
}

// differ says which answer is another one in t.
func (q *questions) differ(t tree.Tree) string {
	if q == nil {
		return "it was not asked"
	}
	for _, a := range q.asked {
		if now := answer(t, a.what, a.name); now != a.answer {
			return fmt.Sprintf("%s %s was %q and is %q", a.what, a.name, a.answer, now)
		}
	}
	return ""
}

func (q *questions) same(t tree.Tree) bool { return q.differ(t) == "" }

// units render the repository of a history in every way there is. The names of
// those that ask for the revision say so.
func units() map[string]options {
	overrides := []string{".argocd-source.yaml", ".argocd-source-shop.yaml"}
	env := detect.Env{Vars: map[string]string{"APP": "shop"}, Revision: map[string]int{"REVISION": 0, "SHORT": 7}}
	section := func(s detect.Sections) detect.Options {
		return detect.Options{Sections: s, Overrides: overrides, Env: env}
	}
	jsonnet := func(value string) *directory.Files {
		return &directory.Files{Jsonnet: directory.Jsonnet{Libs: []string{"lib/one", "lib/two"}, ExtVars: []directory.Variable{{Name: "v", Value: value}}}}
	}
	return map[string]options{
		"plain":             {Path: "plain", Options: section(detect.Sections{})},
		"all":               {Path: "plain", Options: section(detect.Sections{Directory: &directory.Files{Recurse: true, Exclude: "{sub/b.yaml,*.json}"}})},
		"link":              {Path: "current", Options: section(detect.Sections{})},
		"jsonnet":           {Path: "jsonnet", Options: section(detect.Sections{Directory: jsonnet("$APP")})},
		"jsonnet, revision": {Path: "jsonnet", Options: section(detect.Sections{Directory: jsonnet("$SHORT")})},
		"found":             {Path: "overlay", Options: section(detect.Sections{})},
		"images":            {Path: "overlay", Options: section(detect.Sections{Kustomize: &detect.Kustomize{Images: []string{"web=web:$APP"}}})},
		"images, revision":  {Path: "overlay", Options: section(detect.Sections{Kustomize: &detect.Kustomize{Images: []string{"web=web:$REVISION"}}})},
		"components": {Path: "overlay", Options: section(detect.Sections{
			Kustomize: &detect.Kustomize{Components: []string{"../later"}, IgnoreMissingComponents: true, CommonLabels: map[string]string{"a": "b"}},
		})},
		"nowhere": {Path: "later", Options: section(detect.Sections{})},
	}
}

// repository is what a history begins with.
func repository() map[string]string {
	program := "local both = import 'both.libsonnet'; local p = import 'p.libsonnet';\n" +
		"{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: p }, data: { v: std.extVar('v'), both: both, text: importstr 'text.txt' } }\n"
	return map[string]string{
		"plain/a.yaml": rendertest.ConfigMap("a", "v1"), "plain/sub/b.yaml": rendertest.ConfigMap("b", "v1"), "plain/sub/c.yaml": rendertest.ConfigMap("c", "v1"),
		"plain/notes.txt": "none", "plain/values.yaml": "replicas: 1\n", "plain/linked.yaml": "-> ../shared/l.yaml", "shared/l.yaml": rendertest.ConfigMap("l", "v1"),
		"jsonnet/a.jsonnet": program, "jsonnet/p.libsonnet": "'p'", "jsonnet/text.txt": "x", "lib/one/both.libsonnet": "'one'", "lib/two/other.libsonnet": "'two'",
		"overlay/kustomization.yaml": "resources: [../base]\n", "base/kustomization.yaml": "resources: [web.yaml]\n", "base/web.yaml": rendertest.ConfigMap("web", "v1"),
		"current": "-> plain", "README.md": "hello",
	}
}

// A history is a repository and what was done to it last.
type history struct {
	*rand.Rand
	files map[string]string
	last  string
}

// commit makes one or two changes.
func (h *history) commit() {
	h.files, h.last = maps.Clone(h.files), ""
	for range 1 + h.IntN(2) {
		h.last += h.change() + "; "
	}
	for name := range h.files { // a file can't be where a directory is
		for d := path.Dir(name); d != "."; d = path.Dir(d) {
			delete(h.files, d)
		}
	}
}

// places are files that a commit writes: those that decide, those that are read
// and those that are not.
var places = map[string][]string{
	"plain/.argocd-source.yaml":        {"directory: {recurse: true}\n", "directory: {include: 'a*'}\n", "kustomize: {}\n", "# nothing\n"},
	"plain/.argocd-source-shop.yaml":   {"directory: {exclude: sub/c.yaml}\n", "directory: {unknown: 1}\n"},
	"overlay/.argocd-source.yaml":      {"kustomize: {namePrefix: o-}\n", "kustomize: {commonLabels: {a: c}}\n"},
	"overlay/.argocd-source-shop.yaml": {"kustomize: {nameSuffix: -s}\n"},
	"jsonnet/.argocd-source-shop.yaml": {"directory: {jsonnet: {libs: [lib/two]}}\n"},
	"jsonnet/both.libsonnet":           {"'near'", "'nearer'"},
	"lib/two/both.libsonnet":           {"'two'", "import 'other.libsonnet'"},
	"lib/one/both.libsonnet":           {"'one'", "'one and a half'", "error 'no'"},
	"lib/two/other.libsonnet":          {"'two'", "2"},
	"jsonnet/text.txt":                 {"x", "y"},
	"jsonnet/unused.libsonnet":         {"1", "2"},
	"plain/kustomization.yaml":         {"resources: [a.yaml]\n"},
	"plain/Chart.yaml":                 {"name: x\n"},
	"overlay/kustomization.yaml":       {"resources: [../base]\n", "namePrefix: p-\nresources: [../base]\n", "commonLabels: {a: x}\nresources: [../base]\n"},
	"overlay/Kustomization":            {"resources: [../base]\n"},
	"later/kustomization.yaml":         {"apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnamePrefix: c-\n"},
	"later/a.yaml":                     {rendertest.ConfigMap("later", "v1")},
	"plain/a.yaml":                     {rendertest.ConfigMap("a", "v2"), rendertest.ConfigMap("a", "v3"), "a: [\n", rendertest.ConfigMap("b", "v1"), "-> ../shared/l.yaml"},
	"plain/sub/b.yaml":                 {rendertest.ConfigMap("b", "v2"), "not: one\n"},
	"plain/sub/c.yaml":                 {rendertest.ConfigMap("c", "v2"), rendertest.ConfigMap("a", "v2")},
	"plain/values.yaml":                {"replicas: 2\n", rendertest.ConfigMap("values", "v1")},
	"plain/notes.txt":                  {"some"},
	"plain/new.json":                   {`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "j"}}`, "{}"},
	"plain/linked.yaml":                {"-> ../shared/l.yaml", "-> ../shared/none.yaml", "-> ../../outside", "-> sub"},
	"shared/l.yaml":                    {rendertest.ConfigMap("l", "v2"), rendertest.ConfigMap("l", "v3")},
	"base/web.yaml":                    {rendertest.ConfigMap("web", "v2"), rendertest.ConfigMap("web", "v3")},
	"base/unused.yaml":                 {rendertest.ConfigMap("unused", "v1"), rendertest.ConfigMap("unused", "v2")},
	"current":                          {"-> plain", "-> overlay", "-> jsonnet", "-> later"},
	"README.md":                        {"hello", "again"},
	"elsewhere/a.yaml":                 {rendertest.ConfigMap("e", "v1"), rendertest.ConfigMap("e", "v2")},
}

// change makes one change and says which.
func (h *history) change() string {
	if h.IntN(4) == 0 {
		names := slices.Sorted(maps.Keys(h.files))
		name := names[h.IntN(len(names))]
		delete(h.files, name)
		return "remove " + name
	}
	if h.IntN(6) == 0 {
		h.files = repository()
		return "go back"
	}
	names := slices.Sorted(maps.Keys(places))
	name := names[h.IntN(len(names))]
	all := places[name]
	h.files[name] = all[h.IntN(len(all))]
	return "write " + name
}
