package flux

import (
	"fmt"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func name(s string) types.NamespacedName { return types.NamespacedName{Namespace: "x", Name: s} }

func TestServersThatDoNotAnswerLeaveWorkersToTheOthers(t *testing.T) {
	var woken []types.NamespacedName
	s := newShare(16, 0, func(keys ...types.NamespacedName) { woken = append(woken, keys...) })
	// A server is well once it has answered.
	leave, ok := s.enter("good", name("first"))
	if !ok {
		t.Fatal("there is no worker for the first")
	}
	leave(true)

	var held []func(bool)
	for i := range 200 {
		if leave, ok := s.enter(fmt.Sprintf("hung-%d", i%50), name(fmt.Sprint(i))); ok {
			held = append(held, leave)
		}
	}
	if len(held) != 10 {
		t.Fatalf("servers of which nothing is known have %d of 16 workers", len(held))
	}
	var good []func(bool)
	for i := range 10 {
		if leave, ok := s.enter("good", name(fmt.Sprintf("good-%d", i))); ok {
			good = append(good, leave)
		}
	}
	if len(good) != 4 {
		t.Errorf("a server that answers has %d of 16 workers beside them", len(good))
	}
	woken = nil
	good[0](true)
	if len(woken) != 1 || woken[0] != name("good-4") {
		t.Errorf("when one has its answer, %v are woken", woken)
	}
	woken = nil
	held[0](false)
	if !slices.Contains(woken, name("10")) {
		t.Errorf("when one gives up, %v are woken", woken)
	}
}

func TestAnObjectThatHangsAtAServerThatIsWellHangsWithItsLike(t *testing.T) {
	s := newShare(16, 0, func(...types.NamespacedName) {})
	bad := func(i int) types.NamespacedName { return name(fmt.Sprintf("bad-%d", i)) }
	for i := range 40 {
		if leave, ok := s.enter("forge", bad(i)); ok {
			leave(false)
		}
	}
	for i := range 40 {
		s.enter("forge", bad(i)) // and stays
	}
	for i := range 4 {
		if _, ok := s.enter("forge", name(fmt.Sprint(i))); !ok {
			t.Errorf("%d others of that server have a worker", i)
		}
	}
}

func TestThereIsAWorkerForWhoNeedsNoServer(t *testing.T) {
	for workers, want := range map[int]int{1: 1, 2: 1, 4: 3, 16: 12, 64: 48} {
		s := newShare(workers, max(1, workers/4), func(...types.NamespacedName) {})
		in := 0
		for round := range 2 {
			for i := range 100 {
				server, key := fmt.Sprint(i), name(fmt.Sprint(round, i))
				leave, ok := s.enter(server, key)
				if ok && round == 0 {
					leave(true)
				}
				if ok && round == 1 {
					in++
				}
			}
		}
		if in != want {
			t.Errorf("of %d workers %d are held, want %d", workers, in, want)
		}
	}
}

func TestWhoWaitsIsWokenOnceAndInOrder(t *testing.T) {
	var woken []types.NamespacedName
	s := newShare(4, 0, func(keys ...types.NamespacedName) { woken = append(woken, keys...) })
	leave, _ := s.enter("a", name("1"))
	for _, k := range []string{"2", "3", "2", "3"} {
		if _, ok := s.enter("a", name(k)); ok {
			t.Fatalf("%s has a second worker of one", k)
		}
	}
	for _, k := range []string{"2", "3"} {
		leave(true)
		var ok bool
		if leave, ok = s.enter("a", name(k)); !ok {
			t.Fatalf("%s was woken to no worker", k)
		}
	}
	if !slices.Equal(woken, []types.NamespacedName{name("2"), name("3")}) {
		t.Errorf("woken: %v", woken)
	}
}
