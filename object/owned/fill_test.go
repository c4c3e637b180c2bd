package owned_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/object/owned"
)

func TestOthersMayFillWhatIsEmpty(t *testing.T) {
	const live = `
kind: Account
metadata:
  managedFields:
  - {manager: plumb, operation: Apply, fieldsV1: {"f:spec": {"f:mine": {}, "f:size": {}}}}
  - {manager: other, operation: Update, fieldsV1: {"f:secrets": {}, "f:spec": {"f:theirs": {}}}}
secrets: [a]
spec: {mine: [m], theirs: [x], size: 1, none: null}
`
	for _, c := range []struct{ what, desired, want string }{
		{"an empty list that somebody else has filled is left out", "{kind: Account, secrets: [], spec: {size: 2}}", "{kind: Account, spec: {size: 2}}"},
		{"below other fields, too", "{kind: Account, spec: {size: 2, theirs: []}}", "{kind: Account, spec: {size: 2}}"},
		{"one that is its own is emptied", "{kind: Account, spec: {size: 2, mine: []}}", "{kind: Account, spec: {size: 2, mine: []}}"},
		{"one that nobody has filled stays", "{kind: Account, spec: {size: 2, none: [], new: {}}}", "{kind: Account, spec: {size: 2, none: [], new: {}}}"},
		{"what is not empty is applied", "{kind: Account, secrets: [b], spec: {size: 2}}", "{kind: Account, secrets: [b], spec: {size: 2}}"},
	} {
		got := owned.LetFill(parse(t, c.desired), parse(t, live), owned.Managers{Self: "plumb"})
		if diff := cmp.Diff(parse(t, c.want).Object, got.Object); diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.what, diff)
		}
	}
}

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}
