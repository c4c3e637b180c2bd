package argocd_test

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

// options shows what each sync option does to live objects.
func options(t *testing.T, w *world) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"CreateNamespace makes the namespace, and it goes with the Application", createNamespace},
		{"managedNamespaceMetadata is on the namespace", managedNamespace},
		{"Prune=confirm waits for somebody, and Prune=false keeps", confirmPrune},
		{"Delete=confirm waits for somebody, and Delete=false keeps", confirmDeletion},
		{"PrunePropagationPolicy says what becomes of what was made from an object", propagation},
		{"PruneLast prunes an object after the others", pruneLast},
		{"Force makes anew what can't be changed", force},
		{"Replace leaves nothing that is not in Git", replace},
		{"Force and Replace make an object anew with each operation", renew},
		{"SkipDryRunOnMissingResource has the rest of a wave go first", missingKind},
		{"what another Application has is not taken from it", sharedResource},
		{"ApplyOutOfSyncOnly tells of what is changed alone, and RespectIgnoreDifferences leaves what may differ", outOfSyncOnly},
		{"a dry run tells what an operation would do, and does nothing", dryRun},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, w) })
	}
}

const namespace = "v1/Namespace"

// gone waits until an object is, or goes.
func (w *world) gone(t *testing.T, kind, ns, name string) {
	t.Helper()
	kubetest.Eventually(t, pt.Patience, func() error {
		u, err := w.Object(t.Context(), kind, ns, name)
		if err == nil && u.GetDeletionTimestamp() != nil && kind == namespace {
			return nil
		}
		if !apierrors.IsNotFound(err) {
			return errors.Join(fmt.Errorf("%s %s is there", kind, name), err)
		}
		return nil
	})
}

// result is what the last operation says of an object.
func result(a *api.Application, name string) (x api.ResourceResult) {
	if s := a.Status.OperationState; s != nil && s.SyncResult != nil {
		if i := slices.IndexFunc(s.SyncResult.Resources, func(x api.ResourceResult) bool { return x.Name == name }); i >= 0 {
			x = s.SyncResult.Resources[i]
		}
	}
	return x
}

func createNamespace(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c"), "app/h.yaml": job("before", "argocd.argoproj.io/hook: PreSync", "true")})
	made := ns + "-made"
	destination := fmt.Sprintf("destination: {server: https://kubernetes.default.svc, namespace: %s}", made)
	app := w.named(t, ns, ns, r, destination, "syncPolicy: {automated: {}, syncOptions: [CreateNamespace=true]}")
	w.patch(t, app, `{"metadata":{"finalizers":["resources-finalizer.argocd.argoproj.io"]}}`)
	a := w.is(t, app, "Synced Healthy", "")
	w.Await(t, "batch/v1/Job", made, "before", nil)
	if x := result(&a, made); x.Message != "namespace/"+made+" created" || x.SyncPhase != "PreSync" {
		t.Errorf("of the namespace it says %+v", x)
	}
	if len(a.Status.Resources) != 1 {
		t.Errorf("resources %+v", a.Status.Resources)
	}
	w.quiet(t, app)
	w.kubectl(t, "-n", made, "delete", "job", "before")
	w.kubectl(t, "-n", "argocd", "delete", "app", app, "--timeout=30s")
	w.gone(t, namespace, "", made)

	// An operation without the option does not make it, and one with it does.
	other := ns + "-op"
	app = w.named(t, other, ns, r, strings.ReplaceAll(destination, made, other))
	w.is(t, app, "OutOfSync Missing", "")
	w.patch(t, app, `{"operation":{"sync":{"syncStrategy":{"apply":{}}}}}`)
	if a = w.done(t, app, api.PhaseFailed); !strings.Contains(a.Status.OperationState.Message, "create the namespace") {
		t.Errorf("it says %q", a.Status.OperationState.Message)
	}
	w.patch(t, app, `{"operation":{"sync":{"syncOptions":["CreateNamespace=true"]}}}`)
	w.done(t, app, api.PhaseSucceeded)
	w.Await(t, configMap, other, "c", nil)
	w.kubectl(t, "delete", "namespace", other, "--wait=false")
}

