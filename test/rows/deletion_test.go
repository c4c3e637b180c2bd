package rows_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

const (
	namespaceKind = "v1/Namespace"
	secretKind    = "v1/Secret"
	accountKind   = "v1/ServiceAccount"
	volumeClaim   = "v1/PersistentVolumeClaim"
)

func kubectl(t *testing.T, w *pt.World, args ...string) {
	t.Helper()
	if out, err := w.Kubectl(t.Context(), "", args...); err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func namespace(name string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s}}\n", name)
}

// many is what a unit keeps, so that a few objects are not most of it.
func many(files map[string]string) map[string]string {
	for i := range 8 {
		files[fmt.Sprintf("app/keep-%d.yaml", i)] = pt.ConfigMap(fmt.Sprintf("keep-%d", i))
	}
	return files
}

// Each of these is left alone by the run that prunes its namespace; deleting
// the namespace would delete it all the same.
func keptKeepsNamespace(t *testing.T, w *pt.World) {
	for _, c := range []struct{ what, manifest, kind, live string }{
		{"a volume claim", "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: it}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}", volumeClaim, ""},
		{"an object that is marked to be kept", "{apiVersion: v1, kind: Secret, metadata: {name: it, annotations: {kustomize.toolkit.fluxcd.io/prune: disabled}}, stringData: {key: abc}}", secretKind, ""},
		{"an object that was marked on the cluster", pt.ConfigMap("it"), configMap, "kustomize.toolkit.fluxcd.io/reconcile=disabled"},
		{"an object that asks not to be applied", pt.ConfigMap("it"), configMap, "kustomize.toolkit.fluxcd.io/ssa=Ignore"},
	} {
		t.Run(c.what, func(t *testing.T) {
			ns := w.Namespace(t)
			inner := ns + "-inner"
			t.Cleanup(func() { _, _ = w.Kubectl(t.Context(), "", "delete", "ns", inner, "--wait=false") })
			_, remove := unit(t, w, ns, "u", many(map[string]string{
				"app/in/ns.yaml":            namespace(inner),
				"app/in/it.yaml":            c.manifest,
				"app/in/kustomization.yaml": "namespace: " + inner + "\nresources: [ns.yaml, it.yaml]\n",
			}))
			if c.live != "" {
				kind := c.kind[strings.LastIndex(c.kind, "/")+1:]
				kubectl(t, w, "-n", inner, "annotate", "--field-manager=somebody", kind, "it", c.live)
			}
			remove("app/in")
			msg := w.AwaitReason(t, pt.Kustomization, ns, "u", "PruneProtected")
			contains(t, msg, "Namespace/"+inner, inner+"/it")
			stillThere(t, w, namespaceKind, "", inner)
			stillThere(t, w, c.kind, inner, "it")
			kubectl(t, w, "-n", ns, "delete", "kustomizations.kustomize.toolkit.fluxcd.io/u")
			w.AwaitGone(t, configMap, ns, "keep-0")
			stillThere(t, w, namespaceKind, "", inner)
			stillThere(t, w, c.kind, inner, "it")
		})
	}
}

// What another unit takes over lives on in its namespace.
func movedKeepsNamespace(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	inner := ns + "-inner"
	t.Cleanup(func() { _, _ = w.Kubectl(t.Context(), "", "delete", "ns", inner, "--wait=false") })
	moving := fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: moving, namespace: %s}}\n", inner)
	r := w.Git.Repo(t, ns)
	r.Commit(t, many(map[string]string{"app/ns.yaml": namespace(inner), "app/moving.yaml": moving, "other/cm.yaml": pt.ConfigMap("other")}), "start")
	w.Source(t, ns, "u", r)
	w.Unit(t, ns, "u", "u", "./app")
	w.Unit(t, ns, "other", "u", "./other")
	w.AwaitReady(t, ns, "u", "")
	w.AwaitReady(t, ns, "other", "")
	r.Move(t, "move", "app/moving.yaml", "other/moving.yaml")
	w.Remove(t, r, "app/ns.yaml")
	contains(t, w.AwaitReason(t, pt.Kustomization, ns, "u", "PruneProtected"), "Namespace/"+inner, inner+"/moving")
	stillThere(t, w, namespaceKind, "", inner)
	stillThere(t, w, configMap, inner, "moving")
}

// An object that asks to be left alone is left alone also when it goes.
func ignoredIsNotPruned(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	push, remove := unit(t, w, ns, "u", many(map[string]string{"app/git.yaml": pt.ConfigMap("git"), "app/live.yaml": pt.ConfigMap("live")}))
	hash := push(map[string]string{"app/git.yaml": "{apiVersion: v1, kind: ConfigMap, metadata: {name: git, annotations: {kustomize.toolkit.fluxcd.io/ssa: Ignore}}}"})
	s := w.AwaitReady(t, ns, "u", hash)
	for _, id := range s.IDs() {
		if strings.Contains(id, "_git_") {
			t.Errorf("what is ignored is still in the inventory: %s", id)
		}
	}
	kubectl(t, w, "-n", ns, "annotate", "--field-manager=somebody", "configmap/live", "kustomize.toolkit.fluxcd.io/ssa=Ignore")
	hash = remove("app/git.yaml", "app/live.yaml")
	w.AwaitReady(t, ns, "u", hash)
	stillThere(t, w, configMap, ns, "git", "live")
	kubectl(t, w, "-n", ns, "delete", "kustomizations.kustomize.toolkit.fluxcd.io/u")
	w.AwaitGone(t, configMap, ns, "keep-0")
	stillThere(t, w, configMap, ns, "git", "live")
}

