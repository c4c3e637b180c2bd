package flux

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/report"
)

var webKey = types.NamespacedName{Namespace: "shop", Name: "web"}

// A look is one Kustomization that is stored, and its controller.
type look struct {
	*testing.T
	*kustomizations
	*stored
	like *unstructured.Unstructured
}

func newLook(t *testing.T, parts string) *look {
	t.Helper()
	u := ks(t, parts)
	s := newStored(t, u)
	t.Cleanup(report.Subject{Kind: KustomizationKind.Kind, Name: u.GetName(), Namespace: u.GetNamespace()}.Gone)
	return &look{t, newKustomizations(t, s), s, u}
}

// unit is the unit as the controller makes it of what is stored.
func (l *look) unit() engine.Unit {
	l.Helper()
	u := l.now(l.T, l.like)
	k, err := decodeKustomization(u)
	if err != nil {
		return l.kustomizations.unreadable(u, err)
	}
	return l.kustomizations.unit(k, secretsOf{})
}

func (l *look) reports(out engine.Outcome) {
	l.Helper()
	if err := l.Report(l.Context(), l.unit(), out); err != nil {
		l.Fatal(err)
	}
}

// status is that which is stored.
func (l *look) status() string {
	l.Helper()
	k := &kustomization{}
	if err := decodeStatus(l.now(l.T, l.like), &k.Status); err != nil {
		l.Fatal(err)
	}
	return says(&k.Status)
}

func (l *look) wantStatus(want string) {
	l.Helper()
	if diff := cmp.Diff(want, l.status()); diff != "" {
		l.Errorf("status: -want +got:\n%s", diff)
	}
}

// wantEvents compares the events since the last time, but for annotations.
func (l *look) wantEvents(want ...string) {
	l.Helper()
	got := heard(l.events)
	for i := range got {
		got[i], _, _ = strings.Cut(got[i], " map[")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		l.Errorf("events: -want +got:\n%s", diff)
	}
}

func (l *look) wantWrites(n int) {
	l.Helper()
	if w := l.written(); len(w) != n {
		l.Errorf("%d writes, want %d: %s", len(w), n, strings.Join(w, "\n"))
	}
}

const plainSpec = "spec: {interval: 1m, sourceRef: {kind: GitRepository, name: src}}\n"

func TestAnOutcomeIsStoredOnce(t *testing.T) {
	l := newLook(t, plainSpec)
	out := outcome(func(o *engine.Outcome) { o.Handled = "now" })
	l.reports(out)
	const want = "observed 2, attempted main@sha1:2, applied main@sha1:2, handled now\n" +
		"Ready=True ReconciliationSucceeded @2: Applied revision: main@sha1:2\n" + had + "ReconciliationSucceeded d2 at main@sha1:2, 1×, 1.235s"
	l.wantStatus(want)
	l.wantWrites(1)
	l.wantEvents("Normal ReconciliationSucceeded Reconciliation finished at main@sha1:2, next run in 1m0s")
	out.Handled = "" // the next one was not asked for
	for range 3 {
		l.reports(out)
	}
	l.wantStatus(want)
	l.wantWrites(0)
	l.wantEvents()
}

// What has no fact in it that is new is no write, whatever characters it has and
// however long it is: the API server stores text, and not every byte.
func TestAMessageThatIsClippedIsStoredOnce(t *testing.T) {
	for name, why := range map[string]string{
		"short":               "x",
		"of a foreign tongue": strings.Repeat("ä", 100),
		"long":                strings.Repeat("x", 30_000),
		"long and foreign":    strings.Repeat("ä", 15_000),
		"long and odd":        "x" + strings.Repeat("ä", 15_000),
		"longer and odd":      "xx" + strings.Repeat("…", 15_000),
		"no text":             "caf\xe9",
	} {
		t.Run(name, func(t *testing.T) {
			l := newLook(t, plainSpec)
			out := outcome(failed(fault.Retry, "", why))
			l.reports(out)
			l.wantWrites(1)
			l.reports(out)
			l.wantWrites(0)
			if n := len(heard(l.events)); n != 1 {
				t.Errorf("%d events", n)
			}
		})
	}
}

