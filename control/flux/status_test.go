package flux

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/report"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/watch/health"
)

// says is all that a status says, but for when.
func says(st *kustomizev1.KustomizationStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "observed %d, attempted %s, applied %s, handled %s\n", st.ObservedGeneration, st.LastAttemptedRevision, st.LastAppliedRevision, st.LastHandledReconcileAt)
	byType := slices.SortedFunc(slices.Values(st.Conditions), func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
	for _, c := range byType {
		fmt.Fprintf(&b, "%s=%s %s @%d: %s\n", c.Type, c.Status, c.Reason, c.ObservedGeneration, strings.ReplaceAll(c.Message, "\n", "; "))
	}
	b.WriteString("inventory")
	if st.Inventory == nil {
		b.WriteString(" none")
	} else {
		for _, e := range st.Inventory.Entries {
			b.WriteString(" " + e.ID + "@" + e.Version)
		}
	}
	for _, h := range st.History {
		fmt.Fprintf(&b, "\n%s %s at %s, %d×, %s", h.LastReconciledStatus, h.Digest, h.Metadata["revision"], h.TotalReconciliations, h.LastReconciledDuration.Duration)
	}
	return strings.TrimSpace(b.String())
}

// What stood in the status of a Kustomization that was ready, of another
// generation and revision, with a condition of somebody else's.
const stoodReady = `
status:
  observedGeneration: 1
  lastAttemptedRevision: main@sha1:1
  lastAppliedRevision: main@sha1:1
  lastHandledReconcileAt: then
  conditions:
  - {type: Foreign, status: "True", reason: Theirs, message: hands off, observedGeneration: 7, lastTransitionTime: "2026-01-01T00:00:00Z"}
  - {type: Healthy, status: "True", reason: Succeeded, message: Health check passed, observedGeneration: 1, lastTransitionTime: "2026-01-01T00:00:00Z"}
  - {type: Ready, status: "True", reason: ReconciliationSucceeded, message: "Applied revision: main@sha1:1", observedGeneration: 1, lastTransitionTime: "2026-01-01T00:00:00Z"}
  inventory: {entries: [{id: shop_a__ConfigMap, v: v1}]}
  history:
  - {digest: d1, firstReconciled: "2026-01-01T00:00:00Z", lastReconciled: "2026-01-01T00:00:00Z", lastReconciledDuration: 1s, lastReconciledStatus: ReconciliationSucceeded, totalReconciliations: 1, metadata: {revision: main@sha1:1}}
`

const (
	foreign    = "Foreign=True Theirs @7: hands off\n"
	wasHealthy = "Healthy=True Succeeded @1: Health check passed\n"
	wasReady   = "Ready=True ReconciliationSucceeded @1: Applied revision: main@sha1:1\n"
	ran1       = "ReconciliationSucceeded d1 at main@sha1:1, 1×, 1s"
	had        = "inventory shop_a__ConfigMap@v1\n"
	kept       = "observed 1, attempted main@sha1:1, applied main@sha1:1, handled then\n"
	tried      = "observed 1, attempted main@sha1:2, applied main@sha1:1, handled then\n"
	applied2   = "observed 2, attempted main@sha1:2, applied main@sha1:2, handled then\n"
)

// An outcome as the engine gives it, of what could be rendered.
func outcome(change func(*engine.Outcome)) engine.Outcome {
	o := engine.Outcome{Revision: "main@sha1:2", Digest: "d2", Inventory: []apply.Entry{{Ref: configMap("a"), Version: "v1"}}, Took: 1234567 * time.Microsecond}
	change(&o)
	return o
}

func failed(next fault.Next, reason fault.Reason, why string) func(*engine.Outcome) {
	return func(o *engine.Outcome) { o.Err = &fault.Error{Next: next, Reason: reason, Err: errors.New(why)} }
}

func unrendered(f func(*engine.Outcome)) func(*engine.Outcome) {
	return func(o *engine.Outcome) { o.Digest = ""; f(o) }
}

