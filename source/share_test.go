package source

import (
	"fmt"
	"slices"
	"testing"
)

func TestServersThatDoNotAnswerLeaveWorkersToTheOthers(t *testing.T) {
	var woken []string
	s := newShare(16, func(keys ...string) { woken = append(woken, keys...) })
	// A server is well once it has answered.
	leave, ok := s.enter("good", "first")
	if !ok {
		t.Fatal("there is no worker for the first")
	}
	leave(true)

	var held []func(bool)
	for i := range 200 {
		if leave, ok := s.enter(fmt.Sprintf("hung-%d", i%50), fmt.Sprint(i)); ok {
			held = append(held, leave)
		}
	}
	if len(held) != 10 {
		t.Fatalf("servers of which nothing is known have %d of 16 workers", len(held))
	}
	var good []func(bool)
	for i := range 10 {
		if leave, ok := s.enter("good", fmt.Sprintf("good-%d", i)); ok {
			good = append(good, leave)
		}
	}
	if len(good) != 4 {
		t.Errorf("a server that answers has %d of 16 workers beside them", len(good))
	}
	woken = nil
	good[0](true)
	if len(woken) != 1 || woken[0] != "good-4" {
		t.Errorf("when one has its answer, %v are woken", woken)
	}
	woken = nil
	held[0](false)
	if !slices.Contains(woken, "10") {
		t.Errorf("when one gives up, %v are woken", woken)
	}
}

func TestAnObjectThatHangsAtAServerThatIsWellHangsWithItsLike(t *testing.T) {
	s := newShare(16, func(...string) {})
	bad := func(i int) string { return fmt.Sprintf("bad-%d", i) }
	for i := range 40 {
		if leave, ok := s.enter("forge", bad(i)); ok {
			leave(false)
		}
	}
	for i := range 40 {
		s.enter("forge", bad(i)) // and stays
	}
	for i := range 4 {
		if _, ok := s.enter("forge", fmt.Sprint(i)); !ok {
			t.Errorf("%d others of that server have a worker", i)
		}
	}
}

func TestWhoWaitsIsWokenOnceAndInOrder(t *testing.T) {
	var woken []string
	s := newShare(4, func(keys ...string) { woken = append(woken, keys...) })
	leave, _ := s.enter("a", "1")
	for _, k := range []string{"2", "3", "2", "3"} {
		if _, ok := s.enter("a", k); ok {
			t.Fatalf("%s has a second worker of one", k)
		}
	}
	for _, k := range []string{"2", "3"} {
		leave(true)
		var ok bool
		if leave, ok = s.enter("a", k); !ok {
			t.Fatalf("%s was woken to no worker", k)
		}
	}
	if !slices.Equal(woken, []string{"2", "3"}) {
		t.Errorf("woken: %v", woken)
	}
	for _, k := range []string{"4", "5"} {
		s.enter("a", k)
	}
	s.forget("4")
	woken = nil
	if leave(true); !slices.Equal(woken, []string{"5"}) {
		t.Errorf("woken: %v, of which one is no more", woken)
	}
}
