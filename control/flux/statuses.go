package flux

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/report"
)

// statuses stores that of the custom resources of one kind, and knows what it
// has stored until the cache does.
//
// A status is written as its difference to what was read. If that is older
// than what was stored last, the difference is a wrong one, and none where a
// run comes to what was true before. The option of controller-runtime's client
// for this does not know of unstructured objects (v0.25), and blocks a worker.
type statuses struct {
	client  client.Client
	manager string

	mu      sync.Mutex
	written map[types.NamespacedName]written
}

// written is an object as it was after a write, as [slim] has it.
type written struct {
	object *unstructured.Unstructured
	at     time.Time
}

// longestLag is how long what was written counts although the cache has it not:
// that of a server that was set back never will.
const longestLag = 30 * time.Second

func newStatuses(c client.Client, manager string) *statuses {
	return &statuses{client: c, manager: manager, written: make(map[types.NamespacedName]written)}
}

// newest returns u, which is from the cache, or what was written since. It is
// shared, and its status is as [slim] has it. What the cache has is let go of.
func (s *statuses) newest(u *unstructured.Unstructured) *unstructured.Unstructured {
	key := client.ObjectKeyFromObject(u)
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.written[key]; ok && last.after(u) {
		return &unstructured.Unstructured{Object: last.object.Object}
	}
	delete(s.written, key)
	return u
}

func (w written) after(u *unstructured.Unstructured) bool {
	order, err := resourceversion.CompareResourceVersion(u.GetResourceVersion(), w.object.GetResourceVersion())
	return err == nil && order < 0 && time.Since(w.at) < longestLag
}

// forget drops what is known of an object that is no more.
func (s *statuses) forget(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.written, key)
}

// write stores status if it differs from what u has, and makes u what is
// stored then.
func (s *statuses) write(ctx context.Context, u *unstructured.Unstructured, status any) error {
	m, err := runtimeMap(status)
	if err != nil {
		return err
	}
	return s.writeRaw(ctx, u, m)
}

// writeRaw is write for a status that is not of a type.
func (s *statuses) writeRaw(ctx context.Context, u *unstructured.Unstructured, status map[string]any) error {
	before, _ := u.Object["status"].(map[string]any)
	if equalJSON(before, status) {
		return nil
	}
	changed := &unstructured.Unstructured{Object: maps.Clone(u.Object)}
	changed.Object["status"] = status
	if err := s.client.Status().Patch(ctx, changed, client.MergeFrom(u), client.FieldOwner(s.manager)); err != nil {
		return client.IgnoreNotFound(err)
	}
	u.Object = changed.Object
	kept := &unstructured.Unstructured{Object: maps.Clone(u.Object)}
	if _, err := slim(kept); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written[client.ObjectKeyFromObject(u)] = written{kept, time.Now()}
	return nil
}

// stall stalls a resource that can't be decoded, leaving the rest of its
// status as it is.
func (s *statuses) stall(ctx context.Context, u *unstructured.Unstructured, cause error) error {
	status, _, _ := unstructured.NestedMap(u.Object, "status")
	var list struct {
		Conditions []metav1.Condition `json:"conditions"`
	}
	if status == nil {
		status = map[string]any{}
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(status, &list); err != nil {
		list.Conditions = nil
	}
	report.Conditions{List: &list.Conditions, Generation: u.GetGeneration()}.Stall(reasonOf(cause, "InvalidSpec"), cause.Error())
	m, err := runtimeMap(&list)
	if err != nil {
		return err
	}
	status["conditions"], status["observedGeneration"] = m["conditions"], u.GetGeneration()
	return s.writeRaw(ctx, u, status)
}

func equalJSON(a, b map[string]any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && slices.Equal(x, y)
}

func runtimeMap(status any) (map[string]any, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status)
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	return m, nil
}

func decodeStatus(u *unstructured.Unstructured, into any) error {
	m, _, err := unstructured.NestedMap(u.Object, "status")
	if err != nil {
		return err
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructured(m, into)
}
