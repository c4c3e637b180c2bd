package rows_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

// D03: the definition of Kustomizations goes away, and with it all of them,
// and comes back. Nobody has asked for the objects to go.
func TestD03ReinstalledDefinitionPrunesNothing(t *testing.T) {
	w := pt.New(t)
	ns := w.Namespace(t)
	unit(t, w, ns, "u", three)
	uid := w.Await(t, configMap, ns, "a", nil).GetUID()
	if out, err := w.Kubectl(t.Context(), "", "delete", "crd", "kustomizations.kustomize.toolkit.fluxcd.io"); err != nil {
		t.Fatal(out, err)
	}
	stillThere(t, w, configMap, ns, "a", "b", "c")
	w.Plumb.Kill(syscall.SIGTERM) // it can't watch what is not there
	reinstall(t, w)
	w.Plumb.Start()
	w.Unit(t, ns, "u", "u", "./app")
	w.AwaitReady(t, ns, "u", "")
	if w.Await(t, configMap, ns, "a", nil).GetUID() != uid {
		t.Error("the object was created again")
	}
}

func reinstall(t *testing.T, w *pt.World) {
	t.Helper()
	kubetest.Eventually(t, pt.Patience, func() error {
		if out, err := w.Kubectl(t.Context(), "", "apply", "--server-side", "--force-conflicts", "-f", crdDir(t)); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		u, err := w.Object(t.Context(), "apiextensions.k8s.io/v1/CustomResourceDefinition", "", "kustomizations.kustomize.toolkit.fluxcd.io")
		if err != nil {
			return err
		}
		if u.GetDeletionTimestamp() != nil {
			return fmt.Errorf("the old definition is still going")
		}
		for _, c := range conditionsOf(u) {
			if c["type"] == "Established" && c["status"] == "True" {
				return nil
			}
		}
		return fmt.Errorf("not established")
	})
}

