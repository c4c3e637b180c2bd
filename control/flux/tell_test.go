package flux

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/report"
)

// Of each outcome that is news there is an event, and none of one that is not,
// whatever order they come in.
func TestWhatIsNewsIsAnEvent(t *testing.T) {
	const finished = "Normal ReconciliationSucceeded Reconciliation finished at main@sha1:2, next run in 1m0s"
	at := func(revision string, f func(*engine.Outcome)) engine.Outcome {
		return outcome(func(o *engine.Outcome) { f(o); o.Revision = revision })
	}
	ready := func(o *engine.Outcome) { o.Health = engine.Healthy }
	changed := func(cause apply.Cause) func(*engine.Outcome) {
		return func(o *engine.Outcome) {
			ready(o)
			o.Record = done(apply.Written, &apply.Change{Ref: configMap("a"), Action: apply.Update, Cause: cause})
		}
	}
	l := newLook(t, "spec: {interval: 1m, wait: true, sourceRef: {kind: GitRepository, name: src}}")
	for i, turn := range []struct {
		out    engine.Outcome
		events []string
	}{
		{at("main@sha1:2", func(o *engine.Outcome) { o.Health = engine.Pending }), nil}, // it is under way
		{at("main@sha1:2", ready), []string{finished}},
		{at("main@sha1:2", ready), nil},
		{at("main@sha1:3", ready), nil}, // at another revision too: that is in the status
		{at("main@sha1:4", changed(apply.Git)), []string{
			"Normal Progressing ConfigMap/shop/a configured", "Normal ReconciliationSucceeded Reconciliation finished at main@sha1:4, next run in 1m0s",
		}},
		{at("main@sha1:4", changed(apply.Drift)), []string{"Warning DriftCorrected ConfigMap/shop/a: fields changed by somebody, put back"}},
		{at("main@sha1:5", func(o *engine.Outcome) { ready(o); o.Deferred = true }), []string{
			"Normal ReconciliationSucceeded Reconciliation finished at main@sha1:5, next run in 1m0s", // its changes were told before
		}},
		{at("main@sha1:6", failed(fault.Retry, fault.ReconciliationFailed, "no")), []string{"Warning ReconciliationFailed no"}},
		{at("main@sha1:6", failed(fault.Retry, fault.ReconciliationFailed, "no")), nil},
		{at("main@sha1:7", failed(fault.Retry, fault.ReconciliationFailed, "no")), nil},
		{at("main@sha1:7", failed(fault.Retry, fault.ReconciliationFailed, "nope")), []string{"Warning ReconciliationFailed nope"}},
		{at("main@sha1:7", failed(fault.Wait, fault.AccessDenied, "nope")), []string{"Warning AccessDenied nope"}},
		{at("main@sha1:7", failed(fault.Wait, fault.Progressing, "on its way")), nil},
		{at("main@sha1:7", failed(fault.Wait, fault.NotAnswering, "silence")), []string{"Warning ClusterNotAnswering silence"}},
		{at("main@sha1:7", failed(fault.Wait, fault.NotAnswering, "silence")), nil},
		{at("main@sha1:7", ready), []string{"Normal ReconciliationSucceeded Reconciliation finished at main@sha1:7, next run in 1m0s"}},
		{at("main@sha1:7", func(o *engine.Outcome) { ready(o); o.Fights = []apply.Fight{{Ref: configMap("a")}} }), []string{
			"Warning FieldConflict ConfigMap/shop/a: somebody keeps deleting it; put back at most once a minute until that ends",
		}},
		{at("main@sha1:7", func(o *engine.Outcome) { ready(o); o.Stands = true }), nil},
	} {
		l.reports(turn.out)
		t.Log("turn", i)
		l.wantEvents(turn.events...)
		if t.Failed() {
			return
		}
	}
}

