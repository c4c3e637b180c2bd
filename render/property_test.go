package render_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/kustomize"
	"plumb.dev/plumb/tree"
)

var propertySeed = flag.Uint64("seed", 0, "the seed of TestCachedEqualsColdOverAHistory; 0: another one each time")

// A cache never changes an answer, however long the history: after each of
// many random commits to a repository, every unit gets from a cache that has
// seen all commits before what it gets without one, objects and errors alike.
func TestCachedEqualsColdOverAHistory(t *testing.T) {
	seed := *propertySeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("go test ./render -run %s -seed %d", t.Name(), seed)
	h := newHistory(seed)
	cache, dir := render.NewCache(1<<20), t.TempDir()
	commits, hits, misses, refusals, stood := 60, 0, 0, 0, 0
	var before tree.Tree
	for i := range commits {
		if i > 0 {
			h.commit()
		}
		at := tree.FromFiles(h.files)
		var change *tree.Diff
		if before != nil {
			if d, ok := tree.Compare(before, at); ok {
				change = &d
			}
		}
		before = at
		restarted := render.NewCache(1 << 20)
		folder, err := render.OpenFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		restarted.KeepIn(folder, func(err error) { t.Error(err) })
		broken := 0
		for name, o := range units() {
			stands := i%2 == 0 && cache.Stands(name, "", nil, at, change)
			r, hit, err := cache.Objects(t.Context(), name, at, o.Render())
			if stands {
				stood++
			}
			if stands && !hit {
				t.Errorf("seed %d, unit %s after %s: what stands was rendered", seed, name, h.last)
			}
			cold, errCold := objects(t.Context(), at, o)
			fromDisk, _, errDisk := restarted.Objects(t.Context(), name, at, o.Render())
			for _, got := range []struct {
				how string
				r   render.Result
				err error
			}{{"cached", r, err}, {"kept over a restart", fromDisk, errDisk}} {
				if diff := cmp.Diff(outcome(cold, errCold), outcome(got.r, got.err)); diff != "" {
					t.Fatalf("seed %d, unit %s after %s: -cold +%s:\n%s", seed, name, h.last, got.how, diff)
				}
				if err == nil && (got.r.Digest != cold.Digest || !slices.Equal(got.r.Items, cold.Items)) {
					t.Fatalf("seed %d, unit %s after %s: digests differ when %s", seed, name, h.last, got.how)
				}
			}
			switch {
			case err != nil:
				broken++
				refusals++
			case hit:
				hits++
			default:
				misses++
			}
		}
		h.judge(broken)
	}
	t.Logf("%d hits, %d misses, %d refusals", hits, misses, refusals)
	for what, n := range map[string]int{"hits": hits, "misses": misses, "refusals": refusals, "without a look at the trees": stood} {
		if n < commits/3 {
			t.Errorf("seed %d: only %d %s: the history shows too little", seed, n, what)
		}
	}
}

// units render the repository of a history in every way there is.
func units() map[string]options {
	return map[string]options{
		"base":       {Path: "base"},
		"production": {Path: "overlays/production"},
		"staging":    {Path: "overlays/staging", NamePrefix: "s-", Images: []kustomize.Image{{Name: "web", NewTag: "2"}}},
		"plain":      {Path: "plain"}, // has no kustomization, most of the time
		"link":       {Path: "current", TargetNamespace: "shop"},
		"extra":      {Path: "overlays/staging", Components: []string{"../../components/later", "../../components/debug"}, IgnoreMissingComponents: true},
		"variables":  {Path: "plain/deep", Substitute: &render.Substitution{Vars: map[string]string{"colour": "red"}}},
		"nowhere":    {Path: "later"},
	}
}

// A history is a repository and the states it was in.
type history struct {
	*rand.Rand
	files map[string]string
	last  string
	good  []map[string]string // in which most units could be rendered
}

