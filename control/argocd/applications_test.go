package argocd

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/engine"
)

var reconcileWeb = ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "argocd", Name: "web"}}

// An operation is taken up in one write, before anything is done, and stays where
// it is.
func TestAnOperationIsTakenUp(t *testing.T) {
	w := newWorld(t, app(t, spec("")+"\noperation: {initiatedBy: {username: ada}, info: [{name: a, value: b}], sync: {revisions: []}}"))
	w.reconcile(t)
	a := w.now(t)
	s := a.Status.OperationState
	if a.Operation == nil || s == nil || s.Phase != api.PhaseRunning || s.FinishedAt != nil || s.StartedAt.IsZero() ||
		s.Operation.InitiatedBy.Username != "ada" || len(s.Operation.Info) != 1 || !a.runs() {
		t.Errorf("operation %+v, state %+v", a.Operation, s)
	}
	if n := len(w.written()); n != 1 {
		t.Errorf("%d writes", n)
	}
	w.reconcile(t)
	if all := w.written(); len(all) != 0 {
		t.Errorf("again: %q", all)
	}
}

// What can't be done is refused in the same write that takes it up, and gone with
// it.
func TestAnOperationThatCannotBeIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ op, want string }{
		"nothing":            {"{}", "operation: it asks for nothing"},
		"local files":        {"{sync: {manifests: ['{}']}}", "operation.sync.manifests"},
		"a misspelt option":  {"{sync: {syncOptions: [Prun=true]}}", "operation.sync.syncOptions: \"Prun=true\""},
		"a pause of no time": {"{sync: {}, retry: {backoff: {duration: soon}}}", "operation.retry.backoff.duration"},
		"too many revisions": {"{sync: {revisions: [a, b]}}", "it names 2, and there are 1 sources"},
		"another's chart":    {"{sync: {source: {repoURL: x, chart: c, path: p}}}", "it has both chart and path"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, app(t, spec("")+"\noperation: "+c.op))
			w.reconcile(t)
			a := w.now(t)
			s := a.Status.OperationState
			if a.Operation != nil || s == nil || s.Phase != api.PhaseError || s.FinishedAt == nil || a.Status.ReconciledAt.Before(s.FinishedAt) || !strings.Contains(s.Message, c.want) {
				t.Errorf("operation %+v, state %+v", a.Operation, s)
			}
			if n := len(w.written()); n != 1 {
				t.Errorf("%d writes", n)
			}
		})
	}
}

// Whoever takes an operation away ends it.
func TestAnOperationThatIsTakenAwayHasFailed(t *testing.T) {
	w := newWorld(t, app(t, spec("")+"\nstatus: {operationState: {phase: Running, startedAt: '2026-01-01T00:00:00Z', operation: {sync: {}}}}"))
	w.reconcile(t)
	if s := w.now(t).Status.OperationState; s.Phase != api.PhaseFailed || s.FinishedAt == nil || !strings.Contains(s.Message, "was removed") {
		t.Errorf("%+v", s)
	}
}

// Two operations that say the same are two, also within a second, and also where
// a client has wiped out the state of the first.
func TestEqualOperationsAreTwo(t *testing.T) {
	now := metav1.NewTime(time.Unix(1_700_000_000, 0))
	op := &api.Operation{Sync: &api.SyncOperation{}}
	a := &application{}
	a.Operation = op
	first := a.adopt(now, time.Time{})
	a.Status.OperationState = first
	second := a.adopt(now, time.Time{})
	a.Status.OperationState = nil
	third := a.adopt(now, second.StartedAt.Time)
	ids := map[string]bool{operationID(first): true, operationID(second): true, operationID(third): true}
	if len(ids) != 3 || first.StartedAt != now || !third.StartedAt.After(second.StartedAt.Time) {
		t.Errorf("%v", ids)
	}
	// And one is itself after a restart, with all that JSON leaves of it.
	text, err := json.Marshal(second)
	if err != nil {
		t.Fatal(err)
	}
	var back api.OperationState
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if operationID(&back) != operationID(second) {
		t.Errorf("%q is %q", operationID(second), operationID(&back))
	}
}

// A client that writes between the read and the write is not overwritten: what it
// has set is found by the next look.
func TestAWriteDoesNotPassOverAnother(t *testing.T) {
	w := newWorld(t, app(t, spec("")+"\noperation: {sync: {}}"))
	w.reconcile(t)
	u, err := w.newest(t.Context(), reconcileWeb.NamespacedName)
	if err != nil {
		t.Fatal(err)
	}
	a := read(u)
	w.mu.Lock()
	w.before = func() {
		other := example()
		if err := w.WithWatch.Get(t.Context(), reconcileWeb.NamespacedName, other); err != nil {
			t.Error(err)
		}
		other.Object["operation"] = map[string]any{"sync": map[string]any{"revision": "newer"}}
		if err := w.WithWatch.Update(t.Context(), other); err != nil {
			t.Error(err)
		}
	}
	w.mu.Unlock()
	st := a.Status
	done := *st.OperationState
	st.OperationState, done.Phase = &done, api.PhaseSucceeded
	if err := w.write(t.Context(), u, &a.Status, write{status: &st, ends: true}); !apierrors.IsConflict(err) {
		t.Errorf("the write: %v", err)
	}
	if now := w.now(t); now.Operation == nil || now.Operation.Sync.Revision != "newer" || now.Status.OperationState.Phase != api.PhaseRunning {
		t.Errorf("operation %+v, state %+v", now.Operation, now.Status.OperationState)
	}
}

