package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/watch/health"
)

var managers = owned.Managers{Self: "kustomize-controller", Undo: []string{"kubectl"}}

// cm is a ConfigMap as the server returns it: value was applied by plumb,
// unless by says who else wrote it.
func cm(version int, value, by string) *unstructured.Unstructured {
	manager, operation := "kustomize-controller", "Apply"
	entries := []any{}
	if by != "" {
		entries = append(entries, map[string]any{"manager": manager, "operation": operation, "fieldsV1": map[string]any{}})
		manager, operation = by, "Update"
	}
	entries = append(entries, map[string]any{
		"manager": manager, "operation": operation,
		"fieldsV1": map[string]any{"f:data": map[string]any{"f:v": map[string]any{}}},
	})
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": "a", "namespace": "shop", "uid": "1", "resourceVersion": fmt.Sprint(version), "managedFields": entries},
		"data":     map[string]any{"v": value},
	}}
}

type world struct {
	*stream
	f    *following
	told []string
}

func newWorld() *world {
	w := &world{}
	w.stream = newStream(context.Background(), streamKey{selector: "label"}, func(unit string) { w.told = append(w.told, unit) }, func(*stream) {})
	w.f = &following{
		Ref:    object.Ref{Kind: "ConfigMap", Namespace: "shop", Name: "a"},
		view:   &view{unit: "unit", Scope: Scope{Selector: "label"}, Managers: managers},
		stream: w.stream,
	}
	w.join(w.f, nil)
	return w
}

func (w *world) now(t *testing.T) Live {
	t.Helper()
	l, known := w.live(w.f)
	if !known {
		t.Fatal("it is not known")
	}
	return l
}

func (w *world) wasTold(t *testing.T, want bool) {
	t.Helper()
	if got := slices.Contains(w.told, "unit"); got != want {
		t.Errorf("the unit was told: %v, want %v", got, want)
	}
	w.told = nil
}

func TestNothingIsKnownBeforeTheFirstList(t *testing.T) {
	w := newWorld()
	if _, known := w.live(w.f); known {
		t.Error("it is known not to exist, although nothing was listed")
	}
	_ = w.Replace(nil, "10")
	w.wasTold(t, true)
	if l := w.now(t); l.Exists || l.Health.Status != health.Missing {
		t.Errorf("after an empty list: %+v", l)
	}
}

func TestASettledObjectIsForgottenAndItsEventsCostNothing(t *testing.T) {
	w := newWorld()
	_ = w.Replace([]any{cm(5, "x", "")}, "10")
	if l := w.now(t); !l.Exists || l.Settled || l.Object == nil {
		t.Fatalf("before it is settled: %+v", l)
	}
	w.settle(w.f, "digest", cm(5, "x", ""), true)
	w.told = nil
	if l := w.now(t); !l.Settled || l.Object != nil || l.Digest != "digest" {
		t.Fatalf("settled: %+v", l)
	}
	other := cm(11, "x", "")
	other.SetAnnotations(map[string]string{"someone": "else"})
	_ = w.Update(other)
	w.wasTold(t, false)
	if l := w.now(t); !l.Settled || l.Object != nil {
		t.Errorf("after a change of what is not ours: %+v", l)
	}
}

func TestDriftIsToldAndTheObjectKept(t *testing.T) {
	w := newWorld()
	_ = w.Replace([]any{cm(5, "x", "")}, "10")
	w.settle(w.f, "digest", cm(5, "x", ""), true)
	w.told = nil
	_ = w.Update(cm(11, "y", "rival"))
	w.wasTold(t, true)
	if l := w.now(t); l.Settled || l.Object == nil || l.Digest != "digest" {
		t.Errorf("after drift: %+v", l)
	}
	// What plumb wrote is known before the watch shows it, and older events
	// that come late don't undo that.
	w.settle(w.f, "digest", cm(12, "x", ""), true)
	w.told = nil
	_ = w.Update(cm(11, "y", "rival"))
	_ = w.Update(cm(12, "x", ""))
	w.wasTold(t, false)
	if l := w.now(t); !l.Settled {
		t.Errorf("after it was put right: %+v", l)
	}
}

