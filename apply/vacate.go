package apply

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"plumb.dev/plumb/object"
)

// MadeFor is the annotation of a namespace that was made for a unit, which it
// names.
const MadeFor = "plumb.dev/made-for"

// Vacate deletes a namespace that was made for a unit that goes, if nothing is
// left in it, or says why it stays. One that was not made for it stays anyway.
func (a *Applier) Vacate(ctx context.Context, namespace, unit string) (why string, err error) {
	c := &Result{Change: &Change{Ref: object.Ref{Kind: "Namespace", Name: namespace}, Version: "v1"}, Action: Delete}
	live, err := a.get(ctx, c)
	switch {
	case apierrors.IsNotFound(err):
		return "", nil
	case err != nil:
		return "", a.about(ctx, c, err)
	case live.GetAnnotations()[MadeFor] != unit || live.GetDeletionTimestamp() != nil:
		return "", nil
	case slices.Contains(a.Namespaces, namespace):
		return "it is one that plumb itself lives in", nil
	case a.Policy(live).consent(true) == Never:
		return "it is marked to be kept", nil
	}
	if why, err = a.foreign(ctx, namespace, nil); err != nil || why != "" {
		return why, err
	}
	if err = a.remove(ctx, c, live); err == nil || apierrors.IsNotFound(err) {
		return "", nil
	}
	return "", a.about(ctx, c, err)
}
