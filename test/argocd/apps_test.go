package argocd_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/internal/gittest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

const cascade = "resources-finalizer.argocd.argoproj.io"

// child is an Application in a file of another.
func childOf(name, ns string, r *gittest.Repository, path, metadata string) string {
	return fmt.Sprintf(`apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: %s, namespace: argocd, %s}
spec:
  project: default
  source: {repoURL: %q, path: %s, targetRevision: main}
  destination: {server: https://kubernetes.default.svc, namespace: %s}
  syncPolicy: {automated: {prune: true}}
`, name, metadata, r.URL(), path, ns)
}

func wave(n string) string {
	return fmt.Sprintf("finalizers: [%s], annotations: {argocd.argoproj.io/sync-wave: %q}", cascade, n)
}

// unplaced is a Deployment whose Pods no node takes.
var unplaced = strings.Replace(webDeployment, "spec: {containers:", "spec: {nodeSelector: {is: nowhere}, containers:", 1)

// parent applies an Application whose objects are in apps/.
func (w *world) parent(t *testing.T, ns string, r *gittest.Repository) string {
	t.Helper()
	return w.named(t, ns, "argocd", r, "source: {repoURL: "+r.URL()+", path: apps}", "syncPolicy: {automated: {prune: true}}")
}

func appOfApps(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"db/d.yaml": unplaced, "web/c.yaml": pt.ConfigMap("web")})
	db, web := ns+"-db", ns+"-web"
	r.Commit(t, map[string]string{
		"apps/db.yaml": childOf(db, ns, r, "db", wave("0")), "apps/web.yaml": childOf(web, ns, r, "web", wave("1")),
		// A root that is among its own objects waits for itself no more than it is asked to.
		"apps/root.yaml": childOf(ns, "argocd", r, "apps", wave("-1")) + "operation: {sync: {revision: nowhere}}\nstatus: {health: {status: Degraded}}\n",
	}, "apps")
	app := w.parent(t, ns, r)
	w.is(t, db, "Synced Progressing", "")
	a := w.await(t, app, func(a *api.Application) string {
		if s := a.Status.OperationState; a.Operation == nil || s == nil || !strings.Contains(s.Message, "Application/argocd/"+db) {
			return "it does not wait for what comes first"
		}
		return ""
	})
	if !a.Status.Summary.IsAppOfApps {
		t.Error("it does not say that it has Applications")
	}
	w.absent(t, application, "argocd", web)

	w.Commit(t, r, map[string]string{"db/d.yaml": webDeployment})
	w.is(t, web, "Synced Healthy", "")
	a = w.is(t, app, "Synced Healthy", r.Head(t, "main"))
	for _, x := range a.Status.Resources {
		if x.Name == ns && x.Health != nil || x.Name != ns && (x.Health == nil || x.Health.Status != api.Healthy) {
			t.Errorf("resource %+v", x)
		}
	}
	w.quiet(t, app)

	// It goes in reverse: what is left of the last keeps the first.
	w.kubectl(t, "-n", ns, "patch", "configmap/web", "--type=merge", "-p", `{"metadata":{"finalizers":["example.com/hold"]}}`)
	w.kubectl(t, "-n", "argocd", "delete", "app", app, "--wait=false")
	w.await(t, web, func(a *api.Application) string {
		if a.DeletionTimestamp == nil {
			return "it stays"
		}
		return ""
	})
	w.quiet(t, app)
	if a, err := w.read(t, db); err != nil || a.DeletionTimestamp != nil {
		t.Errorf("what was there before the last goes with it: %v, %v", err, a.DeletionTimestamp)
	}
	w.kubectl(t, "-n", ns, "patch", "configmap/web", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	w.gone(t, application, "argocd", app)
	w.absent(t, application, "argocd", web)
	w.absent(t, application, "argocd", db)
	w.absent(t, deployment, ns, "guestbook-ui")
	w.absent(t, configMap, ns, "web")
}

