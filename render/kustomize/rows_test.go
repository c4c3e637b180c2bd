package kustomize_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"

	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/kustomize"
	"plumb.dev/plumb/tree"
)

func TestA01LinksThatLeadOutAreRefused(t *testing.T) {
	base := files("apps/a.yaml", configMap("a", "x"), "shared/s.yaml", configMap("s", "x"))
	refused(t, with(base, "apps/link.yaml", "-> loop.yaml", "apps/loop.yaml", "-> link.yaml"), options{Path: "apps"}, "PathEscapesSource", "apps/link.yaml")
	for name, link := range map[string]string{
		"relative": "-> ../../etc/passwd", "absolute": "-> /etc/passwd", "and back": "-> ../../repo/shared/s.yaml",
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, with(base, "apps/link.yaml", link), options{Path: "apps"}, "PathEscapesSource", "apps/link.yaml")
			refused(t, with(base, "apps/kustomization.yaml", "resources: [link.yaml]", "apps/link.yaml", link), options{Path: "apps"}, "PathEscapesSource", "apps/link.yaml")
			// Also where Kustomize would go on without it.
			refused(t, with(base, "apps/kustomization.yaml", "resources: [a.yaml]", "apps/kustomization.yml", link), options{Path: "apps"}, "PathEscapesSource", "apps/kustomization.yml")
			refused(t, with(base, "link", link), options{Path: "link"}, "PathEscapesSource", "link")
			refused(t, with(base, "apps/kustomization.yaml", "resources: [a.yaml]\nconfigMapGenerator: [{name: g, files: [link]}]", "apps/link", link), options{Path: "apps"}, "PathEscapesSource")
		})
	}
	r := mustRender(t, with(base, "apps/link.yaml", "-> ../dir/s.yaml", "dir", "-> shared"), options{Path: "apps"})
	if len(r.Items) != 2 {
		t.Errorf("%d objects through a link inside", len(r.Items))
	}
}

func TestA02PathsStayInTheSource(t *testing.T) {
	m := files("apps/a.yaml", configMap("a", "x"), "etc/passwd", "x", "file", "x", "current", "-> apps", "out", "-> ../apps")
	for path, reason := range map[string]fault.Reason{
		"../../etc": "InvalidPath", "/etc": "InvalidPath", "/": "InvalidPath", "apps/../..": "InvalidPath", "..": "InvalidPath", "apps\x00": "InvalidPath",
		"missing": "PathNotFound", "apps/missing": "PathNotFound", "file": "PathNotFound", "file/x": "PathNotFound", "out": "PathEscapesSource",
	} {
		refused(t, m, options{Path: path}, reason)
	}
	for _, path := range []string{"apps", "./apps", "apps/", "./apps/", "apps/.", "x/../apps", "current"} {
		if r := mustRender(t, m, options{Path: path}); len(r.Items) != 1 {
			t.Errorf("%q: %d objects", path, len(r.Items))
		}
	}
	for _, path := range []string{"", ".", "./"} {
		if r := mustRender(t, files("a.yaml", configMap("a", "x")), options{Path: path}); len(r.Items) != 1 {
			t.Errorf("%q: %d objects", path, len(r.Items))
		}
	}
}

