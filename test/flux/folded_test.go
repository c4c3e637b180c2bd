package flux_test

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

// While commits keep coming, a unit that they do not touch says only now and
// then at which revision it is. Who asks knows at once.
func TestUnitsThatCommitsDoNotTouchAreToldTogether(t *testing.T) {
	w := pt.New(t)
	ns := w.Namespace(t)
	r := w.Git.Repo(t, ns)
	first := r.Commit(t, map[string]string{"a/a.yaml": pt.ConfigMap("a", "k", "0"), "b/b.yaml": pt.ConfigMap("b", "k", "0")}, "start")
	w.Source(t, ns, "src", r)
	w.Unit(t, ns, "a", "src", "./a", "interval: 1h")
	w.Unit(t, ns, "b", "src", "./b", "interval: 1h")
	w.AwaitReady(t, ns, "a", first)
	w.AwaitReady(t, ns, "b", first)
	began := time.Now()

	var said []string // what the untouched one says, each time that its status is written
	look := func() {
		u, err := w.Object(t.Context(), pt.Kustomization, ns, "b")
		if err != nil {
			t.Fatal(err)
		}
		at, _, _ := unstructured.NestedString(u.Object, "status", "lastAppliedRevision")
		if len(said) == 0 || said[len(said)-1] != at {
			said = append(said, at)
		}
	}
	const commits = 8
	var last string
	for i := range commits {
		last = w.Commit(t, r, map[string]string{"a/a.yaml": pt.ConfigMap("a", "k", fmt.Sprint(i+1))})
		w.AwaitReady(t, ns, "a", last)
		look()
	}
	took := time.Since(began)
	if most := 2 + int(took/(30*time.Second)); len(said) > most {
		t.Errorf("in %s it said %v", took, said)
	}
	get := func() error {
		out, err := exec.CommandContext(t.Context(), pt.Binary(t), "--kubeconfig", w.Kubeconfig, "-n", ns, "get", "-o", "wide").CombinedOutput()
		if err == nil && strings.Count(string(out), "sha1:"+last) < 2*2 {
			err = errors.New("it is behind")
		}
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	}
	kubetest.Eventually(t, 5*time.Second, get)
	if took < 25*time.Second {
		if look(); strings.HasSuffix(said[len(said)-1], last) {
			t.Errorf("after %s its status is not behind, so that this has shown nothing", took)
		}
	}

	ask := []byte(`{"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "now"}}}`)
	u, err := w.Object(t.Context(), pt.Kustomization, ns, "b")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Client.Patch(t.Context(), u, client.RawPatch(types.MergePatchType, ask)); err != nil {
		t.Fatal(err)
	}
	kubetest.Eventually(t, pt.Patience, func() error {
		s, _, err := w.StatusOf(t.Context(), pt.Kustomization, ns, "b")
		if err == nil && (s.LastHandledReconcileAt != "now" || !strings.HasSuffix(s.LastAppliedRevision, last)) {
			err = fmt.Errorf("it says %s, handled %q", s.LastAppliedRevision, s.LastHandledReconcileAt)
		}
		return err
	})

	// Nobody asks: half a minute later it says so by itself.
	last = w.Commit(t, r, map[string]string{"a/a.yaml": pt.ConfigMap("a", "k", "last")})
	w.AwaitReady(t, ns, "b", last)
}
