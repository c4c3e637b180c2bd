package kustomize

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/kustomize/api/pkg/util"
	"sigs.k8s.io/kustomize/api/types"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/manifest"
)

// Here is what kustomize edit would do to a kustomization.

// keep in the place of a part of an image keeps what is there.
const keep = "*"

// ParseImage returns what kustomize edit set image takes: a name with a new tag
// or digest, name:tag, name@digest or both, or name=newName with or without them.
func ParseImage(arg string) (Image, error) {
	name, value, renamed := strings.Cut(arg, "=")
	if !renamed {
		value = arg
	}
	newName, tag, digest := util.SplitImageName(value)
	switch {
	case renamed && name != "":
		return Image{Name: name, NewName: newName, NewTag: tag, Digest: digest, Whole: true}, nil
	case !renamed && newName != "" && newName != arg:
		return Image{Name: newName, NewTag: tag, Digest: digest, Whole: true}, nil
	}
	return Image{}, render.Stall(fault.InvalidSpec, "write name=newName:tag, name:tag or name@digest", fmt.Errorf("%q is no image with what to replace of it", arg))
}

// mergeImages puts images among those of a kustomization.
func mergeImages(k *types.Kustomization, images []Image) {
	whole := slices.ContainsFunc(images, func(i Image) bool { return i.Whole })
	if whole {
		k.Images, k.ImageTags = append(k.Images, k.ImageTags...), nil
	}
	for _, i := range images {
		if i.Whole {
			replaceImage(k, i)
		} else {
			mergeImage(k, i)
		}
	}
	if whole {
		slices.SortStableFunc(k.Images, func(a, b types.Image) int { return strings.Compare(a.Name, b.Name) })
	}
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

// replaceImage puts an image in the place of those of its name.
func replaceImage(k *types.Kustomization, i Image) {
	var was types.Image
	if n := slices.IndexFunc(k.Images, func(at types.Image) bool { return at.Name == i.Name }); n >= 0 {
		was = k.Images[n]
	}
	or := func(s, was string) string {
		if s == keep {
			return was
		}
		return s
	}
	k.Images = append(
		slices.DeleteFunc(k.Images, func(at types.Image) bool { return at.Name == i.Name }),
		types.Image{Name: i.Name, NewName: or(i.NewName, was.NewName), NewTag: or(i.NewTag, was.NewTag), Digest: or(i.Digest, was.Digest)},
	)
}

// mergeReplicas puts replicas in the place of those of their names.
func mergeReplicas(k *types.Kustomization, replicas []Replica) {
	if len(replicas) == 0 {
		return
	}
	for _, r := range replicas {
		k.Replicas = append(
			slices.DeleteFunc(k.Replicas, func(at types.Replica) bool { return at.Name == r.Name }),
			types.Replica{Name: r.Name, Count: r.Count},
		)
	}
	slices.SortStableFunc(k.Replicas, func(a, b types.Replica) int { return strings.Compare(a.Name, b.Name) })
}

// addTo adds labels to a kustomization.
func (l Labels) addTo(k *kustomization) error {
	switch {
	case len(l.Values) == 0:
		return nil
	case !l.WithoutSelectors && l.IncludeTemplates:
		return render.Stall(fault.InvalidSpec, "set labelWithoutSelector, too, or leave it out",
			errors.New("labelIncludeTemplates has no meaning where labels reach selectors, and so templates"))
	case !l.WithoutSelectors:
		return add("label", "forceCommonLabels", k, &k.CommonLabels, l.Values, l.Force, "commonLabels")
	}
	n := slices.IndexFunc(k.Labels, func(at types.Label) bool {
		return !at.IncludeSelectors && at.IncludeTemplates == l.IncludeTemplates
	})
	if n < 0 {
		n = len(k.Labels)
		k.Labels = append(k.Labels, types.Label{IncludeTemplates: l.IncludeTemplates})
	}
	return add("label", "forceCommonLabels", k, &k.Labels[n].Pairs, l.Values, l.Force, "labels", strconv.Itoa(n), "pairs")
}

// addTo adds annotations to a kustomization.
func (a Annotations) addTo(k *kustomization) error {
	if len(a.Values) == 0 {
		return nil
	}
	return add("annotation", "forceCommonAnnotations", k, &k.CommonAnnotations, a.Values, a.Force, "commonAnnotations")
}

// add adds values to a map of a kustomization, which is at a path of its file.
func add(what, force string, k *kustomization, to *map[string]string, values map[string]string, forced bool, at ...string) error {
	if *to == nil {
		*to = map[string]string{}
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if _, ok := (*to)[key]; ok && !forced {
			place := k.file
			if k.root != nil {
				place = fmt.Sprintf("%s:%d", k.file, manifest.LineAt(k.root, append(at, key)))
			}
			return render.Stall(render.BuildFailed, "leave one of them out, or set "+force, fmt.Errorf("%s: the %s %q, which is to be added, is there already", place, what, key))
		}
		(*to)[key] = values[key]
	}
	return nil
}
