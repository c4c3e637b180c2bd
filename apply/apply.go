package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/retry"

	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/parallel"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/object/secret"
)

// atATime is how many requests one stage has under way.
const atATime = 8

// An Applier acts on the objects of one unit.
type Applier struct {
	Client   *cluster.Client // as whom
	Managers owned.Managers
	// Force recreates any object whose change is immutable, unless its kind
	// holds data.
	Force bool
	// Replace has what differs replaced as a whole, where an object does not say
	// otherwise.
	Replace bool
	// Leaving: what is deleted goes with its unit. Confirmed: somebody has
	// confirmed that it may.
	Leaving, Confirmed bool
	// Propagation is what becomes of what is made from a deleted object; empty: it
	// goes afterwards.
	Propagation metav1.DeletionPropagation
	// Mine reports whether a live object carries this unit's mark.
	Mine func(*unstructured.Unstructured) bool
	// Marks are the labels and annotations that show whose an object is; nil: none.
	Marks func(object.Ref) (labels, annotations map[string]string)
	// Exactly: what is written is what was looked at, and no other version.
	Exactly bool
	// MayTake is asked before an object that exists and is not ours is
	// written. An error refuses it.
	MayTake func(live *unstructured.Unstructured) error
	// Policy reads what a live object says about how to treat it.
	Policy func(*unstructured.Unstructured) Policy
	// Settled is told of every object that was found or made as desired.
	Settled func(ref object.Ref, digest string, live *unstructured.Unstructured)
	// Namespaces are never pruned.
	Namespaces []string
	// Dry has the server try what would be written, and stops short of deleting.
	Dry bool
	// Coming would be there by now, with Dry.
	Coming map[object.Ref]bool
	// Secrets are what no error and no [Result] may quote; nil: nothing.
	Secrets func() *secret.Values
}

func (a *Applier) marks(ref object.Ref) (labels, annotations map[string]string) {
	if a.Marks == nil {
		return nil, nil
	}
	return a.Marks(ref)
}

// Settle tells of what needs no write.
func (a *Applier) Settle(p *Plan) {
	for _, c := range p.Changes {
		if c.Action == Settle {
			a.Settled(c.Ref, c.item.Digest, c.live)
		}
	}
}

// Try asks the server about each change of a stage, and makes none. An error
// says that one is refused: then none of the stage should be made, but for the
// [Corrections]. What may be refused only for the lack of what the same stage
// brings is left [Untried], see [Applier.TryRest], and so is what there was no
// answer about.
func (a *Applier) Try(ctx context.Context, stage []*Result) error {
	// One object is as good as its own trial, if it is known that it is
	// ours and has to change: nothing can be left half-way.
	if len(stage) == 1 && !a.Force && !a.Dry {
		if c := stage[0]; c.Action == Update && c.Cause != First && c.Hook == nil && !c.item.Policy.Force && !a.replaces(c) && c.item.Policy.Ignored == nil {
			if c.live == nil {
				if err := a.read(ctx, c); err != nil {
					return c.refuse(err)
				}
			}
			if c.leaves() || c.Action == Update && a.Mine(c.live) && !owned.NeedsUndo(c.live, c.Managers(a.Managers)) {
				c.trial = passed
				return nil
			}
		}
	}
	bringing := enablers(stage)
	return each(ctx, stage, func(c *Result) error {
		if c.KindComes() {
			c.trial = passed
			return nil
		}
		if bringing.admits(c) && !a.Dry {
			return nil
		}
		err := a.ask(ctx, c)
		switch {
		case a.Dry && bringing.mayMend(c, err):
			c.pass(unchecked)
		case a.Dry && c.Action == Create && apierrors.IsNotFound(err) && a.Coming[object.Ref{Kind: "Namespace", Name: c.Ref.Namespace}]:
			c.pass(Unchecked)
		case bringing.mayMend(c, err):
			c.trial, c.Did, c.Err = unasked, Open, nil
		case NoAnswer(err) && len(stage) > 1:
			c.trial, c.Did = unanswered, Open
		default:
			return err
		}
		return nil
	})
}