func newHistory(seed uint64) *history {
	h := &history{Rand: rand.New(rand.NewPCG(seed, 0)), files: map[string]string{
		"base/a.yaml": configMap("a", "v1"), "base/b.yaml": configMap("b", "${colour}"), "base/app.conf": "k=v\n", "base/app.env": "K=v\n",
		"base/kustomization.yaml": kustomization("resources", "a.yaml", "b.yaml", "linked.yaml") +
			"configMapGenerator: [{name: g, files: [app.conf], envs: [app.env], literals: [l=1]}]\nsecretGenerator: [{name: s, files: [../shared/app.conf]}]\n",
		"base/linked.yaml": "-> ../shared/c.yaml",

		"overlays/production/kustomization.yaml": kustomization("resources", "../../base", "d.yaml") +
			kustomization("components", "../../components/debug") + "patches: [{path: patch.yaml, target: {kind: ConfigMap, name: a}}]\n",
		"overlays/production/patch.yaml": "- {op: add, path: /data/patched, value: \"1\"}\n", "overlays/production/d.yaml": configMap("d", "v1"),
		"overlays/staging/kustomization.yaml": kustomization("resources", "../../link-to-base", "../../plain/deep/y.yaml") + "nameSuffix: -staging\n",
		"components/debug/kustomization.yaml": component("debug"),

		"plain/x.yaml": configMap("x", "v1"), "plain/deep/y.yaml": configMap("y", "${colour}"), "plain/notes.txt": "none\n",
		"shared/c.yaml": configMap("c", "v1"), "shared/app.conf": "k=v\n",
		"current": "-> overlays/production", "link-to-base": "-> base", "README.md": "hello\n",
	}}
	h.good = []map[string]string{h.files}
	return h
}

func kustomization(field string, entries ...string) string {
	return field + ": [" + strings.Join(entries, ", ") + "]\n"
}

func component(name string) string {
	return "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\ncommonAnnotations: {by: " + name + "}\n"
}

// judge keeps a state that is worth coming back to, and goes back before the
// repository is all rubble.
func (h *history) judge(broken int) {
	switch {
	case broken <= 2:
		h.good = append(h.good, h.files)
	case broken >= 5 || h.IntN(3) > 0:
		h.files = h.good[len(h.good)-1]
	}
}

// commit makes one to three changes.
func (h *history) commit() {
	h.files = maps.Clone(h.files)
	h.last = ""
	for range 1 + h.IntN(3) {
		h.last += h.change() + "; "
	}
	// A file can't be where a directory is: the directory stays.
	for name := range h.files {
		for d := path.Dir(name); d != "."; d = path.Dir(d) {
			delete(h.files, d)
		}
	}
}

func (h *history) any(match func(string) bool) string {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(h.files)), func(n string) bool { return !match(n) })
	if len(names) == 0 {
		return "README.md"
	}
	return names[h.IntN(len(names))]
}

func anyFile(string) bool { return true }

func isManifest(name string) bool { return strings.HasSuffix(name, ".yaml") && !isKustomization(name) }

func isKustomization(name string) bool {
	return slices.Contains([]string{"kustomization.yaml", "kustomization.yml", "Kustomization"}, path.Base(name))
}

// dirs are where files come from and go to.
var dirs = []string{"base", "overlays/production", "overlays/staging", "components/debug", "components/later", "plain", "plain/deep", "shared", "later", "."}

func (h *history) dir() string { return dirs[h.IntN(len(dirs))] }

