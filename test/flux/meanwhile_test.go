package flux_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

// What somebody writes to a Kustomization between the moment at which a run
// has read it and the moment at which the run stores its result is not in what
// the run did, though it is in the object that the API server answers with.
func TestWhatIsAskedForDuringARunIsDoneAfterIt(t *testing.T) {
	env := kubetest.Private(t, "--api-only")
	var meanwhile atomic.Pointer[func()]
	w := pt.On(t, env.Through(t, func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodPatch || !strings.HasSuffix(r.URL.Path, "/status") {
			return next.RoundTrip(r)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		do := (*func())(nil)
		if bytes.Contains(body, []byte("Applied revision")) {
			do = meanwhile.Swap(nil)
		}
		if do == nil {
			return next.RoundTrip(r)
		}
		(*do)()
		resp, err := next.RoundTrip(r)
		time.Sleep(300 * time.Millisecond) // a slow answer: the watch is quicker
		return resp, err
	}))
	for _, c := range []struct {
		name, patch string
		then        func(t *testing.T, ns string)
	}{
		{
			"a request", `{"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "now"}}}`,
			func(t *testing.T, ns string) {
				w.Await(t, pt.Kustomization, ns, "app", pt.Has("status.lastHandledReconcileAt", "now"))
			},
		},
		{
			"another path", `{"spec": {"path": "./b"}}`,
			func(t *testing.T, ns string) {
				w.Await(t, configMap, ns, "b", nil)
				w.AwaitGone(t, configMap, ns, "a")
				w.AwaitReady(t, ns, "app", "")
			},
		},
		{
			"its deletion", "",
			func(t *testing.T, ns string) {
				w.AwaitGone(t, pt.Kustomization, ns, "app")
				w.AwaitGone(t, configMap, ns, "a")
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			ns := w.Namespace(t)
			r := w.Git.Repo(t, ns)
			r.Commit(t, map[string]string{"a/a.yaml": pt.ConfigMap("a"), "b/b.yaml": pt.ConfigMap("b")}, "first")
			w.Source(t, ns, "app", r)
			w.Unit(t, ns, "app", "app", "./a")
			w.AwaitReady(t, ns, "app", "")

			done := make(chan error, 1)
			do := func() {
				u := &unstructured.Unstructured{}
				u.SetAPIVersion("kustomize.toolkit.fluxcd.io/v1")
				u.SetKind("Kustomization")
				u.SetNamespace(ns)
				u.SetName("app")
				if c.patch == "" {
					done <- w.Client.Delete(t.Context(), u)
					return
				}
				done <- w.Client.Patch(t.Context(), u, client.RawPatch(types.MergePatchType, []byte(c.patch)))
			}
			meanwhile.Store(&do)
			// Nothing of this is the unit's, so no object's change wakes it again.
			w.Commit(t, r, map[string]string{"README.md": "more"})
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(pt.Patience):
				t.Fatal("no run stored its result")
			}
			c.then(t, ns)
		})
	}
}

// A run may begin before the watch has told of what the last one stored. What
// it concludes is compared with what is stored, and not with what the watch
// last told.
func TestAStatusIsRightWhenTheWatchIsSlow(t *testing.T) {
	var slow sync.RWMutex
	env := kubetest.Private(t, "--api-only").Through(t, func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		if err == nil && strings.HasSuffix(r.URL.Path, "/kustomizations") && r.URL.Query().Has("watch") {
			resp.Body = gate{resp.Body, &slow}
		}
		return resp, err
	})
	w := pt.On(t, env)
	ns := w.Namespace(t)
	r := w.Git.Repo(t, "app")
	first := r.Commit(t, map[string]string{"a/a.yaml": pt.ConfigMap("a")}, "first")
	w.Source(t, ns, "app", r)
	w.Unit(t, ns, "app", "app", "./a")
	w.AwaitReady(t, ns, "app", first)

	slow.Lock()
	open := sync.OnceFunc(slow.Unlock)
	defer open() // or what has failed would wait for ever
	second := w.Commit(t, r, map[string]string{"README.md": "more"})
	w.AwaitReady(t, ns, "app", second)
	runs := reconciles(t, w)
	r.ForcePush(t, "main", first)
	w.Poke(t, r)
	kubetest.Eventually(t, pt.Patience, func() error {
		if now := reconciles(t, w); now <= runs {
			return fmt.Errorf("the unit was not looked at again after %d runs", now)
		}
		return nil
	})
	open()
	w.AwaitReady(t, ns, "app", first)
}

// gate is a body of which nothing is read while a lock is held.
type gate struct {
	io.ReadCloser
	lock *sync.RWMutex
}

func (g gate) Read(b []byte) (int, error) {
	n, err := g.ReadCloser.Read(b)
	g.lock.RLock()
	defer g.lock.RUnlock()
	return n, err
}

// reconciles returns how often units were looked at so far.
func reconciles(t *testing.T, w *pt.World) int {
	t.Helper()
	text, _ := pt.Get(t, w.Plumb.Metric)
	m := regexp.MustCompile(`(?m)^workqueue_work_duration_seconds_count\{[^}]*name="units"[^}]*\} (\d+)$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatal("reconciles are not counted")
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