func managedNamespace(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c")})
	w.kubectl(t, "label", "namespace", ns, "theirs=stays")
	app := w.app(t, ns, r, `syncPolicy: {automated: {selfHeal: true}, syncOptions: [CreateNamespace=true], managedNamespaceMetadata: {labels: {team: ada}, annotations: {note: x}}}`)
	a := w.is(t, app, "Synced Healthy", "")
	has := func() {
		t.Helper()
		w.Await(t, namespace, "", ns, pt.Has("metadata.labels.team", "ada"))
		if u := w.Await(t, namespace, "", ns, pt.Has("metadata.annotations.note", "x")); u.GetLabels()["theirs"] != "stays" {
			t.Errorf("labels %v", u.GetLabels())
		}
	}
	has()
	if m := a.Status.OperationState.SyncResult.ManagedNamespaceMetadata; m == nil || m.Labels["team"] != "ada" {
		t.Errorf("the result says %+v", m)
	}
	w.kubectl(t, "label", "namespace", ns, "team-")
	has()
	// Without the option it does nothing, but for keeping the namespace that Git had.
	w.Commit(t, r, map[string]string{"app/n.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + ns + "}\n"})
	w.patch(t, app, `{"spec":{"syncPolicy":{"syncOptions":null,"automated":{"prune":true}}}}`)
	w.condition(t, app, "SpecWarning", "CreateNamespace=true")
	w.await(t, app, func(a *api.Application) string {
		if len(a.Status.Resources) != 2 || a.Status.Sync.Status != api.Synced {
			return fmt.Sprintf("it is %s with %v", a.Status.Sync.Status, a.Status.Resources)
		}
		return ""
	})
	head := w.Remove(t, r, "app/n.yaml")
	w.is(t, app, "Synced Healthy", head)
	w.patch(t, app, `{"operation":{"sync":{"prune":true}}}`)
	a = w.done(t, app, api.PhaseSucceeded)
	if x := result(&a, ns); x.Status != api.ResultPruneSkipped {
		t.Errorf("it says %+v", x)
	}
	if u := w.Await(t, namespace, "", ns, nil); u.GetDeletionTimestamp() != nil {
		t.Error("the namespace goes")
	}
}

// says is a ConfigMap with sync options of its own.
func says(name, options string, data ...string) string {
	return strings.Replace(pt.ConfigMap(name, data...), "metadata:\n", fmt.Sprintf("metadata:\n  annotations: {argocd.argoproj.io/sync-options: %q}\n", options), 1)
}

// approve confirms what is to be deleted. Of operations that begin in one second,
// the second is told to begin in the next.
func (w *world) approve(t *testing.T, app string) {
	t.Helper()
	w.kubectl(t, "-n", "argocd", "annotate", "app", app, "--overwrite", "argocd.argoproj.io/deletion-approved="+time.Now().Add(2*time.Second).UTC().Format(time.RFC3339))
}

// uid is that of an object that has to be there.
func (w *world) uid(t *testing.T, kind, ns, name string) string {
	t.Helper()
	u, err := w.Object(t.Context(), kind, ns, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(u.GetUID())
}

// waits waits until the operation of an Application says that it waits for
// something.
func (w *world) waits(t *testing.T, app, message string) api.Application {
	t.Helper()
	return w.await(t, app, func(a *api.Application) string {
		if s := a.Status.OperationState; a.Operation == nil || s == nil || s.Phase != api.PhaseRunning || !strings.Contains(s.Message, message) {
			return "it does not wait for " + message
		}
		return ""
	})
}

const syncAll = `{"operation":{"sync":{"prune":true}}}`

func confirmPrune(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{
		"app/a.yaml": pt.ConfigMap("stays"), "app/b.yaml": pt.ConfigMap("goes"), "app/c.yaml": says("asks", "Prune=confirm"), "app/d.yaml": says("kept", "Prune=false"),
	})
	app := w.app(t, ns, r)
	w.patch(t, app, syncAll)
	a := w.done(t, app, api.PhaseSucceeded)
	for _, x := range a.Status.Resources {
		if x.RequiresDeletionConfirmation != (x.Name == "asks") {
			t.Errorf("%+v", x)
		}
	}
	w.Remove(t, r, "app/b.yaml", "app/c.yaml", "app/d.yaml")
	w.is(t, app, "OutOfSync Healthy", r.Head(t, "main"))
	w.patch(t, app, syncAll)
	w.waits(t, app, "asks: waiting for confirmation that it may be deleted; set the annotation argocd.argoproj.io/deletion-approved")
	w.gone(t, configMap, ns, "goes")
	w.uid(t, configMap, ns, "asks")
	w.approve(t, app)
	a = w.done(t, app, api.PhaseSucceeded)
	w.gone(t, configMap, ns, "asks")
	w.uid(t, configMap, ns, "kept")
	if x := result(&a, "asks"); x.Status != api.ResultPruned {
		t.Errorf("it says %+v", x)
	}

	// Of all of them, and an older approval is none.
	w.Remove(t, r, "app/a.yaml")
	w.Commit(t, r, map[string]string{"app/e.yaml": pt.ConfigMap("new")})
	w.is(t, app, "OutOfSync Healthy", r.Head(t, "main"))
	w.kubectl(t, "-n", "argocd", "annotate", "app", app, "--overwrite", "argocd.argoproj.io/deletion-approved="+time.Now().Add(-time.Hour).UTC().Format(time.RFC3339))
	w.patch(t, app, `{"operation":{"sync":{"prune":true,"syncOptions":["Prune=confirm"]}}}`)
	w.waits(t, app, "waiting for confirmation")
	w.uid(t, configMap, ns, "stays")
	w.Await(t, configMap, ns, "new", nil)
	w.approve(t, app)
	w.done(t, app, api.PhaseSucceeded)
	w.gone(t, configMap, ns, "stays")
}

// left is what the status says of what has left Git, by name.
func left(a *api.Application) map[string]string {
	all := map[string]string{}
	for _, x := range a.Status.Resources {
		if x.RequiresPruning {
			all[x.Name] = x.Status
		}
	}
	return all
}

// extraneous: what says that it is not to be pruned goes on to be told, and what
// says that it does not count is told, and does not count.
func extraneous(t *testing.T, w *world) {
	extra := strings.Replace(pt.ConfigMap("extra"), "metadata:\n", "metadata:\n  annotations: {argocd.argoproj.io/compare-options: IgnoreExtraneous}\n", 1)
	ns, r := w.start(t, map[string]string{
		"app/a.yaml": pt.ConfigMap("a"), "app/b.yaml": extra, "app/k.yaml": says("kept", "Prune=false"),
		"app/after.yaml": inPhase("after", "PostSync"),
	})
	app := w.app(t, ns, r)
	w.patch(t, app, syncAll)
	w.done(t, app, api.PhaseSucceeded)
	w.is(t, app, "Synced Healthy", "")
	head := w.Remove(t, r, "app/b.yaml")
	for range 2 { // before and after a sync, which prunes nothing
		a := w.is(t, app, "Synced Healthy", head)
		if diff := gocmp.Diff(map[string]string{"extra": api.OutOfSync}, left(&a)); diff != "" {
			t.Errorf("left (-want +got):\n%s", diff)
		}
		w.patch(t, app, `{"operation":{"sync":{}}}`)
		w.done(t, app, api.PhaseSucceeded)
	}

	head = w.Remove(t, r, "app/k.yaml")
	w.is(t, app, "OutOfSync Healthy", head)
	w.patch(t, app, `{"spec":{"syncPolicy":{"automated":{"prune":true,"selfHeal":true}}}}`)
	w.patch(t, app, syncAll)
	a := w.done(t, app, api.PhaseSucceeded) // with its hook: nothing waits for what is kept
	w.absent(t, configMap, ns, "extra")
	if x := result(&a, "after"); x.HookPhase != api.PhaseSucceeded {
		t.Errorf("it says %+v", x)
	}
	stays := func() {
		t.Helper()
		a := w.is(t, app, "OutOfSync Healthy", head)
		if diff := gocmp.Diff(map[string]string{"kept": api.OutOfSync}, left(&a)); diff != "" {
			t.Errorf("left (-want +got):\n%s", diff)
		}
		w.uid(t, configMap, ns, "kept")
		w.quiet(t, app) // it is no reason for another sync
	}
	stays()
	w.Plumb.Kill(9)
	w.Plumb.Start()
	w.kubectl(t, "-n", "argocd", "annotate", "app", app, "argocd.argoproj.io/refresh=hard")
	stays()

	w.kubectl(t, "-n", ns, "delete", "configmap", "kept")
	a = w.is(t, app, "Synced Healthy", head)
	if len(left(&a)) > 0 || a.Status.OperationState.Phase != api.PhaseSucceeded {
		t.Errorf("left %v, %s", left(&a), a.Status.OperationState.Phase)
	}
}

func confirmDeletion(t *testing.T, w *world) {
	for name, c := range map[string]struct{ option, b string }{
		"of an object": {"", says("b", "Delete=confirm")}, "of all": {"Delete=confirm", pt.ConfigMap("b")},
	} {
		ns, r := w.start(t, map[string]string{"app/a.yaml": pt.ConfigMap("a"), "app/b.yaml": c.b, "app/c.yaml": says("kept", "Delete=false")})
		app := w.app(t, ns, r, "syncPolicy: {automated: {}, syncOptions: ["+c.option+"]}")
		w.patch(t, app, `{"metadata":{"finalizers":["resources-finalizer.argocd.argoproj.io"]}}`)
		w.is(t, app, "Synced Healthy", "")
		w.kubectl(t, "-n", "argocd", "delete", "app", app, "--wait=false")
		w.condition(t, app, api.ConditionDeletionError, "waiting for confirmation that it may be deleted; set the annotation argocd.argoproj.io/deletion-approved")
		w.uid(t, configMap, ns, "a")
		w.approve(t, app)
		w.gone(t, application, "argocd", app)
		for _, gone := range []string{"a", "b"} {
			w.absent(t, configMap, ns, gone)
		}
		if w.uid(t, configMap, ns, "kept") == "" {
			t.Error(name)
		}
	}
	ns, r := w.start(t, map[string]string{"app/a.yaml": pt.ConfigMap("a")})
	app := w.app(t, ns, r, "syncPolicy: {automated: {}, syncOptions: [Delete=false]}")
	w.patch(t, app, `{"metadata":{"finalizers":["resources-finalizer.argocd.argoproj.io"]}}`)
	w.is(t, app, "Synced Healthy", "")
	w.kubectl(t, "-n", "argocd", "delete", "app", app, "--timeout=30s")
	w.uid(t, configMap, ns, "a")
}

func propagation(t *testing.T, w *world) {
	for policy, stays := range map[string]bool{"foreground": false, "background": false, "orphan": true} {
		ns, r := w.start(t, map[string]string{"app/d.yaml": webDeployment, "app/c.yaml": pt.ConfigMap("c")})
		app := w.app(t, ns, r)
		w.patch(t, app, syncAll)
		w.is(t, app, "Synced Healthy", "")
		sets := func() string { return w.kubectl(t, "-n", ns, "get", "replicasets", "-o", "name") }
		made := sets()
		if made == "" {
			t.Fatal("there is no ReplicaSet")
		}
		w.Remove(t, r, "app/d.yaml")
		w.is(t, app, "OutOfSync Healthy", r.Head(t, "main"))
		w.patch(t, app, `{"operation":{"sync":{"prune":true,"syncOptions":["PrunePropagationPolicy=`+policy+`"]}}}`)
		w.done(t, app, api.PhaseSucceeded)
		w.gone(t, deployment, ns, "guestbook-ui")
		switch left := sets(); {
		case stays && left != made:
			t.Errorf("%s: of %q there is %q", policy, made, left)
		case policy == "foreground" && left != "":
			t.Errorf("%s: the Deployment went before %q", policy, left)
		case !stays:
			kubetest.Eventually(t, pt.Patience, func() error {
				if left := sets(); left != "" {
					return fmt.Errorf("%s: %q is there", policy, left)
				}
				return nil
			})
		}
	}
}

// pruneLast has an object pruned after one that takes its time to go.
func pruneLast(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{
		"app/a.yaml": pt.ConfigMap("stays"), "app/first.yaml": pt.ConfigMap("first"), "app/last.yaml": says("last", "PruneLast=true"),
	})
	app := w.app(t, ns, r)
	w.patch(t, app, syncAll)
	w.done(t, app, api.PhaseSucceeded)
	w.kubectl(t, "-n", ns, "patch", "configmap/first", "--type=merge", "-p", `{"metadata":{"finalizers":["example.com/stays"]}}`)
	w.Remove(t, r, "app/first.yaml", "app/last.yaml")
	w.is(t, app, "OutOfSync Healthy", r.Head(t, "main"))
	w.patch(t, app, syncAll)
	w.Await(t, configMap, ns, "first", func(u *unstructured.Unstructured) error {
		if u.GetDeletionTimestamp() == nil {
			return errors.New("it is not deleted")
		}
		return nil
	})
	w.waits(t, app, "")
	w.uid(t, configMap, ns, "last")
	w.kubectl(t, "-n", ns, "patch", "configmap/first", "--type=merge", "-p", `{"metadata":{"finalizers":[]}}`)
	w.done(t, app, api.PhaseSucceeded)
	w.gone(t, configMap, ns, "last")
}

