package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
)

// Hold puts right what somebody has changed in what u has applied, and does
// nothing new. It is for a unit that can't go forward now: what it waits for,
// or what is wrong with its next revision, is no reason to let go of the last
// one. An error is about the corrections.
//
// What was applied last is what Run came to. After a start, when there was no
// Run yet, it is made from u.Source if that renders to u.AppliedDigest.
func (e *Engine) Hold(ctx context.Context, u Unit) (out Outcome, err error) {
	st := e.state(u)
	defer func() {
		out.Inventory = st.inventory
		st.fought(time.Now(), &out)
	}()
	if st.cluster != u.Target.Cluster || len(st.inventory) == 0 {
		return out, nil
	}
	p, err := e.place(u.Target, u.Name)
	if err != nil {
		return out, err
	}
	client, err := p.As(u.Target.User)
	if err != nil {
		return out, err
	}
	items, err := e.lastItems(ctx, u, st, p)
	if err != nil || len(items) == 0 {
		return out, err
	}
	defer st.source.pack()
	if _, err := e.follow(ctx, u, st, p, items); err != nil {
		return out, err
	}
	if synced, err := p.watch.Synced(u.Name); !synced || err != nil {
		return out, err // the unit is woken when it is
	}
	plan, ok := apply.Make(items, nil, u.Managers, u.Order, p.live(u, st), u.Policy)
	if !ok {
		return out, nil
	}
	st.onlyApplied(u, &plan)
	dropExpired(u, &plan)
	st.contested(&plan, u.Managers, time.Now(), &out)
	a := e.applier(ctx, u, p, client, items)
	a.Settle(plan.Settle)
	var errs []error
	for _, stage := range plan.Stages {
		errs = append(errs, a.Try(ctx, stage))
		steps := apply.Steps(stage)
		for n, step := range steps {
			errs = append(errs, a.TryRest(ctx, step, slices.Concat(steps[n:]...)), e.makeStep(ctx, st, a, apply.Tried(step), &out))
		}
	}
	return out, stillOurs(errors.Join(errs...))
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

// lastItems are the objects that u has applied, as far as they are known.
func (e *Engine) lastItems(ctx context.Context, u Unit, st *state, p *place) ([]apply.Item, error) {
	if st.source != nil {
		return st.prepared, nil
	}
	if u.Source == nil || u.AppliedDigest == "" {
		return nil, nil
	}
	r, err := e.render(ctx, u, st)
	if err != nil || r.Digest != u.AppliedDigest {
		return nil, nil //nolint:nilerr // that it can't be rendered is for Run to say
	}
	items, _, err := e.items(ctx, u, st, p, r)
	if fault.Is(err, fault.BuildFailed) {
		return nil, nil
	}
	return items, err
}

// onlyApplied leaves in a plan what puts right an object that was applied
// before, as it was applied.
func (st *state) onlyApplied(u Unit, p *apply.Plan) {
	had := make(map[object.Ref]bool, len(st.inventory))
	for _, en := range st.inventory {
		had[en.Ref] = true
	}
	whole := st.source.digest() == u.AppliedDigest
	for i, stage := range p.Stages {
		p.Stages[i] = slices.DeleteFunc(stage, func(c *apply.Change) bool {
			return !had[c.Ref] || c.Cause == apply.Git || c.Cause == apply.First && !whole
		})
	}
	p.Stages = slices.DeleteFunc(p.Stages, func(s []*apply.Change) bool { return len(s) == 0 })
}

// digest is that of the render.
func (d *rendered) digest() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.Digest
}
