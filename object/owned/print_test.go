package owned_test

import (
	"strings"
	"testing"

	"plumb.dev/plumb/object/owned"
)

const printed = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
  managedFields:
  - manager: kustomize-controller
    operation: Apply
    fieldsV1:
      f:metadata: {f:annotations: {}, f:labels: {f:app: {}}}
      f:spec:
        f:args: {}
        f:resources: {}
        f:init:
          k:{"name":"a"}: {.: {}, f:name: {}, f:image: {}}
          k:{"name":"b"}: {.: {}, f:name: {}}
        f:tags: {v:"x": {}, v:"y": {}}
  - manager: rival
    operation: Update
    fieldsV1: {f:spec: {f:replicas: {}}}
spec:
  replicas: 1
  args: [one, two]
  resources: {}
  init: [{name: a, image: i}, {name: b}]
  tags: [x, y]
`

// The fingerprint of an object changes with what counts, and with nothing
// else.
func TestPrint(t *testing.T) {
	before := owned.Print(object(t, []byte(printed)), managers)
	for _, c := range []struct {
		what    string
		changes []string // old, new
		differs bool
	}{
		{"a value", []string{"image: i", "image: j"}, true},
		{"a label", []string{"labels: {app: web}", "labels: {app: other}"}, true},
		{"a label that is gone", []string{"labels: {app: web}", "labels: {}", "f:labels: {f:app: {}}", "f:labels: {}"}, true},
		{"a field that was taken over", []string{", f:image: {}", ""}, true},
		{"the order of a list that is one value", []string{"[one, two]", "[two, one]"}, true},
		{"the order of list elements", []string{"{name: a, image: i}, {name: b}", "{name: b}, {name: a, image: i}"}, true},
		{"an element that is gone", []string{", {name: b}", ""}, true},
		{"a field of whom is undone", []string{"manager: rival", "manager: kubectl-edit"}, true},
		{"a field of somebody else", []string{"replicas: 1", "replicas: 5"}, false},
		{"an element of somebody else", []string{"[{name: a", "[{name: sidecar}, {name: a"}, false},
		{"the order of a set", []string{"[x, y]", "[y, x]"}, false},
		{"what others put into a map that is empty", []string{"\n  resources: {}", "\n  resources: {cpu: 1}", "f:replicas: {}", "f:resources: {f:cpu: {}}"}, false},
		{"what nobody owned up to", []string{"\n  resources: {}", "\n  resources: {cpu: 1}"}, true},
		{"a map that was empty and is not stored", []string{"labels: {app: web}", "labels: {app: web}\n  annotations: {revision: 1}", "{f:spec: {f:replicas: {}}}", "{f:metadata: {f:annotations: {.: {}, f:revision: {}}}}"}, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			if !strings.Contains(printed, c.changes[0]) {
				t.Fatal("the case changes nothing")
			}
			after := owned.Print(object(t, []byte(strings.NewReplacer(c.changes...).Replace(printed))), managers)
			if (after != before) != c.differs {
				t.Errorf("differs: %v, want %v", after != before, c.differs)
			}
		})
	}
}