// pass notes that a change is as good as tried, and why it was not.
func (r *Result) pass(why string) { r.trial, r.Did, r.Err, r.Why = passed, Open, nil, why }

// refuse notes that a change is refused.
func (r *Result) refuse(err error) error {
	if err != nil {
		r.trial, r.Did, r.Err = refused, Refused, err
	}
	return err
}

func (a *Applier) ask(ctx context.Context, c *Result) error {
	c.trial, c.Did, c.Err = passed, Open, nil
	return c.refuse(a.try(ctx, c))
}

// Corrections returns those changes of a stage that put back what was applied
// before, and were not refused: they bring nothing new, so they need not wait
// until the rest can be made too.
func Corrections(stage []*Result) []*Result {
	return slices.DeleteFunc(slices.Clone(stage), func(c *Result) bool { return !c.Back || c.trial != passed })
}

// Stage makes the changes of one stage, which were tried before.
func (a *Applier) Stage(ctx context.Context, stage []*Result) error {
	return each(ctx, stage, func(c *Result) error {
		switch {
		case c.Action == Nothing:
			c.Did = Unneeded
			return nil
		case c.Action == Hold:
			return nil
		case a.Dry:
			return a.would(ctx, c)
		}
		done, err := a.write(ctx, c)
		if done {
			c.Did = Written
		} else if err == nil {
			c.Did = Unneeded
		} else {
			c.Did = Refused
		}
		c.Err = err
		return err
	})
}

// each runs f for every result, some at a time, and joins the errors in order.
// One is written down for each, also where ctx ends meanwhile.
func each(ctx context.Context, changes []*Result, f func(*Result) error) error {
	return parallel.Each(context.WithoutCancel(ctx), atATime, changes, func(_ int, c *Result) error { return f(c) })
}

// Dismiss lets go of a hook that has run, and deletes it, if that is asked for.
func (a *Applier) Dismiss(ctx context.Context, ref object.Ref, version string, live *unstructured.Unstructured, finalizer string, remove bool) error {
	c := &Result{Change: &Change{Ref: ref, Version: version}}
	err := a.letGo(ctx, ref, version, live, finalizer)
	if err == nil && remove && live.GetDeletionTimestamp() == nil {
		err = a.remove(ctx, c, live)
	}
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return a.about(ctx, c, err)
}

// letGo takes a finalizer off an object, if it has it.
func (a *Applier) letGo(ctx context.Context, ref object.Ref, version string, live *unstructured.Unstructured, finalizer string) error {
	return a.alter(ctx, ref, version, live, func(o *unstructured.Unstructured) map[string]any {
		at := slices.Index(o.GetFinalizers(), finalizer)
		if finalizer == "" || at < 0 {
			return nil
		}
		return map[string]any{"finalizers": slices.Delete(slices.Clone(o.GetFinalizers()), at, at+1)}
	})
}

// Mark makes a hook one of a try that is marked so, although another has made it.
func (a *Applier) Mark(ctx context.Context, ref object.Ref, version string, live *unstructured.Unstructured, mark string) error {
	labels, _ := a.Marks(ref)
	err := a.alter(ctx, ref, version, live, func(*unstructured.Unstructured) map[string]any {
		return map[string]any{"labels": labels, "annotations": map[string]string{HookMark: mark}}
	})
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return a.about(ctx, &Result{Change: &Change{Ref: ref, Version: version}}, err)
}

// alter changes metadata of an object as long as it is the same one: to what
// change says of it as it is then; nil: it stays.
func (a *Applier) alter(ctx context.Context, ref object.Ref, version string, live *unstructured.Unstructured, change func(*unstructured.Unstructured) map[string]any) error {
	r, err := a.Client.Resource(ctx, ref.GroupKind().WithVersion(version), ref.Namespace)
	if err != nil {
		return err
	}
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		meta := change(live)
		if meta == nil {
			return nil
		}
		meta["uid"], meta["resourceVersion"] = live.GetUID(), live.GetResourceVersion()
		body, err := json.Marshal(map[string]any{"metadata": meta})
		if err != nil {
			return err
		}
		_, err = r.Patch(ctx, ref.Name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: a.Managers.Self})
		if !apierrors.IsConflict(err) {
			return err
		}
		now, readErr := r.Get(ctx, ref.Name, metav1.GetOptions{})
		if readErr != nil {
			return readErr
		}
		if now.GetUID() != live.GetUID() {
			return nil // it is another one by now
		}
		live = now
		return err
	})
}

