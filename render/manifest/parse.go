// Package manifest looks at files of YAML before a library parses them.
//
// The libraries follow aliases without end, recurse as deep as a file is nested,
// keep one of two equal keys, and end the process over a value that JSON can't
// say. What is here finds that out first, and says in which file and line.
//
// Left to others: what a file is about.
package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"plumb.dev/plumb/render"
)

// Limits bound what a file may make a parser do.
type Limits struct {
	Depth     int   // nesting in one document
	Expanded  int   // values of a document with its aliases followed
	Documents int64 // in one file
}

// Parse returns the roots of the documents of a YAML file, without those that
// are empty. An error is a [fault.Stall] that names file and line.
func Parse(b []byte, file string, l Limits) (roots []*yaml.Node, err error) {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			return roots, nil
		}
		if err != nil {
			return nil, notYAML(file, err)
		}
		c := checker{file: file, limits: l}
		if _, err := c.visit(&n, 0); err != nil {
			return nil, err
		}
		if n.Kind == yaml.DocumentNode && len(n.Content) == 1 && n.Content[0].Tag != "!!null" {
			roots = append(roots, n.Content[0])
			if int64(len(roots)) > l.Documents {
				return nil, tooLarge("%s: more than %d documents", file, l.Documents)
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
	return render.Stall(render.BuildFailed, "", fmt.Errorf("%s: not YAML: %s", at, msg))
}

// Marks is at least the number of values in a YAML file, known before it is
// parsed: a parsed value takes some two hundred bytes, whatever its length.
func Marks(b []byte) int {
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
	limits Limits
	open   map[*yaml.Node]bool // anchored nodes that are being visited
	sizes  map[*yaml.Node]int  // of anchored nodes that have been
}

// visit returns how many nodes n is once its aliases are followed.
func (c *checker) visit(n *yaml.Node, depth int) (int, error) {
	if depth > c.limits.Depth {
		return 0, tooLarge("%s:%d: nested more than %d levels deep", c.file, n.Line, c.limits.Depth)
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
			return 0, render.Stall(render.BuildFailed, "quote it if it is text", fmt.Errorf("%s:%d: JSON has no word for the number %s", c.file, n.Line, n.Value))
		}
	}
	size := 1
	for _, child := range n.Content {
		s, err := c.visit(child, depth+1)
		if err != nil {
			return 0, err
		}
		if size += s; size > c.limits.Expanded {
			return 0, tooLarge("%s:%d: more than %d values once aliases are followed", c.file, n.Line, c.limits.Expanded)
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
			return render.Stall(render.BuildFailed, "write the key out", fmt.Errorf("%s:%d: a key that is an alias, *%s", c.file, k.Line, k.Value))
		default:
			return render.Stall(render.BuildFailed, "", fmt.Errorf("%s:%d: a key that is not a string", c.file, k.Line))
		}
		switch k.Tag {
		case "!!str", "!!merge":
		default:
			return render.Stall(render.BuildFailed, "quote it", fmt.Errorf("%s:%d: the key %s is not a string", c.file, k.Line, k.Value))
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
			return render.Stall(render.BuildFailed, "", fmt.Errorf("%s:%d: the key %q is already set on line %d", c.file, k.Line, k.Value, first))
		}
	}
	return nil
}

func tooLarge(format string, args ...any) error {
	return render.Stall(render.TooLarge, "", fmt.Errorf(format, args...))
}
