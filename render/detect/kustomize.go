package detect

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render/kustomize"
)

// options are the section in words of the builder.
func (k Kustomize) options(env expander) (o kustomize.Options, err error) {
	if k.Version != "" && strings.TrimPrefix(k.Version, "v") != strings.TrimPrefix(kustomize.Version(), "v") {
		return o, &fault.Error{
			Next: fault.Stall, Reason: fault.UnsupportedField, Hint: "leave it out",
			Err: fmt.Errorf("kustomize.version is %q, and plumb has Kustomize %s built in, and no other", k.Version, kustomize.Version()),
		}
	}
	o = kustomize.Options{
		Namespace: k.Namespace, NamePrefix: k.NamePrefix, NameSuffix: k.NameSuffix,
		Components: k.Components, IgnoreMissingComponents: k.IgnoreMissingComponents,
		CommonLabels: kustomize.Labels{
			Values: env.values(k.CommonLabels), Force: k.ForceCommonLabels,
			WithoutSelectors: k.LabelWithoutSelector, IncludeTemplates: k.LabelIncludeTemplates,
		},
		CommonAnnotations: kustomize.Annotations{Values: k.CommonAnnotations, Force: k.ForceCommonAnnotations},
	}
	if k.CommonAnnotationsEnvsubst {
		o.CommonAnnotations.Values = env.values(k.CommonAnnotations)
	}
	for _, text := range k.Images {
		i, err := kustomize.ParseImage(env.expand(text))
		if err != nil {
			return o, fmt.Errorf("kustomize.images: %w", err)
		}
		o.Images = append(o.Images, i)
	}
	for _, r := range k.Replicas {
		n, err := r.count()
		if err != nil {
			return o, err
		}
		o.Replicas = append(o.Replicas, kustomize.Replica{Name: r.Name, Count: n})
	}
	for _, p := range k.Patches {
		patch, err := p.patch()
		if err != nil {
			return o, err
		}
		o.Patches = append(o.Patches, patch)
	}
	return o, nil
}

// patch is the patch in words of the builder.
func (p Patch) patch() (kustomize.Patch, error) {
	out := kustomize.Patch{Patch: p.Patch, Path: p.Path, Target: (*kustomize.Selector)(p.Target)}
	for _, name := range slices.Sorted(maps.Keys(p.Options)) {
		switch name {
		case "allowNameChange":
			out.AllowNameChange = p.Options[name]
		case "allowKindChange":
			out.AllowKindChange = p.Options[name]
		default:
			return out, &fault.Error{
				Next: fault.Stall, Reason: fault.InvalidSpec, Hint: "there are allowNameChange and allowKindChange",
				Err: fmt.Errorf("kustomize.patches: there is no option %q", name),
			}
		}
	}
	return out, nil
}

// count is the number of replicas, which may be written as text.
func (r Replica) count() (int64, error) {
	if r.Count.Type == intstr.Int {
		return int64(r.Count.IntVal), nil
	}
	n, err := strconv.ParseInt(r.Count.StrVal, 10, 64)
	if err != nil {
		return 0, &fault.Error{
			Next: fault.Stall, Reason: fault.InvalidSpec,
			Err: fmt.Errorf("kustomize.replicas: the count %q of %q is no whole number", r.Count.StrVal, r.Name),
		}
	}
	return n, nil
}