// generated is a folder whose ConfigMaps get new names with new content.
func generated(content string) map[string]string {
	files := map[string]string{"app/kustomization.yaml": "configMapGenerator:\n"}
	for i := range 4 {
		files["app/kustomization.yaml"] += fmt.Sprintf("- {name: dashboard-%d, files: [d%d.json]}\n", i, i)
		files[fmt.Sprintf("app/d%d.json", i)] = fmt.Sprintf(`{"title": "%s %d"}`, content, i)
	}
	return files
}

func generatedNamesMayChange(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	push, _ := unit(t, w, ns, "u", generated("x"))
	for _, content := range []string{"y", "z"} {
		hash := push(generated(content))
		w.AwaitReady(t, ns, "u", hash)
		if s, _, _ := w.StatusOf(t.Context(), pt.Kustomization, ns, "u"); len(s.IDs()) != 4 {
			t.Errorf("the old ones are still there: %v", s.IDs())
		}
	}
	// But what comes to nothing is a loss.
	push(map[string]string{"app/kustomization.yaml": "configMapGenerator:\n- {name: dashboard-0, files: [d0.json], literals: [a=b]}\n"})
	msg := w.AwaitReason(t, pt.Kustomization, ns, "u", "PruneHeld")
	contains(t, msg, "3 of 4", "dashboard-1-", "dashboard-3-")
	if strings.Contains(msg, "dashboard-0-") {
		t.Errorf("it counts what has another name only: %s", msg)
	}
}

// tenancy is a namespace with an account, a source and a unit that acts as it.
func tenancy(ns string, child *gittest.Repository) map[string]string {
	return many(map[string]string{"app/tenant.yaml": fmt.Sprintf(`%[1]s---
apiVersion: v1
kind: ServiceAccount
metadata: {name: deployer, namespace: %[2]s}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: deployer, namespace: %[2]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: admin}
subjects: [{kind: ServiceAccount, name: deployer, namespace: %[2]s}]
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: src, namespace: %[2]s}
spec: {url: "%[3]s", interval: 1m, ref: {branch: main}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: app, namespace: %[2]s}
spec: {sourceRef: {kind: GitRepository, name: src}, interval: 10m, retryInterval: 10s, prune: true, path: ./, serviceAccountName: deployer}
`, namespace(ns), ns, child.URL())})
}

func startTenancy(t *testing.T, w *pt.World, content string) (ns, tenant string, remove func(...string) string) {
	t.Helper()
	ns = w.Namespace(t)
	tenant = ns + "-t"
	t.Cleanup(func() { _, _ = w.Kubectl(t.Context(), "", "delete", "ns", tenant, "--wait=false") })
	child := w.Git.Repo(t, tenant)
	child.Commit(t, map[string]string{"cm.yaml": content}, "start")
	_, remove = unit(t, w, ns, "u", tenancy(tenant, child))
	w.AwaitReady(t, tenant, "app", "")
	return ns, tenant, remove
}

// The account of a tenant goes after the unit that acts as it, and the
// namespace after both.
func tenantRemoved(t *testing.T, w *pt.World) {
	ns, tenant, remove := startTenancy(t, w, pt.ConfigMap("tenant-app"))
	hash := remove("app/tenant.yaml")
	w.AwaitGone(t, namespaceKind, "", tenant)
	kubetest.Eventually(t, pt.Patience, func() error {
		if s := w.AwaitReady(t, ns, "u", hash); len(s.IDs()) != 8 {
			return fmt.Errorf("the inventory is %v", s.IDs())
		}
		return nil
	})
}

