package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/engine/loop"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/watch/health"
)

// A listener is a dialect that writes down what it is told, and when.
type listener struct {
	began time.Time
	mu    sync.Mutex
	heard []string
	deaf  int      // how many reports fail
	ops   []string // what was said of operations, when that was new
	said  string   // the last of it
}

func (l *listener) Store(context.Context, Unit, []apply.Entry) error { return nil }

func (l *listener) Report(_ context.Context, u Unit, out Outcome) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deaf > 0 {
		l.deaf--
		return errors.New("the status can't be written")
	}
	words := []string{time.Since(l.began).Round(time.Second).String(), u.Name}
	for word, is := range map[string]bool{"interim": out.Interim, "live": out.Live, "late": out.Deferred, "rested": out.Rested, "removed": out.State == Removed} {
		if is {
			words = append(words, word)
		}
	}
	slices.Sort(words[2:])
	if out.Handled != "" {
		words = append(words, "handled "+out.Handled)
	}
	if out.Err != nil {
		words = append(words, out.Err.Error())
	}
	l.heard = append(l.heard, strings.Join(words, " "))
	if op := out.Operation.brief(l.began); op != "" && !strings.HasSuffix(l.lastOp(), op) {
		l.ops = append(l.ops, words[0]+" "+op)
	}
	return nil
}

func (l *listener) lastOp() string {
	if len(l.ops) == 0 {
		return l.said
	}
	return l.ops[len(l.ops)-1]
}

// operations checks what was told of operations since it was asked last.
func (l *listener) operations(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.ops, want) {
		t.Errorf("heard %q\nwant  %q", l.ops, want)
	}
	l.said, l.ops = l.lastOp(), nil
}

func (l *listener) wants(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.heard, want) {
		t.Errorf("heard %q\nwant  %q", l.heard, want)
	}
	l.heard = nil
}

// looking runs f with a clock of its own and an engine that looks at what is put.
func looking(t *testing.T, artifacts map[string]*source.Artifact, f func(t *testing.T, e *Engine, l *listener)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := units(artifacts)
		e.o.Workers, e.o.Elsewhere = 2, 2
		e.loop = newLoop(e)
		ctx, cancel := context.WithCancel(t.Context())
		e.Start(ctx)
		f(t, e, &listener{began: time.Now()})
		cancel()
		time.Sleep(time.Minute) // tickers of the queue see that it is over
	})
}

func TestARefusedUnitIsToldOfAtItsPace(t *testing.T) {
	looking(t, nil, func(t *testing.T, e *Engine, l *listener) {
		e.Put(Unit{Name: "wrong", Dialect: l, Refused: &fault.Error{Next: fault.Stall, Err: errors.New("spec.x")}, Interval: time.Minute, RetryInterval: time.Minute})
		e.Put(Unit{Name: "waits", Dialect: l, Refused: &fault.Error{Next: fault.Wait, Err: errors.New("no Secret")}, Interval: time.Hour, RetryInterval: time.Minute})
		e.Put(Unit{Name: "later", Dialect: l, Refused: &fault.Error{Next: fault.Wait, Reason: fault.NotYetRead, Err: errors.New("it is being read")}, Interval: time.Minute})
		e.Put(Unit{Name: "asleep", Dialect: l, Suspended: true, Refused: errors.New("no")})
		time.Sleep(90 * time.Second)
		l.mu.Lock()
		slices.Sort(l.heard)
		l.mu.Unlock()
		l.wants(t, "0s waits no Secret", "0s wrong spec.x", "1m0s waits no Secret")
		e.Put(Unit{Name: "wrong", Dialect: l, Refused: &fault.Error{Next: fault.Stall, Err: errors.New("spec.y")}})
		synctest.Wait()
		l.wants(t, "1m30s wrong spec.y")
	})
}