// What was changed is told at once; what that makes of the unit comes later.
func TestAnInterimOutcomeStoresNothing(t *testing.T) {
	l := newLook(t, plainSpec)
	before := l.status()
	out := outcome(func(o *engine.Outcome) {
		o.Interim, o.Live, o.Fetched = true, true, time.Now()
		o.Record = done(apply.Written, &apply.Change{Ref: configMap("a"), Action: apply.Create})
	})
	l.reports(out)
	l.wantWrites(0)
	l.wantStatus(before)
	l.wantEvents("Normal Progressing ConfigMap/shop/a created")
	if m := series(t, webKey); m["plumb_ready"] != 0 || m["plumb_last_success_timestamp_seconds"] != 0 || m["gotk_reconcile_duration_seconds"] != 1 {
		t.Errorf("it is measured as %v", m)
	}
	out.Interim, out.Live, out.Deferred, out.Record = false, false, true, nil
	l.reports(out)
	l.wantWrites(1)
	l.wantEvents("Normal ReconciliationSucceeded Reconciliation finished at main@sha1:2, next run in 1m0s")
}

// While a unit rests nothing is read or written; only that it is still so is
// measured. Once its custom resource has changed, all is told again.
func TestAtRestNothingIsWritten(t *testing.T) {
	l := newLook(t, plainSpec)
	out := outcome(func(*engine.Outcome) {})
	l.reports(out)
	l.wantWrites(1)
	heard(l.events)
	before := series(t, webKey)["plumb_last_success_timestamp_seconds"]
	out.Rested, out.Revision = true, "main@sha1:not to be seen"
	l.reports(out)
	l.wantWrites(0)
	if after := series(t, webKey)["plumb_last_success_timestamp_seconds"]; after < before || before == 0 {
		t.Errorf("it was well at %v, and then at %v", before, after)
	}

	u := l.now(t, l.like)
	u.Object["status"].(map[string]any)["conditions"] = nil // somebody tampers
	if err := l.Status().Update(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	out.Revision = "main@sha1:2"
	l.reports(out)
	l.wantWrites(1)
	if s := l.status(); !strings.Contains(s, "Ready=True") {
		t.Errorf("it is not put right: %s", s)
	}
	l.wantEvents() // that is no news of the unit
}

func TestOfWhatIsGoneNothingIsTold(t *testing.T) {
	l := newLook(t, plainSpec)
	u := l.unit()
	if err := l.Delete(t.Context(), l.now(t, l.like)); err != nil {
		t.Fatal(err)
	}
	if err := l.Report(t.Context(), u, outcome(func(*engine.Outcome) {})); err != nil {
		t.Error(err)
	}
	if err := l.Store(t.Context(), u, nil); err != nil {
		t.Error(err)
	}
	l.wantWrites(0)
	l.wantEvents()
}

// Between the look and the write anything may happen to the custom resource.
func TestWhatIsNotStoredIsToldAgain(t *testing.T) {
	gone := apierrors.NewNotFound(schema.GroupResource{Resource: "kustomizations"}, "web")
	for name, c := range map[string]struct {
		err, want error
	}{
		"it goes":                  {gone, nil},
		"the server is busy":       {apierrors.NewTooManyRequests("slow down", 1), errors.New("write status: slow down")},
		"somebody was faster":      {apierrors.NewConflict(schema.GroupResource{Resource: "kustomizations"}, "web", errors.New("changed")), errors.New(`write status: Operation cannot be fulfilled on kustomizations "web": changed`)},
		"the status is not valid":  {errors.New("invalid"), errors.New("write status: invalid")},
		"the status was not asked": {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLook(t, plainSpec)
			u, out := l.unit(), outcome(func(*engine.Outcome) {})
			l.refuse = func(string) error { return c.err }
			if err := l.Report(t.Context(), u, out); fmt.Sprint(err) != fmt.Sprint(c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if c.want == nil {
				return
			}
			l.wantEvents() // not before it is true
			l.refuse = nil
			l.reports(out)
			l.wantEvents("Normal ReconciliationSucceeded Reconciliation finished at main@sha1:2, next run in 1m0s")
			if s := l.status(); !strings.Contains(s, "Ready=True") {
				t.Error(s)
			}
		})
	}
}

// What the user has changed while the unit was looked at is not said to be
// observed.
func TestTheSpecThatWasLookedAtIsObserved(t *testing.T) {
	l := newLook(t, plainSpec+stoodReady)
	u := l.unit()
	newer := l.now(t, l.like)
	newer.SetGeneration(3)
	newer.SetAnnotations(map[string]string{requestedAt: "later"})
	newer.Object["spec"].(map[string]any)["interval"] = "2m"
	if err := l.Update(t.Context(), newer); err != nil {
		t.Fatal(err)
	}
	if err := l.Report(t.Context(), u, outcome(func(*engine.Outcome) {})); err != nil {
		t.Fatal(err)
	}
	if s := l.status(); !strings.HasPrefix(s, "observed 2,") || !strings.Contains(s, "Ready=True ReconciliationSucceeded @2") || strings.Contains(s, "later") {
		t.Error(s)
	}
	if now := l.now(t, l.like); now.GetAnnotations()[requestedAt] != "later" || now.Object["spec"].(map[string]any)["interval"] != "2m" {
		t.Error("what the user has changed is lost")
	}
}

// The rest of a status is not plumb's.
func TestConditionsOfOthersStay(t *testing.T) {
	l := newLook(t, plainSpec+stoodReady)
	l.reports(outcome(failed(fault.Retry, "", "no")))
	if s := l.status(); !strings.Contains(s, foreign) || !strings.Contains(s, "handled then") {
		t.Error(s)
	}
}

func TestFightsAreInTheStatus(t *testing.T) {
	l := newLook(t, plainSpec)
	until := time.Date(2026, 1, 1, 0, 0, 7, 0, time.UTC)
	l.reports(outcome(func(o *engine.Outcome) { o.Fights = []apply.Fight{{Ref: configMap("a"), Until: until}} }))
	const told = `Contested=True FieldConflict @2: [{"kind":"ConfigMap","namespace":"shop","name":"a","until":"2026-01-01T00:00:07.000000Z"}]`
	if s := l.status(); !strings.Contains(s, told) {
		t.Error(s)
	}
	l.reports(outcome(func(o *engine.Outcome) {
		failed(fault.Wait, fault.NotAnswering, "silence")(o)
		o.Unreachable = time.Now()
	}))
	if s := l.status(); !strings.Contains(s, told) {
		t.Errorf("whether it goes on can't be seen: %s", s)
	}
	l.reports(outcome(func(*engine.Outcome) {}))
	if s := l.status(); strings.Contains(s, "Contested") {
		t.Error(s)
	}
}

// A status that can't be read is not taken for none, and not overwritten: the
// inventory is in it.
func TestAStatusThatCannotBeReadIsKept(t *testing.T) {
	l := newLook(t, plainSpec+"status: {inventory: {entries: 7}, conditions: [{type: Foreign, status: \"True\", reason: R, message: m, lastTransitionTime: \"2026-01-01T00:00:00Z\"}]}")
	u := engine.Unit{Name: "Kustomization/shop/web", Origin: &kustomization{}}
	u.Origin.(*kustomization).Namespace, u.Origin.(*kustomization).Name, u.Origin.(*kustomization).Generation = "shop", "web", 2
	if err := l.Report(t.Context(), u, outcome(func(*engine.Outcome) {})); err != nil {
		t.Fatal(err)
	}
	status := l.now(t, l.like).Object["status"].(map[string]any)
	if entries := status["inventory"].(map[string]any)["entries"]; entries != int64(7) {
		t.Errorf("the inventory is %v", entries)
	}
	types := map[string]string{}
	for _, c := range status["conditions"].([]any) {
		types[c.(map[string]any)["type"].(string)] = c.(map[string]any)["reason"].(string)
	}
	if diff := cmp.Diff(map[string]string{"Foreign": "R", "Ready": "InvalidSpec", "Stalled": "InvalidSpec"}, types); diff != "" {
		t.Error(diff)
	}
	if err := l.Store(t.Context(), u, nil); err == nil || !strings.Contains(err.Error(), "the status of Kustomization/shop/web can't be read") {
		t.Errorf("the inventory is stored over it: %v", err)
	}
}

// An inventory is stored before anything is written, beside what the status
// says already, and says that work goes on.
func TestAnInventoryIsStored(t *testing.T) {
	l := newLook(t, plainSpec+stoodReady)
	u := l.unit()
	entries := []apply.Entry{{Ref: configMap("a"), Version: "v1"}, {Ref: object.Ref{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "x:y"}, Version: "v1"}}
	if err := l.Store(t.Context(), u, entries); err != nil {
		t.Fatal(err)
	}
	l.wantStatus(kept + foreign + wasHealthy + "Ready=Unknown Progressing @2: Reconciliation in progress\nReconciling=True Progressing @2: Reconciliation in progress\n" +
		"inventory shop_a__ConfigMap@v1 _x__y_rbac.authorization.k8s.io_ClusterRole@v1\n" + ran1)
	l.wantWrites(1)
	if err := l.Store(t.Context(), u, entries); err != nil {
		t.Fatal(err)
	}
	l.wantWrites(0)
	l.refuse = func(string) error { return errors.New("no") }
	if err := l.Store(t.Context(), u, nil); err == nil {
		t.Error("it is not stored, and nobody hears of it")
	}
}

// The unit has no status of its own: what was stored since counts.
func TestAnInventoryIsStoredIntoTheNewestStatus(t *testing.T) {
	l := newLook(t, plainSpec)
	u := l.unit()
	l.reports(outcome(failed(fault.Retry, "", "no")))
	if err := l.Store(t.Context(), u, []apply.Entry{{Ref: configMap("b"), Version: "v1"}}); err != nil {
		t.Fatal(err)
	}
	if s := l.status(); !strings.Contains(s, "ReconciliationFailed d2") || !strings.Contains(s, "inventory shop_b__ConfigMap@v1") {
		t.Error(s)
	}
}

// A unit that can't be read is stalled, and what it has applied stays known.
func TestWhatCannotBeReadIsStalled(t *testing.T) {
	l := newLook(t, "spec: {interval: 7, sourceRef: {kind: GitRepository, name: src}}\n"+stoodReady)
	u := l.unit()
	if u.Refused == nil || !u.Target.Invalid || u.Unknown || len(u.Remembers) != 1 {
		t.Errorf("it is refused for %v, to be applied to %+v, and remembers %v", u.Refused, u.Target, u.Remembers)
	}
	if err := l.Report(t.Context(), u, refused(t, u.Refused)); err != nil {
		t.Fatal(err)
	}
	s := l.status()
	if !strings.HasPrefix(s, "observed 2, attempted main@sha1:1, applied main@sha1:1, handled then\n"+foreign+wasHealthy+"Ready=False InvalidSpec @2: this version of plumb can't read it: spec.interval: ") ||
		!strings.Contains(s, "Stalled=True InvalidSpec @2") || !strings.HasSuffix(s, had+ran1) {
		t.Error(s)
	}
	l.written()
	if err := l.Report(t.Context(), u, refused(t, u.Refused)); err != nil {
		t.Fatal(err)
	}
	l.wantWrites(0)
	if m := series(t, webKey); m["plumb_ready"] != 0 || m["plumb_sync_failures_total InvalidSpec"] != 2 {
		t.Errorf("it is measured as %v", m)
	}
}

// What neither can be read nor has a status that can is of unknown extent.
func TestWhatHasNoReadableInventoryIsUnknown(t *testing.T) {
	for name, parts := range map[string]string{
		"an inventory that is no list":              "spec: {interval: 7}\nstatus: {inventory: {entries: x}}",
		"an id that names nothing":                  "spec: {interval: 7}\nstatus: {inventory: {entries: [{id: x, v: v1}]}}",
		"an id that names nothing, and a good spec": plainSpec + "status: {inventory: {entries: [{id: x, v: v1}]}}",
	} {
		t.Run(name, func(t *testing.T) {
			if u := newLook(t, parts).unit(); !u.Unknown || u.Refused == nil {
				t.Errorf("unknown %v, refused %v", u.Unknown, u.Refused)
			}
		})
	}
}

const leaving = "metadata: {deletionTimestamp: \"2026-01-02T00:00:00Z\", finalizers: [finalizers.fluxcd.io, theirs]}\nspec: {interval: 1m, prune: true, sourceRef: {kind: GitRepository, name: src}}\n"

// What is deleted goes once its objects have.
func TestWhatIsSeenOffGoes(t *testing.T) {
	l := newLook(t, leaving+stoodReady)
	l.reports(engine.Outcome{State: engine.Removed, Record: done(apply.Deleted, &apply.Change{Ref: configMap("a"), Action: apply.Delete, Surplus: true})})
	if f := l.now(t, l.like).GetFinalizers(); len(f) != 1 || f[0] != "theirs" {
		t.Errorf("the finalizers are %v", f)
	}
	l.wantEvents("Normal Progressing ConfigMap/shop/a deleted")
	l.wantStatus(kept + foreign + wasHealthy + wasReady + had + ran1)
}

func TestWhatIsLeftBehindIsSaid(t *testing.T) {
	l := newLook(t, leaving)
	r := done(apply.Kept, &apply.Change{Ref: configMap("a"), Action: apply.Hold, Needs: apply.Delete, Why: "it is protected"})
	for _, x := range r.All() {
		x.Why = "it is protected"
	}
	out := engine.Outcome{State: engine.Removed, Record: r, Orphaned: []apply.Entry{{Ref: configMap("b")}, {Ref: configMap("c")}}, Err: errors.New("Secret/shop/kc does not exist")}
	l.reports(out)
	l.wantEvents(
		"Warning PruneHeld ConfigMap/shop/a was left: it is protected",
		"Warning PruneFailed Secret/shop/kc does not exist, so these were left: ConfigMap/shop/b, ConfigMap/shop/c",
	)
	if f := l.now(t, l.like).GetFinalizers(); len(f) != 1 {
		t.Errorf("the finalizers are %v", f)
	}
}

func TestWhyADeletionTakesTimeIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		out    engine.Outcome
		status string
		events []string
	}{
		"objects are on their way out": {
			engine.Outcome{Err: &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Err: errors.New("a is going")}},
			"Ready=Unknown Progressing @2: Deletion in progress: a is going\nReconciling=True Progressing @2: Deletion in progress: a is going\n", nil,
		},
		"it is not permitted": {
			engine.Outcome{Err: &fault.Error{Next: fault.Wait, Reason: fault.AccessDenied, Err: errors.New("forbidden")}},
			"Ready=False AccessDenied @2: forbidden\nReconciling=True ProgressingWithRetry @2: forbidden\n",
			[]string{"Warning PruneFailed forbidden; to leave the objects, set spec.deletionPolicy to Orphan"},
		},
		"the server failed": {
			engine.Outcome{Err: errors.New("broken")},
			"Ready=False PruneFailed @2: broken\nReconciling=True ProgressingWithRetry @2: broken\n",
			[]string{"Warning PruneFailed broken; to leave the objects, set spec.deletionPolicy to Orphan"},
		},
		"the cluster does not answer": {
			engine.Outcome{Err: &fault.Error{Next: fault.Wait, Reason: fault.NotAnswering, Err: errors.New("silence")}},
			"Ready=Unknown ClusterNotAnswering @2: silence\nReconciling=True ProgressingWithRetry @2: silence\n",
			[]string{"Warning PruneFailed silence; to leave the objects, set spec.deletionPolicy to Orphan"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLook(t, leaving+stoodReady)
			c.out.State, c.out.Inventory = engine.Removing, []apply.Entry{{Ref: configMap("a"), Version: "v1"}}
			l.reports(c.out)
			l.wantStatus(kept + foreign + wasHealthy + c.status + had + ran1)
			l.wantEvents(c.events...)
			if f := l.now(t, l.like).GetFinalizers(); len(f) != 2 {
				t.Errorf("the finalizers are %v", f)
			}
		})
	}
}

