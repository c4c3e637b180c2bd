// Package flux holds the custom resource definitions of the Flux kinds that
// plumb reads: sources, Kustomization and HelmRelease.
//
// They are served in every version that people have manifests of, so that
// these apply as they are, and what is written in one version is read in
// another without loss: each version has the fields of all. [Legacy] tells
// which fields of an object are from the time before the stored version.
// Whether plumb honours a field or refuses it is the dialect's business, in
// package control/flux.
package flux

import (
	"embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

//go:generate go run -C ../gen . -out ../flux

//go:embed *.yaml
var files embed.FS

// Definitions returns the custom resource definitions, sorted by name. They
// are the caller's to change.
func Definitions() []*unstructured.Unstructured {
	parsed := definitions()
	copies := make([]*unstructured.Unstructured, len(parsed))
	for i, d := range parsed {
		copies[i] = d.DeepCopy()
	}
	return copies
}

// definitions reads the files, whose content the build has fixed.
var definitions = sync.OnceValue(func() []*unstructured.Unstructured {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err)
	}
	var all []*unstructured.Unstructured
	for _, e := range entries {
		content, err := files.ReadFile(e.Name())
		if err != nil {
			panic(err)
		}
		d := new(unstructured.Unstructured)
		json, err := yaml.YAMLToJSON(content)
		if err == nil {
			err = d.UnmarshalJSON(json)
		}
		if err != nil {
			panic(fmt.Sprintf("%s: %v", e.Name(), err))
		}
		all = append(all, d)
	}
	return all
})

// Defines reports whether there is a definition of that name.
func Defines(name string) bool {
	return slices.ContainsFunc(definitions(), func(d *unstructured.Unstructured) bool { return d.GetName() == name })
}

// Legacy returns the paths of the fields in an object's spec that the stored
// version of its kind does not have of its own, such as
// spec.patchesJson6902, sorted. A field that holds nothing counts as not set.
func Legacy(u *unstructured.Unstructured) []string {
	spec, ok := specs()[u.GroupVersionKind().GroupKind()]
	if !ok {
		return nil
	}
	var paths []string
	legacy(u.Object["spec"], spec, "spec", &paths)
	slices.Sort(paths)
	return slices.Compact(paths)
}

// specs are the schemas of spec in the stored versions.
var specs = sync.OnceValue(func() map[schema.GroupKind]map[string]any {
	m := map[schema.GroupKind]map[string]any{}
	for _, d := range definitions() {
		group, _, _ := unstructured.NestedString(d.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(d.Object, "spec", "names", "kind")
		versions, _, _ := unstructured.NestedSlice(d.Object, "spec", "versions")
		for _, v := range versions {
			v := v.(map[string]any)
			if v["storage"] == true {
				m[schema.GroupKind{Group: group, Kind: kind}], _, _ = unstructured.NestedMap(v, "schema", "openAPIV3Schema", "properties", "spec")
			}
		}
	}
	return m
})

func legacy(value any, spec map[string]any, path string, paths *[]string) {
	if description, _ := spec["description"].(string); strings.HasPrefix(description, "Legacy: ") {
		if !empty(value) {
			*paths = append(*paths, path)
		}
		return
	}
	switch value := value.(type) {
	case map[string]any:
		properties, _ := spec["properties"].(map[string]any)
		for name, v := range value {
			if p, ok := properties[name].(map[string]any); ok {
				legacy(v, p, path+"."+name, paths)
			}
		}
	case []any:
		if items, ok := spec["items"].(map[string]any); ok {
			for _, v := range value {
				legacy(v, items, path+"[]", paths)
			}
		}
	}
}

func empty(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case string:
		return value == ""
	case map[string]any:
		return len(value) == 0
	case []any:
		return len(value) == 0
	}
	return false
}