func TestARequestIsCarriedOutOnce(t *testing.T) {
	looking(t, nil, func(t *testing.T, e *Engine, l *listener) {
		u := Unit{Name: "u", Dialect: l, Requested: "noon", Refused: &fault.Error{Next: fault.Wait, Err: errors.New("no")}, RetryInterval: time.Minute}
		e.Put(u)
		synctest.Wait()
		e.Put(u) // as a dialect does that reads its own status too early
		synctest.Wait()
		l.wants(t, "0s u handled noon no", "0s u no")
	})
}

func TestAnOutcomeThatCouldNotBeToldIsToldAgain(t *testing.T) {
	looking(t, nil, func(t *testing.T, e *Engine, l *listener) {
		l.deaf = 20
		e.o.Log = discard()
		e.Put(Unit{Name: "u", Dialect: l, Refused: errors.New("no"), RetryInterval: time.Hour})
		time.Sleep(10 * time.Minute)
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.heard) == 0 {
			t.Fatal("it was never told")
		}
		if l.deaf != 0 {
			t.Errorf("%d tries too few", l.deaf)
		}
	})
}

func TestDependentsAreWokenByNews(t *testing.T) {
	at := map[string]*source.Artifact{"git": {Source: "git", Revision: "1"}}
	looking(t, at, func(t *testing.T, e *Engine, l *listener) {
		var asked atomic.Int32
		no := &fault.Error{Next: fault.Wait, Err: errors.New("no")}
		judge := func(context.Context) (string, error) { asked.Add(1); return "is not", nil }
		e.Put(Unit{Name: "dep", Dialect: l, Digest: "1", Refused: no, RetryInterval: time.Hour})
		e.Put(Unit{Name: "u", Dialect: l, Sources: []string{"git"}, DependsOn: []Dependency{{Unit: "dep", As: "dep", Judge: judge}}, RetryInterval: time.Hour})
		time.Sleep(time.Second)
		before := asked.Load()
		e.Wake("dep") // which says what it said before
		time.Sleep(time.Second)
		if asked.Load() != before {
			t.Errorf("woken %d times by nothing new", asked.Load()-before)
		}
		e.Put(Unit{Name: "dep", Dialect: l, Digest: "2", Refused: no, RetryInterval: time.Hour})
		time.Sleep(time.Second)
		if asked.Load() == before {
			t.Error("not woken by another spec")
		}
		before = asked.Load()
		e.Delete("dep")
		time.Sleep(time.Second)
		if asked.Load() == before {
			t.Error("not woken by its going")
		}
	})
}

// A unit that was ready says that it waits for another only if that takes its
// time: with every commit, the dependencies come first.
func TestGraceForDependencies(t *testing.T) {
	at := map[string]*source.Artifact{"git": {Source: "git", Revision: "2"}}
	looking(t, at, func(t *testing.T, e *Engine, l *listener) {
		dep := Unit{Name: "dep", Dialect: l, Digest: "1", Suspended: true}
		e.Put(dep)
		e.Put(Unit{Name: "u", Dialect: l, Digest: "1", Sources: []string{"git"}, DependsOn: on("dep"), Was: ready("1", "1"), RetryInterval: time.Hour})
		synctest.Wait()
		l.wants(t, "0s u interim dependency 'the dep' is suspended")
		time.Sleep(dependencyGrace + time.Second)
		l.wants(t, "5s u dependency 'the dep' is suspended")
	})
}

func TestAUnitThatIsDeletedLeavesWhatItIsToldToLeave(t *testing.T) {
	looking(t, nil, func(t *testing.T, e *Engine, l *listener) {
		have := []apply.Entry{{Ref: object.Ref{Kind: "ConfigMap", Namespace: "a", Name: "b"}}}
		e.Put(Unit{Name: "kept", Dialect: l, Leaving: true, Remembers: have})
		synctest.Wait()
		l.wants(t, "0s kept removed")
		e.Put(Unit{Name: "orphan", Dialect: l, Leaving: true, Remembers: have, Removal: Removal{Deletes: true, Orphaned: "no Secret"}})
		synctest.Wait()
		l.wants(t, "0s orphan removed no Secret")
		e.Put(Unit{Name: "stuck", Dialect: l, Leaving: true, Remembers: have, Removal: Removal{Deletes: true}, Refused: errors.New("which?"), RetryInterval: 3 * time.Second})
		time.Sleep(6 * time.Second)
		l.wants(t, "0s stuck which?", "2s stuck which?", "5s stuck which?")
	})
}

