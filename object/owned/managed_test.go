package owned

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// written is an object that four managers have written.
func written(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON([]byte(`{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "resourceVersion": "7", "managedFields": [
		{"manager": "plumb", "operation": "Apply", "apiVersion": "apps/v1", "time": "2026-01-02T03:04:05Z", "fieldsType": "FieldsV1",
		 "fieldsV1": {"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:image": {}, "f:name": {}}}}}}}},
		{"manager": "kubectl-edit", "operation": "Update", "apiVersion": "apps/v1", "time": "2026-01-02T03:04:06Z", "fieldsType": "FieldsV1",
		 "fieldsV1": {"f:metadata": {"f:finalizers": {".": {}, "v:\"a/b\"": {}}}, "f:spec": {"f:paused": {}}}},
		{"manager": "autoscaler", "operation": "Update", "apiVersion": "apps/v1", "time": "2026-01-02T03:04:07Z", "fieldsType": "FieldsV1",
		 "fieldsV1": {"f:spec": {"f:replicas": {}}}, "subresource": "scale"},
		{"manager": "plumb", "operation": "Update", "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:minReadySeconds": {}}}}
	]}}`)); err != nil {
		t.Fatal(err)
	}
	return u
}

var writers = Managers{Self: "plumb", Undo: []string{"kubectl"}}

func TestFieldsAreReadAsTheServersOwnLibraryReadsThem(t *testing.T) {
	u := written(t)
	for i, m := range u.GetManagedFields() {
		var want fieldpath.Set
		if err := want.FromJSON(m.FieldsV1.GetRawReader()); err != nil {
			t.Fatal(err)
		}
		e := entries(u)[i]
		got, err := e.set()
		if err != nil || !got.Equals(&want) {
			t.Errorf("%s: %v, want %v: %v", m.Manager, got, &want, err)
		}
		if e.manager != m.Manager || e.operation != string(m.Operation) || e.subresource != m.Subresource || e.apiVersion != m.APIVersion {
			t.Errorf("%+v is read as %+v", m, e)
		}
	}
}

func TestWhatIsNotAsTheServerWritesItIsNotThere(t *testing.T) {
	for name, fields := range map[string]any{
		"text": "x", "a map": map[string]any{}, "texts": []any{"x"}, "nothing in it": []any{map[string]any{}},
		"other types": []any{map[string]any{"manager": int64(1), "fieldsV1": "x"}},
	} {
		u := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"managedFields": fields}}}
		if s, err := fieldsOf(u, func(entry) bool { return true }); err != nil || !s.Empty() {
			t.Errorf("%s: %v, %v", name, s, err)
		}
		if NeedsUndo(u, writers) || len(UndoNames(u, writers)) != 0 {
			t.Errorf("%s: there is something to take back", name)
		}
	}
}

func TestAnUndoPatchLeavesTheEntriesOfOthersAsTheyAre(t *testing.T) {
	u := written(t)
	b, err := UndoPatch(u, writers, "apps/v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	var patch []struct {
		Op, Path string
		Value    any
	}
	if err := json.Unmarshal(b, &patch); err != nil {
		t.Fatal(err)
	}
	if len(patch) != 2 || patch[0].Path != "/metadata/managedFields" || patch[1].Path != "/metadata/resourceVersion" || patch[1].Value != "7" {
		t.Fatalf("the patch is %s", b)
	}
	after := u.DeepCopy()
	_ = unstructured.SetNestedField(after.Object, patch[0].Value, "metadata", "managedFields")
	got := after.GetManagedFields()
	if len(got) != 2 {
		t.Fatalf("the entries are %v", got)
	}
	if diff := cmp.Diff(u.GetManagedFields()[2], got[0]); diff != "" {
		t.Errorf("the other's entry: %s", diff)
	}
	self := got[1]
	if self.Manager != "plumb" || self.Operation != metav1.ManagedFieldsOperationApply || self.Time == nil || self.APIVersion != "apps/v1" {
		t.Errorf("plumb's entry is %+v", self)
	}
	if NeedsUndo(after, writers) {
		t.Error("there is still something to take back")
	}
	mine, err := fieldsOf(after, writers.applied)
	if err != nil {
		t.Fatal(err)
	}
	all, err := fieldsOf(u, func(e entry) bool { return e.subresource == "" })
	if err != nil || !mine.Equals(all) {
		t.Errorf("plumb has %v, want %v: %v", mine, all, err)
	}
	// What is left to them stays theirs, and the rest becomes plumb's.
	b, err = UndoPatch(u, writers, "apps/v1", []Path{fieldpath.MakePathOrDie("spec", "paused")})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &patch); err != nil {
		t.Fatal(err)
	}
	_ = unstructured.SetNestedField(after.Object, patch[0].Value, "metadata", "managedFields")
	theirs, err := fieldsOf(after, func(e entry) bool { return e.manager == "kubectl-edit" })
	if want := fieldpath.NewSet(fieldpath.MakePathOrDie("spec", "paused")); err != nil || !theirs.Equals(want) {
		t.Errorf("they have %v, want %v: %v", theirs, want, err)
	}
}
