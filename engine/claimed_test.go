package engine

import (
	"fmt"
	"slices"
	"testing"

	"plumb.dev/plumb/object"
)

func configMaps(names ...string) map[object.Ref]bool {
	set := make(map[object.Ref]bool)
	for _, n := range names {
		set[configMap(n)] = true
	}
	return set
}

func configMap(name string) object.Ref {
	return object.Ref{Kind: "ConfigMap", Namespace: "shop", Name: name}
}

func TestClaimsAreFoundByObject(t *testing.T) {
	x := newClaimIndex()
	of := func(cluster, name string) string {
		units := x.of(cluster, configMap(name))
		slices.Sort(units)
		return fmt.Sprint(units)
	}
	want := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	x.set("u", "", configMaps("a", "b"), false)
	x.set("v", "", configMaps("b", "c"), false)
	x.set("w", "elsewhere", configMaps("a"), false)
	want(of("", "a"), "[u]")
	want(of("", "b"), "[u v]")
	want(of("elsewhere", "a"), "[w]")
	want(of("elsewhere", "b"), "[]")
	x.set("u", "", configMaps("c"), true)
	want(of("", "a"), "[]")
	want(of("", "b"), "[v]")
	want(of("", "c"), "[u v]")
	want(fmt.Sprint(x.allLost()), "[u]")
	x.drop("u")
	x.drop("v")
	x.drop("w")
	if len(x.by)+len(x.keys)+len(x.lost) != 0 {
		t.Errorf("what is left: %v, %v, %v", x.by, x.keys, x.lost)
	}
}

// What a unit claims is looked at once for each change, however many prune.
func TestClaimsAreOutdatedByChangesAlone(t *testing.T) {
	e := units(nil, Unit{Name: "a"}, Unit{Name: "b"}, Unit{Name: "far", Target: Target{Cluster: "far"}}, Unit{Name: "opaque", Unknown: true})
	r := e.registry
	want := func(want ...string) {
		t.Helper()
		got := r.outdated("")
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("outdated are %q, want %q", got, want)
		}
	}
	index := func(name string) {
		tr, _, _, _ := r.find(name)
		r.indexed(tr, r.version(tr))
	}
	want("a", "b")
	index("a")
	index("b")
	want()
	r.moved([]string{"b", "opaque", "none"})
	want("b")
	tr, _, _, _ := r.find("b")
	version := r.version(tr)
	r.moved([]string{"b"}) // while it is looked at
	r.indexed(tr, version)
	want("b")
	index("b")
	e.Put(Unit{Name: "a", Leaving: true})
	want()
	e.Put(Unit{Name: "a"})
	want("a")
	e.Delete("a")
	want()
	if got := fmt.Sprint(r.opaque()); got != "[opaque]" {
		t.Errorf("opaque are %s", got)
	}
}
