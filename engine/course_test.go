package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/directory"
	"plumb.dev/plumb/watch/health"
)

// turnOf reads when the turn of an object comes: wave: "1", and of a hook
// hook: "before after", delete: "done failed replace".
func turnOf(annotations map[string]string) (wave int32, h *apply.Hook) {
	n, _ := strconv.Atoi(annotations["wave"])
	for _, phase := range strings.Fields(annotations["hook"]) {
		if h == nil {
			del := annotations["delete"]
			h = &apply.Hook{
				Replace: del == "" || strings.Contains(del, "replace"), WhenDone: strings.Contains(del, "done"), WhenFailed: strings.Contains(del, "failed"),
				Finalizer: "toy.plumb.dev/hook",
			}
		}
		h.Phases = append(h.Phases, map[string]apply.Phase{"before": apply.Before, "main": apply.Main, "after": apply.After, "failure": apply.OnFailure, "leaving": apply.BeforeRemoval, "left": apply.AfterRemoval}[phase])
	}
	return int32(n), h
}

// annotated is a ConfigMap with annotations, as "wave: 1, hook: after".
func annotated(name, value, annotations string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, annotations: {%s}}\ndata: {k: %q}\n", name, annotations, value)
}

// pod is one that nobody runs: it ends when a test says so.
func pod(name, annotations string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s, annotations: {%s}}
spec: {schedulerName: nobody, restartPolicy: Never, containers: [{name: c, image: example.com/c}]}
`, name, annotations)
}

// pods are the names of those there are, with their UIDs.
func (w *live) pods() map[string]string {
	w.Helper()
	list := &corev1.PodList{}
	if err := w.env.Client.List(w.Context(), list, client.InNamespace(w.ns)); err != nil {
		w.Fatal(err)
	}
	all := map[string]string{}
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			all[p.Name] = string(p.UID)
		}
	}
	return all
}

// runs waits until a Pod is there, and returns its UID.
func (w *live) runs(name string) (uid string) {
	w.Helper()
	kubetest.Eventually(w.T, 20*time.Second, func() error {
		if uid = w.pods()[name]; uid == "" {
			return fmt.Errorf("there is no Pod %s: %s", name, w.operation())
		}
		return nil
	})
	return uid
}

// operation says how that of the last unit stands that was heard of.
func (w *live) operation() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for name, out := range w.heard {
		all = append(all, fmt.Sprintf("%s: %s %s; %s %s %+v", name, out.State, out.Message, out.Operation.Stage, out.Operation.Message, out.Operation.Hooks))
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

func (w *live) endPod(name string, phase corev1.PodPhase) {
	w.Helper()
	p := &corev1.Pod{}
	p.Name, p.Namespace = name, w.ns
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"status":{"phase":%q,"message":"it is the test's word"}}`, phase))
	if err := w.env.Client.Status().Patch(w.Context(), p, patch); err != nil {
		w.Fatal(err)
	}
}

// ends waits until the operation of a unit has ended, or says something.
func (w *live) operates(u Unit, stage Stage, message string) Outcome {
	w.Helper()
	return w.hears(u, func(out Outcome) error {
		if op := out.Operation; op.Stage != stage || !strings.Contains(op.Message, message) {
			return fmt.Errorf("%s: %s; %s %s %+v, want %s %q", out.State, out.Message, op.Stage, op.Message, op.Hooks, stage, message)
		}
		return nil
	})
}

func (w *live) operated(name string, artifacts ...string) Unit {
	u := w.unit(name, artifact("git", "1", artifacts...))
	u.Permission, u.Operation = apply.LookOnly, &Operation{ID: "1"}
	return u
}

