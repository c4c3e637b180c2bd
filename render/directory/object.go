package directory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/manifest"
)

// heads are the fields of which every object has all, and what is about
// something else has none.
var heads = []string{"apiVersion", "kind", "metadata"}

// An entry is an object, or a list of them, and where it is from.
type entry struct {
	object map[string]any
	at     string     // the file
	node   *yaml.Node // nil: it was computed
}

// line is "file:line", or "file".
func (e entry) line() string {
	if e.node == nil {
		return e.at
	}
	return fmt.Sprintf("%s:%d", e.at, e.node.Line)
}

// yaml returns the objects of a YAML file.
func (r *reader) yaml(b []byte, at string) ([]entry, error) {
	roots, err := r.parse(b, at)
	if err != nil {
		if !fault.Is(err, render.TooLarge) && !mentioned(b) {
			r.warn("%s is left out: it is not YAML, and about no Kubernetes object", at)
			return nil, nil
		}
		return nil, err
	}
	if len(roots) > 0 && !slices.ContainsFunc(roots, meant) {
		r.warn("%s is left out: it is about no Kubernetes object", at)
		return nil, nil
	}
	all := make([]entry, 0, len(roots))
	for _, n := range roots {
		m, err := decode(n, at)
		if err != nil {
			return nil, err
		}
		all = append(all, entry{m, at, n})
	}
	return all, nil
}

// json returns the object of a JSON file.
func (r *reader) json(b []byte, at string) ([]entry, error) {
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	if err := oneJSON(b, at); err != nil {
		if !mentioned(b) {
			r.warn("%s is left out: it is not JSON, and about no Kubernetes object", at)
			return nil, nil
		}
		return nil, err
	}
	// Its lines are known if it is read as YAML. The value is not of that.
	roots, err := r.parse(asYAML(b), at)
	if err != nil {
		return nil, err
	}
	if len(roots) != 1 || !meant(roots[0]) {
		r.warn("%s is left out: it is about no Kubernetes object", at)
		return nil, nil
	}
	var m map[string]any
	if err := utiljson.Unmarshal(b, &m); err != nil {
		return nil, invalid("%s: it can't be decoded", at)
	}
	return []entry{{m, at, roots[0]}}, nil
}

// mentioned reports whether a file that can't be parsed may be meant as an
// object.
func mentioned(b []byte) bool {
	return slices.ContainsFunc(heads, func(h string) bool {
		return bytes.Contains(b, []byte(h+":")) || bytes.Contains(b, []byte(`"`+h+`"`))
	})
}

// meant reports whether a document is meant as an object.
func meant(n *yaml.Node) bool {
	return slices.ContainsFunc(heads, func(h string) bool { return manifest.Field(n, h) != nil })
}

// decode returns the value of a document as kubectl reads it: by YAML 1.1, and
// then as what JSON makes of it.
func decode(n *yaml.Node, at string) (map[string]any, error) {
	if n.Kind != yaml.MappingNode {
		return nil, invalid("%s:%d: not a Kubernetes object", at, n.Line)
	}
	old(n)
	var v any
	if err := n.Decode(&v); err != nil {
		// What the library says may quote a value.
		return nil, render.Stall(render.BuildFailed, "yes, on and true are one key; quote them", fmt.Errorf("%s:%d: two keys are one by YAML 1.1, or a value does not fit its tag", at, n.Line))
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, invalid("%s:%d: JSON can't say it", at, n.Line)
	}
	var m map[string]any
	if err := utiljson.Unmarshal(b, &m); err != nil {
		return nil, invalid("%s:%d: it can't be decoded", at, n.Line)
	}
	return m, nil
}

// old gives what stands plainly in a file the meaning that it has in YAML 1.1,
// but for times, which are text to kubectl.
func old(n *yaml.Node) {
	for i, c := range n.Content {
		old(c)
		if c.Kind != yaml.ScalarNode {
			continue
		}
		key := n.Kind == yaml.MappingNode && i%2 == 0
		plain := c.Tag == "!!str" && c.Style == 0
		switch word := oldBool(c.Value); {
		case c.Tag == "!!timestamp":
			c.Tag = "!!str"
		case word == "":
		case c.Tag == "!!bool", plain && key:
			c.Value = word
		case plain:
			c.Tag, c.Value = "!!bool", word
		}
	}
}

// oldBool is what a word for a boolean means that YAML 1.2 takes for text: true
// or false, or nothing if it is none.
func oldBool(word string) string {
	switch word {
	case "y", "Y", "yes", "Yes", "YES", "on", "On", "ON":
		return "true"
	case "n", "N", "no", "No", "NO", "off", "Off", "OFF":
		return "false"
	}
	return ""
}