// What is gone is out of the inventory although the rest takes time: a person
// reads there what is waited for.
func TestTheInventoryShrinksWhileItIsDeleted(t *testing.T) {
	l := newLook(t, leaving+"status: {inventory: {entries: [{id: shop_a__ConfigMap, v: v1}, {id: shop_b__ConfigMap, v: v1}]}}")
	l.reports(engine.Outcome{
		State: engine.Removing, Inventory: []apply.Entry{{Ref: configMap("b"), Version: "v1"}},
		Err: &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Err: errors.New("b is not gone yet")},
	})
	if s := l.status(); !strings.Contains(s, "inventory shop_b__ConfigMap@v1") {
		t.Error(s)
	}
}

// The finalizer stays if the server does not take that away, so that it is tried
// again; and one that is gone meanwhile needs none.
func TestAFinalizerThatStaysIsTriedAgain(t *testing.T) {
	l := newLook(t, leaving)
	l.refuse = func(string) error { return errors.New("no") }
	if err := l.Report(t.Context(), l.unit(), engine.Outcome{State: engine.Removed}); err == nil || err.Error() != "remove the finalizer: no" {
		t.Error(err)
	}
	l.refuse = func(string) error { return apierrors.NewNotFound(schema.GroupResource{}, "web") }
	if err := l.Report(t.Context(), l.unit(), engine.Outcome{State: engine.Removed}); err != nil {
		t.Error(err)
	}
}

