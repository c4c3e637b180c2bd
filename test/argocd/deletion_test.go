package argocd_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	api "plumb.dev/plumb/api/argocd"
	pt "plumb.dev/plumb/internal/plumbtest"
)

// finalizers waits until an Application has these, in any order.
func (w *world) finalizers(t *testing.T, app string, want ...string) {
	t.Helper()
	w.await(t, app, func(a *api.Application) string {
		has := slices.Sorted(slices.Values(a.Finalizers))
		if slices.Sort(want); !slices.Equal(has, want) {
			return fmt.Sprintf("its finalizers are %q, want %q", has, want)
		}
		return ""
	})
}

const (
	preDelete  = "pre-delete-finalizer.argocd.argoproj.io"
	postDelete = "post-delete-finalizer.argocd.argoproj.io"
	job1       = "batch/v1/Job"
)

// deletionHooks has Jobs run in waves before a deletion, and one after it. What
// holds an object up shows which have run by then.
func deletionHooks(t *testing.T, w *world) {
	const done = ", argocd.argoproj.io/hook-delete-policy: HookSucceeded"
	ns, r := w.start(t, map[string]string{
		"app/c.yaml":      strings.Replace(pt.ConfigMap("c"), "metadata:\n", "metadata:\n  finalizers: [example.com/stays]\n", 1),
		"app/first.yaml":  job("first", "argocd.argoproj.io/hook: PreDelete, argocd.argoproj.io/sync-wave: '-1'", "true"),
		"app/second.yaml": job("second", "argocd.argoproj.io/hook: PreDelete"+done, "true"),
		"app/after.yaml":  job("after", "argocd.argoproj.io/hook: PostDelete"+done, "true"),
	})
	app := w.app(t, ns, r, automated)
	w.patch(t, app, `{"metadata":{"finalizers":["`+cascade+`"]}}`)
	w.is(t, app, "Synced Healthy", "")
	w.finalizers(t, app, cascade, preDelete, preDelete+"/cleanup", postDelete, postDelete+"/cleanup")
	w.quiet(t, app)
	jobs := w.Seen(t, batchv1.SchemeGroupVersion.WithResource("jobs"), ns)
	if n := len(jobs()); n != 0 {
		t.Errorf("%d hooks of a deletion have run before there is one", n)
	}
	w.kubectl(t, "-n", "argocd", "delete", "app", app, "--wait=false")
	w.finalizers(t, app, cascade, postDelete, postDelete+"/cleanup")
	w.absentSoon(t, job1, ns, "first")
	w.absentSoon(t, job1, ns, "second")
	w.Await(t, configMap, ns, "c", func(u *unstructured.Unstructured) error {
		if u.GetDeletionTimestamp() == nil {
			return errors.New("it is not deleted")
		}
		return nil
	})
	if ran := jobs(); ran["after"] != 0 {
		t.Error("what is for afterwards has run before that")
	}
	w.kubectl(t, "-n", ns, "patch", "configmap/c", "--type=merge", "-p", `{"metadata":{"finalizers":[]}}`)
	w.absentSoon(t, application, "argocd", app)
	w.absentSoon(t, job1, ns, "after")
	for _, name := range []string{"first", "second", "after"} {
		if n := jobs()[name]; n != 1 {
			t.Errorf("%s has run %d times", name, n)
		}
	}
}