// remoteEntries are kustomizations in which Kustomize would open a URL.
func remoteEntries(url string) map[string]map[string]string {
	plugin := func(field, config string) map[string]string {
		return files("apps/kustomization.yaml", "resources: [a.yaml]\n"+field+": [config.yaml]\n", "apps/config.yaml", config)
	}
	inline := func(field, config string) map[string]string {
		return files("apps/kustomization.yaml", "resources: [a.yaml]\n"+field+":\n- |-\n  "+strings.ReplaceAll(strings.TrimSpace(config), "\n", "\n  ")+"\n")
	}
	patch := "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: p}\npath: " + url + "\ntarget: {kind: ConfigMap}\n"
	list := "apiVersion: v1\nkind: List\nitems:\n- apiVersion: builtin\n  kind: PatchStrategicMergeTransformer\n  metadata: {name: p}\n  paths: [" + url + "]\n"
	generator := "apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: g}\nfiles: [\"k=" + url + "\"]\n"
	out := map[string]map[string]string{
		"in a base": files("apps/kustomization.yaml", "resources: [../base]", "base/kustomization.yaml", "resources: ["+url+"]"),
		"in a directory that a generated kustomization finds": files("apps/sub/kustomization.yaml", "resources: ["+url+"]"),
		"a transformer's file":                                plugin("transformers", patch),
		"a transformer's file, inline":                        inline("transformers", patch),
		"a validator's file":                                  plugin("validators", patch),
		"a transformer's file, in a list":                     plugin("transformers", list),
		"a generator's file":                                  plugin("generators", generator),
		"a generator's file, inline":                          inline("generators", generator),
		"a replacement's file of a transformer":               plugin("transformers", "apiVersion: builtin\nkind: ReplacementTransformer\nmetadata: {name: p}\nreplacements: [{path: "+url+"}]\n"),
		"targets of a value transformer":                      plugin("transformers", "apiVersion: builtin\nkind: ValueAddTransformer\nmetadata: {name: p}\nvalue: x\ntargetFilePath: "+url+"\n"),
		"a transformer's file in a directory":                 files("apps/kustomization.yaml", "resources: [a.yaml]\ntransformers: [../t]\n", "t/kustomization.yaml", "resources: [t.yaml]", "t/t.yaml", patch),
		"a transformer's file, behind an alias":               plugin("transformers", "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: p, annotations: {x: &u \""+url+"\"}}\npath: *u\ntarget: {kind: ConfigMap}\n"),
		"the kustomization of another in its own":             files("apps/kustomization.yaml", "resources: [a.yaml]\ncomponents: [../c]\n", "c/kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: ["+url+"]"),
	}
	for _, field := range []string{"resources", "bases", "components", "crds", "configurations", "generators", "transformers", "validators", "patchesStrategicMerge"} {
		out[field] = files("apps/kustomization.yaml", "namespace: x\n"+field+": [\""+url+"\"]\n")
	}
	out["patches"] = files("apps/kustomization.yaml", "resources: [a.yaml]\npatches: [{path: \""+url+"\"}]\n")
	out["patchesJson6902"] = files("apps/kustomization.yaml", "resources: [a.yaml]\npatchesJson6902: [{path: \""+url+"\", target: {kind: ConfigMap, name: a, version: v1}}]\n")
	out["replacements"] = files("apps/kustomization.yaml", "resources: [a.yaml]\nreplacements: [{path: \""+url+"\"}]\n")
	for _, field := range []string{"files", "envs"} {
		out["configMapGenerator "+field] = files("apps/kustomization.yaml", "configMapGenerator: [{name: g, "+field+": [\""+url+"\"]}]\n")
		out["secretGenerator "+field] = files("apps/kustomization.yaml", "secretGenerator: [{name: g, "+field+": [\""+url+"\"]}]\n")
	}
	out["configMapGenerator env"] = files("apps/kustomization.yaml", "configMapGenerator: [{name: g, env: \""+url+"\"}]\n")
	for _, m := range out {
		m["apps/a.yaml"] = configMap("a", "x")
		if m["apps/sub/kustomization.yaml"] != "" {
			delete(m, "apps/a.yaml")
		}
	}
	return out
}

