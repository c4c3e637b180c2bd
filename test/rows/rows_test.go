// Package rows_test shows what plumb does about bad input and faults, on a
// real API server and a real Git server, one test for each row of the list of
// hostile inputs that concerns apply and prune. The rows about sources and
// rendering are tested beside those packages.
package rows_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/internal/line"
	pt "plumb.dev/plumb/internal/plumbtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	pt.Clean()
	os.Exit(code)
}

// TestRows are the rows that don't break the cluster, so that they may share
// one.
func TestRows(t *testing.T) {
	w := pt.New(t, "--no-cross-namespace-refs")
	for _, row := range []struct {
		name string
		test func(*testing.T, *pt.World)
	}{
		{"D01 an empty render holds everything", emptyRender},
		{"D01 a path that is gone holds everything", pathGone},
		{"D02 a commit that removes most objects is held until approved", mostRemoved},
		{"D03 a deleted source prunes nothing", sourceDeleted},
		{"D05 the second claim of an object is refused", secondClaim},
		{"D06 forged labels make nothing prunable", forgedLabels},
		{"D07 what holds other things is not pruned", protected},
		{"D08 a definition and its objects converge in one commit", definitionAndObjects},
		{"D08 an object converges when its definition comes later", objectBeforeDefinition},
		{"D09 an immutable change names the field and recreates only on request", immutable},
		{"D15 fields that kubectl applied go when Git no longer has them", kubectlFields},
		{"D16 an account that may not delete is reported and can be let go of", serviceAccountPowerless},
		{"D16 a tenant goes with all that is its own", tenantRemoved},
		{"what a tenant's unit needs stays until it is gone", tenantHeldUp},
		{"what is protected does not end a deletion that goes on", protectedAndHeldUp},
		{"a unit whose account is gone leaves its objects and goes", accountGone},
		{"a unit whose kubeconfig is gone leaves its objects and goes", kubeconfigGone},
		{"a namespace that is deleted is not held by the unit in it", namespaceDeleted},
		{"what an object needs may come with it", neededComesAlong},
		{"what does not help is refused as a whole", neededDoesNotHelp},
		{"a limit holds for the Pods that come with it", limitsComeFirst},
		{"a webhook that is dead holds only what it is asked about", deadWebhookHoldsOnlyItsOwn},
		{"an aggregated role is not emptied", aggregatedRoleStays},
		{"what can't be changed in place is found out and said", changedOnlyAnew},
		{"a custom resource is recreated by its own annotation", changedByItsOwnWord},
		{"an object that is invalid by itself is not recreated", invalidIsNotRecreated},
		{"a namespace that is being deleted is waited for", namespaceEnds},
		{"a definition that goes is named, and waited for", definitionGone},
		{"a hint follows from the cause", hintsFollowTheCause},
		{"a Secret's value is not quoted, wherever it was put", secretsAreNotQuoted},
		{"an event of drift names what was taken", driftNamesWhatWasTaken},
		{"a namespace stays with what is kept in it", keptKeepsNamespace},
		{"a namespace stays with what another unit took over", movedKeepsNamespace},
		{"an object that asks not to be applied is not pruned", ignoredIsNotPruned},
		{"a generated object with another name is no loss", generatedNamesMayChange},
		{"D16 a cluster that is gone is reported and can be let go of", clusterGone},
		{"D17 a parent that can't be rendered keeps its children", brokenParent},
		{"a commit that is refused in part does not keep the rest from being held true", refusedCommit},
		{"D18 an object moved between units keeps its UID", moved},
		{"D18 the objects of a renamed unit keep their UIDs", renamed},
		{"D20 a tenant can't leave its namespace", tenant},
		{"D21 an unsafe kubeconfig is refused", unsafeKubeconfig},
		{"a Job that its time to live took away does not run again", jobWithTTL},
		{"an object marked to be kept is kept", markedToBeKept},
		{"a fight over a field is slowed down and leaves the rest of its object right", fieldFight},
	} {
		t.Run(row.name, func(t *testing.T) { row.test(t, w) })
	}
}