// A write says what is another than it was, and no more: what this version does
// not know stays.
func TestAWriteIsADifference(t *testing.T) {
	w := newWorld(t, app(t, spec("")+"\nstatus: {fromTheFuture: 1, health: {status: Healthy}, sync: {status: Synced, revision: a}}\nmetadata: {name: web, namespace: argocd, finalizers: [a, b], annotations: {argocd.argoproj.io/refresh: normal, c: d}}"))
	u, err := w.newest(t.Context(), reconcileWeb.NamespacedName)
	if err != nil {
		t.Fatal(err)
	}
	a := read(u)
	st := a.Status
	st.Sync.Revision, st.Health = "b", api.Health{}
	if err := w.write(t.Context(), u, &a.Status, write{status: &st, refreshed: true, without: []string{"b"}}); err != nil {
		t.Fatal(err)
	}
	all := w.written()
	var body map[string]any
	if err := json.Unmarshal([]byte(all[0]), &body); err != nil {
		t.Fatal(err)
	}
	delete(body["metadata"].(map[string]any), "resourceVersion")
	want := map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{refresh: nil}, "finalizers": []any{"a"}},
		"status":   map[string]any{"sync": map[string]any{"revision": "b"}, "health": nil},
	}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("-want +written:\n%s", diff)
	}
	stored := example()
	if err := w.WithWatch.Get(t.Context(), client.ObjectKeyFromObject(u), stored); err != nil {
		t.Fatal(err)
	}
	if stored.Object["status"].(map[string]any)["fromTheFuture"] == nil || stored.GetAnnotations()["c"] != "d" {
		t.Errorf("it is %v", stored.Object)
	}
	// What is as it was is not written.
	if err := w.write(t.Context(), u, &st, write{status: &st}); err != nil || len(w.written()) != 0 {
		t.Errorf("it is written again: %v", err)
	}
}

func TestAnApplicationThatIsGoneIsForgotten(t *testing.T) {
	w := newWorld(t, app(t, spec("")))
	w.reconcile(t)
	if len(w.sources.of) != 1 || w.o.names.marked(digest("Application/argocd/web")) == "" || len(w.known.of) != 1 {
		t.Fatal("it is not known")
	}
	if err := w.Delete(t.Context(), app(t, spec(""))); err != nil {
		t.Fatal(err)
	}
	w.reconcile(t)
	if len(w.sources.of) != 0 || len(w.sources.byName) != 0 || w.o.names.marked(digest("Application/argocd/web")) != "" || len(w.known.of) != 0 {
		t.Error("it is not forgotten")
	}
}

// Its own writes put no unit anew.
func TestAUnitIsPutWhenItIsAnother(t *testing.T) {
	w := newWorld(t, app(t, strings.Replace(spec(""), "https://git.example.com/shop.git", "https://127.0.0.1:1/x", 1)))
	put := func() bool {
		t.Helper()
		before := ""
		w.known.with(reconcileWeb.NamespacedName, func(r *remembered) { before = r.signature })
		w.reconcile(t)
		after := ""
		w.known.with(reconcileWeb.NamespacedName, func(r *remembered) { after = r.signature })
		return before != after
	}
	patch := func(body string) {
		t.Helper()
		if err := w.WithWatch.Patch(t.Context(), app(t, spec("")), client.RawPatch(types.MergePatchType, []byte(body))); err != nil {
			t.Fatal(err)
		}
	}
	if !put() {
		t.Error("it is not put")
	}
	w.eventually(t, func() string { // until it is known that there is no such server
		if st, _ := w.sources.keeper.State(want{Repository: at("https://127.0.0.1:1/x"), target: ""}.name()); st.Err == nil {
			return "nothing is known of the source"
		}
		return ""
	})
	put()
	if put() {
		t.Error("it is put again")
	}
	patch(`{"status":{"sync":{"status":"Synced"}}}`)
	if put() {
		t.Error("a status puts it again")
	}
	patch(`{"metadata":{"annotations":{"a":"b"}}}`)
	if put() {
		t.Error("an annotation of no meaning puts it again")
	}
	for _, body := range []string{
		`{"metadata":{"annotations":{"argocd.argoproj.io/skip-reconcile":"true"}}}`,
		`{"metadata":{"annotations":{"argocd.argoproj.io/skip-reconcile":null}}}`,
		`{"spec":{"syncPolicy":{"automated":{}}}}`,
		`{"spec":{"source":{"path":"other"}}}`,
	} {
		if patch(body); !put() {
			t.Errorf("%s does not put it", body)
		}
	}
}

