// Package argocd_test shows on a real cluster what Argo CD's clients see of
// plumb. They set an operation, an annotation or a field, and read the status:
// most of what is here is done by kubectl alone.
package argocd_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	pt.Clean()
	os.Exit(code)
}

const (
	application = "argoproj.io/v1alpha1/Application"
	configMap   = "v1/ConfigMap"
	deployment  = "apps/v1/Deployment"
)

func TestApplications(t *testing.T) {
	redis, flags := redisOf(t)
	w := &world{World: pt.New(t, flags...), redis: redis}
	w.RequireControllers(t)
	w.argocd(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"an Application that is synced of itself comes to be healthy", guestbook},
		{"one that is not waits for an operation, and is gone from by the time that it is reconciled", manual},
		{"what is in Git by then is what an operation is about", newest},
		{"a refresh is answered by taking it away", refreshed},
		{"an entry of the history is what a rollback is about", rollback},
		{"one patch changes what is wanted and has it synced", kargo},
		{"an operation that waits can be terminated", terminate},
		{"an operation that can't be done is told, and gone", refused},
		{"a revision is tried once", once},
		{"what somebody changes is put back with selfHeal, and else told", drift},
		{"what leaves Git is pruned where that is asked for", prune},
		{"what has left Git and stays is told, also after a start", extraneous},
		{"deletion takes the objects along, if a finalizer says so", deletion},
		{"hooks run before and after a deletion", deletionHooks},
		{"a hook that fails before a deletion holds it", deletionHeld},
		{"and so does one that the project forbids, or that can't be known", deletionForbidden},
		{"what is wrong is named, and nothing is deleted", wrong},
		{"several sources have a revision each", several},
		{"a chart is rendered, and what is random in it stays", helmChart},
		{"the values of a chart may be elsewhere", helmValues},
		{"charts come from Helm repositories and registries", helmRepositories},
		{"what a chart in Git depends on is fetched", helmDependencies},
		{"what a source has more than once counts as it is last", repeated},
		{"what is left of another is taken over", inherited},
		{"a submodule is a part of its source", submodule},
		{"Applications of other namespaces are left alone", elsewhere},
		{"hooks run before and after, and waves in turn", order},
		{"a selection is all that is synced", selection},
		{"a directory is built with what it is for", made},
		{"fields that are ignored may differ", ignored},
		{"each sync option does what it says", options},
		{"a project says where from and where to", projects},
		{"and what", deniedKinds},
		{"and when", windows},
		{"and what nobody has is told", orphaned},
		{"and as whom", impersonated},
		{"a global project counts in others, and one says which namespaces it is for", globalProjects},
		{"a private repository is asked with what a Secret holds", privateRepository},
		{"that a server is the right one is known from ConfigMaps", provenServers},
		{"another cluster is known by a Secret", secondCluster},
		{"settings count for all Applications", settings},
		{"a start knows projects and settings", knownAtAStart},
		{"the commands know Applications", commands},
		{"what Argo CD's server reads is there for who looks", cachedForServer},
		{"what Argo CD has made goes on as it is, and back", takeover},
		{"what Argo CD has made can be taken over at once", migrate},
		{"Applications among the objects come and go in turn", appOfApps},
		{"what goes wrong with the parent is nothing to its children", childrenStay},
		{"an Application that nobody looks at is an object", nobodys},
		{"a kind that is not there fails what wants it", noKind},
		{"who depends on others waits for their health, of either dialect", dependsOn},
		{"rules of users judge hooks, too", ruledHooks},
		{"what is deleted while a hook hangs goes once that is terminated", hangingHook},
		{"what the deletion of one object waits for keeps no revision from the rest", stuckObject},
		{"a hook of Argo CD's that runs is waited for", inheritedHook},
		{"what was rolled back is held there until Git moves", rolledBack},
		{"actions leave alone what Git says", actions},
		{"what a forge has signed is a hint, of either dialect", webhooks},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, w) })
	}
}

// A world has a namespace argocd.
type world struct {
	*pt.World
	redis *redis.Client // nil: there is none
}

func (w *world) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := w.Kubectl(t.Context(), "", args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (w *world) patch(t *testing.T, app, patch string) {
	t.Helper()
	w.kubectl(t, "-n", "argocd", "patch", "applications.argoproj.io/"+app, "--type=merge", "-p", patch)
}

// start makes a repository with files, and a namespace that is called as it.
func (w *world) start(t *testing.T, files map[string]string) (ns string, r *gittest.Repository) {
	t.Helper()
	ns = w.Namespace(t)
	r = w.Git.Repo(t, ns)
	r.Commit(t, files, "start")
	return ns, r
}

// app applies an Application that is called as its namespace.
func (w *world) app(t *testing.T, ns string, r *gittest.Repository, spec ...string) string {
	t.Helper()
	return w.named(t, ns, ns, r, spec...)
}

func (w *world) named(t *testing.T, name, ns string, r *gittest.Repository, spec ...string) string {
	t.Helper()
	return w.member(t, name, ns, "default", r, spec...)
}

// member applies an Application of a project.
func (w *world) member(t *testing.T, name, ns, project string, r *gittest.Repository, spec ...string) string {
	t.Helper()
	w.Apply(t, fmt.Sprintf(`
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: %s, namespace: argocd}
spec:
  project: %s
  source: {repoURL: %q, path: app, targetRevision: main}
  destination: {server: https://kubernetes.default.svc, namespace: %s}
%s`, name, project, r.URL(), ns, indent(spec)))
	w.removeLater(t, name)
	return name
}

// removeLater removes an Application with the test.
func (w *world) removeLater(t *testing.T, name string) {
	t.Helper()
	t.Cleanup(func() {
		if _, err := w.Kubectl(context.WithoutCancel(t.Context()), "", "-n", "argocd", "delete", "--wait=false", "--ignore-not-found", "applications.argoproj.io/"+name); err != nil {
			t.Log(err)
		}
	})
}

func indent(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		for l := range strings.SplitSeq(l, "\n") {
			b.WriteString("  " + l + "\n")
		}
	}
	return b.String()
}

