package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
)

func mine(u Unit) func(*unstructured.Unstructured) bool {
	return func(live *unstructured.Unstructured) bool { return u.Objects.Owner(live) == u.Name }
}

func settled(u Unit, p *place) func(object.Ref, string, *unstructured.Unstructured) {
	return func(ref object.Ref, digest string, live *unstructured.Unstructured) {
		p.watch.Settle(u.Name, ref, digest, live)
	}
}

// owner returns the name of the unit, of whatever dialect, whose marks an object
// carries.
func (e *Engine) owner(u Unit, live *unstructured.Unstructured) string {
	if u.Objects != nil {
		if owner := u.Objects.Owner(live); owner != "" {
			return owner
		}
	}
	for _, d := range e.registry.conventions() {
		if owner := d.Owner(live); owner != "" {
			return owner
		}
	}
	return ""
}

// Whose returns the name of the unit, of whatever dialect, whose marks an object
// carries, or nothing. Its metadata are enough.
func (e *Engine) Whose(o *unstructured.Unstructured) string { return e.owner(Unit{}, o) }

// Has reports whether there is a unit of that name.
func (e *Engine) Has(unit string) bool {
	_, _, _, ok := e.registry.find(unit)
	return ok
}

// mayTake refuses an object that another unit still wants.
func (e *Engine) mayTake(ctx context.Context, u Unit) func(*unstructured.Unstructured) error {
	return func(live *unstructured.Unstructured) error {
		owner := e.owner(u, live)
		if owner == "" || owner == u.Name {
			return nil
		}
		ref := object.RefOf(live)
		refuse := func(why string) error {
			e.registry.rival(u.Name, owner)
			return &fault.Error{
				Next: fault.Retry, Reason: fault.OwnedByOther, Object: ref,
				Err:  fmt.Errorf("it belongs to %s, %s", owner, why),
				Hint: "take it out of one of the two",
			}
		}
		other, unknown, ok := e.named(ctx, owner, u)
		if unknown {
			return refuse("of which it can't be told now whether it still wants it")
		}
		if !ok {
			return nil // nobody's, or left behind
		}
		claims, _, err := e.claims(ctx, other)
		if err != nil || claims[ref] {
			return refuse("which also holds it true")
		}
		return nil
	}
}

// foreign returns the desired objects that another unit holds true. A unit that may
// write finds out when it does.
func (w *pass) foreign(ctx context.Context) (out []Left) {
	if !w.unit.Adopts || w.unit.Permission == apply.Everything {
		return nil
	}
	live, may := w.place.live(w.unit, w.st), w.mayTake(ctx, w.unit)
	for _, it := range w.items {
		if l, known := live(it.Ref); known && l.Object != nil && it.Policy.Mode != apply.Ignore && it.Policy.Mode != apply.IfNotPresent {
			if err := may(l.Object); err != nil {
				out = append(out, Left{it.Ref, err.Error()})
			}
		}
	}
	slices.SortFunc(out, func(a, b Left) int { return object.Compare(a.Ref, b.Ref) })
	return out
}

// claims returns what a unit's source holds now, or, if that can't be told,
// what it has applied before together with the error. It is not sure what the
// objects of kinds that the cluster does not have will be called.
func (e *Engine) claims(ctx context.Context, u Unit) (claims map[object.Ref]bool, sure bool, err error) {
	claims = map[object.Ref]bool{}
	fallback := func(err error) (map[object.Ref]bool, bool, error) {
		for _, en := range u.Remembers {
			claims[en.Ref] = true
		}
		return claims, false, err
	}
	if len(u.Artifacts) == 0 {
		return fallback(errors.New("its source is not ready"))
	}
	p, err := e.place(u.Target, "")
	if err != nil {
		return fallback(err)
	}
	rs, err := e.renders(ctx, u, "")
	if err != nil {
		return fallback(err)
	}
	sure = true
	for _, it := range rs.items() {
		if it.Ref.Name == "" {
			continue // nobody can claim what has no name yet
		}
		ref, err := locate(ctx, p, u, it.Ref, it.Version)
		claims[ref] = true // of an unknown kind: as it is written
		if fault.Is(err, fault.UnknownKind) {
			sure = false
		} else if err != nil {
			return fallback(err)
		}
	}
	return claims, sure, nil
}

// claimsOn finds out what other units want of what this one no longer does. It
// stays, with its UID, and becomes theirs.
func (w *pass) claimsOn(ctx context.Context, surplus []apply.Entry) (found apply.Claims) {
	if len(surplus) == 0 {
		return found
	}
	claimed, broken, unknown, err := w.claimants(ctx, w.unit, surplus)
	if found.Unknown, found.Err = unknown, err; len(unknown) > 0 || err != nil {
		return found
	}
	found.Broken, found.By = broken, map[object.Ref]string{}
	for _, en := range surplus {
		by, err := w.heir(ctx, en, claimed[en.Ref])
		if err != nil {
			found.Err = &fault.Error{Object: en.Ref, Err: err}
			return found
		}
		found.By[en.Ref] = by
	}
	return found
}

// brokeJustNow reports whether a unit that can't be rendered could be at the
// revision before: what it claims may just have come from elsewhere.
func (e *Engine) brokeJustNow(u Unit) bool {
	e.mu.Lock()
	st := e.states[u.Name]
	e.mu.Unlock()
	if st == nil || len(u.Artifacts) == 0 {
		return false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.lastRendered != "" && st.lastRendered != u.Revision()
}

// Remove deletes everything that u has applied, because u is going away, and
// reports what is left. What other units claim stays. Nothing is desired, so it
// is a run like any other.
func (e *Engine) Remove(ctx context.Context, u Unit) (Outcome, error) {
	u.Leaving, u.Permission = true, apply.Everything
	w, err := e.begin(u, nil)
	if err == nil {
		err = w.remove(ctx)
	}
	out, err := w.end(err)
	out.State = Removed
	if err != nil && (w.goesOn || w.plan == nil || !fault.Is(err, fault.PruneProtected)) {
		out.State = Removing
	}
	return out, err
}

// letGo lets go of what u has applied, which stays.
func (e *Engine) letGo(ctx context.Context, u Unit) error {
	if len(u.Hooks) == 0 {
		return nil
	}
	w, err := e.begin(u, nil)
	if err != nil {
		return err
	}
	w.applier = w.actor(ctx)
	return w.dismissAll(ctx, false)
}

func (w *pass) remove(ctx context.Context) error {
	if err := w.place.watch.Follow(ctx, w.unit.Name, w.targets(w.unit, w.st, nil)); err != nil && !fault.Is(err, fault.UnknownKind) {
		return err
	}
	if err := w.makePlan(w.facts(ctx, nil)); err != nil {
		return err
	}
	w.applier = w.actor(ctx)
	if err := errors.Join(w.act(ctx), w.dismissAll(ctx, true)); err != nil {
		return err
	}
	w.vacate(ctx)
	return nil
}