func (a *Applier) resource(ctx context.Context, c *Result) (dynamic.ResourceInterface, error) {
	return a.Client.Resource(ctx, c.Ref.GroupKind().WithVersion(c.Version), c.Ref.Namespace)
}

func (a *Applier) patch(ctx context.Context, c *Result, dry bool) (*unstructured.Unstructured, error) {
	r, err := a.resource(ctx, c)
	if err != nil {
		return nil, a.about(ctx, c, err)
	}
	o := metav1.ApplyOptions{FieldManager: a.Managers.Self, Force: true}
	if dry {
		o.DryRun = []string{metav1.DryRunAll}
	}
	if a.replaces(c) {
		after, err := a.put(ctx, c, o.DryRun)
		if err != nil || dry {
			return after, err
		}
		c.live = after // of which the unit owns nothing new yet
	}
	desired, forThis, err := a.desired(c)
	if err != nil {
		return nil, a.about(ctx, c, err)
	}
	if (forThis || a.Exactly && c.live != nil && c.Action == Update) && !dry {
		// What is left out is right for this version alone.
		desired.SetResourceVersion(c.live.GetResourceVersion())
	}
	return r.Apply(ctx, c.Ref.Name, desired, o)
}

// replaces reports whether a change is made by replacing all of the object.
func (a *Applier) replaces(c *Result) bool {
	return c.Action == Update && c.live != nil && c.Hook == nil && !c.partial() && c.item.Policy.Replace.Or(a.Replace)
}

// put replaces all of an object but what it is held and owned by.
func (a *Applier) put(ctx context.Context, c *Result, dry []string) (after *unstructured.Unstructured, err error) {
	r, err := a.resource(ctx, c)
	if err != nil {
		return nil, a.about(ctx, c, err)
	}
	live := c.live
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		desired, _, err := a.desired(c)
		if err != nil {
			return a.about(ctx, c, err)
		}
		o := desired.DeepCopy()
		o.SetResourceVersion(live.GetResourceVersion())
		o.SetUID(live.GetUID())
		o.SetFinalizers(live.GetFinalizers())
		o.SetOwnerReferences(live.GetOwnerReferences())
		after, err = r.Update(ctx, o, metav1.UpdateOptions{FieldManager: a.Managers.Self, DryRun: dry})
		if apierrors.IsConflict(err) {
			if now, readErr := r.Get(ctx, c.Ref.Name, metav1.GetOptions{}); readErr == nil && now.GetUID() == live.GetUID() {
				live = now
			}
		}
		return err
	})
	return after, err
}

// desired returns what to apply; forThis says that it is right for the version
// of the object that was looked at alone. Where it can't be told which fields
// don't count, nothing is applied.
func (a *Applier) desired(c *Result) (desired *unstructured.Unstructured, forThis bool, err error) {
	desired = c.item.Object()
	m := c.Managers(a.Managers)
	if err := m.Readable(desired); err != nil {
		return nil, false, err
	}
	if c.live == nil || c.Action != Update {
		return desired, false, nil
	}
	if err := m.Readable(c.live); err != nil {
		return nil, false, err
	}
	desired = owned.LetFill(desired, c.live, a.Managers)
	if desired, forThis, err = owned.Keep(desired, c.live, m); err != nil {
		return nil, false, err
	}
	if c.partial() {
		desired, err = owned.Leave(desired, c.live, c.Leave, m)
		forThis = true
	}
	if err == nil {
		labels, annotations := a.marks(c.Ref)
		desired, err = owned.WithRecord(desired, c.item.Object(), c.live, m, labels, annotations)
	}
	return desired, forThis, err
}

