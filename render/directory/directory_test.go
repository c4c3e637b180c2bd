package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/manifest"
	"plumb.dev/plumb/tree"
)

func configMap(name string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\n"
}

func build(t *testing.T, files map[string]string, dir string, o Options) (render.Built, error) {
	t.Helper()
	return o.Build(t.Context(), render.Input{Tree: tree.FromFiles(files), Dir: dir})
}

// refused expects a stall of a reason whose message holds words.
func refused(t *testing.T, files map[string]string, o Options, l limits, reason fault.Reason, words ...string) {
	t.Helper()
	_, err := o.within(t.Context(), render.Input{Tree: tree.FromFiles(files), Dir: "."}, l)
	if f := fault.Of(err); err == nil || f.Next != fault.Stall || f.Reason != reason {
		t.Errorf("%v; want a stall %s", err, reason)
	}
	for _, w := range words {
		if !strings.Contains(fmt.Sprint(err), w) {
			t.Errorf("%v doesn't mention %q", err, w)
		}
	}
}

// A link and an import lead nowhere but into the source, however they are
// written; one that leads out and back does not, either.
func TestA01LinksAndImportsStayInTheSource(t *testing.T) {
	files := map[string]string{
		"apps/in.libsonnet": "{}", "etc/passwd": "root:x:0:0", "up": "-> ..", "top": "-> .", "apps/abs": "-> /etc/passwd", "apps/rel": "-> ../../etc/passwd",
		"apps/dir": "-> /etc", "apps/loop": "-> loop", "apps/back": "-> ../../repo/etc/passwd", "apps/chain": "-> rel",
	}
	for _, p := range []string{
		"/etc/passwd", "//etc/passwd", "../../etc/passwd", "../apps/../../etc/passwd", "x/../../../etc/passwd", "abs", "rel", "dir/passwd", "loop", "back", "chain", "../up/etc/passwd", "../../../../../../proc/self/environ",
	} {
		for _, how := range []string{"import", "importstr", "importbin"} {
			for _, libs := range [][]string{nil, {"apps", "etc"}} {
				m := maps.Clone(files)
				m["apps/a.jsonnet"] = fmt.Sprintf("{ apiVersion: 'v1', kind: 'A', metadata: { name: 'a' }, x: %s %q }", how, p)
				_, err := build(t, m, "apps", Options{Files: Files{Exclude: "{abs,rel}", Jsonnet: Jsonnet{Libs: libs}}})
				if f := fault.Of(err); err == nil || f.Next != fault.Stall || f.Reason != "PathEscapesSource" || strings.Contains(err.Error(), "root:") {
					t.Errorf("%s %q with libs %v: %v", how, p, libs, err)
				}
			}
		}
	}
	for _, lib := range []string{"/etc", "..", "../lib", "a/../../lib", "lib\x00"} {
		if _, err := build(t, map[string]string{"a.jsonnet": "{}"}, ".", Options{Files: Files{Jsonnet: Jsonnet{Libs: []string{lib}}}}); !fault.Is(err, "InvalidPath") {
			t.Errorf("lib %q: %v", lib, err)
		}
	}
	// A path that would lead out of one directory is looked for in the next.
	m := map[string]string{"a.jsonnet": "(import '../lib/l.libsonnet') + (import 'top/in.libsonnet')", "vendor/x": "", "lib/l.libsonnet": "{ apiVersion: 'v1', kind: 'A' }", "top": "-> .", "in.libsonnet": "{ metadata: { name: 'a' } }"}
	if got, err := build(t, m, ".", Options{Files: Files{Jsonnet: Jsonnet{Libs: []string{"vendor"}}}}); err != nil || len(got.Objects) != 1 {
		t.Errorf("%v", err)
	}
	for _, link := range []string{"-> ../../etc/passwd", "-> /etc/passwd", "-> link.yaml", "-> ../../repo/apps/a.yaml"} {
		refused(t, map[string]string{"link.yaml": link}, Options{}, defaultLimits, "PathEscapesSource", "link.yaml")
	}
}

