package flux

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/stores"
	"plumb.dev/plumb/tree"
)

// Unit makes the unit of a Kustomization as the controller does. Its Source is
// left to the caller. With an error, the unit has what could be told.
func (o Options) Unit(u *unstructured.Unstructured, r view.Reader) (engine.Unit, error) {
	k, err := decodeKustomization(u)
	if err != nil {
		k = &kustomization{}
		k.Namespace, k.Name = u.GetNamespace(), u.GetName()
		unit := engine.Unit{Name: unitName(KustomizationKind.Kind, k.Namespace, k.Name)}
		if decodeStatus(u, &k.Status) == nil {
			unit.Remembers, _ = inventoryOf(&k.Status)
		}
		return unit, err
	}
	unit, err := o.toUnit(k, r)
	if err != nil {
		return unit, err
	}
	if unit.Fights, err = contested(k.Status.Conditions); err != nil {
		return unit, err
	}
	from, err := o.sourceName(k)
	if err == nil {
		unit.Sources = []string{from}
	}
	return unit, err
}

// Units makes units of all Kustomizations, as the controller does before it
// deletes or takes over something; unknown are those that it can't be told of.
// Of sources only those artifacts are at hand.
func (o Options) Units(all []unstructured.Unstructured, r view.Reader, at []*source.Artifact) (units []engine.Unit, unknown []string) {
	for i := range all {
		u := &all[i]
		k, err := decodeKustomization(u)
		if err != nil {
			k = &kustomization{}
			k.Namespace, k.Name = u.GetNamespace(), u.GetName()
			if err := decodeStatus(u, &k.Status); err != nil {
				unknown = append(unknown, unitName(KustomizationKind.Kind, k.Namespace, k.Name))
				continue
			}
		}
		unit := o.unit(k, r)
		if unit.Unknown {
			unknown = append(unknown, unit.Name)
			continue
		}
		for i, a := range at {
			if unit.Refused == nil && unit.Sources[0] == a.Source {
				unit.Artifacts = at[i : i+1]
			}
		}
		units = append(units, unit)
	}
	return units, unknown
}

// Artifact makes the artifact of a source as its controller does, with the
// credentials that r may read.
func (o Options) Artifact(ctx context.Context, u *unstructured.Unstructured, r view.Reader, store *stores.Stores, want view.Want) (*source.Artifact, error) {
	return o.artifact(ctx, u, r, store, want, nil)
}

// Artifacts implements [view.Dialect]. The sources of Kustomizations are custom
// resources.
func (o Options) Artifacts(_ context.Context, u *unstructured.Unstructured, _ view.Reader, _ *stores.Stores, _ view.Want) ([]*source.Artifact, error) {
	return nil, fmt.Errorf("%s is made from another custom resource", object.RefOf(u))
}

// artifact is Artifact for a source that those of way include.
func (o Options) artifact(ctx context.Context, u *unstructured.Unstructured, r view.Reader, store *stores.Stores, want view.Want, way []string) (*source.Artifact, error) {
	kind := sourceType(u.GetKind())
	if kind == nil {
		return nil, fmt.Errorf("%s is no source", object.RefOf(u))
	}
	src, err := kind.decode(u)
	if err != nil {
		return nil, err
	}
	name := unitName(kind.Kind, src.GetNamespace(), src.GetName())
	at := src.GetNamespace() + "/" + src.GetName()
	around := slices.Contains(way, at)
	way = append(way[:len(way):len(way)], at)
	if around {
		return nil, circular(way)
	}
	shape, err := src.shape()
	if err != nil {
		return nil, err
	}
	var included []*source.Artifact
	for _, inc := range shape.Includes {
		a, err := o.included(ctx, inc, r, store, way)
		if err != nil {
			return nil, fmt.Errorf("spec.include: %w", err)
		}
		included = append(included, a)
	}
	if want.Dir != nil {
		t, err := shape.Apply(want.Dir, &source.Ignorer{}, included)
		return &source.Artifact{Source: name, Revision: want.Revision, Tree: t}, inWords(err)
	}
	from, err := src.fetcher(r, store)
	if err != nil {
		return nil, err
	}
	revision, err := src.wanted(ctx, from, want.Revision)
	if err != nil {
		return nil, err
	}
	c, err := from.Fetch(ctx, revision)
	if err != nil {
		return nil, err
	}
	t, err := shape.Apply(c.Tree, &source.Ignorer{}, included)
	if err != nil {
		return nil, inWords(err)
	}
	return &source.Artifact{Source: name, Revision: revision.Name, Tree: t, Commit: c.Commit}, nil
}

// included is what a source includes of another, at the revision that its status
// names.
func (o Options) included(ctx context.Context, inc source.Include, r view.Reader, store *stores.Stores, way []string) (*source.Artifact, error) {
	kind, key := keyOf(inc.Source)
	ref := object.Ref{Group: GitRepositoryKind.Group, Kind: kind, Namespace: key.Namespace, Name: key.Name}
	other, err := r.Resource(ctx, ref)
	if err != nil {
		return nil, err
	}
	revision, _, err := unstructured.NestedString(other.Object, "status", "artifact", "revision")
	if err != nil {
		return nil, fmt.Errorf("the status of %s can't be read: %w", ref, err)
	}
	if revision == "" {
		return nil, fmt.Errorf("%s has no artifact", ref)
	}
	return o.artifact(ctx, other, r, store, view.Want{Revision: revision}, way)
}

// Directory makes the artifact of a directory as the controller does of a source of
// that name that selects nothing: all of it, but for what Flux leaves out of every
// source.
func (o Options) Directory(ref object.Ref, dir tree.Tree, revision string) (*source.Artifact, error) {
	t, err := source.Shape{}.Apply(dir, &source.Ignorer{}, nil)
	return &source.Artifact{Source: unitName(ref.Kind, ref.Namespace, ref.Name), Revision: revision, Tree: t}, err
}
