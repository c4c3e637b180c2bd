package rows_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

const immutableCRD = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ledgers.rows.example.com}
spec:
  group: rows.example.com
  scope: Namespaced
  names: {plural: ledgers, singular: ledger, kind: Ledger}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {type: integer, x-kubernetes-validations: [{rule: "self == oldSelf", message: "size stays"}]}
`

// changes that the server refuses in place and would accept in a new object.
var changes = []struct {
	what, kind, name, before, after string
	recreated                       bool // if the unit forces it
}{
	{
		"the role of a binding", "rbac.authorization.k8s.io/v1/RoleBinding", "dev",
		"{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: dev}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}, subjects: [{kind: User, name: someone, apiGroup: rbac.authorization.k8s.io}]}",
		"{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: dev}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}, subjects: [{kind: User, name: someone, apiGroup: rbac.authorization.k8s.io}]}",
		true,
	},
	{
		"the value of a class", "scheduling.k8s.io/v1/PriorityClass", "NS",
		"{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: NS}, value: 1}",
		"{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: NS}, value: 2}",
		true,
	},
	{
		"a variable of a Pod", "v1/Pod", "tool",
		"{apiVersion: v1, kind: Pod, metadata: {name: tool}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: tool, image: \"example.com/tool:1\", env: [{name: A, value: \"1\"}]}]}}",
		"{apiVersion: v1, kind: Pod, metadata: {name: tool}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: tool, image: \"example.com/tool:1\", env: [{name: A, value: \"2\"}]}]}}",
		true,
	},
	{
		"a strategy whose defaults are in the way", "apps/v1/Deployment", "web",
		deployment("web", ""),
		strings.Replace(deployment("web", ""), "spec:\n", "spec:\n  strategy: {type: Recreate}\n", 1),
		true,
	},
	{
		"a volume claim", volumeClaim, "data",
		"{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}",
		"{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}}",
		false,
	},
	{
		"a set whose claims go with it", "apps/v1/StatefulSet", "db",
		statefulSet("one"), statefulSet("two"), false,
	},
	{
		"a custom resource, which may hold anything", "rows.example.com/v1/Ledger", "l",
		"{apiVersion: rows.example.com/v1, kind: Ledger, metadata: {name: l}, spec: {size: 1}}",
		"{apiVersion: rows.example.com/v1, kind: Ledger, metadata: {name: l}, spec: {size: 2}}",
		false,
	},
}

func statefulSet(service string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 0
  serviceName: %s
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Retain}
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: "example.com/db:1"}]}
`, service)
}

// Which changes take another object is found out from the server; its words
// for it are many.
func changedOnlyAnew(t *testing.T, w *pt.World) {
	w.Apply(t, immutableCRD)
	kubectl(t, w, "wait", "--for=condition=Established", "crd/ledgers.rows.example.com")
	for _, c := range changes {
		t.Run(c.what, func(t *testing.T) {
			ns := w.Namespace(t)
			in := strings.NewReplacer("NS", ns)
			live := func() *unstructured.Unstructured {
				u, err := w.Object(t.Context(), c.kind, ns, in.Replace(c.name))
				if err != nil {
					u = w.Await(t, c.kind, "", in.Replace(c.name), nil)
				}
				return u
			}
			push, _ := unit(t, w, ns, "u", map[string]string{"app/o.yaml": in.Replace(c.before)})
			before := live().GetUID()
			hash := push(map[string]string{"app/o.yaml": in.Replace(c.after)})
			msg := w.AwaitReason(t, pt.Kustomization, ns, "u", "ReconciliationFailed")
			if strings.Contains(msg, "\n") {
				t.Errorf("the message is not one line: %s", msg)
			}
			if c.recreated {
				contains(t, msg, "can't be changed in place", "force annotation")
			}
			kubectl(t, w, "-n", ns, "patch", "kustomizations.kustomize.toolkit.fluxcd.io/u", "--type=merge", "-p", `{"spec":{"force":true}}`)
			if c.recreated {
				w.AwaitReady(t, ns, "u", hash)
			} else {
				request(t, w, ns, "u", "1")
				w.AwaitReason(t, pt.Kustomization, ns, "u", "ReconciliationFailed")
			}
			if after := live().GetUID(); (after != before) != c.recreated {
				t.Errorf("recreated: %v, want %v", after != before, c.recreated)
			}
		})
	}
}

// A custom resource is recreated if it says so itself.
func changedByItsOwnWord(t *testing.T, w *pt.World) {
	w.Apply(t, immutableCRD)
	kubectl(t, w, "wait", "--for=condition=Established", "crd/ledgers.rows.example.com")
	ns := w.Namespace(t)
	ledger := "{apiVersion: rows.example.com/v1, kind: Ledger, metadata: {name: l, annotations: {%s}}, spec: {size: %d}}"
	push, _ := unit(t, w, ns, "u", map[string]string{"app/o.yaml": fmt.Sprintf(ledger, "", 1)})
	before := w.Await(t, "rows.example.com/v1/Ledger", ns, "l", nil).GetUID()
	hash := push(map[string]string{"app/o.yaml": fmt.Sprintf(ledger, "kustomize.toolkit.fluxcd.io/force: enabled", 2)})
	w.AwaitReady(t, ns, "u", hash)
	if w.Await(t, "rows.example.com/v1/Ledger", ns, "l", nil).GetUID() == before {
		t.Error("it was not recreated")
	}
}