func TestWhatAnOutcomeMakesOfAStatus(t *testing.T) {
	const unasked, waits, checks = "spec: {interval: 1m}\n", "spec: {interval: 1m, wait: true, timeout: 90s}\n", "spec: {interval: 10m, healthChecks: [{kind: Deployment, name: a}]}\n"
	fight := []apply.Fight{{Ref: configMap("a"), Field: "data.x", Manager: "rival"}, {Ref: configMap("b")}}
	const fought = "ConfigMap/shop/a: rival keeps changing data.x; ConfigMap/shop/b: somebody keeps deleting it; put back at most once a minute until that ends"
	rolls := func(o *engine.Outcome) {
		o.Health, o.Unwell = engine.Pending, []engine.Unwell{{Ref: configMap("a"), Result: health.Result{Status: health.InProgress, Message: "1 of 2\n  pods"}}}
	}
	retry := func(reason, why string) string {
		return "Ready=False " + reason + " @2: " + why + "\nReconciling=True ProgressingWithRetry @2: " + why + "\n"
	}
	for name, c := range map[string]struct {
		spec string
		out  engine.Outcome
		want string
	}{
		"it is ready": {
			unasked, outcome(func(*engine.Outcome) {}),
			applied2 + foreign + "Ready=True ReconciliationSucceeded @2: Applied revision: main@sha1:2\n" + had + "ReconciliationSucceeded d2 at main@sha1:2, 1×, 1.235s\n" + ran1,
		},
		"it is ready and healthy": {
			waits, outcome(func(o *engine.Outcome) { o.Health = engine.Healthy }),
			applied2 + foreign + "Healthy=True Succeeded @2: Health check passed\nReady=True ReconciliationSucceeded @2: Applied revision: main@sha1:2\n" + had +
				"ReconciliationSucceeded d2 at main@sha1:2, 1×, 1.235s\n" + ran1,
		},
		"what is of Flux itself is left alone": {
			unasked, outcome(func(o *engine.Outcome) { o.Left = []engine.Left{{Ref: configMap("a"), Why: "so"}} }),
			applied2 + foreign + "Ready=True ReconciliationSucceeded @2: Applied revision: main@sha1:2; 1 object of Flux itself is left alone, which plumb diff shows\n" + had +
				"ReconciliationSucceeded d2 at main@sha1:2, 1×, 1.235s\n" + ran1,
		},
		"the last object is gone": {
			unasked, outcome(func(o *engine.Outcome) { o.Inventory = nil }),
			applied2 + foreign + "Ready=True ReconciliationSucceeded @2: Applied revision: main@sha1:2\ninventory\nReconciliationSucceeded d2 at main@sha1:2, 1×, 1.235s\n" + ran1,
		},
		"it comes to be healthy": {
			waits, outcome(rolls),
			tried + foreign + "Healthy=Unknown Progressing @2: Running health checks for revision main@sha1:2 with a timeout of 1m30s: waiting for ConfigMap/shop/a is InProgress: 1 of 2 pods\n" +
				"Ready=Unknown Progressing @2: Reconciliation in progress: waiting for ConfigMap/shop/a is InProgress: 1 of 2 pods\n" +
				"Reconciling=True Progressing @2: Reconciliation in progress: waiting for ConfigMap/shop/a is InProgress: 1 of 2 pods\n" + had + ran1,
		},
		"what is checked comes to be healthy, by the default timeout": {
			checks, outcome(rolls),
			tried + foreign + "Healthy=Unknown Progressing @2: Running health checks for revision main@sha1:2 with a timeout of 9m30s: waiting for ConfigMap/shop/a is InProgress: 1 of 2 pods\n" +
				"Ready=Unknown Progressing @2: Reconciliation in progress: waiting for ConfigMap/shop/a is InProgress: 1 of 2 pods\n" +
				"Reconciling=True Progressing @2: Reconciliation in progress: waiting for ConfigMap/shop/a is InProgress: 1 of 2 pods\n" + had + ran1,
		},
		"it did not become healthy": {
			waits, outcome(failed(fault.Wait, fault.HealthCheckFailed, "failed: a")),
			tried + foreign + "Healthy=False HealthCheckFailed @2: failed: a\n" + retry("HealthCheckFailed", "failed: a") + had + "HealthCheckFailed d2 at main@sha1:2, 1×, 1.235s\n" + ran1,
		},
		"what was to be healthy before is not asked for any more": {
			unasked, outcome(failed(fault.Wait, fault.HealthCheckFailed, "failed: a")),
			tried + foreign + retry("HealthCheckFailed", "failed: a") + had + "HealthCheckFailed d2 at main@sha1:2, 1×, 1.235s\n" + ran1,
		},
		"the server refused something, which says nothing of health": {
			waits, outcome(failed(fault.Retry, fault.ReconciliationFailed, "no")),
			tried + foreign + wasHealthy + retry("ReconciliationFailed", "no") + had + "ReconciliationFailed d2 at main@sha1:2, 1×, 1.235s\n" + ran1,
		},
		"an error of nobody's": {
			waits, outcome(func(o *engine.Outcome) { o.Err = errors.New("odd") }),
			tried + foreign + wasHealthy + retry("ReconciliationFailed", "odd") + had + "ReconciliationFailed d2 at main@sha1:2, 1×, 1.235s\n" + ran1,
		},
		"an error that a package of a stage has named": {
			unasked, outcome(unrendered(failed(fault.Wait, "IncludeUnavailable", "no lib"))),
			kept + foreign + retry("IncludeUnavailable", "no lib") + had + ran1,
		},
		"it can't be rendered, and no other spec is needed": {
			unasked, outcome(unrendered(failed(fault.Stall, fault.BuildFailed, "no kustomization"))),
			kept + foreign + retry("BuildFailed", "no kustomization") + had + ran1,
		},
		"a dependency is not ready": {
			waits, outcome(unrendered(failed(fault.Wait, fault.DependencyNotReady, "shop/db is not ready"))),
			kept + foreign + wasHealthy + retry("DependencyNotReady", "shop/db is not ready") + had + ran1,
		},
		"the source is not there": {
			unasked, outcome(unrendered(failed(fault.Wait, fault.ArtifactFailed, "no artifact"))),
			kept + foreign + retry("ArtifactFailed", "no artifact") + had + ran1,
		},
		"pruning is held until a person decides": {
			unasked, outcome(failed(fault.Stall, fault.PruneHeld, "too much")),
			tried + foreign + retry("PruneHeld", "too much") + had + "PruneHeld d2 at main@sha1:2, 1×, 1.235s\n" + ran1,
		},
		"what was deleted is not gone yet": {
			waits, outcome(failed(fault.Wait, fault.Progressing, "a is going")),
			tried + foreign + wasHealthy + "Ready=Unknown Progressing @2: Reconciliation in progress: a is going\n" +
				"Reconciling=True Progressing @2: Reconciliation in progress: a is going\n" + had + ran1,
		},
		"something is under way and something else failed": {
			unasked, outcome(func(o *engine.Outcome) {
				failed(fault.Wait, fault.Progressing, "a is going")(o)
				o.Err = errors.Join(o.Err, &fault.Error{Next: fault.Stall, Reason: fault.BuildFailed, Err: errors.New("no")})
			}),
			tried + foreign + retry("BuildFailed", "a is going; no") + had + "BuildFailed d2 at main@sha1:2, 1×, 1.235s\n" + ran1,
		},
		"its cluster does not answer": {
			waits, outcome(unrendered(func(o *engine.Outcome) {
				failed(fault.Wait, fault.NotAnswering, "silence")(o)
				o.Unreachable = time.Now()
			})),
			kept + foreign + wasHealthy + "Ready=Unknown ClusterNotAnswering @2: silence\nReconciling=True ProgressingWithRetry @2: silence\n" + had + ran1,
		},
		"something failed before its cluster fell silent": {
			unasked, outcome(func(o *engine.Outcome) {
				failed(fault.Wait, fault.NotAnswering, "silence")(o)
				o.Err = errors.Join(&fault.Error{Next: fault.Stall, Reason: fault.BuildFailed, Err: errors.New("no")}, o.Err)
			}),
			tried + foreign + "Ready=Unknown ClusterNotAnswering @2: no; silence\nReconciling=True ProgressingWithRetry @2: no; silence\n" + had + ran1,
		},
		"somebody fights": {
			unasked, outcome(func(o *engine.Outcome) { o.Fights = fight }),
			applied2 + foreign + retry("FieldConflict", fought) + had + "FieldConflict d2 at main@sha1:2, 1×, 1.235s\n" + ran1,
		},
		"somebody fights over what is healthy": {
			waits, outcome(func(o *engine.Outcome) { o.Fights, o.Health = fight, engine.Healthy }),
			applied2 + foreign + "Healthy=True Succeeded @2: Health check passed\n" + retry("FieldConflict", fought) + had + "FieldConflict d2 at main@sha1:2, 1×, 1.235s\n" + ran1,
		},
		"somebody fights while the rest comes to be healthy": {
			waits, outcome(func(o *engine.Outcome) { rolls(o); o.Fights = fight }),
			applied2 + foreign + wasHealthy + retry("FieldConflict", fought) + had + "FieldConflict d2 at main@sha1:2, 1×, 1.235s\n" + ran1,
		},
		"somebody fights, and it failed": {
			unasked, outcome(func(o *engine.Outcome) { o.Fights = fight; failed(fault.Retry, "", "no")(o) }),
			tried + foreign + retry("ReconciliationFailed", "no") + had + "ReconciliationFailed d2 at main@sha1:2, 1×, 1.235s\n" + ran1,
		},
		"what was said of it stands": {
			waits, outcome(func(o *engine.Outcome) { o.Stands = true; failed(fault.Retry, "", "no")(o) }),
			tried + foreign + wasHealthy + wasReady + had + ran1,
		},
		"what was said of it stands, but that it is healthy": {
			unasked, outcome(func(o *engine.Outcome) { o.Stands = true }),
			tried + foreign + wasReady + had + ran1,
		},
		"the spec is wrong": {
			waits, refused(t, &fault.Error{Next: fault.Stall, Reason: fault.InvalidSpec, Err: errors.New("spec.x: no")}),
			"observed 2, attempted main@sha1:1, applied main@sha1:1, handled then\n" + foreign + wasHealthy +
				"Ready=False InvalidSpec @2: spec.x: no\nStalled=True InvalidSpec @2: spec.x: no\n" + had + ran1,
		},
		"what the spec asks for is not supported": {
			unasked, refused(t, unsupported("x", "not yet")),
			"observed 2, attempted main@sha1:1, applied main@sha1:1, handled then\n" + foreign + wasHealthy +
				"Ready=False UnsupportedField @2: spec.x: not yet (remove the field, or wait for a version that honours it)\n" +
				"Stalled=True UnsupportedField @2: spec.x: not yet (remove the field, or wait for a version that honours it)\n" + had + ran1,
		},
		"what the spec names is not there": {
			unasked, func() engine.Outcome {
				out := refused(t, &fault.Error{Next: fault.Wait, Reason: fault.BuildFailed, Err: errors.New("Secret/shop/s does not exist")})
				out.Inventory = []apply.Entry{{Ref: configMap("a"), Version: "v1"}}
				return out
			}(),
			kept + foreign + retry("BuildFailed", "Secret/shop/s does not exist") + had + ran1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := read(t, c.spec+stoodReady)
			conclude(k, c.out)
			if diff := cmp.Diff(c.want, says(&k.Status)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			before := says(&k.Status)
			conclude(k, c.out)
			if diff := cmp.Diff(before, says(&k.Status)); diff != "" {
				t.Errorf("the same outcome again is news: -before +after\n%s", diff)
			}
		})
	}
}