func conditionsOf(u *unstructured.Unstructured) []map[string]any {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	var out []map[string]any
	for _, c := range list {
		if m, ok := c.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func crdDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../api/flux")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// D04: an aggregated API that is down, and a kind whose conversion webhook is,
// hurt only those who use them.
func TestD04ABrokenAPIHurtsOnlyItsUsers(t *testing.T) {
	w := pt.New(t)
	ns := w.Namespace(t)
	_, remove := unit(t, w, ns, "before", three)
	w.Apply(t, `
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.down.example.com}
spec:
  group: down.example.com
  version: v1
  groupPriorityMinimum: 1000
  versionPriority: 10
  insecureSkipTLSVerify: true
  service: {name: nobody, namespace: default}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: twofaces.broken.example.com}
spec:
  group: broken.example.com
  scope: Namespaced
  names: {plural: twofaces, singular: twoface, kind: TwoFace}
  conversion:
    strategy: Webhook
    webhook:
      conversionReviewVersions: [v1]
      clientConfig: {service: {name: nobody, namespace: default, path: /convert}}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
  - {name: v2, served: true, storage: false, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`)
	r := w.Git.Repo(t, ns+"-users")
	r.Commit(t, map[string]string{
		"converted/x.yaml":  "{apiVersion: broken.example.com/v2, kind: TwoFace, metadata: {name: x}}",
		"aggregated/x.yaml": "{apiVersion: down.example.com/v1, kind: Ghost, metadata: {name: x}}",
		"fine/x.yaml":       pt.ConfigMap("fine"),
	}, "start")
	w.Source(t, ns, "users", r)
	w.Unit(t, ns, "converted", "users", "./converted")
	w.Unit(t, ns, "aggregated", "users", "./aggregated")
	w.Unit(t, ns, "fine", "users", "./fine")
	w.AwaitReady(t, ns, "fine", "")
	for _, name := range []string{"converted", "aggregated"} {
		kubetest.Eventually(t, pt.Patience, func() error {
			s, _, err := w.StatusOf(t.Context(), pt.Kustomization, ns, name)
			if err == nil && s.Condition("Ready").Status != "False" {
				err = fmt.Errorf("%s is not reported: %+v", name, s.Conditions)
			}
			return err
		})
	}
	// The unit from before goes on, pruning included.
	hash := remove("app/a.yaml")
	w.AwaitReady(t, ns, "before", hash)
	w.AwaitGone(t, configMap, ns, "a")
	if out, err := w.Kubectl(t.Context(), "", "delete", "apiservice", "v1.down.example.com"); err != nil {
		t.Fatal(out, err)
	}
}

// D10: plumb is killed at random moments while units are created, changed and
// pruned. Afterwards the cluster holds what Git says, no object is lost and
// none is left over.
func TestD10KilledAnywhereLosesNothingAndOrphansNothing(t *testing.T) {
	runs := 200
	if testing.Short() {
		runs = 20
	}
	w := pt.New(t)
	ns := w.Namespace(t)
	r := w.Git.Repo(t, ns)
	const units = 3
	random := rand.New(rand.NewPCG(1, 2))
	generation := 0
	// want is what the cluster should hold: name → the value of data.g.
	want, present := map[string]string{}, map[string]bool{}
	commit := func() string {
		generation++
		files := map[string]string{}
		clear(want)
		for u := range units {
			// Names change from run to run, so that every run creates and
			// prunes; one object stays and changes, so that no unit is empty.
			files[fmt.Sprintf("u%d/keep.yaml", u)] = pt.ConfigMap(fmt.Sprintf("u%d-keep", u), "g", fmt.Sprint(generation))
			want[fmt.Sprintf("u%d-keep", u)] = fmt.Sprint(generation)
			for i := range 8 {
				if random.IntN(2) == 0 {
					continue
				}
				name := fmt.Sprintf("u%d-o%d", u, i)
				files[fmt.Sprintf("u%d/%s.yaml", u, name)] = pt.ConfigMap(name, "g", fmt.Sprint(generation))
				want[name] = fmt.Sprint(generation)
			}
		}
		var gone []string
		for name := range present {
			if _, ok := files[name]; !ok {
				gone = append(gone, name)
			}
		}
		clear(present)
		for name := range files {
			present[name] = true
		}
		if len(gone) > 0 {
			r.Remove(t, "run", gone...)
		}
		return r.Commit(t, files, "run")
	}
	hash := commit()
	w.Source(t, ns, "src", r)
	for u := range units {
		w.Unit(t, ns, fmt.Sprintf("u%d", u), "src", fmt.Sprintf("./u%d", u))
		if out, err := w.Kubectl(t.Context(), "", "-n", ns, "annotate", fmt.Sprintf("kustomizations.kustomize.toolkit.fluxcd.io/u%d", u), "plumb.dev/approve-prune=any"); err != nil {
			t.Fatal(out, err)
		}
	}
	settled := func(hash string) {
		t.Helper()
		for u := range units {
			w.AwaitReady(t, ns, fmt.Sprintf("u%d", u), hash)
		}
	}
	settled(hash)
	kills := 0
	for run := range runs {
		hash = commit()
		approve(t, w, ns, units, hash)
		w.Poke(t, r)
		time.Sleep(time.Duration(random.IntN(250)) * time.Millisecond) // the moment of the kill, not a wait
		w.Plumb.Kill(syscall.SIGKILL)
		kills++
		w.Plumb.Start()
		if run%10 != 9 {
			continue // the next commit meets whatever state this one left
		}
		w.Poke(t, r)
		settled(hash)
		check(t, w, ns, want)
		if t.Failed() {
			t.Fatalf("after %d kills", kills)
		}
	}
	t.Logf("%d kills, %d commits: no object lost, none orphaned", kills, generation)
}

// approve lets each unit prune what this revision takes away, however much.
func approve(t *testing.T, w *pt.World, ns string, units int, hash string) {
	t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"plumb.dev/approve-prune":"main@sha1:%s"}}}`, hash)
	for u := range units {
		o, err := w.Object(t.Context(), pt.Kustomization, ns, fmt.Sprintf("u%d", u))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Client.Patch(t.Context(), o, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
			t.Fatal(err)
		}
	}
}

// check compares the ConfigMaps of plumb in ns with what Git says, and with
// the inventories.
func check(t *testing.T, w *pt.World, ns string, want map[string]string) {
	t.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion("v1")
	list.SetKind("ConfigMapList")
	if err := w.Client.List(t.Context(), list, client.InNamespace(ns), client.HasLabels{"kustomize.toolkit.fluxcd.io/name"}); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, u := range list.Items {
		got[u.GetName()], _, _ = unstructured.NestedString(u.Object, "data", "g")
	}
	for name, g := range want {
		if got[name] != g {
			t.Errorf("%s is %q, Git says %q", name, got[name], g)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is left over", name)
		}
	}
	var ids []string
	units := &unstructured.UnstructuredList{}
	units.SetAPIVersion("kustomize.toolkit.fluxcd.io/v1")
	units.SetKind("KustomizationList")
	if err := w.Client.List(t.Context(), units, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	for _, u := range units.Items {
		entries, _, _ := unstructured.NestedSlice(u.Object, "status", "inventory", "entries")
		for _, e := range entries {
			ids = append(ids, strings.Split(e.(map[string]any)["id"].(string), "_")[1])
		}
	}
	slices.Sort(ids)
	var names []string
	for n := range want {
		names = append(names, n)
	}
	slices.Sort(names)
	if !slices.Equal(ids, names) {
		t.Errorf("inventories hold %v, want %v", ids, names)
	}
}

// D11: the API server and etcd are killed while plumb applies.
func TestD11ServerRestartsLoseNothing(t *testing.T) {
	w := pt.New(t)
	ns := w.Namespace(t)
	push, remove := unit(t, w, ns, "u", three)
	uids := map[string]string{}
	for _, n := range []string{"b", "c"} {
		uids[n] = string(w.Await(t, configMap, ns, n, nil).GetUID())
	}
	for i, component := range []string{"kube-apiserver", "etcd", "kube-apiserver"} {
		files := map[string]string{}
		for j := range 20 {
			files[fmt.Sprintf("app/x%d.yaml", j)] = pt.ConfigMap(fmt.Sprintf("x%d", j), "round", fmt.Sprint(i))
		}
		hash := push(files)
		w.Kill(t, component)
		kubetest.Eventually(t, 2*pt.Patience, func() error { return w.Ready(t.Context()) })
		ready(t, w, ns, "u", hash)
		for j := range 20 {
			w.Await(t, configMap, ns, fmt.Sprintf("x%d", j), pt.Has("data.round", i))
		}
	}
	hash := remove("app/a.yaml")
	w.Kill(t, "kube-apiserver")
	kubetest.Eventually(t, 2*pt.Patience, func() error { return w.Ready(t.Context()) })
	ready(t, w, ns, "u", hash)
	w.AwaitGone(t, configMap, ns, "a")
	for n, uid := range uids {
		if got := w.Await(t, configMap, ns, n, nil); string(got.GetUID()) != uid {
			t.Errorf("%s was created again", n)
		}
	}
}

// ready is AwaitReady with time for a server that has just come back.
func ready(t *testing.T, w *pt.World, ns, name, hash string) {
	t.Helper()
	kubetest.Eventually(t, 2*pt.Patience, func() error {
		s, _, err := w.StatusOf(t.Context(), pt.Kustomization, ns, name)
		if err == nil && (s.Condition("Ready").Status != "True" || !strings.HasSuffix(s.LastAppliedRevision, hash)) {
			err = fmt.Errorf("not ready: %+v", s.Conditions)
		}
		return err
	})
}

// D14: plumb misses events, because it does not run, because the watch is cut,
// and because the server has forgotten them.
func TestD14MissedEventsAreFound(t *testing.T) {
	w := pt.New(t)
	ns := w.Namespace(t)
	unit(t, w, ns, "u", three)
	hold := func() { // plumb stands still, its connections open
		if err := w.Plumb.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	goOn := func() {
		if err := w.Plumb.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	kubectl := func(args ...string) {
		t.Helper()
		if out, err := w.Kubectl(t.Context(), "", append([]string{"-n", ns}, args...)...); err != nil {
			t.Fatal(out, err)
		}
	}
	hold()
	kubectl("delete", "configmap/a")
	kubectl("patch", "configmap/b", "--type=merge", "-p", `{"data":{"drift":"yes"}}`)
	w.Kill(t, "kube-apiserver") // its watch cache is gone, and with it the events
	kubetest.Eventually(t, 2*pt.Patience, func() error { return w.Ready(t.Context()) })
	goOn()
	w.Await(t, configMap, ns, "a", nil)
	w.Await(t, configMap, ns, "b", func(u *unstructured.Unstructured) error {
		if _, there, _ := unstructured.NestedString(u.Object, "data", "drift"); there {
			return fmt.Errorf("the drift is still there")
		}
		return nil
	})
	// What is pruned is looked at first: an object that has changed hands
	// while plumb stood still is not deleted.
	hold()
	kubectl("label", "configmap/c", "kustomize.toolkit.fluxcd.io/name=somebody-else", "--overwrite")
	goOn()
	stillThere(t, w, configMap, ns, "c")
}

// D22: a stored object that the current schema does not allow, and one whose
// annotations are hostile, are stalled alone.
func TestD22AStoredObjectThatIsInvalidIsStalledAlone(t *testing.T) {
	w := pt.New(t)
	ns := w.Namespace(t)
	unit(t, w, ns, "fine", three)
	// A watch that began under the old schema may go on for a moment after
	// the server has the new one, and shows objects without unknown fields.
	w.Plumb.Kill(syscall.SIGTERM)
	name := "kustomizations.kustomize.toolkit.fluxcd.io"
	u, err := w.Object(t.Context(), "apiextensions.k8s.io/v1/CustomResourceDefinition", "", name)
	if err != nil {
		t.Fatal(err)
	}
	versions, _, _ := unstructured.NestedSlice(u.Object, "spec", "versions")
	for _, v := range versions {
		loose := map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
		if err := unstructured.SetNestedMap(v.(map[string]any), loose, "schema", "openAPIV3Schema", "properties", "spec"); err != nil {
			t.Fatal(err)
		}
	}
	if err := unstructured.SetNestedSlice(u.Object, versions, "spec", "versions"); err != nil {
		t.Fatal(err)
	}
	if err := w.Client.Update(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	// The first is refused until the server has the loosened schema.
	for _, bad := range []string{fmt.Sprintf(`
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: types, namespace: %[1]s}
spec: {interval: [1, 2], prune: "perhaps", sourceRef: {kind: GitRepository, name: fine}}
`, ns), fmt.Sprintf(`
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: unknown, namespace: %[1]s}
spec: {interval: 10m, prune: true, path: ./app, sourceRef: {kind: GitRepository, name: fine}, deployTo: production}
`, ns)} {
		kubetest.Eventually(t, pt.Patience, func() error {
			out, err := w.Kubectl(t.Context(), bad, "apply", "--validate=false", "-f", "-")
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
	}
	w.Plumb.Start()
	contains(t, w.AwaitReason(t, pt.Kustomization, ns, "types", "InvalidSpec"), "interval")
	contains(t, w.AwaitReason(t, pt.Kustomization, ns, "unknown", "InvalidSpec"), "deployTo")
	for _, n := range []string{"types", "unknown"} {
		if s, _, _ := w.StatusOf(t.Context(), pt.Kustomization, ns, n); s.Condition("Stalled").Status != "True" {
			t.Errorf("%s is not stalled: %+v", n, s.Conditions)
		}
	}
	w.Apply(t, fmt.Sprintf(`
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: hostile
  namespace: %s
  annotations:
    reconcile.fluxcd.io/requestedAt: "%s"
    plumb.dev/approve-prune: "../../etc/passwd\u0000"
    event.toolkit.fluxcd.io/x: "\u001b[31mred"
