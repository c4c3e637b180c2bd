package argocd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/watch/health"
)

func ref(group, kind, name string) object.Ref {
	return object.Ref{Group: group, Kind: kind, Namespace: "shop", Name: name}
}

// A happening is what was planned for an object, and what became of it.
type happening struct {
	apply.Change
	did    apply.Did
	action apply.Action // that it came to; of another one than planned
	err    error
	absent bool
}

func outcomeOf(all ...happening) engine.Outcome {
	p := &apply.Plan{}
	for _, h := range all {
		c := h.Change
		p.Changes = append(p.Changes, &c)
	}
	r := apply.Begin(p)
	for i, x := range r.Of(p.Changes) {
		if x == nil {
			continue
		}
		x.Did, x.Err, x.Absent = all[i].did, all[i].err, all[i].absent
		if all[i].action != apply.Nothing {
			x.Action = all[i].action
		}
	}
	return engine.Outcome{Plan: p, Record: r, Revision: "main@sha1:abc", Digest: "d", Health: engine.Healthy}
}

var (
	web  = apply.Change{Ref: ref("apps", "Deployment", "web"), Version: "v1"}
	conf = apply.Change{Ref: ref("", "ConfigMap", "conf"), Version: "v1"}
)

func with(c apply.Change, a apply.Action, more ...func(*apply.Change)) apply.Change {
	c.Action, c.Needs = a, a
	for _, f := range more {
		f(&c)
	}
	return c
}

func held(c *apply.Change)    { c.Action, c.Rule = apply.Hold, apply.RulePermission }
func whole(c *apply.Change)   { c.Whole = true }
func strict(c *apply.Change)  { c.Strict = true }
func surplus(c *apply.Change) { c.Surplus = true }
func unpruned(c *apply.Change) {
	c.Surplus, c.Action, c.Rule = true, apply.Hold, apply.RulePruningOff
}
func denied(c *apply.Change)  { c.Action, c.Rule = apply.Hold, apply.RuleNotAdmitted }
func ignored(c *apply.Change) { c.Rule = apply.RuleIgnored }

