package engine

import (
	"context"
	"errors"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
)

// rehearse has the server try what an operation would do. It waits for nothing:
// what would have to come first is why it can't be told.
func (w *pass) rehearse(ctx context.Context, f apply.Facts) error {
	r := w.unit.Underway
	w.out.Rehearsed = true
	if r.Progress.Failed {
		return &fault.Error{Next: fault.Retry, Reason: r.Progress.Reason, Err: errors.New(r.Progress.Message)}
	}
	if r.Only != nil {
		f = selected(f, apply.Select(r.Only))
	}
	inventory, held := w.st.inventory, w.st.held
	defer func() { w.st.inventory, w.st.held = inventory, held }() // it is about what would be
	if err := w.makePlan(f); err != nil {
		return err
	}
	w.ledger = nil
	w.applier = w.actor(ctx)
	w.applier.Dry, w.applier.Coming = true, map[object.Ref]bool{}
	w.applier.Settled = func(object.Ref, string, *unstructured.Unstructured) {}
	err := errors.Join(w.plan.NotAdmitted(), told(w.act(ctx)))
	if err == nil && w.plan.Holds(apply.RuleUnknownKind) {
		err = w.kindErr
	}
	if e := fault.Of(err); e != nil && e.Next == fault.Wait {
		return &fault.Error{Next: fault.Stall, Reason: e.Reason, Err: err}
	}
	return err
}

// selected leaves of facts those about some objects.
func selected(f apply.Facts, only apply.Selection) apply.Facts {
	other := func(it apply.Item) bool { return !it.Aside && !only.Has(it.Ref) }
	f.Items = slices.DeleteFunc(slices.Clone(f.Items), other)
	f.Unknown = slices.DeleteFunc(slices.Clone(f.Unknown), other)
	f.Inventory = slices.DeleteFunc(slices.Clone(f.Inventory), func(e apply.Entry) bool { return !only.Has(e.Ref) })
	return f
}