var three = map[string]string{
	"app/a.yaml": pt.ConfigMap("a"), "app/b.yaml": pt.ConfigMap("b"), "app/c.yaml": pt.ConfigMap("c"),
}

const configMap = "v1/ConfigMap"

// unit starts a repository, source and unit of the same name, and waits until
// it is ready.
func unit(t *testing.T, w *pt.World, ns, name string, files map[string]string, spec ...string) (push func(map[string]string) string, remove func(...string) string) {
	t.Helper()
	r := w.Git.Repo(t, ns+"-"+name)
	r.Commit(t, files, "start")
	w.Source(t, ns, name, r)
	w.Unit(t, ns, name, name, "./app", spec...)
	w.AwaitReady(t, ns, name, "")
	return func(f map[string]string) string { return w.Commit(t, r, f) }, func(n ...string) string { return w.Remove(t, r, n...) }
}

func stillThere(t *testing.T, w *pt.World, kind, ns string, names ...string) {
	t.Helper()
	for _, n := range names {
		if u, err := w.Object(t.Context(), kind, ns, n); err != nil || u.GetDeletionTimestamp() != nil {
			t.Errorf("%s %s was deleted: %v", kind, n, err)
		}
	}
}

func contains(t *testing.T, message string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(message, p) {
			t.Errorf("the message does not say %q: %s", p, message)
		}
	}
}

func emptyRender(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	push, remove := unit(t, w, ns, "u", three)
	push(map[string]string{"app/kustomization.yaml": "resources: []\n"})
	hash := remove("app/a.yaml", "app/b.yaml", "app/c.yaml")
	msg := w.AwaitReason(t, pt.Kustomization, ns, "u", "EmptyRender")
	contains(t, msg, "3 objects", "plumb.dev/allow-empty")
	stillThere(t, w, configMap, ns, "a", "b", "c")
	if s, _, _ := w.StatusOf(t.Context(), pt.Kustomization, ns, "u"); len(s.IDs()) != 3 {
		t.Errorf("the inventory lost entries: %v", s.IDs())
	}
	if _, err := w.Kubectl(t.Context(), "", "-n", ns, "annotate", "kustomizations.kustomize.toolkit.fluxcd.io/u", "plumb.dev/allow-empty=true"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Kubectl(t.Context(), "", "-n", ns, "annotate", "kustomizations.kustomize.toolkit.fluxcd.io/u", "plumb.dev/approve-prune=main@sha1:"+hash); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"a", "b", "c"} {
		w.AwaitGone(t, configMap, ns, n)
	}
}

func pathGone(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	_, remove := unit(t, w, ns, "u", map[string]string{"app/a.yaml": pt.ConfigMap("a"), "other/x": "x"})
	remove("app")
	w.AwaitReason(t, pt.Kustomization, ns, "u", "PathNotFound")
	stillThere(t, w, configMap, ns, "a")
}

func mostRemoved(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	files := map[string]string{}
	for i := range 10 {
		files[fmt.Sprintf("app/%d.yaml", i)] = pt.ConfigMap(fmt.Sprintf("cm-%d", i))
	}
	_, remove := unit(t, w, ns, "u", files)
	hash := remove("app/0.yaml", "app/1.yaml", "app/2.yaml", "app/3.yaml", "app/4.yaml", "app/5.yaml")
	msg := w.AwaitReason(t, pt.Kustomization, ns, "u", "PruneHeld")
	contains(t, msg, "6 of 10", "cm-0", "cm-5", "plumb.dev/approve-prune")
	stillThere(t, w, configMap, ns, "cm-0", "cm-1", "cm-2", "cm-3", "cm-4", "cm-5")
	if out, err := w.Kubectl(t.Context(), "", "-n", ns, "annotate", "kustomizations.kustomize.toolkit.fluxcd.io/u", "plumb.dev/approve-prune=main@sha1:"+hash); err != nil {
		t.Fatal(out, err)
	}
	for i := range 6 {
		w.AwaitGone(t, configMap, ns, fmt.Sprintf("cm-%d", i))
	}
	w.AwaitReady(t, ns, "u", hash)
	stillThere(t, w, configMap, ns, "cm-6", "cm-9")
}

