package kustomize

import (
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
	"plumb.dev/plumb/render/manifest"
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
			return nil, render.Stall(render.BuildFailed, "keep one of them",
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
	switch len(d) {
	case 0:
		return k, nil
	case 1:
		k.root = d[0]
	default:
		return nil, render.Stall(render.BuildFailed, "", fmt.Errorf("%s:%d: a kustomization file holds one document, not %d",
			file, d[1].Line, len(d)))
	}
	if err := (manifest.Speller{File: file, Strict: true}).Check(k.root, reflect.TypeFor[types.Kustomization]()); err != nil {
		return nil, err
	}
	if err := s.fieldPaths(k.root, file); err != nil {
		return nil, err
	}
	if err := k.Unmarshal(b); err != nil {
		return nil, k.invalid(err)
	}
	s.deprecated(k)
	return k, nil
}

// invalid says what is wrong with a kustomization that could not be decoded.
func (k *kustomization) invalid(err error) error {
	if wrong := manifest.Mistyped(err, k.root, k.file); wrong != nil {
		return wrong
	}
	return render.Stall(render.BuildFailed, "", fmt.Errorf("%s: not a kustomization", k.file))
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
