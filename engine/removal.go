package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/watch"
)

// removalHooks are the phases of a removal that there are hooks for.
func (st *state) removalHooks() (all []apply.Phase) {
	for _, p := range []apply.Phase{apply.BeforeRemoval, apply.AfterRemoval} {
		if slices.ContainsFunc(st.hooks, func(it apply.Item) bool { return slices.Contains(it.Policy.Hook.Phases, p) }) {
			all = append(all, p)
		}
	}
	return all
}

// RemoveHooks has the hooks of a phase of the removal of u run, or lets go of
// them. What has run is known by the objects, which are there until they are let
// go of; so each runs once, unless somebody deletes it.
func (e *Engine) RemoveHooks(ctx context.Context, u Unit) (Outcome, error) {
	u.Leaving, u.Permission = true, apply.Everything
	id := "removal of " + u.UID
	u.Underway = &Underway{Operation: &Operation{ID: id}, Progress: &Progress{ID: id}}
	w, err := e.begin(u, nil)
	if err == nil {
		if err = w.removalPhase(ctx); err == nil && u.Removal.Clean && u.Removal.Phase == apply.AfterRemoval {
			w.vacate(ctx)
		}
	}
	out, err := w.end(err)
	out.State = Removed
	if err != nil {
		out.State = Removing
	}
	return out, err
}

func (w *pass) removalPhase(ctx context.Context) error {
	if err := w.observeDesired(ctx); err != nil {
		return err
	}
	w.items, w.unknown, w.out.Left = nil, nil, nil // of which nothing is wanted any more
	w.applier = w.actor(ctx)
	if w.unit.Removal.Clean {
		return w.clean(ctx)
	}
	if err := w.observeLive(ctx); err != nil {
		return err
	}
	if err := w.hear(ctx, time.Now()); err != nil {
		return err
	}
	if err := w.retake(ctx); err != nil {
		return err
	}
	u := w.unit
	hooks, err := traced(w.st.hooksOf(u))
	if err != nil {
		return err
	}
	if err := w.makePlan(apply.Facts{
		Hooks: hooks, Managers: u.Managers, Order: u.Order, Live: w.place.live(u, w.st), Policy: u.policy, Permission: u.Permission,
		Admits: func(r object.Ref) error { return u.Objects.Admits(u, r) }, Course: &apply.Course{Mark: u.Underway.mark(), Ran: u.Underway.Progress.Hooks, Removal: u.Removal.Phase},
		Fights: w.st.fights, Now: time.Now(),
	}); err != nil {
		return err
	}
	if err := w.act(ctx); err != nil {
		return err
	}
	for _, run := range u.Underway.Progress.Hooks {
		if run.Refused {
			return &fault.Error{Next: fault.Retry, Reason: fault.ReconciliationFailed, Object: run.Ref, Err: errors.New(run.Message)}
		}
	}
	step := w.plan.Step
	if step == nil {
		return nil
	}
	if v := step.InVain(); v != nil {
		return &fault.Error{
			Next: fault.Wait, Reason: fault.HealthCheckFailed, Object: v.Ref, Err: fmt.Errorf("a hook of phase %s: %s", u.Removal.Phase, v.Why()),
			Hint: "nothing more is deleted before it has run; mend it in Git, or delete it to have it run again",
		}
	}
	return w.awaits(step)
}

// retake deletes hooks that have failed and are others in the source by now, and
// lets go of those that somebody deletes.
func (w *pass) retake(ctx context.Context) error {
	var errs []error
	some := false
	w.eachHook(func(it apply.Item, phase apply.Phase, l watch.Live) {
		run := apply.RunOf(w.unit.Underway.Progress.Hooks, it.Ref, phase)
		if run == nil || !run.Failed {
			return
		}
		from, err := apply.MadeFrom(&it)
		if err != nil {
			errs = append(errs, err)
			return
		}
		if !l.Deleting && l.Object.GetAnnotations()[apply.HookMade] == from {
			return
		}
		some = true
		errs = append(errs, w.applier.Dismiss(ctx, it.Ref, it.Version, l.Object, it.Policy.Hook.Finalizer, true))
	})
	if err := errors.Join(errs...); err != nil || !some {
		return err
	}
	return &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Err: errors.New("a hook that has failed is made anew")}
}

// traced are hooks that say what they are made from.
func traced(hooks []apply.Item) ([]apply.Item, error) {
	hooks = slices.Clone(hooks)
	for i, it := range hooks {
		from, err := apply.MadeFrom(&it)
		if err != nil {
			return nil, &fault.Error{Object: it.Ref, Err: err}
		}
		hooks[i].Object = func() *unstructured.Unstructured {
			o := it.Object().DeepCopy()
			o.SetAnnotations(with(o.GetAnnotations(), map[string]string{apply.HookMade: from}))
			return o
		}
	}
	return hooks, nil
}

// clean lets go of the hooks of a phase, which have run.
func (w *pass) clean(ctx context.Context) error {
	phase := w.unit.Removal.Phase
	mark := apply.MarkOf(w.unit.Underway.mark(), phase)
	var errs []error
	for _, it := range w.st.hooksOf(w.unit) {
		if it.Unknown || !slices.Contains(it.Policy.Hook.Phases, phase) {
			continue
		}
		live, err := w.client.Get(ctx, it.Ref, it.Version)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			errs = append(errs, &fault.Error{Object: it.Ref, Err: fmt.Errorf("read: %w", err)})
			continue
		}
		if live.GetAnnotations()[apply.HookMark] == mark && w.applier.Mine(live) {
			remove := it.Policy.Hook.WhenDone || w.unit.Removal.Deletes && it.Policy.Removal != apply.Never
			errs = append(errs, w.applier.Dismiss(ctx, it.Ref, it.Version, live, it.Policy.Hook.Finalizer, remove))
		}
	}
	return errors.Join(errs...)
}