const automated = "syncPolicy: {automated: {}}"

// releases takes the finalizers off an object when the test is over.
func (w *world) releases(t *testing.T, ns, what string) {
	t.Cleanup(func() {
		if _, err := w.Kubectl(context.WithoutCancel(t.Context()), "", "-n", ns, "patch", what, "--type=merge", "-p", `{"metadata":{"finalizers":null}}`); err != nil {
			t.Log(err)
		}
	})
}

// read reads an Application as it is stored.
func (w *world) read(t *testing.T, name string) (a api.Application, err error) {
	t.Helper()
	u, err := w.Object(t.Context(), application, "argocd", name)
	if err != nil {
		return a, err
	}
	return a, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &a)
}

// await waits until an Application passes a check, which says what is wrong.
func (w *world) await(t *testing.T, name string, check func(*api.Application) string) api.Application {
	t.Helper()
	var a api.Application
	kubetest.Eventually(t, pt.Patience, func() error {
		var err error
		if a, err = w.read(t, name); err != nil {
			return err
		}
		if why := check(&a); why != "" {
			text, _ := json.Marshal(map[string]any{"operation": a.Operation, "status": a.Status})
			return fmt.Errorf("%s: %s", why, text)
		}
		return nil
	})
	return a
}

// is waits for sync and health, such as Synced Healthy, at a commit if one is
// given.
func (w *world) is(t *testing.T, name, want, commit string) api.Application {
	t.Helper()
	return w.await(t, name, func(a *api.Application) string {
		if got := a.Status.Sync.Status + " " + a.Status.Health.Status; got != want {
			return "it is " + got + ", want " + want
		}
		if commit != "" && a.Status.Sync.Revision != commit {
			return "it is at " + a.Status.Sync.Revision + ", want " + commit
		}
		return ""
	})
}

// done waits until an operation is, as clients do: it is gone, and the status is
// of after it.
func (w *world) done(t *testing.T, name, phase string) api.Application {
	t.Helper()
	a := w.await(t, name, func(a *api.Application) string {
		s := a.Status.OperationState
		switch {
		case a.Operation != nil:
			return "the operation is there"
		case s == nil || s.FinishedAt == nil:
			return "it has not finished"
		case a.Status.ReconciledAt == nil || a.Status.ReconciledAt.Before(s.FinishedAt):
			return "it was not reconciled since"
		}
		return ""
	})
	if got := a.Status.OperationState.Phase; got != phase {
		t.Fatalf("the operation is %s, want %s: %s", got, phase, a.Status.OperationState.Message)
	}
	return a
}

const syncNow = `{"operation":{"initiatedBy":{"username":"ada"},"sync":{}}}`

// condition waits for one, and returns its message.
func (w *world) condition(t *testing.T, name, kind, message string) string {
	t.Helper()
	var got string
	w.await(t, name, func(a *api.Application) string {
		i := slices.IndexFunc(a.Status.Conditions, func(c api.Condition) bool { return c.Type == kind && strings.Contains(c.Message, message) })
		if i < 0 {
			return fmt.Sprintf("no %s says %q", kind, message)
		}
		got = a.Status.Conditions[i].Message
		return ""
	})
	return got
}

func (w *world) absent(t *testing.T, kind, ns, name string) {
	t.Helper()
	if _, err := w.Object(t.Context(), kind, ns, name); !apierrors.IsNotFound(err) {
		t.Errorf("%s %s/%s is there: %v", kind, ns, name, err)
	}
}

// absentSoon waits until an object is gone.
func (w *world) absentSoon(t *testing.T, kind, ns, name string) {
	t.Helper()
	kubetest.Eventually(t, pt.Patience, func() error {
		if _, err := w.Object(t.Context(), kind, ns, name); !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s %s/%s is there: %w", kind, ns, name, err)
		}
		return nil
	})
}

const webDeployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: guestbook-ui}
spec:
  replicas: 1
  selector: {matchLabels: {app: guestbook-ui}}
  template:
    metadata: {labels: {app: guestbook-ui}}
    spec: {containers: [{name: guestbook-ui, image: "example.com/guestbook:v5", ports: [{containerPort: 80}]}]}
