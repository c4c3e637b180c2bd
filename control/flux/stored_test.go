package flux

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/control"
	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/source"
)

// A stored is a store of custom resources, as they are: of no Go type, valid or
// not. It notes what is written, and may refuse it.
type stored struct {
	client.WithWatch
	mu     sync.Mutex
	writes []string
	refuse func(what string) error // nil: nothing is
}

func newStored(t *testing.T, objects ...*unstructured.Unstructured) *stored {
	t.Helper()
	s := &stored{}
	b := fake.NewClientBuilder().WithScheme(runtime.NewScheme()).WithStatusSubresource(example(KustomizationKind), example(GitRepositoryKind))
	for _, o := range objects {
		b = b.WithObjects(o)
	}
	s.WithWatch = b.WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			err := c.Get(ctx, key, o, opts...)
			if u, ok := o.(*unstructured.Unstructured); ok && u.Object["status"] == nil {
				delete(u.Object, "status") // which only this client stores as null
			}
			return err
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if err := s.note("patch", o, p); err != nil {
				return err
			}
			return c.Patch(ctx, o, p, opts...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			if err := s.note("patch "+sub, o, p); err != nil {
				return err
			}
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		},
	}).Build()
	return s
}

func (s *stored) note(what string, o client.Object, p client.Patch) error {
	body, err := p.Data(o)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = append(s.writes, what+" "+string(body))
	if s.refuse != nil {
		return s.refuse(what)
	}
	return nil
}

// written returns what was written since it was asked for last.
func (s *stored) written() (w []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, s.writes = s.writes, nil
	return w
}

// now returns an object as it is stored.
func (s *stored) now(t *testing.T, like *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	u, err := get(t.Context(), s, like.GroupVersionKind(), client.ObjectKeyFromObject(like))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// told by a controller, since it was asked for last.
func heard(events record.EventRecorder) (all []string) {
	for {
		select {
		case e := <-events.(*record.FakeRecorder).Events:
			all = append(all, e)
		default:
			return all
		}
	}
}

// newKustomizations returns the controller of Kustomizations, with an engine
// that has not begun and whose cluster there is not.
func newKustomizations(t *testing.T, s *stored) *kustomizations {
	t.Helper()
	e, err := engine.New(t.Context(), engine.Options{
		Config: &rest.Config{Host: "https://127.0.0.1:1"}, Log: slog.New(slog.DiscardHandler), Workers: 1, Elsewhere: 1,
		Artifact: func(context.Context, string) (*source.Artifact, error) {
			return nil, &fault.Error{Next: fault.Wait, Reason: fault.ArtifactFailed, Err: errors.New("no artifact")}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &kustomizations{
		client: s, live: s, statuses: newStatuses(s, statusManager), engine: e, refs: lookup.New(t.Context(), nil, func(string) {}),
		events: record.NewFakeRecorder(1000), log: slog.New(slog.DiscardHandler), queue: &control.Queue{},
	}
}

// ks returns a Kustomization with that spec, status and annotations, in YAML.
func ks(t *testing.T, parts string) *unstructured.Unstructured {
	t.Helper()
	text, err := yaml.YAMLToJSON([]byte(parts))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(text, &u.Object); err != nil { // whole numbers as the API server's
		t.Fatal(err)
	}
	u.SetGroupVersionKind(KustomizationKind)
	if u.GetName() == "" {
		u.SetName("web")
	}
	u.SetNamespace("shop")
	if u.GetUID() == "" {
		u.SetUID("uid-1")
	}
	if u.GetGeneration() == 0 {
		u.SetGeneration(2)
	}
	return u
}

func read(t *testing.T, parts string) *kustomization {
	t.Helper()
	k, err := decodeKustomization(ks(t, parts))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// done is a record of changes of which that has become.
func done(did apply.Did, changes ...*apply.Change) *apply.Record {
	r := apply.Begin(&apply.Plan{Changes: changes})
	for _, x := range r.All() {
		x.Did = did
	}
	return r
}

func configMap(name string) object.Ref {
	return object.Ref{Kind: "ConfigMap", Namespace: "shop", Name: name}
}

// series are the values of the metrics of a Kustomization, by what they are of.
func series(t *testing.T, key types.NamespacedName) map[string]float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["namespace"] != key.Namespace || labels["name"] != "" && labels["name"] != key.Name {
				continue
			}
			name := strings.TrimSuffix(f.GetName()+" "+labels["reason"], " ")
			switch {
			case m.GetHistogram() != nil:
				all[name] = float64(m.GetHistogram().GetSampleCount())
			case m.GetCounter() != nil:
				all[name] = m.GetCounter().GetValue()
			default:
				all[name] = m.GetGauge().GetValue()
			}
		}
	}
	return all
}

// A catcher is told of outcomes.
type catcher chan engine.Outcome

func (c catcher) Store(context.Context, engine.Unit, []apply.Entry) error { return nil }

func (c catcher) Report(_ context.Context, _ engine.Unit, out engine.Outcome) error {
	c <- out
	return nil
}

// refused is the outcome of a unit that can't be held true as it is asked for.
func refused(t *testing.T, err error) engine.Outcome {
	t.Helper()
	r := newKustomizations(t, newStored(t))
	c := make(catcher, 10)
	r.engine.Put(engine.Unit{
		Name: "Kustomization/shop/web", Digest: "1", Dialect: c, Objects: objects{}, Managers: owned.Managers{Self: applyManager}, Refused: err,
	})
	r.engine.Start(t.Context())
	select {
	case out := <-c:
		return out
	case <-time.After(time.Minute):
		t.Fatal("nothing is told of it")
		return engine.Outcome{}
	}
}