func TestAnOperationGoesWaveByWave(t *testing.T) {
	w := newLive(t)
	u := w.operated("u", annotated("last", "1", `wave: "2"`), pod("first", `wave: "-1"`), annotated("second", "1", ""))
	w.engine.Put(u)
	uid := w.runs("first")
	out := w.operates(u, Running, "waiting for healthy state of Pod/"+w.ns+"/first")
	w.holds()
	if step := out.Plan.Step; step.Wave != -1 || len(step.Waits) != 1 || step.Waits[0].For != apply.Health {
		t.Errorf("the step is %+v", step)
	}
	w.endPod("first", corev1.PodSucceeded)
	w.says(u, "Ready 1, 1 Succeeded")
	w.holds("last=1", "second=1")
	if w.runs("first") != uid {
		t.Error("the Pod is another one")
	}
}

func TestAWaveThatFailsFailsItsOperation(t *testing.T) {
	w := newLive(t)
	u := w.operated("u", annotated("last", "1", `wave: "2"`), pod("first", ""))
	j, err := health.Compile(health.Exprs{Current: "status.phase == 'Succeeded'", Failed: "status.phase == 'Failed'"})
	if err != nil {
		t.Fatal(err)
	}
	u.Health.Judges = health.Rules{{Kind: "Pod", Judge: j}}
	w.engine.Put(u)
	w.runs("first")
	w.endPod("first", corev1.PodFailed)
	out := w.operates(u, GaveUp, "Pod/"+w.ns+"/first: it has failed")
	if out.Operation.Reason != fault.HealthCheckFailed {
		t.Errorf("the reason is %s", out.Operation.Reason)
	}
	w.holds()
}

// A hook that the server refuses fails by itself: what else is in its step is
// made, and hooks that run come to their end.
func TestAHookThatIsRefusedFailsAlone(t *testing.T) {
	w := newLive(t)
	bad := strings.Replace(pod("bad", "hook: main"), "Never", "Sometimes", 1)
	u := w.operated("u", annotated("a", "1", ""), pod("works", "hook: main"), bad, annotated("later", "1", `wave: "1"`), annotated("sad", "1", "hook: failure"))
	w.engine.Put(u)
	w.runs("works")
	w.operates(u, Running, "hook Pod/"+w.ns+"/bad is refused")
	w.holds("a=1")
	w.endPod("works", corev1.PodSucceeded)
	out := w.operates(u, GaveUp, "hook Pod/"+w.ns+"/bad is refused: ")
	w.holds("a=1", "sad=1")
	said := map[string]string{}
	for _, run := range out.Operation.Hooks {
		said[run.Ref.Name] = fmt.Sprint(run.Failed, run.Refused, !run.Ended.IsZero())
	}
	if want := map[string]string{"works": "false false true", "bad": "true true true", "sad": "false false true"}; !maps.Equal(said, want) {
		t.Errorf("%v, want %v", said, want)
	}
	if out.Operation.Reason != fault.ReconciliationFailed {
		t.Errorf("the reason is %s", out.Operation.Reason)
	}
}

func TestHooksRunOnceBeforeAndAfter(t *testing.T) {
	w := newLive(t)
	u := w.operated("u", pod("prepare", "hook: before"), annotated("a", "1", ""), pod("notify", `hook: after, delete: done`), annotated("sad", "1", "hook: failure"))
	w.engine.Put(u)
	first := w.runs("prepare")
	w.operates(u, Running, "waiting for completion of hook of Pod/"+w.ns+"/prepare")
	w.holds()
	w.endPod("prepare", corev1.PodSucceeded)
	w.runs("notify")
	w.holds("a=1")
	w.operates(u, Running, "waiting for completion of hook of Pod/"+w.ns+"/notify")
	w.endPod("notify", corev1.PodSucceeded)
	out := w.says(u, "Ready 1, 1 Succeeded")
	for _, run := range out.Operation.Hooks {
		if run.Ended.IsZero() || run.Failed {
			t.Errorf("%+v", run)
		}
	}
	if len(out.Operation.Hooks) != 2 || len(out.Inventory) != 1 {
		t.Errorf("hooks %v, inventory %v", out.Operation.Hooks, out.Inventory)
	}
	kubetest.Eventually(t, 20*time.Second, func() error {
		if pods := w.pods(); len(pods) != 1 || pods["prepare"] != first {
			return fmt.Errorf("there are %v", pods)
		}
		return nil
	})
	w.noFinalizer("prepare")

	// Drift is put back, and no hook runs for that. Another operation runs all of
	// them again.
	u.Permission, u.Operation = apply.CorrectDrift, nil
	w.engine.Put(u)
	w.edit("a", "by hand")
	w.comesToHold("a=1")
	if pods := w.pods(); len(pods) != 1 || pods["prepare"] != first {
		t.Errorf("there are %v", pods)
	}
	u.Operation = &Operation{ID: "2"}
	w.engine.Put(u)
	kubetest.Eventually(t, 20*time.Second, func() error {
		if uid := w.pods()["prepare"]; uid == "" || uid == first {
			return fmt.Errorf("there are %v, and %s was the first; %s", w.pods(), first, w.operation())
		}
		return nil
	})
}

