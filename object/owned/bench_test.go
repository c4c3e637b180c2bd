package owned

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/object/ignore"
)

// benched is a Deployment as a server returns it.
func benched(b *testing.B) *unstructured.Unstructured {
	b.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(`
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
  managedFields:
  - manager: plumb
    operation: Apply
    fieldsV1:
      f:metadata: {f:labels: {f:app: {}}}
      f:spec:
        f:replicas: {}
        f:template: {f:spec: {f:containers: {'k:{"name":"web"}': {.: {}, f:name: {}, f:image: {}, f:args: {}, f:env: {'k:{"name":"ONE"}': {.: {}, f:name: {}, f:value: {}}}}}}}
  - manager: kube-controller-manager
    operation: Update
    subresource: status
    fieldsV1: {f:status: {f:replicas: {}}}
spec:
  replicas: 2
  template: {spec: {containers: [{name: web, image: git, args: [one, two], env: [{name: ONE, value: "1"}]}]}}
status: {replicas: 2}
`), &u.Object); err != nil {
		b.Fatal(err)
	}
	return u
}

// What nobody has a rule about costs what it did before there were rules.
func BenchmarkWithoutRules(b *testing.B) {
	live := benched(b)
	desired := live.DeepCopy()
	desired.SetManagedFields(nil)
	delete(desired.Object, "status")
	b.Run("print", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Print(live, writers)
		}
	})
	b.Run("same", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !Same(desired, live, writers) {
				b.Fatal("it is not as desired")
			}
		}
	})
}

// BenchmarkPrintUnder is a print under a rule, of which the expression is
// evaluated here each time.
func BenchmarkPrintUnder(b *testing.B) {
	live := benched(b)
	for name, rule := range map[string]ignore.Rule{
		"a pointer": pointers("/spec/replicas"), "a manager": {Managers: []string{"vpa"}},
		"jq": {JQ: []string{`.spec.template.spec.containers[] | select(.name == "sidecar")`}},
	} {
		r, err := ignore.Compile([]ignore.Rule{rule}, ignore.Options{})
		if err != nil {
			b.Fatal(err)
		}
		m := writers
		m.Ignored = r.For(live, "", nil)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Print(live, m)
			}
		})
	}
}
