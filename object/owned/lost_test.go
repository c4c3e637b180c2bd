package owned_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/object/owned"
)

const desiredDeployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec:
  replicas: 2
  strategy: {rollingUpdate: {maxSurge: 1}}
  template:
    spec:
      containers:
      - name: web
        image: git
        args: [a, b]
        ports: [{containerPort: 80, name: http}]
        env: [{name: ONE, value: "1"}, {name: TWO, value: "2"}]
`

// deployment returns desiredDeployment as the server has it once it is
// applied.
func deployment(t *testing.T) *unstructured.Unstructured {
	u := parsed(t, desiredDeployment)
	u.SetManagedFields(parsed(t, `
metadata:
  managedFields:
  - manager: plumb
    operation: Apply
    apiVersion: apps/v1
    fieldsType: FieldsV1
    fieldsV1:
      f:spec:
        f:replicas: {}
        f:strategy: {f:rollingUpdate: {f:maxSurge: {}}}
        f:template:
          f:spec:
            f:containers:
              k:{"name":"web"}:
                .: {}
                f:name: {}
                f:image: {}
                f:args: {}
                f:ports:
                  k:{"containerPort":80,"protocol":"TCP"}: {.: {}, f:containerPort: {}, f:name: {}}
                f:env:
                  k:{"name":"ONE"}: {.: {}, f:name: {}, f:value: {}}
                  k:{"name":"TWO"}: {.: {}, f:name: {}, f:value: {}}
