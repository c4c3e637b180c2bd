package kustomize

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"plumb.dev/plumb/render"
)

// A document is what parse learned of a YAML file: the roots of its
// documents, without those that are empty.
type document struct {
	roots []*yaml.Node
}

// parse looks at a YAML file before anything else parses it, since the
// libraries follow aliases without end, recurse as deep as a file is nested,
// keep one of two equal keys, and end the process over a value that JSON
// can't say. The error names file and line.
func parse(b []byte, file string, l limits) (*document, error) {
	d := &document{}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			return d, nil
		}
		if err != nil {
			return nil, notYAML(file, err)
		}
		c := checker{file: file, limits: l}
		if _, err := c.visit(&n, 0); err != nil {
			return nil, err
		}
		if n.Kind == yaml.DocumentNode && len(n.Content) == 1 && n.Content[0].Tag != "!!null" {
			d.roots = append(d.roots, n.Content[0])
			if int64(len(d.roots)) > l.objects {
				return nil, tooLarge("%s: more than %d documents", file, l.objects)
			}
		}
	}
}

// notYAML gives a syntax error the form file:line: cause. The library's text
// may quote an anchor, but no value.
func notYAML(file string, err error) error {
	msg := err.Error()
	at := file
	if line, rest, ok := yamlSaid(msg); ok {
		msg = rest
		if line != "" {
			at += ":" + line
		}
	}
	if tooDeep(msg) {
		return tooLarge("%s: nested too deeply", at)
	}
	return stall(render.BuildFailed, "", fmt.Errorf("%s: not YAML: %s", at, msg))
}

// marks is at least the number of values in a YAML file, known before it is
// parsed: a parsed value takes some two hundred bytes, whatever its length.
func marks(b []byte) int {
	n := 1
	for _, c := range b {
		switch c {
		case '\n', ',', ':', '[', '{', '-', '?':
			n++
		}
	}
	return n
}

type checker struct {
	file   string
	limits limits
	open   map[*yaml.Node]bool // anchored nodes that are being visited
	sizes  map[*yaml.Node]int  // of anchored nodes that have been
}

// visit returns how many nodes n is once its aliases are followed.
func (c *checker) visit(n *yaml.Node, depth int) (int, error) {
	if depth > c.limits.depth {
		return 0, tooLarge("%s:%d: nested more than %d levels deep", c.file, n.Line, c.limits.depth)
	}
	if n.Kind == yaml.AliasNode {
		to := n.Alias
		if c.open[to] {
			return 0, tooLarge("%s:%d: the alias *%s is inside of what it stands for", c.file, n.Line, n.Value)
		}
		if size, ok := c.sizes[to]; ok {
			return size, nil
		}
		return c.visit(to, depth)
	}
	if n.Anchor != "" {
		if c.open == nil {
			c.open, c.sizes = map[*yaml.Node]bool{}, map[*yaml.Node]int{}
		}
		c.open[n] = true
		defer delete(c.open, n)
	}
	if n.Kind == yaml.MappingNode {
		if err := c.keys(n); err != nil {
			return 0, err
		}
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!float" {
		switch strings.ToLower(strings.TrimLeft(n.Value, "+-")) {
		case ".inf", ".nan":
			return 0, stall(render.BuildFailed, "quote it if it is text", fmt.Errorf("%s:%d: JSON has no word for the number %s", c.file, n.Line, n.Value))
		}
	}
	size := 1
	for _, child := range n.Content {
		s, err := c.visit(child, depth+1)
		if err != nil {
			return 0, err
		}
		if size += s; size > c.limits.expanded {
			return 0, tooLarge("%s:%d: more than %d values once aliases are followed", c.file, n.Line, c.limits.expanded)
		}
	}
	if n.Anchor != "" {
		c.sizes[n] = size
	}
	return size, nil
}

// keys checks that the keys of a mapping are strings, and no two are equal.
func (c *checker) keys(n *yaml.Node) error {
	var seen map[string]int
	if len(n.Content) > 16 {
		seen = make(map[string]int, len(n.Content)/2)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		switch k.Kind {
		case yaml.ScalarNode:
		case yaml.AliasNode:
			// A reader of the file would not see what it names.
			return stall(render.BuildFailed, "write the key out", fmt.Errorf("%s:%d: a key that is an alias, *%s", c.file, k.Line, k.Value))
		default:
			return stall(render.BuildFailed, "", fmt.Errorf("%s:%d: a key that is not a string", c.file, k.Line))
		}
		switch k.Tag {
		case "!!str", "!!merge":
		default:
			return stall(render.BuildFailed, "quote it", fmt.Errorf("%s:%d: the key %s is not a string", c.file, k.Line, k.Value))
		}
		first := 0
		if seen != nil {
			first = seen[k.Value]
			seen[k.Value] = k.Line
		} else {
			for j := 0; j < i && first == 0; j += 2 {
				if n.Content[j].Kind == yaml.ScalarNode && n.Content[j].Value == k.Value {
					first = n.Content[j].Line
				}
			}
		}
		if first != 0 {
			return stall(render.BuildFailed, "", fmt.Errorf("%s:%d: the key %q is already set on line %d", c.file, k.Line, k.Value, first))
		}
	}
	return nil
}
