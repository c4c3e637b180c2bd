package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
)

// An operation that another controller has begun goes on here: what that has made
// of hooks counts as made, so that none runs twice. They lack the mark of a try,
// and the label by which they are watched; both are put on them.

// inherit marks the hooks of an operation that goes on here, once in each
// process. They are looked up, since the watch does not show them.
func (w *pass) inherit(ctx context.Context) error {
	r := w.unit.Underway
	if !w.unit.Adopts || r == nil || !r.Inherited || r.Only != nil || r.Dry || w.st.inherited == r.ID {
		return nil
	}
	for _, it := range w.st.hooksOf(w.unit) {
		if it.Unknown || w.st.denied[it.Ref] {
			continue
		}
		if err := w.inheritHook(ctx, it); err != nil {
			// It waits: to fail would have the hook run again.
			return &fault.Error{
				Next: fault.Wait, Reason: fault.Progressing, After: judgedAgain, Object: it.Ref,
				Err: fmt.Errorf("the hook may run already, and can't be taken over: %w", err),
			}
		}
	}
	w.st.inherited = r.ID
	return nil
}

// inheritHook marks one hook, if it was made in the try that goes on.
func (w *pass) inheritHook(ctx context.Context, it apply.Item) error {
	l, known := w.place.watch.Live(w.unit.Name, it.Ref)
	o := l.Object
	if !known || o == nil {
		var err error
		if o, err = w.see(ctx, it.Ref, it.Version); err != nil {
			return err
		}
	}
	if o == nil || !mine(w.unit)(o) || w.unit.policy(o).Hook == nil {
		return nil
	}
	phase, ok := w.madeFor(it, o)
	mark := apply.MarkOf(w.unit.Underway.mark(), phase)
	if !ok || o.GetAnnotations()[apply.HookMark] == mark {
		return nil
	}
	if err := w.actor(ctx).Mark(ctx, it.Ref, it.Version, o, mark); err != nil {
		return err
	}
	if p := w.unit.Underway.Progress; apply.RunOf(p.Hooks, it.Ref, phase) == nil {
		p.Hooks = append(p.Hooks, apply.HookRun{Ref: it.Ref, Version: it.Version, Phase: phase})
	}
	return nil
}

// madeFor returns the phase that a live hook was made for in the try that goes on:
// the last one that is told of it. Of one that nobody has told of yet it is known
// that it was made since the operation began, as long as that has not failed.
func (w *pass) madeFor(it apply.Item, o *unstructured.Unstructured) (phase apply.Phase, ok bool) {
	p := w.unit.Underway.Progress
	for _, phase := range slices.Backward(it.Policy.Hook.Phases) {
		if apply.RunOf(p.Hooks, it.Ref, phase) != nil {
			return phase, true
		}
	}
	made := o.GetCreationTimestamp()
	return it.Policy.Hook.Phases[0], p.Failures == 0 && !p.Failed && !p.Began.IsZero() && !made.Time.Before(p.Began)
}

// calledAs returns the name that another controller has given to a hook which has
// none, in the try that goes on. Try is what the names have that are given here.
func (r *Underway) calledAs(it apply.Item, p apply.Phase, try string, taken map[string]bool) string {
	if !r.Inherited {
		return ""
	}
	for _, run := range r.Progress.Hooks {
		name := run.Ref.Name
		if run.Phase == p && run.Ref.GroupKind() == it.Ref.GroupKind() && run.Ref.Namespace == it.Ref.Namespace && !taken[name] &&
			strings.HasPrefix(name, it.Policy.Hook.GenerateName) && !strings.Contains(name, "-"+try+"-") {
			taken[name] = true
			return name
		}
	}
	return ""
}
