// Package api reads the custom resource definitions that plumb comes with. The
// packages below hold those of one project each.
package api

import (
	"embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Definitions are the custom resource definitions of a project.
type Definitions struct {
	parsed func() []*unstructured.Unstructured
}

// Read returns those in the YAML files of a folder, whose content the build has
// fixed. They are parsed when somebody asks for them.
func Read(files embed.FS) Definitions {
	return Definitions{sync.OnceValue(func() []*unstructured.Unstructured {
		entries, err := files.ReadDir(".")
		if err != nil {
			panic(err)
		}
		var all []*unstructured.Unstructured
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".yaml") {
				continue
			}
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
	})}
}

// All returns the definitions, sorted by the names of their files, which are
// their own. They are the caller's to change.
func (d Definitions) All() []*unstructured.Unstructured {
	parsed := d.parsed()
	copies := make([]*unstructured.Unstructured, len(parsed))
	for i, p := range parsed {
		copies[i] = p.DeepCopy()
	}
	return copies
}

// Have reports whether there is a definition of that name.
func (d Definitions) Have(name string) bool {
	return slices.ContainsFunc(d.parsed(), func(d *unstructured.Unstructured) bool { return d.GetName() == name })
}