func force(t *testing.T, w *world) {
	immutable := func(name, options, v string) string { return says(name, options, "v", v) + "immutable: true\n" }
	ns, r := w.start(t, map[string]string{"app/a.yaml": immutable("own", "Force=true", "1"), "app/b.yaml": immutable("other", "", "1")})
	app := w.app(t, ns, r)
	w.patch(t, app, syncAll)
	w.done(t, app, api.PhaseSucceeded)
	own, other := w.uid(t, configMap, ns, "own"), w.uid(t, configMap, ns, "other")
	w.Commit(t, r, map[string]string{"app/a.yaml": immutable("own", "Force=true", "2")})
	w.patch(t, app, syncAll)
	w.done(t, app, api.PhaseSucceeded)
	if w.Await(t, configMap, ns, "own", pt.Has("data.v", "2")); w.uid(t, configMap, ns, "own") == own || w.uid(t, configMap, ns, "other") != other {
		t.Error("what asks for it was not made anew, or what does not was")
	}
	w.Commit(t, r, map[string]string{"app/b.yaml": immutable("other", "", "2")})
	w.patch(t, app, syncAll)
	w.done(t, app, api.PhaseFailed)
	w.patch(t, app, `{"operation":{"sync":{"syncOptions":["Force=true"]}}}`)
	w.done(t, app, api.PhaseSucceeded)
	if w.Await(t, configMap, ns, "other", pt.Has("data.v", "2")); w.uid(t, configMap, ns, "other") == other {
		t.Error("it is the same object")
	}
}

