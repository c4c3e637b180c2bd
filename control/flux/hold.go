package flux

import (
	"context"
	"fmt"

	"plumb.dev/plumb/engine"
)

// hold puts right what somebody has changed in what k has applied, where k
// itself can't go forward, and adds to out what that came to. Where the objects
// are and in whose name they are written has to be known; whatever else is
// wrong with the spec, what was applied by an earlier one stands.
func (r *kustomizations) hold(ctx context.Context, k *kustomization, refs getter, out *engine.Outcome) error {
	if k.Status.Inventory == nil {
		return nil
	}
	if _, err := r.o.target(k, refs); err != nil {
		return nil //nolint:nilerr // it is what k can't go forward for
	}
	unit, err := r.o.toUnit(k, refs)
	if unit.Remembers == nil {
		return nil //nolint:nilerr // as above
	}
	if from, err2 := r.o.sourceName(k); err == nil && err2 == nil {
		unit.Source = r.shelf.Get(from)
	}
	leave, ok := r.enter(unit.Target, k)
	if !ok {
		return nil // its turn wakes it
	}
	held, err := r.engine.Hold(ctx, unit)
	leave(err)
	out.Inventory, out.Changes, out.Fights, out.Next = held.Inventory, held.Changes, held.Fights, held.Next
	if err != nil {
		return fmt.Errorf("holding what was applied before: %w", err)
	}
	return nil
}
