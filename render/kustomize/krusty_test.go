package kustomize_test

import (
	"maps"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/render/schema"
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
	release, err := schema.Hold(t.Context())
	if err != nil {
		return nil, err
	}
	defer release()
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
		files, o := map[string]string{}, options{}
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
		if !reflect.DeepEqual(o, options{Path: o.Path}) {
			continue
		}
		r, err := objects(t.Context(), tree.FromFiles(files), o)
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
