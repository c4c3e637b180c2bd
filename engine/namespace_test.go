package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/internal/kubetest"
)

// namespace reads one; nil: it is gone, or goes.
func (w *live) namespace(name string) *corev1.Namespace {
	w.Helper()
	ns := &corev1.Namespace{}
	err := w.env.Client.Get(w.Context(), client.ObjectKey{Name: name}, ns)
	switch {
	case apierrors.IsNotFound(err), err == nil && ns.DeletionTimestamp != nil:
		return nil
	case err != nil:
		w.Fatal(err)
	}
	return ns
}

// elsewhere is a unit whose objects go to a namespace of that name, which it makes.
func (w *live) elsewhere(name, namespace string, m Metadata, objects ...string) Unit {
	u := w.unit(name, artifact("git of "+name, "1", objects...))
	u.Namespace, u.MakesNamespace, u.Removal = namespace, &m, Removal{Deletes: true, Waits: true}
	w.Cleanup(func() {
		_, _ = w.env.Shell(w.T, "kubectl delete namespace --wait=false --ignore-not-found "+namespace)
	})
	return u
}

func (w *live) goes(u Unit) Outcome {
	w.Helper()
	u.Leaving = true
	w.engine.Put(u)
	return w.hears(u, isRemoved)
}

func TestANamespaceIsMadeAndGoesWithItsUnit(t *testing.T) {
	w := newLive(t)
	u := w.elsewhere("u", w.ns+"-made", Metadata{}, of("a", "1"))
	u.Permission, u.Operation = apply.LookOnly, &Operation{ID: "1"}
	w.engine.Put(u)
	out := w.says(u, "Ready 1, 1 Succeeded")
	if len(out.Inventory) != 1 {
		t.Errorf("the inventory is %v", out.Inventory)
	}
	ns := w.namespace(u.Namespace)
	if ns == nil || ns.Annotations[apply.MadeFor] != u.Name {
		t.Fatalf("it is %+v", ns)
	}
	kubetest.Eventually(t, time.Minute, func() error {
		if !w.engine.Rests(u.Name) {
			return errors.New("the unit does not rest")
		}
		return nil
	})
	w.goes(u)
	if w.namespace(u.Namespace) != nil {
		t.Error("it is still there")
	}
}

// A namespace that holds something else, that another unit needs, that is marked to
// be kept, or that was there before, stays.
func TestANamespaceThatStays(t *testing.T) {
	for name, c := range map[string]struct {
		do  func(*live, Unit)
		why string
	}{
		"it holds something else": {func(w *live, u Unit) {
			c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "by-hand", Namespace: u.Namespace}}
			if err := w.env.Client.Create(w.Context(), c); err != nil {
				w.Fatal(err)
			}
		}, "still holds ConfigMap/"},
		"another unit needs it": {func(w *live, u Unit) {
			v := w.unit("v", artifact("other", "1"))
			v.Namespace = u.Namespace
			w.engine.Put(v)
		}, "it is that of Toy/"},
		"it is marked to be kept": {func(w *live, u Unit) {
			patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"policy":"keep"}}}`))
			if err := w.env.Client.Patch(w.Context(), w.namespace(u.Namespace), patch); err != nil {
				w.Fatal(err)
			}
		}, "it is marked to be kept"},
		"it is made for another": {func(w *live, u Unit) {
			patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"`+apply.MadeFor+`":"another"}}}`))
			if err := w.env.Client.Patch(w.Context(), w.namespace(u.Namespace), patch); err != nil {
				w.Fatal(err)
			}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newLive(t)
			u := w.elsewhere("u", w.ns+"-made", Metadata{}, of("a", "1"))
			w.engine.Put(u)
			w.says(u, "Ready 1")
			c.do(w, u)
			out := w.goes(u)
			if why := fmt.Sprint(out.Left); !strings.Contains(why, c.why) || c.why == "" && len(out.Left) > 0 {
				t.Errorf("it says %s, want %s", why, c.why)
			}
			if w.namespace(u.Namespace) == nil {
				t.Error("it is gone")
			}
		})
	}
}

// What is wanted of a namespace is put back, and the rest of one that was there is
// left as it is.
func TestTheMetadataOfANamespace(t *testing.T) {
	w := newLive(t)
	u := w.elsewhere("u", w.ns+"-there", Metadata{Labels: map[string]string{"team": "ada"}, Annotations: map[string]string{"note": "x"}}, of("a", "1"))
	there := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: u.Namespace, Labels: map[string]string{"theirs": "stays"}}}
	if err := w.env.Client.Create(t.Context(), there); err != nil {
		t.Fatal(err)
	}
	has := func(label string) error {
		if ns := w.namespace(u.Namespace); ns == nil || ns.Labels["team"] != label || ns.Labels["theirs"] != "stays" || ns.Annotations["note"] != "x" || ns.Annotations[apply.MadeFor] != "" {
			return fmt.Errorf("it is %+v", ns)
		}
		return nil
	}
	w.engine.Put(u)
	w.says(u, "Ready 1")
	if err := has("ada"); err != nil {
		t.Fatal(err)
	}
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"team":"by-hand"}}}`))
	if err := w.env.Client.Patch(t.Context(), there, patch); err != nil {
		t.Fatal(err)
	}
	kubetest.Eventually(t, time.Minute, func() error { return has("ada") })
	w.goes(u)
	if w.namespace(u.Namespace) == nil {
		t.Error("one that was there before is gone")
	}
}

// Nothing is desired of a source that is empty, although a namespace is.
func TestAnEmptySourceWithANamespace(t *testing.T) {
	w := newLive(t)
	u := w.elsewhere("u", w.ns+"-made", Metadata{}, of("a", "1"))
	w.engine.Put(u)
	w.says(u, "Ready 1")
	w.publish(artifact("git of u", "2"))
	w.explains(u, "EmptyRender")
}
