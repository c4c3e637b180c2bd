package argocd_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/internal/gittest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

// plumb runs the command as a person does, in the namespace of Applications.
func (w *world) plumb(t *testing.T, code int, args ...string) string {
	t.Helper()
	cmd := exec.Command(pt.Binary(t), append([]string{"--kubeconfig", w.Kubeconfig, "-n", "argocd"}, args...)...)
	cmd.Env = append(gittest.Env(), "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil && code == 0, errors.As(err, &exit) && exit.ExitCode() == code:
	default:
		t.Errorf("plumb %s: %v, want code %d\n%s", strings.Join(args, " "), err, code, out)
	}
	return string(out)
}

func (w *world) says(t *testing.T, out string, all ...string) {
	t.Helper()
	for _, want := range all {
		if !strings.Contains(out, want) {
			t.Errorf("it says nothing of %q:\n%s", want, out)
		}
	}
}

func commands(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "1"), "app/d.yaml": webDeployment})
	app := w.app(t, ns, r)
	w.is(t, app, "OutOfSync Missing", "")
	head := r.Head(t, "main")

	w.says(t, w.plumb(t, 0, "get", "units", app), app, "not as desired: ConfigMap")
	w.says(t, w.plumb(t, 1, "diff", app), "+ create ConfigMap/"+ns+"/c", "+ create Deployment/"+ns+"/guestbook-ui")
	w.says(t, w.plumb(t, 0, "build", app), "kind: ConfigMap", "namespace: "+ns)
	w.says(t, w.plumb(t, 0, "sync", app), "Application/argocd/"+app, head)
	a := w.is(t, app, "Synced Healthy", head)
	if by := a.Status.OperationState.Operation.InitiatedBy.Username; by != "plumb sync" {
		t.Errorf("it was %q", by)
	}
	w.says(t, w.plumb(t, 0, "diff", app), "0 to create, 0 to update, 0 to delete")
	w.says(t, w.plumb(t, 0, "tree", app), "ConfigMap/"+ns+"/c", "Deployment/"+ns+"/guestbook-ui", "Pod/")
	w.says(t, w.plumb(t, 0, "trace", "Deployment/guestbook-ui", "-n", ns), "Application/argocd/"+app)
	w.says(t, w.plumb(t, 0, "history", app), head[:7], api.PhaseSucceeded)
	w.says(t, w.plumb(t, 0, "events", app), "OperationCompleted", "OutOfSync -> Synced")

	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "app"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "app", "c.yaml"), []byte(pt.ConfigMap("c", "v", "local")), 0o644); err != nil {
		t.Fatal(err)
	}
	w.says(t, w.plumb(t, 1, "diff", app, "--path", dir), "~ update ConfigMap/"+ns+"/c", "1 → local")

	w.plumb(t, 0, "suspend", app)
	w.says(t, w.plumb(t, 1, "sync", app), "is suspended")
	next := w.Commit(t, r, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "2")})
	w.quiet(t, app)
	if a, err := w.read(t, app); err != nil || a.Status.Sync.Revision != head {
		t.Errorf("it is looked at while it is suspended: %v, %+v", err, a.Status.Sync)
	}
	w.plumb(t, 0, "resume", app, "--no-wait")
	w.is(t, app, "OutOfSync Healthy", next)
}

const cronJob = `apiVersion: batch/v1
kind: CronJob
metadata: {name: backup}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: "example.com/c:v1", command: ["true"]}]}}}}
`

func actions(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/d.yaml": webDeployment, "app/b.yaml": cronJob, "app/c.yaml": pt.ConfigMap("c")})
	app := w.app(t, ns, r, "syncPolicy: {automated: {selfHeal: true}}")
	w.is(t, app, "Synced Healthy", "")
	do := func(code int, args ...string) string {
		t.Helper()
		return w.plumb(t, code, append([]string{"action", "-n", ns}, args...)...)
	}
	w.says(t, do(0, "deployment/guestbook-ui"), "restart", "scale", "replicas=1", "pause", "spec.paused is not true")
	w.says(t, do(0, "configmap/c"), "has no actions")
	w.says(t, do(1, "configmap/c", "restart"), "it has none")
	w.says(t, do(1, "deployment", "restart"), "is not KIND/NAME")
	w.says(t, do(1, "deployment/guestbook-ui", "scale", "3"), "is not PARAM=VALUE")

	// What Git says nothing about stays.
	restarted := func() string {
		return w.kubectl(t, "-n", ns, "get", "deployment/guestbook-ui", "-o", `jsonpath={.spec.template.metadata.annotations.kubectl\.kubernetes\.io/restartedAt}`)
	}
	w.says(t, do(0, "deployment/guestbook-ui", "restart"), "restart done")
	at := restarted()
	if at == "" {
		t.Error("it was not restarted")
	}
	w.says(t, do(0, "deployment/guestbook-ui", "pause"), "pause done")
	w.is(t, app, "Synced Suspended", "")
	w.says(t, do(0, "deployment/guestbook-ui", "resume"), "resume done")
	w.is(t, app, "Synced Healthy", "")
	w.says(t, do(0, "cronjob/backup", "suspend"), "suspend done")
	w.says(t, do(0, "cronjob/backup", "create-job"), "Job/"+ns+"/backup-", "made")
	w.says(t, w.plumb(t, 0, "tree", app), "Job/"+ns+"/backup-")
	w.quiet(t, app)
	w.is(t, app, "Synced Healthy", "")
	if now := restarted(); now != at {
		t.Errorf("it was restarted at %q, and that says %q now", at, now)
	}
	// With the next commit, too.
	w.Commit(t, r, map[string]string{"app/d.yaml": strings.Replace(webDeployment, ":v5", ":v6", 1)})
	w.is(t, app, "Synced Healthy", r.Head(t, "main"))
	if now := restarted(); now != at {
		t.Errorf("after a commit, it says that it was restarted at %q, not %q", now, at)
	}

	// What Git says is put back, which is said before it is done.
	w.says(t, do(1, "deployment/guestbook-ui", "scale", "replicas=2"), "spec.replicas of Deployment/"+ns+"/guestbook-ui is set in Git, and Application/argocd/"+app)
	w.patch(t, app, `{"spec":{"syncPolicy":{"automated":{"selfHeal":false}}}}`)
	w.says(t, do(0, "deployment/guestbook-ui", "scale", "replicas=2"), "scale done", "spec.replicas is set in Git", "is out of sync until then")
	w.is(t, app, "OutOfSync Healthy", "")
	if got := w.kubectl(t, "-n", ns, "get", "deployment/guestbook-ui", "-o", "jsonpath={.spec.replicas}"); got != "2" {
		t.Errorf("it has %s replicas", got)
	}
}
