package main

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// open makes a definition of one that keeps, wherever it has fields, what is
// written beside them: the dialect names it, which it could not if the API
// server had dropped it.
//
// A status repeats sources and operations several times over. There they are
// what they were when they were written, and have no schema.
func open(d *apiextensionsv1.CustomResourceDefinition, _ []string) error {
	for i := range d.Spec.Versions {
		v := &d.Spec.Versions[i]
		v.Served, v.Storage = true, true
		root := v.Schema.OpenAPIV3Schema
		for name, p := range root.Properties {
			if name == "status" {
				drop(&p)
			}
			if name != "metadata" {
				keep(&p)
			}
			root.Properties[name] = p
		}
	}
	return nil
}

// repeated are the fields of a status that repeat those of a spec.
var repeated = map[string]bool{
	"source": true, "sources": true, "operation": true, "sourceHydrator": true, "comparedTo": true,
}

// drop leaves of those fields that they are objects, or lists of them.
func drop(s *apiextensionsv1.JSONSchemaProps) {
	for name, p := range s.Properties {
		switch {
		case repeated[name] && p.Type == "array":
			p = apiextensionsv1.JSONSchemaProps{Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{
				Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: new(true)},
			}}
		case repeated[name]:
			p = apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: new(true)}
		default:
			drop(&p)
		}
		s.Properties[name] = p
	}
	if s.Items != nil && s.Items.Schema != nil {
		drop(s.Items.Schema)
	}
}

// keep keeps what is beside the fields of s, and of all below it.
func keep(s *apiextensionsv1.JSONSchemaProps) {
	if len(s.Properties) > 0 {
		s.XPreserveUnknownFields = new(true)
	}
	for name, p := range s.Properties {
		keep(&p)
		s.Properties[name] = p
	}
	if s.Items != nil && s.Items.Schema != nil {
		keep(s.Items.Schema)
	}
}