func childrenStay(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"web/c.yaml": pt.ConfigMap("web")})
	web := ns + "-web"
	manifest := childOf(web, ns, r, "web", wave("0"))
	r.Commit(t, map[string]string{"apps/web.yaml": manifest, "apps/c.yaml": pt.ConfigMap(ns)}, "apps")
	app := w.parent(t, ns, r)
	w.is(t, app, "Synced Healthy", "")
	w.is(t, web, "Synced Healthy", "")
	uid := w.kubectl(t, "-n", "argocd", "get", "app", web, "-o", "jsonpath={.metadata.uid}")
	stays := func(when string) {
		t.Helper()
		a, err := w.read(t, web)
		if err != nil || a.DeletionTimestamp != nil || string(a.UID) != uid {
			t.Fatalf("%s: its child: %v, deleted %v, UID %s, was %s", when, err, a.DeletionTimestamp, a.UID, uid)
		}
		if _, err := w.Object(t.Context(), configMap, ns, "web"); err != nil {
			t.Fatalf("%s: what its child has: %v", when, err)
		}
	}
	w.patch(t, app, `{"spec":{"source":{"path":"nowhere"}}}`)
	w.condition(t, app, api.ConditionComparisonError, "app path does not exist")
	stays("without a path")
	w.patch(t, app, `{"spec":{"source":{"path":"apps"}}}`)
	for when, files := range map[string]map[string]string{
		"with a file that can't be read": {"apps/web.yaml": "kind: [\n"},
		"with a manifest of no kind":     {"apps/web.yaml": "metadata: {name: x}\n"},
	} {
		w.Commit(t, r, files)
		w.condition(t, app, api.ConditionComparisonError, "apps/web.yaml")
		stays(when)
	}
	// What the server refuses keeps what left Git with the same commit.
	r.Commit(t, map[string]string{"apps/bad.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: bad, namespace: " + ns + "}\nspec: {ports: [{port: 99999}]}\n"}, "bad")
	w.Remove(t, r, "apps/web.yaml")
	w.await(t, app, func(a *api.Application) string {
		if s := a.Status.OperationState; s == nil || !strings.Contains(s.Message, "99999") {
			return "nothing is refused"
		}
		return ""
	})
	stays("with an object that is refused")
	r.Commit(t, map[string]string{"apps/web.yaml": manifest}, "back") // before what is refused goes, or it would be pruned
	w.Remove(t, r, "apps/bad.yaml")
	w.is(t, app, "Synced Healthy", r.Head(t, "main"))
	stays("when all is well again")

	w.kubectl(t, "-n", "argocd", "delete", "app", app)
	w.gone(t, application, "argocd", app)
	stays("without its parent")
	w.kubectl(t, "-n", "argocd", "delete", "app", web)
	w.gone(t, configMap, ns, "web")
}

// named with an annotation, from the beginning.
func (w *world) dependent(t *testing.T, name, ns, on, path string, r *gittest.Repository) {
	t.Helper()
	w.Apply(t, childOf(name, ns, r, path, fmt.Sprintf("annotations: {plumb.dev/depends-on: %q}", on)))
	w.removeLater(t, name)
}

func dependsOn(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"db/d.yaml": unplaced, "web/c.yaml": pt.ConfigMap("web"), "k/c.yaml": pt.ConfigMap("k")})
	db, web := ns+"-db", ns+"-web"
	// In the wrong order, the last first, of both dialects.
	w.Source(t, ns, "src", r)
	w.Apply(t, fmt.Sprintf(`
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: k, namespace: %[1]s, annotations: {plumb.dev/depends-on: Application/argocd/%[2]s}}
spec: {interval: 10m, retryInterval: 5s, prune: true, path: k, sourceRef: {kind: GitRepository, name: src}}
`, ns, web))
	if why := w.AwaitReason(t, pt.Kustomization, ns, "k", "DependencyNotReady"); !strings.Contains(why, "'Application/argocd/"+web+"' does not exist") {
		t.Errorf("it says %q", why)
	}
	w.dependent(t, web, ns, "Application/argocd/"+db, "web", r)
	w.dependent(t, db, ns, "", "db", r)
	a := w.await(t, web, func(a *api.Application) string {
		if s := a.Status.OperationState; a.Operation == nil || s == nil || !strings.Contains(s.Message, "dependency 'Application/argocd/"+db+"' is being reconciled: waiting for Deployment/"+ns) {
			return "it does not say what it waits for"
		}
		return ""
	})
	if a.Status.Sync.Status != api.OutOfSync || len(a.Status.Conditions) > 0 {
		t.Errorf("while it waits it is %+v, with conditions %+v", a.Status.Sync, a.Status.Conditions)
	}
	w.absent(t, configMap, ns, "web")
	w.Commit(t, r, map[string]string{"db/d.yaml": webDeployment})
	w.is(t, web, "Synced Healthy", "")
	w.AwaitReady(t, ns, "k", "")
	// With the next commit the first comes first again.
	head := w.Commit(t, r, map[string]string{"db/d.yaml": strings.Replace(unplaced, ":v5", ":v6", 1), "web/c.yaml": pt.ConfigMap("web", "v", "2")})
	w.is(t, db, "Synced Progressing", head)
	w.await(t, web, func(a *api.Application) string {
		if s := a.Status.OperationState; a.Operation == nil || !strings.Contains(s.Message, db) {
			return "it does not wait"
		}
		return ""
	})
	w.Commit(t, r, map[string]string{"db/d.yaml": webDeployment})
	w.Await(t, configMap, ns, "web", pt.Has("data.v", "2"))

	w.kubectl(t, "-n", "argocd", "annotate", "app", db, "--overwrite", "plumb.dev/depends-on=Kustomization/"+ns+"/k")
	circle := fmt.Sprintf("Application/argocd/%s → Kustomization/%s/k → Application/argocd/%s → Application/argocd/%[1]s", db, ns, web)
	w.condition(t, db, api.ConditionInvalidSpecError, "dependencies go in a circle: "+circle)
	w.AwaitReason(t, pt.Kustomization, ns, "k", "DependencyNotReady")
	w.kubectl(t, "-n", "argocd", "annotate", "app", db, "--overwrite", "plumb.dev/depends-on=application/x/y")
	w.condition(t, db, api.ConditionInvalidSpecError, `"application" is no kind`)
	w.kubectl(t, "-n", "argocd", "annotate", "app", db, "plumb.dev/depends-on-")
	w.is(t, db, "Synced Healthy", "")
	w.AwaitReady(t, ns, "k", "")
}

