package render

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/tree"
)

func alone(t testing.TB, files map[string]string, dir string) (objects []any, err error) {
	t.Helper()
	fs := filesys.MakeFsInMemory()
	for name, content := range files {
		if err := fs.WriteFile("/"+name, []byte(content)); err != nil {
			return nil, err // it has no links
		}
	}
	schema.Lock()
	loadSchema()
	schema.Unlock()
	schema.RLock()
	defer schema.RUnlock()
	m, err := krusty.MakeKustomizer(&krusty.Options{
		LoadRestrictions: types.LoadRestrictionsNone, PluginConfig: types.DisabledPluginConfig(),
	}).Run(fs, filepath.Join("/", dir))
	if err != nil {
		return nil, err
	}
	for _, r := range m.Resources() {
		b, err := r.MarshalJSON()
		if err != nil {
			return nil, err
		}
		var v any
		if err := utiljson.Unmarshal(b, &v); err != nil {
			return nil, err
		}
		objects = append(objects, v)
	}
	return objects, nil
}

// listing is a kustomization of the YAML files in dir.
func listing(files map[string]string, dir string) string {
	text := "resources:\n"
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if rel, ok := strings.CutPrefix(name, path.Clean(dir)+"/"); ok && strings.Contains(path.Ext(name), "y") {
			text += "- " + rel + "\n"
		}
	}
	return text
}

// Without options, the objects are those of Kustomize itself, which takes them
// through text three times.
func TestObjectsAreKustomizes(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, name := range names {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files, o := map[string]string{}, Options{}
		for _, f := range a.Files {
			switch f.Name {
			case "options":
				if err := yaml.Unmarshal(f.Data, &o); err != nil {
					t.Fatal(err)
				}
			case "want":
			default:
				files[f.Name] = string(f.Data)
			}
		}
		if !reflect.DeepEqual(o, Options{Path: o.Path}) {
			continue
		}
		r, err := Objects(t.Context(), tree.FromFiles(files), o)
		if err != nil || len(r.Items) == 0 {
			continue
		}
		if _, ok := files[path.Join(o.Path, "kustomization.yaml")]; !ok {
			files[path.Join(o.Path, "kustomization.yaml")] = listing(files, o.Path)
		}
		want, err := alone(t, files, o.Path)
		if err != nil {
			continue
		}
		if len(want) != len(r.Items) {
			continue // Kustomize puts out its own kinds, too
		}
		set, err := r.Objects()
		if err != nil {
			t.Fatal(err)
		}
		compared++
		for i, u := range set {
			if !reflect.DeepEqual(any(u.Object), want[i]) {
				t.Errorf("%s: object %d is %v, and Kustomize's %v", name, i, u.Object, want[i])
			}
		}
	}
	if compared < 12 {
		t.Errorf("only %d archives compared", compared)
	}
}

func TestB06SumsAreBounded(t *testing.T) {
	small := defaultLimits
	small.read, small.written, small.marks = 8<<20, 4<<20, 800
	tooLarge := func(files map[string]string, want string) {
		t.Helper()
		_, err := withLimits(t.Context(), tree.FromFiles(files), Options{Path: "apps"}, small)
		if !fault.Is(err, "ManifestTooLarge") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want ManifestTooLarge: %s", err, want)
		}
	}
	chunk := strings.Repeat("x", 1<<20)
	read := map[string]string{"apps/kustomization.yaml": "configMapGenerator:\n"}
	for i := range 9 {
		read["apps/kustomization.yaml"] += fmt.Sprintf("- {name: g%d, files: [d%d]}\n", i, i)
		read[fmt.Sprintf("apps/d%d", i)] = chunk
	}
	tooLarge(read, "8 MiB")

	written := map[string]string{"apps/kustomization.yaml": "configMapGenerator:\n", "apps/d": chunk}
	for i := range 5 {
		written["apps/kustomization.yaml"] += fmt.Sprintf("- {name: g%d, files: [d]}\n", i)
	}
	tooLarge(written, "4 MiB")
	for i := range 5 {
		written["apps/kustomization.yaml"] += fmt.Sprintf("- {name: h%d, files: [d]}\n", i)
	}
	tooLarge(written, "as often as it is named")

	many := map[string]string{"apps/kustomization.yaml": "resources: [a.yaml]\ncommonAnnotations: {x: " + chunk + "}\n"}
	for i := range 3000 {
		many["apps/a.yaml"] += fmt.Sprintf("---\n{apiVersion: v1, kind: A, metadata: {name: a%d}}\n", i)
	}
	small.marks = defaultLimits.marks
	tooLarge(many, "too much to change")
	small.marks = 800

	values := map[string]string{}
	for i := range 100 {
		values[fmt.Sprintf("apps/a%d.yaml", i)] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a%d\n", i)
	}
	tooLarge(values, "800 values")
}

func BenchmarkLoadSchema(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		dropSchema()
		loadSchema()
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	dropSchema()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(before.HeapAlloc-after.HeapAlloc), "bytes-kept")
}
