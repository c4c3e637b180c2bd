package kustomize_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/builtins"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/tree"
)

// An outside is what a render could get out to: a server that counts who
// connects, and programs that leave a mark where they are started.
type outside struct {
	addr      string
	connected atomic.Int32
	started   string
}

func newOutside(t *testing.T) *outside {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &outside{addr: l.Addr().String(), started: filepath.Join(t.TempDir(), "started")}
	t.Cleanup(func() { _ = l.Close() }) // it has nothing to say that matters here
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			o.connected.Add(1)
			_ = c.Close() // whoever is there has failed the test already
		}
	}()
	bin := t.TempDir()
	for _, program := range []string{"git", "helm", "helmV3", "ssh", "docker", "go"} {
		script := "#!/bin/sh\necho " + program + " \"$@\" >> " + o.started + "\nexit 1\n"
		if err := os.WriteFile(filepath.Join(bin, program), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin)
	return o
}

// check fails the test if anything got out since it was called last.
func (o *outside) check(t *testing.T, what string) {
	t.Helper()
	if n := o.connected.Swap(0); n != 0 {
		t.Errorf("%s: %d connections were made", what, n)
	}
	if b, err := os.ReadFile(o.started); err == nil {
		t.Errorf("%s: programs were started: %s", what, b)
		if err := os.Remove(o.started); err != nil {
			t.Fatal(err)
		}
	}
}

// urls are the forms in which Kustomize takes a text for something to fetch.
func (o *outside) urls() []string {
	return []string{
		"http://" + o.addr + "/x.yaml", "HTTP://" + o.addr + "/{x}", "https://" + o.addr + "/org/repo//dir?ref=a=b",
		"git::http://" + o.addr + "/org/repo.git", "GIT::ssh://git@" + o.addr + "/org/repo", "ssh://git@" + o.addr + "/org/repo.git",
		"file:///tmp/repo.git", "FILE:///tmp//repo", "git@" + o.addr + ":org/repo.git", "github.com/org/repo", "GitHub.com:org/repo",
		"k=http://" + o.addr + "/x", "http://" + o.addr + "/\nx",
	}
}

// leaves calls set for each text that v, a pointer to a struct, can hold.
func leaves(v reflect.Value, at string, visit func(at string, text reflect.Value)) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
			defer v.SetZero()
		}
		leaves(v.Elem(), at, visit)
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				leaves(v.Field(i), at+"."+f.Name, visit)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		leaves(v.Index(0), at+"[]", visit)
		v.SetZero()
	case reflect.Map:
		if v.Type().Elem().Kind() != reflect.String {
			return
		}
		for _, key := range []string{"path", "version", "a"} {
			text := reflect.New(v.Type().Elem()).Elem()
			visit(at+"["+key+"]", settable{v, key, text}.value())
		}
		v.SetZero()
	case reflect.String:
		visit(at, v)
		v.SetZero()
	}
}

// settable stands for a value of a map, which can't be set where it is.
type settable struct {
	m    reflect.Value
	key  string
	text reflect.Value
}

func (s settable) value() reflect.Value {
	s.m.Set(reflect.MakeMap(s.m.Type()))
	s.m.SetMapIndex(reflect.ValueOf(s.key).Convert(s.m.Type().Key()), s.text)
	return s.m
}

func setLeaf(v reflect.Value, text string) {
	if v.Kind() == reflect.Map {
		for _, k := range v.MapKeys() {
			v.SetMapIndex(k, reflect.ValueOf(text).Convert(v.Type().Elem()))
		}
		return
	}
	v.SetString(text)
}