// still runs f with a clock of its own and an engine that looks at nothing.
func still(t *testing.T, f func(t *testing.T, e *Engine, l *listener)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := units(nil)
		f(t, e, &listener{began: time.Now()})
		over, cancel := context.WithCancel(t.Context())
		cancel()
		e.Start(over) // ends the queues
		time.Sleep(time.Minute)
	})
}

// glanceAt is a look at u that has come to an outcome.
func glanceAt(e *Engine, u Unit) *reconciliation {
	e.Put(u)
	t, u, wakes, _ := e.registry.find(u.Name)
	return &reconciliation{t: t, put: u, u: u, wakes: wakes, began: time.Now()}
}

var changed = written()

// written is the record of a plan of which one object was written.
func written() *apply.Record {
	p, _ := apply.Make(apply.Facts{
		Items: []apply.Item{{Ref: object.Ref{Kind: "ConfigMap", Name: "a"}}},
		Live:  func(object.Ref) (apply.Live, bool) { return apply.Live{}, true },
	})
	r := apply.Begin(p)
	r.All()[0].Did = apply.Written
	return r
}

func TestManyUnitsAreLiveBeforeTheySaySo(t *testing.T) {
	still(t, func(t *testing.T, e *Engine, l *listener) {
		g := glanceAt(e, Unit{Name: "u", Dialect: l, Interval: time.Hour})
		e.registry.batch([]string{"u"})
		done := Outcome{Revision: "2", State: Ready, Record: changed}
		e.conclude(t.Context(), g, done)
		e.conclude(t.Context(), g, Outcome{Revision: "2", State: Ready})
		e.conclude(t.Context(), g, done)
		l.wants(t, "0s u interim live", "0s u late", "0s u")

		e.Put(Unit{Name: "child", Dialect: l, DependsOn: on("u")})
		e.registry.batch([]string{"u"})
		e.conclude(t.Context(), g, done)
		l.wants(t, "0s u") // somebody waits for what it has to say
	})
}

func TestHowTheWaitingGoesIsToldNowAndThen(t *testing.T) {
	still(t, func(t *testing.T, e *Engine, l *listener) {
		g := glanceAt(e, Unit{Name: "u", Dialect: l, Digest: "1", Interval: time.Hour})
		rolls := func(pods int) loop.Result {
			out := Outcome{Revision: "2", Health: Pending, Next: time.Now().Add(time.Hour)}
			out.Unwell = []Unwell{{Ref: object.Ref{Kind: "Deployment", Name: fmt.Sprint(pods)}}}
			out.conclude(nil)
			return e.conclude(t.Context(), g, out)
		}
		rolls(1)
		for n := range 10 {
			time.Sleep(time.Second)
			if r := rolls(2 + n); r.Again <= 0 || r.Again > waitingLooked {
				t.Errorf("looked at again after %s", r.Again)
			}
		}
		l.wants(t, "0s u", "5s u", "10s u")
		// What was ready at this revision may become so again.
		e.conclude(t.Context(), g, Outcome{Revision: "2", State: Ready, Health: Healthy})
		l.wants(t, "10s u")
		rolls(1)
		if !g.t.steady(g.u, Outcome{Revision: "2", State: Progressing, Health: Pending}) {
			t.Error("a Pod that goes makes a unit unready")
		}
		if g.t.steady(g.u, Outcome{Revision: "3", State: Progressing, Health: Pending}) {
			t.Error("at another revision it is as ready as before")
		}
	})
}

