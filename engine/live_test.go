package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/source"
)

// A live is an engine at work on a real API server, with sources at hand, and
// what it has said last of each unit.
type live struct {
	*testing.T
	env    *kubetest.Env
	config *rest.Config // of the engine
	ns     string
	engine *Engine
	end    func()

	mu      sync.Mutex
	at      map[string]*source.Artifact
	heard   map[string]Outcome
	reports map[string]int
	deaf    bool // nothing can be told
	stored  map[string][]apply.Entry
}

func newLive(t *testing.T) *live {
	t.Helper()
	env := kubetest.Start(t)
	return newLiveOn(t, env, env.Config)
}

// newLiveOn is newLive with a way to the API server of the engine's own.
func newLiveOn(t *testing.T, env *kubetest.Env, config *rest.Config) *live {
	t.Helper()
	w := &live{
		T: t, env: env, config: config, at: map[string]*source.Artifact{}, heard: map[string]Outcome{}, reports: map[string]int{},
		stored: map[string][]apply.Entry{},
	}
	w.ns = w.env.Namespace(t)
	w.begin()
	return w
}

// begin starts an engine, as a process does, and ends the one before.
func (w *live) begin() {
	w.Helper()
	if w.end != nil {
		w.end()
	}
	ctx, cancel := context.WithCancel(w.Context())
	w.end = cancel
	w.Cleanup(cancel)
	var err error
	w.engine, err = New(ctx, Options{Config: w.config, Log: discard(), RenderMemory: 1 << 20, Workers: 2, Elsewhere: 1, Artifact: w.artifact})
	if err != nil {
		w.Fatal(err)
	}
	w.engine.Start(ctx)
}

func (w *live) artifact(_ context.Context, name string) (*source.Artifact, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a := w.at[name]; a != nil {
		return a, nil
	}
	return nil, &fault.Error{Next: fault.Wait, Reason: fault.ArtifactFailed, Err: fmt.Errorf("there is no %s", name)}
}

// publish makes an artifact the newest of its source.
func (w *live) publish(a *source.Artifact) {
	w.mu.Lock()
	before := w.at[a.Source]
	w.at[a.Source] = a
	w.mu.Unlock()
	w.engine.Published(a.Source, before, a)
}

// Store implements [Dialect].
func (w *live) Store(_ context.Context, u Unit, entries []apply.Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stored[u.Name] = entries
	return nil
}

// Report implements [Dialect].
func (w *live) Report(_ context.Context, u Unit, out Outcome) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.deaf {
		w.reports[u.Name]++
		return errors.New("it can't be stored")
	}
	if !out.Interim && !out.Rested {
		w.heard[u.Name] = out
		w.reports[u.Name]++
	}
	return nil
}

// unit is one of some sources, which are published.
func (w *live) unit(name string, artifacts ...*source.Artifact) Unit {
	u := madeOf(artifacts...)
	for _, a := range artifacts {
		w.publish(a)
	}
	u.Name, u.Namespace, u.Artifacts = "Toy/"+w.ns+"/"+name, w.ns, nil
	u.Dialect, u.Digest, u.Interval, u.RetryInterval = w, "1", time.Hour, time.Minute
	u.Managers = owned.Managers{Self: "live", Undo: []string{"kubectl"}}
	u.Prune = Prune{Enabled: true}
	return u
}

// hears waits until what is said of a unit is as it should be.
func (w *live) hears(u Unit, wrong func(Outcome) error) (out Outcome) {
	w.Helper()
	kubetest.Eventually(w.T, time.Minute, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		out = w.heard[u.Name]
		return wrong(out)
	})
	return out
}

// says waits until something is said of a unit: its state, what it is made of,
// how far its operation is.
func (w *live) says(u Unit, want string) Outcome {
	w.Helper()
	return w.hears(u, func(out Outcome) error {
		got := out.State.String() + " " + out.Revision
		if op := out.Operation; op.ID != "" {
			got += fmt.Sprintf(", %s %s", op.ID, op.Stage)
		}
		if got != want {
			return fmt.Errorf("%s is %s: %s %s; want %s", u.Name, got, out.Reason, out.Message, want)
		}
		return nil
	})
}

