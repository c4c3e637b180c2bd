// Package flux holds the custom resource definitions of the Flux kinds that
// plumb reads: sources, Kustomization and HelmRelease.
//
// They are served in every version that people have manifests of, so that
// these apply as they are, and what is written in one version is read in
// another without loss: each version has the fields of all. Whether plumb
// honours a field or refuses it is the dialect's business, in
// package control/flux.
package flux

import (
	"embed"
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
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