// A unit that tells how healthy its objects are, and does not wait for that, is
// woken when it is otherwise, and does not look for it.
func TestWhatIsOnlyToldOfHealthKeepsNoUnitFromRest(t *testing.T) {
	still(t, func(t *testing.T, e *Engine, l *listener) {
		g := glanceAt(e, Unit{Name: "u", Dialect: l, Digest: "1", Interval: time.Hour, Health: Health{Tell: true}})
		at := &source.Artifact{Source: "git", Revision: "2"}
		g.artifacts = []*source.Artifact{at}
		rolls := func(status health.Status, pods int) loop.Result {
			out := Outcome{Revision: "2", Health: Pending, Unwell: []Unwell{{Ref: object.Ref{Kind: "Deployment", Name: "d"}}}}
			if out.Unwell[0].Result = (health.Result{Status: status, Message: fmt.Sprint(pods)}); status == health.Failed {
				out.Health = Ill
			}
			out.conclude(nil)
			return e.conclude(t.Context(), g, out)
		}
		for _, status := range []health.Status{health.InProgress, health.Failed} {
			if r := rolls(status, 1); r.Again < 30*time.Minute || !g.t.resting(g) {
				t.Errorf("%s: looked at again after %s", status, r.Again)
			}
			time.Sleep(10 * time.Second)
		}
		l.wants(t, "0s u", "10s u")
		rolls(health.InProgress, 2)
		if r := rolls(health.InProgress, 3); r.Again > waitingTold {
			t.Errorf("what is new is told after %s", r.Again)
		}
		l.wants(t, "20s u")
		g.t.rest = atRest{}
		time.Sleep(waitingTold)
		rolls(health.InProgress, 3)
		l.wants(t, "25s u")
	})
}

func TestWhoAsksWhileAUnitWaitsIsAnswered(t *testing.T) {
	still(t, func(t *testing.T, e *Engine, l *listener) {
		waits := Outcome{Revision: "1", State: Progressing, Message: "a is not healthy"}
		e.conclude(t.Context(), glanceAt(e, Unit{Name: "u", Dialect: l, Digest: "1", Interval: time.Hour}), waits)
		l.wants(t, "0s u")
		g := glanceAt(e, Unit{Name: "u", Dialect: l, Digest: "1", Requested: "noon", Interval: time.Hour})
		g.asked = true
		e.conclude(t.Context(), g, waits)
		if l.wants(t, "0s u handled noon"); g.t.handled != "noon" {
			t.Errorf("handled is %q", g.t.handled)
		}
	})
}

func TestAUnitRestsUntilSomebodyAsks(t *testing.T) {
	still(t, func(t *testing.T, e *Engine, l *listener) {
		g := glanceAt(e, Unit{Name: "u", Dialect: l, Digest: "1", Interval: time.Hour})
		a := &source.Artifact{Source: "git", Revision: "2"}
		g.artifacts = []*source.Artifact{a}
		e.conclude(t.Context(), g, Outcome{Revision: "2", State: Ready})
		if !g.t.resting(g) {
			t.Fatal("nothing was left to do")
		}
		later := *g
		later.artifacts = []*source.Artifact{{Source: "git", Revision: "2"}}
		if g.t.resting(&later) {
			t.Error("at rest although there is another artifact")
		}
		e.Wake("u")
		_, _, later.wakes, _ = e.registry.find("u")
		later.artifacts = g.artifacts
		if g.t.resting(&later) {
			t.Error("at rest although somebody asked for a look")
		}
		// It is asked for during the look.
		e.Wake("u")
		e.conclude(t.Context(), &later, Outcome{Revision: "2", State: Ready})
		_, _, later.wakes, _ = e.registry.find("u")
		if g.t.resting(&later) {
			t.Error("at rest although somebody asked for a look during the last one")
		}
		e.conclude(t.Context(), &later, Outcome{Revision: "2", State: Contested, Fights: []apply.Fight{{}}})
		if g.t.resting(&later) {
			t.Error("at rest in a fight")
		}
		l.deaf = 1
		e.o.Log = discard()
		e.conclude(t.Context(), &later, Outcome{Revision: "2", State: Ready})
		if g.t.resting(&later) {
			t.Error("at rest although nobody was told")
		}
	})
}