// try asks the server what would come of c. An object that turns out to exist
// although the watch, which sees only what carries a mark, does not know it,
// is looked at before it is taken.
func (a *Applier) try(ctx context.Context, c *Result) error {
	if c.Action == Update && c.live == nil {
		if err := a.read(ctx, c); err != nil || c.leaves() {
			return err
		}
	}
	if c.Action == Create && c.item.Policy.Mode == IfNotPresent {
		if err := a.read(ctx, c); err != nil || c.leaves() {
			return err
		}
	}
	if c.Action == Create {
		exists, err := a.tryNew(ctx, c)
		if err != nil {
			return a.about(ctx, c, err)
		}
		if !exists {
			return nil
		}
		if err := a.read(ctx, c); err != nil || c.live == nil || c.leaves() {
			return err
		}
	}
	if c.live != nil {
		if err := a.take(ctx, c); err != nil {
			return err
		}
		if (c.Hook != nil && c.Hook.Replace || c.anew) && !holdsData(c.live) {
			c.Action = Recreate
			if err := a.asNew(ctx, c); err != nil {
				return a.about(ctx, c, err)
			}
			return nil
		}
	}
	want, err := a.patch(ctx, c, true)
	if err != nil {
		return a.refused(ctx, c, err)
	}
	c.dry = want
	if c.partial() {
		return nil
	}
	if c.live != nil && c.Action == Update && !owned.NeedsUndo(c.live, c.item.Policy.Managers(a.Managers)) &&
		want.GetResourceVersion() == c.live.GetResourceVersion() && owned.Alike(want, c.live, c.Managers(a.Managers)) {
		// The values differed in form only, or in what does not count.
		c.Action = Nothing
		a.Settled(c.Ref, c.item.Digest, c.live)
	}
	return nil
}

