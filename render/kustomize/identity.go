package kustomize

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/manifest"
)

func count(roots []*yaml.Node) int {
	n := 0
	for _, root := range roots {
		n += len(manifest.Objects(root))
	}
	return n
}

// identified checks that a document is an object that Kustomize can tell from
// others.
func identified(n *yaml.Node, file string) error {
	bad := func(format string, args ...any) error {
		return render.Stall(render.BuildFailed, "", fmt.Errorf("%s:%d: %s", file, n.Line, fmt.Sprintf(format, args...)))
	}
	if n.Kind != yaml.MappingNode {
		return bad("not a Kubernetes object")
	}
	kind, meta := manifest.Text(n, "kind"), manifest.Field(n, "metadata")
	if err := annotated(n, file); err != nil {
		return err
	}
	switch {
	case kind == "":
		return bad("not a Kubernetes object: it has no kind")
	case strings.HasSuffix(kind, "List"):
		return nil
	case manifest.Text(meta, "name") != "":
		return nil
	case manifest.Text(meta, "generateName") != "":
		return bad("%s has a generateName, which gives a new object each time: give it a name", kind)
	}
	return bad("%s has no metadata.name", kind)
}

// annotated checks the labels and annotations of objects and patches. Kustomize
// makes text of a number among the latter, and nothing of a list or a map.
func annotated(root *yaml.Node, file string) error {
	for _, n := range manifest.Objects(root) {
		for _, name := range []string{"labels", "annotations"} {
			f := manifest.Field(manifest.Field(n, "metadata"), name)
			for i := 0; f != nil && f.Kind == yaml.MappingNode && i+1 < len(f.Content); i += 2 {
				k, v := f.Content[i], f.Content[i+1]
				if v.Kind == yaml.AliasNode {
					v = v.Alias
				}
				if k.Value == manifest.MergeKey || v.Kind == yaml.ScalarNode || k.Value == "$patch" {
					continue
				}
				is := "list"
				if v.Kind == yaml.MappingNode {
					is = "map"
				}
				return &fault.Error{
					Next: fault.Stall, Reason: render.BuildFailed, Object: manifest.RefOf(n),
					Err: fmt.Errorf("%s:%d: metadata.%s.%s is a %s, not text", file, k.Line, name, k.Value, is),
				}
			}
			if f != nil && f.Kind == yaml.SequenceNode {
				return &fault.Error{
					Next: fault.Stall, Reason: render.BuildFailed, Object: manifest.RefOf(n),
					Err: fmt.Errorf("%s:%d: metadata.%s is a list, not a map", file, f.Line, name),
				}
			}
		}
	}
	return nil
}