func isRemoved(out Outcome) error {
	if out.State != Removed {
		return fmt.Errorf("%s: %w", out.State, errors.Join(out.Err))
	}
	return nil
}

func (w *live) holds(want ...string) {
	w.Helper()
	if got := w.env.ConfigMaps(w, w.ns); !slices.Equal(got, want) {
		w.Errorf("there are %v, want %v", got, want)
	}
}

// comesToHold waits until that is so.
func (w *live) comesToHold(want ...string) {
	w.Helper()
	kubetest.Eventually(w.T, time.Minute, func() error {
		if got := w.env.ConfigMaps(w, w.ns); !slices.Equal(got, want) {
			return fmt.Errorf("there are %v, want %v", got, want)
		}
		return nil
	})
}

func (w *live) edit(name, value string) {
	w.Helper()
	w.env.EditConfigMap(w, w.ns, name, value)
}

func of(name, value string) string { return manifest("ConfigMap", "", name, value) }

// An answerer passes on the first answer to a request.
type answerer struct {
	Dialect
	first chan Outcome
}

func (a answerer) Report(ctx context.Context, u Unit, out Outcome) error {
	if out.Handled != "" {
		select {
		case a.first <- out:
		default:
		}
	}
	return a.Dialect.Report(ctx, u, out)
}

// Whoever asks as a unit comes is not answered before its objects are known.
func TestARequestIsAnsweredOnceObjectsAreKnown(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "1")))
	a := answerer{u.Dialect, make(chan Outcome, 1)}
	u.Dialect, u.Requested = a, "1"
	w.engine.Put(u)
	select {
	case out := <-a.first:
		if out.Plan == nil || out.Err != nil {
			t.Errorf("it is answered when %s: %v", out.State, out.Err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it is not answered")
	}
}

// Whoever asks for a look wants it found out how the objects are, and where
// nothing may be written no trial says so.
func TestWhatIsAsDesiredIsSoForWhoAsks(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "1"), of("b", "1")))
	w.engine.Put(u)
	w.says(u, "Ready 1")
	u.Permission, u.Digest = apply.LookOnly, "2"
	for _, request := range []string{"", "1", "2"} {
		u.Requested = request
		w.engine.Put(u)
		w.hears(u, func(out Outcome) error {
			if out.Handled != request || out.State != Ready {
				return fmt.Errorf("%q: %q is handled, and it is %s: %s", request, out.Handled, out.State, out.Message)
			}
			return nil
		})
	}
	w.edit("b", "by hand")
	w.says(u, "OutOfSync 1")
	u.Requested = "3"
	w.engine.Put(u)
	out := w.hears(u, func(out Outcome) error {
		if out.Handled != "3" {
			return fmt.Errorf("%q is handled", out.Handled)
		}
		return nil
	})
	if held := out.Held(); out.State != OutOfSync || len(held) != 1 || held[0].Ref.Name != "b" {
		t.Errorf("%s: %v", out.State, held)
	}
}

func TestAUnitDoesNoMoreThanItPermits(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "1"), of("b", "1")))
	u.Permission = apply.LookOnly
	w.engine.Put(u)
	out := w.says(u, "OutOfSync 1")
	if out.Reason != fault.NotPermitted || !strings.Contains(out.Message, "ConfigMap/"+w.ns+"/a, ConfigMap/"+w.ns+"/b") {
		t.Errorf("%s: %s", out.Reason, out.Message)
	}
	w.holds()
	if len(w.stored) > 0 || len(out.Inventory) > 0 {
		t.Errorf("what was never written is in the inventory: %v, %v", w.stored, out.Inventory)
	}

	u.Permission = apply.CorrectDrift
	w.engine.Put(u)
	w.publish(artifact("git", "2", of("a", "2"), of("b", "1")))
	w.says(u, "OutOfSync 2")
	w.holds()

	u.Permission = apply.Everything
	w.engine.Put(u)
	w.says(u, "Ready 2")
	w.holds("a=2", "b=1")

	u.Permission = apply.CorrectDrift
	w.engine.Put(u)
	w.edit("a", "by hand")
	w.comesToHold("a=2", "b=1")
	w.publish(artifact("git", "3", of("a", "3")))
	w.says(u, "OutOfSync 3")
	w.holds("a=2", "b=1")

	u.Permission = apply.LookOnly
	w.engine.Put(u)
	w.edit("b", "by hand")
	w.hears(u, func(out Outcome) error {
		if !strings.Contains(out.Message, "/b") {
			return errors.New(out.Message)
		}
		return nil
	})
	w.holds("a=2", "b=by hand")
}