func replace(t *testing.T, w *world) {
	files := func(v string) map[string]string {
		return map[string]string{
			"app/a.yaml": says("own", "Replace=true", "v", v), "app/b.yaml": says("not", "Replace=false", "v", v), "app/c.yaml": pt.ConfigMap("other", "v", v),
		}
	}
	ns, r := w.start(t, files("1"))
	app := w.app(t, ns, r)
	w.patch(t, app, syncAll)
	w.done(t, app, api.PhaseSucceeded)
	uids := map[string]string{}
	extra := func(want string) {
		t.Helper()
		var with []string
		for _, name := range []string{"own", "not", "other"} {
			u := w.Await(t, configMap, ns, name, nil)
			if _, found, _ := unstructured.NestedString(u.Object, "data", "by-hand"); found {
				with = append(with, name)
			}
			if string(u.GetUID()) != uids[name] {
				t.Errorf("%s is another object", name)
			}
		}
		if got := strings.Join(with, " "); got != want {
			t.Errorf("what was added by hand is in %q, want %q", got, want)
		}
	}
	for _, name := range []string{"own", "not", "other"} {
		uids[name] = w.uid(t, configMap, ns, name)
		w.kubectl(t, "-n", ns, "patch", "configmap/"+name, "--type=merge", "-p", `{"data":{"by-hand":"x"}}`)
	}
	w.Commit(t, r, files("2"))
	w.patch(t, app, syncAll)
	w.done(t, app, api.PhaseSucceeded)
	extra("not other")
	w.Commit(t, r, files("3"))
	w.patch(t, app, `{"operation":{"sync":{"syncOptions":["Replace=true"]}}}`)
	w.done(t, app, api.PhaseSucceeded)
	extra("not")
	w.is(t, app, "Synced Healthy", "")
	w.patch(t, app, `{"operation":{"sync":{"syncOptions":["Replace=true"]}}}`)
	a := w.done(t, app, api.PhaseSucceeded)
	if x := result(&a, "own"); !strings.HasSuffix(x.Message, " replaced") {
		t.Errorf("it says %q of what is as desired", x.Message)
	}
	// It is put as a whole also where all that was applied is as desired.
	w.kubectl(t, "-n", ns, "patch", "configmap/other", "--type=merge", "-p", `{"data":{"by-hand":"x"}}`)
	w.patch(t, app, syncAll)
	w.done(t, app, api.PhaseSucceeded)
	extra("not other")
	w.patch(t, app, `{"operation":{"sync":{"syncOptions":["Replace=true"]}}}`)
	w.done(t, app, api.PhaseSucceeded)
	extra("not")
}