// What is wrong with an object by itself is no reason to recreate it.
func invalidIsNotRecreated(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	push, _ := unit(t, w, ns, "u", map[string]string{"app/d.yaml": deployment("web", "")}, "force: true")
	before := w.Await(t, "apps/v1/Deployment", ns, "web", nil).GetUID()
	push(map[string]string{"app/d.yaml": strings.Replace(deployment("web", ""), "matchLabels: {app: web}", "matchLabels: {app: other}", 1)})
	contains(t, w.AwaitReason(t, pt.Kustomization, ns, "u", "ReconciliationFailed"), "Deployment/"+ns+"/web", "selector")
	if now := w.Await(t, "apps/v1/Deployment", ns, "web", nil); now.GetUID() != before {
		t.Error("it was deleted in order to create what can't be created")
	}
}

// A namespace that ends takes nothing new, and nobody lacks a right.
func namespaceEnds(t *testing.T, w *pt.World) {
	for _, own := range []bool{false, true} {
		t.Run(map[bool]string{false: "of somebody else", true: "of the unit"}[own], func(t *testing.T) {
			ns := w.Namespace(t)
			inner := ns + "-inner"
			if !own {
				w.Apply(t, namespace(inner))
			}
			t.Cleanup(func() {
				_, _ = w.Kubectl(t.Context(), "", "-n", inner, "patch", "configmap/holds", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
				_, _ = w.Kubectl(t.Context(), "", "delete", "ns", inner, "--wait=false")
			})
			files := map[string]string{"app/a.yaml": fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: %s}}", inner)}
			if own {
				files["app/ns.yaml"] = namespace(inner)
			}
			unit(t, w, ns, "u", files)
			w.Apply(t, fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: holds, namespace: %s, finalizers: [rows.example.com/slow]}}", inner))
			kubectl(t, w, "delete", "ns", inner, "--wait=false")
			kubetest.Eventually(t, pt.Patience, func() error {
				s, _, err := w.StatusOf(t.Context(), pt.Kustomization, ns, "u")
				c := s.Condition("Ready")
				if err == nil && (c.Status == "True" || !strings.Contains(c.Message, "being deleted")) {
					err = fmt.Errorf("it does not say that the namespace ends: %+v", c)
				}
				if strings.Contains(c.Message, "the right to") {
					t.Fatalf("it asks for rights: %s", c.Message)
				}
				return err
			})
			kubectl(t, w, "-n", inner, "patch", "configmap/holds", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
			if own {
				w.AwaitReady(t, ns, "u", "")
				w.Await(t, configMap, inner, "a", nil)
				return
			}
			contains(t, w.AwaitReason(t, pt.Kustomization, ns, "u", "ReconciliationFailed"), "create the namespace")
		})
	}
}

// A definition that goes takes its objects along: the unit says so, and goes on
// when it is back.
func definitionGone(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	w.Apply(t, crd("fleeting", "Fleeting"))
	kubectl(t, w, "wait", "--for=condition=Established", "crd/fleeting.rows.example.com")
	unit(t, w, ns, "u", map[string]string{"app/o.yaml": "{apiVersion: rows.example.com/v1, kind: Fleeting, metadata: {name: o}}"})
	kubectl(t, w, "delete", "crd", "fleeting.rows.example.com")
	contains(t, w.AwaitReason(t, pt.Kustomization, ns, "u", "UnknownKind"), "Fleeting", "rows.example.com/v1")
	w.Apply(t, crd("fleeting", "Fleeting"))
	w.AwaitReady(t, ns, "u", "")
	w.Await(t, "rows.example.com/v1/Fleeting", ns, "o", nil)
}

