package engine

import (
	"context"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/tree"
)

// object returns a ConfigMap of the namespace as it is on the server.
func (w *live) object(name string) *corev1.ConfigMap {
	w.Helper()
	c := &corev1.ConfigMap{}
	if err := w.env.Client.Get(w.Context(), client.ObjectKey{Namespace: w.ns, Name: name}, c); err != nil {
		w.Fatal(err)
	}
	return c
}

// An object that two units want is the first one's until that lets go of it. It
// becomes the other's with its UID, and is never gone in between.
func TestAnObjectGoesFromOneUnitToAnother(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("one", "1", of("a", "1"), of("b", "one")))
	v := w.unit("v", artifact("two", "1", of("c", "1")))
	w.engine.Put(u)
	w.engine.Put(v)
	w.says(u, "Ready 1")
	w.says(v, "Ready 1")
	before := w.object("b").UID

	w.publish(artifact("two", "2", of("b", "two"), of("c", "2")))
	w.explains(v, "OwnedByOther", "/b: it belongs to "+u.Name+", which also holds it true")
	w.holds("a=1", "b=one", "c=1")

	w.publish(artifact("one", "2", of("a", "2")))
	w.says(u, "Ready 2")
	w.says(v, "Ready 2")
	w.holds("a=2", "b=two", "c=2")
	b := w.object("b")
	if owner := (marked{}).Marks(v)(refOf("b")).Labels[markOf]; b.UID != before || b.Labels[markOf] != owner {
		t.Errorf("its UID was %s and is %s, it is of %s", before, b.UID, b.Labels[markOf])
	}
	// Of the two it is known whose it is: what the first one prunes now is not that.
	w.publish(artifact("one", "3", of("d", "3")))
	w.says(u, "Ready 3")
	w.holds("b=two", "c=2", "d=3")
}

// As long as there is a unit of which it can't be told what it wants, nothing is
// pruned, and all else is done.
func TestNothingIsPrunedBesideAUnitThatCannotBeRead(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "1"), of("b", "1"), of("c", "1")))
	w.engine.Put(u)
	w.says(u, "Ready 1")
	opaque := w.unit("opaque")
	opaque.Unknown = true
	w.engine.Put(opaque)
	w.publish(artifact("git", "2", of("a", "2"), of("b", "2")))
	w.explains(u, "PruneHeld", "1 object not pruned", opaque.Name)
	w.holds("a=2", "b=2", "c=1")

	w.engine.Delete(opaque.Name)
	w.engine.Wake(u.Name)
	w.says(u, "Ready 2")
	w.holds("a=2", "b=2")
}

// What a unit may want that the same commit broke is not pruned by another.
func TestWhatABrokenUnitMayWantIsNotPruned(t *testing.T) {
	w := newLive(t)
	first := artifact("git", "1", of("a", "1"))
	first.Tree = tree.FromFiles(map[string]string{"u/all.yaml": of("a", "1") + "---\n" + of("b", "1"), "v/all.yaml": of("c", "1")})
	u, v := w.unit("u", first), w.unit("v", first)
	u.Renders[0].Path, v.Renders[0].Path = "u", "v"
	w.engine.Put(u)
	w.engine.Put(v)
	w.says(u, "Ready 1")
	w.says(v, "Ready 1")

	broken := artifact("git", "2")
	broken.Tree = tree.FromFiles(map[string]string{"u/all.yaml": of("a", "2"), "v/all.yaml": of("c", "2") + "---\n" + of("b", "2") + "  broken"})
	w.publish(broken)
	w.explains(v, "Stalled", "v/all.yaml")
	w.explains(u, "1 object not pruned, because the same revision broke "+v.Name)
	w.holds("a=2", "b=1", "c=1")
	before := w.object("b").UID

	whole := artifact("git", "3")
	whole.Tree = tree.FromFiles(map[string]string{"u/all.yaml": of("a", "3"), "v/all.yaml": of("c", "3") + "---\n" + of("b", "3")})
	w.publish(whole)
	w.says(u, "Ready 3")
	w.says(v, "Ready 3")
	w.holds("a=3", "b=3", "c=3")
	if w.object("b").UID != before {
		t.Error("it is another object now")
	}
}

// Nobody can keep an object alive only by naming it: who is to get it has to be
// allowed to write it.
func TestAnObjectIsLeftToNobodyWhoMayNotWriteIt(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("one", "1", of("a", "1"), of("b", "one")))
	w.engine.Put(u)
	w.says(u, "Ready 1")
	w.account("reader")
	w.allow("reader", "get", "list", "watch")
	v := w.unit("v", artifact("two", "1", of("b", "two")))
	v.Target.User = cluster.User(w.ns, "reader")
	w.engine.Put(v)
	w.explains(v, "OwnedByOther")

	w.publish(artifact("one", "2", of("a", "2")))
	w.says(u, "Ready 2")
	w.holds("a=2")
}

