package flux

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/control/custom"
	"plumb.dev/plumb/report"
)

// statuses stores that of the custom resources of one kind.
type statuses struct {
	custom.Latest
	client  client.Client
	manager string
}

func newStatuses(c client.Client, manager string) *statuses {
	return &statuses{client: c, manager: manager}
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
	return s.Wrote(u)
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