func (w *live) noFinalizer(name string) {
	w.Helper()
	kubetest.Eventually(w.T, 20*time.Second, func() error {
		p := &corev1.Pod{}
		if err := w.env.Client.Get(w.Context(), client.ObjectKey{Namespace: w.ns, Name: name}, p); apierrors.IsNotFound(err) {
			return nil
		} else if err != nil || len(p.Finalizers) > 0 {
			return fmt.Errorf("%v %w", p.Finalizers, err)
		}
		return nil
	})
}

func TestAHookThatFailsLeavesTheRest(t *testing.T) {
	w := newLive(t)
	u := w.operated("u", pod("prepare", `hook: before, delete: failed`), annotated("a", "1", ""), annotated("sad", "1", "hook: failure"), annotated("later", "1", "hook: after"))
	w.engine.Put(u)
	w.runs("prepare")
	w.endPod("prepare", corev1.PodFailed)
	w.operates(u, GaveUp, "hook Pod/"+w.ns+"/prepare failed: it is the test's word")
	w.holds("sad=1")
	if pods := w.pods(); len(pods) != 0 {
		t.Errorf("there are %v", pods)
	}
	w.noFinalizer("prepare")
}

func TestATryAgainRunsHooksAgain(t *testing.T) {
	w := newLive(t)
	u := w.operated("u", pod("prepare", "hook: before"), annotated("a", "1", ""))
	u.Operation.Retry = Retry{Limit: 1, First: time.Second}
	w.engine.Put(u)
	first := w.runs("prepare")
	w.endPod("prepare", corev1.PodFailed)
	kubetest.Eventually(t, 20*time.Second, func() error {
		if uid := w.pods()["prepare"]; uid == "" || uid == first {
			return fmt.Errorf("there are %v, and %s was the first; %s", w.pods(), first, w.operation())
		}
		return nil
	})
	w.holds()
	w.endPod("prepare", corev1.PodSucceeded)
	w.says(u, "Ready 1, 1 Succeeded")
	w.holds("a=1")
}

func TestATerminatedOperationDeletesWhatRuns(t *testing.T) {
	w := newLive(t)
	u := w.operated("u", pod("prepare", "hook: before"), annotated("a", "1", ""), annotated("sad", "1", "hook: failure"))
	w.engine.Put(u)
	w.runs("prepare")
	stop := *u.Operation
	stop.Terminate = true
	u.Operation = &stop
	w.engine.Put(u)
	w.operates(u, Terminated, terminated)
	kubetest.Eventually(t, 20*time.Second, func() error {
		if pods := w.pods(); len(pods) > 0 {
			return fmt.Errorf("there are %v", pods)
		}
		return nil
	})
}