func TestB01RemoteBasesAreRefused(t *testing.T) {
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		fmt.Fprint(w, configMap("fetched", "x"))
	}))
	defer server.Close()
	for what, m := range remoteEntries(server.URL + "/app.yaml") {
		t.Run(what, func(t *testing.T) {
			refused(t, m, options{Path: "apps"}, "RemoteBaseDisabled", server.URL, "kustomization.yaml")
		})
	}
	for _, entry := range []string{
		"git@127.0.0.1:org/repo", "ssh://git@127.0.0.1/org/repo", "git::" + server.URL + "/org/repo.git", "github.com/org/repo", "github.com:org/repo.git",
		"file:///tmp/repo.git", "gh:org/repo", server.URL + "/org/repo//base?ref=main", strings.Replace(server.URL, "http", "HTTP", 1) + "/org/repo.git",
	} {
		for _, field := range []string{"resources", "components", "generators", "transformers"} {
			refused(t, files("apps/kustomization.yaml", "namespace: x\n"+field+": [\""+entry+"\"]\n"), options{Path: "apps"}, "RemoteBaseDisabled")
		}
	}
	// A configuration that is put together so that no URL can be seen.
	refused(t, files(
		"apps/kustomization.yaml", "transformers: [../t]\n", "t/t.yaml", "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: p}\npath: x\n",
		"t/kustomization.yaml", "resources: [t.yaml]\npatches: [{target: {kind: PatchTransformer}, patch: '[{op: replace, path: /path, value: \"ht\\u0074p://127.0.0.1/\"}]'}]\n",
	), options{Path: "apps"}, "FeatureDisabled", "t/kustomization.yaml")
	if n := requests.Load(); n != 0 {
		t.Errorf("%d requests were made", n)
	}
	// Names that only look remote are files if they are there.
	r := mustRender(t, files("apps/kustomization.yaml", "resources: [me@home/x/a.yaml]", "apps/me@home/x/a.yaml", configMap("a", "x")), options{Path: "apps"})
	if len(r.Items) != 1 {
		t.Error("a file called me@home is not found")
	}
	// Nor does a message give credentials away.
	err := refused(t, files("apps/kustomization.yaml", "resources: ['https://user:hunter2@example.com/x?token=hunter3']"), options{Path: "apps"}, "RemoteBaseDisabled", "https://example.com/x")
	if strings.Contains(err.Error(), "hunter") {
		t.Errorf("%v", err)
	}
}

