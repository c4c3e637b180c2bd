package apply

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/object/owned"
)

// Why a change that was previewed may still be refused.
const (
	Unchecked = "not tried on the server, because its namespace comes with it"
	unchecked = "not tried on the server, because what it may need comes with it"
)

// would notes what a change that was tried would do.
func (a *Applier) would(ctx context.Context, c *Result) error {
	c.Did = Would
	switch {
	case c.Action == Recreate:
		c.Why = "it has a change that can't be made in place"
		return nil
	case c.Action != Update || c.dry == nil || c.live == nil:
		return nil
	}
	after, m := c.dry, c.Managers(a.Managers)
	if owned.NeedsUndo(c.live, m) {
		var err error
		if after, err = owned.Undone(c.dry, c.live, m); err != nil {
			return c.refuse(a.about(ctx, c, fmt.Errorf("take over fields: %w", err)))
		}
	}
	c.Fields = a.differences(after, c.live)
	var err error
	if c.Alike, err = a.holds(after, c.live, c.Change); err != nil {
		return c.refuse(a.about(ctx, c, err))
	}
	if len(c.Fields) == 0 && c.partial() && c.dry.GetResourceVersion() == c.live.GetResourceVersion() {
		c.Did = Unneeded // the rest of it is as it should be
		return nil
	}
	if len(c.Fields) == 0 {
		c.Why = "only who owns its fields would change"
	}
	return nil
}

// Foresee returns what the server would make of an object that it has.
func (a *Applier) Foresee(ctx context.Context, it *Item, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	r := &Result{Change: &Change{Ref: it.Ref, Version: it.Version, item: it, live: live}, Action: Update, live: live}
	if live == nil {
		return it.Object(), nil
	}
	want, err := a.patch(ctx, r, true)
	if m := r.Managers(a.Managers); err == nil && owned.NeedsUndo(live, m) {
		want, err = owned.Undone(want, live, m)
	}
	return want, err
}

// Alike asks the server whether an object would hold the same as it does, but for
// the marks of its unit, if it was applied. What the server would not take is not
// alike.
func (a *Applier) Alike(ctx context.Context, it *Item, live *unstructured.Unstructured) (bool, error) {
	c := &Change{Ref: it.Ref, Version: it.Version, item: it, live: live}
	want, err := a.Foresee(ctx, it, live)
	if _, answered := statusOf(err); err != nil && answered && !NoAnswer(err) {
		return false, nil
	}
	same := false
	if err == nil {
		same, err = a.holds(want, live, c)
	}
	if err != nil {
		return false, a.about(ctx, &Result{Change: c}, err)
	}
	return same, nil
}

// holds reports whether two states of an object hold the same, but for marks.
func (a *Applier) holds(want, live *unstructured.Unstructured, c *Change) (bool, error) {
	labels, annotations := a.marks(c.Ref)
	return owned.Holds(want, live, c.Managers(a.Managers), labels, annotations)
}

// Foretell is Foresee for what a plan wants.
func (a *Applier) Foretell(ctx context.Context, c *Change, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	return a.Foresee(ctx, c.item, live)
}

// Errors takes apart what calls have joined.
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
