package argocd

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/control/argocd/cached"
	"plumb.dev/plumb/control/argocd/shown"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
)

// showing has the world show what is looked at in a Redis that there is not, and
// returns what is logged of that.
func (w *world) showing(t *testing.T) (log *bytes.Buffer) {
	t.Helper()
	store := cached.Open(cached.Options{Addr: "127.0.0.1:1"})
	t.Cleanup(func() { store.Close() })
	log = &bytes.Buffer{}
	w.shown = shown.New(t.Context(), shown.Options{
		Store: store, Engine: w.engine, Log: slog.New(slog.NewTextHandler(log, nil)), Name: w.o.trackingName, Wake: w.queue.Add,
		Selector: selectorOf, Sensitive: sensitiveTo, Orphans: w.orphans.nodes,
	})
	return log
}

// asked is an Application that somebody asks a refresh of, and what a look has
// come to since.
func (w *world) asked(t *testing.T) (u engine.Unit, out engine.Outcome) {
	t.Helper()
	w.reconcile(t)
	request, _ := w.known.asked(reconcileWeb.NamespacedName, howRefreshed(w.now(t).Annotations))
	unit, _ := w.o.toUnit(w.now(t), plain)
	unit.Dialect = w
	out = outcomeOf(happening{Change: web})
	out.State, out.Handled = engine.Ready, request
	return unit, out
}

func refreshing(t *testing.T) *world {
	t.Helper()
	a := app(t, spec(""))
	a.SetAnnotations(map[string]string{refresh: "normal", refreshTime: "now"})
	return newWorld(t, a)
}

func TestARefreshIsAnsweredWhereNobodyIsShownAnything(t *testing.T) {
	w := refreshing(t)
	u, out := w.asked(t)
	if err := w.Report(t.Context(), u, out); err != nil {
		t.Fatal(err)
	}
	if a := w.now(t).Annotations; len(a) > 0 {
		t.Errorf("there are %v", a)
	}
}

// The engine's cluster does not answer: what can't be read is told the log, and
// the refresh is answered then.
func TestARefreshIsAnsweredOnceItIsKnownWhatCanBeShown(t *testing.T) {
	w := refreshing(t)
	log := w.showing(t)
	u, out := w.asked(t)
	if err := w.Report(t.Context(), u, out); err != nil {
		t.Fatal(err)
	}
	if w.now(t).Annotations[refresh] == "" {
		t.Error("it is answered before anything could be read")
	}
	w.eventually(t, func() string {
		w.reconcile(t)
		if a := w.now(t).Annotations; len(a) > 0 {
			return "there are annotations"
		}
		return ""
	})
	if at := w.now(t).Status.ReconciledAt; at == nil {
		t.Error("it does not say when")
	}
	if !strings.Contains(log.String(), "can't be shown") {
		t.Errorf("nobody is told that it can't be shown: %s", log)
	}
}

// A request that came while another was carried out is another one.
func TestARefreshIsNotAnsweredByAnEarlierLook(t *testing.T) {
	w := refreshing(t)
	u, out := w.asked(t)
	later := example()
	if err := w.WithWatch.Get(t.Context(), reconcileWeb.NamespacedName, later); err != nil {
		t.Fatal(err)
	}
	later.SetAnnotations(map[string]string{refresh: "normal", refreshTime: "later"})
	if err := w.WithWatch.Update(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	if err := w.Report(t.Context(), u, out); err != nil {
		t.Fatal(err)
	}
	if w.now(t).Annotations[refresh] == "" {
		t.Error("it is answered")
	}
}

// Nothing is known yet is no verdict: what was said of an Application stands.
func TestWhatComesByItselfIsNoError(t *testing.T) {
	w := refreshing(t)
	u, out := w.asked(t)
	if err := w.Report(t.Context(), u, out); err != nil {
		t.Fatal(err)
	}
	before := w.now(t).Status
	if before.Sync.Status == "" {
		t.Fatalf("%+v", before.Sync)
	}
	starts := engine.Outcome{State: engine.Progressing, Err: &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Err: errors.New("the watch is starting")}}
	if err := w.Report(t.Context(), u, starts); err != nil {
		t.Fatal(err)
	}
	if now := w.now(t).Status; now.Sync.Status != before.Sync.Status || len(now.Conditions) > 0 || now.Health.Status == api.Unknown {
		t.Errorf("%+v, %+v", now.Sync, now.Conditions)
	}
}
