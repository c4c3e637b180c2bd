package kustomize

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"plumb.dev/plumb/render/manifest"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/utils"
)

// A growth is about how much replacements and vars write: a few that copy an
// object into itself double it each time, to any size. It takes more for
// possible than is, but tells a field that something was written to from one
// that is as it was.
type growth struct {
	src     *source
	written int64
	writes  []write
}

// A write is to a field of the objects of a kind and name, which may be empty.
type write struct {
	kind, name string
	path       []string
	bytes      int64
}

// unseen is the size of what is not in any file, such as a field that a
// generator makes.
const unseen = 1 << 10

func (g *growth) replacements(k *kustomization, all []types.ReplacementField) error {
	for _, r := range all {
		list := []types.Replacement{r.Replacement}
		if r.Path != "" {
			list = g.src.replacementsIn(k, r.Path)
		}
		for _, r := range list {
			if err := g.replacement(k, r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *growth) replacement(k *kustomization, r types.Replacement) error {
	var size int64
	switch {
	case r.SourceValue != nil:
		size = int64(len(*r.SourceValue))
	case r.Source != nil:
		size = g.size(r.Source.Kind, r.Source.Name, r.Source.FieldPath)
	}
	for _, t := range r.Targets {
		if t == nil || t.Select == nil {
			continue
		}
		n := g.src.objectsCalled(t.Select.Kind, t.Select.Name)
		paths := t.FieldPaths
		if len(paths) == 0 {
			paths = []string{types.DefaultReplacementFieldPath}
		}
		for _, p := range paths {
			g.writes = append(g.writes, write{t.Select.Kind, t.Select.Name, split(p), size})
			g.written += size * n
			if g.written > g.src.limits.written || len(g.writes) > maxWrites {
				return tooLarge("%s: its replacements write more than %d MiB", k.file, g.src.limits.written>>20)
			}
		}
	}
	return nil
}

// maxWrites is how many targets the replacements of a render may have. Each is
// compared with all before it.
const maxWrites = 10_000

// vars counts what variables like $(NAME) become.
func (g *growth) vars(k *kustomization) error {
	for _, v := range k.Vars {
		size := g.size(v.ObjRef.Kind, v.ObjRef.Name, v.FieldRef.FieldPath)
		for name, b := range g.src.files {
			if !g.src.data[name] {
				g.written += size * int64(bytes.Count(b, []byte("$("+v.Name+")")))
			}
		}
		if g.written > g.src.limits.written {
			return tooLarge("%s: its vars write more than %d MiB", k.file, g.src.limits.written>>20)
		}
	}
	return nil
}

// size returns about how large a field is that is copied from.
func (g *growth) size(kind, name, fieldPath string) int64 {
	if fieldPath == "" {
		fieldPath = types.DefaultReplacementFieldPath
	}
	at := split(fieldPath)
	var size int64
	for _, d := range g.src.checked {
		for _, root := range d {
			for _, n := range manifest.Objects(root) {
				if kind == "" || manifest.Text(n, "kind") == kind {
					size = max(size, sizeAt(n, at))
				}
			}
		}
	}
	if size == 0 {
		size = unseen
	}
	for _, w := range g.writes {
		if mayBe(w.kind, kind) && mayBe(w.name, name) && overlap(w.path, at) {
			size += w.bytes
		}
	}
	return size
}

func split(p string) []string { return utils.SmarterPathSplitter(p, ".") }

// mayBe reports whether a selector, a regular expression, may select what.
func mayBe(selector, what string) bool {
	return selector == "" || what == "" || selector == what || regexp.QuoteMeta(selector) != selector
}

// overlap reports whether one path is on the way to the other.
func overlap(a, b []string) bool {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] && !anyOf(a[i]) && !anyOf(b[i]) {
			return false
		}
	}
	return true
}

// anyOf reports whether part of a path may stand for several items of a list.
func anyOf(part string) bool {
	return part == "*" || part == "-" || strings.HasPrefix(part, "[") || strings.Trim(part, "0123456789") == ""
}

// sizeAt returns how large the field at a path is, of several the largest.
func sizeAt(n *yaml.Node, at []string) int64 {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case len(at) == 0:
		return sizeOf(n)
	case n.Kind == yaml.SequenceNode && anyOf(at[0]):
		var size int64
		for _, c := range n.Content {
			size = max(size, sizeAt(c, at[1:]))
		}
		return size
	}
	if f := manifest.Field(n, at[0]); f != nil {
		return sizeAt(f, at[1:])
	}
	return 0
}

// sizeOf is about how many bytes a node takes. What it repeats by aliases is
// bounded elsewhere.
func sizeOf(n *yaml.Node) int64 {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	size := int64(len(n.Value)) + 8
	for _, c := range n.Content {
		size += sizeOf(c)
	}
	return size
}

// objectsCalled returns how many objects a selector may select, at least one.
func (s *source) objectsCalled(kind, name string) int64 {
	n := int64(0)
	for _, d := range s.checked {
		for _, root := range d {
			for _, o := range manifest.Objects(root) {
				if mayBe(kind, manifest.Text(o, "kind")) && mayBe(name, manifest.Text(manifest.Field(o, "metadata"), "name")) {
					n++
				}
			}
		}
	}
	return max(n, 1)
}

// replacementsIn returns the replacements in a file: one, or a list.
func (s *source) replacementsIn(k *kustomization, p string) []types.Replacement {
	d := s.checked[s.resolved(k, p)]
	if d == nil {
		return nil // it is remote
	}
	var all []types.Replacement
	for _, root := range d {
		items := []*yaml.Node{root}
		if root.Kind == yaml.SequenceNode {
			items = root.Content
		}
		for _, item := range items {
			var r types.Replacement
			if item.Decode(&r) == nil { // otherwise Kustomize says what is wrong
				all = append(all, r)
			}
		}
	}
	return slices.Clip(all)
}