// What goes wrong in plumb itself at one unit is said there, and goes on elsewhere.
func TestALookThatPanicsHurtsOnlyItsUnit(t *testing.T) {
	at := map[string]*source.Artifact{"git": {Source: "git", Revision: "1"}}
	looking(t, at, func(t *testing.T, e *Engine, l *listener) {
		e.o.Log = discard()
		e.Put(Unit{Name: "bad", Dialect: l, Sources: []string{"git"}, RetryInterval: time.Hour, DependsOn: []Dependency{{Unit: "x", Judge: func(context.Context) (string, error) {
			panic("of what nobody may read")
		}}}})
		synctest.Wait()
		l.wants(t, "0s bad plumb itself failed at this unit; its log says where (nothing of it is changed meanwhile; please report it)")
		e.Put(Unit{Name: "good", Dialect: l, Refused: errors.New("no"), RetryInterval: time.Hour})
		synctest.Wait()
		l.wants(t, "0s good no")
	})
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Of a unit whose server does not answer, what needs no answer is done.
func TestAUnitOfAServerThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := units(nil)
		e.o.Log = discard()
		l := &listener{began: time.Now()}
		there := Target{Cluster: "other", Config: &rest.Config{Host: "https://other:6443"}}
		refused := errors.New("connection refused")
		lose := func(name string) time.Duration { return e.unreachable(t.Context(), name, l.began, refused) }
		u := Unit{Name: "u", Dialect: l, Target: there}
		e.Put(u)
		says := func(why string) string {
			return "0s u its cluster https://other:6443 has not answered since " + l.began.UTC().Format(time.RFC3339) + why +
				" (what became of the objects there is not known; it goes on when the cluster answers)"
		}
		if again := lose("u"); again != 0 {
			t.Errorf("what was told is told again after %s", again)
		}
		l.wants(t, says(": connection refused"))
		e.unreachable(t.Context(), "u", l.began, fmt.Errorf("get: %w", context.DeadlineExceeded))
		l.wants(t, says("")) // which says no more
		l.deaf = 1
		if again := lose("u"); again <= 0 {
			t.Error("what could not be told is not told again")
		}
		u.Leaving, u.Removal = true, Removal{Deletes: true}
		e.Put(u)
		lose("u")
		l.wants(t, says(": connection refused")) // what it has applied can't be deleted
		u.Removal = Removal{Deletes: false}
		e.Put(u)
		lose("u")
		l.wants(t, "0s u removed")
		e.Delete("u")
		lose("u")
		lose("u")
		if t, _, _, _ := e.registry.find("u"); t != nil {
			l.heard = append(l.heard, "a unit that is gone is remembered")
		}
		l.wants(t)
	})
}