// What leaves one source of a unit and is in another stays, and keeps its UID.
func TestAnObjectThatMovesBetweenTheSourcesOfAUnitStays(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("one", "1", of("a", "one"), of("b", "one"), of("c", "one")), artifact("two", "1", of("d", "two")))
	w.engine.Put(u)
	w.says(u, "Ready 1 1")
	w.holds("a=one", "b=one", "c=one", "d=two")
	uid := func() string {
		c := &corev1.ConfigMap{}
		if err := w.env.Client.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "b"}, c); err != nil {
			t.Fatal(err)
		}
		return string(c.UID)
	}
	before := uid()
	w.publish(artifact("two", "2", of("b", "two"), of("d", "two")))
	if out := w.says(u, "Ready 1 2"); len(out.Repeated) != 1 || out.Repeated[0].Name != "b" {
		t.Errorf("repeated are %v", out.Repeated)
	}
	w.holds("a=one", "b=two", "c=one", "d=two")
	w.publish(artifact("one", "2", of("a", "one"), of("c", "one")))
	if out := w.says(u, "Ready 2 2"); len(out.Repeated) != 0 {
		t.Errorf("repeated are %v", out.Repeated)
	}
	w.holds("a=one", "b=two", "c=one", "d=two")
	if uid() != before {
		t.Error("it is another object now")
	}
	w.publish(artifact("two", "3", of("d", "two")))
	w.says(u, "Ready 2 3")
	w.holds("a=one", "c=one", "d=two")
}

// One source that is missing holds the unit to what it has applied.
func TestWithoutOneOfItsSourcesAUnitIsHeld(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("one", "1", of("a", "one")), artifact("two", "1", of("b", "two")))
	w.engine.Put(u)
	w.says(u, "Ready 1 1")
	w.mu.Lock()
	gone := w.at["two"]
	delete(w.at, "two")
	w.mu.Unlock()
	w.engine.Published("two", gone, nil)
	if out := w.says(u, "Waiting "); !strings.Contains(out.Message, "there is no two") {
		t.Errorf("%s", out.Message)
	}
	w.edit("b", "by hand")
	w.comesToHold("a=one", "b=two")
}

func TestAnOperationBringsAUnitToAnotherRevision(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "1"), of("gone", "1")))
	u.Permission, u.Prune.Enabled, u.Prune.Approved = apply.LookOnly, false, "2"
	u.Operation = &Operation{ID: "first"}
	w.engine.Put(u)
	w.says(u, "Ready 1, first Succeeded")
	w.publish(artifact("git", "2", of("a", "2")))
	w.says(u, "OutOfSync 2, first Succeeded")
	w.holds("a=1", "gone=1")

	yes := true
	u.Operation = &Operation{ID: "second", Prune: &yes}
	w.engine.Put(u)
	w.says(u, "Ready 2, second Succeeded")
	w.holds("a=2")

	w.publish(artifact("git at 1", "1", of("a", "1"), of("gone", "1")))
	u.Operation = &Operation{ID: "back", Sources: []string{"git at 1"}}
	w.engine.Put(u)
	w.says(u, "OutOfSync 2, back Succeeded")
	w.holds("a=1", "gone=1")
}