spec: {interval: 10m, prune: true, path: ./app, sourceRef: {kind: GitRepository, name: missing}}
`, ns, strings.Repeat("x", 20_000)))
	w.AwaitReason(t, pt.Kustomization, ns, "hostile", "ArtifactFailed")
	// The others go on.
	if out, err := w.Kubectl(t.Context(), "", "-n", ns, "delete", "configmap/a"); err != nil {
		t.Fatal(out, err)
	}
	w.Await(t, configMap, ns, "a", nil)
	w.Plumb.Kill(syscall.SIGTERM)
	w.Plumb.Start()
	if out, err := w.Kubectl(t.Context(), "", "-n", ns, "delete", "configmap/b"); err != nil {
		t.Fatal(out, err)
	}
	w.Await(t, configMap, ns, "b", nil)
}

// With nothing changing, plumb sends nothing but watches and leases; and a
// start with everything in place writes nothing.
func TestSteadyStateSendsNothing(t *testing.T) {
	for name, spec := range map[string]string{"as plumb itself": "", "as a service account": asDeployer} {
		t.Run(name, func(t *testing.T) { steadyState(t, spec) })
	}
}

func steadyState(t *testing.T, spec string) {
	w := pt.On(t, kubetest.Private(t, "--audit"), "--leader-elect", "--leader-namespace", "default")
	ns := w.Namespace(t)
	files := map[string]string{"app/d.yaml": deployment("web", "")}
	for i := range 10 {
		files[fmt.Sprintf("app/%d.yaml", i)] = pt.ConfigMap(fmt.Sprintf("cm-%d", i))
	}
	r := w.Git.Repo(t, ns)
	r.Commit(t, files, "start")
	w.Apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: auth, namespace: %[1]s}
stringData: {username: u, password: p}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: u, namespace: %[1]s}
spec: {interval: 5s, url: %[2]s, ref: {branch: main}, secretRef: {name: auth}}
`, ns, r.URL()))
	w.Apply(t, fmt.Sprintf(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: deployer, namespace: %[1]s}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: deployer, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{kind: ServiceAccount, name: deployer, namespace: %[1]s}]
