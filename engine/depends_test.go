package engine

import (
	"errors"
	"strings"
	"testing"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
)

// An operation waits for what its unit depends on. Meanwhile the unit is looked at,
// and held to what it permits by itself.
func TestAnOperationWaitsForDependencies(t *testing.T) {
	w := newLive(t)
	first := w.unit("first", artifact("first", "1", of("f", "1")))
	u := w.unit("u", artifact("git", "1", of("a", "1"), of("b", "1")))
	u.Permission = apply.CorrectDrift
	u.Operation = &Operation{ID: "one", Permission: apply.Everything}
	w.engine.Put(u)
	w.says(u, "Ready 1, one Succeeded")

	w.publish(artifact("git", "2", of("a", "1"), of("b", "2")))
	u.DependsOn = []Dependency{{Unit: first.Name, As: "the first", Newest: true}}
	u.Operation = &Operation{ID: "two", Permission: apply.Everything}
	w.engine.Put(u)
	out := w.says(u, "Waiting 2, two Running")
	if out.Reason != fault.DependencyNotReady || out.Operation.Message != "dependency 'the first' does not exist" || out.Plan == nil || len(out.Held()) != 1 {
		t.Errorf("%s: %s, with a plan: %v", out.Reason, out.Operation.Message, out.Plan != nil)
	}
	w.edit("a", "by hand")
	w.comesToHold("a=1", "b=1")
	w.says(u, "Waiting 2, two Running")

	// It goes on when the first is ready, at what that is made from by then.
	w.engine.Put(first)
	w.says(first, "Ready 1")
	w.says(u, "Ready 2, two Succeeded")
	w.holds("a=1", "b=2", "f=1")

	// A unit that has no operation is not kept from being looked at.
	first.Digest, first.Refused = "2", &fault.Error{Next: fault.Stall, Reason: fault.InvalidSpec, Err: errors.New("no")}
	w.engine.Put(first)
	u.Operation = nil
	w.engine.Put(u)
	w.publish(artifact("git", "3", of("a", "1"), of("b", "3")))
	if out := w.says(u, "OutOfSync 3"); strings.Contains(out.Message, "dependency") {
		t.Error(out.Message)
	}
}
