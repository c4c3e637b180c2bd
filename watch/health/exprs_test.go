package health

import (
	"runtime"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/fault"
)

func compileExprs(t *testing.T, e Exprs) Judge {
	t.Helper()
	j, err := Compile(e)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestTheFirstRuleOfAKindCounts(t *testing.T) {
	first, any, second := compileExprs(t, Exprs{Current: "first"}), compileExprs(t, Exprs{Current: "any"}), compileExprs(t, Exprs{Current: "second"})
	rules := Rules{{"a", "X", first}, {"a", "", any}, {"a", "X", second}}
	for kind, want := range map[schema.GroupKind]Judge{{Group: "a", Kind: "X"}: first, {Group: "a", Kind: "Y"}: any, {Group: "b", Kind: "X"}: nil} {
		if j := rules.For(kind); j != want {
			t.Errorf("%s: %v", kind, j)
		}
	}
	both := First{Rules{{"b", "", second}}, rules}
	for kind, want := range map[schema.GroupKind]Judge{{Group: "b", Kind: "X"}: second, {Group: "a", Kind: "X"}: first, {Group: "c", Kind: "X"}: nil} {
		if j := both.For(kind); j != want {
			t.Errorf("one after the other, %s: %v", kind, j)
		}
	}
	if _, err := Compile(Exprs{Current: "("}); !fault.Is(err, "InvalidCELExpression") {
		t.Errorf("%v", err)
	}
}

// Many units have the same expressions: they are compiled once, and let go of
// when no unit has them.
func TestEqualExpressionsAreOneJudge(t *testing.T) {
	e := Exprs{Current: "status.once == 'only here'"}
	a, b := compileExprs(t, e), compileExprs(t, e)
	if a != b {
		t.Error("they are two")
	}
	if compileExprs(t, Exprs{Failed: e.Current}) == a {
		t.Error("others are the same")
	}
	held := func() bool {
		compiled.Lock()
		defer compiled.Unlock()
		_, ok := compiled.by[e]
		return ok
	}
	for end := time.Now().Add(time.Minute); held(); runtime.GC() {
		if time.Now().After(end) {
			t.Fatal("it is kept although nobody has it")
		}
	}
}