func TestB01PathsInKustomizationsStayInTheSource(t *testing.T) {
	m := files("apps/a.yaml", configMap("a", "x"), "etc/passwd", "root:x:0:0", "etc/kustomization.yaml", "resources: []")
	for what, k := range map[string]string{
		"resource above":     "resources: [../../etc/passwd]",
		"resource absolute":  "resources: [/etc/passwd]",
		"directory above":    "resources: [../../../etc]",
		"directory absolute": "resources: [/etc]",
		"out and back":       "resources: [../../plumb/apps/a.yaml]",
		"out to the mount":   "resources: [/plumb/apps/a.yaml]",
		"component":          "components: [../../etc]",
		"patch":              "patches: [{path: ../../etc/passwd}]",
		"data":               "configMapGenerator: [{name: g, files: [../../../../etc/passwd]}]",
		"data absolute":      "configMapGenerator: [{name: g, files: [p=/etc/passwd]}]",
		"secret":             "secretGenerator: [{name: g, envs: [/proc/self/environ]}]",
		"configuration":      "configurations: [/etc/passwd]",
		"crd":                "crds: [../../etc/passwd]",
		"schema":             "openapi: {path: ../../etc/passwd}",
		"plugin data":        "generators: ['{apiVersion: builtin, kind: ConfigMapGenerator, metadata: {name: g}, files: [../../etc/passwd]}']",
		"plugin path":        "resources: [a.yaml]\ntransformers: ['{apiVersion: builtin, kind: PatchTransformer, metadata: {name: g}, path: ../../etc/passwd}']",
	} {
		t.Run(what, func(t *testing.T) {
			err := refused(t, with(m, "apps/kustomization.yaml", k), options{Path: "apps"}, "PathEscapesSource")
			if err != nil && strings.Contains(err.Error(), "root:") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestB01CyclesAndDepthAreRefused(t *testing.T) {
	m := map[string]string{"d0/kustomization.yaml": "resources: [a.yaml]", "d0/a.yaml": configMap("a", "x")}
	for i := 1; i <= 1000; i++ {
		m[fmt.Sprintf("d%d/kustomization.yaml", i)] = fmt.Sprintf("resources: [../d%d]", i-1)
	}
	refused(t, m, options{Path: "d1000"}, "RenderCycle", "more than")
	mustRender(t, m, options{Path: "d50"})

	// Two names for each of thirty bases: a billion builds.
	wide := map[string]string{"d0/kustomization.yaml": "resources: []"}
	for i := 1; i <= 30; i++ {
		wide[fmt.Sprintf("d%d/kustomization.yaml", i)] = fmt.Sprintf("resources: [../d%d, ../e%d]", i-1, i-1)
		wide[fmt.Sprintf("e%d/kustomization.yaml", i-1)] = fmt.Sprintf("namePrefix: e-\nresources: [../d%d]", max(i-2, 0))
	}
	refused(t, wide, options{Path: "d30"}, "ManifestTooLarge")

	refused(t, files("a/kustomization.yaml", "resources: [../b]", "b/kustomization.yaml", "components: [../c]", "c/kustomization.yaml",
		"apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [../a]"), options{Path: "a"}, "RenderCycle", "a → b → c → a")
	refused(t, files("a/kustomization.yaml", "transformers: [../b]", "b/kustomization.yaml", "resources: [../a]"), options{Path: "a"}, "RenderCycle")
	refused(t, files("a/kustomization.yaml", "resources: [./link]", "a/link", "-> ../a"), options{Path: "a"}, "RenderCycle")
}

func TestB02ProgramsAreRefused(t *testing.T) {
	resources := "resources: [a.yaml]\n"
	for what, k := range map[string]string{
		"helm charts":                 "helmCharts: [{name: x}]",
		"helm charts, older":          "helmChartInflationGenerator: [{chartName: x}]",
		"helm generator":              "generators: [\"{apiVersion: builtin, kind: HelmChartInflationGenerator, metadata: {name: x}, name: x}\"]",
		"container function":          "transformers: [fn.yaml]",
		"exec function":               "generators: [exec.yaml]",
		"legacy function":             "validators: [legacy.yaml]",
		"function, inline":            "transformers: [\"{apiVersion: v1, kind: X, metadata: {name: x, annotations: {config.kubernetes.io/function: 'exec: {path: /bin/sh}'}}}\"]",
		"plugin":                      "transformers: [plugin.yaml]",
		"plugin in a directory":       "transformers: [../t]",
		"schema by URL":               "openapi: {path: 'https://example.com/schema.json'}",
		"function in a list":          "transformers: [list.yaml]",
		"several documents in a file": "transformers: [several.yaml]",
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			canary := filepath.Join(dir, "ran")
			exec := "apiVersion: v1\nkind: Exec\nmetadata:\n  name: x\n  annotations:\n    config.kubernetes.io/function: |\n      exec: {path: /bin/touch, args: [" + canary + "]}\n"
			plugin := "apiVersion: someteam.example.com/v1\nkind: SedTransformer\nmetadata: {name: x}\n"
			refused(t, files(
				"apps/kustomization.yaml", resources+k, "apps/a.yaml", configMap("a", "x"),
				"apps/fn.yaml", "apiVersion: v1\nkind: Fn\nmetadata:\n  name: x\n  annotations:\n    config.kubernetes.io/function: |\n      container: {image: evil}\n",
				"apps/exec.yaml", exec, "apps/legacy.yaml", strings.Replace(exec, "kubernetes.io", "k8s.io", 1), "apps/plugin.yaml", plugin,
				"apps/list.yaml", "apiVersion: v1\nkind: List\nitems:\n- "+strings.ReplaceAll(strings.TrimSpace(exec), "\n", "\n  ")+"\n",
				"apps/several.yaml", "apiVersion: builtin\nkind: LabelTransformer\nmetadata: {name: l}\n---\n"+plugin,
				"t/kustomization.yaml", "resources: [plugin.yaml]", "t/plugin.yaml", plugin,
			), options{Path: "apps"}, "FeatureDisabled")
			if _, err := os.Stat(canary); err == nil {
				t.Error("a program ran")
			}
		})
	}
}

func TestB06BombsAreRefused(t *testing.T) {
	deep := func(open, shut string, n int) string { return strings.Repeat(open, n) + strings.Repeat(shut, n) }
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'j'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s*%c]\n", c, c, strings.Repeat(fmt.Sprintf("*%c, ", c-1), 9), c-1)
	}
	head := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	for what, content := range map[string]string{
		"alias bomb":               head + bomb,
		"alias to itself":          head + "data: &a {b: *a}\n",
		"alias to a list in it":    head + "data: {x: &a [1, [*a]]}\n",
		"nested lists":             head + "data: " + deep("[", "]", 100_000),
		"nested maps":              head + "data: " + deep("{a: ", "}", 100_000),
		"nested compact sequences": head + "data:\n" + strings.Repeat("- ", 100_000) + "x\n",
		"nested keys":              head + "data:\n" + strings.Repeat("? ", 100_000) + "x\n",
		"nested a little too much": head + "data: " + deep("[", "]", 600),
		"values without end":       head + "data: [" + strings.Repeat("1,", 3_000_000) + "1]\n",
		"not closed":               head + "data: " + strings.Repeat("[", 100_000),
	} {
		t.Run(what, func(t *testing.T) {
			tooLarge := func(m map[string]string, words ...string) {
				t.Helper()
				if what == "not closed" {
					refused(t, m, options{Path: "apps"}, reasonOf(m), words...)
					return
				}
				refused(t, m, options{Path: "apps"}, "ManifestTooLarge", words...)
			}
			tooLarge(files("apps/a.yaml", content), "apps/a.yaml")
			tooLarge(files("apps/kustomization.yaml", "resources: [a.yaml]", "apps/a.yaml", content), "apps/a.yaml")
			tooLarge(files("apps/kustomization.yaml", "resources: [b.yaml]\npatches: [{path: a.yaml}]", "apps/b.yaml", configMap("a", "x"), "apps/a.yaml", content), "apps/a.yaml")
			tooLarge(files("apps/kustomization.yaml", content))
			tooLarge(files("apps/kustomization.yaml", "resources: [b.yaml]\npatches:\n- patch: |-\n    "+strings.ReplaceAll(content, "\n", "\n    "), "apps/b.yaml", configMap("a", "x")))
			tooLarge(files("apps/kustomization.yaml", "resources: [b.yaml]\ntransformers: [a.yaml]", "apps/b.yaml", configMap("a", "x"), "apps/a.yaml", content), "apps/a.yaml")
		})
	}
	double := "apiVersion: v1\nkind: Thing\nmetadata: {name: a}\nspec: {a: " + strings.Repeat("x", 1000) + "}\n"
	patch := "- {op: copy, from: /spec, path: /spec/b}\n- {op: copy, from: /spec, path: /spec/c}\n"
	refused(t, files("apps/kustomization.yaml", "resources: [a.yaml]\npatches: [{path: p.yaml, target: {kind: Thing}}]", "apps/a.yaml", double,
		"apps/p.yaml", strings.Repeat(patch, 40)), options{Path: "apps"}, "BuildFailed", "copy")
	// Data is not parsed, so it may be anything.
	r := mustRender(t, files("apps/kustomization.yaml", "configMapGenerator: [{name: g, files: [d]}]", "apps/d", deep("[", "]", 100_000)), options{Path: "apps"})
	if len(r.Items) != 1 {
		t.Error("data is refused")
	}
	// A patch of the options is as little trusted.
	refused(t, files("apps/a.yaml", configMap("a", "x")), options{Path: "apps", Patches: []kustomize.Patch{{Patch: head + bomb}}}, "ManifestTooLarge")
}

