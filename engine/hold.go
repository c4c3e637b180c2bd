package engine

import (
	"context"
	"errors"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
)

// Hold puts right what somebody has changed in what u has applied, and does
// nothing new. It is for a unit that can't go forward now: what it waits for,
// or what is wrong with its next revision, is no reason to let go of the last
// one. An error is about the corrections.
//
// What was applied last is what Run came to. After a start, when there was no
// Run yet, it is made from u.Artifacts if that renders to u.AppliedDigest.
func (e *Engine) Hold(ctx context.Context, u Unit) (Outcome, error) {
	if u.Permission == apply.Everything {
		u.Permission = apply.CorrectDrift
	}
	if st := e.state(u); st.cluster != u.Target.Cluster || len(st.inventory) == 0 || u.Permission == apply.Suspended {
		return Outcome{Inventory: st.inventory}, nil
	}
	w, err := e.begin(u, nil)
	if err != nil {
		return w.end(err)
	}
	w.holds = true
	return w.end(w.stay(ctx))
}

// stay holds a unit to what it has applied.
func (w *pass) stay(ctx context.Context) error {
	if err := w.observeLast(ctx); err != nil || len(w.items) == 0 {
		return err
	}
	if _, err := w.follow(ctx, w.unit, w.st, w.place, w.items); err != nil {
		return err
	}
	if synced, err := w.place.watch.Synced(w.unit.Name); !synced || err != nil {
		return err // the unit is woken when it is
	}
	facts, err := w.tracked(ctx, w.facts(ctx, w.place.live(w.unit, w.st)))
	if err != nil || w.makePlan(facts) != nil {
		return err // as above
	}
	w.applier = w.actor(ctx)
	return stillOurs(w.act(ctx))
}

// stillOurs leaves out of the errors of corrections what has become another
// unit's since it was applied: that one holds it true.
func stillOurs(err error) error {
	joined, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // each of them is looked at
	if !ok {
		if fault.Is(err, fault.OwnedByOther) {
			return nil
		}
		return err
	}
	var rest []error
	for _, e := range joined.Unwrap() {
		rest = append(rest, stillOurs(e))
	}
	return errors.Join(rest...)
}

// observeLast finds the objects that the unit has applied, as far as they are
// known.
func (w *pass) observeLast(ctx context.Context) error {
	if w.st.source != nil {
		w.items, w.whole = w.st.prepared, w.st.source.digest() == w.unit.AppliedDigest
		return nil
	}
	if len(w.unit.Artifacts) == 0 || w.unit.AppliedDigest == "" {
		return nil
	}
	r, err := w.render(ctx, w.unit, w.st)
	if err != nil || r.Digest() != w.unit.AppliedDigest {
		return nil //nolint:nilerr // that it can't be rendered is for Run to say
	}
	w.whole = true
	w.items, _, err = w.Engine.items(ctx, w.unit, w.st, w.place, r)
	if fault.Is(err, fault.BuildFailed) {
		return nil
	}
	return err
}

// digest is that of the render.
func (d *desired) digest() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rs.Digest()
}