// No message quotes a value of a Secret that is in the source.
func TestMessagesHoldNoSecrets(t *testing.T) {
	head := "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n"
	for what, m := range map[string]map[string]string{
		"a tag":        {"a.yaml": head + "  password: !!int hunter2hunter2\n"},
		"two keys":     {"a.yaml": head + "  yes: hunter2hunter2\n  on: hunter2hunter2\n"},
		"a key":        {"a.yaml": head + "  hunter2hunter2: a\n  hunter2hunter2: b\n"},
		"broken YAML":  {"a.yaml": head + "  password: 'hunter2hunter2\n"},
		"broken JSON":  {"a.json": `{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": hunter2hunter2}}`},
		"no name":      {"a.yaml": "apiVersion: v1\nkind: Secret\nstringData: {password: hunter2hunter2}\n"},
		"a list":       {"a.yaml": "apiVersion: v1\nkind: List\nitems: [hunter2hunter2]\n"},
		"half of JSON": {"a.json": `{"kind": "Secret", "stringData": {"password": "hunter2hunter2`},
	} {
		_, err := build(t, m, ".", Options{})
		if what != "a key" && strings.Contains(fmt.Sprint(err), "hunter2") || err == nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestB06WhatOneRenderReadsIsBounded(t *testing.T) {
	small := defaultLimits
	small.read, small.marks, small.objects, small.steps = 4<<10, 200, 10, 50
	small.file.Depth = 20
	many, wide, deep := map[string]string{}, map[string]string{}, "a"
	for i := range 11 {
		many[fmt.Sprintf("%d.jsonnet", i)] = fmt.Sprintf("{apiVersion: 'v1', kind: 'ConfigMap', metadata: {name: 'c%d'}}", i)
	}
	for i := range 60 {
		wide[fmt.Sprintf("%d/%d.txt", i%7, i)] = ""
	}
	for range 30 {
		deep = "{a: " + deep + "}"
	}
	all := Options{Files: Files{Recurse: true}}
	for what, c := range map[string]struct {
		files map[string]string
		words []string
	}{
		"bytes":          {map[string]string{"a.yaml": configMap("a") + "# " + strings.Repeat("x", 4<<10)}, []string{"a.yaml", "MiB"}},
		"imported bytes": {map[string]string{"a.jsonnet": "importstr 'x'", "x": strings.Repeat("x", 4<<10)}, []string{"x", "MiB"}},
		"values":         {map[string]string{"a.yaml": configMap("a") + "data: {" + strings.Repeat("a: b,", 100) + "}\n"}, []string{"a.yaml", "200 values"}},
		"objects":        {many, []string{"10 objects"}},
		"directories":    {wide, []string{"too many"}},
		"nesting":        {map[string]string{"a.yaml": configMap("a") + "data: " + deep + "\n"}, []string{"a.yaml:5", "levels"}},
		"nested JSON":    {map[string]string{"a.json": `{"kind": "A", "x": ` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + "}"}, []string{"a.json:1", "levels"}},
		"aliases":        {map[string]string{"a.yaml": configMap("a") + "a: &a {b: *a}\n"}, []string{"a.yaml:5", "alias"}},
	} {
		t.Run(what, func(t *testing.T) { refused(t, c.files, all, small, render.TooLarge, c.words...) })
	}
	bomb := configMap("a") + "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	refused(t, map[string]string{"a.yaml": bomb}, all, defaultLimits, render.TooLarge, "aliases")
	refused(t, map[string]string{"a.yaml": configMap("a") + "data: " + strings.Repeat("[", 100_000)}, all, defaultLimits, render.TooLarge, "nested")
	refused(t, map[string]string{"a.json": `{"kind": ` + strings.Repeat("[", 100_000)}, all, defaultLimits, render.BuildFailed, "a.json:1")
	refused(t, map[string]string{"a.yaml": configMap("a")}, Options{Files: Files{Include: strings.Repeat("a", 5000)}}, defaultLimits, render.BuildFailed, "include")
}

// Text is read as kubectl reads it: what its library makes of it, and what JSON
// makes of that.
func TestB06YAMLIsReadAsKubectlReadsIt(t *testing.T) {
	plain := []string{
		"yes", "Yes", "YES", "y", "Y", "no", "N", "on", "Off", "true", "True", "FALSE", "null", "Null", "~", "", "0", "-0", "+1", "0777", "0o17", "0x1F", "0b101", "-0x1f", "0888", "08", "1_000", "1.5", "1.50", ".5", "5.", "1.0",
		"-1.0", "1e3", "1E-3", "1e400", "12345678901234567890", "-12345678901234567890", "9223372036854775807", "9223372036854775808", "18446744073709551615", "1:30", "1:30:00", "2001-01-01", "2001-01-01T10:00:00Z", "2001-01-01 10:00:00", "a b", "v1.2",
		"1.2.3", "10Gi", "100m", "<<", "=", "!!str 5", "!!int '5'", "!!float 1", "!!bool 'yes'", "!!binary aGk=", "!own x", "é😀", "a#b", "a:b", "-x", "0x", "1e", "e1", ".", "-", "._", "inf", "NaN", "tRue", "nO",
	}
	r := rand.New(rand.NewPCG(1, 2))
	const letters = "0123456789abcdefABCDEFxobeEyYnN._+-:T Z"
	for range 500 {
		var b strings.Builder
		for range 1 + r.IntN(7) {
			b.WriteByte(letters[r.IntN(len(letters))])
		}
		plain = append(plain, b.String())
	}
	compared := 0
	for _, v := range plain {
		for _, form := range []string{"%s", "'%s'", "\"%s\"", "[%s, x]", "{a: %s}", "{%s: a}", "|-\n    %s", "&a %s"} {
			text := fmt.Sprintf("apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\nspec:\n  v: "+form+"\n", v)
			b, err := yaml.YAMLToJSON([]byte(text))
			var want map[string]any
			if err != nil || json.Unmarshal(b, &want) != nil {
				continue // it is an error here, too, or else a stricter one
			}
			got, err := build(t, map[string]string{"a.yaml": text}, ".", Options{})
			if err != nil {
				if !lawful(text) {
					continue
				}
				t.Errorf("%s: %v", text, err)
				continue
			}
			compared++
			is, err := json.Marshal(got.Objects[0].Object)
			if err != nil {
				t.Fatal(err)
			}
			var have map[string]any
			if err := json.Unmarshal(is, &have); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("%s: -kubectl +plumb:\n%s", text, diff)
			}
		}
	}
	if compared < 3_000 {
		t.Errorf("only %d texts were compared", compared)
	}
}

// lawful reports whether a text is one that plumb takes: keys are text, and
// numbers are such as JSON has.
func lawful(text string) bool {
	roots, err := manifest.Parse([]byte(text), "a", defaultLimits.file)
	return err == nil && len(roots) == 1
}

func TestJSONIsReadAsJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	pieces := []string{`\ud83d\ude00`, `\u00e9`, `\ud83d`, `\\ud83d\\ude00`, `\/`, `\"`, `\\`, `\n`, `a`, `é`, `😀`, `\uD834\uDD1E`, `\\u0041`, `\ud83d\u0041`, `{`, ` `, `: `, `#`, `\u2028`, "\u2028", "\x7f", "\u0085", `\ud83d\ud83d\ude00`}
	for range 2000 {
		var b strings.Builder
		for range r.IntN(6) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		text := `{"apiVersion":"v1",` + "\n\t" + `"kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"` + b.String() + `"}}`
		var want map[string]any
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(text, err)
		}
		got, err := build(t, map[string]string{"a.json": "\ufeff" + text}, ".", Options{})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, got.Objects[0].Object); diff != "" {
			t.Errorf("%s: -want +got:\n%s", text, diff)
		}
	}
}

