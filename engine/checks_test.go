package engine

import (
	"fmt"
	"testing"

	"plumb.dev/plumb/fault"
)

func TestTheHealthChecksOfANamespaceAreBounded(t *testing.T) {
	e := &Engine{checks: make(map[string]map[string]int)}
	unit := func(i int, ns string) Unit { return Unit{Name: fmt.Sprintf("%s/%d", ns, i), Namespace: ns} }
	for i := range 10 {
		if err := e.admitChecks(unit(i, "shop"), 100); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.admitChecks(unit(10, "shop"), 1); !fault.Is(err, "HealthCheckFailed") {
		t.Errorf("one more than a namespace may have: %v", err)
	}
	for _, u := range []Unit{unit(3, "shop"), unit(0, "other")} {
		if err := e.admitChecks(u, 100); err != nil {
			t.Errorf("%s: %v", u.Name, err)
		}
	}
	if err := e.admitChecks(unit(3, "shop"), 99); err != nil {
		t.Error(err)
	}
	if err := e.admitChecks(unit(10, "shop"), 1); err != nil {
		t.Errorf("after another has one less: %v", err)
	}
}