// spellings are texts that Kustomize reads as it reads text.
// They are the same whatever the URL, so only few of those have them all.
func spellings(t *testing.T, text string, all bool) map[string]string {
	t.Helper()
	if !all {
		return map[string]string{"as it is": text}
	}
	var m map[string]any
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	marshal := func(v any) string {
		b, err := json.Marshal(v) // which is YAML, too
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	keep := func(key string) bool { return key == "apiVersion" || key == "kind" || key == "metadata" }
	var aliased strings.Builder
	fmt.Fprintf(&aliased, "metadata: {name: x, annotations: {%s}}\n", strings.Join(anchors(m, keep), ", "))
	merged := "metadata: {name: x}\n"
	rest := map[string]any{}
	for k, v := range m {
		switch {
		case k == "metadata":
			continue
		case keep(k):
			fmt.Fprintf(&aliased, "%s: %s\n", k, marshal(v))
			merged += fmt.Sprintf("%s: %s\n", k, marshal(v))
		default:
			fmt.Fprintf(&aliased, "*%s : %s\n", k, marshal(v))
			rest[k] = v
		}
	}
	return map[string]string{
		"as it is":  text,
		"upper":     marshal(recased(m, strings.ToUpper, keep)),
		"title":     marshal(recased(m, func(s string) string { return strings.ToUpper(s[:1]) + s[1:] }, keep)),
		"kelvin":    marshal(recased(m, strings.NewReplacer("s", "ſ", "k", "K").Replace, keep)),
		"alias":     aliased.String(),
		"merge":     merged + "<<: " + marshal(rest) + "\n",
		"quoted <<": merged + "\"<<\": " + marshal(rest) + "\n",
	}
}

func anchors(m map[string]any, keep func(string) bool) (out []string) {
	for k := range m {
		if !keep(k) {
			out = append(out, fmt.Sprintf("a%d: &%s %s", len(out), k, k))
		}
	}
	return out
}

func recased(v any, change func(string) string, keep func(string) bool) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if keep(k) {
				out[k] = e
				continue
			}
			out[change(k)] = recased(e, change, func(string) bool { return false })
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = recased(e, change, keep)
		}
		return out
	}
	return v
}

// fieldsFor are the fields that take a plugin of a kind.
func fieldsFor(kind string) []string {
	if strings.HasSuffix(kind, "Generator") {
		return []string{"generators"}
	}
	return []string{"transformers", "validators"}
}

func plugins() map[string]any {
	return map[string]any{
		"AnnotationsTransformer": &builtins.AnnotationsTransformerPlugin{}, "ConfigMapGenerator": &builtins.ConfigMapGeneratorPlugin{},
		"HelmChartInflationGenerator": &builtins.HelmChartInflationGeneratorPlugin{}, "IAMPolicyGenerator": &builtins.IAMPolicyGeneratorPlugin{},
		"ImageTagTransformer": &builtins.ImageTagTransformerPlugin{}, "LabelTransformer": &builtins.LabelTransformerPlugin{},
		"NamespaceTransformer": &builtins.NamespaceTransformerPlugin{}, "PatchJson6902Transformer": &builtins.PatchJson6902TransformerPlugin{},
		"PatchStrategicMergeTransformer": &builtins.PatchStrategicMergeTransformerPlugin{}, "PatchTransformer": &builtins.PatchTransformerPlugin{},
		"PrefixTransformer": &builtins.PrefixTransformerPlugin{}, "SuffixTransformer": &builtins.SuffixTransformerPlugin{},
		"ReplacementTransformer": &builtins.ReplacementTransformerPlugin{}, "ReplicaCountTransformer": &builtins.ReplicaCountTransformerPlugin{},
		"SecretGenerator": &builtins.SecretGeneratorPlugin{}, "ValueAddTransformer": &builtins.ValueAddTransformerPlugin{},
	}
}

