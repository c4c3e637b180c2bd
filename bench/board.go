package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
)

// A sighting is an object as a watch has shown it, and when.
type sighting struct {
	object *unstructured.Unstructured
	at     time.Time
}

// sight sends every state of the objects of a kind, or of one of them, until
// the returned function is called. It returns when the watch runs.
func (w *world) sight(ctx context.Context, r schema.GroupVersionResource, namespace, name string) (<-chan sighting, func(), error) {
	ctx, stop := context.WithCancel(ctx)
	seen := make(chan sighting, 100_000)
	tweak := func(o *metav1.ListOptions) {
		if name != "" {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
		}
	}
	informer := dynamicinformer.NewFilteredDynamicInformer(w.client, r, namespace, 0, cache.Indexers{}, tweak).Informer()
	send := func(o any) {
		if u, ok := o.(*unstructured.Unstructured); ok {
			select {
			case seen <- sighting{u, time.Now()}:
			case <-ctx.Done():
			}
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: send, UpdateFunc: func(_, o any) { send(o) }})
	if err != nil {
		stop()
		return nil, nil, err
	}
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		stop()
		return nil, nil, fmt.Errorf("watch %s: %w", r.Resource, ctx.Err())
	}
	return seen, stop, nil
}

// all returns when as many objects have been seen in a state as there are
// units, with the time of the last one.
func (w *world) all(ctx context.Context, seen <-chan sighting, within time.Duration, is func(*unstructured.Unstructured) bool) (time.Time, error) {
	return w.many(ctx, seen, within, w.n, is)
}

// many is all for n objects.
func (w *world) many(ctx context.Context, seen <-chan sighting, within time.Duration, n int, is func(*unstructured.Unstructured) bool) (time.Time, error) {
	have := make(map[string]bool, n)
	return w.first(ctx, seen, within, func(u *unstructured.Unstructured) bool {
		if is(u) {
			have[u.GetName()] = true
		} else {
			delete(have, u.GetName())
		}
		return len(have) == n
	})
}

// first returns when a state has been seen, with its time.
func (w *world) first(ctx context.Context, seen <-chan sighting, within time.Duration, is func(*unstructured.Unstructured) bool) (time.Time, error) {
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	for {
		select {
		case s := <-seen:
			if is(s.object) {
				return s.at, nil
			}
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		case <-w.plumb.Ended():
			return time.Time{}, w.plumb.Failure()
		case <-timeout.C:
			return time.Time{}, fmt.Errorf("not all was as it should be after %s", within)
		}
	}
}
