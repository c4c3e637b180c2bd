package argocd

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"plumb.dev/plumb/control"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/stores"
)

// A world is the controller of Applications, with an engine that has not begun
// and whose cluster there is not, and a store of custom resources that notes what
// is written.
type world struct {
	*applications
	client.WithWatch
	mu     sync.Mutex
	writes []string
	before func() // a write; nil: nothing
}

func newWorld(t *testing.T, objects ...*unstructured.Unstructured) *world {
	t.Helper()
	w := &world{}
	b := fake.NewClientBuilder().WithScheme(runtime.NewScheme())
	for _, o := range objects {
		b = b.WithObjects(o)
	}
	w.WithWatch = b.WithInterceptorFuncs(interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			body, err := p.Data(o)
			if err != nil {
				return err
			}
			w.mu.Lock()
			w.writes = append(w.writes, string(body))
			before := w.before
			w.before = nil
			w.mu.Unlock()
			if before != nil {
				before()
			}
			return c.Patch(ctx, o, p, opts...)
		},
	}).Build()
	e, err := engine.New(t.Context(), engine.Options{
		Config: &rest.Config{Host: "https://127.0.0.1:1"}, Log: slog.New(slog.DiscardHandler), Workers: 1, Elsewhere: 1,
		Artifact: func(context.Context, string) (*source.Artifact, error) {
			return nil, &fault.Error{Next: fault.Wait, Reason: fault.ArtifactFailed, Err: errors.New("no artifact")}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	store, err := stores.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	keeper := source.NewKeeper(t.Context(), source.Options{Stores: store.All()})
	w.applications = &applications{
		o: &Options{Namespace: "argocd", OwnNamespace: "plumb-system"}, client: w.WithWatch, live: w.WithWatch, engine: e, sources: newShared(keeper, store),
		events: record.NewFakeRecorder(1000), log: slog.New(slog.DiscardHandler), queue: &control.Queue{},
		around: &surroundings{namespace: "argocd", log: slog.New(slog.DiscardHandler), ready: make(chan struct{})},
	}
	w.surround(plain)
	return w
}

// plain is what surrounds Applications where nobody has said anything.
var plain = readAround(surrounding{namespace: "argocd", projects: noProject})

// surround has something else surround Applications.
func (w *world) surround(in *around) { w.around.is.Store(in) }

// written returns what was written since it was asked for last.
func (w *world) written() (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all, w.writes = w.writes, nil
	return all
}

// now returns the Application web as it is stored.
func (w *world) now(t *testing.T) *application {
	t.Helper()
	u := example()
	if err := w.WithWatch.Get(t.Context(), client.ObjectKey{Namespace: "argocd", Name: "web"}, u); err != nil {
		t.Fatal(err)
	}
	return read(u)
}

func (w *world) reconcile(t *testing.T) {
	t.Helper()
	if _, err := w.Reconcile(t.Context(), reconcileWeb); err != nil {
		t.Fatal(err)
	}
}

func (*world) eventually(t *testing.T, why func() string) {
	t.Helper()
	kubetest.Eventually(t, 20*time.Second, func() error {
		if text := why(); text != "" {
			return errors.New(text)
		}
		return nil
	})
}
