package fault_test

import (
	"errors"
	"fmt"
	"testing"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
)

func TestOf(t *testing.T) {
	stall := &fault.Error{Next: fault.Stall, Reason: "BuildFailed", Err: errors.New("bad")}
	wait := &fault.Error{Next: fault.Wait, Reason: "UnknownKind", Err: errors.New("later")}
	for name, c := range map[string]struct {
		err    error
		next   fault.Next
		reason fault.Reason
	}{
		"an error without a class is tried again": {errors.New("x"), fault.Retry, ""},
		"a wrapped one keeps its class":           {fmt.Errorf("render: %w", stall), fault.Stall, "BuildFailed"},
		"of several, the one that needs most":     {errors.Join(wait, errors.New("x"), fmt.Errorf("y: %w", stall)), fault.Stall, "BuildFailed"},
		"the outermost of a chain speaks for it":  {&fault.Error{Next: fault.Wait, Reason: "Outer", Err: stall}, fault.Wait, "Outer"},
		"a joined one in a wrapped one is found":  {fmt.Errorf("a: %w", errors.Join(errors.New("x"), wait)), fault.Wait, "UnknownKind"},
		"nothing at all":                          {nil, fault.Retry, ""},
	} {
		f := fault.Of(c.err)
		if c.err == nil {
			if f != nil {
				t.Errorf("%s: %v", name, f)
			}
			continue
		}
		if f.Next != c.next || f.Reason != c.reason {
			t.Errorf("%s: %s %s, want %s %s", name, f.Next, f.Reason, c.next, c.reason)
		}
	}
	if !fault.Is(fmt.Errorf("z: %w", errors.Join(stall, wait)), "UnknownKind") {
		t.Error("a reason in a joined error is not found")
	}
}

func TestErrorSaysWhatWhereAndWhatNext(t *testing.T) {
	err := &fault.Error{
		Next: fault.Stall, Reason: "X", Object: object.Ref{Kind: "ConfigMap", Namespace: "shop", Name: "a"},
		Hint: "do this", Err: errors.New("it is wrong"),
	}
	if got, want := err.Error(), "ConfigMap/shop/a: it is wrong (do this)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
