package kustomize

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"plumb.dev/plumb/object"
)

// placeOf returns "file:line: " of a field of an object, or nothing where the
// object can't be found under this name.
func (s *source) placeOf(ref object.Ref, at []string) string {
	var places []string
	for file, d := range s.checked {
		for _, root := range d.roots {
			for _, n := range objectsIn(root) {
				if identityOf(n) == ref {
					places = append(places, fmt.Sprintf("%s:%d: ", file, lineAt(n, at)))
				}
			}
		}
	}
	if len(places) != 1 {
		return ""
	}
	return places[0]
}

// objectsIn returns an object, or those of a list.
func objectsIn(root *yaml.Node) []*yaml.Node {
	if items := field(root, "items"); items != nil && strings.HasSuffix(scalar(root, "kind"), "List") {
		return items.Content
	}
	return []*yaml.Node{root}
}

func identityOf(n *yaml.Node) object.Ref {
	meta := field(n, "metadata")
	group, _, ok := strings.Cut(scalar(n, "apiVersion"), "/")
	if !ok {
		group = ""
	}
	return object.Ref{Group: group, Kind: scalar(n, "kind"), Namespace: scalar(meta, "namespace"), Name: scalar(meta, "name")}
}

// lineAt returns the line of the last of nested fields that is in the file.
func lineAt(n *yaml.Node, at []string) int {
	for _, name := range at {
		next := field(n, name)
		if i, err := strconv.Atoi(name); err == nil && n.Kind == yaml.SequenceNode && i < len(n.Content) {
			next = n.Content[i]
		}
		if next == nil {
			break
		}
		n = next
	}
	return n.Line
}

// field returns the value of a key of a mapping, or nil.
func field(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			if v := n.Content[i+1]; v.Kind == yaml.AliasNode {
				return v.Alias
			}
			return n.Content[i+1]
		}
	}
	return nil
}

func scalar(n *yaml.Node, key string) string {
	if f := field(n, key); f != nil && f.Kind == yaml.ScalarNode && f.Tag != "!!null" {
		return f.Value
	}
	return ""
}
