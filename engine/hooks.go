package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/watch"
	"plumb.dev/plumb/watch/health"
)

// fares says how an object fares, by its health.
func fares(h health.Result) (apply.Wellness, string) {
	switch h.Status {
	case health.Current:
		return apply.Well, ""
	case health.Failed:
		return apply.Ill, h.Message
	}
	return apply.Comes, h.Message
}

// hooksOf are the hooks of the operation that runs, by the names that they have
// in this try; without one there are none.
func (st *state) hooksOf(u Unit) (all []apply.Item) {
	r := u.Underway
	if r == nil || len(st.hooks) == 0 {
		return nil
	}
	sum := sha256.Sum256([]byte(r.mark()))
	marks, try, taken := u.Objects.Marks(u), hex.EncodeToString(sum[:4]), make(map[string]bool)
	for i, it := range st.hooks {
		if it.Policy.Hook.GenerateName == "" {
			all = append(all, it)
			continue
		}
		for _, p := range it.Policy.Hook.Phases {
			name := fmt.Sprintf("%s%s-%s-%d", it.Policy.Hook.GenerateName, nameOf[p], try, i)
			if u.Adopts {
				name = cmp.Or(r.calledAs(it, p, try, taken), name)
			}
			all = append(all, named(it, p, name, marks))
		}
	}
	return all
}

// hooks are those of the source: as the operation that runs has them, or as they
// are written.
func (w *pass) hooks() []apply.Item {
	if w.unit.Underway == nil {
		return w.st.hooks
	}
	return w.st.hooksOf(w.unit)
}

// nameOf are the phases in names, in the words of Argo CD's users.
var nameOf = map[apply.Phase]string{
	apply.Before: "presync", apply.Main: "sync", apply.After: "postsync", apply.OnFailure: "syncfail",
	apply.BeforeRemoval: "predelete", apply.AfterRemoval: "postdelete",
}

// named is a hook of one phase, with a name.
func named(it apply.Item, p apply.Phase, name string, marks func(object.Ref) Marks) apply.Item {
	h, desired := *it.Policy.Hook, it.Object
	h.Phases, it.Ref.Name, it.Policy.Hook = []apply.Phase{p}, name, &h
	ref := it.Ref
	it.Object = func() *unstructured.Unstructured {
		o := desired().DeepCopy()
		o.SetGenerateName("")
		o.SetName(name)
		m := marks(ref)
		o.SetLabels(with(o.GetLabels(), m.Labels))
		o.SetAnnotations(with(o.GetAnnotations(), m.Annotations))
		return o
	}
	return it
}

// course is how the operation that runs goes about it; nil: none does.
func (w *pass) course() *apply.Course {
	r := w.unit.Underway
	if r == nil || w.holds || r.Dry {
		return nil
	}
	co := &apply.Course{Mark: r.mark(), Ran: slices.Clone(r.Progress.Hooks), NoHooks: r.NoHooks || r.Only != nil, PruneLast: r.PruneLast, Strict: r.Strict}
	if w.st.applied.try == co.Mark {
		co.Applied = w.st.applied.all
	}
	if r.Progress.Failed {
		co.Failed = r.Progress.Message
	}
	if r.Only != nil {
		co.Only = apply.Select(r.Only)
	}
	return co
}

// mark is that of the hooks of a try.
func (r *Underway) mark() string { return fmt.Sprintf("%s/%d", r.ID, r.Progress.Failures) }

// eachHook calls f for every hook of the operation that runs that is there and
// was made in this try.
func (w *pass) eachHook(f func(it apply.Item, p apply.Phase, l watch.Live)) {
	r := w.unit.Underway
	if r == nil || r.Only != nil {
		return
	}
	try := r.mark()
	for _, it := range w.st.hooksOf(w.unit) {
		if it.Unknown {
			continue
		}
		l, known := w.place.watch.Live(w.unit.Name, it.Ref)
		if w.st.denied[it.Ref] || !known || !l.Exists || l.Object == nil {
			continue
		}
		for _, p := range it.Policy.Hook.Phases {
			if l.Object.GetAnnotations()[apply.HookMark] == apply.MarkOf(try, p) {
				f(it, p, l)
			}
		}
	}
}

