package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/source"
)

// units puts units into a registry whose sources have the given artifacts.
func units(artifacts map[string]*source.Artifact, all ...Unit) *Engine {
	e := &Engine{registry: newRegistry(), index: newClaimIndex(), cache: render.NewCache(1 << 20), states: map[string]*state{}, at: map[string]*place{}, ctx: context.Background()}
	e.loop = newLoop(e)
	e.o.Artifact = func(_ context.Context, name string) (*source.Artifact, error) {
		if a := artifacts[name]; a != nil {
			return a, nil
		}
		return nil, errors.New("no artifact")
	}
	for _, u := range all {
		e.Put(u)
	}
	return e
}

func on(names ...string) (deps []Dependency) {
	for _, n := range names {
		deps = append(deps, Dependency{Unit: n, As: "the " + n})
	}
	return deps
}

func ready(digest, revision string) Standing {
	return Standing{Digest: digest, Ready: "True", Attempted: revision}
}

func TestWhatADependencyLacksIsSaid(t *testing.T) {
	at := map[string]*source.Artifact{"git": {Source: "git", Revision: "2"}, "other": {Source: "other", Revision: "8"}}
	no := func(context.Context) (bool, error) { return false, nil }
	for _, c := range []struct {
		name   string
		dep    Unit
		may    func(context.Context) (bool, error)
		newest bool
		want   string
	}{
		{name: "ready", dep: Unit{Digest: "1", Was: ready("1", "2"), Applied: "2"}},
		{name: "ready, of another source", dep: Unit{Digest: "1", Was: ready("1", "7"), Applied: "7", Sources: []string{"other"}}},
		{name: "behind, of another source", newest: true, dep: Unit{Digest: "1", Was: ready("1", "7"), Applied: "7", Sources: []string{"other"}}, want: "has not applied revision 8 yet"},
		{name: "at the newest of two", newest: true, dep: Unit{Digest: "1", Was: ready("1", "8 2"), Applied: "8 2", Sources: []string{"other", "git"}}},
		{name: "at the newest of two, one of which is shared", dep: Unit{Digest: "1", Was: ready("1", "8 2"), Applied: "8 2", Sources: []string{"other", "git"}}},
		{name: "behind with one of two", dep: Unit{Digest: "1", Was: ready("1", "8 1"), Applied: "8 1", Sources: []string{"other", "git"}}, want: "has not applied revision 8 2 yet"},
		{name: "of a source that there is not", newest: true, dep: Unit{Digest: "1", Was: ready("1", "7"), Applied: "7", Sources: []string{"gone"}}},
		{name: "behind", dep: Unit{Digest: "1", Was: ready("1", "1"), Applied: "1", Sources: []string{"git"}}, want: "has not applied revision 2 yet"},
		{name: "behind and suspended", dep: Unit{Digest: "1", Was: ready("1", "1"), Applied: "1", Sources: []string{"git"}, Suspended: true}, want: "is suspended, and has not applied revision 2"},
		{name: "changed since", dep: Unit{Digest: "2", Was: ready("1", "2"), Applied: "2"}, want: "is not ready: it has not been reconciled yet"},
		{name: "new", dep: Unit{Digest: "1"}, want: "is not ready: it has not been reconciled yet"},
		{name: "new and suspended", dep: Unit{Digest: "1", Suspended: true}, want: "is suspended"},
		{name: "leaving", dep: Unit{Digest: "1", Was: ready("1", "2"), Leaving: true}, want: "is being deleted"},
		{name: "failed", dep: Unit{Digest: "1", Was: Standing{Digest: "1", Ready: "False", Reason: "BuildFailed", Message: "no\n  file"}}, want: "is not ready: BuildFailed: no file"},
		{name: "failed and suspended", dep: Unit{Digest: "1", Suspended: true, Was: Standing{Digest: "1", Ready: "False", Reason: "X", Message: "y"}}, want: "is suspended and was not ready: X: y"},
		{name: "under way", dep: Unit{Digest: "1", Was: Standing{Digest: "1", Ready: "Unknown", Message: "waiting"}}, want: "is being reconciled: waiting"},
		{name: "refused", dep: Unit{Digest: "2", Refused: errors.New("no such field"), Was: ready("1", "2")}, want: "is not ready: no such field"},
		{name: "what may not be told", dep: Unit{Digest: "1", Was: Standing{Digest: "1", Ready: "False", Message: "secret"}}, may: no, want: "is not ready"},
	} {
		c.dep.Name = "dep"
		u := Unit{Name: "u", Sources: []string{"git"}, DependsOn: []Dependency{{Unit: "dep", As: "the dep", May: c.may, Newest: c.newest}}}
		err := units(at, u, c.dep).dependencies(t.Context(), u)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (!fault.Is(err, fault.DependencyNotReady) || !strings.HasSuffix(err.Error(), "dependency 'the dep' "+c.want)):
			t.Errorf("%s: got  %v\nwant %s", c.name, err, c.want)
		}
	}
	u := Unit{Name: "u", DependsOn: on("none"), Permission: apply.CorrectDrift}
	if err := units(at, u).dependencies(t.Context(), u); err != nil {
		t.Errorf("who does nothing new waits for nobody: %v", err)
	}
	u.Permission = apply.Everything
	if err := units(at, u).dependencies(t.Context(), u); err == nil || !strings.Contains(err.Error(), "'the none' does not exist") {
		t.Errorf("a unit that there is not: %v", err)
	}
}