// While the tenant's unit is held up, what it needs stays, and the parent says
// what it waits for.
func tenantHeldUp(t *testing.T, w *pt.World) {
	ns, tenant, remove := startTenancy(t, w, "{apiVersion: v1, kind: ConfigMap, metadata: {name: tenant-app, finalizers: [rows.example.com/slow]}}")
	kubectl(t, w, "-n", tenant, "patch", "kustomizations.kustomize.toolkit.fluxcd.io/app", "--type=merge", "--field-manager=somebody", "-p",
		`{"spec":{"deletionPolicy":"WaitForTermination"}}`)
	remove("app/tenant.yaml")
	kubetest.Eventually(t, pt.Patience, func() error {
		s, _, err := w.StatusOf(t.Context(), pt.Kustomization, ns, "u")
		if c := s.Condition("Ready"); err == nil && (c.Status == "True" || !strings.Contains(c.Message, "Kustomization/"+tenant+"/app")) {
			err = fmt.Errorf("it does not say what it waits for: %+v", c)
		}
		return err
	})
	stillThere(t, w, accountKind, tenant, "deployer")
	stillThere(t, w, pt.GitRepository, tenant, "src")
	stillThere(t, w, namespaceKind, "", tenant)
	kubectl(t, w, "-n", tenant, "patch", "configmap/tenant-app", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	w.AwaitGone(t, namespaceKind, "", tenant)
	w.AwaitReady(t, ns, "u", "")
}

// A namespace that somebody deletes takes away the account of the unit in it.
// What can't be done in its name any more must not hold the namespace.
func namespaceDeleted(t *testing.T, w *pt.World) {
	ns, tenant, _ := startTenancy(t, w, pt.ConfigMap("tenant-app"))
	kubectl(t, w, "-n", ns, "patch", "kustomizations.kustomize.toolkit.fluxcd.io/u", "--type=merge", "-p", `{"spec":{"suspend":true}}`)
	kubectl(t, w, "delete", "namespace", tenant, "--wait=false")
	w.AwaitGone(t, namespaceKind, "", tenant)
}

// Without its account, nothing can be deleted in a unit's name: the objects
// are left, it is said, and the unit goes.
func accountGone(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	w.Apply(t, account(ns))
	unit(t, w, ns, "u", three, "serviceAccountName: deployer")
	kubectl(t, w, "-n", ns, "delete", "rolebinding/deployer", "serviceaccount/deployer")
	kubectl(t, w, "-n", ns, "delete", "kustomizations.kustomize.toolkit.fluxcd.io/u", "--wait=false")
	w.AwaitGone(t, pt.Kustomization, ns, "u")
	stillThere(t, w, configMap, ns, "a", "b", "c")
	awaitEvent(t, w, ns, "u", "ServiceAccount "+ns+"/deployer does not exist", "ConfigMap/"+ns+"/a")
}

func account(ns string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: deployer, namespace: %[1]s}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: deployer, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{kind: ServiceAccount, name: deployer, namespace: %[1]s}]
`, ns)
}

// awaitEvent waits for an event on a Kustomization that says all parts.
func awaitEvent(t *testing.T, w *pt.World, ns, name string, parts ...string) {
	t.Helper()
	kubetest.Eventually(t, pt.Patience, func() error {
		said := eventsOf(t, w, ns, name)
		for message := range strings.Lines(said) {
			if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(message, p) }) {
				return nil
			}
		}
		return fmt.Errorf("no event says %q:\n%s", parts, said)
	})
}

// eventsOf are the messages of the events on a Kustomization, a line each.
func eventsOf(t *testing.T, w *pt.World, ns, name string) string {
	t.Helper()
	var list corev1.EventList
	if err := w.Client.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range list.Items {
		if e.InvolvedObject.Namespace == ns && e.InvolvedObject.Name == name {
			b.WriteString(strings.ReplaceAll(e.Message, "\n", " ") + "\n")
		}
	}
	return b.String()
}

// The Secret of a cluster is as good as the way to it.
func kubeconfigGone(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	w.Apply(t, kubeconfigSecret(ns, "remote", kubeconfig(w, strings.TrimPrefix(w.Config.Host, "https://"))))
	unit(t, w, ns, "u", three, "kubeConfig: {secretRef: {name: remote}}")
	kubectl(t, w, "-n", ns, "delete", "secret/remote")
	kubectl(t, w, "-n", ns, "delete", "kustomizations.kustomize.toolkit.fluxcd.io/u", "--wait=false")
	w.AwaitGone(t, pt.Kustomization, ns, "u")
	stillThere(t, w, configMap, ns, "a", "b", "c")
	awaitEvent(t, w, ns, "u", "Secret/"+ns+"/remote does not exist", "ConfigMap/"+ns+"/a")
}

// A volume that is kept is no reason to let go of a unit whose other objects
// have not been deleted yet.
func protectedAndHeldUp(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	unit(t, w, ns, "u", map[string]string{
		"app/pvc.yaml":  "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}",
		"app/slow.yaml": "{apiVersion: v1, kind: ConfigMap, metadata: {name: slow, finalizers: [rows.example.com/slow]}}",
		"app/sa.yaml":   "{apiVersion: v1, kind: ServiceAccount, metadata: {name: needed}}",
	})
	kubectl(t, w, "-n", ns, "delete", "kustomizations.kustomize.toolkit.fluxcd.io/u", "--wait=false")
	kubetest.Eventually(t, pt.Patience, func() error {
		s, _, err := w.StatusOf(t.Context(), pt.Kustomization, ns, "u")
		if c := s.Condition("Ready"); err == nil && !strings.Contains(c.Message, "ConfigMap/"+ns+"/slow is gone") {
			err = fmt.Errorf("it does not say what it waits for: %+v", c)
		}
		return err
	})
	stillThere(t, w, accountKind, ns, "needed")
	kubectl(t, w, "-n", ns, "patch", "configmap/slow", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	w.AwaitGone(t, pt.Kustomization, ns, "u")
	w.AwaitGone(t, accountKind, ns, "needed")
	stillThere(t, w, volumeClaim, ns, "data")
}