// oneJSON checks that a file is one JSON value.
func oneJSON(b []byte, at string) error {
	d := json.NewDecoder(bytes.NewReader(b))
	var raw json.RawMessage
	err := d.Decode(&raw)
	if errors.Is(err, io.EOF) {
		return nil // it is empty
	}
	if wrong := (*json.SyntaxError)(nil); errors.As(err, &wrong) {
		return invalid("%s:%d: not JSON: %s", at, lineOf(b, wrong.Offset), wrong)
	}
	if err != nil {
		return invalid("%s:%d: not JSON: it ends too early", at, lineOf(b, int64(len(b))))
	}
	end := d.InputOffset()
	if rest := bytes.TrimSpace(b[end:]); len(rest) > 0 {
		return render.Stall(render.BuildFailed, "make a file of each, or a list of kind List",
			fmt.Errorf("%s:%d: a JSON file holds one object, and here is a second one", at, lineOf(b, int64(len(b)-len(rest)))))
	}
	return nil
}

// lineOf is the line of a place in a file.
func lineOf(b []byte, offset int64) int {
	return 1 + bytes.Count(b[:min(offset, int64(len(b)))], []byte("\n"))
}

// asYAML writes JSON so that YAML can be read from it, line by line: without
// what YAML has no escape for, or does not take.
func asYAML(b []byte) []byte {
	var out bytes.Buffer
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == '\\':
			n = escaped(&out, b)
		case r != '\n' && r != '\t' && r != '\r' && unicode.IsControl(r):
			out.WriteRune(utf8.RuneError)
		default:
			out.Write(b[:n])
		}
		b = b[n:]
	}
	return out.Bytes()
}

// escaped writes the escape that b begins with, and returns how long it is. Two
// of them may name one character, beyond 16 bits.
func escaped(out *bytes.Buffer, b []byte) int {
	switch {
	case len(b) > 1 && b[1] == '/':
		out.WriteByte('/')
		return 2
	case len(b) < 6 || b[1] != 'u':
		out.Write(b[:min(2, len(b))])
		return min(2, len(b))
	case b[2] != 'd' && b[2] != 'D':
		out.Write(b[:6])
		return 6
	}
	var s string
	for _, n := range []int{12, 6} {
		if len(b) >= n && json.Unmarshal(slices.Concat([]byte(`"`), b[:n], []byte(`"`)), &s) == nil && utf8.RuneCountInString(s) == 1 {
			out.WriteString(s)
			return n
		}
	}
	out.Write(b[:6])
	return 6
}

// check checks that an entry is an object that can be told from others, or a
// list of such.
func (e entry) check(nameless bool) error {
	text := func(m map[string]any, key string) string { s, _ := m[key].(string); return s }
	kind := text(e.object, "kind")
	meta, _ := e.object["metadata"].(map[string]any)
	bad := func(format string, args ...any) error {
		return invalid("%s: %s", e.line(), fmt.Sprintf(format, args...))
	}
	switch {
	case kind == "":
		return bad("not a Kubernetes object: it has no kind")
	case text(e.object, "apiVersion") == "":
		return bad("%s has no apiVersion", kind)
	case nameless, isList(e.object), text(meta, "name") != "", text(meta, "generateName") != "":
		return nil // whether that will do is for render.Options to say
	}
	return bad("%s has no metadata.name", kind)
}

// isList reports whether an object is a list of others.
func isList(m map[string]any) bool {
	kind, _ := m["kind"].(string)
	_, ok := m["items"]
	return ok && strings.HasSuffix(kind, "List")
}

// parts returns the objects of a list, or the object.
func (e entry) parts() ([]entry, error) {
	if !isList(e.object) {
		return []entry{e}, nil
	}
	items, ok := e.object["items"].([]any)
	if !ok && e.object["items"] != nil {
		return nil, invalid("%s: the items of a list are not a list", e.line())
	}
	all := make([]entry, 0, len(items))
	for i, item := range items {
		m, ok := item.(map[string]any)
		if !ok {
			return nil, invalid("%s: item %d of the list is not a Kubernetes object", e.line(), i)
		}
		part := entry{object: m, at: e.at}
		if e.node != nil {
			part.node = e.node
			if nodes := manifest.Field(e.node, "items"); nodes != nil && len(nodes.Content) == len(items) {
				part.node = nodes.Content[i]
			}
		}
		all = append(all, part)
	}
	return all, nil
}