`

const webService = `apiVersion: v1
kind: Service
metadata: {name: guestbook-ui}
spec: {ports: [{port: 80, targetPort: 80}], selector: {app: guestbook-ui}}
`

func guestbook(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/guestbook-ui-deployment.yaml": webDeployment, "app/guestbook-ui-svc.yaml": webService})
	app := w.app(t, ns, r, automated)
	head := r.Head(t, "main")
	a := w.is(t, app, "Synced Healthy", head)
	st := &a.Status
	s := st.OperationState
	if s == nil || s.Phase != api.PhaseSucceeded || s.Message != "successfully synced (all tasks run)" || !s.Operation.InitiatedBy.Automated ||
		s.SyncResult.Revision != head || s.SyncResult.Source == nil || s.SyncResult.Source.Path != "app" {
		t.Errorf("the operation: %+v", s)
	}
	var said []string
	for _, x := range s.SyncResult.Resources {
		said = append(said, x.Status+" "+x.Message)
	}
	if want := []string{"Synced service/guestbook-ui created", "Synced deployment.apps/guestbook-ui created"}; !slices.Equal(said, want) {
		t.Errorf("it says %q, want %q", said, want)
	}
	if len(st.History) != 1 || st.History[0].Revision != head || st.History[0].ID != 0 || !st.History[0].InitiatedBy.Automated || st.History[0].Source.RepoURL != r.URL() {
		t.Errorf("history %+v", st.History)
	}
	for _, x := range st.Resources {
		if x.Status != api.Synced || x.Health == nil || x.Health.Status != api.Healthy || x.Namespace != ns || x.Version != "v1" {
			t.Errorf("%+v, health %+v", x, x.Health)
		}
	}
	if len(st.Resources) != 2 || st.SourceType != "Directory" || !slices.Equal(st.Summary.Images, []string{"example.com/guestbook:v5"}) ||
		st.ControllerNamespace != "argocd" || st.ResourceHealthSource != "" || st.Health.LastTransitionTime == nil {
		t.Errorf("status %+v", st)
	}
	out := strings.Fields(w.kubectl(t, "-n", "argocd", "get", "apps", app))
	if want := []string{"NAME", "SYNC", "STATUS", "HEALTH", "STATUS", app, "Synced", "Healthy"}; !slices.Equal(out, want) {
		t.Errorf("kubectl prints %q", out)
	}
	if u, err := w.Object(t.Context(), deployment, ns, "guestbook-ui"); err != nil || u.GetLabels()["plumb.dev/unit"] == "" ||
		u.GetAnnotations()["argocd.argoproj.io/tracking-id"] != app+":apps/Deployment:"+ns+"/guestbook-ui" {
		t.Errorf("%v: %v, %v", err, u.GetLabels(), u.GetAnnotations())
	}

	// A commit is live at once, and another entry of the history.
	next := w.Commit(t, r, map[string]string{"app/c.yaml": pt.ConfigMap("c")})
	a = w.is(t, app, "Synced Healthy", next)
	if h := a.Status.History; len(h) != 2 || h[1].Revision != next || h[1].ID != 1 {
		t.Errorf("history %+v", h)
	}
	// What a commit does not touch says its revision all the same.
	a = w.is(t, app, "Synced Healthy", w.Commit(t, r, map[string]string{"elsewhere.yaml": "a: b\n"}))
	since := a.Status.Health.LastTransitionTime
	w.quiet(t, app)
	if a, err := w.read(t, app); err != nil || !a.Status.Health.LastTransitionTime.Equal(since) {
		t.Errorf("it was healthy since %s, and is since %s: %v", since, a.Status.Health.LastTransitionTime, err)
	}
}

// quiet checks that nothing is written to an Application that is as it should be.
func (w *world) quiet(t *testing.T, name string) {
	t.Helper()
	version := func() string {
		return w.kubectl(t, "-n", "argocd", "get", "app", name, "-o", "jsonpath={.metadata.resourceVersion}")
	}
	last, since := version(), time.Now()
	kubetest.Eventually(t, pt.Patience, func() error {
		if now := version(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < 3*time.Second {
			return fmt.Errorf("it was written to %s ago", time.Since(since))
		}
		return nil
	})
}

func manual(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "1")})
	app := w.app(t, ns, r)
	a := w.is(t, app, "OutOfSync Missing", r.Head(t, "main"))
	w.absent(t, configMap, ns, "c")
	if res := a.Status.Resources; len(res) != 1 || res[0].Status != api.OutOfSync || res[0].Health == nil || res[0].Health.Status != api.Missing {
		t.Errorf("resources %+v", res)
	}
	w.patch(t, app, `{"operation":{"initiatedBy":{"username":"ada"},"info":[{"name":"why","value":"a test"}],"sync":{"revision":"`+r.Head(t, "main")+`"}}}`)
	a = w.done(t, app, api.PhaseSucceeded)
	s := a.Status.OperationState
	if s.SyncResult.Revision != r.Head(t, "main") || s.Operation.InitiatedBy.Username != "ada" || len(s.Operation.Info) != 1 || s.Operation.Info[0].Value != "a test" {
		t.Errorf("the operation: %+v", s)
	}
	if a.Status.Sync.Status != api.Synced {
		t.Errorf("it is %s in the same status", a.Status.Sync.Status)
	}
	w.Await(t, configMap, ns, "c", pt.Has("data.v", "1"))
	if h := a.Status.History; len(h) != 1 || h[0].InitiatedBy.Username != "ada" {
		t.Errorf("history %+v", h)
	}

	// The same again does nothing, and says so.
	w.patch(t, app, syncNow)
	a = w.done(t, app, api.PhaseSucceeded)
	if x := a.Status.OperationState.SyncResult.Resources; len(x) != 1 || x[0].Message != "configmap/c unchanged" || x[0].Status != api.ResultSynced {
		t.Errorf("it says %+v", x)
	}
	// A commit waits.
	next := w.Commit(t, r, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "2")})
	w.is(t, app, "OutOfSync Healthy", next)
	if err := pt.Has("data.v", "1")(w.Await(t, configMap, ns, "c", nil)); err != nil {
		t.Error(err)
	}
}

func newest(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "1")})
	app := w.app(t, ns, r)
	w.is(t, app, "OutOfSync Missing", "")
	head := r.Commit(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "2")}, "nobody is told of it")
	w.patch(t, app, syncNow)
	a := w.done(t, app, api.PhaseSucceeded)
	if a.Status.OperationState.SyncResult.Revision != head || a.Status.Sync.Revision != head {
		t.Errorf("it is at %s, and compared with %s; want %s", a.Status.OperationState.SyncResult.Revision, a.Status.Sync.Revision, head)
	}
	w.Await(t, configMap, ns, "c", pt.Has("data.v", "2"))
	// Also if somebody knows it already, as Argo CD's server does, which looks first.
	head = r.Commit(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "3")}, "nobody is told of it either")
	w.patch(t, app, fmt.Sprintf(`{"operation":{"sync":{"revision":%q}}}`, head))
	w.done(t, app, api.PhaseSucceeded)
	w.is(t, app, "Synced Healthy", head)
}

func refreshed(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c")})
	app := w.app(t, ns, r)
	w.is(t, app, "OutOfSync Missing", "")
	for _, how := range []string{"normal", "hard"} {
		head := r.Commit(t, map[string]string{"app/" + how + ".yaml": pt.ConfigMap(how)}, "nobody is told of it")
		before, err := w.read(t, app)
		if err != nil {
			t.Fatal(err)
		}
		w.kubectl(t, "-n", "argocd", "annotate", "app", app, "argocd.argoproj.io/refresh="+how)
		a := w.await(t, app, func(a *api.Application) string {
			if a.Annotations["argocd.argoproj.io/refresh"] != "" {
				return "the annotation is there"
			}
			return ""
		})
		if a.Status.Sync.Revision != head || a.Status.ReconciledAt.Before(before.Status.ReconciledAt) {
			t.Errorf("%s: it is compared with %s, want %s; reconciled at %s and then at %s", how, a.Status.Sync.Revision, head, before.Status.ReconciledAt, a.Status.ReconciledAt)
		}
	}
	w.absent(t, configMap, ns, "c")

	// What is as Git has it is so after a refresh too, which takes nothing for
	// granted.
	w.patch(t, app, `{"operation":{"sync":{}}}`)
	w.done(t, app, api.PhaseSucceeded)
	w.is(t, app, "Synced Healthy", "")
	w.kubectl(t, "-n", "argocd", "annotate", "app", app, "argocd.argoproj.io/refresh=normal")
	a := w.await(t, app, func(a *api.Application) string {
		if a.Annotations["argocd.argoproj.io/refresh"] != "" {
			return "the annotation is there"
		}
		return ""
	})
	if a.Status.Sync.Status != api.Synced {
		t.Errorf("it is %s after a refresh: %+v", a.Status.Sync.Status, a.Status.Resources)
	}
}

func rollback(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "1"), "other/d.yaml": pt.ConfigMap("d")})
	app := w.app(t, ns, r)
	w.is(t, app, "OutOfSync Missing", "")
	w.patch(t, app, syncNow)
	w.done(t, app, api.PhaseSucceeded)
	first := r.Head(t, "main")
	w.is(t, app, "OutOfSync Healthy", w.Commit(t, r, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "2")}))
	// With another path, too.
	w.patch(t, app, `{"spec":{"source":{"path":"other"}},"operation":{"sync":{}}}`)
	a := w.done(t, app, api.PhaseSucceeded)
	if len(a.Status.History) != 2 {
		t.Fatalf("history %+v", a.Status.History)
	}
	entry := a.Status.History[0]
	source, err := json.Marshal(entry.Source)
	if err != nil {
		t.Fatal(err)
	}
	w.patch(t, app, fmt.Sprintf(`{"operation":{"sync":{"revision":%q,"source":%s,"syncStrategy":{"apply":{}}}}}`, entry.Revision, source))
	a = w.done(t, app, api.PhaseSucceeded)
	if res := a.Status.OperationState.SyncResult; res.Revision != first || res.Source.Path != "app" {
		t.Errorf("it is at %+v", res)
	}
	w.Await(t, configMap, ns, "c", pt.Has("data.v", "1"))
	if h := a.Status.History; len(h) != 3 || h[2].ID != 2 || h[2].Revision != first {
		t.Errorf("history %+v", h)
	}
	w.is(t, app, "OutOfSync Healthy", r.Head(t, "main"))
}

// kargo is what Kargo does to promote.
func kargo(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "1")})
	first := r.Head(t, "main")
	app := w.app(t, ns, r)
	w.is(t, app, "OutOfSync Missing", "")
	w.patch(t, app, syncNow)
	w.done(t, app, api.PhaseSucceeded)
	next := r.Commit(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "2")}, "next")
	for _, sha := range []string{next, first, next} {
		w.patch(t, app, fmt.Sprintf(`{
			"metadata": {"annotations": {"argocd.argoproj.io/refresh": "hard"}},
			"spec": {"source": {"targetRevision": %q}},
			"operation": {
				"initiatedBy": {"username": "kargo-controller", "automated": true},
				"info": [{"name": "Reason", "value": "a promotion"}, {"name": "kargo.akuity.io/promotion", "value": %q}],
				"sync": {"revisions": [], "syncOptions": ["CreateNamespace=false"]}
			},
			"status": {"operationState": null}
		}`, sha, "p-"+sha))
		a := w.done(t, app, api.PhaseSucceeded)
		s := a.Status.OperationState
		if len(s.Operation.Info) != 2 || s.Operation.Info[1].Value != "p-"+sha || s.SyncResult == nil || s.SyncResult.Revision != sha || a.Status.Sync.Revision != sha {
			t.Errorf("%s: status %+v, operation %+v", sha, a.Status, s)
		}
		w.await(t, app, func(a *api.Application) string {
			if a.Annotations["argocd.argoproj.io/refresh"] != "" {
				return "the annotation is there"
			}
			return ""
		})
	}
	w.Await(t, configMap, ns, "c", pt.Has("data.v", "2"))
}

func terminate(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{
		"app/x.yaml": "apiVersion: nowhere.example.com/v1\nkind: Unheard\nmetadata: {name: x}\n", "app/c.yaml": pt.ConfigMap("c"),
	})
	app := w.app(t, ns, r)
	w.is(t, app, "OutOfSync Healthy", "")
	w.patch(t, app, `{"operation":{"sync":{"syncOptions":["SkipDryRunOnMissingResource=true"]}}}`)
	a := w.await(t, app, func(a *api.Application) string {
		if s := a.Status.OperationState; a.Operation == nil || s == nil || s.Phase != api.PhaseRunning || !strings.Contains(s.Message, "Unheard") {
			return "it does not say what it waits for"
		}
		return ""
	})
	if a.Operation == nil {
		t.Error("the operation is not there while it runs")
	}
	w.patch(t, app, `{"status":{"operationState":{"phase":"Terminating"}}}`)
	if a = w.done(t, app, api.PhaseFailed); a.Status.OperationState.Message != "Operation terminated" || len(a.Status.History) != 0 {
		t.Errorf("%+v, history %+v", a.Status.OperationState, a.Status.History)
	}
}

func refused(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{
		"app/c.yaml":   pt.ConfigMap("c"),
		"app/bad.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 99999}]}\n",
	})
	app := w.app(t, ns, r)
	w.is(t, app, "OutOfSync Missing", "")
	for op, want := range map[string]string{
		`{}`:                            "operation: it asks for nothing",
		`{"sync":{"manifests":["{}"]}}`: "operation.sync.manifests",
		`{"sync":{"syncOptions":["Prun=false"]}}`: `"Prun=false" is no sync option`,
		`{"sync":{"revision":"no-such-branch"}}`:  "no branch and no tag no-such-branch",
	} {
		w.patch(t, app, `{"operation":`+op+`}`)
		a := w.done(t, app, api.PhaseError)
		if !strings.Contains(a.Status.OperationState.Message, want) {
			t.Errorf("%s: it says %q, want %q", op, a.Status.OperationState.Message, want)
		}
	}
	w.patch(t, app, syncNow)
	a := w.done(t, app, api.PhaseFailed)
	s := a.Status.OperationState
	if !strings.HasPrefix(s.Message, "one or more objects failed to apply, reason: ") || !strings.Contains(s.Message, "99999") {
		t.Errorf("it says %q", s.Message)
	}
	if i := slices.IndexFunc(s.SyncResult.Resources, func(x api.ResourceResult) bool { return x.Status == api.ResultSyncFailed }); i < 0 ||
		s.SyncResult.Resources[i].Name != "bad" || s.SyncResult.Resources[i].HookPhase != api.PhaseFailed || !strings.Contains(s.SyncResult.Resources[i].Message, "99999") {
		t.Errorf("it says %+v", s.SyncResult.Resources)
	}
	if len(a.Status.History) != 0 {
		t.Errorf("history %+v", a.Status.History)
	}
}

func once(t *testing.T, w *world) {
	bad := "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 99999}]}\n"
	ns, r := w.start(t, map[string]string{"app/bad.yaml": bad})
	app := w.app(t, ns, r, "syncPolicy: {automated: {}, retry: {limit: 1, backoff: {duration: 1s}}}")
	a := w.done(t, app, api.PhaseFailed)
	if s := a.Status.OperationState; s.RetryCount != 1 || !strings.Contains(s.Message, "(retried 1 times)") {
		t.Errorf("%+v", s)
	}
	w.condition(t, app, api.ConditionSyncError, "Failed last sync attempt to "+r.Head(t, "main"))
	w.quiet(t, app)
	// Another revision is another try.
	w.Remove(t, r, "app/bad.yaml")
	w.is(t, app, "Synced Healthy", w.Commit(t, r, map[string]string{"app/c.yaml": pt.ConfigMap("c")}))
	w.await(t, app, func(a *api.Application) string {
		if len(a.Status.Conditions) > 0 {
			return "it still has conditions"
		}
		return ""
	})
}

func drift(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "git")})
	app := w.app(t, ns, r, automated)
	w.is(t, app, "Synced Healthy", "")
	w.kubectl(t, "-n", ns, "patch", "configmap/c", "--type=merge", "-p", `{"data":{"v":"by hand"}}`)
	w.is(t, app, "OutOfSync Healthy", "")
	w.quiet(t, app)
	if err := pt.Has("data.v", "by hand")(w.Await(t, configMap, ns, "c", nil)); err != nil {
		t.Error(err)
	}
	w.patch(t, app, `{"spec":{"syncPolicy":{"automated":{"selfHeal":true}}}}`)
	w.Await(t, configMap, ns, "c", pt.Has("data.v", "git"))
	w.is(t, app, "Synced Healthy", "")
	w.kubectl(t, "-n", ns, "delete", "configmap/c")
	w.Await(t, configMap, ns, "c", pt.Has("data.v", "git"))
	w.is(t, app, "Synced Healthy", "")
}

func prune(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c"), "app/d.yaml": pt.ConfigMap("d"), "app/e.yaml": strings.Replace(pt.ConfigMap("e"), "metadata:\n", "metadata:\n  annotations: {argocd.argoproj.io/sync-options: Prune=false}\n", 1)})
	app := w.app(t, ns, r, automated)
	w.is(t, app, "Synced Healthy", "")
	head := w.Remove(t, r, "app/c.yaml", "app/e.yaml")
	a := w.is(t, app, "OutOfSync Healthy", head)
	if res := a.Status.Resources; len(res) != 3 || !res[0].RequiresPruning || res[0].Name != "c" || res[1].RequiresPruning || !res[2].RequiresPruning {
		t.Errorf("resources %+v", res)
	}
	w.quiet(t, app) // nothing but pruning is left, which is not asked for
	w.patch(t, app, syncNow)
	a = w.done(t, app, api.PhaseSucceeded)
	if x := result(&a, "c"); len(a.Status.OperationState.SyncResult.Resources) != 3 || x.Status != api.ResultPruneSkipped || x.Message != "ignored (requires pruning)" {
		t.Errorf("it says %+v", a.Status.OperationState.SyncResult)
	}
	w.is(t, app, "OutOfSync Healthy", head)
	if _, err := w.Object(t.Context(), configMap, ns, "c"); err != nil {
		t.Fatal(err)
	}
	w.patch(t, app, `{"operation":{"sync":{"prune":true}}}`)
	a = w.done(t, app, api.PhaseSucceeded)
	if x := result(&a, "c"); x.Status != api.ResultPruned || x.Message != "pruned" {
		t.Errorf("it says %+v", a.Status.OperationState.SyncResult)
	}
	w.absentSoon(t, configMap, ns, "c") // which somebody else may have to collect
	if _, err := w.Object(t.Context(), configMap, ns, "e"); err != nil {
		t.Errorf("what says not to be pruned is gone: %v", err)
	}
	if x := result(&a, "e"); x.Status != api.ResultPruneSkipped || x.Message != "ignored (no prune)" {
		t.Errorf("it says %+v", x)
	}
	w.is(t, app, "OutOfSync Healthy", head) // and is said to be there still

	// All of it at once, only where that is allowed.
	w.patch(t, app, `{"spec":{"syncPolicy":{"automated":{"prune":true}}}}`)
	w.Remove(t, r, "app/d.yaml")
	w.Commit(t, r, map[string]string{"app/readme.md": "empty"})
	w.await(t, app, func(a *api.Application) string {
		if a.Status.Sync.Status == api.OutOfSync {
			return ""
		}
		return "it is " + a.Status.Sync.Status
	})
	if _, err := w.Object(t.Context(), configMap, ns, "d"); err != nil {
		t.Errorf("an empty source has pruned everything: %v", err)
	}
	w.patch(t, app, `{"spec":{"syncPolicy":{"automated":{"allowEmpty":true}}}}`)
	kubetest.Eventually(t, pt.Patience, func() error {
		if _, err := w.Object(t.Context(), configMap, ns, "d"); !apierrors.IsNotFound(err) {
			return errors.Join(errors.New("d is there"), err)
		}
		return nil
	})
}

func deletion(t *testing.T, w *world) {
	for finalizer, gone := range map[string]bool{
		"":                                       false,
		"resources-finalizer.argocd.argoproj.io": true,
		"resources-finalizer.argocd.argoproj.io/background": true,
	} {
		ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c")})
		app := w.app(t, ns, r, automated)
		if finalizer != "" {
			w.patch(t, app, fmt.Sprintf(`{"metadata":{"finalizers":[%q]}}`, finalizer))
		}
		w.is(t, app, "Synced Healthy", "")
		w.kubectl(t, "-n", "argocd", "delete", "app", app, "--timeout=30s")
		if _, err := w.Object(t.Context(), configMap, ns, "c"); apierrors.IsNotFound(err) != gone {
			t.Errorf("%q: the object: %v", finalizer, err)
		}
	}
	// Where it came from does not count then.
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c")})
	app := w.app(t, ns, r, automated)
	w.is(t, app, "Synced Healthy", "")
	w.patch(t, app, `{"metadata":{"finalizers":["`+cascade+`"]},"spec":{"source":{"repoURL":"http://127.0.0.1:1/nowhere.git"}}}`)
	w.condition(t, app, api.ConditionComparisonError, "127.0.0.1:1")
	w.kubectl(t, "-n", "argocd", "delete", "app", app, "--timeout=30s")
	w.absent(t, configMap, ns, "c")
}

func wrong(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c"), "chart/Chart.yaml": "name: c\n"})
	app := w.app(t, ns, r, automated)
	w.is(t, app, "Synced Healthy", "")
	back := fmt.Sprintf(`{"spec":{"source":{"path":"app","targetRevision":"main","repoURL":%q}}}`, r.URL())
	for patch, c := range map[string]struct{ condition, message, undo string }{
		`{"spec":{"syncPolicy":{"automatd":{}}}}`:                           {api.ConditionInvalidSpecError, `spec.syncPolicy: `, `{"spec":{"syncPolicy":{"automatd":null}}}`},
		`{"spec":{"source":{"path":"nowhere"}}}`:                            {api.ConditionComparisonError, "app path does not exist", ""},
		`{"spec":{"source":{"targetRevision":"v9.9"}}}`:                     {api.ConditionComparisonError, "no branch and no tag v9.9", ""},
		`{"spec":{"source":{"helm":{"releaseName":"x"}}}}`:                  {api.ConditionComparisonError, "a chart has a file Chart.yaml", `{"spec":{"source":{"helm":null}}}`},
		`{"spec":{"source":{"plugin":{"name":"x"}}}}`:                       {api.ConditionInvalidSpecError, "plumb runs no programs of others", `{"spec":{"source":{"plugin":null}}}`},
		`{"spec":{"destination":{"name":"in-cluster"}}}`:                    {api.ConditionInvalidSpecError, "can't have both name and server", `{"spec":{"destination":{"name":null}}}`},
		`{"spec":{"destination":{"server":"https://nowhere.example.com"}}}`: {api.ConditionInvalidSpecError, "https://nowhere.example.com", `{"spec":{"destination":{"server":"https://kubernetes.default.svc"}}}`},
		`{"spec":{"syncPolicy":{"syncOptions":["Prun=false"]}}}`:            {api.ConditionInvalidSpecError, "Prun=false", `{"spec":{"syncPolicy":{"syncOptions":null}}}`},
		`{"spec":{"destination":{"namespace":null}}}`:                       {api.ConditionInvalidSpecError, "ConfigMap/c: it needs a namespace", fmt.Sprintf(`{"spec":{"destination":{"namespace":%q}}}`, ns)},
		`{"spec":{"source":{"repoURL":"http://127.0.0.1:1/x"}}}`:            {api.ConditionComparisonError, "127.0.0.1:1", ""},
	} {
		w.patch(t, app, patch)
		w.condition(t, app, c.condition, c.message)
		a, err := w.read(t, app)
		well := api.Healthy
		if c.condition == api.ConditionInvalidSpecError {
			well = api.Unknown
		}
		if err != nil || a.Status.Sync.Status != api.Unknown || len(a.Status.Resources) != 1 || a.Status.Health.Status != well {
			t.Errorf("%s: %v, status %+v", patch, err, a.Status)
		}
		if c.undo != "" {
			w.patch(t, app, c.undo)
		} else {
			w.patch(t, app, back)
		}
		w.is(t, app, "Synced Healthy", "")
		if _, err := w.Object(t.Context(), configMap, ns, "c"); err != nil {
			t.Errorf("%s: %v", patch, err)
		}
	}
}

func submodule(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c")})
	other := w.Git.Repo(t, ns+"-sub")
	commit := other.Commit(t, map[string]string{"d.yaml": pt.ConfigMap("d")}, "start")
	head := r.Submodule(t, "app/sub", commit, fmt.Sprintf("[submodule \"sub\"]\n\tpath = app/sub\n\turl = %s\n", other.URL()))
	app := w.app(t, ns, r, automated)
	w.patch(t, app, `{"spec":{"source":{"directory":{"recurse":true}}}}`)
	w.Await(t, configMap, ns, "d", pt.Has("metadata.name", "d"))
	w.is(t, app, "Synced Healthy", head)
}

func several(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"one/a.yaml": pt.ConfigMap("a") + "---\n" + pt.ConfigMap("b", "v", "one")})
	other := w.Git.Repo(t, ns+"-other")
	other.Commit(t, map[string]string{"two/b.yaml": pt.ConfigMap("b", "v", "two")}, "start")
	w.Apply(t, fmt.Sprintf(`
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: %[1]s, namespace: argocd}
spec:
  project: default
  sources:
  - {repoURL: %[2]q, path: one, targetRevision: main}
  - {repoURL: %[3]q, path: two, targetRevision: main}
  destination: {name: in-cluster, namespace: %[1]s}
  syncPolicy: {automated: {}}
