package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/source"
)

// operated says how an operation stands, with what is not zero of it.
func (p Progress) brief(began time.Time) string {
	if p.ID == "" {
		return ""
	}
	s := fmt.Sprintf("%s %s", p.ID, p.Stage)
	if p.Failures > 0 {
		s += fmt.Sprintf(" %d", p.Failures)
	}
	if !p.Next.IsZero() {
		s += fmt.Sprint(" next ", p.Next.Sub(began).Round(time.Second))
	}
	if p.Message != "" {
		s += ": " + p.Message
	}
	return s
}

func failing(next fault.Next) Unit {
	return Unit{
		Name: "u", Refused: &fault.Error{Next: next, Reason: fault.ReconciliationFailed, Err: errors.New("no")}, Permission: apply.LookOnly,
		Interval: time.Hour, RetryInterval: time.Hour,
	}
}

func TestAnOperationIsTriedAgainAsItSays(t *testing.T) {
	looking(t, nil, func(t *testing.T, e *Engine, l *listener) {
		u := failing(fault.Retry)
		u.Dialect, u.RetryInterval = l, 3*time.Second // the unit's own pauses change nothing
		u.Operation = &Operation{ID: "1", Retry: Retry{Limit: 2, First: 10 * time.Second, Factor: 3, Most: 20 * time.Second}}
		e.Put(u)
		synctest.Wait()
		l.operations(t, "0s 1 Running 1 next 10s: no")
		time.Sleep(5 * time.Minute)
		l.operations(t, "10s 1 Running 2 next 30s: no", "30s 1 GaveUp 3: no")
		e.Put(u) // as a dialect does that reads its own resource too early
		time.Sleep(time.Minute)
		l.operations(t)
		u.Operation = &Operation{ID: "2"}
		e.Put(u)
		synctest.Wait()
		l.operations(t, "6m0s 2 GaveUp 1: no")
	})
}

func TestAnOperationThatCannotBeDoneEnds(t *testing.T) {
	looking(t, nil, func(t *testing.T, e *Engine, l *listener) {
		u := failing(fault.Stall)
		u.Dialect, u.Operation = l, &Operation{ID: "1", Retry: Retry{Limit: -1}}
		e.Put(u)
		synctest.Wait()
		l.operations(t, "0s 1 GaveUp: no")
		u.Refused, u.Sources = nil, []string{"a", "b"}
		u.Operation = &Operation{ID: "2", Sources: []string{"c"}}
		e.Put(u)
		synctest.Wait()
		l.operations(t, "0s 2 GaveUp: it names 1 sources, and the unit has 2")
	})
}

func TestAnOperationThatWaitsIsTerminated(t *testing.T) {
	looking(t, nil, func(t *testing.T, e *Engine, l *listener) {
		u := failing(fault.Wait)
		u.Dialect, u.Operation = l, &Operation{ID: "1"}
		e.Put(u)
		time.Sleep(90 * time.Minute)
		l.operations(t, "0s 1 Running: no")
		u.Operation = &Operation{ID: "1", Terminate: true}
		e.Put(u)
		synctest.Wait()
		l.operations(t, "1h30m0s 1 Terminated: it was terminated")
	})
}

// An operation goes on where an earlier process left it.
func TestAnOperationSurvivesARestart(t *testing.T) {
	looking(t, nil, func(t *testing.T, e *Engine, l *listener) {
		u := failing(fault.Retry)
		u.Dialect, u.Operation = l, &Operation{ID: "1", Retry: Retry{Limit: 2, First: 10 * time.Second}, Was: Progress{
			ID: "1", Failures: 2, Message: "no", Began: l.began.Add(-time.Minute), Next: l.began.Add(time.Minute),
		}}
		e.Put(u)
		time.Sleep(2 * time.Minute)
		l.operations(t, "0s 1 Running 2 next 1m0s: no", "1m0s 1 GaveUp 3: no")

		ended := Progress{ID: "2", Stage: Succeeded, Began: l.began, Ended: l.began}
		u.Operation = &Operation{ID: "2", Was: ended}
		e.Put(u)
		time.Sleep(time.Minute)
		l.operations(t, "2m0s 2 Succeeded")
	})
}

// A process that ends in the middle of a try has not found that the try failed.
func TestAnOperationDoesNotFailWithItsProcess(t *testing.T) {
	looking(t, nil, func(t *testing.T, e *Engine, l *listener) {
		ctx, end := context.WithCancel(t.Context())
		e.o.Artifact = func(ctx context.Context, _ string) (*source.Artifact, error) {
			end()
			return nil, &fault.Error{Next: fault.Retry, Reason: fault.ArtifactFailed, Err: ctx.Err()}
		}
		u := Unit{Name: "u", Dialect: l, Sources: []string{"git"}, Operation: &Operation{ID: "1"}, Interval: time.Hour, RetryInterval: time.Hour}
		e.registry.put(u)
		e.look(ctx, u.Name)
		u.Leaving, u.Removal, u.Refused = true, Removal{Deletes: true}, ctx.Err()
		e.registry.put(u)
		e.look(ctx, u.Name)
		l.operations(t)
		l.wants(t)
	})
}