// Another process knows by what is stored and by what is there what has run.
func TestHooksSurviveARestart(t *testing.T) {
	w := newLive(t)
	u := w.operated("u", pod("prepare", "hook: before"), pod("migrate", "hook: before, wave: \"1\", delete: done"), annotated("a", "1", ""))
	w.engine.Put(u)
	uid := w.runs("prepare")
	restart := func() {
		out := w.hears(u, func(Outcome) error { return nil })
		u.Operation = &Operation{ID: "1", Was: out.Operation}
		w.begin()
		w.engine.Put(u)
	}
	restart()
	w.endPod("prepare", corev1.PodSucceeded)
	w.runs("migrate")
	w.end()
	w.endPod("migrate", corev1.PodSucceeded)
	restart()
	w.says(u, "Ready 1, 1 Succeeded")
	w.holds("a=1")
	kubetest.Eventually(t, 20*time.Second, func() error {
		if pods := w.pods(); len(pods) != 1 || pods["prepare"] != uid {
			return fmt.Errorf("there are %v", pods)
		}
		return nil
	})
}

// once brings a unit to each revision once.
type once struct{ attempted string }

func (o *once) Begin(_ context.Context, u Unit, out Outcome) *Operation {
	if out.Err != nil || !out.Plan.Forbids(u.Prune.Enabled) || o.attempted == out.Revision {
		return nil
	}
	o.attempted = out.Revision
	return &Operation{ID: "to " + out.Revision, Permission: apply.Everything, Automatic: true}
}

func TestAnAutomaticOperationIsNotDoneAgainAfterAnother(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "1")))
	u.Permission, u.Automation = apply.LookOnly, &once{}
	w.engine.Put(u)
	w.operates(u, Succeeded, "")
	w.publish(artifact("old", "0", of("a", "0")))
	u.Operation = &Operation{ID: "back", Permission: apply.Everything, Sources: []string{"old"}}
	w.engine.Put(u)
	w.says(u, "OutOfSync 1, back Succeeded")
	u.Operation = nil
	w.engine.Put(u)
	w.says(u, "OutOfSync 1")
	w.holds("a=0")
}

func TestAnAutomationTriesARevisionOnce(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "1")))
	u.Permission, u.Automation = apply.LookOnly, &once{}
	w.engine.Put(u)
	out := w.operates(u, Succeeded, "")
	w.holds("a=1")
	if op := out.Operation; out.State != Ready || op.Newest != "1" || op.ID != "to 1" {
		t.Errorf("%+v", op)
	}
	w.edit("a", "by hand")
	w.hears(u, func(out Outcome) error {
		if out.State != OutOfSync {
			return errors.New(out.State.String())
		}
		return nil
	})
	w.holds("a=by hand")
	w.publish(artifact("git", "2", of("a", "1"), of("b", "2")))
	w.hears(u, func(out Outcome) error {
		if out.State != Ready || out.Revision != "2" {
			return fmt.Errorf("%s %s %s", out.State, out.Revision, out.Message)
		}
		return nil
	})
	w.holds("a=1", "b=2")

	// A later process knows from what is stored that there is nothing to try.
	w.edit("b", "by hand")
	out = w.hears(u, func(Outcome) error { return nil })
	u.Remembers, u.Automation = out.Inventory, &once{attempted: "2"}
	w.begin()
	w.engine.Put(u)
	w.hears(u, func(out Outcome) error {
		if out.State != OutOfSync {
			return errors.New(out.State.String())
		}
		return nil
	})
	w.holds("a=1", "b=by hand")
	u.Digest, u.Automation = "another", &once{}
	w.engine.Put(u)
	w.comesToHold("a=1", "b=2")
}

// Once all is as desired, nobody could tell that there are still hooks to run.
func TestWhatHasHooksBeginsOnlyOnceThatIsStored(t *testing.T) {
	w := newLive(t)
	w.deaf = true
	u := w.unit("u", artifact("git", "1", annotated("a", "1", ""), pod("notify", "hook: after")))
	u.Permission, u.Automation = apply.LookOnly, &once{}
	w.engine.Put(u)
	kubetest.Eventually(t, 20*time.Second, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if n := w.reports[u.Name]; n < 5 {
			return fmt.Errorf("it was told %d times", n)
		}
		return nil
	})
	w.holds()
	w.mu.Lock()
	w.deaf = false
	w.mu.Unlock()
	w.runs("notify")
	w.holds("a=1")
}

