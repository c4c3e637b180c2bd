package kustomize

import (
	"strings"

	"go.yaml.in/yaml/v3"

	"plumb.dev/plumb/render/manifest"
)

// most is how many fields Kustomize may find when it follows the references
// between the definitions of one file.
const most = 10_000

// definitions checks a file of crds, and with it that Kustomize gets to the end
// of it: a definition refers to others, and it follows each reference, also
// around a circle.
func (v *surveyor) definitions(k *kustomization, p string) (string, extent, error) {
	handed, e, err := v.manifest(k, p)
	if err != nil {
		return "", extent{}, err
	}
	name, err := v.file(k, p)
	if name == "" || err != nil {
		return handed, e, err
	}
	for _, root := range v.src.checked[name] {
		r := references{root: root, sizes: map[string]int{}, open: map[string]bool{}}
		for i := 0; root.Kind == yaml.MappingNode && i+1 < len(root.Content); i += 2 {
			if n := r.size(root.Content[i].Value); n > most {
				return "", extent{}, tooLarge("%s:%d: the definition %s refers to itself, or to more than %d fields", name, root.Content[i].Line, root.Content[i].Value, most)
			}
		}
	}
	return handed, e, nil
}

// references are those between the definitions of a file.
type references struct {
	root  *yaml.Node
	sizes map[string]int
	open  map[string]bool
}

// size returns how many fields a definition has with those of what it refers
// to; more than most if it goes in a circle.
func (r references) size(name string) int {
	if r.open[name] {
		return most + 1
	}
	if n, ok := r.sizes[name]; ok {
		return n
	}
	r.open[name] = true
	defer delete(r.open, name)
	n := 0
	properties := anyCase(anyCase(manifest.Field(r.root, name), "schema"), "properties")
	for i := 1; properties != nil && i < len(properties.Content); i += 2 {
		n++
		if ref := anyCase(properties.Content[i], "$ref"); ref != nil && manifest.Field(r.root, ref.Value) != nil {
			n += r.size(ref.Value)
		}
		if n > most {
			break
		}
	}
	r.sizes[name] = n
	return n
}

// anyCase is field, for a name in any case.
func anyCase(n *yaml.Node, name string) *yaml.Node {
	if n == nil {
		return nil
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if strings.EqualFold(n.Content[i].Value, name) {
			if v := n.Content[i+1]; v.Kind == yaml.AliasNode {
				return v.Alias
			}
			return n.Content[i+1]
		}
	}
	return nil
}