// Whatever a file holds, it gives objects or an error, and ends no process.
func FuzzFiles(f *testing.F) {
	for _, s := range []string{"", configMap("a"), "a: [", `{"kind": "A"}`, "- a\n- b", "---\n---", "kind: List\nitems: [1]", "{a: 1}", "error 'x'", "\xff\xfe", "kind: A\napiVersion: v1\nmetadata: {name: [a]}", "kind: &a {x: *a}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, "std") || len(s) > 1000 {
			return // programs run where they can be ended
		}
		for _, name := range []string{"a.yaml", "a.json"} {
			got, err := build(t, map[string]string{name: s}, ".", Options{})
			if f := fault.Of(err); err != nil && (f.Next != fault.Stall || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%s %v", f.Next, err)
			}
			for _, o := range got.Objects {
				if o.GetKind() == "" || o.GetAPIVersion() == "" {
					t.Errorf("%v", o)
				}
			}
		}
	})
}

// What the tree or the context said is passed on as it is.
func TestAnErrorOfTheStoreIsNoFaultOfTheRepository(t *testing.T) {
	broken := errors.New("the disk is gone")
	files := map[string]string{"a/a.yaml": configMap("a"), "a/b.jsonnet": "import 'c.libsonnet'", "a/c.libsonnet": "{}"}
	for _, name := range []string{"a", "a/a.yaml", "a/b.jsonnet", "a/c.libsonnet"} {
		_, err := Options{}.Build(t.Context(), render.Input{Tree: failing{tree.FromFiles(files), name, broken}, Dir: "a"})
		if !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("nobody waits")
	cancel(gone)
	if _, err := (Options{}).Build(ctx, render.Input{Tree: tree.FromFiles(files), Dir: "a"}); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}

// failing is a tree of which one name can't be read.
type failing struct {
	tree.Tree
	name string
	err  error
}

func (f failing) ReadFile(name string) ([]byte, error) {
	if name == f.name {
		return nil, f.err
	}
	return f.Tree.ReadFile(name)
}

func (f failing) ReadDir(name string) ([]tree.Entry, error) {
	if name == f.name {
		return nil, f.err
	}
	return f.Tree.ReadDir(name)
}

func TestPlacesOfFields(t *testing.T) {
	got, err := build(t, map[string]string{
		"d/a.yaml":    "apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(configMap("a"), "\n", "\n  ") + "data:\n    k: v\n",
		"d/b.jsonnet": "{apiVersion: 'v1', kind: 'ConfigMap', metadata: {name: 'b'}}",
	}, "d", Options{})
	if err != nil {
		t.Fatal(err)
	}
	ref := func(name string) object.Ref { return object.Ref{Kind: "ConfigMap", Name: name} }
	for _, c := range []struct {
		ref   object.Ref
		field []string
		want  string
	}{
		{ref("a"), nil, "d/a.yaml:4: "},
		{ref("a"), []string{"data", "k"}, "d/a.yaml:9: "},
		{ref("b"), []string{"data"}, "d/b.jsonnet: "},
		{ref("c"), nil, ""},
	} {
		if at := got.Place(c.ref, c.field); at != c.want {
			t.Errorf("%s %v: %q, want %q", c.ref, c.field, at, c.want)
		}
	}
}

// An import that is excluded from the source says so.
func TestAnExcludedImportSaysSo(t *testing.T) {
	files := tree.FromFiles(map[string]string{"a.jsonnet": "import 'b.libsonnet'"})
	_, err := Options{}.Build(t.Context(), render.Input{Tree: excluding{files}, Dir: "."})
	if err == nil || !strings.Contains(err.Error(), "b.libsonnet") || !strings.Contains(err.Error(), "spec.ignore") {
		t.Errorf("%v", err)
	}
}

type excluding struct{ tree.Tree }

func (e excluding) Lookup(name string) (tree.Entry, error) {
	if name == "b.libsonnet" {
		return tree.Entry{}, &tree.Excluded{By: "spec.ignore"}
	}
	return e.Tree.Lookup(name)
}

// The first lines that programs write are kept, and no more.
func TestTracesAreBounded(t *testing.T) {
	program := "std.foldl(function(a, b) std.trace(std.repeat('x', 1000), a), std.range(1, 100), {apiVersion: 'v1', kind: 'ConfigMap', metadata: {name: 'a'}})"
	got, err := build(t, map[string]string{"a.jsonnet": program}, ".", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.Warnings); n != mostTraces || len(got.Warnings[0]) > longestTrace+20 {
		t.Errorf("%d warnings, the first one of %d bytes", n, len(got.Warnings[0]))
	}
}

// Globs mean what those do that Argo CD's users write.
func TestGlobs(t *testing.T) {
	names := []string{"a.yaml", "b.yml", "env/a.yaml", "env/deep/b.yaml", "env-2/a.json", "[x].yaml", "a.yaml.sealed"}
	for _, c := range []struct {
		files Files
		want  string
	}{
		{Files{}, "[x].yaml a.yaml b.yml env-2/a.json env/a.yaml env/deep/b.yaml"},
		{Files{Include: "*.yaml"}, "[x].yaml a.yaml env/a.yaml env/deep/b.yaml"},
		{Files{Include: "env/*"}, "env/a.yaml env/deep/b.yaml"},
		{Files{Include: "env/**"}, "env/a.yaml env/deep/b.yaml"},
		{Files{Include: "{*.yml,env-?/*}"}, "b.yml env-2/a.json"},
		{Files{Include: "[ab].y*ml"}, "a.yaml b.yml"},
		{Files{Include: "[!a].y*ml"}, "b.yml"},
		{Files{Include: `\[x\].yaml`}, "[x].yaml"},
		{Files{Exclude: "*"}, ""},
		{Files{Include: "*", Exclude: "env*"}, "[x].yaml a.yaml b.yml"},
		{Files{DisableExtensionFilter: true, Include: "*.sealed"}, "a.yaml.sealed"},
	} {
		wants, err := Options{Files: c.files, Except: []string{"none"}}.filter()
		if err != nil {
			t.Errorf("%+v: %v", c.files, err)
			continue
		}
		got := slices.DeleteFunc(slices.Sorted(slices.Values(names)), func(n string) bool { return !wants(n) })
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v: %q, want %q", c.files, got, c.want)
		}
	}
}