// What became of an object is said as Argo CD's users and its tests know it.
func TestTheWordsOfResults(t *testing.T) {
	for name, c := range map[string]struct {
		happening
		want string
	}{
		"created":         {happening{Change: with(web, apply.Create), did: apply.Written}, "Synced Running deployment.apps/web created"},
		"of no group":     {happening{Change: with(conf, apply.Create), did: apply.Written}, "Synced Running configmap/conf created"},
		"configured":      {happening{Change: with(web, apply.Update), did: apply.Written}, "Synced Running deployment.apps/web configured"},
		"recreated":       {happening{Change: with(web, apply.Update), did: apply.Written, action: apply.Recreate}, "Synced Running deployment.apps/web replaced"},
		"replaced":        {happening{Change: with(web, apply.Update, whole), did: apply.Written}, "Synced Running deployment.apps/web replaced"},
		"to be replaced":  {happening{Change: with(web, apply.Update, whole), did: apply.Would}, "Synced Running deployment.apps/web replaced (dry run)"},
		"the same whole":  {happening{Change: with(web, apply.Update, whole, strict), did: apply.Unneeded}, "Synced Running deployment.apps/web replaced"},
		"not put at all":  {happening{Change: with(web, apply.Nothing, whole)}, "Synced Running deployment.apps/web unchanged"},
		"made as whole":   {happening{Change: with(web, apply.Create, whole), did: apply.Written}, "Synced Running deployment.apps/web created"},
		"as it was":       {happening{Change: with(web, apply.Nothing)}, "Synced Running deployment.apps/web unchanged"},
		"found so":        {happening{Change: with(web, apply.Settle)}, "Synced Running deployment.apps/web unchanged"},
		"needless":        {happening{Change: with(web, apply.Update), did: apply.Unneeded}, "Synced Running deployment.apps/web unchanged"},
		"refused":         {happening{Change: with(web, apply.Create), did: apply.Refused, err: errors.New("no")}, "SyncFailed Failed no"},
		"pruned":          {happening{Change: with(web, apply.Delete, surplus), did: apply.Deleted}, "Pruned Succeeded pruned"},
		"being pruned":    {happening{Change: with(web, apply.Delete, surplus), did: apply.Going}, "Pruned Succeeded pruned"},
		"not pruned":      {happening{Change: with(web, apply.Delete, unpruned)}, "PruneSkipped Succeeded ignored (requires pruning)"},
		"that says not":   {happening{Change: with(web, apply.Delete, surplus), did: apply.Left, action: apply.Release}, "PruneSkipped Succeeded ignored (no prune)"},
		"nothing yet":     {happening{Change: with(web, apply.Create), did: apply.Blocked}, ""},
		"not permitted":   {happening{Change: with(web, apply.Create, held)}, ""},
		"left alone":      {happening{Change: with(web, apply.Nothing, ignored)}, ""},
		"surplus, so far": {happening{Change: with(web, apply.Delete, surplus)}, ""},
	} {
		got := ""
		for _, x := range results(outcomeOf(c.happening)) {
			got += x.Status + " " + x.HookPhase + " " + x.Message
			if x.SyncPhase != "Sync" || x.Version != "v1" || x.Namespace != "shop" {
				t.Errorf("%s: %+v", name, x)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// What one look has done is not undone by what a later one finds.
func TestResultsAddUp(t *testing.T) {
	var m memory
	key := reconcileWeb.NamespacedName
	m.note(key, "1", results(outcomeOf(happening{Change: with(conf, apply.Create), did: apply.Written}, happening{Change: with(web, apply.Create), did: apply.Refused, err: errors.New("no")})))
	m.note(key, "1", results(outcomeOf(happening{Change: with(conf, apply.Nothing)}, happening{Change: with(web, apply.Create), did: apply.Written})))
	var said []string
	for _, x := range sortedResults(m.note(key, "1", nil)) {
		said = append(said, x.Message)
	}
	if want := []string{"configmap/conf created", "deployment.apps/web created"}; !slices.Equal(said, want) {
		t.Errorf("%q", said)
	}
	m.over(key, "0")
	if all := m.note(key, "1", nil); len(all) != 2 {
		t.Errorf("what is not over has %v", all)
	}
	m.over(key, "1")
	if all := m.note(key, "1", results(outcomeOf(happening{Change: with(conf, apply.Nothing)}))); len(all) != 0 {
		t.Errorf("what is over has %v", all)
	}
	if all := m.note(key, "2", nil); len(all) != 0 {
		t.Errorf("another operation has %v", all)
	}
}

// A process that goes on with an operation knows what the one before has done.
func TestResultsOutliveAProcess(t *testing.T) {
	w := newWorld(t, app(t, spec("")+synced))
	w.reconcile(t)
	w.told(t, finished(engine.Running, "", 0), outcomeOf(happening{Change: with(conf, apply.Create), did: apply.Written}))
	stored := example()
	if err := w.WithWatch.Get(t.Context(), reconcileWeb.NamespacedName, stored); err != nil {
		t.Fatal(err)
	}
	w = newWorld(t, stored)
	w.reconcile(t)
	w.told(t, finished(engine.Succeeded, "", 0), outcomeOf(happening{Change: with(conf, apply.Nothing)}))
	res := w.now(t).Status.OperationState.SyncResult
	if len(res.Resources) != 1 || res.Resources[0].Message != "configmap/conf created" {
		t.Errorf("%+v", res.Resources)
	}
}

func TestResourcesSayHowTheObjectsAre(t *testing.T) {
	pod := apply.Change{Ref: ref("", "Pod", "p"), Version: "v1"}
	cr := apply.Change{Ref: ref("example.com", "Thing", "t"), Version: "v1"}
	for name, c := range map[string]struct {
		happening
		unwell health.Status
		want   string // status, health, and whether it is to be pruned
	}{
		"healthy":                       {happening{Change: with(web, apply.Nothing)}, 0, "Synced Healthy"},
		"a kind without health":         {happening{Change: with(conf, apply.Nothing)}, 0, "Synced"},
		"one of somebody else's kind":   {happening{Change: with(cr, apply.Nothing)}, 0, "Synced"},
		"that is not well":              {happening{Change: with(cr, apply.Nothing)}, health.Failed, "Synced Degraded"},
		"on its way":                    {happening{Change: with(web, apply.Nothing)}, health.InProgress, "Synced Progressing"},
		"going":                         {happening{Change: with(web, apply.Nothing)}, health.Terminating, "Synced Progressing"},
		"failed":                        {happening{Change: with(pod, apply.Nothing)}, health.Failed, "Synced Degraded"},
		"just applied":                  {happening{Change: with(web, apply.Create), did: apply.Written}, health.Unknown, "Synced Progressing"},
		"just applied, and without one": {happening{Change: with(conf, apply.Create), did: apply.Written}, health.Missing, "Synced"},
		"missing":                       {happening{Change: with(web, apply.Create, held)}, health.Missing, "OutOfSync Missing"},
		"another":                       {happening{Change: with(web, apply.Update, held)}, 0, "OutOfSync Healthy"},
		"to be pruned":                  {happening{Change: with(web, apply.Delete, surplus, held)}, 0, "OutOfSync Healthy prune"},
		"pruned, and still there":       {happening{Change: with(web, apply.Delete, surplus), did: apply.Going}, health.Terminating, "OutOfSync Progressing prune"},
		"pruned":                        {happening{Change: with(web, apply.Delete, surplus), did: apply.Deleted, absent: true}, 0, ""},
		"not allowed":                   {happening{Change: with(web, apply.Create, denied)}, health.Missing, "Unknown Missing"},
		"left alone":                    {happening{Change: with(web, apply.Nothing, ignored)}, 0, ""},
	} {
		out := outcomeOf(c.happening)
		if c.unwell != 0 {
			out.Unwell = []engine.Unwell{{Ref: c.Ref, Result: health.Result{Status: c.unwell}}}
		}
		got := ""
		for _, s := range resources(out, health.Table) {
			got = s.Status
			if s.Health != nil {
				got += " " + s.Health.Status
			}
			if s.RequiresPruning {
				got += " prune"
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if sync := syncOf(resources(out, health.Table), nil); (sync == api.Synced) != (got == "" || strings.HasPrefix(got, "Synced")) {
			t.Errorf("%s: the Application is %s", name, sync)
		}
	}
}

// Hooks are no resources, and what they have come to is in the result: so another
// process knows of them.
func TestHooksAreTold(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	pod := object.Ref{Kind: "Pod", Namespace: "shop", Name: "hook"}
	runs := []apply.HookRun{
		{Ref: pod, Version: "v1", Phase: apply.Before, Ended: at},
		{Ref: pod, Version: "v1", Phase: apply.After},
		{Ref: pod, Version: "v1", Phase: apply.OnFailure, Ended: at, Failed: true, Message: "exit 1"},
		{Ref: ref("", "Pod", "slow"), Version: "v1", Phase: apply.After, Ended: at, Failed: true, Stopped: true, Message: "it was terminated"},
		{Ref: ref("", "Pod", "bad"), Version: "v1", Phase: apply.OnFailure, Ended: at, Failed: true, Refused: true, Message: "no"},
	}
	var said []string
	all := hookResults(runs)
	for _, x := range all {
		said = append(said, fmt.Sprint(x.HookType, x.SyncPhase, " ", x.HookPhase, " ", x.Status, " ", x.Message))
	}
	if want := []string{
		"PreSyncPreSync Succeeded Synced pod/hook created", "PostSyncPostSync Running Synced pod/hook created", "SyncFailSyncFail Failed Synced exit 1",
		"PostSyncPostSync Failed Synced Terminated", "SyncFailSyncFail Failed SyncFailed no",
	}; !slices.Equal(said, want) {
		t.Errorf("%q", said)
	}
	back := hooksIn(&api.ApplicationStatus{OperationState: &api.OperationState{StartedAt: metav1.NewTime(at), SyncResult: &api.SyncResult{Resources: all}}})
	for i, run := range back {
		if run.Ref != runs[i].Ref || run.Phase != runs[i].Phase || run.Failed != runs[i].Failed || run.Refused != runs[i].Refused || run.Stopped != runs[i].Stopped || run.Ended.IsZero() != runs[i].Ended.IsZero() {
			t.Errorf("%+v came back as %+v", runs[i], run)
		}
	}
	h := happening{Change: with(web, apply.Create)}
	h.Hook = &apply.Hook{}
	if out := outcomeOf(h); len(resources(out, health.Table)) != 0 || len(results(out)) != 0 {
		t.Error("a hook is a resource")
	}
}

// Results are in the order in which things are done, with the images of objects
// as they are written; what is known of one stays.
func TestResultsAreInTurn(t *testing.T) {
	pod := func(name, image string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": name, "namespace": "shop"},
			"spec": map[string]any{"containers": []any{map[string]any{"image": image}}, "initContainers": []any{map[string]any{"image": "a:1"}}},
		}}
	}
	item := func(name, hook string, phases ...apply.Phase) apply.Item {
		it := apply.Item{Ref: ref("", "Pod", name), Version: "v1", Object: func() *unstructured.Unstructured { return pod(name, hook) }}
		if phases != nil {
			it.Policy.Hook = &apply.Hook{Phases: phases}
		}
		return it
	}
	plan, _ := apply.Make(apply.Facts{
		Items: []apply.Item{item("web", "web:1")}, Hooks: []apply.Item{item("a", "b:1", apply.After, apply.Before)}, Course: &apply.Course{}, Permission: apply.Everything,
		Live: func(object.Ref) (apply.Live, bool) { return apply.Live{}, true }, Now: time.Now(),
	})
	result := func(name, phase string, images ...string) api.ResourceResult {
		return api.ResourceResult{Kind: "Pod", Namespace: "shop", Name: name, SyncPhase: phase, Images: images}
	}
	before := []api.ResourceResult{result("a", "PostSync", "was:1")}
	got := inTurn([]api.ResourceResult{result("gone", "Sync"), result("web", "Sync"), result("a", "PostSync"), result("a", "PreSync")}, before, plan)
	want := []api.ResourceResult{result("a", "PreSync", "a:1", "b:1"), result("web", "Sync", "a:1", "web:1"), result("gone", "Sync"), result("a", "PostSync", "was:1")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The worst of the objects, but for what is missing and what is to go.
func TestTheHealthOfAnApplication(t *testing.T) {
	is := func(status string) api.ResourceStatus { return api.ResourceStatus{Health: &api.Health{Status: status}} }
	prune, hook := is(api.Degraded), is(api.Degraded)
	prune.RequiresPruning, hook.Hook = true, true
	for _, c := range []struct {
		all  []api.ResourceStatus
		want string
	}{
		{nil, api.Healthy},
		{[]api.ResourceStatus{{}}, api.Healthy},
		{[]api.ResourceStatus{is(api.Healthy), is(api.Missing)}, api.Healthy},
		{[]api.ResourceStatus{{}, is(api.Missing)}, api.Healthy},
		{[]api.ResourceStatus{is(api.Missing), is(api.Missing)}, api.Missing},
		{[]api.ResourceStatus{is(api.Suspended), is(api.Healthy)}, api.Suspended},
		{[]api.ResourceStatus{is(api.Suspended), is(api.Progressing)}, api.Progressing},
		{[]api.ResourceStatus{is(api.Degraded), is(api.Progressing)}, api.Degraded},
		{[]api.ResourceStatus{is(api.Degraded), is(api.Unknown)}, api.Unknown},
		{[]api.ResourceStatus{prune, hook, is(api.Healthy)}, api.Healthy},
	} {
		if got := worstOf(c.all); got != c.want {
			t.Errorf("%v: %s, want %s", c.all, got, c.want)
		}
	}
}

// Times move when what they are about does.
func TestTimesOfTransitions(t *testing.T) {
	long := metav1.NewTime(time.Unix(1, 0))
	if h := transit(api.Health{Status: api.Healthy, LastTransitionTime: &long}, api.Healthy); !h.LastTransitionTime.Equal(&long) {
		t.Errorf("%+v", h)
	}
	if h := transit(api.Health{Status: api.Healthy, LastTransitionTime: &long}, api.Degraded); h.LastTransitionTime.Equal(&long) {
		t.Errorf("%+v", h)
	}
	before := []api.Condition{
		{Type: "TheirWarning", Message: "of somebody else", LastTransitionTime: &long},
		{Type: api.ConditionSyncError, Message: "a", LastTransitionTime: &long},
		{Type: api.ConditionComparisonError, Message: "b", LastTransitionTime: &long},
		{Type: api.ConditionInvalidSpecError, Message: "c", LastTransitionTime: &long},
	}
	var said []string
	for _, c := range conditions(before, map[string]string{api.ConditionSyncError: "a", api.ConditionComparisonError: "new", api.ConditionUnknownError: strings.Repeat("€", maxCondition)}) {
		if len(c.Message) > maxCondition {
			t.Errorf("%s has %d bytes", c.Type, len(c.Message))
		}
		said = append(said, fmt.Sprint(c.Type, " ", c.LastTransitionTime.Equal(&long)))
	}
	if want := []string{"TheirWarning true", "ComparisonError false", "SyncError true", "UnknownError false"}; !slices.Equal(said, want) {
		t.Errorf("%q", said)
	}
}

// Several errors are a condition each, up to some.
func TestEachErrorIsACondition(t *testing.T) {
	var many []error
	for i := range 15 {
		many = append(many, fmt.Errorf("%d is wrong", i))
	}
	all := conditions(nil, map[string]string{api.ConditionInvalidSpecError: errors.Join(many...).Error()})
	if len(all) != 11 || all[0].Message != "0 is wrong" || all[9].Message != "9 is wrong" || all[10].Message != "and 5 more" || all[10].Type != api.ConditionInvalidSpecError {
		t.Errorf("%+v", all)
	}
}

func TestWhatIsWrongIsACondition(t *testing.T) {
	a := decode(app(t, spec("")))
	a.Spec.Source.Path = "apps/web"
	stall := func(r fault.Reason) error { return &fault.Error{Next: fault.Stall, Reason: r, Err: errors.New("why")} }
	for name, c := range map[string]struct {
		out  engine.Outcome
		want string
	}{
		"nothing":                   {outcomeOf(), "map[]"},
		"the spec":                  {engine.Outcome{Err: stall(fault.InvalidSpec)}, "map[InvalidSpecError:why]"},
		"a field":                   {engine.Outcome{Err: stall(fault.UnsupportedField)}, "map[InvalidSpecError:why]"},
		"the status":                {engine.Outcome{Err: stall(fault.InvalidInventory)}, "map[InvalidSpecError:why]"},
		"the source":                {engine.Outcome{Err: errors.New("why")}, "map[ComparisonError:Failed to load target state: why]"},
		"the path":                  {engine.Outcome{Err: stall(fault.PathNotFound)}, "map[ComparisonError:Failed to load target state: why: apps/web: app path does not exist]"},
		"what could not be applied": {func() engine.Outcome { o := outcomeOf(); o.Err = errors.New("why"); return o }(), "map[]"},
		"what is another's": {func() engine.Outcome {
			o := outcomeOf()
			o.Foreign = []engine.Left{{Ref: object.Ref{Kind: "ConfigMap", Name: "a"}, Why: "ConfigMap/a: it belongs to b"}}
			return o
		}(), "map[SharedResourceWarning:ConfigMap/a: it belongs to b]"},
		"who has an object": {func() engine.Outcome { o := outcomeOf(); o.Err = stall(fault.OwnedByOther); return o }(), "map[SharedResourceWarning:why]"},
		"two sources":       {engine.Outcome{Plan: &apply.Plan{}, Repeated: []object.Ref{ref("", "ConfigMap", "c")}}, "map[RepeatedResourceWarning:Resource /ConfigMap/shop/c appeared more than once; the last one counts]"},
		"hooks":             {engine.Outcome{Plan: &apply.Plan{}, Left: []engine.Left{{Ref: ref("", "Pod", "h"), Why: "nobody knows it"}, {Ref: ref("", "Pod", "x"), Why: whySkip}}}, "map[ComparisonError:Pod/shop/h is left alone: nobody knows it]"},
	} {
		if got := fmt.Sprint(a.wrongWith(c.out)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestTheHistoryIsBounded(t *testing.T) {
	at := metav1.NewTime(time.Unix(100, 0))
	s := &api.OperationState{StartedAt: at, FinishedAt: &at, SyncResult: &api.SyncResult{Revision: "r"}, Operation: api.Operation{InitiatedBy: api.Initiator{Username: "ada"}}}
	var all []api.Revision
	for range 12 {
		all = history(all, s, nil)
	}
	if len(all) != historyLimit || all[0].ID != 2 || all[9].ID != 11 || all[9].Revision != "r" || all[9].InitiatedBy.Username != "ada" {
		t.Errorf("%+v", all)
	}
	if got := history(all, s, new(int64(3))); len(got) != 3 || got[2].ID != 12 {
		t.Errorf("%+v", got)
	}
	if got := history(all, s, new(int64(0))); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if got := history(all, &api.OperationState{FinishedAt: &at}, nil); len(got) != 10 {
		t.Errorf("%+v", got)
	}
}

// synced is an Application with an operation that runs.
const synced = "\noperation: {sync: {revision: abc}, info: [{name: a, value: b}]}\n" +
	"status: {operationState: {phase: Running, startedAt: '2026-01-01T00:00:00Z', operation: {sync: {revision: abc}, info: [{name: a, value: b}]}}}"

// told has an outcome told of the unit that the Application web makes.
func (w *world) told(t *testing.T, change func(engine.Unit, *engine.Outcome), out engine.Outcome) {
	t.Helper()
	a := w.now(t)
	u, _ := w.o.toUnit(a, w.around.now())
	u.Dialect = w
	if a.runs() {
		u.Operation, _, _ = w.o.operation(a, w.around.now(), a.Status.OperationState)
	}
	if change != nil {
		change(u, &out)
	}
	if err := w.Report(t.Context(), u, out); err != nil {
		t.Fatal(err)
	}
}

func finished(stage engine.Stage, message string, failures int) func(engine.Unit, *engine.Outcome) {
	return func(u engine.Unit, out *engine.Outcome) {
		out.Operation = engine.Progress{ID: u.Operation.ID, Stage: stage, Message: message, Revision: out.Revision, Failures: failures}
	}
}

// The end of an operation is one write: phase, time, what became of it, and that
// it is gone.
func TestAnOperationEndsInOneWrite(t *testing.T) {
	for name, c := range map[string]struct {
		stage    engine.Stage
		message  string
		failures int
		blind    bool
		phase    string
		want     string
		retries  int64
	}{
		"done":           {engine.Succeeded, "", 0, false, api.PhaseSucceeded, "successfully synced (all tasks run)", 0},
		"at last":        {engine.Succeeded, "", 2, false, api.PhaseSucceeded, "successfully synced (all tasks run)", 2},
		"refused":        {engine.GaveUp, "no", 1, false, api.PhaseFailed, "one or more objects failed to apply, reason: no", 0},
		"refused thrice": {engine.GaveUp, "no", 3, false, api.PhaseFailed, "one or more objects failed to apply, reason: no (retried 2 times)", 2},
		"not compared":   {engine.GaveUp, "no", 1, true, api.PhaseError, "no", 0},
		"terminated":     {engine.Terminated, "x", 0, false, api.PhaseFailed, "Operation terminated", 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, app(t, spec("")+synced))
			out := outcomeOf(happening{Change: with(conf, apply.Create), did: apply.Written})
			if c.blind {
				out.Plan, out.Record, out.Err = nil, nil, errors.New("no")
			}
			w.told(t, finished(c.stage, c.message, c.failures), out)
			all := w.written()
			if len(all) != 1 || !strings.Contains(all[0], `"operation":null`) {
				t.Fatalf("it writes %q", all)
			}
			a := w.now(t)
			s := a.Status.OperationState
			if a.Operation != nil || s.Phase != c.phase || s.Message != c.want || s.FinishedAt == nil || s.RetryCount != c.retries || len(s.Operation.Info) != 1 ||
				a.Status.ReconciledAt.Before(s.FinishedAt) || s.SyncResult == nil || s.SyncResult.Revision != "abc" || s.SyncResult.Source == nil {
				t.Errorf("%+v, %+v", a.Operation, s)
			}
			if entries := len(a.Status.History); entries != map[bool]int{true: 1}[c.phase == api.PhaseSucceeded] {
				t.Errorf("%d entries in the history", entries)
			}
		})
	}
}

// Who reads the message looks for these words.
func TestHowAnOperationHasFailed(t *testing.T) {
	for reason, want := range map[fault.Reason]string{
		fault.HealthCheckFailed:    "one or more synchronization tasks completed unsuccessfully",
		fault.NotAdmitted:          "one or more synchronization tasks are not valid",
		fault.ReconciliationFailed: "one or more objects failed to apply",
		"":                         "one or more objects failed to apply",
	} {
		if got := failure(reason); got != want {
			t.Errorf("%s: %s", reason, got)
		}
	}
}

// While it runs it says what it waits for, and stays.
func TestAnOperationThatWaitsSaysSo(t *testing.T) {
	w := newWorld(t, app(t, spec("")+synced))
	w.told(t, finished(engine.Running, "it waits", 0), outcomeOf(happening{Change: with(conf, apply.Create), did: apply.Blocked}))
	a := w.now(t)
	if s := a.Status.OperationState; a.Operation == nil || s.Phase != api.PhaseRunning || s.Message != "it waits" || s.FinishedAt != nil {
		t.Errorf("%+v", s)
	}
	w.told(t, func(u engine.Unit, out *engine.Outcome) {
		finished(engine.Running, "no", 2)(u, out)
		out.Operation.Next = time.Date(2026, 1, 1, 15, 4, 0, 0, time.UTC)
	}, outcomeOf(happening{Change: with(conf, apply.Create), did: apply.Refused}))
	if s := w.now(t).Status.OperationState; s.Message != "no. Retrying attempt #2 at 3:04PM." || s.RetryCount != 2 {
		t.Errorf("%+v", s)
	}
}

// Another operation that came meanwhile is not the one that ends.
func TestAnOperationThatCameMeanwhileStays(t *testing.T) {
	w := newWorld(t, app(t, spec("")+synced))
	a := w.now(t)
	u, _ := w.o.toUnit(a, w.around.now())
	u.Dialect = w
	u.Operation, _, _ = w.o.operation(a, w.around.now(), a.Status.OperationState)
	next := app(t, spec("")+strings.ReplaceAll(synced, "revision: abc", "revision: def"))
	next.SetResourceVersion(a.ResourceVersion)
	if err := w.WithWatch.Update(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	out := outcomeOf(happening{Change: with(conf, apply.Create), did: apply.Written})
	finished(engine.Succeeded, "", 0)(u, &out)
	if err := w.Report(t.Context(), u, out); err != nil {
		t.Fatal(err)
	}
	if a := w.now(t); a.Operation == nil || a.Operation.Sync.Revision != "def" || a.Status.OperationState.Phase != api.PhaseRunning {
		t.Errorf("%+v, %+v", a.Operation, a.Status.OperationState)
	}
}

// A comparison that fails keeps what was known.
func TestWhatCannotBeComparedStaysAsItWas(t *testing.T) {
	w := newWorld(t, app(t, spec("")))
	w.told(t, nil, outcomeOf(happening{Change: with(web, apply.Nothing)}))
	before := w.now(t).Status
	w.written()
	w.told(t, nil, engine.Outcome{Err: &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Err: engine.ErrWatchStarts}, Revision: "main@sha1:def"})
	if all := w.written(); len(all) != 0 {
		t.Errorf("before anything is known it writes %q", all)
	}
	w.told(t, nil, engine.Outcome{Err: errors.New("no answer"), Revision: "main@sha1:def"})
	st := w.now(t).Status
	if st.Sync.Status != api.Unknown || st.Sync.Revision != "abc" || st.Health.Status != before.Health.Status || !equal(st.Resources, before.Resources) ||
		len(st.Conditions) != 1 || st.Conditions[0].Type != api.ConditionComparisonError {
		t.Errorf("%+v", st)
	}
	w.told(t, nil, engine.Outcome{Err: errors.New("gone"), Unreachable: time.Now()})
	if st := w.now(t).Status; st.Health.Status != api.Unknown || len(st.Resources) != 1 {
		t.Errorf("%+v", st)
	}
}

// Of what was never compared nothing is known to be ill, and of what its spec can't
// be nothing is known.
func TestTheHealthOfWhatCannotBeCompared(t *testing.T) {
	for name, c := range map[string]struct {
		reason fault.Reason
		known  bool
		want   string
	}{
		"at first":                      {fault.PathNotFound, false, api.Healthy},
		"later":                         {fault.PathNotFound, true, api.Missing},
		"of a spec that is wrong":       {fault.InvalidSpec, false, api.Unknown},
		"of a spec that became so":      {fault.InvalidSpec, true, api.Unknown},
		"of what this version can't do": {fault.UnsupportedField, true, api.Unknown},
	} {
		w := newWorld(t, app(t, spec("")))
		if c.known {
			out := outcomeOf(happening{Change: with(web, apply.Create, held)})
			out.Unwell = []engine.Unwell{{Ref: web.Ref, Result: health.Result{Status: health.Missing}}}
			w.told(t, nil, out)
		}
		w.told(t, nil, engine.Outcome{Err: &fault.Error{Next: fault.Stall, Reason: c.reason, Err: errors.New("why")}})
		if st := w.now(t).Status; st.Health.Status != c.want || st.Sync.Status != api.Unknown {
			t.Errorf("%s: %s %s, want %s", name, st.Sync.Status, st.Health.Status, c.want)
		}
	}
}

// What is as it was is not written, and a refresh is answered all the same.
func TestWhatIsAsItWasIsNotWritten(t *testing.T) {
	w := newWorld(t, app(t, spec("")))
	out := outcomeOf(happening{Change: with(web, apply.Nothing)})
	w.told(t, nil, out)
	w.written()
	w.told(t, nil, out)
	if all := w.written(); len(all) != 0 {
		t.Errorf("it writes %q", all)
	}
	u := app(t, spec(""))
	if err := w.WithWatch.Get(t.Context(), reconcileWeb.NamespacedName, u); err != nil {
		t.Fatal(err)
	}
	u.SetAnnotations(map[string]string{refresh: "hard"})
	if err := w.WithWatch.Update(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	w.told(t, nil, out)
	if all := w.written(); len(all) != 0 {
		t.Errorf("it is answered before it was carried out: %q", all)
	}
	out.Handled = "1"
	w.known.asks(reconcileWeb.NamespacedName, howRefreshed(u.GetAnnotations()), "1")
	w.told(t, nil, out)
	if all := w.written(); len(all) != 1 || w.now(t).Status.ReconciledAt == nil || len(w.now(t).Annotations) != 0 {
		t.Errorf("it writes %q", all)
	}
}

func pruning(more ...happening) func(*engine.Outcome) {
	return func(o *engine.Outcome) {
		*o = outcomeOf(append(more, happening{Change: with(conf, apply.Delete, surplus, held)})...)
	}
}

// Automated is synced once for each revision and each source, and what failed is
// not tried again.
func TestARevisionIsSyncedOfItselfOnce(t *testing.T) {
	out := func() engine.Outcome { return outcomeOf(happening{Change: with(conf, apply.Create, held)}) }
	state := func(phase, revision, more string) string {
		return "\nstatus: {operationState: {phase: " + phase + ", message: refused, startedAt: '2026-01-01T00:00:00Z', finishedAt: '2026-01-01T00:00:01Z', operation: {sync: {" + more +
			"}}, syncResult: {revision: " + revision + ", source: " + from + "}}}"
	}
	auto := spec(", syncPolicy: {automated: {prune: true}, syncOptions: [PruneLast=true]}")
	heal := spec(", syncPolicy: {automated: {selfHeal: true}}")
	for name, c := range map[string]struct {
		parts  string
		change func(*engine.Outcome)
		want   bool
		wrong  string
	}{
		"never before":              {auto, nil, true, ""},
		"manual":                    {spec(""), nil, false, ""},
		"disabled":                  {spec(", syncPolicy: {automated: {enabled: false}}"), nil, false, ""},
		"another revision":          {auto + state("Succeeded", "old", ""), nil, true, ""},
		"another source":            {strings.Replace(auto, "path: web", "path: other", 1) + state("Succeeded", "abc", ""), nil, true, ""},
		"it was done":               {auto + state("Succeeded", "abc", ""), nil, false, ""},
		"it has failed":             {auto + state("Failed", "abc", ""), nil, false, "Failed last sync attempt to abc: refused"},
		"of another it has failed":  {auto + state("Failed", "old", ""), nil, true, ""},
		"it is healed":              {heal + state("Succeeded", "abc", "autoHealAttemptsCount: 2"), nil, true, ""},
		"what failed is not healed": {heal + state("Failed", "abc", ""), nil, false, "Failed last sync attempt to abc: refused"},
		"nothing to do":             {auto, func(o *engine.Outcome) { *o = outcomeOf(happening{Change: with(conf, apply.Nothing)}) }, false, ""},
		"only pruning":              {auto, pruning(happening{Change: with(web, apply.Nothing)}), true, ""},
		"only pruning, and none":    {heal, pruning(happening{Change: with(web, apply.Nothing)}), false, ""},
		"all would be pruned":       {auto, pruning(), false, "Skipping sync attempt to abc: it would prune all objects; spec.syncPolicy.automated.allowEmpty allows that"},
		"all, and that is allowed":  {strings.Replace(auto, "prune: true", "prune: true, allowEmpty: true", 1), pruning(), true, ""},
		"it can't be compared": {auto, func(o *engine.Outcome) {
			o.Plan, o.Err = nil, &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Err: errors.New("x")}
		}, false, ""},
		"a kind is missing": {auto, func(o *engine.Outcome) {
			o.Plan.Changes[0].Rule = apply.RuleUnknownKind
			o.Err = &fault.Error{Next: fault.Wait, Reason: fault.UnknownKind, Err: errors.New("x")}
		}, false, "Sync operation to abc waits: x"},
		"one object hangs": {auto, func(o *engine.Outcome) {
			o.Err = &fault.Error{Next: fault.Wait, Reason: fault.Terminating, Err: errors.New("x")}
		}, true, ""},
		"one can't be put right": {heal, func(o *engine.Outcome) { o.Err = &fault.Error{Next: fault.Retry, Err: errors.New("x")} }, true, ""},
		"an operation is there":  {auto + "\noperation: {sync: {}}", nil, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, app(t, c.parts))
			o := out()
			if c.change != nil {
				c.change(&o)
			}
			began := w.begins(t, o)
			if (began != nil) != c.want {
				t.Errorf("it begins: %+v", began)
			}
			if len(w.written()) > 0 {
				t.Error("something is written before it is told")
			}
			if began != nil {
				o.Operation = engine.Progress{ID: began.ID}
			}
			w.told(t, nil, o)
			a := w.now(t)
			s := a.Status.OperationState
			if began != nil && (s.Phase != api.PhaseRunning || !a.runs() || operationID(s) != began.ID) {
				t.Errorf("it is not stored: %+v", s)
			}
			if began != nil && (!s.Operation.InitiatedBy.Automated || s.Operation.Sync.Revision != "abc" || s.Operation.Retry.Limit != automatedRetries) {
				t.Errorf("%+v", s.Operation)
			}
			if strings.Contains(name, "healed") && began != nil && s.Operation.Sync.AutoHealAttemptsCount != 3 {
				t.Errorf("%+v", s.Operation.Sync)
			}
			if name == "never before" && (!s.Operation.Sync.Prune || len(s.Operation.Sync.SyncOptions) != 1 || len(w.written()) != 1) {
				t.Errorf("%+v", s.Operation.Sync)
			}
			wrong := ""
			for _, x := range a.Status.Conditions {
				wrong += x.Message
			}
			if wrong != c.wrong {
				t.Errorf("it says %q, want %q", wrong, c.wrong)
			}
		})
	}
}

func (w *world) begins(t *testing.T, out engine.Outcome) *engine.Operation {
	u, _ := w.o.toUnit(w.now(t), w.around.now())
	return w.Begin(t.Context(), u, out)
}

// Of an operation that begins and ends in one look, one write tells.
func TestWhatBeginsOfItselfAndEndsIsOneWrite(t *testing.T) {
	w := newWorld(t, app(t, spec(", syncPolicy: {automated: {}}")))
	out := outcomeOf(happening{Change: with(conf, apply.Create, held)})
	began := w.begins(t, out)
	w.before = func() {
		if w.known.automatic(reconcileWeb.NamespacedName) == nil {
			t.Error("it is forgotten before it is stored")
		}
	}
	out = outcomeOf(happening{Change: with(conf, apply.Create), did: apply.Written})
	out.Operation = engine.Progress{ID: began.ID, Stage: engine.Succeeded, Revision: "abc"}
	w.told(t, nil, out)
	a := w.now(t)
	if s := a.Status.OperationState; s.Phase != api.PhaseSucceeded || !s.Operation.InitiatedBy.Automated || s.SyncResult.Revision != "abc" || len(s.SyncResult.Resources) != 1 {
		t.Errorf("%+v", s)
	}
	if len(a.Status.History) != 1 || a.Operation != nil || len(w.written()) != 1 {
		t.Errorf("history %+v, operation %v", a.Status.History, a.Operation)
	}
	w.told(t, nil, out) // as the engine goes on to say
	if a := w.now(t); len(a.Status.History) != 1 || len(w.written()) != 0 {
		t.Errorf("it is told again: %+v", a.Status.History)
	}
}

// Of what somebody asks for while it begins, nothing is overwritten.
func TestWhatBeginsOfItselfGivesWay(t *testing.T) {
	w := newWorld(t, app(t, spec(", syncPolicy: {automated: {}}")))
	out := outcomeOf(happening{Change: with(conf, apply.Create, held)})
	began := w.begins(t, out)
	u := example()
	u.SetNamespace("argocd")
	u.SetName("web")
	if err := w.Patch(t.Context(), u, client.RawPatch(types.MergePatchType, []byte(`{"operation": {"sync": {"revision": "old"}}}`))); err != nil {
		t.Fatal(err)
	}
	out.Operation = engine.Progress{ID: began.ID, Stage: engine.Succeeded, Revision: "abc"}
	w.told(t, nil, out)
	if a := w.now(t); a.Operation == nil || a.Operation.Sync.Revision != "old" || a.Status.OperationState != nil {
		t.Errorf("%+v, %+v", a.Operation, a.Status.OperationState)
	}
}

func TestWhatIsHealedOftenWaitsLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for times, want := range map[int64]time.Duration{1: 2 * time.Second, 2: 6 * time.Second, 3: 18 * time.Second, 6: 5 * time.Minute, 100: 5 * time.Minute} {
			if got := healPause(times); got != want {
				t.Errorf("%d: %s, want %s", times, got, want)
			}
		}
	})
}

// What is about to be written is in the status before it is, and an operation
// that has said so needs no write for it.
func TestWhatIsWrittenIsRememberedBefore(t *testing.T) {
	w := newWorld(t, app(t, spec("")))
	u, _ := w.o.toUnit(w.now(t), w.around.now())
	entries := []apply.Entry{{Ref: conf.Ref, Version: "v1"}, {Ref: web.Ref, Version: "v1", Wave: 3}}
	if err := w.Store(t.Context(), u, entries); err != nil {
		t.Fatal(err)
	}
	a := w.now(t)
	if got := inventoryOf(&a.Status); !slices.Equal(got, apply.Union(entries, nil)) || len(w.written()) != 1 {
		t.Errorf("%v", got)
	}
	if err := w.Store(t.Context(), u, entries); err != nil || len(w.written()) != 0 {
		t.Errorf("it is stored again: %v", err)
	}
	w = newWorld(t, app(t, spec("")+strings.Replace(synced, "status: {", "status: {resources: [{kind: ConfigMap, version: v1, namespace: shop, name: conf, status: OutOfSync, health: {status: Missing}}], ", 1)))
	if err := w.Store(t.Context(), u, entries[:1]); err != nil || len(w.written()) != 0 {
		t.Errorf("what is listed while an operation runs is stored again: %v", err)
	}
}

func TestImagesAreFoundWhereverContainersAre(t *testing.T) {
	c := func(image string) map[string]any { return map[string]any{"name": "c", "image": image} }
	got := images(map[string]any{
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{c("a"), c("b"), 7}, "initContainers": []any{c("c")}}}},
		"list": []any{map[string]any{"containers": []any{c("d")}}}, "image": "x", "containers": "none",
	})
	slices.Sort(got)
	if !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		t.Errorf("%q", got)
	}
}