// What is wrong or under way is not said any longer than it is.
func TestWhatIsOverIsNotSaidAnyMore(t *testing.T) {
	k := read(t, "spec: {interval: 1m, wait: true}")
	stalls := refused(t, unsupported("x", "not yet"))
	turns := []struct {
		out  engine.Outcome
		want string
	}{
		{stalls, "Ready=False Stalled=True"},
		{outcome(failed(fault.Retry, "", "no")), "Ready=False Reconciling=True"},
		{outcome(func(o *engine.Outcome) { o.Health = engine.Pending }), "Healthy=Unknown Ready=Unknown Reconciling=True"},
		{outcome(failed(fault.Wait, fault.HealthCheckFailed, "ill")), "Healthy=False Ready=False Reconciling=True"},
		{stalls, "Healthy=False Ready=False Stalled=True"},
		{outcome(func(o *engine.Outcome) { o.Health = engine.Healthy }), "Healthy=True Ready=True"},
		{outcome(failed(fault.Wait, fault.NotAnswering, "silence")), "Healthy=True Ready=Unknown Reconciling=True"},
		{outcome(func(o *engine.Outcome) { o.Health = engine.Healthy }), "Healthy=True Ready=True"},
	}
	for i, turn := range turns {
		conclude(k, turn.out)
		var got []string
		for _, typ := range []string{healthyType, report.Ready, report.Reconciling, report.Stalled} {
			if c := report.Find(k.Status.Conditions, typ); c.Type != "" {
				got = append(got, c.Type+"="+string(c.Status))
			}
		}
		if s := strings.Join(got, " "); s != turn.want {
			t.Errorf("turn %d: %s, want %s", i, s, turn.want)
		}
	}
}