func reasonOf(m map[string]string) fault.Reason {
	_, err := objects(context.Background(), tree.FromFiles(m), options{Path: "apps"})
	return fault.Of(err).Reason
}

func TestB06MessagesNameFileAndLine(t *testing.T) {
	for what, c := range map[string]struct{ content, want string }{
		"duplicate key":     {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  k: 1\n  k: 2\n", "apps/base/a.yaml:6: "},
		"a tab":             {"apiVersion: v1\nkind: ConfigMap\nmetadata:\n\tname: a\n", "apps/base/a.yaml:4: "},
		"a bad escape":      {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"a\\q\"}\n", "apps/base/a.yaml:3: "},
		"no kind":           {"# c\n\napiVersion: v1\n", "apps/base/a.yaml:3: "},
		"no name":           {configMap("a", "x") + "---\nkind: ConfigMap\napiVersion: v1\n", "apps/base/a.yaml:8: "},
		"not a mapping":     {"- a\n- b\n", "apps/base/a.yaml:1: "},
		"an unknown anchor": {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: *x}\n", "apps/base/a.yaml"},
	} {
		for _, k := range []string{"", "resources: [base]"} {
			m := files("apps/base/a.yaml", c.content)
			if k != "" {
				m = with(m, "apps/kustomization.yaml", k, "apps/base/kustomization.yaml", "resources: [a.yaml]")
			}
			if err := refused(t, m, options{Path: "apps"}, "BuildFailed"); err != nil && !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%s: %v, want it to start with %s", what, err, c.want)
			}
		}
	}
}