// A kind that is not there fails an operation before it writes anything. Where it
// may come later that is no failure, and what the operation did when it ends is
// kept.
func TestAnOperationThatWaitsForAKindCanBeTerminated(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "1"), strings.Replace(manifest("Strange", "", "s", "1"), "v1", "strange.example.com/v1", 1)))
	u.Permission = apply.LookOnly
	u.Operation = &Operation{ID: "vain"}
	w.engine.Put(u)
	w.says(u, "Waiting 1, vain GaveUp")
	w.holds()
	u.Operation = &Operation{ID: "1", Late: true}
	w.engine.Put(u)
	w.says(u, "Waiting 1, 1 Running")
	w.holds("a=1")
	u.Operation = &Operation{ID: "1", Late: true, Terminate: true}
	w.engine.Put(u)
	w.hears(u, func(out Outcome) error {
		if out.Operation.Stage != Terminated {
			return fmt.Errorf("%+v", out.Operation)
		}
		return nil
	})
}

// A unit may depend on one of another dialect.
func TestAUnitWaitsForOneOfAnotherDialect(t *testing.T) {
	w := newLive(t)
	first := w.unit("first", artifact("git", "1", of("a", "1")))
	first.Permission = apply.LookOnly
	second := w.unit("second", artifact("other", "1", of("b", "1")))
	second.Name, second.Objects = "Other/"+w.ns+"/second", other{}
	second.DependsOn = []Dependency{{Unit: first.Name, As: "first"}}
	w.engine.Put(first)
	w.engine.Put(second)
	w.says(first, "OutOfSync 1")
	out := w.says(second, "Waiting 1")
	if out.Reason != fault.DependencyNotReady || !strings.Contains(out.Message, "NotPermitted") {
		t.Errorf("%s: %s", out.Reason, out.Message)
	}
	w.holds()
	first.Permission = apply.Everything
	w.engine.Put(first)
	w.says(second, "Ready 1")
	w.holds("a=1", "b=1")
}

// After a start nothing is written anew, and nothing is told twice but once.
func TestARestartWritesNothing(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "1"), of("b", "1")))
	w.engine.Put(u)
	out := w.says(u, "Ready 1")
	versions := w.versions()
	u.Remembers, u.Applied, u.AppliedDigest = out.Inventory, out.Revision, out.Digest
	u.Was = Standing{Digest: u.Digest, Ready: "True", Attempted: "1"}
	delete(w.heard, u.Name)
	w.begin()
	w.engine.Put(u)
	w.says(u, "Ready 1")
	if after := w.versions(); !slices.Equal(versions, after) {
		t.Errorf("they were %v and are %v", versions, after)
	}
	w.publish(artifact("git", "2", of("a", "1")))
	w.says(u, "Ready 2")
	w.holds("a=1")
}

func (w *live) versions() (all []string) {
	list := &corev1.ConfigMapList{}
	if err := w.env.Client.List(w.Context(), list, client.InNamespace(w.ns)); err != nil {
		w.Fatal(err)
	}
	for _, c := range list.Items {
		all = append(all, c.Name+" "+c.ResourceVersion)
	}
	return all
}

// What a unit that goes has applied is deleted, or left, as it says.
func TestAUnitThatGoes(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "1")))
	w.engine.Put(u)
	w.says(u, "Ready 1")
	u.Leaving = true
	w.engine.Put(u)
	w.says(u, "Removed ")
	w.holds("a=1")

	v := w.unit("v", artifact("other", "1", of("b", "1")))
	w.engine.Put(v)
	w.says(v, "Ready 1")
	finalizers := func(list string) {
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":`+list+`}}`))
		if err := w.env.Client.Patch(t.Context(), w.object("b"), patch); err != nil {
			t.Fatal(err)
		}
	}
	finalizers(`["example.com/stays"]`)
	v.Leaving, v.Removal = true, Removal{Deletes: true, Waits: true}
	w.engine.Put(v)
	w.explains(v, "Removing", "ConfigMap/"+w.ns+"/b is not gone yet")
	finalizers(`[]`)
	kubetest.Eventually(t, time.Minute, func() error {
		c := &corev1.ConfigMap{}
		if err := w.env.Client.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "b"}, c); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is still there: %w", err)
		}
		return nil
	})
	w.hears(v, isRemoved)
	w.holds("a=1")
}
