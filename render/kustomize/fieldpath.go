package kustomize

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// pathFields are the fields in which Kustomize takes text for the path of a
// field of an object, and goes as deep.
var pathFields = []string{"path", "paths", "from", "fieldPath", "fieldPaths", "fieldref"}

// longestPath is the longest path of a field, in bytes.
const longestPath = 4 << 10

// fieldPaths checks the paths of fields in what configures Kustomize, in
// whatever case: it goes down each by calling itself, and a stack that is full
// ends the process.
func (s *source) fieldPaths(n *yaml.Node, file string) error {
	if n == nil {
		return nil
	}
	for i, c := range n.Content {
		if c.Kind == yaml.AliasNode {
			continue // it is checked where it stands, under any name
		}
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			continue
		}
		if err := s.fieldPaths(c, file); err != nil {
			return err
		}
	}
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if !slices.ContainsFunc(pathFields, func(f string) bool { return strings.EqualFold(f, n.Content[i].Value) }) {
			continue
		}
		v := n.Content[i+1]
		if v.Kind == yaml.AliasNode {
			v = v.Alias
		}
		for _, text := range append([]*yaml.Node{v}, v.Content...) {
			if text.Kind == yaml.AliasNode {
				text = text.Alias
			}
			if text.Kind != yaml.ScalarNode {
				continue
			}
			if strings.Count(text.Value, "/")+strings.Count(text.Value, ".") > s.limits.path || len(text.Value) > longestPath {
				return tooLarge("%s:%d: %s: a path of more than %d names", file, text.Line, n.Content[i].Value, s.limits.path)
			}
		}
	}
	return nil
}
