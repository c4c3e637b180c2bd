package engine

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
)

// looked adds to facts what an operation has to know of objects that the watch
// does not keep: whether it has made one anew.
func (w *pass) looked(ctx context.Context, f apply.Facts) (apply.Facts, error) {
	if f.Course == nil {
		return f, nil
	}
	seen := map[object.Ref]*unstructured.Unstructured{}
	for i := range f.Items {
		it := &f.Items[i]
		l, known := f.Live(it.Ref)
		if !it.Renewed(f.Force, f.Replace) || !known || !l.Exists || l.Object != nil {
			continue
		}
		o, err := w.see(ctx, it.Ref, it.Version)
		if err != nil {
			return f, err
		}
		seen[it.Ref] = o
	}
	if live := f.Live; len(seen) > 0 {
		f.Live = func(r object.Ref) (apply.Live, bool) {
			l, known := live(r)
			if o, ok := seen[r]; ok {
				l.Object, l.Exists = o, o != nil
			}
			return l, known
		}
	}
	return f, nil
}

// see reads an object as the unit's identity sees it; nil: it is not there, or its
// kind is not.
func (w *pass) see(ctx context.Context, ref object.Ref, version string) (*unstructured.Unstructured, error) {
	o, err := w.client.Get(ctx, ref, version)
	if apierrors.IsNotFound(err) || fault.Is(err, fault.UnknownKind) {
		return nil, nil //nolint:nilnil // that there is none is an answer
	}
	if err != nil {
		return nil, &fault.Error{Object: ref, Err: fmt.Errorf("read: %w", err)}
	}
	return o, nil
}
