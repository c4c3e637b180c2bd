package drift_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/internal/line"
	pt "plumb.dev/plumb/internal/plumbtest"
)

// throughLine returns a line to a control plane, and that as it is at its end.
func throughLine(t *testing.T, env *kubetest.Env) (*line.Line, *kubetest.Env) {
	t.Helper()
	_, to, _ := strings.Cut(env.Config.Host, "://")
	ln, err := line.New(to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	b, err := os.ReadFile(env.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	at := *env
	at.Kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(at.Kubeconfig, []byte(strings.ReplaceAll(string(b), to, ln.Addr())), 0o600); err != nil {
		t.Fatal(err)
	}
	return ln, &at
}

// What is changed while plumb can't see it is found once it can, without a
// restart and without anybody asking.
func TestDriftMadeWhileTheWatchIsDownIsFound(t *testing.T) {
	env := kubetest.Private(t, "--audit", "--api-only")
	ln, cuttable := throughLine(t, env)
	w := pt.On(t, cuttable)
	w.Kubeconfig = env.Kubeconfig // of this test's own kubectl
	ns := w.Namespace(t)
	r := w.Git.Repo(t, "watch")
	r.Commit(t, map[string]string{
		"app/a.yaml": pt.ConfigMap("a", "k", "git"), "app/b.yaml": pt.ConfigMap("b"), "app/c.yaml": pt.ConfigMap("c", "k", "git"),
	}, "start")
	w.Source(t, ns, "u", r)
	w.Unit(t, ns, "u", "u", "./app")
	w.AwaitReady(t, ns, "u", "")

	drift := func(ctx context.Context) error {
		for _, name := range []string{"a", "b", "c"} {
			u, err := w.Object(ctx, "v1/ConfigMap", ns, name)
			if err != nil {
				return err
			}
			switch name {
			case "a":
				err = w.Client.Patch(ctx, u, client.RawPatch("application/merge-patch+json", []byte(`{"data":{"k":"drift"}}`)), client.FieldOwner("rival"))
			case "b":
				err = w.Client.Delete(ctx, u)
			case "c": // gone, and another one in its place
				if err = w.Client.Delete(ctx, u); err == nil {
					other := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"k": "theirs"}}}
					other.SetName("c")
					other.SetNamespace(ns)
					err = client.IgnoreAlreadyExists(w.Client.Create(ctx, other, client.FieldOwner("rival")))
				}
			}
			if err != nil {
				return fmt.Errorf("change %s: %w", name, err)
			}
		}
		return nil
	}
	change := func() {
		t.Helper()
		if err := drift(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	back := func() {
		t.Helper()
		for _, name := range []string{"a", "c"} {
			w.Await(t, "v1/ConfigMap", ns, name, pt.Has("data.k", "git"))
		}
		w.Await(t, "v1/ConfigMap", ns, "b", nil)
	}
	// lists is what plumb has listed of ConfigMaps, but for those that hold
	// settings: a watch that goes on where it was lists nothing.
	lists := func(since time.Time) (all []string) {
		for _, q := range w.Requests(t, since) {
			if q.Resource == "configmaps" && !strings.Contains(q.URI, "/namespaces/argocd/") && (q.Verb == "list" || strings.Contains(q.URI, "sendInitialEvents=true")) {
				all = append(all, q.URI)
			}
		}
		return all
	}
	answers := func() error { return w.Ready(t.Context()) }

	t.Run("a cut connection", func(t *testing.T) {
		since := time.Now()
		ln.Cut()
		change()
		ln.Mend()
		back()
		if all := lists(since); len(all) > 0 {
			t.Errorf("it listed %q, although the server knew what it had missed", all)
		}
	})
	t.Run("410 Gone, from a server that has forgotten what was missed", func(t *testing.T) {
		since := time.Now()
		ln.Cut()
		change()
		w.Kill(t, "kube-apiserver") // and with it all that it had in memory
		kubetest.Eventually(t, 2*pt.Patience, answers)
		ln.Mend()
		back()
		if len(lists(since)) == 0 {
			t.Error("it did not list, so the server was not asked for what it no longer had")
		}
	})
	t.Run("an etcd that stands still", func(t *testing.T) {
		stopped, cancel := context.WithCancel(t.Context())
		defer cancel()
		w.Signal(t, "etcd", syscall.SIGSTOP)
		resume := sync.OnceFunc(func() { w.Signal(t, "etcd", syscall.SIGCONT) })
		defer resume()
		done := make(chan error, 1)
		go func() { done <- drift(stopped) }() // its writes wait with etcd
		kubetest.Eventually(t, pt.Patience, func() error {
			if answers() == nil {
				return fmt.Errorf("the server is still ready")
			}
			return nil
		})
		resume()
		kubetest.Eventually(t, 2*pt.Patience, answers)
		if err := <-done; err != nil {
			change() // the server gave up waiting
		}
		back()
	})
}