func sourceDeleted(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	unit(t, w, ns, "u", three)
	if out, err := w.Kubectl(t.Context(), "", "-n", ns, "delete", "gitrepository/u"); err != nil {
		t.Fatal(out, err)
	}
	w.AwaitReason(t, pt.Kustomization, ns, "u", "ArtifactFailed")
	stillThere(t, w, configMap, ns, "a", "b", "c")
}

func secondClaim(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	unit(t, w, ns, "first", map[string]string{"app/a.yaml": pt.ConfigMap("shared", "by", "first")})
	r := w.Git.Repo(t, ns+"-second")
	r.Commit(t, map[string]string{"app/a.yaml": pt.ConfigMap("shared", "by", "second")}, "start")
	w.Source(t, ns, "second", r)
	w.Unit(t, ns, "second", "second", "./app")
	msg := w.AwaitReason(t, pt.Kustomization, ns, "second", "OwnedByOther")
	contains(t, msg, "ConfigMap/"+ns+"/shared", "Kustomization/"+ns+"/first")
	u := w.Await(t, configMap, ns, "shared", pt.Has("data.by", "first"))
	if out, err := w.Kubectl(t.Context(), "", "-n", ns, "delete", "kustomizations.kustomize.toolkit.fluxcd.io/second"); err != nil {
		t.Fatal(out, err)
	}
	if after := w.Await(t, configMap, ns, "shared", nil); after.GetUID() != u.GetUID() {
		t.Error("the object was deleted with the second unit")
	}
}

func forgedLabels(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	push, remove := unit(t, w, ns, "u", three)
	w.Apply(t, fmt.Sprintf(`{apiVersion: v1, kind: ConfigMap, metadata: {name: forged, namespace: %s,
	  labels: {kustomize.toolkit.fluxcd.io/name: u, kustomize.toolkit.fluxcd.io/namespace: %s}}}`, ns, ns))
	hash := remove("app/a.yaml")
	w.AwaitReady(t, ns, "u", hash)
	w.AwaitGone(t, configMap, ns, "a")
	stillThere(t, w, configMap, ns, "forged")
	// And the other way round: what has lost the mark is not pruned.
	if out, err := w.Kubectl(t.Context(), "", "-n", ns, "patch", "kustomizations.kustomize.toolkit.fluxcd.io/u", "--type=merge", "-p", `{"spec":{"suspend":true}}`); err != nil {
		t.Fatal(out, err)
	}
	if out, err := w.Kubectl(t.Context(), "", "-n", ns, "label", "configmap/b", "kustomize.toolkit.fluxcd.io/name=other", "--overwrite"); err != nil {
		t.Fatal(out, err)
	}
	remove("app/b.yaml")
	hash = push(map[string]string{"app/d.yaml": pt.ConfigMap("d")})
	if out, err := w.Kubectl(t.Context(), "", "-n", ns, "patch", "kustomizations.kustomize.toolkit.fluxcd.io/u", "--type=merge", "-p", `{"spec":{"suspend":false}}`); err != nil {
		t.Fatal(out, err)
	}
	w.AwaitReady(t, ns, "u", hash)
	stillThere(t, w, configMap, ns, "b", "forged")
}

func crd(plural, kind string) string {
	return fmt.Sprintf(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]s.rows.example.com}
