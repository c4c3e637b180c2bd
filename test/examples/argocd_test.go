package examples

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/internal/plumbtest"
)

// TestApplications holds those for Argo CD's users true at once, by one plumb.
func TestApplications(t *testing.T) {
	w := &world{plumbtest.New(t)}
	w.RequireControllers(t)
	w.Apply(t, namespaces("argocd"))
	w.Apply(t, accounts)
	for name, test := range map[string]func(*testing.T, *world){
		"the manifests of guides":                          fromGuides,
		"a guestbook as YAML, by Kustomize and by Jsonnet": guestbook,
		"charts, with values of another repository":        charts,
		"Jobs before and after, and one for when it fails": hooks,
		"waves, with hooks between them":                   waves,
		"an Application of Applications":                   appOfApps,
		"objects in several namespaces":                    severalNamespaces,
		"a CRD and objects of it in one sync":              topics,
		"the same on two clusters":                         twoClusters,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, w)
		})
	}
}

func guestbook(t *testing.T, w *world) {
	r := w.repository(t, "guestbook")
	w.Apply(t, w.manifest(t, "guestbook.yaml"))
	for _, c := range []struct {
		way, made, name string
		replicas        int
		image           string
	}{
		{"plain", "Directory", "guestbook", 1, "v5"},
		{"kustomize", "Kustomize", "kustomized-guestbook", 2, "v6"},
		{"jsonnet", "Directory", "guestbook", 3, "v5"},
	} {
		app := "guestbook-" + c.way
		a := w.synced(t, app, r.Head(t, "main"))
		if got := a.Status.SourceType; got != c.made {
			t.Errorf("%s is made as %s, want %s", app, got, c.made)
		}
		w.deployment(t, app, c.name, c.replicas, "registry.example.com/guestbook:"+c.image)
		w.has(t, "v1/Service", app, c.name)
	}
	w.configOf(t, "guestbook-kustomize", "kustomized-guestbook")
}

func charts(t *testing.T, w *world) {
	r := w.repository(t, "charts")
	values := w.repository(t, "chart-values")
	w.Apply(t, w.manifest(t, "charts.yaml"))
	w.application(t, "ingress", func(a *argocd.Application) string {
		if a.Status.Sync.Status != argocd.Synced || a.Status.Health.Status != argocd.Healthy {
			return "it is not Synced and Healthy"
		}
		if want := []string{r.Head(t, "main"), values.Head(t, "main")}; !slices.Equal(a.Status.Sync.Revisions, want) {
			return fmt.Sprintf("it is at %q, want %q", a.Status.Sync.Revisions, want)
		}
		return ""
	})
	u := w.deployment(t, "charts-ingress", "ingress-controller", 2, "registry.example.com/edge:1.14.0")
	if team, _, _ := unstructured.NestedString(u.Object, "spec", "template", "metadata", "labels", "team"); team != "edge" {
		t.Errorf("the pods are labelled for team %q", team)
	}
	a := w.synced(t, "certificates", r.Head(t, "main"))
	if ran := hooksOf(&a); len(ran) != 1 || !strings.HasSuffix(ran[0], "-check PostSync Succeeded") {
		t.Errorf("the hooks are %q", ran)
	}
	w.synced(t, "platform", r.Head(t, "main"))
}