func TestANewerRevisionSupersedesWhatWaits(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", pod("first", ""), annotated("a", "1", `wave: "1"`)))
	u.Permission, u.Automation = apply.LookOnly, &once{}
	w.engine.Put(u)
	w.runs("first")
	w.operates(u, Running, "waiting for healthy state")
	w.publish(artifact("git", "2", of("a", "2")))
	w.hears(u, func(out Outcome) error {
		if out.Operation.Stage != Succeeded || out.Operation.Newest != "2" {
			return fmt.Errorf("%+v", out.Operation)
		}
		return nil
	})
	w.holds("a=2")
}

func TestASelectionLeavesTheRest(t *testing.T) {
	w := newLive(t)
	u := w.operated("u", of("a", "1"), of("b", "1"), pod("prepare", "hook: before"))
	a := refOf("a")
	a.Namespace = w.ns
	u.Operation.Only = append(u.Operation.Only, a)
	w.engine.Put(u)
	w.says(u, "OutOfSync 1, 1 Succeeded")
	w.holds("a=1")
	if pods := w.pods(); len(pods) > 0 {
		t.Errorf("hooks ran: %v", pods)
	}
}

// A unit that goes takes its hooks with it, also in the middle of an operation.
func TestHooksGoWithTheirUnit(t *testing.T) {
	w := newLive(t)
	u := w.operated("u", pod("prepare", "hook: before"), annotated("a", "1", ""))
	w.engine.Put(u)
	w.runs("prepare")
	w.operates(u, Running, "waiting for completion")
	u.Leaving, u.Removal = true, Removal{Deletes: true}
	w.engine.Put(u)
	w.hears(u, isRemoved)
	kubetest.Eventually(t, 20*time.Second, func() error {
		if pods := w.pods(); len(pods) > 0 {
			return fmt.Errorf("there are %v", pods)
		}
		return nil
	})
}

// What is pruned, or goes with its unit, goes in the reverse order of its waves.
func TestTheLastWaveGoesFirst(t *testing.T) {
	w := newLive(t)
	u := w.operated("u", annotated("first", "1", ""), annotated("last", "1", `wave: "3"`))
	w.engine.Put(u)
	out := w.says(u, "Ready 1, 1 Succeeded")
	for _, en := range out.Inventory {
		if want := map[string]int32{"first": 0, "last": 3}[en.Ref.Name]; en.Wave != want {
			t.Errorf("%s is of wave %d", en.Ref, en.Wave)
		}
	}
	last := &corev1.ConfigMap{}
	last.Name, last.Namespace = "last", w.ns
	hold := func(finalizers string) {
		t.Helper()
		if err := w.env.Client.Patch(t.Context(), last, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":`+finalizers+`}}`))); err != nil {
			t.Fatal(err)
		}
	}
	hold(`["example.com/stays"]`)
	u.Leaving, u.Removal = true, Removal{Deletes: true}
	w.engine.Put(u)
	w.explains(u, "Removing", "first is deleted once ConfigMap/"+w.ns+"/last is gone")
	w.holds("first=1", "last=1")
	hold(`[]`)
	w.hears(u, isRemoved)
	w.comesToHold()
}

// A voice is what an engine is heard by until it crashes.
type voice struct {
	*live
	silent atomic.Bool
}

func (v *voice) Store(ctx context.Context, u Unit, entries []apply.Entry) error {
	if v.silent.Load() {
		return errors.New("it has crashed")
	}
	return v.live.Store(ctx, u, entries)
}

func (v *voice) Report(ctx context.Context, u Unit, out Outcome) error {
	if v.silent.Load() {
		return errors.New("it has crashed")
	}
	return v.live.Report(ctx, u, out)
}