// tryNew asks the server whether it would take an object that should not exist
// yet. Only whether it does matters of the answer, so no more is asked for.
func (a *Applier) tryNew(ctx context.Context, c *Result) (exists bool, err error) {
	r, err := a.Client.Metadata(ctx, c.Ref.GroupKind().WithVersion(c.Version), c.Ref.Namespace)
	if err != nil {
		return false, err
	}
	desired := c.item.Object()
	if err := c.Managers(a.Managers).Readable(desired); err != nil {
		return false, err
	}
	body, err := desired.MarshalJSON()
	if err != nil {
		return false, err
	}
	force := true
	got, err := r.Patch(ctx, c.Ref.Name, types.ApplyPatchType, body,
		metav1.PatchOptions{FieldManager: a.Managers.Self, Force: &force, DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return false, err
	}
	return got.GetResourceVersion() != "", nil
}

func (a *Applier) take(ctx context.Context, c *Result) error {
	if a.Mine(c.live) {
		return nil
	}
	if err := a.MayTake(c.live); err != nil {
		return a.about(ctx, c, err)
	}
	return nil
}

// read gets the live object for a change whose live object is not at hand.
func (a *Applier) read(ctx context.Context, c *Result) error {
	r, err := a.resource(ctx, c)
	if err != nil {
		return a.about(ctx, c, err)
	}
	live, err := r.Get(ctx, c.Ref.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		c.Action, c.live = Create, nil
		return nil
	case err != nil:
		return a.about(ctx, c, fmt.Errorf("read: %w", err))
	}
	c.Action, c.live = Update, live
	switch {
	case live.GetDeletionTimestamp() != nil:
		c.hold(whyEnding)
		c.Did = Going
	case c.item.Policy.Mode == IfNotPresent || a.Policy(live).Mode == Ignore:
		c.Action = Nothing
	}
	return nil
}

// leaves reports whether it turned out that nothing is to be written.
func (r *Result) leaves() bool { return r.Action == Nothing || r.Action == Hold }

// write makes the change. done is false if nothing needed to be written.
func (a *Applier) write(ctx context.Context, c *Result) (done bool, err error) {
	if c.Action == Recreate {
		if c.Hook != nil {
			if err := a.letGo(ctx, c.Ref, c.Version, c.live, c.Hook.Finalizer); err != nil && !apierrors.IsNotFound(err) {
				return false, a.about(ctx, c, fmt.Errorf("take off its finalizer, in order to recreate it: %w", err))
			}
		}
		if err := a.remove(ctx, c, c.live); err != nil && !apierrors.IsNotFound(err) {
			return false, a.about(ctx, c, fmt.Errorf("delete in order to recreate: %w", err))
		}
		if _, err := a.get(ctx, c); !apierrors.IsNotFound(err) {
			if err != nil {
				return true, a.about(ctx, c, fmt.Errorf("read: %w", err))
			}
			return true, &fault.Error{
				Next: fault.Wait, Reason: fault.Progressing, Object: c.Ref,
				Err: errors.New("waits for the old object to be gone, in order to recreate it"),
			}
		}
	}
	born := c.item.Born != nil && (c.Action == Create || c.Action == Recreate)
	if born {
		if exists, err := a.bear(ctx, c); err != nil || exists && c.item.Policy.Mode == IfNotPresent {
			return false, err
		}
	}
	before, after, err := a.update(ctx, c)
	if err != nil {
		return false, a.refusedFinally(ctx, c, err)
	}
	if after == nil {
		return false, nil // it is gone, and its going wakes the unit
	}
	if born {
		if after, err = a.settleBirth(ctx, c, after); err != nil {
			return true, err
		}
	}
	c.dry, c.After = nil, after
	if c.Cause == Drift && before != nil {
		if c.Lost, err = owned.Lost(after, before, c.Managers(a.Managers)); err != nil {
			return true, a.about(ctx, c, err)
		}
	}
	if !c.partial() {
		a.Settled(c.Ref, c.item.Digest, after)
	}
	if c.Action != Recreate {
		c.Fields = a.differences(after, before)
	}
	if before == nil || c.Action == Recreate {
		if c.Action == Create {
			c.Fields = nil // all of it
		}
		return true, nil
	}
	return before.GetResourceVersion() != after.GetResourceVersion(), nil
}

// bear makes an object that says how it came to be. Applying could not do that:
// it would say the same of one that somebody has made meanwhile.
func (a *Applier) bear(ctx context.Context, c *Result) (exists bool, err error) {
	r, err := a.resource(ctx, c)
	if err != nil {
		return false, a.about(ctx, c, err)
	}
	o := c.item.Object().DeepCopy()
	ann := o.GetAnnotations()
	if ann == nil {
		ann = make(map[string]string, len(c.item.Born))
	}
	maps.Copy(ann, c.item.Born)
	o.SetAnnotations(ann)
	_, err = r.Create(ctx, o, metav1.CreateOptions{FieldManager: a.Managers.Self})
	if apierrors.IsAlreadyExists(err) {
		return true, nil
	}
	if err != nil {
		return false, a.about(ctx, c, err)
	}
	return false, nil
}

// settleBirth has the unit own of an object that it has made what it applies, and
// no more: it would have to take back from itself what it wrote by making it.
func (a *Applier) settleBirth(ctx context.Context, c *Result, live *unstructured.Unstructured) (after *unstructured.Unstructured, err error) {
	r, err := a.resource(ctx, c)
	if err != nil {
		return nil, a.about(ctx, c, err)
	}
	after, err = a.reown(ctx, r, live, func(now *unstructured.Unstructured) ([]byte, error) {
		if now.GetUID() != live.GetUID() {
			return nil, errors.New("it is another one by now")
		}
		return owned.BirthPatch(now, a.Managers, c.item.Born)
	})
	if err != nil {
		return after, a.about(ctx, c, fmt.Errorf("settle who owns it: %w", err))
	}
	return after, nil
}

// reown changes who owns the fields of an object, as patch says of it as it is;
// nothing: it stays. Should it have changed since it was looked at, it is looked at
// again. live is what was last seen of it, also with an error.
func (a *Applier) reown(ctx context.Context, r dynamic.ResourceInterface, at *unstructured.Unstructured, patch func(*unstructured.Unstructured) ([]byte, error)) (live *unstructured.Unstructured, err error) {
	live = at
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		body, err := patch(live)
		if err != nil || body == nil {
			return err
		}
		now, err := r.Patch(ctx, at.GetName(), owned.UndoPatchType, body, metav1.PatchOptions{FieldManager: a.Managers.Self})
		if err == nil {
			live = now
		}
		if apierrors.IsConflict(err) {
			if now, readErr := r.Get(ctx, at.GetName(), metav1.GetOptions{}); readErr == nil {
				live = now
			}
		}
		return err
	})
	return live, err
}