func hooks(t *testing.T, w *world) {
	ns, files := "orders-with-hooks", content(t, "hooks")
	for _, file := range []string{"before.yaml", "after.yaml"} {
		files[file] = waiting(t, files[file])
	}
	r := w.Git.Repo(t, "hooks")
	r.Commit(t, files, "v1")
	w.Apply(t, w.manifest(t, "hooks.yaml"))

	before := w.job(t, ns, "migrate")
	w.lacks(t, "apps/v1/Deployment", ns, "orders")
	w.letGo(t, ns, before)
	after := w.job(t, ns, "smoke-test")
	w.deployment(t, ns, "orders", 2, "registry.example.com/orders:v1")
	w.letGo(t, ns, after)
	a := w.synced(t, "hooks", r.Head(t, "main"))
	if ran, want := hooksOf(&a), []string{"migrate PreSync Succeeded", "smoke-test PostSync Succeeded"}; !slices.Equal(ran, want) {
		t.Errorf("%q has run, want %q", ran, want)
	}
	w.AwaitGone(t, jobKind, ns, "smoke-test")
	w.has(t, jobKind, ns, "migrate")

	// What fails before keeps the rest from being touched.
	w.Commit(t, r, map[string]string{
		"before.yaml": replaced(t, content(t, "hooks")["before.yaml"], `["true"]`, `["false"]`),
		"orders.yaml": replaced(t, files["orders.yaml"], "orders:v1", "orders:v2"),
	})
	a = w.application(t, "hooks", func(a *argocd.Application) string {
		if s := a.Status.OperationState; a.Operation != nil || s.Phase != argocd.PhaseFailed {
			return "it has not failed"
		}
		return ""
	})
	if ran, want := hooksOf(&a), []string{"migrate PreSync Failed", "tell-somebody SyncFail Succeeded"}; !slices.Equal(ran, want) {
		t.Errorf("%q has run, want %q", ran, want)
	}
	w.deployment(t, ns, "orders", 2, "registry.example.com/orders:v1")
	w.has(t, jobKind, ns, "migrate") // to look at why
	w.AwaitGone(t, jobKind, ns, "tell-somebody")

	w.Commit(t, r, map[string]string{"before.yaml": content(t, "hooks")["before.yaml"], "after.yaml": content(t, "hooks")["after.yaml"]})
	w.synced(t, "hooks", r.Head(t, "main"))
	w.deployment(t, ns, "orders", 2, "registry.example.com/orders:v2")
}

func waves(t *testing.T, w *world) {
	files := content(t, "waves")
	for _, file := range []string{"schema.yaml", "maintenance-on.yaml", "maintenance-off.yaml"} {
		files[file] = waiting(t, files[file])
	}
	r := w.Git.Repo(t, "waves")
	r.Commit(t, files, "v1")
	w.Apply(t, w.manifest(t, "waves.yaml"))

	schema := w.job(t, "waves", "schema-")
	w.lacks(t, "apps/v1/ReplicaSet", "waves", "backend")
	w.letGo(t, "waves", schema)
	on := w.job(t, "waves", "maintenance-on")
	w.has(t, "v1/Service", "waves", "backend")
	w.Await(t, "apps/v1/ReplicaSet", "waves", "backend", plumbtest.Has("status.readyReplicas", 1))
	w.lacks(t, "apps/v1/ReplicaSet", "waves", "frontend")
	w.letGo(t, "waves", on)
	off := w.job(t, "waves", "maintenance-off")
	w.has(t, "v1/Service", "waves", "frontend")
	w.Await(t, "apps/v1/ReplicaSet", "waves", "frontend", plumbtest.Has("status.readyReplicas", 1))
	w.letGo(t, "waves", off)

	a := w.synced(t, "waves", r.Head(t, "main"))
	want := []string{schema.GetName() + " PreSync Succeeded", "maintenance-on Sync Succeeded", "maintenance-off Sync Succeeded"}
	if ran := hooksOf(&a); !slices.Equal(ran, want) {
		t.Errorf("%q has run, want %q", ran, want)
	}
	w.AwaitGone(t, jobKind, "waves", schema.GetName())
}

