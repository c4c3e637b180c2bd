package kustomize

import (
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/tree"
)

func TestParseImage(t *testing.T) {
	for arg, want := range map[string]Image{
		"nginx:1":                            {Name: "nginx", NewTag: "1"},
		"nginx@sha256:aa":                    {Name: "nginx", Digest: "sha256:aa"},
		"nginx:1@sha256:aa":                  {Name: "nginx", NewTag: "1", Digest: "sha256:aa"},
		"nginx=mirror/nginx":                 {Name: "nginx", NewName: "mirror/nginx"},
		"nginx=mirror:5000/nginx:1":          {Name: "nginx", NewName: "mirror:5000/nginx", NewTag: "1"},
		"nginx=mirror:5000/nginx:1@sha256:a": {Name: "nginx", NewName: "mirror:5000/nginx", NewTag: "1", Digest: "sha256:a"},
		"nginx=nginx@sha256:a":               {Name: "nginx", NewName: "nginx", Digest: "sha256:a"},
		"mirror:5000/nginx:1":                {Name: "mirror:5000/nginx", NewTag: "1"},
		"nginx=*:2":                          {Name: "nginx", NewName: "*", NewTag: "2"},
		"nginx=*:*@sha256:a":                 {Name: "nginx", NewName: "*", NewTag: "*", Digest: "sha256:a"},
	} {
		want.Whole = true
		if got, err := ParseImage(arg); err != nil || got != want {
			t.Errorf("%s: %+v, %v", arg, got, err)
		}
	}
	for _, arg := range []string{"", "nginx", "mirror:5000/nginx", "=nginx:1", ":1", "@sha256:a"} {
		if got, err := ParseImage(arg); !fault.Is(err, fault.InvalidSpec) {
			t.Errorf("%q: %+v, %v", arg, got, err)
		}
	}
}

// Images are set as kustomize edit set image sets them, or field by field.
func TestMergeImages(t *testing.T) {
	for _, c := range []struct {
		what, was, want string
		images          []Image
	}{
		{"none", "images: [{name: b, newTag: '1'}, {name: a, newTag: '1'}]", "images: [{name: b, newTag: '1'}, {name: a, newTag: '1'}]", nil},
		{"as a whole", "images: [{name: b, newName: n, newTag: '1'}, {name: a, newTag: '1'}]", "images: [{name: a, newTag: '1'}, {name: b, digest: d}]", []Image{{Name: "b", Digest: "d", Whole: true}}},
		{"one that is new", "{}", "images: [{name: b, newTag: '1'}]", []Image{{Name: "b", NewTag: "1", Whole: true}}},
		{"what is kept", "images: [{name: b, newName: n, newTag: '1', digest: d}]", "images: [{name: b, newName: n, newTag: '2', digest: d}]", []Image{{Name: "b", NewName: "*", NewTag: "2", Digest: "*", Whole: true}}},
		{"what is kept of nothing", "{}", "images: [{name: b, newTag: '2'}]", []Image{{Name: "b", NewName: "*", NewTag: "2", Digest: "*", Whole: true}}},
		{"several of one name", "images: [{name: b, newTag: '1'}, {name: b, newTag: '2'}]", "images: [{name: b, newTag: '3'}]", []Image{{Name: "b", NewTag: "3", Whole: true}}},
		{"of the old field", "imageTags: [{name: b, newName: n}]", "images: [{name: b, newName: n, newTag: '3'}]", []Image{{Name: "b", NewName: "*", NewTag: "3", Whole: true}}},
		{"field by field", "images: [{name: b, newName: n, newTag: '1'}, {name: a}]", "images: [{name: b, newName: n, digest: d}, {name: a}]", []Image{{Name: "b", Digest: "d"}}},
	} {
		var k, want types.Kustomization
		if err := yaml.Unmarshal([]byte(c.was), &k); err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		mergeImages(&k, c.images)
		if diff := cmp.Diff(want.Images, k.Images); diff != "" || k.ImageTags != nil {
			t.Errorf("%s: -want +got:\n%s", c.what, diff)
		}
	}
}