// renew makes a Job anew, and so runs it, with each operation.
func renew(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/j.yaml": job("runs", "argocd.argoproj.io/sync-options: 'Force=true,Replace=true'", "true"), "app/c.yaml": pt.ConfigMap("c")})
	app := w.app(t, ns, r)
	jobs := w.Seen(t, batchv1.SchemeGroupVersion.WithResource("jobs"), ns)
	for n := 1; n <= 3; n++ {
		w.patch(t, app, syncAll)
		w.done(t, app, api.PhaseSucceeded)
		w.is(t, app, "Synced Healthy", "")
		if got := jobs()["runs"]; got != n {
			t.Errorf("after %d operations it has run %d times", n, got)
		}
	}
	c := w.uid(t, configMap, ns, "c")
	w.patch(t, app, `{"operation":{"sync":{"syncOptions":["Replace=true","Force=true"]}}}`)
	w.done(t, app, api.PhaseSucceeded)
	if w.uid(t, configMap, ns, "c") == c {
		t.Error("the ConfigMap is the same")
	}
	w.is(t, app, "Synced Healthy", "")

	// With what can't be changed, and a finalizer that the one before does not have.
	ns, r = w.start(t, map[string]string{"app/d.yaml": webDeployment})
	app = w.app(t, ns, r)
	w.patch(t, app, syncAll)
	w.is(t, app, "Synced Healthy", "")
	was := w.uid(t, deployment, ns, "guestbook-ui")
	w.Commit(t, r, map[string]string{"app/d.yaml": strings.NewReplacer(
		"metadata: {name: guestbook-ui}", "metadata: {name: guestbook-ui, finalizers: [test.example.com/held], annotations: {argocd.argoproj.io/sync-options: 'Force=true,Replace=true'}}",
		"app: guestbook-ui", "app: guestbook-ui, env: other",
	).Replace(webDeployment)})
	w.releases(t, ns, "deployment/guestbook-ui")
	w.patch(t, app, syncAll)
	w.done(t, app, api.PhaseSucceeded)
	w.is(t, app, "Synced Healthy", "")
	if w.uid(t, deployment, ns, "guestbook-ui") == was {
		t.Error("the Deployment is the same")
	}
	w.patch(t, app, `{"metadata":{"annotations":{"argocd.argoproj.io/refresh":"hard"}}}`)
	w.Plumb.Kill(9)
	w.Plumb.Start()
	w.await(t, app, func(a *api.Application) string {
		if a.Annotations["argocd.argoproj.io/refresh"] != "" {
			return "it is not refreshed yet"
		}
		return ""
	})
	w.quiet(t, app)
	w.is(t, app, "Synced Healthy", "")
}