// After a restart nothing is told that the status says already.
func TestAfterAStartNothingIsToldAgain(t *testing.T) {
	out := outcome(func(o *engine.Outcome) { failed(fault.Retry, "", "no")(o) })
	l := newLook(t, plainSpec)
	l.reports(out)
	heard(l.events)
	l.kustomizations = newKustomizations(t, l.stored)
	l.reports(out)
	l.wantEvents()
	l.wantWrites(1) // the first

	left := outcome(func(o *engine.Outcome) { o.Left = []engine.Left{{Ref: configMap("flux"), Why: "it would act"}} })
	l.reports(left)
	l.wantEvents("Normal FluxComponents left alone: ConfigMap/shop/flux: it would act",
		"Normal ReconciliationSucceeded Reconciliation finished at main@sha1:2, next run in 1m0s")
	l.kustomizations = newKustomizations(t, l.stored)
	l.reports(left)
	l.wantEvents()
	left.Left = append(left.Left, engine.Left{Ref: configMap("more"), Why: "it would act"})
	l.reports(left)
	l.wantEvents("Normal FluxComponents left alone: ConfigMap/shop/flux, ConfigMap/shop/more: it would act")
	l.reports(outcome(failed(fault.Retry, "", "no")))
	l.wantEvents("Warning ReconciliationFailed no")
	l.reports(left) // it recovers
	l.wantEvents("Normal ReconciliationSucceeded Reconciliation finished at main@sha1:2, next run in 1m0s")
}