// What an operation has come to is told until the dialect knows it.
func TestAnOperationsEndIsToldAgain(t *testing.T) {
	looking(t, nil, func(t *testing.T, e *Engine, l *listener) {
		e.o.Log = discard()
		l.deaf = 3
		u := failing(fault.Stall)
		u.Dialect, u.Operation = l, &Operation{ID: "1"}
		e.Put(u)
		time.Sleep(time.Minute)
		l.operations(t, "0s 1 GaveUp: no")
	})
}

// A dialect that does not know yet to what an operation goes has not withdrawn
// it.
func TestAnOperationThatMayNotGoOnYetIsNotLetGo(t *testing.T) {
	hooks := []apply.HookRun{{Ref: object.Ref{Kind: "Job", Name: "before"}}}
	looking(t, nil, func(t *testing.T, e *Engine, l *listener) {
		u := failing(fault.Wait)
		u.Dialect, u.Operation = l, &Operation{ID: "1", Was: Progress{ID: "1", Began: l.began, Hooks: hooks}}
		e.Put(u)
		synctest.Wait()
		l.operations(t, "0s 1 Running: no")
		u.Refused, u.Operation = failing(fault.Stall).Refused, &Operation{ID: "1", Waits: true}
		e.Put(u)
		time.Sleep(time.Minute)
		l.operations(t)
		u.Operation = &Operation{ID: "1"}
		e.Put(u)
		synctest.Wait()
		l.operations(t, "1m0s 1 GaveUp: no")
	})
}

// What is withdrawn lets go of its hooks, also if it might not go on just then; what
// has not begun has none.
func TestWhatIsWithdrawnWhileItWaitsIsLetGo(t *testing.T) {
	tr, now := &tracked{}, time.Now()
	tr.adopt(Unit{Operation: &Operation{ID: "1"}}, now)
	tr.operation.Hooks = []apply.HookRun{{Ref: object.Ref{Kind: "Job", Name: "before"}}}
	tr.adopt(Unit{Operation: &Operation{ID: "1", Waits: true}}, now)
	if tr.running == nil || tr.running.Terminate {
		t.Errorf("it waits: %+v", tr.running)
	}
	tr.adopt(Unit{}, now)
	if tr.running == nil || !tr.running.Terminate || tr.running.Waits {
		t.Errorf("it is withdrawn: %+v", tr.running)
	}
	tr.operation.end(Terminated, now, "", "")
	tr.adopt(Unit{Operation: &Operation{ID: "2", Waits: true}}, now)
	if tr.adopt(Unit{}, now); tr.running != nil {
		t.Errorf("one that never began is withdrawn: %+v", tr.running)
	}
}

func TestAnotherSpecCountsAsAChangeOfWhatAUnitIsMadeFrom(t *testing.T) {
	r := newRegistry()
	r.put(Unit{Name: "u", Digest: "1"})
	tr, _, _, _ := r.find("u")
	was := r.touches(tr)
	r.put(Unit{Name: "u", Digest: "1", Requested: "now"})
	if r.touches(tr) != was {
		t.Error("a request is none")
	}
	r.put(Unit{Name: "u", Digest: "2"})
	if r.touches(tr) == was {
		t.Error("it is passed over")
	}
}

// A commit that makes nothing else of a unit ends no operation.
func TestOnlyACommitThatTouchesAUnitSupersedes(t *testing.T) {
	tr, now := &tracked{}, time.Now()
	at := func(id string) []*source.Artifact { return []*source.Artifact{{Commit: source.Commit{ID: id}}} }
	tr.automatic = &Operation{ID: "1", Automatic: true}
	tr.adopt(Unit{Name: "u"}, now)
	tr.pin(&reconciliation{operating: true, artifacts: at("1")}, at("1"))
	for _, c := range []struct {
		newest  string
		touched uint64
		want    Stage
	}{{"1", 0, Running}, {"2", 0, Running}, {"2", 1, Terminated}} {
		tr.touched = c.touched
		if tr.supersede(at(c.newest), now); tr.operation.Stage != c.want {
			t.Errorf("at %s, touched %d times: %s, want %s", c.newest, c.touched, tr.operation.Stage, c.want)
		}
	}
}

// A unit that is refused names no sources yet.
func TestAnOperationIsNotHeldToNoSources(t *testing.T) {
	tr, now := &tracked{}, time.Now()
	u := Unit{Name: "u", Operation: &Operation{ID: "1"}}
	tr.adopt(u, now)
	for _, artifacts := range [][]*source.Artifact{{}, {{Revision: "1"}}, {{Revision: "2"}}} {
		rec := &reconciliation{operating: true, artifacts: artifacts}
		tr.pin(rec, artifacts)
		if len(artifacts) > 0 && (len(rec.artifacts) != 1 || rec.artifacts[0].Revision != "1") {
			t.Errorf("at %v it goes to %v", artifacts[0].Revision, rec.artifacts)
		}
	}
}

