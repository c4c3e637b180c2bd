package engine

import (
	"errors"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
)

// kindsServed is how long after a definition has come an operation waits for the
// server to serve its kind.
const kindsServed = 10 * time.Second

// missing fails the try of an operation that wants kinds which the cluster does not
// have, before anything is done: whoever asked for it is told, and what is tried
// again finds them. A unit that holds true what is in its source waits for them.
func (w *pass) missing(now time.Time) error {
	if w.unit.Underway == nil || w.holds || w.dry() {
		return nil
	}
	changes := w.plan.Missing()
	if len(changes) == 0 {
		return nil
	}
	if !fault.Is(w.kindErr, fault.UnknownKind) || now.Sub(w.place.watch.KindsChanged()) < kindsServed {
		w.out.Next = sooner(w.out.Next, now.Add(time.Second))
		return &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Err: w.kindErr}
	}
	var errs []error
	var said []schema.GroupVersionKind
	for _, c := range w.record.Of(changes) {
		kind := c.Ref.GroupKind().WithVersion(c.Version)
		err := w.place.UnknownKind(kind)
		err.Next, err.Object = fault.Retry, c.Ref
		c.Did, c.Err = apply.Refused, err
		if !slices.Contains(said, kind) {
			said, errs = append(said, kind), append(errs, c.Err)
		}
	}
	return errors.Join(errs...)
}