func rolledBack(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{
		"app/c.yaml": pt.ConfigMap("c", "v", "1"), "app/h.yaml": job("h", "argocd.argoproj.io/hook: PreSync", "true"),
	})
	first := r.Head(t, "main")
	app := w.app(t, ns, r, "syncPolicy: {automated: {prune: true, selfHeal: true}}")
	w.is(t, app, "Synced Healthy", first)
	next := w.Commit(t, r, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "2"), "app/d.yaml": pt.ConfigMap("d")})
	w.is(t, app, "Synced Healthy", next)
	uid := w.kubectl(t, "-n", ns, "get", "job/h", "-o", "jsonpath={.metadata.uid}")

	w.says(t, w.plumb(t, 1, "rollback", app, "9"), "is no ID and no revision")
	w.says(t, w.plumb(t, 0, "history", app), "ID", first[:7], next[:7])
	w.says(t, w.plumb(t, 0, "rollback", app), "is back at "+first)
	held := func() {
		t.Helper()
		w.Await(t, configMap, ns, "c", pt.Has("data.v", "1"))
		w.condition(t, app, "RolledBackInfo", "held at "+first+", to which plumb rollback went back; it is synced again when Git moves on from "+next)
		w.quiet(t, app)
		w.says(t, w.plumb(t, 0, "get", "units", app, "-o", "wide"), "True", "held at "+first)
		w.is(t, app, "OutOfSync Healthy", next)
		w.absent(t, configMap, ns, "d")
	}
	held()
	w.Plumb.Kill(syscall.SIGTERM)
	w.Plumb.Start()
	w.kubectl(t, "-n", "argocd", "annotate", "app", app, "argocd.argoproj.io/refresh=hard")
	w.await(t, app, func(a *api.Application) string { return a.Annotations["argocd.argoproj.io/refresh"] })
	held()
	if now := w.kubectl(t, "-n", ns, "get", "job/h", "-o", "jsonpath={.metadata.uid}"); now != uid {
		t.Error("hooks have run")
	}
	// The next commit goes on, and so does whoever asks for it.
	last := w.Commit(t, r, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "3")})
	a := w.is(t, app, "Synced Healthy", last)
	if a.Annotations["plumb.dev/rolled-back-from"] != "" || len(a.Status.Conditions) > 0 {
		t.Errorf("annotations %v, conditions %+v", a.Annotations, a.Status.Conditions)
	}
	w.says(t, w.plumb(t, 0, "rollback", app, first[:8]), "is back at "+first)
	w.condition(t, app, "RolledBackInfo", "from "+last)
	w.plumb(t, 0, "sync", app)
	w.is(t, app, "Synced Healthy", last)
	w.Await(t, configMap, ns, "d", nil)
}

// nobodys: an Application that plumb does not look at, like that of a namespace
// that it was not told of, is an object like any.
func nobodys(t *testing.T, w *world) {
	ns, r := w.start(t, nil)
	r.Commit(t, map[string]string{"app/self.yaml": fmt.Sprintf(`apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: nobodys}
spec:
  project: default
  source: {repoURL: %q, path: app, targetRevision: HEAD}
  destination: {server: https://kubernetes.default.svc, namespace: argocd}
`, r.URL())}, "start")
	app := w.app(t, ns, r)
	w.is(t, app, "OutOfSync Missing", "")
	w.patch(t, app, syncAll)
	w.done(t, app, api.PhaseSucceeded)
	w.await(t, app, func(a *api.Application) string {
		if a.Status.Sync.Status != api.Synced {
			return "it is " + a.Status.Sync.Status
		}
		return ""
	})
	argoServer{w, w.redis}.refresh(t, app)
	w.quiet(t, app)
	w.uid(t, application, ns, "nobodys")
}
