package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// finish makes a definition out of what the types say: the versions in order
// (the stored one first), each with the fields of all.
func finish(d *apiextensionsv1.CustomResourceDefinition, order []string) error {
	d.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter}

	versions := d.Spec.Versions
	slices.SortFunc(versions, func(a, b apiextensionsv1.CustomResourceDefinitionVersion) int {
		return slices.Index(order, a.Name) - slices.Index(order, b.Name)
	})
	if versions[0].Name != order[0] {
		return fmt.Errorf("there is no type in the version to store, %s", order[0])
	}
	own := make([]*apiextensionsv1.JSONSchemaProps, len(versions)) // before fields were added
	for i, v := range versions {
		own[i] = v.Schema.OpenAPIV3Schema.DeepCopy()
	}
	for i := range versions {
		v := &versions[i]
		v.Served = true
		v.Storage = i == 0
		v.Subresources = versions[0].Subresources
		v.AdditionalPrinterColumns = versions[0].AdditionalPrinterColumns
		if err := sameStatusDefault(v.Schema.OpenAPIV3Schema, own[0]); err != nil {
			return fmt.Errorf("%s: %w", v.Name, err)
		}
		if i > 0 {
			v.Deprecated = true
			warning := fmt.Sprintf("%s/%s %s is an old version; %s has replaced it", d.Spec.Group, v.Name, d.Spec.Names.Kind, order[0])
			v.DeprecationWarning = &warning
		}
		for j, from := range own {
			if j == i {
				continue
			}
			a := adder{mark: i == 0, versions: versionsWith(own, versions)}
			if err := a.add(v.Schema.OpenAPIV3Schema, from, ""); err != nil {
				return fmt.Errorf("fields of %s in %s: %w", versions[j].Name, v.Name, err)
			}
		}
	}
	return nil
}

// versionsWith returns a function that names the versions with a field.
func versionsWith(own []*apiextensionsv1.JSONSchemaProps, versions []apiextensionsv1.CustomResourceDefinitionVersion) func(path string) string {
	return func(path string) string {
		var names []string
		for i, s := range own {
			if has(s, strings.Split(strings.TrimPrefix(path, "."), ".")) {
				names = append(names, versions[i].Name)
			}
		}
		return strings.Join(names, " and ")
	}
}

// has tells whether a schema has the field at the path, in which [] stands
// for any item and * for any key.
func has(s *apiextensionsv1.JSONSchemaProps, path []string) bool {
	if len(path) == 0 {
		return true
	}
	name, list := strings.CutSuffix(path[0], "[]")
	var at *apiextensionsv1.JSONSchemaProps
	if name == "*" && s.AdditionalProperties != nil {
		at = s.AdditionalProperties.Schema
	} else if p, ok := s.Properties[name]; ok {
		at = &p
	}
	if list && at != nil && at.Items != nil {
		at = at.Items.Schema
	}
	return at != nil && has(at, path[1:])
}

// An adder adds to one schema the fields of another.
type adder struct {
	mark     bool // what is added is legacy
	versions func(path string) string
}

func (a adder) add(to, from *apiextensionsv1.JSONSchemaProps, path string) error {
	if to.Type != from.Type {
		return fmt.Errorf("%s is a %s in one and a %s in the other", path, to.Type, from.Type)
	}
	for name, f := range from.Properties {
		at := path + "." + name
		t, ok := to.Properties[name]
		if !ok {
			t = *f.DeepCopy()
			dropDefaults(&t)
			if a.mark {
				t.Description = "Legacy: a field of " + a.versions(at) + "."
			}
		} else if err := a.add(&t, &f, at); err != nil {
			return err
		}
		if to.Properties == nil {
			to.Properties = map[string]apiextensionsv1.JSONSchemaProps{}
		}
		to.Properties[name] = t
	}
	if to.Items != nil && from.Items != nil {
		return a.add(to.Items.Schema, from.Items.Schema, path+"[]")
	}
	if to.AdditionalProperties != nil && from.AdditionalProperties != nil && to.AdditionalProperties.Schema != nil && from.AdditionalProperties.Schema != nil {
		return a.add(to.AdditionalProperties.Schema, from.AdditionalProperties.Schema, path+".*")
	}
	return nil
}

// dropDefaults makes a field that was added appear only where it is written.
func dropDefaults(s *apiextensionsv1.JSONSchemaProps) {
	s.Default = nil
	for name, p := range s.Properties {
		dropDefaults(&p)
		s.Properties[name] = p
	}
	if s.Items != nil && s.Items.Schema != nil {
		dropDefaults(s.Items.Schema)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		dropDefaults(s.AdditionalProperties.Schema)
	}
}

// sameStatusDefault gives a version the default status of the stored one,
// which clients wait on.
func sameStatusDefault(to, stored *apiextensionsv1.JSONSchemaProps) error {
	from, ok := stored.Properties["status"]
	status, has := to.Properties["status"]
	if !ok || !has {
		return errors.New("it has no status")
	}
	status.Default = from.Default
	to.Properties["status"] = status
	return nil
}
