package render

import (
	"slices"

	"sigs.k8s.io/kustomize/kyaml/openapi"
	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// textOnly reports whether w is at a place where the API server takes text and
// nothing else: in the metadata of any object, in the data of some, and where
// the schema of one of Kubernetes' own kinds says so, as of the value of a
// container's variable.
func (w *walker) textOnly() bool {
	n := len(w.at)
	if n >= 2 && w.at[n-2] == "metadata" {
		return slices.Contains([]string{"name", "namespace", "generateName"}, w.at[n-1])
	}
	if n >= 3 && w.at[n-3] == "metadata" {
		return w.at[n-2] == "labels" || w.at[n-2] == "annotations"
	}
	if n == 2 && (w.kind == "ConfigMap" || w.kind == "Secret") {
		return slices.Contains([]string{"data", "stringData", "binaryData"}, w.at[0])
	}
	return isText(w.schema())
}

// schema returns that of the place, or nil where none is known. The global
// schema may not change meanwhile.
func (w *walker) schema() *openapi.ResourceSchema {
	at := openapi.SchemaForResourceType(yaml.TypeMeta{APIVersion: w.version, Kind: w.kind})
	for _, name := range w.at {
		if at == nil || at.Schema == nil {
			return nil
		}
		if at.Schema.Items != nil {
			at = at.Elements()
		} else {
			at = at.Field(name)
		}
	}
	return at
}

func isText(s *openapi.ResourceSchema) bool {
	return s != nil && s.Schema != nil && len(s.Schema.Type) == 1 && s.Schema.Type[0] == "string" && s.Schema.Format != "int-or-string"
}
