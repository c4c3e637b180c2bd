package kustomize

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/tree"
)

// Here is what each place of a kustomization may name: a look at it refuses
// what may not be, and returns what Kustomize is handed instead.

// manifest checks a file that will be parsed.
func (v *surveyor) manifest(k *kustomization, p string) (string, extent, error) {
	name, err := v.file(k, p)
	if name == "" || err != nil {
		return p, extent{}, err
	}
	b, d, err := v.src.manifest(name)
	if err != nil {
		return "", extent{}, err
	}
	v.src.named[name] = true
	k.weight += int64(len(b))
	for _, root := range d {
		if err := annotated(root, name); err != nil {
			return "", extent{}, err
		}
		if err := v.src.fieldPaths(root, name); err != nil {
			return "", extent{}, err
		}
	}
	return dotted(p), extent{bytes: int64(len(b))}, nil
}

// strategic checks an entry of patchesStrategicMerge: patches, or the path of
// a file of them.
func (v *surveyor) strategic(k *kustomization, text string) (string, extent, error) {
	d, err := v.src.parse([]byte(text), k.at(text)+" (inline)")
	if fault.Is(err, "ManifestTooLarge") {
		return "", extent{}, err
	}
	if err == nil && !slices.ContainsFunc(d, func(n *yaml.Node) bool { return n.Kind != yaml.MappingNode }) {
		return notAPath(text), extent{}, nil
	}
	return v.manifest(k, text)
}

// data checks a file that will not be parsed. source may be key=path.
func (v *surveyor) data(k *kustomization, source string) (string, extent, error) {
	p := pathOf(source)
	key := strings.TrimSuffix(source[:len(source)-len(p)], "=")
	if p == source {
		key = path.Base(p)
	}
	handed, e, err := v.env(k, p)
	return key + "=" + handed, e, err
}

// pathOf returns the path of a source that may be key=path.
func pathOf(source string) string {
	if _, p, ok := strings.Cut(source, "="); ok && !isURL(source) {
		return p
	}
	return source
}

// env is data, for a source that is a path alone.
func (v *surveyor) env(k *kustomization, p string) (string, extent, error) {
	name, err := v.file(k, p)
	if name == "" || err != nil {
		return p, extent{}, err
	}
	v.src.data[name] = true
	b, err := v.src.load(name)
	handed := dotted(p)
	if slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(name)) {
		handed += "/" + asData
	}
	return handed, extent{bytes: int64(len(b))}, err
}

// file returns the name of the file that p stands for; "" if there is none.
func (v *surveyor) file(k *kustomization, p string) (string, error) {
	if p == "" {
		return "", nil
	}
	if isURL(p) {
		return "", v.fetched(k, p)
	}
	name := path.Join(k.dir, p)
	if path.IsAbs(p) || !fs.ValidPath(name) {
		return "", escapes(p, k.at(p))
	}
	name, err := tree.Resolve(v.src.tree, name)
	if err != nil {
		return "", v.src.fail(err)
	}
	e, err := v.src.lookup(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", render.Missing(err, render.BuildFailed, "%s: file %q", k.at(p), p)
	}
	if err != nil {
		return "", err
	}
	if e.Kind != tree.File {
		return "", render.Stall(render.BuildFailed, "", fmt.Errorf("%s: %q is a %s, not a file", k.at(p), p, e.Kind))
	}
	return name, nil
}

// inline checks YAML inside of a kustomization. Kustomize never takes it for
// a path.
func (v *surveyor) inline(k *kustomization, text string) (string, extent, error) {
	if text == "" {
		return "", extent{}, nil
	}
	d, err := v.src.parse([]byte(text), k.at(text)+" (inline)")
	if err != nil {
		return "", extent{}, err
	}
	for _, root := range d {
		if err := annotated(root, k.file+" (inline)"); err != nil {
			return "", extent{}, err
		}
		if err := v.src.fieldPaths(root, k.file+" (inline)"); err != nil {
			return "", extent{}, err
		}
	}
	return text, extent{}, nil
}

// resource checks an entry of resources: a manifest or a kustomization.
func (v *surveyor) resource(k *kustomization, entry string) (string, extent, error) {
	name, e, err := v.entry(k, entry)
	if name == "" || err != nil {
		return entry, extent{}, err
	}
	if e.Kind == tree.Dir {
		below, err := v.directory(name, k, entry)
		return dotted(entry), below, err
	}
	b, d, err := v.src.manifest(name)
	if err != nil {
		return "", extent{}, err
	}
	v.src.named[name] = true
	for _, root := range d {
		if err := identified(root, name); err != nil {
			return "", extent{}, err
		}
	}
	return dotted(entry), extent{bytes: int64(len(b)), objects: int64(count(d))}, nil
}

// entry resolves what a kustomization names as a file or directory. The name
// is empty if it is to be fetched.
func (v *surveyor) entry(k *kustomization, entry string) (string, tree.Entry, error) {
	if isURL(entry) {
		return "", tree.Entry{}, v.fetched(k, entry)
	}
	name := path.Join(k.dir, entry)
	if entry == "" {
		return "", tree.Entry{}, render.Stall(render.BuildFailed, "", fmt.Errorf("%s: an empty entry", k.file))
	}
	if path.IsAbs(entry) || !fs.ValidPath(name) {
		if remote(entry) {
			return "", tree.Entry{}, v.fetched(k, entry)
		}
		return "", tree.Entry{}, escapes(entry, k.at(entry))
	}
	name, err := tree.Resolve(v.src.tree, name)
	if err != nil {
		return "", tree.Entry{}, v.src.fail(err)
	}
	e, err := v.src.lookup(name)
	if remote(entry) && (err != nil || e.Kind != tree.File) {
		// Kustomize takes a file of such a name for what it is, but a
		// directory for a URL.
		return "", tree.Entry{}, v.fetched(k, entry)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", tree.Entry{}, render.Missing(err, render.BuildFailed, "%s: %q", k.at(entry), entry)
	case err != nil:
		return "", tree.Entry{}, err
	case e.Kind != tree.Dir && e.Kind != tree.File:
		return "", tree.Entry{}, render.Stall(render.BuildFailed, "", fmt.Errorf("%s: %q is a %s", k.at(entry), entry, e.Kind))
	}
	return name, e, nil
}

// component checks an entry of components: a directory.
func (v *surveyor) component(k *kustomization, entry string) (string, extent, error) {
	name, e, err := v.entry(k, entry)
	if name == "" || err != nil {
		return entry, extent{}, err
	}
	if e.Kind != tree.Dir {
		return "", extent{}, render.Stall(render.BuildFailed, "", fmt.Errorf("%s: component %q is not a directory", k.at(entry), entry))
	}
	below, err := v.directory(name, k, entry)
	return dotted(entry), below, err
}
