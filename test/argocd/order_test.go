package argocd_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	api "plumb.dev/plumb/api/argocd"
	pt "plumb.dev/plumb/internal/plumbtest"
)

// job is a hook of that name, whose command is true or false.
func job(name, annotations, command string) string {
	return fmt.Sprintf(`apiVersion: batch/v1
kind: Job
metadata: {name: %s, annotations: {%s}}
spec:
  backoffLimit: 0
  template:
    spec: {restartPolicy: Never, containers: [{name: c, image: "example.com/c:v1", command: [%q]}]}
`, name, annotations, command)
}

func inWave(name, wave string) string {
	return strings.Replace(pt.ConfigMap(name), "metadata:\n", fmt.Sprintf("metadata:\n  annotations: {argocd.argoproj.io/sync-wave: %q}\n", wave), 1)
}

// inPhase is a ConfigMap that is a hook.
func inPhase(name, phase string) string {
	return strings.Replace(pt.ConfigMap(name), "metadata:\n", fmt.Sprintf("metadata:\n  annotations: {argocd.argoproj.io/hook: %s}\n", phase), 1)
}

// order has hooks before and after, and waves in between.
func order(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{
		"app/before.yaml": job("before", "argocd.argoproj.io/hook: PreSync", "true"),
		"app/after.yaml":  job("after", "argocd.argoproj.io/hook: PostSync, argocd.argoproj.io/hook-delete-policy: HookSucceeded", "true"),
		"app/failed.yaml": job("failed", "argocd.argoproj.io/hook: SyncFail", "true"),
		"app/c.yaml":      inWave("second", "2") + "---\n" + inWave("first", "-1"),
	})
	app := w.app(t, ns, r, "syncPolicy: {automated: {}, retry: {limit: 0}}")
	w.is(t, app, "Synced Healthy", "")
	a := w.done(t, app, api.PhaseSucceeded)
	s := a.Status.OperationState
	said := map[string]string{}
	for _, x := range s.SyncResult.Resources {
		said[x.Name] = strings.TrimSpace(x.HookType + " " + x.HookPhase + " " + x.Status)
	}
	for name, want := range map[string]string{"before": "PreSync Succeeded Synced", "after": "PostSync Succeeded Synced", "first": "Running Synced", "second": "Running Synced"} {
		if said[name] != want {
			t.Errorf("%s: %q, want %q", name, said[name], want)
		}
	}
	if _, ok := said["failed"]; ok {
		t.Error("what is for failures has run")
	}
	if i := slices.IndexFunc(a.Status.Resources, func(x api.ResourceStatus) bool { return x.Name == "second" }); i < 0 || a.Status.Resources[i].SyncWave != 2 || len(a.Status.Resources) != 2 {
		t.Errorf("resources %+v", a.Status.Resources)
	}
	if _, err := w.Object(t.Context(), "batch/v1/Job", ns, "before"); err != nil {
		t.Errorf("what was before: %v", err)
	}
	w.absent(t, "batch/v1/Job", ns, "after")

	// What fails before keeps what comes after from being written.
	w.Commit(t, r, map[string]string{
		"app/before.yaml": job("before", "argocd.argoproj.io/hook: PreSync", "false"), "app/d.yaml": pt.ConfigMap("never"),
	})
	a = w.await(t, app, func(a *api.Application) string {
		if s := a.Status.OperationState; a.Operation != nil || s.Phase != api.PhaseFailed {
			return "it has not failed"
		}
		return ""
	})
	if s := a.Status.OperationState; !strings.HasPrefix(s.Message, "one or more synchronization tasks completed unsuccessfully, reason: hook Job/"+ns+"/before failed") {
		t.Errorf("it says %q", s.Message)
	}
	w.absent(t, configMap, ns, "never")
	if len(a.Status.History) != 1 {
		t.Errorf("history %+v", a.Status.History)
	}
}

