package drift_test

import (
	"context"
	"fmt"
	"io"
	"net"
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
	pt "plumb.dev/plumb/internal/plumbtest"
)

// A line is plumb's way to the API server, which a test can cut.
type line struct {
	to   string
	mu   sync.Mutex
	down bool
	open []net.Conn
}

// newLine returns a line, and the control plane as it is at its end.
func newLine(t *testing.T, env *kubetest.Env) (*line, *kubetest.Env) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, to, _ := strings.Cut(env.Config.Host, "://")
	ln := &line{to: to}
	t.Cleanup(func() { l.Close(); ln.cut() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go ln.carry(in)
		}
	}()
	b, err := os.ReadFile(env.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	at := *env
	at.Kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(at.Kubeconfig, []byte(strings.ReplaceAll(string(b), to, l.Addr().String())), 0o600); err != nil {
		t.Fatal(err)
	}
	return ln, &at
}

func (l *line) carry(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	defer out.Close()
	l.mu.Lock()
	if l.down {
		l.mu.Unlock()
		return
	}
	l.open = append(l.open, in, out)
	l.mu.Unlock()
	go func() { _, _ = io.Copy(out, in); out.Close() }()
	_, _ = io.Copy(in, out)
}

// cut ends what is on the line, and lets nothing through any more.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for _, c := range l.open {
		c.Close()
	}
	l.open = nil
}

func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

// What is changed while plumb can't see it is found once it can, without a
// restart and without anybody asking.
func TestDriftMadeWhileTheWatchIsDownIsFound(t *testing.T) {
	env := kubetest.Private(t, "--audit", "--api-only")
	ln, cuttable := newLine(t, env)
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
	// lists counts what plumb has listed of ConfigMaps: a watch that goes on
	// where it was lists nothing.
	lists := func(since time.Time) (n int) {
		for _, q := range w.Requests(t, since) {
			if q.Resource == "configmaps" && (q.Verb == "list" || strings.Contains(q.URI, "sendInitialEvents=true")) {
				n++
			}
		}
		return n
	}
	answers := func() error { return w.Ready(t.Context()) }

	t.Run("a cut connection", func(t *testing.T) {
		since := time.Now()
		ln.cut()
		change()
		ln.mend()
		back()
		if n := lists(since); n != 0 {
			t.Errorf("it listed %d times, although the server knew what it had missed", n)
		}
	})
	t.Run("410 Gone, from a server that has forgotten what was missed", func(t *testing.T) {
		since := time.Now()
		ln.cut()
		change()
		w.Kill(t, "kube-apiserver") // and with it all that it had in memory
		kubetest.Eventually(t, 2*pt.Patience, answers)
		ln.mend()
		back()
		if lists(since) == 0 {
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