func TestAnEventThatOvertakesTheAnswerIsNotLost(t *testing.T) {
	w := newWorld()
	_ = w.Replace(nil, "10")
	_ = w.Update(cm(12, "y", "rival")) // somebody was faster
	w.settle(w.f, "digest", cm(11, "x", ""), true)
	if l := w.now(t); l.Settled || l.Object == nil {
		t.Errorf("the rival's change is taken for settled: %+v", l)
	}
}

func TestAListThatMissesAnObjectMeansItIsGone(t *testing.T) {
	w := newWorld()
	_ = w.Replace([]any{cm(5, "x", "")}, "10")
	w.settle(w.f, "digest", cm(5, "x", ""), true)
	w.told = nil
	_ = w.Replace(nil, "20") // the deletion was never shown
	w.wasTold(t, true)
	if l := w.now(t); l.Exists || l.Digest != "digest" {
		t.Errorf("after it was gone: %+v", l)
	}
	// But not an object that was created after the list was made.
	w.settle(w.f, "digest", cm(30, "x", ""), true)
	w.told = nil
	_ = w.Replace(nil, "25")
	if l := w.now(t); !l.Exists || !l.Settled {
		t.Errorf("an older list hid it: %+v", l)
	}
}

func TestALostWatchIsNoEvidence(t *testing.T) {
	w := newWorld()
	_ = w.Replace([]any{cm(5, "x", "")}, "10")
	w.settle(w.f, "digest", cm(5, "x", ""), true)
	w.connected(fmt.Errorf("connection refused"))
	if l := w.now(t); !l.Exists || !l.Settled {
		t.Errorf("after the watch was lost: %+v", l)
	}
	if synced, err := w.state(); !synced || err != nil {
		t.Errorf("state: %v %v", synced, err)
	}
}

// What a unit has evaluated takes its own time: an event of an object is only
// noted, and the unit that has the expression evaluates it when it looks.
func TestAnExpressionIsEvaluatedByWhoLooks(t *testing.T) {
	w := newWorld()
	judge, err := health.Compile(health.Exprs{Current: "data.v == 'x'"})
	if err != nil {
		t.Fatal(err)
	}
	w.f.view.Judge = judge
	_ = w.Replace([]any{cm(5, "y", "")}, "10")
	w.wasTold(t, true)
	if fo := w.records[w.f.name()].of(w.f); fo.health != nil {
		t.Error("it was evaluated with the event")
	}
	if l := w.now(t); l.Health.Status != health.InProgress {
		t.Errorf("it is %+v", l.Health)
	}
	w.settle(w.f, "digest", cm(12, "x", ""), true)
	if l := w.now(t); l.Health.Status != health.Current || !l.Settled {
		t.Errorf("after it was written: %+v", l)
	}
	if l := w.now(t); l.Object != nil {
		t.Error("the object is kept although it is settled and judged")
	}
	w.told = nil
	_ = w.Update(cm(13, "x", ""))
	w.wasTold(t, true) // only the unit can tell whether that is another health
}

// A judge of plumb's own is quick, and asked with the event: nobody is told of
// what changes nothing about the health.
func TestAQuickJudgeIsAskedWithTheEvent(t *testing.T) {
	w := newWorld()
	w.f.view.Judge = health.Table.For(schema.GroupKind{Group: "batch", Kind: "Job"})
	job := func(version int, kind, message string) *unstructured.Unstructured {
		o := cm(version, "x", "")
		o.Object["status"] = map[string]any{"conditions": []any{map[string]any{"type": kind, "status": "True", "message": message}}}
		return o
	}
	_ = w.Replace([]any{job(5, "Suspended", "")}, "10")
	w.wasTold(t, true)
	w.settle(w.f, "digest", job(12, "Suspended", ""), true)
	if l := w.now(t); l.Health.Status != health.Suspended || l.Object != nil {
		t.Errorf("%+v", l)
	}
	w.told = nil
	_ = w.Update(job(13, "Suspended", "still"))
	w.wasTold(t, false)
	if l := w.now(t); l.Health.Message != "still" {
		t.Errorf("%+v", l.Health)
	}
	w.f.view.Words = true
	_ = w.Update(job(14, "Suspended", "again"))
	w.wasTold(t, true)
	w.told = nil
	_ = w.Update(job(15, "Complete", ""))
	w.wasTold(t, true)
	if l := w.now(t); l.Health.Status != health.Current || w.records[w.f.name()].of(w.f).health != &well {
		t.Errorf("%+v", l.Health)
	}
}