// A fight is told at a new generation although nothing else has changed: who
// waits for the spec to be looked at must not wait for the fight to end.
func TestWhatIsFoughtOverIsObserved(t *testing.T) {
	k := read(t, "spec: {interval: 1m}")
	conclude(k, outcome(func(o *engine.Outcome) { o.Fights = []apply.Fight{{Ref: configMap("a")}} }))
	if k.Status.ObservedGeneration != 2 || k.Status.LastAppliedRevision != "main@sha1:2" {
		t.Error(says(&k.Status))
	}
}

func TestFightsAreToldInOneLine(t *testing.T) {
	var all []apply.Fight
	for i := range 12 {
		all = append(all, apply.Fight{Ref: configMap(fmt.Sprint(i)), Field: "data.x"})
	}
	got := fights(all)
	if strings.Contains(got, "\n") || !strings.Contains(got, "ConfigMap/shop/9: somebody keeps changing data.x; …; put back") || strings.Contains(got, "ConfigMap/shop/10") {
		t.Error(got)
	}
	if got := fights(all[:10]); strings.Contains(got, "…") {
		t.Error(got)
	}
}

// The history has a run for each thing that came to be, and none for a look that
// found all as it was.
func TestTheHistorySaysWhatIsNew(t *testing.T) {
	byGit := done(apply.Written, &apply.Change{Ref: configMap("a"), Action: apply.Update, Cause: apply.Git})
	byOthers := done(apply.Written, &apply.Change{Ref: configMap("a"), Action: apply.Update, Cause: apply.Drift})
	at := func(revision, digest string, change func(*engine.Outcome)) engine.Outcome {
		return outcome(func(o *engine.Outcome) { o.Revision, o.Digest = revision, digest; change(o) })
	}
	nothing := func(*engine.Outcome) {}
	k := read(t, "spec: {interval: 1m}")
	for i, turn := range []struct {
		out  engine.Outcome
		want string // short: what is in the history then
	}{
		{at("1", "d1", nothing), "Succeeded d1 1 1"},
		{at("1", "d1", nothing), "Succeeded d1 1 1"},
		{at("1", "d1", func(o *engine.Outcome) { o.Record = byOthers }), "Succeeded d1 1 1"},
		{at("1", "d1", func(o *engine.Outcome) { o.Record = byGit }), "Succeeded d1 1 2"},
		{at("2", "d1", nothing), "Succeeded d1 2 3"}, // another revision of the same
		{at("3", "d3", failed(fault.Retry, "", "no")), "Failed d3 3 1, Succeeded d1 2 3"},
		{at("3", "d3", failed(fault.Retry, "", "no, again")), "Failed d3 3 1, Succeeded d1 2 3"},
		{at("3", "d3", failed(fault.Wait, fault.Progressing, "on its way")), "Failed d3 3 1, Succeeded d1 2 3"},
		{at("3", "", failed(fault.Retry, "", "no")), "Failed d3 3 1, Succeeded d1 2 3"},
		{at("3", "d3", nothing), "Succeeded d3 3 1, Failed d3 3 1, Succeeded d1 2 3"},
		{at("4", "d1", nothing), "Succeeded d1 4 4, Succeeded d3 3 1, Failed d3 3 1"}, // back to what it was
		{at("5", "d5", nothing), "Succeeded d5 5 1, Succeeded d1 4 4, Succeeded d3 3 1, Failed d3 3 1"},
		{at("6", "d6", nothing), "Succeeded d6 6 1, Succeeded d5 5 1, Succeeded d1 4 4, Succeeded d3 3 1, Failed d3 3 1"},
		{at("7", "d7", nothing), "Succeeded d7 7 1, Succeeded d6 6 1, Succeeded d5 5 1, Succeeded d1 4 4, Succeeded d3 3 1"},
	} {
		conclude(k, turn.out)
		var got []string
		for _, h := range k.Status.History {
			got = append(got, fmt.Sprint(strings.TrimPrefix(h.LastReconciledStatus, "Reconciliation"), " ", h.Digest, " ", h.Metadata["revision"], " ", h.TotalReconciliations))
		}
		if s := strings.Join(got, ", "); s != turn.want {
			t.Fatalf("turn %d: %s, want %s", i, s, turn.want)
		}
	}
}