// What a directory is asked is what it takes: a file that is not read may
// change, and so may one of another directory.
func TestOnlyWhatIsReadIsTraced(t *testing.T) {
	files := map[string]string{
		"d/a.yaml": configMap("a"), "d/b.txt": "x", "d/skipped.yaml": configMap("s"), "d/sub/c.yaml": configMap("c"), "lib/l.libsonnet": "{}", "lib/m.libsonnet": "{}",
		"d/p.jsonnet": "(import 'l.libsonnet') + {apiVersion: 'v1', kind: 'ConfigMap', metadata: {name: 'p'}}",
	}
	traced := tree.NewTracer(tree.FromFiles(files))
	o := Options{Files: Files{Exclude: "skipped*", Jsonnet: Jsonnet{Libs: []string{"lib"}}}}
	if _, err := o.Build(t.Context(), render.Input{Tree: traced, Dir: "d"}); err != nil {
		t.Fatal(err)
	}
	trace, ok := traced.Trace()
	if !ok {
		t.Fatal("there is no trace")
	}
	for name, read := range map[string]bool{
		"d/a.yaml": true, "d/p.jsonnet": true, "lib/l.libsonnet": true, "d/l.libsonnet": true, "d/new.yaml": true,
		"d/b.txt": false, "d/skipped.yaml": false, "d/sub/c.yaml": false, "d/sub/new.yaml": false, "lib/m.libsonnet": false, "other": false,
	} {
		changed := maps.Clone(files)
		changed[name] = "changed"
		if _, holds := trace.Holds(tree.FromFiles(changed)); holds == read {
			t.Errorf("%s changes, and the trace holds is %v", name, holds)
		}
	}
}
