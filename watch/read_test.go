package watch

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/object/ignore"
)

// A gate lets expressions be evaluated while it is open.
type gate struct {
	shut  sync.RWMutex // held while it is shut
	mu    sync.Mutex
	asked int
}

// Find implements [ignore.Finder].
func (g *gate) Find(expression string, object []byte) ([][]any, error) {
	g.shut.RLock()
	defer g.shut.RUnlock()
	g.mu.Lock()
	g.asked++
	g.mu.Unlock()
	return ignore.Here{}.Find(expression, object)
}

func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked
}

// ignoring is a world whose unit has a rule about its object.
func ignoring(t *testing.T, f ignore.Finder, rule ignore.Rule) *world {
	t.Helper()
	r, err := ignore.Compile([]ignore.Rule{rule}, ignore.Options{Finder: f})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{}
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	var mu sync.Mutex
	w.stream = newStream(ctx, streamKey{selector: "label"}, func(unit string) {
		mu.Lock()
		defer mu.Unlock()
		w.told = append(w.told, unit)
	}, func(*stream) {})
	was := newWorld().f
	v := *was.view
	v.Managers.Ignored = r.For(cm(1, "", ""), "shop", nil)
	w.f = &following{Ref: was.Ref, view: &v, stream: w.stream}
	w.join(w.f, nil)
	_ = w.Replace([]any{both(5, "x", "one", "")}, "10")
	w.settle(w.f, "digest", both(5, "x", "one", ""), true)
	w.told = nil
	return w
}

// both is cm with another field that plumb has applied too, unless by says who
// else wrote that.
func both(version int, value, other, by string) *unstructured.Unstructured {
	o := cm(version, value, "")
	data := o.Object["data"].(map[string]any)
	data["other"] = other
	entries := o.Object["metadata"].(map[string]any)["managedFields"].([]any)
	field := map[string]any{"f:other": map[string]any{}}
	if by == "" {
		entries[0].(map[string]any)["fieldsV1"].(map[string]any)["f:data"].(map[string]any)["f:other"] = map[string]any{}
		return o
	}
	o.Object["metadata"].(map[string]any)["managedFields"] = append(entries, map[string]any{
		"manager": by, "operation": "Update", "fieldsV1": map[string]any{"f:data": field},
	})
	return o
}

func TestWhatDoesNotCountWakesNobody(t *testing.T) {
	w := ignoring(t, nil, ignore.Rule{Pointers: []string{"/data/other"}})
	_ = w.Update(both(11, "x", "two", "rival"))
	w.wasTold(t, false)
	if l := w.now(t); !l.Settled || l.Object != nil {
		t.Errorf("after a change that does not count: %+v", l)
	}
	_ = w.Update(both(12, "y", "two", "rival"))
	w.wasTold(t, true)
	if l := w.now(t); l.Settled || l.Object == nil {
		t.Errorf("after one that does: %+v", l)
	}
}

// awaitUnread waits until so many objects are yet to be looked at.
func (w *world) awaitUnread(t *testing.T, want int) {
	t.Helper()
	kubetest.Eventually(t, time.Minute, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if n := len(w.unread); n != want || w.reading != (want > 0) {
			return fmt.Errorf("%d objects are to be looked at, want %d", n, want)
		}
		return nil
	})
}

// To tell by an expression takes time, for which no event and no other unit
// waits.
func TestWhatTakesTimeToTellIsToldLater(t *testing.T) {
	g := &gate{}
	w := ignoring(t, g, ignore.Rule{JQ: []string{".data.other"}})
	w.awaitUnread(t, 0)
	g.shut.Lock()
	before := g.count()
	_ = w.Update(both(11, "x", "two", "rival"))
	_ = w.Update(both(12, "x", "three", "rival"))
	_ = w.Update(both(13, "x", "four", "rival"))
	w.wasTold(t, false)
	w.awaitUnread(t, 1)
	g.shut.Unlock()
	w.awaitUnread(t, 0)
	w.wasTold(t, false)
	if l := w.now(t); !l.Settled || l.Object != nil {
		t.Errorf("after changes that don't count: %+v", l)
	}
	if n := g.count() - before; n > 2 {
		t.Errorf("of three events about one object %d were evaluated", n)
	}
	_ = w.Update(both(14, "y", "four", "rival"))
	w.awaitUnread(t, 0)
	w.wasTold(t, true)
	if l := w.now(t); l.Settled || l.Object == nil || l.Object.GetResourceVersion() != "14" {
		t.Errorf("after a change that counts: %+v", l)
	}
}

// Who asks does not wait for others to have looked.
func TestWhoAsksLooksAtOnce(t *testing.T) {
	w := ignoring(t, &gate{}, ignore.Rule{JQ: []string{".data.other"}})
	w.mu.Lock()
	w.reading = true // and never comes to it
	w.mu.Unlock()
	_ = w.Update(both(11, "y", "one", ""))
	if l := w.now(t); l.Settled || len(w.unread) > 0 {
		t.Errorf("it is not looked at: %+v", l)
	}
	_ = w.Update(both(12, "x", "one", ""))
	_ = w.Delete(both(13, "x", "one", ""))
	if l := w.now(t); l.Exists || len(w.unread) > 0 {
		t.Errorf("it is gone: %+v", l)
	}
	_ = w.Update(both(14, "x", "one", ""))
	if w.leave(w.f); len(w.unread) > 0 {
		t.Error("there is something to look at for nobody")
	}
}

func TestWhereARuleHasNoAnswerNothingIsSettled(t *testing.T) {
	w := ignoring(t, nil, ignore.Rule{JQ: []string{"repeat(.)"}}) // without end
	if l := w.now(t); l.Settled || l.Object == nil {
		t.Errorf("it is known to be as desired: %+v", l)
	}
}

func TestAnotherRuleLooksAnew(t *testing.T) {
	w := ignoring(t, nil, ignore.Rule{Pointers: []string{"/data/other"}})
	target := Target{Ref: w.f.Ref, Version: w.f.Version, Scope: w.f.Scope, Managers: w.f.Managers}
	if !w.f.same(target) {
		t.Error("the same is another")
	}
	target.Managers.Ignored = nil
	if w.f.same(target) {
		t.Error("without the rule it is the same")
	}
}