// A unit that leaves, or that is on another cluster, wants nothing here.
func TestWhoWantsNothingHere(t *testing.T) {
	e := units(nil,
		Unit{Name: "u"}, Unit{Name: "stays"}, Unit{Name: "leaves", Leaving: true}, Unit{Name: "far", Target: Target{Cluster: "far"}},
		Unit{Name: "opaque", Unknown: true},
	)
	u := Unit{Name: "u"}
	for name, want := range map[string][2]bool{ // unknown, ok
		"u": {false, false}, "stays": {false, true}, "leaves": {false, false}, "far": {false, false}, "opaque": {true, false}, "none": {false, false},
	} {
		if _, unknown, ok := e.named(t.Context(), name, u); [2]bool{unknown, ok} != want {
			t.Errorf("%s: unknown %t, counts %t, want %v", name, unknown, ok, want)
		}
	}
}

// What can't be rendered now is claimed as it was applied, and that is said.
func TestWhatAUnitWantsThatCannotBeRendered(t *testing.T) {
	w := newLive(t)
	had := []apply.Entry{{Ref: configMap("had"), Version: "v1"}}
	for name, u := range map[string]Unit{
		"it has no source":      {Name: "u", Remembers: had},
		"it can't be rendered":  madeOf(artifact("git", "1", "{apiVersion: v1")),
		"its server is unknown": {Name: "u", Target: Target{Cluster: "x"}},
	} {
		u.Remembers = had
		claims, sure, err := w.engine.claims(t.Context(), u)
		if !claims[configMap("had")] || len(claims) != 1 || sure || err == nil {
			t.Errorf("%s: %v, sure %t, %v", name, claims, sure, err)
		}
	}
	// Of a kind that there is not, it is what is written.
	u := madeOf(artifact("git", "1", of("a", "1"), strings.Replace(of("x", "1"), "v1\nkind: ConfigMap", "none.example.com/v1\nkind: None", 1)))
	u.Remembers = had
	claims, sure, err := w.engine.claims(t.Context(), u)
	none := object.Ref{Group: "none.example.com", Kind: "None", Name: "x"}
	if err != nil || sure || len(claims) != 2 || !claims[none] {
		t.Errorf("%v, sure %t, %v", claims, sure, err)
	}
}

// A dialect that can tell which units there are only when it is asked is asked
// once, before the first is pruned.
func TestUnitsAreAskedForOnce(t *testing.T) {
	e := units(nil, Unit{Name: "u"})
	asked := 0
	e.units = func(context.Context) ([]Unit, []string) {
		asked++
		return []Unit{{Name: "v"}}, []string{"w"}
	}
	var all sync.WaitGroup
	for range 4 { // objects are tried side by side
		all.Go(func() {
			if _, unknown, ok := e.named(t.Context(), "w", Unit{Name: "u"}); !unknown || ok {
				t.Errorf("w: unknown %t, counts %t", unknown, ok)
			}
			if _, unknown, ok := e.named(t.Context(), "v", Unit{Name: "u"}); unknown || !ok {
				t.Errorf("v: unknown %t, counts %t", unknown, ok)
			}
		})
	}
	all.Wait()
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

// A unit that goes leaves to another what that one wants.
func TestAUnitThatGoesLeavesWhatAnotherWants(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("one", "1", of("a", "1"), of("b", "one")))
	v := w.unit("v", artifact("two", "1", of("b", "two")))
	w.engine.Put(u)
	w.says(u, "Ready 1")
	before := w.object("b").UID
	w.engine.Put(v)
	w.explains(v, "OwnedByOther")
	u.Leaving, u.Removal = true, Removal{Deletes: true, Waits: true}
	w.engine.Put(u)
	w.hears(u, isRemoved)
	w.engine.Delete(u.Name)
	w.says(v, "Ready 1")
	w.holds("b=two")
	if w.object("b").UID != before {
		t.Error("it is another object now")
	}
}

// Nobody prunes by what an older revision says.
func TestNothingIsPrunedByAnOlderRevision(t *testing.T) {
	w := newLive(t)
	old := artifact("git", "1", of("a", "1"))
	u := w.unit("u", old)
	w.publish(artifact("git", "2", of("a", "1"), of("b", "1")))
	u.Artifacts = append(u.Artifacts, old)
	_, _, _, err := w.engine.claimants(t.Context(), u, []apply.Entry{{Ref: configMap("b"), Version: "v1"}})
	if !fault.Is(err, fault.Progressing) || !strings.Contains(err.Error(), "there is a newer revision than 1") {
		t.Errorf("%v", err)
	}
}
