package flux

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/git"
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

// Artifact makes the artifact of a GitRepository as the controller does, with
// the credentials that r may read.
func (o Options) Artifact(ctx context.Context, u *unstructured.Unstructured, r view.Reader, store *stores.Stores, want view.Want) (*source.Artifact, error) {
	return o.artifact(ctx, u, r, store, want, nil)
}

// Artifacts implements [view.Dialect]. The sources of Kustomizations are custom
// resources.
func (o Options) Artifacts(_ context.Context, u *unstructured.Unstructured, _ view.Reader, _ *stores.Stores, _ view.Want) ([]*source.Artifact, error) {
	return nil, fmt.Errorf("%s is made from another custom resource", object.RefOf(u))
}

// artifact is Artifact for a GitRepository that those of way include.
func (o Options) artifact(ctx context.Context, u *unstructured.Unstructured, r view.Reader, store *stores.Stores, want view.Want, way []string) (*source.Artifact, error) {
	g, err := decodeGitRepository(u)
	if err != nil {
		return nil, err
	}
	name := unitName(GitRepositoryKind.Kind, g.Namespace, g.Name)
	at := g.Namespace + "/" + g.Name
	around := slices.Contains(way, at)
	way = append(way[:len(way):len(way)], at)
	if around {
		return nil, circular(way)
	}
	var included []*source.Artifact
	for _, inc := range g.Spec.Include {
		ref := object.Ref{Group: GitRepositoryKind.Group, Kind: GitRepositoryKind.Kind, Namespace: g.Namespace, Name: inc.GitRepositoryRef.Name}
		other, err := r.Resource(ctx, ref)
		if err != nil {
			return nil, fmt.Errorf("spec.include: %w", err)
		}
		revision, _, err := unstructured.NestedString(other.Object, "status", "artifact", "revision")
		if err != nil {
			return nil, fmt.Errorf("spec.include: the status of %s can't be read: %w", ref, err)
		}
		if revision == "" {
			return nil, fmt.Errorf("spec.include: %s has no artifact", ref)
		}
		a, err := o.artifact(ctx, other, r, store, view.Want{Revision: revision}, way)
		if err != nil {
			return nil, fmt.Errorf("spec.include: %w", err)
		}
		included = append(included, a)
	}
	shape, err := shapeOf(g)
	if err != nil {
		return nil, err
	}
	if want.Dir != nil {
		t, err := shape.Apply(want.Dir, &source.Ignorer{}, included)
		return &source.Artifact{Source: name, Revision: want.Revision, Tree: t}, inWords(err)
	}
	remote, _, err := remoteOf(g, r)
	if err != nil {
		return nil, err
	}
	head, err := wanted(ctx, store, remote, want.Revision)
	if err != nil {
		return nil, err
	}
	from := git.Source{Store: store.Git, Remote: remote, FetchOptions: git.FetchOptions{RecurseSubmodules: g.Spec.RecurseSubmodules}}
	c, err := from.Fetch(ctx, source.Revision{Name: head.Revision, Detail: head})
	if err != nil {
		return nil, err
	}
	t, err := shape.Apply(c.Tree, &source.Ignorer{}, included)
	if err != nil {
		return nil, inWords(err)
	}
	return &source.Artifact{Source: name, Revision: head.Revision, Tree: t, Commit: c.Commit}, nil
}

// Directory makes the artifact of a directory as the controller does of a
// GitRepository of that name that selects nothing: all of it, but for what Flux
// leaves out of every source.
func (o Options) Directory(ref object.Ref, dir tree.Tree, revision string) (*source.Artifact, error) {
	t, err := source.Shape{}.Apply(dir, &source.Ignorer{}, nil)
	return &source.Artifact{Source: unitName(ref.Kind, ref.Namespace, ref.Name), Revision: revision, Tree: t}, err
}

var hash = regexp.MustCompile(`^[0-9a-f]{40}$`)

// wanted finds out which commit a revision stands for.
func wanted(ctx context.Context, store *stores.Stores, remote git.Remote, revision string) (git.Head, error) {
	if i := strings.LastIndex(revision, "sha1:"); i >= 0 && hash.MatchString(revision[i+5:]) {
		return git.Head{Revision: revision, Hash: revision[i+5:]}, nil
	}
	switch {
	case hash.MatchString(revision):
		return store.Git.Resolve(ctx, remote, git.Ref{Commit: revision})
	case strings.HasPrefix(revision, "refs/"):
		return store.Git.Resolve(ctx, remote, git.Ref{Name: revision})
	}
	head, err := store.Git.Resolve(ctx, remote, git.Ref{Branch: revision})
	if !fault.Is(err, git.ReasonReferenceNotFound) {
		return head, err
	}
	if head, err := store.Git.Resolve(ctx, remote, git.Ref{Tag: revision}); !fault.Is(err, git.ReasonReferenceNotFound) {
		return head, err
	}
	return git.Head{}, &fault.Error{
		Next: fault.Stall, Reason: git.ReasonReferenceNotFound,
		Err:  fmt.Errorf("%s has no branch or tag %q", remote, revision),
		Hint: "name a branch, a tag, a full ref or a commit with all 40 digits",
	}
}