// change makes one change and says which.
func (h *history) change() string {
	n := fmt.Sprint(h.IntN(6))
	switch h.IntN(14) {
	case 0: // a value
		name := h.any(isManifest)
		h.files[name] = configMap(strings.TrimSuffix(path.Base(name), ".yaml"), "v"+n)
		return "edit " + name
	case 1: // what a generator reads
		name := h.any(func(s string) bool { return strings.HasPrefix(path.Base(s), "app.") })
		h.files[name] = "k" + n + "=" + n + "\n"
		return "edit " + name
	case 2:
		name := h.any(anyFile)
		delete(h.files, name)
		return "remove " + name
	case 3: // a new file, where one may have been looked for
		name := path.Join(h.dir(), []string{"new.yaml", "a.yaml", "d.yaml", "app.env", ".sourceignore", "new.txt"}[h.IntN(6)])
		h.files[name] = configMap("new"+n, "v"+n)
		return "create " + name
	case 4: // a kustomization, perhaps the second one
		name := path.Join(h.dir(), []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}[h.IntN(3)])
		h.files[name] = "namePrefix: p" + n + "-\nresources: []\n"
		return "create " + name
	case 5:
		h.files["components/later/kustomization.yaml"] = component("later" + n)
		return "create the component that was missing"
	case 6: // a file moves, and what named it follows
		from := h.any(isManifest)
		to := path.Join(h.dir(), path.Base(from))
		h.move(from, to)
		h.unlist(from)
		h.list(to)
		return "move " + from + " to " + to + " with its entries"
	case 7: // or does not
		from := h.any(anyFile)
		to := path.Join(h.dir(), path.Base(from))
		h.move(from, to)
		return "move " + from + " to " + to
	case 8: // a file gives way to a link to the same content, or to another
		name := h.any(isManifest)
		to := h.any(isManifest)
		if h.IntN(2) == 0 {
			to = path.Join("shared", "was-"+path.Base(name))
			h.files[to] = h.files[name]
		}
		h.files[name] = link(name, to)
		return "link " + name + " to " + to
	case 9: // a link to a directory turns
		name := []string{"current", "link-to-base"}[h.IntN(2)]
		to := []string{"base", "overlays/production", "overlays/staging", "plain", "plain/deep", "later", "../outside", "current"}[h.IntN(8)]
		h.files[name] = "-> " + to
		return "turn " + name + " to " + to
	case 10: // a feature comes
		name := h.any(isKustomization)
		feature := []string{
			"resources: [https://example.com/base?ref=v1]\n", "resources: [git@example.com:a/b]\n", "resources: [../later]\n", "resources: [optional.yaml]\n",
			"components: [../../components/later]\n", "namespace: n" + n + "\n", "labels: [{pairs: {l: \"" + n + "\"}}]\n",
			"commonAnnotations: {a: \"" + n + "\"}\n", "configMapGenerator: [{name: h, files: [optional.conf]}]\n", "images: [{name: web, newTag: \"" + n + "\"}]\n",
			"transformers: [transformer.yaml]\n", "replacements: [{path: replacement.yaml}]\n", "generatorOptions: {disableNameSuffixHash: true}\n",
		}[h.IntN(13)]
		h.files[name] = merge(h.files[name], feature)
		return "in " + name + " " + strings.TrimSpace(feature)
	case 11: // and what it looks for
		base := []string{"optional.yaml", "optional.conf", "transformer.yaml", "replacement.yaml"}[h.IntN(4)]
		content := configMap("optional", "v"+n)
		switch base {
		case "transformer.yaml":
			content = "apiVersion: builtin\nkind: PrefixTransformer\nmetadata: {name: t}\nprefix: t" + n + "-\n"
		case "replacement.yaml":
			content = "source: {kind: ConfigMap, name: a, fieldPath: data.key}\ntargets: [{select: {kind: ConfigMap, name: b}, fieldPaths: [data.key]}]\n"
		}
		name := path.Join(h.dir(), base)
		h.files[name] = content
		return "create " + name
	case 12: // a file of before comes back
		old := h.good[h.IntN(len(h.good))]
		names := slices.Sorted(maps.Keys(old))
		name := names[h.IntN(len(names))]
		h.files[name] = old[name]
		return "restore " + name
	default: // all of before comes back
		i := h.IntN(len(h.good))
		h.files = maps.Clone(h.good[i])
		return "revert to an earlier state"
	}
}

func (h *history) move(from, to string) {
	if content, ok := h.files[from]; ok && from != to {
		delete(h.files, from)
		h.files[to] = content
	}
}

// unlist takes a file out of the resources of its directory.
func (h *history) unlist(name string) {
	h.edit(name, func(all []any) []any {
		return slices.DeleteFunc(all, func(e any) bool { return e == path.Base(name) })
	})
}

// list adds it there.
func (h *history) list(name string) {
	h.edit(name, func(all []any) []any { return append(all, path.Base(name)) })
}

func (h *history) edit(name string, f func([]any) []any) {
	at := path.Join(path.Dir(name), "kustomization.yaml")
	k := map[string]any{}
	if content, ok := h.files[at]; !ok || yaml.Unmarshal([]byte(content), &k) != nil {
		return
	}
	resources, _ := k["resources"].([]any)
	k["resources"] = f(resources)
	if b, err := yaml.Marshal(k); err == nil {
		h.files[at] = string(b)
	}
}

// merge adds the field of a kustomization to another, to the list that is
// there if there is one.
func merge(content, field string) string {
	k, add := map[string]any{}, map[string]any{}
	if yaml.Unmarshal([]byte(content), &k) != nil || yaml.Unmarshal([]byte(field), &add) != nil || k == nil {
		return field
	}
	for key, v := range add {
		have, _ := k[key].([]any)
		if more, ok := v.([]any); ok {
			v = append(have, more...)
		}
		k[key] = v
	}
	b, err := yaml.Marshal(k)
	if err != nil {
		return field
	}
	return string(b)
}

// link is a relative link at name to another file.
func link(name, to string) string {
	return "-> " + strings.Repeat("../", strings.Count(name, "/")) + to
}