spec:
  group: rows.example.com
  scope: Namespaced
  names: {plural: %[1]s, singular: %[3]s, kind: %[2]s}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`, plural, kind, strings.ToLower(kind))
}

func protected(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	shop := ns + "-shop"
	files := map[string]string{
		"app/ns.yaml":   fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s}}", shop),
		"app/pvc.yaml":  "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}",
		"app/crd.yaml":  crd("keepers", "Keeper"),
		"app/x.yaml":    pt.ConfigMap("x"),
		"app/y.yaml":    pt.ConfigMap("y"),
		"app/z.yaml":    pt.ConfigMap("z"),
		"app/last.yaml": pt.ConfigMap("last"),
	}
	_, remove := unit(t, w, ns, "u", files)
	t.Cleanup(func() {
		_, _ = w.Kubectl(t.Context(), "", "delete", "crd", "keepers.rows.example.com", "--wait=false")
		_, _ = w.Kubectl(t.Context(), "", "delete", "ns", shop, "--wait=false")
	})
	w.Apply(t, fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: foreign, namespace: %s}}", shop))
	w.Apply(t, fmt.Sprintf("{apiVersion: rows.example.com/v1, kind: Keeper, metadata: {name: k, namespace: %s}}", ns))
	remove("app/ns.yaml", "app/pvc.yaml", "app/crd.yaml")
	msg := w.AwaitReason(t, pt.Kustomization, ns, "u", "PruneProtected")
	contains(t, msg, "Namespace/"+shop, "ConfigMap/"+shop+"/foreign", "PersistentVolumeClaim/"+ns+"/data", "CustomResourceDefinition/keepers.rows.example.com")
	stillThere(t, w, "v1/Namespace", "", shop)
	stillThere(t, w, "v1/PersistentVolumeClaim", ns, "data")
	stillThere(t, w, "apiextensions.k8s.io/v1/CustomResourceDefinition", "", "keepers.rows.example.com")
	// The reasons go away, one by one, and so do the objects that had them.
	for _, args := range [][]string{{"-n", shop, "delete", "configmap/foreign"}, {"-n", ns, "delete", "keeper/k"}, {"-n", ns, "delete", "pvc/data", "--wait=false"}} {
		if out, err := w.Kubectl(t.Context(), "", args...); err != nil {
			t.Fatal(out, err)
		}
	}
	w.AwaitGone(t, "apiextensions.k8s.io/v1/CustomResourceDefinition", "", "keepers.rows.example.com")
	w.AwaitGone(t, "v1/Namespace", "", shop)
	w.AwaitReady(t, ns, "u", "")
}

func definitionAndObjects(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	unit(t, w, ns, "u", map[string]string{
		"app/0-object.yaml": "{apiVersion: rows.example.com/v1, kind: Widget, metadata: {name: w}, spec: {size: 3}}",
		"app/1-crd.yaml":    crd("widgets", "Widget"),
	})
	w.Await(t, "rows.example.com/v1/Widget", ns, "w", pt.Has("spec.size", 3))
}

func objectBeforeDefinition(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	r := w.Git.Repo(t, ns)
	r.Commit(t, map[string]string{
		"app/object.yaml": "{apiVersion: rows.example.com/v1, kind: Gadget, metadata: {name: g}}",
		"crds/crd.yaml":   crd("gadgets", "Gadget"),
	}, "start")
	w.Source(t, ns, "src", r)
	w.Unit(t, ns, "app", "src", "./app")
	msg := w.AwaitReason(t, pt.Kustomization, ns, "app", "UnknownKind")
	contains(t, msg, "Gadget", "rows.example.com/v1")
	w.Unit(t, ns, "crds", "src", "./crds")
	w.AwaitReady(t, ns, "app", "")
	w.Await(t, "rows.example.com/v1/Gadget", ns, "g", nil)
}

func deployment(label, annotations string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {%[2]s}}
spec:
  replicas: 1
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec: {containers: [{name: web, image: "nginx:1.21.0"}]}
`, label, annotations)
}

func immutable(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	push, _ := unit(t, w, ns, "u", map[string]string{"app/d.yaml": deployment("one", "")})
	before := w.Await(t, "apps/v1/Deployment", ns, "web", nil)
	push(map[string]string{"app/d.yaml": deployment("two", "")})
	msg := w.AwaitReason(t, pt.Kustomization, ns, "u", "ReconciliationFailed")
	contains(t, msg, "Deployment/"+ns+"/web", "spec.selector", "immutable")
	if now := w.Await(t, "apps/v1/Deployment", ns, "web", nil); now.GetUID() != before.GetUID() {
		t.Fatal("it was recreated without being asked to")
	}
	hash := push(map[string]string{"app/d.yaml": deployment("two", `kustomize.toolkit.fluxcd.io/force: Enabled`)})
	w.AwaitReady(t, ns, "u", hash)
	after := w.Await(t, "apps/v1/Deployment", ns, "web", pt.Has("spec.selector.matchLabels.app", "two"))
	if after.GetUID() == before.GetUID() {
		t.Error("it was not recreated")
	}
}

