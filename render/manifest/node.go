package manifest

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"plumb.dev/plumb/object"
)

// Objects returns an object, or those of a list.
func Objects(root *yaml.Node) []*yaml.Node {
	if items := Field(root, "items"); items != nil && strings.HasSuffix(Text(root, "kind"), "List") {
		return items.Content
	}
	return []*yaml.Node{root}
}

// RefOf returns what an object says that it is.
func RefOf(n *yaml.Node) object.Ref {
	meta := Field(n, "metadata")
	group, _, ok := strings.Cut(Text(n, "apiVersion"), "/")
	if !ok {
		group = ""
	}
	return object.Ref{Group: group, Kind: Text(n, "kind"), Namespace: Text(meta, "namespace"), Name: Text(meta, "name")}
}

// LineAt returns the line of the last of nested fields that is in the file.
func LineAt(n *yaml.Node, at []string) int {
	for _, name := range at {
		next := Field(n, name)
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

// Field returns the value of a key of a mapping, or nil.
func Field(n *yaml.Node, key string) *yaml.Node {
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

// Text returns the value of a key of a mapping that is a scalar, or "".
func Text(n *yaml.Node, key string) string {
	if f := Field(n, key); f != nil && f.Kind == yaml.ScalarNode && f.Tag != "!!null" {
		return f.Value
	}
	return ""
}