const lateDefinition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: lates.%[1]s.example.com}
spec:
  group: %[1]s.example.com
  names: {kind: Late, plural: lates, singular: late, listKind: LateList}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`

func missingKind(t *testing.T, w *world) {
	for name, c := range map[string]struct{ own, option string }{"of its own": {"SkipDryRunOnMissingResource=true", ""}, "of all": {"", "SkipDryRunOnMissingResource=true"}} {
		ns, _ := w.start(t, nil)
		late := fmt.Sprintf("apiVersion: %s.example.com/v1\nkind: Late\nmetadata: {name: late, annotations: {argocd.argoproj.io/sync-options: %q}}\n", ns, c.own)
		r := w.Git.Repo(t, ns+"-late")
		r.Commit(t, map[string]string{"app/l.yaml": late, "app/c.yaml": pt.ConfigMap("with"), "app/d.yaml": inWave("after", "1")}, "start")
		app := w.app(t, ns, r)
		w.is(t, app, "OutOfSync Healthy", "")
		w.patch(t, app, fmt.Sprintf(`{"operation":{"sync":{"syncOptions":[%q]}}}`, cmp.Or(c.option, "Validate=true")))
		w.Await(t, configMap, ns, "with", nil)
		w.waits(t, app, "Late")
		w.absent(t, configMap, ns, "after")
		w.Apply(t, fmt.Sprintf(lateDefinition, ns))
		w.done(t, app, api.PhaseSucceeded)
		w.Await(t, ns+".example.com/v1/Late", ns, "late", nil)
		w.Await(t, configMap, ns, "after", nil)
		w.kubectl(t, "delete", "crd", "lates."+ns+".example.com", "--wait=false")
		t.Log(name)
	}
}

// noKind: without that option an operation ends, and has written nothing. One
// that is tried again finds the kind, or that another has no object of it.
func noKind(t *testing.T, w *world) {
	ns, _ := w.start(t, nil)
	r := w.Git.Repo(t, ns+"-late")
	late := fmt.Sprintf("apiVersion: %s.example.com/v1\nkind: Late\nmetadata: {name: late, annotations: {argocd.argoproj.io/sync-wave: '1'}}\n", ns)
	r.Commit(t, map[string]string{"app/l.yaml": late, "app/c.yaml": pt.ConfigMap("with"), "app/h.yaml": inPhase("before", "PreSync")}, "start")
	app := w.app(t, ns, r)
	w.is(t, app, "OutOfSync Healthy", "")
	w.patch(t, app, syncAll)
	a := w.done(t, app, api.PhaseFailed)
	w.says(t, a.Status.OperationState.Message, "one or more synchronization tasks are not valid", "Late", ns+".example.com", "SkipDryRunOnMissingResource=true")
	if x := result(&a, "late"); x.Status != api.ResultSyncFailed || !strings.Contains(x.Message, "Late") {
		t.Errorf("it says %+v", x)
	}
	w.absent(t, configMap, ns, "with")
	w.absent(t, configMap, ns, "before")

	w.patch(t, app, `{"operation":{"sync":{},"retry":{"limit":-1,"backoff":{"duration":"1s","maxDuration":"2s"}}}}`)
	w.await(t, app, func(a *api.Application) string {
		if s := a.Status.OperationState; a.Operation == nil || s.RetryCount == 0 {
			return "it is not tried again"
		}
		return ""
	})
	w.Apply(t, fmt.Sprintf(lateDefinition, ns))
	w.done(t, app, api.PhaseSucceeded)
	w.Await(t, ns+".example.com/v1/Late", ns, "late", nil)
	w.kubectl(t, "delete", "crd", "lates."+ns+".example.com", "--wait=false")

	// What is to be synced by itself waits for the kind; with the option the rest
	// does not.
	r.Commit(t, map[string]string{"auto/l.yaml": strings.ReplaceAll(late, ns, ns+"-2"), "auto/c.yaml": pt.ConfigMap("more")}, "another kind")
	app = w.named(t, ns+"-auto", ns, r, "source: {repoURL: "+r.URL()+", path: auto}", automated)
	w.condition(t, app, api.ConditionSyncError, "Late")
	w.absent(t, configMap, ns, "more")
	w.patch(t, app, `{"spec":{"syncPolicy":{"syncOptions":["SkipDryRunOnMissingResource=true"]}}}`)
	w.Await(t, configMap, ns, "more", nil)
	w.Apply(t, fmt.Sprintf(lateDefinition, ns+"-2"))
	w.is(t, app, "Synced Healthy", "")
	w.kubectl(t, "delete", "crd", "lates."+ns+"-2.example.com", "--wait=false")
}

func sharedResource(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "first"), "app/d.yaml": pt.ConfigMap("stays")})
	first := w.app(t, ns, r, automated)
	w.is(t, first, "Synced Healthy", "")
	for _, option := range []string{"", "FailOnSharedResource=true"} {
		other := w.Git.Repo(t, ns+"-other"+fmt.Sprint(len(option)))
		other.Commit(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "second")}, "start")
		second := w.named(t, ns+"-second"+fmt.Sprint(len(option)), ns, other, "syncPolicy: {automated: {}, retry: {limit: 0}, syncOptions: ["+option+"]}")
		w.done(t, second, api.PhaseFailed)
		w.Await(t, configMap, ns, "c", pt.Has("data.v", "first"))
		a, err := w.read(t, second)
		if err != nil || !strings.Contains(a.Status.OperationState.Message, "it belongs to Application/argocd/"+first) {
			t.Errorf("%v: it says %q", err, a.Status.OperationState.Message)
		}
		w.condition(t, second, api.ConditionSharedResourceWarning, "it belongs to Application/argocd/"+first)
	}
	w.is(t, first, "Synced Healthy", "")

	// Nor does it have to be tried to be known, and it goes with its reason.
	w.patch(t, first, `{"spec":{"syncPolicy":null}}`)
	other := w.Git.Repo(t, ns+"-same")
	other.Commit(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "first")}, "start")
	same := w.named(t, ns+"-same", ns, other)
	w.condition(t, same, api.ConditionSharedResourceWarning, "it belongs to Application/argocd/"+first)
	w.Remove(t, r, "app/c.yaml")
	w.is(t, first, "OutOfSync Healthy", r.Head(t, "main"))
	w.await(t, same, func(a *api.Application) string {
		if len(a.Status.Conditions) > 0 {
			return "it is still said to be another's"
		}
		return ""
	})
}

func outOfSyncOnly(t *testing.T, w *world) {
	files := func(v string) map[string]string {
		return map[string]string{"app/a.yaml": pt.ConfigMap("changes", "v", v, "theirs", "git"), "app/b.yaml": pt.ConfigMap("same")}
	}
	ns, r := w.start(t, files("1"))
	app := w.app(t, ns, r, "ignoreDifferences: [{kind: ConfigMap, name: changes, jsonPointers: [/data/theirs]}]", "syncPolicy: {syncOptions: [RespectIgnoreDifferences=true]}")
	w.patch(t, app, syncAll)
	w.done(t, app, api.PhaseSucceeded)
	before, err := w.Object(t.Context(), configMap, ns, "same")
	if err != nil {
		t.Fatal(err)
	}
	w.kubectl(t, "-n", ns, "patch", "configmap/changes", "--type=merge", "-p", `{"data":{"theirs":"by hand"}}`)
	w.Commit(t, r, files("2"))
	w.patch(t, app, `{"operation":{"sync":{"syncOptions":["ApplyOutOfSyncOnly=true","ServerSideApply=true"]}}}`)
	a := w.done(t, app, api.PhaseSucceeded)
	if all := a.Status.OperationState.SyncResult.Resources; len(all) != 1 || all[0].Name != "changes" {
		t.Errorf("it says %+v", all)
	}
	u := w.Await(t, configMap, ns, "changes", pt.Has("data.v", "2"))
	if err := pt.Has("data.theirs", "by hand")(u); err != nil {
		t.Error(err)
	}
	if !slices.ContainsFunc(u.GetManagedFields(), func(m metav1.ManagedFieldsEntry) bool {
		return m.Manager == "argocd-controller" && m.Operation == metav1.ManagedFieldsOperationApply
	}) {
		t.Errorf("its fields are managed by %+v", u.GetManagedFields())
	}
	if same := w.Await(t, configMap, ns, "same", nil); same.GetResourceVersion() != before.GetResourceVersion() {
		t.Error("what was as desired was written")
	}
	// Without the option, what may differ is applied along with a change.
	w.patch(t, app, `{"spec":{"syncPolicy":{"syncOptions":null}}}`)
	w.Commit(t, r, files("3"))
	w.patch(t, app, syncAll)
	w.done(t, app, api.PhaseSucceeded)
	if err := pt.Has("data.theirs", "git")(w.Await(t, configMap, ns, "changes", pt.Has("data.v", "3"))); err != nil {
		t.Error(err)
	}
}

func dryRun(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{
		"app/a.yaml": pt.ConfigMap("changes", "v", "1"), "app/b.yaml": pt.ConfigMap("goes"), "app/c.yaml": pt.ConfigMap("same"),
	})
	app := w.app(t, ns, r)
	w.patch(t, app, syncAll)
	w.done(t, app, api.PhaseSucceeded)
	w.Remove(t, r, "app/b.yaml")
	w.Commit(t, r, map[string]string{
		"app/a.yaml": pt.ConfigMap("changes", "v", "2"), "app/d.yaml": inWave("new", "3"), "app/h.yaml": job("hook", "argocd.argoproj.io/hook: PreSync", "true"),
	})
	w.is(t, app, "OutOfSync Healthy", r.Head(t, "main"))
	w.patch(t, app, `{"operation":{"sync":{"prune":true,"dryRun":true}}}`)
	a := w.done(t, app, api.PhaseSucceeded)
	for name, want := range map[string]string{
		"changes": "Synced configmap/changes configured (dry run)", "goes": "Pruned pruned (dry run)", "same": "Synced configmap/same unchanged",
		"new": "Synced configmap/new created (dry run)", "hook": " ",
	} {
		if x := result(&a, name); x.Status+" "+x.Message != want {
			t.Errorf("of %s it says %q, want %q", name, x.Status+" "+x.Message, want)
		}
	}
	if len(a.Status.History) != 1 || a.Status.OperationState.SyncResult.Revision != r.Head(t, "main") {
		t.Errorf("history %+v, result %+v", a.Status.History, a.Status.OperationState.SyncResult)
	}
	w.is(t, app, "OutOfSync Healthy", r.Head(t, "main"))
	w.quiet(t, app)
	w.absent(t, configMap, ns, "new")
	w.absent(t, "batch/v1/Job", ns, "hook")
	w.uid(t, configMap, ns, "goes")
	if err := pt.Has("data.v", "1")(w.Await(t, configMap, ns, "changes", nil)); err != nil {
		t.Error(err)
	}

	// What the server refuses is told, of a selection as well.
	w.Commit(t, r, map[string]string{"app/bad.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 99999}]}\n"})
	w.patch(t, app, `{"operation":{"sync":{"dryRun":true}}}`)
	if a = w.done(t, app, api.PhaseFailed); !strings.Contains(result(&a, "bad").Message, "99999") {
		t.Errorf("it says %+v", a.Status.OperationState)
	}
	w.patch(t, app, `{"operation":{"sync":{"dryRun":true,"resources":[{"kind":"ConfigMap","name":"changes"}]}}}`)
	if a = w.done(t, app, api.PhaseSucceeded); len(a.Status.OperationState.SyncResult.Resources) != 1 {
		t.Errorf("it says %+v", a.Status.OperationState.SyncResult.Resources)
	}
	// An operation that is none does it all.
	w.Remove(t, r, "app/bad.yaml")
	w.is(t, app, "OutOfSync Healthy", r.Head(t, "main"))
	w.patch(t, app, syncAll)
	w.done(t, app, api.PhaseSucceeded)
	w.Await(t, configMap, ns, "new", nil)
	w.absent(t, configMap, ns, "goes")
}