`, ns))
	w.Unit(t, ns, "u", "u", "./app", "wait: true\ninterval: 5s", spec)
	w.AwaitReady(t, ns, "u", "")
	w.Apply(t, fmt.Sprintf(`
{apiVersion: v1, kind: Namespace, metadata: {name: argocd}}
---
{apiVersion: argoproj.io/v1alpha1, kind: AppProject, metadata: {name: shop, namespace: argocd}, spec: {sourceRepos: ['*'], destinations: [{server: '*', namespace: '*'}]}}
---
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: shop, namespace: argocd}
spec: {project: shop, source: {repoURL: %q, path: app}, destination: {name: in-cluster, namespace: %s}, syncPolicy: {automated: {selfHeal: true}}}
`, r.URL(), w.Namespace(t)))
	w.Await(t, "argoproj.io/v1alpha1/Application", "argocd", "shop", pt.Has("status.sync.status", "Synced"))
	w.Await(t, "argoproj.io/v1alpha1/Application", "argocd", "shop", pt.Has("status.health.status", "Healthy"))
	idle := func(d time.Duration) {
		t.Helper()
		start := time.Now()
		polls := len(w.Git.Requests())
		timer := time.NewTimer(d) // the test is about what does not happen
		<-timer.C
		for _, e := range w.Requests(t, start) {
			if e.Verb == "watch" || strings.Contains(e.URI, "/leases/") {
				continue
			}
			t.Errorf("%s %s", e.Verb, e.URI)
		}
		if len(w.Git.Requests()) == polls {
			t.Error("the source was not polled meanwhile, so this shows nothing")
		}
	}
	// Events are sent a moment late.
	kubetest.Eventually(t, pt.Patience, func() error {
		if n := len(w.Requests(t, time.Now().Add(-3*time.Second))); n > 3 {
			return fmt.Errorf("%d requests in the last 3 s", n)
		}
		return nil
	})
	idle(60 * time.Second)

	restart := time.Now()
	w.Plumb.Kill(syscall.SIGTERM)
	w.Plumb.Start()
	if out, err := w.Kubectl(t.Context(), "", "-n", ns, "delete", "configmap/cm-3"); err != nil {
		t.Fatal(out, err)
	}
	w.Await(t, configMap, ns, "cm-3", nil) // so it has looked at everything
	writes := map[string]int{}
	for _, e := range w.Requests(t, restart) {
		if e.Write() && !strings.Contains(e.URI, "/leases") && !strings.Contains(e.URI, "/events") {
			writes[e.Resource+"/"+e.Name]++
		}
	}
	for what, n := range writes {
		if what != "configmaps/cm-3" && what != "kustomizations/u" {
			t.Errorf("%d writes of %s after a start that found nothing to do", n, what)
		}
	}
}

// A start while the Git server is down, and while a source is suspended: what
// was fetched before is still held true.
func TestA08AStartWithoutTheServerHoldsTheLastArtifact(t *testing.T) {
	w := pt.New(t)
	ns := w.Namespace(t)
	unit(t, w, ns, "down", three)
	unit(t, w, ns, "asleep", map[string]string{"app/s.yaml": pt.ConfigMap("s")})
	kubectl := func(args ...string) {
		t.Helper()
		if out, err := w.Kubectl(t.Context(), "", append([]string{"-n", ns}, args...)...); err != nil {
			t.Fatal(out, err)
		}
	}
	kubectl("patch", "gitrepository/asleep", "--type=merge", "-p", `{"spec":{"suspend":true}}`)
	w.Plumb.Kill(syscall.SIGTERM)
	w.Git.Fail(gittest.Status(502))
	kubectl("delete", "configmap/a", "configmap/s")
	w.Plumb.Start()
	w.Await(t, configMap, ns, "a", nil)
	w.Await(t, configMap, ns, "s", nil)
	w.AwaitReason(t, pt.GitRepository, ns, "down", "ServerError")
	stillThere(t, w, configMap, ns, "b", "c")
	w.Git.Fail(nil)
}

func TestServeWithoutDefinitionsSaysWhatToDo(t *testing.T) {
	env := kubetest.Private(t, "--api-only")
	cmd := exec.CommandContext(t.Context(), pt.Binary(t), "serve", "--kubeconfig", env.Kubeconfig, "--data", t.TempDir(), "--hint-addr", "0", "--health-addr", "0", "--metrics-addr", "0")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("%v\n%s", err, out)
	}
	contains(t, string(out), "GitRepository", "plumb install --crds")
}

// D11: a start while the API server does not answer waits for it.
func TestD11AStartWaitsForTheAPIServer(t *testing.T) {
	var up atomic.Bool
	w := pt.On(t, kubetest.Private(t, "--api-only").Through(t, func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		if !up.Load() {
			return nil, errors.New("down")
		}
		return next.RoundTrip(r)
	}))
	kubetest.Eventually(t, pt.Patience, func() error {
		if log := w.Plumb.Log(); !strings.Contains(log, "the API server does not answer yet") {
			return fmt.Errorf("nothing is said of it: %s", log)
		}
		return nil
	})
	up.Store(true)
	ns := w.Namespace(t)
	unit(t, w, ns, "u", three)
	if !w.Plumb.Runs() {
		t.Error("it was not this process that applied the unit")
	}
}