// hear finds out what the hooks have come to that were made in this try.
func (w *pass) hear(ctx context.Context, now time.Time) error {
	if err := w.inherit(ctx); err != nil {
		return err
	}
	w.eachHook(func(it apply.Item, phase apply.Phase, l watch.Live) {
		p := w.unit.Underway.Progress
		run := apply.RunOf(p.Hooks, it.Ref, phase)
		if run == nil {
			p.Hooks = append(p.Hooks, apply.HookRun{Ref: it.Ref, Version: it.Version, Phase: phase})
			run = &p.Hooks[len(p.Hooks)-1]
		}
		if !run.Ended.IsZero() {
			return
		}
		switch c := l.Health; {
		case c.Status == health.Current || c.Status == health.Failed:
			run.Ended, run.Failed, run.Message = now, c.Status == health.Failed, c.Message
		case p.Stopped:
			run.Ended, run.Failed, run.Stopped, run.Message = now, true, true, terminated
		case l.Deleting && c.Status != health.Unknown: // else it may have ended before, which is for its judge to say
			run.Ended, run.Failed, run.Message = now, true, "it was deleted before it had ended"
		default:
			run.Message = w.hide(c.Message)
			if c.Err != nil && fault.Of(c.Err).Next == fault.Retry {
				w.out.Next = sooner(w.out.Next, now.Add(judgedAgain))
			}
			return
		}
		w.ended(run)
	})
	return w.lost(ctx, now)
}

// lost finds the hooks that ran and are not there any more, although they were
// held: somebody has made them go. What the watch does not show it may not have
// seen yet, so the server is asked.
func (w *pass) lost(ctx context.Context, now time.Time) error {
	if w.unit.Underway == nil {
		return nil
	}
	hooks := w.unit.Underway.Progress.Hooks
	for i := range hooks {
		run := &hooks[i]
		if l, known := w.place.watch.Live(w.unit.Name, run.Ref); run.Ended.IsZero() && known && !l.Exists {
			o, err := w.see(ctx, run.Ref, run.Version)
			if err != nil {
				return err
			}
			if o != nil && o.GetAnnotations()[apply.HookMark] == apply.MarkOf(w.unit.Underway.mark(), run.Phase) {
				continue
			}
			run.Ended, run.Failed, run.Message = now, true, "it was deleted before it had ended"
			w.ended(run)
		}
	}
	return nil
}

// refuses takes out of a stage the hooks that are refused: each has failed by
// itself, and the rest of the stage is made nonetheless. It returns the error
// where something else is refused too, or may pass later.
func (w *pass) refuses(stage []*apply.Result, err error) ([]*apply.Result, error) {
	refused := func(c *apply.Result) bool { return c.Did == apply.Refused }
	other := func(c *apply.Result) bool {
		return refused(c) && (c.Hook == nil || fault.Of(c.Err).Next == fault.Wait || apply.NoAnswer(c.Err))
	}
	if err == nil || w.unit.Underway == nil || w.dry() || !slices.ContainsFunc(stage, refused) || slices.ContainsFunc(stage, other) {
		return stage, err
	}
	p, now := w.unit.Underway.Progress, time.Now()
	for _, c := range stage {
		if refused(c) {
			run := apply.HookRun{Ref: c.Ref, Version: c.Version, Phase: c.At.Phase, Ended: now, Failed: true, Refused: true, Message: c.Err.Error()}
			p.Hooks = append(p.Hooks, run)
			w.ended(&p.Hooks[len(p.Hooks)-1])
		}
	}
	w.refused = true
	return slices.DeleteFunc(slices.Clone(stage), refused), nil
}

// ended notes what a hook has come to. The first that fails fails the try.
func (w *pass) ended(run *apply.HookRun) {
	p := w.unit.Underway.Progress
	run.Message = w.hide(run.Message)
	if !run.Failed || p.Failed {
		return
	}
	p.Failed, p.Reason, p.Message = true, fault.HealthCheckFailed, fmt.Sprintf("hook %s failed", run.Ref)
	if run.Refused {
		p.Reason, p.Message = fault.ReconciliationFailed, fmt.Sprintf("hook %s is refused", run.Ref)
	}
	if run.Message != "" {
		p.Message += ": " + run.Message
	}
}

// hide leaves out of what a hook says the secrets that it was given.
func (w *pass) hide(text string) string {
	if text == "" {
		return ""
	}
	return secretsOf(w.unit, w.items)().Hide(text)
}