// Parallel renders of different content, some of which change Kustomize's
// global schema, each give what they give alone.
func TestB08ParallelRendersEqualIsolatedOnes(t *testing.T) {
	type unit struct {
		files map[string]string
		o     options
		want  string
	}
	list := func(merge bool) map[string]string {
		// Whether a strategic merge patch merges this list or replaces it is
		// what the schema says.
		m := files("apps/a.yaml", "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\nspec:\n  things: [{name: one, x: 1}, {name: two, x: 2}]\n",
			"apps/patch.yaml", "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\nspec:\n  things: [{name: two, x: 3}]\n",
			"apps/kustomization.yaml", "resources: [a.yaml]\npatches: [{path: patch.yaml}]\n")
		if merge {
			m["apps/kustomization.yaml"] += "openapi: {path: schema.json}\n"
			m["apps/schema.json"] = `{"definitions": {"com.example.v1.Thing": {"type": "object",
				"properties": {"spec": {"type": "object", "properties": {"things": {"type": "array", "items": {"type": "object"},
				"x-kubernetes-patch-merge-key": "name", "x-kubernetes-patch-strategy": "merge"}}}},
				"x-kubernetes-group-version-kind": [{"group": "example.com", "kind": "Thing", "version": "v1"}]}}}`
		}
		return m
	}
	var units []*unit
	for i := range 6 {
		m := app("apps")
		m["apps/base/kustomization.yaml"] += fmt.Sprintf("namePrefix: n%d-\n", i)
		units = append(units,
			&unit{files: m, o: options{Path: "apps/overlays/production", NameSuffix: fmt.Sprint("-", i)}},
			&unit{files: list(i%2 == 0), o: options{Path: "apps", Labels: map[string]string{"i": fmt.Sprint(i)}}},
			&unit{files: with(list(i%2 == 1), "apps/broken.yaml", "a: b"), o: options{Path: "apps", NamePrefix: fmt.Sprintf("p%d-", i)}},
			&unit{files: files("apps/a.yaml", "kind: [x"), o: options{Path: "apps"}},
			&unit{files: with(list(false), "apps/kustomization.yaml", "resources: [a.yaml]\nopenapi: {path: bad.json}\npatches: [{path: patch.yaml}]", "apps/bad.json", `{"definitions": 7}`), o: options{Path: "apps"}},
		)
	}
	for _, u := range units {
		u.want = outcome(objects(t.Context(), tree.FromFiles(u.files), u.o))
	}
	if units[1].want == units[6].want || !strings.Contains(units[1].want, "name: one") || strings.Contains(units[6].want, "name: one") {
		t.Fatalf("the schema makes no difference:\n%s\n%s", units[1].want, units[6].want)
	}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range len(units) {
				u := units[(i*7+worker*3)%len(units)]
				if got := outcome(objects(t.Context(), tree.FromFiles(u.files), u.o)); got != u.want {
					t.Errorf("in parallel:\n%s\nalone:\n%s", got, u.want)
				}
			}
		})
	}
	wg.Wait()
}