func TestACircleOfDependenciesIsNamed(t *testing.T) {
	a, b, c := Unit{Name: "a", DependsOn: on("x", "b")}, Unit{Name: "b", DependsOn: on("c")}, Unit{Name: "c", DependsOn: on("a")}
	side := Unit{Name: "side", DependsOn: on("a")}
	e := units(nil, a, b, c, side)
	err := e.dependencies(t.Context(), a)
	if fault.Of(err).Next != fault.Stall || !strings.Contains(err.Error(), "the a → the b → the c → the a") {
		t.Errorf("got %v", err)
	}
	if err := e.dependencies(t.Context(), side); fault.Of(err).Next == fault.Stall {
		t.Errorf("who depends on a circle is not in it: %v", err)
	}
	b.DependsOn = nil
	e.Put(b)
	if err := e.dependencies(t.Context(), a); fault.Of(err).Next == fault.Stall {
		t.Errorf("the circle is gone: %v", err)
	}
	if a.Permission = apply.LookOnly; fault.Of(units(nil, a, Unit{Name: "b", DependsOn: on("a")}).dependencies(t.Context(), a)).Next != fault.Stall {
		t.Error("a circle that does nothing new is none")
	}
	self := Unit{Name: "self", DependsOn: on("self")}
	if err := units(nil, self).dependencies(t.Context(), self); fault.Of(err).Next != fault.Stall {
		t.Errorf("a unit that depends on itself: %v", err)
	}
}

func TestTheRegistryKnowsWhoRefersToWhom(t *testing.T) {
	e := units(nil, Unit{Name: "a", Sources: []string{"s"}}, Unit{Name: "b", Sources: []string{"s", "r"}, DependsOn: on("a")})
	r := e.registry
	if got := r.from(r.bySource, "s"); len(got) != 2 {
		t.Errorf("of s: %q", got)
	}
	e.Put(Unit{Name: "b", Sources: []string{"r"}})
	if got := r.from(r.bySource, "s"); len(got) != 1 || got[0] != "a" {
		t.Errorf("of s, once b has left it: %q", got)
	}
	if r.isWaitedFor("a") {
		t.Error("nobody depends on a any more")
	}
	e.Delete("a")
	if got := r.from(r.bySource, "s"); len(got) != 0 {
		t.Errorf("of s, once a is gone: %q", got)
	}
	if _, _, _, ok := r.standing("a"); ok {
		t.Error("what is gone stands")
	}
	if !r.drop("a") || r.drop("b") {
		t.Error("what is gone is dropped, and nothing else")
	}
}

// What was known of a unit counts for none that has its name later: what it left
// behind is not the other's to prune.
func TestAUnitOfTheSameNameIsAnother(t *testing.T) {
	entry := []apply.Entry{{Ref: object.Ref{Kind: "ConfigMap", Namespace: "a", Name: "b"}}}
	for name, again := range map[string]func(*Engine){
		"its going was seen":     func(e *Engine) { e.Delete("u"); e.Put(Unit{Name: "u", UID: "2"}) },
		"its going was not seen": func(e *Engine) { e.Put(Unit{Name: "u", UID: "2"}) },
	} {
		e := units(nil, Unit{Name: "u", UID: "1", Remembers: entry, Applied: "r", Was: ready("1", "r")})
		e.states = map[string]*state{"u": {inventory: entry, loaded: true}}
		again(e)
		tr, u, _, ok := e.registry.find("u")
		if !ok || !e.registry.renewed(tr) || e.registry.renewed(tr) {
			t.Errorf("%s: it is not known to be another, once", name)
		}
		if applied, _ := e.registry.lastApplied(tr); applied != "" || len(e.registry.remembered(tr)) > 0 || tr.stands.Ready != "" {
			t.Errorf("%s: it is said to have applied %q", name, applied)
		}
		e.Put(u)
		if e.registry.renewed(tr) {
			t.Errorf("%s: it is the same still", name)
		}
	}
}

// Failures are tried again ever more slowly, up to the retry interval, and
// afresh when the unit or its revision is another.
func TestPausesGrow(t *testing.T) {
	u := Unit{Digest: "1", Interval: time.Hour, RetryInterval: 10 * time.Second}
	var tr tracked
	bad := Outcome{Revision: "r", Err: errors.New("no")}
	for _, want := range []time.Duration{2, 4, 8, 10, 10} {
		if got := tr.next(u, bad); got != want*time.Second {
			t.Errorf("got %s, want %d s", got, want)
		}
	}
	bad.Revision = "s"
	if got := tr.next(u, bad); got != 2*time.Second {
		t.Errorf("at another revision: %s", got)
	}
	if got := tr.next(u, Outcome{Revision: "s"}); got < 57*time.Minute || got > 63*time.Minute {
		t.Errorf("without an error: %s", got)
	}
	if got := tr.next(u, bad); got != 2*time.Second {
		t.Errorf("after it went well: %s", got)
	}
	for _, c := range []struct {
		name string
		err  error
		want time.Duration
	}{
		{"what a server asks for", &fault.Error{After: 7 * time.Second}, 7 * time.Second},
		{"what waits is woken", &fault.Error{Next: fault.Wait}, 10 * time.Second},
		{"another revision is needed", &fault.Error{Next: fault.Stall}, 10 * time.Second},
		{"another spec is needed", specFault{&fault.Error{Next: fault.Stall}}, 0},
	} {
		if got := tr.next(u, Outcome{Revision: "s", Err: c.err}); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
