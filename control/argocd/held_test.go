package argocd

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/ignore"
	"plumb.dev/plumb/watch/health"
)

const (
	automatic = ", syncPolicy: {automated: {}}"
	asked     = "\noperation: {initiatedBy: {username: ada}, sync: {revision: abc}}\n" +
		"status: {operationState: {phase: Running, startedAt: '2026-01-01T00:00:00Z', operation: {initiatedBy: {username: ada}, sync: {revision: abc}}}}"
)

// away ends an operation at abc, with Git at that commit.
func away(git string) func(engine.Unit, *engine.Outcome) {
	return func(u engine.Unit, out *engine.Outcome) {
		finished(engine.Succeeded, "", 0)(u, out)
		out.Operation.Newest = git
	}
}

// seen is a look that finds what only an operation would do, at that commit.
func saw(git string) engine.Outcome {
	out := outcomeOf(happening{Change: with(conf, apply.Create, held)})
	out.Revision = "main@sha1:" + git
	return out
}

func (w *world) info(t *testing.T) string {
	t.Helper()
	for _, c := range w.now(t).Status.Conditions {
		if c.Type == conditionRolledBack {
			return c.Message
		}
	}
	return ""
}

// Who goes to another revision than Git's is held there until Git moves.
func TestWhatIsRolledBackIsHeld(t *testing.T) {
	w := newWorld(t, app(t, spec(automatic)+asked))
	w.told(t, away("newest"), outcomeOf(happening{Change: with(conf, apply.Nothing)}))
	if a := w.now(t); !strings.HasPrefix(a.Annotations[rolledBack], "newest ") || a.Operation != nil {
		t.Fatalf("it is not noted: %v, %+v", a.Annotations, a.Operation)
	}
	if n := len(w.written()); n != 1 {
		t.Errorf("%d writes", n)
	}
	for range 2 { // the second has nothing new
		w.told(t, nil, saw("newest"))
		if a := w.now(t); w.begins(t, saw("newest")) != nil || a.Status.Sync.Status != api.OutOfSync {
			t.Fatalf("it goes on: %+v", a.Status.Sync)
		}
	}
	if n := len(w.written()); n != 1 {
		t.Errorf("%d writes", n)
	}
	if got, want := w.info(t), "held at abc, to which ada went back; it is synced again when Git moves on from newest"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
	item := viewApplication(unstructuredOf(t, w))
	if item.Ready != "True" || item.Message != w.info(t) || item.Revision != "abc" {
		t.Errorf("people see %s %s, at %s", item.Ready, item.Message, item.Revision)
	}
	if w.begins(t, saw("next")) == nil {
		t.Error("Git has moved, and it is held")
	}
	w.told(t, nil, saw("next"))
	if a := w.now(t); a.Annotations[rolledBack] != "" || w.info(t) != "" {
		t.Errorf("Git has moved: %v, %q", a.Annotations, w.info(t))
	}
}