func TestCommitsThatDoNotTouchAUnitAreToldTogether(t *testing.T) {
	still(t, func(t *testing.T, e *Engine, l *listener) {
		u := Unit{Name: "u", Dialect: l, Interval: time.Hour, Digest: "1"}
		at := func(revision string) []*source.Artifact {
			return []*source.Artifact{{Source: "git", Revision: revision}}
		}
		look := func(revision string, change ...func(*reconciliation, *Outcome)) loop.Result {
			tr, u, wakes, _ := e.registry.find("u")
			rec := &reconciliation{t: tr, put: u, u: u, wakes: wakes, artifacts: at(revision), began: time.Now()}
			out := Outcome{Revision: revision, Digest: "same", State: Ready}
			for _, c := range change {
				c(rec, &out)
			}
			e.registry.trace("git", at(revision)[0], true)
			return e.conclude(t.Context(), rec, out)
		}
		e.Put(u)
		look("1")
		l.wants(t, "0s u")

		time.Sleep(10 * time.Second)
		if r := look("2"); r.Again != 20*time.Second {
			t.Errorf("it is looked at again after %s", r.Again)
		}
		l.wants(t)
		if _, s, applied, _ := e.registry.standing("u"); s.Attempted != "2" || applied != "2" {
			t.Errorf("who depends on it sees %+v, applied %s", s, applied)
		}
		time.Sleep(15 * time.Second)
		if r := look("3"); r.Again != 5*time.Second {
			t.Errorf("it is looked at again after %s", r.Again)
		}
		l.wants(t)
		time.Sleep(5 * time.Second)
		look("3") // never longer
		l.wants(t, "30s u")
		time.Sleep(time.Minute)
		look("4") // the first one after a while
		l.wants(t, "1m30s u")

		for name, change := range map[string]func(*reconciliation, *Outcome){
			"what it renders to":             func(_ *reconciliation, out *Outcome) { out.Digest = "another" },
			"something was changed":          func(_ *reconciliation, out *Outcome) { out.Record = changed },
			"an error":                       func(_ *reconciliation, out *Outcome) { out.Err = errors.New("no"); out.conclude(out.Err) },
			"its health":                     func(_ *reconciliation, out *Outcome) { out.Health, out.State = Pending, Progressing },
			"somebody asked":                 func(rec *reconciliation, _ *Outcome) { rec.asked = true },
			"its inventory was stored":       func(rec *reconciliation, _ *Outcome) { rec.stored = true },
			"another spec":                   func(rec *reconciliation, _ *Outcome) { rec.u.Digest = "2" },
			"what is left alone":             func(_ *reconciliation, out *Outcome) { out.Left = []Left{{Why: "other"}} },
			"what it has written":            func(_ *reconciliation, out *Outcome) { out.Inventory = []apply.Entry{{Version: "v1"}} },
			"what several sources have":      func(_ *reconciliation, out *Outcome) { out.Repeated = []object.Ref{{Name: "a"}} },
			"a source that is not recorded":  func(rec *reconciliation, _ *Outcome) { rec.artifacts[0].Source = "other" },
			"a revision that isn't recorded": func(rec *reconciliation, _ *Outcome) { rec.artifacts[0].Revision = "other" },
		} {
			time.Sleep(time.Minute)
			look("4", func(rec *reconciliation, _ *Outcome) { rec.asked = true }) // all is as it was
			l.heard = nil
			if look("5", change); len(l.heard) != 1 {
				t.Errorf("%s: heard %q", name, l.heard)
			}
		}
		l.heard = nil
		e.Delete("u")
	})
}

func TestWhoWantsWhatAnotherHasHearsWhenThatMayBeFree(t *testing.T) {
	still(t, func(t *testing.T, e *Engine, l *listener) {
		for _, name := range []string{"u", "v"} {
			e.Put(Unit{Name: name, Dialect: l, Interval: time.Hour, Digest: "1"})
		}
		wakes := func() uint64 {
			_, _, n, _ := e.registry.find("v")
			return n
		}
		look := func(digest string, inventory ...apply.Entry) {
			tr, u, n, _ := e.registry.find("u")
			out := Outcome{Revision: "1", Digest: digest, State: Ready, Inventory: inventory}
			e.conclude(t.Context(), &reconciliation{t: tr, put: u, u: u, wakes: n, asked: true, began: time.Now()}, out)
		}
		look("a")
		for _, c := range []struct {
			what string
			do   func()
			want bool
		}{
			{"the same", func() { look("a") }, false},
			{"nothing rendered", func() { look("") }, false},
			{"another render", func() { look("b") }, true},
			{"another inventory", func() { look("b", apply.Entry{Version: "v1"}) }, true},
			{"it is gone", func() { e.Delete("u") }, true},
		} {
			e.registry.rival("v", "u")
			before := wakes()
			if c.do(); (wakes() > before) != c.want {
				t.Errorf("%s: woken is %v", c.what, wakes() > before)
			}
		}
		e.Delete("v")
	})
}
