package argocd_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/internal/child"
	"plumb.dev/plumb/internal/gittest"
	pt "plumb.dev/plumb/internal/plumbtest"
	"plumb.dev/plumb/internal/redistest"
)

var argocdDir = flag.String("argocd", "", "folder with Argo CD's program argocd, of version 3.6, and git-verify-wrapper.sh; empty: nothing is tried with them")

// What Argo CD's server wants of a cluster beside plumb's definitions.
const argocdCluster = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: applicationsets.argoproj.io}
spec:
  group: argoproj.io
  names: {kind: ApplicationSet, plural: applicationsets}
  scope: Namespaced
  versions: [{name: v1alpha1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: argocd-cm, namespace: argocd, labels: {app.kubernetes.io/part-of: argocd}}
---
apiVersion: v1
kind: Secret
metadata: {name: argocd-secret, namespace: argocd, labels: {app.kubernetes.io/part-of: argocd}}
`

// An argocd is Argo CD's command, and its server, repo-server and Redis in front
// of plumb.
type argocd struct {
	*world
	bin, server string
	env         []string
}

func (w *world) argoCD(t *testing.T, redis string) argocd {
	t.Helper()
	dir := t.TempDir()
	a := argocd{world: w, bin: filepath.Join(*argocdDir, "argocd")}
	for _, name := range []string{"argocd-server", "argocd-repo-server"} { // what it is called is what it does
		if err := os.Symlink(a.bin, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	w.kubectl(t, "config", "set-context", "--current", "--namespace=argocd")
	a.env = append(gittest.Env(), "HOME="+dir, "PATH="+*argocdDir+":"+os.Getenv("PATH"), "KUBECONFIG="+w.Kubeconfig, "ARGOCD_FAKE_IN_CLUSTER=true", "ARGOCD_GPG_ENABLED=false",
		"ARGOCD_TLS_DATA_PATH="+dir, "ARGOCD_SSH_DATA_PATH="+dir, "ARGOCD_PLUGINSOCKFILEPATH="+dir)
	if err := os.WriteFile(filepath.Join(dir, "ssh_known_hosts"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var addrs [4]string
	for i := range addrs {
		var err error
		if addrs[i], err = child.FreeAddr("127.0.0.1"); err != nil {
			t.Fatal(err)
		}
	}
	port := func(addr string) string { return addr[strings.LastIndex(addr, ":")+1:] }
	a.server = addrs[0]
	start := func(name string, args ...string) *child.Child {
		c, err := child.Start(dir, name, a.env, filepath.Join(dir, name), args...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Stop(10 * time.Second); err != nil {
				t.Log(err)
			}
		})
		return c
	}
	start("argocd-repo-server", "--address", "127.0.0.1", "--port", port(addrs[1]), "--metrics-port", port(addrs[2]), "--redis", redis)
	server := start("argocd-server", "--address", "127.0.0.1", "--port", port(addrs[0]), "--metrics-port", port(addrs[3]), "--insecure", "--disable-auth",
		"--redis", redis, "--repo-server", addrs[1], "--dex-server", "127.0.0.1:1")
	err := server.Until(context.WithoutCancel(t.Context()), pt.Patience, func() error {
		res, err := http.Get("http://" + a.server + "/healthz")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return errors.New(res.Status)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// run runs the command, which has to end with a code, and say some words.
func (a argocd) run(t *testing.T, code int, args string, says ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*pt.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, a.bin, append([]string{"--server", a.server, "--plaintext"}, strings.Fields(args)...)...)
	cmd.Env = a.env
	began := time.Now()
	out, err := cmd.CombinedOutput()
	t.Logf("argocd %s: %s", args, time.Since(began).Round(10*time.Millisecond))
	var exit *exec.ExitError
	if err == nil && code != 0 || err != nil && (!errors.As(err, &exit) || exit.ExitCode() != code) {
		t.Errorf("argocd %s: %v, want code %d\n%s", args, err, code, out)
		return
	}
	for _, want := range says {
		if !strings.Contains(strings.Join(strings.Fields(string(out)), " "), want) {
			t.Errorf("argocd %s says nothing of %q:\n%s", args, want, out)
		}
	}
}

// Argo CD's own command does all it can do, with its own server in front of plumb.
func TestArgoCDsCommandWorks(t *testing.T) {
	if *argocdDir == "" {
		t.Skip("Argo CD's command is tried with -argocd FOLDER alone")
	}
	redis := redistest.Start(t)
	w := &world{World: pt.New(t, "--argocd-redis", redis)}
	w.RequireControllers(t)
	w.argocd(t)
	w.Apply(t, argocdCluster)
	a := w.argoCD(t, redis)
	ns, r := w.start(t, map[string]string{
		"app/d.yaml": webDeployment, "app/s.yaml": webService, "app/c.yaml": pt.ConfigMap("c", "v", "1"),
		"app/before.yaml": job("before", "argocd.argoproj.io/hook: PreSync", "true"),
	})
	app := ns
	a.run(t, 0, fmt.Sprintf("app create %s --repo %s --path app --revision main --dest-server https://kubernetes.default.svc --dest-namespace %s", app, r.URL(), ns), "created")
	w.is(t, app, "OutOfSync Missing", "")
	a.run(t, 0, "app list", app, "OutOfSync")
	a.run(t, 0, "app resources "+app, "Deployment "+ns+" guestbook-ui No")
	a.run(t, 1, "app diff "+app, "guestbook-ui")
	a.run(t, 0, "app sync "+app+" --dry-run", "(dry run)")
	w.absent(t, deployment, ns, "guestbook-ui")
	a.run(t, 0, "app sync "+app, "successfully synced (all tasks run)", "Sync Status: Synced to main", "job.batch/before created")
	a.run(t, 0, "app wait "+app+" --health --timeout 60", "Health Status: Healthy")
	a.run(t, 0, "app get "+app, "Sync Status: Synced to main", "deployment.apps/guestbook-ui created")
	a.run(t, 0, "app get "+app+" --refresh", "Sync Status: Synced to main")
	a.run(t, 0, "app get "+app+" --hard-refresh", "Sync Status: Synced to main")
	a.run(t, 0, "app get "+app+" -o tree", "└─ReplicaSet/guestbook-ui-", "└─Pod/guestbook-ui-")
	a.run(t, 0, "app get "+app+" -o tree=detailed", "AGE")
	a.run(t, 0, "app history "+app, "0 ")
	a.run(t, 0, "app manifests "+app+" --source live", "kind: Deployment", "uid:")
	a.run(t, 0, "app manifests "+app+" --source git", "kind: Deployment")
	a.run(t, 0, "app manifests "+app+" --revision main", "kind: Deployment")
	a.run(t, 0, "app diff "+app)
	a.run(t, 0, "app diff "+app+" --revision main")

	w.kubectl(t, "-n", ns, "scale", "deployment/guestbook-ui", "--replicas=2")
	w.is(t, app, "OutOfSync Healthy", "")
	a.run(t, 1, "app diff "+app+" --refresh", "< replicas: 2", "> replicas: 1")
	a.run(t, 0, "app sync "+app+" --resource apps:Deployment:guestbook-ui", "deployment.apps/guestbook-ui configured")
	w.is(t, app, "Synced Healthy", "")
	a.run(t, 0, "app actions list "+app+" --kind Deployment", "restart false")
	a.run(t, 0, "app actions run "+app+" restart --kind Deployment --resource-name guestbook-ui")
	a.run(t, 0, "app get-resource "+app+" --kind ConfigMap --resource-name c", "data.v")
	a.run(t, 0, "app patch-resource "+app+" --kind ConfigMap --resource-name c --patch-type application/merge-patch+json --patch {\"data\":{\"v\":\"9\"}}", "patched")
	w.is(t, app, "OutOfSync Healthy", "")
	a.run(t, 1, "app diff "+app+" --refresh", "< v: \"9\"")
	a.run(t, 0, "app delete-resource "+app+" --kind ConfigMap --resource-name c", "deleted")
	w.absentSoon(t, configMap, ns, "c")
	a.run(t, 0, "app sync "+app+" --revision main", "configmap/c created")
	a.run(t, 0, "app rollback "+app+" 0", "successfully synced")
	a.run(t, 0, "app history "+app, "2 ")
	a.run(t, 0, "app set "+app+" --sync-option PruneLast=true")
	a.run(t, 0, "app set "+app+" --sync-policy none", "")
	a.run(t, 0, "app patch "+app+" --type merge --patch {\"spec\":{\"revisionHistoryLimit\":5}}", "revisionHistoryLimit: 5")
	a.run(t, 20, "app terminate-op "+app, "No operation is in progress")
	w.Commit(t, r, map[string]string{"app/x.yaml": strings.Replace(job("waits", "argocd.argoproj.io/hook: PreSync", "true"), `["true"]`, `["sleep", "1000"]`, 1)})
	a.run(t, 0, "app sync "+app+" --async")
	w.await(t, app, func(x *api.Application) string {
		if s := x.Status.OperationState; x.Operation == nil || s == nil || s.Phase != api.PhaseRunning {
			return "no operation runs"
		}
		return ""
	})
	a.run(t, 0, "app terminate-op "+app)
	if x := w.done(t, app, api.PhaseFailed); x.Status.OperationState.Message != "Operation terminated" {
		t.Errorf("it says %q", x.Status.OperationState.Message)
	}
	w.Remove(t, r, "app/x.yaml")
	a.run(t, 0, "proj list", "default")
	a.run(t, 0, "cluster list", "in-cluster", "Successful")
	a.run(t, 0, "cluster get https://kubernetes.default.svc", "- apps/v1/Deployment", "status: Successful")
	a.run(t, 0, "repo list")
	a.run(t, 0, "app delete "+app+" --wait -y", "deleted")
	w.absent(t, application, "argocd", app)
	w.absentSoon(t, deployment, ns, "guestbook-ui")
}