// Every field that a kustomization or a plugin's configuration has, as the
// library declares them, with every form of a URL in it and in every spelling
// that the library reads: nothing gets out.
func TestARenderCanNeitherConnectNorStartAProgram(t *testing.T) {
	out := newOutside(t)
	try := func(what string, m map[string]string) {
		t.Helper()
		_, err := objects(t.Context(), tree.FromFiles(m), options{Path: "apps"})
		if err != nil && fault.Of(err).Reason == "" {
			t.Error(err)
		}
		out.check(t, what)
	}
	base := files("apps/a.yaml", configMap("a", "x"))

	var k types.Kustomization
	fields := 0
	leaves(reflect.ValueOf(&k), "", func(at string, leaf reflect.Value) {
		fields++
		for i, url := range out.urls() {
			setLeaf(leaf, url)
			b, err := yaml.Marshal(k)
			if err != nil {
				t.Fatal(err)
			}
			text := string(b)
			if !strings.Contains(at, ".Resources") {
				text += "resources: [a.yaml]\n"
			}
			for how, text := range spellings(t, text, i < 2) {
				try(fmt.Sprintf("kustomization%s, %s, %s", at, how, url), with(base, "apps/kustomization.yaml", text))
			}
		}
	})
	for kind, config := range plugins() {
		leaves(reflect.ValueOf(config), "", func(at string, leaf reflect.Value) {
			fields++
			for i, url := range out.urls() {
				setLeaf(leaf, url)
				b, err := json.Marshal(config)
				if err != nil {
					t.Fatal(err)
				}
				m := map[string]any{}
				if err := json.Unmarshal(b, &m); err != nil {
					t.Fatal(err)
				}
				m["apiVersion"], m["kind"], m["metadata"] = "builtin", kind, map[string]any{"name": "p"}
				if strings.HasPrefix(kind, "Patch") {
					m["target"] = map[string]any{"kind": "ConfigMap", "name": "a", "version": "v1"}
				}
				if b, err = yaml.Marshal(m); err != nil {
					t.Fatal(err)
				}
				for how, text := range spellings(t, string(b), i < 2) {
					for _, field := range fieldsFor(kind) {
						inline, err := yaml.Marshal(map[string]any{"resources": []string{"a.yaml"}, field: []string{text}})
						if err != nil {
							t.Fatal(err)
						}
						what := fmt.Sprintf("%s %s%s, %s, %s", field, kind, at, how, url)
						try(what+", inline", with(base, "apps/kustomization.yaml", string(inline)))
						try(what+", in a file", with(base, "apps/kustomization.yaml", "resources: [a.yaml]\n"+field+": [p.yaml]\n", "apps/p.yaml", text))
						if how != "as it is" {
							continue
						}
						try(what+", in a directory", with(base, "apps/kustomization.yaml", "resources: [a.yaml]\n"+field+": [../p]\n",
							"p/kustomization.yaml", "resources: [p.yaml]\n", "p/p.yaml", text))
					}
				}
			}
		})
	}
	if fields < 200 {
		t.Errorf("only %d fields were tried", fields)
	}
}

// What decides between text and path is not what it looks like: Kustomize
// takes whatever is no object for a path.
func TestTextThatIsNoObjectIsNoURLEither(t *testing.T) {
	out := newOutside(t)
	for _, url := range out.urls() {
		for _, field := range []string{"patchesStrategicMerge", "generators", "transformers", "validators"} {
			for _, form := range []string{"%s", "%s\n", "\n%s", "{%s", "%s {", "- %s", "# x\n%s", "%s: {}", "{\"%s\": x}", "---\n%s"} {
				entry := strings.ReplaceAll(form, "%s", url)
				text, err := yaml.Marshal(map[string]any{"resources": []string{"a.yaml"}, field: []string{entry}})
				if err != nil {
					t.Fatal(err)
				}
				_, err = objects(t.Context(), tree.FromFiles(files("apps/a.yaml", configMap("a", "x"), "apps/kustomization.yaml", string(text))), options{Path: "apps"})
				if err != nil && fault.Of(err).Reason == "" {
					t.Error(err)
				}
				out.check(t, fmt.Sprintf("%s %q", field, entry))
			}
		}
	}
}

