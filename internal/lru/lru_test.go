package lru_test

import (
	"math/rand/v2"
	"testing"

	"plumb.dev/plumb/internal/lru"
)

func TestTheLeastRecentlyUsedGoesFirst(t *testing.T) {
	c := lru.New[string, int](100)
	for i, k := range []string{"a", "b", "c", "d"} {
		c.Add(k, i, 25)
	}
	if _, ok := c.Get("a"); !ok {
		t.Error("a is gone, and there was room")
	}
	c.Add("e", 4, 25)
	if _, ok := c.Get("b"); ok {
		t.Error("b stayed, which nobody has used for longest")
	}
	for k, want := range map[string]int{"a": 0, "c": 2, "d": 3, "e": 4} {
		if v, ok := c.Get(k); !ok || v != want {
			t.Errorf("%s: %d, %v", k, v, ok)
		}
	}
}

func TestWhatFillsMuchOfACacheIsNotKept(t *testing.T) {
	c := lru.New[string, int](100)
	c.Add("small", 1, 25)
	c.Add("large", 2, 26)
	if _, ok := c.Get("large"); ok || c.Held() != 25 {
		t.Errorf("kept %v, %d held", ok, c.Held())
	}
	c.Add("small", 3, 26)
	if v, ok := c.Get("small"); ok {
		t.Errorf("%d, which was replaced by what is not kept", v)
	}
	if none := lru.New[string, int](0); true {
		none.Add("a", 1, 1)
		if _, ok := none.Get("a"); ok {
			t.Error("a cache of nothing keeps something")
		}
	}
}

// Whatever is added, replaced and removed, what is held is the sum of what is
// there, and no more than it may be.
func TestWhatIsHeldIsWhatIsThere(t *testing.T) {
	c, r := lru.New[int, int64](1000), rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		k := r.IntN(30)
		switch r.IntN(10) {
		case 0:
			c.Remove(k)
		case 1:
			c.Get(k)
		default:
			cost := r.Int64N(300)
			c.Add(k, cost, cost)
		}
		var sum int64
		for k := range 30 {
			if cost, ok := c.Get(k); ok {
				sum += cost
			}
		}
		if sum != c.Held() || sum > 1000 {
			t.Fatalf("%d held, %d there", c.Held(), sum)
		}
	}
	c.Clear()
	if _, ok := c.Get(1); ok || c.Held() != 0 {
		t.Error("something is left")
	}
}