func unstructuredOf(t *testing.T, w *world) *unstructured.Unstructured {
	t.Helper()
	u, err := w.newest(t.Context(), reconcileWeb.NamespacedName)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestWhenNothingIsHeld(t *testing.T) {
	for name, c := range map[string]struct {
		parts, git string
		held       bool
	}{
		"at what Git has":            {spec(automatic) + asked, "abc", false},
		"Git is not known":           {spec(automatic) + asked, "", false},
		"elsewhere, and not by hand": {spec("") + asked, "newest", true},
		"of itself":                  {spec(automatic) + strings.ReplaceAll(asked, "username: ada", "automated: true"), "newest", false},
		"other sources":              {spec(automatic) + strings.ReplaceAll(asked, "revision: abc", "revision: abc, source: {repoURL: other, path: q}"), "abc", true},
		"the same sources":           {spec(automatic) + strings.ReplaceAll(asked, "revision: abc", "revision: abc, source: "+from), "abc", false},
	} {
		w := newWorld(t, app(t, c.parts))
		w.told(t, away(c.git), outcomeOf(happening{Change: with(conf, apply.Nothing)}))
		if a := w.now(t); (a.Annotations[rolledBack] != "") != c.held {
			t.Errorf("%s: %v", name, a.Annotations)
		}
	}
	// Another source in the spec ends it, too.
	w := newWorld(t, app(t, spec(automatic)+asked))
	w.told(t, away("newest"), outcomeOf(happening{Change: with(conf, apply.Nothing)}))
	u := unstructuredOf(t, w).DeepCopy()
	if err := unstructured.SetNestedField(u.Object, "other", "spec", "source", "path"); err != nil {
		t.Fatal(err)
	}
	if err := w.WithWatch.Update(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if err := w.latest.Wrote(u); err != nil {
		t.Fatal(err)
	}
	if w.begins(t, saw("newest")) == nil {
		t.Error("the source has changed, and it is held")
	}
	w.told(t, nil, saw("newest"))
	if a := w.now(t); a.Annotations[rolledBack] != "" {
		t.Errorf("the source has changed: %v", a.Annotations)
	}
}

func TestARollbackIsAnOperation(t *testing.T) {
	a := read(app(t, spec(", syncPolicy: {automated: {prune: true}, syncOptions: [PruneLast=true]}")+"\nstatus: {history: [{id: 3, revision: r3, source: "+from+"}, {id: 4, revisions: [x1, x2], sources: ["+from+", "+from+"]}, {id: 5, revision: r5}]}"))
	patch, err := rollBack(a, "3", "token", false)
	if err != nil {
		t.Fatal(err)
	}
	sync := patch["operation"].(map[string]any)["sync"].(map[string]any)
	if sync["revision"] != "r3" || sync["source"] == nil || sync["prune"] != true || len(sync["syncOptions"].([]string)) != 1 {
		t.Errorf("%+v", sync)
	}
	if patch, err = rollBack(a, "4", "token", false); err != nil || len(patch["operation"].(map[string]any)["sync"].(map[string]any)["revisions"].([]string)) != 2 {
		t.Errorf("%v, %v", patch, err)
	}
	for id, want := range map[string]string{"9": "its history has no entry 9", "5": "does not say from which source"} {
		if _, err := rollBack(a, id, "token", false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", id, err)
		}
	}
	a.Operation = &api.Operation{}
	if _, err := rollBack(a, "3", "token", false); !errors.Is(err, errInProgress) {
		t.Errorf("%v", err)
	}
}

// What waits for another unit keeps the status that it has, and says for what in
// its operation.
func TestWhoWaitsForAnotherKeepsItsStatus(t *testing.T) {
	w := newWorld(t, app(t, spec(automatic)+strings.Replace(asked, "status: {", "status: {sync: {status: OutOfSync, revision: a}, health: {status: Healthy}, resources: [{kind: ConfigMap, name: c, status: Synced}], ", 1)))
	out := engine.Outcome{Err: &fault.Error{Next: fault.Wait, Reason: fault.DependencyNotReady, Err: errors.New("dependency 'x' does not exist")}}
	w.told(t, finished(engine.Running, "dependency 'x' does not exist", 0), out)
	a := w.now(t)
	if st := a.Status; st.Sync.Status != api.OutOfSync || st.Sync.Revision != "a" || st.Health.Status != api.Healthy || len(st.Resources) != 1 || len(st.Conditions) > 0 ||
		st.OperationState.Message != "dependency 'x' does not exist" || a.Operation == nil {
		t.Errorf("%+v", st)
	}
	circle := engine.Outcome{Err: &fault.Error{Next: fault.Stall, Reason: fault.DependencyNotReady, Err: errors.New("in a circle")}}
	if got := new(application).wrongWith(circle); got[api.ConditionInvalidSpecError] != "in a circle" {
		t.Errorf("a circle is %v", got)
	}
}

func TestApplicationsAmongObjects(t *testing.T) {
	u := engine.Unit{Name: "Application/argocd/web", Objects: objects{dialect}}
	policy := func(parts string) apply.Policy { return u.Objects.Policy(u, app(t, parts)) }
	if p := policy("metadata: {name: web, namespace: argocd}"); !p.Healthless || !p.Keep {
		t.Error("one that is among its own objects waits for itself")
	}
	elsewhere := u
	elsewhere.Target.Config = &rest.Config{}
	if u.Objects.Policy(elsewhere, app(t, "metadata: {name: web, namespace: argocd}")).Healthless {
		t.Error("one of that name on another cluster is another one")
	}
	p := policy("metadata: {name: web, namespace: team, annotations: {" + ignore.AnnotationKey + ": 'jsonPointers: [/spec/info]'}}")
	if p.Healthless || p.Keep || len(p.Ignores.Rules) != 2 || p.Ignores.Rules[1].Pointers[0] != "/operation" || !p.Ignores.Rules[1].Apply {
		t.Errorf("another one: %+v", p)
	}
	if p := policy("metadata: {name: x, namespace: team, annotations: {argocd.argoproj.io/ignore-differences: 'jsonPointers: [/spec/info]'}}"); p.Ignores.Rules[0].Pointers[0] != "/spec/info" {
		t.Errorf("what Argo CD calls the same: %+v", p.Ignores)
	}
	if !policy("metadata: {name: x, namespace: team, annotations: {" + ignoreHealth + ": 'true'}}").Healthless {
		t.Error("one that says so counts")
	}
	child := apply.Change{Ref: object.Ref{Group: "argoproj.io", Kind: "Application", Namespace: "argocd", Name: "web"}, Version: "v1alpha1", Healthless: true}
	out := outcomeOf(happening{Change: with(child, apply.Nothing)}, happening{Change: with(web, apply.Nothing)})
	for _, s := range resources(out, health.Table) {
		if (s.Health == nil) != (s.Kind == "Application") {
			t.Errorf("%s: %+v", s.Name, s.Health)
		}
	}
}