// A condition whose facts are the same keeps its time.
func TestAConditionThatStaysKeepsItsTime(t *testing.T) {
	k := read(t, "spec: {interval: 1m, wait: true}"+stoodReady)
	was := report.Find(k.Status.Conditions, report.Ready).LastTransitionTime
	conclude(k, outcome(func(o *engine.Outcome) { o.Health = engine.Healthy }))
	if is := report.Find(k.Status.Conditions, report.Ready).LastTransitionTime; !is.Equal(&was) {
		t.Errorf("it has been ready since %v, and says since %v", was, is)
	}
	conclude(k, outcome(failed(fault.Retry, "", "no")))
	if is := report.Find(k.Status.Conditions, report.Ready).LastTransitionTime; is.Equal(&was) {
		t.Error("it fails since before it did")
	}
}

// An event takes so many bytes, and text that is text.
func TestALongMessageIsClippedBetweenCharacters(t *testing.T) {
	for _, message := range []string{"", "short", strings.Repeat("x", 1000), strings.Repeat("x", 1001), strings.Repeat("ä", 600), "x" + strings.Repeat("ä", 600), strings.Repeat("…", 400)} {
		got := clip(message)
		if len(got) > 1024 || !utf8.ValidString(got) || !strings.HasPrefix(message, strings.TrimSuffix(got, " …")) {
			t.Errorf("%q becomes %q", message, got)
		}
		if len(message) <= 1000 && got != message {
			t.Errorf("%q is clipped", message)
		}
	}
}