func TestWhatIsMeasuredOfAnOutcome(t *testing.T) {
	const (
		failures, took, drift, live = "plumb_sync_failures_total ", "gotk_reconcile_duration_seconds", "plumb_drift_corrections_total", "plumb_commit_to_live_seconds"
		well, ready                 = "plumb_last_success_timestamp_seconds", "plumb_ready"
	)
	change := func(cause apply.Cause) *apply.Record {
		return done(apply.Written, &apply.Change{Ref: configMap("a"), Action: apply.Update, Cause: cause})
	}
	fetched := func(o *engine.Outcome) { o.Fetched = time.Now() }
	for name, c := range map[string]struct {
		out  engine.Outcome
		want map[string]float64 // well is 1 if there is one
	}{
		"it was found as it should be": {outcome(fetched), map[string]float64{ready: 1, well: 1, drift: 0, live: 1}},
		"it was found so, of a source of which it is not known when": {
			outcome(func(*engine.Outcome) {}), map[string]float64{ready: 1, well: 1, drift: 0},
		},
		"it was made so": {
			outcome(func(o *engine.Outcome) { fetched(o); o.Record = change(apply.Git) }), map[string]float64{ready: 1, well: 1, drift: 0, took: 1, live: 1},
		},
		"it was made so, which was measured then": {
			outcome(func(o *engine.Outcome) { fetched(o); o.Deferred = true }), map[string]float64{ready: 1, well: 1, drift: 0},
		},
		"drift was corrected": {
			outcome(func(o *engine.Outcome) { o.Record = change(apply.Drift) }), map[string]float64{ready: 1, well: 1, drift: 1, took: 1},
		},
		"it failed": {outcome(failed(fault.Retry, "", "no")), map[string]float64{ready: 0, drift: 0, failures + "ReconciliationFailed": 1}},
		"it failed, and something was changed": {
			outcome(func(o *engine.Outcome) {
				fetched(o)
				failed(fault.Retry, fault.AccessDenied, "no")(o)
				o.Record = change(apply.Git)
			}),
			map[string]float64{ready: 0, drift: 0, took: 1, failures + "AccessDenied": 1},
		},
		"it is under way": {
			outcome(func(o *engine.Outcome) { fetched(o); o.Health = engine.Pending }), map[string]float64{ready: -1, drift: 0},
		},
		"its cluster is silent": {outcome(failed(fault.Wait, fault.NotAnswering, "silence")), map[string]float64{ready: -1, drift: 0}},
		"its spec is wrong":     {refused(t, unsupported("x", "no")), map[string]float64{ready: 0, drift: 0, failures + "UnsupportedField": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			name := strings.Map(func(r rune) rune {
				if r < 'a' || r > 'z' {
					return '-'
				}
				return r
			}, name)
			u := "metadata: {name: " + name + "}\n" + plainSpec
			l := newLook(t, u)
			key := read(t, u).key()
			before := series(t, key)[live] // it is of a namespace
			l.reports(c.out)
			got := series(t, key)
			if got[live] -= before; got[live] == 0 {
				delete(got, live)
			}
			if at := got[well]; at > 0 && at <= float64(time.Now().Unix()+1) {
				got[well] = 1
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// An event carries what programs need: the revision, the object, and what the
// user wants to see with all events of a unit, and nothing else of its
// annotations.
func TestAnEventCarriesWhatProgramsNeed(t *testing.T) {
	l := newLook(t, "metadata: {annotations: {event.toolkit.fluxcd.io/env: prod, other: x, reconcile.fluxcd.io/requestedAt: now}}\n"+plainSpec)
	l.events.(*record.FakeRecorder).IncludeObject = true
	lost := done(apply.Written, &apply.Change{Ref: configMap("a"), Action: apply.Update, Cause: apply.Drift})
	l.reports(outcome(func(o *engine.Outcome) { o.Record = lost }))
	got := heard(l.events)
	of := " involvedObject{kind=Kustomization,apiVersion=kustomize.toolkit.fluxcd.io/v1} "
	want := []string{
		"Warning DriftCorrected ConfigMap/shop/a: fields changed by somebody, put back" + of +
			"map[event.toolkit.fluxcd.io/env:prod kustomize.toolkit.fluxcd.io/revision:main@sha1:2 plumb.dev/object:ConfigMap/shop/a]",
		"Normal ReconciliationSucceeded Reconciliation finished at main@sha1:2, next run in 1m0s" + of +
			"map[event.toolkit.fluxcd.io/env:prod kustomize.toolkit.fluxcd.io/revision:main@sha1:2]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A message is no format.
func TestAnEventIsTakenAsItIs(t *testing.T) {
	l := newLook(t, plainSpec)
	l.reports(outcome(failed(fault.Retry, "", "100%d of %s failed")))
	l.wantEvents("Warning ReconciliationFailed 100%d of %s failed")
}

// What Git asked for is one event for all objects; what somebody did is one
// each, with who, and is not told as a change once more.
func TestChangesAreToldTogetherAndDriftByItself(t *testing.T) {
	plan := &apply.Plan{Changes: []*apply.Change{
		{Ref: configMap("a"), Action: apply.Create, Cause: apply.Git},
		{Ref: configMap("b"), Action: apply.Update, Cause: apply.Drift},
		{Ref: configMap("c"), Action: apply.Create, Cause: apply.Drift},
		{Ref: configMap("d"), Action: apply.Recreate, Cause: apply.Git},
		{Ref: configMap("e"), Action: apply.Release, Cause: apply.Git},
		{Ref: configMap("f"), Action: apply.Delete, Cause: apply.Git},
		{Ref: configMap("g"), Action: apply.Update, Cause: apply.Git}, // which nothing becomes of
	}}
	r := apply.Begin(plan)
	for i, x := range r.All()[:6] {
		x.Did = []apply.Did{apply.Written, apply.Written, apply.Written, apply.Written, apply.Released, apply.Deleted}[i]
	}
	r.All()[1].Lost = []owned.Loss{{Path: fieldpath.MakePathOrDie("data", "x"), Manager: "rival"}}
	r.All()[4].Why = "Kustomization/shop/other has it"
	l := newLook(t, plainSpec)
	l.tellChanges(read(t, plainSpec), engine.Outcome{Revision: "r", Record: r})
	l.wantEvents(
		"Warning DriftCorrected ConfigMap/shop/b: data.x changed by rival, put back",
		"Warning DriftCorrected ConfigMap/shop/c: deleted by somebody, put back",
		strings.Join([]string{
			"Normal Progressing ConfigMap/shop/a created", "ConfigMap/shop/b configured", "ConfigMap/shop/c created", "ConfigMap/shop/d recreated",
			"ConfigMap/shop/e released: Kustomization/shop/other has it", "ConfigMap/shop/f deleted",
		}, "\n"),
	)
	if m := series(t, webKey); m["plumb_drift_corrections_total"] != 2 {
		t.Errorf("it is measured as %v", m)
	}
	l.tellChanges(read(t, plainSpec), engine.Outcome{})
	l.wantEvents()
}

func TestWhoCausedDriftIsSaidAsFarAsItIsKnown(t *testing.T) {
	at := func(names ...string) (lost []owned.Loss) {
		for _, n := range names {
			lost = append(lost, owned.Loss{Path: fieldpath.MakePathOrDie("data", n)})
		}
		return lost
	}
	by := func(manager string, lost []owned.Loss) []owned.Loss {
		lost[len(lost)-1].Manager = manager
		return lost
	}
	for name, c := range map[string]struct {
		action    apply.Action
		lost      []owned.Loss
		what, who string
	}{
		"nothing is known":     {apply.Update, nil, "fields changed by somebody", ""},
		"the object was gone":  {apply.Create, at("x"), "deleted by somebody", ""},
		"a field":              {apply.Update, at("x"), "data.x changed by somebody", ""},
		"a field and who":      {apply.Update, by("kubectl", at("x", "y")), "data.x, data.y changed by kubectl", "kubectl"},
		"as many as are named": {apply.Update, at("1", "2", "3", "4", "5"), "data.1, data.2, data.3, data.4, data.5 changed by somebody", ""},
		"more than are named":  {apply.Recreate, at("1", "2", "3", "4", "5", "6", "7"), "data.1, data.2, data.3, data.4, data.5, … changed by somebody", ""},
	} {
		x := &apply.Result{Change: &apply.Change{}, Action: c.action, Lost: c.lost}
		if what, who := x.Drift(); what != c.what || who != c.who {
			t.Errorf("%s: %q by %q, want %q by %q", name, what, who, c.what, c.who)
		}
	}
}

// Every action that can be told of has a word.
func TestEveryActionHasAWord(t *testing.T) {
	for _, a := range []apply.Action{apply.Nothing, apply.Settle, apply.Create, apply.Update, apply.Recreate, apply.Delete, apply.Release, apply.Hold} {
		if w := pastTense(&apply.Result{Change: &apply.Change{}, Action: a}); w == "" {
			t.Errorf("%s has none", a)
		}
	}
}

// Who was deleted is not measured any more.
func TestWhatIsGoneIsNotMeasured(t *testing.T) {
	l := newLook(t, plainSpec)
	l.reports(outcome(failed(fault.Retry, "", "no")))
	s := report.Subject{Kind: KustomizationKind.Kind, Name: "web", Namespace: "shop"}
	s.Gone()
	m := series(t, webKey)
	delete(m, "plumb_commit_to_live_seconds") // of the namespace
	if len(m) != 0 {
		t.Errorf("it is measured as %v", m)
	}
}

// What is told of a deletion that fails is told in the name of the object.
func TestErrorsOfADeletionAreClipped(t *testing.T) {
	l := newLook(t, leaving)
	l.reports(engine.Outcome{State: engine.Removing, Err: &fault.Error{Reason: fault.PruneFailed, Object: object.Ref{Kind: "A", Name: "a"}, Err: errors.New(strings.Repeat("ü", 2000))}})
	e := heard(l.events)
	if len(e) != 1 || len(e[0]) > 1100 || !strings.HasPrefix(e[0], "Warning PruneFailed A/a: ü") {
		t.Errorf("%q", e)
	}
}