func TestWhatAnOperationDecidesEndsWithIt(t *testing.T) {
	yes, now := true, time.Now()
	put := Unit{
		Name: "u", Permission: apply.LookOnly, Sources: []string{"git"},
		Operation: &Operation{ID: "1", Permission: apply.Everything, Sources: []string{"git at 1"}, Prune: &yes, Force: &yes},
	}
	tr := &tracked{unit: put}
	tr.adopt(put, now)
	u, runs := tr.operate(put, now)
	if !runs || u.Permission != apply.Everything || u.Sources[0] != "git at 1" || !u.Prune.Enabled || !u.Force {
		t.Errorf("it runs: %v, %+v", runs, u)
	}
	if put.Sources[0] != "git" {
		t.Error("the unit that was put is another now")
	}
	out := Outcome{Revision: "1", State: Ready}
	tr.operated(&reconciliation{u: u, operating: true}, &out, now)
	if p := out.Operation; p.Stage != Succeeded || p.Revision != "1" || p.Ended != now || p.Began != now {
		t.Errorf("%+v", p)
	}
	if u, runs := tr.operate(put, now); runs || u.Permission != apply.LookOnly || u.Sources[0] != "git" || u.Prune.Enabled || u.Force {
		t.Errorf("it has ended: %v, %+v", runs, u)
	}
}

// Both the unit's own sources and those of its operation wake it.
func TestASourceOfAnOperationWakesItsUnit(t *testing.T) {
	at := map[string]*source.Artifact{}
	looking(t, at, func(t *testing.T, e *Engine, l *listener) {
		e.Put(Unit{Name: "u", Dialect: l, Sources: []string{"git"}, Operation: &Operation{ID: "1", Sources: []string{"git at 1"}}, Interval: time.Hour, RetryInterval: time.Hour})
		synctest.Wait()
		l.operations(t, "0s 1 GaveUp 1: no artifact")
		for _, name := range []string{"git", "git at 1"} {
			if units := e.registry.from(e.registry.bySource, name); len(units) != 1 {
				t.Errorf("%s: %v", name, units)
			}
		}
		e.Put(Unit{Name: "u", Dialect: l, Sources: []string{"git"}, Interval: time.Hour, RetryInterval: time.Hour})
		if units := e.registry.from(e.registry.bySource, "git at 1"); len(units) != 0 {
			t.Errorf("without its operation: %v", units)
		}
		e.Delete("u")
	})
}

func TestPausesGrowUpToTheMost(t *testing.T) {
	for _, c := range []struct {
		r        Retry
		failures int
		want     time.Duration
	}{
		{Retry{}, 1, time.Second},
		{Retry{}, 4, 8 * time.Second},
		{Retry{First: 5 * time.Second}, 2, 10 * time.Second},
		{Retry{First: 5 * time.Second, Factor: 1}, 9, 5 * time.Second},
		{Retry{First: 5 * time.Second, Most: time.Minute}, 9, time.Minute},
		{Retry{First: time.Hour}, 4000, 24 * time.Hour},
	} {
		if got := c.r.pause(c.failures); got != c.want {
			t.Errorf("%+v after %d: %s, want %s", c.r, c.failures, got, c.want)
		}
	}
}

// To go back on purpose is no drift, whoever puts drift right.
func TestWhatAnOperationWentBackToStays(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "1"), of("b", "same"), of("c", "1")))
	u.Permission, u.Operation = apply.CorrectDrift, &Operation{ID: "one", Permission: apply.Everything}
	w.engine.Put(u)
	w.says(u, "Ready 1, one Succeeded")
	w.publish(artifact("git", "2", of("a", "2"), of("b", "same"), of("c", "2")))
	u.Operation = &Operation{ID: "two", Permission: apply.Everything}
	w.engine.Put(u)
	w.says(u, "Ready 2, two Succeeded")
	for i := range 5 {
		old := artifact("old", "1", of("a", "1"), of("b", "same"), of("c", "1"))
		w.publish(old)
		u.Operation = &Operation{ID: fmt.Sprint("back ", i), Permission: apply.Everything, Sources: []string{"old"}}
		w.engine.Put(u)
		w.says(u, fmt.Sprintf("OutOfSync 2, back %d Succeeded", i))
		u.Operation = nil
		w.engine.Put(u)
		w.says(u, "OutOfSync 2")
		w.edit("b", "by hand")
		w.comesToHold("a=1", "b=same", "c=1")
		u.Operation = &Operation{ID: fmt.Sprint("forth ", i), Permission: apply.Everything}
		w.engine.Put(u)
		w.says(u, fmt.Sprintf("Ready 2, forth %d Succeeded", i))
	}
}