// A judge that can't be asked now is asked again by the next who looks, and the
// object is kept for it.
func TestAJudgeThatCouldNotBeAskedIsAskedAgain(t *testing.T) {
	w := newWorld()
	j := &away{err: &fault.Error{Next: fault.Retry, Err: errors.New("no process")}}
	w.f.view.Judge = j
	_ = w.Replace([]any{cm(5, "y", "")}, "10")
	w.settle(w.f, "digest", cm(12, "x", ""), true)
	if l := w.now(t); l.Health.Err == nil || j.asked == 0 {
		t.Errorf("%+v", l.Health)
	}
	j.err = &fault.Error{Next: fault.Wait, Err: errors.New("line 1")}
	if l := w.now(t); l.Health.Err.Error() != "line 1" {
		t.Errorf("%+v", l.Health)
	}
	asked := j.asked
	if l := w.now(t); l.Health.Err.Error() != "line 1" || j.asked != asked || l.Object != nil {
		t.Errorf("what only another rule mends is asked again: %+v", l)
	}
}

type away struct {
	err   error
	asked int
}

func (a *away) Of(*unstructured.Unstructured) health.Result {
	a.asked++
	return health.Result{Status: health.Unknown, Err: a.err}
}

func TestWhatNobodyFollowsIsHeldUpToABound(t *testing.T) {
	w := newWorld()
	big := strings.Repeat("x", 1<<20)
	var list []any
	for i := range 40 {
		o := cm(5+i, big, "")
		o.SetName(fmt.Sprint("stranger-", i))
		list = append(list, o)
	}
	mine := cm(3, "x", "")
	list = append(list, mine)
	_ = w.Replace(list, "100")
	if held := len(w.strangers.held); held == 0 || held > maxStrangers>>20 {
		t.Errorf("%d MiB are held of objects that nobody follows", held)
	}
	if len(w.records) != 1 || len(w.strangers.names) != 40 {
		t.Errorf("there are %d records, and %d strangers are known", len(w.records), len(w.strangers.names))
	}
	if l := w.now(t); l.Object == nil {
		t.Error("what is followed is not held")
	}
	for i := range 40 {
		o := cm(200+i, "x", "")
		o.SetName(fmt.Sprint("stranger-", i))
		_ = w.Delete(o)
	}
	if len(w.strangers.bytes)+len(w.strangers.held)+len(w.strangers.names) != 0 {
		t.Errorf("what is gone still counts: %v", w.strangers)
	}
}

func TestAnAnswerFromBeforeADeletionBringsNothingBack(t *testing.T) {
	w := newWorld()
	_ = w.Replace([]any{cm(5, "x", "")}, "10")
	_ = w.Delete(cm(20, "x", ""))
	w.settle(w.f, "digest", cm(15, "x", ""), true)
	if l := w.now(t); l.Exists {
		t.Errorf("it is gone, and it says %+v", l)
	}
}

func TestWhatOneUnitWritesTheOthersAreToldOf(t *testing.T) {
	w := newWorld()
	_ = w.Replace([]any{cm(5, "x", "")}, "10")
	other := &following{Ref: w.f.Ref, view: &view{unit: "other", Managers: managers}, stream: w.stream}
	w.join(other, nil)
	w.settle(other, "digest", cm(5, "x", ""), true)
	w.told = nil
	w.tell(w.settle(w.f, "digest", cm(11, "y", ""), true))
	if !slices.Equal(w.told, []string{"other"}) {
		t.Errorf("told were %v", w.told)
	}
}