func kubectlFields(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	if out, err := w.Kubectl(t.Context(), pt.ConfigMap("a", "keep", "1", "drop", "2"), "-n", ns, "apply", "-f", "-"); err != nil {
		t.Fatal(out, err)
	}
	push, _ := unit(t, w, ns, "u", map[string]string{"app/a.yaml": pt.ConfigMap("a", "keep", "1", "drop", "2")})
	hash := push(map[string]string{"app/a.yaml": pt.ConfigMap("a", "keep", "1")})
	w.AwaitReady(t, ns, "u", hash)
	u := w.Await(t, configMap, ns, "a", nil)
	if _, there, _ := unstructured.NestedString(u.Object, "data", "drop"); there {
		t.Errorf("data.drop is still there: %v", u.Object["data"])
	}
	for _, m := range u.GetManagedFields() {
		if strings.HasPrefix(m.Manager, "kubectl") {
			t.Errorf("%s still owns fields", m.Manager)
		}
	}
	// One migration: nothing more is written once it is done.
	version := u.GetResourceVersion()
	requested := time.Now().Format(time.RFC3339Nano)
	if out, err := w.Kubectl(t.Context(), "", "-n", ns, "annotate", "kustomizations.kustomize.toolkit.fluxcd.io/u", "reconcile.fluxcd.io/requestedAt="+requested); err != nil {
		t.Fatal(out, err)
	}
	kubetest.Eventually(t, pt.Patience, func() error {
		s, _, err := w.StatusOf(t.Context(), pt.Kustomization, ns, "u")
		if err == nil && s.LastHandledReconcileAt != requested {
			err = fmt.Errorf("not handled: %q", s.LastHandledReconcileAt)
		}
		return err
	})
	if again := w.Await(t, configMap, ns, "a", nil); again.GetResourceVersion() != version {
		t.Error("it was written again")
	}
}

func serviceAccountPowerless(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	w.Apply(t, account(ns))
	unit(t, w, ns, "u", three, "serviceAccountName: deployer")
	for _, args := range [][]string{
		{"-n", ns, "delete", "rolebinding/deployer"},
		{"-n", ns, "delete", "kustomizations.kustomize.toolkit.fluxcd.io/u", "--wait=false"},
	} {
		if out, err := w.Kubectl(t.Context(), "", args...); err != nil {
			t.Fatal(out, err)
		}
	}
	msg := w.AwaitReason(t, pt.Kustomization, ns, "u", "PruneFailed")
	contains(t, msg, "forbidden", "deployer")
	stillThere(t, w, configMap, ns, "a", "b", "c")
	orphan(t, w, ns, "u")
	stillThere(t, w, configMap, ns, "a", "b", "c")
}

func orphan(t *testing.T, w *pt.World, ns, name string) {
	t.Helper()
	if out, err := w.Kubectl(t.Context(), "", "-n", ns, "patch", "kustomizations.kustomize.toolkit.fluxcd.io/"+name, "--type=merge", "-p", `{"spec":{"deletionPolicy":"Orphan"}}`); err != nil {
		t.Fatal(out, err)
	}
	w.AwaitGone(t, pt.Kustomization, ns, name)
}

func kubeconfigSecret(ns, name, kubeconfig string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: %s}\nstringData:\n  value: |\n    %s\n",
		name, ns, strings.ReplaceAll(strings.TrimSpace(kubeconfig), "\n", "\n    "))
}