func appOfApps(t *testing.T, w *world) {
	files := content(t, "app-of-apps")
	for file, text := range files {
		files[file] = w.here(text)
	}
	r := w.Git.Repo(t, "app-of-apps")
	r.Commit(t, files, "first commit")
	w.Apply(t, w.manifest(t, "app-of-apps.yaml"))
	for _, app := range []string{"app-of-apps", "store", "shop"} {
		w.synced(t, app, r.Head(t, "main"))
	}
	for _, name := range []string{"store", "shop"} {
		w.deployment(t, "app-of-apps", name, 2, "registry.example.com/"+name+":v1")
	}
	// One that leaves Git goes, and so do its objects.
	w.Remove(t, r, "apps/shop.yaml")
	w.AwaitGone(t, "apps/v1/Deployment", "app-of-apps", "shop")
	w.AwaitGone(t, application, "argocd", "shop")
	w.synced(t, "app-of-apps", r.Head(t, "main"))
	w.deployment(t, "app-of-apps", "store", 2, "registry.example.com/store:v1")
	// And all of them go with the one that has them.
	if out, err := w.Kubectl(t.Context(), "", "delete", "application", "app-of-apps", "--namespace", "argocd", "--timeout", "30s"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w.AwaitGone(t, application, "argocd", "store")
	w.AwaitGone(t, "apps/v1/Deployment", "app-of-apps", "store")
}

func severalNamespaces(t *testing.T, w *world) {
	r := w.repository(t, "namespaces")
	w.Apply(t, w.manifest(t, "namespaces.yaml"))
	w.synced(t, "namespaces", r.Head(t, "main"))
	w.deployment(t, "shop-web", "web", 2, "registry.example.com/shop/web:v3")
	w.deployment(t, "shop-data", "database", 1, "registry.example.com/shop/database:v3")
	w.has(t, "v1/ConfigMap", "shop-config", "shop")
}

func topics(t *testing.T, w *world) {
	r := w.repository(t, "topics")
	w.Apply(t, w.manifest(t, "topics.yaml"))
	a := w.synced(t, "topics", r.Head(t, "main"))
	for name, partitions := range map[string]int{"orders": 12, "payments": 3} {
		w.Await(t, "queue.example.com/v1/Topic", "topics", name, plumbtest.Has("spec.partitions", partitions))
	}
	if n := len(a.Status.History); n != 1 {
		t.Errorf("it took %d syncs", n)
	}
}

const (
	application = "argoproj.io/v1alpha1/Application"
	jobKind     = "batch/v1/Job"
)

// synced waits until an Application is Synced and Healthy at a commit, and its
// last operation has succeeded.
func (w *world) synced(t *testing.T, name, commit string) argocd.Application {
	t.Helper()
	return w.application(t, name, func(a *argocd.Application) string {
		st := &a.Status
		switch {
		case st.Sync.Status != argocd.Synced || st.Health.Status != argocd.Healthy || st.Sync.Revision != commit:
			return fmt.Sprintf("it is %s and %s at %s, want %s", st.Sync.Status, st.Health.Status, st.Sync.Revision, commit)
		case a.Operation != nil || st.OperationState == nil || st.OperationState.Phase != argocd.PhaseSucceeded:
			return fmt.Sprintf("its operation has not succeeded: %+v", st.OperationState)
		}
		return ""
	})
}

// application waits until an Application passes a check, which says what is
// wrong.
func (w *world) application(t *testing.T, name string, check func(*argocd.Application) string) (a argocd.Application) {
	t.Helper()
	w.Await(t, application, "argocd", name, func(u *unstructured.Unstructured) error {
		a = argocd.Application{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &a); err != nil {
			return err
		}
		if why := check(&a); why != "" {
			return fmt.Errorf("%s: %s; conditions %+v, operation %+v", name, why, a.Status.Conditions, a.Status.OperationState)
		}
		return nil
	})
	return a
}

// hooksOf are the hooks that the last operation has run, and what they came to.
func hooksOf(a *argocd.Application) (ran []string) {
	for _, x := range a.Status.OperationState.SyncResult.Resources {
		if x.HookType != "" {
			ran = append(ran, x.Name+" "+x.HookType+" "+x.HookPhase)
		}
	}
	return ran
}

// waiting is the manifest of a Job whose pods wait until they are let go, so that
// there is time to look.
func waiting(t *testing.T, job string) string {
	t.Helper()
	return replaced(t, job, "  template:\n    spec:", "  template:\n    metadata:\n      annotations:\n        sandbox.plumb.dev/never-ready: \"true\"\n    spec:")
}

// job waits for a Job whose name is that, or begins with it.
func (w *world) job(t *testing.T, ns, prefix string) (job *unstructured.Unstructured) {
	t.Helper()
	kubetest.Eventually(t, plumbtest.Patience, func() error {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "JobList"})
		if err := w.Client.List(t.Context(), list, client.InNamespace(ns)); err != nil {
			return err
		}
		for i := range list.Items {
			if job = &list.Items[i]; strings.HasPrefix(job.GetName(), prefix) {
				return nil
			}
		}
		return fmt.Errorf("there is no Job %s in %s yet", prefix, ns)
	})
	return job
}
