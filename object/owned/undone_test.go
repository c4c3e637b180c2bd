package owned_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/object/owned"
)

func parsed(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

var kubectlUndone = owned.Managers{Self: "plumb", Undo: []string{"kubectl"}}

// What kubectl wrote and nobody else wants goes: a field, an element of a list
// with its fields, a value of a set. What another manager owns too stays.
func TestUndoneTakesAwayWhatOnlyTheUndoneOwn(t *testing.T) {
	live := parsed(t, `
apiVersion: v1
kind: Thing
metadata:
  name: a
  finalizers: [example.com/a, example.com/b]
  annotations: {theirs: x, both: y}
  managedFields:
  - manager: kubectl-edit
    operation: Update
    fieldsV1:
      f:metadata:
        f:finalizers: {.: {}, 'v:"example.com/a"': {}}
        f:annotations: {.: {}, f:theirs: {}, f:both: {}}
      f:spec:
        f:replicas: {}
        f:containers:
          k:{"name":"web"}: {.: {}, f:name: {}, f:image: {}}
          k:{"name":"extra"}: {.: {}, f:name: {}, f:image: {}}
  - manager: someone
    operation: Update
    fieldsV1:
      f:metadata:
        f:finalizers: {'v:"example.com/b"': {}}
        f:annotations: {f:both: {}}
spec:
  replicas: 3
  containers: [{name: web, image: a}, {name: extra, image: b}]
`)
	want := live.DeepCopy()
	applied := parsed(t, `
manager: plumb
operation: Apply
fieldsV1: {f:spec: {f:containers: {'k:{"name":"web"}': {.: {}, f:name: {}, f:image: {}}}}}
`).Object
	fields, _, _ := unstructured.NestedSlice(want.Object, "metadata", "managedFields")
	if err := unstructured.SetNestedSlice(want.Object, append(fields, any(applied)), "metadata", "managedFields"); err != nil {
		t.Fatal(err)
	}
	got, err := owned.Undone(want, live, kubectlUndone)
	if err != nil {
		t.Fatal(err)
	}
	if owned.NeedsUndo(got, kubectlUndone) {
		t.Error("they still own something")
	}
	var lines []string
	for _, f := range owned.Diff(got, live) {
		lines = append(lines, f.String())
	}
	expect := []string{
		"metadata.annotations.theirs: x → (none)",
		"metadata.finalizers[0]: example.com/a → example.com/b",
		"metadata.finalizers[1]: example.com/b → (none)",
		`spec.containers[name=extra]: {"image":"b","name":"extra"} → (none)`,
		"spec.replicas: 3 → (none)",
	}
	if d := cmp.Diff(expect, lines); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// kubectl's copy of a Secret is in an annotation. It is masked also where all
// annotations are new or gone.
func TestNoValueOfASecretIsInADifference(t *testing.T) {
	live := parsed(t, `
apiVersion: v1
kind: Secret
metadata:
  name: a
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: '{"stringData":{"password":"hunter2"}}'
data: {password: aHVudGVyMg==}
`)
	bare := parsed(t, "{apiVersion: v1, kind: Secret, metadata: {name: a}}")
	for _, pair := range [][2]*unstructured.Unstructured{{live, bare}, {bare, live}, {live, nil}, {nil, live}} {
		for _, f := range owned.Diff(pair[0], pair[1]) {
			if s := f.String(); strings.Contains(s, "hunter2") || strings.Contains(s, "aHVudGVyMg") {
				t.Errorf("shows the value: %s", s)
			}
		}
	}
	if b, err := owned.Mask(live).MarshalJSON(); err != nil || strings.Contains(string(b), "hunter2") || strings.Contains(string(b), "aHVudGVyMg") {
		t.Errorf("shows the value: %s, %v", b, err)
	}
}
