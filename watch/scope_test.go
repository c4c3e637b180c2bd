package watch

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// asked are what the server is asked for by names.
func asked(n *names) map[streamKey]bool {
	keys := make(map[streamKey]bool)
	for ns, in := range n.count {
		for name := range in {
			keys[n.key(schema.GroupVersionResource{}, ns, name)] = true
		}
	}
	return keys
}

func TestNoNumberOfNamesMakesManyWatches(t *testing.T) {
	for _, spread := range []struct{ namespaces, names int }{{1, 1}, {1, 4}, {1, 1000}, {8, 1}, {9, 1}, {300, 1}, {300, 20}} {
		t.Run(fmt.Sprintf("%d in %d", spread.names, spread.namespaces), func(t *testing.T) {
			n := newNames()
			for ns := range spread.namespaces {
				for name := range spread.names {
					n.add(fmt.Sprint(ns), fmt.Sprint(name))
					n.widen()
					if got := len(asked(n)); got > mostStreams {
						t.Fatalf("%d watches", got)
					}
				}
			}
			if all := asked(n)[streamKey{}]; all != (spread.namespaces > mostStreams) {
				t.Errorf("all namespaces are watched at once: %v", all)
			}
		})
	}
}

func TestWhatIsWideStaysSoUntilThereIsHalfOfIt(t *testing.T) {
	n := newNames()
	for i := range mostNames + 1 {
		n.add("shop", fmt.Sprint(i))
	}
	n.widen()
	whole := streamKey{namespace: "shop"}
	for i := mostNames; i >= mostNames/2; i-- {
		if n.tighten(); !asked(n)[whole] {
			t.Fatalf("with %d names it is %v", i+1, asked(n))
		}
		n.remove("shop", fmt.Sprint(i))
	}
	if n.widen() || !asked(n)[whole] {
		t.Error("what is added makes it narrow")
	}
	if !n.tighten() || asked(n)[whole] {
		t.Errorf("with %d names it is %v", mostNames/2, asked(n))
	}
	for ns := range mostStreams + 1 {
		n.add(fmt.Sprint(ns), "a")
	}
	if !n.widen() || !asked(n)[streamKey{}] {
		t.Errorf("with %d namespaces it is %v", mostStreams+2, asked(n))
	}
	for ns := range mostStreams + 1 {
		n.remove(fmt.Sprint(ns), "a")
	}
	if !n.tighten() || asked(n)[streamKey{}] {
		t.Errorf("with one namespace it is %v", asked(n))
	}
}

func TestANameThatManyFollowCountsOnce(t *testing.T) {
	n := newNames()
	for range 100 {
		n.add("shop", "a")
	}
	if n.widen() || len(asked(n)) != 1 {
		t.Errorf("it is %v", asked(n))
	}
	for range 100 {
		n.remove("shop", "a")
	}
	if len(n.count) != 0 {
		t.Errorf("left is %v", n.count)
	}
}

func TestWhatMayNotBeAskedForIsAskedForInParts(t *testing.T) {
	n := newNames()
	for ns := range 2 * mostStreams {
		for name := range 2 * mostNames {
			n.add(fmt.Sprint(ns), fmt.Sprint(name))
		}
	}
	n.widen()
	if !n.forbid(streamKey{}) || n.forbid(streamKey{}) {
		t.Error("all namespaces are forbidden once, and there is something else to do")
	}
	if got := len(asked(n)); got != 2*mostStreams {
		t.Errorf("%d watches of %d namespaces", got, 2*mostStreams)
	}
	if !n.forbid(streamKey{namespace: "3"}) || n.forbid(streamKey{namespace: "3"}) {
		t.Error("a namespace is forbidden once, and there is something else to do")
	}
	if got := len(asked(n)); got != 2*mostStreams-1+2*mostNames {
		t.Errorf("%d watches", got)
	}
	if n.forbid(streamKey{namespace: "3", name: "a"}) || n.forbid(streamKey{namespace: "3", selector: "label"}) {
		t.Error("there is less to ask for than one object")
	}
}
