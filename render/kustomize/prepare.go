package kustomize

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"
	k8syaml "sigs.k8s.io/yaml"

	"plumb.dev/plumb/render"
	"plumb.dev/plumb/tree"
)

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
	for _, base := range konfig.RecognizedKustomizationFileNames() {
		name := path.Join(dir, base)
		if e, err := s.tree.Lookup(name); err == nil && e.Kind == tree.Link {
			return render.Stall(render.BuildFailed, "", fmt.Errorf("%s: this symbolic link leads to no file", name))
		}
	}
	return render.Stall(render.BuildFailed, "", fmt.Errorf("directory %q has no kustomization file", dir))
}

// adds reports whether o changes the kustomization itself.
func (o Options) adds() bool {
	return o.Namespace != "" || o.NamePrefix != "" || o.NameSuffix != "" ||
		len(o.Patches)+len(o.Images)+len(o.Replicas)+len(o.Components)+len(o.BuildMetadata) > 0 ||
		len(o.CommonLabels.Values)+len(o.CommonAnnotations.Values) > 0
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
		patch := types.Patch{Patch: p.Patch, Path: p.Path, Target: p.Target.selector()}
		if p.AllowNameChange || p.AllowKindChange {
			patch.Options = &types.PatchArgs{AllowNameChange: p.AllowNameChange, AllowKindChange: p.AllowKindChange}
		}
		k.Patches = append(k.Patches, patch)
	}
	for _, c := range o.Components {
		ok, err := o.component(s, k.dir, c)
		if err != nil {
			return err
		}
		if ok && !slices.Contains(k.Components, c) {
			k.Components = append(k.Components, c)
		}
	}
	mergeImages(&k.Kustomization, o.Images)
	mergeReplicas(&k.Kustomization, o.Replicas)
	if len(o.BuildMetadata) > 0 {
		k.BuildMetadata = o.BuildMetadata
	}
	if err := o.CommonLabels.addTo(k); err != nil {
		return err
	}
	return o.CommonAnnotations.addTo(k)
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
		return false, render.Stall("InvalidPath", "use a path relative to the kustomization's",
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
		return false, render.Stall(render.BuildFailed, "set ignoreMissingComponents to go on without it",
			render.Missing(err, render.BuildFailed, "component %q", c).Err)
	}
	return true, s.fail(err)
}