// update writes the object, once the fields that are taken back are its own.
// Where fields are left as they are, it writes to the version that was looked
// at, and looks again if there is another. after is nil if there is none.
func (a *Applier) update(ctx context.Context, c *Result) (before, after *unstructured.Unstructured, err error) {
	const attempts = 5
	before = c.live
	for n := 1; ; n++ {
		rest, err := a.takeOver(ctx, c)
		if err != nil {
			return nil, nil, err
		}
		after, err := a.patch(ctx, c, false)
		switch m := c.Managers(a.Managers); {
		case err == nil && rest && !c.partial() && owned.NeedsUndo(after, m):
			// What was to be overwritten differed in form only.
			c.live = after
			if err := a.undo(ctx, c, m); err != nil {
				return nil, nil, err
			}
			after, err = a.patch(ctx, c, false)
			return before, after, err
		case err == nil:
			return before, after, nil
		case !c.partial() && !c.keeps() || !apierrors.IsConflict(err):
			return nil, nil, err
		case n == attempts:
			return nil, nil, &fault.Error{
				Next: fault.Wait, Reason: fault.Progressing, Object: c.Ref, After: time.Second,
				Err: errors.New("it changes faster than it can be written"),
			}
		}
		before, err = a.get(ctx, c)
		if apierrors.IsNotFound(err) {
			return nil, nil, nil
		} else if err != nil {
			return nil, nil, fmt.Errorf("read: %w", err)
		}
		c.live = before
	}
}

// takeOver takes over the fields of others that have to be taken back, unless
// applying does that by overwriting them; rest says that it should.
func (a *Applier) takeOver(ctx context.Context, c *Result) (rest bool, err error) {
	m := c.Managers(a.Managers)
	if c.Action != Update || c.live == nil || !owned.NeedsUndo(c.live, m) {
		return false, nil
	}
	if !owned.MustUndo(c.item.Object(), c.live, c.Leave, m) {
		return true, nil
	}
	return false, a.undo(ctx, c, m)
}

func (a *Applier) refusedFinally(ctx context.Context, c *Result, err error) error {
	if e := a.refused(ctx, c, err); e != nil || c.Action == Hold {
		return e
	}
	return a.about(ctx, c, err) // the next run recreates it
}

// undo makes the fields of managers that may own none the unit's own, so that
// applying removes those that are not desired. Should the object have changed
// since it was looked at, it is looked at again.
func (a *Applier) undo(ctx context.Context, c *Result, m owned.Managers) error {
	r, err := a.resource(ctx, c)
	if err != nil {
		return a.about(ctx, c, err)
	}
	c.live, err = a.reown(ctx, r, c.live, func(live *unstructured.Unstructured) ([]byte, error) {
		return owned.UndoPatch(live, m, c.item.Object().GetAPIVersion(), c.Leave)
	})
	if err != nil {
		return a.about(ctx, c, fmt.Errorf("take over fields of %s: %w", strings.Join(owned.UndoNames(c.live, m), ", "), err))
	}
	return nil
}

func (a *Applier) get(ctx context.Context, c *Result) (*unstructured.Unstructured, error) {
	r, err := a.resource(ctx, c)
	if err != nil {
		return nil, err
	}
	return r.Get(ctx, c.Ref.Name, metav1.GetOptions{})
}

// remove deletes exactly the object that was looked at.
func (a *Applier) remove(ctx context.Context, c *Result, live *unstructured.Unstructured) error {
	r, err := a.resource(ctx, c)
	if err != nil {
		return err
	}
	uid, version, policy := live.GetUID(), live.GetResourceVersion(), metav1.DeletePropagationBackground
	pre := &metav1.Preconditions{UID: &uid}
	if c.Action == Delete {
		if a.Propagation != "" {
			policy = a.Propagation
		}
		// What was looked at is what goes: had it changed hands since, the
		// server refuses.
		pre.ResourceVersion = &version
	}
	return r.Delete(ctx, c.Ref.Name, metav1.DeleteOptions{Preconditions: pre, PropagationPolicy: &policy})
}