func TestAKeyHasOneSpelling(t *testing.T) {
	base := files("apps/a.yaml", configMap("a", "x"))
	for what, c := range map[string]struct{ k, config, want string }{
		"a field in capitals":         {"resources: [a.yaml]\nnamePREFIX: x-\n", "", `apps/kustomization.yaml:2: the field "namePREFIX" is spelled namePrefix`},
		"a field of a list":           {"resources: [a.yaml]\nimages:\n- {name: x, newtag: y}\n", "", `apps/kustomization.yaml:3: the field "newtag" is spelled newTag`},
		"a key that is an alias":      {"metadata: {name: &k resources}\n*k : [a.yaml]\n", "", `apps/kustomization.yaml:2: a key that is an alias`},
		"an alias in a manifest":      {"resources: [p.yaml]\n", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: &k data}\n*k : {}\n", `apps/p.yaml:4: a key that is an alias`},
		"a field of a configuration":  {"resources: [a.yaml]\ntransformers: [p.yaml]\n", "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: p}\ntarget: {kind: ConfigMap}\nPATH: x.yaml\n", `apps/p.yaml:5: the field "PATH" is spelled path`},
		"a field behind a merge":      {"resources: [a.yaml]\ntransformers: [p.yaml]\n", "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: p}\n<<:\n  Path: x.yaml\n", `apps/p.yaml:5: the field "Path" is spelled path`},
		"a field inside of a config":  {"resources: [a.yaml]\ntransformers: [p.yaml]\n", "apiVersion: builtin\nkind: ReplacementTransformer\nmetadata: {name: p}\nreplacements:\n- Path: x.yaml\n", `apps/p.yaml:5: the field "Path" is spelled path`},
		"a field that does not exist": {"resources: [a.yaml]\nimages:\n- {name: x, tag: y}\n", "", `apps/kustomization.yaml:3: unknown field "tag"`},
	} {
		t.Run(what, func(t *testing.T) {
			refused(t, with(base, "apps/kustomization.yaml", c.k, "apps/p.yaml", c.config), options{Path: "apps"}, "BuildFailed", c.want)
		})
	}
}

func TestAllRemoteBasesAreNamedAtOnceAndTheFlagThatAllowsThem(t *testing.T) {
	err := refused(t, files(
		"apps/kustomization.yaml", "resources:\n- https://example.com/b\n- ../base\nconfigMapGenerator: [{name: g, files: [k=https://example.com/f]}]\n",
		"base/kustomization.yaml", "resources:\n- https://example.com/c?ref=x\n- https://example.com/b\n",
	), options{Path: "apps"}, "RemoteBaseDisabled", "--no-remote-bases=false",
		`apps/kustomization.yaml:2: "https://example.com/b"`, `apps/kustomization.yaml:4: "https://example.com/f"`,
		`base/kustomization.yaml:2: "https://example.com/c"`, `base/kustomization.yaml:3: "https://example.com/b"`)
	if err != nil && slices.Contains(strings.Split(err.Error(), ""), "\n") {
		t.Errorf("%q is not one line", err)
	}
}

func TestAKustomizationCanBeDataToo(t *testing.T) {
	text := "# as it is written\nresources: [a.yaml]\nconfigMapGenerator:\n- {name: g, files: [kustomization.yaml, x=../base/kustomization.yaml], options: {disableNameSuffixHash: true}}\n"
	r := mustRender(t, files("apps/kustomization.yaml", text, "apps/a.yaml", configMap("a", "x"), "base/kustomization.yaml", "bases: []\n"), options{Path: "apps"})
	set, err := r.Objects()
	if err != nil {
		t.Fatal(err)
	}
	data, _, err := unstructured.NestedStringMap(set[1].Object, "data")
	if err != nil || data["kustomization.yaml"] != text || data["x"] != "bases: []\n" {
		t.Errorf("%q, %v", data, err)
	}
	// Of a configuration there is one reading.
	refused(t, files("apps/kustomization.yaml", "resources: [a.yaml]\ntransformers: [p.yaml]\nconfigMapGenerator: [{name: g, files: [p.yaml]}]\n", "apps/a.yaml", configMap("a", "x"),
		"apps/p.yaml", "apiVersion: builtin\nkind: PrefixTransformer\nmetadata: {name: p}\nprefix: x-\nfieldSpecs: [{path: metadata/name}]\n"),
		options{Path: "apps"}, "FeatureDisabled", "apps/p.yaml is both data and a plugin's configuration")
}
