// Package custom is how dialects keep their custom resources: small in the
// cache ([Slim], [Whole]), and as they are known to be stored, also where the
// cache has not heard of that yet ([Latest]).
package custom

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Slim is the [k8s.io/client-go/tools/cache.TransformFunc] for the cache of
// custom resources. Who owns which of their fields is left out, and the status,
// most of which is the inventory, is kept as text: as values it takes five
// times as much. So are other parts that the caller names. [Whole] gives them as
// they were.
func Slim(obj any, also ...string) (any, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return obj, nil
	}
	u.SetManagedFields(nil)
	unstructured.RemoveNestedField(u.Object, "metadata", "annotations", corev1.LastAppliedConfigAnnotation)
	for _, part := range append(also, "status") {
		value, ok := u.Object[part].(map[string]any)
		if !ok {
			continue
		}
		text, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("keep the %s of %s: %w", part, u.GetName(), err)
		}
		u.Object[part] = string(text)
	}
	return u, nil
}

// parts are what may be kept as text.
var parts = []string{"spec", "operation", "status"}

// Whole undoes what [Slim] did. What u holds stays as it is.
func Whole(u *unstructured.Unstructured) error {
	whole := maps.Clone(u.Object)
	for _, part := range parts {
		text, ok := whole[part].(string)
		if !ok {
			continue
		}
		var value map[string]any
		if err := utiljson.Unmarshal([]byte(text), &value); err != nil {
			return fmt.Errorf("read the kept %s of %s: %w", part, u.GetName(), err)
		}
		whole[part] = value
	}
	u.Object = whole
	return nil
}

// IsLeaving reports whether the custom resources of a kind go because their
// definition, of that name, does: then nobody has asked for what they have made to
// go with them. It asks the server.
func IsLeaving(ctx context.Context, live client.Reader, definition string) (bool, error) {
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	if err := live.Get(ctx, types.NamespacedName{Name: definition}, crd); err != nil {
		return true, client.IgnoreNotFound(err)
	}
	return !crd.DeletionTimestamp.IsZero(), nil
}

// Latest knows what was written to the custom resources of one kind until the
// cache does. It is safe for concurrent use; the zero value knows nothing.
//
// A status is written as its difference to what was read. If that is older
// than what was stored last, the difference is a wrong one, and none where a
// run comes to what was true before. The option of controller-runtime's client
// for this does not know of unstructured objects (v0.25), and blocks a worker.
type Latest struct {
	mu      sync.Mutex
	written map[types.NamespacedName]written
}

// written is an object as it was after a write, as [Slim] has it.
type written struct {
	object *unstructured.Unstructured
	at     time.Time
}

// longestLag is how long what was written counts although the cache has it not:
// that of a server that was set back never will.
const longestLag = 30 * time.Second

// Of returns u, which is from the cache, or what was written since. It is
// shared, and its status is as [Slim] has it. What the cache has is let go of.
func (l *Latest) Of(u *unstructured.Unstructured) *unstructured.Unstructured {
	key := client.ObjectKeyFromObject(u)
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, ok := l.written[key]; ok && last.after(u) {
		return &unstructured.Unstructured{Object: last.object.Object}
	}
	delete(l.written, key)
	return u
}

// Newest reads an object as it is known to be stored. It may be shared, and is as
// [Slim] has it.
func (l *Latest) Newest(ctx context.Context, c client.Reader, gvk schema.GroupVersionKind, key types.NamespacedName) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	if err := c.Get(ctx, key, u, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	return l.Of(u), nil
}

func (w written) after(u *unstructured.Unstructured) bool {
	order, err := resourceversion.CompareResourceVersion(u.GetResourceVersion(), w.object.GetResourceVersion())
	return err == nil && order < 0 && time.Since(w.at) < longestLag
}

// Wrote notes an object as it is after a write. What u holds stays as it is.
func (l *Latest) Wrote(u *unstructured.Unstructured) error {
	kept := &unstructured.Unstructured{Object: maps.Clone(u.Object)}
	if _, err := Slim(kept); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.written == nil {
		l.written = make(map[types.NamespacedName]written)
	}
	l.written[client.ObjectKeyFromObject(u)] = written{kept, time.Now()}
	return nil
}

// Heard reports whether u, which the cache has by now, is as it was written last:
// of that its writer knows. What was written is let go of then.
func (l *Latest) Heard(u client.Object) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := client.ObjectKeyFromObject(u)
	last, ok := l.written[key]
	if !ok || last.object.GetResourceVersion() != u.GetResourceVersion() {
		return false
	}
	delete(l.written, key)
	return true
}

// Forget drops what is known of an object that is no more.
func (l *Latest) Forget(key types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.written, key)
}

// Knows reports whether something was written that the cache was not seen to
// have.
func (l *Latest) Knows(key types.NamespacedName) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.written[key]
	return ok
}
