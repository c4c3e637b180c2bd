package rows_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

const secret = "v1/Secret"

// The values of the Secret that is fought over, as its data has them. None may
// be shown.
const (
	gitValue   = "aW4tZ2l0"
	rivalValue = "cml2YWw="
	otherValue = "b3RoZXI="
)

// A fight over one field, while others of its object drift too.
func fieldFight(t *testing.T, w *pt.World) {
	// The longest pause, and as long again for the field to stand. Both are
	// some seconds in a fight as short as this one.
	const patience = 2*time.Minute + pt.Patience
	ns := w.Namespace(t)
	unit(t, w, ns, "u", map[string]string{"app/a.yaml": fmt.Sprintf(
		"{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {x: %[1]s, y: %[1]s, z: %[1]s}}", gitValue)})

	// The rival sets x whenever it is not as it wants it.
	rounds := 0
	rival := func() error {
		u, err := w.Object(t.Context(), secret, ns, "a")
		if err == nil && pt.Has("data.x", rivalValue)(u) != nil {
			rounds++
			err = set(t, w, ns, "rival", "x", rivalValue)
		}
		return err
	}
	fighting := func() (pt.Status, error) {
		s, _, err := w.StatusOf(t.Context(), pt.Kustomization, ns, "u")
		if c := s.Condition("Ready"); err == nil && (c.Status != "False" || c.Reason != "FieldConflict") {
			err = fmt.Errorf("it is not said to be fought over: %+v", c)
		}
		return s, err
	}
	var s pt.Status
	kubetest.Eventually(t, pt.Patience, func() (err error) {
		if err := rival(); err != nil {
			return err
		}
		s, err = fighting()
		return err
	})
	since := s.Condition("Ready").LastTransitionTime
	isNamed(t, s.Condition("Ready").Message, ns)

	// While x is left to the rival, y is put back: in the same object, y is
	// as in Git and x is not.
	for _, other := range []string{"other", "kubectl-patch"} {
		kubetest.Eventually(t, pt.Patience, func() error {
			if err := errors.Join(rival(), set(t, w, ns, other, "y", otherValue)); err != nil {
				return err
			}
			u := w.Await(t, secret, ns, "a", pt.Has("data.y", gitValue))
			if err := pt.Has("data.x", rivalValue)(u); err != nil {
				return fmt.Errorf("y came back with x: %w", err)
			}
			_, err := fighting()
			return err
		})
	}

	// And so on for another round, in which nothing is said anew.
	until := rounds + 1
	kubetest.Eventually(t, patience, func() error {
		if err := rival(); err != nil {
			return err
		}
		var err error
		if s, err = fighting(); err != nil {
			t.Fatal(err)
		}
		if rounds < until {
			return fmt.Errorf("round %d of %d", rounds, until)
		}
		return nil
	})
	if c := s.Condition("Ready"); !c.LastTransitionTime.Equal(&since) {
		t.Errorf("it was ready meanwhile: since %s, before %s", c.LastTransitionTime, since)
	}
	events := &corev1.EventList{}
	if err := w.Client.List(t.Context(), events, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	told := false
	for _, e := range events.Items {
		hidden(t, e.Message)
		if e.Reason == "FieldConflict" && e.InvolvedObject.Name == "u" {
			told = true
			isNamed(t, e.Message, ns)
		}
	}
	if !told {
		t.Error("there is no event of the fight")
	}

	// The rival stops. No interval is near: plumb wakes by itself.
	kubetest.Eventually(t, patience, func() error {
		s, _, err := w.StatusOf(t.Context(), pt.Kustomization, ns, "u")
		if c := s.Condition("Ready"); err == nil && c.Status != "True" {
			if c.Reason != "FieldConflict" {
				t.Fatalf("a fight that is over is neither that nor ready: %+v", c)
			}
			err = fmt.Errorf("not ready: %+v", c)
		}
		return err
	})
	u := w.Await(t, secret, ns, "a", pt.Has("data.x", gitValue))
	for _, e := range u.GetManagedFields() {
		if e.Manager != "kustomize-controller" && strings.Contains(string(e.FieldsV1.GetRawBytes()), "f:data") {
			t.Errorf("%s still owns data: %s", e.Manager, e.FieldsV1.GetRawBytes())
		}
	}
	// What happens now is a new incident, put right at once.
	if err := set(t, w, ns, "rival", "x", rivalValue); err != nil {
		t.Fatal(err)
	}
	w.Await(t, secret, ns, "a", pt.Has("data.x", gitValue))
	w.AwaitReady(t, ns, "u", "")
}

// set sets one value of the Secret, as somebody.
func set(t *testing.T, w *pt.World, ns, manager, key, value string) error {
	t.Helper()
	u, err := w.Object(t.Context(), secret, ns, "a")
	if err != nil {
		return err
	}
	patch := fmt.Sprintf(`{"data":{%q:%q}}`, key, value)
	return w.Client.Patch(t.Context(), u, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner(manager))
}

func isNamed(t *testing.T, message, ns string) {
	t.Helper()
	contains(t, message, "Secret/"+ns+"/a", "data.x", "rival")
	hidden(t, message)
}

func hidden(t *testing.T, message string) {
	t.Helper()
	for _, v := range []string{gitValue, rivalValue, otherValue} {
		if strings.Contains(message, v) {
			t.Errorf("a value is shown: %s", message)
		}
	}
}
