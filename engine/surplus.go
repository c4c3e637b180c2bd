package engine

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
)

// tracked adds to facts what objects say of themselves that the unit keeps track
// of although they are no longer desired, and lets go of those that somebody has
// deleted, or another unit has taken. While an operation runs, that is for act to
// find out, which tells of it. The watch keeps such objects; what it does not show,
// the server is asked for.
func (w *pass) tracked(ctx context.Context, f apply.Facts) (apply.Facts, error) {
	if !f.Pruning.Tracks || f.Pruning.Leaving {
		return f, nil
	}
	f.Says = make(map[object.Ref]apply.Policy)
	gone := make(map[object.Ref]bool)
	for _, e := range f.Surplus() {
		if w.st.denied[e.Ref] {
			continue
		}
		l, _ := f.Live(e.Ref)
		o := l.Object
		if o == nil || !l.Exists {
			var err error
			o, err = w.client.Get(ctx, e.Ref, e.Version)
			switch {
			case apierrors.IsNotFound(err):
				gone[e.Ref] = true
				continue
			case fault.Is(err, fault.UnknownKind):
				continue // of which nothing is known
			case err != nil:
				return f, &fault.Error{Object: e.Ref, Err: fmt.Errorf("read: %w", err)}
			}
		}
		switch w.owner(w.unit, o) {
		case w.unit.Name:
			f.Says[e.Ref] = w.unit.policy(o)
		case "": // which act will not delete
		default:
			gone[e.Ref] = true
		}
	}
	if w.unit.Permission != apply.Everything && len(gone) > 0 {
		w.st.inventory = apply.Without(w.st.inventory, gone)
		f.Inventory = w.st.inventory
	}
	return f, nil
}