// Who lacks a right is told which; who is refused for something else is not
// told to get rights.
func hintsFollowTheCause(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	w.Apply(t, strings.Replace(account(ns), "name: edit", "name: view", 1))
	r := w.Git.Repo(t, ns)
	r.Commit(t, map[string]string{"app/a.yaml": pt.ConfigMap("a")}, "start")
	w.Source(t, ns, "u", r)
	w.Unit(t, ns, "u", "u", "./app", "serviceAccountName: deployer")
	contains(t, w.AwaitReason(t, pt.Kustomization, ns, "u", "ReconciliationFailed"), "ConfigMap/"+ns+"/a", "the right to patch it")
	for what, c := range map[string]struct{ kind, manifests, says string }{
		"a quota that is used up": {"Pod", pod("p", ""), "exceeded quota"},
		"a Role that is missing":  {"RoleBinding", "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: p}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: absent}}", "absent"},
	} {
		t.Run(what, func(t *testing.T) {
			ns := w.Namespace(t)
			w.Apply(t, strings.Replace(account(ns), "name: edit", "name: admin", 1))
			w.Apply(t, fmt.Sprintf("{apiVersion: v1, kind: ResourceQuota, metadata: {name: q, namespace: %s}, spec: {hard: {pods: \"0\"}}}", ns))
			w.Await(t, "v1/ResourceQuota", ns, "q", pt.Has("status.hard.pods", 0))
			r := w.Git.Repo(t, ns)
			r.Commit(t, map[string]string{"app/a.yaml": c.manifests}, "start")
			w.Source(t, ns, "u", r)
			w.Unit(t, ns, "u", "u", "./app", "serviceAccountName: deployer")
			msg := w.AwaitReason(t, pt.Kustomization, ns, "u", "ReconciliationFailed")
			contains(t, msg, c.kind+"/"+ns+"/p", c.says)
			if strings.Contains(msg, "the right to") || strings.Contains(msg, "create the namespace") {
				t.Errorf("the hint is wrong: %s", msg)
			}
		})
	}
}

// The value of a Secret is secret wherever a variable puts it.
func secretsAreNotQuoted(t *testing.T, w *pt.World) {
	const canary, number, word = "Canary-7f3 1!", "0987654321", "q7u" // of which no name that a server makes up has the last
	objects := []struct{ what, manifest string }{
		{"a label", "{apiVersion: v1, kind: ConfigMap, metadata: {name: o, labels: {key: '${canary}'}}}"},
		{"a label of a Secret", "{apiVersion: v1, kind: Secret, metadata: {name: o, labels: {key: '${canary}'}}, stringData: {a: b}}"},
		{"a number", strings.Replace(deployment("web", ""), "replicas: 1", "replicas: ${word}", 1)},
		{"a port", "{apiVersion: v1, kind: Service, metadata: {name: o}, spec: {ports: [{port: ${number}}]}}"},
		{"an enumeration", "{apiVersion: v1, kind: Service, metadata: {name: o}, spec: {type: '${word}', ports: [{port: 80}]}}"},
		{"the name of a key", "{apiVersion: v1, kind: ConfigMap, metadata: {name: o}, data: {'${canary}': v}}"},
		{"a selector", pod("o", "nodeSelector: {'${canary}': a},")},
	}
	ns := w.Namespace(t)
	w.Apply(t, account(ns))
	w.Apply(t, fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: vars, namespace: %s}\nstringData: {canary: %q, number: %q, word: %q}\n", ns, canary, number, word))
	r := w.Git.Repo(t, ns)
	files := map[string]string{}
	for i, o := range objects {
		files[fmt.Sprintf("u%d/o.yaml", i)] = o.manifest
	}
	r.Commit(t, files, "start")
	w.Source(t, ns, "src", r)
	for i := range objects {
		w.Unit(t, ns, fmt.Sprintf("u%d", i), "src", fmt.Sprintf("./u%d", i), "serviceAccountName: deployer",
			"postBuild: {substituteFrom: [{kind: Secret, name: vars}]}")
	}
	for i, o := range objects {
		kubetest.Eventually(t, pt.Patience, func() error {
			s, _, err := w.StatusOf(t.Context(), pt.Kustomization, ns, fmt.Sprintf("u%d", i))
			if err == nil && s.Condition("Ready").Status != "False" {
				err = fmt.Errorf("%s is not refused: %+v", o.what, s.Conditions)
			}
			return err
		})
	}
	all, err := w.Kubectl(t.Context(), "", "-n", ns, "get", "kustomizations.kustomize.toolkit.fluxcd.io,events", "-o", "yaml")
	if err != nil {
		t.Fatal(err)
	}
	metrics, _ := pt.Get(t, w.Plumb.Metric)
	for where, text := range map[string]string{"status or events": all, "log": w.Plumb.Log(), "metrics": metrics} {
		for _, value := range []string{canary, "Canary-7f3", number, strings.TrimLeft(number, "0"), `"` + word, word + `"`} {
			if i := strings.Index(text, value); i >= 0 {
				t.Errorf("%s: %q is in …%s…", where, value, text[max(0, i-200):min(len(text), i+100)])
			}
		}
	}
}

// An event of drift names what was taken and put back, and nothing else.
func driftNamesWhatWasTaken(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	unit(t, w, ns, "u", map[string]string{"app/d.yaml": deployment("web", "")})
	kubectl(t, w, "-n", ns, "rollout", "restart", "deployment/web")
	awaitEvent(t, w, ns, "u", "Deployment/"+ns+"/web", "restartedAt", "kubectl-rollout", "put back")
	if said := eventsOf(t, w, ns, "u"); strings.Contains(said, "deployment.kubernetes.io/revision") {
		t.Errorf("it names what nobody took: %s", said)
	}
}