func TestRemoteBasesThatAreAllowed(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, configMap("fetched", "x"))
	}))
	defer server.Close()
	o := options{Path: "apps", AllowRemoteBases: true}
	t.Run("a file", func(t *testing.T) {
		r := mustRender(t, files("apps/kustomization.yaml", "namePrefix: p-\nresources: ["+server.URL+"/a.yaml]"), o)
		if len(r.Items) != 1 || r.Items[0].Ref.Name != "p-fetched" || r.Cacheable {
			t.Errorf("%+v, cacheable %v", r.Items, r.Cacheable)
		}
		c := render.NewCache(1 << 20)
		for range 2 {
			if _, hit, err := c.Objects(t.Context(), "x", tree.FromFiles(files("apps/kustomization.yaml", "resources: ["+server.URL+"/a.yaml]")), o.Render()); hit || err != nil {
				t.Error(hit, err)
			}
		}
	})
	t.Run("a repository", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "repo.git")
		for name, content := range files("base/kustomization.yaml", "resources: [a.yaml]", "base/a.yaml", configMap("cloned", "x"),
			"schema/kustomization.yaml", "openapi: {version: v1.21.2}\nresources: [../base]", "bomb/kustomization.yaml", "resources: [a.yaml]", "bomb/a.yaml", "a: &a [*a]") {
			at := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(at, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("/etc", filepath.Join(dir, "out")); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x"}} {
			if out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		from := func(sub string) map[string]string {
			return files("apps/kustomization.yaml", "resources: ['file://"+dir+"//"+sub+"']")
		}
		r := mustRender(t, from("base"), o)
		if len(r.Items) != 1 || r.Items[0].Ref.Name != "cloned" || r.Cacheable {
			t.Errorf("%+v, cacheable %v", r.Items, r.Cacheable)
		}
		refused(t, from("schema"), o, "FeatureDisabled", "openapi")
		refused(t, from("bomb"), o, "ManifestTooLarge")
		if _, err := objects(t.Context(), tree.FromFiles(from("out")), o); err == nil {
			t.Error("a link leads out of a clone")
		}
		if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "kustomize-*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

// Kustomize goes on without a file that it could not read. A render doesn't.
func TestATreeThatCannotBeReadIsNoResult(t *testing.T) {
	all := tree.FromFiles(app("app"))
	broken := errors.New("the store is gone")
	for name := range app("app") {
		r, err := objects(t.Context(), failing{all, name, broken}, options{Path: "app/overlays/production"})
		if !errors.Is(err, broken) || len(r.Items) != 0 || fault.Of(err).Next != fault.Retry {
			t.Errorf("%s: %d objects, %v", name, len(r.Items), err)
		}
	}
	for _, name := range []string{"app/base/kustomization.yml", "app/base/Kustomization", "app/overlays/production/Kustomization"} {
		if _, err := objects(t.Context(), failing{all, name, broken}, options{Path: "app/overlays/production"}); !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type failing struct {
	tree.Tree
	name string
	err  error
}

func (f failing) Lookup(name string) (tree.Entry, error) {
	if _, err := f.Tree.Lookup(name); name == f.name && errors.Is(err, fs.ErrNotExist) {
		return tree.Entry{}, f.err
	}
	return f.Tree.Lookup(name)
}

func (f failing) ReadFile(name string) ([]byte, error) {
	if name == f.name {
		return nil, f.err
	}
	return f.Tree.ReadFile(name)
}

func TestACancelledRenderIsNoResult(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := objects(ctx, tree.FromFiles(app("left")), options{Path: "left/base"}) // no other test renders it: it may go on for a while
	if !errors.Is(err, context.Canceled) || fault.Of(err).Next != fault.Retry {
		t.Errorf("%v", err)
	}
}

// What Kustomize quotes in its errors may be a Secret.
func TestMessagesHoldNoSecrets(t *testing.T) {
	const canary = "c4n4ry-v4lue"
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: " + canary + "}\n"
	for what, m := range map[string]map[string]string{
		"bad literal":      files("apps/kustomization.yaml", "secretGenerator: [{name: s, literals: [a="+canary+", "+canary+"]}]"),
		"patch of nothing": files("apps/kustomization.yaml", "resources: [s.yaml]\npatches: [{patch: '{apiVersion: v1, kind: Secret, metadata: {name: t}, stringData: {p: "+canary+"}}'}]", "apps/s.yaml", secret),
		"broken patch":     files("apps/kustomization.yaml", "resources: [s.yaml]\npatches: [{patch: 'password: "+canary+"'}]", "apps/s.yaml", secret),
		"twice":            files("apps/s.yaml", secret+"---\n"+secret),
		"same key":         files("apps/s.yaml", secret+"stringData: {password: "+canary+"}\n"),
		"unknown field":    files("apps/kustomization.yaml", "secretGenerator: [{name: s, literal: [a="+canary+"]}]"),
		"wrong type":       files("apps/kustomization.yaml", "secretGenerator: [{name: s, literals: "+canary+"}]"),
		"not closed":       files("apps/s.yaml", secret+"a: \""+canary+"\n"),
	} {
		t.Run(what, func(t *testing.T) {
			_, err := objects(t.Context(), tree.FromFiles(m), options{Path: "apps"})
			if err == nil {
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("%v", err)
			}
			t.Log(err)
		})
	}
}

func TestPanicsAreErrors(t *testing.T) {
	_, err := objects(t.Context(), panicking{tree.FromFiles(app("app"))}, options{Path: "app/base"})
	if f := fault.Of(err); f.Next != fault.Stall {
		t.Errorf("%v", err)
	}
}

type panicking struct{ tree.Tree }

func (p panicking) ReadFile(name string) ([]byte, error) {
	if strings.HasSuffix(name, "role.yaml") {
		panic("out of ideas")
	}
	return p.Tree.ReadFile(name)
}

func TestTheManagedByLabelIsAValidOne(t *testing.T) {
	m := files("apps/kustomization.yaml", "resources: [a.yaml, ../base]\nbuildMetadata: [managedByLabel, originAnnotations]\n", "apps/a.yaml", configMap("a", "x"),
		"base/kustomization.yaml", "resources: [b.yaml]\nbuildMetadata: [managedByLabel]\n", "base/b.yaml", configMap("b", "x"))
	for _, c := range []struct {
		m map[string]string
		o options
	}{
		{m, options{Path: "apps"}},
		{files("apps/a.yaml", configMap("a", "x"), "apps/b.yaml", configMap("b", "x")), options{Path: "apps", BuildMetadata: []string{"managedByLabel"}}},
	} {
		set, err := mustRender(t, c.m, c.o).Objects()
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range set {
			if got := u.GetLabels()["app.kubernetes.io/managed-by"]; !regexp.MustCompile(`^kustomize-v5\.\d+\.\d+$`).MatchString(got) {
				t.Errorf("%s is labelled %q", u.GetName(), got)
			}
		}
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	// Of the two, v5.8.2 is the release that is built with v0.21.2.
	if !strings.Contains(string(mod), "sigs.k8s.io/kustomize/api v0.21.2\n") || !strings.Contains(kustomize.ManagedBy, "v5.8.2") {
		t.Errorf("go.mod has another Kustomize: change %s", kustomize.ManagedBy)
	}
}
