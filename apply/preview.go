package apply

import (
	"context"
	"fmt"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
)

// Why a change that was previewed may still be refused.
const (
	Unchecked = "not tried on the server, because its namespace comes with it"
	unchecked = "not tried on the server, because what it may need comes with it"
)

// Preview is [Applier.Stage] without the writing: it returns the changes that
// would be made, with their fields, in order. One error does not hide the
// others; they are joined, each with its object. coming are namespaces that an
// earlier stage would create.
func (a *Applier) Preview(ctx context.Context, stage []*Change, coming map[string]bool) ([]*Change, error) {
	var mu sync.Mutex
	var would []*Change
	bringing := enablers(stage)
	err := each(stage, func(c *Change) error {
		err := a.try(ctx, c)
		switch {
		case bringing.mayMend(c, err):
			c.Why = unchecked
		case err != nil && c.Action == Create && apierrors.IsNotFound(err) && coming[c.Ref.Namespace]:
			c.Why = Unchecked
		case err != nil:
			return err
		}
		if c.Action == Nothing {
			return nil
		}
		if err := a.fields(c); err != nil {
			return a.about(ctx, c, err)
		}
		mu.Lock()
		would = append(would, c)
		mu.Unlock()
		return nil
	})
	place := make(map[object.Ref]int, len(stage))
	for i, c := range stage {
		place[c.Ref] = i
	}
	slices.SortFunc(would, func(a, b *Change) int { return place[a.Ref] - place[b.Ref] })
	return would, err
}

// fields fills in what c would change.
func (a *Applier) fields(c *Change) error {
	switch {
	case c.Action == Recreate:
		c.Why = "it has a change that can't be made in place"
		return nil
	case c.Action != Update || c.dry == nil || c.live == nil:
		return nil
	}
	after, m := c.dry, c.item.Policy.Managers(a.Managers)
	if owned.NeedsUndo(c.live, m) {
		var err error
		if after, err = owned.Undone(c.dry, c.live, m); err != nil {
			return fmt.Errorf("take over fields: %w", err)
		}
	}
	c.Fields = a.differences(after, c.live)
	if len(c.Fields) == 0 {
		c.Why = "only who owns its fields would change"
	}
	return nil
}

// Errors takes apart what Preview and other calls have joined.
func Errors(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	switch {
	case err == nil:
		return nil
	case !ok:
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, Errors(e)...)
	}
	return out
}