`).GetManagedFields())
	set(t, u, map[string]any{"containerPort": int64(80), "name": "http", "protocol": "TCP"}, container("ports", 0)...)
	return u
}

// container is the way to a field of the container.
func container(path ...any) []any {
	return append([]any{"spec", "template", "spec", "containers", 0}, path...)
}

func fields(path ...any) []any {
	return append([]any{"metadata", "managedFields", 0, "fieldsV1", "f:spec"}, path...)
}

func ofContainer(path ...any) []any {
	return append(fields("f:template", "f:spec", "f:containers", `k:{"name":"web"}`), path...)
}

// set sets the value at a path of names and indexes; nil takes it away.
func set(t *testing.T, u *unstructured.Unstructured, value any, path ...any) {
	t.Helper()
	var v any = u.Object
	for _, e := range path[:len(path)-1] {
		switch e := e.(type) {
		case string:
			v = v.(map[string]any)[e]
		case int:
			v = v.([]any)[e]
		}
	}
	switch last := path[len(path)-1].(type) {
	case string:
		if v.(map[string]any)[last] = value; value == nil {
			delete(v.(map[string]any), last)
		}
	case int:
		v.([]any)[last] = value
	}
}

// Each case is something that others do to the Deployment: what is lost by it,
// and what is applied to leave that as it is.
func TestWhatIsLostCanBeLeft(t *testing.T) {
	type edit = func(*testing.T, *unstructured.Unstructured)
	rival := func(t *testing.T, u *unstructured.Unstructured, manager, fieldsYAML string) {
		e := parsed(t, "metadata:\n  managedFields:\n  - {manager: "+manager+", operation: Update, apiVersion: apps/v1, fieldsType: FieldsV1, fieldsV1: "+fieldsYAML+"}")
		u.SetManagedFields(append(u.GetManagedFields(), e.GetManagedFields()...))
	}
	for name, c := range map[string]struct {
		edit edit
		lost []string // path and manager
		left edit     // of what is desired
	}{
		"nothing": {edit: func(*testing.T, *unstructured.Unstructured) {}, left: func(*testing.T, *unstructured.Unstructured) {}},
		"a field is set": {
			edit: func(t *testing.T, u *unstructured.Unstructured) {
				set(t, u, "rival", container("image")...)
				set(t, u, nil, ofContainer("f:image")...)
				rival(t, u, "rival", `{"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"web"}': {"f:image": {}}}}}}}`)
			},
			lost: []string{"spec.template.spec.containers[name=web].image rival"},
			left: func(t *testing.T, u *unstructured.Unstructured) { set(t, u, nil, container("image")...) },
		},
		"a list that is owned as a whole is set": {
			edit: func(t *testing.T, u *unstructured.Unstructured) {
				set(t, u, []any{"a", "x"}, container("args")...)
				set(t, u, nil, ofContainer("f:args")...)
				rival(t, u, "kubectl-edit", `{"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"web"}': {"f:args": {}}}}}}}`)
			},
			lost: []string{"spec.template.spec.containers[name=web].args kubectl-edit"},
			left: func(t *testing.T, u *unstructured.Unstructured) { set(t, u, nil, container("args")...) },
		},
		"an element is removed": {
			edit: func(t *testing.T, u *unstructured.Unstructured) {
				set(t, u, []any{map[string]any{"name": "ONE", "value": "1"}}, container("env")...)
				set(t, u, nil, ofContainer("f:env", `k:{"name":"TWO"}`)...)
			},
			lost: []string{"spec.template.spec.containers[name=web].env[name=TWO] "},
			left: func(t *testing.T, u *unstructured.Unstructured) {
				set(t, u, []any{map[string]any{"name": "ONE", "value": "1"}}, container("env")...)
			},
		},
		"the last field of a map, and an element with a defaulted key": {
			edit: func(t *testing.T, u *unstructured.Unstructured) {
				set(t, u, nil, "spec", "strategy", "rollingUpdate")
				set(t, u, nil, fields("f:strategy")...)
				set(t, u, []any{}, container("ports")...)
				set(t, u, nil, ofContainer("f:ports")...)
			},
			lost: []string{"spec.strategy.rollingUpdate.maxSurge ", "spec.template.spec.containers[name=web].ports[containerPort=80,protocol=TCP] "},
			left: func(t *testing.T, u *unstructured.Unstructured) {
				set(t, u, nil, "spec", "strategy")
				set(t, u, nil, container("ports")...)
			},
		},
		"a field is added": {
			edit: func(t *testing.T, u *unstructured.Unstructured) {
				set(t, u, true, "spec", "paused")
				rival(t, u, "kubectl-patch", `{"f:spec": {"f:paused": {}}}`)
			},
			lost: []string{"spec.paused kubectl-patch"},
			left: func(*testing.T, *unstructured.Unstructured) {},
		},
		// Left out, it would be deleted, because nobody else owns it.
		"a field is set under plumb's own name": {
			edit: func(t *testing.T, u *unstructured.Unstructured) {
				set(t, u, int64(7), "spec", "replicas")
				set(t, u, true, "spec", "paused")
				set(t, u, map[string]any{}, fields("f:paused")...)
			},
			lost: []string{"spec.paused plumb", "spec.replicas plumb"},
			left: func(t *testing.T, u *unstructured.Unstructured) {
				set(t, u, int64(7), "spec", "replicas")
				set(t, u, true, "spec", "paused")
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			stood, live, want := deployment(t), deployment(t), parsed(t, desiredDeployment)
			c.edit(t, live)
			losses, err := owned.Lost(stood, live, kubectlUndone)
			if err != nil {
				t.Fatal(err)
			}
			var lost []string
			var paths []owned.Path
			for _, l := range losses {
				lost = append(lost, owned.Text(l.Path)+" "+l.Manager)
				paths = append(paths, l.Path)
			}
			if d := cmp.Diff(c.lost, lost); d != "" {
				t.Errorf("lost: -want +got:\n%s", d)
			}
			c.left(t, want)
			got, err := owned.Leave(parsed(t, desiredDeployment), live, paths, kubectlUndone)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(text(t, want), text(t, got)); d != "" {
				t.Errorf("left: -want +got:\n%s", d)
			}
		})
	}
}

func text(t *testing.T, u *unstructured.Unstructured) string {
	t.Helper()
	b, err := yaml.Marshal(u.Object)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