// deletionHeld deletes nothing before a hook has run, which it says.
func deletionHeld(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c"), "app/h.yaml": job("fails", "argocd.argoproj.io/hook: PreDelete", "false")})
	app := w.app(t, ns, r, automated)
	w.patch(t, app, `{"metadata":{"finalizers":["`+cascade+`"]}}`)
	w.is(t, app, "Synced Healthy", "")
	w.finalizers(t, app, cascade, preDelete, preDelete+"/cleanup")
	w.kubectl(t, "-n", "argocd", "delete", "app", app, "--wait=false")
	w.condition(t, app, api.ConditionDeletionError, "Job/"+ns+"/fails")
	w.uid(t, configMap, ns, "c")
	// Deleted, it runs again, and fails again.
	failed := w.uid(t, job1, ns, "fails")
	w.kubectl(t, "-n", ns, "delete", "job", "fails", "--wait=false")
	w.Await(t, job1, ns, "fails", func(u *unstructured.Unstructured) error {
		if string(u.GetUID()) == failed {
			return errors.New("it is the same hook")
		}
		return nil
	})
	w.condition(t, app, api.ConditionDeletionError, "Job/"+ns+"/fails")
	w.uid(t, configMap, ns, "c")
	// Mended in Git it goes on, as soon as somebody has Git asked.
	r.Commit(t, map[string]string{"app/h.yaml": job("fails", "argocd.argoproj.io/hook: PreDelete", "true")}, "mend")
	w.patch(t, app, `{"metadata":{"annotations":{"argocd.argoproj.io/refresh":"normal"}}}`)
	w.absentSoon(t, application, "argocd", app)
	w.absent(t, configMap, ns, "c")
	w.absent(t, job1, ns, "fails")

	// A hook that the Application does not have any more holds nothing, and what is
	// left with the objects is the hook, too.
	other := w.named(t, ns+"-other", ns, r, automated)
	w.is(t, other, "Synced Healthy", "")
	w.finalizers(t, other, preDelete, preDelete+"/cleanup")
	w.kubectl(t, "-n", "argocd", "delete", "app", other, "--timeout=30s")
	w.uid(t, configMap, ns, "c")
	if u := w.Await(t, job1, ns, "fails", nil); len(u.GetFinalizers()) > 0 {
		t.Errorf("the hook has finalizers: %q", u.GetFinalizers())
	}
	third := w.named(t, ns+"-third", ns, r, automated)
	w.finalizers(t, third, preDelete, preDelete+"/cleanup")
	w.Remove(t, r, "app/h.yaml")
	w.finalizers(t, third)
	w.uid(t, configMap, ns, "c")
}

// deletionForbidden makes no hook where the project does not allow it, and deletes
// nothing before that is mended; and an Application whose hooks can't be known any
// more stays until somebody takes its finalizers off.
func deletionForbidden(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c")})
	outside := w.Namespace(t)
	w.project(t, ns, "{sourceRepos: ['*'], destinations: [{server: '*', namespace: "+ns+"}]}")
	app := w.of(t, ns, r, automated)
	w.patch(t, app, `{"metadata":{"finalizers":["`+cascade+`"]}}`)
	w.is(t, app, "Synced Healthy", "")
	hook := strings.Replace(job("out", "argocd.argoproj.io/hook: PreDelete", "true"), "name: out,", "name: out, namespace: "+outside+",", 1)
	w.Commit(t, r, map[string]string{"app/h.yaml": hook})
	w.finalizers(t, app, cascade, preDelete, preDelete+"/cleanup")
	w.kubectl(t, "-n", "argocd", "delete", "app", app, "--wait=false")
	said := w.condition(t, app, api.ConditionDeletionError, "Job/"+outside+"/out")
	if !strings.Contains(said, "not made") || !strings.Contains(said, outside) {
		t.Errorf("it says %q", said)
	}
	w.absent(t, job1, outside, "out")
	w.uid(t, configMap, ns, "c")
	w.patch(t, app, `{"spec":{"source":{"repoURL":"http://127.0.0.1:1/nowhere.git"}}}`)
	w.condition(t, app, api.ConditionDeletionError, preDelete)
	w.uid(t, configMap, ns, "c")
	w.patch(t, app, `{"metadata":{"finalizers":["`+cascade+`"]}}`)
	w.absentSoon(t, application, "argocd", app)
	w.absent(t, configMap, ns, "c")
	w.absent(t, job1, outside, "out")
}
