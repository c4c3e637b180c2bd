package owned

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// UndoPatchType is the type of the patch that [UndoPatch] returns.
const UndoPatchType = types.JSONPatchType

// UndoPatch returns a patch of u's managedFields that gives m.Self, as one who
// applies, the fields of those whose fields are taken back. What m.Self does
// not want of them goes with its next apply, as KEP-2155 describes it for
// client-side apply. The patch fails if u has changed.
func UndoPatch(u *unstructured.Unstructured, m Managers, apiVersion string) ([]byte, error) {
	var kept []metav1.ManagedFieldsEntry
	all := fieldpath.NewSet()
	self := metav1.ManagedFieldsEntry{
		Manager: m.Self, Operation: metav1.ManagedFieldsOperationApply,
		APIVersion: apiVersion, FieldsType: "FieldsV1",
	}
	for _, e := range u.GetManagedFields() {
		mine := e.Subresource == "" && e.Manager == m.Self
		if !mine && (e.Subresource != "" || !m.Undoes(e.Manager)) {
			kept = append(kept, e)
			continue
		}
		if e.FieldsV1 == nil {
			continue
		}
		var set fieldpath.Set
		if err := set.FromJSON(e.FieldsV1.GetRawReader()); err != nil {
			return nil, fmt.Errorf("read the fields of manager %q: %w", e.Manager, err)
		}
		all = all.Union(&set)
		if mine && e.Operation == metav1.ManagedFieldsOperationApply {
			self.APIVersion = e.APIVersion
		}
	}
	raw, err := all.ToJSON()
	if err != nil {
		return nil, err
	}
	self.FieldsV1 = metav1.NewFieldsV1(string(raw))
	now := metav1.Now()
	self.Time = &now
	return json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/managedFields", "value": append(kept, self)},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": u.GetResourceVersion()},
	})
}
