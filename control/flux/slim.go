package flux

import (
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// slim is the [k8s.io/client-go/tools/cache.TransformFunc] for the cache of
// custom resources. Who owns which of their fields is left out, and the status,
// most of which is the inventory, is kept as text: as values it takes five
// times as much. [get] gives them as they were.
func slim(obj any) (any, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return obj, nil
	}
	u.SetManagedFields(nil)
	unstructured.RemoveNestedField(u.Object, "metadata", "annotations", corev1.LastAppliedConfigAnnotation)
	if status, ok := u.Object["status"].(map[string]any); ok {
		text, err := json.Marshal(status)
		if err != nil {
			return nil, fmt.Errorf("keep the status of %s: %w", u.GetName(), err)
		}
		u.Object["status"] = string(text)
	}
	return u, nil
}

// whole undoes what slim did to the status. What u holds stays as it is.
func whole(u *unstructured.Unstructured) error {
	text, ok := u.Object["status"].(string)
	if !ok {
		return nil
	}
	var status map[string]any
	if err := utiljson.Unmarshal([]byte(text), &status); err != nil {
		return fmt.Errorf("read the kept status of %s: %w", u.GetName(), err)
	}
	u.Object = maps.Clone(u.Object)
	u.Object["status"] = status
	return nil
}
