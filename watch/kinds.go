package watch

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"plumb.dev/plumb/cluster"
)

// watchKinds wakes the units that wait for a kind when a CRD comes or changes.
func (w *Watch) watchKinds(md metadata.Interface) {
	crds := md.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	ctx, stop := context.WithCancel(w.ctx)
	defer stop()
	// Who may not see definitions, as on somebody else's cluster, finds a new
	// kind when the unit that waits for it is tried again.
	allowed := func(err error) {
		if apierrors.IsForbidden(err) {
			stop()
		}
	}
	lw := cluster.ListWatch(md, crds, allowed)
	r := cache.NewReflectorWithOptions(lw, &metav1.PartialObjectMetadata{}, kindStore{w}, cache.ReflectorOptions{Name: "kinds"})
	r.RunWithContext(ctx)
}

// kindStore is a store that keeps nothing.
type kindStore struct{ w *Watch }

func (k kindStore) Add(any) error               { k.w.kindsChanged(); return nil }
func (k kindStore) Update(any) error            { k.w.kindsChanged(); return nil }
func (k kindStore) Delete(any) error            { k.w.kindsChanged(); return nil }
func (k kindStore) Replace([]any, string) error { k.w.kindsChanged(); return nil }
func (k kindStore) Resync() error               { return nil }

// KindsChanged returns when a definition was last seen to come or change. The
// server may serve its kind a little later, which no event tells of.
func (w *Watch) KindsChanged() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.kindsAt
}

func (w *Watch) kindsChanged() {
	w.mu.Lock()
	w.kinds++
	w.kindsAt = time.Now()
	units := map[string]bool{}
	for gk, waiting := range w.waiting {
		for u := range waiting {
			units[u] = true
		}
		delete(w.waiting, gk)
	}
	w.mu.Unlock()
	for u := range units {
		w.notify(u)
	}
}

// AwaitKinds has a unit woken when a definition comes, changes or goes next,
// whichever it is.
func (w *Watch) AwaitKinds(unit string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.awaitKind(schema.GroupKind{}, unit)
}

// awaitKind notes that a unit waits for a kind.
func (w *Watch) awaitKind(gk schema.GroupKind, unit string) {
	if w.waiting[gk] == nil {
		w.waiting[gk] = map[string]bool{}
	}
	w.waiting[gk][unit] = true
}