func TestWhatIsLeftAloneIsInTheEventByReason(t *testing.T) {
	r := object.Ref{Kind: "A", Name: "x"}
	if got := leftAlone([]engine.Left{{Ref: r, Why: "b"}, {Ref: r, Why: "a"}, {Ref: r, Why: "b"}}); got != "left alone: A/x, A/x: b; A/x: a" {
		t.Error(got)
	}
}

// A unit says what its source is about in the source's words.
func TestTheReasonOfAConditionIsTheWorst(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, "Else"},
		{errors.New("x"), "Else"},
		{&fault.Error{Err: errors.New("x")}, "Else"},
		{&fault.Error{Reason: fault.NotYetRead}, "Progressing"},
		{&fault.Error{Reason: source.ReasonIncludeCircle}, "IncludeCircle"},
		{fmt.Errorf("more: %w", &fault.Error{Reason: fault.NotAnswering}), "ClusterNotAnswering"},
		{errors.Join(&fault.Error{Next: fault.Wait, Reason: fault.UnknownKind}, &fault.Error{Next: fault.Stall, Reason: fault.PruneHeld}), "PruneHeld"},
		{errors.Join(&fault.Error{Next: fault.Wait, Reason: fault.UnknownKind}, errors.New("x")), "UnknownKind"},
	} {
		got := "Else"
		if c.err != nil {
			got = reasonOf(c.err, "Else")
		}
		if got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}
