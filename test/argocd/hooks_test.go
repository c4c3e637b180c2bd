package argocd_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	api "plumb.dev/plumb/api/argocd"
	pt "plumb.dev/plumb/internal/plumbtest"
)

// hookResult waits for what a hook has come to.
func (w *world) hookResult(t *testing.T, app, name, phase string) api.ResourceResult {
	t.Helper()
	var x api.ResourceResult
	w.await(t, app, func(a *api.Application) string {
		if s := a.Status.OperationState; s == nil || s.SyncResult == nil {
			return "no operation has come to anything"
		}
		if x = result(a, name); x.HookPhase != phase {
			return fmt.Sprintf("hook %s is %q", name, x.HookPhase)
		}
		return ""
	})
	return x
}

// What users say of a kind in Lua counts for hooks, too: also of a Job, which has
// an end of its own, and while it is being deleted.
func ruledHooks(t *testing.T, w *world) {
	w.setting(t, `{resource.customizations: "batch/Job: {health.lua: \"return {status = 'Degraded'}\"}", resource.customizations.health.batch_Job: "
	  if obj.metadata.deletionTimestamp == nil then return {status = 'Progressing', message = 'waits for its end'} end

	  return {status = 'Healthy', message = obj.metadata.finalizers and 'it is held' or 'it is not held'}"}`)
	ttl := "\n  ttlSecondsAfterFinished: 0\n  backoffLimit: 0\n"
	ns, r := w.start(t, map[string]string{
		"app/h.yaml": strings.Replace(job("hook", "argocd.argoproj.io/hook: PreSync", "true"), "\n  backoffLimit: 0\n", ttl, 1), "app/c.yaml": pt.ConfigMap("c"),
	})
	app := w.app(t, ns, r)
	w.is(t, app, "OutOfSync Missing", "")
	w.patch(t, app, syncNow)
	a := w.done(t, app, api.PhaseSucceeded)
	if x := result(&a, "hook"); x.Message != "it is held" || x.HookPhase != api.PhaseSucceeded || x.HookType != "PreSync" || len(a.Status.OperationState.SyncResult.Resources) != 2 {
		t.Errorf("the hook: %+v", x)
	}
	w.is(t, app, "Synced Healthy", "")
	w.absentSoon(t, "batch/v1/Job", ns, "hook")
}

// An Application that is deleted while a hook of it runs goes once its operation is
// terminated.
func hangingHook(t *testing.T, w *world) {
	w.setting(t, `{resource.customizations: "ConfigMap: {health.lua: \"return {status = obj.metadata.annotations.health or 'Progressing'}\"}"}`)
	hook := strings.Replace(pt.ConfigMap("hook"), "metadata:\n", "metadata:\n  annotations: {argocd.argoproj.io/hook: PreSync}\n", 1)
	ns, r := w.start(t, map[string]string{"app/h.yaml": hook, "app/d.yaml": webDeployment})
	app := w.app(t, ns, r)
	w.is(t, app, "OutOfSync Missing", "")
	w.patch(t, app, `{"metadata":{"finalizers":["resources-finalizer.argocd.argoproj.io"]},"operation":{"sync":{}}}`)
	w.hookResult(t, app, "hook", api.PhaseRunning)
	w.is(t, app, "OutOfSync Missing", "")
	w.kubectl(t, "-n", "argocd", "delete", "--wait=false", "applications.argoproj.io/"+app)
	w.quiet(t, app)
	w.Await(t, configMap, ns, "hook", nil)
	w.patch(t, app, `{"status":{"operationState":{"phase":"Terminating"}}}`)
	w.absentSoon(t, application, "argocd", app)
	w.absentSoon(t, configMap, ns, "hook")
	w.absent(t, deployment, ns, "guestbook-ui")
}