func TestApplicationsOfOtherNamespacesAreLeftAlone(t *testing.T) {
	w := newWorld(t, app(t, spec("")+"\noperation: {sync: {}}\nmetadata: {name: web, namespace: other}"))
	if _, err := w.Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "other", Name: "web"}}); err != nil {
		t.Fatal(err)
	}
	if len(w.written()) != 0 || len(w.sources.of) != 0 {
		t.Error("it is worked on")
	}
}

// One that is deleted while somebody syncs it goes once that is over.
func TestWhatIsDeletedWaitsForItsOperation(t *testing.T) {
	runs := func(op, phase string) string {
		return "\noperation: " + op + "\nstatus: {operationState: {phase: " + phase + ", startedAt: '2026-01-01T00:00:00Z', operation: " + op + "}}"
	}
	const asked = "{initiatedBy: {username: ada}, sync: {}}"
	for name, c := range map[string]struct {
		parts  string
		change func(*engine.Unit)
		kept   bool
		want   bool
	}{
		"nothing runs":            {spec(""), nil, false, true},
		"somebody syncs it":       {spec("") + runs(asked, "Running"), nil, false, false},
		"and has terminated that": {spec("") + runs(asked, "Terminating"), nil, false, false},
		"it has not begun":        {spec("") + "\noperation: " + asked, nil, false, true},
		"it began by itself":      {spec("") + runs("{initiatedBy: {automated: true}, sync: {}}", "Running"), nil, false, true},
		"nothing can go on":       {spec("") + runs(asked, "Running"), func(u *engine.Unit) { u.Refused = errors.New("x") }, false, true},
		"it is suspended":         {spec("") + runs(asked, "Running"), func(u *engine.Unit) { u.Suspended = true }, false, true},
		"its kind goes":           {spec("") + runs(asked, "Running"), nil, true, true},
	} {
		w := newWorld(t, app(t, c.parts))
		a := w.now(t)
		u, _ := w.o.toUnit(a, w.around.now())
		if c.change != nil {
			c.change(&u)
		}
		if a.leaves(u, c.kept, time.Now()) {
			t.Errorf("%s: it leaves before it is deleted", name)
		}
		a.DeletionTimestamp = &metav1.Time{Time: time.Now()}
		if got := a.leaves(u, c.kept, time.Now()); got != c.want {
			t.Errorf("%s: it leaves: %t, %v", name, got, u.Refused)
		}
	}
}

// What is written makes of what is stored what is to be, and is no more than that.
func TestAStatusIsWrittenAsItsDifference(t *testing.T) {
	at := clock()
	base := func() *api.ApplicationStatus {
		return &api.ApplicationStatus{
			Sync: api.SyncStatus{Status: api.OutOfSync, Revision: "1"}, Health: api.Health{Status: api.Healthy, LastTransitionTime: &at},
			Resources: []api.ResourceStatus{{Kind: "ConfigMap", Name: "a", Status: api.Synced}}, Conditions: []api.Condition{{Type: "x", Message: "y"}},
			OperationState: &api.OperationState{Phase: api.PhaseRunning, Message: "waits", SyncResult: &api.SyncResult{Revision: "1"}},
		}
	}
	for name, c := range map[string]struct {
		change func(*api.ApplicationStatus)
		want   string
	}{
		"nothing":           {func(*api.ApplicationStatus) {}, ""},
		"a part of a field": {func(st *api.ApplicationStatus) { st.Sync.Revision = "2" }, "sync"},
		"a part that goes":  {func(st *api.ApplicationStatus) { st.OperationState.SyncResult = nil }, "operationState"},
		"a list":            {func(st *api.ApplicationStatus) { st.Resources[0].Status = api.OutOfSync }, "resources"},
		"a list that goes":  {func(st *api.ApplicationStatus) { st.Conditions = nil }, "conditions"},
		"fields that come":  {func(st *api.ApplicationStatus) { st.ReconciledAt, st.SourceType = &at, "Kustomize" }, "reconciledAt sourceType"},
		"one that goes":     {func(st *api.ApplicationStatus) { st.OperationState = nil }, "operationState"},
		"one that comes for it": {func(st *api.ApplicationStatus) {
			st.OperationState, st.History = nil, []api.Revision{{ID: 1, DeployedAt: at}}
		}, "history operationState"},
	} {
		before, after := base(), base()
		c.change(after)
		diff, err := difference(before, after)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(slices.Sorted(maps.Keys(diff)), " "); got != c.want {
			t.Errorf("%s: it writes %q, want %q", name, got, c.want)
		}
		texts := make([][]byte, 3)
		for i, v := range []any{before, diff, after} {
			if texts[i], err = json.Marshal(v); err != nil {
				t.Fatal(err)
			}
		}
		got, err := jsonpatch.MergePatch(texts[0], texts[1])
		if err != nil || !jsonpatch.Equal(got, texts[2]) {
			t.Errorf("%s: %v: it comes to\n%s, want\n%s", name, err, got, texts[2])
		}
	}
	before, after := base(), base()
	after.Sync.Revision = "2"
	if diff, err := difference(before, after); err != nil || string(diff["sync"]) != `{"revision":"2"}` {
		t.Errorf("%v: of a field that is another in part it writes %s", err, diff["sync"])
	}
}
