package argocd

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
)

// A deletion goes from one part to the next as finalizers go.
func TestTheStagesOfADeletion(t *testing.T) {
	finalizers := []string{"example.com/other", postDelete + cleaned, cascade, preDelete, postDelete, preDelete + cleaned}
	var got []string
	for range 10 {
		phase, clean, f := stage(finalizers)
		gone := settled(engine.Removal{Phase: phase, Clean: clean, Deletes: true}, finalizers)
		if len(gone) == 0 {
			break
		}
		if f != "" && !slices.Equal(gone, []string{f}) {
			t.Errorf("at %s these go: %q", f, gone)
		}
		got = append(got, fmt.Sprint(phase, clean))
		finalizers = slices.DeleteFunc(finalizers, func(f string) bool { return slices.Contains(gone, f) })
	}
	want := []string{"before removal false", "before removal true", "main false", "after removal false", "after removal true"}
	if !slices.Equal(got, want) || !slices.Equal(finalizers, []string{"example.com/other"}) {
		t.Errorf("the stages are %q, want %q; what stays is %q", got, want, finalizers)
	}
}

// What is told twice, or late, takes no finalizer of what comes after it.
func TestWhatIsDoneTakesItsOwnFinalizer(t *testing.T) {
	all := []string{"example.com/other", preDelete, preDelete + cleaned, cascade, postDelete, postDelete + cleaned}
	later := []string{"example.com/other", cascade, postDelete + cleaned}
	for _, c := range []struct {
		done      engine.Removal
		has, want []string
	}{
		{engine.Removal{Phase: apply.BeforeRemoval}, all, []string{preDelete}},
		{engine.Removal{Phase: apply.BeforeRemoval}, later, nil},
		{engine.Removal{Phase: apply.BeforeRemoval, Clean: true, Deletes: true}, all, []string{preDelete + cleaned}},
		{engine.Removal{Phase: apply.BeforeRemoval, Clean: true, Deletes: true}, later, nil},
		{engine.Removal{Deletes: true, Waits: true}, all, []string{cascade}},
		{engine.Removal{Waits: true}, later, []string{cascade}}, // Delete=false
		{engine.Removal{Phase: apply.AfterRemoval}, later, nil},
		{engine.Removal{Phase: apply.AfterRemoval, Clean: true}, later, []string{postDelete + cleaned}},
		{engine.Removal{}, later, []string{cascade, postDelete + cleaned}}, // with its definition
	} {
		if got := settled(c.done, c.has); !slices.Equal(got, c.want) {
			t.Errorf("%+v takes %q off %q, want %q", c.done, got, c.has, c.want)
		}
	}
}

func TestFinalizersFollowTheHooks(t *testing.T) {
	with, without := awaiting([]string{cascade, preDelete}, []apply.Phase{apply.AfterRemoval})
	if !slices.Equal(with, []string{postDelete, postDelete + cleaned}) || !slices.Equal(without, []string{preDelete}) {
		t.Errorf("%q come, and %q go", with, without)
	}
	if with, without = awaiting([]string{postDelete, postDelete + cleaned}, []apply.Phase{apply.AfterRemoval}); len(with)+len(without) > 0 {
		t.Errorf("%q come, and %q go", with, without)
	}
}

func TestWhatADeletionWaitsForIsTold(t *testing.T) {
	waits := func(r fault.Reason) engine.Outcome {
		return engine.Outcome{Err: &fault.Error{Next: fault.Wait, Reason: r, Err: errors.New("Job/a is InProgress")}}
	}
	for name, c := range map[string]struct {
		out   engine.Outcome
		since time.Duration
		want  string
	}{
		"a hook that has just begun":  {waits(fault.Progressing), time.Second, "map[]"},
		"one that does not end":       {waits(fault.Progressing), time.Minute, "map[DeletionProgressInfo:Job/a is InProgress]"},
		"what has not been read":      {waits(fault.NotYetRead), time.Minute, "map[]"},
		"a hook that has failed":      {waits(fault.HealthCheckFailed), time.Second, "map[DeletionError:Job/a is InProgress]"},
		"what nobody has confirmed":   {waits(fault.Unconfirmed), time.Second, "map[DeletionError:Job/a is InProgress" + howToConfirm + "]"},
		"a deletion that is all done": {engine.Outcome{}, time.Minute, "map[]"},
	} {
		if got := fmt.Sprint(conditionsOfDeletion(c.out, c.since)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
