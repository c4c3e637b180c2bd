package rows_test

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

// pod is the manifest of a Pod that no node has to run.
func pod(name, spec string) string {
	return fmt.Sprintf("---\n{apiVersion: v1, kind: Pod, metadata: {name: %s}, spec: {terminationGracePeriodSeconds: 0, %s containers: [{name: c, image: \"example.com/c:1\"}]}}\n", name, spec)
}

// What an object needs may come with it, in whatever order the files have.
func neededComesAlong(t *testing.T, w *pt.World) {
	for _, c := range []struct{ what, manifests, kind, name, account string }{
		{"a Pod and its account", pod("tool", "serviceAccountName: tool,") + "---\n{apiVersion: v1, kind: ServiceAccount, metadata: {name: tool}}\n", "v1/Pod", "tool", ""},
		{"a Pod and its quota", pod("tool", "") + "---\n{apiVersion: v1, kind: ResourceQuota, metadata: {name: q}, spec: {hard: {pods: \"5\"}}}\n", "v1/Pod", "tool", ""},
		{"a binding and its Role, by an account that may do no more", `
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: default}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
`, "rbac.authorization.k8s.io/v1/RoleBinding", "reader", "admin"},
		{"an object and the binding that lets the unit write it", pt.ConfigMap("mine") + `---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: more}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{kind: ServiceAccount, name: deployer}]
`, configMap, "mine", "binder"},
	} {
		t.Run(c.what, func(t *testing.T) {
			ns := w.Namespace(t)
			var spec []string
			if c.account != "" {
				w.Apply(t, strings.Replace(account(ns), "name: edit", "name: "+c.account, 1))
				spec = append(spec, "serviceAccountName: deployer")
			}
			if c.account == "binder" {
				w.Apply(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: binder}
rules:
- {apiGroups: [rbac.authorization.k8s.io], resources: [rolebindings], verbs: [get, list, create, patch, update, delete]}
- {apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], resourceNames: [edit], verbs: [bind]}
`)
			}
			unit(t, w, ns, "u", map[string]string{"app/all.yaml": c.manifests}, spec...)
			w.Await(t, c.kind, ns, c.name, nil)
		})
	}
}

// What is refused although what it may have lacked is there is refused, and
// what it did not need is not written.
func neededDoesNotHelp(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	r := w.Git.Repo(t, ns)
	r.Commit(t, map[string]string{"app/all.yaml": pod("tool", "serviceAccountName: other,") +
		"---\n{apiVersion: v1, kind: ServiceAccount, metadata: {name: tool}}\n---\n" + pt.ConfigMap("beside")}, "start")
	w.Source(t, ns, "u", r)
	w.Unit(t, ns, "u", "u", "./app")
	contains(t, w.AwaitReason(t, pt.Kustomization, ns, "u", "ReconciliationFailed"), "Pod/"+ns+"/tool", "other")
	if _, err := w.Object(t.Context(), configMap, ns, "beside"); err == nil {
		t.Error("half of what belongs together was written")
	}
}

// A limit that comes with Pods holds for each of them.
func limitsComeFirst(t *testing.T, w *pt.World) {
	const pods = 12
	ns := w.Namespace(t)
	manifests := ""
	for i := range pods {
		manifests += pod(fmt.Sprintf("a-%d", i), "")
	}
	manifests += "---\n{apiVersion: v1, kind: LimitRange, metadata: {name: l}, spec: {limits: [{type: Container, default: {cpu: 500m}, defaultRequest: {cpu: 100m}}]}}\n"
	unit(t, w, ns, "u", map[string]string{"app/all.yaml": manifests})
	for i := range pods {
		p := w.Await(t, "v1/Pod", ns, fmt.Sprintf("a-%d", i), nil)
		list, _, err := unstructured.NestedSlice(p.Object, "spec", "containers")
		if err != nil || len(list) != 1 {
			t.Fatal(err, list)
		}
		cpu, _, err := unstructured.NestedString(list[0].(map[string]any), "resources", "limits", "cpu")
		if err != nil || cpu != "500m" {
			t.Errorf("pod %d has a limit of %q: %v", i, cpu, err)
		}
	}
}

// An aggregated role's rules are the control plane's: nobody loses rights for
// a moment because a unit is looked at, or changes a label of it.
func aggregatedRoleStays(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	sum := func(label string) string {
		return fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: %[1]s-sum, labels: {x: %[2]s}}
aggregationRule: {clusterRoleSelectors: [{matchLabels: {rows.example.com/sum: %[1]s}}]}
rules: []
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: %[1]s-part, labels: {rows.example.com/sum: %[1]s}}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
`, ns, label)
	}
	push, _ := unit(t, w, ns, "u", map[string]string{"app/roles.yaml": sum("a")})
	filled := func(u *unstructured.Unstructured) error {
		if rules, _, err := unstructured.NestedSlice(u.Object, "rules"); err != nil || len(rules) == 0 {
			return fmt.Errorf("it has no rules: %w", err)
		}
		return nil
	}
	const role = "rbac.authorization.k8s.io/v1/ClusterRole"
	w.Await(t, role, "", ns+"-sum", filled)
	seen := watchObject(t, w, role, ns+"-sum")
	request(t, w, ns, "u", "1")
	hash := push(map[string]string{"app/roles.yaml": sum("b")})
	w.AwaitReady(t, ns, "u", hash)
	w.Await(t, role, "", ns+"-sum", pt.Has("metadata.labels.x", "b"))
	request(t, w, ns, "u", "2")
	for _, u := range seen() {
		if err := filled(u); err != nil {
			t.Errorf("at version %s: %v", u.GetResourceVersion(), err)
		}
	}
}

// request asks for a look at a unit, and waits until it was taken.
func request(t *testing.T, w *pt.World, ns, name, token string) {
	t.Helper()
	kubectl(t, w, "-n", ns, "annotate", "--overwrite", "kustomizations.kustomize.toolkit.fluxcd.io/"+name, "reconcile.fluxcd.io/requestedAt="+token)
	kubetest.Eventually(t, pt.Patience, func() error {
		s, _, err := w.StatusOf(t.Context(), pt.Kustomization, ns, name)
		if err == nil && s.LastHandledReconcileAt != token {
			err = fmt.Errorf("not handled: %q", s.LastHandledReconcileAt)
		}
		return err
	})
}

// watchObject notes each state of an object from now on.
func watchObject(t *testing.T, w *pt.World, kind, name string) (seen func() []*unstructured.Unstructured) {
	t.Helper()
	gvk := parseKind(kind)
	m, err := w.Client.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		t.Fatal(err)
	}
	dyn, err := dynamic.NewForConfig(w.Config)
	if err != nil {
		t.Fatal(err)
	}
	events, err := dyn.Resource(m.Resource).Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		t.Fatal(err)
	}
	all := make(chan []*unstructured.Unstructured, 1)
	go func() {
		var states []*unstructured.Unstructured
		for e := range events.ResultChan() {
			if u, ok := e.Object.(*unstructured.Unstructured); ok {
				states = append(states, u)
			}
		}
		all <- states
	}()
	return func() []*unstructured.Unstructured {
		events.Stop()
		return <-all
	}
}

