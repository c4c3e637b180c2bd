package kustomize

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"

	"plumb.dev/plumb/render"
	"plumb.dev/plumb/tree"
)

// A kustomization is a kustomization file and where it is.
type kustomization struct {
	types.Kustomization
	dir  string
	file string     // its name in the tree; what messages call it
	root *yaml.Node // for line numbers; nil if there is no such file

	empty  bool  // it has no fields
	weight int64 // bytes of it and of the patches it names
}

// at returns file:line of the first value in the file that is s or key=s, or the file.
func (k *kustomization) at(s string) string {
	if line := lineOf(k.root, s); line > 0 {
		return fmt.Sprintf("%s:%d", k.file, line)
	}
	return k.file
}

func lineOf(n *yaml.Node, s string) int {
	if n == nil {
		return 0
	}
	if n.Kind == yaml.ScalarNode && (n.Value == s || strings.HasSuffix(n.Value, "="+s)) {
		return n.Line
	}
	for _, c := range n.Content {
		if line := lineOf(c, s); line > 0 {
			return line
		}
	}
	return 0
}

// kustomizationIn reads the kustomization file of a directory. It is nil if
// there is none, and an error if there are several.
func (s *source) kustomizationIn(dir string) (*kustomization, error) {
	var file string
	for _, base := range konfig.RecognizedKustomizationFileNames() {
		name := path.Join(dir, base)
		e, err := tree.Stat(s.tree, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, s.fail(err)
		case e.Kind != tree.File:
			continue
		case file != "":
			return nil, stall(render.BuildFailed, "keep one of them",
				fmt.Errorf("%s: there are two kustomization files, %s and %s", dir, path.Base(file), base))
		}
		file = name
	}
	if file == "" {
		return nil, nil
	}
	name, err := tree.Resolve(s.tree, file)
	if err != nil {
		return nil, s.fail(err)
	}
	b, d, err := s.manifest(name)
	if err != nil {
		return nil, err
	}
	k := &kustomization{dir: dir, file: file, weight: int64(len(b))}
	switch len(d.roots) {
	case 0:
		return k, nil
	case 1:
		k.root = d.roots[0]
	default:
		return nil, stall(render.BuildFailed, "", fmt.Errorf("%s:%d: a kustomization file holds one document, not %d",
			file, d.roots[1].Line, len(d.roots)))
	}
	if err := (speller{file: file, strict: true}).check(k.root, reflect.TypeFor[types.Kustomization]()); err != nil {
		return nil, err
	}
	if err := s.fieldPaths(k.root, file); err != nil {
		return nil, err
	}
	if err := k.Unmarshal(b); err != nil {
		return nil, k.invalid(err)
	}
	return k, nil
}

// invalid says what is wrong with a kustomization that could not be decoded.
func (k *kustomization) invalid(err error) error {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return stall(render.BuildFailed, "", fmt.Errorf("%s: not a kustomization", k.file))
	}
	is, _, _ := strings.Cut(wrong.Value, " ") // what follows is the value
	at := k.file
	if n := lookUp(k.root, strings.Split(wrong.Field, ".")); n != nil {
		at = fmt.Sprintf("%s:%d", k.file, n.Line)
	}
	words := map[string]string{"string": "text", "bool": "a boolean", "array": "a list", "object": "a map", "number": "a number"}
	return stall(render.BuildFailed, "", fmt.Errorf("%s: %s is %s, not %s", at, wrong.Field, words[is], typeName(wrong.Type)))
}

// lookUp returns the value of the last of nested fields that is there, or the
// list on the way to it whose item is not known.
func lookUp(n *yaml.Node, fields []string) *yaml.Node {
	for _, name := range fields {
		for n != nil && n.Kind == yaml.SequenceNode {
			if len(n.Content) != 1 {
				return n
			}
			n = n.Content[0]
		}
		next := field(n, name)
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// typeName names a Go type in words of YAML.
func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "a map"
	case reflect.Bool:
		return "a boolean"
	case reflect.String:
		return "text"
	}
	return "a number"
}

// excludedKustomization returns why the kustomization file of a directory that
// has none doesn't show, or nil.
func (s *source) excludedKustomization(dir string) error {
	for _, base := range konfig.RecognizedKustomizationFileNames() {
		_, err := tree.Stat(s.tree, path.Join(dir, base))
		if why := (*tree.Excluded)(nil); errors.As(err, &why) {
			return err
		}
	}
	return nil
}