// A crash is an engine that ends at any moment. The next one knows no more than
// what that one had told.
func (w *live) crash(u *Unit) {
	if v, ok := u.Dialect.(*voice); ok {
		v.silent.Store(true)
	}
	u.Dialect = &voice{live: w}
	w.mu.Lock()
	was := w.heard[u.Name]
	w.mu.Unlock()
	op := *u.Operation
	op.Was = Progress{}
	if was.Operation.ID == op.ID {
		op.Was = was.Operation
	}
	u.Operation, u.Remembers = &op, was.Inventory
	w.begin()
	w.engine.Put(*u)
}

// However often plumb ends and begins again in the middle of operations, each of
// their hooks runs once.
func TestHooksRunOnceWhereverAnEngineEnds(t *testing.T) {
	const operations = 6
	w := newLive(t)
	seen := w.env.Seen(t, corev1.SchemeGroupVersion.WithResource("pods"), w.ns)
	u := w.operated("u", pod("one", "hook: before"), pod("two", `hook: before, wave: "1", delete: done replace`), annotated("a", "1", `wave: "2"`), pod("three", "hook: after, delete: done"))
	random := rand.New(rand.NewPCG(1, 2))
	for i := range operations {
		u.Operation = &Operation{ID: fmt.Sprint(i)}
		w.crash(&u)
		crashes, told := 0, -1
		kubetest.Eventually(t, time.Minute, func() error {
			for name := range w.pods() {
				p := &corev1.Pod{}
				if err := w.env.Client.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: name}, p); err == nil && p.Status.Phase == corev1.PodPending && random.IntN(2) == 0 {
					w.endPod(name, corev1.PodSucceeded)
				}
			}
			w.mu.Lock()
			out, reports := w.heard[u.Name], w.reports[u.Name]
			w.mu.Unlock()
			if told < 0 {
				told = reports
			}
			if out.Operation.ID == u.Operation.ID && out.Operation.Stage == Succeeded {
				return nil
			}
			if reports > told && random.IntN(2) == 0 { // else it may still render, and another render in this process waits for that
				crashes, told = crashes+1, -1
				w.crash(&u)
			}
			return fmt.Errorf("operation %d: %+v", i, out.Operation)
		})
		t.Logf("operation %d with %d crashes", i, crashes)
	}
	for name, uids := range seen() {
		if uids != operations {
			t.Errorf("%s ran %d times in %d operations", name, uids, operations)
		}
	}
	if n := len(seen()); n != 3 {
		t.Errorf("of three hooks there were %d", n)
	}
}

// A hook that has a generateName is another object in each operation.
func TestAHookWithoutANameHasAnotherEachTime(t *testing.T) {
	w := newLive(t)
	u := w.operated("u", strings.Replace(pod("each-", "hook: before"), "name: each-", "generateName: each-", 1), of("a", "1"))
	for i := range u.Renders {
		u.Renders[i].Options = render.Options{Builder: directory.Options{}, GenerateNames: true}
	}
	for i := range 2 {
		u.Operation = &Operation{ID: fmt.Sprint(i)}
		w.engine.Put(u)
		kubetest.Eventually(t, 20*time.Second, func() error {
			if n := len(w.pods()); n != i+1 {
				return fmt.Errorf("%d Pods: %s", n, w.operation())
			}
			return nil
		})
		for name := range w.pods() {
			if !strings.HasPrefix(name, "each-presync-") {
				t.Errorf("it is called %s", name)
			}
			w.endPod(name, corev1.PodSucceeded)
		}
		w.says(u, fmt.Sprintf("Ready 1, %d Succeeded", i))
	}
	u.Operation = &Operation{ID: "3"}
	w.publish(artifact("git", "2", strings.Replace(of("a", "1"), "name: a", "generateName: a", 1)))
	w.engine.Put(u)
	w.operates(u, GaveUp, "would be another object each time")
}