// What was told of one is not known of another, nor of its successor.
func TestWhatWasToldIsRemembered(t *testing.T) {
	var d told
	other := types.NamespacedName{Namespace: "shop", Name: "other"}
	if d.at(webKey) != "" || d.leaves(webKey, "") != "" || d.was(webKey, &read(t, plainSpec).Status).Type != "" {
		t.Error("something is known of nothing")
	}
	k := read(t, plainSpec+stoodReady)
	if was := d.was(webKey, &k.Status); was.Message != "Applied revision: main@sha1:1" {
		t.Errorf("after a start it was %q", was.Message)
	}
	ready := report.Find(k.Status.Conditions, report.Ready)
	ready.Message = "newer"
	d.note(webKey, ready, "17")
	if was := d.was(webKey, &k.Status); was.Message != "newer" || d.at(webKey) != "17" || d.at(other) != "" {
		t.Errorf("it was %q at %q", was.Message, d.at(webKey))
	}
	if d.leaves(webKey, "a") != "" || d.leaves(webKey, "b") != "a" || d.leaves(webKey, "b") != "b" || d.leaves(other, "c") != "" {
		t.Error("what was left alone is mixed up")
	}
	d.forget(webKey)
	if d.at(webKey) != "" || d.leaves(webKey, "") != "" || d.was(webKey, &k.Status).Message == "newer" {
		t.Error("it is not forgotten")
	}
}