// forward is a way to the API server that a test can close.
func forward(t *testing.T, w *pt.World) *line.Line {
	t.Helper()
	n, err := line.New(strings.TrimPrefix(w.Config.Host, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// kubeconfig is one with an administrator's rights, without any file.
func kubeconfig(w *pt.World, addr string) string {
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf(`
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://%s", certificate-authority-data: %s}}]
users: [{name: u, user: {client-certificate-data: %s, client-key-data: %s}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, addr, b64(w.Config.CAData), b64(w.Config.CertData), b64(w.Config.KeyData))
}

func clusterGone(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	way := forward(t, w)
	w.Apply(t, kubeconfigSecret(ns, "remote", kubeconfig(w, way.Addr())))
	unit(t, w, ns, "u", three, "kubeConfig: {secretRef: {name: remote}}")
	w.Await(t, configMap, ns, "a", nil)
	if err := way.Close(); err != nil {
		t.Fatal(err)
	}
	// Meanwhile others go on.
	other := w.Namespace(t)
	unit(t, w, other, "u", three)
	if out, err := w.Kubectl(t.Context(), "", "-n", ns, "delete", "kustomizations.kustomize.toolkit.fluxcd.io/u", "--wait=false"); err != nil {
		t.Fatal(out, err)
	}
	contains(t, w.AwaitReason(t, pt.Kustomization, ns, "u", "ClusterNotAnswering"), "has not answered since", "connection refused")
	orphan(t, w, ns, "u")
	stillThere(t, w, configMap, ns, "a", "b", "c")
	if strings.Contains(w.Plumb.Log(), base64.StdEncoding.EncodeToString(w.Config.KeyData)[:40]) {
		t.Error("the key is in the log")
	}
}

// A commit of which one object is refused must not keep the others from being
// held true.
func refusedCommit(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	push, _ := unit(t, w, ns, "u", map[string]string{"app/a.yaml": pt.ConfigMap("a", "k", "git"), "app/b.yaml": pt.ConfigMap("b"), "app/c.yaml": pt.ConfigMap("c")})
	push(map[string]string{"app/b.yaml": pt.ConfigMap("b", "not a key", "v")})
	contains(t, w.AwaitReason(t, pt.Kustomization, ns, "u", "ReconciliationFailed"), "not a key")
	for _, args := range [][]string{
		{"patch", "configmap/a", "--type=merge", "-p", `{"data":{"k":"by hand"}}`},
		{"delete", "configmap/c"},
	} {
		if out, err := w.Kubectl(t.Context(), "", append([]string{"-n", ns}, args...)...); err != nil {
			t.Fatal(out, err)
		}
	}
	w.Await(t, configMap, ns, "a", pt.Has("data.k", "git"))
	w.Await(t, configMap, ns, "c", nil)
	stillThere(t, w, configMap, ns, "b")
	w.AwaitReason(t, pt.Kustomization, ns, "u", "ReconciliationFailed")
}

func brokenParent(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	child := fmt.Sprintf(`apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: child, namespace: %s}
spec: {interval: 10m, prune: true, path: ./child, sourceRef: {kind: GitRepository, name: parent}}
`, ns)
	push, remove := unit(t, w, ns, "parent", map[string]string{"app/child.yaml": child, "app/x.yaml": pt.ConfigMap("x"), "child/a.yaml": pt.ConfigMap("a")})
	w.AwaitReady(t, ns, "child", "")
	push(map[string]string{"app/x.yaml": "kind: ConfigMap\n  bad: [yaml"})
	w.AwaitReason(t, pt.Kustomization, ns, "parent", "BuildFailed")
	stillThere(t, w, pt.Kustomization, ns, "child")
	stillThere(t, w, configMap, ns, "a", "x")
	remove("app/child.yaml")
	w.AwaitReason(t, pt.Kustomization, ns, "parent", "BuildFailed")
	stillThere(t, w, pt.Kustomization, ns, "child")
}

func moved(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	r := w.Git.Repo(t, ns)
	r.Commit(t, map[string]string{"one/a.yaml": pt.ConfigMap("a"), "one/m.yaml": pt.ConfigMap("m", "k", "v"), "two/b.yaml": pt.ConfigMap("b")}, "start")
	w.Source(t, ns, "src", r)
	w.Unit(t, ns, "one", "src", "./one")
	w.Unit(t, ns, "two", "src", "./two")
	w.AwaitReady(t, ns, "one", "")
	w.AwaitReady(t, ns, "two", "")
	from, to := "one", "two"
	uid := w.Await(t, configMap, ns, "m", nil).GetUID()
	for range 6 { // back and forth: either unit may be the first to run
		head := r.Move(t, "move it", from+"/m.yaml", to+"/m.yaml")
		w.Poke(t, r)
		w.AwaitReady(t, ns, "one", head)
		w.AwaitReady(t, ns, "two", head)
		w.Await(t, configMap, ns, "m", func(u *unstructured.Unstructured) error {
			if u.GetUID() != uid {
				t.Fatalf("it was deleted and created again")
			}
			return pt.Has("metadata.labels", map[string]any{"kustomize.toolkit.fluxcd.io/name": to, "kustomize.toolkit.fluxcd.io/namespace": ns})(u)
		})
		from, to = to, from
	}
}

func renamed(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	r := w.Git.Repo(t, ns)
	r.Commit(t, three, "start")
	w.Source(t, ns, "src", r)
	w.Unit(t, ns, "old", "src", "./app")
	w.AwaitReady(t, ns, "old", "")
	uid := w.Await(t, configMap, ns, "a", nil).GetUID()
	w.Unit(t, ns, "new", "src", "./app")
	if out, err := w.Kubectl(t.Context(), "", "-n", ns, "delete", "kustomizations.kustomize.toolkit.fluxcd.io/old"); err != nil {
		t.Fatal(out, err)
	}
	w.AwaitReady(t, ns, "new", "")
	if w.Await(t, configMap, ns, "a", nil).GetUID() != uid {
		t.Error("it was deleted and created again")
	}
}

func tenant(t *testing.T, w *pt.World) {
	ns, other := w.Namespace(t), w.Namespace(t)
	w.Apply(t, fmt.Sprintf(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: tenant, namespace: %[1]s}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: tenant, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: admin}
subjects: [{kind: ServiceAccount, name: tenant, namespace: %[1]s}]
`, ns))
	push, _ := unit(t, w, ns, "u", map[string]string{"app/ok.yaml": pt.ConfigMap("ok")}, "serviceAccountName: tenant")
	push(map[string]string{"app/bad.yaml": fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: intruder, namespace: %s}}", other)})
	msg := w.AwaitReason(t, pt.Kustomization, ns, "u", "ReconciliationFailed")
	contains(t, msg, "forbidden", "system:serviceaccount:"+ns+":tenant", other)
	push(map[string]string{"app/bad.yaml": fmt.Sprintf(`apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: %s-root}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: tenant, namespace: %s}]
`, ns, ns)})
	kubetest.Eventually(t, pt.Patience, func() error {
		s, _, err := w.StatusOf(t.Context(), pt.Kustomization, ns, "u")
		if err == nil && !strings.Contains(s.Condition("Ready").Message, "clusterrolebindings") {
			err = fmt.Errorf("not refused: %+v", s.Conditions)
		}
		return err
	})
	for kind, key := range map[string][2]string{"v1/ConfigMap": {other, "intruder"}, "rbac.authorization.k8s.io/v1/ClusterRoleBinding": {"", ns + "-root"}} {
		if _, err := w.Object(t.Context(), kind, key[0], key[1]); !apierrors.IsNotFound(err) {
			t.Errorf("%s %v exists: %v", kind, key, err)
		}
	}
	// References to other namespaces, and accounts of them.
	w.Apply(t, fmt.Sprintf(`
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: cross, namespace: %s}
spec: {interval: 10m, prune: true, sourceRef: {kind: GitRepository, name: u, namespace: %s}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: account, namespace: %s}
spec: {interval: 10m, prune: true, serviceAccountName: "kube-system:admin", sourceRef: {kind: GitRepository, name: u}}
`, other, ns, ns))
	for name, in := range map[string]string{"cross": other, "account": ns} {
		contains(t, w.AwaitReason(t, pt.Kustomization, in, name, "AccessDenied"), "CrossNamespaceDenied")
		if s, _, _ := w.StatusOf(t.Context(), pt.Kustomization, in, name); s.Condition("Stalled").Status != "True" {
			t.Errorf("%s is not stalled: %+v", name, s.Conditions)
		}
	}
}

func unsafeKubeconfig(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	r := w.Git.Repo(t, ns)
	r.Commit(t, three, "start")
	w.Source(t, ns, "u", r)
	for name, user := range map[string]string{
		"exec":      `{exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/touch, args: [/tmp/plumb-was-here], interactiveMode: Never}}`,
		"provider":  `{auth-provider: {name: gcp}}`,
		"tokenfile": `{tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token}`,
		"keyfile":   `{client-key: /etc/ssl/key, client-certificate: /etc/ssl/cert}`,
	} {
		w.Apply(t, kubeconfigSecret(ns, name, fmt.Sprintf(`
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "%s"}}]
users: [{name: u, user: %s}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, w.Config.Host, user)))
		w.Unit(t, ns, name, "u", "./app", "kubeConfig: {secretRef: {name: "+name+"}}")
		w.AwaitReason(t, pt.Kustomization, ns, name, "UnsafeKubeconfig")
	}
	for name, cluster := range map[string]string{
		"insecure": `{server: "https://127.0.0.1:1", insecure-skip-tls-verify: true}`,
		"cafile":   `{server: "https://127.0.0.1:1", certificate-authority: /etc/ssl/ca}`,
		"proxy":    `{server: "https://127.0.0.1:1", proxy-url: "http://127.0.0.1:3128"}`,
	} {
		w.Apply(t, kubeconfigSecret(ns, name, fmt.Sprintf(`
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: %s}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, cluster)))
		w.Unit(t, ns, name, "u", "./app", "kubeConfig: {secretRef: {name: "+name+"}}")
		w.AwaitReason(t, pt.Kustomization, ns, name, "UnsafeKubeconfig")
	}
	if _, err := os.Stat("/tmp/plumb-was-here"); err == nil {
		t.Error("the exec plugin was run")
	}
}

