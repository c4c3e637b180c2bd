package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/directory"
)

// A noted is an object of a unit by an annotation, as another controller has it.
type noted struct{ marked }

func (n noted) Owner(o *unstructured.Unstructured) string {
	if of := o.GetAnnotations()["of"]; of != "" {
		return of
	}
	return n.marked.Owner(o)
}

// inherits is a unit with an operation that another controller has begun.
func (w *live) inherits(texts ...string) Unit {
	u := w.adopting("u", texts...)
	u.Objects = noted{}
	began := time.Now().Add(-time.Minute)
	u.Operation = &Operation{ID: "1", Inherited: true, Was: Progress{ID: "1", Began: began}}
	return u
}

// hookOf makes a hook as another controller does that works for u.
func (w *live) hookOf(u Unit, name, annotations string) (uid string) {
	w.Helper()
	w.left(strings.Replace(pod(name, annotations+fmt.Sprintf(", of: %q", u.Name)), "metadata: {", "metadata: {finalizers: [toy.plumb.dev/hook], ", 1), false)
	return w.pods()[name]
}

func (w *live) told(name string, phase apply.Phase, ended time.Time) apply.HookRun {
	return apply.HookRun{Ref: object.Ref{Kind: "Pod", Namespace: w.ns, Name: name}, Version: "v1", Phase: phase, Ended: ended}
}

// What another controller has made of hooks when an operation goes on here counts:
// what runs is waited for, what has run stays so, and nothing runs twice.
func TestHooksOfAnotherControllerGoOn(t *testing.T) {
	w := newLive(t)
	ends := `hook: before, wave: "-1", delete: done`
	u := w.inherits(pod("ran", ends), pod("runs", "hook: before"), pod("untold", "hook: before"), of("a", "1"), pod("later", "hook: after"))
	want := map[string]string{
		"ran": w.hookOf(u, "ran", ends), "runs": w.hookOf(u, "runs", "hook: before"), "untold": w.hookOf(u, "untold", "hook: before"),
	}
	u.Operation.Was.Hooks = []apply.HookRun{w.told("ran", apply.Before, u.Operation.Was.Began), w.told("runs", apply.Before, time.Time{})}
	w.engine.Put(u)
	same := func(names ...string) {
		t.Helper()
		now := w.pods()
		for _, name := range names {
			if now[name] != want[name] {
				t.Errorf("%s is another Pod: %s", name, w.operation())
			}
		}
	}
	w.operates(u, Running, "waiting for completion of hook of Pod/"+w.ns+"/runs and 1 more")
	w.holds()
	same("ran", "runs", "untold")
	w.endPod("runs", corev1.PodSucceeded)
	w.operates(u, Running, "waiting for completion of hook of Pod/"+w.ns+"/untold")
	w.endPod("untold", corev1.PodSucceeded)
	w.runs("later")
	same("runs", "untold")
	w.holds("a=1")
	w.endPod("later", corev1.PodSucceeded)
	w.says(u, "Ready 1, 1 Succeeded")
	for _, name := range []string{"runs", "untold"} {
		w.noFinalizer(name)
	}
	kubetest.Eventually(t, 20*time.Second, func() error {
		if _, there := w.pods()["ran"]; there {
			return errors.New("what was to go when it was done is there")
		}
		return nil
	})
	if pods := w.pods(); len(pods) != 3 {
		t.Errorf("there are %v", pods)
	}
}

// What is there of an earlier operation, of a try that failed, or of somebody else
// is no hook of this one.
func TestHooksOfEarlierAreMadeAnew(t *testing.T) {
	for name, change := range map[string]func(*Unit){
		"an earlier operation": func(u *Unit) { u.Operation.Was.Began = time.Now().Add(time.Hour) },
		"a try that failed":    func(u *Unit) { u.Operation.Was.Failures = 1 },
		"begun here":           func(u *Unit) { u.Operation.Inherited = false },
	} {
		t.Run(name, func(t *testing.T) {
			w := newLive(t)
			u := w.inherits(pod("prepare", "hook: before"), of("a", "1"))
			before := w.hookOf(u, "prepare", "hook: before")
			w.patchPod("prepare", `{"metadata":{"finalizers":null}}`)
			change(&u)
			w.engine.Put(u)
			kubetest.Eventually(t, 20*time.Second, func() error {
				if uid := w.pods()["prepare"]; uid == "" || uid == before {
					return fmt.Errorf("there are %v; %s", w.pods(), w.operation())
				}
				return nil
			})
		})
	}
}

// A hook without a name has the one that the other controller has given it.
func TestAHookWithoutANameKeepsWhatAnotherHasGivenIt(t *testing.T) {
	w := newLive(t)
	each := strings.Replace(pod("each-", "hook: before"), "name: each-", "generateName: each-", 1)
	u := w.inherits(each, of("a", "1"))
	for i := range u.Renders {
		u.Renders[i].Options = render.Options{Builder: directory.Options{}, GenerateNames: true}
	}
	w.hookOf(u, "each-abc-presync-17", "hook: before")
	u.Operation.Was.Hooks = []apply.HookRun{w.told("each-abc-presync-17", apply.Before, time.Time{})}
	w.engine.Put(u)
	w.operates(u, Running, "waiting for completion of hook of Pod/"+w.ns+"/each-abc-presync-17")
	w.endPod("each-abc-presync-17", corev1.PodSucceeded)
	w.says(u, "Ready 1, 1 Succeeded")
	w.holds("a=1")
	if pods := w.pods(); len(pods) != 1 {
		t.Errorf("there are %v", pods)
	}
}

// A hook that went while nobody looked has failed, and one that is terminated is
// deleted.
func TestHooksOfAnotherControllerEndBadly(t *testing.T) {
	w := newLive(t)
	u := w.inherits(pod("prepare", "hook: before"), of("a", "1"))
	u.Operation.Was.Hooks = []apply.HookRun{w.told("prepare", apply.Before, time.Time{})}
	w.engine.Put(u)
	w.operates(u, GaveUp, "it was deleted before it had ended")

	v := w.inherits(pod("prepare", "hook: before"), of("a", "1"))
	v.Operation.ID, v.Operation.Was.ID = "2", "2"
	w.hookOf(v, "prepare", "hook: before")
	v.Operation.Was.Hooks, v.Operation.Terminate = u.Operation.Was.Hooks, true
	w.engine.Put(v)
	w.operates(v, Terminated, terminated)
	kubetest.Eventually(t, 20*time.Second, func() error {
		if pods := w.pods(); len(pods) > 0 {
			return fmt.Errorf("there are %v", pods)
		}
		return nil
	})
	w.holds()
}

func (w *live) patchPod(name, patch string) {
	w.Helper()
	if out, err := w.env.Kubectl(w.Context(), "", "-n", w.ns, "patch", "pod", name, "--type=merge", "-p", patch); err != nil && !apierrors.IsNotFound(err) {
		w.Fatal(out, err)
	}
}
