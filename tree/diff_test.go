package tree_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"plumb.dev/plumb/tree"
)

// edit changes a few names of m.
func edit(rng *rand.Rand, m map[string]string) map[string]string {
	out := maps.Clone(m)
	names := slices.Sorted(maps.Keys(m))
	for range 1 + rng.IntN(3) {
		switch name := names[rng.IntN(len(names))]; rng.IntN(4) {
		case 0:
			delete(out, name)
		case 1:
			put(out, name, fmt.Sprint(rng.IntN(5)))
		case 2:
			put(out, name, "-> a")
		case 3:
			for n, content := range randomFiles(rng) {
				put(out, n, content)
			}
		}
	}
	return out
}

// What a reader saw stands by a difference only if it holds in the other tree,
// and equal trees have no difference, whatever is hidden of them or laid over.
func TestATraceStandsByADifferenceOnlyIfItHolds(t *testing.T) {
	stood := 0
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 4))
		before := randomFiles(rng)
		after := edit(rng, before)
		extra := tree.FromFiles(randomFiles(rng))
		rules := []hide{{"c"}, {"b"}, {"c"}}[rng.IntN(3):]
		view := func(m map[string]string, r hide) tree.Tree {
			at := tree.FromFiles(m)
			if seed%3 == 0 {
				return at
			}
			if seed%3 == 1 {
				var err error
				if at, err = tree.Overlay(at, []tree.Mount{{At: "a/b", Tree: extra}}); err != nil {
					t.Fatal(err)
				}
			}
			return tree.Filter(at, r)
		}
		from, to := view(before, rules[0]), view(after, rules[len(rules)-1])

		tr := tree.NewTracer(from)
		for range 1 + rng.IntN(6) {
			name := "."
			for range rng.IntN(4) {
				name += "/" + string(rune('a'+rng.IntN(4)))
			}
			name, err := tree.Clean(name)
			if err != nil {
				t.Fatal(err)
			}
			switch rng.IntN(3) {
			case 0:
				_, _ = tr.Lookup(name)
			case 1:
				_, _ = tr.ReadDir(name)
			case 2:
				_, _ = tr.ReadFile(name)
			}
		}
		trace, _ := tr.Trace()
		d, ok := tree.Compare(from, to)
		if !ok {
			t.Fatalf("seed %d: can't compare", seed)
		}
		if maps.Equal(before, after) && rules[0] == rules[len(rules)-1] && d.Len() > 0 {
			t.Errorf("seed %d: %d names differ in equal trees", seed, d.Len())
		}
		changed, holds := trace.Holds(to)
		if trace.Stands(d) {
			stood++
			if !holds {
				t.Errorf("seed %d: %v became %v, and nothing that was seen of it differs; %s does", seed, before, after, changed)
			}
		}
	}
	if stood < 200 {
		t.Errorf("only %d traces stood; the test shows little", stood)
	}
}

func TestADifferenceIsOfWhatChanged(t *testing.T) {
	many := map[string]string{}
	for i := range 2000 {
		many[fmt.Sprintf("apps/%04d/base/deployment.yaml", i)] = "1"
	}
	changed := maps.Clone(many)
	changed["apps/0007/base/deployment.yaml"] = "2"
	d, ok := tree.Compare(tree.Filter(tree.FromFiles(many), hide{"z"}), tree.Filter(tree.FromFiles(changed), hide{"z"}))
	if !ok || d.Len() != 1 {
		t.Errorf("%d names differ, %v; want one", d.Len(), ok)
	}
	if _, ok := tree.Compare(tree.FromFiles(nil), tree.FromFiles(manyMore())); ok {
		t.Error("a difference without bounds was made")
	}
}

func manyMore() map[string]string {
	m := map[string]string{}
	for i := range 30_000 {
		m[fmt.Sprint(i)] = ""
	}
	return m
}