func jobWithTTL(t *testing.T, w *pt.World) {
	w.RequireControllers(t)
	ns := w.Namespace(t)
	unit(t, w, ns, "u", map[string]string{"app/job.yaml": `apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  ttlSecondsAfterFinished: 1
  template: {spec: {restartPolicy: Never, containers: [{name: c, image: busybox}]}}
`}, "wait: true")
	w.AwaitGone(t, "batch/v1/Job", ns, "once")
	push := func() {
		w.Apply(t, fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: nudge, namespace: %s}}", ns))
	}
	push()
	requested := "now"
	if out, err := w.Kubectl(t.Context(), "", "-n", ns, "annotate", "kustomizations.kustomize.toolkit.fluxcd.io/u", "reconcile.fluxcd.io/requestedAt="+requested); err != nil {
		t.Fatal(out, err)
	}
	kubetest.Eventually(t, pt.Patience, func() error {
		s, _, err := w.StatusOf(t.Context(), pt.Kustomization, ns, "u")
		if err == nil && (s.LastHandledReconcileAt != requested || s.Condition("Ready").Status != "True") {
			err = fmt.Errorf("not handled: %+v", s)
		}
		return err
	})
	if _, err := w.Object(t.Context(), "batch/v1/Job", ns, "once"); !apierrors.IsNotFound(err) {
		t.Errorf("the Job ran again: %v", err)
	}
}

func markedToBeKept(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	kept := strings.Replace(pt.ConfigMap("kept"), "metadata:\n", "metadata:\n  annotations: {kustomize.toolkit.fluxcd.io/prune: Disabled}\n", 1)
	_, remove := unit(t, w, ns, "u", map[string]string{"app/a.yaml": pt.ConfigMap("a"), "app/kept.yaml": kept, "app/z.yaml": pt.ConfigMap("z")})
	hash := remove("app/kept.yaml", "app/a.yaml")
	w.AwaitReady(t, ns, "u", hash)
	w.AwaitGone(t, configMap, ns, "a")
	stillThere(t, w, configMap, ns, "kept")
}