func parseKind(s string) schema.GroupVersionKind {
	p := strings.Split(s, "/")
	return schema.GroupVersionKind{Group: p[0], Version: p[1], Kind: p[2]}
}

// An object that a webhook can't be asked about does not keep from the cluster
// what may mend the webhook.
func deadWebhookHoldsOnlyItsOwn(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	webhook := fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: %[1]s}
webhooks:
- name: dead.rows.example.com
  clientConfig: {url: "https://127.0.0.1:1/"}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: ["*"], resources: [configmaps]}]
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}
  objectSelector: {matchLabels: {asked: "true"}}
  sideEffects: None
  admissionReviewVersions: [v1]
`, ns)
	asked := "{apiVersion: v1, kind: ConfigMap, metadata: {name: asked, labels: {asked: \"true\"}}, data: {v: %q}}"
	push, _ := unit(t, w, ns, "u", map[string]string{"app/asked.yaml": fmt.Sprintf(asked, "1"), "app/mend.yaml": pt.ConfigMap("mend", "v", "1")})
	w.Apply(t, webhook)
	t.Cleanup(func() { _, _ = w.Kubectl(t.Context(), "", "delete", "validatingwebhookconfiguration", ns) })
	kubetest.Eventually(t, pt.Patience, func() error {
		_, err := w.Kubectl(t.Context(), "", "-n", ns, "annotate", "--dry-run=server", "--overwrite", "configmap/asked", "x=y")
		if err == nil {
			return fmt.Errorf("the webhook is not asked yet")
		}
		return nil
	})
	hash := push(map[string]string{"app/asked.yaml": fmt.Sprintf(asked, "2"), "app/mend.yaml": pt.ConfigMap("mend", "v", "2")})
	w.Await(t, configMap, ns, "mend", pt.Has("data.v", "2"))
	contains(t, w.AwaitReason(t, pt.Kustomization, ns, "u", "ReconciliationFailed"), "ConfigMap/"+ns+"/asked", "webhook")
	kubectl(t, w, "delete", "validatingwebhookconfiguration", ns)
	w.AwaitReady(t, ns, "u", hash)
	w.Await(t, configMap, ns, "asked", pt.Has("data.v", "2"))
}
