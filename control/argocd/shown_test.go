package argocd

import (
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"k8s.io/apimachinery/pkg/types"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/control/argocd/cached"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/redistest"
	"plumb.dev/plumb/watch"
)

// showing has the world show what is looked at in a Redis.
func (w *world) showing(t *testing.T, addr string) {
	t.Helper()
	store := cached.Open(cached.Options{Addr: addr})
	t.Cleanup(func() { store.Close() })
	w.shown = &shown{
		store: store, engine: w.engine, log: slog.New(slog.DiscardHandler), ctx: t.Context(), names: w.o.trackingName, wake: w.queue.Add,
		of: make(map[types.NamespacedName]*sight), children: make(map[string]*watch.Children),
	}
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
	w.showing(t, "127.0.0.1:1")
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
	if !w.shown.isOut() {
		t.Error("nobody is told that it can't be shown")
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

func TestAnApplicationIsShownWhileThereAreSigns(t *testing.T) {
	w := newWorld(t)
	w.showing(t, "127.0.0.1:1")
	s, web, other := w.shown, types.NamespacedName{Namespace: "argocd", Name: "web"}, types.NamespacedName{Namespace: "shop", Name: "web"}
	s.open(web)
	s.open(other)
	if s.wants(web) == "" || s.wants(web) == s.wants(other) {
		t.Errorf("looks are asked for as %q and %q", s.wants(web), s.wants(other))
	}
	if s.tell(web, seen{}, "1") {
		t.Error("what could not be compared is waited for")
	}
	if s.tell(types.NamespacedName{Name: "third"}, seen{plan: &apply.Plan{}}, "1") {
		t.Error("what nobody looks at is waited for")
	}
	s.tell(web, seen{plan: &apply.Plan{}}, "")
	if s.wants(web) != "" {
		t.Error("another look is asked for")
	}
	if keys := s.idle(time.Now().Add(shownFor / 2)); len(keys) > 0 {
		t.Errorf("%v are done with", keys)
	}
	keys := s.idle(time.Now().Add(2 * shownFor))
	if len(keys) != 2 {
		t.Errorf("%v are done with", keys)
	}
	s.close(web)
	if s.sight(web) != nil || s.sight(other) == nil {
		t.Error("another one is closed")
	}
	var none *shown
	none.open(web)
	none.close(web)
	if none.wants(web) != "" || none.tell(web, seen{plan: &apply.Plan{}}, "1") || none.answers(web, "1") {
		t.Error("nobody is shown something")
	}
}

func TestWhatIsOpenIsLookedAt(t *testing.T) {
	addr := redistest.Start(t)
	w := newWorld(t)
	w.showing(t, addr)
	c := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { c.Close() })
	listens := c.Subscribe(t.Context(), "app|managed-resources|web|1.8.3", "app|managed-resources|shop_web|1.8.3", "app|managed-resources|gone|1.8.3", "another")
	t.Cleanup(func() { listens.Close() })
	w.eventually(t, func() string {
		if n, err := c.PubSubNumSub(t.Context(), "another").Result(); err != nil || n["another"] == 0 {
			return "nobody listens"
		}
		return ""
	})
	exists := func(k types.NamespacedName) bool { return k.Name != "gone" }
	if err := w.shown.look(t.Context(), exists, w.o.called); err != nil {
		t.Fatal(err)
	}
	var got []string
	for k := range w.shown.of {
		got = append(got, k.String())
	}
	slices.Sort(got)
	if want := []string{"argocd/web", "shop/web"}; !slices.Equal(got, want) {
		t.Errorf("shown are %v, want %v", got, want)
	}
	const closed = "app|managed-resources|shop_web|1.8.3"
	if err := listens.Unsubscribe(t.Context(), closed); err != nil {
		t.Fatal(err)
	}
	w.eventually(t, func() string {
		if n, err := c.PubSubNumSub(t.Context(), closed).Result(); err != nil || n[closed] > 0 {
			return "somebody listens"
		}
		return ""
	})
	w.shown.of[types.NamespacedName{Namespace: "shop", Name: "web"}].signed = time.Now().Add(-2 * shownFor)
	w.eventually(t, func() string {
		if err := w.shown.look(t.Context(), exists, w.o.called); err != nil {
			t.Fatal(err)
		}
		if w.shown.sight(types.NamespacedName{Namespace: "shop", Name: "web"}) != nil {
			return "what nobody looks at is shown"
		}
		return ""
	})
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