// begun has an operation that has hooks stored before it writes anything: another
// process could know neither those that were made, nor that there are more to
// make once all is as desired.
func (w *pass) begun() error {
	r := w.unit.Underway
	changes := func(c *apply.Change) bool { return c.Writes() || c.Action == apply.Delete }
	if r == nil || r.Only != nil || len(w.st.hooks) == 0 || r.Told.ID == r.ID && r.Told.Failures == r.Progress.Failures ||
		!slices.ContainsFunc(w.plan.Changes, changes) {
		return nil
	}
	return again(errors.New("the operation begins"))
}

// again has the unit looked at once more as soon as what is known is told.
func again(why error) error {
	return &fault.Error{Next: fault.Wait, Reason: fault.Progressing, After: time.Millisecond, Err: why}
}

// made notes the hooks that were made just now.
func (w *pass) made() {
	for _, c := range w.record.That(apply.Written) {
		if c.Hook != nil && c.After != nil { // else the one of before is on its way out
			p := w.unit.Underway.Progress
			p.Hooks = append(p.Hooks, apply.HookRun{Ref: c.Ref, Version: c.Version, Phase: c.At.Phase})
		}
	}
}

// dismiss lets go of the hooks that have run, and deletes those that say so,
// once it is stored what they have come to. Those that have done well stay until
// all has: of an operation that fails, people want to see them, but for those that
// are for that.
func (w *pass) dismiss(ctx context.Context) error {
	var errs []error
	untold := false
	over := w.plan.Step == nil && w.unit.Underway != nil && !w.unit.Underway.Progress.Failed
	w.eachHook(func(it apply.Item, phase apply.Phase, l watch.Live) {
		r, h := w.unit.Underway, it.Policy.Hook
		run := apply.RunOf(r.Progress.Hooks, it.Ref, phase)
		if run == nil || run.Ended.IsZero() {
			return
		}
		remove := h.WhenDone && !run.Failed && (over || phase == apply.OnFailure) || h.WhenFailed && run.Failed || run.Stopped
		held := h.Finalizer != "" && slices.Contains(l.Object.GetFinalizers(), h.Finalizer)
		if !held && (!remove || l.Deleting) {
			return
		}
		if stored := apply.RunOf(r.Told.Hooks, it.Ref, phase); r.Told.ID != r.ID || stored == nil || stored.Ended.IsZero() {
			untold = true
			return
		}
		errs = append(errs, w.applier.Dismiss(ctx, it.Ref, it.Version, l.Object, h.Finalizer, remove))
	})
	if untold {
		errs = append(errs, again(errors.New("a hook has run")))
	}
	return errors.Join(errs...)
}

// dismissAll lets go of the hooks that the last operation of a unit that goes has
// made, and that are still there, or deletes them.
func (w *pass) dismissAll(ctx context.Context, remove bool) error {
	var errs []error
	for _, run := range w.unit.Hooks {
		live, err := w.see(ctx, run.Ref, run.Version)
		if errs = append(errs, err); live == nil {
			continue
		}
		p := w.unit.policy(live)
		if p.Hook == nil || p.Keep || live.GetAnnotations()[apply.HookMark] == "" || !w.applier.Mine(live) {
			continue // it is none of ours by now
		}
		errs = append(errs, w.applier.Dismiss(ctx, run.Ref, run.Version, live, p.Hook.Finalizer, remove))
	}
	return errors.Join(errs...)
}

// stepped says what the operation waits for that runs, or why it has failed.
func (w *pass) stepped() error {
	r := w.unit.Underway
	if r == nil {
		return nil
	}
	if step := w.plan.Step; step != nil && (step.Holds || step.For(apply.Completion)) {
		if v := step.InVain(); v != nil {
			return &fault.Error{Next: fault.Retry, Reason: fault.HealthCheckFailed, Object: v.Ref, Err: errors.New(v.Why())}
		}
		return w.awaits(step)
	}
	if r.Progress.Failed {
		return &fault.Error{Next: fault.Retry, Reason: r.Progress.Reason, Err: errors.New(r.Progress.Message)}
	}
	return nil
}

// awaits says what a step waits for. What the unit's identity may not read it never
// sees to be done.
func (w *pass) awaits(step *apply.Step) error {
	if i := slices.IndexFunc(step.Waits, func(x apply.Wait) bool { return w.st.denied[x.Ref] }); i >= 0 {
		return w.place.notAllowed(w.unit, verbRead, step.Waits[i].Ref)
	}
	for _, c := range w.record.All() {
		if c.Is(apply.Written, apply.Unneeded) || c.Surplus && c.Absent {
			return again(errors.New(step.Waiting())) // which has come further since
		}
	}
	return &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Err: errors.New(step.Waiting())}
}