// What has no name at all is named after its kind, if it is a hook.
func TestWhatHasNoName(t *testing.T) {
	for _, c := range []struct {
		name, prefix string
		hook         bool
		want, err    string
	}{
		{name: "a", prefix: "b-"},
		{prefix: "b-", hook: true, want: "b-"},
		{hook: true, want: "pod-"},
		{prefix: "b-", err: "would be another object each time"},
		{err: "Pod has no metadata.name"},
	} {
		o := &unstructured.Unstructured{}
		o.SetGenerateName(c.prefix)
		item := apply.Item{Ref: object.Ref{Kind: "Pod", Name: c.name}}
		if c.hook {
			item.Policy.Hook = &apply.Hook{}
		}
		err := nameless(o, &item)
		switch {
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%+v: %v", c, err)
		case c.err == "" && (err != nil || c.hook && item.Policy.Hook.GenerateName != c.want):
			t.Errorf("%+v: %v, %+v", c, err, item.Policy.Hook)
		}
	}
}

// Where a unit may not have an object, its operation fails before anything is
// written, and whatever of that was there stays.
func TestWhatIsNotAdmittedIsNeitherWrittenNorPruned(t *testing.T) {
	w := newLive(t)
	u := w.operated("u", of("a", "1"), of("forbidden", "1"), annotated("later", "1", "hook: after"))
	w.engine.Put(u)
	out := w.operates(u, GaveUp, "forbidden: the name is not permitted")
	if out.Operation.Reason != fault.NotAdmitted {
		t.Errorf("the reason is %s", out.Operation.Reason)
	}
	w.holds()
	theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "forbidden"}, Data: map[string]string{"k": "theirs"}}
	if err := w.env.Client.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	u.Operation = &Operation{ID: "2"}
	w.publish(artifact("git", "2", of("a", "1"), annotated("forbidden", "1", "hook: before")))
	w.engine.Put(u)
	w.operates(u, GaveUp, "forbidden: the name is not permitted")
	w.holds("forbidden=theirs")
}

// A hook that somebody has made go, and one of before that takes its time to go.
func TestHooksThatGoOrStay(t *testing.T) {
	w := newLive(t)
	u := w.operated("u", pod("prepare", "hook: before"), of("a", "1"))
	w.engine.Put(u)
	w.runs("prepare")
	w.operates(u, Running, "waiting for completion")
	gone := w.pod("prepare")
	patch := func(finalizers string) {
		t.Helper()
		if err := w.env.Client.Patch(t.Context(), gone, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":`+finalizers+`}}`))); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
	}
	patch(`[]`)
	if err := w.env.Client.Delete(t.Context(), gone); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	w.operates(u, GaveUp, "it was deleted before it had ended")
	w.holds()

	u.Operation = &Operation{ID: "2"}
	w.engine.Put(u)
	first := w.runs("prepare")
	w.endPod("prepare", corev1.PodFailed)
	w.operates(u, GaveUp, "it is the test's word")
	w.noFinalizer("prepare")
	patch(`["example.com/stays"]`)
	u.Operation = &Operation{ID: "3"}
	w.engine.Put(u)
	w.operates(u, Running, "prepare")
	patch(`[]`)
	kubetest.Eventually(t, 20*time.Second, func() error {
		if uid := w.pods()["prepare"]; uid == "" || uid == first {
			return fmt.Errorf("there are %v; %s", w.pods(), w.operation())
		}
		return nil
	})
	w.endPod("prepare", corev1.PodSucceeded)
	w.says(u, "Ready 1, 3 Succeeded")

	// Without its objects a unit goes, too, and holds none of its hooks.
	u.Operation = &Operation{ID: "4"}
	w.engine.Put(u)
	w.operates(u, Running, "waiting for completion")
	u.Leaving, u.Removal = true, Removal{}
	w.engine.Put(u)
	w.hears(u, isRemoved)
	w.noFinalizer("prepare")
	w.holds("a=1")
}

func (w *live) pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name}}
}