func TestMergeReplicas(t *testing.T) {
	k := types.Kustomization{Replicas: []types.Replica{{Name: "b", Count: 1}, {Name: "c", Count: 1}, {Name: "b", Count: 9}}}
	mergeReplicas(&k, []Replica{{"b", 2}, {"a", 0}})
	if diff := cmp.Diff([]types.Replica{{Name: "a"}, {Name: "b", Count: 2}, {Name: "c", Count: 1}}, k.Replicas); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// What is added of labels is where kustomize edit add label would add it, and
// the options are as they were.
func TestLabelsAreAddedWhereTheyBelong(t *testing.T) {
	values := map[string]string{"a": "1", "b": "2"}
	for _, c := range []struct {
		what, was, want string
		labels          Labels
	}{
		{"to common labels", "commonLabels: {c: x}", "commonLabels: {a: '1', b: '2', c: x}", Labels{}},
		{"to others of their kind", "labels: [{pairs: {c: x}, includeSelectors: true}, {pairs: {d: x}}]", "labels: [{pairs: {c: x}, includeSelectors: true}, {pairs: {a: '1', b: '2', d: x}}]", Labels{WithoutSelectors: true}},
		{"as the first of their kind", "labels: [{pairs: {a: x}}]", "labels: [{pairs: {a: x}}, {pairs: {a: '1', b: '2'}, includeTemplates: true}]", Labels{WithoutSelectors: true, IncludeTemplates: true}},
		{"by force", "labels: [{pairs: {a: x}}]", "labels: [{pairs: {a: '1', b: '2'}}]", Labels{WithoutSelectors: true, Force: true}},
		{"that are there", "labels: [{pairs: {a: x}}]", "", Labels{WithoutSelectors: true}},
		{"that are there in common", "commonLabels: {b: x}", "", Labels{}},
		{"with templates alone", "{}", "", Labels{IncludeTemplates: true}},
	} {
		k := kustomization{file: "k"}
		var want types.Kustomization
		if err := yaml.Unmarshal([]byte(c.was), &k.Kustomization); err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		c.labels.Values = maps.Clone(values)
		err := c.labels.addTo(&k)
		if (err != nil) != (c.want == "") {
			t.Errorf("%s: %v", c.what, err)
		}
		if diff := cmp.Diff(want, k.Kustomization); err == nil && diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.what, diff)
		}
		if !maps.Equal(c.labels.Values, values) {
			t.Errorf("%s: the options are %v", c.what, c.labels.Values)
		}
	}
}

// Options are shared between renders, and are not written to.
func TestABuildLeavesItsOptionsAlone(t *testing.T) {
	o := Options{
		Images: []Image{{Name: "b", NewTag: "1", Whole: true}}, Replicas: []Replica{{"web", 2}}, Components: []string{"../c"},
		CommonLabels: Labels{Values: map[string]string{"a": "b"}}, CommonAnnotations: Annotations{Values: map[string]string{"a": "b"}, Force: true},
		Patches: []Patch{{Path: "p.yaml", AllowNameChange: true}},
	}
	before := fmt.Sprintf("%+v", o)
	files := tree.FromFiles(map[string]string{
		"d/kustomization.yaml": "resources: [a.yaml]\ncommonAnnotations: {a: x}\n", "c/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnamePrefix: c-\n",
		"d/a.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n", "d/p.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {paused: true}\n",
	})
	for range 2 {
		b, err := o.Build(t.Context(), render.Input{Tree: files, Dir: "d"})
		if err != nil {
			t.Fatal(err)
		}
		if b.Kind != Kind || len(b.Objects) != 1 || b.Objects[0].GetLabels()["a"] != "b" || b.Objects[0].GetAnnotations()["a"] != "b" || len(b.Warnings) != 0 {
			t.Errorf("%+v", b)
		}
	}
	if after := fmt.Sprintf("%+v", o); after != before {
		t.Errorf("before: %s\nafter:  %s", before, after)
	}
}
