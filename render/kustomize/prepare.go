package kustomize

import (
	"context"
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
	"sigs.k8s.io/kustomize/kyaml/resid"
	k8syaml "sigs.k8s.io/yaml"

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

// prepare puts a kustomization file in front of the one in dir, or of the
// lack of one, if the options add something to it.
func prepare(s *source, dir string, o Options) (*kustomization, error) {
	k, err := s.kustomizationIn(dir)
	if err != nil {
		return nil, err
	}
	if k != nil && !o.adds() {
		return k, nil
	}
	if k == nil && !o.Generate {
		return nil, noKustomization(s, dir)
	}
	if k == nil {
		if k, err = generate(s, dir); err != nil {
			return nil, err
		}
	}
	if err := o.addTo(s, k); err != nil {
		return nil, err
	}
	if k.APIVersion == "" && k.Kind == "" {
		k.APIVersion, k.Kind = types.KustomizationVersion, types.KustomizationKind
	}
	b, err := k8syaml.Marshal(k.Kustomization)
	if err != nil {
		return nil, err
	}
	s.overlay[k.file] = b
	k.weight = int64(len(b))
	return k, nil
}

// noKustomization is the error for a directory that has to have a kustomization.
func noKustomization(s *source, dir string) error {
	if err := s.excludedKustomization(dir); err != nil {
		return render.Missing(err, render.BuildFailed, "the kustomization file of directory %q", dir)
	}
	return stall(render.BuildFailed, "", fmt.Errorf("directory %q has no kustomization file", dir))
}

// adds reports whether o changes the kustomization itself.
func (o Options) adds() bool {
	return o.Namespace != "" || o.NamePrefix != "" || o.NameSuffix != "" ||
		len(o.Patches)+len(o.Images)+len(o.Components)+len(o.BuildMetadata) > 0
}

func (o Options) addTo(s *source, k *kustomization) error {
	if o.Namespace != "" {
		k.Namespace = o.Namespace
	}
	if o.NamePrefix != "" {
		k.NamePrefix = o.NamePrefix
	}
	if o.NameSuffix != "" {
		k.NameSuffix = o.NameSuffix
	}
	for _, p := range o.Patches {
		k.Patches = append(k.Patches, types.Patch{Patch: p.Patch, Target: p.Target.selector()})
	}
	for _, c := range o.Components {
		ok, err := o.component(s, k.dir, c)
		if err != nil {
			return err
		}
		if ok {
			k.Components = append(k.Components, c)
		}
	}
	for _, i := range o.Images {
		mergeImage(&k.Kustomization, i)
	}
	if len(o.BuildMetadata) > 0 {
		k.BuildMetadata = o.BuildMetadata
	}
	return nil
}

func (sel *Selector) selector() *types.Selector {
	if sel == nil {
		return nil
	}
	return &types.Selector{
		ResId: resid.ResId{
			Gvk:       resid.Gvk{Group: sel.Group, Version: sel.Version, Kind: sel.Kind},
			Name:      sel.Name,
			Namespace: sel.Namespace,
		},
		LabelSelector:      sel.LabelSelector,
		AnnotationSelector: sel.AnnotationSelector,
	}
}

// component reports whether the component c of the options is to be built.
func (o Options) component(s *source, dir, c string) (bool, error) {
	if path.IsAbs(c) || remote(c) {
		return false, stall("InvalidPath", "use a path relative to the kustomization's",
			fmt.Errorf("component %q is not a relative path", c))
	}
	name := path.Join(dir, c)
	if !fs.ValidPath(name) {
		return false, escapes(c, "components")
	}
	_, err := tree.Stat(s.tree, name)
	if errors.Is(err, fs.ErrNotExist) && o.IgnoreMissingComponents {
		return false, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, stall(render.BuildFailed, "set ignoreMissingComponents to go on without it",
			render.Missing(err, render.BuildFailed, "component %q", c).Err)
	}
	return true, s.fail(err)
}

// mergeImage overrides the image of the same name, or adds one. Tag and digest
// are one thing: whoever sets one of them replaces both.
func mergeImage(k *types.Kustomization, i Image) {
	for n := range k.Images {
		at := &k.Images[n]
		if at.Name != i.Name {
			continue
		}
		if i.NewName != "" {
			at.NewName = i.NewName
		}
		if i.NewTag != "" || i.Digest != "" {
			at.NewTag, at.Digest = i.NewTag, i.Digest
		}
		return
	}
	k.Images = append(k.Images, types.Image{Name: i.Name, NewName: i.NewName, NewTag: i.NewTag, Digest: i.Digest})
}

// generate makes the kustomization of a directory that has none: every YAML
// file in it and below, and for a directory below that has a kustomization,
// that one instead.
func generate(s *source, dir string) (*kustomization, error) {
	k := &kustomization{dir: dir, file: path.Join(dir, konfig.DefaultKustomizationFileName())}
	steps := 0
	var walk func(at string) error
	walk = func(at string) error {
		if err := s.ctx.Err(); err != nil {
			return s.fail(context.Cause(s.ctx))
		}
		entries, err := s.tree.ReadDir(at)
		if err != nil {
			return s.fail(err)
		}
		for _, e := range entries {
			name := path.Join(at, e.Name)
			rel := "./" + strings.TrimPrefix(strings.TrimPrefix(name, dir), "/")
			if dir == "." {
				rel = "./" + name
			}
			if steps++; e.Kind == tree.Dir {
				// Each name that it may have is looked for from the root on.
				steps += 3 * (1 + strings.Count(name, "/"))
			}
			if steps > s.limits.steps {
				return tooLarge("%s holds too many directories to look for manifests in: add a kustomization.yaml that names them", dir)
			}
			switch ext := path.Ext(e.Name); {
			case e.Kind == tree.Dir:
				has, err := s.hasKustomization(name)
				if err != nil {
					return err
				}
				if has {
					k.Resources = append(k.Resources, rel)
				} else if err := walk(name); err != nil {
					return err
				}
			case e.Kind == tree.Submodule:
			case ext == ".yaml" || ext == ".yml":
				k.Resources = append(k.Resources, rel)
			}
		}
		return nil
	}
	if err := walk(dir); err != nil {
		return nil, err
	}
	if len(k.Resources) == 0 {
		s.warn("%s holds no YAML file", dir)
	}
	return k, nil
}

func (s *source) hasKustomization(dir string) (bool, error) {
	for _, base := range konfig.RecognizedKustomizationFileNames() {
		e, err := tree.Stat(s.tree, path.Join(dir, base))
		if err == nil && e.Kind != tree.Dir {
			return true, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, s.fail(err)
		}
	}
	return false, nil
}