// What the deletion of one object waits for keeps no revision from the rest.
func stuckObject(t *testing.T, w *world) {
	held := strings.Replace(pt.ConfigMap("held"), "metadata:\n", "metadata:\n  finalizers: [example.com/somebody]\n", 1)
	ns, r := w.start(t, map[string]string{"app/h.yaml": held, "app/c.yaml": pt.ConfigMap("c", "k", "1")})
	app := w.app(t, ns, r, "syncPolicy: {automated: {selfHeal: true}}")
	w.is(t, app, "Synced Healthy", "")
	w.releases(t, ns, "configmap/held")
	w.kubectl(t, "-n", ns, "delete", "--wait=false", "configmap/held")
	w.is(t, app, "OutOfSync Progressing", "")
	w.Commit(t, r, map[string]string{"app/c.yaml": pt.ConfigMap("c", "k", "2")})
	w.Await(t, configMap, ns, "c", pt.Has("data.k", "2"))
	// The next one does not wait for that either.
	next := w.Commit(t, r, map[string]string{"app/c.yaml": pt.ConfigMap("c", "k", "3")})
	w.Await(t, configMap, ns, "c", pt.Has("data.k", "3"))
	w.kubectl(t, "-n", ns, "patch", "configmap/held", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	w.is(t, app, "Synced Healthy", next)
	a := w.done(t, app, api.PhaseSucceeded)
	if s := a.Status.OperationState; s.SyncResult.Revision != next {
		t.Errorf("it was synced to %s, want %s", s.SyncResult.Revision, next)
	}
}

// inheritedHook is an operation that Argo CD's controller has begun, whose hook
// runs when plumb takes its place.
func inheritedHook(t *testing.T, w *world) {
	hook := strings.Replace(job("hook", "argocd.argoproj.io/hook: PreSync, argocd.argoproj.io/hook-delete-policy: HookSucceeded", "true"), `["true"]`, `["sleep", "5"]`, 1)
	other := strings.Replace(job("untold", "argocd.argoproj.io/hook: PreSync", "true"), `["true"]`, `["sleep", "5"]`, 1)
	ns, r := w.start(t, map[string]string{"app/h.yaml": hook + "---\n" + other, "app/c.yaml": pt.ConfigMap("c")})
	uid := map[string]string{}
	for name, text := range map[string]string{"hook": hook, "untold": other} {
		made := fmt.Sprintf("metadata: {namespace: %s, finalizers: [argocd.argoproj.io/hook-finalizer], ", ns)
		track := fmt.Sprintf("annotations: {argocd.argoproj.io/tracking-id: '%s:batch/Job:%s/%s', ", ns, ns, name)
		w.Apply(t, strings.Replace(strings.Replace(text, "metadata: {", made, 1), "annotations: {", track, 1))
		uid[name] = w.uid(t, "batch/v1/Job", ns, name)
	}
	head := r.Head(t, "main")
	op := "{initiatedBy: {username: ada}, sync: {revision: " + head + "}}"
	w.Apply(t, fmt.Sprintf(`
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: %[1]s, namespace: argocd}
spec:
  project: default
  source: {repoURL: %[2]q, path: app, targetRevision: main}
  destination: {server: https://kubernetes.default.svc, namespace: %[1]s}
operation: %[3]s
status:
  operationState:
    phase: Running
    message: waiting for completion of hook batch/Job/hook
    startedAt: %[4]q
    operation: %[3]s
    syncResult:
      revision: %[5]s
      source: {repoURL: %[2]q, path: app, targetRevision: main}
      resources: [{group: batch, version: v1, kind: Job, namespace: %[1]s, name: hook, hookType: PreSync, hookPhase: Running, syncPhase: PreSync, status: Synced, message: job.batch/hook created}]
`, ns, r.URL(), op, time.Now().Add(-time.Minute).UTC().Format(time.RFC3339), head))
	w.removeLater(t, ns)
	w.hookResult(t, ns, "untold", api.PhaseRunning)
	w.absent(t, configMap, ns, "c")
	for name, was := range uid {
		if now := w.uid(t, "batch/v1/Job", ns, name); now != was {
			t.Errorf("%s is another Job", name)
		}
	}
	a := w.done(t, ns, api.PhaseSucceeded)
	for _, name := range []string{"hook", "untold"} {
		if x := result(&a, name); x.HookPhase != api.PhaseSucceeded {
			t.Errorf("%s: %+v", name, x)
		}
	}
	w.is(t, ns, "Synced Healthy", head)
	w.absentSoon(t, "batch/v1/Job", ns, "hook")
	if now := w.uid(t, "batch/v1/Job", ns, "untold"); now != uid["untold"] {
		t.Error("untold is another Job")
	}
}