// selection syncs some objects, and no hooks.
func selection(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{
		"app/c.yaml": pt.ConfigMap("a") + "---\n" + pt.ConfigMap("b"), "app/h.yaml": job("hook", "argocd.argoproj.io/hook: PreSync", "true"),
	})
	app := w.app(t, ns, r)
	w.is(t, app, "OutOfSync Missing", "")
	w.patch(t, app, `{"operation":{"sync":{"resources":[{"kind":"ConfigMap","name":"b"}]}}}`)
	a := w.done(t, app, api.PhaseSucceeded)
	if len(a.Status.History) != 0 || a.Status.Sync.Status != api.OutOfSync {
		t.Errorf("it is %s, history %+v", a.Status.Sync.Status, a.Status.History)
	}
	w.Await(t, configMap, ns, "b", nil)
	w.absent(t, configMap, ns, "a")
	w.absent(t, "batch/v1/Job", ns, "hook")
}

// made builds directories with what they are for.
func made(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{
		"app/kustomization.yaml": "resources: [c.yaml]\n", "app/c.yaml": pt.ConfigMap("c"),
		"jsonnet/main.jsonnet": `{apiVersion: "v1", kind: "ConfigMap", metadata: {name: "j"}, data: {v: std.extVar("v")}}`,
		"plain/a.yaml":         pt.ConfigMap("top"), "plain/below/b.yaml": pt.ConfigMap("below"),
	})
	kustomized := w.named(t, ns+"-k", ns, r, automated, "source: {repoURL: "+r.URL()+", path: app, kustomize: {namePrefix: pre-}}")
	w.named(t, ns+"-j", ns, r, automated, "source: {repoURL: "+r.URL()+", path: jsonnet, directory: {jsonnet: {extVars: [{name: v, value: $ARGOCD_APP_NAME}]}}}")
	w.named(t, ns+"-p", ns, r, automated, "source: {repoURL: "+r.URL()+", path: plain}")
	w.Await(t, configMap, ns, "pre-c", nil)
	w.Await(t, configMap, ns, "j", pt.Has("data.v", ns+"-j"))
	w.Await(t, configMap, ns, "top", nil)
	if a := w.is(t, kustomized, "Synced Healthy", ""); a.Status.SourceType != "Kustomize" {
		t.Errorf("it is a %s", a.Status.SourceType)
	}
	w.is(t, ns+"-p", "Synced Healthy", "")
	w.absent(t, configMap, ns, "below")
}

// ignored fields may differ.
func ignored(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "git", "w", "git")})
	app := w.app(t, ns, r, "syncPolicy: {automated: {selfHeal: true}}", "ignoreDifferences: [{kind: ConfigMap, name: c, jsonPointers: [/data/v]}]")
	w.is(t, app, "Synced Healthy", "")
	w.kubectl(t, "-n", ns, "patch", "configmap/c", "--type=merge", "-p", `{"data":{"v":"by hand"}}`)
	w.quiet(t, app)
	w.is(t, app, "Synced Healthy", "")
	if err := pt.Has("data.v", "by hand")(w.Await(t, configMap, ns, "c", nil)); err != nil {
		t.Error(err)
	}
	// They are compared with nothing, and applied by whoever syncs, but where they are
	// to be left then, too.
	w.patch(t, app, `{"spec":{"syncPolicy":null}}`)
	w.patch(t, app, syncNow)
	w.done(t, app, api.PhaseSucceeded)
	w.Await(t, configMap, ns, "c", pt.Has("data.v", "git"))
	w.kubectl(t, "-n", ns, "patch", "configmap/c", "--type=merge", "-p", `{"data":{"v":"by hand"}}`)
	w.patch(t, app, `{"operation":{"sync":{"syncOptions":["RespectIgnoreDifferences=true"]}},"spec":{"syncPolicy":{"syncOptions":["RespectIgnoreDifferences=true"]}}}`)
	a := w.done(t, app, api.PhaseSucceeded)
	if x := result(&a, "c"); x.Message != "configmap/c unchanged" {
		t.Errorf("it says %+v", x)
	}
	if err := pt.Has("data.v", "by hand")(w.Await(t, configMap, ns, "c", nil)); err != nil {
		t.Error(err)
	}
	w.patch(t, app, `{"spec":{"ignoreDifferences":[{"kind":"ConfigMap","jsonPointers":["no pointer"]}]}}`)
	w.condition(t, app, api.ConditionInvalidSpecError, "spec.ignoreDifferences[0]")
}