`, ns, r.URL(), other.URL()))
	w.removeLater(t, ns)
	a := w.is(t, ns, "Synced Healthy", "")
	if s := a.Status.Sync; s.Revision != "" || !slices.Equal(s.Revisions, []string{r.Head(t, "main"), other.Head(t, "main")}) {
		t.Errorf("it is at %+v", s)
	}
	if h := a.Status.History[0]; !slices.Equal(h.Revisions, a.Status.Sync.Revisions) || len(h.Sources) != 2 || len(a.Status.SourceTypes) != 2 {
		t.Errorf("history %+v, of types %q", h, a.Status.SourceTypes)
	}
	w.Await(t, configMap, ns, "b", pt.Has("data.v", "two"))
	w.condition(t, ns, api.ConditionRepeatedResource, "/ConfigMap/"+ns+"/b")
	next := w.Commit(t, other, map[string]string{"two/b.yaml": pt.ConfigMap("b", "v", "three")})
	w.Await(t, configMap, ns, "b", pt.Has("data.v", "three"))
	w.await(t, ns, func(a *api.Application) string {
		if !slices.Equal(a.Status.Sync.Revisions, []string{r.Head(t, "main"), next}) {
			return "it is at other revisions"
		}
		return ""
	})
}

// What one source has more than once is applied as it is there last, whether or not
// it is given a namespace that it does not have.
func repeated(t *testing.T, w *world) {
	class := "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: %[1]s, namespace: %[2]s, labels: {place: %[2]s}}\nprovisioner: example.com/none\n"
	ns, r := w.start(t, map[string]string{"app/a.yaml": pt.ConfigMap("c", "v", "one") + "---\n" + pt.ConfigMap("d"), "app/b.yaml": pt.ConfigMap("c", "v", "two")})
	w.leaves(t, "storageclasses.storage.k8s.io/"+ns)
	w.Commit(t, r, map[string]string{"app/s.yaml": fmt.Sprintf(class, ns, "default") + "---\n" + fmt.Sprintf(class, ns, "kube-system")})
	app := w.app(t, ns, r, automated)
	w.is(t, app, "Synced Healthy", "")
	w.Await(t, configMap, ns, "c", pt.Has("data.v", "two"))
	w.Await(t, "storage.k8s.io/v1/StorageClass", "", ns, pt.Has("metadata.labels.place", "kube-system"))
	w.condition(t, app, api.ConditionRepeatedResource, "/ConfigMap/"+ns+"/c")
	w.condition(t, app, api.ConditionRepeatedResource, "storage.k8s.io/StorageClass//"+ns)
	w.Remove(t, r, "app/b.yaml")
	w.Await(t, configMap, ns, "c", pt.Has("data.v", "one"))
	w.is(t, app, "Synced Healthy", r.Head(t, "main"))
}

// What an Application had that is gone, and has left it, is whose source has it now.
func inherited(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "1")})
	w.leaves(t, "storageclasses.storage.k8s.io/"+ns)
	w.Commit(t, r, map[string]string{"app/s.yaml": "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: " + ns + "}\nprovisioner: example.com/none\n"})
	first := w.named(t, ns+"-first", ns, r, automated)
	w.is(t, first, "Synced Healthy", "")
	w.kubectl(t, "-n", "argocd", "delete", "applications.argoproj.io/"+first)
	second := w.named(t, ns+"-second", ns, r)
	w.is(t, second, "OutOfSync Healthy", "")
	w.patch(t, second, syncNow)
	a := w.done(t, second, api.PhaseSucceeded)
	for _, name := range []string{"c", ns} {
		if x := result(&a, name); !strings.HasSuffix(x.Message, " configured") {
			t.Errorf("it says %+v", x)
		}
	}
	w.is(t, second, "Synced Healthy", "")
}

func elsewhere(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c")})
	w.Apply(t, fmt.Sprintf(`
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: x, namespace: %[1]s}
spec:
  project: default
  source: {repoURL: %[2]q, path: app}
  destination: {name: in-cluster, namespace: %[1]s}
  syncPolicy: {automated: {}}
`, ns, r.URL()))
	app := w.app(t, ns, r)
	w.is(t, app, "OutOfSync Missing", "") // which it was put before
	if u, err := w.Object(t.Context(), application, ns, "x"); err != nil || u.Object["status"] != nil {
		t.Errorf("%v: %v", err, u.Object["status"])
	}
	w.absent(t, configMap, ns, "c")
}
